"""What a replay found: one JSON object, and the same for a human to read."""

import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from engine.instruments import MONEY_DIGITS, decimal_text

COST: Final = "cost"

COMPARISON_RULE: Final = (
    "for each applied depth update the last bookTicker with previous u < id <= u of that update; "
    "prices compared"
)


class BookTickerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's own best prices against those of the rebuilt book."""

    compared: int
    equal: int


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Time from handing over a frame to its mask, ns; 0 when there was none."""

    count: int
    p50: int
    p99: int
    p999: int
    max: int


class FrameToMask(msgspec.Struct, frozen=True, kw_only=True):
    """Frame to mask by kind of message."""

    depth: Percentiles
    trade: Percentiles
    ticker: Percentiles


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """How many reached each step towards an entry; the last are episodes neither entered nor over."""

    sweeps: int
    whales: int
    episodes: int
    imbalance: int
    aligned: int
    cost: int
    entries: int
    open: int


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """Units of price and quantity (10^-digits), the tick in price units, and where they came from."""

    price_digits: int
    quantity_digits: int
    tick: int
    source: str


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders of a replay came to; money in 10^-8 quote, an open position at the last mid.

    `mode` is "recorded" (the decisions of a recorded engine, made again) or "paper". `exchange_pnl` is by the
    account of the paper exchange; None where there is none.
    """

    mode: str
    maker_bps: float
    taker_bps: float
    decisions: int
    approved: int
    orders: int
    fills: int
    round_trips: int
    wins: int
    position: str
    realised: int
    fees: int
    pnl: int
    exchange_pnl: int | None
    refusals: dict[str, int]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One replay.

    Attributes
    ----------
    messages, depth_updates, trades : all received, whether or not they could be used.
    gaps, crossed : times the update chain broke, and updates after which the book was crossed.
    signals : count by kind.
    refusals : count of episodes that the imbalance did not confirm, by reason.
    vetoes : count of confirmed episodes not entered, by reason.
    scan_s, wall_s : the pass that learned symbols and units, and the replay itself; messages_per_s is of the
        latter.
    truncated : a file ended inside a compressed block or a line and was replayed to its last whole line.
    interrupted : the replay was stopped before its end.
    """

    remora: str
    symbol: str
    market: str
    preset: str
    cost_gate: str
    files: tuple[str, ...]
    units: Units
    messages: int
    depth_updates: int
    trades: int
    tickers: int
    klines: int
    snapshots: int
    other_messages: int
    refused: int
    broken_lines: int
    floored_quantities: int
    gaps: int
    crossed: int
    book_ticker: BookTickerCheck
    signals: dict[str, int]
    funnel: Funnel
    refusals: dict[str, int]
    vetoes: dict[str, int]
    first_recv_ns: int
    last_recv_ns: int
    scan_s: float
    wall_s: float
    messages_per_s: float
    frame_to_mask_ns: FrameToMask
    truncated: bool
    interrupted: bool
    notes: tuple[str, ...]
    orders: Orders | None = None


def version() -> str:
    """Return the version of Remora, installed or run from its sources."""
    sources = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if sources.is_file():
        found = tomllib.loads(sources.read_text(encoding="utf-8"))["project"]
        if found["name"] == "remora":
            return str(found["version"])
    return metadata.version("remora")


def encode(report: Report) -> bytes:
    """Return the report as one JSON object on one line, without a line break."""
    return msgspec.json.encode(report)


def render(report: Report) -> str:
    """Return the report as text."""
    return "\n".join(_sections(report))


def _sections(report: Report) -> Iterator[str]:
    span_s = (report.last_recv_ns - report.first_recv_ns) / 1e9
    hours = span_s / 3600
    gate = "" if report.cost_gate == "on" else "   COST GATE OFF: entries below their cost are not vetoed"
    yield f"{report.symbol} {report.market}   preset {report.preset}{gate}"
    yield (
        f"  units      price 10^-{report.units.price_digits}, quantity 10^-{report.units.quantity_digits}, "
        f"tick {report.units.tick} ({report.units.source})"
    )
    yield (
        f"  session    {span_s:,.1f} s   {report.messages:,} messages: "
        f"{report.depth_updates:,} depth updates, {report.trades:,} trades, "
        f"{report.tickers:,} tickers, {report.snapshots:,} snapshots"
    )
    yield (
        f"  book       {report.gaps} gaps, {report.crossed} crossed, {report.refused} unreadable frames, "
        f"{report.broken_lines} broken lines"
    )
    yield f"  bookTicker {_compared(report.book_ticker)}"
    if report.book_ticker.compared:
        yield f"             ({COMPARISON_RULE})"
    yield f"  signals    {_counts(report.signals)}"
    steps = [name for name in Funnel.__struct_fields__ if name != "open"]
    still = f" ({report.funnel.open} still open)" if report.funnel.open else ""
    yield "  funnel     " + " > ".join(f"{name} {getattr(report.funnel, name)}" for name in steps) + still
    if hours > 0:
        yield (
            f"             per hour: {report.funnel.sweeps / hours:,.0f} sweeps, "
            f"{report.funnel.whales / hours:,.0f} whales, {report.funnel.episodes / hours:,.0f} episodes, "
            f"{report.funnel.entries / hours:,.1f} entries"
        )
    yield f"  refused    {_counts(report.refusals)} (episodes the imbalance after them did not confirm)"
    yield f"  vetoes     {_counts(report.vetoes)} (confirmed episodes not entered)"
    if report.funnel.entries == 0 and report.vetoes.get(COST, 0) > 0:
        yield "             Zero entries with COST as the reason is a valid result: the move expected did not"
        yield "             pay twice its fees, spread and slippage."
    if report.orders is not None:
        yield from _orders(report.orders)
    for kind in FrameToMask.__struct_fields__:
        yield _latency(kind, getattr(report.frame_to_mask_ns, kind))
    yield (
        f"  speed      {report.wall_s:.2f} s, {report.messages_per_s:,.0f} messages/s, "
        f"after a scan of {report.scan_s:.2f} s"
    )
    for note in report.notes:
        yield f"  note       {note}"


def _orders(orders: Orders) -> Iterator[str]:
    money = [decimal_text(one, MONEY_DIGITS) for one in (orders.realised, orders.fees, orders.pnl)]
    yield (
        f"  orders     {orders.mode}: {orders.approved} entries approved, {orders.orders} orders, "
        f"{orders.fills} fills, {orders.round_trips} round trips, {orders.wins} of them with a gain; "
        f"position {orders.position}"
    )
    yield (
        f"  P&L        realised {money[0]}, fees {money[1]}, net {money[2]} quote "
        f"(maker {orders.maker_bps:g}, taker {orders.taker_bps:g} bps)"
    )
    if orders.exchange_pnl is not None:
        same = (
            "the same"
            if orders.exchange_pnl == orders.pnl
            else decimal_text(orders.exchange_pnl, MONEY_DIGITS)
        )
        yield f"             by the exchange's account: {same}"
    if orders.refusals:
        yield f"             refused by the desk: {_counts(orders.refusals)}"


def _compared(check: BookTickerCheck) -> str:
    if check.compared == 0:
        return "nothing to compare"
    return f"{check.equal:,} of {check.compared:,} equal ({100 * check.equal / check.compared:.2f} %)"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"


def _latency(kind: str, row: Percentiles) -> str:
    name = f"  {kind:<10} "
    if row.count == 0:
        return f"{name}no messages"
    return (
        f"{name}frame to mask p50 {row.p50 / 1e3:.2f} us, p99 {row.p99 / 1e3:.2f} us, "
        f"p99.9 {row.p999 / 1e3:.2f} us, max {row.max / 1e3:.1f} us"
    )
