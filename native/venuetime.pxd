"""Contents page of venue time: the newest believable time the venue stamped on a message."""

from cython cimport final
from libc.stdint cimport int64_t


@final
cdef class VenueTime:
    cdef readonly int64_t last_ns         # newest believed; 0 before the first
    cdef readonly int64_t outliers        # times more than a minute off what the clock says
    cdef int64_t _offset_ns               # venue minus receive time of the last believed message
    cdef int _n_disbelieved               # in a row

    # hot
    cdef bint believes(self, int64_t venue_ns, int64_t recv_ns) noexcept nogil
