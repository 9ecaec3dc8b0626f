"""A live engine on a simulated venue over real loopback sockets, held to the venue's truth.

The same journey as in virtual time, with the transports that trade: their sockets, their TLS, a proxy between
that breaks them. Venue and engine live at one pace, faster than the machine's clock.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import trustme
import uvloop

from engine.ingest.aiohttp_http import AiohttpTransport
from engine.ingest.picows_transport import PicowsTransport
from engine.ingest.websockets_transport import WebsocketsTransport
from engine.instruments import from_exchange_info
from engine.settings import Config
from engine.sim.faults import Faults
from engine.sim.faultscript import Fault
from engine.sim.house import House
from engine.sim.server import Pace, Server
from engine.sim.tcpproxy import Mishap, Step, TcpProxy
from engine.venues.binance_rest import BinanceRest
from engine.venues.binance_streams import addresses
from engine.venues.budget import Budget
from tests.journeys.livefeeds import FEED, KINDS, NS, START_NS, SYMBOL, Journey, Seen, Watched, WatchedMarket

TRANSPORTS = {"picows": PicowsTransport, "websockets": WebsocketsTransport}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LOOK_S = 0.003
REPLY_S = 0.6
# The engine waits in the machine's seconds: of a faster venue's they are many.
SOCKET_FEED = replace(FEED, backoff_first_s=0.05, backoff_max_s=0.5, clock_s=1.0, first_message_s=5.0)


class Certificates:
    """An authority made now, a server's context with a certificate of it, and a client's that trusts it."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.authority = authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


@asynccontextmanager
async def served(house: House, pace: Pace, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve a house on loopback while the body runs; yields the port."""
    server = Server(house, pace, ssl_context=context)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ready = asyncio.Event()
    task = asyncio.ensure_future(server.run(listener, ready.set))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        yield port
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class VenueTime:
    """Venue time under the name by which a journey asks for it."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    @property
    def now_ns(self) -> int:
        return self._pace.now_ns()


class SocketJourney(Journey):
    """One engine over sockets; its book is looked at between reads, as often as the loop comes round.

    Parameters
    ----------
    script : what the venue does wrong, in venue time.
    mishaps : one script for each connection through the proxy, those for requests included.
    transport, loop_name : names of `TRANSPORTS` and `LOOPS`.
    speed : venue seconds in a second.
    """

    def __init__(
        self,
        script: Sequence[Fault] = (),
        mishaps: Sequence[Sequence[Step]] = (),
        *,
        market: str = "spot",
        seed: int = 1,
        transport: str = "picows",
        loop_name: str = "uvloop",
        speed: float = 8.0,
    ) -> None:
        self.seen = Seen()
        self.kind = KINDS[market]
        self.market = WatchedMarket(SYMBOL, market, seed)
        self.faults = Faults(script, start_ns=START_NS, seed=seed)
        self.house = House([self.market], api_key="key", faults=self.faults)
        self.budget = Budget.open(None, limit_per_minute=6000 if market == "spot" else 2400)
        path = "/api/v3/exchangeInfo" if market == "spot" else "/fapi/v1/exchangeInfo"
        info = self.house.get(path, "", {}, address="start", now_ns=START_NS)
        self.instrument = from_exchange_info(info.body, SYMBOL, self.kind, 0)
        self.speed = speed
        self.mishaps: Counter[Mishap] = Counter()
        self.n_connections = 0
        self._scripts = mishaps
        self._seed = seed
        self._transport = TRANSPORTS[transport]
        self._new_loop = LOOPS[loop_name]
        self._compared_id = -1

    def play(self, story, within_s: float = 60.0) -> Seen:  # type: ignore[no-untyped-def]
        """Run the engine, follow the story, end it; nothing wrong may have been seen."""

        async def main() -> None:
            async with asyncio.timeout(within_s):
                await self._play(story)

        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(main())
        error = self.live.router.last_error
        assert error is None, f"the router caught {error!r}"
        assert not self.seen.wrong, "\n".join(self.seen.wrong)
        return self.seen

    async def _play(self, story) -> None:  # type: ignore[no-untyped-def]
        trust = Certificates()
        pace = Pace(START_NS, self.speed)
        self.loop = VenueTime(pace)
        async with (
            served(self.house, pace, trust.server) as port,
            TcpProxy(port, self._scripts) as self.proxy,
        ):
            http = AiohttpTransport(self.origin, clock=pace, ssl_context=trust.client)
            try:
                self._make_live(pace, http, trust)
                running = asyncio.ensure_future(self.live.run())
                told = asyncio.ensure_future(story(self))
                looking = asyncio.ensure_future(self._keep_looking())
                await asyncio.wait((running, told, looking), return_when=asyncio.FIRST_COMPLETED)
                tasks = (told, looking, running)
                ended = [task for task in tasks if task.done()]
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                for task in ended:
                    task.result()
                assert told in ended, "Expected the engine to run until it is cancelled, found it ended."
                self.mishaps.update(mishap for _, mishap in self.proxy.happened)
                self.n_connections = self.proxy.n_connections
            finally:
                await http.close()

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.proxy.port}"

    def _make_live(self, pace: Pace, http: AiohttpTransport, trust: Certificates) -> None:
        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds / self.speed)

        self.live = Watched(
            instruments=[self.instrument],
            config=replace(Config(), feed=replace(SOCKET_FEED, origin=self.origin)),
            clock=pace,
            frames=self._transport(ssl_context=trust.client),
            rest=BinanceRest(self.kind, http, self.budget, pace, sleep=sleep, reply_s=REPLY_S),
            addresses=addresses(self.kind, origin=self.origin),
            watch=self._on_record,
            seed=self._seed,
        )
        self.live.seen, self.live.look, self.live.loop = self.seen, self.look, self.loop

    async def _keep_looking(self) -> None:
        looked = asyncio.Event()
        while True:
            asyncio.get_running_loop().call_later(LOOK_S, looked.set)
            await looked.wait()
            looked.clear()
            self.look()

    def look(self) -> None:
        """Compare the book with the venue's at the same update id; note what can be seen."""
        market, seen = self.engine, self.seen
        seen.n_looks += 1
        is_valid = market.is_valid
        if not seen.spans or seen.spans[-1][1] != is_valid:
            seen.spans.append((self.loop.now_ns, is_valid))
        if seen.first_trade_id < 0 and market.trades:
            self._note_first_trade()
        if is_valid and market.update_id != self._compared_id:
            self._compared_id = market.update_id
            self._compare_book()

    def _compare_book(self) -> None:
        super()._compare_book()
        # A side whose horizon is 0 is known to its end: all of it is to be the venue's.
        book, truth = self.engine.book, self.market.books.get(self.engine.update_id)
        if truth is None:
            return
        for side, levels, horizon in zip((1, -1), truth, book.horizons, strict=True):
            if horizon == 0 and dict(book.levels(side, 100_000)) != levels:
                self._wrong(f"side {side} at update {self.engine.update_id} is not the venue's")

    def _on_record(self, record) -> None:  # type: ignore[no-untyped-def]
        self.seen.records.append(record)

    async def until(self, what: Callable[[], bool], within_s: float, name: str = "") -> float:
        """Wait until something holds, at most so many venue seconds; return how many that took."""
        since_s = self.now_s
        looked = asyncio.Event()
        while not what():
            if self.now_s - since_s > within_s:
                raise AssertionError(
                    f"Expected {name or 'it'} within {within_s} s, found it not; {self.describe()}"
                )
            asyncio.get_running_loop().call_later(LOOK_S, looked.set)
            await looked.wait()
            looked.clear()
        return self.now_s - since_s

    async def until_at(self, at_s: float) -> None:
        """Wait until so many venue seconds after the start."""
        await self.until(lambda: self.now_s >= at_s, at_s + 1)

    async def stand_still(self) -> None:
        """Let the venue's crowd stand still, and wait until all that it ever told has been read."""
        market = self.market
        market.set_status("HALT")
        stood_ns = self.loop.now_ns

        def is_told() -> bool:
            engine = self.engine
            if self.loop.now_ns < stood_ns + NS or not engine.is_valid or engine.trade_gaps():
                return False
            newest = market.agg_trades(None, None, None, 1)[-1]["a" if self.is_batched else "l"]
            return engine.update_id == market.told_ids[-1][2] and engine.last_trade_id == newest

        await self.until(is_told, 60, "everything the venue told, read")
        self.look()
        assert self._compared_id == market.told_ids[-1][2]
        assert market.books[self._compared_id] == market.truth.book()
