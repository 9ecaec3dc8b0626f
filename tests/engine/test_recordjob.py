"""The job of recording: what was played is in the files, which replay and a foreign reader can read."""

import asyncio
import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from engine.clock import LiveClock, VirtualClock
from engine.errors import InputError
from engine.observers.tapefile import Compression
from engine.observers.tapewriter import Rotation, TapeWriter, parse_rotation
from engine.recordjob import Record, Recorded, RecordOptions, run_record
from engine.replay.jobs import ReplayJob, run_replay
from engine.replay.store import Line, Tally, open_recording, read_lines
from engine.view import SilentProgress
from native.ring import RingReader, RingWriter
from tests.engine.played_markets import CAPTURED, PlayedMarkets, recorded

ROOT = Path(__file__).resolve().parents[2]
# The package of the converter wants an environment of its own: it brings what this project does not use.
CONVERTER = os.environ.get("REMORA_HFTBACKTEST_PYTHON", "")
WAIT_S = 30.0


@contextlib.contextmanager
def opened_ring(folder: Path) -> Iterator[tuple[RingWriter, RingReader]]:
    path = str(folder / "ring")
    writer = RingWriter.create(path, capacity=1 << 25, instance="a", epoch=1, schema=1, boot_id="")
    reader = RingReader(path, name="recorder", from_start=True)
    try:
        yield writer, reader
    finally:
        reader.close()
        writer.close()


class Refreshed(PlayedMarkets):
    """Markets whose wished snapshots come, as the book stands, half a second later."""

    def refresh(self, symbol: str) -> None:
        super().refresh(symbol)
        lane = next(lane for lane in self.lanes if lane.instrument.symbol == symbol)
        one, book = lane.instrument, lane.market.book
        body = {
            "lastUpdateId": lane.market.update_id,
            "E": 1,
            "T": self.clock.now_ns() // 1_000_000,
            "bids": [[one.price_text(p), one.quantity_text(q)] for p, q in book.levels(1, 1_000)],
            "asks": [[one.price_text(p), one.quantity_text(q)] for p, q in book.levels(-1, 1_000)],
        }
        at_ns = self.clock.now_ns() + 500_000_000
        self._lines.insert(self._next, (at_ns, lane.instrument.index, orjson.dumps(body)))
        self._lines[self._next :] = sorted(self._lines[self._next :], key=lambda one: one[0])


def record(
    folder: Path,
    names: tuple[str, ...],
    captures: Path,
    *,
    seconds: float,
    compression: Compression = "gz",
    rotation: Rotation | None = None,
) -> tuple[list[Path], PlayedMarkets, list[str]]:
    """Record what is played, and return the files in the order of their names."""
    sources = [recorded([captures / CAPTURED[name][0]], CAPTURED[name][1], seconds) for name in names]
    said: list[str] = []
    with opened_ring(folder) as (ring, reader):
        played = Refreshed(sources, ring=ring)
        market = CAPTURED[names[0]][1]
        rotation = Rotation() if rotation is None else rotation
        options = RecordOptions(
            venue="v", market=market, out=folder / "out", compression=compression, rotation=rotation
        )
        writer = TapeWriter(
            options.out, market, reader=reader, compression=compression, rotation=rotation, say=said.append
        )
        job = Record(options, writer, clock=played.clock, sleep=played.sleep, say=said.append)

        async def sleep(seconds: float) -> None:
            await played.sleep(seconds)
            if played.is_over:
                job.stop()

        job._sleep = sleep
        asyncio.run(job.run(played))
        assert writer.n_lost == 0
        return sorted(writer.finished), played, said


def test_time_counts_from_the_first_line_and_not_from_the_opening(captures: Path, tmp_path: Path) -> None:
    with opened_ring(tmp_path) as (ring, reader):
        played = PlayedMarkets([recorded([captures / CAPTURED["spot_btc"][0]], "spot", 30)], ring=ring)
        first_ns = played.clock.now_ns()
        played.clock = VirtualClock(first_ns - 60 * 1_000_000_000)  # history is read for a minute
        options = RecordOptions(venue="v", market="spot", out=tmp_path / "out", compression="gz", seconds=8)
        said: list[str] = []
        writer = TapeWriter(
            options.out, "spot", reader=reader, compression="gz", rotation=Rotation(), say=said.append
        )
        job = Record(options, writer, clock=played.clock, sleep=played.sleep, say=said.append)
        asyncio.run(job.run(played))
        (path,) = writer.finished
    found = lines_of([path])
    assert 7 * 1_000_000_000 < found[-1].recv_ns - found[0].recv_ns <= 8.3 * 1_000_000_000
    assert said[0] == "v: no line yet, history is read first"


def lines_of(paths: list[Path]) -> list[Line]:
    return list(read_lines(open_recording(paths), Tally()))


def signals_of(paths: list[Path], market: str, out: Path) -> list[dict[str, object]]:
    job = ReplayJob(tuple(paths), market, preset="capture", signals=out)
    run_replay(job, SilentProgress())
    # The time of the decision is the machine's own in no recording: everything else must be the same.
    return [json.loads(line) for line in out.read_bytes().splitlines()]


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize("compression", ["gz", "zst", "none"])
def test_recording_of_two_markets_replays_to_the_signals_of_what_was_played(
    captures: Path, tmp_path: Path, compression: Compression
) -> None:
    paths, _, said = record(tmp_path, ("usdm_btc", "usdm_eth"), captures, seconds=60, compression=compression)
    assert [path.name.split(".")[:2] for path in paths] == [["btcusdt", "usdm"], ["ethusdt", "usdm"]]
    assert any("lines, 2 files open" in line for line in said)
    for path, name in zip(paths, ("usdm_btc", "usdm_eth"), strict=True):
        source = captures / CAPTURED[name][0]
        _, lines = recorded([source], "usdm", 60)
        found = lines_of([path])
        assert [line.payload for line in found] == [line.payload for line in lines]
        plain = tmp_path / f"{name}.txt"
        plain.write_bytes(b"".join(b"%d %s\n" % (line.recv_ns, line.payload) for line in lines))
        again = signals_of([path], "usdm", tmp_path / "again.jsonl")
        before = signals_of([plain], "usdm", tmp_path / "before.jsonl")
        assert len(again) == len(before) > 0
        # Two sockets never read at one moment: a clash is stamped later, by nanoseconds.
        for one, other in zip(again, before, strict=True):
            for key in ("recv_ns", "decide_ns", "rho_pre", "rho_post", "rho"):
                one.pop(key, None)
                other.pop(key, None)
            assert one == other


@pytest.mark.captures
@pytest.mark.slow
def test_every_file_of_a_rotation_stands_alone_and_together_they_are_one(
    captures: Path, tmp_path: Path
) -> None:
    paths, played, _ = record(tmp_path, ("usdm_btc",), captures, seconds=50, rotation=parse_rotation("20s"))
    assert 3 <= len(paths) <= 4
    assert played.refreshed == ["BTCUSDT"] * (len(paths) - 1)
    compared = unequal = 0
    for path in paths:
        report = run_replay(ReplayJob((path,), "usdm", preset="capture"), SilentProgress())
        assert (report.snapshots, report.gaps, report.broken_lines, report.truncated) == (1, 0, 0, False)
        compared += report.book_ticker.compared
        unequal += report.book_ticker.compared - report.book_ticker.equal
    together = run_replay(ReplayJob(tuple(paths), "usdm", preset="capture"), SilentProgress())
    _, lines = recorded([captures / CAPTURED["usdm_btc"][0]], "usdm", 50)
    assert together.messages == len(lines) + len(paths) - 1
    assert together.gaps == 0
    # Alone each is live from its own snapshot on, with the best prices of the whole.
    assert together.book_ticker.compared > 500
    assert 0.99 * together.book_ticker.compared < compared <= together.book_ticker.compared
    assert unequal <= together.book_ticker.compared - together.book_ticker.equal
    whole = [line.payload for line in lines]
    assert [line.payload for line in lines_of(paths) if b"lastUpdateId" not in line.payload] == [
        payload for payload in whole if b"lastUpdateId" not in payload
    ]


# Each row that reached us counts once, whatever the converter does to order the venue's times.
CONVERT = """
import json, sys
import numpy as np
from hftbacktest.data.utils import binancefutures
from hftbacktest.types import LOCAL_EVENT
data = binancefutures.convert(sys.argv[1], buffer_size=2_000_000)
data = data[(data["ev"] & np.uint64(LOCAL_EVENT)) != 0]
kinds = data["ev"] & np.uint64(0xff)
print(json.dumps([int(np.count_nonzero(kinds == kind)) for kind in (1, 2, 3, 4)]
                 + [float(data["qty"][kinds == 2].sum())]))
"""


@pytest.mark.captures
@pytest.mark.slow
def test_converter_of_hftbacktest_reads_what_was_recorded(captures: Path, tmp_path: Path) -> None:
    if not CONVERTER:
        pytest.skip("REMORA_HFTBACKTEST_PYTHON names no interpreter that has hftbacktest")
    paths, _, _ = record(tmp_path, ("usdm_btc",), captures, seconds=30, rotation=parse_rotation("20s"))
    assert len(paths) >= 2
    for path in paths:
        done = subprocess.run(
            [CONVERTER, "-c", CONVERT, str(path)], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        n_depth, n_trades, n_cleared, n_snapshot, quantity = json.loads(done.stdout.splitlines()[-1])
        levels = snapshot = trades = 0
        traded = 0.0
        with gzip.open(path) as lines:
            for line in lines:
                message = orjson.loads(line.split(b" ", 1)[1])
                data = message.get("data")
                if data is None:
                    snapshot += len(message["bids"]) + len(message["asks"])
                elif data["e"] == "depthUpdate":
                    levels += len(data["b"]) + len(data["a"])
                elif data["e"] == "trade" and data["X"] == "MARKET":
                    trades += 1
                    traded += float(data["q"])
        assert (n_depth, n_trades, n_cleared, n_snapshot) == (levels, trades, 2, snapshot)
        assert min(levels, trades, snapshot) > 100
        assert quantity == pytest.approx(traded)


def test_disk_that_refuses_ends_the_recording_with_one_sentence_and_whole_files(tmp_path: Path) -> None:
    class Silent:
        def __init__(self) -> None:
            self.is_ended = False

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.is_ended = True

        def refresh(self, symbol: str) -> None:
            raise AssertionError(symbol)

    class Refusing:
        n_lost = 0

        def read(self, _limit: int) -> list[tuple[int, int, int, bytes]]:
            return []

        def commit(self) -> None:
            raise InputError("x cannot be written: No space left on device.")

    live = Silent()
    options = RecordOptions(venue="v", market="spot", out=tmp_path)
    writer = TapeWriter(
        tmp_path, "spot", reader=Refusing(), compression="gz", rotation=Rotation(), say=lambda _: None
    )
    played_s = iter(range(0, 10**12, 2 * 10**9))

    class Steps:
        def now_ns(self) -> int:
            return next(played_s)

    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0)

    job = Record(options, writer, clock=Steps(), sleep=sleep, say=lambda _: None)
    with pytest.raises(InputError, match="No space left"):
        asyncio.run(job.run(live))
    assert live.is_ended


# as a process


def main(out: str, how: str) -> None:
    """Record a frame every ten milliseconds until told to end."""

    class Ticking:
        def __init__(self, ring: RingWriter) -> None:
            self._ring = ring

        async def run(self) -> None:
            clock = LiveClock()
            while True:
                payload = b'{"stream":"btcusdt@trade","data":{"e":"trade"}}'
                self._ring.append(1, payload, clock.now_ns())
                await asyncio.sleep(0.01)

        def refresh(self, symbol: str) -> None:
            del symbol

    @contextlib.asynccontextmanager
    async def opened(ring: RingWriter) -> AsyncIterator[Recorded]:
        if how == "never opens":
            await asyncio.Event().wait()
        yield Ticking(ring)

    print("begun", flush=True)
    run_record(RecordOptions(venue="v", market="spot", out=Path(out)), opened, print)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_process_that_is_ended_leaves_whole_files_and_one_that_is_killed_a_part(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = f"from tests.engine.test_recordjob import main; main({str(tmp_path / 'out')!r}, 'runs')"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        end_s = time.monotonic() + WAIT_S
        assert process.stdout is not None
        while not any(path.stat().st_size for path in (tmp_path / "out").glob("*.part")):
            assert time.monotonic() < end_s
            assert process.poll() is None
        process.send_signal(number)
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.wait()
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".part") == (number == signal.SIGKILL)
    assert len(lines_of([path])) > 10
    assert not list(Path("/dev/shm").glob(f"remora-record-{process.pid}"))
    if number != signal.SIGKILL:
        assert process.returncode == 0
        assert "lines in 1 files, 0 records lost" in out
        with gzip.open(path) as whole:
            assert len(whole.readlines()) == len(lines_of([path]))


@pytest.mark.slow
def test_process_that_still_opens_ends_at_once(tmp_path: Path) -> None:
    script = f"from tests.engine.test_recordjob import main; main({str(tmp_path / 'out')!r}, 'never opens')"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.wait()
    assert "0 lines in 0 files" in out or process.returncode == -signal.SIGTERM
