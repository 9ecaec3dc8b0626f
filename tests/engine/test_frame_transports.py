"""Both stream transports against one rude server: the same messages, reads, answers and last words."""

import asyncio
import datetime
import gc
import os
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trustme
import uvloop

from engine.ingest.picows_transport import PicowsTransport
from engine.ingest.websockets_transport import WebsocketsTransport
from engine.venues.transport import FrameTransport, Link, TransportError
from tests.engine.rude_server import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    Script,
    frame,
    serving,
)

Make = Callable[..., FrameTransport]
Act = Callable[[Link, "Heard"], Awaitable[None]]

pytestmark = pytest.mark.slow

AUTHORITY = trustme.CA()
READ = "|"


@dataclass
class Heard:
    """What a transport delivered: messages, and a bar at the end of each read."""

    events: list[bytes | str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    problem: BaseException | None = None

    def feed(self, connection: int, payload: bytes) -> None:
        assert connection == 7
        self.events.append(payload)
        if self.problem is not None:
            raise self.problem

    def end_read(self) -> None:
        self.events.append(READ)
        self.arrived.set()
        if self.problem is not None:
            raise self.problem

    @property
    def messages(self) -> list[bytes]:
        return [event for event in self.events if isinstance(event, bytes)]


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def server_context(
    *names: str, authority: trustme.CA = AUTHORITY, **more: datetime.datetime
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost",)), **more).configure_cert(context)
    return context


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def event_loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `asyncio.run` use the one or the other kind of loop: the engine runs on uvloop."""
    if request.param == "uvloop":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(None)


@pytest.fixture(params=[PicowsTransport, WebsocketsTransport], ids=["picows", "websockets"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def visit(
    make: Make, script: Script, tls: bool, act: Act | None = None, **settings: int
) -> tuple[Heard, str, Link]:
    """Open, do what the test does, wait for the end; return what was heard and the last words."""

    async def run() -> tuple[Heard, str, Link]:
        heard = Heard()
        transport = make(ssl_context=client_context(), **settings)
        async with asyncio.timeout(8), serving(script, server_context() if tls else None) as port:
            url = f"{'wss' if tls else 'ws'}://localhost:{port}/stream?streams=a/b"
            link = await transport.open(url, 7, heard, timeout_s=5)
            assert link.connection == 7
            if act is not None:
                await act(link, heard)
            last = await link.wait_closed()
            assert await link.wait_closed() == last
            link.close()
            assert not link.send(b"late")
        return heard, last, link

    answer = asyncio.run(run())
    gc.collect()
    return answer


def close_frame(code: int = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def test_messages_of_one_read_are_one_and_ping_may_be_its_last_frame(make: Make, tls: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(PING, b"\x00mark\xff"))
        assert await peer.read_frame() == (PONG, b"\x00mark\xff")
        peer.writer.write(frame(PING, b"") + frame(TEXT, b"three") + frame(PONG, b"?"))
        assert await peer.read_frame() == (PONG, b"")
        peer.writer.write(close_frame(1001, b"going away"))
        assert await peer.read_frame() == (CLOSE, (1001).to_bytes(2, "big") + b"going away")
        await peer.read_end()

    heard, last, _ = visit(make, script, tls)
    assert heard.events == [b"one", b"two", READ, b"three", READ]
    assert last == "closed by the peer: 1001 going away"


def test_messages_that_come_with_the_handshake_are_heard(make: Make, tls: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands(frame(TEXT, b"early") + frame(CLOSE, b""))
        assert await peer.read_frame() == (CLOSE, b"")

    heard, last, _ = visit(make, script, tls)
    assert heard.events == [b"early", READ]
    assert last == "closed by the peer: no code given"


def test_burst_of_300_kb_arrives_whole_and_in_few_reads(make: Make, tls: bool) -> None:
    wanted = [b'{"n":%d,"x":"%s"}' % (i, b"y" * 1_000) for i in range(300)]

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(b"".join(frame(TEXT, one) for one in wanted) + close_frame())
        await peer.read_end()

    heard, _, _ = visit(make, script, tls)
    assert heard.messages == wanted
    assert heard.events[-1] == READ
    # TLS gives a record of 16 KiB at a time.
    assert heard.events.count(READ) <= (40 if tls else 8)


def test_fragments_are_joined_whatever_comes_between(make: Make, tls: bool) -> None:
    large = [b"a" * 70_000, b"b" * 90_000, b""]

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"first ", fin=False))
        peer.writer.write(frame(PING, b"p") + frame(CONTINUATION, b"and ", fin=False))
        assert await peer.read_frame() == (PONG, b"p")
        peer.writer.write(frame(CONTINUATION, b"last") + frame(TEXT, b"", fin=False))
        for part in large:
            peer.writer.write(frame(CONTINUATION, part, fin=not part))
        peer.writer.write(close_frame())
        await peer.read_end()

    heard, _, _ = visit(make, script, tls)
    assert heard.messages == [b"first and last", b"".join(large)]


def test_binary_messages_are_counted_and_refused(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(BINARY, b"\x00\x01") + frame(BINARY, b"x", fin=False))
        peer.writer.write(frame(CONTINUATION, b"y") + frame(TEXT, b"text") + close_frame())
        await peer.read_end()

    heard, _, link = visit(make, script, tls=False)
    assert heard.messages == [b"text"]
    assert getattr(link, "n_binary") == 2  # noqa: B009


@pytest.mark.parametrize("parts", [1, 3])
def test_message_that_is_too_long_closes_the_link(make: Make, tls: bool, parts: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"whole"))
        for i in range(parts):
            opcode = CONTINUATION if i else TEXT
            peer.writer.write(frame(opcode, b"z" * (2_400 // parts), fin=i == parts - 1))
        opcode, payload = await peer.read_frame()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1009)
        await peer.read_end()

    heard, last, _ = visit(make, script, tls, max_message_bytes=2_000)
    assert heard.messages == [b"whole"]
    assert last == "closed by us: a message is longer than 2000 bytes"


@pytest.mark.parametrize(
    "broken",
    [
        frame(CONTINUATION, b"of nothing"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        bytes([0xC1, 1]) + b"x",
        bytes([0x83, 0]),
        bytes([0x81, 0x81]) + b"maskx",
        bytes([0x09, 0]),
    ],
    ids=["continues", "begins", "reserved", "opcode", "masked", "fragmented-ping"],
)
def test_broken_frame_closes_the_link_after_what_came_before(make: Make, broken: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"sound") + broken + frame(TEXT, b"never"))
        opcode, payload = await peer.read_frame()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1002)
        await peer.read_end()

    heard, last, _ = visit(make, script, tls=False)
    assert heard.events == [b"sound", READ]
    assert last.startswith("closed by us: ")


@pytest.mark.parametrize("size", [0, 1, 3, 40], ids=["between", "in-header", "after-header", "in-payload"])
def test_connection_that_ends_without_a_close_frame_is_told(make: Make, tls: bool, size: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"whole") + frame(TEXT, b"x" * 300)[:size])

    heard, last, _ = visit(make, script, tls)
    assert heard.events == [b"whole", READ]
    assert last == "cut: the connection ended without a close frame"


def test_reset_is_told(make: Make) -> None:
    async def act(link: Link, heard: Heard) -> None:
        await heard.arrived.wait()
        assert link.send(b"cut")

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"whole"))
        assert await peer.read_frame() == (TEXT, b"cut")
        peer.cut()

    heard, last, _ = visit(make, script, False, act)
    assert heard.messages == [b"whole"]
    assert last == "the connection was reset"


def test_link_sends_text_and_closes(make: Make, tls: bool) -> None:
    text = b'{"method":"SUBSCRIBE","params":["a"],"id":1}' * 5

    async def act(link: Link, heard: Heard) -> None:
        assert link.send(text)
        await heard.arrived.wait()
        link.close()
        assert not link.send(b"after")
        link.close()

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        assert await peer.read_frame() == (TEXT, text)
        peer.writer.write(frame(TEXT, b"answer"))
        assert await peer.read_frame() == (CLOSE, b"\x03\xe8")
        await peer.read_end()

    heard, last, _ = visit(make, script, tls, act)
    assert heard.messages == [b"answer"]
    assert last == "closed by us"


def test_peer_that_neither_reads_nor_answers_can_be_left(make: Make, tls: bool) -> None:
    left: asyncio.Event

    async def act(link: Link, heard: Heard) -> None:  # noqa: ARG001
        nonlocal left
        n_sent = 0
        while n_sent < 2_000 and link.send(b"x" * 60_000):
            n_sent += 1
        assert n_sent < 2_000
        link.close()
        assert await link.wait_closed() == "closed by us"
        left.set()

    async def script(peer: Peer) -> None:
        nonlocal left
        left = asyncio.Event()
        await peer.shake_hands()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await left.wait()

    visit(make, script, tls, act)


def test_exception_of_the_frames_is_kept_and_the_stream_goes_on(make: Make, tls: bool) -> None:
    problem = RuntimeError("in the middle of a message")

    async def act(link: Link, heard: Heard) -> None:
        heard.problem = problem
        assert link.send(b"go")

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        await peer.read_frame()
        for text in (b"one", b"two"):
            peer.writer.write(frame(TEXT, text) + frame(PING, text))
            assert await peer.read_frame() == (PONG, text)
        peer.writer.write(close_frame())
        await peer.read_end()

    heard, last, link = visit(make, script, tls, act)
    assert heard.events == [b"one", READ, b"two", READ]
    assert last == "closed by the peer: 1000"
    assert getattr(link, "last_error") is problem  # noqa: B009


def refusal(
    make: Make, script: Script, *, timeout_s: float = 5.0, context: ssl.SSLContext | None = None
) -> str:
    """Try to open; return the sentence of the error."""

    async def run() -> str:
        transport = make(ssl_context=client_context())
        async with asyncio.timeout(8), serving(script, context) as port:
            url = f"{'ws' if context is None else 'wss'}://localhost:{port}/stream"
            with pytest.raises(TransportError) as raised:
                await transport.open(url, 7, Heard(), timeout_s=timeout_s)
            return str(raised.value).removeprefix(f"{url} could not be opened: ")

    sentence = asyncio.run(run())
    gc.collect()
    return sentence


@pytest.mark.parametrize("status", [403, 429, 503, 302])
def test_status_instead_of_an_upgrade_is_named(make: Make, status: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        body = b"no\r\nContent-Length: 2\r\nLocation: ws://localhost:1/x\r\n\r\n{}"
        peer.writer.write(b"HTTP/1.1 %d " % status + body)
        await peer.read_end()

    assert refusal(make, script) == f"it answered HTTP {status}."


@pytest.mark.parametrize("answer", [b"HTTP/1.1 101 Fine\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n\r\n"])
def test_answer_that_is_no_handshake_is_refused(make: Make, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        peer.writer.write(answer)
        await peer.read_end()

    assert "no WebSocket handshake" in refusal(make, script)


def test_upgrade_that_is_never_answered_ends_in_time(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_end()

    assert refusal(make, script, timeout_s=0.1) == "it did not answer in time."


def test_end_instead_of_an_answer_is_told(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()

    assert refusal(make, script) == "it ended before an answer."


def test_nobody_there_is_told(make: Make) -> None:
    async def run() -> None:
        async with serving(lambda _: asyncio.sleep(0)) as port:
            pass
        with pytest.raises(TransportError, match="the connection was refused"):
            await make().open(f"ws://127.0.0.1:{port}/", 7, Heard(), timeout_s=5)
        with pytest.raises(TransportError, match="Expected an address like"):
            await make().open("https://localhost/", 7, Heard(), timeout_s=5)

    asyncio.run(run())


NOW = datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize(
    ("context", "word"),
    [
        (lambda: server_context("example.org"), "ostname mismatch"),
        (
            lambda: server_context("localhost", not_after=NOW - datetime.timedelta(days=1)),
            "certificate has expired",
        ),
        (lambda: server_context(authority=trustme.CA()), "certificate is not accepted"),
    ],
    ids=["wrong-name", "expired", "unknown-authority"],
)
def test_certificate_that_proves_nothing_is_refused(
    make: Make, context: Callable[[], ssl.SSLContext], word: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_end()

    assert word in refusal(make, script, context=context())


def test_authorities_of_the_system_are_asked_by_default(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_end()

    async def run() -> None:
        async with asyncio.timeout(8), serving(script, server_context()) as port:
            with pytest.raises(TransportError, match="certificate is not accepted"):
                await make().open(f"wss://localhost:{port}/", 7, Heard(), timeout_s=5)

    asyncio.run(run())


def test_record_that_is_cut_is_told(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        peer.writer.write(frame(TEXT, b"whole"))
        await peer.writer.drain()
        raw = peer.writer.transport.get_extra_info("socket")
        # A record of 200 bytes is announced and 3 of them come; then the end, without TLS saying so.
        os.write(raw.fileno(), b"\x17\x03\x03\x00\xc8abc")
        peer.writer.transport.abort()

    heard, last, _ = visit(make, script, True)
    assert heard.messages == [b"whole"]
    assert last.startswith("cut: ")
