"""Plans: what they write down, what a restart makes of it, and the prices they stand on."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.facts import PlanFact, decode_fact, encode_fact
from engine.orders import Fill, Order, OrderEvent, OrderState, Purpose
from engine.risk.plan import PlanStage, away, new_plan, restored_plan
from engine.signals import Side
from tests.engine.desks import NS_PER_S, START_NS, Rig, bitcoin


@given(
    cost=st.integers(1, 10**15),
    quantity=st.integers(1, 10**9),
    bps=st.floats(0.0, 9_000.0),
    sign=st.sampled_from((-1, 1)),
    tick=st.sampled_from((1, 5, 1000)),
    is_up=st.booleans(),
)
def test_price_away_from_an_average_is_the_nearest_tick_on_the_asked_side(
    cost, quantity, bps, sign, *, tick, is_up
) -> None:
    price = away(cost, quantity, bps, sign, tick, is_rounded_up=is_up)
    exact = Fraction(cost, quantity) * (1 + sign * Fraction(round(bps * 10**6), 10**10))
    assert price % tick == 0
    if exact >= tick:
        assert 0 <= (price - exact if is_up else exact - price) < tick
    else:
        assert price == tick


@pytest.mark.parametrize("is_up", [False, True])
def test_price_on_the_grid_is_not_rounded(is_up) -> None:
    assert away(1_000_000 * 7, 7, 10.0, 1, 5, is_rounded_up=is_up) == 1_001_000


def test_price_below_nothing_is_one_tick() -> None:
    assert away(100, 1, 20_000.0, -1, 5, is_rounded_up=False) == 5


def test_plan_writes_down_every_change_once_and_can_be_read_again() -> None:
    rig = Rig()
    order = rig.hold()
    rig.command("flatten")
    rig.fill(rig.working("flatten")[0], price=999_000)
    rig.tell(rig.working("hard_stop")[0], OrderEvent.CANCELLED)
    facts = rig.of(PlanFact)
    assert [fact.stage for fact in facts] == ["entering", "holding", "exiting", "exiting", "over"]
    assert [fact.position for fact in facts] == ["0.000", "0.010", "0.010", "0.000", "0.000"]
    held, over = facts[1], facts[-1]
    assert (held.entry_price, held.stop, held.target) == ("99999.90000", "99800.0", "100399.9")
    assert (held.hard_stop, held.deadline_ns) == ("99399.9", START_NS + 60 * NS_PER_S)
    assert (held.outcome, over.outcome) == ("", "flatten")
    assert over.pnl == -(999 * 10**5)  # 99.9 quote down on 0.01
    assert order.intent.plan == over.plan
    assert [decode_fact(encode_fact(fact)) for fact in facts] == facts


def test_plan_that_entered_nothing_ends_without_an_outcome() -> None:
    rig = Rig()
    order = rig.enter(sigma_60_bps=1.0)
    rig.tell(order, OrderEvent.REJECTED)
    over = rig.of(PlanFact)[-1]
    assert (over.stage, over.outcome, over.pnl) == ("over", "", 0)


def test_profit_of_a_plan_is_net_of_fees_and_its_own() -> None:
    rig = Rig()
    for fee in (10**7, 2 * 10**7):
        order = rig.enter()
        rig.accept(order)
        rig.fill(order, price=999_999, commission=fee, asset="USDT")
        rig.accept(rig.working("hard_stop")[0])
        rig.command("flatten")
        rig.fill(rig.working("flatten")[0], price=1_000_999, commission=fee, asset="USDT")
        rig.tell(rig.working("hard_stop")[0], OrderEvent.CANCELLED)
        assert rig.plan.pnl == 10**8 - 2 * fee


def test_restored_plan_goes_on_with_its_stop_and_its_deadline() -> None:
    rig = Rig()
    rig.hold()
    fact = rig.of(PlanFact)[-1]
    stop = rig.working("hard_stop")[0]
    other = Rig()
    other.orders.append(stop)
    for one in (rig.orders[0],):
        assert one.state is OrderState.FILLED
    other.desk.positions.restore_fill(_fill_of(rig))
    other.carry(other.desk.adopt(fact, [rig.orders[0], stop], other.market, other.market.now_ns))
    assert other.plan.stage == "holding"
    assert (other.plan.stop_price, other.plan.target_price) == (rig.plan.stop_price, rig.plan.target_price)
    assert other.gate.position(0) == 10
    assert other.desk.next_due_ns(0) == fact.deadline_ns
    other.quote(rig.plan.stop_price, rig.plan.stop_price + 2)
    assert [order.intent.purpose for order in other.working("stop")] == ["stop"]
    assert other.enter() is None  # the plan is known: one per instrument


def test_restored_plan_counts_what_it_had_earned_before() -> None:
    rig = Rig()
    rig.hold()
    rig.command("flatten")
    rig.fill(rig.working("flatten")[0], 4, price=1_000_999)
    rig.tell(rig.orders[-1], OrderEvent.EXPIRED)
    fact = rig.of(PlanFact)[-1]
    other = Rig()
    first = _fill_of(rig)
    older = msgspec.structs.replace(first, plan=0, side=Side.SELL, price=900_000)
    for one in (
        older,
        msgspec.structs.replace(older, side=Side.BUY),
        first,
        msgspec.structs.replace(first, side=Side.SELL, quantity=4, price=1_000_999),
    ):
        other.desk.positions.restore_fill(one)
    other.carry(other.desk.adopt(fact, [], other.market, other.market.now_ns))
    (exit_order,) = other.working()
    other.fill(exit_order, price=1_000_999)
    assert other.plan.is_over
    assert other.plan.pnl == 10**8


def test_restored_plan_that_was_over_stays_over_and_says_nothing_new() -> None:
    rig = Rig()
    rig.hold()
    rig.fill(rig.working("hard_stop")[0])
    fact = rig.of(PlanFact)[-1]
    other = Rig()
    assert other.desk.adopt(fact, [], other.market, 0) == []
    assert (other.plan.is_over, other.plan.exit_purpose, other.plan.pnl) == (True, "hard_stop", fact.pnl)
    assert other.facts == []


def test_restored_plan_overdue_closes_at_once() -> None:
    rig = Rig()
    rig.hold()
    fact = rig.of(PlanFact)[-1]
    other = Rig()
    other.market.now_ns = fact.deadline_ns + 1
    other.desk.positions.restore_fill(_fill_of(rig))
    other.carry(other.desk.adopt(fact, [], other.market, other.market.now_ns))
    assert [order.intent.purpose for order in other.working()] == ["time"]


def test_restored_entry_is_withdrawn_and_its_leaves_are_reserved_until_then() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    other = Rig()
    other.orders.append(order)
    other.carry(other.desk.adopt(rig.of(PlanFact)[-1], [order], other.market, other.market.now_ns))
    assert order.state is OrderState.CANCEL_PENDING
    assert other.gate.entering_leaves(0, 1) == 10
    other.tell(order, OrderEvent.CANCELLED)
    assert other.plan.is_over
    assert other.gate.entering_leaves(0, 1) == 0


def test_restored_plan_that_was_closing_goes_on_closing() -> None:
    rig = Rig()
    rig.hold()
    rig.quote(rig.plan.stop_price, rig.plan.stop_price + 2)
    exit_order = rig.working("stop")[0]
    plan = restored_plan(rig.of(PlanFact)[-1], rig.instrument, [exit_order], 0)
    assert (plan.stage, plan.exit_purpose, plan.exit) == (PlanStage.EXITING, Purpose.STOP, exit_order)


def test_first_reason_to_leave_stays_the_reason() -> None:
    rig = Rig()
    rig.hold()
    rig.plan.begin_exit(Purpose.TARGET, 5)
    rig.plan.begin_exit(Purpose.STOP, 6)
    assert rig.plan.exit_purpose is Purpose.TARGET


def test_entry_without_a_signal_is_no_plan() -> None:
    rig = Rig()
    order = rig.enter()
    bare = Order(
        client_order_id="x",
        intent=_without_signal(order.intent),
        quantity=1,
        state=OrderState.IN_FLIGHT,
        sent_ns=0,
        last_ns=0,
    )
    with pytest.raises(ValueError, match="expects a signal"):
        new_plan(bare, bitcoin(), 0, 0)


def _fill_of(rig: Rig):

    order = rig.orders[0]
    return Fill(
        client_order_id=order.client_order_id,
        plan=order.intent.plan,
        purpose=order.intent.purpose,
        symbol=order.intent.symbol,
        instrument=0,
        side=order.intent.side,
        price=order.intent.price,
        quantity=order.quantity,
        commission=0,
        commission_asset="",
        is_maker=True,
        trade_id=1,
        venue_ns=0,
        recv_ns=0,
    )


def _without_signal(intent):

    return msgspec.structs.replace(intent, signal=None)
