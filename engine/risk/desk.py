"""The risk desk: nothing becomes an order but by its approval, and what is held is led to its end by it.

Everything here is synchronous, and depends on the inputs alone: signals, markets, changes of orders,
commands, and the corridor time they carry. What is to be done is returned as wishes, each an intent or a
withdrawal; an intent comes back through `Desk.review` like any other.
"""

import math
from collections.abc import Sequence
from typing import Final

from engine.commands import Command, Verb
from engine.config import DeskSettings
from engine.control import Wanted
from engine.facts import CommandFact, FactSink, PlanFact, StateFact
from engine.instruments import Instrument
from engine.orders import (
    Approved,
    Change,
    Intent,
    Order,
    OrderEvent,
    Purpose,
    RefusalReason,
    Refused,
    Wish,
)
from engine.risk.course import lead, learn_change, learn_fill
from engine.risk.entries import LEAST_NOTIONALS, draft_entry, least_notional, withdraw
from engine.risk.exits import RETRY_NS, arm_levels
from engine.risk.intents import decision_fact
from engine.risk.plan import NEVER, DeskView, Plan, PlanStage, is_done, new_plan, restored_plan
from engine.risk.positions import Positions, fill_fact
from engine.signals import MarketKind, Side, Signal, Trigger
from native.gate import Gate, GateReason

ACTIVE, HALTED = Wanted.ACTIVE, Wanted.HALTED
# Members read at every decision: a name of the room is read six times as fast as one of an enum's class.
SPOT: Final = MarketKind.SPOT
COINM: Final = MarketKind.COINM
SELL: Final = Side.SELL
BUY: Final = Side.BUY
ENTRY: Final = Purpose.ENTRY
HARD_STOP: Final = Purpose.HARD_STOP
# What every trigger is held against, as plain ints: reading a member of an enum costs more than the test.
STALE: Final = int(Trigger.STALE)
LEVEL: Final = int(Trigger.LEVEL)
BROKEN: Final = Trigger.GAP | Trigger.STALE
WHALE_OPEN: Final = int(Trigger.WHALE_OPEN)
WANTED_NAMES: Final = tuple(state.name.lower() for state in Wanted)
LAG_TO_REFUSE, LAG_TO_HALT = 0.5, 0.9
GATE_REASONS: Final = (
    None,
    *(RefusalReason(reason.name.removeprefix("GATE_").lower()) for reason in list(GateReason)[1:]),
)
QUIET_EVENTS: Final = (OrderEvent.CANCEL_SENT, OrderEvent.TIMEOUT)


class Desk:
    """Size, judge and follow the orders of all instruments.

    Parameters
    ----------
    instruments
        By dense index.
    settings
        Limits in 10^-8 quote; of one kind of market.
    gate
        Of this desk alone; its instruments are set here.
    facts
        Receives every decision, fill, change of a plan, command and state; must not raise.

    Attributes
    ----------
    newest_serial
        Of the newest approval: only that one may be used.
    positions, plans
        By dense index; the newest plan of an instrument, over or not, None before the first.
    is_warming_up
        Set by the owner until trading starts: nothing enters while it is True.
    wanted, is_paused, sides, size
        What the engine allows itself.

    Notes
    -----
    ACTIVE < REDUCING < HALTED. Above ACTIVE resting entries are withdrawn and nothing enters; what reduces
    goes on. `set_wanted` only raises the state, the command `resume` alone lowers it. One plan per
    instrument.

    A pause keeps new orders from entering, the taking of what a resting entry left over included, and leaves
    alone what works. A symbol in a command narrows `flatten`; every other command is for all instruments.
    """

    def __init__(
        self, *, instruments: Sequence[Instrument], settings: DeskSettings, gate: Gate, facts: FactSink
    ) -> None:
        self.newest_serial = 0
        self.positions = Positions(instruments)
        self.plans: list[Plan | None] = [None] * len(instruments)
        self.is_warming_up = False
        self.wanted: int = ACTIVE
        self.is_paused = False
        self.sides = "both"
        self.size = 1.0
        self._instruments = tuple(instruments)
        self._settings = settings
        self._gate = gate
        self._facts = facts
        self._least_entry = [least_notional(instrument, LEAST_NOTIONALS) for instrument in instruments]
        self._n_plans = 0
        self._lag = 0.0
        self._stale_update: list[int | None] = [None] * len(instruments)
        for instrument in instruments:
            gate.set_instrument(
                instrument.index,
                epoch=instrument.epoch,
                tick=instrument.tick,
                step=instrument.step,
                price_digits=instrument.price_digits,
                quantity_digits=instrument.quantity_digits,
                min_notional_money=math.ceil(instrument.min_notional * 10**8),
                max_order_money=settings.max_order_money,
                max_position_money=settings.max_position_money,
                price_band_bps=settings.price_band_bps,
                is_futures=instrument.kind is not SPOT,
            )

    # From a signal to an approval

    def intend(self, signal: Signal, market: DeskView) -> Intent | Refused:
        """Turn a signal into the intent of its first order, sized and priced.

        Returns
        -------
        Intent or Refused
            Refused as TOO_SMALL below five times the venue's least notional, as BAD_PRICE if the signal does
            not say where it ends; that is written down as a decision.
        """
        self._n_plans += 1
        instrument = self._instruments[market.index]
        intent = draft_entry(
            signal, market, instrument, plan=self._n_plans, size=self.size, now_ns=signal.decide_ns
        )
        if not (
            0.0 < signal.target_bps < math.inf
            and 0.0 < signal.stop_bps < math.inf
            and signal.time_stop_ns > 0
        ):
            return self._refused(RefusalReason.BAD_PRICE, intent)
        if intent.quantity <= 0 or intent.price * intent.quantity < self._least_entry[market.index]:
            return self._refused(RefusalReason.TOO_SMALL, intent)
        return intent

    def review(self, intent: Intent, market: DeskView) -> Approved | Refused:
        """Judge one intent now, and reserve what it may fill if it is approved.

        Notes
        -----
        An intent that reduces is held to sanity only. One that enters must find the engine willing, its
        signal young, its book living and of the same epoch, no other plan on the instrument, and every limit
        kept with all that works and flies filled. A refusal is written down here, an approval by
        `write_down` once its order has left.
        """
        gate, index, is_reducing = self._gate, intent.instrument, intent.is_reducing
        reason = None if is_reducing else self._entry_refusal(intent, market)
        if reason is None:
            best_ask = market.best_ask
            verdict = gate.review(
                index,
                intent.instrument_epoch,
                intent.side,
                intent.kind,
                intent.price,
                intent.quantity,
                is_reducing,
                intent.decide_ns,
                market.best_bid,
                best_ask,
                market.is_valid,
            )
            if not verdict:
                if not is_reducing:
                    gate.mark(index, max(intent.price, best_ask))
                    gate.note_order(intent.decide_ns)
                if self._is_counted(intent):
                    gate.reserve(index, intent.side, intent.quantity, is_reducing)
                self.newest_serial = serial = self.newest_serial + 1
                return Approved(serial, intent, intent.quantity)
            reason = GATE_REASONS[verdict] or RefusalReason.NOT_APPROVED
        self._forget(intent)
        return self._refused(reason, intent)

    def write_down(self, approved: Approved) -> None:
        """Write the `DecisionFact` of an approval."""
        intent = approved.intent
        self._facts(decision_fact(intent, self._instruments[intent.instrument], serial=approved.serial))

    def release(self, approved: Approved) -> None:
        """Take back the reservation of an approval that became no order."""
        intent = approved.intent
        if self._is_counted(intent):
            self._gate.release(intent.instrument, intent.side, approved.quantity, intent.is_reducing)
        self._forget(intent)

    def on_sent(self, order: Order) -> None:
        """Learn the order that an approval became; an entry of a new number begins a plan."""
        intent = order.intent
        index = intent.instrument
        plan = self.plans[index]
        if plan is None or (intent.plan > plan.number and intent.purpose is ENTRY):
            position = self.positions[index]
            plan = new_plan(order, self._instruments[index], self._settings.rest_ns, position.closed_money)
            self.plans[index] = plan
            plan.due_ns = plan.rest_until_ns
        else:
            plan.learn(order)
        self._tell_plan(plan, order.sent_ns)

    # What happens to orders and markets

    def on_change(self, change: Change, market: DeskView) -> list[Wish]:
        """Follow an order of ours: leaves, position, plan; returns what is to be done next."""
        order, now_ns = change.order, change.at_ns
        intent, fill = order.intent, change.fill
        index = intent.instrument
        self._move_leaves(intent, change.leaves_after - change.leaves_before)
        if fill is not None:
            self._apply_fill(change)
        plan = self.plans[index]
        if plan is None or (fill is None and (change.event in QUIET_EVENTS or intent.plan != plan.number)):
            return []
        if intent.plan == plan.number:
            learn_change(plan, change)
        if fill is not None:
            learn_fill(plan, self.positions[index], market, now_ns)
        return self._lead(plan, market, now_ns)

    def on_trigger(self, market: DeskView, mask: int) -> list[Wish]:
        """Judge what is held and what works on this market; before any strategy is asked."""
        index = market.index
        if mask & STALE:
            self._stale_update[index] = market.update_id
        if market.is_valid and market.best_ask > 0:
            self._gate.mark(index, market.best_ask)
        fired = market.triggers.take_fired() if mask & LEVEL else 0
        plan = self.plans[index]
        if plan is None or plan.is_over:
            return []
        if mask & BROKEN:
            plan.is_given_up = True
        is_opposed = bool(mask & WHALE_OPEN) and market.whale.episode_side == -plan.side
        return self._lead(plan, market, market.now_ns, fired=fired, has_opposite_whale=is_opposed)

    def next_due_ns(self, index: int) -> int:
        """Return when the plan of an instrument must be looked at again; 2^63 - 1 if never."""
        plan = self.plans[index]
        return NEVER if plan is None else plan.due_ns

    # What the engine allows itself

    def on_command(self, command: Command, markets: Sequence[DeskView], now_ns: int) -> list[Wish]:
        """Apply a command of the operator.

        `stop` halts, and with the argument "flatten" closes what is held; `status` changes nothing.
        """
        verb, argument = command.verb, command.argument
        self._facts(CommandFact(verb=verb, argument=argument, symbol=command.symbol, at_ns=now_ns))
        wishes: list[Wish] = []
        if verb in (Verb.HALT, Verb.STOP):
            wishes += self.set_wanted(HALTED, verb, now_ns)
        elif verb is Verb.RESUME:
            self._set_state(now_ns, verb, wanted=ACTIVE, is_paused=False)
        elif verb is Verb.PAUSE:
            self._set_state(now_ns, verb, is_paused=True)
        elif verb is Verb.SIDE:
            self._set_state(now_ns, verb, sides=argument)
            for plan in self._unfinished():
                if not self._is_open(plan.side):
                    wishes += self._give_up(plan, now_ns)
        elif verb is Verb.SIZE:
            self._set_state(now_ns, verb, size=float(argument))
        if verb is Verb.FLATTEN or (verb is Verb.STOP and argument == "flatten"):
            for plan in self._unfinished():
                if command.symbol in ("", plan.instrument.symbol):
                    plan.begin_exit(Purpose.FLATTEN, now_ns)
                    wishes += self._lead(plan, markets[plan.instrument.index], now_ns)
        return wishes

    def set_wanted(self, state: int, reason: str, now_ns: int) -> list[Wish]:
        """Raise the wanted state, one of `Wanted`; a lower one is not heard."""
        if state <= self.wanted:
            return []
        self._set_state(now_ns, reason, wanted=state)
        return [wish for plan in self._unfinished() for wish in self._give_up(plan, now_ns)]

    def set_facts_lag(self, share: float, now_ns: int) -> list[Wish]:
        """Say how far the slowest durable reader of the facts is behind, as a share of the ring.

        From 0.5 nothing enters, from 0.9 the engine is HALTED.
        """
        self._lag = share
        return self.set_wanted(HALTED, "facts_lag", now_ns) if share >= LAG_TO_HALT else []

    def adopt(self, fact: PlanFact, orders: list[Order], market: DeskView, now_ns: int) -> list[Wish]:
        """Go on with a plan of before a restart, after all fills were given to `Positions.restore_fill`.

        Parameters
        ----------
        fact
            The newest of the plan.
        orders
            Of the plan as they are known now, oldest first; what of them may still fill is reserved.
        """
        index = market.index
        position = self.positions[index]
        plan = restored_plan(fact, self._instruments[index], orders, position.closed_before(fact.plan))
        self.plans[index] = plan
        self.skip_plans(fact.plan)
        self._gate.set_position(index, position.quantity)
        if market.is_valid and market.best_ask > 0:
            self._gate.mark(index, market.best_ask)
        for order in orders:
            self._move_leaves(order.intent, order.leaves)
        if plan.is_over and (position.quantity or not all(is_done(order) for order in orders)):
            plan.begin_exit(Purpose.FLATTEN, now_ns)
        elif plan.stage is not PlanStage.EXITING and position.quantity * plan.side > 0:
            arm_levels(plan, position, market)
        return self._lead(plan, market, now_ns)

    def skip_plans(self, number: int) -> None:
        """Give no plan this number or a lower one: engines before did."""
        self._n_plans = max(self._n_plans, number)

    def _entry_refusal(self, intent: Intent, market: DeskView) -> RefusalReason | None:
        instrument = self._instruments[intent.instrument]
        index, side = intent.instrument, intent.side
        if self.wanted:
            return RefusalReason.HALTED if self.wanted == HALTED else RefusalReason.REDUCING
        if self.is_warming_up:
            return RefusalReason.WARMING_UP
        if self.is_paused:
            return RefusalReason.PAUSED
        if not self._is_open(side):
            return RefusalReason.SIDE_CLOSED
        if instrument.kind is COINM or instrument.status != "TRADING":
            return RefusalReason.NOT_TRADABLE
        if instrument.kind is SPOT and side is SELL:
            return RefusalReason.SIDE_CLOSED
        if self._lag >= LAG_TO_REFUSE:
            return RefusalReason.FACTS_LAG
        if not (intent.is_valid and market.is_valid):
            return RefusalReason.BOOK_INVALID
        if self._stale_update[index] == market.update_id:
            return RefusalReason.STALE_BOOK
        if intent.book_epoch != market.book_epoch or intent.instrument_epoch != market.instrument_epoch:
            return RefusalReason.OLD_EPOCH
        if intent.decide_ns - intent.recv_ns > self._settings.signal_age_ns:
            return RefusalReason.STALE_SIGNAL
        plan = self.plans[index]
        if plan is not None:
            is_of_plan = intent.plan == plan.number and plan.stage is PlanStage.TAKING and plan.is_entry_done
            if not is_of_plan and (not plan.is_over or intent.plan <= plan.number):
                return RefusalReason.POSITION_OPEN
        elif self.positions[index].quantity:
            return RefusalReason.POSITION_OPEN
        return None

    def _refused(self, reason: RefusalReason, intent: Intent) -> Refused:
        limit, found = self._measure(reason, intent)
        instrument = self._instruments[intent.instrument]
        self._facts(decision_fact(intent, instrument, reason=reason, limit=limit, found=found))
        return Refused(reason=reason, intent=intent, limit=limit, found=found)

    def _measure(self, reason: RefusalReason, intent: Intent) -> tuple[float, float]:
        """Return what a limit allowed and what it met, where that is one number."""
        settings, instrument = self._settings, self._instruments[intent.instrument]
        if reason is RefusalReason.STALE_SIGNAL:
            return settings.signal_age_ns, intent.decide_ns - intent.recv_ns
        if reason is RefusalReason.FACTS_LAG:
            return LAG_TO_REFUSE, self._lag
        money = instrument.quote_money(intent.price, intent.quantity)
        if reason is RefusalReason.TOO_SMALL:
            return float(instrument.min_notional), money / 1e8
        if reason is RefusalReason.ORDER_NOTIONAL:
            return settings.max_order_money / 1e8, money / 1e8
        if reason is RefusalReason.POSITION_NOTIONAL:
            worst = self._gate.worst_money(intent.instrument)
            return settings.max_position_money / 1e8, (worst + money) / 1e8
        if reason is RefusalReason.GROSS_NOTIONAL:
            return settings.max_gross_money / 1e8, (self._gate.gross_money + money) / 1e8
        if reason is RefusalReason.ORDER_RATE:
            return settings.max_orders_per_s, settings.max_orders_per_s + 1
        return 0.0, 0.0

    def _forget(self, intent: Intent) -> None:
        # An exit or a stop is tried again when its plan is due; an entry is not: its plan goes on without.
        plan = self.plans[intent.instrument]
        if plan is not None and intent.purpose is ENTRY and plan.number == intent.plan:
            plan.is_given_up = True
            plan.due_ns = min(plan.due_ns, intent.decide_ns)

    def _is_counted(self, intent: Intent) -> bool:
        """Whether the gate counts the leaves: a resting stop of futures locks nothing."""
        kind = self._instruments[intent.instrument].kind
        return intent.purpose is not HARD_STOP or kind is SPOT

    def _move_leaves(self, intent: Intent, change: int) -> None:
        if change and self._is_counted(intent):
            move = self._gate.reserve if change > 0 else self._gate.release
            move(intent.instrument, intent.side, abs(change), intent.is_reducing)

    def _apply_fill(self, change: Change) -> None:
        fill = change.fill
        if fill is None:
            return
        instrument = self._instruments[fill.instrument]
        position = self.positions.apply_fill(fill)
        self._gate.set_position(fill.instrument, position.quantity)
        self._facts(fill_fact(fill, instrument, position, change.at_ns))

    def _lead(
        self,
        plan: Plan,
        market: DeskView,
        now_ns: int,
        *,
        fired: int = 0,
        has_opposite_whale: bool = False,
    ) -> list[Wish]:
        if plan.is_over:
            return []
        index = plan.instrument.index
        position = self.positions[index]
        held = position.quantity
        wishes = lead(
            plan,
            position,
            market,
            self._settings,
            now_ns=now_ns,
            fired=fired,
            has_opposite_whale=has_opposite_whale,
            is_book_stale=self._is_stale(market),
        )
        if position.quantity != held:
            self._gate.set_position(index, position.quantity)
        self._tell_plan(plan, now_ns)
        return wishes

    def _give_up(self, plan: Plan, now_ns: int) -> list[Wish]:
        """Let the plan enter nothing more; what rests is withdrawn."""
        plan.is_given_up = True
        if plan.stage is not PlanStage.ENTERING or plan.entry is None:
            return []
        plan.stage = PlanStage.WITHDRAWING
        plan.due_ns = min(plan.due_ns, now_ns + RETRY_NS)
        self._tell_plan(plan, now_ns)
        return withdraw(plan.entry.client_order_id, plan.entry.state, plan, "given_up", now_ns)

    def _unfinished(self) -> list[Plan]:
        return [plan for plan in self.plans if plan is not None and not plan.is_over]

    def _is_open(self, side: Side) -> bool:
        return self.sides in ("both", "long-only" if side is BUY else "short-only")

    def _is_stale(self, market: DeskView) -> bool:
        return self._stale_update[market.index] == market.update_id

    def _tell_plan(self, plan: Plan, now_ns: int) -> None:
        """Write the plan down if anything but its peak or the time has changed."""
        fact = plan.news(self.positions[plan.instrument.index], now_ns)
        if fact is not None:
            self._facts(fact)

    def _set_state(
        self,
        now_ns: int,
        reason: str,
        *,
        wanted: int | None = None,
        is_paused: bool | None = None,
        sides: str | None = None,
        size: float | None = None,
    ) -> None:
        before = self.wanted, self.is_paused, self.sides, self.size
        self.wanted = self.wanted if wanted is None else wanted
        self.is_paused = self.is_paused if is_paused is None else is_paused
        self.sides = self.sides if sides is None else sides
        self.size = self.size if size is None else size
        if (self.wanted, self.is_paused, self.sides, self.size) == before:
            return
        self._gate.set_wanted(self.wanted)
        self._facts(
            StateFact(
                wanted=WANTED_NAMES[self.wanted],
                is_paused=self.is_paused,
                sides=self.sides,
                size=self.size,
                reason=reason,
                at_ns=now_ns,
            )
        )
