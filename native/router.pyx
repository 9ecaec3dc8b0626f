"""The one entry for stream messages, whatever the transport: each to its market, one decision per read.

Numbered as the steps of a message:

1. The first message of a read takes its moment: later than every moment given out before.
2. The stream is found by the bytes of its name. No known one: `on_control` hears the message.
3. Only the owner's connection counts; an heir asks `on_heir`, anybody else is counted and dropped.
4. Before the first message that is taken, timers due by then are decided: `on_due`.
5. The message goes to the ring as it came, then to its market; masks are kept per market until the read ends.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.stdint cimport INT64_MIN
from libc.string cimport memchr, memcmp, memcpy, memset

from native.clock cimport monotonic_ns
from native.cursor cimport Cursor, peek, skip_value, take, take_string
from native.events cimport MASK_GAP, MASK_LEVEL, MASK_STALE, MASK_WHALE_OPEN
from native.market cimport Market


cdef enum:
    HEAD = 11               # bytes of `{"stream":"`
    MIDDLE = 9              # bytes of `","data":`
    MOST_STREAMS = 65536
    LONGEST_NAME = 256
    MOST_DUE = 8            # times that `on_due` may take a moment of its own before a message is applied

cdef uint32_t FIRST = MASK_GAP | MASK_STALE | MASK_LEVEL | MASK_WHALE_OPEN


cdef inline uint64_t mix(const char* name, int64_t length) noexcept nogil:
    # The first and the last eight bytes and the length: names of one market share the ends, never all three for long.
    cdef uint64_t head = 0, tail = 0
    cdef int64_t n = length if length < 8 else 8
    memcpy(&head, name, n)
    memcpy(&tail, name + length - n, n)
    head = (head ^ <uint64_t>length) * 0x9E3779B97F4A7C15ULL
    head = (head ^ (head >> 29) ^ tail) * 0xBF58476D1CE4E5B9ULL
    return head ^ (head >> 32)


cdef inline bint is_text(const char* start, int64_t length, const char* text, int64_t text_length) noexcept nogil:
    return length == text_length and memcmp(start, text, text_length) == 0


cdef bint find_name(const char* data, int64_t n, const char** name, int64_t* length, bint* is_reply) noexcept nogil:
    # The general way: the value of the last "stream" at the top level, whatever stands around it. A text that breaks
    # off behind it still has its name: the market is to refuse it. Also says whether this is an answer to us.
    cdef Cursor c
    cdef const char* key
    cdef const char* value
    cdef int64_t key_length, value_length
    cdef bint is_found = False
    is_reply[0] = False
    c.p = data
    c.end = data + n
    if not take(&c, 123):
        return False
    while take_string(&c, &key, &key_length) and take(&c, 58):
        if is_text(key, key_length, b"id", 2) or is_text(key, key_length, b"result", 6) \
                or is_text(key, key_length, b"error", 5):
            is_reply[0] = True
        if peek(&c) == 34 and (
            is_text(key, key_length, b"stream", 6) or is_text(key, key_length, b"e", 1)
        ):
            if not take_string(&c, &value, &value_length):
                break
            if key_length == 1:
                is_reply[0] |= is_text(value, value_length, b"serverShutdown", 14)
            else:
                name[0] = value
                length[0] = value_length
                is_found = True
        elif not skip_value(&c):
            break
        if not take(&c, 44):
            break
    return is_found


@final
cdef class Router:
    """Route the messages of all connections to their markets.

    Parameters
    ----------
    on_due : callable(recv_ns)
        A timer of some market is due by `recv_ns`: run and decide all that are, before a message is applied.
    on_masks : callable(recv_ns, ((market index, mask), ...))
        A read is over and there is something to decide. Masks with GAP, STALE, LEVEL or WHALE_OPEN stand first,
        otherwise markets in the order of their first message in the read.
    on_control : callable(connection, payload, recv_ns)
        A message of no known stream: an answer to a request, a shutdown notice, something unknown.
    on_heir : callable(slot, connection, payload, recv_ns) -> bool
        The connection that may take over brought a message. True: it is the owner from this message on.
    now_ns : callable, optional
        Corridor time; None reads the monotonic clock plus `anchor_ns` without a Python call.
    ring : RingWriter, optional
        Gets every message that a market takes, kind `frame_kind`, at the moment of its read.
    max_streams : int
        1 to 65,536.

    Attributes
    ----------
    n_read, n_messages_total : int
        Reads that brought a message; messages, taken or not.
    n_unowned : int
        Messages of a known stream that were not taken: not the owner's, or an heir's that `on_heir` refused.
    n_unknown : int
        Messages of no known stream that were no reply and no shutdown notice.
    n_unrecorded : int
        Messages that the ring refused: longer than an eighth of it, or it is closed. The market took them.
    n_errors, last_error
        Exceptions of callbacks: how many, and the last. None reaches a transport; an `on_heir` that raises says no.

    Notes
    -----
    Moments are unique and grow: one per read, at its first message, and one per `stamp`. A stamp that is taken within
    a read ends it so far: its masks are decided first, and what the read still brings has a later moment. So inputs and
    frames have one order, that of their moments.

    A market that was never touched starts its clock with its first message; `advance` all markets once before.

    Cost: see benchmarks; no Python object for an owner's message while all masks are empty. Threads: one. A callback
    may call everything here but `feed`.
    """

    def __cinit__(
        self, *, on_due, on_masks, on_control, on_heir, now_ns=None, anchor_ns: int = 0,
        RingWriter ring=None, frame_kind: int = 1, max_streams: int = 4096,
    ):
        if not 1 <= max_streams <= MOST_STREAMS:
            raise ValueError(f"max_streams must be 1 to {MOST_STREAMS}, found {max_streams}")
        if not 0 <= frame_kind <= 0xFFFF:
            raise ValueError(f"frame_kind must be 0 to 65535, found {frame_kind}")
        cdef dict calls = {"on_due": on_due, "on_masks": on_masks, "on_control": on_control, "on_heir": on_heir}
        if now_ns is not None:
            calls["now_ns"] = now_ns
        for name, call in calls.items():
            if not callable(call):
                raise TypeError(f"{name} must be callable, found {type(call).__name__}")
        cdef int64_t size = 16
        while size < 2 * max_streams:
            size *= 2
        self._on_due, self._on_masks, self._on_control, self._on_heir = on_due, on_masks, on_control, on_heir
        self._now_ns = now_ns
        self._anchor_ns = anchor_ns
        self._ring = ring
        self._has_ring = ring is not None
        self._frame_kind = frame_kind
        self._max_streams = max_streams
        self._table_mask = size - 1
        self._names, self._held = [], []
        self._streams = <Stream*>PyMem_RawCalloc(max_streams, sizeof(Stream))
        self._lanes = <Lane*>PyMem_RawCalloc(max_streams, sizeof(Lane))
        self._touched = <int32_t*>PyMem_RawCalloc(max_streams, sizeof(int32_t))
        self._table = <int32_t*>PyMem_RawCalloc(size, sizeof(int32_t))
        if self._streams is NULL or self._lanes is NULL or self._touched is NULL or self._table is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self._streams)
        PyMem_RawFree(self._lanes)
        PyMem_RawFree(self._touched)
        PyMem_RawFree(self._table)

    cdef void feed_bytes(self, int64_t connection, const char* data, int64_t n) noexcept nogil:
        cdef const char* name = data + HEAD
        cdef const char* end
        cdef Stream* stream
        cdef int64_t length = 0
        cdef int32_t slot = -1
        cdef bint is_reply = False
        self.n_messages_total += 1
        self._has_messages = True
        if not self._is_stamped:
            self._take_stamp()
        if n > HEAD + MIDDLE and memcmp(data, b'{"stream":"', HEAD) == 0:
            end = <const char*>memchr(name, 34, n - HEAD - MIDDLE + 1)
            if end is not NULL and memcmp(end, b'","data":', MIDDLE) == 0:
                slot = self._find(name, end - name)
        if slot < 0:
            if find_name(data, n, &name, &length, &is_reply):
                slot = self._find(name, length)
                is_reply |= length == 15 and memcmp(name, b"!serverShutdown", 15) == 0
            if slot < 0:
                self._control(connection, data, n, is_reply)
                return
        stream = &self._streams[slot]
        if connection > 0 and stream.heir == connection and stream.owner != connection:
            if self._ask_heir(slot, connection, data, n):
                stream.owner = connection
                stream.heir = 0
        if connection > 0 and stream.owner == connection and stream.lane >= 0 \
                and not (self._is_stamped and self._is_due_checked):
            self._run_due()
        # A callback may have taken the stream away.
        if connection < 1 or stream.owner != connection:
            self.n_unowned += 1
            return
        if not self._is_stamped:
            self._take_stamp()
        stream.n_messages += 1
        stream.last_recv_ns = self._recv_ns
        if stream.lane >= 0:
            self._apply(stream, data, n)

    cdef void _apply(self, Stream* stream, const char* data, int64_t n) noexcept nogil:
        cdef Lane* lane = &self._lanes[stream.lane]
        cdef uint32_t mask
        if self._has_ring and self._ring.push(self._frame_kind, self._recv_ns, data, n) < 0:
            self.n_unrecorded += 1
        if lane.touched_ns != self._recv_ns:
            lane.touched_ns = self._recv_ns
            lane.mask = 0
            self._touched[self._n_touched] = stream.lane
            self._n_touched += 1
            # Nothing is due any more, unless `on_due` broke off: then its masks belong to this read.
            mask = (<Market>lane.market).run_timers(self._recv_ns)
            while mask:
                lane.mask |= mask
                mask = (<Market>lane.market).run_timers(self._recv_ns)
        lane.mask |= (<Market>lane.market).apply_frame(data, n, self._recv_ns)
        self.pending |= lane.mask

    cdef int32_t _find(self, const char* name, int64_t length) noexcept nogil:
        cdef uint64_t mixed = mix(name, length)
        cdef int64_t place = <int64_t>(mixed & <uint64_t>self._table_mask)
        cdef Stream* stream
        while self._table[place]:
            stream = &self._streams[self._table[place] - 1]
            if stream.mixed == mixed and stream.length == length and memcmp(stream.name, name, length) == 0:
                return self._table[place] - 1
            place = (place + 1) & self._table_mask
        return -1

    cdef void _run_due(self) noexcept nogil:
        cdef int32_t i
        cdef int _tries
        cdef bint is_due
        for _tries in range(MOST_DUE):
            if not self._is_stamped:
                self._take_stamp()
            self._is_due_checked = True
            is_due = False
            for i in range(self._n_lanes):
                if self._lanes[i].market is not NULL \
                        and (<Market>self._lanes[i].market).triggers.next_due <= self._recv_ns:
                    is_due = True
                    break
            if not is_due:
                return
            self._call_due()
            if self._is_stamped:
                return

    cdef int64_t _next_ns(self) noexcept nogil:
        cdef int64_t now = monotonic_ns() + self._anchor_ns if self._now_ns is None else self._asked_ns()
        if now <= self._last_ns:
            now = self._last_ns + 1
        self._last_ns = now
        return now

    cdef void _take_stamp(self) noexcept nogil:
        self._recv_ns = self._next_ns()
        self._is_stamped = True
        self._is_due_checked = False

    cpdef void end_read(self) noexcept nogil:
        """Decide what the read brought: `on_masks`, if a mask is set. Without a message it does nothing."""
        if not self._has_messages:
            return
        self._has_messages = False
        self.n_read += 1
        if self.pending:
            self._decide()
        self._is_stamped = False
        self._n_touched = 0

    cdef int64_t _asked_ns(self) noexcept with gil:
        try:
            return self._now_ns()
        except BaseException as error:
            self._keep(error)
            return self._last_ns

    cdef void _decide(self) noexcept with gil:
        # Taken down before the call: what it causes is not of this read any more.
        cdef list first = [], rest = []
        cdef int64_t recv_ns = self._recv_ns
        cdef Lane* lane
        cdef int32_t i
        for i in range(self._n_touched):
            lane = &self._lanes[self._touched[i]]
            if lane.mask:
                (first if lane.mask & FIRST else rest).append(((<Market>lane.market).index, lane.mask))
                lane.mask = 0
        self.pending = 0
        self._n_touched = 0
        self._is_stamped = False
        try:
            self._on_masks(recv_ns, (*first, *rest))
        except BaseException as error:
            self._keep(error)

    cdef void _call_due(self) noexcept with gil:
        try:
            self._on_due(self._recv_ns)
        except BaseException as error:
            self._keep(error)

    cdef bint _ask_heir(self, int32_t slot, int64_t connection, const char* data, int64_t n) noexcept with gil:
        try:
            return bool(self._on_heir(slot, connection, PyBytes_FromStringAndSize(data, n), self._recv_ns)) \
                and self._streams[slot].name is not NULL
        except BaseException as error:
            self._keep(error)
            return False

    cdef void _control(self, int64_t connection, const char* data, int64_t n, bint is_reply) noexcept with gil:
        self.n_unknown += not is_reply
        try:
            self._on_control(connection, PyBytes_FromStringAndSize(data, n), self._recv_ns)
        except BaseException as error:
            self._keep(error)

    cdef void _keep(self, object error) noexcept:
        self.n_errors += 1
        self.last_error = error

    cdef Stream* _used(self, object slot) except NULL:
        if not 0 <= slot < self._n_slots or self._streams[<int32_t>slot].name is NULL:
            raise ValueError(f"expected a slot that add_stream gave and nobody removed, found {slot}")
        return &self._streams[<int32_t>slot]

    cdef int _rebuild(self) except -1:
        cdef int32_t slot
        cdef int64_t place
        memset(self._table, 0, (self._table_mask + 1) * sizeof(int32_t))
        for slot in range(self._n_slots):
            if self._streams[slot].name is NULL:
                continue
            place = <int64_t>(self._streams[slot].mixed & <uint64_t>self._table_mask)
            while self._table[place]:
                place = (place + 1) & self._table_mask
            self._table[place] = slot + 1
        return 0

    cdef int32_t _lane_of(self, object market) except -2:
        cdef int32_t i, free = -1
        if market is None:
            return -1
        for i in range(self._n_lanes):
            if self._lanes[i].market is <PyObject*>market:
                return i
            if self._lanes[i].market is NULL and free < 0:
                free = i
        if free < 0:
            free = self._n_lanes
            self._n_lanes += 1
            self._held.append(None)
        self._held[free] = market
        self._lanes[free].market = <PyObject*>market
        self._lanes[free].touched_ns = INT64_MIN
        self._lanes[free].mask = 0
        self._lanes[free].n_streams = 0
        return free

    def add_stream(self, name: str, Market market) -> int:
        """Know a stream from now on; its messages are nobody's until `own`.

        Parameters
        ----------
        name : str
            As the venue writes it, such as ``btcusdt@depth@100ms``; printable ASCII, at most 256 characters.
        market : Market or None
            Who takes its messages; None: they are counted and stamped only.

        Returns
        -------
        int
            Its slot; the lowest that is free.

        Raises
        ------
        ValueError
            If the name is known already or no name, or the table is full.
        """
        cdef bytes text
        cdef int32_t slot = 0
        cdef Stream* stream
        if not name or len(name) > LONGEST_NAME or not name.isascii() or not name.isprintable() \
                or '"' in name or "\\" in name:
            raise ValueError(f"expected the name of a stream, at most {LONGEST_NAME} printable ASCII, found {name!r}")
        text = name.encode()
        if self._find(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)) >= 0:
            raise ValueError(f"expected a new stream, found {name!r}, which is known")
        while slot < self._n_slots and self._streams[slot].name is not NULL:
            slot += 1
        if slot == self._max_streams:
            raise ValueError(f"expected at most {self._max_streams} streams, found one more: {name!r}")
        if slot == self._n_slots:
            self._n_slots += 1
            self._names.append(None)
        stream = &self._streams[slot]
        memset(stream, 0, sizeof(Stream))
        stream.lane = self._lane_of(market)
        if stream.lane >= 0:
            self._lanes[stream.lane].n_streams += 1
        self._names[slot] = text
        stream.length = PyBytes_GET_SIZE(text)
        stream.mixed = mix(PyBytes_AS_STRING(text), stream.length)
        stream.name = PyBytes_AS_STRING(text)
        self._rebuild()
        return slot

    def remove_stream(self, slot: int) -> None:
        """Forget a stream; what its market still has to decide of the running read is decided first."""
        cdef Stream* stream = self._used(slot)
        cdef Lane* lane
        if stream.lane >= 0 and self.pending:
            self._decide()
        # `on_masks` may have removed it meanwhile.
        stream = self._used(slot)
        if stream.lane >= 0:
            lane = &self._lanes[stream.lane]
            lane.n_streams -= 1
            if lane.n_streams == 0:
                # It may stand among those touched by this read, without a mask: they are not needed any more.
                self._n_touched = 0
                self._is_stamped = False
                lane.market = NULL
                self._held[stream.lane] = None
        memset(stream, 0, sizeof(Stream))
        self._names[slot] = None
        self._rebuild()

    def own(self, slot: int, connection: int) -> None:
        """Let this connection's messages count from now on, and nobody else's; 0: nobody's at all."""
        cdef Stream* stream = self._used(slot)
        if connection < 0:
            raise ValueError(f"connection must be 0 or more, found {connection}")
        stream.owner = connection
        if stream.heir == connection:
            stream.heir = 0

    def owner(self, slot: int) -> int:
        """Return the connection that owns a stream; 0: nobody."""
        return self._used(slot).owner

    def inherit(self, slot: int, connection: int) -> None:
        """Let this connection take over with a message of its own: see `on_heir`. 0: nobody may."""
        cdef Stream* stream = self._used(slot)
        if connection < 0:
            raise ValueError(f"connection must be 0 or more, found {connection}")
        stream.heir = connection

    def feed(self, connection: int, bytes payload not None) -> None:
        """Take one whole text message; several of one read follow each other, then comes `end_read`.

        Raises
        ------
        ValueError
            If the connection is not 1 or more.
        """
        if connection < 1:
            raise ValueError(f"connection must be 1 or more, found {connection}")
        self.feed_bytes(connection, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    def stamp(self) -> int:
        """Return a moment later than all before, for an input that is no frame.

        Within a read, what it brought so far is decided first, and what it still brings comes later than this.
        """
        if self.pending:
            self._decide()
        self._is_stamped = False
        self._n_touched = 0
        return self._next_ns()

    @property
    def last_stamp_ns(self) -> int:
        """The newest moment given out; 0 before the first."""
        return self._last_ns

    def last_recv_ns(self, slot: int) -> int:
        """Return when the stream's last message was taken; 0: never."""
        return self._used(slot).last_recv_ns

    def n_messages(self, slot: int) -> int:
        """Return how many messages of the stream were taken."""
        return self._used(slot).n_messages
