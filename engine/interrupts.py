"""Signals that end a command in order, whatever it is doing."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Hear Ctrl-C, SIGTERM and SIGHUP from construction to `restore`.

    Handlers of the event loop would leave a moment before and after it in which a signal ends the process at
    once, with the terminal taken or files half written. What is ignored, as nohup leaves SIGHUP, stays so.
    """

    def __init__(self) -> None:
        self._end: Callable[[], None] | None = None
        self._is_heard = False
        self._before = {
            number: signal.signal(number, self._hear)
            for number in ENDING
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT
        }

    def connect(self, end: Callable[[], None] | None) -> None:
        """Call `end` with the next signal, or now if one came before."""
        self._end = end
        if end is not None and self._is_heard:
            end()

    def restore(self) -> None:
        """Leave the signals to whoever heard them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._is_heard = True
        if self._end is not None:
            self._end()
