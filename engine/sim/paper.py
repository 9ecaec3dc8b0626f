"""The venue behind a market that never saw our orders: a recorded session, or live data on paper.

Requests arrive after a latency and meet the book as it stands then; fills follow `engine.sim.paperbook`.
What a recording does not tell is decided against us: a taker order that arrives while the book is not valid
is refused, a triggered stop waits until it is, and a resting order fills late rather than early.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

import orjson

from engine.clock import Clock
from engine.instruments import Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder, ReportKind
from engine.signals import MarketKind, Side
from engine.sim.account import Account
from engine.sim.filters import Rejection
from engine.sim.paperbook import PaperBook, Print
from engine.sim.reports import Reports, VenueOrder
from engine.sim.requests import (
    PLACE,
    Cancel,
    Delivery,
    DeliveryKind,
    Latency,
    Malformed,
    Place,
    Query,
    decode_request,
)
from engine.venues.venue import SendStatus
from native.market import Market

NEVER_NS: Final = 2**63 - 1
TAKERS: Final = frozenset({OrderLife.IOC, OrderLife.FOK})

NO_BOOK: Final = Rejection(-1008, "The book is not valid now: a taker order has no price.")
UNKNOWN_ID: Final = Rejection(-2013, "Order does not exist.")
UNKNOWN_ORDER: Final = Rejection(-2011, "Unknown order sent.")
NOTHING_LEFT: Final = "Nothing is offered within the order's limit."
TOO_LITTLE: Final = "Less is offered within the limit than must be filled at once."
REDUCED: Final = "Cut to what the position still allows."
WOULD_TAKE: Final = "The book became valid, and the post-only order would take."


def is_reached(side: Side, trigger: int, price: int) -> bool:
    """Return whether a stop of `side` triggers at a trade price: a sell at or below its own, a buy above."""
    return (price - trigger) * int(side) >= 0


def mean_travel() -> float:
    """Make every travel as long as the mean: a recording is not played twice with other luck."""
    return 1.0


class PaperExchange:
    """
    A paper venue of one instrument, on a market that others feed.

    Parameters
    ----------
    instrument
    account
        Of the same instrument; says what may be placed and takes the fills, fees included.
    latency
        Everything travels for the mean of it.
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
    * An order that is over is asked for: its fills again, with the same ids, then how it ended.

    Cost: a request some ten microseconds; a read nothing while no order of ours rests or waits, else its
    trades are read once more, some microseconds each.
    """

    def __init__(
        self, *, instrument: Instrument, account: Account, latency: Latency, clock: Clock, market: Market
    ) -> None:
        self.account = account
        self.book = PaperBook(market)
        self._instrument = instrument
        self._order_ns = latency.order_ns + int(latency.order_ns * 7 / 16 * mean_travel())
        self._clock = clock
        self._market = market
        self._requests: deque[tuple[int, bytes]] = deque()
        self._reports = Reports(instrument.symbol, latency.response_ns, mean_travel)
        self._ours: dict[str, VenueOrder] = {}
        self._over: deque[str] = deque()
        self._triggered: list[str] = []
        self._n_orders = 0
        self._n_fills = 0
        self._last_trade_id = -1
        for name, entry in account.open_orders.items():
            # Of a venue that was opened again: only stops outlive it.
            self._ours[name] = self._known(entry.order)

    def send(self, request: bytes) -> SendStatus:
        """Take one request; it arrives after the order latency."""
        self._requests.append((self._clock.now_ns() + self._order_ns, request))
        return SendStatus.SENT

    @property
    def next_ns(self) -> int:
        """When the next request arrives or the next report is received; 2^63 - 1 if neither."""
        arrival = self._requests[0][0] if self._requests else NEVER_NS
        under_way = self._reports.under_way
        return min(arrival, under_way[0].recv_ns if under_way else NEVER_NS)

    def advance(self, now_ns: int) -> None:
        """Let the requests arrive that are due by `now_ns`, each at its own time."""
        while self._requests and self._requests[0][0] <= now_ns:
            at_ns, request = self._requests.popleft()
            self._arrive(request, at_ns)

    def take(self, now_ns: int) -> list[Delivery]:
        """Return the reports received by `now_ns`, oldest first."""
        found = []
        under_way = self._reports.under_way
        while under_way and under_way[0].recv_ns <= now_ns:
            report = under_way.popleft()
            found.append(Delivery(report.recv_ns, DeliveryKind.REPORT, report))
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
            known = self._ours[name]
            self._fill(known, known.order.price, quantity, recv_ns, is_maker=True)
            self._finish_filled(known, recv_ns)
            self._cut_excess(recv_ns)
        self._drop_crossing(waited, recv_ns)
        for one in prints:
            self._trigger(one.price)
        if self._triggered and self._market.is_valid:
            names, self._triggered = self._triggered, []
            for name in names:
                if name in self.account.open_orders:
                    self._execute_stop(self._ours[name], recv_ns)

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
            kind = ReportKind.REJECTED if found.method == PLACE else ReportKind.CANCEL_REJECTED
            self._reports.refuse(at_ns, kind, found.client_order_id, found.rejection)

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
            self._reports.refuse(at_ns, ReportKind.REJECTED, order.client_order_id, quantity)
            return
        known = self._known(order)
        self._reports.forget(order.client_order_id)
        self._ours[order.client_order_id] = known
        self.account.open(order, quantity, worst=worst)
        self._reports.tell(at_ns, ReportKind.ACCEPTED, known)
        if order.kind is OrderKind.STOP_MARKET:
            return
        if order.life is OrderLife.FOK:
            offered = self.book.offers(order.side, limit, quantity)
            if sum(part.quantity for part in offered) < quantity:
                self._end(known, at_ns, TOO_LITTLE)
                return
        if order.life is not OrderLife.GTX:
            self._take(known, limit, quantity, at_ns)
        left = self._leaves(known)
        if left and is_taker:
            self._end(known, at_ns, NOTHING_LEFT)
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
        known = self._ours.get(name)
        if known is None:
            self._reports.refuse(at_ns, ReportKind.CANCEL_REJECTED, name, UNKNOWN_ORDER)
        else:
            self._end(known, at_ns, "", ReportKind.CANCELLED)

    def _query(self, name: str, at_ns: int) -> None:
        known = self._ours.get(name)
        if known is not None:
            self._reports.tell(at_ns, ReportKind.STATUS, known)
        elif not self._reports.repeat(at_ns, name):
            self._reports.refuse(at_ns, ReportKind.ABSENT, name, UNKNOWN_ID)

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

    def _execute_stop(self, known: VenueOrder, at_ns: int) -> None:
        order, name = known.order, known.order.client_order_id
        mark = (self._market.best_bid + self._market.best_ask) // 2
        worst = self._worst(order, order.quantity, mark)
        quantity = self.account.trigger(name, mark=mark, worst=worst)
        if isinstance(quantity, Rejection):
            self._end(known, at_ns, quantity.reason)
            return
        self._take(known, 0, quantity, at_ns)
        if self._leaves(known):
            self._end(known, at_ns, NOTHING_LEFT)
        self._cut_excess(at_ns)

    def _worst(self, order: PlaceOrder, quantity: int, mark: int) -> int:
        offered = self.book.offers(order.side, 0, quantity)
        return offered[-1].price if offered else mark

    def _drop_crossing(self, waited: list[str], at_ns: int) -> None:
        if not self._market.is_valid:
            return
        for name in waited:
            order = self.book.resting.get(name)
            known = self._ours[name]
            if (
                order is not None
                and known.order.life is OrderLife.GTX
                and self.book.would_take(order.side, order.price)
            ):
                self._end(known, at_ns, WOULD_TAKE)

    # What follows.

    def _take(self, known: VenueOrder, limit: int, quantity: int, at_ns: int) -> None:
        for price, part in self.book.take(known.order.side, limit, quantity):
            self._fill(known, price, part, at_ns, is_maker=False)
        self._finish_filled(known, at_ns)

    def _fill(self, known: VenueOrder, price: int, quantity: int, at_ns: int, *, is_maker: bool) -> None:
        charge = self.account.fill(known.order.client_order_id, price, quantity, is_maker=is_maker)
        self._n_fills += 1
        self._reports.fill(
            at_ns, known, charge, level=(price, quantity), trade_id=self._n_fills, is_maker=is_maker
        )

    def _finish_filled(self, known: VenueOrder, at_ns: int) -> None:
        # Nothing is left of it: either it is filled, or the rest was cut before.
        if self._leaves(known) == 0 and known.order.client_order_id in self._ours:
            if known.filled < known.order.quantity:
                self._end(known, at_ns, REDUCED)
            else:
                del self._ours[known.order.client_order_id]
                self._reports.remember(known)

    def _cut_excess(self, at_ns: int) -> None:
        for name, stays in self.account.excess():
            if stays > 0:
                self.account.cut(name, stays)
                self.book.cut(name, stays)
            else:
                self._end(self._ours[name], at_ns, REDUCED)

    def _leaves(self, known: VenueOrder) -> int:
        entry = self.account.open_orders.get(known.order.client_order_id)
        return 0 if entry is None else entry.leaves

    def _end(self, known: VenueOrder, at_ns: int, reason: str, kind: ReportKind = ReportKind.EXPIRED) -> None:
        name = known.order.client_order_id
        if name in self.account.open_orders:
            self.account.close(name)
        self.book.cut(name, 0)
        del self._ours[name]
        self._reports.remember(known, self._reports.tell(at_ns, kind, known, reason))

    def _known(self, order: PlaceOrder) -> VenueOrder:
        self._n_orders += 1
        return VenueOrder(order, self._n_orders)
