"""Imbalance against the slow twin: random books and recorded markets, then band, signal, flow and medians."""

import gzip
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from native.book import Book
from native.events import MessageKind, ParseStatus
from native.imbalance import Imbalance
from native.wire.binance_json import BinanceJson
from tests.native.leaning import BUY, EXACT, MS, SECOND, SELL, Pair, rho, same, touch
from tests.oracles.imbalance import HISTORY, Rules

Fields = dict[str, int | list[tuple[int, int]]]


def number(fields: Fields, name: str) -> int:
    value = fields[name]
    assert isinstance(value, int)
    return value


SIDES = st.sampled_from([BUY, SELL])
STEPS = st.sampled_from([0, 0, 1, 10 * MS, 100 * MS, 100 * MS, 399 * MS, 500 * MS, SECOND])
LEVELS = st.lists(
    st.tuples(SIDES, st.integers(0, 60), st.one_of(st.integers(0, 9), st.integers(0, 2**40))), max_size=12
)


class RandomBook(RuleBasedStateMachine):
    """Messages of any levels around a price that jumps, empty sides, trades, questions, new snapshots."""

    @initialize(
        tick=st.sampled_from([1, 7]),
        bps=st.sampled_from([0.0, 2.0, 3.7]),
        multiple=st.sampled_from([0.0, 1.5]),
        ticks=st.integers(0, 8),
        hold_ns=st.sampled_from([0, 200 * MS, 500 * MS]),
    )
    def begin(self, tick: int, bps: float, multiple: float, ticks: int, hold_ns: int) -> None:
        rules = Rules(
            band_min_bps=bps,
            band_spread_multiple=multiple,
            band_min_ticks=ticks,
            hold_ns=hold_ns,
            min_updates=1,
        )
        # A ring of 4,096 ticks, so that a jump leaves it.
        self.pair = Pair(rules, tick, window_bits=12)
        self.tick = tick
        self.now_ns = 10**18
        self.middle = 100_000
        self.answers: list[tuple[tuple[int, int, int], tuple[float, float, int]]] = []
        self.message(0, [(side, place, 5) for side in (BUY, SELL) for place in range(0, 20, 3)], 0)

    @rule(step=STEPS, levels=LEVELS, shift=st.integers(-5, 5))
    def message(self, step: int, levels: list[tuple[int, int, int]], shift: int) -> None:
        """End a message whose levels lie behind a middle that may cross what is there."""
        self.now_ns += step
        middle = self.middle + shift
        for side, place, quantity in levels:
            self.pair.level(side, (middle - side * (place + 1)) * self.tick, quantity, self.now_ns)
        self.pair.settle(self.now_ns)

    @rule(step=STEPS, percent=st.integers(-30, 30), is_clean=st.booleans())
    def jump(self, step: int, percent: int, is_clean: bool) -> None:
        """Move the market; without deletion of the old levels the new ones cross them or stand far away."""
        self.now_ns += step
        if is_clean:
            self.empty(0, BUY)
            self.empty(0, SELL)
        self.middle = min(max(self.middle * (100 + percent) // 100, 10_000), 10**7)
        self.message(0, [(side, place, 3 + place) for side in (BUY, SELL) for place in range(4)], 0)

    @rule(step=STEPS, side=SIDES)
    def empty(self, step: int, side: int) -> None:
        self.now_ns += step
        for price in list(self.pair.slow.bids if side > 0 else self.pair.slow.asks):
            self.pair.level(side, price, 0, self.now_ns)
        self.pair.settle(self.now_ns)

    @rule(step=STEPS)
    def uncross(self, step: int) -> None:
        """Delete the bids at or above the best ask, as the message after a crossed one does."""
        self.now_ns += step
        slow = self.pair.slow
        for price in [price for price in slow.bids if slow.asks and price >= min(slow.asks)]:
            self.pair.level(BUY, price, 0, self.now_ns)
        self.pair.settle(self.now_ns)

    @rule(step=STEPS, side=SIDES, place=st.integers(-5, 20), quantity=st.integers(1, 9))
    def trade(self, step: int, side: int, place: int, quantity: int) -> None:
        self.now_ns += step
        self.pair.trade(side, (self.middle + side * place) * self.tick, quantity, self.now_ns)

    @precondition(lambda self: self.pair.slow.hold_due_ns)
    @rule()
    def hold(self) -> None:
        self.now_ns = max(self.now_ns, self.pair.slow.hold_due_ns)
        self.pair.hold()

    @rule(n=st.sampled_from([1, 10, 29, 160]))
    def sample(self, n: int) -> None:
        for _ in range(n):
            self.pair.sample()

    @rule(with_book=st.booleans())
    def reset(self, with_book: bool) -> None:
        if with_book:
            self.pair.book.apply_clear()
            self.pair.slow.clear_book()
        self.pair.fast.apply_reset()
        self.pair.slow.reset()
        self.answers.clear()
        self.pair.check()

    @rule(side=SIDES, back=st.integers(0, 40), length=st.integers(1, 40))
    def ask(self, side: int, back: int, length: int) -> None:
        end_ns = self.now_ns - back * 50 * MS
        question = side, end_ns - length * 50 * MS, end_ns
        answer = self.pair.window(*question)
        if back:
            self.answers.append((question, answer))

    @rule(side=SIDES, back=st.sampled_from([0, 1, 100 * MS, SECOND]))
    def ask_pulled(self, side: int, back: int) -> None:
        self.pair.pulled(side, self.now_ns - back)

    @rule(side=SIDES, back=st.sampled_from([0, 100 * MS, 400 * MS]), length=st.sampled_from([0, 1, 100 * MS]))
    def confirm(self, side: int, back: int, length: int) -> None:
        end_ns = self.now_ns - back
        self.pair.confirmation(side, end_ns - length, end_ns, self.now_ns)

    @invariant()
    def what_was_answered_stays(self) -> None:
        """Hold later input to change nothing of an earlier answer."""
        for question, answer in self.answers[-3:]:
            assert same(self.pair.fast.window_rho(*question), answer)


RandomBook.TestCase.settings = settings(max_examples=60, stateful_step_count=40)


@pytest.mark.slow
class TestRandomBook(RandomBook.TestCase):  # type: ignore[misc]
    """Any sequence of messages gives what the twin gives."""


def recorded(path: Path, reader: BinanceJson) -> Iterator[tuple[int, MessageKind, Fields]]:
    """Yield trades and what makes the book: the snapshot, then the updates it does not hold."""
    last_id = -1
    kept: list[tuple[int, MessageKind, Fields]] = []
    with gzip.open(path, "rb") as lines:
        for line in lines:
            now, _, frame = line.strip().partition(b" ")
            read = reader.read_snapshot if frame.startswith(b'{"last') else reader.read
            status, kind, fields = read(frame)
            assert status == ParseStatus.PARSE_OK
            if kind == MessageKind.MESSAGE_TRADE:
                yield int(now), kind, fields
            elif kind == MessageKind.MESSAGE_SNAPSHOT:
                last_id = number(fields, "final_id")
                yield int(now), kind, fields
                for _, old, update in kept:
                    if number(update, "final_id") > last_id:
                        yield int(now), old, update
            elif kind == MessageKind.MESSAGE_DEPTH and last_id < 0:
                kept.append((int(now), kind, fields))
            elif kind == MessageKind.MESSAGE_DEPTH and number(fields, "final_id") > last_id:
                yield int(now), kind, fields


@pytest.mark.slow
@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "quantity_digits", "tick"),
    [("binance_spot_20240808/spot", 5, 1), ("binance_usdm_20240808/usdm", 3, 10)],
    ids=["spot", "usdm"],
)
def test_recorded_market_when_rebuilt_then_every_update_equals_the_twin(
    captures: Path, name: str, quantity_digits: int, tick: int
) -> None:
    is_spot = name.endswith("spot")
    reader = BinanceJson(symbol="BTCUSDT", price_digits=2, quantity_digits=quantity_digits, is_spot=is_spot)
    pair = Pair(Rules(min_updates=1), tick)
    n_updates = n_known = n_pulled = next_sample = 0
    for now_ns, kind, fields in recorded(captures / f"{name}_btcusdt_20240808.gz", reader):
        while pair.slow.hold_due_ns and pair.slow.hold_due_ns <= now_ns:
            pair.hold()
        if now_ns >= next_sample:
            next_sample = now_ns // SECOND * SECOND + SECOND
            pair.sample()
        if kind == MessageKind.MESSAGE_TRADE:
            pair.trade(*(number(fields, name) for name in ("aggressor", "price", "quantity")), now_ns)
        else:
            for side, levels in ((BUY, fields["bids"]), (SELL, fields["asks"])):
                assert isinstance(levels, list)
                for price, quantity in levels:
                    pair.level(side, price, quantity, now_ns)
            pair.settle(now_ns)
            n_updates += 1
            if n_updates % 16 == 0:
                side = BUY if n_updates % 32 else SELL
                end_ns = now_ns - 400 * MS
                seen = pair.confirmation(side, end_ns - 5 * MS, end_ns, now_ns)
                n_known += not any(map(math.isnan, seen))
                n_pulled += seen[5] > 0
            if n_updates == 2000:
                break
    assert n_updates == 2000
    assert not any(math.isnan(rho) for _, rho in pair.slow.updates)
    assert n_known > 80
    assert n_pulled > 80


def test_band_when_placed_then_both_edges_are_inside() -> None:
    pair = Pair(Rules(), 1)
    for place, quantity in ((1, 1), (20, 10), (21, 100), (22, 1000)):
        pair.level(BUY, 100_000 - place, quantity, 0)
        pair.level(SELL, 100_001 + place, quantity, 0)
    pair.settle(0)
    # 2 bps of 100,000.5 are 20 whole units: bids from 100,000.5 - 20, asks up to 100,000.5 + 20.
    assert pair.fast.band == (99_981, 100_020)
    assert pair.fast.band_sums == (1, 1)
    pair.level(BUY, 99_999, 0, 1)
    pair.level(BUY, 100_000, 1, 1)
    pair.level(SELL, 100_002, 2, 1)
    pair.settle(1)
    assert pair.fast.band == (99_981, 100_021)
    assert pair.fast.band_sums == (1, 12)


@pytest.mark.parametrize(
    ("rules", "tick", "half"),
    [
        (Rules(), 1, 20),
        (Rules(band_min_bps=0.0), 1, 5),
        (Rules(band_min_bps=0.0), 7, 35),
        (Rules(band_min_ticks=21), 1, 21),
        (Rules(band_min_ticks=0, band_min_bps=0.0, band_spread_multiple=10.0), 1, 0),
    ],
)
def test_band_when_of_several_widths_then_the_widest_counts(rules: Rules, tick: int, half: int) -> None:
    pair = Pair(rules, tick)
    touch(pair, 1, 1, 0)
    assert pair.fast.band == (100_000 - half, 100_000 + half)


def test_band_when_spreads_are_wide_then_it_follows_their_median() -> None:
    pair = Pair(Rules(), 1)
    pair.level(BUY, 99_980, 1, 0)
    pair.level(SELL, 100_020, 1, 0)
    pair.settle(0)
    assert pair.fast.band == (99_980, 100_020)
    pair.sample()
    pair.settle(1)
    assert pair.fast.band == (99_940, 100_060)


def test_band_when_prices_are_the_greatest_then_it_does_not_overflow() -> None:
    pair = Pair(Rules(band_min_bps=0.0, band_spread_multiple=100.0), 1)
    pair.level(BUY, 2, 1, 0)
    pair.level(SELL, 2**62 - 1, 1, 0)
    pair.settle(0)
    pair.sample()
    pair.fast.apply_settle(1)
    assert pair.fast.band == ((2**62 + 2) // 2 - 10**18, (2**62 + 1) // 2 + 10**18)


def test_band_when_the_book_is_cut_inside_it_then_that_is_counted() -> None:
    book = Book(tick=1, window_bits=12, far_capacity=16)
    imbalance = Imbalance(book, band_min_bps=1000.0)
    for place in range(16):
        imbalance.apply_level(BUY, 99_000 + place, 1, 0)
    imbalance.apply_level(SELL, 100_001, 1, 0)
    imbalance.apply_settle(0)
    assert imbalance.beyond_horizon == 0
    for place in range(40):
        imbalance.apply_level(BUY, 93_000 + place, 1 + place, 1)
    imbalance.apply_settle(1)
    assert book.dropped_levels > 0
    assert imbalance.beyond_horizon == 1
    assert imbalance.band_sums == (
        book.sum_between(BUY, imbalance.band[0], 2**62),
        book.sum_between(SELL, 1, imbalance.band[1]),
    )


@pytest.mark.parametrize("side", [BUY, SELL])
def test_imbalance_when_a_side_is_empty_then_it_is_unknown_and_never_full(side: int) -> None:
    pair = Pair(Rules(), 1)
    pair.level(side, 100_000, 5, 0)
    pair.settle(0)
    assert math.isnan(pair.fast.rho)
    assert pair.fast.hold_due == 0
    pair.level(-side, 100_000 + 50 * side, 5, 1)
    pair.settle(1)
    assert math.isnan(pair.fast.rho), "the other side stands outside the band"


def test_signal_when_the_imbalance_holds_then_it_starts_and_ends_below_the_floor() -> None:
    pair = Pair(EXACT, 1)
    rho(pair, 0.5, 0)
    assert (pair.fast.signal_side, pair.fast.hold_due) == (0, 500 * MS)
    rho(pair, 0.25, 499)
    assert (pair.fast.signal_side, pair.fast.hold_due) == (0, 500 * MS)
    pair.hold()
    assert (pair.fast.signal_side, pair.fast.hold_due) == (BUY, 0)
    rho(pair, 0.25, 600)
    assert pair.fast.signal_side == BUY
    rho(pair, 0.0, 700)
    assert pair.fast.signal_side == 0


def test_signal_when_the_imbalance_turns_before_it_held_then_the_timer_begins_anew() -> None:
    pair = Pair(EXACT, 1)
    rho(pair, 0.5, 0)
    rho(pair, -0.5, 100)
    assert (pair.fast.signal_side, pair.fast.hold_due) == (0, 600 * MS)
    rho(pair, 0.0, 200)
    assert pair.fast.hold_due == 0
    pair.hold()
    assert pair.fast.signal_side == 0


def test_order_flow_when_the_touch_moves_then_the_three_cases_add_up() -> None:
    pair = Pair(Rules(), 1)
    touch(pair, 10, 20, 0)
    assert pair.fast.order_flow == 0, "the first book only sets the stage"
    touch(pair, 13, 20, 1)
    assert pair.fast.order_flow == 3
    pair.level(BUY, 100_000, 4, 2)
    pair.settle(2)
    assert pair.fast.order_flow == 3 + 4
    pair.level(BUY, 100_000, 0, 3)
    pair.level(SELL, 100_001, 0, 3)
    pair.level(SELL, 100_002, 7, 3)
    pair.settle(3)
    assert pair.fast.order_flow == 3 + 4 - 4 + 20
    pair.fast.apply_reset()
    assert (pair.fast.order_flow, pair.fast.ofi) == (0, 0.0)


def test_order_flow_when_time_passes_then_its_decayed_sum_halves_each_0_69_s() -> None:
    pair = Pair(Rules(), 1)
    touch(pair, 10, 10, 0)
    touch(pair, 110, 10, 1)
    touch(pair, 110, 10, 1 + round(SECOND * math.log(2)))
    assert pair.fast.ofi == pytest.approx(50.0, rel=1e-9)
    assert pair.fast.order_flow == 100


def test_medians_when_samples_are_few_then_unknown_and_then_of_the_last_five_minutes() -> None:
    pair = Pair(Rules(), 1)
    pair.sample()
    for i in range(700):
        pair.level(SELL, 100_002 + (i * 7) % 40, 1, i)
        pair.level(BUY, 99_999, 3 + i % 11, i)
        pair.settle(i)
        pair.sample()
        pair.level(SELL, 100_002 + (i * 7) % 40, 0, i)
        assert math.isnan(pair.fast.medians()[0]) == (i < 29)


@pytest.mark.parametrize(
    "changes",
    [
        {"band_min_bps": -1.0},
        {"band_min_bps": math.nan},
        {"band_spread_multiple": 101.0},
        {"band_min_ticks": -1},
        {"rho_enter": 0.4},
        {"rho_enter": 1.1},
        {"rho_floor": -0.1},
        {"hold_ns": -1},
        {"pulled_window_ns": 0},
        {"rho_pre_ns": 0},
        {"rho_post_ns": 0},
        {"min_updates": 0},
        {"min_updates": HISTORY},
        {"rho_pre_min": -1.1},
        {"pulled_max": 1.1},
    ],
)
def test_constructor_when_a_setting_is_out_of_bounds_then_it_says_what_was_found(
    changes: dict[str, float],
) -> None:
    with pytest.raises(ValueError, match=r"found .*"):
        Imbalance(Book(), **changes)  # type: ignore[arg-type]
