"""A venue as one would tell it: requests in their order, one account, and reports that somebody else carries.

It is told what happens to a request and when; it decides only what no venue decides otherwise. Reduce-only
never turns a position, coins are sold once, an order that is over stays over, and the quantity that a report
calls filled is what was filled by then.
"""

from dataclasses import dataclass, field

import orjson

from engine.instruments import Instrument
from engine.orders import Report, ReportKind
from engine.signals import MarketKind
from engine.venues.venue import SendStatus

BPS = 10_000
LIVE, FILLED, CANCELLED, EXPIRED, REJECTED = "live", "filled", "cancelled", "expired", "rejected"
ENDS = {CANCELLED: ReportKind.CANCELLED, EXPIRED: ReportKind.EXPIRED, REJECTED: ReportKind.REJECTED}


@dataclass
class VenueOrder:
    """One order as the venue has it; `number` is its own."""

    name: str
    instrument: Instrument
    number: int
    side: int
    kind: str  # LIMIT, MARKET, STOP
    life: str  # GTX, IOC, GTC
    price: int
    quantity: int
    is_reducing: bool
    state: str = LIVE
    fills: list[Report] = field(default_factory=list)

    @property
    def filled(self) -> int:
        return sum(fill.quantity for fill in self.fills)

    @property
    def left(self) -> int:
        """What may still fill."""
        return self.quantity - self.filled if self.state == LIVE else 0


def read_order(request: dict, instruments: dict[str, Instrument], number: int = 0) -> VenueOrder:
    """Read the request of a new order."""
    terms = request["params"]
    instrument = instruments[terms["symbol"]]
    kind = terms["type"].removesuffix("_MARKET").removesuffix("_LOSS")
    side = {"BUY": 1, "SELL": -1}[terms["side"]]
    is_spot = instrument.kind is MarketKind.SPOT
    assert not (is_spot and "reduceOnly" in terms)
    assert terms["newClientOrderId"] == request["id"]
    return VenueOrder(
        name=terms["newClientOrderId"],
        instrument=instrument,
        number=number,
        side=side,
        kind=kind,
        life=terms.get("timeInForce", "GTC" if kind == "STOP" else "IOC"),
        price=instrument.price_units(terms.get("price", terms.get("stopPrice", "0"))),
        quantity=instrument.quantity_units(terms["quantity"]),
        is_reducing=side < 0 if is_spot else "reduceOnly" in terms,
    )


class SlowVenue:
    """Orders, positions and money of one account.

    Attributes
    ----------
    status : what becomes of bytes handed over now.
    requests : on their way to the venue, oldest first; nothing overtakes.
    reports : on their way from it; whoever carries them may do so in any order, twice or not at all.
    quotes : best bid and ask by symbol, price units.
    held : signed position, or coins above those at the start, quantity units.
    cash : what sales brought less what purchases took, price units x quantity units.
    fees : in the quote asset, 10^-8.
    n_insufficient : sales of coins that were not there.
    """

    def __init__(self, instruments: tuple[Instrument, ...], quotes: dict[str, tuple[int, int]]) -> None:
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.quotes = quotes
        self.status = SendStatus.SENT
        self.requests: list[dict] = []
        self.reports: list[Report] = []
        self.orders: dict[str, VenueOrder] = {}
        self.held = dict.fromkeys(self.instruments, 0)
        self.cash = dict.fromkeys(self.instruments, 0)
        self.fees = dict.fromkeys(self.instruments, 0)
        self.prices: dict[str, set[int]] = {symbol: set() for symbol in self.instruments}
        self.is_fee_in_base = False
        self.n_insufficient = 0
        self.now_ns = 0
        self._n_trades = 0

    def send(self, request: bytes) -> SendStatus:
        if self.status is SendStatus.SENT:
            self.requests.append(orjson.loads(request))
        return self.status

    # What the worst would be

    def on_the_way(self, symbol: str) -> list[VenueOrder]:
        """Orders that were sent and have not arrived."""
        return [
            order
            for request in self.requests
            if request["method"] == "order.place"
            and (order := read_order(request, self.instruments)).instrument.symbol == symbol
        ]

    def live(self, symbol: str) -> list[VenueOrder]:
        return [o for o in self.orders.values() if o.state == LIVE and o.instrument.symbol == symbol]

    def worst(self, symbol: str) -> int:
        """Largest position in either direction if every order that enters fills."""
        entering = [o for o in self.live(symbol) + self.on_the_way(symbol) if not o.is_reducing]
        held = self.held[symbol]
        return max(abs(held + side * sum(o.left for o in entering if o.side == side)) for side in (1, -1))

    # What happens

    def take_request(self, *, is_lost: bool = False, is_refused: bool = False, percent: int = 100) -> None:
        """Let the oldest request arrive, or never; what takes fills `percent` of what it could, in parts."""
        request = self.requests.pop(0)
        if is_lost:
            return
        if request["method"] == "order.place":
            self._place(request, is_refused=is_refused, percent=percent)
            return
        name, symbol = request["params"]["origClientOrderId"], request["params"]["symbol"]
        order = self.orders.get(name)
        if request["method"] == "order.cancel":
            if order is None or order.state != LIVE:
                self._report(ReportKind.CANCEL_REJECTED, name, symbol)
            else:
                self.end(order, CANCELLED)
        elif order is None:
            self._report(ReportKind.ABSENT, name, symbol)
        else:
            self.tell(order)

    def tell(self, order: VenueOrder) -> None:
        """Say all that is known of an order, its fills first."""
        self.reports += order.fills
        if order.state == LIVE:
            self._report_order(ReportKind.STATUS, order)
        elif order.state in ENDS:
            self._report_order(ENDS[order.state], order)

    def trade(self, order: VenueOrder, percent: int) -> None:
        """Fill a part of what rests, at its price."""
        quantity = min(self._fillable(order), max(order.instrument.step, self._part(order, percent)))
        if quantity:
            self._fill(order, quantity, order.price, is_maker=True)

    def fire(self, order: VenueOrder, percent: int) -> None:
        """Let a stop become a market order; what it cannot fill expires."""
        self._take(order, percent)

    def end(self, order: VenueOrder, state: str) -> None:
        order.state = state
        self._report_order(ENDS[state], order)

    def _place(self, request: dict, *, is_refused: bool, percent: int) -> None:
        order = read_order(request, self.instruments, len(self.orders) + 1)
        assert order.name not in self.orders, f"{order.name} came twice"
        symbol = order.instrument.symbol
        is_spot = order.instrument.kind is MarketKind.SPOT
        bid, ask = self.quotes[symbol]
        if is_spot and order.side < 0:
            locked = sum(o.left for o in self.live(symbol) if o.side < 0)
            if order.quantity > self.held[symbol] - locked:
                self.n_insufficient += 1
                is_refused = True
        self.orders[order.name] = order
        if order.is_reducing and not is_spot and self.held[symbol] * order.side >= 0:
            is_refused = True
        if order.kind == "STOP":
            is_refused = is_refused or (bid <= order.price if order.side < 0 else ask >= order.price)
        if is_refused:
            self.end(order, REJECTED)
            return
        self._report_order(ReportKind.ACCEPTED, order)
        if order.life == "GTX":
            if ask <= order.price if order.side > 0 else bid >= order.price:
                self.end(order, EXPIRED)
        elif order.kind != "STOP":
            self._take(order, percent)

    def _take(self, order: VenueOrder, percent: int) -> None:
        bid, ask = self.quotes[order.instrument.symbol]
        touch = ask if order.side > 0 else bid
        reaches = order.kind != "LIMIT" or order.side * (order.price - touch) >= 0
        quantity = min(self._fillable(order), self._part(order, percent)) if reaches else 0
        step = order.instrument.step
        first = quantity // (2 * step) * step
        for part in (first, quantity - first):
            if part:
                self._fill(order, part, touch, is_maker=False)
        if order.state == LIVE:
            self.end(order, EXPIRED)

    def _part(self, order: VenueOrder, percent: int) -> int:
        return order.instrument.round_quantity_down(order.left * percent // 100)

    def _fillable(self, order: VenueOrder) -> int:
        if not order.is_reducing:
            return order.left
        held = self.held[order.instrument.symbol]
        return min(order.left, abs(held)) if held * order.side < 0 else 0

    def _fill(self, order: VenueOrder, quantity: int, price: int, *, is_maker: bool) -> None:
        self._n_trades += 1
        instrument = order.instrument
        symbol = instrument.symbol
        in_base = instrument.kind is MarketKind.SPOT and order.side > 0 and self.is_fee_in_base
        money = instrument.quote_money(price, quantity)
        commission = quantity // 1000 if in_base else money * (2 if is_maker else 5) // BPS
        self.held[symbol] += order.side * quantity - (commission if in_base else 0)
        self.cash[symbol] -= order.side * quantity * price
        self.fees[symbol] += 0 if in_base else commission
        self.prices[symbol].add(price)
        order.fills.append(
            Report(
                kind=ReportKind.FILL,
                client_order_id=order.name,
                symbol=symbol,
                venue_order_id=order.number,
                venue_ns=self.now_ns,
                recv_ns=self.now_ns,
                filled=order.filled + quantity,
                trade_id=self._n_trades,
                price=price,
                quantity=quantity,
                commission=commission,
                commission_asset=instrument.base if in_base else instrument.quote,
                is_maker=is_maker,
            )
        )
        self.reports.append(order.fills[-1])
        if order.filled == order.quantity:
            order.state = FILLED

    def _report_order(self, kind: ReportKind, order: VenueOrder) -> None:
        symbol = order.instrument.symbol
        self._report(kind, order.name, symbol, venue_order_id=order.number, filled=order.filled)

    def _report(self, kind: ReportKind, name: str, symbol: str, **more: int) -> None:
        self.reports.append(
            Report(
                kind=kind,
                client_order_id=name,
                symbol=symbol,
                venue_ns=self.now_ns,
                recv_ns=self.now_ns,
                **more,  # type: ignore[arg-type]
            )
        )
