"""What a script of faults does to messages, requests, handshakes, connections and symbols of a house."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sim.answers import Answer, Out, OutClose, OutCut, OutText
from engine.sim.faults import Faults
from engine.sim.faultscript import Fault, Kind, storm
from engine.sim.house import House
from engine.sim.session import Session
from engine.sim.told import Told

START_NS = 1_767_614_400 * 10**9
MS = 1_000_000
DEPTH = "btcusdt@depth@100ms"
TRADE = "btcusdt@trade"


def message(number: int, stream: str = DEPTH) -> Told:
    text = f'{{"e":"depthUpdate","s":"BTCUSDT","u":{number},"b":[["1.0","2.0"]],"st":1}}'
    return Told(stream, START_NS, lambda _unit: text)


def started(*script: Fault, seed: int = 0, at_ns: int = START_NS) -> Faults:
    faults = Faults(script, start_ns=START_NS, seed=seed)
    faults.advance(at_ns, House([]))
    return faults


def sent(
    faults: Faults, numbers: Sequence[int], *, gap_ns: int = 100 * MS, stream: str = DEPTH
) -> list[tuple[int, int]]:
    """Return when what was sent, in the order of sending: offsets in ns, update ids."""
    found = [
        (n * gap_ns + delay_ns, place, told)
        for n, number in enumerate(numbers)
        for place, (delay_ns, told) in enumerate(
            faults.on_told(1, message(number, stream), START_NS + n * gap_ns)
        )
    ]
    found.sort(key=lambda entry: (entry[0], entry[1]))
    return [(at_ns, json.loads(told.encode())["u"]) for at_ns, _, told in found]


def ids(found: list[tuple[int, int]]) -> list[int]:
    return [number for _, number in found]


def test_nothing_in_force_changes_nothing() -> None:
    faults = started(Fault(at=1000.0, kind=Kind.DROP))
    told = message(1)
    assert faults.on_told(1, told, START_NS) == [(0, told)]
    assert faults.on_request("/api/v3/depth", "symbol=X", START_NS) is None
    assert faults.on_open("/stream", START_NS) is None
    assert faults.on_subscribe(1, [DEPTH], START_NS) is None
    assert not faults.is_over
    assert faults.next_ns == START_NS + 1000 * 10**9


def test_drop_takes_as_many_as_it_says() -> None:
    faults = started(Fault(at=0.0, kind=Kind.DROP, count=2))
    assert ids(sent(faults, range(5))) == [2, 3, 4]
    assert faults.happened == {Kind.DROP: 2}


def test_drop_ends_with_its_time() -> None:
    faults = started(Fault(at=0.0, kind=Kind.DROP, lasts=0.25))
    assert ids(sent(faults, range(5))) == [3, 4]


def test_drop_of_one_stream_leaves_the_others() -> None:
    faults = started(Fault(at=0.0, kind=Kind.DROP, lasts=60.0, stream="*@trade"))
    assert ids(sent(faults, range(3))) == [0, 1, 2]
    assert ids(sent(faults, range(3), stream=TRADE)) == []


def test_share_is_that_share() -> None:
    faults = started(Fault(at=0.0, kind=Kind.DROP, lasts=10_000.0, share=0.3))
    assert 0.66 < len(sent(faults, range(5000))) / 5000 < 0.74


def test_duplicate_is_the_same_message_twice() -> None:
    assert ids(sent(started(Fault(at=0.0, kind=Kind.DUPLICATE)), range(3))) == [0, 0, 1, 2]


def test_reordered_message_comes_after_the_next_of_its_stream() -> None:
    faults = started(Fault(at=0.0, kind=Kind.REORDER, count=2))
    assert ids(sent(faults, range(6))) == [1, 0, 3, 2, 4, 5]


def test_reordered_message_waits_for_its_own_connection() -> None:
    faults = started(Fault(at=0.0, kind=Kind.REORDER, count=1))
    first, other, second = message(1), message(5), message(2)
    assert faults.on_told(1, first, START_NS) == []
    assert faults.on_told(2, other, START_NS) == [(0, other)]
    assert faults.on_told(1, second, START_NS) == [(0, second), (0, first)]


def test_delayed_stream_is_late_and_stays_in_order() -> None:
    faults = started(Fault(at=0.0, kind=Kind.DELAY, delay=0.35, lasts=0.25))
    found = sent(faults, range(8))
    assert ids(found) == list(range(8))
    assert [at_ns // MS for at_ns, _ in found] == [350, 450, 550, 550, 550, 550, 600, 700]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.floats(0.01, 1.0), st.floats(0.01, 2.0)), max_size=5),
    st.integers(1, 50),
)
def test_delays_never_let_a_message_overtake_another(
    delays: list[tuple[int, float, float]], gap_ms: int
) -> None:
    script = [
        Fault(at=at_ms / 1000, kind=Kind.DELAY, delay=delay, lasts=lasts) for at_ms, delay, lasts in delays
    ]
    faults = Faults(script, start_ns=START_NS)
    house = House([])
    moments: list[int] = []
    for n in range(100):
        now_ns = START_NS + n * gap_ms * MS
        faults.advance(now_ns, house)
        moments += [now_ns + delay_ns for delay_ns, _ in faults.on_told(1, message(n), now_ns)]
    assert len(moments) == 100
    # A message that is sent at once goes before those held until the same nanosecond.
    for n, (before, after) in enumerate(pairwise(moments), 1):
        is_sent_at_once = after == START_NS + n * gap_ms * MS
        assert before < after if is_sent_at_once else before <= after


@pytest.mark.parametrize("kind", [Kind.TRUNCATE, Kind.DAMAGE])
@pytest.mark.parametrize("seed", range(20))
def test_truncated_and_damaged_messages_are_no_json(kind: Kind, seed: int) -> None:
    faults = started(Fault(at=0.0, kind=kind, count=1), seed=seed)
    [(_, told)] = faults.on_told(1, message(7), START_NS)
    assert told.stream == DEPTH
    assert told.encode() == told.encode()
    with pytest.raises(ValueError, match=r"."):
        json.loads(told.encode())


@pytest.mark.parametrize("seed", range(6))
def test_unknown_fields_leave_the_known_ones(seed: int) -> None:
    faults = started(Fault(at=0.0, kind=Kind.UNKNOWN_FIELDS), seed=seed)
    [(_, told)] = faults.on_told(1, message(7), START_NS)
    found = json.loads(told.encode())
    known = json.loads(message(7).encode())
    assert {name: found[name] for name in known} == known
    assert len(found) > len(known)


def test_unknown_event_comes_beside_the_message() -> None:
    faults = started(Fault(at=0.0, kind=Kind.UNKNOWN_EVENT))
    texts = [json.loads(told.encode()) for _, told in faults.on_told(1, message(7), START_NS)]
    assert sorted(text["e"] for text in texts) == ["bookPulse", "depthUpdate"]


def test_foreign_copy_has_another_symbol_and_universe() -> None:
    faults = started(Fault(at=0.0, kind=Kind.FOREIGN))
    ours, theirs = [json.loads(told.encode()) for _, told in faults.on_told(1, message(7), START_NS)]
    assert ours == json.loads(message(7).encode())
    assert (theirs["s"], theirs["st"], theirs["u"]) == ("BTCUSD_PERP", 2, 7)


def test_silence_is_a_stream_that_says_nothing_for_its_time() -> None:
    faults = started(Fault(at=0.0, kind=Kind.SILENCE, lasts=0.3))
    assert ids(sent(faults, range(6))) == [3, 4, 5]


def test_subscription_is_refused_as_often_as_it_says() -> None:
    faults = started(Fault(at=0.0, kind=Kind.REFUSE_SUBSCRIPTION, stream="*@depth*", code=3))
    assert faults.on_subscribe(1, [TRADE], START_NS) is None
    refusal = faults.on_subscribe(1, [TRADE, DEPTH], START_NS)
    assert refusal is not None
    assert refusal[0] == 3
    assert faults.on_subscribe(1, [DEPTH], START_NS) is None


@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"),
    [
        (Fault(at=0.0, kind=Kind.REFUSE, status=503), 503, {}, b""),
        (Fault(at=0.0, kind=Kind.REFUSE, status=0), 0, {}, b""),
        (Fault(at=0.0, kind=Kind.REFUSE, status=429, retry_after=7), 429, {"Retry-After": "7"}, b"-1003"),
        (Fault(at=0.0, kind=Kind.REFUSE, status=418, retry_after=9), 418, {"Retry-After": "9"}, b"until"),
        (Fault(at=0.0, kind=Kind.REFUSE, status=400, code=-1121, value="bad"), 400, {}, b"-1121"),
        (Fault(at=0.0, kind=Kind.HTML), 200, {"Content-Type": "text/html"}, b"<html>"),
        (Fault(at=0.0, kind=Kind.HTML, status=502), 502, {"Content-Type": "text/html"}, b"<html>"),
    ],
)
def test_request_is_answered_instead(fault: Fault, status: int, headers: dict[str, str], body: bytes) -> None:
    faults = started(fault)
    answer = faults.on_request("/fapi/v1/depth", "symbol=X", START_NS)
    assert isinstance(answer, Answer)
    assert answer.status == status
    assert headers.items() <= answer.headers.items()
    assert body in answer.body
    assert faults.on_request("/fapi/v1/depth", "symbol=X", START_NS) is None


def test_slow_answer_is_a_delay_of_the_venues_own() -> None:
    faults = started(Fault(at=0.0, kind=Kind.SLOW, delay=4.5, path="*/depth", market="usdm"))
    assert faults.on_request("/api/v3/depth", "", START_NS) is None
    assert faults.on_request("/fapi/v1/time", "", START_NS) is None
    assert faults.on_request("/fapi/v1/depth", "", START_NS) == 4_500 * MS


def test_429_then_418_is_two_faults_one_after_the_other() -> None:
    faults = started(Fault(at=0.0, kind=Kind.REFUSE, status=429), Fault(at=0.0, kind=Kind.REFUSE, status=418))
    answers = [faults.on_request("/api/v3/depth", "", START_NS) for _ in range(3)]
    assert [answer.status if isinstance(answer, Answer) else answer for answer in answers] == [429, 418, None]


def test_handshake_is_refused_by_path() -> None:
    faults = started(Fault(at=0.0, kind=Kind.REFUSE_HANDSHAKE, status=403, path="/public/*"))
    assert faults.on_open("/market/stream", START_NS) is None
    refusal = faults.on_open("/public/stream", START_NS)
    assert refusal is not None
    assert refusal.status == 403


class Switchboard:
    """A market of one symbol that is nothing but its switches and a book that changes."""

    symbol = "BTCUSDT"
    market = "usdm"
    next_ns = 1 << 62

    def __init__(self) -> None:
        self.turned: list[tuple[object, ...]] = []
        self.update_id = 100

    def advance(self, now_ns: int) -> None: ...

    def listen(self, _stream: str, _sink: object) -> bool:
        return True

    def unlisten(self, _stream: str, _sink: object) -> None: ...

    def depth(self, limit: int) -> dict[str, object]:
        rows = [[str(n), "1"] for n in range(20)]
        return {"lastUpdateId": self.update_id, "bids": rows[:limit], "asks": rows[:limit]}

    def set_status(self, status: str) -> None:
        self.turned.append(("status", status))

    def set_filters(
        self, *, tick: str | None = None, step: str | None = None, min_notional: str | None = None
    ) -> None:
        self.turned.append(("filters", tick, step, min_notional))

    def set_funding_interval(self, hours: int) -> None:
        self.turned.append(("funding", hours))


def housed(*script: Fault) -> tuple[House, Switchboard, Faults]:
    faults = Faults(script, start_ns=START_NS)
    market = Switchboard()
    house = House([market], faults=faults)  # type: ignore[list-item]
    house.advance(START_NS - 1)
    return house, market, faults


def opened(
    house: House, now_ns: int, *, path: str = "/public/stream", query: str = ""
) -> tuple[Session, list[Out]]:
    outs: list[Out] = []
    deliver: Callable[[int, Out], None] = lambda _at_ns, out: outs.append(out)  # noqa: E731
    session = house.open(path, query, address="a", now_ns=now_ns, deliver=deliver)
    assert isinstance(session, Session)
    return session, outs


def test_stale_depth_is_the_book_as_it_was_when_the_fault_began() -> None:
    house, market, faults = housed(Fault(at=1.0, kind=Kind.STALE, lasts=5.0))
    house.advance(START_NS + 10**9)
    market.update_id = 200
    answer = faults.on_request("/fapi/v1/depth", "symbol=BTCUSDT&limit=5", START_NS + 2 * 10**9)
    assert isinstance(answer, Answer)
    found = json.loads(answer.body)
    assert (found["lastUpdateId"], len(found["bids"]), len(found["asks"])) == (100, 5, 5)
    assert faults.on_request("/fapi/v1/depth", "symbol=ETHUSDT", START_NS + 2 * 10**9) is None
    assert faults.on_request("/api/v3/time", "", START_NS + 2 * 10**9) is None
    assert faults.on_request("/fapi/v1/depth", "symbol=BTCUSDT", START_NS + 7 * 10**9) is None


@pytest.mark.parametrize(
    ("kind", "last"), [(Kind.CUT, OutCut()), (Kind.CLOSE, OutClose(1001)), (Kind.SHUTDOWN, OutClose(1001))]
)
def test_connections_end_when_the_script_says(kind: Kind, last: Out) -> None:
    house, _, faults = housed(Fault(at=1.0, kind=kind, delay=2.0 if kind is Kind.SHUTDOWN else 0.0))
    session, outs = opened(house, START_NS)
    house.advance(START_NS + 10**9)
    if kind is Kind.SHUTDOWN:
        assert session.is_open
        assert isinstance(outs[-1], OutText)
        assert b"serverShutdown" in outs[-1].payload
        assert not faults.is_over
        house.advance(START_NS + 3 * 10**9)
    assert outs[-1] == last
    assert not session.is_open
    assert house.sessions == {}
    assert faults.happened == {kind: 1}
    assert faults.is_over


def test_only_connections_with_the_stream_are_cut() -> None:
    house, _, _ = housed(Fault(at=1.0, kind=Kind.CUT, stream="*@trade"))
    kept, _ = opened(house, START_NS, query=f"streams={DEPTH}")
    lost, _ = opened(house, START_NS, query=f"streams={TRADE}/{DEPTH}")
    house.advance(START_NS + 10**9)
    assert (kept.is_open, lost.is_open) == (True, False)


def test_subscribe_is_answered_with_the_error_and_joins_nothing() -> None:
    house, _, _ = housed(Fault(at=0.0, kind=Kind.REFUSE_SUBSCRIPTION))
    session, outs = opened(house, START_NS)
    text = json.dumps({"method": "SUBSCRIBE", "params": [DEPTH], "id": 4}).encode()
    session.on_text(text, START_NS + 1)
    assert isinstance(outs[-1], OutText)
    found = json.loads(outs[-1].payload)
    assert (found["id"], found["error"]["code"]) == (4, 2)
    assert session.names == {}
    session.on_text(text, START_NS + 2)
    assert list(session.names) == [DEPTH]


def test_symbols_change_and_are_open_again_at_the_end_of_a_halt() -> None:
    house, market, faults = housed(
        Fault(at=1.0, kind=Kind.STATUS, value="HALT", lasts=2.0),
        Fault(at=1.5, kind=Kind.STATUS, value="CANCEL_ONLY", symbol="ETHUSDT"),
        Fault(at=4.0, kind=Kind.FILTERS, tick="0.10"),
        Fault(at=5.0, kind=Kind.FUNDING, value="4"),
        Fault(at=6.0, kind=Kind.VENUE_CLOCK, ahead=1.2),
    )
    for second in range(8):
        house.advance(START_NS + second * 10**9)
    assert market.turned == [
        ("status", "HALT"),
        ("status", "TRADING"),
        ("filters", "0.10", None, None),
        ("funding", 4),
    ]
    assert house.clock_offset_ns == 1_200 * MS
    assert faults.is_over


def test_delisted_symbol_is_gone() -> None:
    house, _, _ = housed(Fault(at=1.0, kind=Kind.DELIST))
    assert house.get("/fapi/v1/depth", "symbol=BTCUSDT", {}, address="a", now_ns=START_NS).status == 200
    answer = house.get("/fapi/v1/depth", "symbol=BTCUSDT", {}, address="a", now_ns=START_NS + 2 * 10**9)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, -1121)


def test_clock_and_stall_are_handed_to_our_side() -> None:
    clocks: list[tuple[int, int]] = []
    stalls: list[int] = []
    faults = Faults(
        [Fault(at=1.0, kind=Kind.CLOCK, ahead=1.2, ppm=40), Fault(at=2.0, kind=Kind.STALL, lasts=0.5)],
        start_ns=START_NS,
        on_clock=lambda ahead_ns, ppm: clocks.append((ahead_ns, ppm)),
        on_stall=stalls.append,
    )
    faults.advance(START_NS + 3 * 10**9, House([]))
    assert (clocks, stalls) == ([(1_200 * MS, 40)], [500 * MS])


@given(st.integers(0, 10**6))
def test_same_seed_does_the_same_to_the_same_messages(seed: int) -> None:
    def outcome() -> list[tuple[int, bytes]]:
        faults = Faults(storm(seed, intensity=5, seconds=20), start_ns=START_NS, seed=seed)
        house = House([])
        found: list[tuple[int, bytes]] = []
        for n in range(200):
            now_ns = START_NS + n * 100 * MS
            faults.advance(now_ns, house)
            for delay_ns, told in faults.on_told(n % 3, message(n, (DEPTH, TRADE)[n % 2]), now_ns):
                found.append((now_ns + delay_ns, told.encode()))
        return found

    assert outcome() == outcome()
