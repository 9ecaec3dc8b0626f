"""Corridor time: monotonic, anchored once to the wall; and virtual time for replay."""

cimport cython
from libc.stdint cimport INT64_MAX
from posix.time cimport CLOCK_REALTIME


# Reads of the wall between two monotonic reads; the tightest pair wins, so one preemption does not shift the
# anchor.
cdef enum:
    ANCHOR_READS = 16


cdef int64_t wall_ns() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_REALTIME, &moment)
    return <int64_t>moment.tv_sec * 1_000_000_000 + <int64_t>moment.tv_nsec


@cython.final
cdef class CorridorClock:
    """Tell corridor time: the monotonic clock plus a wall anchor fixed at construction.

    Notes
    -----
    ``now = monotonic + anchor``. A step or a slew of the wall clock after construction does not reach it;
    the price is that it drifts from the wall as the host's oscillator does. Two clocks of two processes
    differ by their anchors.

    Attributes
    ----------
    anchor_ns : int
        Wall time minus monotonic time at construction, in nanoseconds.
    uncertainty_ns : int
        Half the width of the monotonic reads around the chosen wall read: the widest error of the anchor.
    """

    def __cinit__(self) -> None:
        cdef int64_t before, wall, after
        cdef int64_t tightest = INT64_MAX
        cdef int _i
        for _i in range(ANCHOR_READS):
            before = monotonic_ns()
            wall = wall_ns()
            after = monotonic_ns()
            if after - before < tightest:
                tightest = after - before
                self.anchor_ns = wall - (before + tightest // 2)
        self.uncertainty_ns = (tightest + 1) // 2

    cdef int64_t now_ns(self) noexcept nogil:
        return monotonic_ns() + self.anchor_ns

    def read_ns(self) -> int:
        """Return corridor time in nanoseconds since the Unix epoch.

        Notes
        -----
        Cost: one clock read (a vDSO call on Linux), one addition.
        """
        return self.now_ns()


@cython.final
cdef class VirtualClock:
    """Hold the time of a replay; it moves only when told, and never back.

    Parameters
    ----------
    start_ns : int
        First time, in nanoseconds.
    """

    def __cinit__(self, int64_t start_ns=0) -> None:
        self.moment_ns = start_ns

    cdef int64_t now_ns(self) noexcept nogil:
        return self.moment_ns

    def read_ns(self) -> int:
        """Return the virtual time in nanoseconds."""
        return self.moment_ns

    def advance_to(self, int64_t ns) -> None:
        """Move to a time.

        Parameters
        ----------
        ns : int
            The new time in nanoseconds; equal to the present one is allowed.

        Raises
        ------
        ValueError
            If it lies before the present time; the clock then stays where it was.
        """
        if ns < self.moment_ns:
            raise ValueError(
                f"virtual time moves forward only: expected at least {self.moment_ns} ns, found {ns} ns"
            )
        self.moment_ns = ns


def read_monotonic_ns() -> int:
    """Return the monotonic clock of the host in nanoseconds, without an anchor."""
    return monotonic_ns()
