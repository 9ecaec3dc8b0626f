"""What a plan does next: from its stage, its orders, the position and the market, and nothing else.

The course is found anew at every step from how things stand, never from what was meant before; a report that
comes late, twice or in another order leads to the same place.
"""

from typing import Final

from engine.config import DeskSettings
from engine.orders import Change, OrderEvent, OrderState, Purpose, Wish
from engine.risk.entries import entry_wishes
from engine.risk.exits import (
    NAKED_NS,
    RETRY_NS,
    arm_levels,
    closable,
    disarm_levels,
    due_exit,
    exit_wishes,
    is_covered,
    is_imbalance_against,
    is_too_small,
    is_unprotected,
    note_peak,
    protect_wishes,
)
from engine.risk.plan import NEVER, DeskView, Plan, PlanStage, is_done
from engine.risk.positions import Position

# Members read at every decision: a name of the room is read six times as fast as one of an enum's class.
ENTERING: Final = PlanStage.ENTERING
WITHDRAWING: Final = PlanStage.WITHDRAWING
HOLDING: Final = PlanStage.HOLDING
EXITING: Final = PlanStage.EXITING
OVER: Final = PlanStage.OVER


def learn_change(plan: Plan, change: Change) -> None:
    """Let a plan learn what happened to one order of its own."""
    order, now_ns = change.order, change.at_ns
    purpose = order.intent.purpose
    if purpose is Purpose.ENTRY:
        if change.fill is not None:
            plan.entered += change.fill.quantity
        if change.event is OrderEvent.ABSENT:
            # Nobody knows why it never arrived: not the moment to insist.
            plan.is_given_up = True
    elif purpose is Purpose.HARD_STOP:
        plan.hard_stops = [stop for stop in plan.hard_stops if not is_done(stop)]
        if change.fill is not None:
            # What the stop has begun it may finish, before anything else is sent.
            plan.begin_exit(Purpose.HARD_STOP, now_ns)
            plan.exit_ns = max(plan.exit_ns, now_ns + RETRY_NS)
        elif order.state in (OrderState.REJECTED, OrderState.EXPIRED) and not plan.is_over:
            # The venue takes no stop there: most often because the price is past it.
            plan.begin_exit(Purpose.STOP, now_ns)


def learn_fill(plan: Plan, position: Position, market: DeskView, now_ns: int) -> None:
    """Set what follows from a new position; a plan that was over comes back to close it."""
    held = position.quantity * plan.side
    if not held:
        return
    if held < 0 or plan.is_over or plan.stage is EXITING:
        plan.begin_exit(Purpose.FLATTEN, now_ns)
        return
    if not plan.deadline_ns:
        plan.deadline_ns = now_ns + plan.time_stop_ns
    arm_levels(plan, position, market)


def lead(
    plan: Plan,
    position: Position,
    market: DeskView,
    settings: DeskSettings,
    *,
    now_ns: int,
    fired: int,
    has_opposite_whale: bool,
    is_book_stale: bool,
) -> list[Wish]:
    """Take a plan that is not over as far as it can go now; asks for nothing twice.

    Parameters
    ----------
    now_ns
        Corridor time.
    fired
        Slots of levels that fired since the last decision, as a bit mask.
    has_opposite_whale
        A whale of the other side opened just now.
    is_book_stale
        Nothing was heard of the book for too long.
    """
    wishes: list[Wish] = []
    if plan.stage is not EXITING:
        if position.quantity:
            note_peak(plan, position, market)
            plan.naked_ns = (plan.naked_ns or now_ns) if is_unprotected(plan, position) else 0
            reason = due_exit(plan, market, fired, now_ns, has_opposite_whale=has_opposite_whale)
            if reason is not None:
                plan.begin_exit(reason, now_ns)
        elif has_opposite_whale or is_imbalance_against(plan, market):
            plan.is_given_up = True
        wishes += entry_wishes(plan, position, market, settings, now_ns, is_book_stale=is_book_stale)
    if plan.stage is HOLDING:
        if not closable(position, plan.instrument, market):
            plan.stage = EXITING
        elif is_too_small(position, plan.instrument):
            plan.begin_exit(Purpose.SCRATCH, now_ns)
    if plan.stage is EXITING:
        disarm_levels(market)
        plan.naked_ns = 0
        wishes += exit_wishes(plan, position, market, settings, now_ns, is_book_stale=is_book_stale)
        _finish(plan, position, market)
    elif position.quantity:
        wishes += protect_wishes(plan, position, market, settings, now_ns)
    plan.due_ns = _due_ns(plan, position, now_ns)
    return wishes


def _finish(plan: Plan, position: Position, market: DeskView) -> None:
    """End the plan if nothing of it is held that could be sold, and nothing works."""
    if not plan.is_entry_done or plan.has_exit_working or plan.hard_stops:
        return
    if closable(position, plan.instrument, market):
        return
    plan.residue = position.drop_residue()
    plan.stage = OVER
    plan.pnl = position.closed_money - plan.closed_before


def _due_ns(plan: Plan, position: Position, now_ns: int) -> int:
    """Return the next moment at which the plan needs a look, always after now."""
    stage = plan.stage
    if stage is OVER:
        return NEVER
    # What waits for the venue is looked at again and again: an answer that never comes is no reason to sleep.
    again_ns = now_ns + RETRY_NS
    if stage is EXITING:
        return plan.exit_ns if plan.exit_ns > now_ns else again_ns
    due_ns = NEVER
    if stage is ENTERING:
        due_ns = plan.rest_until_ns
    elif stage is WITHDRAWING:
        due_ns = again_ns
    if position.quantity:
        due_ns = min(due_ns, plan.deadline_ns)
        if plan.naked_ns:
            due_ns = min(due_ns, plan.naked_ns + NAKED_NS)
        if not is_covered(plan, plan.instrument.round_quantity_down(abs(position.quantity))):
            due_ns = min(due_ns, plan.protect_ns if plan.protect_ns > now_ns else again_ns)
    return due_ns if due_ns > now_ns else again_ns
