"""Positions against exact fractions, and by example."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.orders import Fill, Purpose
from engine.risk.positions import Position, Positions, fill_fact
from engine.signals import MarketKind, Side
from tests.engine.desks import bitcoin

KINDS = (MarketKind.SPOT, MarketKind.USDM)


def fill(side=Side.BUY, price=1_000_000, quantity=10, *, commission=0, asset="", index=0) -> Fill:
    return Fill(
        client_order_id="ra1-1",
        plan=1,
        purpose=Purpose.ENTRY,
        symbol="BTCUSDT",
        instrument=index,
        side=side,
        price=price,
        quantity=quantity,
        commission=commission,
        commission_asset=asset,
        is_maker=False,
        trade_id=1,
        venue_ns=5,
        recv_ns=6,
    )


fills = st.builds(
    fill,
    side=st.sampled_from((Side.BUY, Side.SELL)),
    price=st.integers(1, 20_000_000),
    quantity=st.integers(1, 10**9),
    commission=st.integers(-(10**6), 10**7),
    asset=st.sampled_from(("BTC", "USDT", "BNB")),
)


class SlowPosition:
    """The same in fractions: base, quote and fees as three heaps of coins."""

    def __init__(self, instrument) -> None:
        self.instrument = instrument
        self.base = self.cash = self.fees = Fraction(0)

    def apply(self, one: Fill) -> None:
        instrument = self.instrument
        price = Fraction(one.price, 10**instrument.price_digits)
        quantity = int(one.side) * Fraction(one.quantity, 10**instrument.quantity_digits)
        commission = Fraction(one.commission, 10**8)
        self.base += quantity
        self.cash -= quantity * price
        if one.commission_asset == "USDT":
            self.fees += commission
        elif one.commission_asset == "BTC" and instrument.kind is MarketKind.SPOT:
            self.base -= commission
        elif one.commission_asset == "BTC":
            self.fees += commission * price

    def equity(self, mark: int) -> Fraction:
        price = Fraction(mark, 10**self.instrument.price_digits)
        return (self.cash + self.base * price - self.fees) * 10**8


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(fills, max_size=12), st.integers(1, 20_000_000))
def test_equity_is_that_of_exact_fractions_to_the_last_unit(kind, history, mark) -> None:
    instrument = bitcoin(kind)
    position, slow = Position(instrument), SlowPosition(instrument)
    for one in history:
        position.apply_fill(one)
        slow.apply(one)
    assert abs(position.equity_money(mark) - slow.equity(mark)) < 1
    held = slow.base * 10**instrument.quantity_digits
    assert position.quantity == int(held)
    assert position.n_fills == len(history)
    assert sum(one.commission for one in history if one.commission_asset == "BNB") == position.fees.get(
        "BNB", 0
    )


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(fills, min_size=1, max_size=12), st.integers(1, 20_000_000))
def test_profit_when_flat_again_is_exact_and_nothing_is_left_open(kind, history, last_price) -> None:
    instrument = bitcoin(kind)
    position, slow = Position(instrument), SlowPosition(instrument)
    for one in history:
        position.apply_fill(one)
        slow.apply(one)
    held = position.quantity
    if held:
        last = fill(Side.SELL if held > 0 else Side.BUY, last_price, abs(held))
        position.apply_fill(last)
        slow.apply(last)
    assert position.quantity == 0
    if position.remainder == 0:
        assert position.entry_cost == (0, 0)
        assert position.closed_money == position.equity_money(1) == position.equity_money(10**7)
        assert abs(position.closed_money - slow.equity(1)) < 1


def test_long_sold_in_two_parts_then_each_part_earns_its_own() -> None:
    position = Position(bitcoin())
    position.apply_fill(fill(price=1_000_000, quantity=10))  # 0.010 at 100,000.0
    position.apply_fill(fill(price=1_000_300, quantity=10))
    assert position.average_text == "100015.00000"
    position.apply_fill(fill(Side.SELL, 1_001_150, 10))
    assert position.realised_money == 100 * 10**6  # 100.0 quote on 0.01
    position.apply_fill(fill(Side.SELL, 1_000_150, 10))
    assert position.realised_money == 100 * 10**6
    assert position.quantity == 0
    assert position.average_text == "0"


def test_fill_through_zero_then_the_rest_opens_at_its_own_price() -> None:
    position = Position(bitcoin())
    position.apply_fill(fill(price=1_000_000, quantity=10))
    position.apply_fill(fill(Side.SELL, 1_001_000, 25))
    assert position.quantity == -15
    assert position.average_text == "100100.00000"
    assert position.realised_money == 10**8
    assert position.equity_money(1_000_000) == 10**8 + 15 * 10**7


def test_spot_fee_in_base_comes_off_the_position_and_is_a_fee_at_its_own_price() -> None:
    position = Position(bitcoin(MarketKind.SPOT))
    position.apply_fill(fill(price=10_000_000, quantity=1_000_000, commission=1_000, asset="BTC"))
    assert position.quantity == 999_000
    assert position.fees == {"BTC": 1_000}
    assert position.fees_money == 10**8  # 0.00001 BTC at 100,000
    assert position.realised_money == 0
    assert position.closed_money == -(10**8)
    assert position.equity_money(10_000_000) == -(10**8)


def test_spot_fee_finer_than_a_quantity_unit_then_the_rest_is_kept_exactly() -> None:
    instrument = bitcoin(MarketKind.SPOT, quantity_digits=5, step=1)
    position = Position(instrument)
    position.apply_fill(fill(price=10_000_000, quantity=1_000, commission=1_001, asset="BTC"))
    assert position.quantity == 998
    assert position.remainder == 999
    position.apply_fill(fill(price=10_000_000, quantity=1, commission=1, asset="BTC"))
    assert position.quantity == 999
    assert position.remainder == 998


def test_residue_leaves_the_position_without_profit_or_loss() -> None:
    position = Position(bitcoin(MarketKind.SPOT))
    position.apply_fill(fill(price=10_000_000, quantity=100_000, commission=100, asset="BTC"))
    position.apply_fill(fill(Side.SELL, 10_100_000, 99_000))
    profit = position.closed_money
    assert position.drop_residue() == 900
    assert (position.quantity, position.residue) == (0, 900)
    assert position.closed_money == profit == position.equity_money(1)
    assert position.drop_residue() == 0


def test_restored_fills_find_the_residue_and_the_profit_of_each_plan_again() -> None:
    position = Position(bitcoin(MarketKind.SPOT))
    first = fill(price=10_000_000, quantity=100_000, commission=900, asset="BTC")
    sold = fill(Side.SELL, 10_100_000, 98_000)
    next_one = msgspec.structs.replace(first, plan=2)
    for one in (first, sold):
        position.restore_fill(one)
    assert (position.quantity, position.residue) == (1_100, 0)
    assert position.drop_residue() == 1_100
    earned = position.closed_money
    position.restore_fill(next_one)
    assert (position.quantity, position.residue) == (99_100, 1_100)
    assert position.closed_before(2) == earned
    position.restore_fill(msgspec.structs.replace(sold, plan=2))
    assert position.drop_residue() == 1_100
    assert (position.quantity, position.residue) == (0, 2_200)


def test_futures_fee_in_base_is_valued_at_the_fill_and_changes_no_position() -> None:
    position = Position(bitcoin())
    position.apply_fill(fill(price=1_000_000, quantity=10, commission=1_000, asset="BTC"))
    assert position.quantity == 10
    assert position.fees_money == 10**8


def test_fill_goes_to_the_position_of_its_instrument_and_its_fact_tells_it() -> None:
    instruments = (bitcoin(), bitcoin(symbol="ETHUSDT", index=1))
    positions = Positions(instruments)
    one = fill(Side.SELL, quantity=7, index=1)
    position = positions.apply_fill(one)
    assert [positions[index].quantity for index in range(len(positions))] == [0, -7]
    fact = fill_fact(one, instruments[1], position, 9)
    assert (fact.position, fact.price, fact.side, fact.realised, fact.at_ns) == (
        "-0.007",
        "100000.0",
        "sell",
        0,
        9,
    )
