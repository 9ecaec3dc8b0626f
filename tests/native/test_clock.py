"""Corridor time and virtual time."""

import time

import pytest

from native.clock import CorridorClock, VirtualClock, read_monotonic_ns


def test_monotonic_when_read_often_never_goes_back() -> None:
    readings = [read_monotonic_ns() for _ in range(1_000)]
    assert readings == sorted(readings)
    assert readings[0] > 0


def test_monotonic_when_read_then_it_is_the_clock_of_the_standard_library() -> None:
    before = time.monotonic_ns()
    reading = read_monotonic_ns()
    assert before <= reading <= time.monotonic_ns()


def test_corridor_time_when_read_then_it_is_monotonic_plus_the_anchor() -> None:
    clock = CorridorClock()
    anchor_ns = clock.anchor_ns
    for _ in range(100):
        before = read_monotonic_ns()
        reading = clock.read_ns()
        assert before + anchor_ns <= reading <= read_monotonic_ns() + anchor_ns
    assert clock.anchor_ns == anchor_ns


def test_anchor_when_fixed_then_it_lies_between_the_reads_around_construction() -> None:
    wall_before, monotonic_before = time.time_ns(), time.monotonic_ns()
    clock = CorridorClock()
    monotonic_after, wall_after = time.monotonic_ns(), time.time_ns()
    # The slack allows for a wall clock that is being slewed while the test runs.
    slack_ns = 1_000_000
    assert wall_before - monotonic_after - slack_ns <= clock.anchor_ns
    assert clock.anchor_ns <= wall_after - monotonic_before + slack_ns
    assert clock.uncertainty_ns >= 0


def test_virtual_time_when_advanced_then_it_is_what_it_was_told() -> None:
    clock = VirtualClock(5)
    assert clock.read_ns() == 5
    clock.advance_to(5)
    clock.advance_to(1_723_161_254_087_896_568)
    assert clock.read_ns() == 1_723_161_254_087_896_568


def test_virtual_time_when_told_to_go_back_then_it_refuses_and_stays() -> None:
    clock = VirtualClock(10)
    with pytest.raises(ValueError, match=r"expected at least 10 ns, found 9 ns"):
        clock.advance_to(9)
    assert clock.read_ns() == 10
