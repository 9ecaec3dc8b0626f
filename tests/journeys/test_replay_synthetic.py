"""A synthetic recording, in which the whales are known, through the command from end to end."""

import json
from pathlib import Path

import pytest

from engine.replay.jobs import ConvertJob, ReplayJob, run_convert, run_replay, run_synth
from engine.replay.store import Tally, open_recording, read_lines
from engine.view import SilentProgress
from tests.oracles import replay_book

QUIET = SilentProgress()


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_synthetic_minute_is_played_exactly_and_repeats_to_the_byte(tmp_path: Path, market: str) -> None:
    recording, truth = tmp_path / "a.gz", tmp_path / "truth.jsonl"
    summary = run_synth(60, 11, "spot" if market == "spot" else "usdm", recording, truth)
    signals, bbo, again = tmp_path / "signals", tmp_path / "bbo", tmp_path / "again"
    report = run_replay(ReplayJob((recording,), market, preset="capture", signals=signals, bbo=bbo), QUIET)
    assert (report.messages, report.depth_updates) == (summary.lines, summary.depth_updates)
    assert report.trades == summary.trades
    assert (report.gaps, report.crossed, report.refused) == (0, 0, 0)
    lines = read_lines(open_recording([recording]), Tally())
    expected = replay_book.replay(
        ((line.payload, line.symbol) for line in lines), summary.symbol, is_spot=market == "spot"
    )
    assert bbo.read_text().splitlines() == [",".join(map(str, row)) for row in expected.bbo]
    assert (report.book_ticker.compared, report.book_ticker.equal) == (expected.compared, expected.equal)
    run_convert(ConvertJob((recording,), tmp_path / "events", market), QUIET)
    run_replay(ReplayJob((tmp_path / "events",), None, preset="capture", signals=again), QUIET)
    assert signals.read_bytes() == again.read_bytes()
    kinds = [json.loads(line) for line in signals.read_bytes().splitlines()]
    assert sum(report.signals.values()) == len(kinds)
