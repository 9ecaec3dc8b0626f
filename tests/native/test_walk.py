"""The book walk against a plain loop over the levels."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.book import Book
from native.walk import slippage_bps

PRICE_SCALE, QUANTITY_SCALE = 0.01, 1e-3


def book_of(bids: dict[int, int], asks: dict[int, int]) -> Book:
    book = Book()
    for price, quantity in bids.items():
        book.apply_level(1, price, quantity)
    for price, quantity in asks.items():
        book.apply_level(-1, price, quantity)
    book.apply_settle()
    return book


def twin(levels: list[tuple[int, int]], side: int, notional: float, contract: float) -> float:
    paid = taken = 0.0
    left = notional
    for price, quantity in levels:
        here = quantity * QUANTITY_SCALE
        value = here * (contract or price * PRICE_SCALE)
        share = min(1.0, left / value)
        paid += here * share * price
        taken += here * share
        left -= value
        if left <= 0:
            return side * 1e4 * (paid / taken / levels[0][0] - 1)
    return math.nan


def test_taking_within_the_best_level_costs_nothing() -> None:
    book = book_of({9_990: 1_000}, {10_000: 1_000})
    assert slippage_bps(book, 1, 50.0, PRICE_SCALE, QUANTITY_SCALE) == pytest.approx(0.0, abs=1e-9)


def test_taking_two_levels_costs_the_average_over_the_best() -> None:
    book = book_of({9_990: 1_000}, {10_000: 1_000, 10_100: 10_000})
    # 100 quote at 100.00, then 101 at 101.00: two pieces bought at 100.5 on average.
    assert slippage_bps(book, 1, 201.0, PRICE_SCALE, QUANTITY_SCALE) == pytest.approx(50.0)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("notional", [1e9, 0.0, -5.0, math.nan])
def test_what_the_book_does_not_hold_is_unknown(side: int, notional: float) -> None:
    book = book_of({9_990: 1_000}, {10_000: 1_000})
    assert math.isnan(slippage_bps(book, side, notional, PRICE_SCALE, QUANTITY_SCALE))


def test_an_empty_side_is_unknown() -> None:
    assert math.isnan(slippage_bps(book_of({9_990: 5}, {}), 1, 1.0, PRICE_SCALE, QUANTITY_SCALE))


def test_levels_behind_the_horizon_are_not_counted_on() -> None:
    book = Book(far_capacity=16)
    for i in range(40):
        book.apply_level(1, 1_000_000 + i, 1_000)
    book.apply_clear()
    for i in range(40):
        book.apply_level(1, 1_000 + 100_000 * i, 1)
    book.apply_settle()
    lowest_known = book.horizons[0]
    assert lowest_known > 0
    deepest = sum(price * PRICE_SCALE * q * QUANTITY_SCALE for price, q in book.levels(1, 100))
    assert math.isnan(slippage_bps(book, -1, deepest * 2, PRICE_SCALE, QUANTITY_SCALE))


@given(
    prices=st.lists(st.integers(9_000, 11_000), min_size=1, max_size=30, unique=True),
    seed=st.integers(1, 50_000),
    notional=st.floats(0.01, 1e5),
    side=st.sampled_from([1, -1]),
    contract=st.sampled_from([0.0, 10.0, 100.0]),
)
def test_walk_equals_the_plain_loop(
    prices: list[int], seed: int, notional: float, side: int, contract: float
) -> None:
    quantities = {price: 1 + (price * seed) % 997 for price in prices}
    book = book_of({}, quantities) if side > 0 else book_of(quantities, {})
    levels = sorted(quantities.items(), reverse=side < 0)
    found = slippage_bps(book, side, notional, PRICE_SCALE, QUANTITY_SCALE, contract)
    expected = twin(levels, side, notional, contract)
    assert (math.isnan(found) and math.isnan(expected)) or found == pytest.approx(expected, abs=1e-6)
