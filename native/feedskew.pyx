"""Depth and trades come by two sockets on USD-M: how far apart in venue time are they when a trade arrives?

Measured with each trade, which is fresh when it comes: the time of the newest depth update minus the time of the trade.
Negative, the book that the trade is judged by is older than the trade; positive, the trade came late.
Blind to: how late both are, and a depth feed that is slow because nothing happens.
"""

from cython cimport final
from libc.math cimport NAN, fabs


cdef double SHARE = 1.0 / 64.0


@final
cdef class FeedSkew:
    """Venue time of the newest depth update minus that of the trade that arrives. Cost: constant, no allocation."""

    def __cinit__(self):
        self.mean_ns = NAN
        self.deviation_ns = NAN

    cdef void on_depth(self, int64_t venue_ns) noexcept nogil:
        if venue_ns > self._depth_ns:
            self._depth_ns = venue_ns

    cdef void on_trade(self, int64_t venue_ns) noexcept nogil:
        cdef double skew
        if self._depth_ns == 0:
            return
        self.last_ns = self._depth_ns - venue_ns
        skew = <double>self.last_ns
        if self.n == 0:
            self.mean_ns = skew
            self.deviation_ns = 0.0
        else:
            self.deviation_ns += SHARE * (fabs(skew - self.mean_ns) - self.deviation_ns)
            self.mean_ns += SHARE * (skew - self.mean_ns)
        self.n += 1

    def apply_depth(self, venue_ns: int) -> None:
        """Tell the venue time of a depth update."""
        self.on_depth(venue_ns)

    def apply_trade(self, venue_ns: int) -> None:
        """Tell the venue time of a trade at its arrival, and measure."""
        self.on_trade(venue_ns)
