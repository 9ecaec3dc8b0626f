"""python-binance sees the simulated venue as it is."""

from decimal import Decimal

import pytest

from tests.clients.conformance import Seen, best, contiguous, levels, see

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.xdist_group("python-binance")]


@pytest.fixture(scope="module")
def seen() -> Seen:
    return see("python-binance", "see_python_binance.py")


def test_every_call_and_every_socket_worked(seen: Seen) -> None:
    assert seen.said["failed"] == []
    errors = [
        (name, message)
        for name, messages in seen.said["heard"].items()
        for message in messages
        if isinstance(message, dict) and message.get("e") == "error"
    ]
    assert errors == []


def test_spot_depth_cache_is_the_book(seen: Seen) -> None:
    book = seen.ask("/api/v3/depth", symbol="BTCUSDT", limit=5000)
    for side in ("bids", "asks"):
        found = levels(seen.said["books"]["spot"][side])
        assert len(found) > 500
        assert found == levels(book[side])


def test_futures_depth_cache_is_the_top_of_the_book(seen: Seen) -> None:
    book = seen.ask("/fapi/v1/depth", symbol="BTCUSDT", limit=10)
    for side in ("bids", "asks"):
        assert levels(seen.said["books"]["usdm"][side]) == levels(book[side])


def test_trades_of_streams_are_the_trades_of_the_house(seen: Seen) -> None:
    heard = [message for message in seen.said["heard"]["trade"] if message["e"] == "trade"]
    ids = [message["t"] for message in heard]
    assert contiguous(ids)
    rows = []
    while len(rows) < len(ids):
        rows += seen.ask("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=ids[0] + len(rows), limit=1000)
    told = [(m["t"], m["p"], m["q"], m["T"], m["m"]) for m in heard]
    assert told == [(r["id"], r["price"], r["qty"], r["time"], r["isBuyerMaker"]) for r in rows]


@pytest.mark.parametrize(
    ("stream", "path"), [("aggTrade", "/api/v3/aggTrades"), ("futures aggTrade", "/fapi/v1/aggTrades")]
)
def test_aggregates_of_streams_are_those_of_the_house(seen: Seen, stream: str, path: str) -> None:
    heard = [message.get("data", message) for message in seen.said["heard"][stream]]
    ids = [message["a"] for message in heard]
    assert contiguous(ids)
    rows = seen.ask(path, symbol="BTCUSDT", fromId=ids[0], limit=1000)
    n = min(len(rows), len(heard))
    keys = ("a", "p", "q", "f", "l", "T", "m")
    assert [[m[key] for key in keys] for m in heard[:n]] == [[r[key] for key in keys] for r in rows[:n]]


SAME = {
    "get_order_book": ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": 1000}),
    "get_recent_trades": ("/api/v3/trades", {"symbol": "BTCUSDT", "limit": 50}),
    "get_historical_trades": ("/api/v3/historicalTrades", {"symbol": "BTCUSDT", "limit": 50}),
    "get_aggregate_trades": ("/api/v3/aggTrades", {"symbol": "BTCUSDT", "limit": 50}),
    "get_symbol_ticker": ("/api/v3/ticker/price", {"symbol": "BTCUSDT"}),
    "get_orderbook_ticker": ("/api/v3/ticker/bookTicker", {"symbol": "BTCUSDT"}),
    "get_orderbook_tickers": ("/api/v3/ticker/bookTicker", {}),
    "get_all_tickers": ("/api/v3/ticker/price", {}),
    "futures_recent_trades": ("/fapi/v1/trades", {"symbol": "BTCUSDT", "limit": 50}),
    "futures_historical_trades": ("/fapi/v1/historicalTrades", {"symbol": "BTCUSDT", "limit": 50}),
    "futures_aggregate_trades": ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "limit": 50}),
    "futures_symbol_ticker": ("/fapi/v1/ticker/price", {"symbol": "BTCUSDT"}),
    "futures_funding_rate": ("/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}),
}


@pytest.mark.parametrize("call", SAME)
def test_answer_of_a_standing_market_is_the_answer_of_the_house(seen: Seen, call: str) -> None:
    path, parameters = SAME[call]
    assert seen.said["answers"][call] == seen.ask(path, **parameters)


def test_clocks_and_figures_of_the_day_are_those_of_the_house(seen: Seen) -> None:
    answers = seen.said["answers"]
    now_ms = seen.house.now_ns // 1_000_000
    assert 0 <= now_ms - answers["get_server_time"]["serverTime"] < 20_000
    assert 0 <= now_ms - answers["futures_time"]["serverTime"] < 20_000
    assert answers["futures_ping"] == {}
    for call, path in (("get_ticker", "/api/v3/ticker/24hr"), ("futures_ticker", "/fapi/v1/ticker/24hr")):
        day = seen.ask(path, symbol="BTCUSDT")
        assert (answers[call]["lastPrice"], answers[call]["lastId"]) == (day["lastPrice"], day["lastId"])
    mark = Decimal(answers["futures_mark_price"]["markPrice"])
    price = Decimal(answers["futures_symbol_ticker"]["price"])
    assert abs(mark / price - 1) < Decimal("0.01")
    assert Decimal(answers["futures_open_interest"]["openInterest"]) > 0


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("get_klines", "/api/v3/klines"),
        ("futures_klines", "/fapi/v1/klines"),
        ("futures_continuous_klines", "/fapi/v1/klines"),
    ],
)
def test_closed_candles_are_those_of_the_house(seen: Seen, call: str, path: str) -> None:
    expected = {row[0]: row for row in seen.ask(path, symbol="BTCUSDT", interval="1m", limit=60)}
    found = seen.said["answers"][call]
    assert len(found) == 30
    assert [row for row in found if expected[row[0]] != row] == []


def test_futures_book_of_rest_is_the_book(seen: Seen) -> None:
    book = seen.ask("/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    found = seen.said["answers"]["futures_order_book"]
    assert [best(side, found[side], 1000) for side in ("bids", "asks")] == [
        best(side, book[side], 1000) for side in ("bids", "asks")
    ]
    assert found["lastUpdateId"] <= book["lastUpdateId"]


def test_exchange_info_names_every_symbol_with_its_filters(seen: Seen) -> None:
    answers = seen.said["answers"]
    for call in ("get_exchange_info", "futures_exchange_info"):
        symbols = {symbol["symbol"]: symbol for symbol in answers[call]["symbols"]}
        assert set(symbols) == {"BTCUSDT", "ETHUSDT"}
        kinds = {row["filterType"] for row in symbols["BTCUSDT"]["filters"]}
        assert {"PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE"} <= kinds
        assert answers[call]["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"
    assert answers["get_symbol_info"]["symbol"] == "BTCUSDT"
