"""Volatility of the mid: EWMA of squared one-minute log returns."""

cimport cython
from libc.math cimport INFINITY, NAN, isnan, log, sqrt


# A span beyond a leap year of minutes is a mistake of unit, not a setting.
cdef enum:
    MAX_SPAN = 527_040


@cython.final
cdef class Volatility:
    """Estimate the volatility of one minute by an EWMA of squared log returns of the mid.

    Parameters
    ----------
    span : int
        Span of the average in returns, 1 to 527,040; ``alpha = 2 / (span + 1)``.
    ready_after : int
        Returns before there is a value, 1 to 527,040.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    With ``r = ln(mid / previous mid)``: the average starts, at the `ready_after`-th return, as the mean of
    the first `ready_after` squared returns, and from the next on ``v = (1 - alpha) v + alpha r^2``. An
    invalid book or a minute that is not the next one breaks the chain: no return is taken across the break,
    the average itself stays as it was. A value at minute k uses mids up to minute k only.

    Blind to: what happens inside the minute (a spike that returns leaves no trace), the mean return (taken
    as zero), the season of the day, jumps as distinct from diffusion, and the time lost in breaks.

    Source: the exponentially weighted variance of RiskMetrics, J.P. Morgan/Reuters Technical Document
    (1996), chapter 5, with the decay written as a span.
    """

    def __cinit__(self, int64_t span=20, int64_t ready_after=5) -> None:
        if not 1 <= span <= MAX_SPAN:
            raise ValueError(f"span is expected from 1 to {MAX_SPAN} returns, found {span}")
        if not 1 <= ready_after <= MAX_SPAN:
            raise ValueError(f"ready_after is expected from 1 to {MAX_SPAN} returns, found {ready_after}")
        self.span = span
        self.ready_after = ready_after
        self.alpha = 2.0 / (span + 1.0)
        self.squared_sum = 0.0
        self.variance = NAN
        self.previous_mid = NAN
        self.previous_minute = 0

    cdef void sample_mid(self, double mid, int64_t minute, bint is_valid) noexcept nogil:
        """Take the mid at a minute boundary.

        Parameters
        ----------
        mid
            In any fixed unit, more than 0; anything else counts as an invalid book.
        minute
            Number of the minute; only the successor of the last one gives a return.
        is_valid
            Whether the book was valid at the boundary.

        Cost: one logarithm a minute, constant, no allocation.
        """
        cdef double change, squared
        cdef bint had_previous = not isnan(self.previous_mid)
        if not is_valid or not 0.0 < mid < INFINITY:
            self.n_breaks += had_previous
            self.previous_mid = NAN
            return
        if had_previous:
            if minute == self.previous_minute + 1:
                change = log(mid / self.previous_mid)
                squared = change * change
                self.n_returns += 1
                if self.n_returns > self.ready_after:
                    self.variance = (1.0 - self.alpha) * self.variance + self.alpha * squared
                else:
                    self.squared_sum += squared
                    if self.n_returns == self.ready_after:
                        self.variance = self.squared_sum / self.ready_after
            else:
                self.n_breaks += 1
        self.previous_mid = mid
        self.previous_minute = minute

    cdef double sigma_60_bps(self) noexcept nogil:
        """Volatility of one minute in basis points, ``1e4 sqrt(v)``; NaN until ready. Cost: one square
        root."""
        return 1e4 * sqrt(self.variance)

    def apply_mid(self, double mid, int64_t minute, bint is_valid=True) -> None:
        """Take the mid at a minute boundary, as the corridor does.

        Parameters
        ----------
        mid : float
            In any fixed unit.
        minute : int
            Number of the minute.
        is_valid : bool
            Whether the book was valid.
        """
        self.sample_mid(mid, minute, is_valid)

    @property
    def sigma_bps(self) -> float:
        """Volatility of one minute in basis points; NaN until `ready_after` returns."""
        return self.sigma_60_bps()
