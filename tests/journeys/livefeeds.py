"""A live engine on a simulated venue in virtual time, held to the venue's truth at every read.

The real feed, router, market and corridor; only sockets and time are not real. After everything that reaches
the engine its book is compared with what the venue's book was at the same update id.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from engine.instruments import Instrument, from_exchange_info
from engine.live import LiveMarkets
from engine.records import Record, SignalRecord, encode_line
from engine.settings import Config, Feed
from engine.signals import MarketKind
from engine.sim.faults import Faults
from engine.sim.faultscript import Fault
from engine.sim.house import House
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.told import Told
from engine.sim.virtualloop import NS, LoopClock, VirtualLoop, run_on
from engine.sim.virtualtransport import HouseFrames, HouseHttp, HouseLink, Latency, VenueOnLoop
from engine.venues.binance_rest import BinanceRest
from engine.venues.binance_streams import addresses
from engine.venues.budget import Budget
from engine.venues.transport import Frames
from native.ring import RingWriter

# Ten seconds before a minute: the first whole bar begins soon after the start.
START_NS = (1_767_614_400 + 50) * NS
ORIGIN = "http://127.0.0.1:8001"
SYMBOL = "KAIUSDT"
KINDS = {"spot": MarketKind.SPOT, "usdm": MarketKind.USDM}
KEPT_BOOKS = 20_000
FRESH_NS = 2 * NS
Levels = tuple[dict[int, int], dict[int, int]]

# Deadlines short enough that a minute shows what they do.
FEED = Feed(
    origin=ORIGIN,
    history_minutes=0,
    klines=0,
    first_message_s=3.0,
    depth_silence_s=3.0,
    trade_silence_s=10.0,
    handover_s=3.0,
    listing_s=5.0,
    clock_s=5.0,
    backoff_max_s=4.0,
    refresh_min=0.0,
)


class WatchedMarket(PublicMarket):
    """A market that keeps what its book was at every update id that the venue ever tells."""

    def __init__(
        self, symbol: str, market: str, seed: int, *, sweep_rate: float = 2.0, whales_per_minute: float = 1.0
    ) -> None:
        spec = spec_of(symbol, "spot" if market == "spot" else "usdm")
        spec = replace(spec, sweep_rate=sweep_rate, whales_per_minute=whales_per_minute, supported_share=0.95)
        super().__init__(spec, seed, START_NS)
        self.books: dict[int, Levels] = {}
        self.told_ids: list[tuple[int, int, int, int]] = []  # venue ns, U, u, pu (0 on spot)
        stream = f"{symbol.lower()}@depth@100ms"
        assert self.listen(stream, self._on_depth)

    def _on_depth(self, told: Told) -> None:
        text = told.encode()
        first, final, previous = (_number(text, name) for name in (b'"U":', b'"u":', b'"pu":'))
        self.told_ids.append((told.venue_ns, first, final, previous))
        self._keep(final)

    def depth(self, limit: int) -> dict[str, object]:
        row = super().depth(limit)
        last_id = row["lastUpdateId"]
        assert isinstance(last_id, int)
        self._keep(last_id)
        return row

    def _keep(self, update_id: int) -> None:
        if len(self.books) >= KEPT_BOOKS:
            del self.books[next(iter(self.books))]
        self.books[update_id] = self.truth.book()


def _number(text: bytes, name: bytes) -> int:
    at = text.find(name)
    if at < 0:
        return 0
    at += len(name)
    end = at
    while text[end : end + 1].isdigit():
        end += 1
    return int(text[at:end])


class WatchedFrames:
    """Between the sockets and the router: after every read the whole engine is looked at."""

    def __init__(self, router: Frames, look: Callable[[], None]) -> None:
        self._router = router
        self._look = look

    def feed(self, connection: int, payload: bytes) -> None:
        self._router.feed(connection, payload)

    def end_read(self) -> None:
        self._router.end_read()
        self._look()


class WatchedTransport:
    """Opens sockets whose messages pass the watch."""

    def __init__(self, frames: HouseFrames, look: Callable[[], None]) -> None:
        self._frames = frames
        self._look = look

    async def open(self, url: str, connection: int, frames: Frames, *, timeout_s: float) -> HouseLink:
        return await self._frames.open(
            url, connection, WatchedFrames(frames, self._look), timeout_s=timeout_s
        )


@dataclass
class Seen:
    """What a journey saw.

    Attributes
    ----------
    wrong : sentences; there must be none.
    spans : (since ns, whether the book was valid), one for each change.
    events : time, index, event and detail of the feed.
    first_trade_id : of the first trade the engine took; -1: none.
    """

    wrong: list[str] = field(default_factory=list)
    spans: list[tuple[int, bool]] = field(default_factory=list)
    events: list[tuple[int, int, str, str]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    first_trade_id: int = -1
    n_compared: int = 0
    n_looks: int = 0

    def count(self, event: str) -> int:
        """Return how often an event happened."""
        return sum(1 for _, _, name, _ in self.events if name == event)

    def blind_s(self, since_ns: int = 0) -> float:
        """Return the longest time without a valid book that began after a moment, in seconds."""
        longest = 0
        for (at_ns, is_valid), (until_ns, _) in zip(self.spans, self.spans[1:], strict=False):
            if not is_valid and at_ns >= since_ns:
                longest = max(longest, until_ns - at_ns)
        return longest / NS


class Watched(LiveMarkets):
    """The engine, with its events written down and its books looked at after every input."""

    seen: Seen
    look: Callable[[], None]
    loop: VirtualLoop

    def on_event(self, index: int, event: str, detail: str) -> None:
        super().on_event(index, event, detail)
        self.seen.events.append((self.loop.now_ns, index, event, detail))

    def on_snapshot(self, index: int, body: bytes) -> None:
        super().on_snapshot(index, body)
        self.look()

    def on_trades(self, index: int, body: bytes) -> None:
        super().on_trades(index, body)
        self.look()


Story = Callable[["Journey"], Awaitable[None]]


class Journey:
    """One engine on one venue, from start to end; one symbol is watched, its neighbours only listened to."""

    def __init__(
        self,
        script: Sequence[Fault] = (),
        *,
        market: str = "spot",
        seed: int = 1,
        feed: Feed = FEED,
        latency: Latency | None = None,
        ahead_s: float = 0.0,
        sweep_rate: float = 2.0,
        whales_per_minute: float = 1.0,
        neighbours: Sequence[str] = (),
        symbol: str = SYMBOL,
        config: Config | None = None,
        ring: RingWriter | None = None,
    ) -> None:
        self.loop = VirtualLoop(START_NS)
        self.clock = LoopClock(self.loop, round(ahead_s * NS))
        self.seen = Seen()
        self.kind = KINDS[market]
        self.market = WatchedMarket(
            symbol, market, seed, sweep_rate=sweep_rate, whales_per_minute=whales_per_minute
        )
        self.faults = Faults(
            script, start_ns=START_NS, seed=seed, on_clock=self._set_clock, on_stall=self._stall
        )
        others = [WatchedMarket(name, market, seed) for name in neighbours]
        self.house = House([self.market, *others], api_key="key", faults=self.faults)
        self.world = VenueOnLoop(self.loop, self.house)
        self.frames = HouseFrames(self.world, latency, seed=seed)
        self.http = HouseHttp(self.world, self.clock, latency, seed=seed)
        self.budget = Budget.open(None, limit_per_minute=6000 if market == "spot" else 2400)
        info = self.house.get(
            "/api/v3/exchangeInfo" if market == "spot" else "/fapi/v1/exchangeInfo",
            "",
            {},
            address="start",
            now_ns=START_NS,
        )
        self.exchange_info = info.body
        instruments = [
            from_exchange_info(info.body, name, self.kind, index)
            for index, name in enumerate((symbol, *neighbours))
        ]
        self.instrument: Instrument = instruments[0]
        self.live = Watched(
            instruments=instruments,
            config=replace(config or Config(), feed=feed),
            clock=self.clock,
            frames=WatchedTransport(self.frames, self.look),
            rest=BinanceRest(self.kind, self.http, self.budget, self.clock),
            addresses=addresses(self.kind, origin=ORIGIN),
            ring=ring,
            watch=self._on_record,
            seed=seed,
        )
        self.live.seen, self.live.look, self.live.loop = self.seen, self.look, self.loop
        self._digest = hashlib.sha256()
        self._compared_id = -1

    # What the script turns on our side.

    def _set_clock(self, ahead_ns: int, ppm: int) -> None:
        self.clock.drift(ppm)
        self.clock.shift(ahead_ns - self.clock.ahead_ns)

    def _stall(self, for_ns: int) -> None:
        self.frames.stall(for_ns)

    # What is looked at.

    @property
    def engine(self):  # type: ignore[no-untyped-def]
        """The market of the engine, as it is now: another epoch is another market."""
        return self.live.lanes[0].market

    def look(self) -> None:
        """Compare the book with the venue's at the same update id; note everything that can be seen."""
        market, seen = self.engine, self.seen
        seen.n_looks += 1
        is_valid = market.is_valid
        if not seen.spans or seen.spans[-1][1] != is_valid:
            seen.spans.append((self.loop.now_ns, is_valid))
        if seen.first_trade_id < 0 and market.trades:
            self._note_first_trade()
        key = (
            self.loop.now_ns,
            is_valid,
            market.update_id,
            market.best_bid,
            market.best_ask,
            market.cvd,
            market.last_trade_id,
        )
        self._digest.update(repr(key).encode())
        if is_valid and market.update_id != self._compared_id:
            self._compared_id = market.update_id
            self._compare_book()

    def _note_first_trade(self) -> None:
        self.seen.first_trade_id = self.engine.tape.last(1000)[-1][0]

    def _compare_book(self) -> None:
        market = self.engine
        self.seen.n_compared += 1
        truth = self.market.books.get(market.update_id)
        if truth is None:
            self._wrong(f"the book says update {market.update_id}, which the venue never told")
            return
        book, factor = market.book, self._factor()
        for side, levels, horizon in zip((1, -1), truth, book.horizons, strict=True):
            known = {
                price * factor[0]: quantity * factor[1]
                for price, quantity in levels.items()
                if not horizon or (horizon - price * factor[0]) * side <= 0  # 0: all is known
            }
            ours = dict(book.levels(side, 100_000))
            inside = {
                price: size for price, size in ours.items() if not horizon or (horizon - price) * side <= 0
            }
            if inside != known:
                missing = sorted(known.items() - inside.items())[:3]
                extra = sorted(inside.items() - known.items())[:3]
                self._wrong(
                    f"side {side} at update {market.update_id}: the venue had {missing}, the book has {extra}"
                )
            # Beyond the horizon levels are unknown until they change; those shown are true all the same.
            false = {price for price, size in ours.items() if levels.get(price // factor[0]) is None}
            if false - inside.keys():
                self._wrong(f"side {side} shows {len(false)} levels beyond the horizon that are not there")

    def _factor(self) -> tuple[int, int]:
        """Return how many of the engine's units one unit of the truth is: a later epoch may be finer."""
        now = self.live.lanes[0].instrument
        return (
            10 ** (now.price_digits - self.instrument.price_digits),
            10 ** (now.quantity_digits - self.instrument.quantity_digits),
        )

    def _wrong(self, sentence: str) -> None:
        if len(self.seen.wrong) < 20:
            at_s = (self.loop.now_ns - START_NS) / NS
            self.seen.wrong.append(f"{at_s:.3f} s: {sentence}")

    def _on_record(self, record: Record) -> None:
        self.seen.records.append(record)
        self._digest.update(encode_line(record))
        # Vetoes are in the order of their checks: only this one may be said of a book that is not valid.
        if isinstance(record, SignalRecord) and record.veto != "book_invalid" and not self.engine.is_valid:
            self._wrong(f"update {record.update_id} was decided on while the book was invalid")

    # The journey.

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return (self.loop.now_ns - START_NS) / NS

    @property
    def is_whole(self) -> bool:
        """Whether the book is live, valid and fed, every stream is carried, and no trade is missing."""
        if not self.engine.is_valid or self.engine.trade_gaps() or self.faults.next_ns < self.loop.now_ns:
            return False
        status = self.live.status()
        streams = {stream.role: stream for stream in status.lanes[0].streams}
        return (
            status.is_live
            and all(stream.connection for stream in streams.values())
            and 0 <= streams["depth"].age_ns < FRESH_NS
        )

    async def until(self, what: Callable[[], bool], within_s: float, name: str = "") -> float:
        """Wait until something holds; return how many seconds that took."""
        since_s = self.now_s
        while not what():
            if self.now_s - since_s > within_s:
                raise AssertionError(
                    f"Expected {name or 'it'} within {within_s} s, found it not; {self.describe()}"
                )
            await asyncio.sleep(0.02)
        return self.now_s - since_s

    async def until_at(self, at_s: float) -> None:
        """Wait until so many seconds after the start."""
        await asyncio.sleep(max(0.0, at_s - self.now_s))

    def describe(self) -> str:
        """Return where everything stands, for a failure."""
        status = self.live.status()
        events = [f"{(at - START_NS) / NS:.2f} {name}: {detail}" for at, _, name, detail in self.seen.events]
        return f"{status.lanes[0]}, {status.connections}, last events {events[-12:]}"

    def play(self, story: Story) -> Seen:
        """Run the engine, follow the story, end it; nothing wrong may have been seen."""

        async def main() -> None:
            running = asyncio.get_running_loop().create_task(self.live.run())
            told = asyncio.get_running_loop().create_task(self._follow(story))
            await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                told.cancel()
                running.result()
                raise AssertionError("Expected the engine to run until it is cancelled, found it ended.")
            running.cancel()
            await asyncio.wait((running,))
            told.result()

        run_on(self.loop, main())
        for at_ns, index, event, detail in self.seen.events:
            self._digest.update(f"{at_ns} {index} {event} {detail}".encode())
        error = self.live.router.last_error
        assert error is None, f"the router caught {error!r}"
        assert not self.seen.wrong, "\n".join(self.seen.wrong)
        return self.seen

    async def _follow(self, story: Story) -> None:
        await story(self)

    @property
    def is_batched(self) -> bool:
        """Whether trades come as aggregates, whose ids are counted apart."""
        return self.live.status().lanes[0].streams[1].name.endswith("@aggTrade")

    @property
    def left_ranges(self) -> list[tuple[int, int]]:
        """Return first and last id of the trades that the feed says it lost for good."""
        found = []
        for _, _, event, detail in self.seen.events:
            if event == "gap_left":
                pairs = detail.partition(": ")[2].split(", ")
                found += [(int(first), int(last)) for first, last in (pair.split("-") for pair in pairs)]
        return found

    @property
    def filled(self) -> int:
        """How many trades were filled in."""
        return self.live.status().lanes[0].filled_trades

    @property
    def left(self) -> int:
        """How many trades were given up."""
        return self.live.status().lanes[0].left_trades

    @property
    def digest(self) -> str:
        """Of everything published, in its order."""
        return self._digest.hexdigest()
