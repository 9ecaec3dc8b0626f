"""How a position is left: what ends it, the order that closes it, and the stop at the venue.

What ends a plan, in the order in which the reason is named when several come at once: the stop at 1 R from
the average entry, the target, the time stop, an opposite whale or imbalance. Levels are armed in
`native.triggers` and fire at the first quote that satisfies them; times are due times of the corridor.
Nothing here reads a clock.

The stop is rounded towards the entry, the target and the stop at the venue away from it: no price flatters.

A book that is not valid judges nothing: no level, no imbalance. What has begun to close goes on, and the time
stop and a flatten begin all the same; without a book that can be priced (not valid, stale, one side empty)
they send MARKET, reduce-only. With one they send IOC limits through the touch, again and again until nothing
is left.
"""

import math
from typing import Final

from engine.config import DeskSettings
from engine.instruments import Instrument
from engine.orders import Intent, OrderKind, OrderLife, OrderState, Purpose, Wish
from engine.risk.entries import LIVING_NOTIONALS, is_large_enough, withdraw
from engine.risk.intents import draft
from engine.risk.plan import BPS, DeskView, Plan, away, is_done
from engine.risk.positions import Position
from engine.signals import MarketKind, Side
from native.triggers import LevelSide

RETRY_NS: Final = 100_000_000
NAKED_NS: Final = 2_000_000_000  # longer than this nothing is held without a stop at the venue
STOP_SLOT, TARGET_SLOT = 0, 1


def arm_levels(plan: Plan, position: Position, market: DeskView) -> None:
    """Compute the prices of the plan from the average entry and arm those that are new.

    Nothing is armed again at the price it has: that would forget a firing nobody has taken yet.
    """
    cost, quantity = position.entry_cost
    tick, side = plan.instrument.tick, int(plan.side)
    is_long = side > 0
    stop = away(cost, quantity, plan.stop_bps, -side, tick, is_rounded_up=is_long)
    target = away(cost, quantity, plan.target_bps, side, tick, is_rounded_up=is_long)
    if stop != plan.stop_price:
        plan.stop_price = stop
        at_or_beyond = LevelSide.LEVEL_BID_AT_OR_BELOW if is_long else LevelSide.LEVEL_ASK_AT_OR_ABOVE
        market.triggers.arm_level(STOP_SLOT, at_or_beyond, stop)
    if target != plan.target_price:
        plan.target_price = target
        at_or_beyond = LevelSide.LEVEL_BID_AT_OR_ABOVE if is_long else LevelSide.LEVEL_ASK_AT_OR_BELOW
        market.triggers.arm_level(TARGET_SLOT, at_or_beyond, target)


def disarm_levels(market: DeskView) -> None:
    """Take the levels back; nothing of them fires any more."""
    market.triggers.disarm_level(STOP_SLOT)
    market.triggers.disarm_level(TARGET_SLOT)


def passed_level(plan: Plan, market: DeskView, fired: int) -> Purpose | None:
    """Return which level has fired or is passed by the quotes now; the stop first.

    Parameters
    ----------
    fired
        Slots that fired since the last decision, as a bit mask; a quote that has gone back counts too.
    """
    quote = market.best_bid if plan.side is Side.BUY else market.best_ask
    is_quoted = market.is_valid and quote > 0
    ahead, side = quote, int(plan.side)
    if fired & 1 << STOP_SLOT or (is_quoted and side * (ahead - plan.stop_price) <= 0):
        return Purpose.STOP
    if fired & 1 << TARGET_SLOT or (is_quoted and side * (ahead - plan.target_price) >= 0):
        return Purpose.TARGET
    return None


def due_exit(
    plan: Plan, market: DeskView, fired: int, now_ns: int, *, has_opposite_whale: bool
) -> Purpose | None:
    """Return why what is held must be closed now, or None."""
    reason = passed_level(plan, market, fired)
    if reason is not None:
        return reason
    if now_ns >= plan.deadline_ns:
        return Purpose.TIME
    if has_opposite_whale or is_imbalance_against(plan, market):
        return Purpose.SCRATCH
    if plan.naked_ns and now_ns >= plan.naked_ns + NAKED_NS:
        return Purpose.FLATTEN
    return None


def is_imbalance_against(plan: Plan, market: DeskView) -> bool:
    """Whether the book has held an imbalance against the plan long enough to be a signal."""
    return market.is_valid and market.imbalance.signal_side == -plan.side


def note_peak(plan: Plan, position: Position, market: DeskView) -> None:
    """Remember the best excursion seen, by the quote at which the position could be left."""
    cost, quantity = position.entry_cost
    quote = market.best_bid if plan.side is Side.BUY else market.best_ask
    if market.is_valid and quote > 0 and cost > 0:
        average = cost / quantity
        plan.peak_bps = max(plan.peak_bps, int(plan.side) * (quote - average) / average * BPS)


def closable(position: Position, instrument: Instrument, market: DeskView) -> int:
    """Return the quantity of the position that an order could close, on the step grid.

    On spot what the venue would refuse as too small is nothing, and so is what was sold too much.
    """
    quantity = instrument.round_quantity_down(abs(position.quantity))
    if quantity and instrument.kind is MarketKind.SPOT:
        cost, fine = position.entry_cost
        price = market.best_bid if market.is_valid and market.best_bid > 0 else cost // max(fine, 1)
        if position.quantity < 0 or not is_large_enough(instrument, price, quantity, 1):
            return 0
    return quantity


def is_too_small(position: Position, instrument: Instrument) -> bool:
    """Whether a position on spot is below what may live; futures close any size."""
    if instrument.kind is not MarketKind.SPOT:
        return False
    cost, fine = position.entry_cost
    return not is_large_enough(instrument, cost // max(fine, 1), abs(position.quantity), LIVING_NOTIONALS)


def exit_limit(market: DeskView, instrument: Instrument, side: Side, settings: DeskSettings) -> int:
    """Return the limit price of a closing order of this side; 0 if only a market order will do.

    Notes
    -----
    `exit_band_bps` through the touch, rounded to the touch, but at least one tick; then within the band that
    the gate allows around mid. A spread so wide that the touch lies outside that band leaves no limit that
    fills.
    """
    bid, ask, tick = market.best_bid, market.best_ask, instrument.tick
    if not (market.is_valid and 0 < bid < ask):
        return 0
    band = math.floor(settings.price_band_bps * 1e4 + 0.5)  # as the gate counts it: 10^-8 of mid
    both, whole = bid + ask, 2 * 10**8
    if side is Side.SELL:
        through = away(bid, 1, settings.exit_band_bps, -1, tick, is_rounded_up=True)
        price = min(through, instrument.round_price_down(bid) - tick)
        price = max(price, -(-both * (10**8 - band) // (whole * tick)) * tick, tick)
        return price if price <= bid else 0
    through = away(ask, 1, settings.exit_band_bps, 1, tick, is_rounded_up=False)
    price = max(through, -(-ask // tick) * tick + tick)
    price = min(price, both * (10**8 + band) // (whole * tick) * tick)
    return price if price >= ask else 0


def exit_wishes(
    plan: Plan,
    position: Position,
    market: DeskView,
    settings: DeskSettings,
    now_ns: int,
    *,
    is_book_stale: bool,
) -> list[Wish]:
    """Lead a plan that is being closed on: withdraw what works, close what is held, one order at a time.

    Notes
    -----
    On spot a resting stop locks the coins: it is withdrawn first, and the sale waits for the confirmation. On
    futures it stays until everything else is over.
    """
    instrument = plan.instrument
    wishes: list[Wish] = []
    if plan.entry is not None and not is_done(plan.entry):
        wishes += withdraw(plan.entry.client_order_id, plan.entry.state, plan, "exit", now_ns)
    quantity = closable(position, instrument, market)
    is_locked = instrument.kind is MarketKind.SPOT and bool(plan.hard_stops)
    if is_locked or (not quantity and plan.is_entry_done and not plan.has_exit_working):
        for stop in plan.hard_stops:
            wishes += withdraw(stop.client_order_id, stop.state, plan, "exit", now_ns)
    if quantity and not is_locked and not plan.has_exit_working and now_ns >= plan.exit_ns:
        side = Side.SELL if position.quantity > 0 else Side.BUY
        price = 0 if is_book_stale else exit_limit(market, instrument, side, settings)
        if price and instrument.kind is MarketKind.SPOT:
            # A remainder that the venue takes at the touch may be too small for it further through.
            price = min(max(price, _least_price(instrument, quantity)), market.best_bid)
        wishes.append(
            _reducing(
                plan,
                market,
                _purpose(plan),
                side=side,
                price=price,
                quantity=quantity,
                now_ns=now_ns,
            )
        )
        plan.exit_ns = now_ns + RETRY_NS
    return wishes


def protect_wishes(
    plan: Plan, position: Position, market: DeskView, settings: DeskSettings, now_ns: int
) -> list[Wish]:
    """See to it that the stop at the venue covers what is held.

    Notes
    -----
    At max(`hard_stop_multiple` R, `hard_stop_min_bps`) from the average entry. A position that has grown gets
    a new one for all of it, once the one before was acknowledged: never more than one is in the air. On
    futures the new one is placed before the old is withdrawn, on spot after, as the old one locks the coins.
    """
    instrument = plan.instrument
    wishes: list[Wish] = []
    quantity = closable(position, instrument, market)
    newest = plan.hard_stops[-1] if plan.hard_stops else None
    if newest is not None and newest.state is OrderState.OPEN:
        for older in plan.hard_stops[:-1]:
            wishes += withdraw(older.client_order_id, older.state, plan, "replaced", now_ns)
    if not quantity or (newest is not None and newest.leaves >= quantity) or now_ns < plan.protect_ns:
        return wishes
    if newest is not None:
        if newest.state is not OrderState.OPEN:
            return wishes
        if instrument.kind is MarketKind.SPOT:
            return wishes + withdraw(newest.client_order_id, newest.state, plan, "replaced", now_ns)
    cost, fine = position.entry_cost
    side = int(plan.side)
    bps = max(settings.hard_stop_multiple * plan.stop_bps, settings.hard_stop_min_bps)
    plan.hard_stop_price = away(cost, fine, bps, -side, instrument.tick, is_rounded_up=side < 0)
    plan.protect_ns = now_ns + RETRY_NS
    price = plan.hard_stop_price
    wishes.append(
        _reducing(
            plan,
            market,
            Purpose.HARD_STOP,
            side=Side(-side),
            price=price,
            quantity=quantity,
            now_ns=now_ns,
        )
    )
    return wishes


def is_unprotected(plan: Plan, position: Position) -> bool:
    """Whether something is held and no stop at the venue stands acknowledged."""
    return position.quantity != 0 and not any(stop.state is OrderState.OPEN for stop in plan.hard_stops)


def is_covered(plan: Plan, quantity: int) -> bool:
    """Whether one acknowledged stop alone stands at the venue and is for this quantity or more."""
    stops = plan.hard_stops
    return len(stops) == 1 and stops[0].state is OrderState.OPEN and stops[0].leaves >= quantity


def _purpose(plan: Plan) -> Purpose:
    # What a stop at the venue leaves over is closed like any other stop.
    if plan.exit_purpose is Purpose.HARD_STOP:
        return Purpose.STOP
    return plan.exit_purpose or Purpose.FLATTEN


def _least_price(instrument: Instrument, quantity: int) -> int:
    """Return the lowest price at which this quantity is worth the venue's least notional."""
    scale = int(10 ** (instrument.price_digits + instrument.quantity_digits))
    ticks = math.ceil(instrument.min_notional * scale / (quantity * instrument.tick))
    return ticks * instrument.tick


def _reducing(
    plan: Plan, market: DeskView, purpose: Purpose, *, side: Side, price: int, quantity: int, now_ns: int
) -> Intent:
    is_stop = purpose is Purpose.HARD_STOP
    return draft(
        market,
        plan.instrument,
        purpose=purpose,
        strategy=plan.strategy,
        plan=plan.number,
        side=side,
        kind=OrderKind.STOP_MARKET if is_stop else OrderKind.LIMIT if price else OrderKind.MARKET,
        life=OrderLife.GTC if is_stop else OrderLife.IOC,
        price=price,
        quantity=quantity,
        recv_ns=market.last_recv_ns,
        now_ns=now_ns,
    )
