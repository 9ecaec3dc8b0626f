"""What the simulated venue tells of our orders, when it reaches us, and what it remembers of those over."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.orders import PlaceOrder, Report, ReportKind
from engine.sim.fees import Charge
from engine.sim.filters import Rejection

MAX_REMEMBERED: Final = 16_384


@dataclass(slots=True)
class VenueOrder:
    """One order of ours as the venue knows it; it is over when it is no longer kept.

    Attributes
    ----------
    book_id : in the matching; 0 while a stop waits.
    filled : quantity units.
    fills : as they were told.
    """

    order: PlaceOrder
    venue_order_id: int
    book_id: int = 0
    filled: int = 0
    fills: list[Report] = field(default_factory=list)


class Reports:
    """
    The reports on their way to us, one connection: nothing overtakes.

    Parameters
    ----------
    symbol : str
    response_ns : int
        Shortest travel; the mean is 7/16 longer.
    jitter : callable
        Draws from a standard exponential distribution.

    Notes
    -----
    Of the orders that are over the newest `MAX_REMEMBERED` are remembered with their fills and their end.
    """

    __slots__ = ("_jitter", "_last_ns", "_over", "_response_ns", "_symbol", "under_way")

    def __init__(self, symbol: str, response_ns: int, jitter: Callable[[], float]) -> None:
        self._symbol = symbol
        self._response_ns = response_ns
        self._jitter = jitter
        self._last_ns = 0
        self._over: dict[str, tuple[Report, ...]] = {}
        self.under_way: deque[Report] = deque()  # by `recv_ns`

    def tell(self, now_ns: int, kind: ReportKind, known: VenueOrder, reason: str = "") -> Report:
        """Tell what became of an order at venue time `now_ns`."""
        return self._send(
            Report(
                kind=kind,
                client_order_id=known.order.client_order_id,
                symbol=self._symbol,
                venue_order_id=known.venue_order_id,
                venue_ns=now_ns,
                filled=known.filled,
                reason=reason,
            )
        )

    def fill(
        self,
        now_ns: int,
        known: VenueOrder,
        charge: Charge,
        *,
        level: tuple[int, int],
        trade_id: int,
        is_maker: bool,
    ) -> None:
        """Tell one execution of an order, at `level` = price and quantity, and add it to what is filled."""
        known.filled += level[1]
        told = Report(
            kind=ReportKind.FILL,
            client_order_id=known.order.client_order_id,
            symbol=self._symbol,
            venue_order_id=known.venue_order_id,
            venue_ns=now_ns,
            filled=known.filled,
            trade_id=trade_id,
            price=level[0],
            quantity=level[1],
            commission=charge.amount,
            commission_asset=charge.asset,
            is_maker=is_maker,
        )
        known.fills.append(self._send(told))

    def refuse(self, now_ns: int, kind: ReportKind, client_order_id: str, rejection: Rejection) -> None:
        """Tell that a request was not followed."""
        reason = rejection.reason
        self._send(
            Report(
                kind=kind,
                client_order_id=client_order_id,
                symbol=self._symbol,
                venue_ns=now_ns,
                reason=reason,
            )
        )

    def remember(self, known: VenueOrder, *ending: Report) -> None:
        """Remember an order that is over: its fills and, unless it filled whole, how it ended."""
        self._over[known.order.client_order_id] = (*known.fills, *ending)
        if len(self._over) > MAX_REMEMBERED:
            del self._over[next(iter(self._over))]

    def forget(self, client_order_id: str) -> None:
        """Forget an order whose id is used again."""
        self._over.pop(client_order_id, None)

    def repeat(self, now_ns: int, client_order_id: str) -> bool:
        """Tell again all that is remembered of an order, with the times of then; False if nothing is."""
        told = self._over.get(client_order_id, ())
        for report in told:
            self._send(report, now_ns)
        return bool(told)

    def tell_again(self, now_ns: int, reports: Iterable[Report]) -> None:
        """Send reports as they were told once, with the times of then."""
        for report in reports:
            self._send(report, now_ns)

    def _send(self, report: Report, now_ns: int = 0) -> Report:
        travel = self._response_ns + int(self._response_ns * 7 / 16 * self._jitter())
        self._last_ns = max(self._last_ns + 1, (now_ns or report.venue_ns) + travel)
        sent = msgspec.structs.replace(report, recv_ns=self._last_ns)
        self.under_way.append(sent)
        return sent
