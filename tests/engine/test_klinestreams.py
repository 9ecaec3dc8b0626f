"""Candles and the day's figures: sums of the trades, the same in streams and answers, over the start too."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.sim.klines import INTERVALS, close_of, open_of
from engine.sim.markets import Market, spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.told import Told
from tests.engine.public_reading import SECOND, START_NS, Ear

MS = 1_000_000
# An example takes a market's minutes: a failing one is told as it was found.
QUICK = (Phase.explicit, Phase.generate)
BOTH = pytest.mark.parametrize("market", ["spot", "usdm"])
Candle = list[object]


def market_of(market: Market, seed: int = 3, symbol: str = "THINUSDT") -> PublicMarket:
    return PublicMarket(spec_of(symbol, market), seed, START_NS)


def summed(trades: list[dict], open_ms: int, close_ms: int) -> Candle:
    """Return the candle of the trades between two times, both included."""
    inside = [row for row in trades if open_ms <= row["time"] <= close_ms]
    prices = [Decimal(row["price"]) for row in inside]
    taken = [row for row in inside if not row["isBuyerMaker"]]
    return [
        open_ms,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(Decimal(row["qty"]) for row in inside),
        close_ms,
        sum(Decimal(row["price"]) * Decimal(row["qty"]) for row in inside),
        len(inside),
        sum(Decimal(row["qty"]) for row in taken),
        sum(Decimal(row["price"]) * Decimal(row["qty"]) for row in taken),
        "0",
    ]


def as_numbers(candle: Candle) -> Candle:
    return [Decimal(value) if isinstance(value, str) and value != "0" else value for value in candle[:11]] + [
        "0"
    ]


def trades_since(public: PublicMarket, start_ns: int) -> list[dict]:
    first = public.agg_trades(None, start_ns // MS, None, 1)[0]["f"]
    rows: list[dict] = []
    while page := public.historical_trades(int(str(first)) + len(rows), 1_000):
        rows += page
    return rows


@given(st.integers(0, 4_000_000_000_000), st.sampled_from([*INTERVALS, "1s"]))
def test_candles_of_an_interval_follow_on_each_other_and_begin_where_the_calendar_says(
    ms: int, interval: str
) -> None:
    now = ms * MS
    begin = open_of(interval, now)
    end = close_of(interval, begin)
    assert begin <= now < end
    assert open_of(interval, end) == end
    assert open_of(interval, begin) == begin
    assert open_of(interval, end - 1) == begin
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=begin // SECOND)
    if interval == "1M":
        assert (day.day, day.hour, day.minute, day.second) == (1, 0, 0, 0)
    elif interval == "1w":
        assert (day.weekday(), day.hour) == (0, 0) or begin < 0
    else:
        number, unit = int(interval[:-1]), interval[-1]
        assert begin % (number * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[unit] * SECOND) == 0


@pytest.mark.slow
@given(market=st.sampled_from(["spot", "usdm"]), seed=st.integers(0, 2**40), seconds=st.integers(30, 400))
@settings(max_examples=6, deadline=None, phases=QUICK)
def test_candles_of_any_length_are_the_sums_of_their_trades(market: Market, seed: int, seconds: int) -> None:
    public = market_of(market, seed)
    public.advance(START_NS + seconds * SECOND)
    trades = trades_since(public, START_NS - 900 * SECOND)
    first_ms = trades[0]["time"]
    for interval in ("1m", "3m", "5m") + (("1s",) if market == "spot" else ()):
        rows = public.klines(interval, first_ms, None, 2_000)
        assert len(rows) > 2
        for row, after in itertools.pairwise(rows):
            assert after[0] == row[6] + 1  # type: ignore[operator]
        for row in rows:
            if row[8] == 0:
                assert len({row[1], row[2], row[3], row[4]}) == 1
                before = [trade for trade in trades if trade["time"] < row[0]]
                if before:
                    assert row[1] == before[-1]["price"]
            else:
                assert as_numbers(row) == summed(trades, int(str(row[0])), int(str(row[6])))
    # The candle in which past and present meet holds both.
    border = public.klines("1m", None, START_NS // MS, 1)[0]
    inside = [trade for trade in trades if border[0] <= trade["time"] <= border[6]]
    first_live = public.truth.trades()[0].trade_id
    assert inside[0]["id"] < first_live
    assert border[8] == len(inside)


@pytest.mark.slow
@BOTH
def test_longer_candles_are_sums_of_minutes(market: Market) -> None:
    public = market_of(market)
    public.advance(START_NS + 200 * SECOND)
    minutes = [as_numbers(row) for row in public.klines("1m", None, None, 10_000)]
    assert len(minutes) == 2_880 + 1 + 4
    for interval in INTERVALS:
        rows = [as_numbers(row) for row in public.klines(interval, None, None, 10_000)]
        assert sum(int(str(row[8])) for row in rows) == sum(int(str(row[8])) for row in minutes)
        for row in rows:
            parts = [part for part in minutes if row[0] <= part[0] <= row[6]]  # type: ignore[operator]
            full = [part for part in parts if part[8]]
            if not full:
                assert row[8] == 0
                continue
            assert row[1:6] == [
                full[0][1],
                max(part[2] for part in full),  # type: ignore[type-var]
                min(part[3] for part in full),  # type: ignore[type-var]
                full[-1][4],
                sum(part[5] for part in full),  # type: ignore[misc]
            ]
            for column in (7, 8, 9, 10):
                assert row[column] == sum(part[column] for part in full)  # type: ignore[misc]


@pytest.mark.slow
@BOTH
def test_stream_tells_running_candles_and_at_the_end_the_one_the_answer_has(market: Market) -> None:
    public = market_of(market)
    ear = Ear()
    intervals = [*INTERVALS, "1s"] if market == "spot" else list(INTERVALS)
    for interval in intervals:
        assert public.listen(f"thinusdt@kline_{interval}", ear)
    public.advance(START_NS + 400 * SECOND)
    seen = 0
    for interval in intervals:
        rows = ear.rows(f"thinusdt@kline_{interval}")
        assert rows
        assert all(row["k"]["t"] <= row["E"] for row in rows)
        for before, after in itertools.pairwise(rows):
            assert after["k"]["t"] in (before["k"]["t"], before["k"]["T"] + 1)
            assert before["k"]["x"] == (after["k"]["t"] > before["k"]["t"])
            if not before["k"]["x"]:
                assert after["k"]["n"] >= before["k"]["n"]
        for row in rows:
            k = row["k"]
            if not k["x"]:
                continue
            seen += 1
            assert row["E"] == k["T"] + 1
            answer = public.klines(interval, k["t"], k["T"], 5)
            told = [k[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")]
            assert answer == [[*told, "0"]]
            if k["n"]:
                assert k["L"] - k["f"] + 1 == k["n"]
    assert seen > (400 if market == "spot" else 8)


@pytest.mark.slow
@BOTH
def test_figures_of_the_day_are_sums_of_its_minutes(market: Market) -> None:
    public = market_of(market)
    ear = Ear()
    for stream in ("thinusdt@ticker", "thinusdt@miniTicker"):
        assert public.listen(stream, ear)
    public.advance(START_NS + 130 * SECOND)
    day = public.ticker_24h()
    begin_ms = public.now_ns // MS // 60_000 * 60_000 - 86_400_000
    assert day["openTime"] == begin_ms
    minutes = [as_numbers(row) for row in public.klines("1m", begin_ms, None, 5_000)]
    assert len(minutes) == 1_441
    full = [row for row in minutes if row[8]]
    digits = 8 if market == "spot" else 2
    volume, turnover = (sum(row[column] for row in full) for column in (5, 7))  # type: ignore[misc]
    change = full[-1][4] - full[0][1]  # type: ignore[operator]
    price_digits = 8 if market == "spot" else public.spec.tick_decimals
    numbers = {
        key: Decimal(value) for key, value in day.items() if isinstance(value, str) and key != "symbol"
    }
    assert numbers["openPrice"] == full[0][1]
    assert numbers["lastPrice"] == full[-1][4]
    assert numbers["highPrice"] == max(row[2] for row in full)  # type: ignore[type-var]
    assert numbers["lowPrice"] == min(row[3] for row in full)  # type: ignore[type-var]
    assert numbers["volume"] == volume
    assert numbers["quoteVolume"] == turnover.quantize(Decimal(1).scaleb(-digits), "ROUND_DOWN")
    assert numbers["priceChange"] == change
    assert abs(numbers["priceChangePercent"] - 100 * change / full[0][1]) <= Decimal("0.0005")
    assert abs(numbers["weightedAvgPrice"] - turnover / volume) <= Decimal(1).scaleb(-price_digits)
    assert day["count"] == sum(row[8] for row in full)  # type: ignore[misc]
    assert day["lastId"] == public.trades(1)[0]["id"]
    assert numbers["lastQty"] == Decimal(str(public.trades(1)[0]["qty"]))
    told = ear.rows("thinusdt@ticker")[-1]
    assert len(ear.rows("thinusdt@ticker")) == len(ear.rows("thinusdt@miniTicker")) > 10
    assert [told[key] for key in ("o", "h", "l", "c")] == [
        ear.rows("thinusdt@miniTicker")[-1][key] for key in ("o", "h", "l", "c")
    ]
    if told["L"] == day["lastId"] and told["O"] == day["openTime"]:
        assert [told[key] for key in ("p", "P", "w", "c", "o", "v", "q", "n")] == [
            day[key]
            for key in (
                "priceChange",
                "priceChangePercent",
                "weightedAvgPrice",
                "lastPrice",
                "openPrice",
                "volume",
                "quoteVolume",
                "count",
            )
        ]


def test_candles_are_asked_for_by_time_and_number() -> None:
    public = market_of("spot")
    public.advance(START_NS + 70 * SECOND)
    last = public.klines("1m", None, None, 10)
    assert len(last) == 10
    assert last[-1][0] == public.now_ns // MS // 60_000 * 60_000
    opens = [int(str(row[0])) for row in last]
    assert public.klines("1m", opens[2], None, 3) == last[2:5]
    assert public.klines("1m", opens[2] - 1, opens[4], 100) == last[2:5]
    assert public.klines("1m", opens[2] + 1, opens[4] + 59_999, 100) == last[3:5]
    assert public.klines("1m", None, opens[4] - 1, 2) == last[2:4]
    assert public.klines("1m", public.now_ns // MS + 60_000, None, 5) == []
    with pytest.raises(ValueError, match=r"Expected an interval of 1s, 1m, .*, found '7m'"):
        public.klines("7m", None, None, 1)
    with pytest.raises(ValueError, match=r"Expected an interval of 1m, .*, found '1s'"):
        market_of("usdm").klines("1s", None, None, 1)


@BOTH
def test_running_candle_says_what_was_so_when_it_was_told_however_late_it_is_written(market: Market) -> None:
    public = market_of(market)
    # Past the minute of the start: its candle is summed anew at each question.
    public.advance(START_NS + 25 * SECOND)
    told: list[tuple[Told, object]] = []
    assert public.listen(
        "thinusdt@kline_1m", lambda message: told.append((message, public.klines("1m", None, None, 1)[0][8]))
    )
    public.advance(START_NS + 75 * SECOND)
    counts = [orjson.loads(message.encode())["k"]["n"] for message, _ in told]
    assert counts == [count for _, count in told]
    assert len(set(counts)) > 3
