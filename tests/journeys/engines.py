"""Engines in virtual time for whole trips: begun, steered, ended, and what they recorded replayed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.app import Engine, OnStop, RunJob
from engine.commands import Command, Verb
from engine.config import load_config
from engine.observers.recorder import DECISIONS_NAME, SIGNALS_NAME
from engine.picture import run_report
from engine.replay.jobs import ReplayJob, run_replay
from engine.replay.report import Report
from engine.rundir import RunDir
from engine.runstate import RunReport
from engine.view import SilentProgress

NS = 1_000_000_000
NS_PER_MS = 1_000_000
FOR_EVER_NS = 2**62
WALL_NS = 1_767_614_400 * NS
CATCH_UP_NS = 31 * NS

# Half of all sweeps are whales, and nearly any book confirms them: many entries in few seconds.
BUSY: Mapping[str, str] = {
    "REMORA_VOLUME_SCALPER__COOLDOWN_S": "0",
    "REMORA_VOLUME_SCALPER__MIN_CONFIDENCE": "0.5",
    "REMORA_COST__GATE": "off",
    "REMORA_RISK__MAX_ORDERS_PER_S": "60000",
    "REMORA_WHALE__FLOOR_BTC_QUOTE": "0",
    "REMORA_WHALE__QUANTILE": "0.5",
    "REMORA_WHALE__DEPTH_SHARE": "0",
    "REMORA_WHALE__EPISODE_GAP_MS": "1",
    "REMORA_ENTRY__RHO_ENTER": "0.02",
    "REMORA_ENTRY__RHO_FLOOR": "0",
    "REMORA_ENTRY__RHO_PRE_MIN": "-1",
    "REMORA_ENTRY__PULLED_SHARE_MAX": "1",
    "REMORA_ENTRY__RHO_POST_MS": "50",
    "REMORA_ENTRY__MIN_UPDATES": "1",
    "REMORA_ENTRY__EPISODE_WINDOW_MS": "300",
    "REMORA_PROFILE__EDGE_BPS": "1000",
    "REMORA_PROFILE__ROLLING_MIN": "2",
    "REMORA_EXECUTION__REST_MS": "300",
    "REMORA_SIMULATOR__WHALES_PER_MINUTE": "18",
    "REMORA_SIMULATOR__SUPPORTED_SHARE": "0.9",
    "REMORA_SIMULATOR__SUPPORT": "2",
}

# Seconds after trading began, and what happens then.
Step = tuple[float, Callable[[Engine], None]]


def told(verb: Verb, argument: str = "") -> Callable[[Engine], None]:
    """Return what gives a command as the socket does."""
    command = Command(verb=verb, argument=argument)
    return lambda engine: engine.command(command, lambda _answer: None)


def settings_of(folder: Path, seed: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a busy engine that keeps its files in `folder`."""
    return {
        **BUSY,
        "REMORA_SIMULATOR__SEED": str(seed),
        "REMORA_ENGINE__RUN_DIR": str(folder / "run"),
        "REMORA_ENGINE__STATE_DIR": str(folder / "state"),
        "REMORA_ENGINE__MARKET_MIB": "16",
        "REMORA_ENGINE__FACTS_MIB": "4",
        **(extra or {}),
    }


@dataclass
class Session:
    """One life of an engine, and the directories it lives in."""

    engine: Engine
    run_dir: RunDir
    recording: Path

    @classmethod
    def open(
        cls,
        folder: Path,
        seed: int,
        *,
        seconds: float = 8.0,
        on_stop: OnStop = "flatten",
        name: str = "recording",
        wall_ns: int = WALL_NS,
        extra: Mapping[str, str] | None = None,
    ) -> "Session":
        """Lock the directories and make the engine, anew or after one that was killed there."""
        config = load_config(None, "capture", settings_of(folder, seed, extra))
        run_dir = RunDir.open("a", config.engine.run_dir, config.engine.state_dir)
        recording = folder / name
        job = RunJob(config=config, seconds=seconds, record=recording, on_stop=on_stop, wall_ns=wall_ns)
        try:
            return cls(Engine(job, run_dir), run_dir, recording)
        except BaseException:
            run_dir.release()
            raise

    def begin(self) -> None:
        """Warm up, catch up, and begin to trade."""
        engine = self.engine
        engine.begin()
        engine.run_virtually(engine.start_ns + CATCH_UP_NS)
        engine.begin_trading()

    def run(self, steps: Iterable[Step] = ()) -> None:
        """Trade to the end, doing what is to be done on the way."""
        engine = self.engine
        for at_s, act in steps:
            engine.run_virtually(engine.trading_ns + int(at_s * NS))
            act(engine)
        engine.run_virtually(FOR_EVER_NS)

    def end(self) -> RunReport:
        """Close what is open, and report."""
        try:
            self.engine.finish()
            return run_report(self.engine, 0)
        finally:
            self.run_dir.release()

    def kill(self) -> None:
        """Let go as the kernel does: nothing more is written but what the rings hold."""
        recorder = self.engine._recorder
        if recorder is not None:
            recorder.drain()
            recorder.close()
        self.run_dir.release()


def run_session(
    folder: Path,
    seed: int,
    steps: Iterable[Step] = (),
    *,
    seconds: float = 8.0,
    prepare: Callable[[Engine], None] = lambda _engine: None,
    extra: Mapping[str, str] | None = None,
) -> tuple[Path, RunReport]:
    """Run one session from its start to its end; return its recording and its report."""
    session = Session.open(folder, seed, seconds=seconds, extra=extra)
    prepare(session.engine)
    session.begin()
    session.run(steps)
    return session.recording, session.end()


def replay(recording: Path, out: Path) -> Report:
    """Replay a recording into `out`."""
    out.mkdir()
    job = ReplayJob(
        paths=(recording / "btcusdt.txt",),
        market=None,
        signals=out / SIGNALS_NAME,
        decisions=out / DECISIONS_NAME,
    )
    return run_replay(job, SilentProgress())


def differences(recording: Path, replayed: Path) -> list[str]:
    """Return the names of the files that are not the same, byte for byte."""
    return [
        name
        for name in (SIGNALS_NAME, DECISIONS_NAME)
        if (recording / name).read_bytes() != (replayed / name).read_bytes()
    ]
