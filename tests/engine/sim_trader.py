"""One simulated exchange with our adapter on it, for tests."""

import json

import msgspec
import pytest

from engine.clock import VirtualClock
from engine.orders import (
    OrderKind,
    OrderLife,
    PlaceOrder,
    Report,
    ReportKind,
)
from engine.signals import Side
from engine.sim.account import Account, AccountState
from engine.sim.exchange import (
    Delivery,
    DeliveryKind,
    Exchange,
    Latency,
    instrument_of,
)
from engine.sim.fees import Fees
from engine.sim.markets import Market, btcusdt
from engine.sim.tape import MS, START_NS
from engine.venues.binance_orders import BinanceOrders
from engine.venues.venue import SendStatus

SECOND = 10**9
MONEY = 10**8
FEES = Fees(2, 5)
LATENCY = Latency(1_600_000, 1_500_000, 1_200_000)
BOTH = pytest.mark.parametrize("market", ["usdm", "spot"])
K = ReportKind
LIMIT, MARKET, STOP = OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP_MARKET
GTC, IOC, FOK, GTX = OrderLife.GTC, OrderLife.IOC, OrderLife.FOK, OrderLife.GTX


class Trader:
    """One exchange with our adapter on it, in virtual time; keeps all that reaches us."""

    def __init__(
        self,
        market: Market = "usdm",
        seed: int = 3,
        *,
        latency: Latency = LATENCY,
        state: AccountState | None = None,
        fees: Fees = FEES,
    ) -> None:
        spec = btcusdt(market)
        self.instrument = instrument_of(spec)
        money = {"USDT": 1_000_000 * MONEY, **({"BTC": 20 * MONEY} if market == "spot" else {})}
        if state is None:
            self.account = Account(self.instrument, fees, money)
        else:
            self.account = Account.restore(self.instrument, fees, state)
        self.clock = VirtualClock(START_NS)
        self.exchange = Exchange(
            spec=spec,
            seed=seed,
            start_ns=START_NS,
            account=self.account,
            latency=latency,
            clock=self.clock,
        )
        self.orders = BinanceOrders([self.instrument], self.exchange)
        self.deliveries: list[Delivery] = []
        self.n = 0

    @property
    def lot(self) -> int:
        """A hundredth of a coin."""
        return 10 ** (self.instrument.quantity_digits - 2)

    def touch(self, side: int) -> int:
        book = self.exchange.book
        return (book.best_bid if side > 0 else book.best_ask) * self.instrument.tick

    def place(self, side: int, price: int = 0, lots: int = 1, **changes: object) -> str:
        self.n += 1
        plain = PlaceOrder(
            client_order_id=f"r{self.n}",
            symbol="BTCUSDT",
            side=Side(side),
            kind=LIMIT if price else MARKET,
            life=GTC,
            price=price,
            quantity=lots * self.lot,
            is_reducing=False,
        )
        assert self.orders.place(msgspec.structs.replace(plain, **changes)) is SendStatus.SENT
        return plain.client_order_id

    def cancel(self, name: str) -> None:
        self.orders.cancel("BTCUSDT", name)

    def query(self, name: str) -> None:
        self.orders.query("BTCUSDT", name)

    def go(self, ms: float = 10) -> list[Report]:
        """Let time pass event by event; return the reports that came."""
        seen = len(self.deliveries)
        end_ns = self.clock.now_ns() + int(ms * MS)
        while self.exchange.next_ns <= end_ns:
            self.clock.advance_to(self.exchange.next_ns)
            self.exchange.advance(self.clock.now_ns())
            self.deliveries += self.exchange.take(self.clock.now_ns())
        self.clock.advance_to(end_ns)
        return reports(self.deliveries[seen:])

    def kinds(self, ms: float = 10) -> list[ReportKind]:
        return [report.kind for report in self.go(ms)]

    def fall(self, price: int) -> None:
        """Sell the book down to below `price` with a stranger's order."""
        self.exchange.advance(self.clock.now_ns())
        ticks = price // self.instrument.tick - 200
        self.exchange._matching.apply_order(-1, ticks, 10**7, life=int(IOC))
        self.exchange._settle()


def reports(deliveries: list[Delivery]) -> list[Report]:
    return [one.payload for one in deliveries if isinstance(one.payload, Report)]


def messages(deliveries: list[Delivery], event: str) -> list[dict]:
    decoded = [json.loads(d.payload)["data"] for d in deliveries if d.kind is DeliveryKind.FRAME]
    return [data for data in decoded if data.get("e") == event]
