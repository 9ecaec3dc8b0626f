"""Contents page of feed skew: how far the depth feed stands before or behind the trade feed."""

from cython cimport final
from libc.stdint cimport int64_t


@final
cdef class FeedSkew:
    cdef int64_t _depth_ns                # venue time of the newest depth update; 0 before the first
    cdef readonly int64_t n               # trades measured
    cdef readonly int64_t last_ns
    cdef readonly double mean_ns          # decayed over 64 trades; NaN before the first
    cdef readonly double deviation_ns     # decayed mean distance from it; NaN before the first

    # hot
    cdef void on_depth(self, int64_t venue_ns) noexcept nogil
    cdef void on_trade(self, int64_t venue_ns) noexcept nogil
