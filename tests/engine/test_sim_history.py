"""The history before the crowd: candles are the sums of the trades, which continue into the crowd's."""

import itertools
import math
from decimal import Decimal

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.sim.crowd import NS, Crowd
from engine.sim.history import FULL_MINUTES, MINUTE_NS, History
from engine.sim.markets import CrowdSpec, Market, btcusdt
from engine.sim.tape import MS, START_NS
from native.flow import Flow
from native.matching import MatchKind

LAST_ID = 3_735_683_258
BOTH = pytest.mark.parametrize("market", ["spot", "usdm"])
Row = dict[str, int | str | bool]
Sweep = tuple[int, ...]


def history(market: Market, seed: int = 1, end_ns: int = START_NS) -> History:
    return History(btcusdt(market), seed, end_ns, LAST_ID)


def rows(told: bytes) -> list[Row]:
    found: list[Row] = orjson.loads(told)
    return found


@BOTH
def test_candles_are_exactly_the_sums_of_their_minutes_trades(market: Market) -> None:
    past = history(market)
    candles = orjson.loads(past.klines(3))
    for index, candle in enumerate(candles):
        start_ns = START_NS + (index - 3) * MINUTE_NS
        trades = rows(past.agg_trades(start_ns, start_ns + MINUTE_NS))
        price = [Decimal(str(row["p"])) for row in trades]
        quantity = [Decimal(str(row["q"])) for row in trades]
        taken = [not row["m"] for row in trades]
        assert candle[0] == start_ns // MS
        assert candle[6] == (start_ns + MINUTE_NS) // MS - 1
        assert [Decimal(text) for text in candle[1:5]] == [price[0], max(price), min(price), price[-1]]
        assert Decimal(candle[5]) == sum(quantity)
        assert Decimal(candle[7]) == sum(p * q for p, q in zip(price, quantity, strict=True))
        assert candle[8] == sum(int(row["l"]) - int(row["f"]) + 1 for row in trades)
        assert Decimal(candle[9]) == sum(q for q, is_buy in zip(quantity, taken, strict=True) if is_buy)
        assert Decimal(candle[10]) == sum(
            p * q for p, q, is_buy in zip(price, quantity, taken, strict=True) if is_buy
        )
        assert (candle[11], len(candle)) == ("0", 12)


@pytest.mark.slow
def test_all_candles_chain_in_time_and_price_and_look_like_a_market() -> None:
    past = history("spot")
    candles = orjson.loads(past.klines(5_000))
    assert len(candles) == FULL_MINUTES
    assert [candle[0] for candle in candles] == list(
        range((START_NS - FULL_MINUTES * MINUTE_NS) // MS, START_NS // MS, 60_000)
    )
    opens = np.array([float(candle[1]) for candle in candles])
    closes = np.array([float(candle[4]) for candle in candles])
    assert np.abs(np.log(opens[1:] / closes[:-1])).max() < 12e-4
    returns = np.diff(np.log(closes)) * 1e4
    assert 3.0 < returns.std() < 10.0
    assert (returns**4).mean() / (returns**2).mean() ** 2 > 3.5  # tails
    later = np.abs(returns)
    assert np.corrcoef(later[1:], later[:-1])[0, 1] > 0.1  # clusters
    assert sum(candle[8] for candle in candles) == past.n_trades


@BOTH
def test_last_trade_hands_over_to_the_crowd_in_id_time_and_price(market: Market) -> None:
    past = history(market)
    trades = rows(past.agg_trades(START_NS - MINUTE_NS, START_NS + MINUTE_NS))
    spec = btcusdt(market)
    assert trades[-1]["l"] == LAST_ID
    assert int(trades[-1]["T"]) * MS < START_NS
    assert abs(math.log(float(str(trades[-1]["p"])) / spec.start_price)) < 3e-4
    assert trades[-1]["a"] == past.last_aggregate_id


@BOTH
def test_ids_and_times_run_on_over_minutes_and_cuts_between_them_lose_nothing(market: Market) -> None:
    past = history(market)
    whole = rows(past.agg_trades(START_NS - 3 * MINUTE_NS, START_NS))
    for before, after in itertools.pairwise(whole):
        assert int(after["a"]) == int(before["a"]) + 1
        assert int(after["f"]) == int(before["l"]) + 1
        assert int(after["T"]) >= int(before["T"])
    cuts = [START_NS - 3 * MINUTE_NS, START_NS - 100 * NS, START_NS - 60 * NS, START_NS - 7 * NS, START_NS]
    parts = [row for begin, end in itertools.pairwise(cuts) for row in rows(past.agg_trades(begin, end))]
    assert parts == whole


def test_what_lies_outside_the_two_days_is_empty() -> None:
    past = history("spot")
    assert past.agg_trades(START_NS, START_NS + MINUTE_NS) == b"[]"
    assert past.agg_trades(past.start_ns - MINUTE_NS, past.start_ns) == b"[]"


@BOTH
def test_same_arguments_give_the_same_bytes_in_any_order_of_asking(market: Market) -> None:
    one, other = history(market), history(market)
    last = one.agg_trades(START_NS - MINUTE_NS, START_NS)
    one.klines(40)
    assert one.agg_trades(START_NS - MINUTE_NS, START_NS) == last
    assert other.klines(2) == one.klines(2)
    assert other.agg_trades(START_NS - MINUTE_NS, START_NS) == last
    assert history(market, seed=2).agg_trades(START_NS - MINUTE_NS, START_NS) != last


def test_end_inside_a_minute_cuts_the_last_candle_there() -> None:
    end_ns = START_NS + 20 * NS + 123_456_789
    past = history("spot", end_ns=end_ns)
    assert past.n_minutes == FULL_MINUTES + 1
    running = orjson.loads(past.klines(1))[0]
    trades = rows(past.agg_trades(START_NS, START_NS + MINUTE_NS))
    assert running[0] == START_NS // MS
    assert running[8] == sum(int(row["l"]) - int(row["f"]) + 1 for row in trades) > 100
    assert int(trades[-1]["T"]) * MS < end_ns
    assert trades[-1]["l"] == LAST_ID


@given(
    seed=st.integers(0, 2**40),
    end_ns=st.integers(START_NS, START_NS + 86_400 * NS),
    market=st.sampled_from(["spot", "usdm"]),
    back=st.integers(1, 8),
)
@settings(max_examples=12, deadline=None)
def test_any_minute_is_a_whole_one(seed: int, end_ns: int, market: Market, back: int) -> None:
    past = history(market, seed, end_ns)
    minute = past.minute(past.n_minutes - back)
    assert minute.quantity.min() >= 1
    assert minute.price.min() >= 1
    assert (np.diff(minute.venue_ms) >= 0).all()
    for inside in np.split(np.arange(len(minute.sweep)), np.flatnonzero(np.diff(minute.sweep)) + 1):
        assert len(set(minute.venue_ms[inside].tolist())) == 1
        assert len(set(minute.is_buy[inside].tolist())) == 1
        rises = np.diff(minute.price[inside])
        assert (rises >= 0).all() if minute.is_buy[inside[0]] else (rises <= 0).all()
    if back > 1:
        after = past.minute(past.n_minutes - back + 1)
        assert minute.first_trade_id + len(minute.price) == after.first_trade_id
    else:
        assert minute.first_trade_id + len(minute.price) - 1 == LAST_ID


def sweeps_of_history(market: Market, minutes: int) -> list[Sweep]:
    past, flow, found = history(market), Flow(), []
    for index in range(past.n_minutes - minutes, past.n_minutes):
        minute = past.minute(index)
        for place, (ms, price, quantity, is_buy) in enumerate(
            zip(
                minute.venue_ms.tolist(),
                minute.price.tolist(),
                minute.quantity.tolist(),
                minute.is_buy.tolist(),
                strict=True,
            )
        ):
            trade_id = minute.first_trade_id + place
            found.append(flow.apply(trade_id, price, quantity, 1 if is_buy else -1, ms * MS, ms * MS))
    return [sweep for sweep in found if sweep is not None]


def sweeps_of_crowd(market: Market, minutes: int) -> list[Sweep]:
    crowd, flow, found = Crowd(btcusdt(market), 1, START_NS), Flow(), []
    while crowd.next_ns < START_NS + minutes * MINUTE_NS:
        crowd.act()
        crowd.book.drain_changes()
        now = crowd.now_ns // MS * MS
        found += [
            flow.apply(event.trade, event.price, event.quantity, event.side, now, now)
            for event in crowd.matching.drain_events()
            if event.kind == MatchKind.MATCH_FILL
        ]
    return [sweep for sweep in found if sweep is not None]


def notionals(spec: CrowdSpec, found: list[Sweep]) -> NDArray[np.float64]:
    return np.array([float(sweep[8]) * spec.tick * spec.lot for sweep in found])


@pytest.mark.slow
@pytest.mark.parametrize(("market", "minutes"), [("spot", 10), ("usdm", 5)])
def test_sweeps_have_the_sizes_of_the_crowds(market: Market, minutes: int) -> None:
    # The whale threshold learned from one must serve for the other.
    spec = btcusdt(market)
    past = notionals(spec, sweeps_of_history(market, minutes))
    crowd = notionals(spec, sweeps_of_crowd(market, minutes))
    assert 0.7 < len(past) / len(crowd) < 1.5
    ratio = np.quantile(past, [0.5, 0.9, 0.99, 0.995]) / np.quantile(crowd, [0.5, 0.9, 0.99, 0.995])
    assert (ratio > 0.65).all()
    assert (ratio < 1.6).all()
    assert 0.7 < ratio[-1] < 1.5


def test_arguments_outside_their_bounds_are_refused_in_a_sentence() -> None:
    spec = btcusdt("spot")
    with pytest.raises(ValueError, match="seed must not be negative, found -1"):
        History(spec, -1, START_NS, LAST_ID)
    with pytest.raises(ValueError, match="end_ns must lie more than two days after the epoch"):
        History(spec, 1, NS, LAST_ID)
    with pytest.raises(ValueError, match=r"last_trade_id must leave ids from 1 for \d+ trades, found 5"):
        History(spec, 1, START_NS, 5)
    past = history("spot")
    with pytest.raises(ValueError, match="n_minutes must be at least 1, found 0"):
        past.klines(0)
    with pytest.raises(ValueError, match="index must be 0 to 2879, found 2880"):
        past.minute(FULL_MINUTES)
