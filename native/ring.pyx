"""Broadcast ring in shared memory: one writer, many readers, each with its own cursor; it outlives a killed writer.

The writer waits for nobody. A reader that is more than the capacity behind has lost records: it is told how many and
goes on at a record that is whole. What a killed writer had committed stays readable, a record it was in is invisible.

Who lives is told by file locks; they are taken when a ring is made or opened, never while records move.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cython cimport final
from libc.errno cimport EAGAIN, errno
from libc.string cimport memcpy, memset, strncmp
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, O_RDWR, open
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close, getpid

from native.sharedfile cimport create_file, failure, is_locked, lock, unlock


cdef enum:
    LAYOUT = 1
    WRITER_LOCK = 0       # byte of the file that the living writer has locked
    TABLE_LOCK = 1        # while the slots are searched
    SLOT_LOCK = 64        # and the number of the slot: its living reader

cdef const char* MAGIC = b"REMORING"


class RingError(ValueError):
    """A ring that cannot be used as it was asked for: foreign, of another layout or schema, damaged, or taken."""


cdef bytes encoded(str what, str text, Py_ssize_t longest):
    if not text.isascii() or len(text) > longest or "\0" in text:
        raise ValueError(f"{what} must be at most {longest} ASCII characters, found {text!r}")
    return text.encode()


cdef str decoded(const char* text, Py_ssize_t size):
    return text[:size].split(b"\0")[0].decode("ascii", "replace")


cdef list slots_of(const RingHeader* header):
    cdef int64_t committed = ring_see(&header.committed)
    cdef const RingSlot* slot
    cdef int i
    cdef list found = []
    for i in range(RING_SLOTS):
        slot = &header.slots[i]
        if slot.name[0]:
            found.append((decoded(slot.name, 24), ring_see(&slot.is_durable) != 0, slot.pid,
                          committed - ring_see(&slot.cursor)))
    return found


@final
cdef class RingWriter:
    """The only writer of a ring; made by `RingWriter.create`.

    Attributes
    ----------
    capacity, max_payload : int
        Bytes of all records, and of the longest payload.

    Notes
    -----
    Cost of a record: one copy of its payload, two atomic stores; no allocation, no lock, no system call. A writer that
    is collected without `close` leaves its ring as a killed one would: complete up to the last committed record.
    """

    def __cinit__(self):
        self._ring.max_payload = -1
        self._file = -1
        self.path = ""

    def __dealloc__(self):
        if self._ring.header is not NULL:
            munmap(self._ring.header, RING_HEADER + self._ring.capacity)
        if self._file >= 0:
            close(self._file)

    @staticmethod
    def create(
        path: str,
        *,
        capacity: int,
        instance: str,
        epoch: int,
        schema: int,
        boot_id: str,
        durable_readers: tuple[str, ...] = (),
    ) -> RingWriter:
        """Make a new ring; it appears at its path complete, or not at all.

        Parameters
        ----------
        path : str
            In a shared-memory filesystem; nothing may be there.
        capacity : int
            Bytes of records, a power of two, 4096 to 2^32. One payload holds at most an eighth of it.
        instance : str
            At most 16 ASCII characters. (instance, epoch, sequence) names a record for ever.
        epoch : int
            Start of the engine, not negative.
        schema : int
            Hash of what payloads mean, 64 bits; readers may insist on it.
        boot_id : str
            Of the running kernel, at most 39 ASCII characters: a reader can tell a ring of before a reboot.
        durable_readers : tuple of str
            Names of durable readers to come: their lag counts from the first record on, whether they live or not.

        Raises
        ------
        FileExistsError
            If something is at the path already; it stays untouched.
        OSError
            With ENOSPC if the filesystem is too small; nothing is left behind.
        ValueError
            If a parameter is out of its bounds.
        """
        if not 4096 <= capacity <= 1 << 32 or capacity & (capacity - 1):
            raise ValueError(f"capacity must be a power of two, 4096 to 2^32 bytes, found {capacity}")
        if not 0 <= epoch < 1 << 63:
            raise ValueError(f"epoch must be 0 to 2^63 - 1, found {epoch}")
        if not 0 <= schema < 1 << 64:
            raise ValueError(f"schema must be a hash of 64 bits, found {schema}")
        if len(durable_readers) > RING_SLOTS or len(set(durable_readers)) < len(durable_readers):
            raise ValueError(f"expected at most {RING_SLOTS} different durable readers, found {durable_readers}")
        cdef RingHeader header
        cdef bytes word
        cdef void* memory
        cdef int i
        memset(&header, 0, sizeof(header))
        memcpy(header.magic, MAGIC, 8)
        header.layout = LAYOUT
        header.header_size = RING_HEADER
        header.schema = schema
        header.epoch = epoch
        header.capacity = capacity
        header.writer_pid = getpid()
        word = encoded("instance", instance, 16)
        memcpy(header.instance, PyBytes_AS_STRING(word), len(word))
        word = encoded("boot_id", boot_id, 39)
        memcpy(header.boot_id, PyBytes_AS_STRING(word), len(word))
        for i, name in enumerate(durable_readers):
            word = encoded("the name of a durable reader", name, 23)
            if not word:
                raise ValueError("a durable reader needs a name, found ''")
            memcpy(header.slots[i].name, PyBytes_AS_STRING(word), len(word))
            ring_mark_read(&header.slots[i], 0, 1)
            ring_set(&header.slots[i].is_durable, 1)
        cdef RingWriter writer = RingWriter.__new__(RingWriter)
        writer._file = create_file(path, RING_HEADER + capacity, &header, sizeof(header), WRITER_LOCK, &memory)
        writer._ring.header = <RingHeader*>memory
        writer._ring.data = <AtomicUint64*>(<char*>memory + RING_HEADER)
        writer.capacity = writer._ring.capacity = capacity
        writer.max_payload = writer._ring.max_payload = ring_max_payload(capacity)
        writer.path = path
        return writer

    cdef int64_t push(self, uint32_t kind, int64_t time_ns, const void* payload, int64_t size) noexcept nogil:
        # The sequence of the record; -1 if the payload is too long, the kind not 16 bits, or the ring closed.
        return ring_push(&self._ring, kind, time_ns, payload, size)

    cdef double worst_durable_lag(self) noexcept nogil:
        cdef double share
        if self._ring.header is NULL:
            return 0.0
        share = <double>ring_durable_lag(self._ring.header, self._ring.position) / <double>self._ring.capacity
        return min(share, 1.0)

    def append(self, kind: int, payload: bytes, time_ns: int) -> int:
        """Write one record.

        Parameters
        ----------
        kind : int
            0 to 65,535; what it means is the schema's.
        payload : bytes
            At most an eighth of the capacity.
        time_ns : int
            Corridor time.

        Returns
        -------
        int
            Its sequence: 1 for the first record, then one more each.

        Raises
        ------
        ValueError
            If it is refused; nothing is written then.
        """
        if not 0 <= kind <= 0xFFFF:
            raise ValueError(f"kind must be 0 to 65535, found {kind}")
        if not isinstance(payload, bytes):
            raise TypeError(f"payload must be bytes, found {type(payload).__name__}")
        cdef int64_t sequence = self.push(kind, time_ns, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        if sequence < 0:
            if self._ring.max_payload < 0:
                raise ValueError("the ring is closed")
            raise ValueError(
                f"payload must be at most {self.max_payload} bytes (capacity / 8), found {len(payload)}")
        return sequence

    def close(self) -> None:
        """Mark the clean end: no record will come. Closing again does nothing."""
        if self._ring.max_payload >= 0:
            self._ring.max_payload = -1
            ring_set(&self._ring.header.is_closed, 1)
            unlock(self._file, WRITER_LOCK)

    def slots(self) -> list:
        """Return (name, is_durable, process id, lag in bytes) of each reader with a name."""
        return [] if self._ring.header is NULL else slots_of(self._ring.header)

    @property
    def n_records(self) -> int:
        """Records written: the last sequence."""
        return self._ring.sequence

    @property
    def is_closed(self) -> bool:
        """Whether records are refused."""
        return self._ring.max_payload < 0

    @property
    def durable_lag(self) -> float:
        """Worst lag of the durable readers' committed cursors, as a share of the capacity, 0 to 1."""
        return self.worst_durable_lag()


@final
cdef class RingReader:
    """A reader with its own cursor.

    Parameters
    ----------
    path : str
        A ring, of a living, ended or killed writer.
    name : str
        At most 23 ASCII characters; takes one of 16 slots, where `commit` stores the cursor. Without a name the file is
        only read.
    is_durable : bool
        The slot stays when the reader is gone: its lag counts (see `RingWriter.durable_lag`), and the next reader of
        that name goes on at the last commit.
    from_start : bool
        Begin at the oldest record rather than at the next one. If record 1 is gone that is an overrun: what is missing
        is counted. A durable reader that comes back goes on at its commit instead.
    schema : int, optional
        Refuse a ring of any other.

    Attributes
    ----------
    capacity : int
        Bytes of records.
    instance, epoch, schema, boot_id, writer_pid
        As the writer told them; a process id is one of its own container.

    Raises
    ------
    RingError
        If the file is no ring, of another layout or schema, or damaged; if a living reader has the name; if all slots
        are taken.
    OSError
        If the file cannot be opened.

    Notes
    -----
    Cost: bytes are copied 64 KiB at a time and proven untouched at once, into memory taken at opening.
    """

    def __cinit__(self, path: str, *, name: str = "", is_durable: bool = False, from_start: bool,
                  schema: int | None = None):
        cdef struct_stat found
        cdef int64_t longest
        cdef void* memory
        self._file = -1
        self.path, self.name, self.is_durable = path, name, is_durable
        encoded("name", name, 23)
        if is_durable and not name:
            raise ValueError("a durable reader needs a name, found ''")
        cdef bytes place = path.encode("utf-8", "surrogateescape")
        self._file = open(PyBytes_AS_STRING(place), (O_RDWR if name else O_RDONLY) | O_CLOEXEC)
        if self._file < 0 or fstat(self._file, &found) != 0:
            raise failure(errno, path)
        if found.st_size < RING_HEADER:
            raise RingError(f"expected a ring at {path}, found a file of {found.st_size} bytes")
        self._map()
        self._check(found.st_size, schema)
        self.capacity = self._ring.capacity = self._header.capacity
        self.epoch, self.schema, self.writer_pid = self._header.epoch, self._header.schema, self._header.writer_pid
        self.instance, self.boot_id = decoded(self._header.instance, 16), decoded(self._header.boot_id, 40)
        memory = mmap(NULL, self._ring.capacity, PROT_READ, MAP_SHARED, self._file, RING_HEADER)
        if memory == MAP_FAILED:
            raise failure(errno, path)
        self._ring.data = <const AtomicUint64*>memory
        longest = RING_RECORD + ring_max_payload(self._ring.capacity)
        self._ring.scratch = <uint64_t*>PyMem_RawMalloc(max(longest, <int64_t>RING_CHUNK))
        if self._ring.scratch is NULL:
            raise MemoryError()
        self._ring.header = self._header
        self._ring.next_sequence = 1
        self._ring.is_adrift = 1
        if not from_start:
            self._go_to_end()
        if name:
            self._take_slot()
        self._ring.scratch_start = self._ring.scratch_end = self._ring.cursor

    def __dealloc__(self):
        self._leave()
        if self._header is not NULL:
            munmap(self._header, RING_HEADER)

    cdef void _leave(self) noexcept:
        # A slot that is not durable is free again before its lock goes.
        # Closing the file is not enough: the mapping of the header keeps it, and with it the lock.
        if self._slot is not NULL:
            if not self.is_durable:
                self._slot.name[0] = 0
            unlock(self._file, SLOT_LOCK + (self._slot - self._header.slots))
        self._slot = NULL
        if self._ring.data is not NULL:
            munmap(<void*>self._ring.data, self._ring.capacity)
            self._ring.data = NULL
        if self._file >= 0:
            close(self._file)
            self._file = -1
        PyMem_RawFree(self._ring.scratch)
        self._ring.scratch = NULL

    cdef int _map(self) except -1:
        cdef int access = PROT_READ | PROT_WRITE if self.name else PROT_READ
        cdef void* memory = mmap(NULL, RING_HEADER, access, MAP_SHARED, self._file, 0)
        if memory == MAP_FAILED:
            raise failure(errno, self.path)
        self._header = <RingHeader*>memory
        return 0

    cdef int _check(self, int64_t size, object schema) except -1:
        cdef RingHeader* header = self._header
        cdef int64_t capacity = header.capacity, committed = ring_see(&header.committed)
        if strncmp(header.magic, MAGIC, 8) != 0:
            raise RingError(f"expected a ring at {self.path}, found a file that begins with {header.magic[:8]!r}")
        if header.layout != LAYOUT or header.header_size != RING_HEADER:
            raise RingError(f"expected a ring of layout {LAYOUT} at {self.path}, found {header.layout}")
        if schema is not None and header.schema != schema:
            raise RingError(f"expected a ring of schema {schema:#018x} at {self.path}, found {header.schema:#018x}")
        if capacity < 4096 or capacity & (capacity - 1) or size != RING_HEADER + capacity:
            raise RingError(f"the ring at {self.path} is damaged: {capacity} bytes of records in a file of {size}")
        if committed < 0 or committed & 7 or ring_see(&header.reserved) < committed:
            raise RingError(f"the ring at {self.path} is damaged: {committed} bytes committed, "
                            f"{ring_see(&header.reserved)} reserved")
        return 0

    cdef int _go_to_end(self) except -1:
        # From the newest mark over what is committed now: so the sequence there is known, and losses from it on.
        cdef int64_t committed = ring_see(&self._header.committed)
        cdef RingRecord record
        cdef int status = 1
        ring_seek_newest(&self._ring, committed)
        while self._ring.cursor < committed and status == 1:
            status = ring_next(&self._ring, &record)
        if status < 0:
            raise RingError(f"the ring at {self.path} is damaged at byte {self._ring.cursor}: no record can be so")
        self._ring.n_overruns = self._ring.n_lost = 0
        return 0

    cdef int _take_slot(self) except -1:
        # Under the lock of the table: no name twice, no slot twice. A slot whose lock can be had has no living reader.
        cdef bytes name = self.name.encode()
        cdef RingSlot* slot
        cdef int64_t cursor
        cdef int i, chosen = -1
        cdef int error = lock(self._file, TABLE_LOCK, True)
        if error:
            raise failure(error, self.path)
        try:
            for i in range(RING_SLOTS):
                slot = &self._header.slots[i]
                if strncmp(slot.name, PyBytes_AS_STRING(name), 24) == 0:
                    chosen = i
                    break
                if chosen < 0 and not ring_see(&slot.is_durable) and not is_locked(self._file, SLOT_LOCK + i):
                    chosen = i
            if chosen < 0:
                raise RingError(f"all {RING_SLOTS} reader slots of {self.path} are taken: "
                                f"{[taken[0] for taken in slots_of(self._header)]}")
            slot = &self._header.slots[chosen]
            error = lock(self._file, SLOT_LOCK + chosen, False)
            if error == EAGAIN:
                raise RingError(f"process {slot.pid} reads {self.path} as {self.name!r} already")
            if error:
                raise failure(error, self.path)
            if ring_see(&slot.is_durable):
                if not self.is_durable:
                    raise RingError(f"{self.name!r} is a durable reader of {self.path}: open it as one")
                cursor = ring_see(&slot.cursor)
                if cursor < 0 or cursor & 7 or cursor > ring_see(&self._header.committed):
                    raise RingError(f"the ring at {self.path} is damaged: {self.name!r} committed {cursor} bytes of "
                                    f"{ring_see(&self._header.committed)}")
                self._ring.cursor = cursor
                self._ring.next_sequence = ring_see(&slot.next_sequence)
                self._ring.is_adrift = 1
            else:
                memset(slot.name, 0, 24)
                memcpy(slot.name, PyBytes_AS_STRING(name), len(name))
                ring_mark_read(slot, self._ring.cursor, self._ring.next_sequence)
                # Last: from here on the writer counts its lag.
                ring_set(&slot.is_durable, self.is_durable)
            slot.pid = getpid()
            self._slot = slot
        finally:
            unlock(self._file, TABLE_LOCK)
        return 0

    cdef int next(self, RingRecord* record) noexcept nogil:
        # 1 given, 0 none yet, -1 the ring is damaged. The payload is the reader's copy, good until the next call.
        if self._ring.data is NULL:
            return 0
        return ring_next(&self._ring, record)

    def read(self, limit: int) -> list:
        """Return up to `limit` records as (sequence, kind, time_ns, payload), oldest first; empty if none came.

        Raises
        ------
        RingError
            If the bytes at the cursor can be no record. What was read before in the same call is lost with it.
        ValueError
            If the limit is not positive or the reader closed.
        """
        cdef RingRecord record
        cdef int64_t left = limit
        cdef int status = 1
        cdef list found = []
        if left < 1:
            raise ValueError(f"limit must be positive, found {limit}")
        if self._ring.data is NULL:
            raise ValueError("the reader is closed")
        while left > 0:
            status = self.next(&record)
            if status != 1:
                break
            found.append((record.sequence, <int>record.kind, record.time_ns,
                          PyBytes_FromStringAndSize(record.payload, record.size)))
            left -= 1
        if status < 0:
            raise RingError(f"the ring at {self.path} is damaged at byte {self._ring.cursor}: no record can be so")
        return found

    def commit(self) -> None:
        """Say that all records given so far have been dealt with: the cursor goes into the slot.

        Raises
        ------
        ValueError
            If the reader has no name or is closed.
        """
        if self._slot is NULL:
            raise ValueError("only an open reader with a name has a cursor to commit")
        ring_mark_read(self._slot, self._ring.cursor, self._ring.next_sequence)

    def close(self) -> None:
        """Leave the ring. A durable reader's slot and commit stay; closing again does nothing."""
        self._leave()

    def slots(self) -> list:
        """Return (name, is_durable, process id, lag in bytes) of each reader with a name, living or not."""
        return slots_of(self._header)

    @property
    def lag(self) -> int:
        """Bytes committed and not read; more than the capacity if the reader has been overrun."""
        return ring_see(&self._header.committed) - self._ring.cursor

    @property
    def n_overruns(self) -> int:
        """Times that the writer was found to have gone past the cursor."""
        return self._ring.n_overruns

    @property
    def n_lost(self) -> int:
        """Records lost by overruns, by their sequences; known when the next record has been read."""
        return self._ring.n_lost

    @property
    def is_closed(self) -> bool:
        """Whether the writer has ended cleanly; with `lag` 0 nothing more will come."""
        return ring_see(&self._header.is_closed) != 0

    @property
    def is_writer_alive(self) -> bool:
        """Whether the writer lives and has not ended; after a kill False without a clean end (one system call)."""
        return self._file >= 0 and is_locked(self._file, WRITER_LOCK)
