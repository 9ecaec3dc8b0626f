"""Put desk and executor together, and the wire that their orders leave by."""

from collections.abc import Callable, Mapping, Sequence

from engine.config import Fees, desk_settings
from engine.execution.blotter import Blotter
from engine.execution.executor import Executor
from engine.execution.ids import OrderIds
from engine.execution.lastlook import LastLook
from engine.facts import FactSink, InFlightSink
from engine.instruments import Instrument
from engine.orchestrator import Trading
from engine.risk.desk import Desk
from engine.settings import Config
from engine.venues.binance_orders import BinanceOrders
from engine.venues.venue import SendStatus, Transport
from native.gate import Gate

NS_PER_MS = 1_000_000


class OrderLine:
    """The wire from the executor to a venue that is connected later.

    Attributes
    ----------
    target : takes the requests; while it is None the line is down.
    stamp : called when bytes leave.
    on_refused : takes the number of a request, from 1, and why the target did not take it.
    n_requests : handed over so far.
    """

    __slots__ = ("n_requests", "on_refused", "stamp", "target")

    def __init__(self) -> None:
        self.target: Transport | None = None
        self.stamp: Callable[[], None] | None = None
        self.on_refused: Callable[[int, SendStatus], None] | None = None
        self.n_requests = 0

    def send(self, request: bytes) -> SendStatus:
        self.n_requests += 1
        if self.stamp is not None:
            self.stamp()
        status = SendStatus.SOCKET_DOWN if self.target is None else self.target.send(request)
        if status is not SendStatus.SENT and self.on_refused is not None:
            self.on_refused(self.n_requests, status)
        return status


class RecordedLine:
    """A wire that takes and refuses requests as one did that was recorded; nothing leaves.

    Parameters
    ----------
    refused : what was not taken, by the number of the request, from 1.
    """

    __slots__ = ("_n_requests", "_refused")

    def __init__(self, refused: Mapping[int, SendStatus]) -> None:
        self._refused = refused
        self._n_requests = 0

    def send(self, _request: bytes) -> SendStatus:
        self._n_requests += 1
        return self._refused.get(self._n_requests, SendStatus.SENT)


def open_trading(
    instruments: Sequence[Instrument],
    config: Config,
    *,
    fees: Fees,
    line: Transport,
    ids: OrderIds,
    last_look: LastLook,
    facts: FactSink,
    in_flight: InFlightSink,
) -> Trading:
    """Return a desk without positions and an executor without orders.

    Parameters
    ----------
    instruments : by their dense index.
    config : settings.
    fees : of the account.
    line : where requests leave by.
    ids : of the orders.
    last_look : judges an order at the last moment before its bytes leave.
    facts : takes every fact.
    in_flight : takes what must be known of an order before its bytes leave.
    """
    settings = desk_settings(config, instruments[0].kind, fees)
    gate = Gate(
        instruments=len(instruments),
        max_orders_per_s=settings.max_orders_per_s,
        max_gross_money=settings.max_gross_money,
    )
    desk = Desk(instruments=instruments, settings=settings, gate=gate, facts=facts)
    venue = BinanceOrders(instruments, line)
    executor = Executor(
        venues=[venue] * len(instruments),
        instruments=instruments,
        blotter=Blotter(instruments),
        desk=desk,
        ids=ids,
        last_look=last_look,
        facts=facts,
        in_flight=in_flight,
        answer_ns=config.execution.answer_ms * NS_PER_MS,
    )
    return Trading(desk, executor, facts)
