"""The only compiled room that knows picows: frames of one stream socket, whole messages to the router.

What one read brought is one decision. A frame lies in picows' read buffer and is dead when the callback returns: it
is applied or copied before. Pings and close frames are answered here: picows, if it answered, would not show us a
ping, and after one as the last frame of a read nobody would say that the read is over.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from native.events cimport MASK_ENTRY
from native.router cimport Router

from picows import WSCloseCode


cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)
    unsigned long FIONREAD


# How long a socket that was closed may keep what it could not send.
cdef double LINGER_S = 1.0

cdef enum:
    MOST_READ_ON = 4         # reads that may be joined to one before it is decided
    HOPS = 2                 # turns of the loop after which a read that was waited for has come or will not


cdef class FrameListener(WSListener):
    """One stream socket.

    Parameters
    ----------
    frames : Router or object with ``feed(connection, bytes)`` and ``end_read()``
        Where messages go; a router is fed without a Python object.
    connection : int
        Its number.
    loop : asyncio event loop
        Of the socket.
    on_closed : callable()
        Called once, when the socket is gone.
    max_message_bytes : int
        A message, whole or in fragments, that is longer closes the socket.

    Attributes
    ----------
    reason : str
        Why it was closed, if a close frame or a fault said so.
    n_binary : int
        Binary messages: counted and refused.
    n_errors, last_error
        Exceptions: none reaches picows. One of `frames` is kept and the stream goes on; one of our own closes it.

    Notes
    -----
    With an entry bit set at the end of picows' buffer and bytes waiting in the socket, up to four reads are taken
    together, so that a candidate is not decided on prices that are superseded already. What is waited for and is no
    whole frame yet is given up after two turns of the loop. Bytes that TLS holds back are not seen.
    """

    def __init__(self, frames, int64_t connection, loop, on_closed, int64_t max_message_bytes):
        if connection < 1:
            raise ValueError(f"connection must be 1 or more, found {connection}")
        self.connection = connection
        self._frames = frames
        self._router = frames if isinstance(frames, Router) else None
        self._loop, self._on_closed = loop, on_closed
        self._max_bytes = max_message_bytes
        self._settle_bound = self._settle
        self._socket = -1
        self.reason = ""

    def __dealloc__(self):
        PyMem_RawFree(self._parts)

    cpdef on_ws_connected(self, WSTransport transport):
        self._transport = transport
        self._socket = transport.underlying_transport.get_extra_info("socket").fileno()
        # picows keeps there what ended the socket; `reason` says it already.
        transport.disconnected_future.add_done_callback(look_at)
        if self.is_closing:
            transport.disconnect(False)

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef bint is_last
        try:
            if not self.is_closing:
                # picows looks one frame ahead: if it could not read that one, it has said so to the peer already, and
                # this one is the last that is sound. What it parses after it is not to be believed.
                is_last = transport.is_close_frame_sent
                if frame.payload_size <= self._max_bytes:
                    self._take(frame)
                self.is_closing |= is_last
            if frame.last_in_buffer and self._is_open_read and not self._reads_on():
                self._end_read()
        except BaseException as error:
            self._keep(error)
            self.abandon(f"the listener failed: {error!r}")

    cpdef on_ws_disconnected(self, WSTransport transport):
        try:
            self.is_closing = True
            if self._linger is not None:
                self._linger.cancel()
            if not self.reason and transport.close_handshake is not None:
                self.reason = f"closed by us: {parser_words(transport.close_handshake.sent, self._max_bytes)}"
            if self._is_open_read:
                self._end_read()
        except BaseException as error:
            self._keep(error)
        on_closed, self._on_closed = self._on_closed, None
        self._forget()
        if on_closed is not None:
            on_closed()

    cdef void _forget(self) noexcept:
        # Nobody collects cycles while the engine runs: an ended socket must go by its own count.
        self._transport = None
        self._settle_bound = None
        self._linger = None
        PyMem_RawFree(self._parts)
        self._parts, self._capacity, self._size = NULL, 0, 0

    cdef int _take(self, WSFrame frame) except -1:
        cdef WSMsgType kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            return self._finish(WSCloseCode.PROTOCOL_ERROR, "a frame with reserved bits came")
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:
            if self._is_fragmented:
                return self._finish(WSCloseCode.PROTOCOL_ERROR, "a message began before the last was over")
            if kind == WSMsgType.BINARY:
                self.n_binary += 1
            elif frame.fin:
                return self._message(frame.payload_ptr, frame.payload_size)
            self._is_fragmented = not frame.fin
            self._is_text = kind == WSMsgType.TEXT
            self._size = 0
            return self._append(frame.payload_ptr, frame.payload_size)
        if kind == WSMsgType.CONTINUATION:
            if not self._is_fragmented:
                return self._finish(WSCloseCode.PROTOCOL_ERROR, "a fragment came that continues nothing")
            self._append(frame.payload_ptr, frame.payload_size)
            if frame.fin and not self.is_closing:
                self._is_fragmented = False
                if self._is_text:
                    return self._message(self._parts, self._size)
            return 0
        if kind == WSMsgType.PING:
            self._transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self.reason = f"closed by the peer: {closing_words(frame)}"
            self.is_closing = True
            if not self._transport.is_close_frame_sent:
                self._transport.send(WSMsgType.CLOSE, frame.get_payload_as_bytes())
            self._let_go()
        return 0

    cdef int _message(self, const char* data, int64_t n) except -1:
        self._is_open_read = True
        if self._router is not None:
            self._router.feed_bytes(self.connection, data, n)
            return 0
        cdef bytes payload = PyBytes_FromStringAndSize(data, n)
        try:
            self._frames.feed(self.connection, payload)
        except BaseException as error:
            self._keep(error)
        return 0

    cdef int _append(self, const char* data, int64_t n) except -1:
        cdef int64_t wanted
        cdef void* larger
        if self._size + n > self._max_bytes:
            return self._finish(
                WSCloseCode.MESSAGE_TOO_BIG, f"a message is longer than {self._max_bytes} bytes")
        if self._is_text and self._size + n > self._capacity:
            wanted = min(self._max_bytes, max(2 * self._capacity, self._size + n))
            larger = PyMem_RawRealloc(self._parts, wanted)
            if larger is NULL:
                raise MemoryError()
            self._parts, self._capacity = <char*>larger, wanted
        if self._is_text and n:
            memcpy(self._parts + self._size, data, n)
        self._size += n
        return 0

    cdef int _finish(self, object code, str reason) except -1:
        # Say why, then let go: nobody waits for the answer.
        self.reason = f"closed by us: {reason}"
        self.is_closing = True
        self._transport.send_close(code, reason)
        self._let_go()
        return 0

    cdef int _let_go(self) except -1:
        self._transport.disconnect(True)
        self._linger = self._loop.call_later(LINGER_S, self.abandon, "")
        return 0

    cdef int _end_read(self) except -1:
        self._is_open_read = False
        self._n_read_on = 0
        if self._router is not None:
            self._router.end_read()
            return 0
        try:
            self._frames.end_read()
        except BaseException as error:
            self._keep(error)
        return 0

    cdef bint _reads_on(self) noexcept:
        cdef int waiting = 0
        if self._router is None or not self._router.pending & MASK_ENTRY or self.is_closing:
            return False
        if self._n_read_on >= MOST_READ_ON or ioctl(self._socket, FIONREAD, &waiting) != 0 or waiting <= 0:
            return False
        self._n_read_on += 1
        try:
            if self._n_hops == 0:
                self._loop.call_soon(self._settle_bound)
            self._n_hops = HOPS
        except BaseException as error:
            self._keep(error)
            return False
        return True

    def _settle(self) -> None:
        """End a read whose continuation did not come."""
        if not self._is_open_read or self._n_hops <= 1:
            self._n_hops = 0
            if self._is_open_read:
                self._end_read()
            return
        self._n_hops -= 1
        self._loop.call_soon(self._settle_bound)

    cdef void _keep(self, object error) noexcept:
        self.n_errors += 1
        self.last_error = error

    def send(self, text: bytes) -> bool:
        """Send one text message; False if the socket takes nothing any more or has not sent the last ones yet."""
        if self.is_closing or self._transport is None or self._transport.is_disconnected \
                or self._transport.underlying_transport.is_closing() \
                or self._transport.underlying_transport.get_write_buffer_size() > 65536:
            return False
        self._transport.send(WSMsgType.TEXT, text)
        return True

    def close(self, reason: str = "closed by us") -> None:
        """Say goodbye and close; what still comes is not taken. Again is harmless."""
        if self.is_closing:
            return
        self.is_closing = True
        self.reason = reason
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.send_close(WSCloseCode.OK)
            self._let_go()

    def abandon(self, reason: str) -> None:
        """Drop the socket at once, whatever it still has to send."""
        self.is_closing = True
        self.reason = self.reason or reason
        if self._transport is None:
            self._on_closed = None
            self._settle_bound = None
        elif not self._transport.is_disconnected:
            self._transport.disconnect(False)


def look_at(ended) -> None:
    """Take the exception of a future, so that nobody complains that it was not."""
    if not ended.cancelled():
        ended.exception()


cdef str parser_words(object sent, int64_t max_bytes):
    if sent is None:
        return "no code given"
    if sent.code == WSCloseCode.MESSAGE_TOO_BIG:
        return f"a message is longer than {max_bytes} bytes"
    return f"{int(sent.code)} {sent.reason}".rstrip()


cdef str closing_words(WSFrame frame):
    cdef str text
    if frame.payload_size < 2:
        return "no code given"
    text = frame.get_close_message().decode("utf-8", "replace") if frame.payload_size > 2 else ""
    return f"{int(frame.get_close_code())} {text}".rstrip()
