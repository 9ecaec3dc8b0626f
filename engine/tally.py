"""What is counted of a session as its facts pass by."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from engine.facts import DecisionFact, Fact, FillFact, OrderFact, PlanFact, SessionFact
from engine.orders import Purpose

LINES: Final = 12


@dataclass(slots=True)
class Tally:
    """Counts of one session, and its last lines for a view.

    Attributes
    ----------
    approved : entering orders that the desk let through.
    filled_plans : plans with an entering fill.
    round_trips, wins : plans that are over after a fill, and those of them with a gain after fees.
    refusals : intents that the desk refused, by reason.
    """

    facts: int = 0
    orders: int = 0
    fills: int = 0
    approved: int = 0
    filled_plans: set[int] = field(default_factory=set)
    round_trips: int = 0
    wins: int = 0
    is_restoring: bool = False
    refusals: Counter[str] = field(default_factory=Counter)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))

    def take(self, fact: Fact) -> None:
        """Count one fact; what a restart takes over is not counted again, but its plans may close."""
        self.facts += 1
        if isinstance(fact, SessionFact):
            self.is_restoring = fact.event == "restoring"
        if self.is_restoring:
            if isinstance(fact, FillFact) and fact.purpose == Purpose.ENTRY:
                self.filled_plans.add(fact.plan)
            return
        if isinstance(fact, DecisionFact):
            if fact.refusal is not None:
                self.refusals[fact.refusal] += 1
                self.lines.append(f"{fact.purpose} {fact.side} refused: {fact.refusal}")
            elif fact.purpose == Purpose.ENTRY:
                self.approved += 1
        elif isinstance(fact, OrderFact):
            self.orders += fact.event == "sent"
            self.lines.append(
                f"{fact.client_order_id} {fact.purpose} {fact.side} {fact.event}: {fact.state} "
                f"{fact.filled}/{fact.quantity} at {fact.price}"
            )
        elif isinstance(fact, FillFact):
            self.fills += 1
            if fact.purpose == Purpose.ENTRY:
                self.filled_plans.add(fact.plan)
            self.lines.append(f"fill {fact.side} {fact.quantity} at {fact.price}: position {fact.position}")
        elif isinstance(fact, PlanFact) and fact.stage == "over" and fact.plan in self.filled_plans:
            self.round_trips += 1
            self.wins += fact.pnl > 0
            self.lines.append(f"closed by {fact.outcome}: {fact.pnl / 1e8:+.4f} quote")
