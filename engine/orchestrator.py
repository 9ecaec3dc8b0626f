"""From a trigger to orders: exits first, then what the strategies propose; one synchronous chain."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.clock import Clock
from engine.errors import StateError
from engine.execution.executor import Executor
from engine.facts import FactSink
from engine.orders import Approved, Change, Intent, Order, Wish
from engine.risk.desk import Desk
from engine.risk.plan import DeskView
from engine.signals import Side, Signal, Trigger, Veto
from engine.strategy import MarketView, Strategy

Outcome = Signal | Veto
Sink = Callable[[Outcome], None]

# Plain ints under names of their own: reading a member of an enum costs more than the comparison.
ENTRY: Final = int(Trigger.ENTRY)
ENTRY_EXPIRED: Final = int(Trigger.ENTRY_EXPIRED)
NOTHING_PROPOSED: Final = Trigger.GAP | Trigger.STALE
# One decision carries out this many wishes at most; more is a circle, not a plan.
MAX_WISHES: Final = 64


@dataclass(frozen=True, slots=True)
class Trading:
    """The two rooms that turn wishes into orders, and where their facts go."""

    desk: Desk
    executor: Executor
    facts: FactSink


class Orchestrator:
    """Turn one trigger into outcomes and orders: nothing waits, nothing is queued.

    Parameters
    ----------
    strategies
        Asked in this order; all of one instrument.
    clock
        Corridor time: stamps `decide_ns`.
    sink
        Receives every outcome in order, before `on_trigger` returns; must not raise.
    trading
        Desk and executor; None gives signals only.
    """

    __slots__ = ("_clock", "_sink", "_strategies", "_trading", "n_disagreements")

    def __init__(
        self, strategies: Sequence[Strategy], clock: Clock, sink: Sink, trading: Trading | None = None
    ) -> None:
        self._strategies = tuple(strategies)
        self._clock = clock
        self._sink = sink
        self._trading = trading
        self.n_disagreements = 0

    def on_trigger(self, market: DeskView, mask: int) -> list[Outcome]:
        """Let the desk look after what is held, ask the strategies, and return what they concluded.

        Parameters
        ----------
        market
            Read during this call only.
        mask
            Bits of `signals.Trigger`, gathered over the frames of one read.

        Notes
        -----
        Exits and withdrawals come before entries. A broken or stale book anywhere in the read proposes
        nothing. Signals for both sides cancel each other: none of them leaves, `n_disagreements` counts it,
        vetoes still do. Of several signals for one side the most confident becomes the intent.
        """
        trading = self._trading
        if trading is not None:
            self.perform(trading.desk.on_trigger(market, mask), market)
        outcomes = self._concluded(market, mask)
        if trading is not None and outcomes:
            best = _most_confident(outcomes)
            if best is not None:
                self._enter(best, market, trading)
        for found in outcomes:
            self._sink(found)
        return outcomes

    def on_change(self, change: Change, market: DeskView) -> None:
        """Let the desk take a change of one of our orders, and do what it wishes then."""
        if self._trading is not None:
            self.perform(self._trading.desk.on_change(change, market), market)

    def perform(self, wishes: Sequence[Wish], market: DeskView) -> None:
        """Carry out the desk's wishes, and those that come of them, in their order.

        Raises
        ------
        StateError
            If they do not come to an end.
        """
        trading = self._trading
        if trading is None or not wishes:
            return
        desk, executor = trading.desk, trading.executor
        todo = deque(wishes)
        n_done = 0
        while todo:
            n_done += 1
            if n_done > MAX_WISHES:
                raise StateError(f"Expected at most {MAX_WISHES} wishes in one decision, found more.")
            wish = todo.popleft()
            if isinstance(wish, Intent):
                self._send(wish, market, trading)
                continue
            change = executor.cancel(wish, self._clock.now_ns())
            if change is not None:
                todo.extend(desk.on_change(change, market))

    def _concluded(self, market: MarketView, mask: int) -> list[Outcome]:
        if mask & ENTRY_EXPIRED:
            for strategy in self._strategies:
                strategy.on_expired(market)
        if not mask & ENTRY or mask & NOTHING_PROPOSED:
            return []
        decide_ns = self._clock.now_ns()
        outcomes: list[Outcome] = []
        for strategy in self._strategies:
            found = strategy.propose(market)
            if found is not None:
                outcomes.append(_stamped(found, decide_ns))
        if len(outcomes) > 1 and {Side.BUY, Side.SELL} <= _sides(outcomes):
            self.n_disagreements += 1
            return [found for found in outcomes if isinstance(found, Veto)]
        return outcomes

    def _enter(self, signal: Signal, market: DeskView, trading: Trading) -> None:
        intent = trading.desk.intend(signal, market)
        if isinstance(intent, Intent):
            self._send(intent, market, trading)

    def _send(self, intent: Intent, market: DeskView, trading: Trading) -> None:
        verdict = trading.desk.review(intent, market)
        if not isinstance(verdict, Approved):
            return
        sent = trading.executor.submit(verdict, self._clock.now_ns())
        if isinstance(sent, Order):
            trading.desk.on_sent(sent)
        else:
            trading.desk.release(verdict)


def _sides(outcomes: list[Outcome]) -> set[Side]:
    return {found.side for found in outcomes if isinstance(found, Signal)}


def _most_confident(outcomes: list[Outcome]) -> Signal | None:
    # Of equals the first asked.
    best: Signal | None = None
    for found in outcomes:
        if isinstance(found, Signal) and (best is None or found.confidence > best.confidence):
            best = found
    return best


def _stamped(outcome: Outcome, decide_ns: int) -> Outcome:
    # A strategy that stamps the market's own time is right already: the copy would cost a microsecond.
    if isinstance(outcome, Veto):
        if outcome.signal.decide_ns == decide_ns:
            return outcome
        signal = msgspec.structs.replace(outcome.signal, decide_ns=decide_ns)
        return msgspec.structs.replace(outcome, signal=signal)
    if outcome.decide_ns == decide_ns:
        return outcome
    return msgspec.structs.replace(outcome, decide_ns=decide_ns)
