"""How a position is entered: which order, how long it rests, and whether the rest is taken.

On futures an entry rests at its own best price, post-only, for `rest_ns`. Then it is withdrawn; once the
withdrawal is confirmed, what is left is taken, once and only if the cost still allows a taker. A post-only
order that could not rest asks the same question at once. On spot an entry takes at the other best price; what
it left is taken once more if what was bought would be too small to live.

Bad news withdraws a resting entry for good: a broken or stale book, a halt, a closed side, an opposite whale
or imbalance. Nothing is entered afterwards; what was filled is led to its end by `engine.risk.exits`.
"""

import math
from typing import Final

from engine.config import DeskSettings
from engine.instruments import Instrument
from engine.orders import Intent, OrderKind, OrderLife, OrderState, Purpose, Wish, Withdraw
from engine.risk.intents import draft
from engine.risk.plan import DeskView, Plan, PlanStage, is_done
from engine.risk.positions import Position
from engine.signals import MarketKind, Side, Signal

# Members read at every decision: a name of the room is read six times as fast as one of an enum's class.
SPOT: Final = MarketKind.SPOT
BUY: Final = Side.BUY
ENTRY: Final = Purpose.ENTRY
LIMIT: Final = OrderKind.LIMIT
GTX: Final = OrderLife.GTX
IOC: Final = OrderLife.IOC
ENTERING: Final = PlanStage.ENTERING
WITHDRAWING: Final = PlanStage.WITHDRAWING
HOLDING: Final = PlanStage.HOLDING
EXITING: Final = PlanStage.EXITING
OVER: Final = PlanStage.OVER
LEAST_NOTIONALS: Final = 5  # an entry is at least this many times the venue's least notional
LIVING_NOTIONALS: Final = 3  # below this many a position on spot is completed or sold
CANCELLABLE: Final = (OrderState.IN_FLIGHT, OrderState.OPEN)


def draft_entry(
    signal: Signal, market: DeskView, instrument: Instrument, *, plan: int, size: float, now_ns: int
) -> Intent:
    """Turn a signal into the first order of its plan.

    Parameters
    ----------
    plan
        Number the plan will have.
    size
        Factor of the operator, 0 to 1.
    now_ns
        Corridor time of the decision.

    Returns
    -------
    Intent
        Its quantity is 0 if the size is below one step, or the price unknown.
    """
    side = signal.side
    is_resting = instrument.kind is not SPOT
    price = market.best_bid if (side is BUY) == is_resting else market.best_ask
    return draft(
        market,
        instrument,
        purpose=ENTRY,
        strategy=signal.strategy,
        plan=plan,
        side=side,
        kind=LIMIT,
        life=GTX if is_resting else IOC,
        price=price,
        quantity=_quantity(instrument, signal.notional_quote * size, price),
        recv_ns=signal.recv_ns,
        now_ns=now_ns,
        signal=signal,
    )


def is_large_enough(instrument: Instrument, price: int, quantity: int, multiple: int) -> bool:
    """Whether the notional is at least `multiple` times the venue's least."""
    return price * quantity >= least_notional(instrument, multiple)


def least_notional(instrument: Instrument, multiple: int) -> int:
    """Return `multiple` times the venue's least notional as a product of price and quantity units."""
    scale = int(10 ** (instrument.price_digits + instrument.quantity_digits))
    return math.ceil(instrument.min_notional * (multiple * scale))


def taker_cost_bps(
    market: DeskView, instrument: Instrument, side: Side, quantity: int, taker_bps: float
) -> float:
    """Return what taking now and leaving as a taker costs, in bps; NaN if the book is too thin to tell.

    Notes
    -----
    Both fees, the whole spread, and the walk of the book both ways for this quantity.
    """
    notional = market.mid * quantity * 10.0**-instrument.quantity_digits
    if not notional > 0.0:
        return math.nan
    walks = market.walk_bps(side, notional) + market.walk_bps(-side, notional)
    return 2.0 * taker_bps + market.spread_bps + walks


def may_take(
    plan: Plan, market: DeskView, settings: DeskSettings, quantity: int, *, is_book_stale: bool
) -> bool:
    """Whether what is left may be taken: a living book, and twice the taker's cost in what it can bring."""
    if not market.is_valid or is_book_stale:
        return False
    if not plan.is_cost_gated:
        return True
    cost_bps = taker_cost_bps(market, plan.instrument, plan.side, quantity, settings.taker_bps)
    return 2.0 * cost_bps <= plan.supported_bps


def entry_wishes(
    plan: Plan,
    position: Position,
    market: DeskView,
    settings: DeskSettings,
    now_ns: int,
    *,
    is_book_stale: bool,
) -> list[Wish]:
    """Lead the entry of a plan on, as far as it can be now.

    Notes
    -----
    Asks for nothing twice: a withdrawal is sent only while its order can be cancelled, the rest is taken
    once.
    """
    order = plan.entry
    if order is None or plan.stage in (HOLDING, EXITING, OVER):
        return []
    if not is_done(order):
        if plan.stage is ENTERING and (plan.is_given_up or now_ns >= plan.rest_until_ns):
            plan.stage = WITHDRAWING
        if plan.stage is WITHDRAWING:
            reason = "given_up" if plan.is_given_up else "rest_over"
            return withdraw(order.client_order_id, order.state, plan, reason, now_ns)
        return []
    left = plan.instrument.round_quantity_down(plan.wanted - plan.entered)
    if _wants_the_rest(plan, position, left) and may_take(
        plan, market, settings, left, is_book_stale=is_book_stale
    ):
        plan.stage = PlanStage.TAKING
        plan.n_takes += 1
        return [_take(plan, market, left, now_ns)]
    plan.is_given_up = True
    plan.stage = HOLDING
    return []


def withdraw(client_order_id: str, state: OrderState, plan: Plan, reason: str, now_ns: int) -> list[Wish]:
    """Return the wish to cancel one order of the plan, or nothing while it cannot be cancelled."""
    if state not in CANCELLABLE:
        return []
    index = plan.instrument.index
    return [Withdraw(client_order_id=client_order_id, instrument=index, reason=reason, decide_ns=now_ns)]


def _wants_the_rest(plan: Plan, position: Position, left: int) -> bool:
    order, instrument = plan.entry, plan.instrument
    if order is None or plan.is_given_up or plan.n_takes or left <= 0:
        return False
    # Cancelled by another hand: not the moment to insist.
    if order.state is OrderState.CANCELLED and not order.is_cancel_wanted:
        return False
    if not is_large_enough(instrument, order.intent.price, left, 1):
        return False
    if order.intent.life is GTX:
        return True
    # A taker that left something over has seen the price go: only a position that cannot live is completed.
    held = abs(position.quantity)
    return plan.entered > 0 and not is_large_enough(instrument, order.intent.price, held, LIVING_NOTIONALS)


def _take(plan: Plan, market: DeskView, quantity: int, now_ns: int) -> Intent:
    return draft(
        market,
        plan.instrument,
        purpose=ENTRY,
        strategy=plan.strategy,
        plan=plan.number,
        side=plan.side,
        kind=LIMIT,
        life=IOC,
        price=market.best_ask if plan.side is BUY else market.best_bid,
        quantity=quantity,
        # The confirmed withdrawal is what completed the condition, not the frame of two seconds ago.
        recv_ns=now_ns,
        now_ns=now_ns,
        signal=plan.signal,
    )


def _quantity(instrument: Instrument, notional_quote: float, price: int) -> int:
    if price <= 0 or not 0.0 < notional_quote < math.inf:
        return 0
    money = round(notional_quote * 100_000_000)
    shift = instrument.price_digits + instrument.quantity_digits - 8
    scale = int(10 ** abs(shift))
    return instrument.round_quantity_down(money * scale // price if shift >= 0 else money // (price * scale))
