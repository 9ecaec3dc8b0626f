"""Contents page of triggers: timers with due times and armed price levels."""

from cython cimport final
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t


cpdef enum Timer:
    """The timers of one instrument; equal due times run in this order."""
    TIMER_SWEEP = 0       # the running sweep is over
    TIMER_HOLD = 1        # an imbalance has held
    TIMER_CONFIRM = 2     # the window after a whale is over
    TIMER_EXPIRY = 3      # the entry candidate is over
    TIMER_STALE = 4       # no depth update for too long
    TIMER_SECOND = 5      # the one-second sample
    TIMER_DESK = 6        # armed from outside


cpdef enum LevelSide:
    """Which quote reaches an armed level from which side."""
    LEVEL_BID_AT_OR_BELOW = 0
    LEVEL_BID_AT_OR_ABOVE = 1
    LEVEL_ASK_AT_OR_BELOW = 2
    LEVEL_ASK_AT_OR_ABOVE = 3


cdef enum:
    N_TIMERS = 7
    N_LEVELS = 16


cdef struct ArmedLevel:
    int64_t price
    int32_t side          # LevelSide
    int32_t is_armed


@final
cdef class Triggers:
    cdef int64_t due[N_TIMERS]
    cdef int64_t next_due
    cdef ArmedLevel _levels[N_LEVELS]
    cdef uint32_t _armed              # bit per slot
    cdef uint32_t fired               # slots fired since they were last taken

    # hot
    cdef void arm(self, int timer, int64_t due_ns) noexcept nogil
    cdef void disarm(self, int timer) noexcept nogil
    cdef int pop(self, int64_t now_ns) noexcept nogil
    cdef uint32_t check_levels(self, int64_t best_bid, int64_t best_ask) noexcept nogil
    cdef void _find_next(self) noexcept nogil
