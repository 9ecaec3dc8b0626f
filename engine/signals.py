"""Frozen values that travel between rooms, and the enums they speak in.

The enums repeat those of the compiled core so that strategies, risk and venues need no compiled room; a test
holds both equal.
"""

from enum import IntEnum, StrEnum

import msgspec


class Side(IntEnum):
    """Of the *aggressor* for trades, of the trade we would make for signals, of the *book* for levels."""

    SELL = -1
    NEITHER = 0
    BUY = 1


class MarketKind(IntEnum):
    """Which venue rules apply: spot, linear futures (USD-M), inverse futures (COIN-M)."""

    SPOT = 0
    USDM = 1
    COINM = 2


class Trigger(IntEnum):
    """Why Python is entered: bits of a mask, which is a plain int; 0 means that there is nothing to decide.

    No IntFlag: each of its `&` would make an enum member, for 0.7 us.
    """

    WHALE_OPEN = 1
    WHALE_CLOSE = 2
    IMBALANCE = 4
    ENTRY = 8
    ENTRY_EXPIRED = 16
    GAP = 32
    LIVE = 64
    STALE = 128
    LEVEL = 256
    DUE = 512
    REFUSED = 1024


class FlowKind(IntEnum):
    """What a flow event records."""

    WHALE_OPEN = 1
    WHALE_CLOSE = 2
    IMBALANCE_ON = 3
    IMBALANCE_OFF = 4
    ENTRY_ARMED = 5
    ENTRY_REFUSED = 6


class EntryReason(IntEnum):
    """Why the imbalance after a whale did not confirm it."""

    CONFIRMED = 0
    BOOK_INVALID = 1
    NOT_READY = 2
    FEW_UPDATES = 3
    RHO_POST = 4
    RHO_POST_MIN = 5
    RHO_PRE = 6
    PULLED = 7
    SUPERSEDED = 8


class Action(StrEnum):
    """What a signal asks for."""

    ENTRY = "entry"


class Alignment(StrEnum):
    """Where the price stands to the value area: at its edge, or just out of it."""

    EDGE = "edge"
    BREAKOUT = "breakout"


class ProfileSource(StrEnum):
    """Which volume profile spoke."""

    SESSION = "session"
    ROLLING = "rolling"
    PREVIOUS = "previous"


class VetoReason(StrEnum):
    """Why a confirmed whale episode is not entered; in the order of the checks."""

    BOOK_INVALID = "book_invalid"
    DUPLICATE_EPISODE = "duplicate_episode"
    NOT_READY = "not_ready"
    NOT_ALIGNED = "not_aligned"
    COST = "cost"
    CONFIDENCE = "confidence"
    NO_SHORT = "no_short"
    COOLDOWN = "cooldown"


class Signal(msgspec.Struct, frozen=True):
    """A wish to trade, with where it comes from and what it was seen in.

    Inside a `Veto` it is the signal that would have been: what was not known when the veto fell is NaN, 0 or
    None.

    Notes
    -----
    Confidence is a score, not a probability. Blind to: regime, position and account; those judge it later.
    """

    strategy: str
    action: Action
    symbol: str
    kind: MarketKind
    instrument_epoch: int
    book_epoch: int
    update_id: int
    trade_id: int
    venue_ns: int
    recv_ns: int
    decide_ns: int
    is_valid: bool  # the book was LIVE and not crossed
    side: Side
    price: int  # price units, where the order would be placed
    price_digits: int  # a price unit is 10^-price_digits quote
    mid: float  # quote
    spread_bps: float
    notional_quote: float
    confidence: float  # 0.5 to 1
    target_bps: float
    stop_bps: float  # 1 R
    time_stop_ns: int
    cost_bps: float  # round trip: fees, spread crossed, book walk
    sigma_60_bps: float
    is_cost_gated: bool  # False: the cost gate was off and this would otherwise have had to pass it
    episode: int
    whale_notional: float  # quote
    threshold: float  # quote
    rho_pre: float
    rho_post: float
    rho_post_min: float
    pulled_share: float
    n_updates: int  # depth updates behind rho_post
    alignment: Alignment | None
    profile_source: ProfileSource | None


class Veto(msgspec.Struct, frozen=True, kw_only=True):
    """A confirmed whale episode that is not entered, and the signal it would have been."""

    reason: VetoReason
    signal: Signal
