"""The command line: help that costs nothing, one sentence for bad input, exit codes that can be relied on."""

import gzip
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import app
from tests.engine.recordings import spot_session, text, trade, usdm_session, write

ROOT = Path(__file__).resolve().parents[2]
RUNNER = CliRunner()


@pytest.fixture
def spot(tmp_path: Path) -> Path:
    return write(tmp_path / "spot.gz", text(spot_session()))


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object) -> str:
    """Run a command that must be refused, and return its one sentence."""
    code, out, err = run(*arguments)
    assert code == 2, (out, err)
    assert out == ""
    assert "Traceback" not in err
    sentences = [line for line in err.splitlines() if line]
    assert len(sentences) == 1
    assert sentences[0].startswith("remora: ")
    assert sentences[0].endswith(".")
    return sentences[0]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["replay"], ["synth"], ["convert"], ["tour"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from engine.cli import app\n"
        f"try: app({[*arguments, '--help']!r})\n"
        "except SystemExit as stop: assert not stop.code\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "heavy = loaded & {'numpy', 'native', 'rich', 'msgspec', 'orjson', 'zstandard'}\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "remora" in done.stdout


@pytest.mark.parametrize("command", ["replay", "synth", "convert", "tour"])
def test_help_of_every_command_has_examples_and_exit_codes(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Example" in out
    assert "130" in out


def test_version_is_that_of_the_project() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("remora ")
    assert f'version = "{out.split()[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_wrong_arguments_are_usage_errors() -> None:
    for arguments in (["replay"], ["replay", "a", "--market", "moon"], ["replay", "a", "--typo"], ["dance"]):
        code, _, err = run(*arguments)
        assert code == 2
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (bytes(range(256)) * 64, "not a recording"),
        (gzip.compress(bytes(1000), mtime=0), "not a recording"),
        (b"open_time_ms,open,high\n1,2,3\n", "not a recording"),
        (b'1700000000000000000 {"channel":"l2Book","data":{"coin":"BTC"}}\n', "no Binance depth"),
    ],
)
def test_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "a"
    if content is not None:
        path.write_bytes(content)
    assert expected in refused("replay", path, "--market", "spot")
    assert expected in refused("convert", path, "--market", "spot", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_directory_without_description_is_refused(tmp_path: Path) -> None:
    assert "holds no meta.json" in refused("replay", tmp_path)


def test_symbol_missing_or_unknown_is_told_with_those_present(tmp_path: Path) -> None:
    messages = [*spot_session(), *spot_session("ETHUSDT", base=5_000_000, price=2_600)]
    path = write(tmp_path / "a", text(messages))
    assert "--symbol: BTCUSDT, ETHUSDT" in refused("replay", path, "--market", "spot")
    told = refused("replay", path, "--market", "spot", "--symbol", "DOGEUSDT")
    assert "DOGEUSDT is not in this recording, which holds BTCUSDT, ETHUSDT" in told


def test_market_missing_or_of_another_recording_is_refused(tmp_path: Path, spot: Path) -> None:
    usdm = write(tmp_path / "usdm", text(usdm_session()))
    assert "expected --market usdm" in refused("replay", usdm, "--market", "spot")
    assert "expected --market spot" in refused("replay", spot, "--market", "usdm")
    assert "looks like spot" in refused("replay", spot)


def test_settings_with_a_typo_are_refused_with_a_hint(tmp_path: Path, spot: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[entry]\nrho_entr = 0.7\n")
    assert "rho_enter" in refused("replay", spot, "--market", "spot", "--config", path)
    path.write_text("[entry\n")
    assert "TOML" in refused("replay", spot, "--market", "spot", "--config", path)
    assert "absent" in refused("replay", spot, "--market", "spot", "--config", tmp_path / "absent")


def test_output_that_cannot_be_written_is_refused(tmp_path: Path, spot: Path) -> None:
    before = spot.read_bytes()
    common = ("replay", spot, "--market", "spot")
    assert "cannot be written" in refused(*common, "--signals", tmp_path / "absent" / "out")
    assert "cannot be written" in refused(*common, "--bbo", tmp_path)
    assert "already used" in refused(*common, "--signals", spot)
    assert "already used" in refused(*common, "--signals", tmp_path / "a", "--bbo", tmp_path / "a")
    assert "cannot be written" in refused(
        "synth", "--seconds", 1, "--seed", 1, "--market", "spot", "--out", tmp_path / "absent" / "a"
    )
    assert spot.read_bytes() == before
    assert "is not empty" in refused("convert", spot, "--market", "spot", "--out", tmp_path)


def test_json_is_the_last_line_and_outputs_bear_their_names(tmp_path: Path, spot: Path) -> None:
    signals, bbo = tmp_path / "signals.jsonl", tmp_path / "bbo.csv"
    code, out, err = run("replay", spot, "--market", "spot", "--json", "--signals", signals, "--bbo", bbo)
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert (found["messages"], found["depth_updates"], found["trades"], found["tickers"]) == (10, 5, 2, 2)
    assert (found["gaps"], found["crossed"], found["refused"]) == (0, 0, 0)
    assert found["book_ticker"] == {"compared": 1, "equal": 1}
    assert found["units"]["source"] == "inferred from the recording"
    assert found["truncated"] is False
    assert bbo.read_text().splitlines() == [
        "102,59999.99000000,60000.01000000",
        "104,59999.99000000,60000.01000000",
        "109,59999.99000000,60000.01000000",
        "112,59999.99000000,60000.01000000",
    ]
    assert signals.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_report_for_humans_is_printed_without_json(spot: Path) -> None:
    code, out, err = run("replay", spot, "--market", "spot", "--preset", "capture")
    assert code == 0, err
    assert "BTCUSDT spot   preset capture" in out
    assert "funnel" in out


@pytest.mark.parametrize("name", ["a", "a.gz", "a.zst"])
def test_cut_recording_is_played_to_its_last_whole_line(tmp_path: Path, name: str) -> None:
    # More than one block of Zstandard: what is not a whole block is lost.
    trades = [trade("BTCUSDT", number, "60000.01000000", "0.10000000") for number in range(3, 2000)]
    path = write(tmp_path / name, text([*spot_session(), *trades]))
    path.write_bytes(path.read_bytes()[:-20])
    code, out, err = run("replay", path, "--market", "spot", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["truncated"] is True
    assert "ends too early" in err


def test_broken_lines_are_counted_and_said(tmp_path: Path) -> None:
    lines = text(spot_session()).splitlines(keepends=True)
    lines[5:5] = [b"garbage\n", lines[4][:-30] + b"\n"]
    path = write(tmp_path / "a", b"".join(lines))
    code, out, err = run("replay", path, "--market", "spot", "--json")
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    assert (found["broken_lines"], found["refused"], found["gaps"]) == (1, 1, 0)
    assert found["trades"] == 2
    assert "1 lines have no frame" in err
    assert "1 frames could not be read" in err


def test_conversion_is_replayed_with_what_it_knows(tmp_path: Path, spot: Path) -> None:
    out_dir = tmp_path / "events"
    code, out, err = run("convert", spot, "--market", "spot", "--out", out_dir)
    assert code == 0, err
    assert "10 messages" in out
    code, out, err = run("replay", out_dir, "--json", "--bbo", tmp_path / "bbo")
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert (found["messages"], found["market"], found["symbol"]) == (10, "spot", "BTCUSDT")
    assert found["book_ticker"] == {"compared": 1, "equal": 1}
    assert (tmp_path / "bbo").read_text().count("\n") == 4
    assert "--force" in refused("convert", spot, "--market", "spot", "--out", out_dir)
    assert run("convert", spot, "--market", "spot", "--out", out_dir, "--force")[0] == 0
    assert "was recorded on spot" in refused("replay", out_dir, "--market", "usdm")
    (out_dir / "events.bin").write_bytes((out_dir / "events.bin").read_bytes()[:-8])
    assert "convert the recording again" in refused("replay", out_dir)


def test_damaged_event_file_is_refused(tmp_path: Path, spot: Path) -> None:
    out_dir = tmp_path / "events"
    assert run("convert", spot, "--market", "spot", "--out", out_dir)[0] == 0
    events = bytearray((out_dir / "events.bin").read_bytes())
    events[16:24] = b"\xff" * 8
    (out_dir / "events.bin").write_bytes(events)
    assert "damaged" in refused("replay", out_dir)


def test_synthetic_recording_is_whole_and_can_be_replayed(tmp_path: Path) -> None:
    out, truth = tmp_path / "a.gz", tmp_path / "truth.jsonl"
    code, told, err = run(
        "synth", "--seconds", 1, "--seed", 3, "--market", "usdm", "--out", out, "--truth", truth
    )
    assert code == 0, err
    assert "lines" in told
    assert {path.name for path in tmp_path.iterdir()} == {"a.gz", "truth.jsonl"}
    code, told, err = run("replay", out, "--market", "usdm", "--json")
    assert code == 0, err
    assert json.loads(told.splitlines()[-1])["gaps"] == 0


def test_internal_failure_is_told_as_such(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("impossible")

    monkeypatch.setattr("engine.replay.jobs.run_replay", broken)
    code, _, err = run("replay", spot, "--market", "spot")
    assert code == 3
    assert "internal failure" in err
    assert "RuntimeError: impossible" in err


def test_ctrl_c_keeps_what_was_written_under_its_partial_name(
    tmp_path: Path, spot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_arguments: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.replay.session.Session.play_lines", stopped)
    signals = tmp_path / "signals"
    code, out, err = run("replay", spot, "--market", "spot", "--json", "--signals", signals)
    assert code == 130
    assert json.loads(out.splitlines()[-1])["interrupted"] is True
    assert "signals.partial" in err
    assert not signals.exists()
    assert (tmp_path / "signals.partial").exists()


@pytest.mark.slow
def test_ctrl_c_of_a_real_process_ends_it_with_130(tmp_path: Path) -> None:
    pipe = tmp_path / "go"
    script = (
        "import signal, sys; from engine import cli; from engine.replay import session\n"
        # A job in the background inherits SIGINT as ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "real = session.Session.play_lines\n"
        "def slow(self, lines, on_read=None, inputs=()):\n"
        "    def held():\n"
        "        for i, line in enumerate(lines):\n"
        "            yield line\n"
        f"            if i == 5: open({str(pipe)!r}, 'w').close(); import time; time.sleep(60)\n"
        "    real(self, held(), on_read, inputs)\n"
        "session.Session.play_lines = slow\n"
        "cli.main()\n"
    )
    os.mkfifo(pipe)
    recording = write(tmp_path / "a.gz", text(spot_session()))
    command = [
        sys.executable,
        "-c",
        script,
        "replay",
        str(recording),
        "--market",
        "spot",
        "--bbo",
        str(tmp_path / "b"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        # Not opened in blocking mode: a child that fails early never opens its end.
        with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as opened:
            opening = select.poll()
            opening.register(opened, select.POLLIN)
            assert opening.poll(10_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert b"Stopped by Ctrl-C" in out
    assert (tmp_path / "b.partial").read_text().startswith("102,")
    assert not (tmp_path / "b").exists()


def test_tour_without_a_terminal_prints_lines_and_the_report(
    spot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.replay.jobs.TOUR_CAPTURE", str(spot.parent))
    monkeypatch.setattr("engine.replay.jobs.TOUR_FILES", (spot.name,))
    code, out, err = run("tour")
    assert code == 0, err
    assert "0 s" in out
    assert "BTCUSDT spot   preset capture" in out


def test_tour_makes_its_own_session_when_there_is_no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.replay.jobs.TOUR_CAPTURE", "absent")
    monkeypatch.setattr("engine.replay.jobs.TOUR_SECONDS", 1.0)
    code, out, err = run("tour")
    assert code == 0, err
    assert "BTCUSDT spot   preset capture" in out
