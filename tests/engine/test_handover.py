"""Which message of a new connection continues what the old one brought."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ingest.handover import LIVE, Handover, continues_depth, continues_trades
from engine.signals import MarketKind
from native.events import SequenceState
from native.sequence import Sequence, SequenceAction


def depth(first: int, last: int, previous: int | None = None) -> bytes:
    data: dict[str, object] = {"e": "depthUpdate", "U": first, "u": last, "b": [], "a": []}
    if previous is not None:
        data["pu"] = previous
    return msgspec.json.encode({"stream": "x@depth", "data": data})


def live_sequence(kind: MarketKind, last_id: int) -> Sequence:
    sequence = Sequence(is_spot=kind is MarketKind.SPOT)
    sequence.apply_snapshot(last_id)
    sequence.apply(last_id, last_id, last_id)  # futures join an event that ends at the snapshot's id
    if sequence.state != LIVE:
        sequence = Sequence(is_spot=True)
        sequence.apply_snapshot(last_id - 1)
        sequence.apply(last_id, last_id)
    assert (sequence.state, sequence.last_id) == (LIVE, last_id)
    return sequence


@pytest.mark.parametrize("kind", [MarketKind.SPOT, MarketKind.USDM])
@given(st.integers(90, 110), st.integers(0, 8), st.integers(-8, 3))
def test_depth_that_continues_leaves_the_chain_live(
    kind: MarketKind, first: int, length: int, back: int
) -> None:
    # The twin is the state machine of the book: taking over must never break it.
    previous = None if kind is MarketKind.SPOT else first + back
    message = depth(first, first + length, previous)
    sequence = live_sequence(kind, 100)
    continues = continues_depth(kind, sequence.state, sequence.last_id, message)
    action = sequence.apply(first, first + length, -1 if previous is None else previous)
    if action == SequenceAction.ACTION_APPLY:
        assert continues
    elif action == SequenceAction.ACTION_IGNORE:
        assert continues == (first + length == 100 or previous == 100)
    else:
        assert action == SequenceAction.ACTION_BREAK
        assert not continues


def test_heir_that_lags_waits_until_it_has_caught_up() -> None:
    messages = [depth(n - 2, n, n - 3) for n in (94, 97, 100, 103, 106)]
    told = [continues_depth(MarketKind.USDM, LIVE, 100, message) for message in messages]
    assert told == [False, False, True, True, False]


@pytest.mark.parametrize(
    "state", [SequenceState.SEQUENCE_BUFFERING, SequenceState.SEQUENCE_BRIDGING, SequenceState.SEQUENCE_GAP]
)
def test_book_without_a_chain_is_taken_over_at_once(state: SequenceState) -> None:
    assert continues_depth(MarketKind.SPOT, int(state), 100, depth(900, 901))


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b'{"data":{}}', b'{"data":{"U":"1","u":2}}', b"\xff"])
def test_message_that_cannot_be_read_continues_nothing(message: bytes) -> None:
    assert not continues_depth(MarketKind.USDM, LIVE, 100, message)
    assert not continues_trades("x@aggTrade", 100, message)


def test_trades_may_overlap_and_follow_but_not_leave_an_id_out() -> None:
    def trade(number: int) -> bytes:
        return b'{"stream":"x@trade","data":{"e":"trade","t":%d,"a":7}}' % number

    def aggregate(number: int) -> bytes:
        return b'{"stream":"x@aggTrade","data":{"e":"aggTrade","a":%d,"f":7,"l":9}}' % number

    for stream, message in (("x@trade", trade), ("x@aggTrade", aggregate)):
        told = [continues_trades(stream, 100, message(number)) for number in (60, 100, 101, 102)]
        assert told == [True, True, True, False]
        assert continues_trades(stream, -1, message(102))


def test_handover_is_over_when_all_is_taken_or_its_time_has_passed() -> None:
    handover = Handover([1, 2])
    assert not handover.is_over(10**18)  # nothing was asked for yet: no time runs
    handover.start(1000, 50)
    handover.start(1040, 50)  # the first start counts
    assert [handover.is_over(1049), handover.is_over(1050)] == [False, True]
    assert handover.take(1)
    assert not handover.take(1)
    assert not handover.is_over(1001)
    assert handover.take(2)
    assert handover.is_over(1001)
