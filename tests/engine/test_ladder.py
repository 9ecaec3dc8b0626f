"""The ladder: what rests, what was added and pulled, and which prints are large."""

from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from engine.ladder import BIG_SHARE, CREDIT_NS, LEVELS, RECENT_NS, Ladder, LadderRow
from engine.records import FlowRecord, Record
from engine.replay.store import Line
from engine.signals import MarketKind
from tests.engine.order_values import instrument
from tests.engine.played_markets import CAPTURED, PlayedMarkets, recorded
from tests.engine.recordings import START_NS, Levels, depth, snapshot, trade

S = 1_000_000_000
ONE = instrument(kind=MarketKind.SPOT, price_digits=0, quantity_digits=0, tick=1)


class Written:
    """A market at 100,000 / 100,001 in whole units, changed step by step; one step is 100 ms."""

    def __init__(self, *steps: Sequence[dict[str, object]], n_levels: int = 30) -> None:
        bids = [[str(100_000 - i), "10"] for i in range(n_levels)]
        asks = [[str(100_001 + i), "10"] for i in range(n_levels)]
        start = [depth("BTCUSDT", 1, 1, [], []), snapshot(1, bids, asks), depth("BTCUSDT", 2, 2, [], [])]
        lines = []
        for i, messages in enumerate([start, *steps]):
            at_ns = START_NS + i * 100_000_000
            for message in messages:
                data = message.get("data")
                if isinstance(data, dict):
                    data |= {"E": at_ns // 1_000_000} | ({"T": at_ns // 1_000_000} if "T" in data else {})
                lines.append(Line(at_ns, orjson.dumps(message), ""))
        self.played = PlayedMarkets([(ONE, lines)])
        self.ladder = Ladder(self.played.lanes[0])
        self.now_ns = START_NS
        self._id = 2

    def step(self, seconds: float = 0.1) -> None:
        self.played.play_until(self.now_ns)
        self.ladder.sample(self.now_ns)
        self.now_ns += round(seconds * S)

    def row(self, price: int) -> LadderRow:
        state = self.ladder.picture(self.now_ns, 40)
        return next(row for row in state.rows if row.price == price)


def changed(number: int, bids: Levels, asks: Levels) -> list[dict[str, object]]:
    return [depth("BTCUSDT", number, number, bids, asks)]


def test_rows_stand_around_the_touch_from_the_highest_price_down() -> None:
    one = Written()
    one.step()
    state = one.ladder.picture(one.now_ns, 11)
    assert [row.price for row in state.rows] == list(range(100_005, 99_994, -1))
    assert {row.price: row.side for row in state.rows if row.size} == {
        **dict.fromkeys(range(100_001, 100_006), -1),
        **dict.fromkeys(range(99_995, 100_001), 1),
    }
    assert (state.state, state.best_bid, state.best_ask, state.row_units) == ("live", 100_000, 100_001, 1)
    assert all(row.size == 10 for row in state.rows)


def test_zoom_makes_rows_higher_by_steps_of_1_2_5_and_adds_their_sizes() -> None:
    one = Written()
    one.step()
    heights = []
    for zoom in (-1, 0, 1, 2, 3):
        one.ladder.zoom = zoom
        heights.append(one.ladder.picture(one.now_ns, 11).row_units)
    assert heights == [1, 1, 2, 5, 10]
    one.ladder.zoom = 2
    sizes = {row.price: row.size for row in one.ladder.picture(one.now_ns, 6).rows}
    # The row from 100,000 on holds bid and ask: it shows the bids.
    assert sizes[99_995] == 50
    assert sizes[100_000] == 10
    assert sizes[100_005] == 50


def test_added_and_pulled_are_told_since_the_last_picture_and_over_five_seconds() -> None:
    one = Written(changed(3, [["99998", "25"]], [["100003", "4"]]), changed(4, [["99998", "5"]], []))
    for _ in range(2):
        one.step()
    bid = one.row(99_998)
    assert (bid.added, bid.pulled, bid.added_5s, bid.pulled_5s, bid.size) == (15, 0, 15, 0, 25)
    one.step()
    bid = one.row(99_998)
    assert (bid.added, bid.pulled, bid.added_5s, bid.pulled_5s, bid.size) == (0, 20, 15, 20, 5)
    ask = one.row(100_003)
    assert (ask.added, ask.pulled, ask.pulled_5s) == (0, 0, 6)
    one.now_ns += RECENT_NS
    one.step()
    bid = one.row(99_998)
    assert (bid.added_5s, bid.pulled_5s) == (0, 0)


def test_what_was_traded_is_not_pulled_even_when_the_book_follows_later() -> None:
    one = Written(
        [trade("BTCUSDT", 1, "100001", "6")],
        changed(3, [], [["100001", "3"]]),
        changed(4, [], [["100001", "1"]]),
    )
    for _ in range(4):
        one.step()
    row = one.row(100_001)
    assert (row.size, row.added_5s, row.pulled_5s) == (1, 0, 3)


def test_trade_explains_only_its_own_side_and_price_and_only_for_a_second() -> None:
    one = Written(
        [trade("BTCUSDT", 1, "100000", "6", is_buyer_maker=True)],
        changed(3, [], [["100001", "4"]]),
        changed(4, [["99999", "4"]], []),
    )
    for _ in range(4):
        one.step()
    assert one.row(100_001).pulled_5s == 6
    assert one.row(99_999).pulled_5s == 6
    late = Written([trade("BTCUSDT", 1, "100001", "6")], *[[]] * 11, changed(3, [], [["100001", "4"]]))
    assert CREDIT_NS < 12 * 100_000_000
    for _ in range(14):
        late.step()
    assert late.row(100_001).pulled_5s == 6


def test_book_that_breaks_and_comes_back_shows_no_change_of_its_own() -> None:
    gap = changed(9, [], [])
    bids, asks = [["99998", "99"]], [["100003", "99"]]
    again = [snapshot(20, bids, asks), depth("BTCUSDT", 21, 21, [], [])]
    one = Written(gap, again)
    for _ in range(2):
        one.step()
    assert one.ladder.picture(one.now_ns, 11).state == "gap"
    one.step()
    state = one.ladder.picture(one.now_ns, 11)
    assert state.state == "live"
    assert [row.size for row in state.rows if row.price == 99_998] == [99]
    assert all((row.added_5s, row.pulled_5s) == (0, 0) for row in state.rows)


def test_level_that_is_no_longer_looked_at_is_not_pulled_and_one_that_is_again_is_not_added() -> None:
    # The ask in the way was taken away before: the new bid pushes the last bid out of sight.
    one = Written(
        changed(3, [], [["100001", "0"]]),
        changed(4, [["100001", "7"]], []),
        changed(5, [["100001", "0"]], []),
        n_levels=LEVELS + 50,
    )
    for _ in range(4):
        one.step()
    found = {(one.side, one.price, one.added, one.pulled) for one in one.ladder._changes}
    assert found == {(-1, 100_001, 0, 10), (1, 100_001, 7, 0), (1, 100_001, 0, 7)}


def test_book_that_becomes_whole_between_two_samples_was_not_added() -> None:
    one = Written()
    market = one.played.lanes[0].market
    lines = [payload for _, _, payload in one.played._lines]
    market.on_frame(lines[0], START_NS)
    market.on_snapshot(lines[1], START_NS + 1)
    one.ladder.sample(START_NS + 1)
    assert not market.is_valid
    market.on_frame(lines[2], START_NS + 2)
    one.ladder.sample(START_NS + 2)
    assert market.is_valid
    assert all(row.added_5s == 0 for row in one.ladder.picture(START_NS + 2, 20).rows)


def test_empty_market_has_no_rows() -> None:
    one = Written()
    state = one.ladder.picture(one.now_ns, 11)
    assert (state.rows, state.prints, state.state, state.profile) == ((), (), "waiting", "")


@pytest.mark.captures
@pytest.mark.slow
def test_prints_of_a_capture_are_its_large_sweeps_with_every_whale_once(captures: Path) -> None:
    path, market = CAPTURED["usdm_eth"]
    ladder: Ladder | None = None
    whales: list[FlowRecord] = []

    def watch(record: Record) -> None:
        assert ladder is not None
        ladder.watch(record)
        if isinstance(record, FlowRecord) and record.kind == "whale_close":
            whales.append(record)

    one, lines = recorded([captures / path], market, 200)
    played = PlayedMarkets([(one, lines)], watch=watch)
    ladder = Ladder(played.lanes[0])
    seen = set()
    now_ns = played.clock.now_ns()
    while now_ns < played.last_ns:
        now_ns += 50_000_000
        played.play_until(now_ns)
        ladder.sample(now_ns)
        seen.update(ladder.picture(now_ns, 20).prints)
    shown = [found for found in seen if found.is_whale]
    assert sorted(found.notional for found in shown) == sorted(one.notional or 0 for one in whales)
    assert len(shown) > 3
    # No part of a whale stands beside it as a print of its own.
    sweeps = {(one.first_price, one.last_price, one.n_trades) for one in whales}
    assert len(sweeps) == len(shown)
    large = [found for found in seen if not found.is_whale]
    told = {(found.side, found.price, found.n_trades, found.quantity) for found in shown}
    assert not [one for one in large if (one.side, one.price, one.n_trades, one.quantity) in told]
    assert len(large) > 20
    threshold = played.lanes[0].market.whale.threshold_quote
    assert all(found.notional > BIG_SHARE * threshold * 0.3 for found in large)


@pytest.mark.captures
@pytest.mark.slow
def test_sizes_of_a_capture_are_those_of_the_book(captures: Path) -> None:
    path, market = CAPTURED["spot_btc"]
    played = PlayedMarkets([recorded([captures / path], market, 20)])
    ladder = Ladder(played.lanes[0])
    played.play_until(played.last_ns)
    ladder.sample(played.last_ns)
    state = ladder.picture(played.last_ns, 20)
    book = played.lanes[0].market.book
    bids, asks = dict(book.levels(1, 5_000)), dict(book.levels(-1, 5_000))
    assert state.row_units > played.lanes[0].instrument.tick
    for row in state.rows:
        side = bids if row.side == 1 else asks
        expected = sum(
            size for price, size in side.items() if row.price <= price < row.price + state.row_units
        )
        assert row.size == (expected if row.side else 0)
    total = sum(row.volume for row in state.rows)
    assert total > 0


def test_liquidation_is_a_print_of_its_own_whatever_its_size() -> None:
    order = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "X": "FILLED", "T": 1_700_000_000_000}
    sizes = {"q": "3", "p": "99000.5", "ap": "99000.25", "l": "1", "z": "2"}
    told = {
        "stream": "btcusdt@forceOrder",
        "data": {"e": "forceOrder", "E": 1_700_000_000_000, "o": order | sizes},
    }
    one = Written([], [told], [])
    one.step()
    one.step()
    assert one.ladder.picture(one.now_ns, 5).prints == ()
    one.step()
    one.step()
    (found,) = one.ladder.picture(one.now_ns, 5).prints
    assert (found.side, found.price, found.quantity, found.is_liquidation) == (-1, 99_000, 2, True)
    assert found.notional == pytest.approx(2 * 99_000.25)
    assert not found.is_whale
