"""Contents page of whales: the sliding quantile of sweep notional, the threshold, episodes."""

cimport cython
from libc.stdint cimport int32_t, int64_t

from native.events cimport FlowEvent, Sweep


cdef enum:
    NOTIONAL_BUCKETS = 3240   # 1 % wide, from 1e-2 to 1e12 quote
    TREE_SIZE = 4096          # power of two above it


cdef struct WindowEntry:
    int64_t recv_ns
    int32_t bucket


@cython.final
cdef class Whale:
    """Judge sweeps of one instrument against what is large now."""
    cdef int32_t[TREE_SIZE + 1] tree      # Fenwick, 1-based
    cdef WindowEntry* entries             # ring, oldest first
    cdef int64_t oldest                   # index of the oldest entry
    cdef double floor_quote
    cdef double depth_share
    cdef double quantile
    cdef double notional_scale            # quote per price unit x quantity unit; inverse: per quantity unit
    cdef double quantity_scale            # base (or contracts) per quantity unit
    cdef bint is_inverse
    cdef bint adaptive_floor
    cdef int64_t window_ns
    cdef int64_t min_sweeps
    cdef int64_t capacity
    cdef int64_t episode_gap_ns
    cdef double cached_threshold
    cdef bint threshold_is_stale
    cdef bint sweep_is_tracked            # the running sweep was seen
    cdef bint sweep_is_whale              # and has reached its threshold
    cdef int64_t tracked_trade_id         # first trade id of the running sweep
    cdef double tracked_threshold         # read when it began
    cdef int64_t[2] side_episode          # by side, SELL then BUY; 0 = none yet
    cdef int64_t[2] side_last_ns          # last receive time of that side's last whale
    cdef readonly double depth_median     # quote, one side; NaN until ready
    cdef readonly double sweep_quantile   # quote; NaN while the window is empty
    cdef readonly double sweep_median     # quote; NaN while the window is empty or the floor is fixed
    cdef readonly double whale_threshold  # the one the last whale was judged by; NaN before
    cdef readonly int64_t whale_first_trade_id
    cdef readonly int64_t n_window
    cdef readonly int64_t early_evictions
    cdef readonly int64_t n_whales
    cdef readonly int64_t n_episodes
    cdef readonly int64_t episode         # of the last whale, from 1; 0 before
    cdef readonly int32_t episode_side    # Side of the aggressor
    cdef readonly int64_t episode_last_ns

    # hot
    cdef double notional_of(self, const Sweep* sweep) noexcept nogil
    cdef void describe(
        self, FlowEvent* event, const Sweep* sweep, int64_t episode, double threshold
    ) noexcept nogil
    cdef void set_depth_median(self, double one_side_depth_quote) noexcept nogil
    cdef double threshold(self) noexcept nogil
    cdef bint opens(self, const Sweep* sweep) noexcept nogil
    cdef bint closes(self, const Sweep* sweep, int64_t now_ns) noexcept nogil
    cdef void advance(self, int64_t now_ns) noexcept nogil
    cdef bint evict_until(self, int64_t now_ns) noexcept nogil
    cdef void evict_oldest(self) noexcept nogil
    cdef void add_to_tree(self, int32_t bucket, int32_t change) noexcept nogil
    cdef double window_quantile(self, double q) noexcept nogil
    cdef void refresh(self) noexcept nogil
