"""What a running engine shows of itself: the state for a view, and the report of a session."""

import msgspec

from engine.records import FlowRecord, SignalRecord


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of one stage of the corridor, ns; 0 when there was none."""

    name: str
    count: int
    p50: int
    p99: int
    p999: int
    max: int


class ProfileRow(msgspec.Struct, frozen=True, kw_only=True):
    """One volume profile, quote."""

    source: str
    is_ready: bool
    val: float | None  # None while there is no volume
    poc: float | None
    vah: float | None


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order that may still fill."""

    client_order_id: str
    purpose: str
    side: str
    kind: str
    price: str
    leaves: str
    state: str


class PositionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is held, and the plan behind it; prices "" while there is none."""

    quantity: str  # signed
    entry_price: str
    stage: str
    stop: str
    target: str
    hard_stop: str
    seconds_left: float  # of the time stop


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """How many reached each step from trades to closed positions."""

    sweeps: int
    whales: int
    episodes: int
    imbalance: int
    aligned: int
    cost: int
    entries: int  # signals
    approved: int  # entering orders that the desk let through
    filled: int  # entering orders with a fill
    closed: int  # round trips


class ViewState(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a running engine; everything in it is text or number, nothing lives."""

    symbol: str
    market: str
    preset: str
    venue: str
    wanted: str  # active, reducing, halted
    is_paused: bool
    is_warming_up: bool
    sides: str
    size: float
    elapsed_s: float
    seconds_left: float  # -1 = no end
    is_valid: bool
    price_digits: int
    quantity_digits: int
    best_bid: int  # price units
    best_ask: int
    spread_bps: float
    sigma_60_bps: float | None
    cvd: int
    threshold_quote: float | None  # whale threshold now
    bids: tuple[tuple[int, int], ...]  # price units, quantity units; best first
    asks: tuple[tuple[int, int], ...]
    tape: tuple[tuple[int, int, int], ...]  # price, quantity, aggressor side; newest first
    profiles: tuple[ProfileRow, ...]
    records: tuple[FlowRecord | SignalRecord, ...]  # newest last
    lines: tuple[str, ...]  # orders and fills as they happened, newest last
    position: PositionRow
    orders: tuple[OrderRow, ...]
    pnl_quote: float
    realised_quote: float
    fees_quote: float
    equity_quote: float
    funnel: Funnel
    stages: tuple[Stage, ...]
    note: str  # what just happened, for the operator; "" if nothing


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One session of the engine; money in 10^-8 quote.

    Attributes
    ----------
    pnl, exchange_pnl : by our own fills and by the exchange's account, from the same mark; `is_equal` says
        that they are the same to the last unit.
    """

    remora: str
    symbol: str
    market: str
    venue: str
    preset: str
    cost_gate: str
    instance: str
    epoch: int
    maker_bps: float
    taker_bps: float
    seconds: float  # of trading
    end: str  # why it ended
    exit_code: int
    position: str
    whales: int
    entries: int
    round_trips: int
    wins: int
    pnl: int
    realised: int
    fees: int
    exchange_pnl: int
    is_equal: bool
    orders: int
    fills: int
    funnel: Funnel
    confirm_refusals: dict[str, int]
    vetoes: dict[str, int]
    desk_refusals: dict[str, int]
    stages: tuple[Stage, ...]
    gc_collections: int
    facts: int
    market_records_lost: int
    recording: str  # "" if none
    notes: tuple[str, ...]
