"""Corridor time: one source of nanoseconds, live or virtual, that never steps back."""

import time
from collections.abc import Callable
from typing import Protocol

from engine.errors import StateError


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch; never less than an earlier answer."""
        ...


class VirtualClock:
    """Time that moves only when it is told to: for replay, simulation and tests."""

    __slots__ = ("_now_ns",)

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to `now_ns`; moving to the present moment is allowed.

        Raises
        ------
        StateError
            If `now_ns` lies in the past.
        """
        if now_ns < self._now_ns:
            raise StateError(
                f"Virtual time moves forward only: expected {self._now_ns} ns or later, found {now_ns} ns.",
                now_ns=self._now_ns,
                wanted_ns=now_ns,
            )
        self._now_ns = now_ns


class LiveClock:
    """Monotonic time on a wall anchor fixed at construction.

    A step of the system's wall clock (NTP, an operator) does not move it, so intervals stay true and order is
    kept; the price is that it drifts from the wall by as much as the host is corrected after the start.
    """

    __slots__ = ("_anchor_ns", "_monotonic_ns")

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._anchor_ns = wall_ns() - monotonic_ns()

    def now_ns(self) -> int:
        return self._monotonic_ns() + self._anchor_ns


class CatchUpClock:
    """Virtual time that catches up with the present, then goes on as real time.

    Parameters
    ----------
    start_ns
        Where virtual time begins.
    monotonic_ns
        Where real time comes from.
    """

    __slots__ = ("_anchor_ns", "_monotonic_ns", "_now_ns")

    def __init__(self, start_ns: int, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = start_ns
        self._monotonic_ns = monotonic_ns
        self._anchor_ns: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether time goes on by itself."""
        return self._anchor_ns is not None

    def now_ns(self) -> int:
        if self._anchor_ns is None:
            return self._now_ns
        return self._monotonic_ns() + self._anchor_ns

    def advance_to(self, now_ns: int) -> None:
        """Move virtual time.

        Raises
        ------
        StateError
            If `now_ns` lies in the past, or time goes on by itself already.
        """
        if self._anchor_ns is not None or now_ns < self._now_ns:
            raise StateError(
                f"Virtual time moves forward only, and only until it is live: it is {self.now_ns()} ns, "
                f"found {now_ns} ns.",
                wanted_ns=now_ns,
            )
        self._now_ns = now_ns

    def go_live(self) -> None:
        """Let time go on by itself from here; it never stops again."""
        if self._anchor_ns is None:
            self._anchor_ns = self._now_ns - self._monotonic_ns()
