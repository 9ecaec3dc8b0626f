"""Bars against a slow twin, by hand-made trades, and on real captures."""

import gzip
import itertools
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.bars import INTERVALS, BarInterval, BarRecord, Bars
from tests.oracles.bars import WIDTHS, Print, SlowBars

MS = 1_000_000
SECOND = 1_000 * MS
MINUTE = 60 * SECOND
DAY = 1_440 * MINUTE
START = 19_943 * DAY  # 2024-08-08 00:00 UTC
LARGEST = 2**63 - 1
BUY, SELL = 1, -1


def feed(bars: Bars, *trades: tuple[int, int, int, int]) -> list[int]:
    """Apply (price, quantity, ns after START, side); return what each call closed. Ids count on from 1."""
    return [
        bars.apply(trade_id, price, quantity, START + after_ns, side)
        for trade_id, (price, quantity, after_ns, side) in enumerate(trades, 1)
    ]


# Construction


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tick": 0}, "tick must be at least 1 price unit, found 0"),
        ({"row_units": -1}, "row_units must be 0 or positive, found -1"),
        ({"volume_bar_quantity": -1}, "volume_bar_quantity must be 0 or positive, found -1"),
        ({"grace_ns": -1}, "grace_ns must not be negative, found -1"),
        ({"history": 0}, "history must be 1 to 1048576 bars, found 0"),
        ({"footprint_rows": 15}, "footprint_rows must be 16 to 1048576, found 15"),
    ],
)
def test_parameter_out_of_bounds_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Bars(**({"tick": 1} | changes))


def test_unknown_interval_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"interval must be one of 1m, 3m, .*, 1d, found '2m'"):
        Bars(tick=1).bars("2m")


def test_names_and_numbers_of_intervals_agree():
    assert [f"BAR_{interval.upper()}" for interval in INTERVALS] == [one.name for one in BarInterval][:8]
    assert [one.value for one in BarInterval] == list(range(9))


# One bar


def test_first_minute_carries_all_fields_and_a_gap_for_its_unseen_beginning():
    bars = Bars(tick=1)
    feed(bars, (100, 5, 1, BUY), (103, 2, 2, SELL), (98, 1, 3, BUY), (101, 4, MINUTE - 1, SELL))
    bar = BarRecord(
        START, START + MINUTE, 100, 103, 98, 101, 12, 6, 500 + 206 + 98 + 404, 4, 1, 4, True, False
    )
    assert bars.open_bar("1m") == bar
    assert bars.bars("1m") == []
    assert feed(bars, (1, 1, MINUTE, BUY)) == [1]
    assert bars.bars("1m") == [bar._replace(is_closed=True)]
    second = bars.open_bar("1m")
    assert (second.open_ns, second.open, second.has_gap) == (START + MINUTE, 1, False)


def test_aggregate_trade_counts_as_the_trades_it_merges():
    bars = Bars(tick=1)
    bars.apply(7, 100, 1, START, BUY, first_id=70, last_id=74)
    bars.apply(8, 100, 1, START, BUY, first_id=75, last_id=75)
    bar = bars.open_bar("1m")
    assert (bar.n_trades, bar.first_trade_id, bar.last_trade_id) == (6, 70, 75)


def test_sums_beyond_64_bits_stay_exact():
    bars = Bars(tick=1)
    half = LARGEST // 2
    feed(bars, *[(half, LARGEST, k, BUY) for k in range(3)])
    bar = bars.open_bar("1d")
    assert (bar.volume, bar.notional) == (3 * LARGEST, 3 * half * LARGEST)


@pytest.mark.parametrize(
    ("price", "quantity", "teaches"), [(0, 1, True), (1, 0, True), (-1, 1, True), (1, 1, False)]
)
def test_trade_that_does_not_teach_or_is_not_positive_is_skipped(price, quantity, teaches):
    bars = Bars(tick=1)
    assert bars.apply(1, price, quantity, START, BUY, teaches=teaches) == 0
    assert (bars.open_bar("1m"), bars.skipped_trades, bars.closed_until) == (None, 1, 0)


# Closing


def test_venue_time_of_any_message_closes_the_minute_after_its_grace():
    bars = Bars(tick=1, grace_ns=SECOND)
    feed(bars, (100, 1, 5, BUY))
    assert bars.advance_to(START + MINUTE + SECOND - 1) == 0
    assert bars.advance_to(START + MINUTE + SECOND) == 1
    assert bars.last_closed_mask == 1 << BarInterval.BAR_1M
    assert len(bars.bars("1m")) == 1
    assert bars.advance_to(START) == 0
    assert bars.advance_to(0) == 0


def test_trade_within_the_grace_of_an_open_minute_is_taken_in():
    bars = Bars(tick=1)
    feed(bars, (100, 1, 0, BUY))
    bars.advance_to(START + MINUTE + SECOND - 1)
    assert feed(bars, (100, 1, MINUTE - 1, BUY)) == [0]
    assert (bars.open_bar("1m").n_trades, bars.late_trades) == (2, 0)


def test_trade_of_a_closed_minute_is_counted_and_left_out_of_every_bar():
    bars = Bars(tick=1, volume_bar_quantity=100)
    feed(bars, (100, 1, 0, BUY), (100, 1, MINUTE, BUY), (999, 7, MINUTE - 1, BUY))
    assert bars.late_trades == 1
    assert [bars.open_bar(interval).high for interval in INTERVALS] == [100] * 8
    assert bars.open_volume_bar().volume == 2


def test_trade_of_a_minute_that_passed_empty_is_late():
    bars = Bars(tick=1)
    bars.advance_to(START + MINUTE + SECOND)
    feed(bars, (100, 1, MINUTE - 1, BUY), (100, 1, MINUTE, BUY))
    assert (bars.late_trades, bars.open_bar("1m").n_trades) == (1, 1)


def test_minutes_without_trades_have_no_bar():
    bars = Bars(tick=1)
    feed(bars, (100, 1, 0, BUY), (101, 1, 9 * MINUTE, BUY), (102, 1, 10 * MINUTE, BUY))
    assert [bar.open_ns - START for bar in bars.bars("1m")] == [0, 9 * MINUTE]
    assert [bar.open_ns - START for bar in bars.bars("3m")] == [0]
    assert [bar.open_ns - START for bar in bars.bars("5m")] == [0, 5 * MINUTE]


def test_utc_midnight_closes_all_intervals_at_once():
    bars = Bars(tick=1)
    assert feed(bars, (100, 1, DAY - 1, BUY), (101, 1, DAY, BUY)) == [0, 8]
    assert bars.last_closed_mask == 0xFF
    for interval in INTERVALS:
        (bar,) = bars.bars(interval)
        assert (bar.close_ns, bar.close_ns - bar.open_ns) == (START + DAY, WIDTHS[interval])


def test_longer_bar_closes_by_the_clock_when_its_last_minutes_are_empty():
    bars = Bars(tick=1)
    feed(bars, (100, 1, 0, BUY))
    assert bars.advance_to(START + 2 * MINUTE + SECOND) == 1
    assert bars.advance_to(START + 3 * MINUTE + SECOND) == 1
    assert bars.last_closed_mask == 1 << BarInterval.BAR_3M


def test_full_ring_keeps_the_newest_bars_and_counts_all():
    bars = Bars(tick=1, history=3)
    feed(bars, *[(100 + k, 1, k * MINUTE, BUY) for k in range(6)])
    assert [bar.open for bar in bars.bars("1m")] == [102, 103, 104]
    assert bars.n_closed_bars("1m") == 5


# Gaps


def test_gap_marks_the_open_bars_and_the_bars_of_the_next_trade():
    bars = Bars(tick=1)
    feed(bars, (100, 1, 0, BUY), (100, 1, 6 * MINUTE, BUY), (100, 1, 7 * MINUTE, BUY))
    bars.note_gap()
    feed(bars, (100, 1, 8 * MINUTE, BUY), (100, 1, 9 * MINUTE, BUY), (100, 1, 10 * MINUTE, BUY))
    assert [bar.has_gap for bar in bars.bars("1m")] == [True, False, True, True, False]
    assert [bar.has_gap for bar in bars.bars("3m")] == [True, True]
    assert bars.open_bar("3m").has_gap is False


def test_gap_between_bars_marks_the_open_longer_bar_and_not_the_closed_minute():
    bars = Bars(tick=1)
    feed(bars, (100, 1, 0, BUY), (100, 1, 15 * MINUTE, BUY))
    bars.advance_to(START + 16 * MINUTE + SECOND)
    bars.note_gap()
    assert bars.bars("1m")[-1].has_gap is False
    assert (bars.open_bar("15m").has_gap, bars.open_bar("1m")) == (True, None)


# Volume bars


def test_volume_bar_closes_with_the_trade_that_fills_it():
    bars = Bars(tick=1, volume_bar_quantity=10)
    assert feed(bars, (100, 4, 5, BUY), (102, 4, 6, SELL), (99, 7, 7, BUY), (50, 1, 8, SELL)) == [0, 0, 1, 0]
    (bar,) = bars.volume_bars()
    assert bar == (START + 5, START + 8, 100, 102, 99, 99, 15, 11, 400 + 408 + 693, 3, 1, 3, True, True)
    assert bars.open_volume_bar()[:6] == (START + 8, 0, 50, 50, 50, 50)


def test_no_volume_bars_without_a_quantity():
    bars = Bars(tick=1)
    feed(bars, (100, LARGEST, 0, BUY))
    assert (bars.volume_bars(), bars.open_volume_bar()) == ([], None)


# Footprint


def test_footprint_holds_both_sides_of_the_open_and_of_the_last_closed_minute():
    bars = Bars(tick=10)
    feed(bars, (1_000_000, 5, 0, BUY), (1_000_099, 2, 1, SELL), (999_999, 3, 2, SELL), (1_000_300, 9, 3, 0))
    now = [(999_900, 0, 3), (1_000_000, 5, 2)]
    assert (bars.footprint_row_units, bars.footprint(closed=False), bars.footprint()) == (100, now, [])
    feed(bars, (1_000_200, 1, MINUTE, BUY))
    assert (bars.footprint(closed=False), bars.footprint()) == ([(1_000_200, 1, 0)], now)
    feed(bars, (1_000_000, 4, 2 * MINUTE, SELL))
    assert (bars.footprint(closed=False), bars.footprint()) == ([(1_000_000, 0, 4)], [(1_000_200, 1, 0)])


def test_footprint_is_centred_anew_each_minute_and_counts_what_lies_outside():
    bars = Bars(tick=1, row_units=100, footprint_rows=16)
    feed(bars, (1_000_000, 1, 0, BUY), (1_000_799, 1, 0, BUY), (1_000_800, 1, 0, BUY), (999_199, 1, 0, BUY))
    assert ([row[0] for row in bars.footprint(closed=False)], bars.outside_trades) == (
        [1_000_000, 1_000_700],
        2,
    )
    assert bars.open_bar("1m").n_trades == 4
    feed(bars, (2_000_000, 1, MINUTE, BUY))
    assert bars.footprint(closed=False) == [(2_000_000, 1, 0)]


def test_reset_forgets_bars_and_row_height_and_marks_the_next_bars():
    bars = Bars(tick=1, volume_bar_quantity=2)
    feed(bars, *[(1_000_000, 1, k * MINUTE, BUY) for k in range(5)])
    bars.clear()
    assert [bars.bars(interval) for interval in INTERVALS] == [[]] * 8
    assert (bars.volume_bars(), bars.footprint(), bars.footprint_row_units) == ([], [], 0)
    feed(bars, (2_000_000, 1, 0, BUY))
    assert (bars.open_bar("1d").has_gap, bars.footprint_row_units, bars.late_trades) == (True, 200, 0)


# Twin

STEP = st.one_of(
    st.tuples(st.just("trade"), st.integers(-40, 40), st.integers(0, 30) | st.just(10**17)),
    st.tuples(st.just("trade"), st.integers(-40, 40), st.integers(1, 30)),
    st.tuples(st.just("wait"), st.integers(-90, 400), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([60, 600, 7_200, 80_000]), st.just(0)),
    st.tuples(st.just("tell"), st.integers(-90, 400), st.just(0)),
    st.tuples(st.just("gap"), st.just(0), st.just(0)),
    st.tuples(st.just("reset"), st.just(0), st.just(0)),
)


def assert_equal(fast: Bars, slow: SlowBars) -> None:
    for interval in INTERVALS:
        assert fast.bars(interval) == slow.bars(interval)
        assert fast.open_bar(interval) == slow.open_bar(interval)
    if slow.volume_bar_quantity:
        rows = slow.all_volume_bars()
        assert fast.volume_bars() == [row for row in rows if row[-1]]
        assert fast.open_volume_bar() == next((row for row in rows if not row[-1]), None)
    assert fast.footprint(closed=False) == slow.footprint(closed=False)
    assert fast.footprint() == slow.footprint()
    assert (fast.late_trades, fast.skipped_trades) == (slow.late_trades, slow.skipped_trades)
    assert fast.closed_until == slow.closed_until


@pytest.mark.slow
@given(
    steps=st.lists(STEP, max_size=60),
    volume_bar_quantity=st.sampled_from([0, 1, 40]),
    grace_s=st.sampled_from([0, 1, 45]),
    side=st.integers(0, 2**60),
)
def test_bars_equal_their_twin_after_any_steps(steps, volume_bar_quantity, grace_s, side):
    shape = {"tick": 3, "volume_bar_quantity": volume_bar_quantity, "grace_ns": grace_s * SECOND}
    fast, slow = Bars(**shape), SlowBars(**shape)
    now = START + 23 * 60 * MINUTE
    for n, (kind, value, quantity) in enumerate(steps, 1):
        if kind == "trade":
            aggressor = (BUY, SELL, 0, BUY)[side >> (2 * (n % 30)) & 3]
            one = Print(n, 1_000_000 + 61 * value, quantity, now, aggressor, 10 * n, 10 * n + value % 4)
            teaches = value != 13
            fast.apply(n, one.price, quantity, now, aggressor, one.first_id, one.last_id, teaches)
            slow.apply(one, teaches)
        elif kind == "wait":
            now += value * SECOND
        elif kind == "tell":
            fast.advance_to(now + value * SECOND)
            slow.advance_to(now + value * SECOND)
        elif kind == "gap":
            fast.note_gap()
            slow.note_gap()
        else:
            fast.clear()
            slow.clear()
        if n % 7 == 0:
            assert_equal(fast, slow)
    assert_equal(fast, slow)


@given(
    waits=st.lists(st.integers(0, 200), min_size=2, max_size=60),
    cut=st.integers(1, 59),
)
def test_closed_bars_never_depend_on_later_trades(waits, cut):
    def run(part):
        bars, now = Bars(tick=1), START
        for n, wait_s in enumerate(part):
            now += wait_s * SECOND
            bars.apply(n, 1_000 + n * n % 97, 1 + n % 5, now, BUY)
        return [bars.bars(interval) for interval in INTERVALS]

    for early, late in zip(run(waits[:cut]), run(waits), strict=True):
        assert late[: len(early)] == early


# Real trades


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize("market", ["btcusdt", "ethusdt"])
def test_bars_of_real_trades_equal_their_twin(captures, market):
    shape = {"tick": 1, "volume_bar_quantity": 5 * 10**8}
    fast, slow = Bars(**shape), SlowBars(**shape)
    n_trades = 0
    for day in ("20240808", "20240809"):
        with gzip.open(captures / "binance_spot_20240808" / f"spot_{market}_{day}.gz") as lines:
            for line in itertools.islice(lines, 41_000):
                if b'"e":"' not in line:
                    continue
                data = orjson.loads(line.partition(b" ")[2])["data"]
                if data["e"] == "trade":
                    n_trades += 1
                    aggressor = SELL if data["m"] else BUY
                    one = Print(
                        data["t"],
                        int(Decimal(data["p"]) * 100),
                        int(Decimal(data["q"]) * 10**8),
                        data["T"] * MS,
                        aggressor,
                        data["t"],
                        data["t"],
                    )
                    fast.apply(one.trade_id, one.price, one.quantity, one.venue_ns, aggressor)
                    slow.apply(one)
                fast.advance_to(data["E"] * MS)
                slow.advance_to(data["E"] * MS)
    assert n_trades > 10_000
    assert fast.late_trades == 0
    assert len(fast.bars("1m")) >= 8
    assert len(fast.bars("1d")) == 1
    assert_newest_equal(fast, slow)


def assert_newest_equal(fast: Bars, slow: SlowBars) -> None:
    """Compare everything; of the volume bars as many as the ring keeps."""
    rows = [row for row in slow.all_volume_bars() if row[-1]]
    assert len(rows) > 50
    assert fast.volume_bars() == rows[-256:]
    for interval in INTERVALS:
        assert fast.bars(interval) == slow.bars(interval)
        assert fast.open_bar(interval) == slow.open_bar(interval)
    for closed in (False, True):
        assert fast.footprint(closed) == slow.footprint(closed)


@pytest.mark.captures
@pytest.mark.parametrize(("venue", "n_equal"), [("BINANCE_FUTURES", 15), ("BINANCE", 1), ("BINANCE_US", 1)])
def test_bar_equals_the_kline_of_the_same_first_and_last_trade(captures, venue, n_equal):
    """A kline names its first and last trade: where all between were seen, our bar must equal it.

    These captures last 30 s, so no kline of a closed minute is covered; those of open minutes are.
    """
    trades: dict[str, list[dict]] = {}
    klines: list[dict] = []
    with gzip.open(captures / "cryptofeed_binance_2021" / f"{venue}.ws.1.0.gz") as lines:
        for line in lines:
            body = line.partition(b": ")[2]
            if b'"e":"aggTrade"' in body:
                data = orjson.loads(body)["data"]
                trades.setdefault(data["s"], []).append(data)
            elif b'"e":"kline"' in body:
                klines.append(orjson.loads(body)["data"]["k"])

    def units(text: str) -> int:
        return int(Decimal(text) * 10**8)

    compared = 0
    for kline in klines:
        seen = [
            one for one in trades.get(kline["s"], []) if kline["f"] <= one["f"] and one["l"] <= kline["L"]
        ]
        if not seen or seen[0]["f"] != kline["f"] or seen[-1]["l"] != kline["L"]:
            continue
        bars = Bars(tick=1)
        for one in seen:
            side = SELL if one["m"] else BUY
            bars.apply(one["a"], units(one["p"]), units(one["q"]), one["T"] * MS, side, one["f"], one["l"])
        ours = bars.open_bar("1m")
        assert ours[:8] == (
            kline["t"] * MS,
            (kline["T"] + 1) * MS,
            *(units(kline[key]) for key in "ohlcvV"),
        )
        assert (ours.n_trades, ours.first_trade_id, ours.last_trade_id) == (
            kline["n"],
            kline["f"],
            kline["L"],
        )
        assert ours.notional == Decimal(kline["q"]) * 10**16
        compared += 1
    assert compared == n_equal
