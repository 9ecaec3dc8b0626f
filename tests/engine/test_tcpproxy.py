"""The proxy between real sockets on loopback: what passes, and where it breaks."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence

import pytest

from engine.errors import InputError
from engine.sim.tcpproxy import Mishap, Step, TcpProxy

WAIT_S = 10.0
BODY = bytes(n * 7 % 251 for n in range(300_000))

Story = Callable[[TcpProxy, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the body, then say how much came, and end."""
    writer.write(BODY)
    try:
        await writer.drain()
        came = await reader.read()
        writer.write(b"got %d" % len(came))
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def play(scripts: Sequence[Sequence[Step]], story: Story, *, sleeps: list[float] | None = None) -> TcpProxy:
    """Connect once through the proxy and follow the story, in bounded time."""

    async def note(seconds: float) -> None:
        if sleeps is not None:
            sleeps.append(seconds)
        await asyncio.sleep(0)

    async def main() -> TcpProxy:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(WAIT_S), server, TcpProxy(port, scripts, sleep=note) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            try:
                await story(proxy, reader, writer)
            finally:
                writer.transport.abort()
        return proxy

    return asyncio.run(main())


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the end, whichever end that is."""
    found = b""
    try:
        while data := await reader.read(65_536):
            found += data
    except ConnectionError:
        pass
    return found


def test_unharmed_connection_carries_every_byte_both_ways() -> None:
    async def story(_proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BODY)
        writer.write_eof()
        assert await reader.read() == BODY + b"got 300000"

    proxy = play([], story)
    assert (proxy.n_connections, proxy.n_refused, proxy.happened) == (1, 0, [])


@pytest.mark.parametrize("place", [0, 1, 65_535, 65_536, 123_457])
def test_reset_is_a_reset_at_or_before_its_byte(place: int) -> None:
    async def story(_proxy: TcpProxy, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        found = await read_all(reader)
        # A reset throws away what the line still holds.
        assert BODY.startswith(found)
        assert len(found) <= place
        assert isinstance(reader.exception(), ConnectionResetError)

    assert play([[Step(place, Mishap.RESET)]], story).happened == [(1, Mishap.RESET)]


@pytest.mark.parametrize("place", [0, 1, 65_535, 65_536, 123_457])
def test_finish_is_an_orderly_end_exactly_at_its_byte(place: int) -> None:
    async def story(_proxy: TcpProxy, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == BODY[:place]

    assert play([[Step(place, Mishap.FINISH)]], story).happened == [(1, Mishap.FINISH)]


def test_stall_holds_the_rest_until_it_is_released() -> None:
    async def story(proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(1000) == BODY[:1000]
        await proxy.stalled.wait()
        rest = asyncio.ensure_future(reader.readexactly(1))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not rest.done()
        proxy.release()
        writer.write_eof()
        assert await rest + await reader.read() == BODY[1000:] + b"got 0"

    assert play([[Step(1000, Mishap.STALL)]], story).happened == [(1, Mishap.STALL)]


def test_delays_and_timed_stalls_wait_as_long_as_they_say() -> None:
    async def story(_proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        assert await reader.read() == BODY + b"got 0"

    sleeps: list[float] = []
    play([[Step(0, Mishap.STALL, seconds=3.0), Step(10, Mishap.DELAY, seconds=0.25)]], story, sleeps=sleeps)
    assert sleeps[0] == 3.0
    assert set(sleeps[1:]) == {0.25}


@pytest.mark.parametrize(("place", "n_bytes"), [(0, 1), (99, 10), (65_530, 20), (1_000, 150_000)])
def test_lost_bytes_are_missing_and_nothing_else_is(place: int, n_bytes: int) -> None:
    async def story(_proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        assert await reader.read() == BODY[:place] + BODY[place + n_bytes :] + b"got 0"

    proxy = play([[Step(place, Mishap.LOSE, n_bytes=n_bytes)]], story)
    assert proxy.happened == [(1, Mishap.LOSE)]


def test_flipped_byte_is_another_and_its_neighbours_are_not() -> None:
    async def story(_proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        found = await reader.read()
        differ = [n for n, (ours, theirs) in enumerate(zip(found, BODY, strict=False)) if ours != theirs]
        assert differ == [5_000]

    play([[Step(5_000, Mishap.FLIP)]], story)


def test_mishaps_of_one_connection_follow_each_other_and_the_next_has_its_own() -> None:
    async def story(proxy: TcpProxy, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert await read_all(reader) == BODY[:10] + BODY[12:100]
        again, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await read_all(again) == BODY[:7]
        writer.close()
        third, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await third.readexactly(len(BODY)) == BODY
        writer.transport.abort()

    proxy = play(
        [[Step(10, Mishap.LOSE, n_bytes=2), Step(100, Mishap.FINISH)], [Step(7, Mishap.FINISH)]], story
    )
    assert proxy.happened == [(1, Mishap.LOSE), (1, Mishap.FINISH), (2, Mishap.FINISH)]


def test_more_connections_than_allowed_are_refused() -> None:
    async def main() -> TcpProxy:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(WAIT_S), server, TcpProxy(port, max_connections=2) as proxy:
            ends = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(2)]
            for reader, _ in ends:
                await reader.readexactly(10)
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await read_all(reader) == b""
            for _, one in [*ends, (reader, writer)]:
                one.transport.abort()
        return proxy

    proxy = asyncio.run(main())
    assert (proxy.n_connections, proxy.n_refused) == (2, 1)


def test_server_that_is_not_there_resets_the_client() -> None:
    async def main() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(WAIT_S), TcpProxy(port) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            found = await read_all(reader)
            writer.transport.abort()
            return found

    assert asyncio.run(main()) == b""


def test_cut_resets_all_and_leaving_leaves_nothing_behind() -> None:
    async def story(proxy: TcpProxy, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        proxy.cut()
        assert len(await read_all(reader)) <= len(BODY)

    proxy = play([], story)
    assert proxy._tasks == set()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS contexts of a server and of a client that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (None, None),
        (Step(150_000, Mishap.FLIP), ssl.SSLError),
        (Step(150_000, Mishap.LOSE, n_bytes=3), ssl.SSLError),
        (Step(150_000, Mishap.RESET), ConnectionResetError),
    ],
)
def test_tls_notices_what_befalls_its_records(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], step: Step | None, expected: type[Exception] | None
) -> None:
    async def main() -> tuple[bytes, BaseException | None]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=contexts[0])
        port = server.sockets[0].getsockname()[1]
        script = [] if step is None else [step]
        async with asyncio.timeout(WAIT_S), server, TcpProxy(port, [script]) as proxy:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", proxy.port, ssl=contexts[1], server_hostname="localhost"
            )
            found = b""
            problem = None
            try:
                while len(found) < len(BODY) and (data := await reader.read(65_536)):
                    found += data
            except (OSError, ssl.SSLError) as error:
                problem = error
            writer.transport.abort()
            return found, problem

    found, problem = asyncio.run(main())
    assert BODY.startswith(found)
    if expected is None:
        assert (found, problem) == (BODY, None)
    else:
        assert isinstance(problem, expected)
        assert len(found) < 150_000


@pytest.mark.parametrize(
    ("host", "script", "text"),
    [
        ("10.0.0.1", [], "loopback, found 10.0.0.1"),
        ("127.0.0.1", [Step(5, Mishap.STALL), Step(4, Mishap.RESET)], "rising bytes"),
        ("127.0.0.1", [Step(-1, Mishap.STALL)], "rising bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(host: str, script: list[Step], text: str) -> None:
    with pytest.raises(InputError, match=text):
        TcpProxy(1, [script], host=host)
