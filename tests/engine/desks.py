"""A desk at work: a market made by hand with real triggers, and a venue that does what the test says."""

import math
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace

from engine.commands import Command, Verb
from engine.config import DeskSettings, desk_settings, load_config
from engine.facts import Fact
from engine.instruments import Instrument
from engine.orders import (
    Approved,
    Change,
    Fill,
    Intent,
    Order,
    OrderEvent,
    OrderState,
    Refused,
    Wish,
    Withdraw,
    next_state,
)
from engine.risk.desk import Desk
from engine.signals import Action, Alignment, MarketKind, ProfileSource, Side, Signal, Trigger
from native.gate import Gate
from native.triggers import Triggers
from tests.strategies.views import FakeMarket

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
START_NS = 1_001 * NS_PER_S


def bitcoin(kind: MarketKind = MarketKind.USDM, **changes) -> Instrument:
    spot = kind is MarketKind.SPOT
    fields = {
        "symbol": "BTCUSDT",
        "kind": kind,
        "base": "BTC",
        "quote": "USDT",
        "price_digits": 2 if spot else 1,
        "quantity_digits": 8 if spot else 3,
        "tick": 1,
        "step": 1000 if spot else 1,
        "min_notional": Decimal(5),
        "contract_size": 1,
        "status": "TRADING",
    }
    return Instrument(**(fields | changes))


def settings_of(kind: MarketKind = MarketKind.USDM, **environ: str) -> DeskSettings:
    return desk_settings(load_config(None, "live", environ), kind)


@dataclass
class DeskMarket(FakeMarket):
    """All that the desk reads of a market; prices are the test's, triggers are real."""

    index: int = 0
    now_ns: int = START_NS
    last_recv_ns: int = START_NS
    best_bid: int = 999_999
    best_ask: int = 1_000_001
    price_scale: float = 0.1
    mid: float = 100_000.0
    triggers: Triggers = field(default_factory=Triggers)
    whale: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(episode_side=0))
    imbalance: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(signal_side=0))


def signal_for(market: DeskMarket, side: Side = Side.BUY, **changes) -> Signal:
    fields = {
        "strategy": "rider",
        "action": Action.ENTRY,
        "symbol": market.symbol,
        "kind": MarketKind(market.kind),
        "instrument_epoch": market.instrument_epoch,
        "book_epoch": market.book_epoch,
        "update_id": market.update_id,
        "trade_id": market.last_trade_id,
        "venue_ns": market.last_venue_ns,
        "recv_ns": market.last_recv_ns,
        "decide_ns": market.now_ns,
        "is_valid": market.is_valid,
        "side": side,
        "price": market.best_bid if side is Side.BUY else market.best_ask,
        "price_digits": round(-math.log10(market.price_scale)),
        "mid": market.mid,
        "spread_bps": market.spread_bps,
        "notional_quote": 1000.0,
        "confidence": 0.8,
        "target_bps": 40.0,
        "stop_bps": 20.0,
        "time_stop_ns": 60 * NS_PER_S,
        "cost_bps": 7.0,
        "sigma_60_bps": 20.0,
        "is_cost_gated": True,
        "episode": 1,
        "whale_notional": 400_000.0,
        "threshold": 100_000.0,
        "rho_pre": 0.1,
        "rho_post": 0.8,
        "rho_post_min": 0.7,
        "pulled_share": 0.2,
        "n_updates": 4,
        "alignment": Alignment.EDGE,
        "profile_source": ProfileSource.ROLLING,
    }
    return Signal(**(fields | changes))


class Rig:
    """A desk with what surrounds it: wishes are carried out at once, the venue answers when told to."""

    def __init__(
        self, kind: MarketKind = MarketKind.USDM, *, instrument: Instrument | None = None, **environ: str
    ) -> None:
        self.instrument = instrument or bitcoin(kind)
        spot = kind is MarketKind.SPOT
        self.market = DeskMarket(kind=kind, **(SPOT_QUOTES if spot else {}))
        self.settings = settings_of(kind, **environ)
        self.gate = Gate(
            instruments=1,
            max_orders_per_s=self.settings.max_orders_per_s,
            max_gross_money=self.settings.max_gross_money,
        )
        self.facts: list[Fact] = []
        self.desk = Desk(
            instruments=(self.instrument,), settings=self.settings, gate=self.gate, facts=self.facts.append
        )
        self.orders: list[Order] = []
        self.intents: list[Intent] = []
        self.refused: list[Refused] = []
        self.withdrawn: list[Withdraw] = []
        self.is_socket_down = False
        self.is_unanswered = False
        self._trade_id = 0

    @property
    def plan(self):
        return self.desk.plans[0]

    @property
    def position(self):
        return self.desk.positions[0]

    def working(self, *purposes: str) -> list[Order]:
        return [
            order
            for order in self.orders
            if not order.is_final and (not purposes or order.intent.purpose in purposes)
        ]

    def enter(self, side: Side = Side.BUY, **changes) -> Order | None:
        """Take a signal as far as an order; None if it was refused."""
        n_orders = len(self.orders)
        intent = self.desk.intend(signal_for(self.market, side, **changes), self.market)
        if isinstance(intent, Refused):
            self.refused.append(intent)
        else:
            self.carry([intent])
        return self.orders[-1] if len(self.orders) > n_orders else None

    def carry(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            if isinstance(wish, Withdraw):
                self.withdrawn.append(wish)
                if not self.is_socket_down:
                    order = next(
                        order for order in self.orders if order.client_order_id == wish.client_order_id
                    )
                    order.is_cancel_wanted = True
                    self.tell(order, OrderEvent.CANCEL_SENT)
                continue
            self.intents.append(wish)
            verdict = self.desk.review(wish, self.market)
            if isinstance(verdict, Refused):
                self.refused.append(verdict)
            elif self.is_socket_down:
                self.desk.release(verdict)
            else:
                self.place(verdict)

    def place(self, approved: Approved) -> Order:
        assert approved.serial == self.desk.newest_serial
        order = Order(
            client_order_id=f"ra1-{len(self.orders) + 1}",
            intent=approved.intent,
            quantity=approved.quantity,
            state=OrderState.IN_FLIGHT,
            sent_ns=self.market.now_ns,
            last_ns=self.market.now_ns,
        )
        self.orders.append(order)
        self.desk.on_sent(order)
        return order

    def tell(self, order: Order, event: OrderEvent, fill: Fill | None = None, reported: int = 0) -> None:
        """Apply one event to an order as a blotter would, and carry out what the desk wishes then."""
        before, leaves = order.state, order.leaves
        after = next_state(before, event)
        assert after is not None, (before, event)
        order.state = after
        if fill is not None:
            order.filled += fill.quantity
        order.reported_filled = max(order.reported_filled, order.filled, reported)
        change = Change(
            order=order,
            event=event,
            state_before=before,
            leaves_before=leaves,
            leaves_after=order.leaves,
            fill=fill,
            at_ns=self.market.now_ns,
        )
        self.carry(self.desk.on_change(change, self.market))

    def accept(self, order: Order) -> None:
        self.tell(order, OrderEvent.ACCEPTED)

    def fill(
        self,
        order: Order,
        quantity: int | None = None,
        price: int | None = None,
        commission: int = 0,
        asset="",
    ) -> None:
        quantity = order.quantity - order.filled if quantity is None else quantity
        self._trade_id += 1
        intent = order.intent
        touch = self.market.best_ask if intent.side is Side.BUY else self.market.best_bid
        fill = Fill(
            client_order_id=order.client_order_id,
            plan=intent.plan,
            purpose=intent.purpose,
            symbol=intent.symbol,
            instrument=intent.instrument,
            side=intent.side,
            price=touch if price is None else price,
            quantity=quantity,
            commission=commission,
            commission_asset=asset,
            is_maker=False,
            trade_id=self._trade_id,
            venue_ns=self.market.now_ns,
            recv_ns=self.market.now_ns,
        )
        is_whole = order.filled + quantity == order.quantity
        self.tell(order, OrderEvent.FILL_WHOLE if is_whole else OrderEvent.FILL_PART, fill)

    def hold(self, side: Side = Side.BUY, **changes) -> Order:
        """Enter, fill at the touch of the order, and let the venue acknowledge the stop."""
        order = self.enter(side, **changes)
        assert order is not None
        self.accept(order)
        self.fill(order, price=order.intent.price)
        for stop in self.working("hard_stop"):
            self.accept(stop)
        return order

    def quote(self, bid: int, ask: int, mask: int = 0, *, is_valid: bool = True) -> None:
        """Let the best prices change in one frame, as the market does it."""
        market = self.market
        market.best_bid, market.best_ask, market.is_valid = bid, ask, is_valid
        market.mid = 0.5 * (bid + ask) * market.price_scale
        market.update_id += 1
        market.last_recv_ns = market.now_ns
        if is_valid and market.triggers.check(bid, ask):
            mask |= Trigger.LEVEL
        if mask:
            self.trigger(mask)

    def trigger(self, mask: int) -> None:
        self.carry(self.desk.on_trigger(self.market, mask))

    def command(self, verb: str, argument: str = "", symbol: str = "") -> None:
        command = Command(verb=Verb(verb), argument=argument, symbol=symbol)
        self.carry(self.desk.on_command(command, (self.market,), self.market.now_ns))

    def advance(self, wait_ns: int) -> None:
        """Let time pass; the timer of the desk is run at each due time."""
        until_ns = self.market.now_ns + wait_ns
        for _ in range(10_000):
            due_ns = self.desk.next_due_ns(0)
            if due_ns > until_ns:
                break
            assert due_ns >= self.market.now_ns
            self.market.now_ns = due_ns
            self.trigger(Trigger.DUE)
        else:
            raise AssertionError("the desk is due for ever")
        self.market.now_ns = until_ns

    def of(self, kind: type) -> list:
        return [fact for fact in self.facts if isinstance(fact, kind)]


SPOT_QUOTES = {
    "best_bid": 9_999_999,
    "best_ask": 10_000_001,
    "price_scale": 0.01,
}
