"""How an intent is drafted from what the market shows, and how a verdict over it is written down."""

from typing import Final

from engine.facts import FACTS_VERSION, DecisionFact
from engine.instruments import Instrument, decimal_text
from engine.orders import Intent, OrderKind, OrderLife, Purpose, RefusalReason
from engine.risk.plan import DeskView
from engine.signals import Side, Signal

ENTRY: Final = Purpose.ENTRY
SIDE_NAMES: Final = {side: side.name.lower() for side in Side}
KIND_NAMES: Final = tuple(kind.name.lower() for kind in OrderKind)
LIFE_NAMES: Final = tuple(life.name.lower() for life in OrderLife)


def draft(
    market: DeskView,
    instrument: Instrument,
    *,
    purpose: Purpose,
    strategy: str,
    plan: int,
    side: Side,
    kind: OrderKind,
    life: OrderLife,
    price: int,
    quantity: int,
    recv_ns: int,
    now_ns: int,
    signal: Signal | None = None,
) -> Intent:
    """Return an intent with what the market shows now; `recv_ns` is of what completed its condition."""
    # In the order of the fields: by keyword it takes eight times as long.
    return Intent(
        purpose,
        strategy,
        instrument.symbol,
        instrument.index,
        instrument.epoch,
        plan,
        side,
        kind,
        life,
        price,
        quantity,
        purpose is not ENTRY,
        market.is_valid,
        market.book_epoch,
        market.update_id,
        market.last_trade_id,
        market.last_venue_ns,
        recv_ns,
        now_ns,
        market.best_bid,
        market.best_ask,
        signal,
    )


def decision_fact(
    intent: Intent,
    instrument: Instrument,
    *,
    reason: RefusalReason | None = None,
    serial: int = 0,
    limit: float = 0.0,
    found: float = 0.0,
) -> DecisionFact:
    """Write an intent and the verdict over it down: a reason, or the serial of the approval."""
    digits = instrument.price_digits
    price, best_bid, best_ask = intent.price, intent.best_bid, intent.best_ask
    bid_text, ask_text = decimal_text(best_bid, digits), decimal_text(best_ask, digits)
    if price == best_bid:
        price_text = bid_text
    else:
        price_text = ask_text if price == best_ask else decimal_text(price, digits)
    # In the order of the fields, see there.
    return DecisionFact(
        FACTS_VERSION,
        reason,
        limit,
        found,
        serial,
        intent.purpose,
        intent.strategy,
        intent.symbol,
        intent.plan,
        SIDE_NAMES[intent.side],
        KIND_NAMES[intent.kind],
        LIFE_NAMES[intent.life],
        price_text,
        decimal_text(intent.quantity, instrument.quantity_digits),
        intent.is_reducing,
        intent.is_valid,
        intent.instrument_epoch,
        intent.book_epoch,
        intent.update_id,
        intent.trade_id,
        intent.venue_ns,
        intent.recv_ns,
        intent.decide_ns,
        bid_text,
        ask_text,
    )
