"""The venue's clock as its messages tell it.

A time far off would close every bar up to it, or teach a trade of another day: it is not believed. The venue's clock
may be off ours by any constant (one recording's is 1.27 s); what counts is a jump against the last believed message.
"""

from cython cimport final


cdef enum:
    BELIEVE_ANYWAY = 32       # so many in a row: the clock did move

cdef int64_t TOLERANCE_NS = 60000000000


@final
cdef class VenueTime:
    """Believes or disbelieves the times on one instrument's messages."""

    cdef bint believes(self, int64_t venue_ns, int64_t recv_ns) noexcept nogil:
        cdef int64_t offset = venue_ns - recv_ns
        if self.last_ns and self._n_disbelieved < BELIEVE_ANYWAY and not (
                -TOLERANCE_NS <= offset - self._offset_ns <= TOLERANCE_NS):
            self.outliers += 1
            self._n_disbelieved += 1
            return False
        self._offset_ns = offset
        self._n_disbelieved = 0
        if venue_ns > self.last_ns:
            self.last_ns = venue_ns
        return True

    def apply(self, venue_ns: int, recv_ns: int) -> bool:
        """Tell a message's venue and receive time; False if the venue time is not believed."""
        return bool(self.believes(venue_ns, recv_ns))
