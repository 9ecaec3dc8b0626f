"""Bytes -> book -> top-20 imbalance without the rest of the market: the work that peers do as well."""

import numpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython cimport final

from native.clock cimport monotonic_ns
from native.events cimport MESSAGE_DEPTH, DepthUpdate, int128_t


@final
cdef class BookCorridor:
    """The book of one instrument, fed with frames and timed inside.

    Parameters
    ----------
    symbol, price_digits, quantity_digits, is_spot
        As in `native.wire.binance_json.BinanceJson`.
    """

    def __cinit__(self, *, symbol: str, price_digits: int, quantity_digits: int, is_spot: bool):
        self._wire = BinanceJson(
            symbol=symbol, price_digits=price_digits, quantity_digits=quantity_digits, is_spot=is_spot
        )
        self.book = Book()

    cdef int64_t apply_frame(self, const char* frame, int64_t length) noexcept nogil:
        # Nanoseconds from the first byte to the ratio; -1 if the frame was no depth update.
        cdef int64_t begin = monotonic_ns()
        cdef const DepthUpdate* update
        cdef int128_t bids, asks
        cdef int i
        if self._wire.parse(frame, length) != 0 or self._wire.message.kind != MESSAGE_DEPTH:
            return -1
        update = &self._wire.message.depth
        for i in range(update.n_bids):
            self.book.set_level(1, update.bids[i].price, update.bids[i].quantity)
        for i in range(update.n_asks):
            self.book.set_level(-1, update.asks[i].price, update.asks[i].quantity)
        self.book.settle()
        bids = self.book.depth_sum(1, 20)
        asks = self.book.depth_sum(-1, 20)
        if bids + asks > 0:
            self.ratio = <double>(bids - asks) / <double>(bids + asks)
        return monotonic_ns() - begin

    def load(self, body: bytes) -> None:
        """Take the REST snapshot."""
        self._wire.parse_snapshot(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        self.book.load(&self._wire.message.depth, False)

    def apply(self, frame: bytes) -> int:
        """Take one frame; nanoseconds inside, -1 if it was no depth update."""
        return self.apply_frame(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))


def run_interleaved(corridors: list, order: list) -> numpy.ndarray:
    """Run (index of the corridor, frame) pairs in order; returns the nanoseconds of each depth frame."""
    cdef int64_t n = 0, elapsed
    cdef BookCorridor corridor
    cdef bytes frame
    measured = numpy.empty(len(order), numpy.int64)
    cdef int64_t[::1] out = measured
    for index, frame in order:
        corridor = corridors[index]
        elapsed = corridor.apply_frame(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        if elapsed >= 0:
            out[n] = elapsed
            n += 1
    return measured[:n]
