"""Write a synthetic recording: the crowd's market in the venue's messages, as a recorder keeps them."""

import gzip
import io
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import zstandard

from engine.sim.crowd import NS, Crowd, endless
from engine.sim.markets import CrowdSpec, Market, btcusdt
from engine.sim.truth import Truth
from native.matching import MatchedEvent, MatchKind

# 2026-01-05 12:00:00 UTC: a fixed moment, so that a recording depends on its seed only.
START_NS = 1_767_614_400 * NS
SNAPSHOT_AFTER_NS = 270_000_000
SNAPSHOT_TRIP_NS = 38_000_000
SNAPSHOT_LEVELS = 1_000
TRIP_NS = 1_600_000
NEVER = 1 << 62
MS = 1_000_000
FIRST_TRADE_IDS: dict[Market, int] = {"spot": 3_735_683_259, "usdm": 5_266_583_936}
FILL = int(MatchKind.MATCH_FILL)

Levels = list[tuple[int, int]]


class SynthSummary(msgspec.Struct, frozen=True):
    """What a synthetic recording contains."""

    symbol: str
    market: Market
    seed: int
    start_ns: int
    end_ns: int
    lines: int
    depth_updates: int
    levels: int
    tickers: int
    trades: int
    sweeps: int
    parents: int
    low: float
    high: float


class Shapes:
    """
    Binance's messages of one instrument, as JSON text of 2024.

    Prices are ticks and quantities lots; venue times are milliseconds.
    """

    def __init__(self, spec: CrowdSpec) -> None:
        self.symbol = spec.symbol
        self.is_usdm = spec.market == "usdm"
        name = spec.symbol.lower()
        self._depth = f"{name}@depth@{0 if self.is_usdm else 100}ms"
        self._trade = f"{name}@trade"
        self._ticker = f"{name}@bookTicker"
        self._tick_scale = 10**spec.tick_decimals
        self._lot_scale = 10**spec.lot_decimals
        self._tick_decimals = spec.tick_decimals
        self._lot_decimals = spec.lot_decimals
        self._price_zeros = "0" * spec.price_zeros
        self._quantity_zeros = "0" * spec.quantity_zeros

    def price(self, ticks: int) -> str:
        whole, part = divmod(ticks, self._tick_scale)
        return f"{whole}.{part:0{self._tick_decimals}d}{self._price_zeros}"

    def quantity(self, lots: int) -> str:
        whole, part = divmod(lots, self._lot_scale)
        return f"{whole}.{part:0{self._lot_decimals}d}{self._quantity_zeros}"

    def levels(self, levels: Levels) -> str:
        price, quantity = self.price, self.quantity
        return "[" + ",".join([f'["{price(p)}","{quantity(q)}"]' for p, q in levels]) + "]"

    def depth(self, ids: tuple[int, int, int], event_ms: int, bids: Levels, asks: Levels) -> str:
        """Return the update with `ids` = (U, u, pu); spot has no pu."""
        first, final, previous = ids
        times = f'"E":{event_ms},"T":{event_ms}' if self.is_usdm else f'"E":{event_ms}'
        chain = f'"U":{first},"u":{final}' + (f',"pu":{previous}' if self.is_usdm else "")
        return (
            f'{{"stream":"{self._depth}","data":{{"e":"depthUpdate",{times},"s":"{self.symbol}",{chain},'
            f'"b":{self.levels(bids)},"a":{self.levels(asks)}}}}}'
        )

    def trade(
        self, trade_id: int, level: tuple[int, int], *, is_buyer_maker: bool, trade_ms: int, event_ms: int
    ) -> str:
        maker = "true" if is_buyer_maker else "false"
        what = f'"t":{trade_id},"p":"{self.price(level[0])}","q":"{self.quantity(level[1])}"'
        if self.is_usdm:
            return (
                f'{{"stream":"{self._trade}","data":{{"e":"trade","E":{event_ms},"T":{trade_ms},'
                f'"s":"{self.symbol}",{what},"X":"MARKET","m":{maker}}}}}'
            )
        return (
            f'{{"stream":"{self._trade}","data":{{"e":"trade","E":{event_ms},"s":"{self.symbol}",{what},'
            f'"T":{trade_ms},"m":{maker},"M":true}}}}'
        )

    def ticker(self, update_id: int, bid: tuple[int, int], ask: tuple[int, int], venue_ms: int) -> str:
        kind = '"e":"bookTicker",' if self.is_usdm else ""
        times = f',"T":{venue_ms},"E":{venue_ms}' if self.is_usdm else ""
        return (
            f'{{"stream":"{self._ticker}","data":{{{kind}"u":{update_id},"s":"{self.symbol}",'
            f'"b":"{self.price(bid[0])}","B":"{self.quantity(bid[1])}",'
            f'"a":"{self.price(ask[0])}","A":"{self.quantity(ask[1])}"{times}}}}}'
        )

    def snapshot(self, update_id: int, venue_ms: int, bids: Levels, asks: Levels) -> str:
        """Return the answer of the REST depth endpoint."""
        times = f'"E":{venue_ms + 2},"T":{venue_ms},' if self.is_usdm else ""
        return f'{{"lastUpdateId":{update_id},{times}"bids":{self.levels(bids)},"asks":{self.levels(asks)}}}'


class Publication:
    """
    What the venue tells the public of one market, as messages that reach us over one connection.

    Whoever drives the crowd calls `tell` after each of its acts, and after each order of its own, with the
    events of the matching, `publish` at `next_ns` and `answer` at `answer_ns`; the earlier moment first.

    Parameters
    ----------
    crowd : Crowd
        At its first moment.
    seed : int
        Of the gaps between depth updates, of the ids other symbols use up, and of the trip.
    receive : callable
        Takes each message with the time it reaches us, in that order.
    trip_ns : int
        Shortest time from the venue to us; the mean is 7/16 longer.
    """

    def __init__(
        self, crowd: Crowd, seed: int, receive: Callable[[int, str, bool], object], trip_ns: int = TRIP_NS
    ) -> None:
        self.crowd = crowd
        self.shapes = Shapes(crowd.spec)
        self.depth_updates = self.levels = self.tickers = self.trades = 0
        self.low = self.high = 0
        self._receive = receive
        self._trip_ns = trip_ns
        self._trip_spread = trip_ns * 7 // 16
        self._book = crowd.book
        is_usdm = crowd.spec.market == "usdm"
        self._is_usdm = is_usdm
        seeds = np.random.SeedSequence([seed, 7]).spawn(2)
        self._jitter = endless(np.random.Generator(np.random.PCG64(seeds[0])).standard_exponential).__next__
        self._uniform = endless(np.random.Generator(np.random.PCG64(seeds[1])).random).__next__
        self._id_offset = 5_123_107_000_000 if is_usdm else 50_093_239_000
        self._diff_from = self._book.update_id
        self._previous_id = self._id_offset + self._diff_from
        self._is_new_chain = False
        self._best = (0, 0, 0, 0)
        self._recv_ns = 0
        self._depth_ns = crowd.now_ns + self._depth_gap_ns()
        self._questions: deque[int] = deque()
        self._answers: deque[tuple[int, str]] = deque()

    @property
    def next_ns(self) -> int:
        """Venue time of the next depth update, or of the next snapshot that was asked for."""
        return min(self._depth_ns, self._questions[0]) if self._questions else self._depth_ns

    @property
    def answer_ns(self) -> int:
        """Venue time at which the next snapshot leaves; `NEVER` when none is read."""
        return self._answers[0][0] if self._answers else NEVER

    def ask_snapshot(self, at_ns: int) -> None:
        """Have the book read at `at_ns`, not before an earlier question; the answer leaves later."""
        self._questions.append(at_ns)

    def publish(self) -> None:
        """Publish the depth update, or read the snapshot, that is due at `next_ns`."""
        if not self._questions or self._depth_ns <= self._questions[0]:
            self._publish_depth(self._depth_ns)
            self._depth_ns += self._depth_gap_ns()
            return
        now = self._questions.popleft()
        bids = self._book.depth(1, SNAPSHOT_LEVELS)
        asks = self._book.depth(-1, SNAPSHOT_LEVELS)
        text = self.shapes.snapshot(self._now_id(), now // MS, bids, asks)
        self._answers.append((now + SNAPSHOT_TRIP_NS, text))

    def answer(self) -> None:
        """Send the snapshot that leaves at `answer_ns`."""
        at_ns, text = self._answers.popleft()
        self._send(at_ns, text, is_snapshot=True)

    def tell(self, now: int, events: list[MatchedEvent]) -> None:
        """Publish the trades among `events` of venue time `now`, and the best prices if they changed."""
        book = self._book
        if self._is_new_chain and book.update_id > self._diff_from:
            # USD-M ids are shared by all symbols: the first change after a diff does not follow on its last.
            self._is_new_chain = False
            if self._is_usdm:
                self._id_offset += 20 + int(400 * self._jitter())
        for event in events:
            if event.kind == FILL:
                self._publish_trade(event, now)
        bid, ask = book.best_bid, book.best_ask
        if bid == 0 or ask == 0:
            return
        best = (bid, book.displayed(1, bid), ask, book.displayed(-1, ask))
        if best != self._best:
            self._best = best
            self.tickers += 1
            self._send(now, self.shapes.ticker(self._now_id(), best[:2], best[2:], now // MS))

    def _depth_gap_ns(self) -> int:
        if self._is_usdm:
            return 51_000_000 + int(self._jitter() * 1_300_000)
        return 100_000_000

    def _now_id(self) -> int:
        return self._id_offset + self._book.update_id

    def _publish_trade(self, event: MatchedEvent, now: int) -> None:
        trade_ms = now // MS
        self.trades += 1
        self.low = event.price if self.low == 0 else min(self.low, event.price)
        self.high = max(self.high, event.price)
        text = self.shapes.trade(
            self.crowd.first_trade_id + event.trade - 1,
            (event.price, event.quantity),
            is_buyer_maker=event.side < 0,
            trade_ms=trade_ms,
            event_ms=trade_ms if self._is_usdm or now % MS < MS // 2 else trade_ms + 1,
        )
        self._send(now, text)

    def _publish_depth(self, now: int) -> None:
        bids, asks = self._book.drain_changes()
        if not bids and not asks:
            return
        ids = (self._id_offset + self._diff_from + 1, self._now_id(), self._previous_id)
        self._send(now, self.shapes.depth(ids, now // MS, bids, asks))
        self.depth_updates += 1
        self.levels += len(bids) + len(asks)
        self._previous_id = ids[1]
        self._diff_from = self._book.update_id
        self._is_new_chain = True

    def _send(self, venue_ns: int, text: str, *, is_snapshot: bool = False) -> None:
        # One connection: nothing overtakes; what queued behind a slow packet follows within microseconds.
        trip = self._trip_ns + int(self._trip_spread * self._jitter())
        self._recv_ns = max(self._recv_ns + 400 + int(1_500 * self._uniform()), venue_ns + trip)
        self._receive(self._recv_ns, text, is_snapshot)


class Tape:
    """Let the crowd trade and write what the venue would have published, in the order of receipt."""

    def __init__(self, crowd: Crowd, seed: int, out: BinaryIO) -> None:
        self.crowd = crowd
        self.lines = 0
        self._out = out
        self.publication = Publication(crowd, seed, self._write)

    def run(self, end_ns: int) -> None:
        """Write all that happens up to `end_ns`."""
        crowd = self.crowd
        publication = self.publication
        publication.ask_snapshot(crowd.now_ns + SNAPSHOT_AFTER_NS)
        while True:
            now = min(crowd.next_ns, publication.next_ns)
            if now >= publication.answer_ns:
                publication.answer()
            if now > end_ns:
                return
            if now == publication.next_ns:
                publication.publish()
            else:
                crowd.act()
                publication.tell(crowd.now_ns, crowd.matching.drain_events())

    def _write(self, recv_ns: int, text: str, _is_snapshot: bool) -> None:
        self._out.write(f"{recv_ns} {text}\n".encode())
        self.lines += 1


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a recording for writing; `.gz` and `.zst` compress, and the same input gives the same bytes."""
    with path.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                buffered = io.BufferedWriter(packed, 1 << 20)
                yield buffered
                buffered.flush()
        elif path.suffix == ".zst":
            with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as packed:
                yield packed
        else:
            yield raw


def synthesise(seconds: float, seed: int, market: Market, out: Path, truth: Path | None) -> SynthSummary:
    """
    Write a synthetic recording of BTCUSDT.

    Parameters
    ----------
    seconds : float
        Length in venue time, above 0.
    seed : int
        Not negative. The same seed gives the same bytes.
    market : {"spot", "usdm"}
    out : Path
        `.gz`, `.zst` or plain text by its suffix.
    truth : Path or None
        JSON lines: parent orders, icebergs, fair value each second, regime changes.

    Returns
    -------
    SynthSummary

    Raises
    ------
    ValueError
        When a parameter is outside its bounds.
    """
    if not 0 < seconds <= 86_400:
        raise ValueError(f"seconds must be above 0 and at most 86,400, found {seconds}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, found {seed}")
    if market not in ("spot", "usdm"):
        raise ValueError(f"market must be 'spot' or 'usdm', found {market!r}")
    truths: list[Truth] = []
    spec = btcusdt(market)
    crowd = Crowd(spec, seed, START_NS, first_trade_id=FIRST_TRADE_IDS[market], on_truth=truths.append)
    end_ns = START_NS + int(seconds * NS)
    with opened(out) as stream:
        tape = Tape(crowd, seed, stream)
        tape.run(end_ns)
    told = tape.publication
    if truth is not None:
        encoder = msgspec.json.Encoder()
        truth.write_bytes(encoder.encode_lines(truths))
    return SynthSummary(
        symbol=spec.symbol,
        market=market,
        seed=seed,
        start_ns=START_NS,
        end_ns=end_ns,
        lines=tape.lines,
        depth_updates=told.depth_updates,
        levels=told.levels,
        tickers=told.tickers,
        trades=told.trades,
        sweeps=crowd.n_sweeps,
        parents=crowd.n_parents,
        low=round(told.low * spec.tick, spec.tick_decimals),
        high=round(told.high * spec.tick, spec.tick_decimals),
    )
