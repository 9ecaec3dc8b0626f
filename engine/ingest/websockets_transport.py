"""Stream sockets through the protocol machine of `websockets`: slower than picows, independent of it."""

import asyncio
import logging
import socket
import ssl
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from engine.ingest.dial import connect, ending, hang_up, host_of, words
from engine.venues.transport import Frames, TransportError

READ_BUFFER_BYTES = 1 << 20
LINGER_S = 1.0

_SILENT = logging.Logger("engine.ingest.websockets", logging.CRITICAL + 1)


class WebsocketsLink(asyncio.BufferedProtocol):
    """One open stream socket; see `engine.venues.transport.Link`."""

    def __init__(self, url: str, frames: Frames, connection: int, max_message_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection, self._frames = connection, frames
        self._protocol = ClientProtocol(parse_uri(url), max_size=max_message_bytes, logger=_SILENT)
        self._max_message_bytes = max_message_bytes
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._is_text = False
        self._is_closing = False
        self._reason = ""
        self._linger: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.socket: socket.socket | None = None
        self.n_binary = 0
        self.last_error: BaseException | None = None

    @property
    def connection(self) -> int:
        return self._connection

    def send(self, text: bytes) -> bool:
        transport = self._transport
        if self._is_closing or transport is None or transport.is_closing():
            return False
        if self._protocol.state is not OPEN or transport.get_write_buffer_size() > 65536:
            return False
        self._protocol.send_text(text)
        self._flush()
        return True

    def close(self) -> None:
        if self._is_closing:
            return
        self._end("closed by us")
        if self._protocol.state is OPEN:
            self._protocol.send_close(1000)
        self._hang_up()

    def abandon(self) -> None:
        """Drop the socket at once."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()
        hang_up(self.socket)

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is one by its methods only.
        self._transport = cast(asyncio.Transport, transport)
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_closing:
            return
        self._protocol.receive_data(bytes(self._buffer[:nbytes]))
        self._take()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._take()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        if self._linger is not None:
            self._linger.cancel()
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("it ended before an answer"))
        if not self._closed.done():
            self._closed.set_result(self._reason or ending(self.socket, exc))
        # Nobody collects cycles while the engine runs: an ended socket must go by its own count.
        self._transport = self._linger = None
        self._buffer = memoryview(b"")
        self._protocol.parser.close()

    def _take(self) -> None:
        has_messages = False
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                has_messages |= self._on_frame(event)
            elif not self.opened.done() and self._protocol.handshake_exc is None:
                self.opened.set_result(None)
        if self._protocol.handshake_exc is not None and not self.opened.done():
            self.opened.set_exception(self._protocol.handshake_exc)
        if has_messages:
            try:
                self._frames.end_read()
            except Exception as error:
                self.last_error = error
        problem = self._protocol.parser_exc
        if problem is not None and not isinstance(problem, EOFError) and not self._reason:
            sent = self._protocol.close_sent
            told = f"{sent.code} {sent.reason}".rstrip() if sent is not None else words(problem)
            if sent is not None and sent.code == 1009:
                told = f"a message is longer than {self._max_message_bytes} bytes"
            self._end(f"closed by us: {told}")
        if self._is_closing:
            self._hang_up()
        else:
            self._flush()

    def _on_frame(self, frame: Frame) -> bool:
        """Take one frame; say whether it ended a message that was given on."""
        if self._is_closing:
            return False
        if frame.opcode is Opcode.CLOSE:
            received = self._protocol.close_rcvd
            has_code = len(frame.data) >= 2 and received is not None
            told = f"{received.code} {received.reason}".rstrip() if has_code and received else "no code given"
            self._end(f"closed by the peer: {told}")
            return False
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            return False
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self.n_binary += not self._is_text
            self._parts.clear()
        if self._is_text:
            self._parts.append(bytes(frame.data))
        if not frame.fin or not self._is_text:
            return False
        try:
            self._frames.feed(self._connection, b"".join(self._parts))
        except Exception as error:
            self.last_error = error
        return True

    def _end(self, reason: str) -> None:
        self._is_closing = True
        self._reason = self._reason or reason

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            for data in self._protocol.data_to_send():
                if data:
                    self._transport.write(data)

    def _hang_up(self) -> None:
        self._flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._linger = self._loop.call_later(LINGER_S, self._transport.abort)


class WebsocketsTransport:
    """Opens stream sockets with the protocol machine of `websockets`.

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

    async def open(self, url: str, connection: int, frames: Frames, *, timeout_s: float) -> WebsocketsLink:
        """Connect and shake hands; see `engine.venues.transport.FrameTransport.open`."""
        host, port, is_secure = host_of(url)
        context = None
        if is_secure:
            context = self._ssl_context or ssl.create_default_context()
        link = WebsocketsLink(url, frames, connection, self._max_message_bytes)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                link.socket = await connect(host, port)
                await loop.create_connection(
                    lambda: link,
                    sock=link.socket,
                    ssl=context,
                    server_hostname=host if is_secure else None,
                )
                await link.opened
        except BaseException as problem:
            link.abandon()
            if link.opened.done() and not link.opened.cancelled():
                link.opened.exception()
            if isinstance(problem, (WebSocketException, OSError)):
                raise TransportError(f"{url} could not be opened: {refusal(problem)}.", url=url) from problem
            raise
        return link


def refusal(problem: BaseException) -> str:
    """Say why a handshake failed; a status that was answered instead of it is named."""
    if isinstance(problem, InvalidStatus):
        return f"it answered HTTP {problem.response.status_code}"
    if isinstance(problem, InvalidMessage) and isinstance(problem.__cause__, EOFError):
        return "it ended before an answer"
    if isinstance(problem, InvalidHandshake):
        return f"its answer is no WebSocket handshake ({problem})"
    return words(problem)
