"""The order of things in a replay: timers before reads, one decision a read, facts before conclusions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy
import numpy.typing
import pytest

from engine import corridor as room
from engine.replay.outputs import OutputFile
from engine.replay.session import Session
from engine.replay.sources import open_source
from engine.replay.store import Line
from engine.settings import Config
from engine.signals import FlowKind, Trigger
from native.events import FLOW_EVENT
from tests.engine.recordings import spot_session, text, write


class ScriptedMarket:
    """A market that does what its script says and writes down what it was asked.

    `timers` are due times with their masks; a frame b"5" returns mask 5 and leaves one flow event.
    """

    timers: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        self.calls: list[str] = []
        self.now_ns = 0
        self.waiting = list(self.timers)
        self.snapshots = 0
        self.events: list[int] = []
        self.bbo: list[tuple[int, int, int]] = []

    def advance(self, now_ns: int) -> int:
        while self.waiting and self.waiting[0][0] < now_ns:
            self.now_ns, mask = self.waiting.pop(0)
            self.calls.append(f"timer {self.now_ns}")
            if mask:
                return mask
        return 0

    def on_frame(self, frame: bytes, recv_ns: int) -> int:
        self.calls.append(f"frame {recv_ns}")
        self.now_ns = recv_ns
        self.events.append(recv_ns)
        self.bbo.append((recv_ns, 6000001, 0))
        return int(frame)

    def on_snapshot(self, _body: bytes, recv_ns: int) -> int:
        self.calls.append(f"snapshot {recv_ns}")
        self.now_ns = recv_ns
        self.snapshots += 1
        return 0

    def take_events(self) -> numpy.typing.NDArray[numpy.void]:
        found = numpy.zeros(len(self.events), dtype=FLOW_EVENT)
        found["recv_ns"] = self.events
        found["kind"] = FlowKind.WHALE_OPEN
        found["instrument_epoch"] = 1
        self.events.clear()
        return found

    def enable_bbo_log(self) -> None:
        self.calls.append("bbo")

    def take_bbo(self) -> numpy.typing.NDArray[numpy.int64]:
        found = numpy.array(self.bbo, dtype=numpy.int64).reshape(-1, 3)
        self.bbo.clear()
        return found


class TellingOrchestrator:
    """Writes its calls into the market's log."""

    def __init__(self, _strategies: object, clock: object, _sink: object, _trading: object) -> None:
        self.clock = clock

    def on_trigger(self, market: ScriptedMarket, mask: int) -> None:
        market.calls.append(f"decide {mask} at {market.now_ns}")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setattr(room, "Market", ScriptedMarket)
    monkeypatch.setattr(room, "Orchestrator", TellingOrchestrator)
    source = open_source(
        (write(tmp_path / "a", text(spot_session())),), market="spot", symbol=None, exchange_info=None
    )
    return lambda **outputs: Session(source.instrument, Config(), **outputs)


def test_lines_of_one_receive_time_are_decided_once_at_the_end_of_the_read(make) -> None:
    session = make()
    session.play_lines([Line(10, b"1", ""), Line(10, b"4", ""), Line(20, b"0", ""), Line(30, b"2", "")])
    assert session.market.calls == [
        "frame 10",
        "frame 10",
        "decide 5 at 10",
        "frame 20",
        "frame 30",
        "decide 2 at 30",
    ]
    assert (session.messages, session.first_recv_ns, session.last_recv_ns) == (4, 10, 30)


def test_due_timers_run_before_the_read_each_decided_at_its_own_time(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedMarket, "timers", [(11, 16), (12, 0), (13, 32), (99, 1)])
    session = make()
    session.play_lines([Line(10, b"1", ""), Line(20, b"8", "")])
    assert session.market.calls == [
        "frame 10",
        "decide 1 at 10",
        "timer 11",
        "decide 16 at 11",
        "timer 12",
        "timer 13",
        "decide 32 at 13",
        "frame 20",
        "decide 8 at 20",
    ]


def test_rest_depth_answer_is_a_snapshot_and_everything_else_a_frame(make) -> None:
    session = make()
    session.play_lines([Line(1, b'{"lastUpdateId":7,"bids":[],"asks":[]}', ""), Line(2, b"0", "")])
    assert session.market.calls == ["snapshot 1", "frame 2"]
    assert (session.messages, session.snapshots) == (2, 1)


def test_reads_are_told_when_all_of_them_is_applied(make) -> None:
    session = make()
    told: list[int] = []
    session.play_lines(
        [Line(1, b"0", ""), Line(1, b"0", ""), Line(2, b"0", ""), Line(3, b"0", "")], told.append
    )
    assert told == [1, 2, 3]


def test_records_and_best_prices_are_written_in_order_and_completely(tmp_path: Path, make) -> None:
    signals, bbo = OutputFile(tmp_path / "signals"), OutputFile(tmp_path / "bbo")
    session = make(signals=signals, bbo=bbo)
    session.play_lines([Line(1, b"0", ""), Line(2, b"1", ""), Line(3, b"0", "")])
    signals.finish()
    bbo.finish()
    records = [json.loads(line) for line in (tmp_path / "signals").read_bytes().splitlines()]
    assert [record["recv_ns"] for record in records] == [1, 2, 3]
    assert session.kinds["whale_open"] == 3
    assert (tmp_path / "bbo").read_text().splitlines()[0] == "1,60000.01000000,0.00000000"
    assert (tmp_path / "bbo").read_text().count("\n") == 3


def test_settings_and_units_reach_the_market(make) -> None:
    settings = make().market.settings
    assert settings["symbol"] == "BTCUSDT"
    assert (settings["price_digits"], settings["quantity_digits"], settings["tick"]) == (2, 8, 1)
    assert settings["whale_min_sweeps"] == 500


def test_interrupted_replay_keeps_every_read_that_was_whole(make) -> None:
    def broken() -> Iterator[Line]:
        yield Line(1, b"1", "")
        yield Line(2, b"1", "")
        yield Line(3, b"1", "")  # more of this read may have been to come
        raise KeyboardInterrupt

    session = make()
    with pytest.raises(KeyboardInterrupt):
        session.play_lines(broken())
    session.finish()
    assert session.kinds["whale_open"] == 2
    assert Trigger.WHALE_OPEN == 1
