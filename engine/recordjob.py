"""The job of `remora record`: markets of a venue into files, until it is told to end."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import uvloop

from engine.clock import Clock, LiveClock
from engine.errors import InputError
from engine.interrupts import Interrupts
from engine.observers.tapefile import Compression
from engine.observers.tapewriter import Rotation, TapeWriter
from engine.rundir import SHARED_MEMORY
from native.ring import RingReader, RingWriter

DRAIN_S: Final = 0.1
FLUSH_NS: Final = 1_000_000_000
LINE_NS: Final = 10_000_000_000
NS_PER_S: Final = 1_000_000_000
RING_MEBIBYTES: Final = 64

Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


class Recorded(Protocol):
    """Markets that write their ring while `run` runs; `engine.live.LiveMarkets` is one."""

    async def run(self) -> None: ...
    def refresh(self, symbol: str) -> None:
        """Ask for a REST depth answer of a symbol soon; it comes over the ring like all others."""
        ...


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What the user asked for.

    Attributes
    ----------
    venue : as it is shown.
    market : "spot" or "usdm".
    out : directory of the files.
    compression, rotation : of the files.
    seconds : end so long after the first line; None: when told.
    """

    venue: str
    market: str
    out: Path
    compression: Compression = "gz"
    rotation: Rotation = field(default_factory=Rotation)
    seconds: float | None = None


class Record:
    """Write down what markets bring.

    Parameters
    ----------
    options : what is wanted.
    writer : drains the ring of the markets.
    clock, sleep : time, and how it passes.
    say : takes one line about how it goes.

    Notes
    -----
    The files are written in a thread: a slow disk makes the ring fill, never the sockets wait.
    """

    def __init__(
        self, options: RecordOptions, writer: TapeWriter, *, clock: Clock, sleep: Sleep, say: Say
    ) -> None:
        self._options = options
        self._writer = writer
        self._clock = clock
        self._sleep = sleep
        self._say = say
        self._is_over = False

    def stop(self) -> None:
        """End in order at the next turn."""
        self._is_over = True

    async def run(self, live: Recorded) -> None:
        """Record until the time is over, it is told to end, or something breaks; the files are whole then.

        Raises
        ------
        InputError
            The disk does not take the files, for example because it is full.
        """
        feeding = asyncio.create_task(live.run())
        try:
            await self._follow(live, feeding)
        finally:
            # First nothing more may come, then what came is made whole; also when the disk refused.
            feeding.cancel()
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await feeding
            finally:
                await asyncio.to_thread(self._writer.finish)

    async def _follow(self, live: Recorded, feeding: asyncio.Task[None]) -> None:
        writer, options = self._writer, self._options
        began_ns, flushed_ns = 0, self._clock.now_ns()
        said_ns = flushed_ns
        while not (feeding.done() or self._is_over):
            now_ns = self._clock.now_ns()
            await asyncio.to_thread(writer.drain)
            if writer.n_lines and not began_ns:
                began_ns = now_ns
            for symbol in writer.take_wishes():
                live.refresh(symbol)
            if now_ns - flushed_ns >= FLUSH_NS:
                flushed_ns = now_ns
                await asyncio.to_thread(writer.flush)
            if now_ns - said_ns >= LINE_NS:
                said_ns = now_ns
                self._say(self.line())
            if began_ns and options.seconds is not None and now_ns - began_ns >= options.seconds * NS_PER_S:
                return
            await self._sleep(DRAIN_S)

    def line(self) -> str:
        """Return how far it is, on one line."""
        writer = self._writer
        if not writer.n_lines:
            return f"{self._options.venue}: no line yet, history is read first"
        lost = f", {writer.n_lost:,} records LOST" if writer.n_lost else ""
        return (
            f"{self._options.venue}: {writer.n_lines:,} lines, {len(writer.open_parts)} files open "
            f"({writer.n_bytes:,} bytes), {len(writer.finished)} finished{lost}"
        )


OpenRecorded = Callable[[RingWriter], AbstractAsyncContextManager[Recorded]]


def run_record(options: RecordOptions, open_live: OpenRecorded, say: Say) -> None:
    """Record in this process until Ctrl-C, SIGTERM, SIGHUP or the end of the time.

    Parameters
    ----------
    options : what is wanted.
    open_live : opens the markets, which write the ring it is given.
    say : takes lines about how it goes.

    Raises
    ------
    InputError
        The files or the ring cannot be written.
    """
    interrupts = Interrupts()
    try:
        with _ring() as (ring, reader):
            writer = TapeWriter(
                options.out,
                options.market,
                reader=reader,
                compression=options.compression,
                rotation=options.rotation,
                say=say,
            )
            record = Record(options, writer, clock=LiveClock(), sleep=asyncio.sleep, say=say)
            uvloop.run(_recorded(record, ring, open_live, interrupts))
            for path in writer.finished:
                say(f"{path}: {path.stat().st_size:,} bytes")
            say(f"{writer.n_lines:,} lines in {len(writer.finished)} files, {writer.n_lost:,} records lost")
    finally:
        interrupts.restore()


async def _recorded(
    record: Record, ring: RingWriter, open_live: OpenRecorded, interrupts: Interrupts
) -> None:
    loop = asyncio.get_running_loop()
    opening = asyncio.current_task()
    is_open = False

    def end() -> None:
        record.stop()
        if not is_open and opening is not None:
            # Nothing is recorded yet, and a venue that is down would be waited for.
            loop.call_soon_threadsafe(opening.cancel)

    interrupts.connect(end)
    try:
        async with open_live(ring) as live:
            is_open = True
            await record.run(live)
    except asyncio.CancelledError:
        if opening is not None:
            opening.uncancel()
    finally:
        interrupts.connect(None)


@contextlib.contextmanager
def _ring() -> Iterator[tuple[RingWriter, RingReader]]:
    """Make a ring that nobody else opens and that a killed process does not leave behind."""
    folder = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    path = folder / f"remora-record-{os.getpid()}"
    try:
        writer = RingWriter.create(
            str(path), capacity=RING_MEBIBYTES << 20, instance="record", epoch=1, schema=1, boot_id=""
        )
    except OSError as problem:
        raise InputError(
            f"The ring {path} of {RING_MEBIBYTES} MiB cannot be made: {problem.strerror or problem}; "
            f"free as much in {folder}."
        ) from problem
    try:
        reader = RingReader(str(path), name="recorder", from_start=True)
    finally:
        path.unlink()
    try:
        yield writer, reader
    finally:
        reader.close()
        writer.close()
