"""What enters the corridor beside frames, as lines of ``<recording>.inputs.jsonl``.

Frames, reports, commands and all other inputs enter in one order, which is the order of their times: no two
reads share one. A recording and its inputs therefore make the same decisions again. Lines that a corridor of
another version cannot read are refused, never skipped.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path

import msgspec

from engine.commands import Command
from engine.errors import InputError
from engine.instruments import Instrument
from engine.orders import RefusalReason, Report
from engine.settings import Config

INPUTS_VERSION = 1


class RingKind(IntEnum):
    """Kinds of records. FACT, IN_FLIGHT: ring of facts. OUTCOME: both rings. The rest: ring of the market."""

    FRAME = 1  # a message of a market-data stream or a REST depth answer, as received; time = receive time
    FLOW = 2  # what the market saw, a JSON line of `engine.records`
    INPUT = 3  # an input that is no frame, a JSON line of this room
    FACT = 4  # a JSON line of `engine.facts`
    OUTCOME = 5  # a signal or a veto, a JSON line of `engine.records`
    IN_FLIGHT = 6  # an order about to leave: `engine.facts.InFlight`
    SNAPSHOT = 7  # a REST depth answer: its symbol, a space, its body; bodies do not name their symbol


class SessionInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="session"):
    """The first line: who recorded, where, with which settings and fees."""

    v: int = INPUTS_VERSION
    at_ns: int
    instance: str
    epoch: int
    venue: str
    market: str
    symbol: str
    maker_bps: float
    taker_bps: float
    has_left: bool  # facts of an engine that did not end are restored next
    config: Config


class ListenInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="listen"):
    """The first line where markets were listened to and nothing was traded: where, with which settings."""

    v: int = INPUTS_VERSION
    at_ns: int
    market: str
    venue: str  # address of its requests
    config: Config


class WarmUpInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="warm_up"):
    """History from before the first frame, as the venue's REST endpoints gave it."""

    at_ns: int
    symbol: str
    klines: msgspec.Raw
    agg_trades: msgspec.Raw


class RestoreInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="restore"):
    """Facts of an engine that did not end cleanly: fills, plans and orders of positions that were open."""

    at_ns: int
    facts: tuple[str, ...]


class TradingInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="trading"):
    """Warm-up is over: entries are allowed from here on."""

    at_ns: int


class ReportInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="report"):
    """A report of the venue; a read of its own."""

    at_ns: int
    report: Report


class CommandInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="command"):
    """An operator's command, applied between two reads."""

    at_ns: int
    command: Command


class WantedInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="wanted"):
    """The wanted state that the control page showed between two reads."""

    at_ns: int
    state: int
    reason: str


class LagInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="facts_lag"):
    """How far the slowest durable reader of the facts lags, as a share of the ring."""

    at_ns: int
    share: float


class LookInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="last_look"):
    """An approval that the last look refused: real time had gone on, or the wanted state had changed."""

    at_ns: int
    serial: int
    reason: RefusalReason


class SendInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="send"):
    """A request that the transport did not take; every other one was taken."""

    at_ns: int
    number: int  # of the request, from 1, per session
    status: int


class TradesInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="trades"):
    """Trades that the stream did not bring, as a REST endpoint of the venue gave them."""

    at_ns: int
    symbol: str
    body: msgspec.Raw


class ContextInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="context"):
    """What was asked of the venue beside book and trades."""

    at_ns: int
    symbol: str
    what: str  # open_interest, premium_index
    body: msgspec.Raw


class InstrumentInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="instrument"):
    """Filters or status of an instrument are others than before, as exchangeInfo says."""

    at_ns: int
    instrument: Instrument


class EventInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="event"):
    """Something of the connection, for the one who reads the log.

    Two events change a market: "refresh" with the detail "begin", before the REST depth answer that renews a
    book which is live, and "gap_left", when lost trades are given up.
    """

    at_ns: int
    symbol: str  # empty: of all
    event: str
    detail: str


class EndInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="input", tag="end"):
    """The last moment of the session: timers due by then have run."""

    at_ns: int
    reason: str


Input = (
    SessionInput
    | ListenInput
    | WarmUpInput
    | RestoreInput
    | TradingInput
    | ReportInput
    | CommandInput
    | WantedInput
    | LagInput
    | LookInput
    | SendInput
    | TradesInput
    | ContextInput
    | InstrumentInput
    | EventInput
    | EndInput
)
InputSink = Callable[[Input], None]

_DECODER: msgspec.json.Decoder[Input] = msgspec.json.Decoder(Input)
_ENCODER = msgspec.json.Encoder()


def encode_input(entry: Input) -> bytes:
    """Return one JSON line, its line feed included."""
    return _ENCODER.encode(entry) + b"\n"


def is_snapshot(payload: bytes) -> bool:
    """Tell whether a message is a bare answer of the REST depth endpoint, whatever the order of its keys."""
    return b'"lastUpdateId"' in payload and b'"stream"' not in payload and b'"data"' not in payload


def inputs_path(recording: Path) -> Path:
    """Return where the inputs of a recording stand: beside it, whatever compresses the recording."""
    name = recording.name
    for suffix in (".gz", ".zst"):
        name = name.removesuffix(suffix)
    return recording.with_name(f"{name.removesuffix('.txt')}.inputs.jsonl")


def read_inputs(path: Path) -> Iterator[Input]:
    """Yield the inputs of a file in their order.

    A last line without its line feed was cut while it was written and is left out.

    Raises
    ------
    InputError
        The file cannot be read, a line is damaged, or it was written by another version.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    latest_ns = 0
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            entry = _DECODER.decode(line)
        except msgspec.MsgspecError as problem:
            raise InputError(
                f"{path}, line {number}: expected an input of a session: {problem}."
            ) from problem
        if isinstance(entry, SessionInput | ListenInput) and entry.v != INPUTS_VERSION:
            raise InputError(f"{path} is of version {entry.v}, this Remora reads version {INPUTS_VERSION}.")
        if entry.at_ns < latest_ns:
            raise InputError(f"{path}, line {number}: its time is before that of the line above.")
        latest_ns = entry.at_ns
        yield entry
