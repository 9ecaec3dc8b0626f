"""Additions pulled again, against the slow twin and by example."""

import math

from hypothesis import given
from hypothesis import strategies as st

from native.pulled import Pulled
from tests.oracles.pulled import CHANGES, PRICES, Change, pulled_share

BUY, SELL = 1, -1
PRICE = 100_000

# The golden ratio's multiplier takes 1 and 4182 to one slot of the table.
CHANGE = st.builds(
    lambda step, side, price, size, is_trade: Change(
        step, side, price, abs(size) if is_trade else size, is_trade
    ),
    st.sampled_from([0, 0, 1, 5]),
    st.sampled_from([BUY, SELL]),
    st.sampled_from([1, 4182, 2, 3, PRICE]),
    st.one_of(st.integers(-9, 9), st.integers(-(2**62), 2**62)).filter(bool),
    st.booleans(),
)


def tell(pulled: Pulled, change: Change) -> Change:
    if change.is_trade:
        pulled.apply_trade(-change.side, change.price, change.quantity, change.recv_ns)
    else:
        pulled.apply_change(change.side, change.price, change.quantity, change.recv_ns)
    return change


@given(st.lists(CHANGE, max_size=60), st.integers(0, 30), st.integers(0, 100))
def test_share_when_changes_are_any_then_it_equals_the_twin_and_later_ones_change_nothing(
    steps: list[Change], length: int, end_ns: int
) -> None:
    pulled = Pulled()
    told: list[Change] = []
    now = 0
    for step in steps:
        now += step.recv_ns
        told.append(tell(pulled, Change(now, step.side, step.price, step.quantity, step.is_trade)))
        for side in (BUY, SELL):
            assert pulled.pulled_share(side, now - length, now) == pulled_share(told, side, now - length, now)
    for side in (BUY, SELL):
        past = [change for change in told if change.recv_ns <= end_ns]
        assert pulled.pulled_share(side, end_ns - length, end_ns) == pulled_share(
            past, side, end_ns - length, end_ns
        )


def test_share_when_the_fall_has_causes_then_only_the_unexplained_counts() -> None:
    pulled = Pulled()
    now = 10
    share = []
    for apply, of, quantity in [
        (pulled.apply_change, BUY, 10),
        (pulled.apply_change, BUY, -4),
        (pulled.apply_trade, SELL, 2),
        (pulled.apply_change, BUY, -3),
        (pulled.apply_trade, BUY, 9),
        (pulled.apply_change, BUY, -3),
        (pulled.apply_change, BUY, -7),
    ]:
        apply(of, PRICE, quantity, now)
        share.append(pulled.pulled_share(BUY, 0, now))
    # The seller's trade takes 2 of the fall by 3; a buyer's explains no fall of a bid; of the last 7 only 2
    # were added in the window.
    assert share == [0.0, 0.4, 0.4, 0.5, 0.5, 0.8, 1.0]
    assert pulled.pulled_share(SELL, 0, now) == 0.0


def test_share_when_a_trade_was_at_another_price_then_it_explains_nothing() -> None:
    pulled = Pulled()
    pulled.apply_change(BUY, PRICE, 10, 1)
    pulled.apply_trade(SELL, PRICE + 1, 10, 1)
    pulled.apply_change(BUY, PRICE, -10, 1)
    assert pulled.pulled_share(BUY, 0, 1) == 1.0


def test_share_when_changes_stand_on_the_edges_of_the_window_then_only_the_end_is_inside() -> None:
    pulled = Pulled()
    for now_ns, change in ((1, 10), (2, 10), (3, -5)):
        pulled.apply_change(BUY, PRICE, change, now_ns)
    assert pulled.pulled_share(BUY, 1, 3) == 0.5
    assert pulled.pulled_share(BUY, 1, 2) == 0.0
    assert pulled.pulled_share(BUY, 0, 3) == 0.25
    assert pulled.pulled_share(BUY, 2, 3) == 0.0
    pulled.apply_reset()
    assert pulled.pulled_share(BUY, 0, 3) == 0.0


def test_share_when_the_kept_changes_do_not_reach_back_then_it_is_unknown() -> None:
    pulled = Pulled()
    told = [
        tell(pulled, Change(now_ns, BUY, PRICE, 2 - 3 * (now_ns % 2), False)) for now_ns in range(CHANGES + 1)
    ]
    # The first is overwritten: a window from the second on is whole, one from the first on might not be.
    assert pulled.pulled_share(BUY, 1, CHANGES) == pulled_share(told, BUY, 1, CHANGES) > 0.0
    assert math.isnan(pulled.pulled_share(BUY, 0, CHANGES))
    assert math.isnan(pulled.pulled_share(SELL, 0, CHANGES))


def test_share_when_more_prices_changed_than_the_table_holds_then_it_is_unknown() -> None:
    pulled = Pulled()
    for place in range(PRICES):
        pulled.apply_change(BUY, PRICE - place, 2, 1)
        pulled.apply_change(SELL, PRICE + 1 + place, 2, 1)
    pulled.apply_change(BUY, PRICE, -1, 1)
    assert pulled.pulled_share(BUY, 0, 1) == 1 / (2 * PRICES)
    pulled.apply_change(BUY, PRICE - PRICES, 2, 1)
    assert math.isnan(pulled.pulled_share(BUY, 0, 1))
    assert pulled.pulled_share(SELL, 0, 1) == 0.0
