import asyncio
import json
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import VirtualClock
from engine.errors import VenueError
from engine.signals import MarketKind
from engine.venues.binance_rest import (
    ENDPOINTS,
    LIMIT_PER_MINUTE,
    BinanceRest,
    RestError,
    ServerTime,
    encode,
)
from engine.venues.budget import NS_PER_MINUTE, Budget
from engine.venues.transport import HttpAnswer, TransportError

SPOT, USDM = MarketKind.SPOT, MarketKind.USDM
SECOND = 10**9
START = 29_000_000 * NS_PER_MINUTE + 10 * SECOND


class Venue:
    """The other side of the transport: gives the answers it was told to, some time after the question."""

    def __init__(self, clock):
        self.clock = clock
        self.way_ns = 20_000_000
        self.asked = []
        self.answers = []

    async def get(self, path, query="", *, headers=None, timeout_s):
        self.asked.append((path, query, headers, timeout_s))
        sent_ns = self.clock.now_ns()
        self.clock.advance_to(sent_ns + self.way_ns)
        status, headers, body = self.answers.pop(0)
        if status == 0:
            raise TransportError(body)
        return HttpAnswer(
            status=status, headers=headers, body=body, sent_ns=sent_ns, received_ns=self.clock.now_ns()
        )

    async def close(self):
        pass


class Bench:
    def __init__(self, kind=SPOT, limit=6000):
        self.clock = VirtualClock(START)
        self.venue = Venue(self.clock)
        self.budget = Budget.open(None, limit_per_minute=limit)
        self.slept = []
        self.rest = BinanceRest(kind, self.venue, self.budget, self.clock, sleep=self.sleep)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock.advance_to(self.clock.now_ns() + round(seconds * SECOND))

    def says(self, status=200, body=b"{}", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.venue.answers.append((status, named, body))
        return self

    def ask(self, name, *given, **named):
        return asyncio.run(getattr(self.rest, name)(*given, **named))

    def refused(self, name="ping", *given, **named):
        with pytest.raises(RestError) as caught:
            self.ask(name, *given, **named)
        return caught.value


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def usdm():
    return Bench(USDM, limit=2400)


# The venue's tables, written down a second time: (method, arguments, weight on spot, weight on USD-M).
WEIGHTS = [
    ("ping", (), 1, 1),
    ("server_time", (), 1, 1),
    ("exchange_info", (), 20, 1),
    ("depth", ("BTCUSDT", 5), 5, 2),
    ("depth", ("BTCUSDT", 50), 5, 2),
    ("depth", ("BTCUSDT", 100), 5, 5),
    ("depth", ("BTCUSDT", 500), 25, 10),
    ("depth", ("BTCUSDT", 1000), 50, 20),
    ("depth", ("BTCUSDT", 101), 25, None),
    ("depth", ("BTCUSDT", 501), 50, None),
    ("depth", ("BTCUSDT", 1001), 250, None),
    ("depth", ("BTCUSDT", 5000), 250, None),
    ("depth", ("BTCUSDT", 5001), None, None),
    ("depth", ("BTCUSDT", 0), None, None),
    ("agg_trades", ("BTCUSDT",), 4, 20),
    ("historical_trades", ("BTCUSDT", 7, 500), 25, 20),
    ("historical_trades", ("BTCUSDT", 7, 1000), 25, None),
    ("klines", ("BTCUSDT", "1m", 99), 2, 1),
    ("klines", ("BTCUSDT", "1m", 100), 2, 2),
    ("klines", ("BTCUSDT", "1m", 499), 2, 2),
    ("klines", ("BTCUSDT", "1m", 500), 2, 5),
    ("klines", ("BTCUSDT", "1m", 1000), 2, 5),
    ("klines", ("BTCUSDT", "1m", 1001), None, 10),
    ("klines", ("BTCUSDT", "1m", 1500), None, 10),
    ("klines", ("BTCUSDT", "1m", 1501), None, None),
    ("open_interest", ("BTCUSDT",), None, 1),
    ("premium_index", ("BTCUSDT",), None, 1),
]


@pytest.mark.parametrize(("name", "given", "spot", "usdm"), WEIGHTS)
@pytest.mark.parametrize("kind", [SPOT, USDM])
def test_requests_weigh_what_the_venue_documents(name, given, spot, usdm, kind):
    bench = Bench(kind)
    weight = spot if kind is SPOT else usdm
    is_list = name in ("agg_trades", "historical_trades", "klines")
    body = b"[]" if is_list else b'{"serverTime":1}'
    bench.says(body=body)
    if weight is None:
        with pytest.raises(ValueError, match=r"expects a limit|has no"):
            bench.ask(name, *given)
        assert bench.venue.asked == []
        assert bench.budget.used(START) == 0
        return
    found = bench.ask(name, *given)
    assert found in (None, body) or isinstance(found, ServerTime)
    assert bench.budget.used(bench.clock.now_ns()) == weight
    assert bench.slept == []


def test_table_has_an_endpoint_of_its_market_for_each_method():
    for kind, prefix in ((SPOT, "/api/v3/"), (USDM, "/fapi/v1/")):
        assert all(one.path.startswith(prefix) for one in ENDPOINTS[kind].values())
        assert max(one.weights[-1][1] for one in ENDPOINTS[kind].values()) < LIMIT_PER_MINUTE[kind] * 0.8
    with pytest.raises(ValueError, match="found COINM"):
        BinanceRest(MarketKind.COINM, None, None, None)


def test_questions_are_written_as_documented(bench, usdm):
    bench.says().says(body=b"[]").says(body=b"[]").says(body=b"[]").says(body=b"[]").says().says()
    bench.ask("depth", "BTCUSDT", 5000)
    bench.ask("agg_trades", "BTCUSDT", from_id=26129, limit=10)
    bench.ask("agg_trades", "BTCUSDT", start_ms=1, end_ms=2)
    bench.ask("historical_trades", "BTCUSDT", 0)
    bench.ask("klines", "BTCUSDT", "1m", 1000, end_ms=1672515782136)
    bench.ask("exchange_info")
    bench.ask("exchange_info", ["BTCUSDT", "币安人生USDT"])
    usdm.says().says().says()
    usdm.ask("exchange_info", ["BTCUSDT"])
    usdm.ask("open_interest", "BTCUSDT")
    usdm.ask("premium_index", "BTCUSDT")
    assert bench.venue.asked == [
        ("/api/v3/depth", "symbol=BTCUSDT&limit=5000", None, 5.0),
        ("/api/v3/aggTrades", "symbol=BTCUSDT&fromId=26129&limit=10", None, 5.0),
        ("/api/v3/aggTrades", "symbol=BTCUSDT&startTime=1&endTime=2&limit=1000", None, 5.0),
        ("/api/v3/historicalTrades", "symbol=BTCUSDT&fromId=0&limit=1000", None, 5.0),
        ("/api/v3/klines", "symbol=BTCUSDT&interval=1m&endTime=1672515782136&limit=1000", None, 5.0),
        ("/api/v3/exchangeInfo", "", None, 5.0),
        (
            "/api/v3/exchangeInfo",
            "symbols=%5B%22BTCUSDT%22%2C%22%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT%22%5D",
            None,
            5.0,
        ),
    ]
    assert usdm.venue.asked == [
        ("/fapi/v1/exchangeInfo", "", None, 5.0),
        ("/fapi/v1/openInterest", "symbol=BTCUSDT", None, 5.0),
        ("/fapi/v1/premiumIndex", "symbol=BTCUSDT", None, 5.0),
    ]


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1) | st.integers()))
def test_every_parameter_comes_through_the_encoding(given_):
    query = encode(given_)
    assert query.isascii()
    assert not set(query) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%=&")
    found = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    assert found == [(name, str(value)) for name, value in given_.items()]


@pytest.mark.parametrize("code", [-1121, -1100])
def test_listing_with_a_symbol_that_is_gone_is_asked_for_whole(bench, code):
    bench.says(400, b'{"code":%d,"msg":"Invalid symbol."}' % code).says(body=b'{"symbols":[]}')
    assert bench.ask("exchange_info", ["BTCUSDT", "GONEUSDT"]) == b'{"symbols":[]}'
    assert [query for _, query, _, _ in bench.venue.asked] == [
        "symbols=%5B%22BTCUSDT%22%2C%22GONEUSDT%22%5D",
        "",
    ]
    assert bench.budget.used(bench.clock.now_ns()) == 40
    assert bench.says(500, b"").refused("exchange_info", ["BTCUSDT"]).status == 500
    assert len(bench.venue.asked) == 3


def test_bodies_come_as_they_were_sent(bench):
    body = b' {"lastUpdateId": 1,\n"bids":[],"asks":[]} '
    assert bench.says(body=body).ask("depth", "BTCUSDT", 100) == body


def test_server_time_tells_when_it_was_asked(bench):
    found = bench.says(body=b'{"serverTime":1672515782136}').ask("server_time")
    assert found == (1672515782136_000_000, START, START + 20_000_000)


def test_question_waits_for_the_budget(bench):
    bench.budget.take(4790, START)
    bench.says()
    bench.ask("exchange_info")
    (waited_s,) = bench.slept
    assert waited_s == pytest.approx(52.0)
    assert bench.budget.used(bench.clock.now_ns()) == 20


def test_snapshot_and_time_are_urgent_but_for_a_refresh(bench):
    bench.budget.take(4800, START)
    bench.says().says(body=b'{"serverTime":1}').says()
    bench.ask("depth", "BTCUSDT", 5000)
    bench.ask("server_time")
    assert bench.slept == []
    bench.ask("depth", "BTCUSDT", 5000, is_urgent=False)
    assert len(bench.slept) == 1


def test_what_the_venue_counts_is_learned_from_any_answer(bench):
    bench.says(x_mbx_used_weight_1m="777").ask("ping")
    assert bench.budget.used(bench.clock.now_ns()) == 777
    bench.says(500, b"oops", x_mbx_used_weight_1m="900").refused()
    assert bench.budget.used(bench.clock.now_ns()) == 900
    for odd in ("-1", "1e9", "", "٣", "9" * 20):
        bench.says(x_mbx_used_weight_1m=odd).ask("ping")
    assert bench.budget.used(bench.clock.now_ns()) == 905


@pytest.mark.parametrize("way_ns", [20_000_000, 4 * SECOND])
def test_count_in_an_answer_that_spans_two_minutes_is_not_of_the_new_one(bench, way_ns):
    bench.venue.way_ns = way_ns
    bench.clock.advance_to(START // NS_PER_MINUTE * NS_PER_MINUTE + NS_PER_MINUTE - 10_000_000)
    bench.says(x_mbx_used_weight_1m="5990").ask("ping")
    assert bench.budget.used(bench.clock.now_ns()) == 1
    assert bench.budget.used(bench.clock.now_ns() + 10 * SECOND) == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait_s"),
    [
        (429, {"retry_after": "7"}, b'{"code":-1003,"msg":"Too many requests"}', 7),
        (429, {}, b'{"code":-1003,"msg":"Too many requests"}', 60),
        (429, {"retry_after": "soon"}, b"", 60),
        (429, {"retry_after": "0"}, b"", 1),
        (418, {"retry_after": "300"}, b"", 300),
        (418, {}, b"<html>", 120),
        (418, {"retry_after": "999999999"}, b"", 3 * 86_400),
        (418, {"retry_after": "5"}, b'{"code":-1003,"msg":"IP banned until %d. Please"}', 90),
        (403, {}, b"<html>Forbidden</html>", 360),
        (400, {}, b'{"code":-1003,"msg":"Too many requests queued."}', 60),
        (200, {}, b'{"code":-1003,"msg":"Too many requests queued."}', 60),
        (503, {"retry_after": "9"}, b'{"code":-1003,"msg":"m"}', 9),
    ],
)
def test_refusal_for_asking_too_much_keeps_everybody_away(bench, status, headers, body, wait_s):
    received_ns = START + 20_000_000
    if b"%d" in body:
        body %= (received_ns + 90 * SECOND) // 10**6
    error = bench.says(status, body, **headers).refused()
    assert error.retry_ns == pytest.approx(wait_s * SECOND, abs=10**6)
    assert (error.status, error.terminal, error.is_unknown) == (status, False, status == 503)
    assert error.code == (-1003 if b"-1003" in body else 0)
    assert bench.budget.banned_until_ns == received_ns + error.retry_ns
    assert f"found the status {status}" in str(error)
    # The next question of anybody waits that long, an urgent one as well.
    bench.says()
    bench.ask("depth", "BTCUSDT", 100)
    assert sum(bench.slept) == pytest.approx(wait_s, abs=0.001)


@pytest.mark.parametrize(
    ("status", "body", "code", "fate"),
    [
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', -1121, (False, True)),
        (401, b'{"code":-2014,"msg":"API-key format invalid."}', -2014, (False, True)),
        (404, b"<html>not here</html>", 0, (False, True)),
        (408, b"", 0, (True, False)),
        (451, b'{"code":0,"msg":"Service unavailable from a restricted location"}', 0, (False, True)),
        (500, b"", 0, (True, False)),
        (502, b"<html>Bad Gateway</html>", 0, (True, False)),
        (503, b'{"code":-1008,"msg":"Server is currently overloaded"}', -1008, (True, False)),
        (504, b'{"code":-1007,"msg":"Timeout"}', -1007, (True, False)),
        (301, b"", 0, (False, False)),
    ],
)
def test_other_refusals_say_what_they_are_and_ban_nobody(bench, status, body, code, fate):
    error = bench.says(status, body).refused()
    assert isinstance(error, VenueError)
    assert (error.status, error.code, error.retry_ns) == (status, code, 0)
    assert (error.is_unknown, error.terminal) == fate
    assert bench.budget.banned_until_ns == 0
    said = json.loads(body).get("msg") if body[:1] == b"{" else body.decode()
    assert said in str(error)


def test_no_answer_is_an_unknown_one(bench):
    error = bench.says(0, "reset by peer").refused("depth", "BTCUSDT", 100)
    assert (error.status, error.is_unknown, error.terminal) == (0, True, False)
    assert "/api/v3/depth: no answer: reset by peer" in str(error)
    assert bench.budget.used(bench.clock.now_ns()) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><html>" + b"x" * 5000,
        b'{"lastUpdateId":1,"bids":[["1.0","2.0"]',
        b'{"lastUpdateId":1}{}',
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b'{"a":"\xff"}',
        b'{"code":0,"msg":"what"}',
    ],
)
def test_body_that_is_no_whole_json_of_its_shape_is_one_clear_error(bench, body):
    error = bench.says(200, body).refused("depth", "BTCUSDT", 100)
    assert f"/api/v3/depth expected an object in JSON, found {len(body)} bytes" in str(error)
    assert len(str(error)) < 300
    assert (error.status, error.is_unknown, error.retry_ns, error.terminal) == (200, False, 0, False)


def test_array_and_time_are_of_their_shape_too(bench):
    error = bench.says(200, b"{}").refused("agg_trades", "BTCUSDT")
    assert "expected an array in JSON, found 2 bytes: '{}'" in str(error)
    error = bench.says(200, b'{"time":1}').refused("server_time")
    assert "/api/v3/time expected an object in JSON" in str(error)


@given(body=st.binary(max_size=80), status=st.sampled_from([200, 400, 418, 429, 500]))
def test_no_bytes_raise_anything_but_the_one_error(body, status):
    bench = Bench()
    bench.says(status, body)
    try:
        json.loads(bench.ask("depth", "BTCUSDT", 100))
    except RestError as error:
        found = error.status
    else:
        found = 200
    assert found == status
