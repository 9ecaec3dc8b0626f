"""The gate against its slow twin: random sequences, and numbers at the ends of 64 bits."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.orders import OrderKind
from native.gate import Gate, GateReason
from tests.oracles.gate import MAX_UNITS, SlowGate, SlowInstrument

BUY, SELL = 1, -1
LIMIT, MARKET, STOP_MARKET = OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP_MARKET
LARGEST = 2**63 - 1
SECOND_NS = 1_000_000_000
UNIT = 10**8  # one quote
ORDER = ("index", "epoch", "side", "kind", "price", "quantity", "is_reducing", "now_ns")
ORDER += ("best_bid", "best_ask", "is_valid")


def ask_both(fast: Gate, slow: SlowGate, *order: int) -> None:
    """Hold the answers for one order equal."""
    words = dict(zip(ORDER, order, strict=True))
    found = GateReason(fast.review(*order))  # type: ignore[arg-type]
    assert found.name == f"GATE_{slow.review(**words).upper()}", words  # type: ignore[arg-type]


EXTREMES = st.sampled_from([1, 2, 2**31, 2**53, 2**62 - 1, 2**62, LARGEST, -LARGEST - 1, 0])
SIZES = st.one_of(EXTREMES, st.integers(1, 2**62 - 1))
INSIDE = st.one_of(st.sampled_from([1, 2**31, MAX_UNITS]), st.integers(1, MAX_UNITS))


@given(
    limits=st.fixed_dictionaries(
        {
            "price_digits": st.sampled_from([0, 2, 8, 18]),
            "quantity_digits": st.sampled_from([0, 3, 8, 18]),
            "min_notional_money": st.sampled_from([0, 1, LARGEST]),
            "max_order_money": st.sampled_from([0, 10**12, LARGEST]),
            "max_position_money": st.sampled_from([0, 10**12, LARGEST]),
        }
    ),
    position=st.one_of(st.sampled_from([0, MAX_UNITS, -MAX_UNITS]), st.integers(-MAX_UNITS, MAX_UNITS)),
    leaves=st.tuples(INSIDE, INSIDE, INSIDE, INSIDE),
    mark=INSIDE,
    order=st.tuples(st.sampled_from([BUY, SELL]), st.integers(0, 2), SIZES, SIZES, st.booleans()),
    now_ns=EXTREMES,
    book=st.tuples(SIZES, SIZES),
    is_futures=st.booleans(),
)
@example(
    limits={
        "price_digits": 0,
        "quantity_digits": 0,
        "min_notional_money": 0,
        "max_order_money": LARGEST,
        "max_position_money": LARGEST,
    },
    position=MAX_UNITS,
    leaves=(MAX_UNITS,) * 4,
    mark=MAX_UNITS,
    order=(BUY, 1, 0, MAX_UNITS, False),
    now_ns=LARGEST,
    book=(MAX_UNITS - 1, MAX_UNITS),
    is_futures=True,
)
@settings(max_examples=300)
@pytest.mark.slow
def test_review_when_numbers_are_at_the_ends_of_64_bits_then_it_is_as_in_exact_arithmetic(
    *,
    limits: dict[str, int],
    position: int,
    leaves: tuple[int, int, int, int],
    mark: int,
    order: tuple[int, int, int, int, bool],
    now_ns: int,
    book: tuple[int, int],
    is_futures: bool,
) -> None:
    fast = Gate(instruments=1, max_orders_per_s=1, max_gross_money=LARGEST)
    slow = SlowGate(1, LARGEST)
    units = {"epoch": 1, "tick": 1, "step": 1, **limits}
    fast.set_instrument(0, **units, price_band_bps=10_000.0, is_futures=is_futures)  # type: ignore[arg-type]
    one = SlowInstrument(**units, price_band_bps=Fraction(10_000), is_futures=is_futures)
    slow.instruments[0] = one
    fast.set_position(0, position)
    one.position = position
    for at, (side, is_reducing) in enumerate([(BUY, False), (SELL, False), (BUY, True), (SELL, True)]):
        fast.reserve(0, side, leaves[at], is_reducing)
        (one.reducing if is_reducing else one.entering)[side] = leaves[at]
    fast.mark(0, mark)
    one.mark = mark
    fast.note_order(-LARGEST - 1)
    slow.noted.append(-LARGEST - 1)
    assert fast.worst_money(0) == fast.gross_money == one.exposure(mark)
    assert fast.worst_long(0) == position + leaves[0]
    assert fast.worst_short(0) == position - leaves[1]
    side, kind, price, quantity, is_reducing = order
    ask_both(fast, slow, 0, 1, side, kind, price, quantity, is_reducing, now_ns, *book, True)


ORDERS = st.tuples(
    st.sampled_from([BUY, SELL]),
    st.sampled_from([LIMIT, LIMIT, MARKET, STOP_MARKET]),
    st.one_of(st.integers(-2, 2), st.integers(-2, 2), st.integers(-40, 40)),
    st.one_of(st.integers(1, 12_000), st.integers(100, 1_000), st.integers(40, 60)),
    st.booleans(),
    st.sampled_from([1, 2, 3, 10]),
    st.sampled_from([""] * 20 + ["price", "quantity", "epoch", "book", "side"]),
)


@given(
    side=st.sampled_from([BUY, SELL]),
    kind=st.sampled_from([LIMIT, MARKET]),
    digits=st.sampled_from([3, 8]),
    position=st.integers(-30_000, 30_000),
    leaves=st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)),
    other=st.integers(-30_000, 30_000),
    which=st.sampled_from(["order", "position", "gross"]),
    beyond=st.integers(-2, 2),
    ask=st.integers(9_991, 10_010),
)
@settings(max_examples=300)
@pytest.mark.slow
def test_review_when_an_order_ends_next_to_a_limit_then_it_is_refused_just_beyond_it(
    *,
    side: int,
    kind: int,
    digits: int,
    position: int,
    leaves: tuple[int, int],
    other: int,
    which: str,
    beyond: int,
    ask: int,
) -> None:
    price, quantity, mark = 9_990 if kind == LIMIT else 0, 5_000, max(ask, 9_990)
    slow = SlowGate(1, LARGEST)
    units = {"epoch": 1, "tick": 1, "step": 1, "price_digits": 2, "quantity_digits": digits}
    for index, held in enumerate((position, other)):
        one = SlowInstrument(
            **units,
            min_notional_money=0,
            max_order_money=LARGEST,
            max_position_money=LARGEST,
            price_band_bps=Fraction(100),
            is_futures=True,
            position=held,
            mark=9_995 + index,
        )
        slow.instruments[index] = one
    one = slow.instruments[0]
    one.entering = {BUY: leaves[0], SELL: leaves[1]}
    bought, sold = (quantity, 0) if side == BUY else (0, quantity)
    worst = one.exposure(mark, bought, sold)
    if which == "order":
        own = price or (ask if side == BUY else 9_980)
        one.max_order_money = max(0, int(one.money(own, quantity)) + beyond)
    elif which == "position":
        one.max_position_money = max(0, worst + beyond)
    else:
        slow.max_gross_money = max(0, slow.instruments[1].exposure(9_996) + worst + beyond)
    fast = Gate(instruments=2, max_orders_per_s=1, max_gross_money=slow.max_gross_money)
    for index, one in slow.instruments.items():
        fast.set_instrument(
            index,
            **units,
            min_notional_money=0,
            max_order_money=one.max_order_money,
            max_position_money=one.max_position_money,
            price_band_bps=100.0,
            is_futures=True,
        )
        fast.set_position(index, one.position)
        fast.mark(index, one.mark)
        for way in (BUY, SELL):
            fast.reserve(index, way, one.entering[way], False)
    ask_both(fast, slow, 0, 1, side, kind, price, quantity, False, 0, 9_980, ask, True)


class RandomGate(RuleBasedStateMachine):
    """State positions, leaves, marks and limits in any order; ask in between."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.fast = Gate(instruments=3, max_orders_per_s=3, max_gross_money=5_000 * UNIT)
        self.slow = SlowGate(3, 5_000 * UNIT)
        for index in range(3):
            self.limit(
                index=index,
                price_digits=2,
                quantity_digits=3,
                band=60,
                least=5,
                order=1_000,
                position=2_500,
                is_futures=index != 1,
            )
            self.mark(index, 10_000)

    @rule(
        index=st.integers(0, 2),
        price_digits=st.integers(2, 3),
        quantity_digits=st.sampled_from([3, 9]),
        band=st.integers(1, 60),
        least=st.integers(0, 20),
        order=st.sampled_from([100, 1_000, 2_000]),
        position=st.sampled_from([200, 1_000, 4_000]),
        is_futures=st.booleans(),
    )
    def limit(
        self,
        *,
        index: int,
        price_digits: int,
        quantity_digits: int,
        band: int,
        least: int,
        order: int,
        position: int,
        is_futures: bool,
    ) -> None:
        old = self.slow.instruments.get(index)
        if old:
            price_digits = max(price_digits, old.price_digits)
            quantity_digits = max(quantity_digits, old.quantity_digits)
        units = {
            "epoch": old.epoch + 1 if old else 1,
            "tick": 5 * 10 ** (price_digits - 2),
            "step": 10 ** (quantity_digits - 3),
            "price_digits": price_digits,
            "quantity_digits": quantity_digits,
            "min_notional_money": least * UNIT,
            "max_order_money": order * UNIT,
            "max_position_money": position * UNIT,
        }
        self.fast.set_instrument(index, **units, price_band_bps=band / 2, is_futures=is_futures)
        new = SlowInstrument(**units, price_band_bps=Fraction(band, 2), is_futures=is_futures)
        if old:
            finer = 10 ** (quantity_digits - old.quantity_digits)
            new.position, new.mark = old.position * finer, old.mark * 10 ** (price_digits - old.price_digits)
            new.entering = {side: leaves * finer for side, leaves in old.entering.items()}
            new.reducing = {side: leaves * finer for side, leaves in old.reducing.items()}
        self.slow.instruments[index] = new

    @rule(index=st.integers(0, 2), lots=st.one_of(st.integers(-2_000, 2_000), st.integers(-20_000, 20_000)))
    def hold(self, index: int, lots: int) -> None:
        one = self.slow.instruments[index]
        one.position = lots * one.step
        self.fast.set_position(index, one.position)

    @rule(index=st.integers(0, 2), price=st.integers(9_900, 10_100))
    def mark(self, index: int, price: int) -> None:
        price *= 10 ** (self.slow.instruments[index].price_digits - 2)
        self.slow.instruments[index].mark = price
        self.fast.mark(index, price)

    @rule(
        index=st.integers(0, 2),
        side=st.sampled_from([BUY, SELL]),
        lots=st.one_of(st.integers(-500, 500), st.integers(-8_000, 8_000)),
        is_reducing=st.booleans(),
    )
    def work(self, index: int, side: int, lots: int, is_reducing: bool) -> None:
        one = self.slow.instruments[index]
        leaves = one.reducing if is_reducing else one.entering
        quantity = lots * one.step
        change = self.fast.reserve if quantity >= 0 else self.fast.release
        if leaves[side] + quantity >= 0:
            change(index, side, abs(quantity), is_reducing)
            leaves[side] += quantity
        else:
            with pytest.raises(ValueError, match="leaves"):
                change(index, side, abs(quantity), is_reducing)

    @rule(wait=st.sampled_from([0, 1, SECOND_NS // 3, SECOND_NS - 1, SECOND_NS]))
    def note(self, wait: int) -> None:
        self.now_ns += wait
        self.fast.note_order(self.now_ns)
        self.slow.noted.append(self.now_ns)

    @rule(state=st.sampled_from([0, 0, 0, 0, 1, 2]))
    def want(self, state: int) -> None:
        self.fast.set_wanted(state)
        self.slow.wanted = state

    @rule(index=st.integers(0, 2), orders=st.lists(ORDERS, min_size=1, max_size=6))
    def review(self, index: int, orders: list[tuple[int, ...]]) -> None:
        one = self.slow.instruments[index]
        bid = 100 * 10**one.price_digits
        for way, kind, away, lots, is_reducing, spread, odd in orders:
            # Mostly against the position where the order shall reduce it.
            side = -way if is_reducing and odd != "side" and one.position * way > 0 else way
            price = 0 if kind == MARKET else bid + away * one.tick + (odd == "price")
            quantity = lots * one.step + (odd == "quantity")
            epoch = one.epoch - (odd == "epoch")
            book = (bid, bid + spread * one.tick, odd != "book")
            order = (index, epoch, side, kind, price, quantity, is_reducing, self.now_ns, *book)
            ask_both(self.fast, self.slow, *order)

    @invariant()
    def sums_are_those_of_the_twin(self) -> None:
        assert self.fast.gross_money == self.slow.gross_money
        for index, one in self.slow.instruments.items():
            assert self.fast.worst_money(index) == one.exposure(one.mark)
            assert self.fast.position(index) == one.position
            for side in (BUY, SELL):
                assert self.fast.entering_leaves(index, side) == one.entering[side]
                assert self.fast.reducing_leaves(index, side) == one.reducing[side]


RandomGate.TestCase.settings = settings(max_examples=100, stateful_step_count=40)


@pytest.mark.slow
class TestRandomGate(RandomGate.TestCase):  # type: ignore[misc]
    """Any order of stating and asking gives what the twin gives."""
