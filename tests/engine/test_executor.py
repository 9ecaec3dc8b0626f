"""From an approval to the bytes, and each order to its end."""

import gc
from dataclasses import dataclass, field

import pytest

from engine.execution.blotter import NEVER_NS, Blotter
from engine.execution.executor import Executor
from engine.execution.ids import OrderIds
from engine.facts import InFlight, OrderFact, encode_in_flight, sent_fact
from engine.orders import (
    Approved,
    Order,
    OrderEvent,
    OrderKind,
    OrderLife,
    OrderState,
    PlaceOrder,
    RefusalReason,
    Refused,
    ReportKind,
    Withdraw,
)
from engine.signals import Side
from engine.venues.venue import SendStatus
from tests.engine.order_values import SYMBOL, approved, fill, instrument, intent, report

S, E, K, R = OrderState, OrderEvent, ReportKind, RefusalReason
ANSWER_NS = 1_000
DOWN, BACKED_UP = SendStatus.SOCKET_DOWN, SendStatus.SOCKET_BACKED_UP


class Desk:
    """Knows its newest approval, and writes approvals down in the journal of the line."""

    def __init__(self, journal: list[tuple[str, object]]) -> None:
        self.journal = journal
        self.newest_serial = 0

    def write_down(self, approved: Approved) -> None:
        self.journal.append(("decision", approved))


class Look:
    """A last look that says what it was told to say."""

    def __init__(self) -> None:
        self.reason: RefusalReason | None = None
        self.asked: list[tuple[int, int, bool]] = []

    def refusal(self, serial: int, recv_ns: int, is_reducing: bool) -> RefusalReason | None:
        self.asked.append((serial, recv_ns, is_reducing))
        return self.reason


class Line:
    """A venue that writes down what it is asked, in one journal with the facts."""

    def __init__(self, journal: list[tuple[str, object]]) -> None:
        self.journal = journal
        self.status = SendStatus.SENT
        self.on_place = None

    def place(self, order: PlaceOrder) -> SendStatus:
        self.journal.append(("place", order))
        if self.on_place is not None:
            self.on_place(order)
        return self.status

    def cancel(self, symbol: str, client_order_id: str) -> SendStatus:
        self.journal.append(("cancel", (symbol, client_order_id)))
        return self.status

    def query(self, symbol: str, client_order_id: str) -> SendStatus:
        self.journal.append(("query", (symbol, client_order_id)))
        return self.status


@dataclass
class Bench:
    """An executor with all that it works with."""

    journal: list[tuple[str, object]] = field(default_factory=list)
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        self.desk = Desk(self.journal)
        self.line = Line(self.journal)
        self.blotter = Blotter([instrument()])
        self.executor = Executor(
            venues=[self.line],
            instruments=[instrument()],
            blotter=self.blotter,
            desk=self.desk,
            ids=OrderIds("a", 1),
            last_look=self.look,
            facts=lambda fact: self.journal.append(("fact", fact)),
            in_flight=lambda order: self.journal.append(("in_flight", order)),
            answer_ns=ANSWER_NS,
        )

    def approve(self, **changes) -> Approved:
        self.desk.newest_serial += 1
        return approved(self.desk.newest_serial, **changes)

    def submit(self, now_ns: int = 100, **changes) -> Order | Refused:
        return self.executor.submit(self.approve(**changes), now_ns)

    def withdraw(self, order: Order, now_ns: int):
        wish = Withdraw(
            client_order_id=order.client_order_id, instrument=0, reason="rest_over", decide_ns=now_ns
        )
        return self.executor.cancel(wish, now_ns)

    def tell(self, kind: ReportKind, order: Order, now_ns: int, **changes):
        return self.executor.on_report(report(kind, order.client_order_id, **changes), now_ns)

    def take(self) -> list[object]:
        """Return, and forget, what was asked and the events of the facts told, in order."""
        found = [what.event if isinstance(what, OrderFact) else verb for verb, what in self.journal]
        self.journal.clear()
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_order_is_told_in_flight_strictly_before_the_venue_is_asked(bench):
    order = bench.submit(now_ns=100)
    (first, record), (second, asked), (third, approval), (fourth, fact) = bench.journal
    assert (first, second, third, fourth) == ("in_flight", "place", "decision", "fact")
    assert (approval.serial, approval.intent) == (1, order.intent)
    assert record == InFlight(
        v=1, client_order_id="ra1-1", symbol=SYMBOL, plan=7, purpose="entry", strategy="volume_scalper",
        side=Side.BUY, kind=OrderKind.LIMIT, life=OrderLife.GTX, price=6_500_010, price_digits=2, quantity=10,
        quantity_digits=3, is_reducing=False, at_ns=100,
    )  # fmt: skip
    assert fact == sent_fact(encode_in_flight(record)) == OrderFact(
        v=1, event="sent", client_order_id="ra1-1", venue_order_id=0, symbol=SYMBOL, plan=7, purpose="entry",
        strategy="volume_scalper", side="buy", kind="limit", life="gtx", price="65000.10", quantity="0.010",
        filled="0.000", leaves="0.010", is_reducing=False, state="in_flight", reason="", at_ns=100,
    )  # fmt: skip
    assert asked == PlaceOrder(
        client_order_id="ra1-1", symbol=SYMBOL, side=intent().side, kind=intent().kind, life=intent().life,
        price=6_500_010, quantity=10, is_reducing=False,
    )  # fmt: skip
    assert bench.blotter.open_orders() == [order]
    assert bench.look.asked == [(1, 1_000, False)]
    assert bench.executor.next_due_ns == 100 + ANSWER_NS


def test_order_is_known_and_in_flight_when_the_venue_is_asked(bench):
    seen = []
    bench.line.on_place = lambda asked: seen.append(bench.blotter.order(asked.client_order_id).state)
    bench.submit()
    assert seen == [S.IN_FLIGHT]


def test_quantity_is_the_approved_one(bench):
    bench.desk.newest_serial = 1
    order = bench.executor.submit(Approved(serial=1, intent=intent(quantity=10), quantity=4), 100)
    assert (order.quantity, bench.journal[1][1].quantity) == (4, 4)


def test_used_approval_is_refused_and_asks_nothing(bench):
    permission = bench.approve()
    assert isinstance(bench.executor.submit(permission, 100), Order)
    bench.take()
    again = bench.executor.submit(permission, 101)
    assert again == Refused(reason=R.NOT_APPROVED, intent=permission.intent)
    assert (bench.take(), bench.executor.n_refused) == ([], 1)


def test_approval_refused_once_is_used_up(bench):
    permission = bench.approve()
    bench.look.reason = R.HALTED
    assert bench.executor.submit(permission, 100).reason is R.HALTED
    bench.look.reason = None
    assert bench.executor.submit(permission, 101).reason is R.NOT_APPROVED
    assert bench.take() == ["decision"]


@pytest.mark.parametrize("serial", [0, 1, 3, -1])
def test_approval_that_is_not_the_newest_is_refused(bench, serial):
    bench.desk.newest_serial = 2
    assert bench.executor.submit(approved(serial), 100).reason is R.NOT_APPROVED
    assert bench.take() == []
    assert isinstance(bench.executor.submit(approved(2), 100), Order)


@pytest.mark.parametrize("thing", [intent(), None, "ra1-1", Refused(reason=R.HALTED, intent=intent())])
def test_anything_but_an_approval_is_an_error(bench, thing):
    with pytest.raises(TypeError, match="approval of the desk"):
        bench.executor.submit(thing, 100)
    assert bench.take() == []


@pytest.mark.parametrize("reason", [R.STALE_SIGNAL, R.HALTED, R.REDUCING])
def test_order_that_the_last_look_refuses_never_was(bench, reason):
    bench.look.reason = reason
    assert bench.submit().reason is reason
    assert (bench.take(), bench.blotter.open_orders()) == (["decision"], [])
    assert bench.executor.next_due_ns == NEVER_NS
    bench.look.reason = None
    assert bench.submit().client_order_id == "ra1-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_valid": False}, R.BOOK_INVALID),
        ({"instrument_epoch": 2}, R.OLD_EPOCH),
        ({"quantity": 0}, R.BAD_QUANTITY),
        ({"quantity": -1}, R.BAD_QUANTITY),
    ],
)
def test_order_that_makes_no_sense_is_refused(bench, changes, reason):
    assert bench.submit(**changes).reason is reason
    assert bench.take() == ["decision"]


def test_more_than_the_intent_wanted_is_refused(bench):
    bench.desk.newest_serial = 1
    assert (
        bench.executor.submit(Approved(serial=1, intent=intent(), quantity=11), 100).reason is R.BAD_QUANTITY
    )


def test_reducing_order_leaves_on_an_invalid_book(bench):
    assert isinstance(bench.submit(is_valid=False, is_reducing=True), Order)


def test_submit_inside_a_submit_is_refused_and_the_outer_one_stands(bench):
    inner = []
    bench.line.on_place = lambda _: inner.append(bench.submit(now_ns=101))
    outer = bench.submit(now_ns=100)
    assert isinstance(outer, Order)
    assert [refused.reason for refused in inner] == [R.REENTRANT]
    assert bench.take() == ["in_flight", "place", "decision", "sent"]
    bench.line.on_place = None
    assert isinstance(bench.submit(now_ns=102), Order)


def test_venue_that_raises_leaves_the_order_in_flight_and_the_next_submit_open(bench):
    def fail(_: PlaceOrder) -> None:
        raise OSError("broken")

    bench.line.on_place = fail
    with pytest.raises(OSError, match="broken"):
        bench.submit()
    (order,) = bench.blotter.open_orders()
    assert (order.state, bench.executor.next_due_ns) == (S.IN_FLIGHT, 100 + ANSWER_NS)
    assert bench.take() == ["in_flight", "place", "decision", "sent"]
    bench.line.on_place = None
    assert isinstance(bench.submit(), Order)


@pytest.mark.parametrize(
    ("status", "reason"), [(DOWN, R.ORDER_SOCKET_DOWN), (BACKED_UP, R.ORDER_SOCKET_BACKED_UP)]
)
def test_order_that_the_socket_does_not_take_is_rejected_and_told(bench, status, reason):
    bench.line.status = status
    permission = bench.approve()
    assert bench.executor.submit(permission, 100) == Refused(reason=reason, intent=permission.intent)
    last = bench.journal[-1][1]
    assert bench.take() == ["in_flight", "place", "decision", "sent", "not_sent"]
    assert (last.state, last.leaves, last.reason) == ("rejected", "0.000", reason.value)
    order = bench.blotter.order("ra1-1")
    assert (order.state, order.leaves, bench.blotter.open_orders()) == (S.REJECTED, 0, [])
    assert bench.executor.next_due_ns == NEVER_NS
    bench.line.status = SendStatus.SENT
    assert bench.submit().client_order_id == "ra1-2"


def test_cancel_is_told_before_it_is_asked(bench):
    order = bench.submit()
    bench.tell(K.ACCEPTED, order, 150, venue_order_id=9)
    bench.take()
    change = bench.withdraw(order, 200)
    (_, fact), (verb, asked) = bench.journal
    assert (fact.event, fact.state, fact.reason, verb) == (
        "cancel_sent",
        "cancel_pending",
        "rest_over",
        "cancel",
    )
    assert asked == (SYMBOL, "ra1-1")
    assert (change.event, change.state_before, order.state) == (E.CANCEL_SENT, S.OPEN, S.CANCEL_PENDING)
    assert order.is_cancel_wanted


def test_cancel_of_an_order_in_flight_goes_out_at_once(bench):
    order = bench.submit()
    assert bench.withdraw(order, 101).state_before is S.IN_FLIGHT
    assert bench.take() == ["in_flight", "place", "decision", "sent", "cancel_sent", "cancel"]


def test_cancel_asks_nothing_twice_nor_of_an_order_that_is_over_or_not_known(bench):
    order = bench.submit()
    bench.withdraw(order, 101)
    bench.take()
    assert bench.withdraw(order, 102) is None
    bench.tell(K.CANCELLED, order, 103)
    assert bench.withdraw(order, 104) is None
    wish = Withdraw(client_order_id="ra1-9", instrument=0, reason="", decide_ns=0)
    assert bench.executor.cancel(wish, 105) is None
    assert bench.take() == ["cancelled"]


@pytest.mark.parametrize("status", [DOWN, BACKED_UP])
def test_cancel_that_the_socket_does_not_take_leaves_the_state_and_is_sent_again(bench, status):
    order = bench.submit()
    bench.tell(K.ACCEPTED, order, 150, venue_order_id=9)
    bench.take()
    bench.line.status = status
    assert bench.withdraw(order, 200) is None
    assert bench.take() == ["cancel_sent", "cancel", "cancel_not_sent"]
    assert (order.state, bench.executor.n_unsent_cancels) == (S.OPEN, 1)
    assert bench.executor.next_due_ns == 200 + ANSWER_NS
    assert bench.executor.on_due(1_200) == []
    bench.line.status = SendStatus.SENT
    (change,) = bench.executor.on_due(2_200)
    assert (change.event, order.state) == (E.CANCEL_SENT, S.CANCEL_PENDING)
    assert (bench.executor.n_unsent_cancels, bench.take()[-2:]) == (2, ["cancel_sent", "cancel"])


def test_order_that_cannot_be_cancelled_is_asked_for(bench):
    order = bench.submit()
    bench.withdraw(order, 101)
    bench.take()
    change = bench.tell(K.CANCEL_REJECTED, order, 150, reason="unknown order")
    assert (change.event, order.state) == (E.CANCEL_REJECTED, S.UNKNOWN)
    assert bench.take() == ["cancel_rejected", "query"]
    assert bench.executor.next_due_ns == 150 + ANSWER_NS


def test_unanswered_order_becomes_unknown_at_its_due_time_and_is_asked_for_but_not_sent_again(bench):
    order = bench.submit(now_ns=100)
    bench.take()
    assert bench.executor.on_due(1_099) == []
    (change,) = bench.executor.on_due(1_100)
    assert (change.event, change.state_before, order.state, order.leaves) == (
        E.TIMEOUT,
        S.IN_FLIGHT,
        S.UNKNOWN,
        10,
    )
    assert bench.take() == ["timeout", "query"]
    assert bench.executor.next_due_ns == 2_100
    for now_ns in (2_100, 3_100):
        assert bench.executor.on_due(now_ns) == []
        assert bench.take() == ["query"]
    assert bench.executor.on_due(3_101) == []


def test_query_that_the_socket_does_not_take_is_repeated(bench):
    bench.submit(now_ns=100)
    bench.line.status = DOWN
    bench.executor.on_due(1_100)
    assert (bench.executor.n_unsent_queries, bench.executor.next_due_ns) == (1, 2_100)
    bench.line.status = SendStatus.SENT
    bench.take()
    bench.executor.on_due(2_100)
    assert (bench.executor.n_unsent_queries, bench.take()) == (1, ["query"])


@pytest.mark.parametrize(
    ("kind", "changes", "state", "leaves"),
    [
        (K.STATUS, {}, S.OPEN, 10),
        (K.ABSENT, {}, S.REJECTED, 0),
        (K.ACCEPTED, {}, S.OPEN, 10),
        (K.FILL, {"trade_id": 1, "quantity": 10, "filled": 10, "price": 1}, S.FILLED, 0),
        (K.CANCELLED, {}, S.CANCELLED, 0),
        (K.EXPIRED, {}, S.EXPIRED, 0),
        (K.REJECTED, {}, S.REJECTED, 0),
    ],
)
def test_unknown_order_is_resolved_exactly_once(bench, kind, changes, state, leaves):
    order = bench.submit(now_ns=100)
    bench.executor.on_due(1_100)
    bench.take()
    assert bench.tell(kind, order, 1_200, **changes).state_before is S.UNKNOWN
    assert bench.tell(kind, order, 1_201, **changes) is None
    assert (order.state, order.leaves, bench.executor.next_due_ns) == (state, leaves, NEVER_NS)
    assert len(bench.take()) == 1
    assert bench.executor.on_due(10**9) == []


@pytest.mark.parametrize(
    ("kind", "state", "leaves"),
    [(K.STATUS, S.OPEN, 10), (K.EXPIRED, S.EXPIRED, 3), (K.CANCELLED, S.CANCELLED, 3)],
)
def test_fills_that_the_venue_counted_are_asked_for_until_they_come(bench, kind, state, leaves):
    order = bench.submit(now_ns=100)
    bench.tell(kind, order, 200, filled=3)
    bench.take()
    assert (order.state, order.leaves, bench.executor.next_due_ns) == (state, leaves, 1_200)
    for now_ns in (1_200, 2_200):
        assert bench.executor.on_due(now_ns) == []
        assert bench.take() == ["query"]
    change = bench.executor.on_report(fill("ra1-1", 1, 3, 3), 2_300)
    assert (change.fill.quantity, order.state, order.filled) == (3, state, 3)
    assert bench.executor.next_due_ns == NEVER_NS


def test_part_of_a_fill_leaves_an_unknown_order_unknown_and_counts(bench):
    order = bench.submit(now_ns=100)
    bench.executor.on_due(1_100)
    change = bench.executor.on_report(fill("ra1-1", 1, 4, 4), 1_200)
    assert (change.fill.quantity, order.state, order.leaves) == (4, S.UNKNOWN, 6)
    assert bench.executor.next_due_ns == 2_200


def test_cancel_of_an_unknown_order_waits_until_it_is_found_open(bench):
    order = bench.submit(now_ns=100)
    bench.executor.on_due(1_100)
    bench.take()
    assert bench.withdraw(order, 1_150) is None
    assert (bench.take(), bench.executor.next_due_ns) == ([], 2_100)
    bench.tell(K.STATUS, order, 1_200)
    assert bench.executor.next_due_ns == 2_200
    (change,) = bench.executor.on_due(2_200)
    assert (change.event, order.state) == (E.CANCEL_SENT, S.CANCEL_PENDING)
    assert bench.take() == ["status", "cancel_sent", "cancel"]


@pytest.mark.parametrize("kind", [K.ACCEPTED, K.STATUS])
def test_order_that_was_given_up_and_turns_up_is_cancelled(bench, kind):
    order = bench.submit(now_ns=100)
    bench.executor.on_due(1_100)
    bench.tell(K.ABSENT, order, 1_200)
    bench.take()
    assert bench.tell(kind, order, 1_300) is None
    assert bench.take() == ["cancel_sent", "cancel"]
    assert (order.state, bench.executor.n_revived) == (S.REJECTED, 1)
    late = bench.executor.on_report(fill("ra1-1", 1, 4, 4), 1_400)
    assert (late.fill.quantity, order.state, order.leaves) == (4, S.REJECTED, 0)


def test_accepted_that_comes_after_the_end_is_merely_late(bench):
    order = bench.submit()
    bench.tell(K.EXPIRED, order, 150)
    bench.take()
    assert bench.tell(K.ACCEPTED, order, 151) is None
    assert (bench.take(), bench.executor.n_revived) == ([], 0)


def test_report_that_changes_nothing_tells_no_fact(bench):
    order = bench.submit()
    bench.tell(K.ACCEPTED, order, 150, venue_order_id=9)
    bench.take()
    assert bench.tell(K.ACCEPTED, order, 151, venue_order_id=9) is None
    assert bench.executor.on_report(report(K.ACCEPTED, "web_1"), 152) is None
    assert bench.take() == []


def test_fact_of_a_fill_says_what_is_filled_and_left(bench):
    bench.submit()
    bench.take()
    bench.executor.on_report(fill("ra1-1", 1, 4, 4, venue_order_id=9), 150)
    ((_, fact),) = bench.journal
    assert (fact.event, fact.state, fact.filled, fact.leaves) == ("fill_part", "open", "0.004", "0.006")
    assert (fact.venue_order_id, fact.at_ns) == (9, 150)


def test_submit_leaves_no_garbage_in_cycles(bench):
    gc.collect()
    gc.disable()
    try:
        for n in range(200):
            order = bench.submit(now_ns=n)
            bench.tell(K.CANCELLED, order, n)
        bench.journal.clear()
        assert gc.collect() == 0
    finally:
        gc.enable()
