"""Contents page of corridor time: monotonic nanoseconds, the anchored clock, the clock of a replay."""

cimport cython
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec


# hot
cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return <int64_t>moment.tv_sec * 1_000_000_000 + <int64_t>moment.tv_nsec


@cython.final
cdef class CorridorClock:
    """Monotonic time plus a wall anchor fixed at construction; it never steps."""
    cdef readonly int64_t anchor_ns       # wall minus monotonic at construction
    cdef readonly int64_t uncertainty_ns  # widest error of that difference

    # hot
    cdef int64_t now_ns(self) noexcept nogil


@cython.final
cdef class VirtualClock:
    """Time that only the replay moves."""
    cdef int64_t moment_ns

    # hot
    cdef int64_t now_ns(self) noexcept nogil
