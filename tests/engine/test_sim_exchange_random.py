"""Random trading on the simulated exchange: the table of states, a recount of the money, same bytes."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.orders import (
    FINAL_STATES,
    OrderEvent,
    OrderLife,
    OrderState,
    Report,
    next_state,
)
from engine.signals import MarketKind
from engine.sim.exchange import (
    OWNER,
)
from engine.sim.fees import Fees
from engine.sim.markets import Market
from tests.engine.sim_trader import (
    BOTH,
    FEES,
    MONEY,
    SECOND,
    STOP,
    K,
    Trader,
    reports,
)

ACT = st.tuples(
    st.sampled_from(("limit", "limit", "market", "stop", "cancel", "query")),
    st.sampled_from((1, -1)),
    st.sampled_from(tuple(OrderLife)),
    st.integers(-60, 60),
    st.integers(1, 150),
    st.booleans(),
    st.integers(0, 25),
)
EVENTS = {
    K.ACCEPTED: OrderEvent.ACCEPTED,
    K.CANCELLED: OrderEvent.CANCELLED,
    K.EXPIRED: OrderEvent.EXPIRED,
    K.REJECTED: OrderEvent.REJECTED,
}


def play(trader: Trader, acts: list[tuple], *, is_stepped: bool = True) -> None:
    """Trade as told, then let what rests be."""
    trader.go(20)
    for verb, side, life, offset, lots, flag, wait_ms in acts:
        name = f"r{max(1, trader.n - lots % 4)}"
        reducing = flag and trader.instrument.kind is MarketKind.USDM
        price = trader.touch(side) + offset * trader.instrument.tick
        if verb == "cancel":
            trader.cancel(name)
        elif verb == "query":
            trader.query(name)
        elif verb == "market":
            trader.place(side, lots=lots, is_reducing=reducing)
        elif verb == "stop":
            trader.place(side, price + side * 60, lots=lots, kind=STOP, is_reducing=reducing)
        else:
            trader.place(side, price, lots=lots, life=life, is_reducing=reducing)
        if is_stepped:
            trader.go(wait_ms)
    trader.go(60)


def check_reports(told: list[Report]) -> None:
    """Hold every order's reports to the table of states, its fills to what is counted."""
    states: dict[str, OrderState] = {}
    filled: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for report in told:
        name = report.client_order_id
        state = states.get(name, OrderState.IN_FLIGHT)
        if report.kind is K.FILL:
            if (name, report.trade_id) not in seen:
                assert state not in FINAL_STATES
                seen.add((name, report.trade_id))
                filled[name] = filled.get(name, 0) + report.quantity
                assert report.filled == filled[name]
                states[name] = OrderState.OPEN
        elif report.kind in EVENTS:
            assert report.filled == filled.get(name, 0)
            if state in FINAL_STATES:
                assert EVENTS[report.kind].name == state.name  # asked for, told again
                continue
            after = next_state(state, EVENTS[report.kind])
            assert after is not None
            states[name] = after


class BookedTrader(Trader):
    """Remembers the side of each order."""

    def __init__(self, market: Market, seed: int, fees: Fees) -> None:
        super().__init__(market, seed, fees=fees)
        self.sides: dict[str, int] = {}

    def place(self, side: int, price: int = 0, lots: int = 1, **changes: object) -> str:
        name = super().place(side, price, lots, **changes)
        self.sides[name] = side
        return name


def check_money(trader: BookedTrader, told: list[Report]) -> None:
    """Recount the account from its reports alone; what it lost, crowd and venue gained."""
    instrument = trader.instrument
    sides = trader.sides
    quote, base = Fraction(1_000_000), Fraction(20 if trader.account.is_spot else 0)
    charges = {"USDT": Fraction(0), "BTC": Fraction(0)}
    seen: set[tuple[str, int]] = set()
    for fill in told:
        if fill.kind is not K.FILL or (fill.client_order_id, fill.trade_id) in seen:
            continue
        seen.add((fill.client_order_id, fill.trade_id))
        amount = Fraction(fill.quantity, 10**instrument.quantity_digits) * sides[fill.client_order_id]
        quote -= amount * Fraction(fill.price, 10**instrument.price_digits)
        base += amount
        charges[fill.commission_asset] += Fraction(fill.commission, MONEY)
    mark = trader.exchange.last_price
    quote, base = quote - charges["USDT"], base - charges["BTC"]
    equity = quote + base * Fraction(mark, 10**instrument.price_digits)
    assert trader.account.equity(mark) == equity * MONEY // 1
    if trader.account.is_spot:
        assert trader.account.balances() == {"USDT": quote * MONEY // 1, "BTC": base * MONEY // 1}
        assert min(trader.account.free("USDT"), trader.account.free("BTC")) >= 0
    else:
        assert Fraction(trader.account.position, 1000) == base


@BOTH
@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    acts=st.lists(ACT, min_size=15, max_size=40),
    seed=st.integers(0, 1000),
    fees=st.sampled_from((FEES, Fees(-0.5, 4.5), Fees(10, 10, in_base=True))),
)
def test_random_trading_keeps_states_money_and_book_in_agreement(
    market: Market, acts: list, seed: int, fees: Fees
) -> None:
    trader = BookedTrader(market, seed, fees)
    play(trader, acts)
    # What still travels is booked already.
    trader.deliveries += trader.exchange.take(trader.clock.now_ns() + SECOND)
    told = reports(trader.deliveries)
    check_reports(told)
    check_money(trader, told)
    times = [one.deliver_ns for one in trader.deliveries]
    assert times == sorted(times)
    for name, entry in trader.account.open_orders.items():
        known = trader.exchange._ours[name]
        if entry.is_waiting:
            assert known.book_id == 0
            continue
        resting = trader.exchange.book.order(known.book_id)
        assert resting is not None
        assert (resting[2] * trader.instrument.step, resting[4]) == (entry.leaves, OWNER)
    reducing = [e for e in trader.account.open_orders.values() if e.order.is_reducing and not e.is_waiting]
    assert sum(entry.leaves for entry in reducing) <= abs(trader.account.position)


@BOTH
@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(acts=st.lists(ACT, min_size=15, max_size=30), seed=st.integers(0, 1000))
def test_same_seed_and_requests_give_the_same_bytes_at_the_same_times(
    market: Market, acts: list, seed: int
) -> None:
    one, other = Trader(market, seed), Trader(market, seed)
    play(one, acts)
    play(other, acts)
    assert one.deliveries == other.deliveries
