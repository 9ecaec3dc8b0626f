"""The desk under any history: signals, answers, quotes, commands and time in any order.

Hypothesis looks for short histories that break a rule; seeded walks go deep.
"""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.facts import PlanFact, decode_fact, encode_fact
from engine.orders import FINAL_STATES, Approved, Order, OrderEvent, OrderLife, OrderState, next_state
from engine.signals import MarketKind, Side, Trigger
from tests.engine.desks import NS_PER_MS, NS_PER_S, Rig

NEVER = 2**63 - 1
WAITS_NS = (0, 1, 40 * NS_PER_MS, 150 * NS_PER_MS, NS_PER_S, 3 * NS_PER_S, 61 * NS_PER_S)
MOVES = (-3000, -300, -1, 0, 1, 300, 3000)
MASKS = (*[0] * 8, Trigger.GAP, Trigger.LIVE, Trigger.STALE, Trigger.IMBALANCE)
COMMANDS = (
    *[("resume", "")] * 6,
    *(("halt", ""), ("pause", ""), ("flatten", ""), ("side", "both")),
    *(("side", "long-only"), ("side", "short-only"), ("size", "1"), ("size", "0.3")),
)


class WatchedRig(Rig):
    """Holds every approval to the rules, by its own sums over the orders."""

    most_worst = 0

    def leaves(self, side: int, *, is_reducing: bool) -> int:
        is_spot = self.instrument.kind is MarketKind.SPOT
        return sum(
            order.leaves
            for order in self.orders
            if order.intent.side == side
            and order.intent.is_reducing == is_reducing
            and (is_spot or order.intent.purpose != "hard_stop")
        )

    def worst(self) -> int:
        held = self.position.quantity
        return max(
            abs(held + self.leaves(1, is_reducing=False)), abs(held - self.leaves(-1, is_reducing=False))
        )

    def place(self, approved: Approved) -> Order:
        intent, held = approved.intent, self.position.quantity
        if intent.is_reducing:
            assert held * intent.side < 0
            if intent.purpose != "hard_stop" or self.instrument.kind is MarketKind.SPOT:
                leaves = self.leaves(intent.side, is_reducing=True)
                assert approved.quantity + leaves <= abs(held)
            assert approved.quantity <= abs(held)
        else:
            assert self.desk.wanted == 0
            assert not self.desk.is_paused
            assert self.market.is_valid
        order = super().place(approved)
        if not intent.is_reducing:
            price = max(intent.price, self.market.best_ask)
            money = self.instrument.quote_money(price, self.worst())
            assert money <= self.settings.max_position_money
            assert money <= self.settings.max_gross_money
            assert self.gate.worst_money(0) <= self.settings.max_position_money
            self.most_worst = max(self.most_worst, self.worst())
        assert self.desk.newest_serial == approved.serial
        return order


ANSWERS = (
    *[OrderEvent.ACCEPTED] * 3,
    *(OrderEvent.CANCELLED, OrderEvent.EXPIRED, OrderEvent.REJECTED, OrderEvent.CANCEL_REJECTED),
    *(OrderEvent.TIMEOUT, OrderEvent.STATUS, OrderEvent.ABSENT),
)


class RandomDesk(RuleBasedStateMachine):
    """Signals, answers, quotes, commands and time in any order; what must hold, holds after each."""

    kind = MarketKind.USDM

    def __init__(self) -> None:
        super().__init__()
        self.rig = WatchedRig(
            self.kind,
            REMORA_RISK__MAX_POSITION_QUOTE="1800",
            REMORA_RISK__MAX_ORDER_QUOTE="1600",
            REMORA_RISK__MAX_ORDERS_PER_S="5",
        )
        self.held = 0

    @rule(
        side=st.sampled_from((Side.BUY, Side.BUY, Side.SELL)),
        notional=st.sampled_from((1000.0, 1000.0, 300.0, 1700.0, 20.0)),
        sigma=st.sampled_from((1.0, 60.0, 60.0)),
    )
    def signal(self, side: Side, notional: float, sigma: float) -> None:
        self.rig.enter(side, notional_quote=notional, sigma_60_bps=sigma, target_bps=60.0)

    @rule(sigma=st.sampled_from((1.0, 60.0)), is_accepted=st.booleans())
    def signal_on_a_good_day(self, sigma: float, is_accepted: bool) -> None:
        rig = self.rig
        rig.is_socket_down = False
        rig.market.imbalance.signal_side = 0
        for verb, argument in (("resume", ""), ("side", "both"), ("size", "1")):
            rig.command(verb, argument)
        rig.quote(rig.market.best_bid, rig.market.best_bid + 2, Trigger.LIVE)
        order = rig.enter(sigma_60_bps=sigma, target_bps=60.0)
        if order is not None and is_accepted and order.state is OrderState.IN_FLIGHT:
            rig.accept(order)

    @precondition(lambda self: self.rig.working())
    @rule(event=st.sampled_from(ANSWERS), which=st.integers(0, 3), owed=st.integers(0, 2))
    def answer(self, event: OrderEvent, which: int, owed: int) -> None:
        orders = self.rig.working()
        order = orders[which % len(orders)]
        after = next_state(order.state, event)
        if after is None:
            return
        reported = min(order.filled + min(owed, self.room(order)), order.quantity - 1)
        self.rig.tell(order, event, reported=reported if after in FINAL_STATES else 0)

    @precondition(lambda self: self.rig.orders)
    @rule(
        part=st.sampled_from((0.1, 0.5, 1.0)),
        which=st.integers(0, 5),
        drift=st.sampled_from((-300, 0, 0, 300)),
        is_late=st.sampled_from((False, False, False, True)),
    )
    def fill(self, part: float, which: int, drift: int, is_late: bool) -> None:
        orders = (not is_late and self.rig.working()) or self.rig.orders
        order = orders[-1 - which % len(orders)]
        room = self.room(order)
        if order.is_final:
            room = min(room, order.leaves)
        if room > 0:
            quantity = max(1, int(room * part))
            price = (order.intent.price or self.rig.market.best_bid) + drift
            self.held += order.intent.side * quantity
            self.rig.fill(order, quantity, price)

    def room(self, order: Order) -> int:
        """Return what the venue could fill of an order: a reducing one never beyond the position."""
        left = order.quantity - order.filled
        if not order.intent.is_reducing:
            return left
        held = self.rig.position.quantity
        if held * order.intent.side >= 0:
            return 0
        # Fills owed by orders that are over have happened at the venue: nothing of them can be closed again.
        owed = sum(one.leaves for one in self.rig.orders if one.is_final and one is not order)
        return max(0, min(left, abs(held) - owed))

    @rule(
        move=st.sampled_from(MOVES),
        spread=st.sampled_from((2, 60)),
        mask=st.sampled_from(MASKS),
    )
    def quote(self, move: int, spread: int, mask: int) -> None:
        market = self.rig.market
        bid = market.best_bid + move * (30 if market.kind is MarketKind.SPOT else 1)
        bid = min(max(bid, 900_000), 11_000_000)
        self.rig.quote(bid, bid + spread, mask, is_valid=mask != Trigger.GAP)

    @rule(side=st.sampled_from((-1, 0, 0, 0, 1, 1)), is_whale=st.booleans())
    def flow(self, side: int, is_whale: bool) -> None:
        if is_whale:
            self.rig.market.whale.episode_side = side
            self.rig.trigger(Trigger.WHALE_OPEN)
        else:
            self.rig.market.imbalance.signal_side = side
            self.rig.trigger(Trigger.IMBALANCE)

    @rule(wait_ns=st.sampled_from(WAITS_NS))
    def wait(self, wait_ns: int) -> None:
        self.rig.advance(wait_ns)
        self.rig.market.last_recv_ns = self.rig.market.now_ns

    @rule(command=st.sampled_from(COMMANDS))
    def command(self, command: tuple[str, str]) -> None:
        self.rig.command(*command)

    @rule(is_down=st.sampled_from((False, False, True)))
    def socket(self, is_down: bool) -> None:
        self.rig.is_socket_down = is_down

    @invariant()
    def sums_agree(self) -> None:
        rig, gate = self.rig, self.rig.gate
        assert gate.position(0) == rig.position.quantity
        for side in (-1, 1):
            assert gate.entering_leaves(0, side) == rig.leaves(side, is_reducing=False)
            assert gate.reducing_leaves(0, side) == rig.leaves(side, is_reducing=True)
        assert rig.worst() <= rig.most_worst

    @invariant()
    def position_is_what_was_filled(self) -> None:
        residue = self.rig.position.residue
        assert self.rig.position.quantity + residue == self.held

    @invariant()
    def one_exit_at_most_is_in_the_air(self) -> None:
        assert len(self.rig.working("target", "stop", "time", "scratch", "flatten")) <= 1

    @invariant()
    def desk_is_due_later_or_never(self) -> None:
        plan, due_ns = self.rig.plan, self.rig.desk.next_due_ns(0)
        assert due_ns >= self.rig.market.now_ns
        if plan is None or plan.is_over:
            assert due_ns == NEVER
            assert self.rig.position.quantity == 0
            assert self.rig.working() == []
        elif self.rig.position.quantity:
            assert due_ns < NEVER

    def teardown(self) -> None:
        """With a venue that answers, a flatten ends everything."""
        rig = self.rig
        rig.is_socket_down = False
        rig.command("halt")
        rig.command("flatten")
        for _ in range(25):
            for order in list(rig.orders):
                self.settle(order)
            if rig.plan is None or rig.plan.is_over:
                break
            rig.advance(100 * NS_PER_MS)
        assert rig.plan is None or rig.plan.is_over
        assert rig.working() == []
        self.position_is_what_was_filled()
        self.sums_agree()
        assert rig.gate.worst_long(0) == rig.gate.worst_short(0) == 0
        lines = [encode_fact(fact) for fact in rig.facts]
        assert [decode_fact(line) for line in lines] == rig.facts
        if rig.plan is not None:
            assert rig.of(PlanFact)[-1].stage == "over"

    def settle(self, order: Order) -> None:
        """Answer as a venue does at last."""
        if order.is_final:
            if order.leaves:
                self.held += order.intent.side * order.leaves
                self.rig.fill(order, order.leaves, order.intent.price or self.rig.market.best_bid)
            return
        if order.state is OrderState.UNKNOWN:
            self.rig.tell(order, OrderEvent.STATUS)
        room = self.room(order)
        if order.intent.is_reducing and order.intent.life is OrderLife.IOC and room:
            self.held += order.intent.side * room
            self.rig.fill(order, room, order.intent.price or self.rig.market.best_bid)
        if not order.is_final and order.intent.life is OrderLife.IOC:
            self.rig.tell(order, OrderEvent.EXPIRED)
        elif order.state is OrderState.CANCEL_PENDING:
            self.rig.tell(order, OrderEvent.CANCELLED)


class RandomSpotDesk(RandomDesk):
    """The same where a stop locks coins and nothing opens short."""

    kind = MarketKind.SPOT


LONG = settings(max_examples=40, stateful_step_count=50)
RandomDesk.TestCase.settings = LONG
RandomSpotDesk.TestCase.settings = LONG


@pytest.mark.slow
class TestRandomDesk(RandomDesk.TestCase):  # type: ignore[misc]
    """Futures."""


@pytest.mark.slow
class TestRandomSpotDesk(RandomSpotDesk.TestCase):  # type: ignore[misc]
    """Spot."""


def walk(machine: RandomDesk, seed: int, n_steps: int) -> None:
    """Take one long history, by the dice of `seed`."""
    dice = random.Random(seed)
    one_of = dice.choice
    for _ in range(n_steps):
        kind = dice.random()
        if kind < 0.10:
            machine.signal_on_a_good_day(one_of((1.0, 60.0)), one_of((True, False)))
        elif kind < 0.13:
            machine.signal(one_of((Side.BUY, Side.SELL)), one_of((1000.0, 300.0, 1700.0)), 60.0)
        elif kind < 0.35 and machine.rig.working():
            machine.answer(one_of(ANSWERS), dice.randrange(4), dice.randrange(3))
        elif kind < 0.60 and machine.rig.orders:
            part, drift = one_of((0.1, 0.5, 1.0)), one_of((-300, 0, 300))
            machine.fill(part, dice.randrange(6), drift, one_of((False, True)))
        elif kind < 0.75:
            machine.quote(one_of(MOVES), one_of((2, 60)), one_of(MASKS) if dice.random() < 0.3 else 0)
        elif kind < 0.78:
            machine.flow(one_of((-1, 0, 1)), one_of((False, True)))
        elif kind < 0.96:
            machine.wait(one_of(WAITS_NS))
        elif kind < 0.98:
            machine.command(one_of(COMMANDS))
        else:
            machine.socket(one_of((False, False, True)))
        for name in ("sums_agree", "position_is_what_was_filled", "one_exit_at_most_is_in_the_air"):
            getattr(machine, name)()
        machine.desk_is_due_later_or_never()
    machine.teardown()


MACHINES = (RandomDesk, RandomSpotDesk)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MACHINES)
def test_long_histories_keep_every_rule_and_reach_every_end(kind) -> None:
    outcomes, refusals = set(), set()
    for seed in range(25):
        machine = kind()
        walk(machine, seed, 150)
        outcomes |= {str(fact.outcome) for fact in machine.rig.of(PlanFact) if fact.stage == "over"}
        refusals |= {str(refused.reason) for refused in machine.rig.refused}
    assert outcomes == {"", "target", "stop", "time", "scratch", "flatten", "hard_stop"}
    assert refusals >= {"position_open", "order_notional"}


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.parametrize("kind", MACHINES)
def test_drill_of_many_long_histories(kind) -> None:
    for seed in range(1_000, 2_000):
        walk(kind(), seed, 300)
