"""Contents page of late bars: what is missing in closed bars, and their correction when it comes."""

from libc.stdint cimport int32_t, int64_t

from native.bars cimport Bar, Bars
from native.events cimport Trade


cdef struct GapRange:
    int64_t first_id          # trades that are missing
    int64_t last_id
    int64_t after_ns          # venue time of the trade before them
    int64_t before_ns         # venue time of the trade behind them


# hot
cdef void mark_listed_gap(Bars bars, int64_t after_ns, int64_t before_ns) noexcept nogil
cdef void give_up_gap(Bars bars, const GapRange* given_up) noexcept nogil
cdef void review_gaps(Bars bars, const GapRange* ranges, int64_t n) noexcept nogil
cdef void mark_listed_bars(Bars bars, int64_t venue_ns, const GapRange* ranges, int64_t n) noexcept nogil
cdef bint apply_late(Bars bars, const Trade* trade) noexcept nogil
cdef bint apply_overdue(Bars bars, const Trade* trade) noexcept nogil
cdef bint correct_bars(Bars bars, const Trade* trade, int32_t gap) noexcept nogil
cdef bint correct_closed(Bars bars, int interval, const Trade* trade, int32_t gap) noexcept nogil
cdef const Bar* bar_at(Bars bars, int interval, int64_t open_ns) noexcept nogil
