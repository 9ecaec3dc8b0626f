"""Every Binance session of 2021 at hand, thin symbols and late snapshots: each book syncs without a gap.

Snapshots are given at the moment they arrived and by the rules of the feed; at the end each book is held to a
dict of all updates behind its snapshot.
"""

import math
from collections import defaultdict
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from engine.ingest.book_sync import is_too_old
from engine.replay.store import Line, Tally, open_recording, read_lines
from engine.signals import MarketKind, Trigger
from native.events import SequenceState
from native.market import Market

pytestmark = [pytest.mark.captures, pytest.mark.slow]

FOLDER = "cryptofeed_binance_2021"
DIGITS = 8
SPOT, USDM, COINM = MarketKind.SPOT, MarketKind.USDM, MarketKind.COINM


class Session(NamedTuple):
    """A recording, its rules, and what its provenance counts in it."""

    files: tuple[str, ...]
    kind: MarketKind
    symbols: int
    updates: int


SESSIONS = (
    Session(("BINANCE_20210405_10symbols.raw.gz",), SPOT, 10, 4_709),
    Session(("BINANCE.ws.1.0.gz", "BINANCE.http.0.0.gz"), SPOT, 4, 177),
    Session(("BINANCE_US.ws.1.0.gz", "BINANCE_US.http.0.0.gz"), SPOT, 4, 336),
    Session(("BINANCE_FUTURES.ws.1.0.gz", "BINANCE_FUTURES.http.0.0.gz"), USDM, 4, 764),
    Session(("BINANCE_DELIVERY.ws.1.0.gz", "BINANCE_DELIVERY.http.0.0.gz"), COINM, 10, 2_047),
)


def units(text: str) -> int:
    return int(Decimal(text).scaleb(DIGITS))


def symbol_of(line: Line) -> str:
    return line.symbol or orjson.loads(line.payload)["data"]["s"]


def is_answer(line: Line) -> bool:
    return line.payload.startswith(b'{"lastUpdateId"')


@cache
def by_symbol(folder: Path, session: Session) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in read_lines(open_recording([folder / name for name in session.files]), Tally()):
        if is_answer(line) or b'"data":{' in line.payload:
            found[symbol_of(line)].append(line)
    return dict(found)


class Twin:
    """Dicts of all that the venue told, joined by the ids alone."""

    def __init__(self, kind: MarketKind) -> None:
        self.kind = kind
        self.updates: list[dict] = []
        self.snapshot: dict = {}

    def unbroken(self) -> bool:
        pairs = zip(self.updates, self.updates[1:], strict=False)
        if self.kind is SPOT:
            return all(after["U"] == before["u"] + 1 for before, after in pairs)
        return all(after["pu"] == before["u"] for before, after in pairs)

    def sides(self) -> tuple[dict[int, int], dict[int, int]]:
        last = self.snapshot["lastUpdateId"]
        told = [self.snapshot["bids"], self.snapshot["asks"]]
        books: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for book, levels in zip(books, told, strict=True):
            book.update((units(price), units(quantity)) for price, quantity in levels)
        for update in self.updates:
            # Futures drop what ends before the snapshot, spot also what ends with it.
            if update["u"] > last or (self.kind is not SPOT and update["u"] == last):
                for book, levels in zip(books, (update["b"], update["a"]), strict=True):
                    book.update((units(price), units(quantity)) for price, quantity in levels)
        return tuple({p: q for p, q in book.items() if q} for book in books)  # type: ignore[return-value]


def tick_of(lines: list[Line]) -> int:
    """Return the largest step that all prices of a symbol are multiples of."""
    found = 0
    for line in lines:
        document = orjson.loads(line.payload)
        data = document.get("data", document)
        if is_answer(line) or data.get("e") == "depthUpdate":
            for key in ("bids", "asks", "b", "a"):
                for price, _ in data.get(key, []):
                    found = math.gcd(found, units(price))
    return found


def play(kind: MarketKind, symbol: str, lines: list[Line]) -> tuple[Market, Twin, float, int]:
    """Return market and twin, seconds from the first update to a live book, snapshots refused as too old."""
    market = Market(
        symbol=symbol, kind=int(kind), price_digits=DIGITS, quantity_digits=DIGITS, tick=tick_of(lines)
    )
    twin = Twin(kind)
    first_ns, live_s, refused = 0, math.nan, 0
    for line in lines:
        while market.advance(line.recv_ns):
            pass
        if is_answer(line):
            document = orjson.loads(line.payload)
            if is_too_old(kind, document["lastUpdateId"], market.backlog.ids()):
                refused += 1
                continue
            twin.snapshot = document
            mask = market.on_snapshot(line.payload, line.recv_ns)
        else:
            data = orjson.loads(line.payload)["data"]
            if data.get("e") == "depthUpdate":
                first_ns = first_ns or line.recv_ns
                twin.updates.append(data)
            mask = market.on_frame(line.payload, line.recv_ns)
        assert not mask & (Trigger.GAP | Trigger.REFUSED)
        if mask & Trigger.LIVE:
            live_s = (line.recv_ns - first_ns) / 1e9
        if market.is_valid:
            assert market.best_bid < market.best_ask or not market.best_ask
    return market, twin, live_s, refused


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.files[0].split(".")[0])
def test_every_thin_book_syncs_without_a_gap_and_ends_as_the_venue_told(
    captures: Path, session: Session
) -> None:
    found = by_symbol(captures / FOLDER, session)
    assert len(found) == session.symbols
    total = 0
    print(f"\n{session.files[0]}\n{'symbol':<16}{'updates':>8}{'applied':>8}{'older':>6}{'live after s':>14}")
    for symbol, lines in sorted(found.items()):
        market, twin, live_s, refused = play(session.kind, symbol, lines)
        older = len(twin.updates) - market.depth_applied
        print(f"{symbol:<16}{len(twin.updates):>8}{market.depth_applied:>8}{older:>6}{live_s:>14.2f}")
        total += len(twin.updates)
        assert twin.unbroken(), symbol
        assert (market.gaps, market.crossed, market.refused, refused) == (0, 0, 0, 0), symbol
        assert (market.snapshots, market.depth_updates) == (1, len(twin.updates)), symbol
        joined = [one for one in twin.updates if one["u"] > twin.snapshot["lastUpdateId"]]
        # A market so thin that no update came behind its snapshot is never called live.
        expected = SequenceState.SEQUENCE_LIVE if joined else SequenceState.SEQUENCE_BRIDGING
        assert (market.sequence.state, market.is_valid) == (expected, bool(joined)), symbol
        if not joined:
            assert math.isnan(live_s)
        for side, levels in zip((1, -1), twin.sides(), strict=True):
            ours = market.book.levels(side, 100_000)
            assert ours == sorted(levels.items(), reverse=side > 0), symbol
    assert total == session.updates
