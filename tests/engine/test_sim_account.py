"""The paper account by example: the venue's refusals, what is locked, what a fill costs, a restart."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest

from engine.errors import InputError, StateError
from engine.orders import OrderKind, PlaceOrder
from engine.signals import MarketKind
from engine.sim.account import Account
from engine.sim.fees import Charge, Fees
from engine.sim.filters import Rejection
from tests.engine.sim_accounts import (
    FEES,
    FINE,
    MARK,
    MONEY,
    SPOT,
    USDM,
    order,
    refusal,
    spot,
    stop,
    take_on,
    trade,
    usdm,
)


@pytest.mark.parametrize(
    ("account", "wanted", "code"),
    [
        (spot(), order(price=0, quantity=10**6), -1013),
        (usdm(), order(price=0), -4001),
        (Account(replace(USDM, tick=5), FEES, {"USDT": MONEY}), order(price=600_001), -4014),
        (Account(replace(SPOT, tick=5), FEES, {"USDT": MONEY}), order(price=600_001), -1013),
        (spot(), order(quantity=0), -1013),
        (spot(), order(price=6_000_000, quantity=10**6 + 1), -1013),
        (usdm(), order(quantity=0), -4003),
        (Account(replace(USDM, step=5), FEES, {"USDT": MONEY}), order(quantity=7), -4023),
        (usdm(), order(quantity=1), -4164),
        (usdm(), order(quantity=1, kind=OrderKind.MARKET), -4164),
        (spot(), order(price=6_000_000, quantity=8_000), -1013),
        (spot(), order(price=6_000_000, quantity=20_000_000), -2010),
        (spot(), order(price=6_000_000, quantity=200_000_000, side=-1), -2010),
        (usdm(), order(quantity=840), -2019),
        (usdm(), order(is_reducing=True), -2022),
    ],
)
def test_order_the_venue_would_refuse_is_refused_with_its_code(
    account: Account, wanted: PlaceOrder, code: int
) -> None:
    assert refusal(account, wanted).code == code


def test_least_notional_is_told_in_the_venues_words_and_does_not_bind_a_reducing_order() -> None:
    account = usdm()
    told = "-4164 Order's notional must be no smaller than 100 (unless you choose reduce only)."
    assert refusal(account, order(quantity=1)).reason == told
    trade(account, "in", 1, MARK, 10)
    assert account.review(order("out", -1, quantity=1, is_reducing=True), mark=MARK, worst=MARK) == 1


@pytest.mark.parametrize(("account", "code"), [(usdm(), -4116), (spot(), -2010)])
def test_client_order_id_is_free_again_only_when_its_order_is_over(account: Account, code: int) -> None:
    wanted = order(price=600_000, quantity=100_000 if account.is_spot else 10)
    take_on(account, wanted)
    assert refusal(account, wanted).code == code
    account.close("a")
    assert account.review(wanted, mark=MARK, worst=MARK) == wanted.quantity


def test_margin_counts_the_worst_side_so_that_both_sides_fit_where_one_does() -> None:
    account = usdm()  # carries 50,000 at 60,000: 833 units
    take_on(account, order("long", 1, quantity=800))
    take_on(account, order("short", -1, quantity=800))
    assert refusal(account, order("more", 1, quantity=40)).code == -2019


def test_order_that_lowers_the_margin_passes_when_a_loss_has_eaten_it() -> None:
    account = usdm()
    trade(account, "long", 1, MARK, 800)
    fallen = MARK * 9 // 10
    assert isinstance(account.review(order("more", 1, quantity=10), mark=fallen, worst=0), Rejection)
    assert account.review(order("out", -1, fallen, 800), mark=fallen, worst=0) == 800


def test_resting_sell_below_the_mark_is_margined_at_the_mark() -> None:
    account = usdm()
    take_on(account, order("low", -1, 300_000, 800))
    assert refusal(account, order("more", -1, 300_000, 40)).code == -2019


def test_profit_not_taken_carries_no_new_order() -> None:
    account = usdm()
    trade(account, "long", 1, MARK, 500)
    assert isinstance(account.review(order("more", 1, 700_000, 220), mark=700_000, worst=0), Rejection)
    assert account.review(order("more", 1, 700_000, 210), mark=700_000, worst=0) == 210


def test_sale_too_small_for_its_fee_pays_what_it_brings_and_the_rest_with_the_next() -> None:
    account = Account(FINE, Fees(100, 100), {"BTC": 0, "ETH": MONEY})
    take_on(account, order("sell", -1, 5_000, 10_000_000))
    assert account.fill("sell", 5_000, 10, is_maker=True).amount == 0
    assert account.fill("sell", 5_000, 10_000_000 - 10, is_maker=True).amount == 5_000
    assert account.balances()["BTC"] == 500_000 - 5_000


def test_reduce_only_is_cut_to_what_no_other_resting_one_covers() -> None:
    account = usdm()
    trade(account, "in", 1, MARK, 10)
    assert take_on(account, order("first", -1, quantity=7, is_reducing=True)) == 7
    assert take_on(account, order("second", -1, quantity=7, is_reducing=True)) == 3
    assert refusal(account, order("third", -1, quantity=7, is_reducing=True)).code == -2022
    at_once = order("now", -1, 0, 20, is_reducing=True, kind=OrderKind.MARKET)
    assert account.review(at_once, mark=MARK, worst=MARK) == 10


def test_shrunk_position_cuts_the_newest_reduce_only_orders_and_no_stop() -> None:
    account = usdm()
    trade(account, "in", 1, MARK, 10)
    take_on(account, stop("guard", -1, 590_000, is_reducing=True))
    take_on(account, order("old", -1, quantity=6, is_reducing=True))
    take_on(account, order("new", -1, quantity=4, is_reducing=True))
    trade(account, "out", -1, MARK, 3)
    assert account.excess() == [("new", 1)]
    trade(account, "all out", -1, MARK, 7)
    assert account.excess() == [("old", 0), ("new", 0)]


def test_stop_of_a_position_that_is_gone_is_refused_when_it_triggers() -> None:
    account = usdm()
    take_on(account, stop("guard", -1, 590_000, is_reducing=True))
    found = account.trigger("guard", mark=590_000, worst=589_000)
    assert isinstance(found, Rejection)
    assert found.code == -2022
    assert not account.open_orders


def test_spot_stop_locks_its_coins_until_it_is_cancelled() -> None:
    account = spot(base=1)
    take_on(account, stop("guard", -1, 5_000_000, 60_000_000))
    assert account.locked("BTC") == 60_000_000
    assert refusal(account, order("sell", -1, 6_000_000, 50_000_000)).code == -2010
    account.close("guard")
    assert account.free("BTC") == MONEY


def test_taker_that_fills_better_than_its_limit_gets_the_rest_back_at_once() -> None:
    account = spot(quote=60_000)
    take_on(account, order("buy", 1, 6_000_000, 50_000_000))
    assert account.locked("USDT") == 30_015 * MONEY
    account.fill("buy", 5_000_000, 40_000_000, is_maker=False)
    assert account.balances()["USDT"] == 39_990 * MONEY
    assert account.locked("USDT") == 6_003 * MONEY


def test_commission_of_many_small_fills_is_that_of_the_whole_rounded_up_once() -> None:
    account = spot(fees=Fees(1.23, 4.56))
    take_on(account, order("buy", 1, 6_000_001, 100_000))
    told = [account.fill("buy", 6_000_001, 1_000, is_maker=False).amount for _ in range(100)]
    exact = Fraction(6_000_001, 100) * Fraction(1, 1000) * Fraction(456, 10**6) * MONEY
    assert sum(told) == -(-exact // 1)


def test_commission_of_a_buy_in_base_comes_out_of_what_is_bought() -> None:
    account = spot(fees=Fees(10, 10, in_base=True))
    assert trade(account, "buy", 1, 6_000_000, 10_000_000) == Charge(10_000, "BTC")
    assert account.balances() == {"USDT": 4_000 * MONEY, "BTC": MONEY + 9_990_000}
    assert trade(account, "sell", -1, 6_000_000, 10_000_000) == Charge(6 * MONEY, "USDT")


def test_base_finer_than_a_unit_is_worth_something_too() -> None:
    account = Account(
        replace(SPOT, quantity_digits=5, step=1, min_notional=Decimal(0)),
        Fees(10, 10, in_base=True),
        {"USDT": 1_000 * MONEY},
    )
    trade(account, "buy", 1, 6_000_000, 1)
    assert account.position == 0
    assert account.equity(6_000_000) == 1_000 * MONEY - 60_000


def test_rebate_is_paid_rounded_down() -> None:
    account = usdm(fees=Fees(-0.0001, 5))
    take_on(account, order("buy", 1, 600_001, 2))
    assert account.fill("buy", 600_001, 2, is_maker=True) == Charge(-120, "USDT")


def test_profit_of_a_position_closed_in_parts_is_exact_when_it_is_flat() -> None:
    account = usdm(fees=Fees(0, 0))
    for name, price, quantity in (("1", 600_001, 3), ("2", 600_004, 4)):
        trade(account, name, 1, price, quantity)
    for name in "3456789":
        trade(account, name, -1, 600_010, 1, is_reducing=True)
    assert (account.position, account.entry) == (0, 0)
    assert account.balances()["USDT"] == 10_000 * MONEY + (3 * 9 + 4 * 6) * 10_000


def test_position_turned_in_one_fill_has_the_fills_price_as_its_entry() -> None:
    account = usdm(fees=Fees(0, 0))
    trade(account, "in", 1, 600_000, 5)
    trade(account, "turn", -1, 601_000, 8)
    assert (account.position, account.entry) == (-3, 601_000)
    assert account.balances()["USDT"] == 10_000 * MONEY + 5_000 * 10_000


def test_fill_that_contradicts_its_order_is_an_error() -> None:
    account = usdm()
    take_on(account, order("a", 1))
    take_on(account, stop("guard", -1, 590_000))
    for name, price, quantity in (("a", MARK + 1, 1), ("a", MARK, 11), ("a", MARK, 0), ("guard", MARK, 1)):
        with pytest.raises(StateError):
            account.fill(name, price, quantity, is_maker=True)
    for act in (account.close, lambda name: account.fill(name, MARK, 1, is_maker=True)):
        with pytest.raises(StateError, match="ghost"):
            act("ghost")
    with pytest.raises(StateError):
        account.open(order("a", 1), 10)


def test_state_of_coarser_units_is_restored_exactly_in_finer_ones() -> None:
    account = usdm(fees=Fees(0, 0))
    trade(account, "in", 1, 600_001, 7)
    take_on(account, stop("guard", -1, 590_000, 7, is_reducing=True))
    finer = replace(USDM, price_digits=2, quantity_digits=4, tick=10, step=10)
    again = Account.restore(finer, FEES, account.dump())
    assert (again.position, again.entry) == (70, 6_000_010)
    assert again.equity(6_100_000) == account.equity(610_000)
    assert again.open_orders["guard"].order == stop("guard", -1, 5_900_000, 70, is_reducing=True)
    with pytest.raises(StateError, match="finer"):
        Account.restore(USDM, FEES, again.dump())


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "ETHUSDT"},
        {"market": int(MarketKind.SPOT)},
        {"balances": {"USDT": "1e5"}},
        {"balances": {"USDT": "0.00000000000000001"}},
        {"position": "0.0001"},
        {"cost": "many"},
    ],
)
def test_state_that_is_not_of_this_account_is_refused(changes: dict) -> None:
    with pytest.raises(StateError):
        Account.restore(USDM, FEES, msgspec.structs.replace(usdm().dump(), **changes))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Account(replace(USDM, kind=MarketKind.COINM), FEES, {}),
        lambda: Account(replace(SPOT, price_digits=9), FEES, {}),
        lambda: Account(USDM, FEES, {"USDT": -1}),
        lambda: Account(USDM, FEES, {}, leverage=0),
        lambda: Fees(1_001, 0),
        lambda: Fees(0, float("nan")),
    ],
)
def test_account_that_cannot_be_kept_exactly_is_refused(make) -> None:
    with pytest.raises(InputError):
        make()
