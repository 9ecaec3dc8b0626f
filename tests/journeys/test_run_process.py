"""The command `remora run` as a process: how it ends, is steered, killed and started again, in real time."""

import os
import pty
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import orjson
import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.commands import Command, Verb
from engine.commandsocket import send_command
from engine.errors import InputError
from engine.observers.recorder import DECISIONS_NAME
from engine.rundir import socket_path
from engine.runstate import RunReport, ViewState
from tests.journeys.engines import differences, replay, settings_of

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
SEED = 5
# Whales rarer than in other journeys, and no scratch by the book: what is held is held for seconds.
STEADY = {
    "REMORA_WHALE__QUANTILE": "0.95",
    "REMORA_ENTRY__IMBALANCE_HOLD_MS": "60000",
    "REMORA_SIMULATOR__WHALES_PER_MINUTE": "60",
}
# A session and a terminal of its own, as a shell gives it.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

pytestmark = pytest.mark.slow


def until(is_true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < end_s, f"waited too long: {what}"
        time.sleep(0.01)


class Life:
    """One process of the engine in a directory that may have seen others."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        name: str = "a",
        terminal: int | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.environment = {**os.environ, **settings_of(folder, SEED, {**STEADY, **(extra or {})})}
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        command = [sys.executable, "-m", "engine.cli", "run", *arguments]
        if terminal is not None:
            command = [sys.executable, "-c", IN_TERMINAL, *command]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=out if terminal is None else terminal,
                stderr=err,
            )

    def __enter__(self) -> "Life":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def tell(self, verb: Verb, argument: str = "") -> bytes:
        path = socket_path("a", self.environment["REMORA_ENGINE__RUN_DIR"])
        return send_command(path, Command(verb=verb, argument=argument), 5.0)

    def state(self) -> ViewState | None:
        """Return what the engine shows of itself; None before it listens."""
        assert self.process.poll() is None, self.err.read_text()
        try:
            return msgspec.json.decode(self.tell(Verb.STATUS), type=ViewState)
        except InputError:
            return None

    def reach(self, is_there: Callable[[ViewState], bool], what: str) -> ViewState:
        found: list[ViewState] = []

        def is_reached() -> bool:
            state = self.state()
            if state is not None and is_there(state):
                found.append(state)
            return bool(found)

        until(is_reached, what)
        return found[0]

    def end(self, code: int) -> RunReport:
        """Wait for the end, and return the report that `--json` printed."""
        assert self.process.wait(PATIENCE_S) == code, self.err.read_text()
        return msgspec.json.decode(self.out.read_bytes().splitlines()[-1], type=RunReport)


def is_held(state: ViewState) -> bool:
    return state.position.quantity.strip("-0.") != ""


def is_protected(state: ViewState) -> bool:
    return is_held(state) and any(
        order.purpose == "hard_stop" and order.state == "open" for order in state.orders
    )


def is_trading(state: ViewState) -> bool:
    return not state.is_warming_up


def quantity(report: RunReport) -> str:
    return report.position.strip("-0.")


def facts(recording: Path, kind: str) -> Iterator[dict[str, object]]:
    for line in (recording / DECISIONS_NAME).read_bytes().splitlines():
        fact = orjson.loads(line)
        if fact["fact"] == kind:
            yield fact


def drained(terminal: int) -> bytes:
    """Return what was drawn since the last look."""
    found = b""
    try:
        while data := os.read(terminal, 65_536):
            found += data
    except OSError:  # nothing there, or nobody at the other end any more
        pass
    return found


def opened_terminal() -> tuple[int, int]:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    termios.tcsetwinsize(theirs, (50, 160))
    return ours, theirs


def test_run_ends_by_itself_flat_and_equal_and_its_recording_is_decided_again(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    with Life(tmp_path, "--for", "2s", "--json", "--record", str(recording)) as life:
        report = life.end(0)
        assert report.end == "2 s of trading are over"
        assert (report.is_equal, quantity(report), report.gc_collections) == (True, "", 0)
        assert report.orders > 0
        assert "BTCUSDT" in life.err.read_text()
    replay(recording, tmp_path / "again")
    assert differences(recording, tmp_path / "again") == []
    with Life(tmp_path, "--for", "2s", "--record", str(recording), name="b") as life:
        assert life.process.wait(PATIENCE_S) == 2
        assert "holds a recording already" in life.err.read_text()
    assert not list((tmp_path / "run" / "a").glob("facts.*"))[1:]


def test_commands_are_answered_and_obeyed_and_ctrl_c_closes_what_is_held(tmp_path: Path) -> None:
    with Life(tmp_path, "--for", "60s", "--json") as life:
        life.reach(is_held, "a position")
        second = subprocess.run(
            [sys.executable, "-m", "engine.cli", "run"],
            cwd=ROOT,
            env=life.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (second.returncode, second.stdout) == (2, "")
        assert f"runs already: process {life.process.pid}" in second.stderr
        assert second.stderr.count("\n") == 1

        status = command(life, "status")
        assert "BTCUSDT" in status
        assert orjson.loads(command(life, "pause"))["paused"] is True
        assert orjson.loads(command(life, "flatten"))["paused"] is True
        life.reach(lambda state: not is_held(state) and not state.orders, "flat")
        assert orjson.loads(command(life, "side", "short-only"))["sides"] == "short-only"
        assert orjson.loads(command(life, "side", "both"))["sides"] == "both"
        assert orjson.loads(command(life, "size", "0.9"))["size"] == 0.9
        assert orjson.loads(command(life, "halt"))["state"] == "halted"
        found = orjson.loads(command(life, "resume"))
        assert (found["state"], found["paused"]) == ("active", False)
        life.reach(is_held, "a position")
        life.process.send_signal(signal.SIGINT)
        report = life.end(0)
    assert report.end == "stopped by Ctrl-C"
    assert (report.is_equal, quantity(report)) == (True, "")


def command(life: Life, *words: str) -> str:
    result = CliRunner().invoke(app, list(words), env=life.environment)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_second_ctrl_c_ends_as_soon_as_nothing_is_under_way(tmp_path: Path) -> None:
    # Orders travel so long that the second finds the first one's closing order on its way.
    with Life(tmp_path, "--json", extra={"REMORA_SIMULATOR__ORDER_US": "120000"}) as life:
        life.reach(is_protected, "a position behind its stop")
        life.process.send_signal(signal.SIGINT)
        life.reach(lambda state: state.is_paused, "the first one to be heard")
        life.process.send_signal(signal.SIGINT)
        report = life.end(0)
    assert report.end == "a second Ctrl-C"
    assert (report.is_equal, quantity(report)) == (True, "")


def test_protect_leaves_the_position_and_the_next_start_takes_it_over(tmp_path: Path) -> None:
    with Life(tmp_path, "--json", "--on-stop", "protect") as life:
        held = life.reach(is_protected, "a position behind its stop")
        life.process.send_signal(signal.SIGTERM)
        report = life.end(0)
    assert report.end == "stopped by SIGTERM"
    assert report.position == held.position.quantity
    assert report.is_equal
    with Life(tmp_path, "--for", "0.5s", "--json", name="b") as life:
        found = life.reach(lambda state: bool(state.position.entry_price), "the position of before")
        assert found.position.entry_price == held.position.entry_price
        assert (found.position.stop, found.position.target) == (held.position.stop, held.position.target)
        report = life.end(0)
    assert (report.is_equal, quantity(report), report.epoch) == (True, "", 2)


def test_killed_engine_is_taken_over_though_the_next_is_killed_too(tmp_path: Path) -> None:
    recordings = [tmp_path / name for name in ("first", "second", "third")]
    with Life(tmp_path, "--json", "--record", str(recordings[0])) as life:
        held = life.reach(is_protected, "a position behind its stop")
    with Life(tmp_path, "--json", "--record", str(recordings[1]), name="b") as life:
        until((recordings[1] / DECISIONS_NAME).exists, "the second start")
    with Life(tmp_path, "--for", "1s", "--json", "--record", str(recordings[2]), name="c") as life:
        found = life.reach(is_held, "the position of before")
        assert found.position.quantity == held.position.quantity
        assert (found.position.stop, found.position.target, found.position.hard_stop) == (
            held.position.stop,
            held.position.target,
            held.position.hard_stop,
        )
        report = life.end(0)
    assert (report.is_equal, quantity(report), report.epoch) == (True, "", 3)
    fills = [(fact["client_order_id"], fact["trade_id"]) for fact in facts(recordings[2], "fill")]
    assert len(fills) == len(set(fills))
    assert {(fact["client_order_id"], fact["trade_id"]) for fact in facts(recordings[0], "fill")} <= set(
        fills
    )
    ids = [str(fact["client_order_id"]) for fact in facts(recordings[2], "order") if fact["event"] == "sent"]
    assert len(ids) == len(set(ids))
    newest = {str(fact["client_order_id"]): fact["state"] for fact in facts(recordings[2], "order")}
    assert set(newest.values()) <= {"filled", "cancelled", "expired", "rejected"}


def test_terminal_is_drawn_on_and_given_back_and_a_background_job_leaves_it_alone(tmp_path: Path) -> None:
    front, behind = tmp_path / "front", tmp_path / "behind"
    front.mkdir()
    behind.mkdir()
    ours, theirs = opened_terminal()
    our_shell, their_shell = opened_terminal()
    before = termios.tcgetattr(theirs)
    drawn = printed = b""
    job = f'set -m; "{sys.executable}" -m engine.cli run --for 0.5s & wait'
    shell = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, "sh", "-c", job],
        cwd=ROOT,
        env={**os.environ, **settings_of(behind, SEED, STEADY)},
        stdin=their_shell,
        stdout=their_shell,
        stderr=their_shell,
    )
    try:
        with Life(front, "--for", "1s", terminal=theirs) as life:
            end_s = time.monotonic() + PATIENCE_S
            while life.process.poll() is None or shell.poll() is None:
                assert time.monotonic() < end_s
                drawn += drained(ours)
                printed += drained(our_shell)
                time.sleep(0.01)
            drawn += drained(ours)
            printed += drained(our_shell)
        assert life.process.returncode == 0, life.err.read_text()
        assert b"\x1b[" in drawn
        assert b"K K kill" in drawn
        assert b"ended" in drawn
        assert b"EQUAL to the last unit" in drawn
        assert termios.tcgetattr(theirs) == before
        assert b"\x1b[" not in printed
        assert b"warming up" in printed
        assert b"EQUAL to the last unit" in printed
    finally:
        shell.kill()
        shell.wait()
        for terminal in (ours, theirs, our_shell, their_shell):
            os.close(terminal)


def test_shared_memory_that_is_too_small_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "run", "--for", "1s"],
        cwd=ROOT,
        env={**os.environ, **settings_of(tmp_path, SEED)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "market.1 of 16 MiB cannot be made" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [
        path for path in (tmp_path / "run" / "a").iterdir() if path.name.startswith(("facts", "market"))
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--for", "soon"], "--for expects"),
        (["run", "--for", "0s"], "--for expects"),
        (["run", "--for", "nan"], "--for expects"),
        (["run", "--for", "800h"], "--for expects"),
        (["run", "--config", "absent.toml"], "absent.toml"),
        (["size", "2"], "2"),
        (["side", "up"], "up"),
        *(([verb], "No engine is running") for verb in ("status", "halt", "resume", "pause", "flatten")),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, arguments, env=settings_of(tmp_path, SEED))
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
