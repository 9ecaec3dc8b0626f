"""Contents page of the router: which stream's message goes to which market, and who may bring it."""

from cpython.object cimport PyObject
from cython cimport final
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from native.ring cimport RingWriter


cdef struct Stream:
    const char* name          # in the bytes object that `_names` holds; NULL: the slot is free
    int64_t length
    uint64_t mixed            # of the name, see `mix`
    int64_t owner             # connection whose messages count; 0: nobody's
    int64_t heir              # connection that may take over; 0: none
    int64_t last_recv_ns      # of the last message taken; 0: never
    int64_t n_messages        # taken
    int32_t lane              # place in `_lanes`; -1: no market


cdef struct Lane:
    PyObject* market          # a Market that `_held` keeps alive; NULL: the place is free
    int64_t touched_ns        # stamp of the read that touched it last
    int32_t n_streams
    uint32_t mask             # of the messages with that stamp


@final
cdef class Router:
    cdef Stream* _streams
    cdef Lane* _lanes
    cdef int32_t* _table      # open addressing: slot + 1, or 0
    cdef int32_t* _touched    # lanes in the order of their first message
    cdef int64_t _table_mask
    cdef int32_t _max_streams
    cdef int32_t _n_slots     # slots ever in use
    cdef int32_t _n_lanes
    cdef int32_t _n_touched
    cdef uint32_t pending     # all masks of the read so far
    cdef bint _is_stamped     # `_recv_ns` is that of the running read
    cdef bint _is_due_checked
    cdef bint _has_messages   # since the last end of a read
    cdef int64_t _recv_ns
    cdef int64_t _last_ns
    cdef int64_t _anchor_ns
    cdef uint32_t _frame_kind
    cdef bint _has_ring
    cdef RingWriter _ring
    cdef list _names
    cdef list _held
    cdef object _on_due
    cdef object _on_masks
    cdef object _on_control
    cdef object _on_heir
    cdef object _now_ns

    cdef readonly int64_t n_read              # reads that brought a message
    cdef readonly int64_t n_messages_total    # all messages, taken or not
    cdef readonly int64_t n_unowned           # of a known stream, from a connection that does not own it
    cdef readonly int64_t n_unknown           # of no known stream, and no reply
    cdef readonly int64_t n_unrecorded        # taken, but refused by the ring
    cdef readonly int64_t n_errors            # exceptions of callbacks
    cdef readonly object last_error           # the last of them, or None

    # hot
    cdef void feed_bytes(self, int64_t connection, const char* data, int64_t n) noexcept nogil
    cpdef void end_read(self) noexcept nogil
    cdef int32_t _find(self, const char* name, int64_t length) noexcept nogil
    cdef void _apply(self, Stream* stream, const char* data, int64_t n) noexcept nogil
    cdef void _run_due(self) noexcept nogil
    cdef void _take_stamp(self) noexcept nogil
    cdef int64_t _next_ns(self) noexcept nogil
    # cold
    cdef int64_t _asked_ns(self) noexcept with gil
    cdef void _decide(self) noexcept with gil
    cdef void _call_due(self) noexcept with gil
    cdef bint _ask_heir(self, int32_t slot, int64_t connection, const char* data, int64_t n) noexcept with gil
    cdef void _control(self, int64_t connection, const char* data, int64_t n, bint is_reply) noexcept with gil
    cdef void _keep(self, object error) noexcept
    cdef Stream* _used(self, object slot) except NULL
    cdef int _rebuild(self) except -1
    cdef int32_t _lane_of(self, object market) except -2
