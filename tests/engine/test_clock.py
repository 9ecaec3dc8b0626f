import pytest

from engine.clock import CatchUpClock, Clock, LiveClock, VirtualClock
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


def test_catch_up_clock_is_virtual_until_it_goes_live_and_continues_there():
    monotonic = iter([1_000, 1_007, 1_009])
    clock = CatchUpClock(50, monotonic_ns=lambda: next(monotonic))
    assert (clock.now_ns(), clock.is_live) == (50, False)
    clock.advance_to(80)
    clock.go_live()
    assert clock.is_live
    assert (clock.now_ns(), clock.now_ns()) == (87, 89)


def test_catch_up_clock_that_is_live_is_moved_by_nobody():
    clock = CatchUpClock(50, monotonic_ns=lambda: 1_000)
    with pytest.raises(StateError, match="forward only"):
        clock.advance_to(49)
    clock.go_live()
    clock.go_live()
    with pytest.raises(StateError, match="until it is live"):
        clock.advance_to(10_000)
    assert clock.now_ns() == 50
