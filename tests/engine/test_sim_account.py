"""The paper account: held to a slow twin, the venue's refusals by example, a restart that changes nothing."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import floor

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError, StateError
from engine.instruments import Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder
from engine.signals import MarketKind, Side
from engine.sim.account import Account, AccountState
from engine.sim.fees import Charge, Fees
from engine.sim.filters import Rejection
from tests.oracles.account import SlowAccount, SlowOrder

USDM = Instrument(
    symbol="BTCUSDT",
    kind=MarketKind.USDM,
    base="BTC",
    quote="USDT",
    price_digits=1,
    quantity_digits=3,
    tick=1,
    step=1,
    min_notional=Decimal(100),
    contract_size=1,
    status="TRADING",
)
SPOT = replace(
    USDM, kind=MarketKind.SPOT, price_digits=2, quantity_digits=8, step=1000, min_notional=Decimal(5)
)
# Price times quantity is finer than 10^-8 of the quote asset.
FINE = replace(
    SPOT,
    symbol="ETHBTC",
    base="ETH",
    quote="BTC",
    price_digits=5,
    step=10_000,
    min_notional=Decimal("0.0001"),
)
MONEY = 10**8
MARK = 600_000  # USDM: 60,000.0
FEES = Fees(2, 5)


def order(
    name: str = "a", side: int = 1, price: int = MARK, quantity: int = 10, **changes: object
) -> PlaceOrder:
    plain = PlaceOrder(
        client_order_id=name,
        symbol="BTCUSDT",
        side=Side(side),
        kind=OrderKind.LIMIT,
        life=OrderLife.GTC,
        price=price,
        quantity=quantity,
        is_reducing=False,
    )
    return msgspec.structs.replace(plain, **changes)


def stop(name: str, side: int, price: int, quantity: int = 10, **changes: object) -> PlaceOrder:
    return order(name, side, price, quantity, kind=OrderKind.STOP_MARKET, **changes)


def usdm(quote: int = 10_000, fees: Fees = FEES) -> Account:
    return Account(USDM, fees, {"USDT": quote * MONEY})


def spot(quote: int = 10_000, base: int = 1, fees: Fees = FEES) -> Account:
    return Account(SPOT, fees, {"USDT": quote * MONEY, "BTC": base * MONEY})


def take_on(account: Account, wanted: PlaceOrder, mark: int = MARK) -> int:
    quantity = account.review(wanted, mark=mark, worst=mark)
    assert isinstance(quantity, int)
    account.open(wanted, quantity, worst=mark)
    return quantity


def trade(account: Account, name: str, side: int, price: int, quantity: int, **changes: object) -> Charge:
    take_on(account, order(name, side, price, quantity, **changes))
    return account.fill(name, price, quantity, is_maker=False)


def refusal(account: Account, wanted: PlaceOrder) -> Rejection:
    found = account.review(wanted, mark=MARK, worst=MARK)
    assert isinstance(found, Rejection)
    return found


STEP = st.tuples(
    st.sampled_from(("place", "place", "place", "fill", "fill", "fill", "cancel", "trigger")),
    st.sampled_from((1, -1)),
    st.sampled_from((OrderKind.LIMIT, OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP_MARKET)),
    st.sampled_from((OrderLife.GTC, OrderLife.IOC)),
    st.booleans(),  # reducing, or maker
    st.integers(-2_000, 2_000),  # price from the middle, in ticks
    st.integers(1, 60),  # lots; which order, how much of it
)
FEE_KINDS = st.sampled_from(
    (Fees(2, 5), Fees(0, 1.7), Fees(-1, 4), Fees(10, 10, in_base=True), Fees(-0.5, 7.5, in_base=True))
)


# A price in the middle, and a lot that is worth some of the least notional.
SIZES = {
    (USDM.symbol, USDM.kind): (600_000, 7),
    (SPOT.symbol, SPOT.kind): (6_000_000, 371_000),
    (FINE.symbol, FINE.kind): (5_003, 1_230_000),
}


class Pair:
    """The account and its twin, told the same."""

    def __init__(self, instrument: Instrument, fees: Fees, quote: int, base: int) -> None:
        self.instrument = instrument
        self.is_spot = instrument.kind is MarketKind.SPOT
        balances = {instrument.quote: quote, **({instrument.base: base} if self.is_spot else {})}
        self.account = Account(instrument, fees, balances)
        self.twin = SlowAccount(
            self.is_spot,
            fees.in_base,
            Fraction(fees.rate(is_maker=True), 10**8),
            Fraction(fees.rate(is_maker=False), 10**8),
            5,
            Fraction(quote, MONEY),
            Fraction(base if self.is_spot else 0, MONEY),
        )
        self.middle, self.lot = SIZES[instrument.symbol, instrument.kind]
        self.n = 0

    def price(self, units: int) -> Fraction:
        return Fraction(units, 10**self.instrument.price_digits)

    def quantity(self, units: int) -> Fraction:
        return Fraction(units, 10**self.instrument.quantity_digits)

    def place(
        self, side: int, kind: OrderKind, life: OrderLife, *, is_reducing: bool, offset: int, lots: int
    ) -> None:
        self.n += 1
        name = f"o{self.n}"
        worst = self.middle + side * 300
        limit = self.middle + offset
        wanted = order(
            name, side, 0 if kind is OrderKind.MARKET else limit, lots * self.lot, kind=kind, life=life
        )
        wanted = msgspec.structs.replace(wanted, is_reducing=is_reducing and not self.is_spot)
        slow = SlowOrder(
            side,
            self.price(worst if kind is OrderKind.MARKET else limit),
            self.quantity(wanted.quantity),
            wanted.is_reducing,
            kind is OrderKind.STOP_MARKET,
        )
        is_immediate = kind is OrderKind.MARKET or life is OrderLife.IOC
        allowed = self.twin.allowed(slow, self.price(self.middle), is_immediate=is_immediate)
        found = self.account.review(wanted, mark=self.middle, worst=worst)
        if not allowed:
            assert isinstance(found, Rejection)
            assert found.code in (-2010, -2019, -2022)
            return
        assert isinstance(found, int)
        assert self.quantity(found) == allowed
        slow.left = allowed
        self.twin.orders[name] = slow
        self.account.open(wanted, found, worst=worst)

    def fill(self, side: int, *, is_maker: bool, offset: int, lots: int) -> None:
        names = [name for name, one in self.account.open_orders.items() if not one.is_waiting]
        if not names:
            return
        name = names[lots % len(names)]
        one = self.account.open_orders[name]
        if one.order.is_reducing and one.order.side * self.account.position >= 0:
            return
        parts = one.leaves // self.instrument.step
        quantity = max(1, parts * (side + 3) // 4) * self.instrument.step
        price = max(1, one.price - int(one.order.side) * abs(offset) // 4)
        charge = self.account.fill(name, price, quantity, is_maker=is_maker)
        told = self.twin.fill(name, self.price(price), self.quantity(quantity), is_maker=is_maker)
        assert charge.amount == told
        self.cut()

    def cut(self) -> None:
        for name, leaves in self.account.excess():
            self.account.cut(name, leaves)
            self.twin.orders[name].left = self.quantity(leaves)
            if leaves == 0:
                del self.twin.orders[name]

    def cancel(self, lots: int) -> None:
        names = list(self.account.open_orders)
        if names:
            self.account.close(names[lots % len(names)])
            del self.twin.orders[names[lots % len(names)]]

    def trigger(self, lots: int) -> None:
        names = [name for name, one in self.account.open_orders.items() if one.is_waiting]
        if not names:
            return
        name = names[lots % len(names)]
        slow = self.twin.orders.pop(name)
        worst = self.middle + slow.side * 200
        slow.is_waiting, slow.price = False, self.price(worst)
        allowed = self.twin.allowed(slow, self.price(self.middle), is_immediate=True)
        found = self.account.trigger(name, mark=self.middle, worst=worst)
        assert (self.quantity(found) if isinstance(found, int) else 0) == allowed
        if allowed:
            slow.left = allowed
            self.twin.orders[name] = slow

    def check(self) -> None:
        account, twin, instrument = self.account, self.twin, self.instrument
        for mark in (self.middle, self.middle + 777):
            assert account.equity(mark) == floor(twin.equity(self.price(mark)) * MONEY)
        assert set(account.open_orders) == set(twin.orders)
        for name, slow in twin.orders.items():
            assert self.quantity(account.open_orders[name].leaves) == slow.left
        if self.is_spot:
            assert twin.quote_now >= twin.locked(1) >= 0
            assert twin.base_now >= twin.locked(-1) >= 0
            assert account.balances()[instrument.quote] == floor(twin.quote_now * MONEY)
            assert account.balances()[instrument.base] == floor(twin.base_now * MONEY)
            assert account.free(instrument.quote) == floor((twin.quote_now - twin.locked(1)) * MONEY)
            assert account.free(instrument.base) == floor((twin.base_now - twin.locked(-1)) * MONEY)
            assert account.locked(instrument.quote) == -floor(-twin.locked(1) * MONEY)
            return
        assert self.quantity(account.position) == twin.position
        assert abs(self.price(account.entry) - twin.average) <= self.price(1)
        # Partly closed positions give up their cost rounded; flat, it is exact.
        slack = 0 if account.position == 0 else 1
        assert abs(account.balances()[instrument.quote] - floor(twin.wallet() * MONEY)) <= slack

    def follow(self, steps: list[tuple]) -> None:
        for verb, side, kind, life, flag, offset, lots in steps:
            if verb == "place":
                self.place(side, kind, life, is_reducing=flag, offset=offset, lots=lots)
            elif verb == "fill":
                self.fill(side, is_maker=flag, offset=offset, lots=lots)
            elif verb == "cancel":
                self.cancel(lots)
            else:
                self.trigger(lots)
            self.check()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, min_size=12, max_size=50), fees=FEE_KINDS, quote=st.integers(0, 40_000))
def test_futures_account_agrees_with_its_twin_after_every_step(steps: list, fees: Fees, quote: int) -> None:
    Pair(USDM, fees, quote * MONEY, 0).follow(steps)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(STEP, min_size=12, max_size=50),
    fees=FEE_KINDS,
    quote=st.integers(0, 9 * 10**11),
    base=st.integers(0, 3 * 10**7),
)
def test_spot_account_agrees_with_its_twin_and_never_owes(
    steps: list, fees: Fees, quote: int, base: int
) -> None:
    Pair(SPOT, fees, quote, base).follow(steps)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(STEP, min_size=12, max_size=50),
    fees=FEE_KINDS,
    quote=st.integers(0, 10**8),
    base=st.integers(0, 10**9),
)
def test_money_finer_than_told_outside_is_never_lost_or_owed(
    steps: list, fees: Fees, quote: int, base: int
) -> None:
    Pair(FINE, fees, quote, base).follow(steps)


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


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEP, max_size=25), kind=st.sampled_from((USDM, SPOT, FINE)), fees=FEE_KINDS)
def test_restored_account_is_worth_and_waits_for_the_same(steps: list, kind: Instrument, fees: Fees) -> None:
    pair = Pair(kind, fees, 30_000 * MONEY, 3 * 10**7)
    pair.follow(steps)
    account = pair.account
    text = msgspec.json.encode(account.dump())
    again = Account.restore(kind, fees, msgspec.json.decode(text, type=AccountState))
    assert again.balances() == account.balances()
    assert (again.position, again.entry) == (account.position, account.entry)
    assert again.equity(pair.middle + 123) == account.equity(pair.middle + 123)
    waiting = {name: one for name, one in account.open_orders.items() if one.is_waiting}
    assert dict(again.open_orders) == waiting
    assert again.dump() == account.dump()


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
