"""Stream sockets through picows: frames go from its read buffer to the router without a Python object."""

import asyncio
import logging
import socket
import ssl

from picows import WSAutoPingStrategy, WSError, WSHandshakeError, ws_connect

from engine.ingest.dial import connect, ending, hang_up, host_of, words
from engine.venues.transport import Frames, TransportError
from native.listener import FrameListener

READ_BUFFER_BYTES = 1 << 20

# What happens to a link is told by `wait_closed`; picows would say it a second time.
_SILENT = logging.Logger("engine.ingest.picows", logging.CRITICAL + 1)


class PicowsLink:
    """One open stream socket; see `engine.venues.transport.Link`."""

    def __init__(self, frames: Frames, connection: int, max_message_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[str] = loop.create_future()
        self.socket: socket.socket | None = None
        self.listener = FrameListener(frames, connection, loop, self._on_closed, max_message_bytes)

    @property
    def connection(self) -> int:
        return self.listener.connection

    @property
    def n_binary(self) -> int:
        """Binary messages, which are refused."""
        return self.listener.n_binary

    @property
    def last_error(self) -> BaseException | None:
        """The last exception of where the messages go."""
        return self.listener.last_error

    def send(self, text: bytes) -> bool:
        return self.listener.send(text)

    def close(self) -> None:
        self.listener.close()

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._closed)

    def _on_closed(self) -> None:
        if not self._closed.done():
            self._closed.set_result(self.listener.reason or ending(self.socket))


class PicowsTransport:
    """Opens stream sockets with picows.

    Parameters
    ----------
    ssl_context : of wss addresses; None verifies host name and chain against the authorities of the system.
    max_message_bytes : a longer message closes its link.
    """

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, max_message_bytes: int = 8 << 20
    ) -> None:
        self._ssl_context = ssl_context
        self._max_message_bytes = max_message_bytes

    async def open(self, url: str, connection: int, frames: Frames, *, timeout_s: float) -> PicowsLink:
        """Connect and shake hands; see `engine.venues.transport.FrameTransport.open`."""
        host, port, is_secure = host_of(url)
        context = self._ssl_context
        if is_secure and context is None:
            context = ssl.create_default_context()
        link = PicowsLink(frames, connection, self._max_message_bytes)

        async def dial(_: object) -> socket.socket:
            link.socket = await connect(host, port)
            return link.socket

        try:
            async with asyncio.timeout(timeout_s):
                _, listener = await ws_connect(
                    lambda: link.listener,
                    url,
                    ssl_context=context,
                    disconnect_on_exception=False,
                    # Ours ends earlier.
                    websocket_handshake_timeout=2 * timeout_s,
                    logger_name=_SILENT,
                    enable_auto_ping=False,
                    auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
                    enable_auto_pong=False,
                    max_frame_size=self._max_message_bytes,
                    max_redirects=0,
                    read_buffer_init_size=READ_BUFFER_BYTES,
                    socket_factory=dial,
                )
        except BaseException as problem:
            link.listener.abandon("never opened")
            hang_up(link.socket)
            if isinstance(problem, (WSHandshakeError, WSError, OSError, asyncio.InvalidStateError)):
                raise TransportError(f"{url} could not be opened: {refusal(problem)}.", url=url) from problem
            raise
        if listener is None:
            # picows takes an end before the answer for an opened link that is over.
            raise TransportError(f"{url} could not be opened: it ended before an answer.", url=url)
        return link


def refusal(problem: BaseException) -> str:
    """Say why a handshake failed; a status that was answered instead of it is named."""
    if isinstance(problem, WSHandshakeError):
        response = problem.response
        if response is not None and int(response.status) != 101:
            return f"it answered HTTP {int(response.status)}"
        return f"its answer is no WebSocket handshake ({problem})"
    return words(problem)
