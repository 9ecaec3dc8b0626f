"""The paper account held to its slow twin after every step of random trading, and over a restart."""

from fractions import Fraction
from math import floor

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.instruments import Instrument
from engine.orders import OrderKind, OrderLife
from engine.signals import MarketKind
from engine.sim.account import Account, AccountState
from engine.sim.fees import Fees
from engine.sim.filters import Rejection
from tests.engine.sim_accounts import FINE, MONEY, SPOT, USDM, order
from tests.oracles.account import SlowAccount, SlowOrder

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
