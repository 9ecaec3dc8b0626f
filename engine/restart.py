"""Go on where an engine that did not end left off: what its facts say is held, works, or is planned."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import InputError
from engine.facts import Fact, FillFact, OrderFact, PlanFact, SessionFact, decode_fact, encode_fact, sent_fact
from engine.inputs import RingKind
from engine.instruments import Instrument
from engine.orchestrator import Trading
from engine.orders import (
    FINAL_STATES,
    Fill,
    Intent,
    Order,
    OrderKind,
    OrderLife,
    OrderState,
    Purpose,
    Wish,
)
from engine.risk.plan import DeskView, PlanStage
from engine.signals import Side
from native.ring import RingError, RingReader

BATCH: Final = 4096
LEFT: Final = "something was left"  # why a session that begins restores


def left_by(paths: Sequence[Path], schema: int) -> tuple[str, ...]:
    """Return what the engine before left unfinished, from the newest ring that holds it whole.

    Parameters
    ----------
    paths : rings of facts, oldest first.
    schema : that they must have.

    Raises
    ------
    InputError
        A ring cannot be read.
    """
    for path in reversed(paths):
        try:
            reader = RingReader(str(path), from_start=True, schema=schema)
        except (OSError, RingError) as problem:
            raise InputError(
                f"The facts of the engine before cannot be read: {problem}; see what is held at the venue, "
                f"then remove {path}."
            ) from problem
        lines: list[bytes] = []
        while records := reader.read(BATCH):
            lines += [line for _, kind, _, payload in records if (line := ring_line(kind, payload))]
        reader.close()
        if is_whole(lines):
            return unfinished(lines)
    return ()


def ring_line(kind: int, payload: bytes) -> bytes:
    """Return the fact that a record of a ring of facts stands for; empty if it stands for none.

    An order in flight is one that was sent: its own fact, written after its bytes, follows unless the engine
    died in between.

    Raises
    ------
    InputError
        The record is of another shape.
    """
    if kind != RingKind.IN_FLIGHT:
        return payload if kind == RingKind.FACT else b""
    try:
        return encode_fact(sent_fact(payload))
    except msgspec.MsgspecError as problem:
        raise InputError(f"The facts of the engine before cannot be read: {problem}.") from problem


def is_whole(lines: Iterable[bytes]) -> bool:
    """Tell whether an engine that wrote these facts had come to hold all that it took over."""
    events: dict[str, str] = {}
    for line in lines:
        fact = _decoded(line)
        if isinstance(fact, SessionFact):
            events[fact.event] = fact.reason
    return "begin" in events and (events["begin"] != LEFT or "restored" in events)


def unfinished(lines: Iterable[bytes]) -> tuple[str, ...]:
    """Return the facts that a restart needs, oldest first; empty if everything had come to its end.

    Parameters
    ----------
    lines : payloads of a ring of facts, oldest first.

    Returns
    -------
    tuple of str
        All fills and remainders, for position and profit; the newest fact of each plan that is not over, and
        of each order that is not final or belongs to such a plan.
    """
    past: list[FillFact | PlanFact] = []
    held: dict[str, bool] = {}
    plans: dict[int, PlanFact] = {}
    orders: dict[str, OrderFact] = {}
    for line in lines:
        fact = _decoded(line)
        if isinstance(fact, FillFact):
            past.append(fact)
            held[fact.symbol] = _is_number(fact.position)
        elif isinstance(fact, PlanFact):
            plans[fact.plan] = fact
            if fact.stage == PlanStage.OVER:
                held[fact.symbol] = False
                if fact.residue:
                    past.append(fact)
        elif isinstance(fact, OrderFact):
            orders[fact.client_order_id] = fact
    open_plans = {number: fact for number, fact in plans.items() if fact.stage != PlanStage.OVER}
    working = {
        name: fact
        for name, fact in orders.items()
        if OrderState[fact.state.upper()] not in FINAL_STATES or fact.plan in open_plans
    }
    if not any(held.values()) and not open_plans and not any(_is_working(fact) for fact in working.values()):
        return ()
    facts: list[Fact] = [*past, *working.values(), *open_plans.values()]
    return tuple(encode_fact(fact).decode().rstrip("\n") for fact in facts)


def restore(
    trading: Trading,
    lines: Sequence[str],
    instruments: Sequence[Instrument],
    markets: Sequence[DeskView],
    at_ns: int,
) -> list[Wish]:
    """Give desk and blotter what was left, and return what is to be done about it.

    Orders that were not final are UNKNOWN: the venue is asked, and nothing is sent again. The engine may have
    ended between two facts of one moment: an order whose plan was not written yet gets one that only ends,
    and a fill that an order counts and that was not written is owed again. A position whose plan is lost is
    refused.

    Raises
    ------
    InputError
        The facts are of another instrument, or hold a position without a plan.
    """
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    orders: dict[str, Order] = {}
    plans: list[PlanFact] = []
    filled: Counter[str] = Counter()
    desk, blotter = trading.desk, trading.executor.blotter
    newest_plan = 0
    for line in lines:
        fact = _decoded(line.encode())
        if not isinstance(fact, FillFact | OrderFact | PlanFact):
            continue
        trading.facts(fact)
        instrument = by_symbol.get(fact.symbol)
        if instrument is None:
            raise InputError(f"The engine before traded {fact.symbol}, which this one does not.")
        newest_plan = max(newest_plan, fact.plan)
        if isinstance(fact, FillFact):
            fill = _fill(fact, instrument)
            desk.positions.restore_fill(fill)
            filled[fact.client_order_id] += fill.quantity
        elif isinstance(fact, OrderFact):
            orders[fact.client_order_id] = _order(fact, instrument, filled[fact.client_order_id], at_ns)
        elif fact.stage == PlanStage.OVER:
            desk.positions[instrument.index].drop_residue()
        else:
            plans.append(fact)
    for line in lines:
        fact = _decoded(line.encode())
        if isinstance(fact, FillFact) and fact.client_order_id in orders:
            orders[fact.client_order_id].fill_ids.add(fact.trade_id)
    for order in orders.values():
        blotter.restore(order)
    desk.skip_plans(newest_plan)
    known = {plan.plan for plan in plans}
    plans += [_lost_plan(order, at_ns) for order in orders.values() if order.intent.plan not in known]
    wishes: list[Wish] = []
    for plan in plans:
        index = by_symbol[plan.symbol].index
        its_own = [order for order in orders.values() if order.intent.plan == plan.plan]
        wishes += desk.adopt(plan, its_own, markets[index], at_ns)
    planned = {plan.symbol for plan in plans}
    for instrument in instruments:
        if desk.positions[instrument.index].quantity and instrument.symbol not in planned:
            raise InputError(
                f"The engine before held {instrument.symbol} without a plan; close it at the venue, then "
                "remove its facts."
            )
    return wishes


def _decoded(line: bytes) -> Fact:
    try:
        return decode_fact(line)
    except msgspec.MsgspecError as problem:
        raise InputError(f"The facts of the engine before cannot be read: {problem}.") from problem


def _fill(fact: FillFact, instrument: Instrument) -> Fill:
    return Fill(
        client_order_id=fact.client_order_id,
        plan=fact.plan,
        purpose=Purpose(fact.purpose),
        symbol=fact.symbol,
        instrument=instrument.index,
        side=Side[fact.side.upper()],
        price=instrument.price_units(fact.price),
        quantity=instrument.quantity_units(fact.quantity),
        commission=fact.commission,
        commission_asset=fact.commission_asset,
        is_maker=fact.is_maker,
        trade_id=fact.trade_id,
        venue_ns=fact.venue_ns,
        recv_ns=fact.at_ns,
    )


def _lost_plan(order: Order, at_ns: int) -> PlanFact:
    """Return the plan of an entry that had just been sent: nothing of it is known but that it must end."""
    intent = order.intent
    return PlanFact(
        plan=intent.plan,
        symbol=intent.symbol,
        strategy=intent.strategy,
        stage=PlanStage.EXITING,
        side=intent.side.name.lower(),
        position="0",
        entry_price="0",
        target="0",
        stop="0",
        hard_stop="0",
        deadline_ns=0,
        peak_bps=0.0,
        target_bps=0.0,
        stop_bps=0.0,
        outcome="",
        pnl=0,
        at_ns=at_ns,
    )


def _order(fact: OrderFact, instrument: Instrument, filled: int, at_ns: int) -> Order:
    state = OrderState[fact.state.upper()]
    quantity = instrument.quantity_units(fact.quantity)
    reported = instrument.quantity_units(fact.filled)
    intent = Intent(
        purpose=Purpose(fact.purpose),
        strategy=fact.strategy,
        symbol=fact.symbol,
        instrument=instrument.index,
        instrument_epoch=instrument.epoch,
        plan=fact.plan,
        side=Side[fact.side.upper()],
        kind=OrderKind[fact.kind.upper()],
        life=OrderLife[fact.life.upper()],
        price=instrument.price_units(fact.price),
        quantity=quantity,
        is_reducing=fact.is_reducing,
        is_valid=False,
        book_epoch=0,
        update_id=0,
        trade_id=0,
        venue_ns=0,
        recv_ns=fact.at_ns,
        decide_ns=fact.at_ns,
        best_bid=0,
        best_ask=0,
    )
    return Order(
        client_order_id=fact.client_order_id,
        intent=intent,
        quantity=quantity,
        state=state if state in FINAL_STATES else OrderState.UNKNOWN,
        sent_ns=fact.at_ns,
        last_ns=at_ns,
        venue_order_id=fact.venue_order_id,
        filled=filled,
        reported_filled=reported + (instrument.quantity_units(fact.leaves) if state in FINAL_STATES else 0),
        reason=fact.reason,
    )


def _is_working(fact: OrderFact) -> bool:
    return OrderState[fact.state.upper()] not in FINAL_STATES or _is_number(fact.leaves)


def _is_number(text: str) -> bool:
    """Whether a decimal text is not zero."""
    return bool(text.strip("-0."))
