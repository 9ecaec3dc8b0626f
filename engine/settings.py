"""The tree of settings: every number that steers a decision, with its default, its bounds and its meaning.

`engine.config` reads values into it; nothing reads it while deciding.
"""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting means and which values it may have."""

    meaning: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    pattern: str = ""  # of a text that is not one of a few


@dataclass(frozen=True, slots=True)
class Entry:
    """When the book agrees with a whale."""

    band_min_bps: Annotated[float, Rule("least half-width of the entry band around mid", 0.01, 1000)] = 2.0
    band_spread_multiple: Annotated[float, Rule("half-width in 5-minute median spreads", 0, 100)] = 1.5
    band_min_ticks: Annotated[int, Rule("least half-width in ticks", 0, 100_000)] = 5
    rho_enter: Annotated[float, Rule("imbalance after the whale that confirms it", 0.01, 0.99)] = 0.60
    rho_floor: Annotated[float, Rule("no update after the whale may show less", 0, 0.99)] = 0.45
    rho_pre_min: Annotated[float, Rule("least imbalance before the whale", -1, 1)] = -0.20
    pulled_share_max: Annotated[
        float, Rule("of the added support, less than this was pulled again", 0, 1)
    ] = 0.5
    rho_pre_ms: Annotated[int, Rule("window before the first fill", 1, 60_000)] = 500
    rho_post_ms: Annotated[int, Rule("window after the last fill", 1, 60_000)] = 400
    min_updates: Annotated[int, Rule("least depth updates in the window after", 1, 512)] = 3
    imbalance_hold_ms: Annotated[int, Rule("an imbalance is a signal once it held this long", 0, 60_000)] = (
        500
    )
    pulled_window_ms: Annotated[int, Rule("window of added and pulled support", 1, 60_000)] = 2000
    episode_window_ms: Annotated[int, Rule("entry this soon after an episode's last whale", 1, 60_000)] = 2000


@dataclass(frozen=True, slots=True)
class Whale:
    """Which sweeps are whales: the threshold is the largest of floor, depth share and quantile."""

    floor_btc_quote: Annotated[float, Rule("floor of BTC against dollars", 0, 1e12)] = 100_000.0
    floor_eth_quote: Annotated[float, Rule("floor of ETH against dollars", 0, 1e12)] = 50_000.0
    floor_quote: Annotated[float, Rule("floor of all others, raised to 20 median sweeps", 0, 1e12)] = 10_000.0
    depth_share: Annotated[float, Rule("share of the 5-minute median one-side band depth", 0, 100)] = 0.5
    quantile: Annotated[float, Rule("quantile of sweep notional", 0.5, 0.99999)] = 0.995
    window_min: Annotated[float, Rule("minutes of sweeps behind the quantile", 0.1, 1440)] = 60.0
    min_sweeps: Annotated[int, Rule("sweeps before there is a threshold", 1, 1_000_000)] = 500
    sweep_timeout_ms: Annotated[int, Rule("a sweep without a further trade is closed", 1, 1000)] = 10
    episode_gap_ms: Annotated[int, Rule("same-side whales this close are one episode", 1, 60_000)] = 2000


@dataclass(frozen=True, slots=True)
class Profile:
    """Volume at price, and which prices are aligned with it."""

    rolling_min: Annotated[float, Rule("minutes of the rolling profile", 0.1, 1440)] = 240.0
    rolling_ready_share: Annotated[float, Rule("share of them before it is ready", 0, 1)] = 0.25
    session: Annotated[bool, Rule("keep profiles of this UTC day and of the one before")] = True
    session_ready_min: Annotated[float, Rule("minutes before the session profile is ready", 0, 1440)] = 60.0
    value_area: Annotated[float, Rule("share of the volume inside the value area", 0.05, 1)] = 0.70
    two_row: Annotated[bool, Rule("grow the value area by two rows at a time")] = False
    row_bps: Annotated[float, Rule("least height of a row", 0.01, 100)] = 1.0
    node_share: Annotated[float, Rule("volume of a high-volume node in volumes of the POC", 0.01, 1)] = 0.70
    edge_bps: Annotated[float, Rule("this close to an edge of the value area is at the edge", 0, 1000)] = 3.0
    edge_share: Annotated[float, Rule("the same in widths of the area; the larger rules", 0, 1)] = 0.05
    breakout_min_bps: Annotated[float, Rule("a breakout is at least this far out", 0, 1000)] = 1.0
    breakout_max_bps: Annotated[float, Rule("a breakout is at most this far out", 0, 1000)] = 15.0
    inside_min: Annotated[float, Rule("a breakout was inside within these minutes", 0, 1440)] = 5.0


@dataclass(frozen=True, slots=True)
class Volatility:
    """The volatility of one minute."""

    span: Annotated[int, Rule("span of the exponential mean over 1-minute mid returns", 1, 10_000)] = 20
    ready_after: Annotated[int, Rule("returns before it is ready", 1, 10_000)] = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round trip costs, and whether cost may forbid it; fees of accounts without discounts."""

    gate: Annotated[str, Rule("veto a target below twice the cost", choices=("on", "off"))] = "on"
    spot_taker_bps: Annotated[float, Rule("taker fee on spot", -10, 100)] = 10.0
    spot_maker_bps: Annotated[float, Rule("maker fee on spot", -10, 100)] = 10.0
    usdm_taker_bps: Annotated[float, Rule("taker fee on USD-M", -10, 100)] = 5.0
    usdm_maker_bps: Annotated[float, Rule("maker fee on USD-M", -10, 100)] = 2.0
    coinm_taker_bps: Annotated[float, Rule("taker fee on COIN-M", -10, 100)] = 5.0
    coinm_maker_bps: Annotated[float, Rule("maker fee on COIN-M", -10, 100)] = 2.0


@dataclass(frozen=True, slots=True)
class VolumeScalper:
    """The volume scalper's own numbers."""

    min_confidence: Annotated[float, Rule("least confidence of an entry", 0.5, 1)] = 0.60
    cooldown_s: Annotated[float, Rule("seconds between entries on one instrument", 0, 86_400)] = 30.0
    entry_notional_quote: Annotated[float, Rule("size of an entry", 0.01, 1e9)] = 1000.0


@dataclass(frozen=True, slots=True)
class Market:
    """The book of one instrument."""

    stale_ms: Annotated[int, Rule("a book without an update for this long is stale", 1, 3_600_000)] = 1000
    overflow_levels: Annotated[int, Rule("far levels kept a side", 16, 1_048_576)] = 32_768
    buffer_levels: Annotated[int, Rule("levels kept while a snapshot is awaited", 16, 8_388_608)] = 262_144


@dataclass(frozen=True, slots=True)
class Feed:
    """The venue's live market data: where it comes from, and when it is given up as silent."""

    environment: Annotated[
        str, Rule("hosts of the venue that are used", choices=("live", "testnet", "demo"))
    ] = "live"
    origin: Annotated[
        str,
        Rule(
            "address of a simulated venue in place of the hosts; empty: none", pattern=r"(https?://[^/\s]+)?"
        ),
    ] = ""
    depth_limit_spot: Annotated[int, Rule("levels a side of a spot snapshot", 1, 5000)] = 5000
    depth_limit_usdm: Annotated[int, Rule("levels a side of a USD-M snapshot", 5, 1000)] = 1000
    has_trade_stream: Annotated[
        bool, Rule("on USD-M take the undocumented stream of single trades, not the batched one")
    ] = False
    first_message_s: Annotated[float, Rule("a subscribed stream speaks within this", 0.1, 600)] = 15.0
    depth_silence_s: Annotated[float, Rule("a depth stream without a message is dead", 0.1, 600)] = 5.0
    trade_silence_s: Annotated[float, Rule("a trade stream without a message is dead", 1, 86_400)] = 60.0
    reply_s: Annotated[float, Rule("the venue answers a request within this", 0.1, 60)] = 5.0
    rotate_h: Annotated[float, Rule("a connection is replaced after so many hours", 0.01, 24)] = 23.5
    handover_s: Annotated[float, Rule("an old and a new connection overlap at most so long", 0.1, 600)] = 5.0
    backoff_first_s: Annotated[float, Rule("wait before the second attempt to connect", 0.01, 60)] = 0.25
    backoff_max_s: Annotated[float, Rule("longest wait between attempts to connect", 0.01, 600)] = 30.0
    refresh_min: Annotated[float, Rule("minutes between refreshes of the far book; 0: never", 0, 1440)] = 30.0
    listing_s: Annotated[float, Rule("seconds between readings of the filters", 1, 86_400)] = 60.0
    clock_s: Annotated[float, Rule("seconds between readings of the venue's clock", 1, 3600)] = 30.0
    streams_per_connection: Annotated[int, Rule("streams on one connection", 1, 1024)] = 200
    reserved_share: Annotated[float, Rule("share of the request weight for urgent requests", 0, 0.9)] = 0.2
    history_minutes: Annotated[int, Rule("minutes of trades read at start", 0, 1440)] = 75
    klines: Annotated[int, Rule("1-minute klines read at start", 0, 1500)] = 1440


@dataclass(frozen=True, slots=True)
class Engine:
    """Which engine this is, and where it keeps what outlives a call."""

    instance: Annotated[str, Rule("name of this engine inside client order ids", pattern="[a-z]{1,8}")] = "a"
    run_dir: Annotated[
        str,
        Rule("directory of rings, control page and command socket; empty: in shared memory", pattern=".*"),
    ] = ""
    state_dir: Annotated[
        str, Rule("directory of what must survive a reboot; empty: in the user's state", pattern=".*")
    ] = ""
    facts_mib: Annotated[int, Rule("capacity of the ring of facts, MiB, a power of two", 1, 4096)] = 16
    market_mib: Annotated[int, Rule("capacity of the ring of market data, MiB, a power of two", 1, 4096)] = 32


@dataclass(frozen=True, slots=True)
class Risk:
    """What the desk lets through; every limit counts all orders that may still fill."""

    max_position_quote: Annotated[float, Rule("worst-side position of one instrument", 0, 1e12)] = 5_000.0
    max_gross_quote: Annotated[float, Rule("worst-side positions of all instruments", 0, 1e12)] = 10_000.0
    max_order_quote: Annotated[float, Rule("one order", 0, 1e12)] = 2_000.0
    max_orders_per_s: Annotated[int, Rule("orders in any second that do not reduce", 1, 65_536)] = 10
    price_band_bps: Annotated[float, Rule("a limit price is within this of mid", 0.01, 1000)] = 30.0
    signal_age_ms: Annotated[int, Rule("a signal older than this is not sent", 1, 60_000)] = 250
    hard_stop_multiple: Annotated[float, Rule("the stop at the venue, in units of 1 R", 1, 100)] = 3.0
    hard_stop_min_bps: Annotated[float, Rule("the stop at the venue is at least this far", 0, 10_000)] = 60.0


@dataclass(frozen=True, slots=True)
class Execution:
    """How orders are worked."""

    rest_ms: Annotated[int, Rule("a maker entry rests this long before it takes", 1, 600_000)] = 2000
    answer_ms: Annotated[int, Rule("an order without an answer for this long is UNKNOWN", 1, 600_000)] = 1000
    exit_band_bps: Annotated[float, Rule("an exit takes up to this far through the touch", 0.01, 1000)] = 30.0
    flatten_s: Annotated[float, Rule("on stop, flat within this time", 0.1, 600)] = 10.0


@dataclass(frozen=True, slots=True)
class Simulator:
    """The embedded exchange and the paper account on it."""

    market: Annotated[str, Rule("market it offers", choices=("usdm", "spot"))] = "usdm"
    seed: Annotated[int, Rule("of its crowd", 0, 2**31)] = 36
    whales_per_minute: Annotated[float, Rule("large orders its crowd brings", 0.01, 600)] = 18.0
    supported_share: Annotated[float, Rule("of them, so many are believed by its makers", 0, 1)] = 0.9
    support: Annotated[float, Rule("what makers add behind them; 1 is like the recordings", 0, 100)] = 2.0
    paper_quote: Annotated[float, Rule("money the paper account starts with", 0, 1e12)] = 10_000.0
    maker_bps: Annotated[float, Rule("maker fee it charges", -10, 100)] = 0.0
    taker_bps: Annotated[float, Rule("taker fee it charges", -10, 100)] = 1.7
    feed_us: Annotated[int, Rule("from the venue to us, market data", 0, 10_000_000)] = 1500
    order_us: Annotated[int, Rule("from us to the venue", 0, 10_000_000)] = 1500
    response_us: Annotated[int, Rule("from the venue to us, reports", 0, 10_000_000)] = 1500


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree, and the name of the preset it started from, which every output carries."""

    preset: str = "live"
    entry: Entry = Entry()
    whale: Whale = Whale()
    profile: Profile = Profile()
    volatility: Volatility = Volatility()
    cost: Cost = Cost()
    volume_scalper: VolumeScalper = VolumeScalper()
    market: Market = Market()
    feed: Feed = Feed()
    engine: Engine = Engine()
    risk: Risk = Risk()
    execution: Execution = Execution()
    simulator: Simulator = Simulator()
