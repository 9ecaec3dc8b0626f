"""Ask the strategies of one instrument when its market says that there is something to decide."""

from collections.abc import Callable, Sequence

import msgspec

from engine.clock import Clock
from engine.signals import Side, Signal, Trigger, Veto
from engine.strategy import MarketView, Strategy

Outcome = Signal | Veto
Sink = Callable[[Outcome], None]

NOTHING_PROPOSED = Trigger.GAP | Trigger.STALE


class Orchestrator:
    """Turn one trigger into outcomes: nothing waits, nothing is queued, the sink is called in place.

    Parameters
    ----------
    strategies
        Asked in this order.
    clock
        Stamps `decide_ns`.
    sink
        Receives every outcome in order, before `on_trigger` returns; must not raise.
    """

    __slots__ = ("_clock", "_sink", "_strategies", "n_disagreements")

    def __init__(self, strategies: Sequence[Strategy], clock: Clock, sink: Sink) -> None:
        self._strategies = tuple(strategies)
        self._clock = clock
        self._sink = sink
        self.n_disagreements = 0

    def on_trigger(self, market: MarketView, mask: int) -> list[Outcome]:
        """Ask the strategies and return what they concluded.

        Parameters
        ----------
        market
            Read during this call only.
        mask
            Bits of `signals.Trigger`, gathered over the frames of one read.

        Notes
        -----
        A broken or stale book anywhere in the read proposes nothing. Signals for both sides cancel each
        other: none of them leaves, `n_disagreements` counts it, vetoes still do.
        """
        if mask & Trigger.ENTRY_EXPIRED:
            for strategy in self._strategies:
                strategy.on_expired(market)
        if not mask & Trigger.ENTRY or mask & NOTHING_PROPOSED:
            return []
        outcomes = [found for strategy in self._strategies if (found := strategy.propose(market)) is not None]
        if {Side.BUY, Side.SELL} <= {found.side for found in outcomes if isinstance(found, Signal)}:
            self.n_disagreements += 1
            outcomes = [found for found in outcomes if isinstance(found, Veto)]
        decide_ns = self._clock.now_ns()
        outcomes = [_stamped(found, decide_ns) for found in outcomes]
        for found in outcomes:
            self._sink(found)
        return outcomes


def _stamped(outcome: Outcome, decide_ns: int) -> Outcome:
    if isinstance(outcome, Veto):
        signal = msgspec.structs.replace(outcome.signal, decide_ns=decide_ns)
        return msgspec.structs.replace(outcome, signal=signal)
    return msgspec.structs.replace(outcome, decide_ns=decide_ns)
