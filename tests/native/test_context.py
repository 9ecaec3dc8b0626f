"""What the venue tells beside book and tape: mark, liquidations, day, open interest; bars against klines."""

import math

import orjson
import pytest

from engine.signals import MarketKind
from native.context import ForceRecord, KlineDifference
from tests.native.venue import MS, SECOND, START_NS, Venue, text

MINUTE = 60 * SECOND
# The next whole minute after the start.
FIRST = (START_NS // MINUTE + 1) * MINUTE


def mark(venue: Venue, price: str, index: str, **more: object) -> int:
    return venue.say(venue.stamp("markPriceUpdate") | {"p": price, "i": index} | more, "markPrice@1s")


def test_mark_price_when_told_then_premium_is_over_the_index() -> None:
    venue = Venue(MarketKind.USDM)
    context = venue.market.context
    assert math.isnan(context.premium_bps)
    assert (
        mark(venue, "1001.00000000", "1000.00000000", r="-0.00010000", T=venue.now_ns // MS + 5, P="999.5")
        == 0
    )
    assert (context.mark_price, context.index_price, context.settle_price) == (
        1001 * 10**8,
        1000 * 10**8,
        99_950_000_000,
    )
    assert context.premium_bps == pytest.approx(10.0)
    assert context.funding_rate == -10_000
    assert context.next_funding_ns == venue.now_ns // MS * MS + 5 * MS
    assert (venue.market.messages, venue.market.other_messages, context.marks) == (1, 0, 1)


def test_older_mark_price_when_it_comes_late_then_it_is_not_taken() -> None:
    venue = Venue(MarketKind.USDM)
    mark(venue, "1001.0", "1000.0")
    mark(venue, "5.0", "5.0", E=(venue.now_ns - SECOND) // MS)
    venue.market.context.set_mark(7, 7, None, 0, venue.now_ns - SECOND)
    assert venue.market.context.mark_price == 1001 * 10**8
    venue.market.context.set_mark(7, 6, None, 0, venue.now_ns + SECOND)
    assert (venue.market.context.mark_price, venue.market.context.funding_rate) == (7, None)


def test_liquidations_when_told_then_the_last_stands_and_no_volume_moves() -> None:
    venue = Venue(MarketKind.USDM)
    order = {
        "s": venue.symbol,
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "0.014",
        "p": "999.15",
        "X": "FILLED",
    }
    for quantity in ("0.014", "0.020"):
        venue.wait(SECOND)
        more = {"q": quantity, "ap": "999.4", "l": "0.001", "z": quantity, "T": venue.now_ns // MS}
        venue.say({"e": "forceOrder", "E": venue.now_ns // MS, "o": order | more}, "forceOrder")
    assert venue.market.context.last_force == ForceRecord(
        -1, 99_915_000_000, 99_940_000_000, 20, 1, 20, True, venue.now_ns // MS * MS
    )
    assert venue.market.context.force_orders == 2
    assert (venue.market.cvd, venue.market.trades, venue.market.flow.running) == (0, 0, None)
    assert venue.market.bars.open_bar("1m") is None


def test_day_and_open_interest_when_told_then_they_stand() -> None:
    venue = Venue()
    context = venue.market.context
    assert (context.day, context.open_interest) == (None, None)
    day = {"c": "1000.1", "o": "990.0", "h": "1010.0", "l": "980.0", "v": "12.5", "q": "12345.6789", "n": 7}
    venue.say(venue.stamp("24hrTicker") | day, "ticker")
    assert context.day is not None
    assert context.day[:7] == (10_001, 9_900, 10_100, 9_800, 125_000, 123_456_789, 7)
    context.set_open_interest(500, START_NS)
    context.set_open_interest(400, START_NS - 1)
    assert (context.open_interest, context.open_interest_ns) == (500, START_NS)
    with pytest.raises(ValueError, match="not to be negative, found -1"):
        context.set_open_interest(-1, START_NS)


def test_answers_when_asked_for_then_they_are_taken_like_the_stream() -> None:
    venue = Venue(MarketKind.USDM)
    market, now_ms = venue.market, START_NS // MS
    interest = {"symbol": venue.symbol, "openInterest": "10659.509", "time": now_ms}
    assert market.on_context("open_interest", orjson.dumps(interest))
    assert (market.context.open_interest, market.context.open_interest_ns) == (10_659_509, now_ms * MS)
    premium = {"symbol": venue.symbol, "markPrice": "1001.0", "indexPrice": "1000.0", "time": now_ms}
    premium |= {"lastFundingRate": "-0.00010000", "nextFundingTime": now_ms + 5, "interestRate": "0.0001"}
    assert market.on_context("premium_index", orjson.dumps(premium))
    assert market.context.premium_bps == pytest.approx(10.0)
    assert (market.context.funding_rate, market.context.next_funding_ns) == (-10_000, (now_ms + 5) * MS)


@pytest.mark.parametrize(
    "changed",
    [{"symbol": "BBBUSDT"}, {"time": None}, {"openInterest": 5}, {"openInterest": "-5"}, {"time": -1}],
)
def test_answer_that_is_none_then_it_is_counted_and_nothing_changes(changed: dict[str, object]) -> None:
    venue = Venue(MarketKind.USDM)
    interest = {"symbol": venue.symbol, "openInterest": "10659.509", "time": START_NS // MS} | changed
    for body in (orjson.dumps(interest), b"", b"[]", b"{"):
        assert not venue.market.on_context("open_interest", body)
    assert (venue.market.context.refused, venue.market.context.open_interest) == (4, None)
    with pytest.raises(ValueError, match="found 'funding'"):
        venue.market.on_context("funding", b"{}")


class Minutes(Venue):
    """A venue that trades once a minute and tells its klines."""

    def __init__(self) -> None:
        super().__init__()
        self.wait(FIRST - MINUTE + 30 * SECOND - self.now_ns)
        self.trade(1, 10_000, 5)

    def minute(self, price: int, *, lost: bool = False) -> int:
        """Trade in the next minute, perhaps unseen; return its beginning."""
        self.wait(MINUTE)
        data = self.trade_data(1, price, 7)
        if not lost:
            self.say(data, "trade")
        return self.now_ns // MINUTE * MINUTE

    def kline(self, open_ns: int, price: int, quantity: int = 7, n: int = 1, **changed: object) -> None:
        bar = {"t": open_ns // MS, "T": (open_ns + MINUTE) // MS - 1, "i": "1m", "n": n, "x": True}
        bar |= {key: text(price, 1) for key in "ohlc"} | {"v": text(quantity, 3), "V": text(quantity, 3)}
        self.say(self.stamp("kline") | {"k": bar | changed}, "kline_1m")


def test_bar_when_the_venue_tells_the_same_minute_then_it_is_equal() -> None:
    venue = Minutes()
    first = venue.minute(10_002)
    venue.kline(first, 10_002)
    context = venue.market.context
    assert (context.klines_waiting, context.klines_compared) == (1, 0)
    second = venue.minute(10_003)
    venue.wait(SECOND)
    assert (context.klines_waiting, context.klines_compared, context.klines_equal) == (0, 1, 1)
    venue.kline(second, 10_003, x=False)
    venue.kline(second, 10_003, i="3m")
    venue.kline(first, 10_002)
    assert context.klines_waiting == 0
    assert venue.market.klines == 4


@pytest.mark.parametrize(
    ("changed", "field", "ours", "theirs"),
    [
        ({"n": 2}, "n_trades", 1, 2),
        ({"o": "1000.1"}, "open", 10_002, 10_001),
        ({"h": "1000.3"}, "high", 10_002, 10_003),
        ({"l": "1000.1"}, "low", 10_002, 10_001),
        ({"c": "1000.1"}, "close", 10_002, 10_001),
        ({"v": "0.008"}, "volume", 7, 8),
        ({"V": "0.006"}, "taker_buy_volume", 7, 6),
    ],
)
def test_bar_when_a_field_differs_then_it_is_named(
    changed: dict[str, object], field: str, ours: int, theirs: int
) -> None:
    venue = Minutes()
    open_ns = venue.minute(10_002)
    venue.minute(10_003)
    venue.kline(open_ns, 10_002, **changed)
    context = venue.market.context
    assert (context.klines_compared, context.klines_equal) == (1, 0)
    assert context.last_difference == KlineDifference(open_ns, field, ours, theirs)


def test_bar_that_lacks_trades_when_they_come_back_then_it_is_compared() -> None:
    venue = Minutes()
    lost = venue.minute(10_002, lost=True)
    venue.minute(10_003)
    venue.minute(10_004)
    venue.kline(lost, 10_002)
    context = venue.market.context
    assert (context.klines_waiting, context.klines_compared) == (1, 0)
    row = {
        "id": 2,
        "price": "1000.2",
        "qty": "0.007",
        "time": (lost + 30 * SECOND) // MS,
        "isBuyerMaker": False,
    }
    assert venue.market.on_trades(orjson.dumps([row]), venue.now_ns) == 1
    venue.wait(SECOND)
    assert (context.klines_waiting, context.klines_compared, context.klines_equal) == (0, 1, 1)


def test_bar_that_lacks_some_of_its_trades_when_they_come_back_then_it_is_compared() -> None:
    venue = Minutes()
    open_ns = venue.minute(10_002)
    venue.trade_data(1, 10_002, 7)
    venue.trade(1, 10_002, 7)
    venue.minute(10_003)
    venue.kline(open_ns, 10_002, quantity=21, n=3)
    context = venue.market.context
    assert (context.klines_waiting, context.klines_compared) == (1, 0)
    row = {"id": 3, "price": "1000.2", "qty": "0.007", "time": (open_ns + 30 * SECOND) // MS}
    assert venue.market.on_trades(orjson.dumps([row | {"isBuyerMaker": False}]), venue.now_ns) == 1
    venue.wait(SECOND)
    assert (context.klines_waiting, context.klines_compared, context.klines_equal) == (0, 1, 1)


def test_klines_of_bars_that_never_become_whole_when_too_many_wait_then_the_oldest_is_left() -> None:
    venue = Minutes()
    for _ in range(18):
        lost = venue.minute(10_002, lost=True)
        venue.minute(10_003)
        venue.kline(lost, 10_002)
    assert (venue.market.context.klines_left, venue.market.context.klines_waiting) == (2, 16)
    assert venue.market.context.klines_compared == 0


def test_minute_without_trades_when_the_venue_had_none_then_it_is_equal() -> None:
    venue = Minutes()
    venue.minute(10_001)
    venue.wait(MINUTE)
    empty = venue.now_ns // MINUTE * MINUTE
    venue.minute(10_002)
    venue.kline(empty, 10_001, quantity=0, n=0)
    assert (venue.market.context.klines_compared, venue.market.context.klines_equal) == (1, 1)
