"""Contents page of volatility: EWMA of squared one-minute log returns of the mid."""

cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Volatility:
    """EWMA volatility of one-minute mid returns of one instrument."""
    cdef double alpha
    cdef double squared_sum           # of the first `ready_after` squared returns
    cdef double variance              # EWMA of squared log returns; NaN until ready
    cdef double previous_mid          # price units; NaN when the chain is broken
    cdef int64_t previous_minute
    cdef readonly int64_t span
    cdef readonly int64_t ready_after
    cdef readonly int64_t n_returns
    cdef readonly int64_t n_breaks    # chains ended by an invalid book or a minute that is not the next

    # hot
    cdef void sample_mid(self, double mid, int64_t minute, bint is_valid) noexcept nogil
    cdef double sigma_60_bps(self) noexcept nogil
