"""Typed face of what the engine writes down: flow events of the compiled core, signals and vetoes.

One record is one JSON line. Keys stand in the order of the fields here, floats in their shortest exact form,
NaN as null, prices as exact decimal text: the same records are the same bytes. `v` is raised when a field
changes its meaning or goes away; new fields are added at the end.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy
import numpy.typing

from engine.errors import StateError
from engine.instruments import Instrument, decimal_text
from engine.signals import EntryReason, FlowKind, Side, Signal, Veto
from native.events import FLOW_EVENT

SCHEMA_VERSION = 1


class FlowRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="flow"):
    """A flow event of the compiled core; fields that its kind does not fill are null or 0."""

    v: int = SCHEMA_VERSION
    sequence: int
    kind: str
    side: str
    symbol: str
    instrument_epoch: int
    book_epoch: int
    is_valid: bool
    update_id: int
    trade_id: int
    venue_ns: int
    recv_ns: int
    decide_ns: int
    episode: int
    best_bid: str
    best_ask: str
    first_price: str | None
    last_price: str | None
    quantity: float | None
    notional: float | None
    threshold: float | None
    depth_median: float | None
    flow_quantile: float | None
    rho: float | None
    rho_pre: float | None
    rho_post: float | None
    rho_post_min: float | None
    pulled_share: float | None
    n_trades: int
    n_prices: int
    n_updates: int
    reason: str | None


class SignalRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="signal"):
    """A signal, or what a veto kept from being one: then `veto` says why."""

    v: int = SCHEMA_VERSION
    veto: str | None
    strategy: str
    action: str
    symbol: str
    market: str
    instrument_epoch: int
    book_epoch: int
    update_id: int
    trade_id: int
    venue_ns: int
    recv_ns: int
    decide_ns: int
    is_valid: bool
    side: str
    price: str
    mid: float | None
    spread_bps: float | None
    notional_quote: float | None
    confidence: float | None
    target_bps: float | None
    stop_bps: float | None
    time_stop_ns: int
    cost_bps: float | None
    sigma_60_bps: float | None
    is_cost_gated: bool
    episode: int
    whale_notional: float | None
    threshold: float | None
    rho_pre: float | None
    rho_post: float | None
    rho_post_min: float | None
    pulled_share: float | None
    n_updates: int
    alignment: str | None
    profile_source: str | None


Record = FlowRecord | SignalRecord

_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def flow_records(
    events: numpy.typing.NDArray[numpy.void], instruments: Sequence[Instrument]
) -> list[FlowRecord]:
    """Type the flow events of the compiled core.

    Parameters
    ----------
    events
        Shape (n,), dtype `native.events.FLOW_EVENT`.
    instruments
        Every instrument and epoch that occurs in them: prices are read in the units of their epoch.

    Raises
    ------
    ValueError
        If the array is of another dtype.
    StateError
        If an event is of an instrument or epoch that is not given.
    """
    if events.dtype != FLOW_EVENT:
        raise ValueError(f"Expected an array of the dtype FLOW_EVENT, found {events.dtype}.")
    known = {(one.index, one.epoch): one for one in instruments}
    columns = events.dtype.names or ()
    return [_flow_record(dict(zip(columns, row, strict=True)), known) for row in events.tolist()]


def _flow_record(row: dict[str, int | float], known: dict[tuple[int, int], Instrument]) -> FlowRecord:
    instrument = known.get((int(row["instrument"]), int(row["instrument_epoch"])))
    if instrument is None:
        raise StateError(
            "Expected flow events of the instruments given, found one of instrument "
            f"{row['instrument']} in epoch {row['instrument_epoch']}.",
            instrument=row["instrument"],
            epoch=row["instrument_epoch"],
        )
    kind = FlowKind(int(row["kind"]))
    has_sweep = kind not in (FlowKind.IMBALANCE_ON, FlowKind.IMBALANCE_OFF)
    is_judgement = kind in (FlowKind.ENTRY_ARMED, FlowKind.ENTRY_REFUSED)
    return FlowRecord(
        sequence=int(row["sequence"]),
        kind=kind.name.lower(),
        side=Side(int(row["side"])).name.lower(),
        symbol=instrument.symbol,
        instrument_epoch=int(row["instrument_epoch"]),
        book_epoch=int(row["book_epoch"]),
        is_valid=bool(row["is_valid"]),
        update_id=int(row["update_id"]),
        trade_id=int(row["trade_id"]),
        venue_ns=int(row["venue_ns"]),
        recv_ns=int(row["recv_ns"]),
        decide_ns=int(row["decide_ns"]),
        episode=int(row["episode"]),
        best_bid=instrument.price_text(int(row["best_bid"])),
        best_ask=instrument.price_text(int(row["best_ask"])),
        first_price=instrument.price_text(int(row["first_price"])) if has_sweep else None,
        last_price=instrument.price_text(int(row["last_price"])) if has_sweep else None,
        quantity=_number(row["quantity"]) if has_sweep else None,
        notional=_number(row["notional"]) if has_sweep else None,
        threshold=_number(row["threshold"]),
        depth_median=_number(row["depth_median"]),
        flow_quantile=_number(row["flow_quantile"]),
        rho=_number(row["rho"]),
        rho_pre=_number(row["rho_pre"]),
        rho_post=_number(row["rho_post"]),
        rho_post_min=_number(row["rho_post_min"]),
        pulled_share=_number(row["pulled_share"]),
        n_trades=int(row["n_trades"]),
        n_prices=int(row["n_prices"]),
        n_updates=int(row["n_updates"]),
        reason=EntryReason(int(row["reason"])).name.lower() if is_judgement else None,
    )


def signal_record(outcome: Signal | Veto) -> SignalRecord:
    """Turn a signal or a veto into its record."""
    signal = outcome.signal if isinstance(outcome, Veto) else outcome
    return SignalRecord(
        veto=outcome.reason.value if isinstance(outcome, Veto) else None,
        strategy=signal.strategy,
        action=signal.action.value,
        symbol=signal.symbol,
        market=signal.kind.name.lower(),
        instrument_epoch=signal.instrument_epoch,
        book_epoch=signal.book_epoch,
        update_id=signal.update_id,
        trade_id=signal.trade_id,
        venue_ns=signal.venue_ns,
        recv_ns=signal.recv_ns,
        decide_ns=signal.decide_ns,
        is_valid=signal.is_valid,
        side=signal.side.name.lower(),
        price=decimal_text(signal.price, signal.price_digits),
        mid=_number(signal.mid),
        spread_bps=_number(signal.spread_bps),
        notional_quote=_number(signal.notional_quote),
        confidence=_number(signal.confidence),
        target_bps=_number(signal.target_bps),
        stop_bps=_number(signal.stop_bps),
        time_stop_ns=signal.time_stop_ns,
        cost_bps=_number(signal.cost_bps),
        sigma_60_bps=_number(signal.sigma_60_bps),
        is_cost_gated=signal.is_cost_gated,
        episode=signal.episode,
        whale_notional=_number(signal.whale_notional),
        threshold=_number(signal.threshold),
        rho_pre=_number(signal.rho_pre),
        rho_post=_number(signal.rho_post),
        rho_post_min=_number(signal.rho_post_min),
        pulled_share=_number(signal.pulled_share),
        n_updates=signal.n_updates,
        alignment=None if signal.alignment is None else signal.alignment.value,
        profile_source=None if signal.profile_source is None else signal.profile_source.value,
    )


def encode_line(record: Record | Signal | Veto) -> bytes:
    """Return one JSON line, its line feed included."""
    if isinstance(record, Signal | Veto):
        record = signal_record(record)
    return msgspec.json.encode(record) + b"\n"


def decode_line(line: bytes) -> Record:
    """Read one line that `encode_line` wrote.

    Raises
    ------
    msgspec.ValidationError
        If it is of another shape.
    """
    return _DECODER.decode(line)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
