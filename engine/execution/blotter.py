"""Every order of ours and where it stands, from what we did to it and what the venue tells of it."""

from collections import deque
from collections.abc import Sequence, ValuesView
from typing import Final

from engine.errors import StateError
from engine.instruments import Instrument
from engine.orders import (
    FINAL_STATES,
    Approved,
    Change,
    Fill,
    Intent,
    Order,
    OrderEvent,
    OrderState,
    Report,
    ReportKind,
    next_state,
)

MAX_FINISHED: Final = 65_536
NEVER_NS: Final = 2**63 - 1

_EVENTS: Final = {
    ReportKind.ACCEPTED: OrderEvent.ACCEPTED,
    ReportKind.CANCELLED: OrderEvent.CANCELLED,
    ReportKind.EXPIRED: OrderEvent.EXPIRED,
    ReportKind.REJECTED: OrderEvent.REJECTED,
    ReportKind.CANCEL_REJECTED: OrderEvent.CANCEL_REJECTED,
    ReportKind.STATUS: OrderEvent.STATUS,
    ReportKind.ABSENT: OrderEvent.ABSENT,
}
_ENDS: Final = {
    OrderEvent.CANCELLED: OrderState.CANCELLED,
    OrderEvent.EXPIRED: OrderState.EXPIRED,
    OrderEvent.REJECTED: OrderState.REJECTED,
}
_IN_FLIGHT: Final = OrderState.IN_FLIGHT
_OPEN: Final = OrderState.OPEN
_WAITING: Final = frozenset({OrderState.IN_FLIGHT, OrderState.CANCEL_PENDING, OrderState.UNKNOWN})


class Blotter:
    """Hold the state of each order, tell each execution once, and know what the venue still owes us.

    Parameters
    ----------
    instruments
        By their dense index: an order belongs to one of them.
    max_finished
        So many orders that are over stay known, the newest, so that a late fill finds its order. A report on
        an older one is foreign.

    Attributes
    ----------
    n_foreign : reports on orders that are not ours, or no longer known.
    n_duplicate : reports that told nothing new.
    n_unexpected : reports and requests that an order's state does not allow; they changed no state.
    n_overfilled : reports of more than was ordered.

    Notes
    -----
    Reports may come late, twice and in any order. Three rules make sense of them. A fill is known by its
    trade id, counts once, and counts in every state, even beyond the order's quantity: the venue is the
    truth. A cumulative quantity above the fills we know means that reports of fills were lost: the difference
    stays in the order's leaves until they come, also when the order is over. A final state stays, but for
    late fills that complete the order.
    """

    __slots__ = (
        "_finished",
        "_first_ns",
        "_max_finished",
        "_open",
        "_orders",
        "_symbols",
        "_unanswered",
        "n_duplicate",
        "n_foreign",
        "n_overfilled",
        "n_unexpected",
    )

    def __init__(self, instruments: Sequence[Instrument], max_finished: int = MAX_FINISHED) -> None:
        self._symbols = {instrument.index: instrument.symbol for instrument in instruments}
        self._orders: dict[str, Order] = {}
        self._open: dict[str, Order] = {}
        self._unanswered: dict[str, Order] = {}
        self._finished: deque[str] = deque()
        self._max_finished = max_finished
        self._first_ns: int | None = NEVER_NS
        self.n_foreign = 0
        self.n_duplicate = 0
        self.n_unexpected = 0
        self.n_overfilled = 0

    def open_orders(self) -> list[Order]:
        """Return the orders that are not over, oldest first."""
        return list(self._open.values())

    def order(self, client_order_id: str) -> Order | None:
        """Return an order of ours, or None if it was never or is no longer known."""
        return self._orders.get(client_order_id)

    @property
    def unanswered(self) -> ValuesView[Order]:
        """Orders on which the venue owes an answer.

        In flight, unknown, with a cancel pending, open though a cancel is wanted, or with fills that it
        counted and we have not seen, whether the order is over or not.
        """
        return self._unanswered.values()

    @property
    def first_unanswered_ns(self) -> int:
        """Corridor time since when the longest unanswered order waits; 2^63-1 if none does."""
        if self._first_ns is None:
            self._first_ns = min((order.last_ns for order in self._unanswered.values()), default=NEVER_NS)
        return self._first_ns

    def place(self, client_order_id: str, approved: Approved, now_ns: int) -> Order:
        """Take in an order that is about to be sent: it is in flight from here on.

        Raises
        ------
        StateError
            The id was used before, or the order is of no instrument of ours.
        """
        intent = approved.intent
        self._check(client_order_id, intent)
        order = Order(client_order_id, intent, approved.quantity, _IN_FLIGHT, now_ns, now_ns)
        self._orders[client_order_id] = order
        self._open[client_order_id] = order
        self._unanswered[client_order_id] = order
        if self._first_ns is not None and now_ns < self._first_ns:
            self._first_ns = now_ns
        return order

    def restore(self, order: Order) -> None:
        """Take in an order of an earlier start of the engine, as its facts left it.

        Raises
        ------
        StateError
            The id is known already, or the order is of no instrument of ours.
        """
        self._check(order.client_order_id, order.intent)
        self._orders[order.client_order_id] = order
        if order.is_final:
            self._finish(order)
        else:
            self._open[order.client_order_id] = order
        self._watch(order)

    def apply(self, report: Report, now_ns: int) -> Change | None:
        """Take what the venue told of an order; return what changed by it, if anything did.

        Parameters
        ----------
        report
            Late, twice and out of order are fine; None is returned for what tells nothing new.
        now_ns
            Corridor time.
        """
        order = self._orders.get(report.client_order_id)
        if order is None or order.intent.symbol != report.symbol:
            self.n_foreign += 1
            return None
        fill: Fill | None = None
        if report.kind is ReportKind.FILL:
            if report.trade_id in order.fill_ids:
                self.n_duplicate += 1
                return None
            if report.quantity <= 0 or report.price <= 0:
                self.n_unexpected += 1
                return None
            fill = _fill(order.intent, report)
            is_whole = order.filled + report.quantity >= order.quantity
            event = OrderEvent.FILL_WHOLE if is_whole else OrderEvent.FILL_PART
        else:
            event = _EVENTS[report.kind]
        before, leaves_before = order.state, order.leaves
        after = next_state(before, event)
        is_expected = after is not None or fill is not None
        is_news = fill is not None or (after is not None and after is not before)
        if report.venue_order_id and not order.venue_order_id:
            order.venue_order_id = report.venue_order_id
            is_news = is_news or is_expected
        if fill is not None:
            order.fill_ids.add(report.trade_id)
            order.filled += report.quantity
        self._count_reported(order, report.filled)
        if after is not None:
            order.state = after
            if report.reason:
                order.reason = report.reason
        leaves_after = order.leaves
        if not is_expected:
            if _ENDS.get(event) is before:
                self.n_duplicate += 1
            else:
                self.n_unexpected += 1
        if not is_news and leaves_after == leaves_before:
            if is_expected:
                self.n_duplicate += 1
            return None
        return self._changed(order, event, before, leaves_before, now_ns, fill=fill)

    def note(self, order: Order, event: OrderEvent, now_ns: int, reason: str = "") -> Change | None:
        """Take what we did to an order, or that its answer is overdue; None if its state does not allow it.

        Parameters
        ----------
        event
            CANCEL_SENT, TIMEOUT, or REJECTED when its bytes never left.
        """
        before, leaves_before = order.state, order.leaves
        after = next_state(before, event)
        if after is None:
            self.n_unexpected += 1
            return None
        order.state = after
        if event is OrderEvent.CANCEL_SENT:
            order.is_cancel_wanted = True
        if reason:
            order.reason = reason
        return self._changed(order, event, before, leaves_before, now_ns)

    def want_cancel(self, order: Order, now_ns: int) -> None:
        """Remember that an order is to be cancelled though that cannot be sent now."""
        order.is_cancel_wanted = True
        self.renew(order, now_ns)

    def renew(self, order: Order, now_ns: int) -> None:
        """Let the wait for an answer begin anew: the venue was asked again."""
        order.last_ns = now_ns
        self._watch(order)

    def _check(self, client_order_id: str, intent: Intent) -> None:
        if client_order_id in self._orders:
            raise StateError(
                f"A client order id is used once, found {client_order_id} again.",
                client_order_id=client_order_id,
            )
        if self._symbols.get(intent.instrument) != intent.symbol:
            raise StateError(
                f"Expected an order of an instrument of this engine, found {intent.symbol} with the index "
                f"{intent.instrument}.",
                client_order_id=client_order_id,
            )

    def _count_reported(self, order: Order, reported: int) -> None:
        # More than was ordered cannot be owed to us; a fill that we have in hand counts nevertheless.
        if reported > order.quantity or order.filled > order.quantity:
            self.n_overfilled += 1
            reported = order.quantity
        order.reported_filled = max(order.reported_filled, order.filled, reported)

    def _changed(
        self,
        order: Order,
        event: OrderEvent,
        before: OrderState,
        leaves_before: int,
        now_ns: int,
        *,
        fill: Fill | None = None,
    ) -> Change:
        order.last_ns = now_ns
        if order.state in FINAL_STATES and before not in FINAL_STATES:
            self._finish(order)
        self._watch(order)
        return Change(
            order=order,
            event=event,
            state_before=before,
            leaves_before=leaves_before,
            leaves_after=order.leaves,
            fill=fill,
            at_ns=now_ns,
        )

    def _watch(self, order: Order) -> None:
        if (
            order.state in _WAITING
            or order.reported_filled > order.filled
            or (order.state is _OPEN and order.is_cancel_wanted)
        ):
            self._unanswered[order.client_order_id] = order
        else:
            self._unanswered.pop(order.client_order_id, None)
        self._first_ns = None

    def _finish(self, order: Order) -> None:
        self._open.pop(order.client_order_id, None)
        self._finished.append(order.client_order_id)
        if len(self._finished) > self._max_finished:
            forgotten = self._finished.popleft()
            del self._orders[forgotten]
            self._unanswered.pop(forgotten, None)


def _fill(intent: Intent, report: Report) -> Fill:
    return Fill(
        client_order_id=report.client_order_id,
        plan=intent.plan,
        purpose=intent.purpose,
        symbol=intent.symbol,
        instrument=intent.instrument,
        side=intent.side,
        price=report.price,
        quantity=report.quantity,
        commission=report.commission,
        commission_asset=report.commission_asset,
        is_maker=report.is_maker,
        trade_id=report.trade_id,
        venue_ns=report.venue_ns,
        recv_ns=report.recv_ns,
    )
