"""The book against a dict: by example, in long random runs, and after every message of real captures."""

from collections.abc import Iterable
from itertools import accumulate, chain
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from native.book import Book
from native.events import Side
from tests.oracles.book import LARGEST_PRICE, SlowBook, read_depth

BUY, SELL = int(Side.BUY), int(Side.SELL)
WINDOW = 1 << 12
LARGEST_QUANTITY = 2**63 - 1


Changes = list[tuple[int, int, int]]  # side, price or step, quantity


def small(**changes: int) -> Book:
    return Book(**({"window_bits": 12, "far_capacity": 16} | changes))


def apply(book: Book | SlowBook, levels: Iterable[tuple[int, int, int]]) -> list[int]:
    """Apply one message of (side, price, quantity) and return the changes in quantity."""
    changes = [book.apply_level(*level) for level in levels]
    book.apply_settle()
    return changes


def centred(price: int, **changes: int) -> Book:
    """A small book with its window around `price`, and no levels."""
    book = small(**changes)
    apply(book, [(BUY, price, 1)])
    apply(book, [(BUY, price, 0)])
    return book


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tick": 0}, r"tick must be 1 to 2\^40 price units, found 0"),
        ({"tick": 2**40 + 1}, r"tick must be 1 to 2\^40 price units, found 1099511627777"),
        ({"window_bits": 11}, "window_bits must be 12 to 20, found 11"),
        ({"window_bits": 21}, "window_bits must be 12 to 20, found 21"),
        ({"far_capacity": 15}, "far_capacity must be 16 to 1048576, found 15"),
        ({"far_capacity": 1 << 21}, "far_capacity must be 16 to 1048576, found 2097152"),
    ],
)
def test_parameter_out_of_bounds_is_refused_in_a_sentence(changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Book(**changes)


def test_empty_book_reads_as_zero() -> None:
    book = small()
    book.apply_settle()
    assert (book.best_bid, book.best_ask, book.horizons, book.n_levels) == (0, 0, (0, 0), (0, 0))
    assert book.levels(BUY, 5) == book.levels(SELL, 5) == []
    assert book.top_sum(BUY, 5) == book.sum_between(SELL, 1, LARGEST_PRICE) == 0


def test_level_returns_its_change_in_quantity() -> None:
    book = small()
    assert apply(book, [(BUY, 100, 7), (BUY, 100, 3), (BUY, 100, 0), (BUY, 100, 0)]) == [7, -4, -3, 0]
    apply(book, [(SELL, 200, 5)])
    assert apply(book, [(BUY, 150, 7), (BUY, 150, 3), (BUY, 150, 0), (BUY, 150, 0)]) == [7, -4, -3, 0]


def test_price_out_of_range_or_negative_quantity_is_counted_and_left_out() -> None:
    book = centred(100)
    bad = [(0, 5), (-3, 5), (LARGEST_PRICE + 1, 5), (2**63 - 1, 5), (-(2**63), 5), (100, -1)]
    assert apply(book, [(side, *level) for side in (BUY, SELL) for level in bad]) == [0] * 12
    assert (book.bad_levels, book.n_levels) == (12, (0, 0))
    for price, _ in bad:
        assert book.quantity(BUY, price) == book.quantity(SELL, price) == 0


def test_largest_price_and_quantity_keep_their_value() -> None:
    book = small()
    apply(book, [(SELL, LARGEST_PRICE, LARGEST_QUANTITY), (SELL, LARGEST_PRICE - 1, LARGEST_QUANTITY)])
    apply(book, [(BUY, LARGEST_PRICE - 2, LARGEST_QUANTITY)])
    assert (book.best_bid, book.best_ask) == (LARGEST_PRICE - 2, LARGEST_PRICE - 1)
    assert book.top_sum(SELL, 9) == book.sum_between(SELL, 1, 2**63 - 1) == 2 * LARGEST_QUANTITY
    assert book.n_far_levels == (0, 0)


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("price", [1, 64, 4_095, 4_096, 4_097, 10_000, 12_345_678])
def test_best_is_found_around_the_end_of_the_ring(side: int, price: int) -> None:
    # A pair of levels walks through the window, and with it through the end of the ring.
    book = centred(price)
    lowest = max(1, price - 900)
    for step in range(0, 1_800, 61):
        near, behind = lowest + step, lowest + step - side
        apply(book, [(side, near, 2), (side, behind, 1)] if behind else [(side, near, 2)])
        assert book.levels(side, 3) == [(near, 2), (behind, 1)][: 2 if behind else 1]
        apply(book, [(side, near, 0)])
        assert book.levels(side, 3) == ([(behind, 1)] if behind else [])
        apply(book, [(side, behind, 0)] if behind else [])
        assert book.n_levels == (0, 0)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_far_levels_beyond_the_bound_are_dropped_from_the_farthest(side: int) -> None:
    book = small()
    apply(book, [(side, 1_000_000, 9)])
    far = [1_000_000 - side * (5_000 + 10 * step) for step in range(18)]
    assert apply(book, [(side, price, 1) for price in far[1:17]]) == [1] * 16
    assert (book.dropped_levels, book.horizons) == (0, (0, 0))
    assert apply(book, [(side, far[17], 1)]) == [0]
    assert apply(book, [(side, far[0], 1)]) == [1]
    own = 0 if side == BUY else 1
    assert (book.dropped_levels, book.n_levels[own], book.n_far_levels[own]) == (2, 17, 16)
    assert [price for price, _ in book.levels(side, 99)] == [1_000_000, *far[:16]]
    # far[16] is gone: what is nearer than it is known, itself is not.
    assert book.horizons[own] == far[16] + side
    assert book.horizons[1 - own] == 0


@pytest.mark.parametrize("side", [BUY, SELL])
def test_levels_that_leave_the_window_are_dropped_past_the_bound(side: int) -> None:
    book = small()
    apply(book, [(side, 500_000, 1)])
    apply(book, [(side, 500_000 - side * step, 1) for step in range(1, 40)])
    assert (sum(book.n_levels), book.n_far_levels, book.dropped_levels) == (40, (0, 0), 0)
    apply(book, [(side, 500_000 + side * 100_000, 1)])
    assert (sum(book.n_levels), sum(book.n_far_levels)) == (17, 16)
    assert (book.dropped_levels, book.recentres) == (24, 1)
    assert sum(book.horizons) == 500_000 - side * 15
    assert [price for price, _ in book.levels(side, 99)][1:] == [500_000 - side * step for step in range(16)]


def test_cut_snapshot_tells_its_horizon_and_complete_one_has_none() -> None:
    bids, asks = [(100, 1), (90, 2)], [(101, 3), (150, 4)]
    book = small()
    book.apply_snapshot(bids, asks, is_complete=False)
    assert book.horizons == (90, 150)
    apply(book, [(BUY, 80, 5), (SELL, 160, 6)])
    assert book.horizons == (90, 150)
    book.apply_snapshot(bids, asks, is_complete=True)
    assert book.horizons == (0, 0)
    assert (book.levels(BUY, 9), book.levels(SELL, 9)) == (bids, asks)


def test_snapshot_of_one_side_centres_there_and_knows_the_empty_side() -> None:
    for bids, asks in (([(70_000, 1)], []), ([], [(70_000, 1)])):
        book = small()
        book.apply_snapshot(bids, asks, is_complete=False)
        assert book.n_far_levels == (0, 0)
        assert book.horizons == (70_000 if bids else 0, 70_000 if asks else 0)


def test_snapshot_leaves_out_bad_levels() -> None:
    book = small()
    book.apply_snapshot(
        [(100, 1), (0, 1), (-5, 1), (50, 0)], [(101, 1), (2**62, 1), (500, 0)], is_complete=False
    )
    assert (book.bad_levels, book.n_levels, book.horizons) == (3, (1, 1), (100, 101))


def test_clear_forgets_levels_horizon_and_window() -> None:
    book = small()
    book.apply_snapshot([(100, 1), (90, 2)], [(101, 3)], is_complete=False)
    book.apply_clear()
    assert (book.n_levels, book.horizons, book.best_bid, book.best_ask) == ((0, 0), (0, 0), 0, 0)
    apply(book, [(BUY, 10**9, 1)])
    assert (book.n_far_levels, book.recentres) == ((0, 0), 0)


def test_window_moves_once_a_message_and_only_past_a_quarter() -> None:
    book = small()
    apply(book, [(BUY, 100_000, 1)])
    apply(book, [(BUY, 100_000 + WINDOW // 4, 1)])
    assert book.recentres == 0
    apply(book, [(BUY, 100_000 + WINDOW // 4 + 1, 1)])
    assert book.recentres == 1
    apply(book, [(BUY, price, 1) for price in range(200_000, 900_000, 100_000)])
    assert book.recentres == 2


def test_crossed_inside_a_message_is_only_a_transient() -> None:
    book = small()
    apply(book, [(BUY, 100, 1), (SELL, 101, 1)])
    apply(book, [(BUY, 105, 2), (SELL, 101, 0), (SELL, 106, 3)])
    assert (book.levels(BUY, 9), book.levels(SELL, 9)) == ([(105, 2), (100, 1)], [(106, 3)])


def test_prices_off_a_grid_that_grew_live_in_the_overflow() -> None:
    book = small(tick=10)
    levels = [(1_000, 1), (995, 2), (990, 3), (985, 4), (980, 5)]
    apply(book, [(BUY, *level) for level in levels])
    assert (book.n_levels, book.n_far_levels) == ((5, 0), (2, 0))
    assert book.levels(BUY, 9) == levels
    assert [book.top_sum(BUY, n) for n in range(7)] == [0, 1, 3, 6, 10, 15, 15]
    assert book.sum_between(BUY, 985, 995) == 9
    apply(book, [(BUY, 1_000, 0)])
    assert (book.best_bid, book.top_sum(BUY, 1)) == (995, 2)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_sum_of_the_best_passes_a_level_off_the_grid_anywhere_in_a_bitmap_word(side: int) -> None:
    on_grid = [(50_000 - side * 10 * step, 1 + step) for step in range(70)]
    book = small(tick=10)
    apply(book, [(side, *on_grid[0])])
    apply(book, [(side, *level) for level in on_grid])
    for step in range(70):
        between = 50_000 - side * (10 * step + 5)
        apply(book, [(side, between, 1 << 40)])
        assert sum(book.n_far_levels) == 1
        quantities = [quantity for _, quantity in on_grid]
        quantities.insert(step + 1, 1 << 40)
        assert [book.top_sum(side, n) for n in range(72)] == [0, *accumulate(quantities)]
        apply(book, [(side, between, 0)])


def assert_equal(book: Book, twin: SlowBook, n: int) -> None:
    assert (book.best_bid, book.best_ask) == (twin.best_bid, twin.best_ask)
    for side in (BUY, SELL):
        assert book.levels(side, n) == twin.levels(side, n)


def assert_state_equal(book: Book, twin: SlowBook) -> None:
    for name in ("n_levels", "n_far_levels", "horizons", "dropped_levels", "bad_levels", "recentres"):
        assert getattr(book, name) == getattr(twin, name), name


QUANTITIES = st.sampled_from([0, 0, 0, 1, 2, 5, 10**12, LARGEST_QUANTITY])
MARKETS = st.sampled_from([3, 40, 2_000, 60_000_00, 2**40 + 17, 2**61, LARGEST_PRICE - 500])
# Near the touch, at the edge of the window, and far behind it.
STEPS = st.one_of(
    st.integers(-30, 30),
    st.integers(-WINDOW, WINDOW),
    st.sampled_from([-2_047, -2_048, 2_047, 2_048, -64, 63]),
)
DRAWN_LEVELS = st.lists(st.tuples(st.sampled_from([BUY, SELL]), STEPS, QUANTITIES), max_size=40)


class Twins(RuleBasedStateMachine):
    """One book and its dict, message by message; prices in steps of the grid around a moving market."""

    @initialize(
        tick=st.sampled_from([1, 1, 7, 10, 100]),
        far_capacity=st.sampled_from([16, 17, 64, 32_768]),
        market=MARKETS,
    )
    def open_market(self, tick: int, far_capacity: int, market: int) -> None:
        self.far_capacity = far_capacity
        self.market = market
        self.renew(tick)

    def renew(self, tick: int) -> None:
        self.tick = tick
        self.book = Book(tick=tick, window_bits=12, far_capacity=self.far_capacity)
        self.twin = SlowBook(tick=tick, window_bits=12, far_capacity=self.far_capacity)

    def price(self, step: int, off: int = 0) -> int:
        return min(max((self.market // self.tick + step) * self.tick + off, 1), LARGEST_PRICE)

    def message(self, levels: Iterable[tuple[int, int, int]]) -> None:
        levels = list(levels)
        assert apply(self.book, levels) == apply(self.twin, levels)

    @rule(levels=DRAWN_LEVELS)
    def change_anywhere(self, levels: Changes) -> None:
        # Bids over asks and asks under bids as well: crossed inside the message, and left so.
        self.message((side, self.price(step), quantity) for side, step, quantity in levels)

    @rule(levels=DRAWN_LEVELS)
    def change_in_order(self, levels: Changes) -> None:
        self.message(
            (side, self.price(-side * abs(step) - side), quantity) for side, step, quantity in levels
        )

    @rule(levels=DRAWN_LEVELS, off=st.integers(1, 99))
    def change_off_the_grid(self, levels: Changes, off: int) -> None:
        self.message((side, self.price(step, off % self.tick), quantity) for side, step, quantity in levels)

    @rule(
        start=st.one_of(st.integers(1, 500), st.integers(1_000, 20_000)),
        stride=st.one_of(st.just(1), st.integers(1, 99)),
        n=st.integers(1, 100),
    )
    def fill(self, start: int, stride: int, n: int) -> None:
        steps = [start + stride * i for i in range(n)]
        self.message((side, self.price(-side * step), 1 + step) for step in steps for side in (BUY, SELL))

    @rule(share=st.integers(70, 130), levels=DRAWN_LEVELS)
    def jump(self, share: int, levels: Changes) -> None:
        # What stands in the way of the new market goes; what does not is far from it now.
        self.market = min(max(self.market * share // 100, 1), LARGEST_PRICE)
        gone = [
            (side, price, 0)
            for side in (BUY, SELL)
            for price, _ in self.twin.all_levels(side)
            if side * price >= side * self.price(0)
        ]
        new = [(side, self.price(-side * abs(step)), quantity) for side, step, quantity in levels]
        self.message(chain(gone, new))

    @rule(side=st.sampled_from([BUY, SELL]), n=st.integers(1, 200))
    def lose_the_best(self, side: int, n: int) -> None:
        self.message((side, price, 0) for price, _ in self.twin.levels(side, n))

    @rule(side=st.sampled_from([BUY, SELL]), steps=st.lists(STEPS, max_size=10))
    def cross_and_return(self, side: int, steps: list[int]) -> None:
        there = [(side, self.price(side * (60 + abs(step))), 3) for step in steps]
        back = [(side, price, self.twin.quantity(side, price)) for _, price, _ in there]
        self.message(chain(there, back))

    @rule(price=st.sampled_from([0, -1, -(2**63), LARGEST_PRICE + 1, 2**63 - 1]), quantity=st.integers(-3, 3))
    def send_nonsense(self, price: int, quantity: int) -> None:
        self.message(
            [(BUY, price, quantity), (SELL, price, quantity), (BUY, self.price(0), min(quantity, -1))]
        )

    @rule(way=st.sampled_from(["clear", "snapshot", "epoch"]), data=st.data())
    def begin_anew(self, way: str, data: st.DataObject) -> None:
        if way == "clear":
            self.book.apply_clear()
            self.twin.apply_clear()
            return
        levels = {(side, price): q for side in (BUY, SELL) for price, q in self.twin.all_levels(side)}
        is_complete = data.draw(st.booleans())
        if way == "snapshot":
            for side, step, quantity in data.draw(DRAWN_LEVELS):
                levels[side, self.price(step)] = quantity
        elif self.market < 2**45:
            # Another price unit and another tick: the levels lie on the new grid or off it.
            finer, tick = (
                data.draw(st.sampled_from([1, 2, 10])),
                data.draw(st.sampled_from([1, 2, 5, 10, 20])),
            )
            self.market *= finer
            self.renew(tick)
            levels = {(side, price * finer): quantity for (side, price), quantity in levels.items()}
        bids, asks = ([(price, q) for (of, price), q in levels.items() if of == side] for side in (BUY, SELL))
        for book in (self.book, self.twin):
            book.apply_snapshot(bids, asks, is_complete=is_complete)

    @rule(
        side=st.sampled_from([BUY, SELL]),
        low=STEPS,
        high=STEPS,
        off=st.integers(-9, 9),
        n=st.integers(0, 200),
    )
    def ask_for_sums(self, side: int, low: int, high: int, off: int, n: int) -> None:
        low, high = self.price(low, off), self.price(high, -off)
        assert self.book.sum_between(side, low, high) == self.twin.sum_between(side, low, high)
        assert self.book.top_sum(side, n) == self.twin.top_sum(side, n)
        for price in (low, high):
            assert self.book.quantity(side, price) == self.twin.quantity(side, price)

    @invariant()
    def books_are_equal(self) -> None:
        if not hasattr(self, "book"):
            return
        assert_equal(self.book, self.twin, 50)
        assert_state_equal(self.book, self.twin)
        for side in (BUY, SELL):
            levels = self.twin.all_levels(side)
            assert self.book.sum_between(side, -5, 2**63 - 1) == sum(quantity for _, quantity in levels)
            for n in (1, 3, 20, len(levels) + 1):
                assert self.book.top_sum(side, n) == self.twin.top_sum(side, n)
            for price, quantity in levels[:: max(1, len(levels) // 5)]:
                assert self.book.quantity(side, price) == quantity
                for low, high in (
                    (price, 2**63 - 1),
                    (1, price),
                    (price + 1, price + WINDOW),
                    (price - 64, price),
                ):
                    assert self.book.sum_between(side, low, high) == self.twin.sum_between(side, low, high)


TestTwins = pytest.mark.slow(Twins.TestCase)
TestTwins.settings = settings(max_examples=200, stateful_step_count=40)


# Name, digits of the price unit, digits of the quantity unit.
CAPTURES = [
    ("binance_spot_20240808/spot_btcusdt_20240808.gz", 2, 8),
    ("binance_spot_20240808/spot_ethusdt_20240808.gz", 2, 8),
    ("binance_usdm_20240808/usdm_btcusdt_20240808.gz", 1, 3),
    ("binance_usdm_20240808/usdm_ethusdt_20240808.gz", 2, 3),
]


@pytest.mark.slow
@pytest.mark.captures
@pytest.mark.parametrize(("window_bits", "far_capacity"), [(16, 32_768), (12, 512)])
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: Path(capture[0]).stem)
def test_book_equals_the_dict_after_every_message_of_a_capture(
    captures: Path, capture: tuple[str, int, int], window_bits: int, far_capacity: int
) -> None:
    name, price_digits, quantity_digits = capture
    book = Book(window_bits=window_bits, far_capacity=far_capacity)
    twin = SlowBook(window_bits=window_bits, far_capacity=far_capacity)
    messages = read_depth([captures / name], price_digits, quantity_digits)
    snapshot = next(message for message in messages if message.is_snapshot)
    for each in (book, twin):
        each.apply_snapshot(snapshot.bids, snapshot.asks, is_complete=False)
    n = 0
    for update in messages:
        if update.final_id <= snapshot.final_id:
            continue
        levels = [(BUY, *level) for level in update.bids] + [(SELL, *level) for level in update.asks]
        assert apply(book, levels) == apply(twin, levels)
        assert_equal(book, twin, 20)
        n += 1
        if n % 200 == 0:
            assert_state_equal(book, twin)
            for side in (BUY, SELL):
                assert book.levels(side, 1 << 20) == twin.all_levels(side)
        if n == 2_000:
            break
    assert n == 2_000
    assert book.bad_levels == 0
