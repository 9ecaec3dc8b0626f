"""Contents page of the listener: one stream socket of picows, from frame to router."""

from libc.stdint cimport int64_t
from picows.picows cimport WSFrame, WSListener, WSTransport

from native.router cimport Router


cdef class FrameListener(WSListener):
    cdef readonly int64_t connection
    cdef readonly bint is_closing         # nothing is taken any more
    cdef readonly str reason              # why it closed; empty while open and when the socket just ended
    cdef readonly int64_t n_binary        # binary messages, refused
    cdef readonly int64_t n_errors
    cdef readonly object last_error       # the last exception of the frames' side, or of ours
    cdef Router _router                   # None: the frames are some other object's
    cdef object _frames
    cdef object _on_closed
    cdef object _loop
    cdef object _settle_bound
    cdef object _linger
    cdef WSTransport _transport
    cdef int _socket
    cdef char* _parts                     # of a fragmented message
    cdef int64_t _size
    cdef int64_t _capacity
    cdef int64_t _max_bytes
    cdef bint _is_fragmented
    cdef bint _is_text
    cdef bint _is_open_read               # messages came since the last end of a read
    cdef int _n_read_on
    cdef int _n_hops

    # cold
    cpdef on_ws_connected(self, WSTransport transport)
    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame)
    cpdef on_ws_disconnected(self, WSTransport transport)
    cdef int _take(self, WSFrame frame) except -1
    cdef int _message(self, const char* data, int64_t n) except -1
    cdef int _append(self, const char* data, int64_t n) except -1
    cdef int _finish(self, object code, str reason) except -1
    cdef int _let_go(self) except -1
    cdef int _end_read(self) except -1
    cdef bint _reads_on(self) noexcept
    cdef void _keep(self, object error) noexcept
    cdef void _forget(self) noexcept
