"""Requests through aiohttp against a bare socket server: whole answers, and one error for everything else."""

import asyncio
import gc
import gzip
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme

from engine.clock import VirtualClock
from engine.ingest.aiohttp_http import AiohttpTransport
from engine.venues.transport import HttpAnswer, TransportError
from tests.engine.rude_server import Peer, Script, serving

AUTHORITY = trustme.CA()
Ask = Callable[[AiohttpTransport], Awaitable[None]]


def ask(script: Script, use: Ask, *, names: tuple[str, ...] = (), trusts: bool = True) -> None:
    """Let `use` ask a server of this script; with names it speaks TLS."""

    async def run() -> None:
        tls = None
        if names:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            AUTHORITY.issue_cert(*names).configure_cert(tls)
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        async with asyncio.timeout(8), serving(script, tls) as port:
            transport = AiohttpTransport(
                f"{'https' if names else 'http'}://localhost:{port}/",
                clock=VirtualClock(5_000),
                ssl_context=context if trusts else None,
            )
            try:
                await use(transport)
            finally:
                await transport.close()
                await transport.close()

    asyncio.run(run())
    gc.collect()


def answering(answer: bytes, seen: list[bytes]) -> Script:
    async def script(peer: Peer) -> None:
        seen.append(await peer.read_request())
        peer.writer.write(answer)
        await peer.writer.drain()

    return script


def one_answer(answer: bytes, *, query: str = "", names: tuple[str, ...] = ()) -> tuple[HttpAnswer, bytes]:
    seen: list[bytes] = []
    found: list[HttpAnswer] = []

    async def use(transport: AiohttpTransport) -> None:
        found.append(await transport.get("/api/v3/x", query, headers={"X-A": "b"}, timeout_s=5))

    ask(answering(answer, seen), use, names=names)
    return found[0], seen[0]


def problem_of(
    script: Script, *, names: tuple[str, ...] = (), trusts: bool = True, timeout_s: float = 5
) -> str:
    said: list[str] = []

    async def use(transport: AiohttpTransport) -> None:
        with pytest.raises(TransportError) as raised:
            await transport.get("/x", timeout_s=timeout_s)
        said.append(str(raised.value).partition(" gave no answer: ")[2])

    ask(script, use, names=names, trusts=trusts)
    return said[0]


@pytest.mark.parametrize("names", [(), ("localhost",)], ids=["plain", "tls"])
def test_answer_is_whole_with_names_in_lower_case_and_our_times(names: tuple[str, ...]) -> None:
    head = b"HTTP/1.1 418 No\r\nX-MBX-USED-WEIGHT-1M: 7\r\nRetry-After: 3\r\nContent-Length: 5\r\n\r\n"
    # An encoded query leaves as it is: it may have been signed.
    answer, request = one_answer(head + b'{"a"}', query="s=%5B%22A%22%5D&t=a%2Fb", names=names)
    assert (answer.status, answer.body) == (418, b'{"a"}')
    assert (answer.headers["x-mbx-used-weight-1m"], answer.headers["retry-after"]) == ("7", "3")
    assert (answer.sent_ns, answer.received_ns) == (5_000, 5_000)
    assert request.startswith(b"GET /api/v3/x?s=%5B%22A%22%5D&t=a%2Fb HTTP/1.1\r\n")
    assert b"X-A: b\r\n" in request


def test_packed_answer_is_unpacked() -> None:
    body = gzip.compress(b'{"lastUpdateId":1}' * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer, request = one_answer(head + body)
    assert answer.body == b'{"lastUpdateId":1}' * 100
    assert b"gzip" in request


def test_redirect_is_an_answer() -> None:
    answer, _ = one_answer(b"HTTP/1.1 302 F\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.headers["location"]) == (302, "http://localhost:1/")


async def silent(peer: Peer) -> None:
    await peer.read_end()


async def cutting(peer: Peer) -> None:
    await peer.read_request()
    peer.cut()


async def ending(peer: Peer) -> None:
    await peer.read_request()


async def breaking(peer: Peer) -> None:
    await peer.read_request()
    peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")


async def stalling(peer: Peer) -> None:
    await peer.read_request()
    peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
    await peer.read_end()


async def babbling(peer: Peer) -> None:
    await peer.read_request()
    peer.writer.write(b"\x16\x03nonsense\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "word", "timeout_s"),
    [
        (silent, "it did not answer in time", 0.1),
        (stalling, "it did not answer in time", 0.1),
        (cutting, "the connection was reset", 5),
        (ending, "the connection ended before the answer", 5),
        (breaking, "the answer broke off", 5),
        (babbling, "no HTTP answer", 5),
    ],
)
def test_no_whole_answer_is_one_error_that_says_why(script: Script, word: str, timeout_s: float) -> None:
    assert word in problem_of(script, timeout_s=timeout_s)


def test_wrong_name_and_unknown_authority_are_refused() -> None:
    assert "ostname mismatch" in problem_of(silent, names=("example.org",))
    assert "certificate is not accepted" in problem_of(silent, names=("localhost",), trusts=False)


def test_nobody_there_and_a_closed_transport_are_told() -> None:
    async def run() -> None:
        async with serving(silent) as port:
            pass
        transport = AiohttpTransport(f"http://127.0.0.1:{port}", clock=VirtualClock(1))
        with pytest.raises(TransportError, match="the connection was refused"):
            await transport.get("/x", timeout_s=5)
        await transport.close()
        with pytest.raises(TransportError, match="the transport is closed"):
            await transport.get("/x", timeout_s=5)

    asyncio.run(run())


def test_requests_share_one_session() -> None:
    n_connections = 0

    async def script(peer: Peer) -> None:
        nonlocal n_connections
        n_connections += 1
        for _ in range(3):
            await peer.read_request()
            peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok")
        await peer.read_end()

    async def use(transport: AiohttpTransport) -> None:
        for _ in range(3):
            assert (await transport.get("/x", timeout_s=5)).body == b"ok"

    ask(script, use)
    assert n_connections == 1
