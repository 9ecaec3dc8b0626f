"""Orders and a venue that loses much: in the end all is known, and nothing was sent twice."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from engine.execution.blotter import NEVER_NS, Blotter
from engine.execution.executor import Executor
from engine.execution.ids import OrderIds
from engine.execution.lastlook import RecordedLook
from engine.orders import FINAL_STATES, Order, OrderState, PlaceOrder, Report, ReportKind, Withdraw
from engine.venues.venue import SendStatus
from tests.engine.order_values import approved, fill, instrument, report

S, K = OrderState, ReportKind
ANSWER_NS = 1_000


class Desk:
    """Knows its newest approval."""

    newest_serial = 0

    def write_down(self, _approved: object) -> None:
        pass


@dataclass
class Held:
    """An order as the venue has it."""

    quantity: int
    state: OrderState = S.OPEN
    parts: list[int] = field(default_factory=list)

    @property
    def filled(self) -> int:
        return sum(self.parts)


class TruthfulVenue:
    """Takes requests in order, may never get them, and answers truly; the answers are what may get lost."""

    def __init__(self) -> None:
        self.status = SendStatus.SENT
        self.requests: list[tuple[str, str, int]] = []
        self.answers: list[Report] = []
        self.orders: dict[str, Held] = {}
        self.n_asked: dict[str, int] = {}

    def place(self, order: PlaceOrder) -> SendStatus:
        self.n_asked[order.client_order_id] = self.n_asked.get(order.client_order_id, 0) + 1
        return self.send("place", order.client_order_id, order.quantity)

    def cancel(self, _: str, client_order_id: str) -> SendStatus:
        return self.send("cancel", client_order_id)

    def query(self, _: str, client_order_id: str) -> SendStatus:
        return self.send("query", client_order_id)

    def send(self, verb: str, name: str, quantity: int = 0) -> SendStatus:
        if self.status is SendStatus.SENT:
            self.requests.append((verb, name, quantity))
        return self.status

    def take_request(self) -> None:
        verb, name, quantity = self.requests.pop(0)
        held = self.orders.get(name)
        if verb == "place":
            self.orders[name] = Held(quantity)
            self.answer(K.ACCEPTED, name)
        elif verb == "cancel":
            if held is None or held.state is not S.OPEN:
                self.answer(K.CANCEL_REJECTED, name)
            else:
                self.end(name, S.CANCELLED)
        elif held is None:
            self.answer(K.ABSENT, name)
        else:
            for n in range(len(held.parts)):
                self.answer_fill(name, n)
            if held.state is S.OPEN:
                self.answer(K.STATUS, name, filled=held.filled)
            elif held.state is not S.FILLED:
                self.answer(K[held.state.name], name, filled=held.filled)

    def end(self, name: str, state: OrderState) -> None:
        self.orders[name].state = state
        self.answer(K[state.name], name, filled=self.orders[name].filled)

    def execute(self, name: str, wanted: int) -> None:
        held = self.orders[name]
        part = min(wanted, held.quantity - held.filled)
        held.parts.append(part)
        if held.filled == held.quantity:
            held.state = S.FILLED
        self.answer_fill(name, len(held.parts) - 1)

    def answer_fill(self, name: str, n: int) -> None:
        parts = self.orders[name].parts
        self.answers.append(fill(name, n + 1, parts[n], sum(parts[: n + 1])))

    def answer(self, kind: ReportKind, name: str, **changes: object) -> None:
        self.answers.append(report(kind, name, **changes))


class LossyDay(RuleBasedStateMachine):
    """Orders come and go while sockets break and answers are late, doubled and lost; at last all is known."""

    @initialize()
    def begin(self) -> None:
        self.venue, self.desk, self.now_ns = TruthfulVenue(), Desk(), 0
        self.blotter = Blotter([instrument()])
        self.told: dict[str, int] = {}
        self.leaves: dict[str, int] = {}
        self.executor = Executor(
            venues=[self.venue],
            instruments=[instrument()],
            blotter=self.blotter,
            desk=self.desk,
            ids=OrderIds("a", 1),
            last_look=RecordedLook({}),
            facts=lambda _: None,
            in_flight=lambda _: None,
            answer_ns=ANSWER_NS,
        )

    @rule(quantity=st.integers(1, 9))
    def submit(self, quantity: int) -> None:
        self.desk.newest_serial += 1
        self.now_ns += 1
        sent = self.executor.submit(approved(self.desk.newest_serial, quantity), self.now_ns)
        assert isinstance(sent, Order) == (self.venue.status is SendStatus.SENT)
        if isinstance(sent, Order):
            self.leaves[sent.client_order_id] = quantity

    @precondition(lambda self: self.blotter.open_orders())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.withdraw(data.draw(st.sampled_from([o.client_order_id for o in self.blotter.open_orders()])))

    @rule(status=st.sampled_from(SendStatus))
    def change_socket(self, status: SendStatus) -> None:
        self.venue.status = status

    @precondition(lambda self: self.venue.requests)
    @rule(is_lost=st.booleans())
    def pass_request(self, is_lost: bool) -> None:
        if is_lost:
            self.venue.requests.pop(0)
        else:
            self.venue.take_request()

    @precondition(lambda self: any(held.state is S.OPEN for held in self.venue.orders.values()))
    @rule(data=st.data(), quantity=st.integers(1, 9), is_expiry=st.booleans())
    def trade(self, data: st.DataObject, quantity: int, is_expiry: bool) -> None:
        name = data.draw(
            st.sampled_from([name for name, held in self.venue.orders.items() if held.state is S.OPEN])
        )
        if is_expiry:
            self.venue.end(name, S.EXPIRED)
        else:
            self.venue.execute(name, quantity)

    @precondition(lambda self: self.venue.answers)
    @rule(data=st.data(), fate=st.sampled_from(["comes", "comes", "comes twice", "lost"]))
    def pass_answer(self, data: st.DataObject, fate: str) -> None:
        n = data.draw(st.integers(0, len(self.venue.answers) - 1))
        answer = self.venue.answers[n] if fate == "comes twice" else self.venue.answers.pop(n)
        if fate != "lost":
            self.tell(answer)

    @rule(step_ns=st.sampled_from([1, 400, ANSWER_NS, 3 * ANSWER_NS]))
    def wait(self, step_ns: int) -> None:
        self.now_ns += step_ns
        for change in self.executor.on_due(self.now_ns):
            self.learn(change)
        assert self.executor.next_due_ns > self.now_ns

    def withdraw(self, name: str) -> None:
        wish = Withdraw(client_order_id=name, instrument=0, reason="", decide_ns=self.now_ns)
        change = self.executor.cancel(wish, self.now_ns)
        if change is not None:
            self.learn(change)

    def tell(self, answer: Report) -> None:
        self.now_ns += 1
        change = self.executor.on_report(answer, self.now_ns)
        if change is not None:
            self.learn(change)

    def learn(self, change) -> None:
        name = change.order.client_order_id
        assert change.leaves_before == self.leaves[name]
        self.leaves[name] = change.leaves_after
        if change.fill is not None:
            self.told[name] = self.told.get(name, 0) + change.fill.quantity

    def teardown(self) -> None:
        if not hasattr(self, "venue"):
            return
        self.venue.status = SendStatus.SENT
        for _ in range(8):
            while self.venue.requests or self.venue.answers:
                while self.venue.requests:
                    self.venue.take_request()
                while self.venue.answers:
                    self.tell(self.venue.answers.pop(0))
            for order in self.blotter.open_orders():
                self.withdraw(order.client_order_id)
            self.wait(ANSWER_NS)
        assert self.blotter.open_orders() == []
        assert self.executor.next_due_ns == NEVER_NS
        assert all(n == 1 for n in self.venue.n_asked.values())
        assert self.blotter.n_overfilled == self.blotter.n_foreign == 0
        for name in self.leaves:
            order, held = self.blotter.order(name), self.venue.orders.get(name)
            assert order.state in FINAL_STATES
            assert held is None or held.state in FINAL_STATES or order.state is S.REJECTED
            assert order.state is (S.REJECTED if held is None else held.state)
            assert order.filled == self.told.get(name, 0)
            assert order.filled == (0 if held is None else held.filled)
            assert order.leaves == self.leaves[name] == 0


TestLossyDay = pytest.mark.slow(LossyDay.TestCase)
TestLossyDay.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
