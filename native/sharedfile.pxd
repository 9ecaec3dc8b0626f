"""Contents page of shared files: made whole or not at all, and locks that tell who lives."""

from libc.stdint cimport int64_t


# cold
cdef int create_file(str path, int64_t size, const void* head, int64_t head_size, int64_t locked_place,
                     void** memory) except -1
cdef object failure(int error, str path)
cdef int lock(int file, int64_t place, bint is_waiting) noexcept
cdef void unlock(int file, int64_t place) noexcept
cdef bint is_locked(int file, int64_t place) noexcept
