"""Missing trades that come later: a market that got them back agrees with one that lost none."""

import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from native.answers import read_past_trades
from native.market import Market
from tests.native.venue import MS, SECOND, START_NS, Venue, text
from tests.oracles.bars import WIDTHS
from tests.oracles.sessions import USDM_BTC, USDM_ETH, Session, feed, market_for, read_frames

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# The first midnight behind the start, and a morning.
MIDNIGHT = (START_NS // DAY + 1) * DAY
MORNING = MIDNIGHT + 9 * HOUR

Row = dict[str, object]
# (side, price, quantity, venue ns)
Trade = tuple[int, int, int, int]


def row_of(number: int, trade: Trade, *, is_futures: bool = False) -> Row:
    """Make the row of a trades or historicalTrades answer."""
    side, price, quantity, when = trade
    row: Row = {"id": number, "price": text(price, 1), "qty": text(quantity, 3), "quoteQty": "1.0"}
    row |= {"time": when // MS, "isBuyerMaker": side < 0}
    return row if is_futures else row | {"isBestMatch": True}


def aggregate_row(number: int, first: int, last: int, trade: Trade) -> Row:
    """Make the row of an aggTrades answer."""
    side, price, quantity, when = trade
    row: Row = {"a": number, "p": text(price, 1), "q": text(quantity, 3), "f": first, "l": last}
    return row | {"T": when // MS, "m": side < 0, "M": True, "nq": "0.001"}


class Feed(Venue):
    """Tells trades with ids and venue times of their own; the receive time is 20 ms later."""

    is_aggregate = False

    def tell(self, number: int, trade: Trade) -> int:
        side, price, quantity, when = trade
        self.wait(max(0, when + 20 * MS - self.now_ns))
        data = {"e": "trade", "E": when // MS, "s": self.symbol, "p": text(price, 1), "q": text(quantity, 3)}
        data |= {"T": when // MS, "m": side < 0}
        if self.is_aggregate:
            # Each stands for three trades.
            data |= {"e": "aggTrade", "a": number, "f": 3 * number, "l": 3 * number + 2}
            return self.say(data, "aggTrade")
        return self.say(data | {"t": number}, "trade")

    def answer(self, rows: Sequence[Row]) -> int:
        return self.market.on_trades(orjson.dumps(list(rows)), self.now_ns)


class AggregateFeed(Feed):
    is_aggregate = True


def sums_of(market: Market) -> dict[str, object]:
    """Return all that the order of arrival does not change."""
    areas, bars = market.areas, market.bars
    rolling, session = areas.rolling.value_area(market.now_ns), areas.session.value_area(market.now_ns)
    return {
        "cvd": (market.cvd, market.flow.session_cvd),
        "rolling": (areas.rolling.snapshot(), rolling and rolling[1:5], areas.rolling.n_trades),
        "session": (areas.session.snapshot(), session, areas.session.n_trades),
        "bars": {interval: bars.bars(interval) for interval in WIDTHS},
        "open": {interval: bars.open_bar(interval) for interval in WIDTHS},
        "footprints": (bars.footprint(True), bars.footprint(False)),
    }


STEPS = st.sampled_from([0, 0, 1, 50, 400, 3_000, 40_000, 61_000, 200_000, 4_000_000])
TRADES = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(9_900, 10_100), st.integers(1, 50), STEPS),
    min_size=3,
    max_size=60,
)


def placed(drawn: Sequence[tuple[int, int, int, int]], start_ns: int) -> list[Trade]:
    trades, when = [], start_ns
    for side, price, quantity, step_ms in drawn:
        when += step_ms * MS
        trades.append((side, price, quantity, when))
    return trades


@settings(max_examples=150)
@given(drawn=TRADES, seed=st.integers(0, 2**32), is_aggregate=st.booleans())
@example(
    drawn=[(1, 10_000, 1, 0), (1, 10_010, 2, 61_000), (-1, 9_990, 3, 0), (1, 10_020, 4, 61_000)],
    seed=1,
    is_aggregate=False,
)
def test_lost_trades_when_they_come_back_in_any_order_then_all_sums_agree(
    drawn: list[tuple[int, int, int, int]], seed: int, is_aggregate: bool
) -> None:
    chance = random.Random(seed)
    kind = AggregateFeed if is_aggregate else Feed
    windows = {"profile_window_ns": 5 * MINUTE, "profile_ready_ns": 0, "session_ready_ns": 0}
    whole, lossy = kind(**windows), kind(**windows)
    trades = placed(drawn, MORNING)
    lost: list[int] = []
    is_lost = False
    rows = [
        aggregate_row(n, 3 * n, 3 * n + 2, trade) if is_aggregate else row_of(n, trade)
        for n, trade in enumerate(trades)
    ]
    for number, trade in enumerate(trades):
        whole.tell(number, trade)
        # The first and the last are seen: before the first nothing is known to be missing.
        is_lost = 0 < number < len(trades) - 1 and chance.random() < (0.7 if is_lost else 0.25)
        if is_lost:
            lost.append(number)
            continue
        lossy.tell(number, trade)
        if lost and chance.random() < 0.2:
            known = [n for n in lost if n < number]
            piece = chance.sample(known, chance.randint(0, len(known)))
            assert lossy.answer([rows[n] for n in piece]) == len(piece)
            lost = [n for n in lost if n not in piece]
    missing = [n for first, last, *_ in lossy.market.trade_gaps() for n in range(first, last + 1)]
    assert missing == lost
    sweeps = lossy.market.flow.n_sweeps, lossy.market.flow.running, lossy.market.tape.last(64)
    while lost:
        piece = chance.sample(lost, chance.randint(1, len(lost)))
        lost = [n for n in lost if n not in piece]
        # A whole page, with rows that are not missing, some of them twice.
        page = piece + chance.sample(range(len(rows)), min(3, len(rows)))
        page = [n for n in page if n in piece or n not in lost]
        chance.shuffle(page)
        assert lossy.answer([rows[n] for n in page]) == len(piece)
        assert lossy.answer([rows[n] for n in page]) == 0
    assert lossy.market.trade_gaps() == []
    assert (lossy.market.flow.n_sweeps, lossy.market.flow.running, lossy.market.tape.last(64)) == sweeps
    assert lossy.market.missing_trades.left == 0
    assert sums_of(lossy.market) == sums_of(whole.market)
    # And from here on they stay equal.
    further = (1, 10_001, 1, trades[-1][3] + 90 * SECOND)
    for feed_ in (whole, lossy):
        feed_.tell(len(trades), further)
        feed_.wait(2 * SECOND)
    assert sums_of(lossy.market) == sums_of(whole.market)
    assert not lossy.market.take_events().size or whole.market.take_events().size


def simple(n: int, *, step: int = 10 * SECOND, start: int = MORNING) -> list[Trade]:
    return [(1 if k % 2 else -1, 10_000 + k, 1 + k, start + k * step) for k in range(n)]


def test_gap_when_seen_then_its_ids_and_the_times_around_it_are_told() -> None:
    venue = Feed()
    trades = simple(6)
    for number in (0, 1, 4, 5):
        venue.tell(number, trades[number])
    assert venue.market.trade_gaps() == [(2, 3, trades[1][3], trades[4][3])]
    assert venue.answer([row_of(3, trades[3], is_futures=True)]) == 1
    assert venue.market.trade_gaps() == [(2, 2, trades[1][3], trades[3][3])]
    assert (venue.market.missing_trades.missing_ids, len(venue.market.missing_trades)) == (1, 1)


def test_gap_when_a_row_of_its_middle_comes_then_it_splits() -> None:
    venue = Feed()
    trades = simple(7)
    for number in (0, 6):
        venue.tell(number, trades[number])
    venue.answer([row_of(3, trades[3])])
    when = [trade[3] for trade in trades]
    assert venue.market.trade_gaps() == [(1, 2, when[0], when[3]), (4, 5, when[3], when[6])]


def test_bar_when_only_some_of_its_trades_came_back_then_it_keeps_its_mark() -> None:
    venue = Feed()
    trades = simple(40)
    lost = range(10, 26)
    for number, trade in enumerate(trades):
        if number not in lost:
            venue.tell(number, trade)
    marks = [bar.has_gap for bar in venue.market.bars.bars("1m")]
    # Minutes of six trades: 0 is marked for its beginning, 1 to 4 lack trades; 2 and 3 have none at all.
    assert marks == [True, True, True, False]
    assert [bar.n_trades for bar in venue.market.bars.bars("1m")] == [6, 4, 4, 6]
    venue.answer([row_of(n, trades[n]) for n in range(10, 20)])
    bars = venue.market.bars.bars("1m")
    assert [bar.has_gap for bar in bars] == [True, False, False, True, True, False]
    venue.answer([row_of(n, trades[n]) for n in (21, 22, 23, 25)])
    assert [bar.has_gap for bar in venue.market.bars.bars("1m")] == [True, False, False, True, True, False]
    venue.answer([row_of(24, trades[24])])
    assert [bar.has_gap for bar in venue.market.bars.bars("1m")] == [True, False, False, True, False, False]
    venue.answer([row_of(20, trades[20])])
    bars = venue.market.bars.bars("1m")
    assert [bar.has_gap for bar in bars] == [True] + [False] * 5
    assert [bar.n_trades for bar in bars] == [6] * 6


def test_minute_that_closed_before_its_gap_was_seen_then_it_is_marked_when_it_is() -> None:
    venue = Feed()
    venue.open()
    trades = simple(30)
    for number in range(8):
        venue.tell(number, trades[number])
    venue.wait(3 * MINUTE)
    venue.depth()
    assert [bar.has_gap for bar in venue.market.bars.bars("1m")] == [True, False]
    venue.tell(29, trades[29])
    assert [bar.has_gap for bar in venue.market.bars.bars("1m")] == [True, True]


def test_gaps_when_given_up_then_their_bars_stay_marked() -> None:
    venue = Feed()
    trades = simple(30)
    for number, trade in enumerate(trades):
        if number not in (8, 15):
            venue.tell(number, trade)
    assert venue.market.close_gaps() == 2
    assert (venue.market.trade_gaps(), venue.market.missing_trades.given_up) == ([], 2)
    assert venue.answer([row_of(8, trades[8])]) == 0
    assert [bar.has_gap for bar in venue.market.bars.bars("1m")] == [True, True, True, False]
    assert venue.market.close_gaps() == 0


def test_gaps_when_too_many_then_the_oldest_is_forgotten_and_its_bar_stays_marked() -> None:
    venue = Feed()
    trades = simple(2_060, step=SECOND)
    for number in range(0, 2_060, 2):
        venue.tell(number, trades[number])
    gaps = venue.market.trade_gaps()
    assert (len(gaps), venue.market.trade_gaps_forgotten) == (1_024, 5)
    assert gaps[0][0] == 11
    missing = [row_of(n, trades[n]) for n in range(1, 2_060, 2)]
    assert venue.answer(missing) == 1_024
    bars = venue.market.bars.bars("1m")
    assert bars[0].has_gap
    assert not any(bar.has_gap for bar in bars[1:])


def test_midnight_between_when_trades_come_back_then_the_sums_that_still_exist_take_them() -> None:
    venue = Feed()
    trades = simple(20, step=6 * SECOND, start=MIDNIGHT - 61 * SECOND)
    lost = (3, 15)
    for number, trade in enumerate(trades):
        if number not in lost:
            venue.tell(number, trade)
    market = venue.market
    session, rolling, cvd, today = (
        sum(market.areas.session.snapshot()[1]),
        sum(market.areas.rolling.snapshot()[1]),
        market.cvd,
        market.flow.session_cvd,
    )
    assert venue.answer([row_of(n, trades[n]) for n in lost]) == 2
    assert market.missing_trades.left == 1
    assert sum(market.areas.session.snapshot()[1]) == session + trades[15][2]
    assert sum(market.areas.rolling.snapshot()[1]) == rolling + trades[3][2] + trades[15][2]
    assert market.cvd == cvd + trades[3][2] + trades[15][2]
    assert market.flow.session_cvd == today + trades[15][2]
    assert [bar.n_trades for bar in market.bars.bars("1d")] == [11]


def test_feed_of_trades_when_an_aggregate_stands_for_missing_ones_then_it_fills_them() -> None:
    venue = Feed()
    trades = simple(12)
    for number in (0, 1, 6, 7, 8, 11):
        venue.tell(number, trades[number])
    one = (1, 10_003, 30, trades[3][3])
    assert venue.answer([aggregate_row(900, 2, 5, one)]) == 1
    # The other gap is 9 and 10; of these rows each reaches out of it.
    assert venue.answer([aggregate_row(901, 8, 9, one), aggregate_row(902, 10, 11, one)]) == 0
    assert venue.market.trade_gaps() == [(9, 10, trades[8][3], trades[11][3])]
    assert venue.market.bars.bars("1m")[0].n_trades == 6


def test_feed_of_aggregates_when_single_trades_come_then_they_fill_nothing() -> None:
    venue = AggregateFeed()
    trades = simple(4)
    for number in (0, 3):
        venue.tell(number, trades[number])
    assert venue.answer([row_of(1, trades[1])]) == 0
    assert len(venue.market.trade_gaps()) == 1


def test_row_whose_time_is_not_of_its_place_then_it_is_not_taken() -> None:
    venue = Feed()
    trades = simple(4)
    for number in (0, 3):
        venue.tell(number, trades[number])
    side, price, quantity, when = trades[1]
    for wrong in (when + DAY, when - DAY):
        assert venue.answer([row_of(1, (side, price, quantity, wrong))]) == 0
    assert (venue.market.missing_trades.misplaced, venue.market.cvd) == (2, -1 + 4)


def test_print_of_nothing_when_it_comes_back_then_it_only_closes_the_gap() -> None:
    venue = Feed()
    trades = simple(3)
    for number in (0, 2):
        venue.tell(number, trades[number])
    cvd = venue.market.cvd
    assert venue.answer([row_of(1, (1, 0, 0, trades[1][3]))]) == 1
    assert (venue.market.cvd, venue.market.trade_gaps()) == (cvd, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"id":1}]',
        b'[{"id":1,"price":1.5,"qty":"1","time":1,"isBuyerMaker":true}]',
        b'[{"id":1,"price":"1.5","qty":"1","time":1,"isBuyerMaker":1}]',
        b'[{"id":-1,"price":"1.5","qty":"1","time":1,"isBuyerMaker":true}]',
        b'[{"id":1,"price":"1.55","qty":"1","time":1,"isBuyerMaker":true}]',
        b'[{"a":1,"p":"1","q":"1","f":5,"l":4,"T":1,"m":true}]',
        b'[{"a":1,"p":"1","q":"1","f":5,"T":1,"m":true}]',
    ],
)
def test_answer_that_is_none_then_it_is_refused_whole(body: bytes) -> None:
    venue = Feed()
    trades = simple(4)
    for number in (0, 3):
        venue.tell(number, trades[number])
    before, gaps = sums_of(venue.market), venue.market.trade_gaps()
    good = orjson.dumps([row_of(1, trades[1])])
    bodies = (body, good[:-1] + b"," + body[1:] if body.startswith(b"[") else body)
    for number, one in enumerate(bodies, 1):
        assert venue.market.on_trades(one, venue.now_ns) == 0
        assert venue.market.missing_trades.refused == number
        with pytest.raises(ValueError, match="expected"):
            read_past_trades(one, 1, 3)
    assert (sums_of(venue.market), venue.market.trade_gaps()) == (before, gaps)
    assert venue.answer([]) == 0


@pytest.mark.slow
@pytest.mark.captures
@pytest.mark.parametrize("session", [USDM_BTC, USDM_ETH], ids=str)
def test_recording_that_lost_trades_when_they_come_back_then_all_sums_agree(
    captures: Path, session: Session
) -> None:
    chance = random.Random(7)
    whole, lossy = market_for(session), market_for(session)
    waiting: list[Row] = []
    n_lost = n_run = 0
    last: Row | None = None
    for frame in read_frames(captures, session):
        for market in (whole, lossy):
            while market.advance(frame.recv_ns):
                pass
        feed(whole, frame)
        data = orjson.loads(frame.payload).get("data", {})
        if data.get("e") == "trade" and last is not None and data.get("X", "MARKET") == "MARKET":
            n_run = n_run - 1 if n_run else chance.randint(1, 60) if chance.random() < 0.01 else 0
            if n_run:
                row = {"id": data["t"], "price": data["p"], "qty": data["q"], "time": data["T"]}
                waiting.append(row | {"isBuyerMaker": data["m"]})
                n_lost += 1
                continue
        if data.get("e") == "trade":
            last, n_run = data, 0
        feed(lossy, frame)
        if waiting and chance.random() < 0.001:
            chance.shuffle(waiting)
            gone = {n for first, end, *_ in lossy.trade_gaps() for n in range(first, end + 1)}
            taken = [row for row in waiting[:50] if row["id"] in gone]
            assert lossy.on_trades(orjson.dumps(waiting[:50]), frame.recv_ns) == len(taken)
            waiting = [row for row in waiting if row not in taken]
    assert n_lost > 1_000
    chance.shuffle(waiting)
    while waiting:
        lossy.on_trades(orjson.dumps(waiting[:37]), lossy.now_ns)
        waiting = waiting[37:]
    # A few at the very end may never have been missed.
    assert whole.last_trade_id == lossy.last_trade_id
    assert lossy.trade_gaps() == []
    found, expected = sums_of(lossy), sums_of(whole)
    for name, value in expected.items():
        assert found[name] == value, name
