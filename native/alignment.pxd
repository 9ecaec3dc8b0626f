"""Contents page of alignment: where a price stands to the value areas, and how far it may run."""

from libc.stdint cimport int32_t, int64_t


cdef enum:
    NODES = 32
    VALUE_SOURCES = 3


cdef enum ValueSource:
    VALUE_SESSION = 0
    VALUE_ROLLING = 1
    VALUE_PREVIOUS = 2


cdef enum Placing:
    PLACED_NOWHERE = 0
    PLACED_EDGE = 1
    PLACED_BREAKOUT = 2


cdef struct ValueLevels:
    int32_t source            # ValueSource
    int32_t is_ready
    int32_t is_poc_naked      # previous session only: not traded since
    int32_t n_nodes
    double poc                # quote, as all prices here
    double vah
    double val
    double nodes[NODES]       # high-volume nodes
    int64_t last_inside_ns    # 0 = never
    int64_t age_ns


cdef struct AlignmentRule:
    double edge_bps
    double edge_share
    double breakout_min_bps
    double breakout_max_bps
    int64_t inside_ns


cdef struct Placed:
    int32_t placing           # Placing
    int32_t source            # ValueSource of the primary profile; -1 = there is none
    double target_bps         # NaN when nowhere

# hot
# Index of the primary profile; -1 if none can be.
cdef int primary_of(const ValueLevels* levels, int n) noexcept nogil
cdef Placed align(
    const ValueLevels* levels, int n, int side, double mid, double reach_bps, const AlignmentRule* rule, int64_t now_ns
) noexcept nogil
# cold
cdef AlignmentRule rule_of(object rule) except *
cdef object placed_object(Placed placed)
