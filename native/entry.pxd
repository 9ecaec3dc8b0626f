"""Contents page of entry: from a closed whale to a confirmed candidate, and its end."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t, uint32_t

from native.events cimport FlowEvent, Sweep
from native.imbalance cimport Confirmation, Imbalance
from native.triggers cimport Triggers


cdef struct WatchedWhale:
    Sweep sweep
    int64_t episode
    double threshold          # quote: what it was judged by
    double notional           # quote


cdef inline void describe_confirmation(FlowEvent* event, const Confirmation* seen) noexcept nogil:
    event.rho_pre = seen.rho_pre
    event.rho_post = seen.rho_post
    event.rho_post_min = seen.rho_post_min
    event.pulled_share = seen.pulled_share
    event.n_updates = seen.n_updates
    event.reason = seen.reason


@final
cdef class Entry:
    cdef Imbalance _imbalance
    cdef Triggers _triggers
    cdef int64_t _window_ns           # entries come within it of the episode's last whale
    cdef WatchedWhale watched         # its window after is running, or was judged last
    cdef bint is_watching
    cdef WatchedWhale candidate       # confirmed last; episode 0 before the first
    cdef Confirmation confirmation    # of the candidate
    cdef bint is_armed
    cdef int64_t expires_ns
    cdef int64_t _counted_episode[2]  # by side, SELL then BUY
    cdef readonly int64_t n_confirmed     # episodes confirmed, each once

    # hot
    cdef bint is_superseded_by(self, int64_t episode) noexcept nogil
    cdef void watch(self, const Sweep* sweep, int64_t episode, double threshold, double notional) noexcept nogil
    cdef bint makes_way(self, int64_t now_ns) noexcept nogil
    cdef uint32_t judge(self, int64_t now_ns, bint is_valid, Confirmation* out) noexcept nogil
    cdef bint drop(self) noexcept nogil
