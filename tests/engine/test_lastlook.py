"""The last look before an order's bytes leave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import VirtualClock
from engine.execution.lastlook import LiveLook, RecordedLook
from engine.orders import RefusalReason

MAX_AGE_NS = 250


class Page:
    """A control page with a state that anybody may change."""

    def __init__(self, wanted: int = 0) -> None:
        self.state = wanted

    def wanted(self) -> int:
        return self.state


def look(clock: VirtualClock, page: Page, told: list[tuple[int, RefusalReason]]) -> LiveLook:
    return LiveLook(clock, MAX_AGE_NS, page.wanted, lambda serial, reason: told.append((serial, reason)))


@pytest.mark.parametrize(
    ("wanted", "age_ns", "reason"),
    [
        (0, 0, None),
        (0, MAX_AGE_NS, None),
        (0, MAX_AGE_NS + 1, RefusalReason.STALE_SIGNAL),
        (1, 0, RefusalReason.REDUCING),
        (2, 0, RefusalReason.HALTED),
        (2, MAX_AGE_NS + 1, RefusalReason.HALTED),
        (3, 0, RefusalReason.HALTED),
        (-1, 0, RefusalReason.HALTED),
    ],
)
def test_entering_order_is_judged_by_state_and_age_and_a_refusal_is_told_once(wanted, age_ns, reason):
    told: list[tuple[int, RefusalReason]] = []
    live = look(VirtualClock(1_000 + age_ns), Page(wanted), told)
    assert live.refusal(5, 1_000, False) is reason
    assert told == ([] if reason is None else [(5, reason)])


@given(wanted=st.integers(-3, 5), age_ns=st.integers(0, 10**12))
def test_reducing_order_always_passes(wanted, age_ns):
    told: list[tuple[int, RefusalReason]] = []
    assert look(VirtualClock(age_ns), Page(wanted), told).refusal(5, 0, True) is None
    assert told == []


def test_state_and_time_are_those_of_the_moment():
    clock, page, told = VirtualClock(1_000), Page(), []
    live = look(clock, page, told)
    assert live.refusal(1, 1_000, False) is None
    clock.advance_to(2_000)
    assert live.refusal(2, 1_000, False) is RefusalReason.STALE_SIGNAL
    page.state = 2
    assert live.refusal(3, 2_000, False) is RefusalReason.HALTED
    page.state = 0
    assert live.refusal(4, 2_000, False) is None


@given(
    looks=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 500), st.booleans()), max_size=20),
)
def test_recorded_look_says_what_the_live_one_said(looks):
    told: list[tuple[int, RefusalReason]] = []
    said = [
        look(VirtualClock(age_ns), Page(wanted), told).refusal(serial, 0, is_reducing)
        for serial, (wanted, age_ns, is_reducing) in enumerate(looks, 1)
    ]
    recorded = RecordedLook(dict(told))
    assert said == [
        recorded.refusal(serial, 0, is_reducing) for serial, (_, _, is_reducing) in enumerate(looks, 1)
    ]
