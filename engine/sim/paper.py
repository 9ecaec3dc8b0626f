"""The venue behind a market that never saw our orders: a recorded session, or live data on paper.

Requests arrive after a latency and meet the book as it stands then; fills follow `engine.sim.paperbook`.
What a recording does not tell is decided against us: a taker order that arrives while the book is not valid
is refused, a triggered stop waits until it is, and a resting order fills late rather than early.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import orjson
from msgspec.structs import replace

from engine.clock import Clock
from engine.instruments import Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder, Report, ReportKind
from engine.signals import MarketKind, Side
from engine.sim.account import Account
from engine.sim.filters import Rejection
from engine.sim.paperbook import PaperBook, Print
from engine.sim.requests import (
    CANCEL,
    Cancel,
    Delivery,
    Latency,
    Malformed,
    Place,
    Query,
    decode_request,
)
from engine.venues.venue import SendStatus
from native.market import Market

NEVER_NS: Final = 2**63 - 1
KEPT_ORDERS: Final = 1_024
TAKERS: Final = frozenset({OrderLife.IOC, OrderLife.FOK})

NO_BOOK: Final = Rejection(-1008, "The book is not valid now: a taker order has no price.")
UNKNOWN_ORDER: Final = Rejection(-2011, "Unknown order sent.")
NOTHING_LEFT: Final = "Nothing is offered within the order's limit."
TOO_LITTLE: Final = "Less is offered within the limit than must be filled at once."
REDUCED: Final = "Cut to what the position still allows."
WOULD_TAKE: Final = "The book became valid, and the post-only order would take."


def is_reached(side: Side, trigger: int, price: int) -> bool:
    """Return whether a stop of `side` triggers at a trade price: a sell at or below its own, a buy above."""
    return (price - trigger) * int(side) >= 0


@dataclass(slots=True)
class _Told:
    """What the venue knows of one order, open or over."""

    order: PlaceOrder
    venue_order_id: int
    filled: int = 0
    fills: list[Report] = field(default_factory=list)
    last: Report | None = None  # how it ended


class PaperExchange:
    """
    A paper venue of one instrument, on a market that others feed.

    Parameters
    ----------
    instrument
    account
        Of the same instrument; says what may be placed and takes the fills, fees included.
    latency
        Requests arrive `order_ns` after they were sent, reports are received `response_ns` after they arose.
    clock
        Corridor time, in which requests are sent.
    market
        Of the same instrument; read only.

    Notes
    -----
    The caller's order, in the time of the recording: `advance` and `take` up to a read, the read into the
    market, `on_read`. A request that arrives between two reads meets the book of the first. All times are
    those of receiving: what the recording received before a request arrived stood in the book.

    * A stop triggers at a trade at or beyond its price and takes from the book at the end of that read. One
      that is passed already when it arrives is refused.
    * A reduce-only order is cut as soon as the position no longer needs it; the cut rest expires.
    * A query tells all fills of the order again, then where it stands: told twice, a fill has the same id.
      The last 1,024 orders that are over are remembered.

    Cost: a request some ten microseconds; a read nothing while no order of ours rests or waits, else its
    trades are read once more, some microseconds each.
    """

    def __init__(
        self, *, instrument: Instrument, account: Account, latency: Latency, clock: Clock, market: Market
    ) -> None:
        self.account = account
        self.book = PaperBook(market)
        self._instrument = instrument
        self._latency = latency
        self._clock = clock
        self._market = market
        self._requests: deque[tuple[int, bytes]] = deque()
        self._reports: deque[Delivery] = deque()
        self._told: dict[str, _Told] = {}
        self._over: deque[str] = deque()
        self._triggered: list[str] = []
        self._n_orders = 0
        self._n_fills = 0
        self._last_trade_id = -1
        for name, entry in account.open_orders.items():
            # Of a venue that was opened again: only stops outlive it.
            self._n_orders += 1
            self._told[name] = _Told(entry.order, self._n_orders)

    def send(self, request: bytes) -> SendStatus:
        """Take one request; it arrives after the order latency."""
        self._requests.append((self._clock.now_ns() + self._latency.order_ns, request))
        return SendStatus.SENT

    @property
    def next_ns(self) -> int:
        """When the next request arrives or the next report is received; 2^63 - 1 if neither."""
        arrival = self._requests[0][0] if self._requests else NEVER_NS
        return min(arrival, self._reports[0].at_ns if self._reports else NEVER_NS)

    def advance(self, now_ns: int) -> None:
        """Let the requests arrive that are due by `now_ns`, each at its own time."""
        while self._requests and self._requests[0][0] <= now_ns:
            at_ns, request = self._requests.popleft()
            self._arrive(request, at_ns)

    def take(self, now_ns: int) -> list[Delivery]:
        """Return the reports received by `now_ns`, oldest first."""
        found = []
        while self._reports and self._reports[0].at_ns <= now_ns:
            found.append(self._reports.popleft())
        return found

    def on_read(self, payloads: list[bytes], recv_ns: int) -> None:
        """
        Hear what one read brought, after the market has applied it.

        Parameters
        ----------
        payloads
            The messages of the read, in order.
        recv_ns
            Its time; requests that arrive by then are those `advance` was told of before.
        """
        prints: list[Print] = []
        if self.account.open_orders:
            prints = list(self._prints(payloads))
        self._last_trade_id = self._market.last_trade_id
        waited = [name for name, order in self.book.resting.items() if order.ahead is None]
        for name, quantity in self.book.on_read(prints):
            told = self._told[name]
            self._fill(told, told.order.price, quantity, recv_ns, is_maker=True)
            self._finish_filled(told, recv_ns)
            self._cut_excess(recv_ns)
        self._drop_crossing(waited, recv_ns)
        for one in prints:
            self._trigger(one.price)
        if self._triggered and self._market.is_valid:
            names, self._triggered = self._triggered, []
            for name in names:
                if name in self.account.open_orders:
                    self._execute_stop(self._told[name], recv_ns)

    # Requests.

    def _arrive(self, request: bytes, at_ns: int) -> None:
        found = decode_request(request, self._instrument)
        if isinstance(found, Place):
            self._place(found.order, at_ns)
        elif isinstance(found, Cancel):
            self._cancel(found.client_order_id, at_ns)
        elif isinstance(found, Query):
            self._query(found.client_order_id, at_ns)
        elif isinstance(found, Malformed) and found.client_order_id:
            kind = ReportKind.CANCEL_REJECTED if found.method == CANCEL else ReportKind.REJECTED
            self._report(kind, found.client_order_id, at_ns, reason=found.rejection.reason)

    def _place(self, order: PlaceOrder, at_ns: int) -> None:
        is_taker = order.kind is OrderKind.MARKET or order.life in TAKERS
        mark = (self._market.best_bid + self._market.best_ask) // 2
        limit = order.price if order.kind is OrderKind.LIMIT else 0
        worst = order.price or mark
        quantity: int | Rejection
        if order.kind is not OrderKind.STOP_MARKET and is_taker and not self._market.is_valid:
            quantity = NO_BOOK
        else:
            if order.kind is OrderKind.MARKET:
                worst = self._worst(order, order.quantity, mark)
            quantity = self.account.review(order, mark=mark, worst=worst)
        if isinstance(quantity, int):
            refused = self._refused(order, mark)
            quantity = quantity if refused is None else refused
        if isinstance(quantity, Rejection):
            # The id of an order that is known keeps its story.
            self._report(ReportKind.REJECTED, order.client_order_id, at_ns, reason=quantity.reason)
            return
        self._n_orders += 1
        told = _Told(order, self._n_orders)
        self._told[order.client_order_id] = told
        self.account.open(order, quantity, worst=worst)
        self._report(ReportKind.ACCEPTED, order.client_order_id, at_ns)
        if order.kind is OrderKind.STOP_MARKET:
            return
        if order.life is OrderLife.FOK:
            offered = self.book.offers(order.side, limit, quantity)
            if sum(part.quantity for part in offered) < quantity:
                self._end(told, at_ns, TOO_LITTLE)
                return
        if order.life is not OrderLife.GTX:
            self._take(told, limit, quantity, at_ns)
        left = self._leaves(told)
        if left and is_taker:
            self._end(told, at_ns, NOTHING_LEFT)
        elif left:
            self.book.rest(order.client_order_id, order.side, order.price, left)
        self._cut_excess(at_ns)

    def _refused(self, order: PlaceOrder, mark: int) -> Rejection | None:
        is_spot = self._instrument.kind is MarketKind.SPOT
        if order.kind is OrderKind.STOP_MARKET:
            tape = self._market.tape.last(1)
            last = tape[0][1] if tape else mark
            if last and is_reached(order.side, order.price, last):
                if is_spot:
                    return Rejection(-2010, "Stop price would trigger immediately.")
                return Rejection(-2021, "Order would immediately trigger.")
        elif order.life is OrderLife.GTX and self._market.is_valid:
            if not self.book.would_take(order.side, order.price):
                return None
            if is_spot:
                return Rejection(-2010, "Order would immediately match and take.")
            text = "Due to the order could not be executed as maker, the Post Only order will be rejected."
            return Rejection(-5022, text)
        return None

    def _cancel(self, name: str, at_ns: int) -> None:
        if name not in self.account.open_orders:
            self._report(ReportKind.CANCEL_REJECTED, name, at_ns, reason=UNKNOWN_ORDER.reason)
            return
        self._end(self._told[name], at_ns, "", ReportKind.CANCELLED)

    def _query(self, name: str, at_ns: int) -> None:
        told = self._told.get(name)
        if told is None:
            self._report(ReportKind.ABSENT, name, at_ns)
            return
        for report in told.fills:
            self._deliver(report, at_ns)
        if name in self.account.open_orders:
            self._report(ReportKind.STATUS, name, at_ns)
        elif told.last is not None:
            self._deliver(told.last, at_ns)

    # The market.

    def _prints(self, payloads: list[bytes]) -> Iterator[Print]:
        # Exactly the trades that taught the market: it knows duplicates and what it could not believe.
        newest = self._market.last_trade_id
        for payload in payloads:
            if b"rade" not in payload:
                continue
            try:
                message = orjson.loads(payload)
                data = message.get("data", message)
                trade_id = data["t"] if data["e"] == "trade" else data["a"]
                if data["s"] != self._instrument.symbol or not self._last_trade_id < trade_id <= newest:
                    continue
                price = self._instrument.price_units(data["p"])
                quantity = self._instrument.quantity_units(data["q"])
                is_seller = data["m"]
            except (AttributeError, KeyError, TypeError, ValueError):
                continue  # another message, or one the market refused
            self._last_trade_id = trade_id
            if price > 0 and quantity > 0 and data.get("X", "MARKET") == "MARKET":
                yield Print(price, quantity, -1 if is_seller else 1)

    def _trigger(self, price: int) -> None:
        for name, entry in self.account.open_orders.items():
            if (
                entry.is_waiting
                and name not in self._triggered
                and is_reached(entry.order.side, entry.order.price, price)
            ):
                self._triggered.append(name)

    def _execute_stop(self, told: _Told, at_ns: int) -> None:
        order, name = told.order, told.order.client_order_id
        mark = (self._market.best_bid + self._market.best_ask) // 2
        worst = self._worst(order, order.quantity, mark)
        quantity = self.account.trigger(name, mark=mark, worst=worst)
        if isinstance(quantity, Rejection):
            self._end(told, at_ns, quantity.reason)
            return
        self._take(told, 0, quantity, at_ns)
        if self._leaves(told):
            self._end(told, at_ns, NOTHING_LEFT)
        self._cut_excess(at_ns)

    def _worst(self, order: PlaceOrder, quantity: int, mark: int) -> int:
        offered = self.book.offers(order.side, 0, quantity)
        return offered[-1].price if offered else mark

    def _drop_crossing(self, waited: list[str], at_ns: int) -> None:
        if not self._market.is_valid:
            return
        for name in waited:
            order = self.book.resting.get(name)
            told = self._told[name]
            if (
                order is not None
                and told.order.life is OrderLife.GTX
                and self.book.would_take(order.side, order.price)
            ):
                self._end(told, at_ns, WOULD_TAKE)

    # What follows.

    def _take(self, told: _Told, limit: int, quantity: int, at_ns: int) -> None:
        for price, part in self.book.take(told.order.side, limit, quantity):
            self._fill(told, price, part, at_ns, is_maker=False)
        self._finish_filled(told, at_ns)

    def _fill(self, told: _Told, price: int, quantity: int, at_ns: int, *, is_maker: bool) -> None:
        name = told.order.client_order_id
        charge = self.account.fill(name, price, quantity, is_maker=is_maker)
        told.filled += quantity
        self._n_fills += 1
        report = Report(
            kind=ReportKind.FILL,
            client_order_id=name,
            symbol=told.order.symbol,
            venue_order_id=told.venue_order_id,
            venue_ns=at_ns,
            filled=told.filled,
            trade_id=self._n_fills,
            price=price,
            quantity=quantity,
            commission=charge.amount,
            commission_asset=charge.asset,
            is_maker=is_maker,
        )
        told.fills.append(report)
        self._deliver(report, at_ns)

    def _finish_filled(self, told: _Told, at_ns: int) -> None:
        # Nothing is left of it: either it is filled, or the rest was cut before.
        if self._leaves(told) == 0 and told.last is None:
            if told.filled < told.order.quantity:
                self._end(told, at_ns, REDUCED)
            else:
                told.last = told.fills[-1]
                self._forget(told)

    def _cut_excess(self, at_ns: int) -> None:
        for name, stays in self.account.excess():
            if stays > 0:
                self.account.cut(name, stays)
                self.book.cut(name, stays)
            else:
                self._end(self._told[name], at_ns, REDUCED)

    def _leaves(self, told: _Told) -> int:
        entry = self.account.open_orders.get(told.order.client_order_id)
        return 0 if entry is None else entry.leaves

    def _end(self, told: _Told, at_ns: int, reason: str, kind: ReportKind = ReportKind.EXPIRED) -> None:
        name = told.order.client_order_id
        if name in self.account.open_orders:
            self.account.close(name)
        self.book.cut(name, 0)
        told.last = self._report(kind, name, at_ns, reason=reason)
        self._forget(told)

    def _forget(self, told: _Told) -> None:
        self._over.append(told.order.client_order_id)
        if len(self._over) > KEPT_ORDERS:
            oldest = self._over.popleft()
            if oldest not in self.account.open_orders:
                self._told.pop(oldest, None)

    def _report(self, kind: ReportKind, name: str, at_ns: int, *, reason: str = "") -> Report:
        told = self._told.get(name)
        report = Report(
            kind=kind,
            client_order_id=name,
            symbol=self._instrument.symbol,
            venue_order_id=0 if told is None else told.venue_order_id,
            venue_ns=at_ns,
            filled=0 if told is None else told.filled,
            reason=reason,
        )
        self._deliver(report, at_ns)
        return report

    def _deliver(self, report: Report, at_ns: int) -> None:
        recv_ns = at_ns + self._latency.response_ns
        self._reports.append(Delivery(recv_ns, replace(report, recv_ns=recv_ns)))
