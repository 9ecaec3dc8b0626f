"""The simulated venue's stream connections, in venue time."""

import json

import pytest

from engine.errors import InputError
from engine.sim.house import Answer, House, Out, OutClose, OutCut, OutPing, OutPong, OutText, Session
from engine.sim.told import Told
from tests.engine.quietmarket import QuietMarket

S = 1_000_000_000
T0 = 1_760_000_000 * S


class Client:
    """One connection of a house and all that came over it."""

    def __init__(
        self, house: House, path: str, query: str = "", *, address: str = "1", now_ns: int = T0
    ) -> None:
        self.house = house
        self.outs: list[tuple[int, Out]] = []
        found = house.open(path, query, address=address, now_ns=now_ns, deliver=self.take)
        assert isinstance(found, Session), found
        self.session = found

    def take(self, at_ns: int, out: Out) -> None:
        assert not self.outs or at_ns >= self.outs[-1][0]
        self.outs.append((at_ns, out))

    def send(self, message: object, now_ns: int = T0) -> object:
        """Send a request and return its reply."""
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.house.advance(now_ns)
        self.session.on_text(text, now_ns)
        return self.texts[-1]

    @property
    def texts(self) -> list[object]:
        return [json.loads(out.payload) for _, out in self.outs if isinstance(out, OutText)]

    @property
    def others(self) -> list[tuple[int, Out]]:
        return [(at_ns, out) for at_ns, out in self.outs if not isinstance(out, OutText)]


def spot_house() -> tuple[QuietMarket, House]:
    market = QuietMarket()
    house = House([market], api_key="key")
    house.advance(T0)
    return market, house


def usdm_house() -> tuple[QuietMarket, QuietMarket, House]:
    bitcoin, ether = QuietMarket("BTCUSDT", "usdm"), QuietMarket("ETHUSDT", "usdm")
    house = House([bitcoin, ether], api_key="key")
    house.advance(T0)
    return bitcoin, ether, house


def error(code: int, message: str, request_id: object = 1) -> object:
    return {"error": {"code": code, "msg": message}, "id": request_id}


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/ws/btcusdt@trade", "", {"word": "a", "E": T0 // 1_000_000}),
        ("/ws/btcusdt@trade", "timeUnit=MICROSECOND", {"word": "a", "E": T0 // 1_000}),
        ("/stream/ws/btcusdt@trade", "", {"word": "a", "E": T0 // 1_000_000}),
        (
            "/stream",
            "streams=btcusdt@trade/btcusdt@depth@100ms",
            {"stream": "btcusdt@trade", "data": {"word": "a", "E": T0 // 1_000_000}},
        ),
    ],
)
def test_spot_paths_wrap_and_time_as_asked(path: str, query: str, expected: object) -> None:
    market, house = spot_house()
    client = Client(house, path, query)
    market.say(T0, "trade", "a")
    house.advance(T0)
    assert client.texts == [expected]


@pytest.mark.parametrize(
    ("path", "stream", "is_heard"),
    [
        ("/public", "bookTicker", True),
        ("/public", "depth@100ms", True),
        ("/public", "aggTrade", False),
        ("/market", "aggTrade", True),
        ("/market", "depth@100ms", False),
        ("/private", "aggTrade", False),
        ("/legacy", "aggTrade", False),
        ("/legacy", "bookTicker", False),
    ],
)
def test_usdm_stream_of_another_category_is_acknowledged_and_silent(
    path: str, stream: str, is_heard: bool
) -> None:
    market, _, house = usdm_house()
    client = Client(house, path + "/ws")
    reply = client.send({"method": "SUBSCRIBE", "params": [f"btcusdt@{stream}"], "id": 4})
    assert reply == {"result": None, "id": 4}
    assert client.send({"method": "LIST_SUBSCRIPTIONS", "id": 5}) == {
        "result": [f"btcusdt@{stream}"],
        "id": 5,
    }
    market.say(T0 + S, stream, "a")
    house.advance(T0 + S)
    assert (client.texts[-1] == {"word": "a", "E": (T0 + S) // 1_000_000}) is is_heard
    assert len(client.texts) == (3 if is_heard else 2)


def test_unknown_path_is_no_door() -> None:
    _, house = spot_house()
    for path in ("/", "/wss", "/streams", "/public", "/public/streams", "/ws-api/v3"):
        assert house.open(path, "", address="1", now_ns=T0, deliver=print) == Answer(404)


def test_requests_of_a_connection_and_their_replies() -> None:
    market, house = spot_house()
    client = Client(house, "/ws")
    step = iter(range(0, 100 * S, S))
    subscribe = {
        "method": "SUBSCRIBE",
        "params": ["btcusdt@trade", "nosuch@trade", "BTCUSDT@trade"],
        "id": "a-1",
    }
    ask = client.send
    assert ask(subscribe, T0 + next(step)) == {"result": None, "id": "a-1"}
    listed = ask({"method": "LIST_SUBSCRIPTIONS", "id": 2}, T0 + next(step))
    assert listed == {"result": ["btcusdt@trade", "nosuch@trade", "BTCUSDT@trade"], "id": 2}
    combined = {"method": "GET_PROPERTY", "params": ["combined"], "id": 3}
    assert ask(combined, T0 + next(step)) == {"result": False, "id": 3}
    change = {"method": "SET_PROPERTY", "params": ["combined", True], "id": 4}
    assert ask(change, T0 + next(step)) == {"result": None, "id": 4}
    assert ask(combined, T0 + next(step)) == {"result": True, "id": 3}
    market.say(T0 + next(step), "trade", "a")
    house.advance(market.next_ns)
    assert client.texts[-1] == {
        "stream": "btcusdt@trade",
        "data": {"word": "a", "E": T0 // 1_000_000 + 5_000},
    }
    leave = {"method": "UNSUBSCRIBE", "params": ["btcusdt@trade", "never@trade"], "id": None}
    assert ask(leave, T0 + next(step)) == {"result": None, "id": None}
    assert market.sinks["btcusdt@trade"] == []


ONE_OF = "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"{nonsense", {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}),
        (
            {"method": "SUBSCRIBE", "params": ["btcusdt@trade"]},
            {"error": {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"}},
        ),
        (
            {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1.5},
            error(2, "Invalid request: request ID must be an unsigned integer", 1.5),
        ),
        ({"id": 1}, error(2, "Invalid request: missing field `method` at line 1 column 1")),
        (
            {"method": "subscribe", "id": 1},
            error(2, f"Invalid request: unknown variant `subscribe`, {ONE_OF}"),
        ),
        (
            {"method": "SUBSCRIBE", "params": ["not a stream"], "id": 1},
            error(2, "Invalid request: invalid stream"),
        ),
        ({"method": "GET_PROPERTY", "params": ["speed"], "id": 1}, error(0, "Unknown property")),
        (
            {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1},
            error(1, "Invalid value type: expected Boolean"),
        ),
        (
            {"method": "GET_PROPERTY", "params": [], "id": 1},
            error(2, "Invalid request: property name must be a string"),
        ),
        (
            {"method": "GET_PROPERTY", "params": ["combined", 1], "id": 1},
            error(2, "Invalid request: too many parameters"),
        ),
        (
            {"method": "SUBSCRIBE", "params": [f"s{n}@trade" for n in range(1025)], "id": 1},
            error(4, "Too many subscriptions"),
        ),
    ],
)
def test_wrong_request_is_answered_in_the_words_of_the_venue(request_: object, reply: object) -> None:
    _, house = spot_house()
    client = Client(house, "/ws")
    assert client.send(request_) == reply
    assert client.session.is_open
    assert client.session.names == {}


@pytest.mark.parametrize(("market", "path", "allowed"), [("spot", "/ws", 5), ("usdm", "/public/ws", 10)])
def test_messages_beyond_the_limit_of_a_second_end_the_connection(
    market: str, path: str, allowed: int
) -> None:
    house = spot_house()[1] if market == "spot" else usdm_house()[2]
    client = Client(house, path)
    for number in range(allowed):
        client.session.on_pong(b"", T0 + number * 100_000_000 // allowed)
    client.session.on_ping(b"x", T0 + S)
    assert client.others == [(T0 + S, OutPong(b"x"))]
    for _ in range(allowed):
        client.session.on_pong(b"", T0 + S + S // 2)
    assert client.others[-1] == (T0 + S + S // 2, OutClose(1008, "Too many requests"))
    assert not client.session.is_open
    assert house.sessions == {}


@pytest.mark.parametrize(
    ("market", "path", "every_s", "within_s"), [("spot", "/ws", 20, 60), ("usdm", "/market/ws", 180, 600)]
)
def test_ping_without_its_pong_ends_the_connection(
    market: str, path: str, every_s: int, within_s: int
) -> None:
    house = spot_house()[1] if market == "spot" else usdm_house()[2]
    client = Client(house, path)
    first = T0 + every_s * S
    house.advance(first)
    payload = str(first // 1_000_000).encode()
    assert client.others == [(first, OutPing(payload))]
    client.session.on_pong(b"other", first + 1)
    client.session.on_pong(b"", first + 2)
    house.advance(first + within_s * S - 1)
    assert client.session.is_open
    house.advance(first + within_s * S)
    assert client.others[-1] == (first + within_s * S, OutClose(1008, "Pong timeout"))


def test_connection_that_answers_its_pings_lives_for_a_day() -> None:
    _, house = spot_house()
    client = Client(house, "/ws")
    moment = T0
    while client.session.is_open:
        moment += 10 * S
        house.advance(moment)
        for at_ns, out in client.others:
            if isinstance(out, OutPing) and client.session.is_open:
                client.session.on_pong(out.payload, moment)
                assert at_ns <= moment
        del client.outs[:-1]
    assert client.others == [(T0 + 24 * 3600 * S, OutClose(1001, ""))]


def test_attempts_of_an_address_are_limited_in_five_minutes() -> None:
    _, house = spot_house()
    for _ in range(300):
        Client(house, "/ws", address="a")
    refusal = house.open("/ws", "", address="a", now_ns=T0 + 100 * S, deliver=print)
    assert isinstance(refusal, Answer)
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "200")
    Client(house, "/ws", address="b", now_ns=T0 + 100 * S)
    Client(house, "/ws", address="a", now_ns=T0 + 400 * S)


def test_arrays_carry_what_changed_in_their_second() -> None:
    bitcoin, ether, house = usdm_house()
    client = Client(house, "/market/ws/!ticker@arr")
    for at_ns, market, word in ((S // 2, bitcoin, "b1"), (S // 2 + 1, ether, "e1"), (S - 1, bitcoin, "b2")):
        market.say(T0 + at_ns, "ticker", word)
    house.advance(T0 + S - 1)
    assert client.texts == []
    house.advance(T0 + 3 * S)
    assert client.texts == [
        [{"word": "e1", "E": T0 // 1_000_000 + 500}, {"word": "b2", "E": T0 // 1_000_000 + 999}]
    ]
    assert client.outs[-1][0] == T0 + S
    ether.say(T0 + 3 * S + 1, "ticker", "e2")
    house.advance(T0 + 4 * S)
    assert client.texts[1:] == [[{"word": "e2", "E": T0 // 1_000_000 + 3_000}]]
    client.session.on_close(T0 + 3 * S)
    assert bitcoin.sinks["btcusdt@ticker"] == []


def test_each_listener_of_one_message_gets_it_as_it_asked() -> None:
    market, house = spot_house()
    asked = (("/ws/", ""), ("/ws/", "timeUnit=microsecond"), ("/stream", "streams=btcusdt@trade"))
    clients = [
        Client(house, path + ("btcusdt@trade" if path == "/ws/" else ""), query) for path, query in asked
    ]
    market.say(T0, "trade", "a")
    house.advance(T0)
    milli, micro = ({"word": "a", "E": T0 // unit} for unit in (1_000_000, 1_000))
    assert [client.texts for client in clients] == [
        [milli],
        [micro],
        [{"stream": "btcusdt@trade", "data": milli}],
    ]


def test_liquidations_of_all_symbols_come_one_by_one() -> None:
    bitcoin, ether, house = usdm_house()
    client = Client(house, "/market/stream", "streams=!forceOrder@arr")
    bitcoin.say(T0 + 5, "forceOrder", "b")
    ether.say(T0 + 5, "forceOrder", "e")
    house.advance(T0 + 5)
    assert [text["stream"] for text in client.texts if isinstance(text, dict)] == ["!forceOrder@arr"] * 2
    assert [at_ns for at_ns, _ in client.outs] == [T0 + 5, T0 + 5]


def test_shutdown_is_announced_raw_and_wrapped() -> None:
    _, house = spot_house()
    raw, wrapped = Client(house, "/ws"), Client(house, "/stream")
    for client in (raw, wrapped):
        client.session.announce_shutdown(T0)
    event = {"e": "serverShutdown", "E": T0 // 1_000_000}
    assert raw.texts == [event]
    assert wrapped.texts == [{"stream": "!serverShutdown", "data": event}]
    raw.session.cut(T0)
    assert raw.others == [(T0, OutCut())]


class Delays:
    """A fault script that lets the first message wait, doubles the second and drops the third."""

    next_ns = 1 << 62

    def advance(self, now_ns: int, house: House) -> None:
        raise AssertionError((now_ns, house))

    def on_request(self, path: str, query: str, now_ns: int) -> Answer | int | None:
        del query, now_ns
        return {"/api/v3/ping": Answer(503), "/api/v3/time": 7}.get(path)

    def on_open(self, path: str, now_ns: int) -> Answer | None:
        del now_ns
        return Answer(403) if path == "/ws/refused" else None

    def on_told(self, session_id: int, told: Told, now_ns: int) -> list[tuple[int, Told]]:
        assert (session_id, now_ns) == (1, told.venue_ns)
        return {b"1": [(10, told)], b"2": [(0, told), (3, told)]}.get(told.encode()[9:10], [])


def test_fault_script_delays_doubles_and_drops() -> None:
    market = QuietMarket()
    house = House([market], faults=Delays())
    client = Client(house, "/ws/btcusdt@trade")
    for number in (1, 2, 3):
        market.say(T0 + number, "trade", str(number))
    house.advance(T0 + 100)
    words = [
        (at_ns - T0, json.loads(out.payload)["word"])
        for at_ns, out in client.outs
        if isinstance(out, OutText)
    ]
    assert words == [(2, "2"), (5, "2"), (11, "1")]
    assert house.open("/ws/refused", "", address="1", now_ns=T0, deliver=print) == Answer(403)
    assert house.get("/api/v3/ping", "", {}, address="1", now_ns=T0) == Answer(503)
    assert house.get("/api/v3/time", "", {}, address="1", now_ns=T0).delay_ns == 7


def test_symbol_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="BTCUSDT twice on spot"):
        House([QuietMarket(), QuietMarket()])
