"""Orders and where they stand: by example, and against random reports."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.errors import StateError
from engine.execution.blotter import NEVER_NS, Blotter
from engine.orders import (
    FINAL_STATES,
    Change,
    Order,
    OrderEvent,
    OrderState,
    Purpose,
    ReportKind,
    next_state,
)
from engine.signals import Side
from tests.engine.order_values import SYMBOL, approved, fill, instrument, intent, report

S, E, K = OrderState, OrderEvent, ReportKind
WAITING = {S.IN_FLIGHT, S.CANCEL_PENDING, S.UNKNOWN}
NOTED = (E.CANCEL_SENT, E.TIMEOUT, E.REJECTED)


def one_order(quantity: int = 10, **changes) -> tuple[Blotter, Order]:
    blotter = Blotter([instrument()])
    return blotter, blotter.place("ra1-1", approved(quantity=quantity, **changes), 100)


def apply(blotter: Blotter, *reports) -> list[Change | None]:
    return [blotter.apply(one, 200 + n) for n, one in enumerate(reports)]


def counts(blotter: Blotter) -> tuple[int, int, int, int]:
    return blotter.n_foreign, blotter.n_duplicate, blotter.n_unexpected, blotter.n_overfilled


def test_placed_order_is_in_flight_open_and_unanswered():
    blotter, order = one_order()
    assert (order.state, order.quantity, order.leaves, order.sent_ns) == (S.IN_FLIGHT, 10, 10, 100)
    assert blotter.open_orders() == [order]
    assert list(blotter.unanswered) == [order]
    assert blotter.first_unanswered_ns == 100
    assert blotter.order("ra1-1") is order
    assert blotter.order("ra1-2") is None


def test_fill_tells_the_execution_with_plan_purpose_side_and_times():
    blotter, order = one_order(purpose=Purpose.STOP, side=Side.SELL)
    told = fill(
        "ra1-1", 77, 4, 4, price=6_500_000, commission=-12, commission_asset="USDT", is_maker=True,
        venue_ns=150, recv_ns=160, venue_order_id=9,
    )  # fmt: skip
    change = blotter.apply(told, 170)
    assert (change.event, change.state_before, change.leaves_before, change.leaves_after, change.at_ns) == (
        E.FILL_PART, S.IN_FLIGHT, 10, 6, 170,
    )  # fmt: skip
    found = change.fill
    assert (found.client_order_id, found.plan, found.purpose, found.symbol, found.instrument) == (
        "ra1-1", 7, Purpose.STOP, SYMBOL, 0,
    )  # fmt: skip
    assert (found.side, found.price, found.quantity, found.trade_id) == (Side.SELL, 6_500_000, 4, 77)
    assert (found.commission, found.commission_asset, found.is_maker) == (-12, "USDT", True)
    assert (found.venue_ns, found.recv_ns) == (150, 160)
    assert (order.state, order.venue_order_id, order.last_ns) == (S.OPEN, 9, 170)


def test_fill_before_accepted_counts_and_the_late_accepted_changes_nothing():
    blotter, order = one_order()
    whole, late = apply(blotter, fill("ra1-1", 1, 10, 10), report(K.ACCEPTED, "ra1-1"))
    assert (whole.event, order.state, late) == (E.FILL_WHOLE, S.FILLED, None)
    assert counts(blotter) == (0, 0, 1, 0)


def test_duplicate_reports_change_nothing_and_are_counted():
    blotter, order = one_order()
    accepted, filled = report(K.ACCEPTED, "ra1-1", venue_order_id=5), fill("ra1-1", 1, 3, 3)
    cancelled = report(K.CANCELLED, "ra1-1", filled=3)
    changes = apply(blotter, accepted, accepted, filled, filled, cancelled, cancelled, filled)
    assert [change is not None for change in changes] == [True, False, True, False, True, False, False]
    assert (order.state, order.filled, order.leaves) == (S.CANCELLED, 3, 0)
    assert counts(blotter) == (0, 4, 0, 0)


def test_lost_fill_stays_in_the_leaves_until_its_report_comes():
    blotter, order = one_order()
    seen = apply(blotter, fill("ra1-1", 2, 3, 7), report(K.CANCELLED, "ra1-1", filled=7))
    assert [(change.leaves_before, change.leaves_after) for change in seen] == [(10, 7), (7, 4)]
    assert (list(blotter.unanswered), blotter.first_unanswered_ns) == ([order], 201)
    (late,) = apply(blotter, fill("ra1-1", 1, 4, 4))
    assert (late.fill.quantity, late.leaves_before, late.leaves_after) == (4, 4, 0)
    assert (list(blotter.unanswered), blotter.first_unanswered_ns) == ([], NEVER_NS)
    assert (order.state, order.filled, order.reported_filled) == (S.CANCELLED, 7, 7)


def test_cumulative_quantity_told_after_the_end_opens_leaves_again():
    blotter, order = one_order()
    apply(blotter, report(K.CANCELLED, "ra1-1"))
    (change,) = apply(blotter, report(K.CANCELLED, "ra1-1", filled=6))
    assert (change.leaves_before, change.leaves_after, change.fill, order.state) == (0, 6, None, S.CANCELLED)


def test_fill_after_the_cancel_was_confirmed_counts_and_completes_the_order():
    blotter, order = one_order()
    apply(blotter, report(K.CANCELLED, "ra1-1"))
    part, whole = apply(blotter, fill("ra1-1", 1, 4, 4), fill("ra1-1", 2, 6, 10))
    assert (part.event, part.fill.quantity, part.leaves_after) == (E.FILL_PART, 4, 0)
    assert (whole.event, order.state, order.leaves) == (E.FILL_WHOLE, S.FILLED, 0)
    assert blotter.open_orders() == []


def test_more_than_was_ordered_is_counted_and_its_fills_are_told():
    blotter, order = one_order()
    first, second, third = apply(
        blotter, fill("ra1-1", 1, 8, 8), fill("ra1-1", 2, 8, 16), fill("ra1-1", 3, 1, 17)
    )
    assert [change.fill.quantity for change in (first, second, third)] == [8, 8, 1]
    assert (order.state, order.filled, order.leaves) == (S.FILLED, 17, 0)
    assert counts(blotter) == (0, 0, 0, 2)


def test_cumulative_quantity_beyond_the_order_is_cut_to_it():
    blotter, order = one_order()
    apply(blotter, report(K.CANCELLED, "ra1-1", filled=10**15))
    assert (order.leaves, blotter.n_overfilled) == (10, 1)


def test_report_on_an_order_that_is_not_ours_is_foreign():
    blotter, order = one_order()
    other = report(K.FILL, "ra1-1", symbol="ETHUSDT", trade_id=1, quantity=1, price=1)
    assert apply(blotter, fill("web_1", 1, 1), other) == [None, None]
    assert (order.filled, counts(blotter)) == (0, (2, 0, 0, 0))


@pytest.mark.parametrize("changes", [{"quantity": 0}, {"quantity": -3}, {"price": 0}, {"price": -1}])
def test_fill_of_nothing_or_at_no_price_is_not_one(changes):
    blotter, order = one_order()
    assert apply(blotter, fill("ra1-1", 1, **({"quantity": 3} | changes))) == [None]
    assert (order.filled, order.fill_ids, counts(blotter)) == (0, set(), (0, 0, 1, 0))


def test_reason_of_the_venue_is_kept():
    blotter, order = one_order()
    apply(
        blotter, report(K.EXPIRED, "ra1-1", reason="would take"), report(K.REJECTED, "ra1-1", reason="late")
    )
    assert (order.state, order.reason) == (S.EXPIRED, "would take")


def test_request_that_the_state_does_not_allow_changes_nothing():
    blotter, order = one_order()
    assert blotter.note(order, E.CANCEL_SENT, 150).state_before is S.IN_FLIGHT
    assert blotter.note(order, E.CANCEL_SENT, 160) is None
    assert (order.state, order.last_ns, counts(blotter)) == (S.CANCEL_PENDING, 150, (0, 0, 1, 0))


def test_order_found_open_though_it_is_to_be_cancelled_still_awaits_an_answer():
    blotter, order = one_order()
    blotter.note(order, E.CANCEL_SENT, 110)
    apply(blotter, report(K.STATUS, "ra1-1"))
    assert (order.state, list(blotter.unanswered), blotter.first_unanswered_ns) == (S.OPEN, [order], 200)
    apply(blotter, report(K.CANCELLED, "ra1-1"))
    assert (list(blotter.unanswered), blotter.first_unanswered_ns) == ([], NEVER_NS)


def test_longest_unanswered_order_is_the_one_that_waits_longest():
    blotter = Blotter([instrument()])
    first, second = (blotter.place(f"ra1-{n}", approved(n), 100 * n) for n in (1, 2))
    assert blotter.first_unanswered_ns == 100
    blotter.renew(first, 300)
    assert blotter.first_unanswered_ns == 200
    blotter.apply(report(K.ACCEPTED, "ra1-2"), 250)
    assert blotter.first_unanswered_ns == 300
    assert list(blotter.unanswered) == [first]
    blotter.want_cancel(second, 260)
    assert blotter.first_unanswered_ns == 260


def test_id_is_used_once():
    blotter, _ = one_order()
    with pytest.raises(StateError, match="ra1-1"):
        blotter.place("ra1-1", approved(2), 200)


@pytest.mark.parametrize("changes", [{"instrument": 1}, {"symbol": "ETHUSDT"}])
def test_order_of_no_instrument_of_ours_is_refused(changes):
    blotter = Blotter([instrument()])
    with pytest.raises(StateError, match="instrument of this engine"):
        blotter.place("ra1-1", approved(**changes), 100)


def test_restored_order_goes_on_where_its_facts_left_it():
    blotter = Blotter([instrument()])
    unknown = Order("ra1-1", intent(), 10, S.UNKNOWN, 50, 60, filled=4, reported_filled=4, fill_ids={1})
    owed = Order("ra1-2", intent(), 10, S.CANCELLED, 50, 70, filled=4, reported_filled=6, fill_ids={1})
    blotter.restore(unknown)
    blotter.restore(owed)
    assert (blotter.open_orders(), list(blotter.unanswered)) == ([unknown], [unknown, owed])
    assert blotter.first_unanswered_ns == 60
    assert owed.leaves == 2
    again, late = apply(blotter, fill("ra1-1", 1, 4, 4), fill("ra1-2", 2, 2, 6))
    assert (again, late.fill.quantity, late.leaves_after) == (None, 2, 0)
    with pytest.raises(StateError, match="used once"):
        blotter.restore(unknown)


def test_orders_that_are_over_stay_known_up_to_their_number_and_open_ones_always():
    blotter = Blotter([instrument()], max_finished=2)
    for n in range(1, 6):
        blotter.place(f"ra1-{n}", approved(n), n)
    apply(blotter, *(report(K.CANCELLED, f"ra1-{n}") for n in (3, 1, 5)))
    assert [n for n in range(1, 6) if blotter.order(f"ra1-{n}") is not None] == [1, 2, 4, 5]
    assert apply(blotter, fill("ra1-3", 1, 1, 1)) == [None]
    assert blotter.n_foreign == 1


def test_order_that_a_late_fill_touches_is_over_once_and_forgotten_once():
    blotter = Blotter([instrument()], max_finished=2)
    for n in range(1, 5):
        blotter.place(f"ra1-{n}", approved(n), n)
    apply(blotter, report(K.CANCELLED, "ra1-1"), fill("ra1-1", 1, 1, 1), report(K.CANCELLED, "ra1-2"))
    assert [n for n in range(1, 5) if blotter.order(f"ra1-{n}") is not None] == [1, 2, 3, 4]
    apply(blotter, report(K.CANCELLED, "ra1-3"), report(K.CANCELLED, "ra1-4"))
    assert [n for n in range(1, 5) if blotter.order(f"ra1-{n}") is not None] == [3, 4]


def test_order_that_is_forgotten_is_asked_for_no_more():
    blotter = Blotter([instrument()], max_finished=1)
    for n in (1, 2):
        blotter.place(f"ra1-{n}", approved(n), n)
    apply(blotter, report(K.CANCELLED, "ra1-1", filled=3))
    assert blotter.first_unanswered_ns == 2
    apply(blotter, report(K.CANCELLED, "ra1-2"))
    assert (list(blotter.unanswered), blotter.first_unanswered_ns) == ([], NEVER_NS)


class Slow:
    """What must be true of one order, from all that was told of it."""

    def __init__(self, quantity: int) -> None:
        self.quantity = quantity
        self.fills: dict[int, int] = {}
        self.reported = 0
        self.state = S.IN_FLIGHT
        self.leaves = quantity
        self.told: list[int] = []

    @property
    def filled(self) -> int:
        return sum(self.fills.values())

    def reported_now(self) -> int:
        return max(self.filled, min(self.reported, self.quantity))

    def expected_leaves(self) -> int:
        if self.state in FINAL_STATES:
            return self.reported_now() - self.filled
        return self.quantity - self.filled


class RandomReports(RuleBasedStateMachine):
    """Orders are placed, cancelled and overdue; reports come in any order, twice, lost, and beyond reason."""

    is_honest = False

    @initialize()
    def begin(self) -> None:
        self.blotter = Blotter([instrument()])
        self.slow: dict[str, Slow] = {}
        self.now_ns = 0

    @precondition(lambda self: len(self.slow) < 3)
    @rule(quantity=st.integers(1, 12))
    def place(self, quantity: int) -> None:
        self.now_ns += 1
        name = f"ra1-{len(self.slow) + 1}"
        self.slow[name] = Slow(quantity)
        self.blotter.place(name, approved(quantity=quantity), self.now_ns)

    @precondition(lambda self: self.slow)
    @rule(data=st.data(), trade_id=st.integers(1, 5), part=st.integers(1, 6), reported=st.integers(0, 14))
    def fill(self, data: st.DataObject, trade_id: int, part: int, reported: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.slow)))
        slow = self.slow[name]
        if self.is_honest:
            # Trade n of an honest venue is always the same slice of the order, told with the sum up to it.
            size = -(-slow.quantity // 5)
            done = min(slow.quantity, size * trade_id)
            part, reported = done - min(slow.quantity, size * (trade_id - 1)), done
            if part == 0:
                return
        is_new = trade_id not in slow.fills
        if is_new:
            slow.fills[trade_id] = part
            slow.reported = max(slow.reported, reported)
            event = E.FILL_WHOLE if slow.filled >= slow.quantity else E.FILL_PART
            slow.state = next_state(slow.state, event) or slow.state
        change = self.take(name, fill(name, trade_id, part, reported))
        assert (change is not None) == is_new
        if change is not None:
            slow.told.append(change.fill.trade_id)
            assert (change.fill.quantity, change.event) == (part, event)

    @precondition(lambda self: self.slow)
    @rule(
        data=st.data(),
        kind=st.sampled_from([kind for kind in K if kind is not K.FILL]),
        reported=st.integers(0, 14),
    )
    def tell(self, data: st.DataObject, kind: ReportKind, reported: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.slow)))
        slow = self.slow[name]
        reported = min(reported, slow.quantity) if self.is_honest else reported
        slow.reported = max(slow.reported, reported)
        before = slow.state
        slow.state = next_state(before, E[kind.name]) or before
        change = self.take(name, report(kind, name, filled=reported))
        assert change is None or (change.fill is None and change.event is E[kind.name])
        assert change is not None or slow.state is before

    @precondition(lambda self: self.slow)
    @rule(data=st.data(), event=st.sampled_from(NOTED))
    def note(self, data: st.DataObject, event: OrderEvent) -> None:
        name = data.draw(st.sampled_from(sorted(self.slow)))
        slow, order = self.slow[name], self.blotter.order(name)
        expected = next_state(slow.state, event)
        self.now_ns += 1
        change = self.blotter.note(order, event, self.now_ns)
        assert (change is None) == (expected is None)
        slow.state = expected or slow.state
        self.check_chain(slow, change)

    @rule(kind=st.sampled_from(K))
    def tell_of_a_foreign_order(self, kind: ReportKind) -> None:
        n_before = self.blotter.n_foreign
        assert self.blotter.apply(report(kind, "web_1", quantity=1, price=1), self.now_ns) is None
        assert self.blotter.n_foreign == n_before + 1

    def take(self, name: str, told) -> Change | None:
        self.now_ns += 1
        change = self.blotter.apply(told, self.now_ns)
        self.check_chain(self.slow[name], change)
        return change

    def check_chain(self, slow: Slow, change: Change | None) -> None:
        # The sum of all changes of leaves is the leaves: what nobody was told did not change.
        if change is not None:
            assert (change.leaves_before, change.leaves_after) == (slow.leaves, slow.expected_leaves())
            assert change.order.last_ns == change.at_ns == self.now_ns
            slow.leaves = change.leaves_after

    @invariant()
    def every_order_stands_where_its_reports_put_it(self) -> None:
        for name, slow in self.slow.items():
            order = self.blotter.order(name)
            assert order.state is slow.state
            assert order.filled == slow.filled
            assert order.fill_ids == set(slow.fills)
            assert sorted(slow.told) == sorted(slow.fills)
            assert order.leaves == slow.leaves == slow.expected_leaves() >= 0
            assert order.filled + order.leaves <= order.quantity or (
                self.blotter.n_overfilled and not self.is_honest
            )

    @invariant()
    def open_and_unanswered_orders_are_those_of_their_states(self) -> None:
        orders = [self.blotter.order(name) for name in self.slow]
        assert self.blotter.open_orders() == [order for order in orders if not order.is_final]
        waiting = [
            order
            for order in orders
            if order.state in WAITING
            or order.reported_filled > order.filled
            or (order.state is S.OPEN and order.is_cancel_wanted)
        ]
        assert {order.client_order_id for order in self.blotter.unanswered} == {
            order.client_order_id for order in waiting
        }
        assert self.blotter.first_unanswered_ns == min((order.last_ns for order in waiting), default=NEVER_NS)


class RandomReportsOfAnHonestVenue(RandomReports):
    """The same, but the venue never fills more than was ordered."""

    is_honest = True


TestRandomReports = pytest.mark.slow(RandomReports.TestCase)
TestRandomReports.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHonestVenue = pytest.mark.slow(RandomReportsOfAnHonestVenue.TestCase)
TestHonestVenue.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
