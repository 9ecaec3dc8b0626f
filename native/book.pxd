"""Contents page of the book: a tick-indexed ring around the touch and a bounded ordered overflow for far levels."""

from cython cimport final
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t

from native.events cimport DepthUpdate, Level, int128_t


cdef struct Ladder:
    # One side. Ring slot of a price = (price / tick) & mask; prices off the grid or out of the window lie in `far`.
    int64_t best              # price units; bids: 0 when empty, asks: INT64_MAX when empty
    int64_t horizon           # beyond this price the venue's levels are unknown; bids 0 / asks INT64_MAX: all known
    int64_t n_levels
    int64_t* quantity         # [window]
    uint64_t* words           # [window / 64] bit = level present
    uint64_t* summary         # [window / 4096, at least 1] bit = word not empty
    int64_t* far_price        # ascending
    int64_t* far_quantity
    int64_t* spare_price      # the other half of a one-pass merge
    int64_t* spare_quantity
    int32_t n_far


@final
cdef class Book:
    cdef Ladder bids
    cdef Ladder asks
    cdef int64_t tick
    cdef int64_t _base            # first tick index of the window
    cdef int64_t _window
    cdef int64_t _mask
    cdef int32_t _n_words
    cdef int32_t _n_summary
    cdef int32_t _far_capacity
    cdef bint _is_anchored
    cdef readonly int64_t recentres
    cdef readonly int64_t dropped_levels
    cdef readonly int64_t bad_levels      # price or quantity not positive

    # hot
    cdef int64_t set_level(self, int side, int64_t price, int64_t quantity) noexcept nogil
    cdef int64_t quantity_at(self, int side, int64_t price) noexcept nogil
    cdef bint is_crossed(self) noexcept nogil
    cdef void settle(self) noexcept nogil
    cdef int128_t depth_sum(self, int side, int32_t n) noexcept nogil
    cdef int128_t range_sum(self, int side, int64_t low, int64_t high) noexcept nogil
    cdef int64_t worse(self, int side, int64_t price) noexcept nogil
    # cold
    cdef void load(self, const DepthUpdate* snapshot, bint is_complete) noexcept nogil
    cdef void clear(self) noexcept nogil
    cdef void _recentre(self, int64_t middle) noexcept nogil
    cdef int64_t _ring_best(self, Ladder* ladder, bint is_bid) noexcept nogil
    cdef void _find_best(self, Ladder* ladder, bint is_bid) noexcept nogil
    cdef int64_t _set_far(self, Ladder* ladder, bint is_bid, int64_t price, int64_t quantity) noexcept nogil
    cdef void _clear_ladder(self, Ladder* ladder, bint is_bid) noexcept nogil
    cdef void _shift(self, Ladder* ladder, bint is_bid, int64_t base) noexcept nogil
