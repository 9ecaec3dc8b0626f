"""The simulated exchange: a crowd's market of one instrument, and one paper account that trades in it.

Everything that happens at the venue happens in the order of its times. At the same nanosecond: a snapshot
leaves, then the depth update, then a snapshot is read, then the crowd acts, then a request of ours arrives.
What a call causes is never seen inside it: requests travel, and so do reports and the market data they cause.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from engine.clock import Clock
from engine.errors import StateError
from engine.instruments import Instrument, from_exchange_info
from engine.orders import OrderKind, PlaceOrder, Report, ReportKind
from engine.signals import MarketKind, Side
from engine.sim.account import Account
from engine.sim.crowd import Crowd, endless
from engine.sim.filters import Rejection
from engine.sim.markets import CrowdSpec
from engine.sim.reports import Reports, VenueOrder
from engine.sim.requests import (
    PLACE,
    Cancel,
    Delivery,
    DeliveryKind,
    Latency,
    Malformed,
    Place,
    decode_request,
)
from engine.sim.tape import FIRST_TRADE_IDS, MS, NEVER, START_NS, Publication
from engine.sim.truth import Truth
from engine.venues.venue import SendStatus
from native.matching import MatchedEvent, MatchKind, MatchReason, OrderLife, SelfTrade
from native.resting import RestingOrders

OWNER: Final = 1
MAX_UNARRIVED: Final = 4096
FILL: Final = int(MatchKind.MATCH_FILL)
EXPIRED: Final = int(MatchKind.MATCH_EXPIRED)
IOC: Final = int(OrderLife.LIFE_IOC)
WOULD_TAKE: Final = int(MatchReason.REASON_WOULD_TAKE)
QUOTES: Final = ("USDT", "USDC", "FDUSD", "BTC")

_EXPIRY: Final = {
    int(MatchReason.REASON_NO_LIQUIDITY): "Nothing more to match within the limit.",
    int(MatchReason.REASON_SELF_TRADE): "EXPIRED_IN_MATCH",
}
_REDUCED: Final = "Reduce-only: nothing is left to reduce."
_POST_ONLY: Final = (
    "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history"
)


def exchange_info(spec: CrowdSpec) -> bytes:
    """Return the exchangeInfo answer of the venue, with the one symbol it has, in the venue's shape."""
    is_spot = spec.market == "spot"
    tick = f"{10**-spec.tick_decimals:.{spec.tick_decimals}f}" + "0" * spec.price_zeros
    step = f"{10**-spec.lot_decimals:.{spec.lot_decimals}f}" + "0" * spec.quantity_zeros
    quote = next((name for name in QUOTES if spec.symbol.endswith(name)), "")
    least: dict[str, str] = (
        {"filterType": "NOTIONAL", "minNotional": "5.00000000"}
        if is_spot
        else {"filterType": "MIN_NOTIONAL", "notional": "100"}
    )
    symbol: dict[str, object] = {
        "symbol": spec.symbol,
        "status": "TRADING",
        "baseAsset": spec.symbol.removesuffix(quote),
        "quoteAsset": quote,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": tick},
            {"filterType": "LOT_SIZE", "stepSize": step},
            least,
        ],
    }
    if is_spot:
        symbol |= {"baseAssetPrecision": 8, "quoteAssetPrecision": 8}
    else:
        symbol |= {"pricePrecision": spec.tick_decimals + 1, "quantityPrecision": spec.lot_decimals}
    return msgspec.json.encode({"timezone": "UTC", "symbols": [symbol]})


def instrument_of(spec: CrowdSpec) -> Instrument:
    """Return the instrument that `exchange_info` describes."""
    market = MarketKind.SPOT if spec.market == "spot" else MarketKind.USDM
    return from_exchange_info(exchange_info(spec), spec.symbol, market)


class Exchange:
    """
    One instrument, its crowd and one paper account; a `Transport` of the account's requests.

    Parameters
    ----------
    spec : CrowdSpec
    seed : int
        Of the crowd, its messages and all travel times.
    start_ns : int
        Venue time of the first moment.
    account : Account
        On the instrument of `spec`. Stops that wait in it wait here; nothing else may be open.
    latency : Latency
    clock : Clock
        Our time, which is the venue's too; requests leave at it. Never behind what was advanced to.
    self_trade : SelfTrade
        What becomes of an order that would meet one of ours. The venue's default on both markets.
    first_trade_id : int, optional
        If not given, one that rises with `start_ns`, so that a venue started again repeats none.
    on_truth : callable, optional
        Receives what really happens among the crowd.

    Raises
    ------
    StateError
        The account is of another instrument, or has an order that rests.

    Notes
    -----
    * A market order takes no worse than the displayed book of others fills it at its arrival, which is what
      it locks; what hides behind, it gets too. Without any other side it expires.
    * A post-only order that would take is rejected and not known afterwards: -5022, on spot -2010.
    * A stop triggers on a trade price at or beyond it and is a market order at once, before the crowd acts
      again; if it may not be placed then, it expires. One that would trigger on arrival is refused.
    * Reduce-only orders that rest are cut when the position shrinks, newest first, and expire when nothing is
      left. Within one sweep of the crowd they may follow an order that was not reduce-only, and overshoot.
    * An order that is over is asked for: its fills again, then how it ended. The oldest are forgotten in
      the end. A question or a request that cannot be read answers CANCEL_REJECTED, a placement REJECTED.

    Not simulated: rate limits, signatures, percent-price filters, funding, liquidation.

    Cost: about 0.1 ms an order with its reports and messages, 15 ms a second of the USD-M crowd.
    """

    def __init__(
        self,
        *,
        spec: CrowdSpec,
        seed: int,
        start_ns: int,
        account: Account,
        latency: Latency,
        clock: Clock,
        self_trade: SelfTrade = SelfTrade.SELF_TRADE_EXPIRE_MAKER,
        first_trade_id: int | None = None,
        on_truth: Callable[[Truth], None] | None = None,
    ) -> None:
        instrument = instrument_of(spec)
        found = replace(account.instrument, epoch=instrument.epoch, index=instrument.index)
        if found != instrument:
            raise StateError(
                f"Expected an account on {instrument}, found one on {found}.", symbol=spec.symbol
            )
        self.spec = spec
        self.account = account
        self.instrument = account.instrument
        if first_trade_id is None:
            first_trade_id = FIRST_TRADE_IDS[spec.market] + max(0, start_ns - START_NS) // MS
        self.first_trade_id = first_trade_id
        self._clock = clock
        self._latency = latency
        self._self_trade = int(self_trade)
        self._crowd = Crowd(spec, seed, start_ns, first_trade_id=first_trade_id, on_truth=on_truth)
        self._matching = self._crowd.matching
        self._book = self._crowd.book
        self._publication = Publication(self._crowd, seed, self._on_message, latency.feed_ns)
        seeds = np.random.SeedSequence([seed, 11]).spawn(2)
        self._order_jitter, response_jitter = (
            endless(np.random.Generator(np.random.PCG64(s)).standard_exponential).__next__ for s in seeds
        )
        self._now_ns = start_ns
        self._last = self._book.best_bid * self.instrument.tick
        self._low = self._high = self._last
        self._arrivals: deque[tuple[int, bytes]] = deque()
        self._market_data: deque[Delivery] = deque()
        self._reports = Reports(spec.symbol, latency.response_ns, response_jitter)
        self._ours: dict[str, VenueOrder] = {}
        self._stops: dict[str, VenueOrder] = {}
        self._by_book_id: dict[int, VenueOrder] = {}
        self._venue_order_id = max(start_ns // MS, 1)
        for name, entry in account.open_orders.items():
            if not entry.is_waiting:
                raise StateError(
                    f"Expected no resting order at the start, found {name}.", client_order_id=name
                )
            self._ours[name] = self._stops[name] = self._known(entry.order)

    @property
    def next_ns(self) -> int:
        """The earliest moment at which anything happens at the venue or reaches us."""
        due = self._venue_ns()
        if self._market_data:
            due = min(due, self._market_data[0].deliver_ns)
        if self._reports.under_way:
            due = min(due, self._reports.under_way[0].recv_ns)
        return due

    @property
    def last_price(self) -> int:
        """Price units of the latest trade; before the first, the best bid of the start."""
        return self._last

    @property
    def book(self) -> RestingOrders:
        """All that rests, in ticks and lots; others only read it. Ours have owner `OWNER`."""
        return self._book

    @property
    def reports_under_way(self) -> tuple[Report, ...]:
        """What was told and has not reached us yet."""
        return tuple(self._reports.under_way)

    def tell_again(self, reports: Iterable[Report]) -> None:
        """Let reports of before a restart travel to us once more, from now on."""
        self._reports.tell_again(self._now_ns, reports)

    def exchange_info(self) -> bytes:
        """Return the exchangeInfo answer: `engine.instruments.from_exchange_info` makes the instrument."""
        return exchange_info(self.spec)

    def send(self, request: bytes) -> SendStatus:
        """Let a request travel; it arrives later, never before one sent earlier."""
        if len(self._arrivals) >= MAX_UNARRIVED:
            return SendStatus.SOCKET_BACKED_UP
        self._arrivals.append((self._arrival_ns(), request))
        return SendStatus.SENT

    def request_snapshot(self) -> None:
        """Ask for a depth snapshot; it is read when the question arrives and comes between the frames."""
        at_ns = self._clock.now_ns() + self._latency.order_ns
        self._publication.ask_snapshot(max(at_ns, self._now_ns))

    def advance(self, now_ns: int) -> None:
        """Let everything happen at the venue that happens up to and including `now_ns`."""
        publication, crowd, arrivals = self._publication, self._crowd, self._arrivals
        while True:
            moment = self._venue_ns()
            if moment > now_ns:
                break
            self._now_ns = moment
            if moment == publication.answer_ns:
                publication.answer()
            elif moment == publication.next_ns:
                publication.publish()
            elif moment == crowd.next_ns:
                crowd.act()
                self._settle()
            else:
                self._apply(arrivals.popleft()[1])
        self._now_ns = max(self._now_ns, now_ns)

    def take(self, now_ns: int) -> list[Delivery]:
        """Return what has reached us up to and including `now_ns`, in that order; market data before reports.

        Only what the venue was advanced to is there.
        """
        found: list[Delivery] = []
        data, reports = self._market_data, self._reports.under_way
        while True:
            data_ns = data[0].deliver_ns if data else NEVER
            report_ns = reports[0].recv_ns if reports else NEVER
            if min(data_ns, report_ns) > now_ns:
                return found
            if data_ns <= report_ns:
                found.append(data.popleft())
            else:
                found.append(Delivery(report_ns, DeliveryKind.REPORT, reports.popleft()))

    def _venue_ns(self) -> int:
        publication = self._publication
        due = min(publication.answer_ns, publication.next_ns, self._crowd.next_ns)
        return min(due, self._arrivals[0][0]) if self._arrivals else due

    def _arrival_ns(self) -> int:
        order_ns = self._latency.order_ns
        arrival = self._clock.now_ns() + order_ns + int(order_ns * 7 / 16 * self._order_jitter())
        earliest = self._arrivals[-1][0] if self._arrivals else self._now_ns
        return max(arrival, earliest)

    def _on_message(self, recv_ns: int, text: str, is_snapshot: bool) -> None:
        kind = DeliveryKind.SNAPSHOT if is_snapshot else DeliveryKind.FRAME
        self._market_data.append(Delivery(recv_ns, kind, text.encode()))

    def _apply(self, body: bytes) -> None:
        request = decode_request(body, self.instrument)
        if isinstance(request, Place):
            self._place(request.order)
        elif isinstance(request, Cancel):
            self._cancel(request.client_order_id)
        elif isinstance(request, Malformed):
            kind = ReportKind.REJECTED if request.method in (PLACE, "") else ReportKind.CANCEL_REJECTED
            self._refuse(kind, request.client_order_id, request.rejection)
        else:
            self._answer(request.client_order_id)

    def _place(self, order: PlaceOrder) -> None:
        is_stop = order.kind is OrderKind.STOP_MARKET
        worst = self._worst(order) if order.kind is OrderKind.MARKET else order.price
        quantity = self.account.review(order, mark=self._last, worst=worst)
        ours = self._known(order)
        refused: Rejection | None
        if isinstance(quantity, Rejection):
            refused, quantity = quantity, 0
        elif is_stop:
            refused = self._refused_stop(order)
        else:
            refused = self._match(ours, quantity, worst)
        if refused is not None:
            self._refuse(ReportKind.REJECTED, order.client_order_id, refused)
            return
        if is_stop:
            self._stops[order.client_order_id] = ours
        self.account.open(order, quantity, worst=worst)
        self._reports.forget(order.client_order_id)
        self._ours[order.client_order_id] = ours
        self._reports.tell(self._now_ns, ReportKind.ACCEPTED, ours)
        self._settle()

    def _refused_stop(self, order: PlaceOrder) -> Rejection | None:
        if not is_reached(order.side, order.price, self._last, self._last):
            return None
        if self.account.is_spot:
            return Rejection(-2010, "Stop price would trigger immediately.")
        return Rejection(-2021, "Order would immediately trigger.")

    def _match(self, ours: VenueOrder, quantity: int, worst: int) -> Rejection | None:
        order = ours.order
        is_limit = order.kind is OrderKind.LIMIT
        book_id = self._matching.apply_order(
            int(order.side),
            (order.price if is_limit else worst) // self.instrument.tick,
            quantity // self.instrument.step,
            life=int(order.life) if is_limit else IOC,
            owner=OWNER,
            self_trade=self._self_trade,
        )
        if book_id > 0:
            ours.book_id = book_id
            self._by_book_id[book_id] = ours
            return None
        if -book_id != WOULD_TAKE:
            return Rejection(-2010, "New order rejected.")
        if self.account.is_spot:
            return Rejection(-2010, "Order would immediately match and take.")
        return Rejection(-5022, _POST_ONLY)

    def _worst(self, order: PlaceOrder) -> int:
        # The last displayed price a market order needs, ours left out; the book's last if it is too thin.
        side = -int(order.side)
        mine: dict[int, int] = {}
        for ours in self._by_book_id.values():
            if ours.order.side == side:
                leaves = self.account.open_orders[ours.order.client_order_id].leaves
                mine[ours.order.price] = mine.get(ours.order.price, 0) + leaves
        worst, left = self._last, order.quantity
        for ticks, lots in self._book.depth(side):
            worst = ticks * self.instrument.tick
            left -= lots * self.instrument.step - mine.get(worst, 0)
            if left <= 0:
                break
        return worst

    def _cancel(self, name: str) -> None:
        ours = self._ours.get(name)
        if ours is None:
            self._refuse(ReportKind.CANCEL_REJECTED, name, Rejection(-2011, "Unknown order sent."))
            return
        if ours.book_id:
            self._matching.apply_cancel(ours.book_id)
        self.account.close(name)
        self._end(ReportKind.CANCELLED, ours)
        self._settle()

    def _answer(self, name: str) -> None:
        ours = self._ours.get(name)
        if ours is not None:
            self._reports.tell(self._now_ns, ReportKind.STATUS, ours)
        elif not self._reports.repeat(self._now_ns, name):
            self._refuse(ReportKind.ABSENT, name, Rejection(-2013, "Order does not exist."))

    def _settle(self) -> None:
        # The public hears of all that happened; then our orders; then what follows from that, until nothing.
        self._low = self._high = self._last
        is_over = False
        while not is_over:
            events = self._matching.drain_events()
            self._publication.tell(self._now_ns, events)
            for event in events:
                if event.kind == FILL:
                    self._on_fill(event)
                elif event.kind == EXPIRED and event.owner == OWNER:
                    self._on_expired(event)
            is_over = not (self._cut_excess() or self._trigger_stop())

    def _on_fill(self, event: MatchedEvent) -> None:
        self._last = event.price * self.instrument.tick
        self._low, self._high = min(self._low, self._last), max(self._high, self._last)
        if event.owner == OWNER:
            self._fill(self._by_book_id[event.order_id], event, is_maker=True)
        if event.taker_owner == OWNER:
            self._fill(self._by_book_id[event.taker_id], event, is_maker=False)

    def _fill(self, ours: VenueOrder, event: MatchedEvent, *, is_maker: bool) -> None:
        name = ours.order.client_order_id
        quantity = event.quantity * self.instrument.step
        charge = self.account.fill(name, self._last, quantity, is_maker=is_maker)
        self._reports.fill(
            self._now_ns,
            ours,
            charge,
            level=(self._last, quantity),
            trade_id=self.first_trade_id + event.trade - 1,
            is_maker=is_maker,
        )
        if name not in self.account.open_orders:
            if ours.filled < ours.order.quantity:
                self._end(ReportKind.EXPIRED, ours, _REDUCED)
            else:
                self._drop(ours)
                self._reports.remember(ours)

    def _on_expired(self, event: MatchedEvent) -> None:
        ours = self._by_book_id[event.order_id]
        self.account.close(ours.order.client_order_id)
        self._end(ReportKind.EXPIRED, ours, _EXPIRY.get(event.reason, "The venue is full."))

    def _cut_excess(self) -> bool:
        excess = self.account.excess()
        for name, leaves in excess:
            ours = self._ours[name]
            self.account.cut(name, leaves)
            if leaves > 0:
                self._matching.apply_reduce(ours.book_id, leaves // self.instrument.step)
            else:
                self._matching.apply_cancel(ours.book_id)
                self._end(ReportKind.EXPIRED, ours, _REDUCED)
        return bool(excess)

    def _trigger_stop(self) -> bool:
        # One at a time, the oldest first: what it does to price and position counts for the next.
        for name, ours in self._stops.items():
            if is_reached(ours.order.side, ours.order.price, self._low, self._high):
                del self._stops[name]
                worst = self._worst(ours.order)
                quantity = self.account.trigger(name, mark=self._last, worst=worst)
                refused = quantity if isinstance(quantity, Rejection) else self._match(ours, quantity, worst)
                if refused is not None:
                    if name in self.account.open_orders:
                        self.account.close(name)
                    self._end(ReportKind.EXPIRED, ours, refused.reason)
                return True
        return False

    def _known(self, order: PlaceOrder) -> VenueOrder:
        self._venue_order_id += 1
        return VenueOrder(order, self._venue_order_id)

    def _end(self, kind: ReportKind, ours: VenueOrder, reason: str = "") -> None:
        self._drop(ours)
        self._reports.remember(ours, self._reports.tell(self._now_ns, kind, ours, reason))

    def _drop(self, ours: VenueOrder) -> None:
        name = ours.order.client_order_id
        self._ours.pop(name, None)
        self._stops.pop(name, None)
        self._by_book_id.pop(ours.book_id, None)

    def _refuse(self, kind: ReportKind, name: str, rejection: Rejection) -> None:
        self._reports.refuse(self._now_ns, kind, name, rejection)


def is_reached(side: Side, trigger: int, low: int, high: int) -> bool:
    """Return whether a stop of `side` triggers on trades between `low` and `high`: a sell falls to it."""
    return low <= trigger if side < 0 else high >= trigger
