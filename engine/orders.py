"""What an order is: intents, verdicts, reports, fills, and the table of an order's states.

Prices are price units, quantities quantity units of the instrument's epoch (`engine.instruments`). Money is
an integer count of 10^-8 of its asset.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from engine.signals import Side, Signal


class OrderKind(IntEnum):
    """How an order is priced; the first two as `native.matching` numbers them."""

    LIMIT = 0
    MARKET = 1
    STOP_MARKET = 2  # waits at the venue until the price reaches its trigger


class OrderLife(IntEnum):
    """How long what is not filled at once stays; as `native.matching` numbers them."""

    GTC = 0
    IOC = 1
    FOK = 2
    GTX = 3  # post-only: refused if it would take


class Purpose(StrEnum):
    """What an order is for; only ENTRY may enlarge a position."""

    ENTRY = "entry"
    TARGET = "target"
    STOP = "stop"
    TIME = "time"
    SCRATCH = "scratch"
    FLATTEN = "flatten"
    HARD_STOP = "hard_stop"  # rests at the venue for the case that we do not


class RefusalReason(StrEnum):
    """Why an intent does not become an order; those of `native.gate` have the same names there."""

    REENTRANT = "reentrant"  # a submit inside a submit
    HALTED = "halted"
    REDUCING = "reducing"  # only orders that reduce are let through
    WARMING_UP = "warming_up"
    PAUSED = "paused"
    SIDE_CLOSED = "side_closed"  # `side long-only` and the like
    BOOK_INVALID = "book_invalid"
    STALE_BOOK = "stale_book"
    STALE_SIGNAL = "stale_signal"
    OLD_EPOCH = "old_epoch"  # of an instrument or book that is not the present one
    BAD_QUANTITY = "bad_quantity"  # not positive, or off the step
    BAD_PRICE = "bad_price"  # not positive, or off the tick
    PRICE_BAND = "price_band"
    TOO_SMALL = "too_small"  # below the venue's least notional, or five times that for an entry
    ORDER_NOTIONAL = "order_notional"
    POSITION_NOTIONAL = "position_notional"  # worst side of the instrument
    GROSS_NOTIONAL = "gross_notional"  # worst sides of all instruments
    ORDER_RATE = "order_rate"
    OVER_REDUCE = "over_reduce"  # more than position minus the reducing leaves
    POSITION_OPEN = "position_open"  # a plan of the instrument is not over yet
    NOT_TRADABLE = "not_tradable"  # inverse contract, or the venue does not trade it now
    FACTS_LAG = "facts_lag"  # a durable reader of the facts is too far behind
    NOT_APPROVED = "not_approved"  # not the desk's newest approval, or used before
    ORDER_SOCKET_DOWN = "order_socket_down"
    ORDER_SOCKET_BACKED_UP = "order_socket_backed_up"


class OrderState(IntEnum):
    """Where an order stands. Until a final state its leaves may still fill."""

    IN_FLIGHT = 0  # handed to the transport, not answered
    OPEN = 1
    CANCEL_PENDING = 2  # open or in flight, and its cancel is not answered
    UNKNOWN = 3  # unanswered for too long: the venue is asked, nothing is sent again
    FILLED = 4
    CANCELLED = 5
    EXPIRED = 6
    REJECTED = 7  # by the venue, or it never arrived there


FINAL_STATES: Final = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED}
)


class ReportKind(StrEnum):
    """What the venue tells of an order."""

    ACCEPTED = "accepted"
    FILL = "fill"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCEL_REJECTED = "cancel_rejected"  # the order is not there (any more): its state is to be asked
    STATUS = "status"  # answer of a query: open, with what is filled
    ABSENT = "absent"  # answer of a query: the venue never knew it


class Intent(msgspec.Struct, frozen=True):
    """A wish for one order, with what was seen when it arose. It becomes an order only through the desk."""

    purpose: Purpose
    strategy: str
    symbol: str
    instrument: int  # dense index
    instrument_epoch: int
    plan: int  # the plan it serves, from 1, per engine; 0 = none
    side: Side
    kind: OrderKind
    life: OrderLife
    price: int  # limit, or trigger of STOP_MARKET; 0 for MARKET
    quantity: int
    is_reducing: bool  # reduce-only
    is_valid: bool  # the book was LIVE and not crossed
    book_epoch: int
    update_id: int
    trade_id: int
    venue_ns: int
    recv_ns: int  # of the read that completed the condition
    decide_ns: int  # corridor time of the decision
    best_bid: int
    best_ask: int
    signal: Signal | None = None  # of an entry


class Withdraw(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to cancel one order of ours."""

    client_order_id: str
    instrument: int
    reason: str
    decide_ns: int


Wish = Intent | Withdraw


class Approved(msgspec.Struct, frozen=True):
    """The desk's permission for one order now; used at most once, and only while it is the newest."""

    serial: int  # from 1, per engine
    intent: Intent
    quantity: int  # at most that of the intent


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why an intent became no order. A value, not an error."""

    reason: RefusalReason
    intent: Intent
    limit: float = 0.0  # what was allowed, in the unit of the reason
    found: float = 0.0


class PlaceOrder(msgspec.Struct, frozen=True):
    """What a venue is asked to place."""

    client_order_id: str
    symbol: str
    side: Side
    kind: OrderKind
    life: OrderLife
    price: int
    quantity: int
    is_reducing: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One answer or push of the venue about one order of ours."""

    kind: ReportKind
    client_order_id: str
    symbol: str
    venue_order_id: int = 0
    venue_ns: int = 0
    recv_ns: int = 0  # the read it came in
    filled: int = 0  # cumulative, as the venue counts, after this report
    trade_id: int = 0  # of a fill
    price: int = 0  # of a fill
    quantity: int = 0  # of a fill: this one alone
    commission: int = 0  # of a fill, in 10^-8 of its asset; negative = rebate
    commission_asset: str = ""
    is_maker: bool = False
    reason: str = ""  # of a rejection or expiry, in the venue's words


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of one order of ours, told once however often the venue tells it."""

    client_order_id: str
    plan: int
    purpose: Purpose
    symbol: str
    instrument: int
    side: Side
    price: int
    quantity: int
    commission: int  # in 10^-8 of its asset
    commission_asset: str
    is_maker: bool
    trade_id: int
    venue_ns: int
    recv_ns: int


class OrderEvent(IntEnum):
    """What can happen to an order, ours and the venue's doing alike."""

    ACCEPTED = 0
    FILL_PART = 1
    FILL_WHOLE = 2  # nothing is left
    CANCEL_SENT = 3
    CANCEL_REJECTED = 4
    CANCELLED = 5
    EXPIRED = 6
    REJECTED = 7
    TIMEOUT = 8  # no answer for too long
    STATUS = 9  # the venue says: it is open
    ABSENT = 10  # the venue says: it never was


_S, _E = OrderState, OrderEvent

# (state, event) -> state. What is not here is not expected there: it is counted and changes nothing. Fills
# are taken in every state, FILLED before ACCEPTED and after CANCELLED alike: the venue is the truth.
TRANSITIONS: Final[dict[tuple[OrderState, OrderEvent], OrderState]] = {
    (_S.IN_FLIGHT, _E.ACCEPTED): _S.OPEN,
    (_S.IN_FLIGHT, _E.FILL_PART): _S.OPEN,
    (_S.IN_FLIGHT, _E.CANCEL_SENT): _S.CANCEL_PENDING,
    (_S.IN_FLIGHT, _E.TIMEOUT): _S.UNKNOWN,
    (_S.IN_FLIGHT, _E.STATUS): _S.OPEN,
    (_S.IN_FLIGHT, _E.ABSENT): _S.REJECTED,
    (_S.OPEN, _E.ACCEPTED): _S.OPEN,
    (_S.OPEN, _E.FILL_PART): _S.OPEN,
    (_S.OPEN, _E.CANCEL_SENT): _S.CANCEL_PENDING,
    (_S.OPEN, _E.STATUS): _S.OPEN,
    (_S.OPEN, _E.ABSENT): _S.CANCELLED,
    (_S.CANCEL_PENDING, _E.ACCEPTED): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, _E.FILL_PART): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, _E.CANCEL_REJECTED): _S.UNKNOWN,
    (_S.CANCEL_PENDING, _E.TIMEOUT): _S.UNKNOWN,
    (_S.CANCEL_PENDING, _E.STATUS): _S.OPEN,
    (_S.CANCEL_PENDING, _E.ABSENT): _S.CANCELLED,
    (_S.UNKNOWN, _E.ACCEPTED): _S.OPEN,
    (_S.UNKNOWN, _E.FILL_PART): _S.UNKNOWN,
    (_S.UNKNOWN, _E.CANCEL_REJECTED): _S.UNKNOWN,
    (_S.UNKNOWN, _E.STATUS): _S.OPEN,
    (_S.UNKNOWN, _E.ABSENT): _S.REJECTED,
    **{(state, _E.FILL_WHOLE): _S.FILLED for state in _S if state is not _S.FILLED},
    **{
        (state, event): final
        for state in (_S.IN_FLIGHT, _S.OPEN, _S.CANCEL_PENDING, _S.UNKNOWN)
        for event, final in (
            (_E.CANCELLED, _S.CANCELLED),
            (_E.EXPIRED, _S.EXPIRED),
            (_E.REJECTED, _S.REJECTED),
        )
    },
    # A late fill of an order that is over counts, and leaves it over.
    **{(state, _E.FILL_PART): state for state in (_S.CANCELLED, _S.EXPIRED, _S.REJECTED)},
}


def next_state(state: OrderState, event: OrderEvent) -> OrderState | None:
    """Return the state after `event`, or None if the event is not expected in `state`."""
    return TRANSITIONS.get((state, event))


@dataclass(slots=True)
class Order:
    """One order of ours as it stands; only the blotter changes it.

    Attributes
    ----------
    filled : by the fills we know.
    reported_filled : the largest cumulative quantity the venue told; beyond `filled` fills are owed to us.
    is_cancel_wanted : a cancel was sent; the state may have gone on since.
    last_ns : corridor time of the last thing that happened to it.
    fill_ids : trade ids of the fills that count.
    """

    client_order_id: str
    intent: Intent
    quantity: int
    state: OrderState
    sent_ns: int
    last_ns: int
    venue_order_id: int = 0
    filled: int = 0
    reported_filled: int = 0
    is_cancel_wanted: bool = False
    reason: str = ""
    fill_ids: set[int] = field(default_factory=set)

    @property
    def is_final(self) -> bool:
        """Whether the venue is done with it; fills may still be owed."""
        return self.state in FINAL_STATES

    @property
    def leaves(self) -> int:
        """Quantity that may still fill: all that is open, or what an order that is over owes us."""
        if self.state in FINAL_STATES:
            return max(0, self.reported_filled - self.filled)
        return self.quantity - self.filled


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one report, timeout or request changed of one order; `fill` at most once per execution."""

    order: Order
    event: OrderEvent
    state_before: OrderState
    leaves_before: int
    leaves_after: int
    fill: Fill | None
    at_ns: int
