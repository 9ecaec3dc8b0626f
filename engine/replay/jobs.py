"""The jobs of the command line: replay, convert, synthesise; from arguments to files and a report."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from engine.config import load_config, scalper_settings
from engine.corridor import Watch
from engine.errors import InputError
from engine.inputs import Input, ListenInput, SessionInput, is_snapshot
from engine.records import Record
from engine.replay.converted import (
    EVENTS_NAME,
    FORMAT_VERSION,
    META_NAME,
    Meta,
    map_events,
    prepare_directory,
)
from engine.replay.outputs import PARTIAL_SUFFIX, OutputFile
from engine.replay.report import (
    BookTickerCheck,
    FrameToMask,
    Funnel,
    Percentiles,
    Report,
    Units,
    version,
)
from engine.replay.session import Session
from engine.replay.sources import Source, open_source, source_lines
from engine.replay.store import Tally
from engine.replay.trades import Mode, Trades, recorded_inputs, tradable
from engine.settings import Config
from native.eventfile import record_sizes
from native.histogram import Histogram
from native.market import Market
from native.playback import encode_frame, encode_snapshot

if TYPE_CHECKING:
    from engine.sim.tape import SynthSummary

PROGRESS_EVERY: Final = 1024
TOUR_CAPTURE: Final = "../shared/data/binance_spot_20240808"
TOUR_FILES: Final = ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")
TOUR_SECONDS: Final = 60.0
TOUR_SEED: Final = 7


class Progress(Protocol):
    """Where a job says how far it is."""

    def start(self, label: str, total: int) -> None:
        """Begin a stage of `total` bytes."""
        ...

    def update(self, done: int) -> None:
        """Tell how many bytes are done."""
        ...

    def stop(self) -> None:
        """Leave the screen as it was."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """What to replay, with which settings, and what to write."""

    paths: tuple[Path, ...]
    market: str | None
    symbol: str | None = None
    exchange_info: Path | None = None
    config: Path | None = None
    preset: str = "live"
    signals: Path | None = None
    bbo: Path | None = None
    orders: Mode | None = None  # None: "recorded" where inputs stand beside the recording, else "none"
    decisions: Path | None = None


@dataclass(frozen=True, slots=True)
class ConvertJob:
    """What to convert, and where to."""

    paths: tuple[Path, ...]
    out: Path
    market: str | None
    symbol: str | None = None
    exchange_info: Path | None = None
    force: bool = False


class View(Protocol):
    """A live view of a replay, which may also slow it down."""

    def begin(self, market: Market, kinds: Mapping[str, int]) -> None:
        """Take the market and the running counts of records, before the first message."""
        ...

    def watch(self, record: Record) -> None:
        """Take a record."""
        ...

    def on_read(self, recv_ns: int) -> None:
        """Be told that everything received until `recv_ns` is applied."""
        ...


@dataclass(slots=True)
class _Played:
    """What is known of a replay beside its session."""

    source: Source
    config: Config
    scan_s: float
    wall_s: float = 0.0
    is_interrupted: bool = False
    tally: Tally = field(default_factory=Tally)
    trades: Trades | None = None
    heard: Sequence[Input] = ()
    kept: list[Path] = field(default_factory=list)


def run_replay(job: ReplayJob, progress: Progress, view: View | None = None) -> Report:
    """Replay a session and report what it found.

    Parameters
    ----------
    job : what to do.
    progress : told the bytes read.
    view : a live view, if there is one.

    Returns
    -------
    Report
        With `interrupted` set when Ctrl-C stopped it; its output files then keep their ``.partial`` names.

    Raises
    ------
    InputError, ConfigError
        What the user gave cannot be used.
    """
    inputs = recorded_inputs(job.paths) if job.orders != "none" else []
    job, config = _settle(job, inputs)
    outputs = (job.signals, job.bbo, job.decisions)
    _check_outputs(job.paths, [path for path in outputs if path is not None])
    try:
        source, scan_s = _open(job, progress)
        if job.orders in ("recorded", "paper"):
            if source.directory is not None:
                raise InputError(f"{source.directory} is converted; orders need the recording itself.")
            source = replace(source, instrument=tradable(source.instrument))
        is_heard = bool(inputs) and isinstance(inputs[0], ListenInput)
        played = _Played(source, config, scan_s, heard=inputs if is_heard else ())
        with ExitStack() as stack:
            signals, bbo, decisions = (
                stack.enter_context(OutputFile(path)) if path is not None else None for path in outputs
            )
            watch = view.watch if view is not None else None
            if job.orders in ("recorded", "paper"):
                played.trades = Trades(job.orders, source.instrument, config, inputs, decisions)
            session = _session(played, signals, bbo, watch)
            started_s = time.perf_counter()
            try:
                _play(session, played, progress, view)
            except KeyboardInterrupt:
                played.is_interrupted = True
                session.finish()
            played.wall_s = time.perf_counter() - started_s
            for output in (signals, bbo, decisions):
                if output is None:
                    continue
                if played.is_interrupted:
                    played.kept.append(output.keep())
                else:
                    output.finish()
    finally:
        progress.stop()
    return _report(session, played)


def _settle(job: ReplayJob, inputs: list[Input]) -> tuple[ReplayJob, Config]:
    """Say which orders are replayed, and with which settings: a recorded engine brings its own."""
    header = inputs[0] if inputs else None
    if isinstance(header, ListenInput):
        if job.orders == "recorded":
            raise InputError(f"{job.paths[0]} was recorded without orders; '--orders paper' sends some.")
        # Listened to: markets are those of the recording, decided with its settings or with given ones.
        is_own = job.orders is None and job.config is None
        config = header.config if is_own else load_config(job.config, job.preset, os.environ)
        return replace(job, orders=job.orders or "none", market=job.market or header.market), config
    orders: Mode = job.orders or ("recorded" if inputs else "none")
    if orders == "recorded":
        if not inputs or not isinstance(inputs[0], SessionInput):
            raise InputError(f"{job.paths[0]} has no inputs beside it; it was not recorded by 'remora run'.")
        if job.config is not None:
            raise InputError(
                "A recorded session is replayed with its own settings, found --config; '--orders paper' or "
                "'--orders none' take other ones."
            )
        return replace(job, orders=orders, market=job.market or inputs[0].market), inputs[0].config
    if orders == "none" and job.decisions is not None:
        raise InputError("--decisions needs orders: those of a recorded session, or '--orders paper'.")
    return replace(job, orders=orders), load_config(job.config, job.preset, os.environ)


def _session(
    played: _Played, signals: OutputFile | None, bbo: OutputFile | None, watch: Watch | None
) -> Session:
    instrument, trades = played.source.instrument, played.trades
    if trades is None:
        return Session(instrument, played.config, signals=signals, bbo=bbo, watch=watch)
    fees = trades.fees
    scalper = replace(
        scalper_settings(played.config, instrument.kind), taker_bps=fees.taker_bps, maker_bps=fees.maker_bps
    )
    session = Session(
        instrument,
        played.config,
        scalper=scalper,
        signals=signals,
        bbo=bbo,
        watch=watch,
        trading=trades.trading,
    )
    trades.connect(session)
    return session


def _open(job: ReplayJob | ConvertJob, progress: Progress) -> tuple[Source, float]:
    started_s = time.perf_counter()
    progress.start("scanning", sum(path.stat().st_size for path in job.paths if path.is_file()))
    source = open_source(
        job.paths,
        market=job.market,
        symbol=job.symbol,
        exchange_info=job.exchange_info,
        progress=progress.update,
    )
    return source, time.perf_counter() - started_s


def _play(session: Session, played: _Played, progress: Progress, view: View | None) -> None:
    source, tally = played.source, played.tally
    if view is not None:
        view.begin(session.market, session.kinds)
    if source.directory is not None:
        progress.start("replaying", source.meta.events_bytes if source.meta is not None else 0)
        events = memoryview(map_events(source.directory))
        try:
            session.play_events(events, progress.update)
        except ValueError as problem:
            raise InputError(
                f"{source.directory / EVENTS_NAME} is damaged: {problem}; convert the recording again."
            ) from problem
        return
    if source.recording is None:
        return
    progress.start("replaying", source.recording.size)
    n_reads = 0

    def on_read(recv_ns: int) -> None:
        nonlocal n_reads
        n_reads += 1
        if n_reads % PROGRESS_EVERY == 0:
            progress.update(tally.bytes_read)
        if view is not None:
            view.on_read(recv_ns)

    inputs = played.heard if played.trades is None else played.trades.inputs
    session.play_lines(source_lines(source, tally), on_read, inputs)


def _check_outputs(inputs: tuple[Path, ...], outputs: list[Path]) -> None:
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise InputError(f"{path} is already used in this command; every output needs a file of its own.")
        taken.add(path.resolve())


def _report(session: Session, played: _Played) -> Report:
    market, source, tally, meta = session.market, played.source, played.tally, played.source.meta
    counts = session.strategy.funnel.counts()
    messages = session.messages if meta is None else meta.messages
    broken_lines = tally.broken_lines if meta is None else meta.broken_lines
    notes = list(source.notes)
    notes += [f"{path} ends too early: replayed to its last whole line." for path in tally.truncated]
    if meta is not None and meta.truncated:
        notes.append("The recording that was converted ended too early: converted to its last whole line.")
    if broken_lines:
        notes.append(f"{broken_lines} lines have no frame of their format or no possible time; left out.")
    if market.refused:
        notes.append(
            f"{market.refused} frames could not be read and were refused; nothing was learned from them."
        )
    if market.events.lost or market.bbo.lost:
        notes.append(
            f"{market.events.lost} flow events and {market.bbo.lost} best prices were lost: their buffers "
            "were full before they were written."
        )
    if played.is_interrupted:
        notes.append("Stopped by Ctrl-C: the figures are of the part that was played.")
        notes += [f"What was written stays in {path}." for path in played.kept]
    return Report(
        remora=version(),
        symbol=source.instrument.symbol,
        market=source.market,
        preset=played.config.preset,
        cost_gate=played.config.cost.gate,
        files=tuple(str(path) for path in source.paths),
        units=Units(
            price_digits=source.instrument.price_digits,
            quantity_digits=source.instrument.quantity_digits,
            tick=source.instrument.tick,
            source=source.units_from,
        ),
        messages=messages,
        depth_updates=market.depth_updates,
        trades=market.trades,
        tickers=market.tickers,
        klines=market.klines,
        snapshots=session.snapshots if meta is None else meta.snapshots,
        other_messages=market.other_messages,
        refused=market.refused,
        broken_lines=broken_lines,
        floored_quantities=market.floored_quantities,
        gaps=market.gaps,
        crossed=market.crossed,
        book_ticker=BookTickerCheck(compared=market.ticker_compared, equal=market.ticker_equal),
        signals=dict(session.kinds),
        funnel=Funnel(
            sweeps=market.flow.n_sweeps,
            whales=market.whale.n_whales,
            episodes=market.whale.n_episodes,
            imbalance=counts.imbalance,
            aligned=counts.aligned,
            cost=counts.cost,
            entries=counts.entries,
            open=counts.n_open,
        ),
        refusals=dict(session.refusals),
        vetoes={reason.value: count for reason, count in counts.vetoes},
        first_recv_ns=session.first_recv_ns if meta is None else meta.first_recv_ns,
        last_recv_ns=session.last_recv_ns if meta is None else meta.last_recv_ns,
        scan_s=round(played.scan_s, 6),
        wall_s=round(played.wall_s, 6),
        messages_per_s=round(messages / played.wall_s, 1) if played.wall_s > 0 else 0.0,
        frame_to_mask_ns=FrameToMask(
            depth=percentiles(market.frame_to_mask("depth")),
            trade=percentiles(market.frame_to_mask("trade")),
            ticker=percentiles(market.frame_to_mask("ticker")),
        ),
        truncated=bool(tally.truncated) or (meta is not None and meta.truncated),
        interrupted=played.is_interrupted,
        notes=tuple(notes),
        orders=None if played.trades is None else played.trades.report(session),
    )


def percentiles(histogram: Histogram) -> Percentiles:
    """Return the percentiles that a report tells, 0 throughout for an empty histogram."""
    if histogram.count == 0:
        return Percentiles(count=0, p50=0, p99=0, p999=0, max=0)
    return Percentiles(
        count=histogram.count,
        p50=histogram.percentile(50),
        p99=histogram.percentile(99),
        p999=histogram.percentile(99.9),
        max=histogram.max,
    )


def run_convert(job: ConvertJob, progress: Progress) -> Meta:
    """Convert a recording to a directory that maps into memory.

    Raises
    ------
    InputError
        What the user gave cannot be used, or the directory is taken.
    """
    try:
        source, _ = _open(job, progress)
        recording = source.recording
        if recording is None:
            raise InputError(f"{job.paths[0]} is converted already; it can be replayed as it is.")
        prepare_directory(job.out, force=job.force)
        progress.start("converting", recording.size)
        # The defaults do: reading a frame depends on the instrument only.
        market = Session(source.instrument, Config()).market
        tally = Tally()
        messages = snapshots = records = events_bytes = first_recv_ns = last_recv_ns = 0
        with OutputFile(job.out / EVENTS_NAME) as events, OutputFile(job.out / META_NAME) as about:
            for recv_ns, payload, _ in source_lines(source, tally):
                if messages == 0:
                    first_recv_ns = recv_ns
                messages += 1
                if is_snapshot(payload):
                    snapshots += 1
                    record = encode_snapshot(market, payload, recv_ns)
                else:
                    record = encode_frame(market, payload, recv_ns)
                if record:
                    records += 1
                    events_bytes += len(record)
                    events.write(record)
                last_recv_ns = recv_ns
                if messages % PROGRESS_EVERY == 0:
                    progress.update(tally.bytes_read)
            instrument = source.instrument
            meta = Meta(
                format=FORMAT_VERSION,
                layout=record_sizes(),
                symbol=instrument.symbol,
                market=_market_name(source.market),
                price_digits=instrument.price_digits,
                quantity_digits=instrument.quantity_digits,
                tick=instrument.tick,
                contract_size=instrument.contract_size,
                units_from=source.units_from,
                messages=messages,
                snapshots=snapshots,
                broken_lines=tally.broken_lines,
                truncated=bool(tally.truncated),
                records=records,
                events_bytes=events_bytes,
                first_recv_ns=first_recv_ns,
                last_recv_ns=last_recv_ns,
            )
            about.write(msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")
            # A directory is a conversion by its description: the old one goes first, the new one comes last.
            (job.out / META_NAME).unlink(missing_ok=True)
            events.finish()
            about.finish()
    finally:
        progress.stop()
    return meta


def _market_name(name: str) -> Literal["spot", "usdm", "coinm"]:
    return "spot" if name == "spot" else "usdm" if name == "usdm" else "coinm"


def run_synth(
    seconds: float, seed: int, market: Literal["spot", "usdm"], out: Path, truth: Path | None
) -> "SynthSummary":
    """Make a synthetic recording and the truth about it.

    Raises
    ------
    InputError
        An argument is out of its bounds, or a file cannot be written.
    """
    from engine.sim.tape import synthesise

    _check_outputs((), [out] if truth is None else [out, truth])
    partial = {path: _partial_like(path) for path in (out, truth) if path is not None}
    try:
        summary = synthesise(seconds, seed, market, partial[out], None if truth is None else partial[truth])
        for path, written in partial.items():
            written.replace(path)
    except ValueError as problem:
        raise InputError(f"{problem}.") from problem
    except OSError as problem:
        raise InputError(
            f"{problem.filename or out} cannot be written: {problem.strerror or problem}."
        ) from problem
    return summary


@contextmanager
def tour_job() -> Iterator[ReplayJob]:
    """Give what the tour plays: the session recorded beside the project, else a synthetic minute."""
    project = Path(__file__).resolve().parents[2]
    for root in (Path(), project):
        paths = tuple(root / TOUR_CAPTURE / name for name in TOUR_FILES)
        if all(path.is_file() for path in paths):
            yield ReplayJob(paths=paths, market="spot", preset="capture")
            return
    from engine.sim.tape import synthesise

    with tempfile.TemporaryDirectory(prefix="remora-tour-") as folder:
        path = Path(folder) / "minute.txt"
        synthesise(TOUR_SECONDS, TOUR_SEED, "spot", path, None)
        yield ReplayJob(paths=(path,), market="spot", preset="capture")


def _partial_like(path: Path) -> Path:
    # The suffix decides the compression, so it stays the last part of the name.
    return path.with_name(f"{path.name}{PARTIAL_SUFFIX}{path.suffix}")
