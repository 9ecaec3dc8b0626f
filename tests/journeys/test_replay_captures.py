"""Recorded sessions of the venue through the whole engine: the book is right, and every run says the same."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.replay.jobs import ConvertJob, ReplayJob, run_convert, run_replay
from engine.replay.report import Report
from engine.replay.store import Tally, open_recording, read_lines
from engine.view import SilentProgress
from tests.oracles import replay_book

pytestmark = [pytest.mark.captures, pytest.mark.slow]

SPOT = ("binance_spot_20240808/spot_btcusdt_20240808.gz", "binance_spot_20240808/spot_btcusdt_20240809.gz")
SPOT_ETH = (
    "binance_spot_20240808/spot_ethusdt_20240808.gz",
    "binance_spot_20240808/spot_ethusdt_20240809.gz",
)
USDM = ("binance_usdm_20240808/usdm_btcusdt_20240808.gz",)
USDM_ETH = ("binance_usdm_20240808/usdm_ethusdt_20240808.gz",)
QUIET = SilentProgress()


@dataclass(frozen=True)
class Case:
    """A capture and what its provenance says of it."""

    files: tuple[str, ...]
    market: str
    symbol: str
    messages: int
    depth_updates: int
    trades: int
    applied: int
    least_equal: float


CASES = [
    Case(SPOT, "spot", "BTCUSDT", 99_574, 6_495, 19_904, 6_493, 0.999),
    Case(SPOT_ETH, "spot", "ETHUSDT", 79_744, 6_470, 14_515, 6_468, 0.999),
    Case(USDM, "usdm", "BTCUSDT", 93_954, 6_551, 21_313, 6_547, 0.99),
    Case(USDM_ETH, "usdm", "ETHUSDT", 74_655, 6_586, 14_076, 6_581, 0.99),
]


def paths(captures: Path, files: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(captures / name for name in files)


def replayed(job: ReplayJob) -> Report:
    return run_replay(job, QUIET)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.market}-{case.symbol}")
def test_capture_is_played_without_gap_or_crossed_book(captures: Path, tmp_path: Path, case: Case) -> None:
    bbo = tmp_path / "bbo.csv"
    job = ReplayJob(paths(captures, case.files), case.market, preset="capture", bbo=bbo)
    report = replayed(job)
    assert (report.symbol, report.messages) == (case.symbol, case.messages)
    assert (report.depth_updates, report.trades) == (case.depth_updates, case.trades)
    assert (report.gaps, report.crossed, report.refused, report.broken_lines) == (0, 0, 0, 0)
    assert report.book_ticker.compared > 5_000
    assert report.book_ticker.equal >= case.least_equal * report.book_ticker.compared
    assert bbo.read_text().count("\n") == case.applied
    funnel = report.funnel
    assert funnel.sweeps > funnel.whales >= funnel.episodes > 0
    assert funnel.episodes >= funnel.imbalance >= funnel.aligned >= funnel.cost >= funnel.entries
    assert funnel.imbalance == funnel.entries + funnel.open + sum(report.vetoes.values())
    assert report.frame_to_mask_ns.depth.count == case.depth_updates
    assert not report.truncated


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case.market)
def test_best_prices_equal_the_slow_twin_at_every_update(captures: Path, tmp_path: Path, case: Case) -> None:
    bbo = tmp_path / "bbo.csv"
    first = paths(captures, case.files[:1])
    report = replayed(ReplayJob(first, case.market, bbo=bbo))
    lines = read_lines(open_recording(list(first)), Tally())
    expected = replay_book.replay(
        ((line.payload, line.symbol) for line in lines), case.symbol, is_spot=case.market == "spot"
    )
    assert bbo.read_text().splitlines() == [",".join(map(str, row)) for row in expected.bbo]
    assert (report.book_ticker.compared, report.book_ticker.equal) == (expected.compared, expected.equal)


THIN = [
    (("BINANCE_20210405_10symbols.raw.gz",), "spot", symbol)
    for symbol in ("ZILUSDT", "BTCAUD", "NEOUSDC", "RENBTCETH", "AXSBNB")
]
THIN += [
    (("BINANCE.ws.1.0.gz", "BINANCE.http.0.0.gz"), "spot", "NKNUSDT"),
    (("BINANCE_US.http.0.0.gz", "BINANCE_US.ws.1.0.gz"), "spot", "COMPUSDT"),
    (("BINANCE_FUTURES.ws.1.0.gz", "BINANCE_FUTURES.http.0.0.gz"), "usdm", "SUSHIUSDT"),
    (("BINANCE_DELIVERY.ws.1.0.gz", "BINANCE_DELIVERY.http.0.0.gz"), "coinm", "BTCUSD_211231"),
]


@pytest.mark.parametrize(
    ("files", "market", "symbol"), THIN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_thin_symbols_with_late_snapshots_equal_the_slow_twin(
    captures: Path, tmp_path: Path, files: tuple[str, ...], market: str, symbol: str
) -> None:
    given = tuple(captures / "cryptofeed_binance_2021" / name for name in files)
    bbo = tmp_path / "bbo.csv"
    report = replayed(ReplayJob(given, market, symbol=symbol, bbo=bbo))
    lines = read_lines(open_recording(list(given)), Tally())
    expected = replay_book.replay(
        ((line.payload, line.symbol) for line in lines), symbol, is_spot=market == "spot"
    )
    assert (report.depth_updates, report.trades) == (expected.depth_updates, expected.trades)
    assert (report.gaps, report.crossed, report.refused) == (0, expected.crossed, 0)
    assert bbo.read_text().splitlines() == [",".join(map(str, row)) for row in expected.bbo]


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case.market)
def test_signals_are_the_same_bytes_from_json_parts_and_conversion(
    captures: Path, tmp_path: Path, case: Case
) -> None:
    given = paths(captures, case.files)
    whole, again, converted = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    first = replayed(ReplayJob(given, case.market, preset="capture", signals=whole))
    single = tmp_path / "single.txt"
    lines = (line for path in given for line in read_lines(open_recording([path]), Tally()))
    single.write_bytes(b"".join(b"%d %s\n" % (line.recv_ns, line.payload) for line in lines))
    replayed(ReplayJob((single,), case.market, preset="capture", signals=again))
    events = tmp_path / "events"
    run_convert(ConvertJob(given, events, case.market), QUIET)
    last = replayed(ReplayJob((events,), None, preset="capture", signals=converted))
    assert whole.read_bytes() == again.read_bytes() == converted.read_bytes()
    assert whole.stat().st_size > 0
    for name in (
        "messages",
        "depth_updates",
        "trades",
        "tickers",
        "gaps",
        "crossed",
        "book_ticker",
        "signals",
    ):
        assert getattr(first, name) == getattr(last, name), name
    assert (first.funnel, first.vetoes) == (last.funnel, last.vetoes)
    assert (first.first_recv_ns, first.last_recv_ns) == (last.first_recv_ns, last.last_recv_ns)


def test_signals_do_not_depend_on_hash_seed_time_zone_or_output(captures: Path, tmp_path: Path) -> None:
    case = CASES[2]
    written = []
    for number, (seed, zone) in enumerate((("0", "UTC"), ("4711", "Asia/Tokyo"))):
        signals = tmp_path / f"{number}.jsonl"
        command = [sys.executable, "-m", "engine.cli", "replay", *map(str, paths(captures, case.files))]
        command += ["--market", case.market, "--preset", "capture", "--signals", str(signals)]
        command += ["--json"] if number else ["--bbo", str(tmp_path / "bbo")]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        written.append(signals.read_bytes())
    assert written[0] == written[1]
    assert json.loads(done.stdout.splitlines()[-1])["signals"]["whale_open"] > 0


def test_one_symbol_of_a_mixed_recording_signals_as_if_alone(captures: Path, tmp_path: Path) -> None:
    lines = []
    for name in (*SPOT[:1], *SPOT_ETH[:1]):
        lines += list(read_lines(open_recording([captures / name]), Tally()))
    lines.sort(key=lambda line: line.recv_ns)
    mixed = tmp_path / "mixed"
    mixed.write_bytes(b"".join(b"%d %s\n" % (line.recv_ns, line.payload) for line in lines))
    for files, symbol in ((SPOT, "BTCUSDT"), (SPOT_ETH, "ETHUSDT")):
        alone, among = tmp_path / "alone", tmp_path / "among"
        given = paths(captures, files[:1])
        one = replayed(ReplayJob(given, "spot", preset="capture", signals=alone))
        two = replayed(ReplayJob((mixed,), "spot", symbol=symbol, preset="capture", signals=among))
        assert alone.read_bytes() == among.read_bytes()
        assert (one.messages, one.book_ticker) == (two.messages, two.book_ticker)


def test_signals_of_the_first_part_are_a_prefix_of_those_of_the_whole(captures: Path, tmp_path: Path) -> None:
    given = paths(captures, SPOT)
    part, whole = tmp_path / "part", tmp_path / "whole"
    replayed(ReplayJob(given[:1], "spot", preset="capture", signals=part))
    replayed(ReplayJob(given, "spot", preset="capture", signals=whole))
    assert whole.read_bytes().startswith(part.read_bytes())


@pytest.mark.slow
@pytest.mark.captures
def test_every_confirmed_episode_is_entered_or_vetoed_when_it_is_over(captures: Path, tmp_path: Path) -> None:
    recording = captures / "binance_usdm_20240808" / "usdm_btcusdt_20240808.gz"
    job = ReplayJob((recording,), "usdm", preset="capture", signals=tmp_path / "s.jsonl")
    report = run_replay(job, SilentProgress())
    assert report.funnel.imbalance == 1
    assert report.funnel.open == 0
    assert report.vetoes["not_ready"] == 1
