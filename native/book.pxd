"""Contents page of the book: a tick-indexed ring around the touch, a bounded ordered overflow for far levels."""

from cython cimport final
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t

from native.events cimport DepthUpdate, Level, int128_t


cdef struct Ladder:
    # One side. Inside, a price is a key, sign * price: the better price is the greater key on both sides. Ring slot
    # of a key = (key / tick) & mask; keys off the grid or outside the window lie in `far`.
    int64_t best              # price units; bids: 0 when empty, asks: INT64_MAX when empty
    int64_t horizon           # last price known, levels behind it are not; bids 0 / asks INT64_MAX: all are known
    int64_t n_levels
    int64_t sign              # bids 1, asks -1
    int64_t base              # first tick index (of keys) of the window, a multiple of 64
    int64_t* quantity         # [window]
    uint64_t* words           # [window / 64] bit = level present
    uint64_t* summary         # [window / 4096] bit = word not empty
    int64_t* far_key          # ascending: the best last
    int64_t* far_quantity
    int32_t n_far


@final
cdef class Book:
    cdef Ladder bids
    cdef Ladder asks
    cdef int64_t tick
    cdef int64_t _middle          # tick index the window was centred on; negative: not yet
    cdef int64_t _window
    cdef int64_t _mask
    cdef int32_t _far_capacity
    cdef int64_t* _merge_key      # [far capacity + window] for the merge when the window moves, one side at a time
    cdef int64_t* _merge_quantity
    cdef readonly int64_t recentres
    cdef readonly int64_t dropped_levels  # lost for want of room, see `horizons`
    cdef readonly int64_t bad_levels      # price outside 1 to 2^62 - 1, or quantity negative

    # hot
    cdef int64_t set_level(self, int side, int64_t price, int64_t quantity) noexcept nogil
    cdef int64_t quantity_at(self, int side, int64_t price) noexcept nogil
    cdef bint is_crossed(self) noexcept nogil
    cdef void settle(self) noexcept nogil
    cdef int128_t depth_sum(self, int side, int32_t n) noexcept nogil
    cdef int128_t range_sum(self, int side, int64_t low, int64_t high) noexcept nogil
    cdef int64_t worse(self, int side, int64_t price) noexcept nogil
    cdef int64_t _set_far(self, Ladder* ladder, int64_t price, int64_t quantity) noexcept nogil
    cdef void _find_best(self, Ladder* ladder) noexcept nogil
    cdef int64_t _ring_below(self, const Ladder* ladder, int64_t index) noexcept nogil
    # cold
    cdef void load(self, const DepthUpdate* snapshot, bint is_complete) noexcept nogil
    cdef void exchange(self, Book other) noexcept nogil
    cdef void clear(self) noexcept nogil
    cdef void _recentre(self, int64_t middle) noexcept nogil
    cdef void _shift(self, Ladder* ladder, int64_t base) noexcept nogil
