import pytest

from engine.clock import Clock, LiveClock, VirtualClock
from engine.errors import StateError


def test_virtual_clock_moves_only_when_told():
    clock: Clock = VirtualClock(5)
    assert (clock.now_ns(), clock.now_ns()) == (5, 5)
    clock.advance_to(9)
    clock.advance_to(9)
    assert clock.now_ns() == 9


def test_virtual_clock_sent_back_refuses_and_stays():
    clock = VirtualClock(9)
    with pytest.raises(StateError, match=r"expected 9 ns or later, found 8 ns") as caught:
        clock.advance_to(8)
    assert caught.value.facts == {"now_ns": 9, "wanted_ns": 8}
    assert clock.now_ns() == 9


def test_live_clock_ignores_a_step_of_the_wall():
    monotonic, wall = iter([100, 150, 151]), iter([1_000_000, 5])
    clock = LiveClock(monotonic_ns=lambda: next(monotonic), wall_ns=lambda: next(wall))
    assert clock.now_ns() == 1_000_050
    assert next(wall) == 5
    assert clock.now_ns() == 1_000_051


def test_live_clock_never_goes_back():
    clock = LiveClock()
    times = [clock.now_ns() for _ in range(1000)]
    assert times == sorted(times)
