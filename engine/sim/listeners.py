"""Who listens to which stream, and the streams that speak at fixed moments."""

from collections.abc import Callable
from typing import Final

from engine.sim.told import Told

Sink = Callable[[Told], object]
Schedule = Callable[[int, Callable[[int], None]], None]


class Stream:
    """One stream and its listeners; speaks when its market has something to tell."""

    __slots__ = ("name", "sinks")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.sinks: list[Sink] = []

    def listen(self, sink: Sink) -> None:
        """Let `sink` hear what is told from now on; a second time changes nothing."""
        if sink not in self.sinks:
            self.sinks.append(sink)

    def unlisten(self, sink: Sink) -> None:
        """Let `sink` hear no more."""
        if sink in self.sinks:
            self.sinks.remove(sink)

    def tell(self, told: Told) -> None:
        """Hand a message to all listeners; who leaves or comes meanwhile changes nothing for this one."""
        for sink in tuple(self.sinks):
            sink(told)


class Pulse(Stream):
    """
    A stream that looks for news at fixed moments while somebody listens.

    Parameters
    ----------
    name : str
    every : tuple of int
        Period and phase in ns: it beats at all times t with (t - phase) % period == 0.
    now : callable
        Venue time.
    schedule : callable
        Calls back at a venue time.
    beat : callable
        Called at each moment with the venue time.
    begin : callable, optional
        Called when the first listener comes after none was there.
    """

    __slots__ = ("_beat", "_begin", "_is_due", "_now", "_period_ns", "_phase_ns", "_schedule")

    def __init__(
        self,
        name: str,
        every: tuple[int, int],
        now: Callable[[], int],
        schedule: Schedule,
        *,
        beat: Callable[[int], None],
        begin: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name)
        self._period_ns, self._phase_ns = every
        self._now = now
        self._schedule = schedule
        self._beat = beat
        self._begin = begin
        self._is_due = False

    def listen(self, sink: Sink) -> None:
        if not self.sinks:
            if self._begin is not None:
                self._begin()
            if not self._is_due:
                self._is_due = True
                now, period = self._now(), self._period_ns
                self._schedule(now + period - (now - self._phase_ns) % period, self._fire)
        super().listen(sink)

    def _fire(self, now_ns: int) -> None:
        if not self.sinks:
            self._is_due = False
            return
        self._schedule(now_ns + self._period_ns, self._fire)
        self._beat(now_ns)
