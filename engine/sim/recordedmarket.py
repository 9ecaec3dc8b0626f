"""One symbol of the simulated venue, told from a recording: the same messages, at times of today."""

import gzip
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Final

import orjson
import zstandard

from engine.errors import InputError
from engine.sim.listeners import Sink, Stream
from engine.sim.markets import CrowdSpec, Market, spec_of
from engine.sim.markettruth import MarketTruth
from engine.sim.messages import Deal
from engine.sim.symbolinfo import TRADING, SymbolInfo
from engine.sim.tape import NEVER
from engine.sim.told import Told

MS: Final = 1_000_000
LEAST: Final = Decimal("0.00000001")
KEPT: Final = 100_000  # trades that can be asked for
STREAM: Final = re.compile(rb'"stream"\s*:\s*"([^"]+)"')
# Where an event has times beside E and T; forceOrder and kline have them one object down.
TIMES: Final[dict[str, tuple[str, ...]]] = {"24hrTicker": ("O", "C")}
NESTED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "kline": ("k", ("t", "T")),
    "forceOrder": ("o", ("T",)),
}

Row = dict[str, object]
Json = dict[str, object]


class RecordedMarket:
    """
    One symbol of one market, as it was recorded.

    Parameters
    ----------
    paths : sequence of Path
        Text, `.gz` or `.zst`, one after the other: `<receive ns> <message>` a line, messages of combined
        streams of one symbol, REST depth answers bare between them.
    market : {"spot", "usdm"}
    start_ns : int
        Venue time at which the first message comes.
    speed : float
        How much faster than recorded, above 0; times inside the messages follow.
    spec : CrowdSpec, optional
        What exchangeInfo says; `spec_of` the symbol if not given.

    Raises
    ------
    InputError
        When no line of the recording is a message, or it holds more than one symbol.

    Notes
    -----
    Every speed of `@depth` is answered with the one that was recorded. Answers before the first recorded
    snapshot are that snapshot: it lies some messages ahead, as a snapshot may. What was not recorded answers
    empty. After the last message nothing happens any more.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        market: Market,
        start_ns: int,
        *,
        speed: float = 1.0,
        spec: CrowdSpec | None = None,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"Expected a speed above 0, found {speed}.")
        names, snapshot, self._offset_ns, first_ns = _scan(paths)
        symbols = {name.split("@")[0] for name in names}
        if len(symbols) != 1:
            found = ", ".join(sorted(symbols)) or "none"
            raise InputError(f"Expected a recording of one symbol in {paths[0]}, found {found}.")
        self.symbol: Final = symbols.pop().upper()
        self.market: Final[Market] = market
        self.spec: Final = spec_of(self.symbol, market) if spec is None else spec
        self._is_usdm = market == "usdm"
        self._info = SymbolInfo(self.spec)
        self._instrument = self._info.instrument()
        self._speed = speed
        self._start_ns = self._now_ns = start_ns
        self._recorded_ns = first_ns
        self._behind_ns = 0
        self._streams = {name: Stream(name) for name in sorted(names)}
        self._depth_name = next((name for name in self._streams if re.search(r"@depth(@\d+ms)?$", name)), "")
        if self._depth_name:
            base = f"{self.symbol.lower()}@depth"
            for suffix in ("", "@0ms", "@100ms", "@500ms") if self._is_usdm else ("", "@100ms"):
                self._streams.setdefault(base + suffix, Stream(base + suffix))
        self._book: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        self._book_id = self._changed_ns = 0
        self._take_snapshot(snapshot)
        self._deals: deque[tuple[Deal, Row]] = deque(maxlen=KEPT)
        self._aggregates: deque[Row] = deque(maxlen=KEPT)
        self._ticker: Row = {}
        self._lines = _lines(paths)
        self._next: tuple[int, Json] | None = None
        self._read()
        self.truth: Final = MarketTruth(self._instrument, self._levels, self._all_deals)

    @property
    def next_ns(self) -> int:
        """Venue time of the next message."""
        if self._next is None or self._info.status != TRADING:
            return NEVER
        return max(self._now_ns, self._mapped(self._next[0], self._behind_ns))

    @property
    def now_ns(self) -> int:
        """Venue time up to which everything has happened."""
        return self._now_ns

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams."""
        return tuple(self._streams)

    def prepare(self) -> None:
        """Do nothing: a recording has nothing to prepare."""

    def advance(self, now_ns: int) -> None:
        """Let everything happen up to and including `now_ns`; the listeners hear of it meanwhile."""
        while self._next is not None and (due := self.next_ns) <= now_ns:
            self._now_ns = due
            self._apply(self._next[1])
            self._read()
        self._now_ns = max(self._now_ns, now_ns)

    def listen(self, stream: str, sink: Sink) -> bool:
        """Let `sink` hear a stream from now on; False if it was not recorded."""
        found = self._streams.get(stream)
        if found is None:
            return False
        found.listen(sink)
        return True

    def unlisten(self, stream: str, sink: Sink) -> None:
        """Let `sink` hear a stream no more."""
        found = self._streams.get(stream)
        if found is not None:
            found.unlisten(sink)

    def set_filters(
        self,
        tick: str | Decimal | None = None,
        step: str | Decimal | None = None,
        min_notional: str | Decimal | None = None,
    ) -> None:
        """Let exchangeInfo say other filters from now on."""
        self._info.set_filters(tick, step, min_notional)

    def set_status(self, status: str) -> None:
        """Let exchangeInfo say another status; with any but TRADING the recording waits."""
        was, is_trading = self._info.status == TRADING, status == TRADING
        if was != is_trading:
            self._behind_ns += self._now_ns if is_trading else -self._now_ns
        self._info.status = status

    def set_funding_interval(self, hours: int) -> None:
        """Say so from now on; the recorded messages stay as they are."""
        self._info.funding_hours = hours

    @property
    def funding_hours(self) -> int:
        """Hours between two fundings, as they were set."""
        return self._info.funding_hours

    def info(self) -> Row:
        """Return the symbol's entry of exchangeInfo."""
        return self._info.entry()

    def depth(self, limit: int) -> Row:
        """Return so many levels of each side, from the recorded snapshot and the updates since."""
        answer: Row = {"lastUpdateId": self._book_id}
        if self._is_usdm:
            answer |= {"E": self._now_ns // MS, "T": self._changed_ns // MS}
        for side in ("bids", "asks"):
            ordered = sorted(self._book[side].items(), key=_price, reverse=side == "bids")
            answer[side] = [list(level) for level in ordered[:limit]]
        return answer

    def trades(self, limit: int) -> list[Row]:
        """Return the last trades told, oldest first."""
        return [row for _, row in self._deals][-limit:]

    def historical_trades(self, from_id: int | None, limit: int) -> list[Row]:
        """Return trades told, from an id on or the last ones."""
        if from_id is None:
            return self.trades(limit)
        return [row for deal, row in self._deals if deal.trade_id >= from_id][:limit]

    def agg_trades(
        self, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Row]:
        """Return aggregate trades told, if they were recorded."""
        found = [
            row
            for row in self._aggregates
            if _between(row["a"], from_id, None) and _between(row["T"], start_ms, end_ms)
        ]
        return found[-limit:] if from_id is None and start_ms is None else found[:limit]

    def klines(
        self, interval: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[list[object]]:
        """Return nothing: candles are not recorded."""
        del interval, start_ms, end_ms, limit
        return []

    def ticker_24h(self) -> Row:
        """Return nothing: the figures of a day are not recorded."""
        return {}

    def book_ticker(self) -> Row:
        """Return the best prices last told."""
        return dict(self._ticker)

    def price(self) -> Row:
        """Return the price of the last trade told."""
        if not self._deals:
            return {}
        row: Row = {"symbol": self.symbol, "price": self._deals[-1][1]["price"]}
        return row | ({"time": self._deals[-1][1]["time"]} if self._is_usdm else {})

    def premium_index(self) -> Row:
        """Return nothing: it is not recorded."""
        return {}

    def open_interest(self) -> Row:
        """Return nothing: it is not recorded."""
        return {}

    def funding_history(self) -> list[Row]:
        """Return nothing: it is not recorded."""
        return []

    def _mapped(self, recorded_ns: int, behind_ns: int) -> int:
        """Return the venue time of today for one of the recording."""
        passed = recorded_ns - self._recorded_ns
        return self._start_ns + behind_ns + (passed if self._speed == 1.0 else int(passed / self._speed))

    def _read(self) -> None:
        self._next = None
        for recv_ns, message in self._lines:
            event_ns = _event_ns(message)
            if event_ns:
                self._offset_ns = event_ns - recv_ns
            self._next = (event_ns or recv_ns + self._offset_ns, message)
            return

    def _apply(self, message: Json) -> None:
        data, name = message.get("data"), message.get("stream")
        if not isinstance(data, dict) or not isinstance(name, str):
            if message.get("lastUpdateId", 0) > self._book_id:  # type: ignore[operator]
                self._take_snapshot(message)
            return
        kind = data.get("e") or name.split("@")[1]
        if name == self._depth_name:
            self._take_diff(data)
        elif kind == "trade":
            self._take_trade(data)
        elif kind == "aggTrade":
            names = ("a", "p", "q", "nq", "f", "l", "T", "m", "M")
            row = {key: data[key] for key in names if key in data}
            self._aggregates.append(row | {"T": self._mapped(data["T"] * MS, self._behind_ns) // MS})
        elif kind == "bookTicker":
            pairs = (("bidPrice", "b"), ("bidQty", "B"), ("askPrice", "a"), ("askQty", "A"))
            self._ticker = {"symbol": self.symbol} | {key: data[own] for key, own in pairs}
            if self._is_usdm:
                self._ticker |= {"time": self._now_ns // MS, "lastUpdateId": data["u"]}
        self._tell(name, data)

    def _tell(self, name: str, data: Json) -> None:
        now, behind = self._now_ns, self._behind_ns

        def write(unit: int) -> str:
            def moved(recorded: object) -> int:
                return self._mapped(int(str(recorded)) * MS, behind) // unit

            kind = str(data.get("e", ""))
            told = dict(data)
            for key in ("E", "T", *TIMES.get(kind, ())):
                if key in told:
                    told[key] = moved(told[key])
            if kind in NESTED and isinstance(inner := told.get(NESTED[kind][0]), dict):
                told[NESTED[kind][0]] = inner | {key: moved(inner[key]) for key in NESTED[kind][1]}
            return orjson.dumps(told).decode()

        names = [name]
        if name == self._depth_name:
            names = [other for other in self._streams if re.search(r"@depth(@\d+ms)?$", other)]
        for other in names:
            stream = self._streams[other]
            if stream.sinks:
                stream.tell(Told(other, now, write, has_micro=not self._is_usdm))

    def _take_snapshot(self, snapshot: Json) -> None:
        if snapshot:
            self._book_id = int(str(snapshot["lastUpdateId"]))
            for side in ("bids", "asks"):
                levels = snapshot[side]
                self._book[side] = dict(levels)  # type: ignore[call-overload]

    def _take_diff(self, data: Json) -> None:
        final = int(str(data["u"]))
        if final <= self._book_id:
            return
        self._book_id, self._changed_ns = final, self._now_ns
        for side, key in (("bids", "b"), ("asks", "a")):
            levels = self._book[side]
            for price, quantity in data[key]:  # type: ignore[attr-defined]
                if quantity.strip("0.") == "":
                    levels.pop(price, None)
                else:
                    levels[price] = quantity

    def _take_trade(self, data: Json) -> None:
        venue_ns = self._mapped(int(str(data["T"])) * MS, self._behind_ns)
        price, quantity = str(data["p"]), str(data["q"])
        deal = Deal(
            int(str(data["t"])),
            venue_ns,
            self._instrument.price_units(price),
            self._instrument.quantity_units(quantity),
            is_buy=not data["m"],
            is_rpi=data.get("X") == "RPI",
        )
        row: Row = {
            "id": deal.trade_id,
            "price": price,
            "qty": quantity,
            "quoteQty": f"{(Decimal(price) * Decimal(quantity)).quantize(LEAST):f}",
            "time": venue_ns // MS,
            "isBuyerMaker": data["m"],
        }
        row |= {"isRPITrade": deal.is_rpi} if self._is_usdm else {"isBestMatch": True}
        self._deals.append((deal, row))

    def _levels(self, side: int) -> dict[int, int]:
        units = self._instrument
        levels = self._book["bids" if side > 0 else "asks"]
        return {units.price_units(p): units.quantity_units(q) for p, q in levels.items()}

    def _all_deals(self) -> list[Deal]:
        return [deal for deal, _ in self._deals]


def _scan(paths: Sequence[Path]) -> tuple[set[str], Json, int, int]:
    """Return names of streams, first snapshot, venue minus receive time at first, first venue time."""
    names: set[str] = set()
    snapshot: Json = {}
    offset = first_recv = None
    for line in _raw(paths):
        recv, _, body = line.partition(b" ")
        if first_recv is None:
            first_recv = int(recv)
        if match := STREAM.search(body):
            names.add(match[1].decode())
            if offset is None and (event_ns := _event_ns(orjson.loads(body))):
                offset = event_ns - int(recv)
        elif not snapshot and b"lastUpdateId" in body:
            snapshot = orjson.loads(body)
    offset = offset or 0
    return names, snapshot, offset, (first_recv or 0) + offset


def _event_ns(message: Json) -> int:
    """Return the venue time of a message, 0 if it has none."""
    data = message.get("data")
    found = data.get("E", 0) if isinstance(data, dict) else 0
    return int(found) * MS


def _lines(paths: Sequence[Path]) -> Iterator[tuple[int, Json]]:
    for line in _raw(paths):
        recv, _, body = line.partition(b" ")
        yield int(recv), orjson.loads(body)


def _raw(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            lines: Iterator[bytes] = raw
            if path.suffix == ".gz":
                lines = stack.enter_context(gzip.GzipFile(fileobj=raw))
            elif path.suffix == ".zst":
                unpacked = stack.enter_context(zstandard.ZstdDecompressor().stream_reader(raw))
                lines = io.BufferedReader(unpacked)
            yield from (line for line in lines if line.strip())


def _price(level: tuple[str, str]) -> Decimal:
    return Decimal(level[0])


def _between(value: object, low: int | None, high: int | None) -> bool:
    number = int(str(value))
    return (low is None or number >= low) and (high is None or number <= high)
