"""Contents page of value areas: rolling, session and previous profile, and when mid was last inside each."""

from cython cimport final
from libc.stdint cimport int64_t

from native.alignment cimport (
    NODES, VALUE_PREVIOUS, VALUE_ROLLING, VALUE_SESSION, VALUE_SOURCES, AlignmentRule, Placed, ValueLevels,
    align, primary_of,
)
from native.events cimport Trade
from native.profile cimport Profile, ProfileLevels


@final
cdef class Areas:
    cdef readonly Profile rolling
    cdef readonly Profile session
    cdef bint _has_session
    cdef double _node_share
    cdef double _price_scale
    cdef int64_t _day                     # UTC day of the session; -1 before the first trade
    cdef ProfileLevels _previous          # final levels of the last session
    cdef bint _previous_is_naked          # its POC has not traded since
    cdef int64_t _inside_rolling_ns       # last second with mid inside the value area; 0 = never
    cdef int64_t _inside_session_ns
    cdef int64_t _inside_previous_ns

    # hot
    cdef void on_trade(self, const Trade* trade, int64_t now_ns) noexcept nogil
    cdef bint apply_late(self, const Trade* trade, int64_t at_ns) noexcept nogil
    cdef void advance(self, int64_t now_ns) noexcept nogil
    cdef void mark_inside(self, int64_t mid_x2, int64_t now_ns) noexcept nogil
    cdef void _price(self, ValueLevels* value, const ProfileLevels* levels, int64_t now_ns) noexcept nogil
    cdef void _find_nodes(self, ValueLevels* value) noexcept nogil
    # Into VALUE_SOURCES places; without nodes.
    cdef int values(self, ValueLevels* out, int64_t now_ns) noexcept nogil
    cdef Placed place(
        self, int side, double mid, double reach_bps, const AlignmentRule* rule, int64_t now_ns
    ) noexcept nogil
