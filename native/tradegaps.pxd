"""Contents page of trade gaps: which trades are missing, and what they teach when they come later."""

from cython cimport final
from libc.stdint cimport int64_t

from native.areas cimport Areas
from native.bars cimport Bars
from native.events cimport Trade
from native.flow cimport Flow
from native.latebars cimport GapRange
from native.venuetime cimport VenueTime


cdef enum:
    RANGES = 1024             # when one more is missing the oldest is forgotten


@final
cdef class TradeGaps:
    cdef GapRange _ranges[RANGES]         # ascending, disjoint
    cdef int64_t _n
    cdef bint _is_aggregate               # the feed counts aggregates: so do the ids of the ranges
    cdef int64_t _last_ns                 # venue time of the newest trade of the chain
    cdef Flow _flow
    cdef Areas _areas
    cdef Bars _bars
    cdef VenueTime _venue_time
    cdef readonly int64_t forgotten       # ranges lost because there were too many
    cdef readonly int64_t given_up        # ranges given up by `close_all`
    cdef readonly int64_t filled          # rows taken
    cdef readonly int64_t left            # of them, rows whose session or minute is kept no more
    cdef readonly int64_t refused         # answers that could not be read: nothing of them is taken
    cdef readonly int64_t misplaced       # rows whose time is not between those of their neighbours: not taken

    # hot
    cdef void on_trade(self, const Trade* trade, int64_t n_missing) noexcept nogil
    cdef void teach_bars(self, const Trade* trade) noexcept nogil
    cdef void _add(self, int64_t place, const GapRange* added) noexcept nogil
    cdef void _give_up(self, const GapRange* given_up) noexcept nogil
    cdef void _drop(self, int64_t place) noexcept nogil
    cdef int64_t _find(self, int64_t first_id, int64_t last_id) noexcept nogil
    cdef bint fill(self, Trade* trade, int64_t first_id, int64_t last_id, int64_t now_ns) noexcept nogil
    cdef int64_t close_all(self) noexcept nogil
    # cold
    cdef int64_t take(self, bytes body, int price_digits, int quantity_digits, int64_t now_ns) except -1
    cdef list ranges(self)
