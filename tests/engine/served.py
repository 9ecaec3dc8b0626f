"""A simulated venue on loopback while a test runs."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from engine.sim.house import House
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.server import Pace, Server
from engine.sim.venuemarket import MarketName

WAIT_S: Final = 400.0  # longer than anybody waits inside
SIDES: Final[tuple[MarketName, ...]] = ("spot", "usdm")


@asynccontextmanager
async def serving(
    house: House, *, speed: float = 1.0, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, str]]:
    """Serve a house while the body runs; yields the server and host:port."""
    server = Server(house, Pace(time.time_ns(), speed), ssl_context=ssl_context)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ready = asyncio.Event()
    task = asyncio.ensure_future(server.run(listener, ready.set))
    try:
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
            yield server, f"127.0.0.1:{port}"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def crowd_house(*symbols: str) -> House:
    """Return a house of the crowd's markets, from now on; key "k", secret "s"."""
    start_ns = time.time_ns()
    names = symbols or ("BTCUSDT",)
    markets = [PublicMarket(spec_of(name, side), 1, start_ns) for name in names for side in SIDES]
    return House(markets, api_key="k", api_secret="s")
