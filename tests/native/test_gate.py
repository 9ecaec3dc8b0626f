"""Pre-trade limits by example."""

from collections.abc import Callable
from typing import TypedDict

import pytest

from engine.orders import OrderKind, RefusalReason
from native.gate import Gate, GateReason
from tests.oracles.gate import MAX_UNITS, MONEY_MAX

BUY, SELL = 1, -1
LIMIT, MARKET, STOP_MARKET = OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP_MARKET
ASKS_EMPTY = 2**63 - 1
LARGEST = 2**63 - 1
SECOND_NS = 1_000_000_000
UNIT = 10**8  # one quote


class Limits(TypedDict):
    epoch: int
    tick: int
    step: int
    price_digits: int
    quantity_digits: int
    min_notional_money: int
    max_order_money: int
    max_position_money: int
    price_band_bps: float
    is_futures: bool


# Prices in cents, quantities in thousandths.
FUTURES: Limits = {
    "epoch": 1,
    "tick": 10,
    "step": 2,
    "price_digits": 2,
    "quantity_digits": 3,
    "min_notional_money": 5 * UNIT,
    "max_order_money": 1_000 * UNIT,
    "max_position_money": 2_500 * UNIT,
    "price_band_bps": 30.0,
    "is_futures": True,
}
SPOT: Limits = {**FUTURES, "is_futures": False}


def gate(limits: Limits = FUTURES, *, instruments: int = 2, rate: int = 3, gross: int = 4_000 * UNIT) -> Gate:
    made = Gate(instruments=instruments, max_orders_per_s=rate, max_gross_money=gross)
    for index in range(instruments):
        made.set_instrument(index, **limits)
        made.mark(index, 10_000)
    return made


def ask(
    gate: Gate,
    side: int = BUY,
    kind: int = LIMIT,
    price: int = 10_000,
    quantity: int = 1_000,
    *,
    index: int = 0,
    epoch: int = 1,
    is_reducing: bool = False,
    now_ns: int = 0,
    book: tuple[int, int] = (9_990, 10_010),
    is_valid: bool = True,
) -> GateReason:
    """Review an order of, without more words, 100 quote at mid."""
    price = 0 if kind == MARKET else price
    found = gate.review(index, epoch, side, kind, price, quantity, is_reducing, now_ns, *book, is_valid)
    return GateReason(found)


def test_reasons_have_the_names_of_the_refusals_in_the_order_of_the_checks() -> None:
    names = [reason.name.removeprefix("GATE_").lower() for reason in GateReason]
    assert names[0] == "fine"
    assert [reason.value for reason in GateReason] == list(range(len(GateReason)))
    assert set(names[1:]) <= {reason.value for reason in RefusalReason}


def test_entering_order_when_all_is_well_then_it_passes_and_nothing_has_changed() -> None:
    one = gate()
    for kind in (LIMIT, MARKET, STOP_MARKET):
        for side in (BUY, SELL):
            assert ask(one, side, kind) == GateReason.GATE_FINE
    assert one.gross_money == one.worst_money(0) == one.worst_long(0) == one.entering_leaves(0, BUY) == 0


@pytest.mark.parametrize(("wanted", "reason"), [(1, GateReason.GATE_REDUCING), (2, GateReason.GATE_HALTED)])
def test_wanted_state_when_not_active_then_only_reducing_orders_pass(wanted: int, reason: GateReason) -> None:
    one = gate()
    one.set_position(0, 1_000)
    one.set_wanted(wanted)
    assert one.wanted == wanted
    assert ask(one, SELL) == reason
    assert ask(one, SELL, is_reducing=True) == GateReason.GATE_FINE
    one.set_wanted(0)
    assert ask(one, SELL) == GateReason.GATE_FINE


@pytest.mark.parametrize(
    ("book", "is_valid"),
    [
        ((9_990, 10_010), False),
        ((0, 10_010), True),
        ((9_990, ASKS_EMPTY), True),
        ((9_990, 0), True),
        ((10_000, 10_000), True),
        ((10_010, 9_990), True),
    ],
)
def test_book_when_it_cannot_be_trusted_then_nothing_enters_and_the_way_out_is_open(
    book: tuple[int, int], is_valid: bool
) -> None:
    for limits in (FUTURES, SPOT):
        one = gate(limits)
        one.set_position(0, 1_000)
        assert ask(one, book=book, is_valid=is_valid) == GateReason.GATE_BOOK_INVALID
        for kind in (LIMIT, MARKET, STOP_MARKET):
            found = ask(one, SELL, kind, 5_000, is_reducing=True, book=book, is_valid=is_valid)
            assert found == GateReason.GATE_FINE, "no band without a mid"


def test_numbers_when_of_another_epoch_then_no_order_passes() -> None:
    one = gate()
    one.set_position(0, 1_000)
    one.set_instrument(0, **{**FUTURES, "epoch": 3})
    for epoch in (0, 1, 2, 4):
        assert ask(one, SELL, epoch=epoch) == GateReason.GATE_OLD_EPOCH
        assert ask(one, SELL, epoch=epoch, is_reducing=True) == GateReason.GATE_OLD_EPOCH
    assert ask(one, SELL, epoch=3, is_reducing=True) == GateReason.GATE_FINE


def test_instrument_when_it_was_never_set_then_nothing_passes_and_nothing_can_be_stated() -> None:
    one = Gate(instruments=1, max_orders_per_s=1, max_gross_money=1)
    for epoch in (0, 1):
        assert ask(one, epoch=epoch) == GateReason.GATE_OLD_EPOCH
    with pytest.raises(ValueError, match="set_instrument first"):
        one.set_position(0, 5)


@pytest.mark.parametrize("quantity", [0, -2, 999, 2**62, LARGEST, -LARGEST - 1])
@pytest.mark.parametrize("is_reducing", [False, True])
def test_quantity_when_not_positive_or_off_the_step_then_it_is_refused(
    quantity: int, is_reducing: bool
) -> None:
    one = gate()
    one.set_position(0, 5_000)
    assert ask(one, SELL, quantity=quantity, is_reducing=is_reducing) == GateReason.GATE_BAD_QUANTITY


@pytest.mark.parametrize("price", [0, -10, 10_001, 2**62, LARGEST, -LARGEST - 1])
@pytest.mark.parametrize("is_reducing", [False, True])
def test_price_when_not_positive_or_off_the_tick_then_it_is_refused(price: int, is_reducing: bool) -> None:
    one = gate()
    one.set_position(0, 5_000)
    for kind in (LIMIT, STOP_MARKET):
        assert ask(one, SELL, kind, price, is_reducing=is_reducing) == GateReason.GATE_BAD_PRICE
    found = one.review(0, 1, SELL, MARKET, 10, 1_000, is_reducing, 0, 9_990, 10_010, True)
    assert found == GateReason.GATE_BAD_PRICE, "a market order has no price"


@pytest.mark.parametrize("price", [9_970, 10_030])
def test_price_band_when_at_its_edge_then_the_order_passes_and_a_tick_beyond_not(price: int) -> None:
    one = gate()
    one.set_position(0, 5_000)
    beyond = price - 10 if price < 10_000 else price + 10
    for is_reducing in (False, True):
        assert ask(one, SELL, LIMIT, price, is_reducing=is_reducing) == GateReason.GATE_FINE
        assert ask(one, SELL, LIMIT, beyond, is_reducing=is_reducing) == GateReason.GATE_PRICE_BAND
        assert ask(one, SELL, STOP_MARKET, beyond, is_reducing=is_reducing) == GateReason.GATE_FINE


def test_notional_when_below_the_least_then_it_is_refused_save_a_reducing_one_on_futures() -> None:
    for limits, reducing in ((FUTURES, GateReason.GATE_FINE), (SPOT, GateReason.GATE_TOO_SMALL)):
        one = gate(limits)
        one.set_position(0, 5_000)
        assert ask(one, BUY, quantity=50) == GateReason.GATE_FINE, "5 quote exactly"
        assert ask(one, BUY, quantity=48) == GateReason.GATE_TOO_SMALL
        assert ask(one, SELL, MARKET, quantity=50) == GateReason.GATE_TOO_SMALL, "a seller gets the bid"
        assert ask(one, BUY, MARKET, quantity=50) == GateReason.GATE_FINE
        assert ask(one, SELL, quantity=48, is_reducing=True) == reducing
        assert ask(one, SELL, MARKET, quantity=50, is_reducing=True) == reducing


def test_notional_of_one_order_when_at_its_limit_then_it_passes_and_a_step_beyond_not() -> None:
    one = gate()
    assert ask(one, BUY, quantity=10_000) == GateReason.GATE_FINE, "1000 quote exactly"
    assert ask(one, BUY, quantity=10_002) == GateReason.GATE_ORDER_NOTIONAL
    assert ask(one, BUY, MARKET, quantity=10_000) == GateReason.GATE_ORDER_NOTIONAL, "valued at the ask"
    assert ask(one, SELL, MARKET, quantity=10_000) == GateReason.GATE_FINE


def test_worst_side_when_the_order_would_pass_the_limit_then_leaves_count_like_position() -> None:
    one = gate()
    one.set_position(0, 9_000)
    one.reserve(0, BUY, 9_000, False)
    assert one.worst_long(0) == 18_000
    assert one.worst_money(0) == 1_800 * UNIT
    # 24,974 units at the ask of 100.10 are 2,499.90 quote.
    assert ask(one, BUY, quantity=6_974) == GateReason.GATE_FINE
    assert ask(one, BUY, quantity=6_976) == GateReason.GATE_POSITION_NOTIONAL
    assert ask(one, SELL, quantity=9_990) == GateReason.GATE_FINE
    one.reserve(0, SELL, 33_000, False)
    assert one.worst_short(0) == -24_000
    assert ask(one, SELL, quantity=1_000) == GateReason.GATE_POSITION_NOTIONAL
    one.release(0, SELL, 33_000, False)
    one.reserve(0, SELL, 9_000, True)
    assert (one.worst_long(0), one.worst_short(0)) == (18_000, 9_000), "what reduces is not exposure"


def test_worst_side_when_the_limit_price_is_above_the_ask_then_it_is_valued_there() -> None:
    one = gate()
    one.set_position(0, 20_000)
    # 24,930 units: 2,500.479 quote at 100.30, 2,495.493 at the ask of 100.10.
    assert ask(one, BUY, LIMIT, 10_030, 4_930) == GateReason.GATE_POSITION_NOTIONAL
    assert ask(one, BUY, LIMIT, 10_010, 4_930) == GateReason.GATE_FINE


def test_gross_when_another_instrument_holds_much_then_this_one_may_do_less() -> None:
    one = gate()
    one.set_position(1, -35_000)
    assert one.gross_money == 3_500 * UNIT
    assert ask(one, BUY, quantity=4_994) == GateReason.GATE_FINE
    assert ask(one, BUY, quantity=4_996) == GateReason.GATE_GROSS_NOTIONAL
    one.mark(1, 9_000)
    assert one.gross_money == 3_150 * UNIT
    assert ask(one, BUY, quantity=4_996) == GateReason.GATE_FINE


def test_exposure_when_it_has_no_mark_yet_then_no_instrument_may_enter() -> None:
    one = Gate(instruments=2, max_orders_per_s=5, max_gross_money=LARGEST)
    one.set_instrument(0, **FUTURES)
    one.set_instrument(1, **FUTURES)
    assert ask(one) == GateReason.GATE_FINE
    one.set_position(1, 2)
    assert one.worst_money(1) == one.gross_money == MONEY_MAX
    assert ask(one) == GateReason.GATE_GROSS_NOTIONAL
    one.mark(1, 10_000)
    assert ask(one) == GateReason.GATE_FINE
    one.set_position(1, 0)
    assert one.gross_money == 0


def test_order_rate_when_a_second_has_passed_then_there_is_room_again() -> None:
    one = gate(rate=2)
    one.note_order(0)
    assert ask(one, now_ns=5) == GateReason.GATE_FINE
    one.note_order(5)
    assert ask(one, now_ns=5) == GateReason.GATE_ORDER_RATE
    assert ask(one, now_ns=SECOND_NS - 1) == GateReason.GATE_ORDER_RATE
    assert ask(one, now_ns=SECOND_NS) == GateReason.GATE_FINE
    one.note_order(SECOND_NS)
    assert ask(one, now_ns=SECOND_NS + 4) == GateReason.GATE_ORDER_RATE
    one.set_position(0, 1_000)
    assert ask(one, SELL, is_reducing=True, now_ns=SECOND_NS) == GateReason.GATE_FINE


def test_reducing_order_when_beyond_the_position_or_not_against_it_then_it_is_refused() -> None:
    one = gate()
    for side in (BUY, SELL):
        assert ask(one, side, is_reducing=True) == GateReason.GATE_OVER_REDUCE, "nothing is held"
    for position, out in ((1_000, SELL), (-1_000, BUY)):
        one.set_position(0, position)
        assert ask(one, -out, quantity=2, is_reducing=True) == GateReason.GATE_OVER_REDUCE
        assert ask(one, out, quantity=1_000, is_reducing=True) == GateReason.GATE_FINE
        assert ask(one, out, quantity=1_002, is_reducing=True) == GateReason.GATE_OVER_REDUCE
        one.reserve(0, out, 400, True)
        assert ask(one, out, quantity=600, is_reducing=True) == GateReason.GATE_FINE
        assert ask(one, out, quantity=602, is_reducing=True) == GateReason.GATE_OVER_REDUCE
        one.release(0, out, 400, True)


def test_reducing_order_when_every_limit_is_passed_then_it_still_goes_out() -> None:
    one = gate()
    one.set_position(0, -(10**12))
    one.set_position(1, 10**12)
    for _ in range(9):
        one.note_order(7)
    one.set_wanted(2)
    assert ask(one, BUY, quantity=10**12, is_reducing=True, now_ns=7) == GateReason.GATE_FINE


def test_hard_stop_when_other_exits_rest_then_futures_take_it_beside_them_and_spot_does_not() -> None:
    for limits, expected in ((FUTURES, GateReason.GATE_FINE), (SPOT, GateReason.GATE_OVER_REDUCE)):
        one = gate(limits)
        one.set_position(0, 1_000)
        one.reserve(0, SELL, 1_000, True)
        assert ask(one, SELL, STOP_MARKET, 9_000, is_reducing=True) == expected
        assert ask(one, SELL, LIMIT, is_reducing=True) == GateReason.GATE_OVER_REDUCE
        found = ask(one, SELL, STOP_MARKET, 9_000, 1_002, is_reducing=True)
        assert found == GateReason.GATE_OVER_REDUCE


def test_leaves_when_more_is_released_than_there_is_then_it_is_told_and_nothing_changes() -> None:
    one = gate()
    one.reserve(0, SELL, 10, False)
    for wrong in (
        lambda: one.release(0, SELL, 11, False),
        lambda: one.release(0, SELL, 1, True),
        lambda: one.release(0, BUY, 1, False),
        lambda: one.release(0, SELL, -1, False),
        lambda: one.reserve(0, SELL, -1, False),
        lambda: one.reserve(0, SELL, MAX_UNITS - 9, False),
        lambda: one.reserve(0, SELL, LARGEST, False),
    ):
        with pytest.raises(ValueError, match="leaves must stay"):
            wrong()
    assert (one.entering_leaves(0, SELL), one.reducing_leaves(0, SELL)) == (10, 0)
    one.release(0, SELL, 10, False)
    assert one.gross_money == 0


def test_new_epoch_when_units_are_finer_then_position_leaves_and_mark_are_converted_exactly() -> None:
    one = gate()
    one.set_position(0, -30)
    one.reserve(0, BUY, 40, False)
    one.reserve(0, BUY, 20, True)
    before = one.worst_money(0)
    finer: Limits = {**FUTURES, "epoch": 2, "price_digits": 4, "quantity_digits": 5, "step": 7}
    one.set_instrument(0, **finer)
    assert (one.position(0), one.entering_leaves(0, BUY), one.reducing_leaves(0, BUY)) == (
        -3_000,
        4_000,
        2_000,
    )
    assert one.worst_money(0) == one.gross_money == before
    with pytest.raises(ValueError, match="epoch must be 2 or more, found 1"):
        one.set_instrument(0, **FUTURES)
    one.set_position(0, -3_001)
    with pytest.raises(ValueError, match="-3001 units"):
        one.set_instrument(0, **{**FUTURES, "epoch": 3})
    assert one.position(0) == -3_001
    assert ask(one, epoch=2, quantity=7, book=(9_990, 10_010)) == GateReason.GATE_TOO_SMALL, "still epoch 2"


WRONG_LIMITS: tuple[dict[str, object], ...] = (
    {"epoch": 0},
    {"tick": 0},
    {"step": 0},
    {"price_digits": -1},
    {"quantity_digits": 19},
    {"min_notional_money": -1},
    {"max_order_money": 2**63},
    {"max_position_money": -1},
    {"price_band_bps": 0.0},
    {"price_band_bps": float("nan")},
    {"price_band_bps": 10_001.0},
)


@pytest.mark.parametrize("wrong", WRONG_LIMITS, ids=str)
def test_limits_when_out_of_bounds_then_it_says_what_was_found(wrong: dict[str, object]) -> None:
    one = Gate(instruments=1, max_orders_per_s=1, max_gross_money=0)
    with pytest.raises(ValueError, match="found"):
        one.set_instrument(0, **{**FUTURES, **wrong})  # type: ignore[arg-type]
    assert ask(one) == GateReason.GATE_OLD_EPOCH


def test_arguments_when_out_of_bounds_then_it_says_what_was_found() -> None:
    one = gate()
    wrong: tuple[Callable[[], object], ...] = (
        lambda: Gate(instruments=0, max_orders_per_s=1, max_gross_money=1),
        lambda: Gate(instruments=1_025, max_orders_per_s=1, max_gross_money=1),
        lambda: Gate(instruments=1, max_orders_per_s=0, max_gross_money=1),
        lambda: Gate(instruments=1, max_orders_per_s=1, max_gross_money=2**63),
        lambda: one.set_wanted(3),
        lambda: one.set_wanted(-1),
        lambda: ask(one, index=2),
        lambda: ask(one, index=-1),
        lambda: ask(one, 0),
        lambda: ask(one, kind=3),
        lambda: one.reserve(0, 2, 1, False),
        lambda: one.mark(0, 0),
        lambda: one.mark(0, 2**62),
        lambda: one.set_position(0, 2**62),
        lambda: one.set_position(0, -LARGEST - 1),
        lambda: one.set_instrument(2, **FUTURES),
    )
    for call in wrong:
        with pytest.raises(ValueError, match="found"):
            call()
    with pytest.raises(OverflowError):
        ask(one, quantity=2**63)
