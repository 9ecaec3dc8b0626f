"""Contents page of the measured corridor: bytes -> book -> top of book, one clock reading a frame."""

from cython cimport final
from libc.stdint cimport int64_t

from native.book cimport Book
from native.wire.binance_json cimport BinanceJson


@final
cdef class BookCorridor:
    cdef readonly Book book
    cdef BinanceJson _wire
    cdef readonly double ratio        # top-20 imbalance after the last depth frame

    # hot
    cdef int64_t apply_frame(self, const char* frame, int64_t length) noexcept nogil
