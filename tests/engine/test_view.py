"""The live view: a picture on a terminal, lines elsewhere, and never an influence on what is played."""

import io
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from engine.replay.jobs import ReplayJob, run_replay
from engine.view import BarProgress, LiveView, SilentProgress, progress
from tests.engine.recordings import START_NS, spot_session, text, trade, write


def session_with_tape() -> bytes:
    trades = [
        trade(
            "BTCUSDT",
            number,
            f"{60_000 + number % 7 / 100:.8f}",
            "0.10000000",
            is_buyer_maker=number % 2 == 0,
        )
        for number in range(3, 200)
    ]
    return text(spot_session()) + text(trades, start_ns=START_NS + 10**9, step_ns=400_000_000)


def shown(
    path: Path,
    *,
    is_terminal: bool,
    speed: float = 10_000.0,
    signals: Path | None = None,
    market: Literal["spot", "usdm"] = "spot",
) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=130, height=50, _environ={})
    view = LiveView(speed, console)
    try:
        run_replay(ReplayJob((path,), market, preset="capture", signals=signals), SilentProgress(), view)
    finally:
        view.close()
    return out.getvalue()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "a.gz", session_with_tape())


def test_terminal_shows_price_book_tape_profile_and_latencies(recording: Path) -> None:
    picture = shown(recording, is_terminal=True)
    for expected in (
        "BTCUSDT",
        "59,999.99 / 60,000.01",
        "book",
        "60,001.00",
        "tape",
        "0.10000000",
        "volume profile",
        "POC",
        "rolling",
        "CVD",
        "frame to mask",
        "whales and entries, newest first",
        "imbalance",
        "█",
    ):
        assert expected in picture


def test_without_a_terminal_lines_are_printed_without_control_characters(recording: Path) -> None:
    lines = shown(recording, is_terminal=False)
    assert "\x1b" not in lines
    assert 2 <= len(lines.splitlines()) <= 10
    assert lines.splitlines()[0].strip().startswith("0 s")


def test_view_changes_nothing_in_the_signals(tmp_path: Path, recording: Path) -> None:
    seen, unseen = tmp_path / "seen", tmp_path / "unseen"
    shown(recording, is_terminal=True, signals=seen)
    run_replay(ReplayJob((recording,), "spot", preset="capture", signals=unseen), SilentProgress())
    assert seen.read_bytes() == unseen.read_bytes()


def test_picture_waits_for_its_time_at_the_speed_wanted(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        waits.append(seconds)
        now_s += seconds

    monkeypatch.setattr("engine.view.time.monotonic", lambda: now_s)
    monkeypatch.setattr("engine.view.time.sleep", sleep)
    shown(recording, is_terminal=True, speed=10.0)
    # 79.4 recorded seconds at ten times the speed, a picture at the first read after each 1.25 of them: 1.6.
    assert 7.7 <= sum(waits) <= 7.95
    assert 48 <= len(waits) <= 50


def test_progress_is_silent_without_a_terminal_and_a_bar_with_one() -> None:
    assert isinstance(progress(), SilentProgress)
    out = io.StringIO()
    bar = BarProgress(Console(file=out, force_terminal=True, width=80))
    bar.start("scanning", 100)
    bar.update(50)
    bar.start("replaying", 0)
    bar.update(1)
    bar.stop()
    assert "scanning" in out.getvalue() or "replaying" in out.getvalue()


@pytest.mark.slow
@pytest.mark.captures
def test_lines_tell_every_whale_as_it_comes(captures: Path) -> None:
    folder = captures / "binance_usdm_20240808"
    lines = shown(folder / "usdm_btcusdt_20240808.gz", is_terminal=False, market="usdm").splitlines()
    assert sum("whale open" in line for line in lines) == 39
    assert sum("entry armed: confirmed" in line for line in lines) == 1
    assert not any("imbalance" in line for line in lines)
