"""The warm-up teaches what a live feed of the same trades would have taught, and leaves no other trace."""

import math
from dataclasses import asdict, dataclass

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import load_config, market_settings
from engine.signals import MarketKind
from engine.sim.history import MINUTE_NS, History
from engine.sim.markets import btcusdt
from engine.sim.tape import START_NS
from native.bars import BarRecord
from native.market import Market
from native.warmup import WarmUp, warm_up
from tests.native.venue import MS, PLAIN, SECOND, text

BARS = ("1m", "5m", "1h", "1d")


@dataclass(frozen=True)
class Past:
    """One trade that happened: `at_ms` from the start of the recording."""

    trade_id: int
    at_ms: int
    side: int
    price: int
    quantity: int


def market(kind: MarketKind = MarketKind.SPOT, **more: object) -> Market:
    plain = (
        PLAIN
        | {"whale_window_ns": 900 * MS, "profile_window_ns": 120 * SECOND, "profile_ready_ns": 60 * SECOND}
        | more
    )
    return Market(symbol="AAAUSDT", kind=int(kind), price_digits=1, quantity_digits=3, tick=1, **plain)


def frame(trade: Past) -> bytes:
    at = START_NS // MS + trade.at_ms
    return orjson.dumps(
        {"e": "trade", "E": at, "s": "AAAUSDT", "t": trade.trade_id, "p": text(trade.price, 1)}
        | {"q": text(trade.quantity, 3), "T": at, "m": trade.side < 0, "X": "MARKET", "M": True}
    )


def live(into: Market, trades: list[Past]) -> None:
    """Receive each trade the moment it happened."""
    for trade in trades:
        now_ns = START_NS + trade.at_ms * MS
        while into.advance(now_ns):
            pass
        into.on_frame(frame(trade), now_ns)


def aggregated(trades: list[Past]) -> bytes:
    """Merge neighbours of one time, side and price, as the venue does."""
    rows: list[dict[str, int | str | bool]] = []
    held = 0
    before = Past(0, 0, 0, 0, 0)
    for trade in trades:
        is_more = before.quantity * trade.quantity > 0 and (
            trade.trade_id,
            trade.at_ms,
            trade.side,
            trade.price,
        ) == (
            before.trade_id + 1,
            before.at_ms,
            before.side,
            before.price,
        )
        held = held + trade.quantity if is_more else trade.quantity
        if is_more:
            rows[-1] |= {"q": text(held, 3), "l": trade.trade_id}
        else:
            rows.append(
                {"a": 7 + 2 * len(rows), "p": text(trade.price, 1), "q": text(held, 3), "f": trade.trade_id}
                | {"l": trade.trade_id, "T": START_NS // MS + trade.at_ms, "m": trade.side < 0, "M": True}
            )
        before = trade
    return orjson.dumps(rows)


def kline(minute: int, close: str) -> list[object]:
    opened = START_NS // MS + 60_000 * minute
    return [opened, close, close, close, close, "1.000", opened + 59_999, "1.0", 1, "0", "0", "0"]


def klines(*closes: str, first: int = 0) -> bytes:
    return orjson.dumps([kline(first + index, close) for index, close in enumerate(closes)])


def without_gap(bars: list[BarRecord]) -> list[BarRecord]:
    return [bar._replace(has_gap=False) for bar in bars]


def learned(of: Market, now_ns: int) -> dict[str, object]:
    opened = [of.bars.open_bar(interval) for interval in BARS]
    return {
        "rolling": (of.areas.rolling.snapshot(), of.areas.rolling.value_area(now_ns)),
        "session": (of.areas.session.snapshot(), of.areas.session.value_area(now_ns)),
        "profiles": of.profiles(),
        "window": (of.whale.n_window, repr(of.whale.sweep_quantile), of.whale.early_evictions),
        "bars": [without_gap(of.bars.bars(interval)) for interval in BARS],
        "open": without_gap([bar for bar in opened if bar is not None]),
        "footprint": (of.bars.footprint(), of.bars.footprint(closed=False)),
        "cvd": (of.cvd, of.flow.session_cvd),
        "rates": [of.flow.rates(window * SECOND) for window in (1, 10, 60)],
    }


# What a live feed of the same trades would have taught.


def whole_second_ms(last: Past) -> int:
    """Return the first whole second at which the sweep of a last trade is closed and rates have slid."""
    return (last.at_ms + 10) // 1_000 * 1_000 + 1_000


@st.composite
def pasts(draw: st.DrawFn) -> tuple[list[Past], int]:
    """Trades with sweeps, lost ids, pauses up to minutes and a day that ends; and how many are past."""
    found: list[Past] = []
    trade_id, price = draw(st.integers(1, 1_000)), 10_000
    at_ms = draw(st.sampled_from([0, 43_190_000]))
    side = 1
    for _ in range(draw(st.integers(2, 60))):
        at_ms += draw(st.sampled_from([0, 0, 0, 0, 1, 9, 10, 11, 400, 600, 61_000, 130_000]))
        side = draw(st.sampled_from([side, side, -side]))
        price += draw(st.sampled_from([0, 0, side, -side, 7 * side]))
        trade_id += draw(st.sampled_from([1, 1, 1, 1, 1, 3]))
        found.append(Past(trade_id, at_ms, side, price, draw(st.sampled_from([0, 1, 5, 10_000, 77_000]))))
    # A sweep that is cut in two is told as two: the future begins later than its timer, after a whole second.
    cut = draw(st.integers(1, len(found)))
    later = max(0, whole_second_ms(found[cut - 1]) + 1 - found[cut].at_ms) if cut < len(found) else 0
    future = [Past(t.trade_id, t.at_ms + later, t.side, t.price, t.quantity) for t in found[cut:]]
    return found[:cut] + future, cut


@given(drawn=pasts(), kind=st.sampled_from([MarketKind.SPOT, MarketKind.USDM]), idle_s=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_warm_up_and_then_live_learns_what_live_alone_would_have(
    drawn: tuple[list[Past], int], kind: MarketKind, idle_s: int
) -> None:
    trades, cut = drawn
    alone, warmed = market(kind), market(kind)
    live(alone, trades[:cut])
    now_ns = START_NS + whole_second_ms(trades[cut - 1]) * MS
    while alone.advance(now_ns):
        pass
    # Time may have passed before the warm-up, with seconds that found nothing.
    for passed_s in range(idle_s, -1, -1):
        assert warmed.advance(now_ns - passed_s * SECOND) == 0
    told = warm_up(warmed, b"[]", aggregated(trades[:cut]))
    sweeps = alone.flow.n_sweeps
    assert told == WarmUp(
        0,
        cut,
        sweeps,
        START_NS + trades[0].at_ms * MS,
        START_NS + trades[cut - 1].at_ms * MS,
    )
    assert learned(warmed, now_ns) == learned(alone, now_ns)
    for one in (alone, warmed):
        live(one, trades[cut:])
    end_ns = START_NS + whole_second_ms(trades[-1]) * MS
    for one in (alone, warmed):
        while one.advance(end_ns):
            pass
    assert learned(warmed, end_ns) == learned(alone, end_ns)
    assert warmed.flow.n_sweeps == alone.flow.n_sweeps - sweeps
    assert warmed.flow.duplicates == 0


def test_silence_after_a_warm_up() -> None:
    warmed = market(whale_min_sweeps=1)
    warmed.advance(START_NS + MINUTE_NS)
    trades = [Past(number, 20 * number, 1, 10_000, 900_000) for number in range(1, 50)]
    warm_up(warmed, klines(*(["1000.0"] * 9), first=-9), aggregated(trades))
    assert len(warmed.take_events()) == 0
    assert (
        warmed.whale.n_whales,
        warmed.whale.n_episodes,
        warmed.flow.n_sweeps,
        warmed.trades,
        warmed.messages,
    ) == (0, 0, 0, 0, 0)
    assert warmed.candidate() is None
    assert warmed.flow.running is None
    assert (warmed.last_trade_id, warmed.flow.missing_ids, warmed.last_venue_ns) == (-1, 0, 0)
    # Nothing but the second that was armed before.
    assert warmed.triggers.next_due_ns == START_NS + MINUTE_NS + SECOND
    assert warmed.advance(START_NS + MINUTE_NS + 30 * SECOND) == 0


@pytest.mark.parametrize("first_live_id", [3, 20, 50_000], ids=["seen before", "next", "far ahead"])
def test_first_live_id_is_neither_missing_nor_twice_whatever_it_counts(first_live_id: int) -> None:
    warmed = market()
    warm_up(warmed, b"[]", aggregated([Past(number, 20 * number, 1, 10_000, 5) for number in range(1, 20)]))
    live(warmed, [Past(first_live_id, 1_000, 1, 10_000, 5), Past(first_live_id + 1, 1_100, 1, 10_000, 5)])
    assert (warmed.flow.missing_ids, warmed.flow.duplicates) == (0, 0)
    assert warmed.trades == 2
    assert warmed.last_trade_id == first_live_id + 1
    # What lies between the last of the past and the first live one is not known.
    opened = warmed.bars.open_bar("1m")
    assert opened is not None
    assert opened.has_gap


# Volatility.


def test_closes_of_candles_make_sigma_ready_and_the_live_minute_continues_the_chain() -> None:
    warmed, twin = market(), market()
    prices = ["1000.0", "1001.0", "1000.5", "1002.0", "1001.5", "1003.0", "1002.0"]
    warmed.advance(START_NS + 5 * SECOND)
    assert warm_up(warmed, klines(*prices, first=-7), b"[]").minutes == 7
    for minute, price in enumerate(prices, START_NS // MINUTE_NS - 6):
        twin.volatility.apply_mid(float(price) * 10.0, minute)
    assert not math.isnan(warmed.sigma_60_bps)
    assert warmed.sigma_60_bps == twin.sigma_60_bps
    # The next boundary is one minute after the last candle's end: no break.
    warmed.volatility.apply_mid(10_040.0, START_NS // MINUTE_NS + 1)
    assert (warmed.volatility.n_returns, warmed.volatility.n_breaks) == (7, 0)


def test_candles_that_end_too_early_break_the_chain_cleanly() -> None:
    warmed = market()
    warmed.advance(START_NS + 5 * SECOND)
    warm_up(warmed, klines("1000.0", "1001.0", first=-4), b"[]")
    warmed.volatility.apply_mid(10_040.0, START_NS // MINUTE_NS + 1)
    assert (warmed.volatility.n_returns, warmed.volatility.n_breaks) == (1, 1)


@pytest.mark.parametrize(("now_s", "expected"), [(0, 2), (59, 2), (60, 3), (61, 3)])
def test_running_candle_teaches_nothing(now_s: int, expected: int) -> None:
    warmed = market()
    warmed.advance(START_NS + now_s * SECOND)
    assert warm_up(warmed, klines("1000.0", "1001.0", "1002.0", first=-2), b"[]").minutes == expected


def test_without_a_time_of_the_market_the_last_trade_says_how_late_it_is() -> None:
    warmed = market()
    told = warm_up(warmed, klines("1000.0", "1001.0", "1002.0"), aggregated([Past(1, 120_500, 1, 10_000, 5)]))
    assert told == WarmUp(2, 1, 1, START_NS + 120_500 * MS, START_NS + 120_500 * MS)
    assert warm_up(market(), klines("1000.0"), b"[]") == WarmUp(0, 0, 0, 0, 0)


def test_trade_of_a_venue_whose_clock_is_ahead_is_learned_now_and_not_later() -> None:
    warmed = market()
    now_ns = START_NS + SECOND
    warmed.advance(now_ns)
    warm_up(warmed, b"[]", aggregated([Past(1, 2_000, 1, 10_000, 5)]))
    area = warmed.areas.rolling.value_area(now_ns)
    assert area is not None
    assert (area.first_ns, area.last_ns) == (now_ns, now_ns)


# The history of the simulator.


@pytest.mark.parametrize("kind", [MarketKind.SPOT, MarketKind.USDM], ids=["spot", "usdm"])
@pytest.mark.slow
def test_quarter_hour_of_trades_and_candles_make_the_capture_preset_ready(kind: MarketKind) -> None:
    spec = btcusdt("spot" if kind is MarketKind.SPOT else "usdm")
    past = History(spec, 3, START_NS, 4_000_000_000)
    chosen = asdict(market_settings(load_config(None, "capture", {}), "BTCUSDT", kind))
    summaries = []
    for _ in range(2):
        warmed = Market(
            symbol="BTCUSDT",
            kind=int(kind),
            price_digits=spec.tick_decimals,
            quantity_digits=spec.lot_decimals,
            tick=1,
            **chosen,
        )
        warmed.advance(START_NS)
        told = warm_up(warmed, past.klines(60), past.agg_trades(START_NS - 15 * MINUTE_NS, START_NS))
        summaries.append((told, learned(warmed, START_NS), warmed.sigma_60_bps))
        assert told.minutes == 60
        assert 10_000 < told.sweeps == warmed.whale.n_window
        assert START_NS - 15 * MINUTE_NS <= told.first_ns < told.last_ns < START_NS
        assert [(profile.source, profile.is_ready) for profile in warmed.profiles()] == [("rolling", True)]
        assert 2.0 < warmed.sigma_60_bps < 15.0
        # The threshold waits for the book alone.
        assert math.isnan(warmed.whale.threshold_quote)
        warmed.whale.apply_depth_median(100_000.0)
        assert warmed.whale.threshold_quote >= spec.whale_low * 0.5
    assert summaries[0] == summaries[1]


# What is refused.

GOOD = {"a": 1, "p": "1000.0", "q": "1.000", "f": 1, "l": 1, "T": START_NS // MS, "m": False, "M": True}


@pytest.mark.parametrize(
    ("trades", "sentence"),
    [
        (b"", "found no JSON"),
        (b"[" * 100_000, "found no JSON"),
        (b"\xff", "found no JSON"),
        (b'{"code":-1121}', "expected as a list, found dict"),
        (b"[1]", "expected as an object, found 1"),
        (orjson.dumps([{key: GOOD[key] for key in "apqflT"}]), "expected with 'm'"),
        (orjson.dumps([GOOD | {"m": 1}]), "true or false, found 1"),
        (orjson.dumps([GOOD | {"f": "1"}]), "whole number from 0 to"),
        (orjson.dumps([GOOD | {"T": True}]), "whole number from 0 to"),
        (orjson.dumps([GOOD | {"T": 10**16}]), "whole number from 0 to"),
        (b'[{"a":1,"p":"1","q":"1","f":1,"l":99999999999999999999999,"T":1,"m":true}]', "whole number"),
        (orjson.dumps([GOOD | {"p": "1000.05"}]), "price of a trade is expected as a decimal"),
        (orjson.dumps([GOOD | {"p": 1000.0}]), "price of a trade is expected as decimal text"),
        (orjson.dumps([GOOD | {"p": "-1"}]), "price of a trade is expected as a decimal"),
        (orjson.dumps([GOOD | {"q": "1.0 "}]), "quantity of a trade is expected as a decimal"),
        (
            orjson.dumps([GOOD | {"q": "99999999999999999999"}]),
            "quantity of a trade is expected as a decimal",
        ),
        (orjson.dumps([GOOD, GOOD]), "expected to ascend"),
        (orjson.dumps([GOOD | {"f": 5}]), "expected to ascend"),
        (orjson.dumps([GOOD | {"l": 5}, GOOD | {"a": 2, "f": 5, "l": 6}]), "expected to ascend"),
    ],
)
def test_trades_of_another_shape_are_refused_and_teach_nothing(trades: bytes, sentence: str) -> None:
    warmed, fresh = market(), market()
    with pytest.raises(ValueError, match=sentence):
        warm_up(warmed, klines("1000.0", "1001.0", first=-9), trades)
    assert learned(warmed, START_NS) == learned(fresh, START_NS)
    assert warmed.volatility.n_returns == 0
    assert warm_up(warmed, klines("1000.0"), orjson.dumps([GOOD])).trades == 1


@pytest.mark.parametrize(
    ("candles", "sentence"),
    [
        (b"nothing", "klines are expected as the JSON list of the venue, found no JSON"),
        (b"{}", "klines are expected as a list, found dict"),
        (b"[[1,2]]", "at least 7 fields"),
        (orjson.dumps([kline(0, "x")]), "close of a kline is expected as a decimal"),
        (orjson.dumps([kline(0, "0.0")]), "expected to be positive"),
        (orjson.dumps([kline(0, "1000.05")]), "close of a kline is expected as a decimal"),
        (orjson.dumps([kline(0, "1.0"), kline(0, "1.0")]), "ascending order"),
        (orjson.dumps([kline(1, "1.0"), kline(0, "1.0")]), "ascending order"),
        (orjson.dumps([[0, "1", "1", "1", "1", "1", 299_999]]), "klines of one minute are expected"),
        (orjson.dumps([[7, "1", "1", "1", "1", "1", 60_006]]), "klines of one minute are expected"),
    ],
)
def test_candles_of_another_shape_are_refused(candles: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        warm_up(market(), candles, b"[]")


def test_market_that_has_learned_already_is_refused() -> None:
    fed, warmed = market(), market()
    live(fed, [Past(1, 0, 1, 10_000, 5)])
    warm_up(warmed, b"[]", orjson.dumps([GOOD]))
    for known in (fed, warmed):
        with pytest.raises(ValueError, match="warmed up once and before its first frame"):
            warm_up(known, b"[]", b"[]")
