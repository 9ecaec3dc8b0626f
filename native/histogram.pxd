"""Contents page of the latency histogram: log-spaced counts of nanoseconds."""

cimport cython
from libc.stdint cimport int64_t

from native.events cimport int128_t


cdef enum:
    # Values below 64 have a bucket each; every power of two above has 32: relative width at most 1/32.
    SUB_BUCKET_BITS = 5
    SUB_BUCKETS = 32
    RANGE_BITS = 42
    BUCKETS = 1216            # (RANGE_BITS - SUB_BUCKET_BITS + 1) * SUB_BUCKETS


@cython.final
cdef class Histogram:
    """Counts of durations; percentiles within 3.2 %."""
    cdef int64_t counts[BUCKETS]
    cdef readonly int64_t count       # values recorded, clamped ones included
    cdef readonly int64_t n_clamped   # below 0 or at least 2^42 ns
    cdef int64_t lowest_ns            # exact, of the values as given
    cdef int64_t highest_ns
    cdef int128_t sum_ns

    # hot
    cdef void record(self, int64_t value_ns) noexcept nogil

    # cold
    cdef void clear(self) noexcept nogil
