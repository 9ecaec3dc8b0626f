"""The last moment before an order's bytes leave: is what was decided still wanted, and still fresh?

All else that a decision reads is corridor time and logged input, so that it can be replayed. The two things
that are not, the real clock and the control page, are looked at here alone; what comes of it is logged by the
approval's serial and given back in replay.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from engine.clock import Clock
from engine.orders import RefusalReason

# Wanted states as the control page numbers them; what lies beyond was written by nobody and counts as HALTED.
ACTIVE: Final = 0
REDUCING: Final = 1


class LastLook(Protocol):
    """Judges an approved order now."""

    def refusal(self, serial: int, recv_ns: int, is_reducing: bool) -> RefusalReason | None:
        """Return why the order must not leave, or None.

        Parameters
        ----------
        serial : of the approval.
        recv_ns : when the read came in that it was decided on.
        is_reducing : whether it can only make a position smaller.
        """
        ...


class LiveLook:
    """Look at the real clock and the control page. Orders that reduce always pass.

    Parameters
    ----------
    clock
        Real time, ns.
    max_age_ns
        An entering order whose read is older than this is STALE_SIGNAL.
    wanted
        The wanted state on the control page now: 0 active, 1 reducing, 2 halted.
    on_refusal
        Takes the serial and the reason of each refusal, for the input log.
    """

    __slots__ = ("_clock", "_max_age_ns", "_on_refusal", "_wanted")

    def __init__(
        self,
        clock: Clock,
        max_age_ns: int,
        wanted: Callable[[], int],
        on_refusal: Callable[[int, RefusalReason], None],
    ) -> None:
        self._clock = clock
        self._max_age_ns = max_age_ns
        self._wanted = wanted
        self._on_refusal = on_refusal

    def refusal(self, serial: int, recv_ns: int, is_reducing: bool) -> RefusalReason | None:
        if is_reducing:
            return None
        wanted = self._wanted()
        if wanted != ACTIVE:
            reason = RefusalReason.REDUCING if wanted == REDUCING else RefusalReason.HALTED
        elif self._clock.now_ns() - recv_ns > self._max_age_ns:
            reason = RefusalReason.STALE_SIGNAL
        else:
            return None
        self._on_refusal(serial, reason)
        return reason


class RecordedLook:
    """Give back what a live engine's last look said.

    Parameters
    ----------
    refusals
        Reason by serial; an approval that is not there passed. Read at each call, so it may still grow.
    """

    __slots__ = ("_refusals",)

    def __init__(self, refusals: Mapping[int, RefusalReason]) -> None:
        self._refusals = refusals

    def refusal(self, serial: int, recv_ns: int, is_reducing: bool) -> RefusalReason | None:  # noqa: ARG002
        return self._refusals.get(serial)
