"""Files in a shared-memory filesystem: made whole or not at all, and locks that tell who lives.

Locks belong to the open file, not to the process id: the kernel drops them when their holder dies, and they mean the
same in every container. A mapping keeps its file open, so a holder that lives on must unlock by itself.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EINTR, ENOSPC, errno
from libc.string cimport memcpy, memset, strerror
from posix.fcntl cimport F_UNLCK, F_WRLCK, O_CLOEXEC, SEEK_SET, fcntl, flock, posix_fallocate
from posix.mman cimport MAP_FAILED, MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close, link, unlink


cdef extern from "<stdlib.h>" nogil:
    int mkostemp(char* template, int flags)

cdef extern from "<fcntl.h>" nogil:
    enum: F_OFD_GETLK
    enum: F_OFD_SETLK
    enum: F_OFD_SETLKW

cdef extern from "<sys/statvfs.h>" nogil:
    struct statvfs_t "statvfs":
        unsigned long f_frsize
        unsigned long f_bavail
    int fstatvfs(int file, statvfs_t* found)


cdef object failure(int error, str path):
    return OSError(error, strerror(error).decode(), path)


cdef int of_byte(int file, int command, flock* wanted, int64_t place) noexcept:
    wanted.l_whence = SEEK_SET
    wanted.l_start = place
    wanted.l_len = 1
    while fcntl(file, command, wanted) != 0:
        if errno != EINTR:
            return errno
    return 0


cdef int lock(int file, int64_t place, bint is_waiting) noexcept:
    # 0, or the error number: EAGAIN if another one holds this byte. The file need not be so long.
    cdef flock wanted
    memset(&wanted, 0, sizeof(wanted))
    wanted.l_type = F_WRLCK
    return of_byte(file, F_OFD_SETLKW if is_waiting else F_OFD_SETLK, &wanted, place)


cdef void unlock(int file, int64_t place) noexcept:
    cdef flock wanted
    memset(&wanted, 0, sizeof(wanted))
    wanted.l_type = F_UNLCK
    of_byte(file, F_OFD_SETLK, &wanted, place)


cdef bint is_locked(int file, int64_t place) noexcept:
    # By another open file than this one.
    cdef flock wanted
    memset(&wanted, 0, sizeof(wanted))
    wanted.l_type = F_WRLCK
    return of_byte(file, F_OFD_GETLK, &wanted, place) == 0 and wanted.l_type != F_UNLCK


cdef int create_file(str path, int64_t size, const void* head, int64_t head_size, int64_t locked_place,
                     void** memory) except -1:
    # The open file, mapped whole, beginning with `head`, `locked_place` locked. It is written under a name that nobody
    # uses, then linked: a link appears at once and never takes the place of a file. All its pages are taken here, so
    # that a too small filesystem is an error now and not a SIGBUS later.
    cdef bytes place = path.encode("utf-8", "surrogateescape")
    cdef bytes draft = place + b".draft.XXXXXX"
    cdef void* found = MAP_FAILED
    cdef statvfs_t space
    cdef bint is_made = False
    cdef int file = mkostemp(PyBytes_AS_STRING(draft), O_CLOEXEC)
    cdef int error = EINTR
    if file < 0:
        raise failure(errno, path)
    try:
        while error == EINTR:
            error = posix_fallocate(file, 0, size)
        if error == ENOSPC and fstatvfs(file, &space) == 0:
            raise OSError(error, f"the shared-memory filesystem is too small: expected room for {size:,} bytes, found "
                          f"{space.f_frsize * space.f_bavail:,}", path)
        if error:
            raise failure(error, path)
        found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0)
        if found == MAP_FAILED:
            raise failure(errno, path)
        memcpy(found, head, head_size)
        error = lock(file, locked_place, False)
        if error:
            raise failure(error, path)
        if link(PyBytes_AS_STRING(draft), PyBytes_AS_STRING(place)) != 0:
            raise failure(errno, path)
        is_made = True
    finally:
        unlink(PyBytes_AS_STRING(draft))
        if not is_made:
            if found != MAP_FAILED:
                munmap(found, size)
            close(file)
    memory[0] = found
    return file
