"""The life of one idea: from the order that enters to the moment when nothing of it is left at the venue."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from engine.facts import PlanFact
from engine.instruments import Instrument
from engine.orders import Order, OrderLife, Purpose
from engine.risk.positions import Position
from engine.signals import Side, Signal
from engine.strategy import MarketView
from native.triggers import Triggers

NEVER: Final = 2**63 - 1
BPS: Final = 10_000
# Distances in bps are floats of a strategy; they become integers of this fineness before they meet a price.
PARTS: Final = 10**10


class WhaleView(Protocol):
    """The last whale."""

    @property
    def episode_side(self) -> int: ...  # signals.Side of the aggressor


class ImbalanceView(Protocol):
    """The imbalance signal."""

    @property
    def signal_side(self) -> int: ...  # the heavy side of the book once it has held; 0 = none is on


class DeskView(MarketView, Protocol):
    """What the desk reads of one market, and the triggers it arms there."""

    @property
    def index(self) -> int: ...
    @property
    def triggers(self) -> Triggers: ...
    @property
    def whale(self) -> WhaleView: ...
    @property
    def imbalance(self) -> ImbalanceView: ...


class PlanStage(StrEnum):
    """How far a plan is."""

    ENTERING = "entering"  # its first order works
    WITHDRAWING = "withdrawing"  # the resting entry is taken back
    TAKING = "taking"  # the rest is taken, once
    HOLDING = "holding"  # no entry works any more
    EXITING = "exiting"  # what is held is being closed, what works is being withdrawn
    OVER = "over"


# Asked at every trigger: a name of the room is read six times as fast as one of an enum's class.
OVER: Final = PlanStage.OVER


@dataclass(slots=True, kw_only=True)
class Plan:
    """One idea on one instrument, with its orders and what they are to do.

    Attributes
    ----------
    number : from 1, per engine.
    wanted : quantity units that were to be entered.
    target_bps, stop_bps : from the average entry; the stop is 1 R.
    supported_bps : what the market can be expected to travel; NaN if nobody said.
    rest_until_ns : the resting entry is taken back then.
    deadline_ns : of the time stop; 0 before the first fill.
    exit_ns, protect_ns : no closing order, and no stop at the venue, is sent before.
    naked_ns : since when something is held without an acknowledged stop at the venue; 0 = it is not.
    entered : quantity units filled by entries.
    n_takes : orders that took what the first order left over.
    is_given_up : no further entry, whatever is left to fill.
    stop_price, target_price, hard_stop_price : price units; 0 = none.
    peak_bps : best excursion at the moments at which the desk was asked, from the average entry.
    closed_before : what the position had earned before the plan, 10^-8 quote.
    residue : what the plan left over when it ended, in fine units of the position.
    entry, exit : the newest of their kind, final or not.
    hard_stops : those that are not done with, oldest first.
    due_ns : when the plan must be looked at again, if nothing happens before.
    told, told_marks : the plan as it was written down last.
    """

    number: int
    instrument: Instrument
    strategy: str
    side: Side
    wanted: int
    target_bps: float
    stop_bps: float
    time_stop_ns: int
    supported_bps: float
    is_cost_gated: bool
    signal: Signal | None = None
    stage: PlanStage = PlanStage.ENTERING
    rest_until_ns: int = NEVER
    deadline_ns: int = 0
    exit_ns: int = 0
    protect_ns: int = 0
    naked_ns: int = 0
    entered: int = 0
    n_takes: int = 0
    is_given_up: bool = False
    exit_purpose: Purpose | None = None
    stop_price: int = 0
    target_price: int = 0
    hard_stop_price: int = 0
    peak_bps: float = 0.0
    closed_before: int = 0
    pnl: int = 0
    residue: int = 0
    due_ns: int = NEVER
    entry: Order | None = None
    exit: Order | None = None
    hard_stops: list[Order] = field(default_factory=list)
    told: PlanFact | None = field(default=None, compare=False, repr=False)
    told_marks: tuple[object, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def is_over(self) -> bool:
        return self.stage is OVER

    @property
    def is_entry_done(self) -> bool:
        """Whether no entry of the plan can fill any more."""
        return self.entry is None or is_done(self.entry)

    @property
    def has_exit_working(self) -> bool:
        return self.exit is not None and not is_done(self.exit)

    def begin_exit(self, purpose: Purpose, now_ns: int) -> None:
        """Start to close; the first reason stays the reason, and the first attempt is due now."""
        if self.exit_purpose is None:
            self.exit_purpose = purpose
            self.exit_ns = now_ns
        self.is_given_up = True
        self.stage = PlanStage.EXITING

    def learn(self, order: Order) -> None:
        """Take over an order of the plan that was just sent."""
        purpose = order.intent.purpose
        if purpose is Purpose.ENTRY:
            self.entry = order
        elif purpose is Purpose.HARD_STOP:
            self.hard_stops.append(order)
        else:
            self.exit = order

    def news(self, position: Position, now_ns: int) -> PlanFact | None:
        """Write the plan down if anything but its peak or the time has changed since this was last asked."""
        # What the fact is made of, compared before it is made: that costs a fifth of making it.
        marks = (
            self.number,
            self.stage,
            position.entry_cost,
            position.quantity,
            self.target_price,
            self.stop_price,
            self.hard_stop_price,
            self.deadline_ns,
            self.exit_purpose,
            self.pnl,
            self.residue,
        )
        if marks == self.told_marks:
            return None
        self.told_marks = marks
        fact, before = self.fact(position, now_ns), self.told
        if before is not None and _is_same(before, fact):
            return None
        self.told = fact
        return fact

    def fact(self, position: Position, now_ns: int) -> PlanFact:
        """Write the plan down as it stands."""
        instrument = self.instrument
        price = instrument.price_text
        return PlanFact(
            plan=self.number,
            symbol=instrument.symbol,
            strategy=self.strategy,
            stage=self.stage,
            side=self.side.name.lower(),
            position=instrument.quantity_text(position.quantity),
            entry_price=position.average_text,
            target=price(self.target_price) if self.target_price else "0",
            stop=price(self.stop_price) if self.stop_price else "0",
            hard_stop=price(self.hard_stop_price) if self.hard_stop_price else "0",
            deadline_ns=self.deadline_ns,
            peak_bps=self.peak_bps,
            target_bps=self.target_bps,
            stop_bps=self.stop_bps,
            outcome=(self.exit_purpose or "") if self.is_over else "",
            pnl=self.pnl,
            at_ns=now_ns,
            residue=self.residue,
        )


def _is_same(one: PlanFact, other: PlanFact) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in PlanFact.__struct_fields__
        if name not in ("at_ns", "peak_bps")
    )


def is_done(order: Order) -> bool:
    """Whether the venue is done with the order and owes no fill of it."""
    return order.is_final and not order.leaves


def new_plan(order: Order, instrument: Instrument, settings_rest_ns: int, closed_before: int) -> Plan:
    """Return the plan of an entry that was just sent.

    Parameters
    ----------
    order
        Of purpose ENTRY; its intent carries the signal.
    instrument
        Of the order.
    settings_rest_ns
        How long a resting entry rests.
    closed_before
        What the position has earned so far, 10^-8 quote.
    """
    signal = order.intent.signal
    if signal is None:
        raise ValueError(f"an entry expects a signal, found none in {order.client_order_id}")
    is_resting = order.intent.life is not OrderLife.IOC
    return Plan(
        number=order.intent.plan,
        instrument=instrument,
        strategy=signal.strategy,
        side=order.intent.side,
        wanted=order.quantity,
        target_bps=signal.target_bps,
        stop_bps=signal.stop_bps,
        time_stop_ns=signal.time_stop_ns,
        supported_bps=min(signal.target_bps, 2.0 * signal.sigma_60_bps),
        is_cost_gated=signal.is_cost_gated,
        signal=signal,
        rest_until_ns=order.sent_ns + settings_rest_ns if is_resting else NEVER,
        closed_before=closed_before,
        entry=order,
    )


def restored_plan(fact: PlanFact, instrument: Instrument, orders: list[Order], closed_before: int) -> Plan:
    """Return an unfinished plan as its newest fact tells it.

    What entered is kept and led to its end; the plan enters nothing more. Its levels are to be armed again,
    and a plan that had filled nothing has no time to hold: a fill that comes now is closed at once.

    Parameters
    ----------
    orders
        Of the plan, as they are known now, oldest first.
    """
    price = instrument.price_units
    plan = Plan(
        number=fact.plan,
        instrument=instrument,
        strategy=fact.strategy,
        side=Side[fact.side.upper()],
        wanted=0,
        target_bps=fact.target_bps,
        stop_bps=fact.stop_bps,
        time_stop_ns=0,
        supported_bps=float("nan"),
        is_cost_gated=True,
        stage=PlanStage(fact.stage),
        deadline_ns=fact.deadline_ns,
        is_given_up=True,
        hard_stop_price=price(fact.hard_stop),
        peak_bps=fact.peak_bps,
        closed_before=closed_before,
        exit_purpose=Purpose(fact.outcome) if fact.outcome else None,
        pnl=fact.pnl,
    )
    for order in orders:
        plan.learn(order)
    if plan.stage is PlanStage.EXITING:
        plan.exit_purpose = plan.exit.intent.purpose if plan.exit else Purpose.FLATTEN
    plan.hard_stops = [order for order in plan.hard_stops if not is_done(order)]
    return plan


def away(cost: int, quantity: int, bps: float, sign: int, tick: int, *, is_rounded_up: bool) -> int:
    """Return the price `bps` above (sign 1) or below (-1) an average, on the tick grid, at least one tick.

    Parameters
    ----------
    cost, quantity
        The average is their exact quotient, price units.
    """
    parts = max(0, PARTS + sign * round(bps * (PARTS // BPS)))
    numerator, denominator = cost * parts, quantity * PARTS * tick
    ticks = -(-numerator // denominator) if is_rounded_up else numerator // denominator
    return max(ticks, 1) * tick
