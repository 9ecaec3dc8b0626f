"""Bounded logs: order, loss that is counted, nothing kept before it is asked for.

Flow events and the tape are written by the market: their rings are reached through it.
"""

import numpy
import pytest

from native.eventlog import BboLog, EventLog
from native.events import FLOW_EVENT
from native.market import Market

START = 1_700_000_000_000_000_000


def market() -> Market:
    return Market(symbol="BTCUSDT", kind=0, price_digits=2, quantity_digits=8, tick=1)


def trade(number: int) -> bytes:
    milliseconds = START // 1_000_000 + number
    return (
        f'{{"e":"trade","E":{milliseconds},"s":"BTCUSDT","t":{number},"p":"100.00","q":"0.5",'
        f'"T":{milliseconds},"m":{"true" if number % 2 else "false"}}}'
    ).encode()


def depth(first: int, last: int, price: str) -> bytes:
    return (
        f'{{"e":"depthUpdate","E":{START // 1_000_000},"s":"BTCUSDT","U":{first},"u":{last},'
        f'"b":[["{price}","1"]],"a":[]}}'
    ).encode()


@pytest.mark.parametrize("room", [EventLog, BboLog])
@pytest.mark.parametrize("capacity", [15, (1 << 20) + 1])
def test_a_capacity_out_of_bounds_is_refused(room: type[EventLog] | type[BboLog], capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity must be 16 to 1048576, found {capacity}"):
        room(capacity)


def test_an_empty_log_gives_an_empty_array_of_the_right_kind() -> None:
    assert EventLog(16).take().dtype == FLOW_EVENT
    assert BboLog(16).take().shape == (0, 3)


def test_tape_keeps_the_last_64_newest_first() -> None:
    room = market()
    assert room.tape.last(5) == []
    for number in range(1, 101):
        room.on_frame(trade(number), START + number)
    assert [row[0] for row in room.tape.last(3)] == [100, 99, 98]
    assert [row[0] for row in room.tape.last(1_000)] == list(range(100, 36, -1))
    assert room.tape.last(-1) == []
    assert room.tape.last(1) == [(100, 10_000, 50_000_000, 1, START + 100 * 1_000_000)]


def test_best_prices_are_kept_only_once_asked_for_and_taken_once() -> None:
    room = market()
    room.on_snapshot(b'{"lastUpdateId":10,"bids":[["99.00","1"]],"asks":[["101.00","1"]]}', START)
    room.on_frame(depth(11, 11, "99.10"), START + 1)
    room.enable_bbo_log()
    room.on_frame(depth(12, 12, "99.20"), START + 2)
    room.on_frame(depth(13, 13, "98.00"), START + 3)
    assert room.take_bbo().tolist() == [[12, 9_920, 10_100], [13, 9_920, 10_100]]
    assert room.take_bbo().shape == (0, 3)


def test_a_full_log_loses_the_oldest_and_counts() -> None:
    room = market()
    room.enable_bbo_log()
    room.on_snapshot(b'{"lastUpdateId":0,"bids":[["99.00","1"]],"asks":[["101.00","1"]]}', START)
    for number in range(1, 65_540):
        room.on_frame(depth(number, number, "99.00"), START + number)
    rows = room.take_bbo()
    assert (room.bbo.lost, len(rows)) == (3, 65_536)
    assert numpy.array_equal(rows[:, 0], numpy.arange(4, 65_540))
