"""The two seams to the outside: messages of a stream socket, and answers of a request.

Live they are sockets, in simulation they are functions of virtual time; what stands behind them cannot tell.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from engine.errors import VenueError


class TransportError(VenueError):
    """No answer: refused, reset, timed out, or the certificate was not accepted; says which."""


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back for one request, whatever its status."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    sent_ns: int  # our clock, when the request left
    received_ns: int  # our clock, when the whole answer was there


class HttpTransport(Protocol):
    """Asks one origin."""

    async def get(
        self, path: str, query: str = "", *, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> HttpAnswer:
        """Ask for a path; `query` is encoded already, without its question mark.

        Raises
        ------
        TransportError
            No whole answer within `timeout_s`.
        """
        ...

    async def close(self) -> None:
        """Let go of every socket."""
        ...


class Frames(Protocol):
    """Where the messages of all connections go; `native.router.Router` is one."""

    def feed(self, connection: int, payload: bytes) -> None:
        """Take one whole text message; several of one read follow each other."""
        ...

    def end_read(self) -> None:
        """The read is over: what it brought is decided now."""
        ...


class Link(Protocol):
    """One open stream socket."""

    @property
    def connection(self) -> int:
        """The number it was opened with."""
        ...

    def send(self, text: bytes) -> bool:
        """Hand over one control message without waiting; False when the socket takes nothing any more."""
        ...

    def close(self) -> None:
        """Close it; again is harmless."""
        ...

    async def wait_closed(self) -> str:
        """Return why it closed, at once if it is closed already. Never raises but for cancellation."""
        ...


class FrameTransport(Protocol):
    """Opens stream sockets."""

    async def open(self, url: str, connection: int, frames: Frames, *, timeout_s: float) -> Link:
        """Connect and shake hands; messages then go to `frames` under this number until the link closes.

        Pings are answered by the transport.

        Raises
        ------
        TransportError
            It could not be had within `timeout_s`.
        """
        ...
