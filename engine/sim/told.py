"""One message of the venue's public, before it is bytes."""

from collections.abc import Callable
from typing import Final

MS: Final = 1_000_000
US: Final = 1_000


class Told:
    """
    One message of one stream: the `data` object of the venue, written when somebody needs it.

    Nobody changes it after it was made: all who listen get the same object, and it is encoded once for each
    unit of time.

    Parameters
    ----------
    stream : str
        Name of the stream, in lower case as it is subscribed.
    venue_ns : int
        Venue time at which the venue sends it.
    write : callable
        Gives the text of the `data` object, with its times divided by the nanoseconds it is called with.
    has_micro : bool
        Whether the venue offers this message with microseconds (spot); else it has milliseconds always.
    """

    __slots__ = ("_bytes", "_has_micro", "_write", "stream", "venue_ns")

    def __init__(
        self, stream: str, venue_ns: int, write: Callable[[int], str], *, has_micro: bool = False
    ) -> None:
        self.stream: Final = stream
        self.venue_ns: Final = venue_ns
        self._write = write
        self._has_micro = has_micro
        self._bytes: dict[int, bytes] = {}

    def encode(self, is_micro: bool = False) -> bytes:
        """Return the `data` object as JSON, with times in microseconds or milliseconds.

        Cost: the text is written at the first call for its unit and kept.
        """
        unit = US if is_micro and self._has_micro else MS
        found = self._bytes.get(unit)
        if found is None:
            found = self._bytes[unit] = self._write(unit).encode()
        return found

    def __repr__(self) -> str:
        return f"Told({self.stream!r}, {self.venue_ns}, {self.encode()!r})"
