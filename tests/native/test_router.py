"""The router by examples: names, owners, heirs, moments, masks, and callbacks that misbehave."""

import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from native.events import TriggerMask
from native.market import Market
from native.ring import RingReader, RingWriter
from native.router import Router
from tests.native.venue import SECOND, START_NS, Venue

DEPTH, TRADE = "aaausdt@depth@100ms", "aaausdt@trade"


class Desk:
    """Everything that a router says, in order; answers by hand."""

    def __init__(self, ring: RingWriter | None = None, *, max_streams: int = 8) -> None:
        self.now_ns = START_NS
        self.log: list[tuple[object, ...]] = []
        self.answers: dict[str, Callable[[], object]] = {}
        self.router = Router(
            on_due=lambda recv_ns: self._say("due", recv_ns),
            on_masks=lambda recv_ns, masks: self._say("masks", recv_ns, masks),
            on_control=lambda *what: self._say("control", *what),
            on_heir=lambda *what: bool(self._say("heir", *what)),
            now_ns=lambda: self.now_ns,
            ring=ring,
            frame_kind=5,
            max_streams=max_streams,
        )

    def _say(self, what: str, *values: object) -> object:
        self.log.append((what, *values))
        return self.answers.get(what, bool)()

    def read(self, *payloads: bytes, connection: int = 1) -> list[tuple[object, ...]]:
        """Feed one whole read; return what was said meanwhile."""
        self.log.clear()
        for payload in payloads:
            self.router.feed(connection, payload)
        self.router.end_read()
        return list(self.log)


def wrapped(name: str, data: object) -> bytes:
    return orjson.dumps({"stream": name, "data": data})


def unreadable(name: str) -> bytes:
    """Make a message that its market refuses: the simplest one with a mask."""
    return wrapped(name, {"e": "trade", "E": START_NS // 10**6, "s": "AAAUSDT", "t": "many"})


def market_of(index: int) -> Market:
    return Market(symbol="AAAUSDT", kind=0, index=index, price_digits=1, quantity_digits=3, tick=1)


REFUSED = int(TriggerMask.MASK_REFUSED)
GAP = int(TriggerMask.MASK_GAP)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"stream":"aaausdt@trade","data":{"e":"trade","t":"x"}}',
        b'{"data":{"e":"trade","t":"x"},"stream":"aaausdt@trade"}',
        b'{ "stream": "aaausdt@trade", "data": {"e":"trade","t":"x"} }',
        b'\n{"stream":"aaausdt@trade" ,"data":{"e":"trade","t":"x"}}',
        b'{"x":{"stream":"bbbusdt@trade"},"stream":"aaausdt@trade","data":{"e":"trade","t":"x"}}',
        b'{"stream":"no","stream":"aaausdt@trade","data":{"e":"trade","t":"x"}}',
        b'{"stream":"aaausdt@trade","data":{"e":"trade","t',
        b'{"id":1,"stream":"aaausdt@trade","data":{"e":"tr',
    ],
)
def test_stream_is_found_whatever_stands_around_its_name(payload: bytes) -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, market_of(3))
    desk.router.own(slot, 1)
    said = desk.read(payload)
    assert said == [("masks", START_NS, ((3, REFUSED),))]
    assert (desk.router.n_messages(slot), desk.router.last_recv_ns(slot)) == (1, START_NS)


@pytest.mark.parametrize(
    ("payload", "is_reply"),
    [
        (b'{"result":null,"id":1}', True),
        (b'{"id":1,"result":["aaausdt@trade"]}', True),
        (b'{"error":{"code":3,"msg":"stream"},"id":null}', True),
        (b'{"e":"serverShutdown","E":1}', True),
        (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}', True),
        (b'{"e":"depthUpdate","s":"AAAUSDT"}', False),
        (b'{"stream":"bbbusdt@trade","data":{"id":1}}', False),
        (b'{"stream":"aaausdt@trad","data":{}}', False),
        (b'{"stream":"aaausdt@trade\\"","data":{}}', False),
        (b'{"stream":aaausdt@trade,"data":{}}', False),
        (b'{"data":{"stream":"aaausdt@trade"}}', False),
        (b'["stream","aaausdt@trade"]', False),
        (b'{"stream":"', False),
        (b"", False),
        (b"\x00\xff", False),
    ],
)
def test_message_of_no_known_stream_goes_to_control(payload: bytes, is_reply: bool) -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, market_of(0))
    desk.router.own(slot, 1)
    assert desk.read(payload, connection=6) == [("control", 6, payload, START_NS)]
    assert desk.router.n_unknown == (not is_reply)
    assert (desk.router.n_messages(slot), desk.router.n_messages_total, desk.router.n_read) == (0, 1, 1)


def test_every_truncation_is_read_without_passing_its_end() -> None:
    desk = Desk()
    desk.router.own(desk.router.add_stream(TRADE, market_of(0)), 1)
    whole = wrapped(TRADE, {"e": "trade", "t": "x"}) + b" "
    other = b'{"data":{"e":"trade","t":"x"},"stream":"aaausdt@trade"}'
    for text in (whole, other):
        for length in range(len(text)):
            desk.read(text[:length])
    assert desk.router.n_messages_total == len(whole) + len(other)
    assert desk.router.n_errors == 0


def test_only_the_owner_counts() -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, market_of(0))
    assert desk.router.owner(slot) == 0
    assert desk.read(unreadable(TRADE)) == []
    desk.router.own(slot, 2)
    assert desk.read(unreadable(TRADE)) == []
    assert desk.router.n_unowned == 2
    assert len(desk.read(unreadable(TRADE), connection=2)) == 1
    desk.router.own(slot, 0)
    assert desk.read(unreadable(TRADE), connection=2) == []
    assert (desk.router.n_unowned, desk.router.n_messages(slot)) == (3, 1)


def test_heir_takes_over_with_the_message_that_is_let_in() -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, market_of(0))
    desk.router.own(slot, 1)
    desk.router.inherit(slot, 2)
    payload = unreadable(TRADE)
    assert desk.read(payload, connection=2) == [("heir", slot, 2, payload, START_NS)]
    assert (desk.router.owner(slot), desk.router.n_unowned) == (1, 1)
    assert len(desk.read(payload, connection=1)) == 1
    desk.answers["heir"] = lambda: True
    heard = desk.read(payload, connection=2)
    assert [what for what, *_ in heard] == ["heir", "masks"]
    assert (desk.router.owner(slot), desk.router.n_messages(slot)) == (2, 2)
    # The old owner is nobody now, and the new one is asked no more.
    assert desk.read(payload, connection=1) == []
    assert [what for what, *_ in desk.read(payload, connection=2)] == ["masks"]


def test_owner_that_is_heir_too_is_not_asked() -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, market_of(0))
    desk.router.inherit(slot, 1)
    desk.router.own(slot, 1)
    assert [what for what, *_ in desk.read(unreadable(TRADE))] == ["masks"]
    desk.router.inherit(slot, 1)
    assert [what for what, *_ in desk.read(unreadable(TRADE))] == ["masks"]
    desk.router.own(slot, 2)
    assert [what for what, *_ in desk.read(unreadable(TRADE))] == ["heir"]


def test_heir_that_a_timer_or_a_stamp_meets_gets_a_moment_of_its_own() -> None:
    desk = Desk()
    market = market_of(0)
    slot = desk.router.add_stream(TRADE, market)
    desk.router.own(desk.router.add_stream(DEPTH, market), 2)
    desk.router.inherit(slot, 2)
    market.advance(START_NS)

    def take_over() -> bool:
        assert desk.router.stamp() == START_NS + 1
        # What was decided at that moment armed a timer that the message must find run.
        market.triggers.arm_timer(6, START_NS + 2)
        return True

    desk.answers["heir"] = take_over
    heard = desk.read(wrapped(DEPTH, {}), unreadable(TRADE), connection=2)
    assert [(what, at) for what, *_, at in heard if what == "heir"] == [("heir", START_NS)]
    assert ("due", START_NS + 2) in heard
    assert desk.router.last_recv_ns(slot) == START_NS + 2
    assert market.last_recv_ns == START_NS + 2


def test_masks_of_a_read_come_once_and_the_urgent_first() -> None:
    desk = Desk()
    names = [f"{letter}usdt@trade" for letter in "abcd"]
    markets = [market_of(index) for index in (30, 10, 20)]
    for name, market in zip(names, markets, strict=False):
        desk.router.own(desk.router.add_stream(name, market), 1)
    venue = Venue()
    venue.open()
    desk.router.own(desk.router.add_stream(DEPTH, venue.market), 1)
    desk.now_ns = venue.now_ns
    venue.lose_depth({9_999: 1})
    broken = wrapped(DEPTH, venue.depth_data({9_998: 1}))
    quiet = wrapped(names[1], {"e": "nothing"})
    heard = desk.read(unreadable(names[2]), quiet, unreadable(names[0]), broken, unreadable(names[1]))
    masks = ((7, GAP), (20, REFUSED), (10, REFUSED), (30, REFUSED))
    assert heard == [("masks", START_NS, masks)]
    assert desk.read(quiet) == []
    assert (desk.router.n_read, desk.router.n_messages_total) == (2, 6)


def test_end_of_a_read_without_messages_says_nothing() -> None:
    desk = Desk()
    desk.router.end_read()
    assert (desk.router.n_read, desk.router.last_stamp_ns, desk.log) == (0, 0, [])


def test_moments_grow_whatever_the_clock_does() -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, market_of(0))
    desk.router.own(slot, 1)
    quiet = wrapped(TRADE, {"e": "nothing"})
    moments = []
    for now_ns in (100, 100, 50, 102, 200):
        desk.now_ns = START_NS + now_ns
        desk.read(quiet, quiet)
        moments.append(desk.router.last_recv_ns(slot) - START_NS)
    moments.append(desk.router.stamp() - START_NS)
    assert moments == [100, 101, 102, 103, 200, 201]
    assert desk.router.last_stamp_ns == START_NS + 201


def test_clock_in_c_is_monotonic_time_plus_the_anchor() -> None:
    quiet = {"on_due": print, "on_masks": print, "on_control": print, "on_heir": print}
    router = Router(**quiet, anchor_ns=10**15)
    before = time.monotonic_ns()
    moment = router.stamp() - 10**15
    assert before <= moment <= time.monotonic_ns()


def test_stamp_within_a_read_decides_what_came_before_it() -> None:
    desk = Desk()
    desk.router.own(desk.router.add_stream(TRADE, market_of(3)), 1)
    stamps = []
    desk.answers["control"] = lambda: stamps.append(desk.router.stamp())
    reply = b'{"result":null,"id":1}'
    heard = desk.read(unreadable(TRADE), reply, unreadable(TRADE))
    assert heard == [
        ("control", 1, reply, START_NS),
        ("masks", START_NS, ((3, REFUSED),)),
        ("masks", START_NS + 2, ((3, REFUSED),)),
    ]
    assert stamps == [START_NS + 1]
    assert desk.router.n_read == 1


def test_due_timers_are_decided_before_the_first_message_that_is_taken() -> None:
    desk = Desk()
    market, idle = market_of(0), market_of(1)
    for each in (market, idle):
        each.advance(START_NS)
    desk.router.own(desk.router.add_stream(TRADE, market), 1)
    desk.router.add_stream(DEPTH, idle)
    quiet = wrapped(TRADE, {"e": "nothing"})
    assert desk.read(quiet) == []
    idle.triggers.arm_timer(6, START_NS + 5)
    desk.now_ns += 5
    desk.answers["due"] = lambda: [market.advance(desk.now_ns), idle.advance(desk.now_ns)]
    # Not for messages that nobody takes.
    assert desk.read(quiet, connection=9) == []
    desk.now_ns += 5
    assert desk.read(quiet, quiet) == [("due", START_NS + 10)]
    assert desk.read(quiet) == []


def test_timers_left_over_belong_to_the_read() -> None:
    desk = Desk()
    market = market_of(2)
    market.advance(START_NS)
    desk.router.own(desk.router.add_stream(TRADE, market), 1)
    for timer in (4, 6):
        market.triggers.arm_timer(timer, START_NS + timer)
    desk.now_ns += SECOND // 2
    heard = desk.read(wrapped(TRADE, {"e": "nothing"}))
    both = TriggerMask.MASK_STALE | TriggerMask.MASK_DUE
    assert heard == [("due", desk.now_ns), ("masks", desk.now_ns, ((2, int(both)),))]
    assert market.now_ns == desk.now_ns


@pytest.mark.parametrize("what", ["due", "masks", "control", "heir"])
def test_exception_of_a_callback_is_kept_and_goes_no_further(what: str) -> None:
    desk = Desk()
    market = market_of(0)
    market.advance(START_NS)
    market.triggers.arm_timer(6, START_NS)
    slot = desk.router.add_stream(TRADE, market)
    desk.router.own(slot, 1)
    desk.router.inherit(slot, 2)
    problem = KeyboardInterrupt("in the middle")

    def fail() -> None:
        raise problem

    desk.answers[what] = fail
    desk.read(unreadable(TRADE), b'{"id":1}')
    desk.read(unreadable(TRADE), connection=2)
    assert desk.router.n_errors == 1
    assert desk.router.last_error is problem
    assert market.refused == 1
    assert desk.router.owner(slot) == 1


def test_clock_that_fails_costs_one_nanosecond_and_is_told() -> None:
    desk = Desk()
    desk.router.stamp()
    del desk.now_ns
    assert desk.router.stamp() == START_NS + 1
    assert isinstance(desk.router.last_error, AttributeError)


def test_ring_gets_what_markets_take_as_it_came(tmp_path: Path) -> None:
    ring = RingWriter.create(
        str(tmp_path / "ring"), capacity=4096, instance="a", epoch=1, schema=2, boot_id="b"
    )
    desk = Desk(ring)
    for name, market in ((TRADE, market_of(0)), (DEPTH, None)):
        desk.router.own(desk.router.add_stream(name, market), 1)
    first, second = unreadable(TRADE), b' {"data":{}, "stream":"aaausdt@trade"}'
    long = wrapped(TRADE, {"x": "y" * 600})
    desk.read(first, wrapped(DEPTH, {}), b'{"id":1}', second, long)
    desk.read(first, connection=3)
    desk.now_ns += 9
    desk.read(second)
    reader = RingReader(ring.path, from_start=True)
    found = [(kind, time_ns, payload) for _, kind, time_ns, payload in reader.read(100)]
    assert found == [(5, START_NS, first), (5, START_NS, second), (5, START_NS + 9, second)]
    assert desk.router.n_unrecorded == 1
    assert desk.router.n_messages(0) == 4


def test_stream_without_a_market_is_counted_and_stamped_only() -> None:
    desk = Desk()
    market = market_of(0)
    market.advance(START_NS)
    market.triggers.arm_timer(6, START_NS)
    desk.router.add_stream(TRADE, market)
    slot = desk.router.add_stream(DEPTH, None)
    desk.router.own(slot, 1)
    assert desk.read(wrapped(DEPTH, {})) == []
    assert (desk.router.n_messages(slot), desk.router.last_recv_ns(slot)) == (1, START_NS)


def test_removed_stream_is_unknown_and_its_slot_is_taken_again() -> None:
    desk = Desk(max_streams=3)
    slots = [desk.router.add_stream(name, market_of(i)) for i, name in enumerate("abc")]
    assert slots == [0, 1, 2]
    with pytest.raises(ValueError, match="at most 3 streams"):
        desk.router.add_stream("d", None)
    desk.router.own(1, 4)
    desk.router.remove_stream(1)
    assert [what for what, *_ in desk.read(wrapped("b", {}))] == ["control"]
    assert desk.router.add_stream("d", None) == 1
    assert (desk.router.owner(1), desk.router.n_messages(1)) == (0, 0)
    desk.router.own(2, 1)
    assert len(desk.read(wrapped("c", {"e": "trade", "t": "x"}))) == 1


def test_market_of_a_removed_stream_is_heard_to_its_end_and_then_let_go() -> None:
    desk = Desk()
    market = market_of(4)
    market.advance(START_NS)
    for name in (TRADE, DEPTH):
        desk.router.own(desk.router.add_stream(name, market), 1)
    desk.answers["control"] = lambda: [desk.router.remove_stream(0), desk.router.remove_stream(1)]
    heard = desk.read(unreadable(TRADE), b'{"id":1}', unreadable(TRADE))
    assert [what for what, *_ in heard] == ["control", "masks", "control"]
    assert heard[1] == ("masks", START_NS, ((4, REFUSED),))
    # The second control message found nothing to remove.
    assert isinstance(desk.router.last_error, ValueError)
    # Its timers wake nobody.
    market.triggers.arm_timer(6, START_NS + 1)
    desk.router.own(desk.router.add_stream(DEPTH, market_of(5)), 1)
    desk.now_ns += 5
    assert desk.read(wrapped(DEPTH, {})) == []


def test_wrong_values_are_refused() -> None:
    desk = Desk()
    slot = desk.router.add_stream(TRADE, None)
    for name in ("", TRADE, 'a"b', "a\\b", "a\nb", "é", "x" * 257):
        with pytest.raises(ValueError, match="found"):
            desk.router.add_stream(name, None)
    for call in (desk.router.own, desk.router.inherit):
        with pytest.raises(ValueError, match="expected a slot"):
            call(slot + 1, 1)
        with pytest.raises(ValueError, match="0 or more"):
            call(slot, -1)
    for ask in (
        desk.router.owner,
        desk.router.n_messages,
        desk.router.last_recv_ns,
        desk.router.remove_stream,
    ):
        with pytest.raises(ValueError, match="expected a slot"):
            ask(-1)
    with pytest.raises(ValueError, match="1 or more"):
        desk.router.feed(0, b"{}")
    callbacks = {"on_due": print, "on_masks": print, "on_control": print, "on_heir": print}
    for wrong in ({"max_streams": 0}, {"max_streams": 65_537}, {"frame_kind": 65_536}):
        with pytest.raises(ValueError, match="found"):
            Router(**callbacks, **wrong)
    with pytest.raises(TypeError, match="on_heir must be callable, found int"):
        Router(**callbacks | {"on_heir": 3})


def test_thousands_of_streams_are_each_found() -> None:
    desk = Desk(max_streams=3_000)
    names = [f"{i}usdt@{kind}" for i in range(1_000) for kind in ("depth@100ms", "trade", "bookTicker")]
    for name in names:
        desk.router.own(desk.router.add_stream(name, None), 1)
    for slot in range(0, 3_000, 7):
        desk.router.remove_stream(slot)
    desk.read(*(wrapped(name, {}) for name in names))
    kept = [slot for slot in range(3_000) if slot % 7]
    assert [desk.router.n_messages(slot) for slot in kept] == [1] * len(kept)
    assert desk.router.n_unknown == 3_000 - len(kept)
