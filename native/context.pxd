"""Contents page of context: what the venue tells of a market beside its book and its tape."""

from cython cimport final
from libc.stdint cimport int64_t

from native.bars cimport Bar, Bars
from native.events cimport DayTicker, ForceOrder, Kline, MarkPrice, Message


cdef enum:
    WAITING = 16              # closed klines whose bar is not closed, or lacks trades


@final
cdef class Context:
    cdef Bars _bars
    cdef MarkPrice _mark
    cdef ForceOrder _force
    cdef DayTicker _day
    cdef int64_t _open_interest
    cdef Kline _waiting[WAITING]          # by open time
    cdef int64_t _n_waiting
    cdef int64_t _kline_ns                # open time of the newest closed kline seen
    cdef int64_t _difference_ns           # open time of the last minute that differed; 0 = none
    cdef int _difference                  # place in DIFFERENCES
    cdef int64_t _ours
    cdef int64_t _theirs
    cdef readonly int64_t marks           # messages
    cdef readonly int64_t force_orders
    cdef readonly int64_t days
    cdef readonly int64_t refused         # REST answers that could not be read
    cdef readonly int64_t open_interest_ns
    cdef readonly int64_t klines_compared
    cdef readonly int64_t klines_equal
    cdef readonly int64_t klines_left     # not compared: the bar never became whole

    # hot
    cdef bint take(self, const Message* message) noexcept nogil
    cdef void on_kline(self, const Kline* kline) noexcept nogil
    cdef void check(self) noexcept nogil
    cdef void _compare(self, const Kline* kline, const Bar* bar) noexcept nogil
    cdef void _differ(self, const Kline* kline, int place, int64_t ours, int64_t theirs) noexcept nogil
    # cold
    cdef int take_answer(self, str what, bytes body, str symbol, int quantity_digits) except -1
