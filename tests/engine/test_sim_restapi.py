"""The REST side of the simulated venue: words of refusals, weights, limits, headers, units of time."""

import json
from decimal import Decimal
from urllib.parse import quote

import pytest

from engine.sim.house import Answer, House
from engine.sim.limits import MINUTE, WeightLimit
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.restapi import ENDPOINTS
from tests.engine.quietmarket import QuietMarket

S = 1_000_000_000
T0 = 1_760_000_040 * S  # the start of a minute
KEY = {"X-MBX-APIKEY": "key"}


def quiet_house() -> House:
    house = House(
        [QuietMarket(), QuietMarket("BTCUSDT", "usdm"), QuietMarket("ETHUSDT", "usdm")], api_key="key"
    )
    house.advance(T0)
    return house


def get(house: House, url: str, *, headers: dict[str, str] | None = None, now_ns: int = T0) -> Answer:
    path, _, query = url.partition("?")
    return house.get(path, query, headers or {}, address="1", now_ns=now_ns)


def read_unread(read: int, sent: int) -> str:
    return f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."


def too_many(expected: int, received: int) -> str:
    return f"Too many parameters; expected '{expected}' and received '{received}'."


MISSING = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."
ILLEGAL = "Illegal characters found in parameter '{}'; legal range is '{}'."
NUMBER = "^[0-9]{1,20}$"
NOT_VALID = "Data sent for parameter '{}' is not valid."


# As the venue answered others on api.binance.com and fapi.binance.com.
@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("/api/v3/ticker/price?limit=1", -1104, read_unread(0, 1)),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&fromId=1", -1104, read_unread(2, 3)),
        ("/api/v3/depth?symbol=BTCUSDT&symbol=BTCUSDT", -1101, "Duplicate values for a parameter detected."),
        ("/api/v3/avgPrice?symbol=BTCUSDT&limit=1", -1101, too_many(1, 2)),
        ("/api/v3/time?a=1", -1101, too_many(0, 1)),
        ("/api/v3/aggTrades", -1102, MISSING.format("symbol")),
        ("/api/v3/klines?symbol=BTCUSDT", -1102, MISSING.format("interval")),
        ("/api/v3/klines?fromId=1", -1102, MISSING.format("symbol")),
        ("/api/v3/depth?symbol=", -1105, "Parameter 'symbol' was empty."),
        ("/api/v3/depth?symbol=btcusdt", -1100, ILLEGAL.format("symbol", "^[A-Z0-9-_.]{1,20}$")),
        ("/api/v3/depth?symbol=BTCUSDT%0A", -1100, ILLEGAL.format("symbol", "^[A-Z0-9-_.]{1,20}$")),
        ("/api/v3/depth?symbol=NOSUCH", -1121, "Invalid symbol."),
        ("/api/v3/depth?symbol=BTCUSDT&limit=abc", -1100, ILLEGAL.format("limit", NUMBER)),
        ("/api/v3/aggTrades?symbol=BTCUSDT&limit=-1", -1100, ILLEGAL.format("limit", NUMBER)),
        ("/api/v3/aggTrades?symbol=BTCUSDT&fromId=-1", -1100, ILLEGAL.format("fromId", NUMBER)),
        (
            "/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1",
            -1128,
            "Combination of optional parameters invalid.",
        ),
        ("/api/v3/klines?symbol=BTCUSDT&interval=7m", -1120, "Invalid interval."),
        ("/api/v3/trades?symbol=BTCUSDT&limit=0", -1130, NOT_VALID.format("limit")),
        (
            "/api/v3/ticker/price?symbol=BTCUSDT&symbols=" + quote('["BTCUSDT"]'),
            -1128,
            "Combination of optional parameters invalid.",
        ),
        ("/api/v3/ticker/price?symbols=" + quote('["BTCUSDT","BTCUSDT"]'), -1151,
         "Symbol is present multiple times in the list."),
        ("/api/v3/ticker/price?symbols=" + quote('["BTCUSDT", "A"]'), -1100,
         ILLEGAL.format("symbols", '^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$')),
        ("/api/v3/ticker", -1102, "Param 'symbol' or 'symbols' must be sent, but both were empty/null!"),
        ("/api/v3/ticker?symbol=BTCUSDT&windowSize=60m", -1130, NOT_VALID.format("windowSize")),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT&type=HALF", -1139, "Invalid ticker type."),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1s", -1120, "Invalid interval."),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2000", -1130, NOT_VALID.format("limit")),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=3", -4021, "3 is not valid depth limit"),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=1500", -1130, NOT_VALID.format("limit")),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1001", -1130, NOT_VALID.format("limit")),
        ("/fapi/v1/ticker/24hr?symbol=NOTAREALSYM", -1121, "Invalid symbol."),
        (
            "/fapi/v1/continuousKlines?pair=BTCUSDT&interval=1m&contractType=CURRENT_QUARTER",
            -1130,
            NOT_VALID.format("contractType"),
        ),
    ],
)  # fmt: skip
def test_refusal_is_in_the_words_of_the_venue(url: str, code: int, message: str) -> None:
    answer = get(quiet_house(), url)
    assert (answer.status, json.loads(answer.body)) == (400, {"code": code, "msg": message})


@pytest.mark.parametrize(
    ("headers", "code", "message"),
    [
        ({}, -2014, "API-key format invalid."),
        ({"X-MBX-APIKEY": "other"}, -2015, "Invalid API-key, IP, or permissions for action."),
    ],
)
def test_old_trades_of_usdm_need_a_key(headers: dict[str, str], code: int, message: str) -> None:
    house = quiet_house()
    url = "/fapi/v1/historicalTrades?symbol=BTCUSDT&fromId=7"
    answer = get(house, url, headers=headers)
    assert (answer.status, json.loads(answer.body)) == (401, {"code": code, "msg": message})
    assert json.loads(get(house, url, headers=KEY).body) == [{"id": 7, "limit": 500}]


def test_unknown_paths_are_not_found() -> None:
    house = quiet_house()
    assert get(house, "/api/v3/nope") == Answer(404)
    answer = get(house, "/fapi/v1/nope")
    assert (answer.status, json.loads(answer.body)) == (
        404,
        {"code": -5000, "msg": "Path /fapi/v1/nope, Method GET is invalid"},
    )


@pytest.mark.parametrize(
    ("url", "weight"),
    [
        ("/api/v3/ping", 1),
        ("/api/v3/exchangeInfo", 20),
        ("/api/v3/depth?symbol=BTCUSDT", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=100", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=101", 25),
        ("/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
        ("/api/v3/depth?symbol=BTCUSDT&limit=5000", 250),
        ("/api/v3/trades?symbol=BTCUSDT", 25),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1m", 2),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/24hr?symbols=" + quote(json.dumps([f"A{n}" for n in range(21)])), 40),
        ("/api/v3/ticker/24hr", 80),
        ("/api/v3/ticker/price?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/price", 4),
        ("/api/v3/ticker?symbol=BTCUSDT&windowSize=1h", 4),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=50", 2),
        ("/fapi/v1/depth?symbol=BTCUSDT", 10),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=99", 1),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=100", 2),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1500", 10),
        ("/fapi/v1/premiumIndex", 10),
        ("/fapi/v1/ticker/24hr", 40),
        ("/fapi/v1/openInterest?symbol=BTCUSDT", 1),
        ("/api/v3/depth?symbol=NOSUCH&limit=5000", 250),
    ],
)
def test_request_costs_what_it_costs(url: str, weight: int) -> None:
    answer = get(quiet_house(), url)
    assert answer.headers["x-mbx-used-weight-1m"] == str(weight)
    assert ("x-mbx-used-weight" in answer.headers) is url.startswith("/api/")


def test_too_much_weight_is_refused_then_banned_and_longer_each_time() -> None:
    house = quiet_house()
    url = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    assert {get(house, url).status for _ in range(120)} == {200}
    at_ns = T0 + 20 * S
    answer = get(house, "/fapi/v1/ping", now_ns=at_ns)
    assert (answer.status, answer.headers["Retry-After"], answer.headers["x-mbx-used-weight-1m"]) == (
        429,
        "40",
        "2401",
    )
    assert json.loads(answer.body) == {
        "code": -1003,
        "msg": "Too much request weight used; current limit is 2400 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    }
    assert get(house, "/api/v3/ping", now_ns=at_ns).status == 200
    assert house.get("/fapi/v1/ping", "", {}, address="2", now_ns=at_ns).status == 200
    for _ in range(9):
        assert get(house, "/fapi/v1/ping", now_ns=at_ns).status == 429
    answer = get(house, "/fapi/v1/ping", now_ns=at_ns)
    assert (answer.status, answer.headers["Retry-After"]) == (418, "120")
    until_ms = (at_ns + 120 * S) // 1_000_000
    assert json.loads(answer.body)["msg"] == (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    assert get(house, "/fapi/v1/ping", now_ns=at_ns + 120 * S - 1).status == 418
    assert get(house, "/fapi/v1/ping", now_ns=at_ns + 120 * S).status == 200


def test_second_ban_is_twice_as_long() -> None:
    limit = WeightLimit(10)
    now_ns, lengths = T0, []
    for _ in range(14):
        found = limit.charge("1", 11, now_ns)
        while found.status != 418:
            found = limit.charge("1", 1, now_ns)
        lengths.append(found.retry_after_s)
        now_ns = (found.banned_until_ns // MINUTE + 1) * MINUTE
        assert limit.charge("1", 1, now_ns).status == 200
        now_ns += MINUTE
    assert lengths[:4] == [120, 240, 480, 960]
    assert lengths[-1] == 3 * 24 * 3600


def test_times_come_in_the_unit_that_was_asked_for() -> None:
    house = quiet_house()
    micro = {"x-mbx-time-unit": "microsecond"}
    now_ms = T0 // 1_000_000
    assert json.loads(get(house, "/api/v3/time").body) == {"serverTime": now_ms}
    assert json.loads(get(house, "/api/v3/time", headers=micro).body) == {"serverTime": now_ms * 1_000}
    assert json.loads(get(house, "/api/v3/trades?symbol=BTCUSDT", headers=micro).body)[0]["time"] == 5_000
    (candle,) = json.loads(get(house, "/api/v3/klines?symbol=BTCUSDT&interval=1m", headers=micro).body)
    assert (candle[0], candle[6], candle[8]) == (60_000_000, 119_999_999, 2)
    assert json.loads(get(house, "/fapi/v1/time", headers=micro).body) == {"serverTime": now_ms}
    answer = get(house, "/api/v3/time", headers={"X-MBX-TIME-UNIT": "NANOSECOND"})
    assert (answer.status, json.loads(answer.body)["code"]) == (400, -1194)
    house.clock_offset_ns = 1_200_000_000
    assert json.loads(get(house, "/fapi/v1/time").body) == {"serverTime": now_ms + 1_200}


def test_usdm_ignores_what_it_does_not_know() -> None:
    house = quiet_house()
    info = json.loads(get(house, "/fapi/v1/exchangeInfo?symbol=NO").body)
    assert [row["symbol"] for row in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert get(house, "/fapi/v1/time?timestamp=5").status == 200


def crowd_house() -> tuple[PublicMarket, House]:
    market = PublicMarket(spec_of("BTCUSDT", "spot"), 5, T0)
    house = House([market, PublicMarket(spec_of("BTCUSDT", "usdm"), 5, T0)], api_key="key")
    house.advance(T0 + 20 * S)
    return market, house


EXAMPLES = {
    "symbol": "BTCUSDT", "pair": "BTCUSDT", "interval": "1m", "contractType": "PERPETUAL", "limit": "5",
}  # fmt: skip


@pytest.mark.slow
def test_every_path_answers_on_a_crowd() -> None:
    _, house = crowd_house()
    for path, endpoint in ENDPOINTS.items():
        names = (*endpoint.required, *(name for name in endpoint.optional if name in ("symbol", "limit")))
        query = "&".join(f"{name}={EXAMPLES[name]}" for name in names)
        answer = house.get(path, query, KEY, address=path, now_ns=house.now_ns)
        assert answer.status == 200, (path, answer)
        assert json.loads(answer.body) not in (None, []), path
        if "symbol" in endpoint.optional:
            every = house.get(path, "", KEY, address=path, now_ns=house.now_ns)
            assert every.status == (400 if path == "/api/v3/ticker" else 200), path


@pytest.mark.slow
def test_rolling_window_and_average_are_sums_of_the_trades() -> None:
    _, house = crowd_house()

    def ask(url: str) -> object:
        answer = get(house, url, now_ns=house.now_ns)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    for window in ("1m", "5m"):
        row = ask(f"/api/v3/ticker?symbol=BTCUSDT&windowSize={window}")
        trades: list[dict[str, object]] = []
        start, end = row["openTime"], row["closeTime"]
        assert (start % 60_000, end) == (0, house.now_ns // 1_000_000)
        found = ask(f"/api/v3/aggTrades?symbol=BTCUSDT&startTime={start}&endTime={end}&limit=1000")
        while found:
            trades += [trade for trade in found if trade["T"] <= end]
            last = found[-1]["a"]
            found = ask(f"/api/v3/aggTrades?symbol=BTCUSDT&fromId={last + 1}&limit=1000")
            house._weights["spot"].charge("1", -4, house.now_ns)
        assert Decimal(row["volume"]) == sum(Decimal(trade["q"]) for trade in trades)
        assert Decimal(row["quoteVolume"]) == sum(Decimal(t["q"]) * Decimal(t["p"]) for t in trades)
        prices = [Decimal(trade["p"]) for trade in trades]
        assert (Decimal(row["openPrice"]), Decimal(row["lastPrice"])) == (prices[0], prices[-1])
        assert (Decimal(row["highPrice"]), Decimal(row["lowPrice"])) == (max(prices), min(prices))
        assert row["count"] == sum(trade["l"] - trade["f"] + 1 for trade in trades)
        assert (row["firstId"], row["lastId"]) == (trades[0]["f"], trades[-1]["l"])
    average = ask("/api/v3/avgPrice?symbol=BTCUSDT")
    assert average["mins"] == 5
    assert Decimal(row["lowPrice"]) <= Decimal(average["price"]) <= Decimal(row["highPrice"])
