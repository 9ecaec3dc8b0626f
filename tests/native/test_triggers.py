"""Timers and armed levels against the slow twin."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from native.triggers import LevelSide, Timer, Triggers
from tests.oracles.triggers import SlowTriggers, reached

NO_ASK = 2**63 - 1
NEVER = 2**63 - 1
TIMERS = st.sampled_from(Timer)
SLOTS = st.one_of(st.integers(0, 2), st.integers(0, 15))
SIDES = st.sampled_from(LevelSide)
PRICES = st.integers(1, 12)
# A quote of the market, and how it is told: bid 0 and the greatest ask stand for empty sides.
BIDS = st.one_of(st.none(), PRICES)
ASKS = st.one_of(st.none(), PRICES)


def told(bid: int | None, ask: int | None) -> tuple[int, int]:
    return 0 if bid is None else bid, NO_ASK if ask is None else ask


class RandomTriggers(RuleBasedStateMachine):
    """Arm, move and disarm in any order; time goes on, quotes come."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = Triggers(), SlowTriggers()
        self.now_ns = 0

    @rule(timer=TIMERS, wait=st.integers(-3, 9))
    def arm(self, timer: Timer, wait: int) -> None:
        self.fast.arm_timer(timer, self.now_ns + wait)
        self.slow.due[timer] = self.now_ns + wait

    @rule(timer=TIMERS)
    def disarm(self, timer: Timer) -> None:
        self.fast.disarm_timer(timer)
        self.slow.due.pop(timer, None)

    @rule(timer=TIMERS)
    def never(self, timer: Timer) -> None:
        self.fast.arm_timer(timer, NEVER)
        self.slow.due.pop(timer, None)

    @rule()
    def take_one(self) -> None:
        assert self.fast.take_due(self.now_ns) == self.slow.take_due(self.now_ns)

    @rule(step=st.integers(0, 5))
    def take_all(self, step: int) -> None:
        self.now_ns += step
        while (timer := self.slow.take_due(self.now_ns)) >= 0:
            assert self.fast.take_due(self.now_ns) == timer
        assert self.fast.take_due(self.now_ns) == -1

    @rule(slot=SLOTS, side=SIDES, price=PRICES)
    def arm_level(self, slot: int, side: LevelSide, price: int) -> None:
        self.fast.arm_level(slot, side, price)
        self.slow.arm_level(slot, side, price)

    @rule(slot=SLOTS)
    def disarm_level(self, slot: int) -> None:
        self.fast.disarm_level(slot)
        self.slow.disarm_level(slot)

    @rule(bid=BIDS, ask=ASKS)
    def quote(self, bid: int | None, ask: int | None) -> None:
        assert self.fast.check(*told(bid, ask)) == self.slow.check(bid, ask)

    @rule()
    def take_fired(self) -> None:
        assert self.fast.take_fired() == self.slow.take_fired()

    def teardown(self) -> None:
        """Leave nothing behind: what is due fires in the order of due times, then of the enum."""
        for timer in [*sorted(self.slow.due, key=lambda timer: (self.slow.due[timer], timer)), -1]:
            assert self.fast.take_due(NEVER) == timer


RandomTriggers.TestCase.settings = settings(max_examples=150, stateful_step_count=50)


@pytest.mark.slow
class TestRandomTriggers(RandomTriggers.TestCase):  # type: ignore[misc]
    """Any order of arming and asking gives what the twin gives."""


def test_timers_when_due_at_once_then_they_run_in_the_order_of_the_enum() -> None:
    triggers = Triggers()
    for timer in reversed(Timer):
        triggers.arm_timer(timer, 5)
    assert triggers.take_due(4) == -1
    assert [triggers.take_due(5) for _ in Timer] == list(Timer)
    assert triggers.take_due(5) == -1


def test_timers_when_due_at_several_moments_then_the_earliest_runs_first() -> None:
    triggers = Triggers()
    for timer, due_ns in ((Timer.TIMER_SWEEP, 30), (Timer.TIMER_STALE, 10), (Timer.TIMER_DESK, 20)):
        triggers.arm_timer(timer, due_ns)
    triggers.arm_timer(Timer.TIMER_STALE, 25)
    assert [triggers.take_due(100) for _ in range(4)] == [
        Timer.TIMER_DESK,
        Timer.TIMER_STALE,
        Timer.TIMER_SWEEP,
        -1,
    ]


def test_timer_when_disarmed_then_nothing_is_ever_due() -> None:
    triggers = Triggers()
    assert triggers.take_due(NEVER) == -1
    triggers.arm_timer(Timer.TIMER_HOLD, 1)
    triggers.disarm_timer(Timer.TIMER_HOLD)
    assert triggers.take_due(NEVER) == -1


@given(SIDES, PRICES, st.lists(st.tuples(BIDS, ASKS), max_size=12))
def test_level_when_quotes_come_then_it_fires_once_at_the_first_that_reaches_it(
    side: LevelSide, price: int, quotes: list[tuple[int | None, int | None]]
) -> None:
    triggers = Triggers()
    triggers.arm_level(3, side, price)
    hits = [triggers.check(*told(*quote)) for quote in quotes]
    reaching = [reached(side, price, *quote) for quote in quotes]
    first = reaching.index(True) if True in reaching else len(quotes)
    assert hits == [8 if i == first else 0 for i in range(len(quotes))]
    assert triggers.take_fired() == (8 if True in reaching else 0)
    assert triggers.take_fired() == 0


@pytest.mark.parametrize(
    ("side", "not_yet", "reaching"),
    [
        (LevelSide.LEVEL_BID_AT_OR_BELOW, (101, 102), (100, 102)),
        (LevelSide.LEVEL_BID_AT_OR_ABOVE, (99, 100), (100, 101)),
        (LevelSide.LEVEL_ASK_AT_OR_BELOW, (100, 101), (99, 100)),
        (LevelSide.LEVEL_ASK_AT_OR_ABOVE, (98, 99), (99, 100)),
    ],
)
def test_level_when_the_quote_is_at_its_price_then_it_is_reached(
    side: LevelSide, not_yet: tuple[int, int], reaching: tuple[int, int]
) -> None:
    triggers = Triggers()
    triggers.arm_level(15, side, 100)
    assert triggers.check(*not_yet) == 0
    assert triggers.check(*reaching) == 1 << 15


@pytest.mark.parametrize("side", LevelSide)
@pytest.mark.parametrize("price", [1, 2**62 - 1])
def test_level_when_both_sides_are_empty_then_nothing_is_reached(side: LevelSide, price: int) -> None:
    triggers = Triggers()
    triggers.arm_level(0, side, price)
    assert triggers.check(0, NO_ASK) == 0
    assert triggers.check(0, 0) == 0, "as the properties of a market tell an empty side"


def test_slot_when_armed_anew_before_its_firing_was_taken_then_only_the_new_level_counts() -> None:
    triggers = Triggers()
    triggers.arm_level(2, LevelSide.LEVEL_BID_AT_OR_BELOW, 100)
    assert triggers.check(100, 101) == 4
    triggers.arm_level(2, LevelSide.LEVEL_BID_AT_OR_BELOW, 90)
    assert triggers.take_fired() == 0
    assert triggers.check(90, 91) == 4
    assert triggers.take_fired() == 4


def test_arming_when_out_of_bounds_then_it_says_what_was_found() -> None:
    triggers = Triggers()
    for slot in (-1, 16):
        with pytest.raises(ValueError, match=f"found {slot}"):
            triggers.arm_level(slot, LevelSide.LEVEL_BID_AT_OR_ABOVE, 5)
        with pytest.raises(ValueError, match=f"found {slot}"):
            triggers.disarm_level(slot)
    for price in (0, -1, 2**62):
        with pytest.raises(ValueError, match=f"found {price}"):
            triggers.arm_level(0, LevelSide.LEVEL_BID_AT_OR_ABOVE, price)
    for number in (7, 99):
        with pytest.raises(ValueError, match="timer"):
            triggers.arm_timer(number, 5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="timer"):
            triggers.disarm_timer(number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LevelSide"):
        triggers.arm_level(0, 4, 5)  # type: ignore[arg-type]
    assert triggers.check(1, 2) == 0
