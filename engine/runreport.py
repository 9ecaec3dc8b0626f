"""What a session of the engine came to: one JSON object, the same for a human, and a line while it runs."""

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from engine.instruments import MONEY_DIGITS, decimal_text
from engine.runstate import Funnel, RunReport, Stage, ViewState

COST: Final = "cost"
# Beyond these a best price is what an empty side of the book reads as.
_PRICE_LIMIT: Final = 1 << 62


def encode_report(report: RunReport) -> str:
    """Return the report as one JSON object on one line, without a line break."""
    return msgspec.json.encode(report).decode()


def render_report(report: RunReport) -> str:
    """Return the report as text; money is exact, to 10^-8 quote."""
    return "\n".join(_sections(report))


def progress_line(state: ViewState) -> str:
    """Return one short line of what a running engine does, for where no picture can be drawn."""
    bid, ask = (price_text(price, state.price_digits) for price in (state.best_bid, state.best_ask))
    valid = "" if state.is_valid else "  no valid book"
    funnel = state.funnel
    return (
        f"{clock_text(state.elapsed_s):>7}  {state.symbol} {bid} / {ask}{valid}  {state_words(state)}  "
        f"position {state.position.quantity}  P&L {number_text(state.pnl_quote, '+,.4f')}  "
        f"orders {len(state.orders)}  whales {funnel.whales:,}  entries {funnel.entries:,}  "
        f"filled {funnel.filled:,}  closed {funnel.closed:,}"
    )


def state_words(state: ViewState) -> str:
    """Return everything that keeps the engine from entering, the gravest first, or `active`."""
    words = [state.wanted] if state.wanted != "active" else []
    if state.is_warming_up:
        words.append("warming up")
    if state.is_paused:
        words.append("paused")
    return ", ".join(words) or "active"


def price_text(units: int, digits: int) -> str:
    """Return units of 10^-`digits` as exact text with thousands apart; `-` if there is no such price."""
    return grouped_text(units, digits) if 0 < units < _PRICE_LIMIT else "-"


def grouped_text(units: int, digits: int) -> str:
    """Return units of 10^-`digits` as exact text with thousands apart."""
    whole, point, decimals = decimal_text(abs(units), digits).partition(".")
    return f"{'-' if units < 0 else ''}{int(whole):,}{point}{decimals}"


def number_text(value: float | None, form: str) -> str:
    """Return a number in the given form, `-` if it is not known, and in few digits if it is huge."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{form}}" if abs(value) < 1e12 else f"{value:.6g}"


def clock_text(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss; `-` if it is not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _sections(report: RunReport) -> Iterator[str]:
    gate = "" if report.cost_gate == "on" else "   COST GATE OFF: entries below their cost are not vetoed"
    yield f"{report.symbol} {report.market}   {report.venue}   preset {report.preset}{gate}"
    yield (
        f"  session    {report.seconds:,.1f} s of trading, instance {report.instance}, epoch {report.epoch}, "
        f"Remora {report.remora}"
    )
    yield f"  end        {report.end or 'not said'} (exit code {report.exit_code})"
    yield f"  fees       maker {report.maker_bps:g} bps, taker {report.taker_bps:g} bps"
    yield "  funnel     " + " > ".join(
        f"{name} {getattr(report.funnel, name):,}" for name in Funnel.__struct_fields__
    )
    if report.seconds > 0:
        yield "             per hour: " + ", ".join(
            f"{getattr(report.funnel, name) * 3600 / report.seconds:,.{digits}f} {word}"
            for name, word, digits in (
                ("sweeps", "sweeps", 0),
                ("whales", "whales", 0),
                ("episodes", "episodes", 0),
                ("entries", "entries", 1),
                ("closed", "round trips", 1),
            )
        )
    refused = _counts(report.confirm_refusals)
    yield f"  refused    {refused} (episodes the imbalance after them did not confirm)"
    yield f"  vetoes     {_counts(report.vetoes)} (confirmed episodes not entered)"
    if report.entries == 0 and report.vetoes.get(COST, 0) > 0:
        yield "             Zero entries with COST as the reason is a valid result: the move expected did not"
        yield "             pay twice its fees, spread and slippage."
    yield f"  desk       {_counts(report.desk_refusals)} (intents that the desk refused)"
    yield f"  orders     {report.orders:,} sent, {report.fills:,} fills"
    yield f"  trades     {_trades(report)}"
    yield from _money_lines(report)
    width = max((len(stage.name) for stage in report.stages), default=0)
    for i, stage in enumerate(report.stages):
        yield f"  {'latency' if i == 0 else '':<10} {_latency(stage, width)}"
    yield (
        f"  engine     {report.facts:,} facts, {report.gc_collections:,} garbage collections while trading, "
        f"{report.market_records_lost:,} market records lost"
    )
    if report.recording:
        yield f"  recording  {report.recording}"
    for note in report.notes:
        yield f"  note       {note}"


def _money_lines(report: RunReport) -> Iterator[str]:
    rows = [
        ("realised", report.realised, "before fees"),
        ("fees", -report.fees, "paid" if report.fees >= 0 else "received"),
    ]
    # What is still held counts at its mark: without this line the rows would not add up.
    if opened := report.pnl - report.realised + report.fees:
        rows.append(("open", opened, f"position {report.position} at the mark"))
    rows.append(("net", report.pnl, "by our own fills"))
    verdict = "EQUAL to the last unit" if report.is_equal else "NOT EQUAL"
    if not report.is_equal:
        verdict += f", ours is off by {_money(report.pnl - report.exchange_pnl)}"
    rows.append(("exchange", report.exchange_pnl, f"by the account at the exchange: {verdict}"))
    width = max(len(_money(amount)) for _, amount, _ in rows)
    yield f"  position   {report.position} at the end"
    for i, (name, amount, meaning) in enumerate(rows):
        yield f"  {'P&L' if i == 0 else '':<10} {name:<9} {_money(amount):>{width}} quote  {meaning}"


def _money(amount: int) -> str:
    """Return 10^-8 quote as exact text with its sign."""
    return ("+" if amount >= 0 else "") + grouped_text(amount, MONEY_DIGITS)


def _trades(report: RunReport) -> str:
    if report.round_trips == 0:
        return "no round trips"
    share = 100 * report.wins / report.round_trips
    return f"{report.round_trips:,} round trips, {report.wins:,} with a gain after fees ({share:.1f} %)"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"


def _latency(stage: Stage, width: int) -> str:
    if stage.count == 0:
        return f"{stage.name:<{width}}  none"
    return (
        f"{stage.name:<{width}}  p50 {_us(stage.p50)} us, p99 {_us(stage.p99)} us, "
        f"p99.9 {_us(stage.p999)} us, max {_us(stage.max)} us ({stage.count:,})"
    )


def _us(ns: int) -> str:
    return f"{ns / 1e3:,.2f}"
