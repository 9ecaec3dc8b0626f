"""A scripted venue in virtual time, and a feed on it: every fault is said by the test, nothing is drawn."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import parse_qs

import msgspec

from engine.ingest.feed import Feed, FeedLane
from engine.instruments import Instrument
from engine.settings import Feed as FeedSettings
from engine.signals import MarketKind
from engine.sim.virtualloop import VirtualLoop, run_on
from engine.venues.binance_rest import BinanceRest
from engine.venues.binance_streams import addresses
from engine.venues.budget import Budget
from engine.venues.transport import Frames, HttpAnswer, TransportError
from native.market import Market
from native.router import Router

S = 1_000_000_000
MS = 1_000_000
START_NS = 1_800_000_000 * S
DEPTH_MS = 100  # a depth update of every book so often

# Short waits of what is not tested; the tests of a deadline say it themselves.
SETTINGS = FeedSettings(history_minutes=0, klines=0, refresh_min=0)

Fault = Callable[[str, dict[str, str]], HttpAnswer | Exception | float | None]


class BookScript:
    """The true book of one symbol, as update events and snapshots."""

    def __init__(self, symbol: str, kind: MarketKind) -> None:
        self.symbol = symbol
        self.kind = kind
        self.last_id = 1000
        self.step_ids = 3
        self.bids: dict[int, int] = {1000 - n: 10 + n for n in range(20)}
        self.asks: dict[int, int] = {1002 + n: 10 + n for n in range(20)}
        self.n_events = 0

    def event(self, now_ns: int) -> dict[str, object]:
        """Change one level of each side and return the event that says so."""
        self.n_events += 1
        previous, first = self.last_id, self.last_id + 1
        self.last_id += self.step_ids
        bid, ask = 1000 - self.n_events % 7, 1002 + self.n_events % 5
        self.bids[bid] = self.asks[ask] = 1 + self.n_events % 90
        told: dict[str, object] = {
            "e": "depthUpdate", "E": now_ns // MS, "s": self.symbol, "U": first, "u": self.last_id,
            "b": [[text(bid), text(self.bids[bid])]], "a": [[text(ask), text(self.asks[ask])]],
        }  # fmt: skip
        if self.kind is not MarketKind.SPOT:
            told |= {"T": now_ns // MS, "pu": previous}
        return told

    def best(self, now_ns: int) -> dict[str, object]:
        """Return the best prices as the venue tells them."""
        bid, ask = max(self.bids), min(self.asks)
        return {
            "e": "bookTicker", "u": self.last_id, "s": self.symbol, "b": text(bid), "B": text(self.bids[bid]),
            "a": text(ask), "A": text(self.asks[ask]), "T": now_ns // MS, "E": now_ns // MS,
        }  # fmt: skip

    def snapshot(self, last_id: int | None = None) -> bytes:
        """Return the REST answer; with `last_id` it claims to be of that id."""
        return msgspec.json.encode(
            {
                "lastUpdateId": self.last_id if last_id is None else last_id,
                "bids": [[text(p), text(q)] for p, q in sorted(self.bids.items(), reverse=True)],
                "asks": [[text(p), text(q)] for p, q in sorted(self.asks.items())],
            }
        )

    def equals(self, market: Market) -> bool:
        """Tell whether the market's book is this book, level by level."""
        found = [dict(market.book.levels(side, 1000)) for side in (1, -1)]
        return found == [self.bids, self.asks]


def text(units: int) -> str:
    return f"{Decimal(units) / 100:.2f}"


class TapeScript:
    """The true tape of one symbol; ids are those of the stream that the market reads."""

    def __init__(self, symbol: str, kind: MarketKind) -> None:
        self.symbol = symbol
        self.is_single = kind is MarketKind.SPOT
        self.rows: list[dict[str, object]] = []
        self.first_id = 500

    def event(self, now_ns: int) -> dict[str, object]:
        n = self.first_id + len(self.rows)
        price, quantity = text(1001), text(1 + n % 9)
        maker, ms = n % 3 == 0, now_ns // MS
        if self.is_single:
            self.rows.append({"id": n, "price": price, "qty": quantity, "time": ms, "isBuyerMaker": maker})
            return {
                "e": "trade",
                "E": ms,
                "s": self.symbol,
                "t": n,
                "p": price,
                "q": quantity,
                "T": ms,
                "m": maker,
                "M": True,
            }
        self.rows.append({"a": n, "p": price, "q": quantity, "f": n, "l": n, "T": ms, "m": maker})
        return {"e": "aggTrade", "E": ms, "s": self.symbol, **self.rows[-1]}

    def page(self, from_id: int | None, limit: int) -> bytes:
        first = len(self.rows) - limit if from_id is None else from_id - self.first_id
        first = max(0, first)
        return msgspec.json.encode(self.rows[first : first + limit])

    def cvd(self) -> int:
        total = 0
        for row in self.rows:
            lots = int(Decimal(str(row["qty" if self.is_single else "q"])) * 100)
            total += -lots if row["isBuyerMaker" if self.is_single else "m"] else lots
        return total


class ScriptLink:
    """One socket at the venue; everything on it is under the test's hand."""

    def __init__(self, venue: "ScriptVenue", url: str, connection: int, frames: Frames) -> None:
        self.venue = venue
        self.url = url
        self.connection = connection
        self.opened_ns = venue.loop.now_ns
        self.frames = frames
        self.asked: list[tuple[int, dict[str, object]]] = []
        self.streams: set[str] = set()
        self.muted: set[str] = set()  # streams of this socket that say nothing
        self.lag_ns = 0
        self.answers_requests = True
        self.is_open = True
        self.reason: asyncio.Future[str] = venue.loop.create_future()  # type: ignore[assignment]

    def send(self, payload: bytes) -> bool:
        if not self.is_open:
            return False
        asked = msgspec.json.decode(payload)
        self.asked.append((self.venue.loop.now_ns, asked))
        if self.answers_requests:
            self.venue.loop.call_later(0.002, self._answer, asked)
        return True

    def _answer(self, asked: dict[str, object]) -> None:
        names = [str(name) for name in asked["params"]]  # type: ignore[attr-defined]
        if asked["method"] == "UNSUBSCRIBE":
            self.streams -= set(names)
        elif set(names) & self.venue.rejected:
            self.say({"error": {"code": 2, "msg": "Invalid request"}, "id": asked["id"]})
            return
        else:
            self.streams |= set(names)
        self.say({"result": None, "id": asked["id"]})

    def say(self, message: object) -> None:
        if self.is_open:
            self.frames.feed(self.connection, msgspec.json.encode(message))
            self.frames.end_read()

    def close(self) -> None:
        self.end("closed by us")

    def end(self, reason: str) -> None:
        if self.is_open:
            self.is_open = False
            self.venue.links.remove(self)
            self.reason.set_result(reason)

    async def wait_closed(self) -> str:
        return await asyncio.shield(self.reason)


@dataclass
class ScriptVenue:
    """The venue: books, tapes, sockets, requests."""

    loop: VirtualLoop
    kind: MarketKind
    symbols: list[str]
    links: list[ScriptLink] = field(default_factory=list)
    opened: list[tuple[int, str]] = field(default_factory=list)
    requests: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)  # asked in order; the first that says something counts
    refusals: list[Exception] = field(default_factory=list)  # of the next handshakes
    on_open: Callable[[ScriptLink], None] | None = None
    skip: set[str] = field(default_factory=set)  # streams of which the next message is lost for everybody
    quiet: set[str] = field(default_factory=set)  # streams that have nothing to say
    is_up: bool = True
    is_paused: bool = False
    trade_every: int = 5
    status: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.books = {symbol: BookScript(symbol, self.kind) for symbol in self.symbols}
        self.tapes = {symbol: TapeScript(symbol, self.kind) for symbol in self.symbols}
        self.n_ticks = 0

    # What it says by itself.

    async def live(self) -> None:
        """Let the markets go on until cancelled."""
        while True:
            await asyncio.sleep(DEPTH_MS / 1000)
            if not self.is_paused:
                self.tick()

    def tick(self) -> None:
        self.n_ticks += 1
        now_ns = self.loop.now_ns
        for symbol in self.symbols:
            low = symbol.lower()
            self.tell(f"{low}@depth@100ms", self.books[symbol].event(now_ns))
            if self.n_ticks % self.trade_every == 0:
                kind = "trade" if self.kind is MarketKind.SPOT else "aggTrade"
                self.tell(f"{low}@{kind}", self.tapes[symbol].event(now_ns))
            self.tell(f"{low}@bookTicker", self.books[symbol].best(now_ns))
            if self.n_ticks % 10 == 0:
                self.tell(f"{low}@kline_1m", {"e": "kline", "E": now_ns // MS, "s": symbol})
                for name, event in (("ticker", "24hrTicker"), ("markPrice@1s", "markPriceUpdate")):
                    self.tell(f"{low}@{name}", {"e": event, "E": now_ns // MS, "s": symbol})

    def tell(self, stream: str, data: dict[str, object]) -> None:
        """Send one message to every socket that has its stream."""
        if stream in self.quiet:
            return
        if stream in self.skip:
            self.skip.remove(stream)
            return
        for link in tuple(self.links):
            if stream in link.streams and stream not in link.muted:
                message = {"stream": stream, "data": data}
                self.loop.call_later(link.lag_ns / S, link.say, message)

    # The sockets.

    async def open(self, url: str, connection: int, frames: Frames, *, timeout_s: float) -> ScriptLink:
        assert timeout_s > 1
        self.opened.append((self.loop.now_ns, url))
        await asyncio.sleep(0.005)
        if self.refusals:
            raise self.refusals.pop(0)
        if not self.is_up:
            raise TransportError("connection refused")
        link = ScriptLink(self, url, connection, frames)
        if self.on_open is not None:
            self.on_open(link)
        self.links.append(link)
        return link

    # The requests.

    async def get(
        self, path: str, query: str = "", *, headers: object = None, timeout_s: float
    ) -> HttpAnswer:
        assert headers is None
        asked = {key: values[0] for key, values in parse_qs(query).items()}
        sent_ns = self.loop.now_ns
        what = path.rpartition("/")[2]
        self.requests.append((sent_ns, what, asked))
        delay_s = 0.02
        fault = next((told for one in self.faults if (told := one(what, asked)) is not None), None)
        if isinstance(fault, float):
            delay_s, fault = fault, None
        if delay_s >= timeout_s:
            await asyncio.sleep(timeout_s)
            raise TransportError(f"no answer within {timeout_s} s")
        await asyncio.sleep(delay_s / 2)
        answer = fault if isinstance(fault, HttpAnswer) else None if fault else self.answer(what, asked)
        await asyncio.sleep(delay_s / 2)
        if isinstance(fault, Exception):
            raise fault
        if not self.is_up:
            raise TransportError("connection refused")
        assert answer is not None
        return msgspec.structs.replace(answer, sent_ns=sent_ns, received_ns=self.loop.now_ns)

    async def close(self) -> None: ...

    def answer(self, what: str, asked: dict[str, str]) -> HttpAnswer:
        if what == "depth":
            return ok(self.books[asked["symbol"]].snapshot())
        if what == "time":
            return ok(msgspec.json.encode({"serverTime": self.loop.now_ns // MS}))
        if what in ("aggTrades", "historicalTrades"):
            from_id = int(asked["fromId"]) if "fromId" in asked else None
            return ok(self.tapes[asked["symbol"]].page(from_id, int(asked["limit"])))
        if what == "klines":
            return ok(self.klines(int(asked["limit"]), asked.get("endTime")))
        if what == "exchangeInfo":
            return ok(self.info())
        return ok(msgspec.json.encode({"symbol": asked["symbol"], "openInterest": "5", "time": 1}))

    def klines(self, limit: int, end_ms: str | None) -> bytes:
        last = (int(end_ms) + 1 if end_ms else self.loop.now_ns // MS) // 60_000 * 60_000
        return msgspec.json.encode(
            [
                [at, "10.00", "10.10", "9.90", "10.01", "5", at + 59_999, "50", 3, "2", "20", "0"]
                for at in range(last - limit * 60_000, last, 60_000)
            ]
        )

    def info(self) -> bytes:
        symbols = [
            {
                "symbol": symbol, "baseAsset": symbol[:-4], "quoteAsset": "USDT", "baseAssetPrecision": 2,
                "quantityPrecision": 2, "status": self.status.get(symbol, "TRADING"),
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.01"},
                    {"filterType": "MIN_NOTIONAL", "notional": "5"},
                ],
            }
            for symbol in self.symbols
            if self.status.get(symbol) != "GONE"
        ]  # fmt: skip
        return msgspec.json.encode({"symbols": symbols})

    def asked_for(self, what: str) -> list[tuple[float, dict[str, str]]]:
        """Return when, in seconds from the start, something was asked for, and how."""
        return [((at - self.loop.start_ns) / S, asked) for at, name, asked in self.requests if name == what]


def ok(body: bytes) -> HttpAnswer:
    return HttpAnswer(status=200, headers={}, body=body, sent_ns=0, received_ns=0)


def refused(status: int, **headers: str) -> HttpAnswer:
    return HttpAnswer(status=status, headers=headers, body=b"{}", sent_ns=0, received_ns=0)


class World:
    """A feed on a scripted venue, and the corridor's side of it."""

    def __init__(
        self,
        kind: MarketKind = MarketKind.USDM,
        symbols: tuple[str, ...] = ("BTCUSDT",),
        settings: FeedSettings = SETTINGS,
        limit_per_minute: int = 2400,
    ) -> None:
        self.loop = VirtualLoop(START_NS)
        self.kind = kind
        self.venue = ScriptVenue(self.loop, kind, list(symbols))
        self.events: list[tuple[float, int, str, str]] = []
        self.given: list[tuple[str, int]] = []
        self.masks: list[tuple[int, int]] = []
        self.instruments: list[Instrument] = []
        self.router = Router(
            on_due=self._on_due,
            on_masks=lambda _now_ns, masks: self.masks.extend(masks),
            on_control=self._on_control,
            on_heir=self._on_heir,
            now_ns=self.loop.clock.now_ns,
        )
        self.feed_lanes = [self._lane(index, symbol) for index, symbol in enumerate(symbols)]
        self.budget = Budget.open(None, limit_per_minute=limit_per_minute)
        self.feed = Feed(
            kind=kind,
            lanes=self.feed_lanes,
            router=self.router,
            intake=self,
            frames=self.venue,
            rest=BinanceRest(kind, self.venue, self.budget, self.loop.clock),
            addresses=addresses(kind, origin="http://127.0.0.1:8001"),
            clock=self.loop.clock,
            settings=settings,
            seed=7,
        )

    def _lane(self, index: int, symbol: str) -> FeedLane:
        instrument = Instrument(
            symbol=symbol, kind=self.kind, base=symbol[:-4], quote="USDT", price_digits=2, quantity_digits=2,
            tick=1, step=1, min_notional=Decimal(5), contract_size=1, status="TRADING", index=index,
        )  # fmt: skip
        return FeedLane(instrument, self._market(instrument))

    def _market(self, instrument: Instrument) -> Market:
        return Market(
            symbol=instrument.symbol, kind=int(self.kind), index=instrument.index, epoch=instrument.epoch,
            price_digits=instrument.price_digits, quantity_digits=instrument.quantity_digits,
            tick=instrument.tick, buffer_levels=65_536,
        )  # fmt: skip

    @property
    def market(self) -> Market:
        return self.feed_lanes[0].market

    @property
    def book(self) -> BookScript:
        return self.venue.books[self.venue.symbols[0]]

    @property
    def tape(self) -> TapeScript:
        return self.venue.tapes[self.venue.symbols[0]]

    def _on_control(self, connection: int, payload: bytes, recv_ns: int) -> None:
        self.feed.on_control(connection, payload, recv_ns)

    def _on_heir(self, slot: int, connection: int, payload: bytes, recv_ns: int) -> bool:
        return self.feed.on_heir(slot, connection, payload, recv_ns)

    def _on_due(self, now_ns: int) -> None:
        for lane in self.feed_lanes:
            while lane.market.advance(now_ns):
                pass

    # The intake.

    def on_snapshot(self, index: int, body: bytes) -> None:
        self.given.append(("snapshot", index))
        self.feed_lanes[index].market.on_snapshot(body, self.router.stamp())

    def on_trades(self, index: int, body: bytes) -> None:
        self.given.append(("trades", index))
        self.feed_lanes[index].market.on_trades(body, self.router.stamp())

    def on_context(self, index: int, what: str, _body: bytes) -> None:
        self.given.append((what, index))

    def on_event(self, index: int, event: str, detail: str) -> None:
        self.router.stamp()
        self.events.append(((self.loop.now_ns - START_NS) / S, index, event, detail))
        if (event, detail) == ("refresh", "begin"):
            self.feed_lanes[index].market.begin_refresh()
        elif event == "gap_left":
            self.feed_lanes[index].market.close_gaps()

    def on_instrument(self, found: Instrument) -> None:
        self.instruments.append(found)

    def on_history(self, index: int, klines: bytes, agg_trades: bytes) -> None:
        self.given.append(("history", index))
        self.history = (klines, agg_trades)

    # Running.

    def run(self, script: Callable[[], Awaitable[None]], *, is_live: bool = True) -> None:
        """Run the feed beside a script until that is over; then nothing may be left."""

        async def main() -> None:
            feed = asyncio.ensure_future(self.feed.run())
            venue = asyncio.ensure_future(self.venue.live() if is_live else asyncio.sleep(1e6))
            story: asyncio.Future[None] = asyncio.ensure_future(script())
            done, _ = await asyncio.wait({feed, story}, return_when=asyncio.FIRST_COMPLETED)
            for task in (feed, venue, story):
                task.cancel()
            await asyncio.gather(feed, venue, story, return_exceptions=True)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for task in done:
                task.result()
            assert story in done, "the feed ended by itself"

        run_on(self.loop, main())
        assert self.router.n_errors == 0, repr(self.router.last_error)
        assert self.venue.links == []

    async def until(self, is_true: Callable[[], bool], timeout_s: float = 60.0) -> float:
        """Wait for something; returns the seconds it took."""
        began_ns = self.loop.now_ns
        while not is_true():
            assert self.loop.now_ns - began_ns < timeout_s * S, (
                f"not within {timeout_s} s: {self.told()[-8:]}"
            )
            await asyncio.sleep(0.001)
        return (self.loop.now_ns - began_ns) / S

    async def settled(self) -> None:
        """Stop the venue and wait until all that is under way has arrived."""
        self.venue.is_paused = True
        await asyncio.sleep(2)
        for symbol, lane in zip(self.venue.symbols, self.feed_lanes, strict=True):
            assert lane.market.is_valid, symbol
            assert self.venue.books[symbol].equals(lane.market), symbol

    async def until_live(self, timeout_s: float = 60.0) -> float:
        return await self.until(lambda: all(lane.market.is_valid for lane in self.feed_lanes), timeout_s)

    def told(self, event: str | None = None) -> list[tuple[float, int, str, str]]:
        return [one for one in self.events if event is None or one[2] == event]


def play(world: World, script: Callable[[World], Coroutine[object, object, None]], **options: bool) -> World:
    """Run a script on a world and return the world."""
    world.run(lambda: script(world), **options)
    return world
