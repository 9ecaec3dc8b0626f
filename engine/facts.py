"""What must not be lost: every decision, order, fill, command and plan, typed, one JSON line each.

These lines are the payloads of the ring of facts and of the decision files alike, and what a restart reads.
They depend on the inputs alone, never on the clock of the machine: the same inputs are the same bytes. Keys
stand in the order of the fields, prices and quantities as exact decimal text, money in 10^-8 of its asset.
`v` is raised when a field changes its meaning or goes away; new fields are added at the end.

The two that stand between a decision and its bytes are made by position: by keyword they take eight times as
long, each keyword being looked for among all fields.
"""

from collections.abc import Callable

import msgspec

from engine.instruments import decimal_text
from engine.orders import OrderKind, OrderLife
from engine.signals import Side

FACTS_VERSION = 1


class DecisionFact(msgspec.Struct, frozen=True, tag_field="fact", tag="decision"):
    """An intent and the desk's verdict: `refusal` is null when it was approved."""

    v: int
    refusal: str | None
    limit: float
    found: float
    serial: int  # of the approval; 0 when refused
    purpose: str
    strategy: str
    symbol: str
    plan: int
    side: str
    kind: str
    life: str
    price: str
    quantity: str
    is_reducing: bool
    is_valid: bool
    instrument_epoch: int
    book_epoch: int
    update_id: int
    trade_id: int
    venue_ns: int
    recv_ns: int
    decide_ns: int
    best_bid: str
    best_ask: str


class OrderFact(msgspec.Struct, frozen=True, tag_field="fact", tag="order"):
    """An order after something happened to it."""

    v: int
    event: str
    client_order_id: str
    venue_order_id: int
    symbol: str
    plan: int
    purpose: str
    strategy: str
    side: str
    kind: str
    life: str
    price: str
    quantity: str
    filled: str
    leaves: str  # what may still fill
    is_reducing: bool
    state: str
    reason: str
    at_ns: int  # corridor time


class FillFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag="fill"):
    """One execution, and the position after it."""

    v: int = FACTS_VERSION
    client_order_id: str
    trade_id: int
    symbol: str
    plan: int
    purpose: str
    side: str
    price: str
    quantity: str
    commission: int
    commission_asset: str
    is_maker: bool
    venue_ns: int
    at_ns: int
    position: str  # signed, after this fill
    realised: int  # money in 10^-8 quote: closed trades of the instrument so far, before fees


class PlanFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag="plan"):
    """A plan after it changed: all that a restart needs to go on with it."""

    v: int = FACTS_VERSION
    plan: int
    symbol: str
    strategy: str
    stage: str
    side: str
    position: str  # signed
    entry_price: str  # average, price digits and more
    target: str  # price, "0" while there is none
    stop: str
    hard_stop: str
    deadline_ns: int  # of the time stop, corridor time; 0 while there is none
    peak_bps: float  # best excursion so far
    target_bps: float
    stop_bps: float
    outcome: str  # of a plan that is over: the purpose that ended it
    pnl: int  # money in 10^-8 quote, net of fees, of a plan that is over
    at_ns: int
    residue: int = 0  # of a plan that is over: its unsellable remainder, in 10^-8 base or finer


class CommandFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag="command"):
    """An order of the operator as it was applied."""

    v: int = FACTS_VERSION
    verb: str
    argument: str
    symbol: str
    at_ns: int


class StateFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag="state"):
    """What the engine allows itself from now on, and why."""

    v: int = FACTS_VERSION
    wanted: str  # active, reducing, halted
    is_paused: bool
    sides: str  # both, long-only, short-only
    size: float
    reason: str
    at_ns: int


class SessionFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag="session"):
    """Begin, restart or end of an engine: the first and the last line of its facts."""

    v: int = FACTS_VERSION
    event: str  # begin, restored, end
    instance: str
    epoch: int
    venue: str
    preset: str
    at_ns: int
    reason: str


class InFlight(msgspec.Struct, frozen=True, array_like=True):
    """What a restart must know of an order before its bytes leave; the facts are written after them.

    Numbers and texts as they are at hand, nothing formatted: writing this down costs a fifth of the facts. An
    engine that dies between the two leaves this alone, and the next one asks the venue about it.
    """

    v: int
    client_order_id: str
    symbol: str
    plan: int
    purpose: str
    strategy: str
    side: Side
    kind: OrderKind
    life: OrderLife
    price: int
    price_digits: int
    quantity: int
    quantity_digits: int
    is_reducing: bool
    at_ns: int


Fact = DecisionFact | OrderFact | FillFact | PlanFact | CommandFact | StateFact | SessionFact
FactSink = Callable[[Fact], None]
InFlightSink = Callable[[InFlight], None]

_DECODER: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_ENCODER = msgspec.json.Encoder()
_IN_FLIGHT_DECODER = msgspec.json.Decoder(InFlight)


def encode_fact(fact: Fact) -> bytes:
    """Return one JSON line, its line feed included."""
    return _ENCODER.encode(fact) + b"\n"


def decode_fact(line: bytes) -> Fact:
    """Read one line that `encode_fact` wrote.

    Raises
    ------
    msgspec.ValidationError
        If it is of another shape.
    """
    return _DECODER.decode(line)


def encode_in_flight(order: InFlight) -> bytes:
    """Return the payload of a ring record."""
    return _ENCODER.encode(order)


def sent_fact(payload: bytes) -> OrderFact:
    """Return the fact that an engine writes after the bytes of an order which was in flight.

    Raises
    ------
    msgspec.ValidationError
        If the payload is of another shape than `encode_in_flight` gives.
    """
    found = _IN_FLIGHT_DECODER.decode(payload)
    quantity = decimal_text(found.quantity, found.quantity_digits)
    return OrderFact(
        v=FACTS_VERSION,
        event="sent",
        client_order_id=found.client_order_id,
        venue_order_id=0,
        symbol=found.symbol,
        plan=found.plan,
        purpose=found.purpose,
        strategy=found.strategy,
        side=found.side.name.lower(),
        kind=found.kind.name.lower(),
        life=found.life.name.lower(),
        price=decimal_text(found.price, found.price_digits),
        quantity=quantity,
        filled=decimal_text(0, found.quantity_digits),
        leaves=quantity,
        is_reducing=found.is_reducing,
        state="in_flight",
        reason="",
        at_ns=found.at_ns,
    )
