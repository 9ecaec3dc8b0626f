"""Contents page of latency: how long messages took from bytes to mask, by kind."""

from cython cimport final
from libc.stdint cimport int64_t

from native.histogram cimport Histogram


@final
cdef class Latency:
    cdef readonly Histogram depth
    cdef readonly Histogram trade
    cdef readonly Histogram ticker

    # hot
    cdef void record(self, int kind, int64_t elapsed_ns) noexcept nogil
