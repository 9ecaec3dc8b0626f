"""Contents page of pulled: what was added to a side of the book and withdrawn again."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.events cimport int128_t


cdef enum:
    CHANGES = 16384           # level changes and trades kept; a share over more is unknown
    PRICES = 4096             # slots of the table that sums them by price
    PRICES_USED = 3072        # at most; a share over more prices is unknown


cdef struct Change:
    int64_t recv_ns
    int64_t price
    int64_t quantity          # change of the level, or what traded at it; quantity units
    int32_t side              # of the book: BUY = bids
    int32_t is_trade


cdef struct PriceSum:
    int64_t price
    int64_t generation        # slots of an older generation are free
    int128_t added            # in the window and still there
    int128_t traded           # not yet set against a decrease


@final
cdef class Pulled:
    cdef Change* _changes
    cdef int64_t _n_changes
    cdef PriceSum* _sums
    cdef int64_t _generation
    cdef int32_t _n_sums              # slots of this generation

    # hot
    cdef void note(self, int side, int64_t price, int64_t quantity, bint is_trade, int64_t now_ns) noexcept nogil
    cdef double share(self, int side, int64_t begin_ns, int64_t end_ns) noexcept nogil
    cdef void reset(self) noexcept nogil
    cdef PriceSum* _sum_at(self, int64_t price) noexcept nogil
