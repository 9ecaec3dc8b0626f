"""Desk, executor and blotter against a venue, in any order of events, over kills: no sequence breaks a rule.

What is guaranteed of exposure. At each approval of an order that enters, the position that everything at the
venue and on its way there could lead to, valued at max(price, best ask), is within the limits. Afterwards
the quantity is bound, not its value: the mark may move. And at every moment the gate's worst side is at
least the true one: fills that nobody told us, and orders of unknown fate, are counted until they are known.

What is assumed of the venue: a request does not overtake another, and an answer is true when it is given.
What is assumed of the session: after reports were lost it asks for every order that is not over.
"""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.execution.blotter import NEVER_NS
from engine.restart import unfinished
from engine.signals import MarketKind, Side, Trigger
from engine.venues.venue import SendStatus
from tests.engine.desks import NS_PER_MS, NS_PER_S, signal_for
from tests.journeys.trading_world import ACTIVE, HALTED, REDUCING, TradingWorld
from tests.oracles.venue import LIVE

WAITS_NS = (0, 1, 40 * NS_PER_MS, 150 * NS_PER_MS, NS_PER_S, 3 * NS_PER_S, 61 * NS_PER_S)
MOVES_BPS = (-300, -61, -21, 0, 0, 21, 61, 300)
PERCENTS = (0, 30, 70, 100, 100)
COMMANDS = (
    *[("resume", "")] * 4,
    *(("halt", ""), ("pause", ""), ("flatten", ""), ("side", "both"), ("stop", "flatten")),
    *(("side", "long-only"), ("side", "short-only"), ("size", "1"), ("size", "0.3")),
)


class TradingMachine(TradingWorld, RuleBasedStateMachine):
    """Anything in any order; the rules are held to after each."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        TradingWorld.__init__(self)

    # What may happen

    def signal(self, index: int, side: Side, **changes: object) -> None:
        engine = self.engine
        market = engine.markets[index]
        engine.proposers[index].signal = signal_for(market, side, target_bps=60.0, **changes)
        engine.decide(market, Trigger.ENTRY)

    @rule(
        index=st.integers(0, 1),
        side=st.sampled_from((Side.BUY, Side.BUY, Side.SELL)),
        notional=st.sampled_from((1000.0, 1000.0, 300.0, 150.0, 1590.0, 1700.0, 20.0)),
        sigma=st.sampled_from((1.0, 60.0)),
    )
    def propose(self, index: int, side: Side, notional: float, sigma: float) -> None:
        self.run(lambda: self.signal(index, side, notional_quote=notional, sigma_60_bps=sigma))

    @rule(
        index=st.integers(0, 1),
        side=st.sampled_from((Side.BUY, Side.BUY, Side.SELL)),
        percent=st.sampled_from(PERCENTS),
        notional=st.sampled_from((1000.0, 250.0, 150.0)),
    )
    def enter_on_a_good_day(self, index: int, side: Side, percent: int, notional: float) -> None:
        """All is well, and an order enters; a part of it may fill."""

        def act() -> None:
            engine = self.engine
            self.venue.status, self.page = SendStatus.SENT, ACTIVE
            for words in (("resume", ""), ("side", "both"), ("size", "1")):
                self.order(*words)
            engine.desk.set_facts_lag(0.0, self.now_ns)
            market = engine.markets[index]
            market.imbalance.signal_side = 0
            engine.decide(market, engine.show(market) | Trigger.LIVE)
            self.signal(index, side, sigma_60_bps=60.0, notional_quote=notional)
            self.carry_all(percent)
            for order in self.venue.live(market.symbol):
                if order.life == "GTX" and percent:
                    self.venue.trade(order, percent)
            self.carry_all(percent)

        self.run(act)

    @precondition(lambda self: self.venue.requests)
    @rule(
        is_lost=st.sampled_from((False, False, False, True)),
        is_refused=st.sampled_from((False, False, False, True)),
        percent=st.sampled_from(PERCENTS),
    )
    def let_a_request_arrive(self, is_lost: bool, is_refused: bool, percent: int) -> None:
        self.venue.take_request(is_lost=is_lost, is_refused=is_refused, percent=percent)

    @precondition(lambda self: self.venue.reports)
    @rule(which=st.integers(0, 7), fate=st.sampled_from(("comes", "comes", "comes", "comes twice", "lost")))
    def let_a_report_arrive(self, which: int, fate: str) -> None:
        reports = self.venue.reports
        which %= len(reports)
        report = reports[which] if fate == "comes twice" else reports.pop(which)
        if fate != "lost":
            self.run(lambda: self.take(report))

    @rule(percent=st.sampled_from(PERCENTS))
    def let_all_arrive(self, percent: int) -> None:
        self.run(lambda: self.carry_all(percent))

    @rule(which=st.integers(0, 3), percent=st.sampled_from((10, 50, 100)), is_crossing=st.booleans())
    def trade_with_what_rests(self, which: int, percent: int, is_crossing: bool) -> None:
        resting = self.resting("LIMIT")
        if not resting:
            return
        order = resting[which % len(resting)]
        if is_crossing:  # its cancel is on the way, or will be
            self.run(lambda: self.engine.advance(self.now_ns + 2 * NS_PER_S))
        if order.state == LIVE:
            self.venue.trade(order, percent)

    @rule(which=st.integers(0, 3), percent=st.sampled_from((0, 50, 100)))
    def fire_a_stop(self, which: int, percent: int) -> None:
        stops = self.resting("STOP")
        if stops:
            self.venue.fire(stops[which % len(stops)], percent)

    @rule(which=st.integers(0, 3), is_cancel=st.booleans())
    def end_an_order_unasked(self, which: int, is_cancel: bool) -> None:
        orders = self.resting("LIMIT") + self.resting("STOP")
        if orders:
            self.venue.end(orders[which % len(orders)], "cancelled" if is_cancel else "expired")

    @rule()
    def come_back_to_the_stream(self) -> None:
        self.reconcile()

    @rule(
        index=st.integers(0, 1),
        move_bps=st.sampled_from(MOVES_BPS),
        spread=st.sampled_from((2, 60)),
        sight=st.sampled_from(("seen", "seen", "seen", "seen", "unseen", "gap")),
    )
    def quote(self, index: int, move_bps: int, spread: int, sight: str) -> None:
        market = self.engine.markets[index]
        bid = self.venue.quotes[market.symbol][0]
        middle = 10_000_000 if self.kind is MarketKind.SPOT else 1_000_000
        bid = min(max(bid + bid * move_bps // 10_000, middle * 7 // 10), middle * 14 // 10)
        self.venue.quotes[market.symbol] = bid, bid + spread
        if sight == "unseen":
            return

        def act() -> None:
            mask = self.engine.show(market, is_valid=sight == "seen")
            self.engine.decide(market, mask | (Trigger.GAP if sight == "gap" else Trigger.LIVE))

        self.run(act)

    @rule(
        index=st.integers(0, 1),
        side=st.sampled_from((-1, 0, 0, 0, 1)),
        kind=st.sampled_from(("whale", "imbalance", "imbalance", "stale")),
    )
    def flow(self, index: int, side: int, kind: str) -> None:
        market = self.engine.markets[index]
        mask = Trigger.STALE
        if kind == "whale":
            market.whale.episode_side, mask = side, Trigger.WHALE_OPEN
        elif kind == "imbalance":
            market.imbalance.signal_side, mask = side, Trigger.IMBALANCE
        self.run(lambda: self.engine.decide(market, mask))

    @rule(wait_ns=st.sampled_from(WAITS_NS))
    def wait(self, wait_ns: int) -> None:
        until_ns = self.now_ns + wait_ns

        def act() -> None:
            self.engine.advance(until_ns)
            for market in self.engine.markets:
                market.last_recv_ns = self.now_ns

        self.run(act)

    @rule(words=st.sampled_from(COMMANDS), index=st.integers(0, 1), is_for_one=st.booleans())
    def command(self, words: tuple[str, str], index: int, is_for_one: bool) -> None:
        symbol = self.instruments[index].symbol if is_for_one else ""
        self.run(lambda: self.order(*words, symbol=symbol))

    @rule(state=st.sampled_from((ACTIVE, ACTIVE, REDUCING, HALTED)), is_heard=st.booleans())
    def write_the_control_page(self, state: int, is_heard: bool) -> None:
        """Somebody raises the wanted state; the corridor may hear of it later."""
        self.page = state
        if is_heard:
            self.wanted = max(self.wanted, state)
            self.run(lambda: self.engine.perform(self.engine.desk.set_wanted(state, "page", self.now_ns)))

    @rule(share=st.sampled_from((0.0, 0.0, 0.5, 0.9)))
    def lag_behind(self, share: float) -> None:
        if share >= 0.9:
            self.wanted = HALTED
        self.run(lambda: self.engine.perform(self.engine.desk.set_facts_lag(share, self.now_ns)))

    @rule(status=st.sampled_from((*[SendStatus.SENT] * 4, *SendStatus)))
    def change_the_socket(self, status: SendStatus) -> None:
        self.venue.status = status

    @precondition(lambda self: self.kind is MarketKind.SPOT)
    @rule()
    def pay_fees_in_the_other_asset(self) -> None:
        self.venue.is_fee_in_base = not self.venue.is_fee_in_base

    @rule(steps=st.integers(1, 12))
    def kill_soon(self, steps: int) -> None:
        """Let the engine end in the midst of what it does, before or after one of its next facts or bytes."""
        self.kill_in = steps

    @rule(are_lost=st.booleans())
    def kill(self, are_lost: bool) -> None:
        self.restart(are_lost=are_lost)

    @invariant()
    def nothing_is_broken(self) -> None:
        self.every_rule_is_kept()

    def teardown(self) -> None:
        """The venue answers, the market is calm: a flatten ends all, and the account is to the last unit."""
        self.kill_in = 0
        self.venue.status = SendStatus.SENT
        engine = self.engine
        for market in engine.markets:
            market.imbalance.signal_side = market.whale.episode_side = 0
            engine.decide(market, engine.show(market) | Trigger.LIVE)
        self.order("halt")
        self.order("flatten")
        until_ns = self.now_ns + 10 * NS_PER_S
        while True:
            self.reconcile()
            self.carry_all()
            plans = [plan for plan in engine.desk.plans if plan is not None and not plan.is_over]
            if not plans and not engine.blotter.open_orders():
                break
            assert self.now_ns < until_ns, plans
            engine.advance(self.now_ns + 100 * NS_PER_MS)
        self.every_rule_is_kept()
        for one in self.instruments:
            self.account_agrees(one.index)
        assert engine.blotter.n_overfilled == 0
        assert engine.executor.next_due_ns == NEVER_NS
        assert unfinished(engine.lines) == () or self.kind is MarketKind.SPOT


class SpotMachine(TradingMachine):
    """The same where a stop locks coins, fees may be coins, and nothing opens short."""

    kind = MarketKind.SPOT


def entered(steps: int, kind: type[TradingMachine] = TradingMachine) -> TradingMachine:
    """Enter, and kill the engine at the so many-eth fact or byte before or after it."""
    machine = kind()
    machine.kill_soon(steps)
    machine.enter_on_a_good_day(0, Side.BUY, 100, 1000.0)
    machine.every_rule_is_kept()
    return machine


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TradingMachine, SpotMachine])
def test_killed_at_any_fact_or_byte_of_an_entry_all_is_found_again(kind) -> None:
    for steps in range(1, 60):
        machine = entered(steps, kind)
        machine.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TradingMachine, SpotMachine])
def test_killed_again_at_any_fact_or_byte_of_a_restart_all_is_found_again(kind) -> None:
    for steps in range(1, 60):
        machine = entered(0, kind)
        machine.quote(0, -300, 2, "unseen")
        machine.kill_in = steps  # counts on into the next start
        machine.n_kills += 1
        machine.start()
        machine.every_rule_is_kept()
        machine.let_all_arrive(100)
        machine.every_rule_is_kept()
        machine.teardown()


def test_numbers_of_plans_are_given_once_while_anything_is_left() -> None:
    machine = TradingMachine()
    for index in (0, 1, 1):  # the plans of the second instrument come to their end
        machine.enter_on_a_good_day(index, Side.BUY, 100, 250.0)
        machine.command(("flatten", ""), 1, is_for_one=True)
        machine.let_all_arrive(100)
        machine.let_all_arrive(100)
    machine.kill(are_lost=False)
    machine.enter_on_a_good_day(1, Side.BUY, 100, 250.0)
    numbers = [plan.number for plan in machine.engine.desk.plans if plan is not None]
    assert numbers == [1, 4]
    machine.teardown()


def walk(machine: TradingMachine, seed: int, n_steps: int) -> None:
    """Take one long history, by the dice of `seed`: more trading and fewer kills than Hypothesis likes."""
    dice = random.Random(seed)
    one_of = dice.choice
    for _ in range(n_steps):
        kind, index = dice.random(), dice.randrange(2)
        if kind < 0.14:
            side, percent = one_of((Side.BUY, Side.SELL)), one_of(PERCENTS)
            machine.enter_on_a_good_day(index, side, percent, one_of((1000.0, 250.0, 150.0)))
        elif kind < 0.32 and machine.venue.requests:
            machine.let_a_request_arrive(dice.random() < 0.1, dice.random() < 0.1, one_of(PERCENTS))
        elif kind < 0.54 and machine.venue.reports:
            fate = one_of(("comes", "comes", "comes", "comes", "comes twice", "lost"))
            machine.let_a_report_arrive(dice.randrange(8), fate)
        elif kind < 0.60:
            machine.trade_with_what_rests(dice.randrange(4), one_of((10, 50, 100)), dice.random() < 0.3)
        elif kind < 0.63:
            machine.fire_a_stop(dice.randrange(4), one_of((0, 50, 100)))
        elif kind < 0.65:
            machine.end_an_order_unasked(dice.randrange(4), dice.random() < 0.5)
        elif kind < 0.67:
            machine.come_back_to_the_stream()
        elif kind < 0.78:
            sight = one_of(("seen", "seen", "seen", "unseen", "gap"))
            machine.quote(index, one_of(MOVES_BPS), one_of((2, 60)), sight)
        elif kind < 0.81:
            machine.flow(index, one_of((-1, 0, 1)), one_of(("whale", "imbalance", "stale")))
        elif kind < 0.93:
            machine.wait(one_of(WAITS_NS))
        elif kind < 0.95:
            machine.command(one_of(COMMANDS), index, dice.random() < 0.5)
        elif kind < 0.96:
            machine.write_the_control_page(one_of((ACTIVE, REDUCING, HALTED)), dice.random() < 0.5)
        elif kind < 0.97:
            machine.change_the_socket(one_of((SendStatus.SENT, *SendStatus)))
        elif kind < 0.98:
            machine.let_all_arrive(one_of(PERCENTS))
        elif kind < 0.985:
            machine.venue.is_fee_in_base = not machine.venue.is_fee_in_base
        elif kind < 0.995:
            machine.kill_soon(dice.randrange(1, 13))
        else:
            machine.kill(dice.random() < 0.5)
        machine.every_rule_is_kept()
    machine.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TradingMachine, SpotMachine])
def test_long_histories_keep_every_rule(kind) -> None:
    for seed in range(10):
        walk(kind(), seed, 120)


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.parametrize("kind", [TradingMachine, SpotMachine])
def test_drill_of_many_long_histories(kind) -> None:
    for seed in range(1_000, 1_400):
        walk(kind(), seed, 250)


SHORT = settings(max_examples=100, stateful_step_count=40)
LONG = settings(max_examples=2_000, stateful_step_count=60)


def _case(machine: type[TradingMachine], found: settings) -> type:
    case = type(machine.__name__, (machine,), {}).TestCase
    case.settings = found
    return case


@pytest.mark.slow
class TestTradingMachine(_case(TradingMachine, SHORT)):  # type: ignore[misc]
    """Futures."""


@pytest.mark.slow
class TestSpotMachine(_case(SpotMachine, SHORT)):  # type: ignore[misc]
    """Spot."""


@pytest.mark.drill
@pytest.mark.slow
class TestTradingMachineForLong(_case(TradingMachine, LONG)):  # type: ignore[misc]
    """Futures."""


@pytest.mark.drill
@pytest.mark.slow
class TestSpotMachineForLong(_case(SpotMachine, LONG)):  # type: ignore[misc]
    """Spot."""
