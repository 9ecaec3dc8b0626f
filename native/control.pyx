"""The shared control page: the engine's heartbeat, and the state that it is wanted to be in.

It outlives the engine: what was raised stays raised over a restart, because only a command lowers it. The kill path and
the guard use the same page without this room (`engine.control`).
"""

from zlib import crc32

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython cimport final
from libc.errno cimport EINTR, ENOENT, errno
from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset, strerror
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR, open, posix_fallocate
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close, ftruncate, getpid, link, unlink

from native.clock cimport monotonic_ns


cdef enum:
    HALTED = 2
    SIZE_FACTOR_ONE = 1_000_000

cdef int64_t MAX_NS = (<int64_t>1 << 62) - 1


class ControlError(ValueError):
    """A control page that cannot be trusted: foreign, of another layout, or damaged."""


cdef object failure(int error, str path):
    return OSError(error, strerror(error).decode(), path)


cdef bytes encoded(str what, str text, Py_ssize_t longest):
    if not text.isascii() or len(text) > longest or "\0" in text:
        raise ValueError(f"{what} must be at most {longest} ASCII characters, found {text!r}")
    return text.encode()


cdef str decoded(const char* text, Py_ssize_t size):
    return text[:size].split(b"\0")[0].decode("ascii", "replace")


cdef uint32_t checksum_of(const ControlBytes* page) except? 0:
    return crc32(PyBytes_FromStringAndSize(<const char*>page, CONTROL_CHECKED))


cdef bint is_trusted(const ControlBytes* page) except -1:
    cdef int slot
    if not control_is_whole(page) or checksum_of(page) != page.checksum:
        return False
    for slot in range(CONTROL_SLOTS):
        if control_slot_word(page, slot) & 3 == 3:
            return False
    return True


@final
cdef class ControlPage:
    """The control page, mapped; made by `ControlPage.create` or `ControlPage.open`.

    Attributes
    ----------
    path : str
        Of the file.
    was_damaged : bool
        `create` found a page that could not be trusted: it is new, and HALTED.

    Notes
    -----
    Cost: `wanted` is five loads, `beat` two stores; no system call, no lock. A file that somebody cuts short while it
    is mapped kills its readers: it lies in a directory of the user alone.
    """

    def __cinit__(self):
        self.path = ""

    def __dealloc__(self):
        self.close()

    @staticmethod
    def create(path: str, *, instance: str, epoch: int, now_ns: int, boot_id: str = "") -> ControlPage:
        """Make the page of a starting engine, in place if there is one; what was raised stays raised.

        Parameters
        ----------
        path : str
            In a shared-memory filesystem.
        instance : str
            At most 16 ASCII characters.
        epoch : int
            Start of the engine, not negative.
        now_ns : int
            Corridor time of the start.
        boot_id : str
            Of the running kernel, at most 39 ASCII characters.

        Raises
        ------
        OSError
            The file cannot be made or mapped.
        ValueError
            A parameter is out of its bounds.

        Notes
        -----
        Who has the page mapped stays attached. Heartbeat, breaker, size, sides and pause begin anew; size is 1.
        A page that cannot be trusted begins anew as HALTED by the engine.
        """
        cdef ControlPage page = ControlPage.__new__(ControlPage)
        cdef bytes place = path.encode("utf-8", "surrogateescape")
        cdef bytes draft = place + b".%d.%d.draft" % (getpid(), monotonic_ns())
        cdef struct_stat found
        cdef bint is_new = False
        cdef int file
        encoded("instance", instance, 16)
        encoded("boot_id", boot_id, 39)
        if not 0 <= epoch < 1 << 63 or not 0 <= now_ns <= MAX_NS:
            raise ValueError(f"epoch and now_ns must be 0 to 2^63 - 1 and 2^62 - 1, found {epoch} and {now_ns}")
        page.path = path
        file = open(PyBytes_AS_STRING(place), O_RDWR | O_CLOEXEC)
        if file < 0 and errno == ENOENT:
            # Written under a name that nobody uses, then linked: nobody ever sees half a page.
            is_new = True
            file = open(PyBytes_AS_STRING(draft), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, <int>0o600)
        if file < 0:
            raise failure(errno, path)
        try:
            if fstat(file, &found) != 0:
                raise failure(errno, path)
            if found.st_size != CONTROL_SIZE:
                page.was_damaged = not is_new
                if ftruncate(file, CONTROL_SIZE) != 0:
                    raise failure(errno, path)
            page._map(file)
            if not is_new and not is_trusted(page._page):
                page.was_damaged = True
            if page.was_damaged:
                memset(page._page, 0, CONTROL_SIZE)
                page.raise_slot(SLOT_ENGINE, WANTED_HALTED, now_ns)
            page._fill(instance, epoch, boot_id, now_ns)
            if is_new and link(PyBytes_AS_STRING(draft), PyBytes_AS_STRING(place)) != 0:
                raise failure(errno, path)
        finally:
            close(file)
            if is_new:
                unlink(PyBytes_AS_STRING(draft))
        return page

    @staticmethod
    def open(path: str) -> ControlPage:
        """Map the page of an engine.

        Raises
        ------
        ControlError
            It cannot be trusted.
        OSError
            There is none, or it cannot be mapped.
        """
        cdef ControlPage page = ControlPage.__new__(ControlPage)
        cdef struct_stat found
        cdef int file = open(PyBytes_AS_STRING(path.encode("utf-8", "surrogateescape")), O_RDWR | O_CLOEXEC)
        if file < 0:
            raise failure(errno, path)
        try:
            page.path = path
            if fstat(file, &found) != 0:
                raise failure(errno, path)
            if found.st_size != CONTROL_SIZE:
                raise ControlError(f"{path}: a control page has {CONTROL_SIZE} bytes, found {found.st_size}")
            page._map(file)
        finally:
            close(file)
        if not is_trusted(page._page):
            raise ControlError(f"{path}: expected a whole control page of layout {CONTROL_LAYOUT}, found another")
        return page

    cdef int _map(self, int file) except -1:
        cdef void* memory
        cdef int error = EINTR
        # The memory is taken now: a full filesystem is an error here, not a SIGBUS later.
        while error == EINTR:
            error = posix_fallocate(file, 0, CONTROL_SIZE)
        if error:
            raise failure(error, self.path)
        memory = mmap(NULL, CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
        if memory == MAP_FAILED:
            raise failure(errno, self.path)
        self._page = <ControlBytes*>memory
        return 0

    cdef int _fill(self, str instance, int64_t epoch, str boot_id, int64_t start_ns) except -1:
        cdef bytes name = encoded("instance", instance, 16), boot = encoded("boot_id", boot_id, 39)
        cdef bytes magic = (<object><uint64_t>CONTROL_MAGIC).to_bytes(8, "little")
        control_unmake(self._page)
        memset(self._page.instance, 0, 16)
        memcpy(self._page.instance, PyBytes_AS_STRING(name), len(name))
        memset(self._page.boot_id, 0, 40)
        memcpy(self._page.boot_id, PyBytes_AS_STRING(boot), len(boot))
        self._page.layout, self._page.size = CONTROL_LAYOUT, CONTROL_SIZE
        self._page.epoch, self._page.pid, self._page.start_ns = epoch, getpid(), start_ns
        # The checksum is of the page as it will be, with its magic.
        self._page.checksum = crc32(
            magic + PyBytes_FromStringAndSize(<const char*>self._page + 8, CONTROL_CHECKED - 8)
        )
        control_set(&self._page.heartbeat_count, 0)
        control_set(&self._page.heartbeat_ns, 0)
        control_set(&self._page.breaker, 0)
        control_set(&self._page.size_factor, SIZE_FACTOR_ONE)
        control_set(&self._page.sides, 0)
        control_set(&self._page.is_paused, 0)
        control_make(self._page)
        return 0

    cdef ControlBytes* _open(self) except NULL:
        if self._page is NULL:
            raise ControlError(f"{self.path}: the control page is closed")
        return self._page

    def close(self) -> None:
        """Let go of the page; from here it reads as HALTED and takes nothing."""
        if self._page is not NULL:
            munmap(self._page, CONTROL_SIZE)
            self._page = NULL

    cpdef int wanted(self) noexcept nogil:
        """Return the strictest state that anyone has raised; HALTED if the page cannot be trusted."""
        return control_wanted(self._page)

    cpdef void beat(self, int64_t now_ns) noexcept nogil:
        """Say that the engine lives at this corridor time."""
        control_beat(self._page, now_ns)

    cdef void raise_slot(self, int slot, int state, int64_t now_ns) noexcept nogil:
        control_raise(self._page, slot, state, now_ns)

    def raise_wanted(self, int32_t slot, int32_t state, object now_ns):
        """Raise the wanted state in one's own slot; never lowers it.

        Parameters
        ----------
        slot : ControlSlot
            Who raises.
        state : Wanted
            At least this; a stricter one in the slot stays.
        now_ns : int
            When, 0 to 2^62 - 1.
        """
        if not 0 <= slot < CONTROL_SLOTS or not 0 <= state <= HALTED or not 0 <= now_ns <= MAX_NS:
            raise ValueError(
                f"expected a slot 0 to {CONTROL_SLOTS - 1}, a state 0 to {HALTED} and a time below 2^62, "
                f"found {slot}, {state} and {now_ns}"
            )
        self._open()
        self.raise_slot(slot, state, now_ns)

    def clear(self) -> int:
        """Lower all slots, for `resume`; returns what is wanted then: not ACTIVE if somebody raised meanwhile."""
        control_clear(self._open())
        return self.wanted()

    def slot(self, int32_t slot):
        """Return state and time of one slot; (0, 0) if nothing is raised."""
        cdef uint64_t word
        if not 0 <= slot < CONTROL_SLOTS:
            raise ValueError(f"slot must be 0 to {CONTROL_SLOTS - 1}, found {slot}")
        word = control_slot_word(self._open(), slot)
        return word & 3, word >> 2

    def set_breaker(self, int64_t word):
        """Publish the breaker's word."""
        control_set(&self._open().breaker, word)

    def set_size_factor(self, int64_t millionths):
        """Publish the factor of entry sizes, 0 to 1,000,000."""
        if not 0 <= millionths <= SIZE_FACTOR_ONE:
            raise ValueError(f"millionths must be 0 to {SIZE_FACTOR_ONE}, found {millionths}")
        control_set(&self._open().size_factor, millionths)

    def set_sides(self, int64_t sides):
        """Publish which sides may be entered: 0 both, 1 long-only, 2 short-only."""
        if not 0 <= sides <= 2:
            raise ValueError(f"sides must be 0 to 2, found {sides}")
        control_set(&self._open().sides, sides)

    def set_paused(self, bint is_paused):
        """Publish whether new entries are paused."""
        control_set(&self._open().is_paused, is_paused)

    @property
    def instance(self) -> str:
        """Return the name of the instance."""
        return decoded(self._open().instance, 16)

    @property
    def boot_id(self) -> str:
        """Return the boot id of the kernel that the engine runs on."""
        return decoded(self._open().boot_id, 40)

    @property
    def epoch(self) -> int:
        """Return the epoch of the engine."""
        return self._open().epoch

    @property
    def pid(self) -> int:
        """Return the process id of the engine."""
        return self._open().pid

    @property
    def start_ns(self) -> int:
        """Return the corridor time of the engine's start."""
        return self._open().start_ns

    @property
    def heartbeat_count(self) -> int:
        """Return how often the engine has said that it lives."""
        return control_see(&self._open().heartbeat_count)

    @property
    def heartbeat_ns(self) -> int:
        """Return when it last did, corridor time; 0 = not yet."""
        return control_see(&self._open().heartbeat_ns)

    @property
    def breaker(self) -> int:
        """Return the breaker's word."""
        return control_see(&self._open().breaker)

    @property
    def size_factor(self) -> int:
        """Return the factor of entry sizes, 10^-6."""
        return control_see(&self._open().size_factor)

    @property
    def sides(self) -> int:
        """Return which sides may be entered: 0 both, 1 long-only, 2 short-only."""
        return control_see(&self._open().sides)

    @property
    def is_paused(self) -> bool:
        """Return whether new entries are paused."""
        return control_see(&self._open().is_paused) != 0
