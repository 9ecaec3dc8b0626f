"""Contents page of trade flow: the id chain, sweeps, CVD, rolling signed rates."""

cimport cython
from libc.stdint cimport int32_t, int64_t

from native.events cimport Sweep, Trade, int128_t


cdef enum:
    RATE_BUCKETS = 600          # 60 s of 100 ms
    BUCKETS_10S = 100
    BUCKETS_1S = 10
    RATE_BUCKET_NS = 100_000_000


cdef struct FlowRate:
    int128_t buy              # quantity units taken by buyers
    int128_t sell             # quantity units taken by sellers
    int64_t n_trades


cdef object sweep_to_tuple(const Sweep* sweep)


@cython.final
cdef class Flow:
    """What the tape of one instrument says."""
    cdef Sweep sweep                      # running; meaningful while sweep_is_open
    cdef Sweep closed                     # the last closed one; all zero before the first
    cdef bint sweep_is_open
    cdef int64_t sweep_due_ns             # INT64_MAX when none is open; else last_recv_ns + timeout
    cdef int128_t total_cvd               # quantity units since construction
    cdef int128_t day_cvd                 # quantity units since the first trade of the UTC day
    cdef int64_t day                      # of the session: UTC days of venue time; -1 before the first trade
    cdef FlowRate rate_1s
    cdef FlowRate rate_10s
    cdef FlowRate rate_60s
    cdef FlowRate[RATE_BUCKETS] rate_ring
    cdef int64_t rate_head                # number of the newest bucket
    cdef int64_t continuing_id            # the one trade id that may continue the running sweep; -1 = none
    cdef readonly int64_t sweep_timeout_ns
    cdef readonly int64_t last_trade_id   # -1: the chain starts with the next trade
    cdef readonly int64_t duplicates
    cdef readonly int64_t missing_ids
    cdef readonly int64_t n_sweeps        # closed ones

    # hot
    cdef bint accepts(self, const Trade* trade) noexcept nogil
    cdef bint ends_sweep(self, const Trade* trade) noexcept nogil
    cdef void close_sweep(self) noexcept nogil
    cdef void apply_trade(self, const Trade* trade, int64_t now_ns) noexcept nogil
    cdef void apply_late(self, const Trade* trade) noexcept nogil
    cdef void advance(self, int64_t now_ns) noexcept nogil
    cdef void reset_chain(self) noexcept nogil
    cdef void join_sweep(self, const Trade* trade, int64_t now_ns) noexcept nogil
