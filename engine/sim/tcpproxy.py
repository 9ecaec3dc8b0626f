"""A loopback proxy that breaks connections at chosen bytes: for journeys over real sockets and TLS.

It knows nothing of what it carries, so a cut falls inside a TLS record or a WebSocket frame as it does on a
real line.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from engine.errors import InputError

CHUNK: Final = 65_536
CONNECT_S: Final = 5.0
CLOSE_S: Final = 5.0
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
ABORT: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST

Sleep = Callable[[float], Awaitable[None]]


class Mishap(StrEnum):
    """What befalls a connection."""

    RESET = "reset"  # RST to the client, and to the server
    FINISH = "finish"  # FIN to the client, as if the server had ended: what was under way is cut short
    STALL = "stall"  # nothing passes until `TcpProxy.release`, or for `seconds` where given
    DELAY = "delay"  # from here on everything is `seconds` late
    LOSE = "lose"  # `n_bytes` are missing
    FLIP = "flip"  # the next byte is another


@dataclass(frozen=True, slots=True)
class Step:
    """One mishap, on the way from the server to the client.

    Attributes
    ----------
    after_bytes : of the connection, counted from its beginning, that pass before it; what is lost counts.
    seconds, n_bytes : as the mishap needs them.
    """

    after_bytes: int
    mishap: Mishap
    seconds: float = 0.0
    n_bytes: int = 0


class TcpProxy:
    """Carries connections to one port of this machine, and breaks them by a script.

    Parameters
    ----------
    port : of the server; it must be on loopback.
    scripts : one for each connection in the order they come; those after the last are carried unharmed.
    host : of the server.
    max_connections : at once; more are refused.
    sleep : how time passes in delays and timed stalls.

    Attributes
    ----------
    port : where clients connect; known inside `async with`.
    n_connections, n_refused : accepted so far, and refused.
    happened : mishaps in the order they happened, with the number of the connection, from 1.
    stalled : set when a connection stalls.

    Raises
    ------
    InputError
        The server is not on loopback, or a script goes backwards.

    Notes
    -----
    At most 64 KiB of a connection are held in each direction, apart from what the sockets hold.
    """

    def __init__(
        self,
        port: int,
        scripts: Sequence[Sequence[Step]] = (),
        *,
        host: str = "127.0.0.1",
        max_connections: int = 64,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if host not in LOOPBACK:
            raise InputError(f"Expected a server on loopback, found {host}.", host=host)
        for script in scripts:
            places = [step.after_bytes for step in script]
            if places != sorted(places) or any(place < 0 for place in places):
                raise InputError(f"Expected mishaps at rising bytes, found {places}.")
        self.port = 0
        self.n_connections = 0
        self.n_refused = 0
        self.happened: list[tuple[int, Mishap]] = []
        self.stalled = asyncio.Event()
        self._target = (host, port)
        self._scripts = deque(tuple(script) for script in scripts)
        self._max_connections = max_connections
        self._sleep = sleep
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        async with asyncio.timeout(CLOSE_S):
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    def release(self) -> None:
        """Let what stalls go on, now and from now on."""
        self._released.set()

    def cut(self) -> None:
        """Reset every connection."""
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self._max_connections:
            self.n_refused += 1
            _reset(writer)
            return
        self.n_connections += 1
        script = self._scripts.popleft() if self._scripts else ()
        task = asyncio.get_running_loop().create_task(
            self._carry(self.n_connections, deque(script), reader, writer)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(
        self,
        number: int,
        script: deque[Step],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                from_server, to_server = await asyncio.open_connection(*self._target, limit=CHUNK)
        except (OSError, TimeoutError):
            _reset(writer)
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, to_server))
                group.create_task(_Breaker(self, number, script, from_server, writer).run())
            # Both have ended in order: what is still in our buffers is to arrive.
            for end in (writer, to_server):
                end.close()
                async with asyncio.timeout(CLOSE_S):
                    await end.wait_closed()
        except* (OSError, TimeoutError):
            # One side has gone, or a mishap: the other is not to wait for it.
            pass
        finally:
            _reset(writer)
            _reset(to_server)


class _Breaker:
    """Carries one connection from the server to the client, with its mishaps."""

    def __init__(
        self,
        proxy: TcpProxy,
        number: int,
        script: deque[Step],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._number = number
        self._script = script
        self._reader = reader
        self._writer = writer
        self._passed = 0
        self._late_s = 0.0

    async def run(self) -> None:
        await self._suffer()
        while data := await self._reader.read(CHUNK):
            if self._late_s:
                await self._proxy._sleep(self._late_s)
            while data:
                room = self._script[0].after_bytes - self._passed if self._script else len(data)
                data = await self._send(data, max(room, 0))
                data = await self._suffer(data)
        self._writer.write_eof()

    async def _send(self, data: bytes, n: int) -> bytes:
        head, rest = data[:n], data[n:]
        if head:
            self._passed += len(head)
            self._writer.write(head)
            await self._writer.drain()
        return rest

    async def _suffer(self, data: bytes = b"") -> bytes:
        """Let the mishaps happen whose byte has come; return what is left to send."""
        proxy = self._proxy
        while self._script and self._script[0].after_bytes <= self._passed:
            step = self._script[0]
            if step.mishap in (Mishap.LOSE, Mishap.FLIP) and not data:
                return data
            self._script.popleft()
            if step.mishap is Mishap.LOSE and len(data) < step.n_bytes:
                # The rest of what is to be lost is not here yet.
                self._passed += len(data)
                self._script.appendleft(Step(self._passed, Mishap.LOSE, n_bytes=step.n_bytes - len(data)))
                return b""
            proxy.happened.append((self._number, step.mishap))
            if step.mishap is Mishap.RESET:
                raise ConnectionResetError
            if step.mishap is Mishap.FINISH:
                self._writer.close()
                with suppress(OSError):
                    await self._writer.wait_closed()
                raise ConnectionAbortedError
            if step.mishap is Mishap.STALL:
                proxy.stalled.set()
                await (proxy._sleep(step.seconds) if step.seconds else proxy._released.wait())
            elif step.mishap is Mishap.DELAY:
                self._late_s = step.seconds
            elif step.mishap is Mishap.LOSE:
                self._passed += step.n_bytes
                data = data[step.n_bytes :]
            else:
                data = bytes((data[0] ^ 0x55,)) + data[1:]
        return data


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        return
    found = writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    writer.transport.abort()
