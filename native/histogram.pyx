"""Latency histogram: log-spaced buckets, percentiles, merge."""

cimport cython
from libc.math cimport ceil
from libc.stdint cimport INT64_MAX, INT64_MIN
from libc.string cimport memset


cdef extern from *:
    """
    static inline int remora_top_bit(unsigned long long value) {
        return 63 - __builtin_clzll(value);
    }
    """
    int remora_top_bit(unsigned long long value) noexcept nogil


cdef inline int bucket_of(int64_t value_ns) noexcept nogil:
    """Index of the bucket of a value in 0 .. 2^42 - 1."""
    cdef int shift
    if value_ns < SUB_BUCKETS:
        return <int>value_ns
    shift = remora_top_bit(<unsigned long long>value_ns) - SUB_BUCKET_BITS
    # The shifted value keeps its leading bit (32 .. 63), so consecutive octaves tile the index without a
    # hole.
    return shift * SUB_BUCKETS + <int>(value_ns >> shift)


cdef inline int64_t upper_of(int bucket) noexcept nogil:
    """Greatest value of a bucket."""
    cdef int shift
    if bucket < 2 * SUB_BUCKETS:
        return bucket
    shift = bucket // SUB_BUCKETS - 1
    return ((<int64_t>(bucket - shift * SUB_BUCKETS) + 1) << shift) - 1


@cython.final
cdef class Histogram:
    """Count durations in log-spaced buckets.

    Notes
    -----
    Values below 64 ns have a bucket each; every power of two above is cut into 32, so a bucket is at most
    1/32 (3.125 %) of its values wide. The range is 0 .. 2^42 - 1 ns (73 minutes): longer values go to the
    last bucket, negative ones to the first, and both are counted in `n_clamped`. `count`, `min`, `max` and
    `mean` are exact, of the values as given. Memory is fixed: 1,216 counters.
    """

    def __cinit__(self) -> None:
        self.clear()

    cdef void clear(self) noexcept nogil:
        memset(self.counts, 0, sizeof(self.counts))
        self.count = 0
        self.n_clamped = 0
        self.lowest_ns = INT64_MAX
        self.highest_ns = INT64_MIN
        self.sum_ns = 0

    cdef void record(self, int64_t value_ns) noexcept nogil:
        """Count one duration. Cost: constant, no allocation."""
        cdef int bucket
        if value_ns < 0:
            bucket = 0
            self.n_clamped += 1
        elif value_ns >> RANGE_BITS:
            bucket = BUCKETS - 1
            self.n_clamped += 1
        else:
            bucket = bucket_of(value_ns)
        self.counts[bucket] += 1
        self.count += 1
        self.sum_ns += value_ns
        if value_ns < self.lowest_ns:
            self.lowest_ns = value_ns
        if value_ns > self.highest_ns:
            self.highest_ns = value_ns

    def record_value(self, int64_t ns) -> None:
        """Count one duration.

        Parameters
        ----------
        ns : int
            Duration in nanoseconds.
        """
        self.record(ns)

    def percentile(self, double q) -> int:
        """Return a duration that at least `q` per cent of the values do not exceed.

        Parameters
        ----------
        q : float
            Per cent, 0 to 100.

        Returns
        -------
        int
            Nanoseconds: the upper edge of the bucket of rank ``max(1, ceil(q n / 100))``, at most `max`; 0
            when empty. Never below the true value of that rank (unless that one was clamped), above it by
            less than 3.2 %.

        Raises
        ------
        ValueError
            If `q` is not a number from 0 to 100.

        Notes
        -----
        The true value is ``numpy.quantile(values, q / 100, method="inverted_cdf")``. Cost: one walk
        over 1,216 counters.
        """
        cdef int64_t rank, seen = 0
        cdef int64_t edge
        cdef int bucket
        if not 0.0 <= q <= 100.0:
            raise ValueError(f"a percentile is a number from 0 to 100, found {q}")
        if self.count == 0:
            return 0
        rank = <int64_t>ceil(q * <double>self.count / 100.0)
        if rank < 1:
            rank = 1
        if rank >= self.count:
            return self.highest_ns
        for bucket in range(BUCKETS):
            seen += self.counts[bucket]
            if seen >= rank:
                edge = upper_of(bucket)
                return edge if edge < self.highest_ns else self.highest_ns
        return self.highest_ns

    def merge(self, Histogram other not None) -> None:
        """Add another histogram's counts to this one; the other stays as it is.

        Parameters
        ----------
        other : Histogram
            May be this histogram itself, which doubles every count.
        """
        cdef int bucket
        for bucket in range(BUCKETS):
            self.counts[bucket] += other.counts[bucket]
        self.count += other.count
        self.n_clamped += other.n_clamped
        self.sum_ns += other.sum_ns
        if other.lowest_ns < self.lowest_ns:
            self.lowest_ns = other.lowest_ns
        if other.highest_ns > self.highest_ns:
            self.highest_ns = other.highest_ns

    def reset(self) -> None:
        """Forget everything."""
        self.clear()

    @property
    def min(self) -> int:
        """Least value as given, in nanoseconds; 0 when empty."""
        return self.lowest_ns if self.count else 0

    @property
    def max(self) -> int:
        """Greatest value as given, in nanoseconds; 0 when empty."""
        return self.highest_ns if self.count else 0

    @property
    def mean(self) -> float:
        """Mean in nanoseconds of the values as given; 0.0 when empty."""
        return <double>self.sum_ns / <double>self.count if self.count else 0.0
