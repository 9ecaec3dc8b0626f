"""A session of the engine, recorded, makes the same signals and decisions in replay, byte for byte.

Whatever enters: frames, reports, commands, the control page, the lag of a reader, a transport that refuses, a
last look that says no, what a killed engine left. And whatever leaves is worth the same at the venue.
"""

import errno
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import pytest

from engine.app import NOT_FLAT, Engine
from engine.clock import Clock
from engine.commands import Verb
from engine.execution.lastlook import LiveLook
from engine.observers.recorder import DECISIONS_NAME, SIGNALS_NAME
from engine.records import FlowRecord
from engine.runstate import RunReport
from engine.venues.venue import SendStatus, Transport
from native.control import ControlPage, ControlSlot, Wanted
from native.ring import RingWriter
from tests.journeys.engines import NS, WALL_NS, Session, Step, differences, replay, run_session, told

SPOT = {"REMORA_SIMULATOR__MARKET": "spot"}
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def facts_of(recording: Path, kind: str) -> list[dict[str, object]]:
    lines = (recording / DECISIONS_NAME).read_bytes().splitlines()
    return [fact for fact in map(orjson.loads, lines) if fact["fact"] == kind]


def inputs_of(recording: Path) -> Counter[str]:
    lines = (recording / "btcusdt.inputs.jsonl").read_bytes().splitlines()
    return Counter(orjson.loads(line)["input"] for line in lines)


def replayed(folder: Path, recording: Path, report: RunReport) -> None:
    """Replay what was recorded, and hold the session to what every session must keep."""
    assert report.market_records_lost == 0
    assert report.is_equal, (report.pnl, report.exchange_pnl)
    again = replay(recording, folder / "again")
    assert differences(recording, folder / "again") == []
    assert again.orders is not None
    assert (again.orders.pnl, again.orders.fills) == (report.pnl, report.fills)


def run_and_replay(
    folder: Path,
    seed: int,
    steps: Sequence[Step] = (),
    *,
    market: str = "usdm",
    prepare: Callable[[Engine], None] = lambda _engine: None,
    seconds: float = 8.0,
) -> tuple[Path, RunReport]:
    extra = {"REMORA_SIMULATOR__MARKET": market}
    recording, report = run_session(folder, seed, steps, prepare=prepare, seconds=seconds, extra=extra)
    replayed(folder, recording, report)
    return recording, report


@pytest.mark.parametrize("market", ["usdm", "spot"])
@pytest.mark.parametrize("seed", [1, 2, 4, 5, 7])
def test_session_is_decided_again_byte_for_byte(tmp_path: Path, seed: int, market: str) -> None:
    recording, report = run_and_replay(tmp_path, seed, market=market)
    assert (report.exit_code, report.is_equal) == (0, True)
    assert report.fills == len(facts_of(recording, "fill")) > 0


@pytest.mark.drill
@pytest.mark.parametrize("market", ["usdm", "spot"])
@pytest.mark.parametrize("seed", range(100, 150))
def test_many_sessions_are_decided_again_byte_for_byte(tmp_path: Path, seed: int, market: str) -> None:
    if not os.environ.get("REMORA_DRILL"):
        pytest.skip("a drill: REMORA_DRILL=1 runs it")
    _, report = run_and_replay(tmp_path, seed, market=market, seconds=20.0)
    assert report.exit_code == 0


def test_replay_depends_on_no_hash_seed_time_zone_or_load(tmp_path: Path) -> None:
    recording, report = run_session(tmp_path, 3)
    assert report.fills > 0
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for number, zone in enumerate(("Asia/Kathmandu", "America/St_Johns")):
            out = tmp_path / str(number)
            out.mkdir()
            subprocess.run(
                [
                    *(sys.executable, "-m", "engine.cli", "replay", recording / "btcusdt.txt"),
                    *("--signals", out / SIGNALS_NAME, "--decisions", out / DECISIONS_NAME),
                ],
                cwd=ROOT,
                env={**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number * 977 + 1)},
                check=True,
                capture_output=True,
                timeout=60,
            )
            assert differences(recording, out) == []
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("market", ["usdm", "spot"])
def test_commands_in_the_middle_are_decided_again(tmp_path: Path, market: str) -> None:
    steps = [
        (1.0, told(Verb.PAUSE)),
        (1.5, told(Verb.RESUME)),
        (2.0, told(Verb.SIDE, "short-only")),
        (2.5, told(Verb.SIDE, "long-only")),
        (3.5, told(Verb.FLATTEN)),
        (3.6, told(Verb.SIDE, "both")),
        (3.7, told(Verb.SIZE, "0.5")),
        (5.0, told(Verb.HALT)),
        (5.3, told(Verb.FLATTEN)),
        (6.0, told(Verb.RESUME)),
        (6.1, told(Verb.STATUS)),
        (7.5, told(Verb.STOP, "flatten")),
    ]
    recording, report = run_and_replay(tmp_path, 7, steps, market=market)
    states = [
        (fact["wanted"], fact["is_paused"], fact["sides"], fact["size"])
        for fact in facts_of(recording, "state")
    ]
    assert states[:8] == [
        ("active", True, "both", 1.0),
        ("active", False, "both", 1.0),
        ("active", False, "short-only", 1.0),
        ("active", False, "long-only", 1.0),
        ("active", False, "both", 1.0),
        ("active", False, "both", 0.5),
        ("halted", False, "both", 0.5),
        ("active", False, "both", 0.5),
    ]
    assert report.end == "told to stop"
    assert report.desk_refusals["side_closed"] > 0


def test_view_is_given_whales_and_no_imbalances(tmp_path: Path) -> None:
    session = Session.open(tmp_path, 7, seconds=2.0)
    session.begin()
    session.run()
    lines = map(orjson.loads, (session.recording / SIGNALS_NAME).read_bytes().splitlines())
    assert session.engine.lane.kinds["imbalance_on"] > 0
    session.end()
    kinds = [line["kind"] for line in lines if line["record"] == "flow"]
    shown = [record.kind for record in session.engine.records if isinstance(record, FlowRecord)]
    assert "imbalance_on" in kinds
    assert "whale_open" in shown
    assert not [kind for kind in shown if kind.startswith("imbalance")]


class FullDevice:
    """A file on a device that takes nothing more."""

    def write(self, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        pass


def test_recording_that_cannot_be_written_ends_the_session_flat(tmp_path: Path) -> None:
    session = Session.open(tmp_path, 7)
    session.begin()
    recorder = session.engine._recorder
    assert recorder is not None

    def fill(_engine: Engine) -> None:
        recorder._files[0].close()
        recorder._files[0] = FullDevice()  # type: ignore[call-overload]

    session.run([(2.0, fill)])
    report = session.end()
    assert (report.exit_code, report.end, report.is_equal) == (3, "the recording failed", True)
    assert report.position.strip("0.") == ""
    assert report.seconds < 4.0
    assert "No space left on device" in report.notes[0]


def test_commands_at_any_moment_are_decided_again(tmp_path: Path) -> None:
    rng = random.Random(11)
    verbs = [(Verb.FLATTEN, ""), (Verb.PAUSE, ""), (Verb.HALT, ""), *[(Verb.RESUME, "")] * 3]
    moments = sorted(rng.uniform(0.0, 8.0) for _ in range(40))
    steps = [(at_s, told(*rng.choice(verbs))) for at_s in moments]
    run_and_replay(tmp_path, 9, steps)


def test_state_raised_on_the_control_page_is_decided_again(tmp_path: Path) -> None:
    def raised(slot: ControlSlot, state: Wanted) -> Callable[[Engine], None]:
        def act(engine: Engine) -> None:
            page = ControlPage.open(str(engine.run_dir.control_path))
            page.raise_wanted(slot, state, engine.clock.now_ns())
            page.close()

        return act

    def resumed_and_raised(engine: Engine) -> None:
        # Between the clearing of the page and the engine's next look at it.
        told(Verb.RESUME)(engine)
        engine.step()
        raised(ControlSlot.SLOT_GUARD, Wanted.WANTED_HALTED)(engine)

    steps = [
        (1.0, raised(ControlSlot.SLOT_GUARD, Wanted.WANTED_REDUCING)),
        (2.0, raised(ControlSlot.SLOT_OPERATOR, Wanted.WANTED_HALTED)),
        (3.0, resumed_and_raised),
        (4.0, told(Verb.RESUME)),
    ]
    recording, _ = run_and_replay(tmp_path, 7, steps)
    assert inputs_of(recording)["wanted"] == 3
    states = [fact["wanted"] for fact in facts_of(recording, "state")]
    assert states[:5] == ["reducing", "halted", "active", "halted", "active"]


class LaggingRing:
    """The ring of facts, with a durable reader that is as far behind as it is told."""

    def __init__(self, ring: RingWriter) -> None:
        self._ring = ring
        self.durable_lag = 0.0

    def append(self, kind: int, payload: bytes, time_ns: int) -> int:
        return self._ring.append(kind, payload, time_ns)

    def close(self) -> None:
        self._ring.close()


def test_lag_of_a_durable_reader_is_decided_again(tmp_path: Path) -> None:
    rings: list[LaggingRing] = []

    def prepare(engine: Engine) -> None:
        rings.append(LaggingRing(engine._facts_ring))
        engine._facts_ring = rings[0]  # type: ignore[assignment]

    def lagging(share: float) -> Callable[[Engine], None]:
        return lambda _engine: setattr(rings[0], "durable_lag", share)

    steps = [
        *((1.0, lagging(0.6)), (4.0, lagging(0.2)), (5.0, lagging(0.95)), (6.0, lagging(0.0))),
        (6.5, told(Verb.RESUME)),
    ]
    recording, report = run_and_replay(tmp_path, 9, steps, prepare=prepare)
    assert inputs_of(recording)["facts_lag"] == 4
    assert report.desk_refusals["facts_lag"] > 0
    assert [fact["wanted"] for fact in facts_of(recording, "state")][:2] == ["halted", "active"]


class ChokingTransport:
    """Takes a request in so many, and is down or backed up for the others."""

    def __init__(self, target: Transport) -> None:
        self._target = target
        self._rng = random.Random(5)

    def send(self, request: bytes) -> SendStatus:
        status = self._rng.choice([*[SendStatus.SENT] * 4, *list(SendStatus)[1:]])
        return self._target.send(request) if status is SendStatus.SENT else status


@pytest.mark.parametrize("market", ["usdm", "spot"])
def test_transport_that_refuses_is_decided_again(tmp_path: Path, market: str) -> None:
    def prepare(engine: Engine) -> None:
        line = engine.trading.executor._venues[0]._transport  # type: ignore[attr-defined]
        line.target = ChokingTransport(engine.venue.exchange)

    recording, report = run_and_replay(tmp_path, 7, market=market, prepare=prepare)
    assert inputs_of(recording)["send"] > 3
    assert report.fills > 0


class JumpingClock:
    """Real time that is now and then later than what was decided on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._n_looks = 0

    def now_ns(self) -> int:
        self._n_looks += 1
        return self._clock.now_ns() + (NS if self._n_looks % 3 == 0 else 0)


def test_last_look_that_refuses_is_decided_again(tmp_path: Path) -> None:
    def prepare(engine: Engine) -> None:
        look = engine.trading.executor._last_look
        assert isinstance(look, LiveLook)
        look._clock = JumpingClock(engine.clock)  # type: ignore[misc]

    recording, report = run_and_replay(tmp_path, 7, prepare=prepare)
    assert inputs_of(recording)["last_look"] > 2
    assert report.fills > 0


@pytest.mark.parametrize("market", ["usdm", "spot"])
def test_what_a_killed_engine_left_is_decided_again(tmp_path: Path, market: str) -> None:
    extra = {"REMORA_SIMULATOR__MARKET": market}
    first = Session.open(tmp_path, 7, name="first", extra=extra)
    first.begin()
    engine = first.engine
    while not engine.trading.desk.positions[0].quantity:
        assert not engine.is_over
        engine.run_virtually(engine.next_ns)
    first.kill()

    second = Session.open(tmp_path, 7, wall_ns=WALL_NS + 60 * NS, extra=extra)
    second.begin()
    second.run()
    report = second.end()
    replayed(tmp_path, second.recording, report)
    assert report.position.strip("0.") == ""
    before, after = (
        [fact["client_order_id"] for fact in facts_of(life.recording, "order") if fact["event"] == "sent"]
        for life in (first, second)
    )
    # What was taken over is told again, and nothing is sent under a number that was used.
    assert {name for name in after if str(name).startswith("ra1-")} <= set(before)
    assert len([name for name in after if str(name).startswith("ra2-")]) > 2


def held(folder: Path, seed: int, name: str, extra: Mapping[str, str]) -> Session:
    """Return a session that holds a position behind an acknowledged stop at the venue."""
    session = Session.open(folder, seed, name=name, extra=extra)
    session.begin()
    engine = session.engine
    while not (engine.trading.desk.positions[0].quantity and engine._has_stop()):
        assert not engine.is_over
        engine.run_virtually(engine.next_ns)
    return session


@pytest.mark.parametrize("market", ["usdm", "spot"])
@pytest.mark.parametrize("has_second", [True, False])
def test_position_that_cannot_be_closed_stays_behind_its_stop_for_the_next_start(
    tmp_path: Path, market: str, *, has_second: bool
) -> None:
    extra = {"REMORA_SIMULATOR__MARKET": market}
    first = held(tmp_path, 7, "first", extra)
    engine = first.engine
    engine.trading.executor._venues[0]._transport.target = None  # type: ignore[attr-defined]
    engine.request_stop("flatten", "stopped by Ctrl-C")
    engine.run_virtually(engine.clock.now_ns() + NS // 2)
    assert not engine.is_over
    if has_second:
        engine.request_stop("protect", "a second Ctrl-C", NOT_FLAT)
        engine.request_stop("flatten", "stopped by SIGTERM")
    stopped_ns = engine.clock.now_ns()
    first.run()
    took_ns = engine.clock.now_ns() - stopped_ns
    assert took_ns < NS if has_second else 9 * NS < took_ns < 10 * NS
    report = first.end()
    assert (report.exit_code, report.is_equal) == (3, True)
    assert report.position.strip("0.") != ""
    assert has_second or "the stop at the venue stands" in report.notes[0]

    second = Session.open(tmp_path, 7, wall_ns=WALL_NS + 60 * NS, extra=extra)
    assert second.engine.venue.exchange.account.open_orders
    second.begin()
    second.run()
    report = second.end()
    replayed(tmp_path, second.recording, report)
    assert (report.exit_code, report.position.strip("0.")) == (0, "")


@pytest.mark.parametrize("market", ["usdm", "spot"])
def test_time_stop_that_passed_while_no_engine_ran_closes_at_once(tmp_path: Path, market: str) -> None:
    extra = {"REMORA_SIMULATOR__MARKET": market}
    first = held(tmp_path, 7, "first", extra)
    deadline_ns = first.engine.trading.desk.plans[0].deadline_ns  # type: ignore[union-attr]
    first.kill()
    second = Session.open(tmp_path, 7, wall_ns=WALL_NS + 3600 * NS, extra=extra)
    assert second.engine.start_ns > deadline_ns
    second.begin()
    second.run()
    replayed(tmp_path, second.recording, second.end())
    decisions = [fact for fact in facts_of(second.recording, "decision") if fact["is_reducing"]]
    assert decisions[0]["purpose"] == "time"
    # Futures close by MARKET before there is a book; on spot the fate of the stop that locks the coins is
    # asked for first, after the second that an answer may take.
    assert int(str(decisions[0]["decide_ns"])) - second.engine.start_ns < (NS if market == "usdm" else 2 * NS)


class Killed(BaseException):
    """The process ends here, between two instructions."""


class MortalRing:
    """The ring of facts, until a fact that is the last: it is written, or it is not."""

    durable_lag = 0.0

    def __init__(self, ring: RingWriter, n_left: int, *, is_last_written: bool) -> None:
        self._ring = ring
        self._n_left = n_left
        self._is_last_written = is_last_written

    def append(self, kind: int, payload: bytes, time_ns: int) -> None:
        self._n_left -= 1
        if self._n_left or self._is_last_written:
            self._ring.append(kind, payload, time_ns)
        if not self._n_left:
            raise Killed


def lives_to_the_end(folder: Path, seed: int, market: str) -> RunReport:
    """Kill up to three engines one after another, each at any fact, and let the last one end."""
    rng = random.Random(seed)
    extra = {"REMORA_SIMULATOR__MARKET": market}
    wall_ns, sent = WALL_NS, list[str]()
    for number in range(rng.randint(1, 3)):
        life = Session.open(folder, seed, seconds=6.0, name=f"life{number}", wall_ns=wall_ns, extra=extra)
        ring = MortalRing(life.engine._facts_ring, rng.randint(1, 100), is_last_written=rng.random() < 0.5)
        life.engine._facts_ring = ring  # type: ignore[assignment]
        try:
            life.begin()
            life.run()
        except Killed:
            pass
        life.kill()
        names = (str(f["client_order_id"]) for f in facts_of(life.recording, "order") if f["event"] == "sent")
        sent += [name for name in names if name.startswith(f"ra{number + 1}-")]
        wall_ns += int(rng.uniform(50.0, 53.0) * NS)
    last = Session.open(folder, seed, seconds=6.0, wall_ns=wall_ns, extra=extra)
    last.begin()
    last.run()
    report = last.end()
    replayed(folder, last.recording, report)
    assert len(sent) == len(set(sent))
    fills = [(fact["client_order_id"], fact["trade_id"]) for fact in facts_of(last.recording, "fill")]
    assert len(fills) == len(set(fills))
    assert (report.exit_code, report.position.strip("0.")) == (0, "")
    return report


@pytest.mark.parametrize("market", ["usdm", "spot"])
@pytest.mark.parametrize("seed", [4, 202])
def test_engines_killed_at_any_fact_lose_and_double_nothing(tmp_path: Path, seed: int, market: str) -> None:
    lives_to_the_end(tmp_path, seed, market)


@pytest.mark.drill
@pytest.mark.parametrize("market", ["usdm", "spot"])
@pytest.mark.parametrize("seed", range(200, 240))
def test_many_killed_engines_lose_and_double_nothing(tmp_path: Path, seed: int, market: str) -> None:
    if not os.environ.get("REMORA_DRILL"):
        pytest.skip("a drill: REMORA_DRILL=1 runs it")
    lives_to_the_end(tmp_path, seed, market)


def changed(path: Path, change: Callable[[list[bytes]], None]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def first_of(lines: list[bytes], part: bytes) -> int:
    return next(number for number, line in enumerate(lines) if part in line)


def drop_a_fill(lines: list[bytes]) -> None:
    del lines[first_of(lines, b'"kind":"fill"')]


def shift_a_fill(lines: list[bytes]) -> None:
    number = first_of(lines, b'"kind":"fill"')
    at_ns = orjson.loads(lines[number])["at_ns"]
    lines[number] = lines[number].replace(b'"at_ns":%d' % at_ns, b'"at_ns":%d' % (at_ns + 1))


def drop_the_beginning_of_trading(lines: list[bytes]) -> None:
    del lines[first_of(lines, b'"input":"trading"')]


def drop_a_frame(lines: list[bytes]) -> None:
    depths = [number for number, line in enumerate(lines) if b"@depth" in line]
    del lines[depths[len(depths) // 2]]


def swap_two_frames(lines: list[bytes]) -> None:
    depths = [number for number, line in enumerate(lines) if b"@depth" in line]
    one, other = depths[len(depths) // 2 : len(depths) // 2 + 2]
    (stamp, _, payload), (other_stamp, _, other_payload) = (
        lines[number].partition(b" ") for number in (one, other)
    )
    lines[one], lines[other] = stamp + b" " + other_payload, other_stamp + b" " + payload


def test_recording_with_one_line_changed_makes_other_decisions(tmp_path: Path) -> None:
    recording, _ = run_session(tmp_path, 7, seconds=4.0)
    for number, (name, change) in enumerate(
        (
            ("btcusdt.inputs.jsonl", drop_a_fill),
            ("btcusdt.inputs.jsonl", shift_a_fill),
            ("btcusdt.inputs.jsonl", drop_the_beginning_of_trading),
            ("btcusdt.txt", drop_a_frame),
            ("btcusdt.txt", swap_two_frames),
        )
    ):
        kept = (recording / name).read_bytes()
        changed(recording / name, change)
        replay(recording, tmp_path / str(number))
        assert differences(recording, tmp_path / str(number)) != [], change.__name__
        (recording / name).write_bytes(kept)
    replay(recording, tmp_path / "as it was")
    assert differences(recording, tmp_path / "as it was") == []
