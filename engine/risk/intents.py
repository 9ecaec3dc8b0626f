"""How an intent is drafted from what the market shows, and how a verdict over it is written down."""

from typing import Final

from engine.facts import DecisionFact
from engine.instruments import Instrument
from engine.orders import Intent, OrderKind, OrderLife, Purpose, RefusalReason
from engine.risk.plan import DeskView
from engine.signals import Side, Signal

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
    return Intent(
        purpose=purpose,
        strategy=strategy,
        symbol=instrument.symbol,
        instrument=instrument.index,
        instrument_epoch=instrument.epoch,
        plan=plan,
        side=side,
        kind=kind,
        life=life,
        price=price,
        quantity=quantity,
        is_reducing=purpose is not Purpose.ENTRY,
        is_valid=market.is_valid,
        book_epoch=market.book_epoch,
        update_id=market.update_id,
        trade_id=market.last_trade_id,
        venue_ns=market.last_venue_ns,
        recv_ns=recv_ns,
        decide_ns=now_ns,
        best_bid=market.best_bid,
        best_ask=market.best_ask,
        signal=signal,
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
    price_text = instrument.price_text
    return DecisionFact(
        refusal=reason,
        limit=limit,
        found=found,
        serial=serial,
        purpose=intent.purpose,
        strategy=intent.strategy,
        symbol=intent.symbol,
        plan=intent.plan,
        side=SIDE_NAMES[intent.side],
        kind=KIND_NAMES[intent.kind],
        life=LIFE_NAMES[intent.life],
        price=price_text(intent.price),
        quantity=instrument.quantity_text(intent.quantity),
        is_reducing=intent.is_reducing,
        is_valid=intent.is_valid,
        instrument_epoch=intent.instrument_epoch,
        book_epoch=intent.book_epoch,
        update_id=intent.update_id,
        trade_id=intent.trade_id,
        venue_ns=intent.venue_ns,
        recv_ns=intent.recv_ns,
        decide_ns=intent.decide_ns,
        best_bid=price_text(intent.best_bid),
        best_ask=price_text(intent.best_ask),
    )
