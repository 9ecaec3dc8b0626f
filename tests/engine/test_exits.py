"""How a position is left: levels, times, bad news, the stop at the venue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.orders import OrderEvent, OrderKind, OrderLife, OrderState
from engine.risk.exits import exit_limit
from engine.signals import MarketKind, Side, Trigger
from native.gate import Gate, GateReason
from tests.engine.desks import NS_PER_MS, NS_PER_S, DeskMarket, Rig, bitcoin, settings_of

SIDES = (Side.BUY, Side.SELL)
BOTH_SIDES = pytest.mark.parametrize("side", SIDES)


def exits(rig: Rig) -> list:
    return [order for order in rig.orders if order.intent.purpose not in ("entry", "hard_stop")]


def fill_exit(rig: Rig) -> None:
    rig.fill(exits(rig)[-1])
    for stop in rig.working("hard_stop"):
        rig.tell(stop, OrderEvent.CANCELLED)


@BOTH_SIDES
def test_stop_fires_at_the_first_quote_that_reaches_it(side) -> None:
    rig = Rig()
    entry = rig.hold(side)
    stop = rig.plan.stop_price
    assert stop == (998_000 if side > 0 else 1_002_001)  # 20 bps away, rounded towards the entry
    bid, ask = (stop + 1, stop + 3) if side > 0 else (stop - 3, stop - 1)
    rig.quote(bid, ask)
    assert exits(rig) == []
    rig.quote(bid - side, ask - side)
    (order,) = exits(rig)
    assert order.intent.purpose == "stop"
    assert (order.intent.side, order.quantity) == (Side(-side), entry.quantity)
    assert (order.intent.kind, order.intent.life) == (OrderKind.LIMIT, OrderLife.IOC)
    assert order.intent.is_reducing


@BOTH_SIDES
def test_target_fires_at_the_first_quote_that_reaches_it(side) -> None:
    rig = Rig()
    entry = rig.hold(side)
    target = rig.plan.target_price
    assert target >= entry.intent.price * 1.004 if side > 0 else target <= entry.intent.price * 0.996
    bid, ask = (target - 1, target + 1)
    rig.quote(bid, ask)
    assert exits(rig) == []
    rig.quote(bid + side, ask + side)
    assert [order.intent.purpose for order in exits(rig)] == ["target"]
    fill_exit(rig)
    assert rig.plan.is_over
    assert rig.plan.pnl > 0


def test_quote_that_touched_and_went_back_within_one_read_still_fires() -> None:
    rig = Rig()
    rig.hold()
    stop = rig.plan.stop_price
    mask = Trigger.LEVEL if rig.market.triggers.check(stop, stop + 2) else 0
    rig.quote(999_999, 1_000_001, mask)
    assert [order.intent.purpose for order in exits(rig)] == ["stop"]


def test_stop_and_target_in_one_read_then_it_is_the_stop() -> None:
    rig = Rig()
    rig.hold()
    rig.market.triggers.check(rig.plan.target_price, rig.plan.target_price + 2)
    rig.market.triggers.check(rig.plan.stop_price, rig.plan.stop_price + 2)
    rig.trigger(Trigger.LEVEL)
    assert [order.intent.purpose for order in exits(rig)] == ["stop"]


def test_level_passed_already_when_the_fill_comes_then_the_exit_leaves_at_once() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.quote(990_000, 990_002)
    rig.fill(order, price=order.intent.price)
    assert [one.intent.purpose for one in exits(rig)] == ["stop"]


def test_levels_follow_the_average_and_are_not_armed_again_for_the_same() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.fill(order, 5, price=999_999)
    first = rig.plan.stop_price
    rig.market.triggers.check(first, first + 2)
    rig.fill(order, 2, price=999_999)  # the firing before this fill is not forgotten
    rig.trigger(Trigger.LEVEL)
    assert [one.intent.purpose for one in exits(rig)] == ["stop"]
    other = Rig()
    order = other.enter()
    other.accept(order)
    other.fill(order, 5, price=999_999)
    other.fill(order, 5, price=999_799)
    assert other.plan.stop_price == first - 100


def test_time_stop_fires_at_its_due_time_and_not_a_nanosecond_before() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.market.now_ns += 700 * NS_PER_MS
    rig.fill(order, price=order.intent.price)
    rig.accept(*rig.working("hard_stop"))
    rig.advance(60 * NS_PER_S - 1)
    assert exits(rig) == []
    rig.advance(1)
    assert [(one.intent.purpose, one.intent.decide_ns) for one in exits(rig)] == [("time", rig.market.now_ns)]


@BOTH_SIDES
def test_opposite_whale_scratches_and_one_of_our_side_does_not(side) -> None:
    rig = Rig()
    rig.hold(side)
    rig.market.whale.episode_side = side
    rig.trigger(Trigger.WHALE_OPEN)
    rig.market.whale.episode_side = -side
    rig.trigger(Trigger.WHALE_CLOSE)
    assert exits(rig) == []
    rig.trigger(Trigger.WHALE_OPEN)
    assert [order.intent.purpose for order in exits(rig)] == ["scratch"]


@BOTH_SIDES
def test_held_imbalance_against_us_scratches(side) -> None:
    rig = Rig()
    rig.hold(side)
    rig.market.imbalance.signal_side = int(side)
    rig.trigger(Trigger.IMBALANCE)
    assert exits(rig) == []
    rig.market.imbalance.signal_side = -side
    rig.trigger(Trigger.IMBALANCE)
    assert [order.intent.purpose for order in exits(rig)] == ["scratch"]


def test_invalid_book_judges_no_price_but_time_closes_at_market() -> None:
    rig = Rig()
    rig.hold()
    rig.quote(rig.plan.stop_price, rig.plan.stop_price + 2, Trigger.GAP, is_valid=False)
    rig.market.imbalance.signal_side = -1
    rig.trigger(Trigger.IMBALANCE)
    assert exits(rig) == []
    rig.advance(60 * NS_PER_S)
    (order,) = exits(rig)
    assert (order.intent.purpose, order.intent.kind, order.intent.price) == ("time", OrderKind.MARKET, 0)


def test_book_that_is_live_again_beyond_the_stop_closes_at_once() -> None:
    rig = Rig()
    rig.hold()
    rig.quote(999_999, 1_000_001, Trigger.GAP, is_valid=False)
    rig.quote(rig.plan.stop_price - 50, rig.plan.stop_price - 48, Trigger.LIVE)
    assert [order.intent.purpose for order in exits(rig)] == ["stop"]


def test_stale_book_flattens_at_market() -> None:
    rig = Rig()
    rig.hold()
    rig.trigger(Trigger.STALE)
    assert exits(rig) == []
    rig.command("flatten")
    assert [order.intent.kind for order in exits(rig)] == [OrderKind.MARKET]


def test_exit_is_tried_again_each_100_ms_with_the_quotes_of_then() -> None:
    rig = Rig()
    rig.hold()
    rig.command("flatten")
    begin_ns = rig.market.now_ns
    for n, bid in enumerate((999_999, 999_000, 998_000)):
        order = exits(rig)[-1]
        assert len(exits(rig)) == n + 1
        assert order.intent.decide_ns == begin_ns + n * 100 * NS_PER_MS
        rig.market.now_ns += 30 * NS_PER_MS
        if n == 1:
            rig.fill(order, 4)
        rig.tell(order, OrderEvent.EXPIRED)
        rig.quote(bid - 1_000, bid - 998)
        rig.advance(70 * NS_PER_MS)
        assert exits(rig)[-1].intent.price < bid - 1_000
    assert exits(rig)[-1].quantity == 6


def test_only_one_exit_is_in_the_air() -> None:
    rig = Rig()
    rig.hold()
    rig.command("flatten")
    rig.advance(NS_PER_S)
    assert len(exits(rig)) == 1
    assert rig.gate.reducing_leaves(0, -1) == 10


@given(
    bid=st.integers(1, 10**7),
    spread=st.integers(1, 10**5),
    tick=st.sampled_from((1, 5, 100)),
    side=st.sampled_from(SIDES),
    band=st.floats(0.01, 1000.0),
)
def test_exit_price_fills_at_the_touch_and_passes_the_gate_or_there_is_none(
    bid, spread, tick, side, band
) -> None:
    instrument = bitcoin(tick=tick)
    bid = max(bid // tick, 1) * tick
    market = DeskMarket(best_bid=bid, best_ask=bid + spread * tick)
    settings = settings_of(REMORA_EXECUTION__EXIT_BAND_BPS=repr(band))
    gate = Gate(instruments=1, max_orders_per_s=1, max_gross_money=0)
    gate.set_instrument(
        0,
        epoch=1,
        tick=tick,
        step=1,
        price_digits=1,
        quantity_digits=3,
        min_notional_money=0,
        max_order_money=0,
        max_position_money=0,
        price_band_bps=settings.price_band_bps,
        is_futures=True,
    )
    gate.set_position(0, -int(side))
    price = exit_limit(market, instrument, side, settings)
    if not price:
        nearest = market.best_ask if side > 0 else market.best_bid
        assert abs(2 * nearest - bid - market.best_ask) * 10_000 >= 29 * (bid + market.best_ask)
        return
    assert price <= bid if side < 0 else price >= market.best_ask
    verdict = gate.review(0, 1, side, 0, price, 1, True, 0, bid, market.best_ask, True)
    assert verdict == GateReason.GATE_FINE
    touch = market.best_ask if side > 0 else bid
    assert abs(price - touch) <= max(touch * band / 10_000, tick)


@pytest.mark.parametrize("kind", [MarketKind.SPOT, MarketKind.USDM])
def test_first_fill_places_a_stop_at_the_venue(kind) -> None:
    rig = Rig(kind)
    order = rig.enter()
    assert rig.working("hard_stop") == []
    rig.fill(order, price=order.intent.price)
    (stop,) = rig.working("hard_stop")
    assert (stop.intent.kind, stop.intent.side, stop.quantity) == (
        OrderKind.STOP_MARKET,
        Side.SELL,
        order.quantity,
    )
    assert stop.intent.is_reducing
    distance = (order.intent.price - stop.intent.price) / order.intent.price * 1e4
    assert distance == pytest.approx(60.0, abs=0.02)
    assert distance >= 60.0
    # It locks coins on spot and nothing on futures.
    assert rig.gate.reducing_leaves(0, -1) == (order.quantity if kind is MarketKind.SPOT else 0)


def test_stop_at_the_venue_is_three_r_away_where_that_is_farther() -> None:
    rig = Rig()
    rig.hold(Side.SELL, stop_bps=50.0, target_bps=100.0)
    assert rig.plan.hard_stop_price == 1_015_002  # 150 bps above 1,000,001, rounded away


def test_grown_position_gets_a_new_stop_before_the_old_one_is_withdrawn() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.fill(order, 3)
    (old,) = rig.working("hard_stop")
    rig.fill(order, 3)
    rig.advance(300 * NS_PER_MS)
    assert rig.working("hard_stop") == [old]  # not acknowledged yet: only one is in the air
    rig.accept(old)
    rig.advance(100 * NS_PER_MS)
    _, new = rig.working("hard_stop")
    assert (new.quantity, old.state) == (6, OrderState.OPEN)
    rig.accept(new)
    assert old.state is OrderState.CANCEL_PENDING
    rig.tell(old, OrderEvent.CANCELLED)
    assert rig.working("hard_stop") == [new]
    assert rig.plan.hard_stops == [new]


def test_grown_spot_position_withdraws_the_old_stop_first() -> None:
    rig = Rig(MarketKind.SPOT)
    order = rig.enter()
    rig.fill(order, 400_000)
    (old,) = rig.working("hard_stop")
    rig.accept(old)
    rig.fill(order)
    rig.advance(100 * NS_PER_MS)
    assert old.state is OrderState.CANCEL_PENDING
    rig.tell(old, OrderEvent.CANCELLED)
    rig.advance(100 * NS_PER_MS)
    (new,) = rig.working("hard_stop")
    assert new.quantity == order.quantity
    assert rig.refused == []


def test_spot_exit_waits_until_the_stop_is_withdrawn() -> None:
    rig = Rig(MarketKind.SPOT)
    rig.hold()
    rig.command("flatten")
    (stop,) = rig.working()
    assert stop.state is OrderState.CANCEL_PENDING
    rig.tell(stop, OrderEvent.CANCELLED)
    assert len(exits(rig)) == 1
    rig.fill(exits(rig)[0])
    assert rig.plan.is_over
    assert rig.refused == []


def test_futures_exit_leaves_at_once_and_the_stop_is_withdrawn_when_flat() -> None:
    rig = Rig()
    rig.hold()
    (stop,) = rig.working("hard_stop")
    rig.command("flatten")
    assert stop.state is OrderState.OPEN
    rig.fill(exits(rig)[0], 4)
    assert stop.state is OrderState.OPEN
    rig.fill(exits(rig)[0])
    assert stop.state is OrderState.CANCEL_PENDING
    assert not rig.plan.is_over
    rig.tell(stop, OrderEvent.CANCELLED)
    assert rig.plan.is_over


def test_stop_that_filled_at_the_venue_ends_the_plan() -> None:
    rig = Rig()
    rig.hold()
    (stop,) = rig.working("hard_stop")
    rig.fill(stop, 4)
    assert rig.plan.stage == "exiting"
    assert exits(rig) == []
    rig.fill(stop)
    assert rig.plan.is_over
    assert rig.plan.exit_purpose == "hard_stop"


def test_rest_of_a_stop_that_filled_in_part_is_closed_after_100_ms() -> None:
    rig = Rig()
    rig.hold()
    rig.fill(rig.working("hard_stop")[0], 4)
    rig.advance(100 * NS_PER_MS)
    assert [order.quantity for order in exits(rig)] == [6]


def test_stop_refused_by_the_venue_closes_at_once() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.fill(order, price=order.intent.price)
    rig.tell(rig.working("hard_stop")[0], OrderEvent.REJECTED)
    assert [one.intent.purpose for one in exits(rig)] == ["stop"]


def test_two_seconds_without_an_acknowledged_stop_then_flat() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.fill(order, price=order.intent.price)
    rig.advance(2 * NS_PER_S - 1)
    assert exits(rig) == []
    rig.advance(1)
    assert [one.intent.purpose for one in exits(rig)] == ["flatten"]


def test_stop_that_could_not_be_sent_is_tried_again_each_100_ms() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.is_socket_down = True
    rig.fill(order, price=order.intent.price)
    rig.advance(250 * NS_PER_MS)
    assert [intent.purpose for intent in rig.intents[1:]] == ["hard_stop"] * 3
    rig.is_socket_down = False
    rig.advance(50 * NS_PER_MS)
    rig.accept(*rig.working("hard_stop"))
    assert rig.desk.next_due_ns(0) == rig.plan.deadline_ns


def test_exit_with_an_entry_still_resting_withdraws_it_and_closes_what_is_held() -> None:
    rig = Rig()
    order = rig.enter()
    rig.accept(order)
    rig.fill(order, 4, price=order.intent.price)
    rig.quote(rig.plan.stop_price, rig.plan.stop_price + 2)
    assert order.state is OrderState.CANCEL_PENDING
    assert [one.quantity for one in exits(rig)] == [4]
    rig.fill(exits(rig)[0])
    rig.fill(order, 2)
    rig.tell(order, OrderEvent.CANCELLED)
    rig.advance(100 * NS_PER_MS)
    assert [one.quantity for one in exits(rig)] == [4, 2]
    fill_exit(rig)
    assert rig.plan.is_over
    assert rig.position.quantity == 0


def test_peak_is_the_best_excursion_the_desk_has_seen() -> None:
    rig = Rig()
    rig.hold()
    for bid in (1_001_000, 1_002_000, 999_500):
        rig.quote(bid, bid + 2, Trigger.IMBALANCE)
    assert rig.plan.peak_bps == pytest.approx(20.01, abs=0.01)
