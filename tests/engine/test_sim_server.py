"""The simulated venue on loopback: what the server translates, and clients that do not read."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from engine.sim.answers import Answer, OutText
from engine.sim.house import House
from engine.sim.server import MAX_UNSENT_BYTES, frame
from tests.engine.quietmarket import QuietMarket
from tests.engine.served import crowd_house, serving

WAIT_S = 60.0
S = 1_000_000_000


def run(body: Callable[[], object]) -> None:
    """Run a coroutine function with a bound on its time."""

    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await body()  # type: ignore[misc]

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("n", "head"),
    [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)],
    ids=["0", "125", "126", "16", "64"],
)
def test_frame_says_its_length(n: int, head: int) -> None:
    found = frame(0x81, b"x" * n)
    length = {2: found[1], 4: int.from_bytes(found[2:4]), 10: int.from_bytes(found[2:10])}[head]
    assert (len(found), length) == (head + n, n)


def test_rest_and_streams_stand_on_one_origin() -> None:
    async def body() -> None:
        async with serving(crowd_house()) as (_, place), aiohttp.ClientSession() as client:
            async with client.get(f"http://{place}/api/v3/depth?symbol=BTCUSDT&limit=5") as answer:
                assert (answer.status, answer.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "5")
                assert len((await answer.json())["bids"]) == 5
            async with client.get(f"http://{place}/api/v3/time") as answer:
                assert abs((await answer.json())["serverTime"] - time.time_ns() // 1_000_000) < 1_000
            async with client.post(f"http://{place}/fapi/v1/depth") as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, -5000)
            async with client.get(f"http://{place}/api/v3/nope") as answer:
                assert (answer.status, await answer.read()) == (404, b"")
            async with client.ws_connect(f"ws://{place}/stream?streams=btcusdt@bookTicker") as stream:
                assert (await stream.receive_json())["stream"] == "btcusdt@bookTicker"
                await stream.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 7})
                found = await stream.receive_json()
                while "id" not in found:
                    found = await stream.receive_json()
                assert found == {"result": ["btcusdt@bookTicker"], "id": 7}
            async with client.ws_connect(f"ws://{place}/public/ws/btcusdt@depth@100ms") as stream:
                assert (await stream.receive_json())["e"] == "depthUpdate"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(f"ws://{place}/nowhere")
            assert refused.value.status == 404

    run(body)


def test_ping_close_and_cut_reach_the_client() -> None:
    async def body() -> None:
        house = House([QuietMarket()])
        async with serving(house, speed=100.0) as (_, place), aiohttp.ClientSession() as client:
            async with client.ws_connect(f"ws://{place}/ws", autoping=False) as stream:
                ping = await stream.receive()
                assert ping.type is aiohttp.WSMsgType.PING
                assert int(ping.data) > time.time_ns() // 1_000_000
                end = await stream.receive()
                while end.type is aiohttp.WSMsgType.PING:
                    end = await stream.receive()
                assert (end.type, end.data, end.extra) == (aiohttp.WSMsgType.CLOSE, 1008, "Pong timeout")
            async with client.ws_connect(f"ws://{place}/ws") as stream:
                (session,) = house.sessions.values()
                session.cut(house.now_ns)
                end = await stream.receive()
                assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
                assert stream.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
            async with client.ws_connect(f"ws://{place}/ws") as stream:
                await stream.close(code=1000)
                assert stream.close_code == 1000
            while house.sessions:
                await asyncio.sleep(0)

    run(body)


def test_client_that_does_not_read_is_cut_and_nobody_waits() -> None:
    async def body() -> None:
        house = House([QuietMarket()])
        async with serving(house) as (server, place), aiohttp.ClientSession() as client:
            host, port = place.split(":")
            deaf = socket.create_connection((host, int(port)))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            request = (
                "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            deaf.send(request.encode())
            async with client.ws_connect(f"ws://{place}/ws"):
                while len(house.sessions) < 2:
                    await asyncio.sleep(0)
                first = min(house.sessions.values(), key=lambda session: session.session_id)
                piece = OutText(b"x" * 65_536)
                for _ in range(MAX_UNSENT_BYTES // 65_536 + 200):
                    first._send(piece)
                    server.connections.flush()
                while len(house.sessions) > 1:
                    await asyncio.sleep(0)
                assert server.connections.n_cut == 1
            deaf.close()

    run(body)


def test_answer_may_be_late() -> None:
    class Late:
        next_ns = 1 << 62

        def advance(self, now_ns: int, house: House) -> None:
            raise AssertionError((now_ns, house))

        def on_request(self, path: str, query: str, now_ns: int) -> Answer | int | None:
            del path, query, now_ns
            return S // 5

        def on_open(self, path: str, now_ns: int) -> Answer | None:
            del path, now_ns
            return None

        def on_told(self, session_id: int, told: object, now_ns: int) -> list[object]:
            raise AssertionError((session_id, told, now_ns))

    async def body() -> None:
        house = House([QuietMarket()], faults=Late())  # type: ignore[arg-type]
        async with serving(house) as (_, place), aiohttp.ClientSession() as client:
            began = time.monotonic()
            async with client.get(f"http://{place}/api/v3/ping") as answer:
                assert await answer.json() == {}
            assert time.monotonic() - began >= 0.2

    run(body)


def test_tls_serves_https_and_wss(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def body() -> None:
        async with (
            serving(crowd_house(), ssl_context=context) as (_, place),
            aiohttp.ClientSession() as client,
        ):
            async with client.get(f"https://{place}/api/v3/ping", ssl=trusting) as answer:
                assert answer.status == 200
            async with client.ws_connect(f"wss://{place}/ws/btcusdt@bookTicker", ssl=trusting) as stream:
                assert "u" in json.loads((await stream.receive()).data)

    run(body)


def listen_together(n_clients: int, seconds: float) -> tuple[list[int], list[int]]:
    """Let many clients hear one stream; return how much each got and the trade ids of the last one."""
    house = crowd_house()
    counts = [0] * n_clients
    ids: list[int] = []

    async def listen(client: aiohttp.ClientSession, place: str, number: int) -> None:
        stream = "trade" if number % 2 else "bookTicker"
        async with client.ws_connect(f"ws://{place}/ws/btcusdt@{stream}") as heard:
            async for message in heard:
                counts[number] += 1
                if number == n_clients - 1:
                    ids.append(json.loads(message.data)["t"])

    async def body() -> None:
        async with AsyncExitStack() as stack:
            server, place = await stack.enter_async_context(serving(house))
            # The venue takes 300 attempts of one address, so that they come from several.
            clients = [
                await stack.enter_async_context(
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(limit=0, local_addr=(f"127.0.0.{2 + number}", 0))
                    )
                )
                for number in range(-(-n_clients // 250))
            ]
            tasks = [
                asyncio.ensure_future(listen(clients[number // 250], place, number))
                for number in range(n_clients)
            ]
            while len(house.sessions) < n_clients:
                await asyncio.sleep(0)
            end_ns = house.now_ns + int(seconds * S)
            while house.now_ns < end_ns or min(counts) == 0:
                await asyncio.sleep(0)
            assert server.connections.n_cut == 0
            assert len(house.sessions) == n_clients
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(body(), 60))
    return counts, ids


@pytest.mark.slow
def test_hundred_clients_hear_one_stream() -> None:
    counts, ids = listen_together(100, 1.0)
    assert min(counts) > 0
    assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.skipif(not os.environ.get("REMORA_DRILL"), reason="a drill: REMORA_DRILL=1 runs it")
def test_thousand_clients_hear_one_stream() -> None:
    counts, ids = listen_together(1_000, 5.0)
    assert min(counts) > 50
    assert ids == list(range(ids[0], ids[0] + len(ids)))
