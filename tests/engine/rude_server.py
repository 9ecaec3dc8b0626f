"""A bare socket server that writes WebSocket frames by hand, so that it can be as rude as a test needs."""

import asyncio
import base64
import contextlib
import hashlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Write one frame as a server does: not masked."""
    head = bytes([fin << 7 | opcode])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65_536:
        return head + b"\x7e" + struct.pack(">H", size) + payload
    return head + b"\x7f" + struct.pack(">Q", size) + payload


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read_request(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def shake_hands(self, then: bytes = b"") -> None:
        """Accept the upgrade; `then` goes out with the answer."""
        request = await self.read_request()
        key = next(
            line.partition(b":")[2].strip()
            for line in request.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.writer.write(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + then)

    async def read_frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the client's next frame, which must be masked."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        assert second & 0x80
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return first & 0xF, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    async def read_end(self) -> None:
        """Wait until the client has hung up."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.get_extra_info("socket").setsockopt(
            1, 13, struct.pack("ii", 1, 0)
        )  # SO_LINGER of no time
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve each connection by a script; gives the port. What a script raises is raised at the end."""
    problems: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Peer(reader, writer))
        except Exception as problem:
            problems.append(problem)
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
        if tasks:
            await asyncio.wait(tasks, timeout=5)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
    assert not problems, problems
