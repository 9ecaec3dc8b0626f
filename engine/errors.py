"""Everything Remora raises on purpose.

::

    RemoraError            exit code 1
    ├── ConfigError        exit code 2   a setting has a wrong key or value
    ├── InputError         exit code 2   a file or an argument that the user gave cannot be used
    ├── FeedError                        a market-data stream broke; connecting again may help
    ├── VenueError                       a venue refused a request or did not answer
    └── StateError                       our own state contradicts itself or the venue's

A refused order or a vetoed entry is a value (`signals.Veto`), not an exception.
"""

from decimal import Decimal
from typing import ClassVar

Fact = str | int | float | bool | Decimal | None


class RemoraError(Exception):
    """Say in one sentence what was expected and what was found, and carry the facts beside it.

    Parameters
    ----------
    sentence
        What was expected and what was found, for a human.
    terminal
        True when doing the same again cannot help; without it, what is usual for the class.
    **facts
        Ids, limits and values that the sentence speaks of, for logs and callers.
    """

    exit_code: ClassVar[int] = 1
    is_usually_terminal: ClassVar[bool] = True

    def __init__(self, sentence: str, *, terminal: bool | None = None, **facts: Fact) -> None:
        super().__init__(sentence)
        self.terminal: bool = self.is_usually_terminal if terminal is None else terminal
        self.facts: dict[str, Fact] = facts


class ConfigError(RemoraError):
    """Report a setting that does not exist or has a value it may not have."""

    exit_code = 2


class InputError(RemoraError):
    """Report a file or an argument of the user that is absent, unreadable or of another shape."""

    exit_code = 2


class FeedError(RemoraError):
    """Report a market-data stream that ended, fell silent or sent what cannot be read."""

    is_usually_terminal = False


class VenueError(RemoraError):
    """Report a venue that refused a request or whose answer did not come."""

    is_usually_terminal = False


class StateError(RemoraError):
    """Report a contradiction that only a bug or a foreign hand explains."""
