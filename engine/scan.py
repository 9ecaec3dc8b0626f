"""The scanner's table: one row of figures per market, from the market and from what it told.

Windows are sums over whole seconds of receive time: the running second and those before it.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from engine.instruments import MONEY_DIGITS, Instrument
from engine.records import FlowRecord, Record
from engine.signals import MarketKind
from native.events import SequenceState
from native.market import Market

SECOND_NS: Final = 1_000_000_000
SILENT_NS: Final = 5 * SECOND_NS  # a market that says nothing for this long: what it said is no longer now
STUCK_UPDATES: Final = 10  # the few between a snapshot's request and its answer are older too
SPEED_NS: Final = 10 * SECOND_NS
MINUTE_S: Final = 60
FIVE_MINUTES_S: Final = 300
HOUR_S: Final = 3600
MONEY: Final = 10**MONEY_DIGITS
RATE_BPS: Final = 10_000  # funding rates are whole numbers of 10^-8
SCAN_VERSION: Final = 1
NOTHING_TOLD: Final[Mapping[str, str]] = MappingProxyType({})


class Watched(Protocol):
    """One instrument that is watched; `engine.corridor.Lane` is one."""

    @property
    def market(self) -> Market: ...
    @property
    def instrument(self) -> Instrument: ...


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one market at one moment; None is unknown, never 0.

    The names are those of `--sort`, of rules and of the keys in JSON, and stay what they are.

    Attributes
    ----------
    state : "live"; "silent", without a message for 5 s, or a stream of it is; "no socket", the connection of
        one is gone; "stuck", for 5 s every depth update was older than the book; "syncing", no whole book;
        "gap", the chain of updates broke; "waiting", nothing yet.
    age_s : since the last message of any kind.
    covered_s : how long trades have been watched; a longer window holds no more than this.
    gap_s : since trades were last known to be missing; None if never.
    change_pct : mid against the venue's price of 24 h ago, as its ticker tells it.
    whale_5m, whale_1h : whales bought minus sold, quote.
    delta_1m, delta_5m : takers bought minus sold, quote.
    trades_s, quote_s : trades and traded quote per second, over 10 s; unknown before.
    bid_depth, ask_depth : quantity in the entry band, quote at mid.
    rho : imbalance of the band, -1 to 1.
    threshold : from which a sweep is a whale now, quote.
    profile : the volume profile that the distances are to: the first ready one of session, rolling, previous.
    poc_bps, vah_bps, val_bps : from mid to the level, positive when the level is above.
    funding_bps : rate of the next funding; premium_bps : mark over index; open_interest : as the venue last
        told, each 30 s, quote at mid. USD-M only.

    Notes
    -----
    Exact: whale flow, of the sweeps that the market called whales; the base quantity behind the deltas.
    In quote a delta is counted at the mid of each sample, so it is off by up to half a spread of the traded
    volume and the move within a sample. `trades_s` counts prints: one aggregate counts once.
    Blind to: whales split over time, whales and trades lost while no stream was there (`gap_s` says when;
    trades that came back later do not enter the windows, nor does the sample in which they came), prints that
    do not teach (USD-M `X` other than MARKET).
    """

    symbol: str
    market: str
    state: str
    age_s: float | None = None
    covered_s: float = 0.0
    gap_s: float | None = None
    mid: float | None = None
    change_pct: float | None = None
    whale_5m: float | None = None
    whale_1h: float | None = None
    delta_1m: float | None = None
    delta_5m: float | None = None
    trades_s: float | None = None
    quote_s: float | None = None
    spread_bps: float | None = None
    bid_depth: float | None = None
    ask_depth: float | None = None
    rho: float | None = None
    sigma_60_bps: float | None = None
    threshold: float | None = None
    profile: str | None = None
    poc_bps: float | None = None
    vah_bps: float | None = None
    val_bps: float | None = None
    funding_bps: float | None = None
    premium_bps: float | None = None
    open_interest: float | None = None


class ScanLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="scan"):
    """One picture of all markets as a JSON line."""

    v: int = SCAN_VERSION
    at_ns: int
    rows: tuple[Row, ...]


TEXTS: Final = ("symbol", "market", "state", "profile")
FIGURES: Final = tuple(name for name in Row.__struct_fields__ if name not in TEXTS)
SHORT_NAMES: Final = {
    "whale": "whale_5m",
    "delta": "delta_1m",
    "sigma": "sigma_60_bps",
    "spread": "spread_bps",
}


class Window:
    """Money per second of receive time, for sums over the last seconds; holds at most `seconds` of them."""

    __slots__ = ("_parts", "_seconds")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._parts: deque[tuple[int, int]] = deque()

    def add(self, at_ns: int, money: int) -> None:
        """Count money at a time; one before the newest second counts in that."""
        second = at_ns // SECOND_NS
        if self._parts and self._parts[-1][0] >= second:
            second, before = self._parts.pop()
            money += before
        self._parts.append((second, money))
        while self._parts[0][0] <= second - self._seconds:
            self._parts.popleft()

    def total(self, now_ns: int, seconds: int) -> int:
        """Return the sum over the running second and the `seconds` - 1 before it."""
        after = now_ns // SECOND_NS - seconds
        found = 0
        for second, money in reversed(self._parts):
            if second <= after:
                break
            found += money
        return found


class _Tracked:
    """What is summed up of one market while it is watched."""

    __slots__ = (
        *("applied", "applied_ns", "cvd", "delta", "filled", "first_ns", "gap_ns", "market", "missing"),
        *("updates", "whale"),
    )

    def __init__(self) -> None:
        self.market: Market | None = None
        self.cvd = 0
        self.missing = 0
        self.filled = 0
        self.first_ns = 0
        self.gap_ns = 0
        self.delta = Window(FIVE_MINUTES_S)
        self.whale = Window(HOUR_S)
        self.applied = -1
        self.applied_ns = 0
        self.updates = 0

    def look_at_book(self, market: Market, now_ns: int) -> None:
        if market.depth_applied != self.applied or not market.is_valid:
            self.applied, self.applied_ns, self.updates = market.depth_applied, now_ns, market.depth_updates

    def is_stuck(self, market: Market, now_ns: int) -> bool:
        """Whether updates come that the book takes none of: their numbers run behind its own."""
        n_left = market.depth_updates - self.updates
        return n_left >= STUCK_UPDATES and now_ns - self.applied_ns > SILENT_NS

    def sample(self, market: Market, now_ns: int) -> None:
        last = market.tape.last(1)
        if not last:
            return
        if market is not self.market:
            # The first one, or the instrument began a new epoch: its sums start anew, in its own units.
            self.market, self.cvd, self.missing = market, market.cvd, market.flow.missing_ids
            self.filled = market.missing_trades.filled
            self.first_ns = self.first_ns or now_ns
            return
        if market.flow.missing_ids != self.missing:
            self.missing, self.gap_ns = market.flow.missing_ids, now_ns
        change = market.cvd - self.cvd
        if market.missing_trades.filled != self.filled:
            # The CVD learned of trades of another time; what was traded meanwhile cannot be told from them.
            self.filled, self.gap_ns = market.missing_trades.filled, now_ns
            self.cvd += change
            return
        if change == 0:
            return
        has_mid = market.is_valid and market.best_bid and market.best_ask
        price_x2 = market.best_bid + market.best_ask if has_mid else 2 * last[0][1]
        self.cvd += change
        self.delta.add(now_ns, _money(change * price_x2, market) // 2)


class Scan:
    """Follow markets and tell of each a row.

    Parameters
    ----------
    lanes : what is watched; each lane is asked for its market anew.

    Raises
    ------
    ValueError
        Of an inverse contract: its quantities are no base quantities.

    Notes
    -----
    `sample` is called at least once a second and before `rows`; `watch` with every record. Cost: some
    microseconds a market and sample, some ten a row.
    """

    def __init__(self, lanes: Sequence[Watched]) -> None:
        self._lanes = lanes
        self._tracked = {lane.instrument.symbol: _Tracked() for lane in lanes}
        for lane in lanes:
            if lane.instrument.kind is MarketKind.COINM:
                raise ValueError(f"Spot and USD-M are scanned, found {lane.instrument.symbol} of COIN-M.")

    def watch(self, record: Record) -> None:
        """Take a record: a whale that closed is counted."""
        if not isinstance(record, FlowRecord) or record.kind != "whale_close" or record.notional is None:
            return
        tracked = self._tracked.get(record.symbol)
        if tracked is not None:
            sign = 1 if record.side == "buy" else -1
            tracked.whale.add(record.decide_ns, sign * round(record.notional * MONEY))

    def sample(self, now_ns: int) -> None:
        """Take over what was traded since the last call.

        Parameters
        ----------
        now_ns : corridor time, never less than before.
        """
        for lane in self._lanes:
            tracked = self._tracked[lane.instrument.symbol]
            tracked.look_at_book(lane.market, now_ns)
            tracked.sample(lane.market, now_ns)

    def rows(self, now_ns: int, told: Mapping[str, str] = NOTHING_TOLD) -> tuple[Row, ...]:
        """Return a row of each market, in the order of the lanes.

        Parameters
        ----------
        now_ns : corridor time, never less than before.
        told : states by symbol that the connections know better than the market.
        """
        return tuple(self._row(lane, now_ns, told.get(lane.instrument.symbol)) for lane in self._lanes)

    def _row(self, lane: Watched, now_ns: int, told: str | None) -> Row:
        market, symbol = lane.market, lane.instrument.symbol
        tracked = self._tracked[symbol]
        state = told or state_of(market, now_ns)
        if state == "live" and tracked.is_stuck(market, now_ns):
            state = "stuck"
        has_spoken = market.messages > 0
        age_s = max(0, now_ns - market.last_recv_ns) / SECOND_NS if has_spoken else None
        row = Row(symbol=symbol, market=lane.instrument.kind.name.lower(), state=state, age_s=age_s)
        if tracked.market is market:
            row = _with_flow(row, tracked, market, now_ns)
        mid = finite(market.mid)
        if state == "live" and mid is not None:
            row = _with_book(row, market, mid)
        return row


def state_of(market: Market, now_ns: int) -> str:
    """Return the state of a market as `Row` names it."""
    if market.messages == 0:
        return "waiting"
    if market.is_valid:
        return "silent" if now_ns - market.last_recv_ns > SILENT_NS else "live"
    return "gap" if market.sequence.state == SequenceState.SEQUENCE_GAP else "syncing"


def sorted_rows(rows: Sequence[Row], column: str, *, is_rising: bool = False) -> list[Row]:
    """Return the rows by a column, the largest first; unknown ones last either way, equal ones by symbol."""
    known = [row for row in rows if getattr(row, column) is not None]
    unknown = [row for row in rows if getattr(row, column) is None]
    known.sort(key=_symbol)
    known.sort(key=lambda row: getattr(row, column), reverse=not is_rising)
    return [*known, *sorted(unknown, key=_symbol)]


def column_named(name: str, among: Sequence[str] = Row.__struct_fields__) -> str | None:
    """Return the column that a user means, None if there is none among these."""
    name = SHORT_NAMES.get(name.lower(), name.lower())
    return name if name in among else None


def encode_scan(rows: Sequence[Row], at_ns: int) -> bytes:
    """Return one JSON line, without its line feed."""
    return msgspec.json.encode(ScanLine(at_ns=at_ns, rows=tuple(rows)))


def finite(value: float) -> float | None:
    """Return the value, None if it is NaN or infinite."""
    return value if math.isfinite(value) else None


def _with_flow(row: Row, tracked: _Tracked, market: Market, now_ns: int) -> Row:
    covered_s = max(0, now_ns - tracked.first_ns) / SECOND_NS
    bought, sold, n_trades = market.flow.rates(SPEED_NS)
    # Before, the rates also hold trades of the history that was learned at the start, or too few.
    speed_s = SPEED_NS / SECOND_NS if covered_s >= SPEED_NS / SECOND_NS else math.nan
    price_x2 = 2 * market.tape.last(1)[0][1]
    return msgspec.structs.replace(
        row,
        covered_s=covered_s,
        gap_s=max(0, now_ns - tracked.gap_ns) / SECOND_NS if tracked.gap_ns else None,
        whale_5m=tracked.whale.total(now_ns, FIVE_MINUTES_S) / MONEY,
        whale_1h=tracked.whale.total(now_ns, HOUR_S) / MONEY,
        delta_1m=tracked.delta.total(now_ns, MINUTE_S) / MONEY,
        delta_5m=tracked.delta.total(now_ns, FIVE_MINUTES_S) / MONEY,
        trades_s=finite(n_trades / speed_s),
        quote_s=finite(_money((bought + sold) * price_x2, market) / 2 / MONEY / speed_s),
        threshold=finite(market.whale.threshold_quote),
        sigma_60_bps=finite(market.sigma_60_bps),
    )


def _with_book(row: Row, market: Market, mid: float) -> Row:
    rho = finite(market.imbalance.rho)
    scale = mid / 10**market.quantity_digits
    bids, asks = market.imbalance.band_sums
    profile = next((one for one in market.profiles() if one.is_ready), None)
    interest = market.context.open_interest

    def distance(level: float) -> float | None:
        return finite((level - mid) / mid * 1e4)

    return msgspec.structs.replace(
        row,
        mid=mid,
        spread_bps=finite(market.spread_bps),
        bid_depth=None if rho is None else bids * scale,
        ask_depth=None if rho is None else asks * scale,
        rho=rho,
        profile=None if profile is None else profile.source,
        poc_bps=None if profile is None else distance(profile.poc),
        vah_bps=None if profile is None else distance(profile.vah),
        val_bps=None if profile is None else distance(profile.val),
        change_pct=_change_pct(market),
        funding_bps=None if market.context.funding_rate is None else market.context.funding_rate / RATE_BPS,
        premium_bps=finite(market.context.premium_bps),
        open_interest=None if interest is None else interest * scale,
    )


def _change_pct(market: Market) -> float | None:
    day = market.context.day
    if day is None or day.open <= 0:
        return None
    return (0.5 * (market.best_bid + market.best_ask) / day.open - 1) * 100


def _money(product: int, market: Market) -> int:
    """Return price units times quantity units as 10^-8 quote, downwards where it is finer."""
    shift = MONEY_DIGITS - market.price_digits - market.quantity_digits
    return product * int(10**shift) if shift >= 0 else product // int(10**-shift)


def _symbol(row: Row) -> str:
    return row.symbol
