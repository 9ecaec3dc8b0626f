"""How a position is entered, on futures and on spot."""

import math

import pytest

from engine.facts import DecisionFact
from engine.orders import OrderEvent, OrderKind, OrderLife, OrderState, RefusalReason
from engine.risk.entries import is_large_enough, taker_cost_bps
from engine.signals import MarketKind, Side, Trigger
from tests.engine.desks import NS_PER_MS, NS_PER_S, DeskMarket, Rig, bitcoin

BOTH_SIDES = pytest.mark.parametrize("side", [Side.BUY, Side.SELL])


@BOTH_SIDES
def test_futures_entry_rests_post_only_at_its_own_best(side) -> None:
    rig = Rig()
    order = rig.enter(side)
    assert order is not None
    own = rig.market.best_bid if side is Side.BUY else rig.market.best_ask
    assert (order.intent.kind, order.intent.life, order.intent.price) == (OrderKind.LIMIT, OrderLife.GTX, own)
    assert order.quantity == 10 if side is Side.BUY else 9  # 1,000 quote, rounded down to the step
    assert rig.gate.entering_leaves(0, side) == order.quantity
    assert rig.plan.stage == "entering"


def test_spot_entry_takes_at_the_other_best() -> None:
    rig = Rig(MarketKind.SPOT)
    order = rig.enter(sigma_60_bps=100.0)
    assert order is not None
    assert (order.intent.life, order.intent.price) == (OrderLife.IOC, rig.market.best_ask)
    assert order.quantity == 999_000


@pytest.mark.parametrize(("size", "quantity"), [(1.0, 10), (0.5, 5), (0.26, 2)])
def test_size_of_the_operator_scales_the_entry(size, quantity) -> None:
    rig = Rig()
    rig.command("size", str(size))
    order = rig.enter()
    assert order is not None
    assert order.quantity == quantity


@pytest.mark.parametrize(
    "changes", [{"notional_quote": 24.0}, {"notional_quote": 0.0}, {"notional_quote": math.nan}]
)
def test_entry_below_five_least_notionals_is_refused_and_told(changes) -> None:
    rig = Rig(instrument=bitcoin(quantity_digits=5))
    assert rig.enter(**changes) is None
    assert [refused.reason for refused in rig.refused] == [RefusalReason.TOO_SMALL]
    assert [fact.refusal for fact in rig.of(DecisionFact)] == ["too_small"]
    assert rig.enter(notional_quote=26.1) is not None


@pytest.mark.parametrize("changes", [{"target_bps": math.nan}, {"stop_bps": 0.0}, {"time_stop_ns": 0}])
def test_signal_that_does_not_say_where_it_ends_is_refused(changes) -> None:
    rig = Rig()
    assert rig.enter(**changes) is None
    assert [refused.reason for refused in rig.refused] == [RefusalReason.BAD_PRICE]


def test_entry_rests_two_seconds_to_the_nanosecond_then_it_is_withdrawn() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.advance(2 * NS_PER_S - 1)
    assert order.state is OrderState.OPEN
    rig.advance(1)
    assert order.state is OrderState.CANCEL_PENDING
    assert [(wish.reason, wish.decide_ns) for wish in rig.withdrawn] == [("rest_over", rig.market.now_ns)]
    assert rig.plan.stage == "withdrawing"


def rested(rig: Rig, **changes):
    """Bring an entry to the moment before its withdrawal is confirmed."""
    order = rig.enter(**changes)
    rig.accept(order)
    rig.advance(2 * NS_PER_S)
    return order


def test_confirmed_withdrawal_takes_the_rest_once_while_the_cost_passes() -> None:
    rig = Rig()
    order = rested(rig)
    rig.fill(order, 4)
    rig.accept(*rig.working("hard_stop"))
    rig.market.now_ns += 300 * NS_PER_MS
    rig.tell(order, OrderEvent.CANCELLED)
    take = rig.orders[-1]
    assert (take.intent.life, take.intent.price, take.quantity) == (OrderLife.IOC, rig.market.best_ask, 6)
    assert take.intent.recv_ns == rig.market.now_ns
    assert rig.plan.stage == "taking"
    rig.tell(take, OrderEvent.EXPIRED)
    assert rig.plan.stage == "holding"
    assert rig.working("entry") == []
    assert len([intent for intent in rig.intents if intent.purpose == "entry"]) == 2


@pytest.mark.parametrize(
    ("changes", "walk", "is_taken"),
    [
        ({"sigma_60_bps": 10.1}, 0.0, True),  # 2 x (10 + 0.1) = 20.2 against 2 x 10.1
        ({"sigma_60_bps": 10.0}, 0.0, False),
        ({"sigma_60_bps": 30.0, "target_bps": 20.1}, 0.0, False),
        ({"sigma_60_bps": 10.1}, 0.1, False),
        ({"sigma_60_bps": 30.0}, math.nan, False),
        ({"sigma_60_bps": 1.0, "is_cost_gated": False}, 0.0, True),
    ],
)
def test_rest_is_taken_only_if_twice_the_taker_cost_is_supported(changes, walk, is_taken) -> None:
    rig = Rig()
    rig.market.walk = {Side.BUY: walk, Side.SELL: 0.0}
    order = rested(rig, **changes)
    rig.tell(order, OrderEvent.CANCELLED)
    assert (rig.orders[-1] is not order) is is_taken
    if not is_taken:
        assert rig.plan.is_over
        assert rig.desk.next_due_ns(0) == 2**63 - 1


def test_post_only_entry_that_would_take_asks_at_once() -> None:
    for event in (OrderEvent.EXPIRED, OrderEvent.REJECTED):
        rig = Rig()
        rig.tell(rig.enter(), event)
        assert rig.orders[-1].intent.life is OrderLife.IOC
        assert len(rig.orders) == 2


def test_entry_that_never_arrived_is_not_tried_again() -> None:
    rig = Rig()
    order = rig.enter()
    rig.tell(order, OrderEvent.TIMEOUT)
    assert rig.gate.entering_leaves(0, 1) == 10
    rig.tell(order, OrderEvent.ABSENT)
    assert len(rig.orders) == 1
    assert rig.plan.is_over
    assert rig.gate.entering_leaves(0, 1) == 0


@pytest.mark.parametrize("trouble", [Trigger.GAP, Trigger.STALE])
def test_broken_or_stale_book_withdraws_the_entry_for_good(trouble) -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.market.is_valid = trouble is not Trigger.GAP
    rig.trigger(trouble)
    assert order.state is OrderState.CANCEL_PENDING
    rig.quote(999_999, 1_000_001, Trigger.LIVE)
    rig.tell(order, OrderEvent.CANCELLED)
    assert len(rig.orders) == 1
    assert rig.plan.is_over


def test_opposite_whale_or_imbalance_withdraws_the_entry_for_good() -> None:
    for bit, part, name in (
        (Trigger.WHALE_OPEN, "whale", "episode_side"),
        (Trigger.IMBALANCE, "imbalance", "signal_side"),
    ):
        rig = Rig()
        order = rig.enter()
        rig.accept(order)
        setattr(getattr(rig.market, part), name, 1)
        rig.trigger(bit)
        assert order.state is OrderState.OPEN
        setattr(getattr(rig.market, part), name, -1)
        rig.trigger(bit)
        assert order.state is OrderState.CANCEL_PENDING
        rig.tell(order, OrderEvent.CANCELLED)
        assert rig.plan.is_over


@pytest.mark.parametrize(
    ("verb", "argument", "is_withdrawn"),
    [
        ("halt", "", True),
        ("side", "short-only", True),
        ("side", "long-only", False),
        ("pause", "", False),
        ("size", "0", False),
    ],
)
def test_command_withdraws_a_resting_entry_only_if_it_forbids_it(verb, argument, is_withdrawn) -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.command(verb, argument)
    assert (order.state is OrderState.CANCEL_PENDING) is is_withdrawn


def test_pause_keeps_the_rest_from_being_taken() -> None:
    rig = Rig()
    order = rested(rig)
    rig.command("pause")
    rig.tell(order, OrderEvent.CANCELLED)
    assert [refused.reason for refused in rig.refused] == [RefusalReason.PAUSED]
    rig.advance(1)
    assert rig.plan.is_over


def test_withdrawal_that_could_not_be_sent_is_tried_again_each_100_ms() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.is_socket_down = True
    rig.advance(2 * NS_PER_S + 250 * NS_PER_MS)
    assert len(rig.withdrawn) == 3
    rig.is_socket_down = False
    rig.advance(100 * NS_PER_MS)
    assert order.state is OrderState.CANCEL_PENDING


def test_fill_after_the_cancel_was_sent_counts_and_less_is_taken() -> None:
    rig = Rig()
    order = rested(rig)
    # The venue says: 7 filled, 3 of them we have not heard of.
    rig.fill(order, 4)
    rig.accept(*rig.working("hard_stop"))
    rig.tell(order, OrderEvent.CANCELLED, reported=7)
    assert rig.working("entry") == []
    assert rig.gate.entering_leaves(0, 1) == 3
    rig.fill(order, 3)
    assert rig.working("entry")[0].quantity == 3


def test_small_spot_fill_is_completed_once_then_sold() -> None:
    rig = Rig(MarketKind.SPOT)
    order = rig.enter(sigma_60_bps=100.0, target_bps=100.0)
    rig.fill(order, 14_000, price=order.intent.price)  # 14 quote: below three times 5
    rig.tell(order, OrderEvent.EXPIRED)
    more = rig.working("entry")[0]
    assert more.quantity == order.quantity - 14_000
    rig.tell(more, OrderEvent.EXPIRED)
    assert rig.plan.stage == "exiting"
    for stop in rig.working("hard_stop"):
        rig.tell(stop, OrderEvent.CANCELLED)
    rig.advance(100 * NS_PER_MS)
    (exit_order,) = rig.working()
    assert (exit_order.intent.purpose, exit_order.quantity) == ("scratch", 14_000)


def test_spot_fill_too_small_to_sell_is_residue_and_no_position() -> None:
    rig = Rig(MarketKind.SPOT)
    order = rig.enter()  # its cost does not pass for a second taker
    rig.fill(order, 4_000, price=order.intent.price)
    rig.tell(order, OrderEvent.EXPIRED)
    assert rig.plan.is_over
    assert rig.working() == []
    assert (rig.position.quantity, rig.position.residue) == (0, 4_000)
    assert rig.gate.position(0) == 0


def test_spot_fill_of_a_living_size_is_not_completed() -> None:
    rig = Rig(MarketKind.SPOT)
    order = rig.enter(sigma_60_bps=100.0, target_bps=100.0)
    rig.fill(order, 16_000, price=order.intent.price)
    rig.tell(order, OrderEvent.EXPIRED)
    assert rig.plan.stage == "holding"
    assert [one.intent.purpose for one in rig.working()] == ["hard_stop"]


def test_small_futures_fill_is_held() -> None:
    rig = Rig(instrument=bitcoin(quantity_digits=5))
    order = rested(rig, sigma_60_bps=1.0)
    rig.fill(order, 5)  # 5 quote
    rig.tell(order, OrderEvent.CANCELLED)
    assert rig.plan.stage == "holding"


def test_cost_of_a_taker_counts_both_fees_the_spread_and_both_walks() -> None:
    market = DeskMarket(spread_bps=0.4, walk={Side.BUY: 0.3, Side.SELL: 0.2})
    assert taker_cost_bps(market, bitcoin(), Side.BUY, 10, 5.0) == pytest.approx(10.9)
    assert math.isnan(taker_cost_bps(DeskMarket(mid=math.nan), bitcoin(), Side.BUY, 10, 5.0))


@pytest.mark.parametrize(("quantity", "is_enough"), [(4, False), (5, True)])
def test_least_notional_is_held_exactly(quantity, is_enough) -> None:
    assert is_large_enough(bitcoin(quantity_digits=5), 1_000_000, quantity, 1) is is_enough
