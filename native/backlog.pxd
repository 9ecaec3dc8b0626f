"""Contents page of the backlog: depth updates kept until a snapshot joins them."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.events cimport DepthUpdate, Level


@final
cdef class Backlog:
    cdef DepthUpdate* _updates
    cdef Level* _levels
    cdef int64_t _capacity_updates
    cdef int64_t _capacity_levels
    cdef int64_t _n
    cdef int64_t _used_levels
    cdef int64_t _first
    cdef readonly int64_t forgotten       # updates lost because the backlog was full

    # hot
    cdef void keep(self, const DepthUpdate* update) noexcept nogil
    cdef const DepthUpdate* front(self) noexcept nogil
    cdef void drop_front(self) noexcept nogil
    cdef void clear(self) noexcept nogil
