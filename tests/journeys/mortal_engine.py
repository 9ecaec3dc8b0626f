"""An engine that may be killed at any fact or byte: what the corridor holds and does, without a market.

The rooms are the real ones; the owner stands for everything around them.
"""

from collections.abc import Sequence
from typing import Protocol

from engine.clock import VirtualClock
from engine.execution.blotter import NEVER_NS, Blotter
from engine.execution.executor import Executor
from engine.execution.ids import OrderIds
from engine.execution.lastlook import LiveLook
from engine.facts import (
    DecisionFact,
    Fact,
    FillFact,
    InFlight,
    SessionFact,
    encode_fact,
    encode_in_flight,
)
from engine.inputs import RingKind
from engine.instruments import Instrument
from engine.orchestrator import Orchestrator, Trading
from engine.orders import Change, Wish
from engine.restart import LEFT, restore, ring_line
from engine.risk.desk import Desk
from engine.signals import MarketKind, Signal, Trigger
from engine.venues.binance_orders import BinanceOrders
from engine.venues.venue import SendStatus
from native.gate import Gate
from native.triggers import Timer
from tests.engine.desks import NS_PER_MS, NS_PER_S, DeskMarket, settings_of
from tests.oracles.venue import SlowVenue

ANSWER_NS = NS_PER_S
LIMITS = {
    "REMORA_RISK__MAX_POSITION_QUOTE": "1200",
    "REMORA_RISK__MAX_ORDER_QUOTE": "1600",
    "REMORA_RISK__MAX_GROSS_QUOTE": "1800",
    "REMORA_RISK__MAX_ORDERS_PER_S": "5",
}


class Owner(Protocol):
    """What surrounds an engine and outlives it."""

    kind: MarketKind
    instruments: tuple[Instrument, ...]
    venue: SlowVenue
    now_ns: int
    page: int  # wanted state on the control page

    def count_down(self) -> None:
        """Kill the engine here, or not."""

    def on_fact(self, fact: Fact) -> None: ...

    def on_bytes(self, request: bytes, engine: "Engine") -> None: ...


class Killed(BaseException):
    """The engine ends here, between two instructions."""


class Proposer:
    """A strategy that proposes what the machine gave it, once."""

    name = "rider"

    def __init__(self) -> None:
        self.signal: Signal | None = None

    def propose(self, _market: object) -> Signal | None:
        signal, self.signal = self.signal, None
        return signal

    def on_expired(self, _market: object) -> None:
        pass


class Engine:
    """One start of the engine: what the corridor holds, and what the corridor does, without a market."""

    def __init__(self, owner: Owner, epoch: int) -> None:
        self.owner, self.clock = owner, VirtualClock()
        self.clock.advance_to(owner.now_ns)
        kind, instruments = owner.kind, owner.instruments
        spot = kind is MarketKind.SPOT
        scale = 0.01 if spot else 0.1
        self.markets = tuple(
            DeskMarket(symbol=one.symbol, kind=kind, index=one.index, now_ns=owner.now_ns, price_scale=scale)
            for one in instruments
        )
        self.settings = settings_of(kind, **LIMITS)
        self.gate = Gate(
            instruments=len(instruments),
            max_orders_per_s=self.settings.max_orders_per_s,
            max_gross_money=self.settings.max_gross_money,
        )
        self.lines: list[bytes] = []
        self.newest: Fact | InFlight | None = None
        self.newest_decision: DecisionFact | None = None
        self.is_restoring = False
        self.is_dead = False
        self.desk = Desk(instruments=instruments, settings=self.settings, gate=self.gate, facts=self.on_fact)
        self.blotter = Blotter(instruments)
        self.executor = Executor(
            venues=[BinanceOrders(instruments, self)] * len(instruments),
            instruments=instruments,
            blotter=self.blotter,
            desk=self.desk,
            ids=OrderIds("a", epoch),
            last_look=LiveLook(
                self.clock, 250 * NS_PER_MS, lambda: owner.page, lambda _serial, _reason: None
            ),
            facts=self.on_fact,
            in_flight=self.on_in_flight,
            answer_ns=ANSWER_NS,
        )
        self.trading = Trading(self.desk, self.executor, self.on_fact)
        self.proposers = tuple(Proposer() for _ in instruments)
        self.lanes = tuple(
            Orchestrator((proposer,), self.clock, lambda _outcome: None, self.trading)
            for proposer in self.proposers
        )
        for market in self.markets:
            self.show(market)

    # What leaves it

    def count_down(self) -> None:
        """Die here if it is time to; a dead engine does nothing more, whatever it has still to clean up."""
        if self.is_dead:
            raise Killed
        try:
            self.owner.count_down()
        except Killed:
            self.is_dead = True
            raise

    def on_fact(self, fact: Fact) -> None:
        self.count_down()
        self.lines.append(encode_fact(fact))
        self.newest = fact
        if isinstance(fact, DecisionFact):
            self.newest_decision = fact
        # What a restart tells again are fills and plans that are not over.
        if not (self.is_restoring and isinstance(fact, FillFact)):
            self.owner.on_fact(fact)
        self.count_down()

    def on_in_flight(self, order: InFlight) -> None:
        self.count_down()
        self.lines.append(ring_line(RingKind.IN_FLIGHT, encode_in_flight(order)))
        self.newest = order
        self.count_down()

    def send(self, request: bytes) -> SendStatus:
        self.owner.on_bytes(request, self)
        self.count_down()
        status = self.owner.venue.send(request)
        self.count_down()
        return status

    # What reaches it, as the corridor takes it

    def begin(self, lines: Sequence[str], epoch: int) -> None:
        self.tell_session("begin", epoch, LEFT if lines else "")
        if not lines:
            return
        instruments, markets = self.owner.instruments, self.markets
        self.is_restoring = True
        wishes = restore(self.trading, lines, instruments, markets, self.clock.now_ns())
        self.is_restoring = False
        self.tell_session("restored", epoch, "")
        self.perform(wishes)
        self.rearm()

    def show(self, market: DeskMarket, *, is_valid: bool = True) -> int:
        """Let the market see the venue's quotes; returns the mask of what fired."""
        bid, ask = self.owner.venue.quotes[market.symbol]
        market.best_bid, market.best_ask, market.is_valid = bid, ask, is_valid
        market.mid = 0.5 * (bid + ask) * market.price_scale
        market.update_id += 1
        market.last_recv_ns = self.clock.now_ns()
        return Trigger.LEVEL if is_valid and market.triggers.check(bid, ask) else 0

    def advance(self, until_ns: int) -> None:
        for _ in range(5_000):
            market = min(self.markets, key=lambda one: one.triggers.next_due_ns)
            due_ns = market.triggers.next_due_ns
            if due_ns > until_ns:
                break
            self.move(due_ns)
            assert market.triggers.take_due(due_ns) == Timer.TIMER_DESK
            self.decide(market, Trigger.DUE)
        else:
            raise AssertionError("something is due for ever")
        self.move(until_ns)

    def move(self, now_ns: int) -> None:
        self.clock.advance_to(now_ns)
        self.owner.now_ns = self.owner.venue.now_ns = now_ns
        for market in self.markets:
            market.now_ns = now_ns

    def decide(self, market: DeskMarket, mask: int) -> None:
        if self.executor.next_due_ns <= market.now_ns:
            for change in self.executor.on_due(market.now_ns):
                self.apply(change)
        self.lanes[market.index].on_trigger(market, mask)
        self.rearm()

    def apply(self, change: Change) -> None:
        index = change.order.intent.instrument
        self.lanes[index].on_change(change, self.markets[index])

    def perform(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            self.lanes[wish.instrument].perform((wish,), self.markets[wish.instrument])

    def rearm(self) -> None:
        for market in self.markets:
            due_ns = min(self.desk.next_due_ns(market.index), self.executor.next_due_ns)
            if due_ns < NEVER_NS:
                market.triggers.arm_timer(Timer.TIMER_DESK, due_ns)
            else:
                market.triggers.disarm_timer(Timer.TIMER_DESK)

    def tell_session(self, event: str, epoch: int, reason: str) -> None:
        self.on_fact(
            SessionFact(
                event=event,
                instance="a",
                epoch=epoch,
                venue="oracle",
                preset="live",
                at_ns=self.clock.now_ns(),
                reason=reason,
            )
        )

    def worst(self, index: int) -> int:
        return max(abs(self.gate.worst_long(index)), abs(self.gate.worst_short(index)))
