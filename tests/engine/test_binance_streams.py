import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.signals import MarketKind
from engine.venues.binance_streams import (
    Reply,
    addresses,
    by_category,
    category,
    reply_of,
    stream_names,
    stream_url,
    subscribe_text,
    unsubscribe_text,
)
from native.events import ParseStatus
from native.wire.binance_json import BinanceJson

SPOT, USDM, COINM = MarketKind.SPOT, MarketKind.USDM, MarketKind.COINM


@pytest.mark.parametrize(
    ("kind", "environment", "rest", "streams"),
    [
        (SPOT, "live", "https://api.binance.com", {"spot": "wss://stream.binance.com:9443"}),
        (SPOT, "testnet", "https://testnet.binance.vision", {"spot": "wss://stream.testnet.binance.vision"}),
        (SPOT, "demo", "https://demo-api.binance.com", {"spot": "wss://demo-stream.binance.com"}),
        (
            USDM,
            "live",
            "https://fapi.binance.com",
            {"public": "wss://fstream.binance.com/public", "market": "wss://fstream.binance.com/market"},
        ),
        (
            USDM,
            "testnet",
            "https://demo-fapi.binance.com",
            {
                "public": "wss://fstream.binancefuture.com/public",
                "market": "wss://fstream.binancefuture.com/market",
            },
        ),
        (
            USDM,
            "demo",
            "https://demo-fapi.binance.com",
            {
                "public": "wss://demo-fstream.binance.com/public",
                "market": "wss://demo-fstream.binance.com/market",
            },
        ),
    ],
)
def test_hosts_are_those_of_the_environment(kind, environment, rest, streams):
    found = addresses(kind, environment=environment)
    assert (found.rest, dict(found.streams)) == (rest, streams)
    private = streams["public"].replace("/public", "/private") if kind is USDM else ""
    assert found.private == private


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8001", "http://127.0.0.1:8001/"])
def test_simulated_venue_serves_every_category_at_one_origin(origin):
    spot, usdm = addresses(SPOT, origin=origin), addresses(USDM, origin=origin, environment="demo")
    assert spot.rest == usdm.rest == "http://127.0.0.1:8001"
    assert spot.streams == {"spot": "ws://127.0.0.1:8001"}
    assert usdm.streams == {"public": "ws://127.0.0.1:8001/public", "market": "ws://127.0.0.1:8001/market"}
    assert addresses(SPOT, origin="https://sim.example").streams == {"spot": "wss://sim.example"}


@pytest.mark.parametrize("origin", ["127.0.0.1:8001", "ws://h", "http://", "http://h/x", "http://h?x", "x"])
def test_origin_that_is_none_is_refused(origin):
    with pytest.raises(InputError, match=r"such as http://127\.0\.0\.1:8001, found"):
        addresses(SPOT, origin=origin)


def test_inverse_contracts_and_other_environments_have_no_addresses():
    with pytest.raises(InputError, match="found COINM, live"):
        addresses(COINM)
    with pytest.raises(InputError, match="found COINM"):
        addresses(COINM, origin="http://h")
    with pytest.raises(InputError, match="found SPOT, prod"):
        addresses(SPOT, environment="prod")
    with pytest.raises(ValueError, match="found COINM"):
        stream_names("BTCUSD_PERP", COINM)
    with pytest.raises(ValueError, match="found COINM"):
        category("btcusd_perp@depth", COINM)


def test_streams_of_spot_are_real_time_trades_and_no_mark():
    assert stream_names("BTCUSDT", SPOT) == {
        "depth": "btcusdt@depth@100ms",
        "trades": "btcusdt@trade",
        "ticker": "btcusdt@bookTicker",
        "kline": "btcusdt@kline_1m",
        "day": "btcusdt@ticker",
    }
    assert stream_names("BTCUSDT", SPOT, has_trade_stream=True) == stream_names("BTCUSDT", SPOT)


def test_streams_of_usdm_are_batched_trades_unless_asked_otherwise():
    names = stream_names("BTCUSDT_260925", USDM)
    assert names["trades"] == "btcusdt_260925@aggTrade"
    assert (names["mark"], names["force"]) == ("btcusdt_260925@markPrice@1s", "btcusdt_260925@forceOrder")
    assert stream_names("BTCUSDT", USDM, has_trade_stream=True)["trades"] == "btcusdt@trade"


# Which sockets carry what, as counted on the venue by others (2026-07): a second writing of the table.
PUBLIC = [
    "depth",
    "depth@100ms",
    "depth@500ms",
    "depth@0ms",
    "depth5",
    "depth20@100ms",
    "rpiDepth@500ms",
    "bookTicker",
    "trade",
]
MARKET = [
    "aggTrade",
    "markPrice",
    "markPrice@1s",
    "kline_1m",
    "kline_1M",
    "kline_15m",
    "ticker",
    "miniTicker",
    "forceOrder",
    "compositeIndex",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_book_and_single_trades_are_public(name):
    assert category(f"btcusdt@{name}", USDM) == "public"


@pytest.mark.parametrize("name", MARKET)
def test_what_is_computed_is_market(name):
    assert category(f"btcusdt@{name}", USDM) == "market"


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        ("!bookTicker", "public"),
        ("!markPrice@arr", "market"),
        ("!markPrice@arr@1s", "market"),
        ("!forceOrder@arr", "market"),
        ("!contractInfo", "market"),
        ("!assetIndex@arr", "market"),
        ("btcusdt_perpetual@continuousKline_1m", "market"),
        ("币安人生usdt@depth@100ms", "public"),
    ],
)
def test_streams_of_all_symbols_and_names_in_any_script_have_a_category(stream, wanted):
    assert category(stream, USDM) == wanted


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        ("", USDM),
        ("btcusdt", USDM),
        ("@depth", USDM),
        ("btcusdt@", USDM),
        ("btcusdt@depht@100ms", USDM),
        ("btcusdt@depth@1s", USDM),
        ("btcusdt@depth@100ms/ethusdt@depth@100ms", USDM),
        ("btcusdt@depth@100ms\n", USDM),
        ("btcusdt@avgPrice", USDM),
        ("btcusdt@markPrice", SPOT),
        ("btcusdt@forceOrder", SPOT),
        ("btcusdt@rpiDepth@500ms", SPOT),
        ("!bookTicker", SPOT),
    ],
)
def test_stream_that_no_category_serves_is_refused(stream, kind):
    with pytest.raises(ValueError, match="found "):
        category(stream, kind)


@pytest.mark.parametrize("kind", [SPOT, USDM])
@pytest.mark.parametrize("has_trade_stream", [False, True])
def test_every_stream_we_name_has_a_category_and_a_url(kind, has_trade_stream):
    places = addresses(kind)
    names = [
        name
        for symbol in ("BTCUSDT", "1000SHIBUSDT", "币安人生USDT")
        for name in stream_names(symbol, kind, has_trade_stream=has_trade_stream).values()
    ]
    sorted_names = by_category(names, kind)
    assert sorted(name for part in sorted_names.values() for name in part) == sorted(names)
    assert set(sorted_names) == set(places.streams)
    for wanted, part in sorted_names.items():
        assert all(category(name, kind) == wanted for name in part)
        assert stream_url(places, kind, wanted, part).startswith(places.streams[wanted] + "/stream?streams=")


def test_url_asks_spot_for_microseconds_and_usdm_for_nothing():
    assert stream_url(addresses(SPOT), SPOT, "spot") == (
        "wss://stream.binance.com:9443/stream?timeUnit=MICROSECOND"
    )
    assert stream_url(addresses(SPOT), SPOT, "spot", ["btcusdt@trade", "币usdt@depth@100ms"]) == (
        "wss://stream.binance.com:9443/stream?streams=btcusdt@trade/%E5%B8%81usdt@depth@100ms"
        "&timeUnit=MICROSECOND"
    )
    assert stream_url(addresses(USDM), USDM, "market") == "wss://fstream.binance.com/market/stream"
    assert stream_url(addresses(USDM), USDM, "public", ["btcusdt@depth@100ms"]) == (
        "wss://fstream.binance.com/public/stream?streams=btcusdt@depth@100ms"
    )


def test_stream_in_the_wrong_category_is_an_error():
    with pytest.raises(ValueError, match="category public, found btcusdt@aggTrade of market"):
        stream_url(addresses(USDM), USDM, "public", ["btcusdt@depth@100ms", "btcusdt@aggTrade"])
    with pytest.raises(ValueError, match="category market, found btcusdt@trade of public"):
        stream_url(addresses(USDM), USDM, "market", ["btcusdt@trade"])
    with pytest.raises(ValueError, match="categories public, market, found 'spot'"):
        stream_url(addresses(USDM), USDM, "spot")


def test_control_messages_are_what_the_venue_documents():
    streams = ["btcusdt@aggTrade", "币usdt@depth"]
    assert json.loads(subscribe_text(1, streams)) == {"method": "SUBSCRIBE", "params": streams, "id": 1}
    assert json.loads(unsubscribe_text(312, streams)) == {
        "method": "UNSUBSCRIBE",
        "params": streams,
        "id": 312,
    }


@pytest.mark.parametrize(
    ("payload", "reply"),
    [
        ('{"result":null,"id":1}', Reply(1, is_ok=True)),
        ('{"id":7,"result":null}', Reply(7, is_ok=True)),
        ('{"result":["btcusdt@aggTrade"],"id":3}', Reply(3, is_ok=True)),
        ('{"result":null,"id":"abc"}', Reply(None, is_ok=True)),
        ('{"error":{"code":2,"msg":"Invalid request"},"id":4}', Reply(4, False, 2, "Invalid request")),
        ('{"code":2,"msg":"Invalid request: x","id":4}', Reply(4, False, 2, "Invalid request: x")),
        ('{"code":3,"msg":"Invalid JSON"}', Reply(None, False, 3, "Invalid JSON")),
        ('{"error":{"code":3,"msg":"m"},"id":null}', Reply(None, False, 3, "m")),
        ('{"id":5,"status":429,"error":{"code":-1003,"msg":"m"}}', Reply(5, False, -1003, "m")),
        ('{"id":5,"error":null,"result":null}', Reply(5, is_ok=True)),
        ('{"e":"serverShutdown","E":1770123456789}', None),
        ('{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}', None),
        ('{"stream":"btcusdt@trade","data":{"id":1}}', None),
        ('{"e":"trade","id":1,"result":2}', None),
        ('{"result":null}', None),
        ('{"id":1}', None),
        ("[]", None),
        ("", None),
        ("pong", None),
        ('{"result":null,"id":1', None),
    ],
)
def test_reply_is_told_from_all_else(payload, reply):
    assert reply_of(payload.encode()) == reply


@given(st.binary(max_size=64))
def test_any_bytes_are_a_reply_or_none(payload):
    found = reply_of(payload)
    assert found is None or isinstance(found, Reply)


@pytest.mark.parametrize("event_time", ["1672515782136", "1672515782136245"])
def test_corridor_reads_times_of_both_units(event_time):
    reader = BinanceJson(symbol="BTCUSDT", price_digits=2, quantity_digits=5, is_spot=True)
    frame = (
        f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{event_time},"s":"BTCUSDT","t":1,"p":"1.00",'
        f'"q":"1.0","T":{event_time},"m":true}}}}'
    )
    status, _, found = reader.read(frame.encode())
    assert status is ParseStatus.PARSE_OK
    wanted = int(event_time) * (10**6 if len(event_time) == 13 else 1000)
    assert (found["event_ns"], found["venue_ns"]) == (wanted, wanted)
