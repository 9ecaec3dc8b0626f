"""From an approval to the bytes of an order: the one room that asks a venue for anything.

An order whose answer does not come is UNKNOWN: the venue is asked where it stands until it says so, and the
order is never sent again. Fills that the venue counted and we have not seen are asked for in the same way. A
cancel may be sent again, it cannot do harm twice; once wanted it stays wanted until the order is over.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from engine.execution.blotter import NEVER_NS, Blotter
from engine.execution.ids import OrderIds
from engine.execution.lastlook import LastLook
from engine.facts import FACTS_VERSION, FactSink, InFlight, InFlightSink, OrderFact
from engine.instruments import Instrument, decimal_text
from engine.orders import (
    Approved,
    Change,
    Intent,
    Order,
    OrderEvent,
    OrderKind,
    OrderLife,
    OrderState,
    PlaceOrder,
    Purpose,
    RefusalReason,
    Refused,
    Report,
    ReportKind,
    Withdraw,
)
from engine.signals import Side
from engine.venues.venue import SendStatus, Venue

# Words of `OrderFact.event` beside the small names of `OrderEvent`.
SENT: Final = "sent"
NOT_SENT: Final = "not_sent"
CANCEL_NOT_SENT: Final = "cancel_not_sent"
# Words of `OrderFact.reason` of a cancel that nobody asked for just now.
STILL_WANTED: Final = "still_wanted"
GIVEN_UP: Final = "given_up_yet_held"

# Reading `name` or `value` of an enum member costs more than all of a fact's encoding.
_EVENTS: Final = {event: event.name.lower() for event in OrderEvent}
_STATES: Final = {state: state.name.lower() for state in OrderState}
_SIDES: Final = {side: side.name.lower() for side in Side}
_KINDS: Final = {kind: kind.name.lower() for kind in OrderKind}
_LIVES: Final = {life: life.name.lower() for life in OrderLife}
_PURPOSES: Final = {purpose: purpose.value for purpose in Purpose}

_TAKEN: Final = SendStatus.SENT
_TROUBLE: Final = {
    SendStatus.SOCKET_DOWN: RefusalReason.ORDER_SOCKET_DOWN,
    SendStatus.SOCKET_BACKED_UP: RefusalReason.ORDER_SOCKET_BACKED_UP,
}
_CANCELLABLE: Final = frozenset({OrderState.IN_FLIGHT, OrderState.OPEN})
_OVERDUE: Final = frozenset({OrderState.IN_FLIGHT, OrderState.CANCEL_PENDING})
_GIVEN_UP: Final = frozenset({OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED})


class Approver(Protocol):
    """What the executor must know of the desk."""

    @property
    def newest_serial(self) -> int:
        """Serial of the newest approval; 0 before the first."""
        ...

    def write_down(self, approved: Approved) -> None:
        """Tell the fact that an intent was approved."""
        ...


class Executor:
    """Carry out approvals and withdrawals at their venues, and follow each order to its end.

    Parameters
    ----------
    venues
        By the dense index of the instrument.
    instruments
        By their dense index.
    blotter
        Holds the orders.
    desk
        Whose approvals count.
    ids
        Gives the client order ids.
    last_look
        Judges an order at the last moment.
    facts
        Takes a fact of every change, and of each cancel before its bytes leave; must not raise.
    in_flight
        Takes what must be known of each order before its bytes leave; must not raise.
    answer_ns
        So long an answer of the venue is waited for.

    Attributes
    ----------
    n_refused : approvals that became no order.
    n_unsent_cancels, n_unsent_queries : requests that the socket did not take; both are repeated.
    n_revived : reports of the venue that it holds an order that we had given up; it was asked to cancel it.
    """

    __slots__ = (
        "_answer_ns",
        "_desk",
        "_facts",
        "_ids",
        "_in_flight",
        "_instruments",
        "_is_submitting",
        "_last_look",
        "_used_serial",
        "_venues",
        "blotter",
        "n_refused",
        "n_revived",
        "n_unsent_cancels",
        "n_unsent_queries",
    )

    def __init__(
        self,
        *,
        venues: Sequence[Venue],
        instruments: Sequence[Instrument],
        blotter: Blotter,
        desk: Approver,
        ids: OrderIds,
        last_look: LastLook,
        facts: FactSink,
        in_flight: InFlightSink,
        answer_ns: int,
    ) -> None:
        self._venues = tuple(venues)
        self._instruments = tuple(instruments)
        self.blotter = blotter
        self._desk = desk
        self._ids = ids
        self._last_look = last_look
        self._facts = facts
        self._in_flight = in_flight
        self._answer_ns = answer_ns
        self._is_submitting = False
        self._used_serial = 0
        self.n_refused = 0
        self.n_unsent_cancels = 0
        self.n_unsent_queries = 0
        self.n_revived = 0

    @property
    def next_due_ns(self) -> int:
        """Corridor time when `on_due` has something to do; 2^63-1 if it has not."""
        first_ns = self.blotter.first_unanswered_ns
        return NEVER_NS if first_ns == NEVER_NS else first_ns + self._answer_ns

    def submit(self, approved: Approved, now_ns: int) -> Order | Refused:
        """Send the order that was approved, now, without waiting.

        Parameters
        ----------
        approved
            The desk's newest approval, not used before. It is used up by this, whatever comes of it; when
            the answer is a refusal, the caller gives what was reserved for it back.
        now_ns
            Corridor time.

        Raises
        ------
        TypeError
            If it is anything but an approval.

        Notes
        -----
        That the order is in flight is told before its bytes leave; the facts of its approval and of the order
        itself are told after them. If the venue raises, its fate is unknown: it stays in flight and is asked
        for when its answer is due.

        Cost
        ----
        Until the bytes are at the transport 4 us with warm caches, about twice that with cold ones; without
        what the taker of facts does.
        """
        if type(approved) is not Approved:
            raise TypeError(f"Expected an approval of the desk, found {type(approved).__name__}.")
        if self._is_submitting:
            return self._refused(RefusalReason.REENTRANT, approved.intent)
        self._is_submitting = True
        try:
            return self._submit(approved, now_ns)
        finally:
            self._is_submitting = False

    def cancel(self, withdraw: Withdraw, now_ns: int) -> Change | None:
        """Ask the venue to cancel an order.

        Returns None if there is nothing to ask: the order is not known, is over, or its cancel is pending.
        An order of unknown state, or a socket in trouble, gives None too; then the cancel stays wanted and
        is sent from `on_due`.
        """
        order = self.blotter.order(withdraw.client_order_id)
        if order is None or order.is_final or order.state is OrderState.CANCEL_PENDING:
            return None
        if order.state not in _CANCELLABLE:
            self.blotter.want_cancel(order, order.last_ns)
            return None
        return self._send_cancel(order, withdraw.reason, now_ns)

    def on_report(self, report: Report, now_ns: int) -> Change | None:
        """Take what the venue told; return what changed of an order of ours, if anything did."""
        change = self.blotter.apply(report, now_ns)
        if change is None:
            self._check_given_up(report, now_ns)
            return None
        self._tell(change.order, _EVENTS[change.event], change.order.reason, now_ns)
        if change.event is OrderEvent.CANCEL_REJECTED:
            self._query(change.order, now_ns)
        return change

    def on_due(self, now_ns: int) -> list[Change]:
        """Look after the orders that have been without an answer for too long.

        In flight or with a cancel pending, they become UNKNOWN and the venue is asked; while UNKNOWN, or
        while fills are owed to us, it is asked again; open though a cancel is wanted, the cancel is sent
        again.
        """
        if self.next_due_ns > now_ns:
            return []
        changes: list[Change] = []
        since_ns = now_ns - self._answer_ns
        for order in [order for order in self.blotter.unanswered if order.last_ns <= since_ns]:
            change: Change | None = None
            if order.state is OrderState.OPEN and order.is_cancel_wanted:
                change = self._send_cancel(order, STILL_WANTED, now_ns)
            else:
                if order.state in _OVERDUE:
                    change = self.blotter.note(order, OrderEvent.TIMEOUT, now_ns)
                    self._tell(order, _EVENTS[OrderEvent.TIMEOUT], order.reason, now_ns)
                self._query(order, now_ns)
            if change is not None:
                changes.append(change)
        return changes

    def _submit(self, approved: Approved, now_ns: int) -> Order | Refused:
        intent, serial = approved.intent, approved.serial
        if serial != self._desk.newest_serial or serial <= self._used_serial:
            return self._refused(RefusalReason.NOT_APPROVED, intent)
        self._used_serial = serial
        index, quantity, is_reducing = intent.instrument, approved.quantity, intent.is_reducing
        instrument = self._instruments[index]
        reason = self._late_refusal(approved, instrument)
        if reason is not None:
            self._desk.write_down(approved)
            return self._refused(reason, intent)
        name = self._ids.next()
        order = self.blotter.place(name, approved, now_ns)
        symbol, side, kind, life, price = intent.symbol, intent.side, intent.kind, intent.life, intent.price
        # In the order of the fields: by keyword it takes several times as long.
        self._in_flight(
            InFlight(
                FACTS_VERSION,
                name,
                symbol,
                intent.plan,
                intent.purpose,
                intent.strategy,
                side,
                kind,
                life,
                price,
                instrument.price_digits,
                quantity,
                instrument.quantity_digits,
                is_reducing,
                now_ns,
            )
        )
        try:
            status = self._venues[index].place(
                PlaceOrder(name, symbol, side, kind, life, price, quantity, is_reducing)
            )
        finally:
            self._desk.write_down(approved)
            self._tell(order, SENT, "", now_ns)
        if status is _TAKEN:
            return order
        reason = _TROUBLE[status]
        self.blotter.note(order, OrderEvent.REJECTED, now_ns, reason.value)
        self._tell(order, NOT_SENT, order.reason, now_ns)
        return self._refused(reason, intent)

    def _late_refusal(self, approved: Approved, instrument: Instrument) -> RefusalReason | None:
        intent = approved.intent
        if not 0 < approved.quantity <= intent.quantity:
            return RefusalReason.BAD_QUANTITY
        if intent.instrument_epoch != instrument.epoch:
            return RefusalReason.OLD_EPOCH
        if not intent.is_valid and not intent.is_reducing:
            return RefusalReason.BOOK_INVALID
        return self._last_look.refusal(approved.serial, intent.recv_ns, intent.is_reducing)

    def _refused(self, reason: RefusalReason, intent: Intent) -> Refused:
        self.n_refused += 1
        return Refused(reason=reason, intent=intent)

    def _send_cancel(self, order: Order, reason: str, now_ns: int) -> Change | None:
        self._tell(order, _EVENTS[OrderEvent.CANCEL_SENT], reason, now_ns, OrderState.CANCEL_PENDING)
        status = self._venues[order.intent.instrument].cancel(order.intent.symbol, order.client_order_id)
        if status is _TAKEN:
            return self.blotter.note(order, OrderEvent.CANCEL_SENT, now_ns)
        self.n_unsent_cancels += 1
        self.blotter.want_cancel(order, now_ns)
        self._tell(order, CANCEL_NOT_SENT, _TROUBLE[status].value, now_ns)
        return None

    def _query(self, order: Order, now_ns: int) -> None:
        self.blotter.renew(order, now_ns)
        status = self._venues[order.intent.instrument].query(order.intent.symbol, order.client_order_id)
        if status is not SendStatus.SENT:
            self.n_unsent_queries += 1

    def _check_given_up(self, report: Report, now_ns: int) -> None:
        # ABSENT may have overtaken the order on its way: what the venue holds after all must not rest there
        # unwatched. ACCEPTED after CANCELLED or EXPIRED is merely late, and no reason to ask for anything.
        order = self.blotter.order(report.client_order_id)
        if order is None or order.state not in _GIVEN_UP or order.intent.symbol != report.symbol:
            return
        if report.kind is ReportKind.STATUS or (
            report.kind is ReportKind.ACCEPTED and order.state is OrderState.REJECTED
        ):
            self.n_revived += 1
            self._tell(order, _EVENTS[OrderEvent.CANCEL_SENT], GIVEN_UP, now_ns)
            status = self._venues[order.intent.instrument].cancel(order.intent.symbol, order.client_order_id)
            if status is not SendStatus.SENT:
                self.n_unsent_cancels += 1

    def _tell(
        self, order: Order, event: str, reason: str, at_ns: int, state: OrderState | None = None
    ) -> None:
        intent = order.intent
        instrument = self._instruments[intent.instrument]
        digits = instrument.quantity_digits
        quantity = decimal_text(order.quantity, digits)
        leaves = order.leaves
        # In the order of the fields, see there.
        self._facts(
            OrderFact(
                FACTS_VERSION,
                event,
                order.client_order_id,
                order.venue_order_id,
                intent.symbol,
                intent.plan,
                _PURPOSES[intent.purpose],
                intent.strategy,
                _SIDES[intent.side],
                _KINDS[intent.kind],
                _LIVES[intent.life],
                decimal_text(intent.price, instrument.price_digits),
                quantity,
                decimal_text(order.filled, digits),
                quantity if leaves == order.quantity else decimal_text(leaves, digits),
                intent.is_reducing,
                _STATES[order.state if state is None else state],
                reason,
                at_ns,
            )
        )
