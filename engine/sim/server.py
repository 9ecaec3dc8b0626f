"""The simulated venue on a socket: one origin for REST and streams. It translates; the house decides."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Final

from aiohttp import WSMsgType, web

from engine.sim.answers import Answer, Out, OutClose, OutPing, OutPong, OutText
from engine.sim.house import House, Session
from engine.sim.hubs import NEVER
from engine.sim.restrules import not_found

MAX_STEP_NS: Final = 50_000_000  # of venue time at once, so that a house that fell behind still answers
LONGEST_SLEEP_S: Final = 0.05
SHORTEST_SLEEP_S: Final = 0.001
MAX_UNSENT_BYTES: Final = 4 << 20
MAX_MESSAGE_BYTES: Final = 1 << 20

_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


class Pace:
    """
    Venue time that runs with the machine's, or faster.

    Parameters
    ----------
    start_ns : int
        Venue time now.
    speed : float
        Venue seconds in a second of the machine.
    """

    __slots__ = ("_began_ns", "_monotonic_ns", "_speed", "_start_ns")

    def __init__(
        self, start_ns: int, speed: float = 1.0, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._start_ns = start_ns
        self._speed = speed
        self._monotonic_ns = monotonic_ns
        self._began_ns = monotonic_ns()

    def now_ns(self) -> int:
        """Return venue time."""
        return self._start_ns + int((self._monotonic_ns() - self._began_ns) * self._speed)

    def seconds(self, length_ns: int) -> float:
        """Return the machine's seconds in a length of venue time."""
        return length_ns / 1e9 / self._speed


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole, unmasked WebSocket frame (RFC 6455, 5.2)."""
    n = len(payload)
    if n < 126:
        head = struct.pack("!BB", opcode, n)
    elif n < 65_536:
        head = struct.pack("!BBH", opcode, 126, n)
    else:
        head = struct.pack("!BBQ", opcode, 127, n)
    return head + payload


class _Connection:
    """What goes out to one client; whoever does not read is cut off, nobody waits for it."""

    __slots__ = ("_connections", "_ending", "_transport", "_unsent", "_unsent_bytes", "session")

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._ending = ""  # "close" after what is unsent, or "cut"
        self.session: Session | None = None

    def deliver(self, _at_ns: int, out: Out) -> None:
        if self._ending:
            return
        if isinstance(out, OutText):
            self._put(self._connections.text_frame(out))
        elif isinstance(out, OutPing):
            self._put(frame(_PING, out.payload))
        elif isinstance(out, OutPong):
            self._put(frame(_PONG, out.payload))
        elif isinstance(out, OutClose):
            self._put(frame(_CLOSE, struct.pack("!H", out.code) + out.reason.encode()))
            self._ending = "close"
        else:
            self._unsent.clear()
            self._ending = "cut"
            self._connections.touched.append(self)

    def start(self, transport: asyncio.Transport) -> None:
        """Send from now on: the handshake is over."""
        self._transport = transport
        self.flush()

    def end(self, code: int | None) -> None:
        """Answer the client's close frame."""
        if not self._ending:
            self._put(frame(_CLOSE, b"" if code is None else struct.pack("!H", code)))
            self._ending = "close"
        self.flush()

    def flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._ending == "cut":
            _reset(transport)
            return
        if self._unsent and not transport.is_closing():
            transport.write(b"".join(self._unsent))
            if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self._connections.n_cut += 1
                transport.abort()
        self._unsent.clear()
        self._unsent_bytes = 0
        if self._ending == "close":
            transport.close()

    def _put(self, data: bytes) -> None:
        if not self._unsent:
            self._connections.touched.append(self)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_UNSENT_BYTES:  # a client that never finishes its handshake
            self._unsent.clear()
            self._ending = "cut"


class Connections:
    """The stream connections of a server, and those of them with something to send."""

    def __init__(self) -> None:
        self.touched: list[_Connection] = []
        self.n_cut = 0  # connections ended because their client did not read
        self._last_text: OutText | None = None
        self._last_frame = b""

    def text_frame(self, out: OutText) -> bytes:
        """Return the frame of a text; a text that goes to many is framed once."""
        if out is not self._last_text:
            self._last_text, self._last_frame = out, frame(_TEXT, out.payload)
        return self._last_frame

    def flush(self) -> None:
        """Send what the house has delivered."""
        touched, self.touched = self.touched, []
        for connection in touched:
            connection.flush()


class Server:
    """
    A house on a TCP port.

    Parameters
    ----------
    house : House
    pace : Pace
    ssl_context : ssl.SSLContext, optional
        With a certificate; the origin is then https and wss.

    Notes
    -----
    The house is advanced in steps of a few milliseconds and before every request. Messages of one step leave
    in one write for each client, so that a house with many listeners writes less often, not later and later.
    A client with more than 4 MiB unread is cut off.
    """

    def __init__(self, house: House, pace: Pace, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.house = house
        self.connections = Connections()
        self._pace = pace
        self._ssl_context = ssl_context

    async def run(self, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        """
        Serve until cancelled.

        Parameters
        ----------
        listener : socket
            Bound to an address; the server closes it.
        on_ready : callable
            Called once connections are taken.
        """
        application = web.Application(client_max_size=MAX_MESSAGE_BYTES)
        application.router.add_route("*", "/{path:.*}", self._on_request)
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.SockSite(runner, listener, ssl_context=self._ssl_context, backlog=1024)
            await site.start()
            self.house.advance(self._pace.now_ns())
            on_ready()
            await self._advance()
        finally:
            for session in tuple(self.house.sessions.values()):
                session.close(self.house.now_ns, 1001, "")
            self.connections.flush()
            await runner.cleanup()

    def _now_ns(self) -> int:
        return min(self._pace.now_ns(), self.house.now_ns + MAX_STEP_NS)

    async def _advance(self) -> None:
        house = self.house
        while True:
            house.advance(self._now_ns())
            self.connections.flush()
            now_ns, next_ns = self._pace.now_ns(), house.next_ns
            wait_s = self._pace.seconds(next_ns - now_ns) if next_ns < NEVER else LONGEST_SLEEP_S
            is_behind = house.now_ns + MAX_STEP_NS <= now_ns
            await asyncio.sleep(0 if is_behind else min(LONGEST_SLEEP_S, max(SHORTEST_SLEEP_S, wait_s)))

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._on_websocket(request)
        path, query = request.path, request.query_string
        if request.method != "GET":
            return _response(not_found(path, request.method))
        answer = self.house.get(
            path, query, request.headers, address=request.remote or "", now_ns=self._now_ns()
        )
        self.connections.flush()
        if answer.delay_ns > 0:
            await asyncio.sleep(self._pace.seconds(answer.delay_ns))
        return _response(answer)

    async def _on_websocket(self, request: web.Request) -> web.StreamResponse:
        connection = _Connection(self.connections)
        found = self.house.open(
            request.path,
            request.query_string,
            address=request.remote or "",
            now_ns=self._now_ns(),
            deliver=connection.deliver,
        )
        self.connections.flush()
        if isinstance(found, Answer):
            return _response(found)
        connection.session = found
        upgraded = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=MAX_MESSAGE_BYTES
        )
        try:
            await upgraded.prepare(request)
            transport = request.transport
            if transport is not None:
                connection.start(transport)
                await self._listen(upgraded, found, connection)
        finally:
            found.on_close(max(self.house.now_ns, self._now_ns()))
            self.connections.flush()
        return upgraded

    async def _listen(
        self, upgraded: web.WebSocketResponse, session: Session, connection: _Connection
    ) -> None:
        while True:
            message = await upgraded.receive()
            now_ns = self._now_ns()
            self.house.advance(now_ns)
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                data = message.data
                session.on_text(data.encode() if isinstance(data, str) else bytes(data), now_ns)
            elif message.type is WSMsgType.PING:
                session.on_ping(bytes(message.data), now_ns)
            elif message.type is WSMsgType.PONG:
                session.on_pong(bytes(message.data), now_ns)
            elif message.type is WSMsgType.CLOSE:
                connection.end(message.data)
                return
            else:
                return
            self.connections.flush()


def _reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with RST, without what is unsent."""
    handle: socket.socket | None = transport.get_extra_info("socket")
    if handle is not None and not transport.is_closing():
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
