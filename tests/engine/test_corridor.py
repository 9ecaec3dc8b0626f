"""One order of inputs: timers of all instruments by due time, then the input, each decided at its own."""

from dataclasses import replace

import numpy
import pytest

from engine import corridor as room
from engine.config import scalper_settings
from engine.corridor import Corridor
from engine.inputs import EndInput, TradingInput
from engine.settings import Config
from native.events import FLOW_EVENT
from tests.engine.order_values import instrument

NEVER = 2**63 - 1


class ScriptedTriggers:
    def __init__(self, due):
        self.due = sorted(due)

    @property
    def next_due_ns(self):
        return self.due[0][0] if self.due else NEVER


class ScriptedMarket:
    """A market whose timers give the masks of its script; a frame b"5" gives mask 5."""

    scripts: dict = {}  # noqa: RUF012
    calls: list = []  # noqa: RUF012

    def __init__(self, *, symbol, **_):
        self.symbol = symbol
        self.now_ns = 0
        self.triggers = ScriptedTriggers(self.scripts.get(symbol, []))

    def advance(self, now_ns):
        while self.triggers.next_due_ns <= now_ns:
            self.now_ns, mask = self.triggers.due.pop(0)
            if mask:
                return mask
        self.now_ns = max(self.now_ns, now_ns)
        return 0

    def on_frame(self, frame, recv_ns):
        self.now_ns = recv_ns
        self.calls.append(f"{self.symbol} frame {recv_ns}")
        return int(frame)

    def take_events(self):
        return numpy.zeros(0, dtype=FLOW_EVENT)


class TellingOrchestrator:
    def __init__(self, _strategies, clock, _sink, _trading):
        self.clock = clock

    def on_trigger(self, market, mask):
        assert self.clock.now_ns() == market.now_ns
        market.calls.append(f"{market.symbol} decide {mask} at {market.now_ns}")


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(room, "Market", ScriptedMarket)
    monkeypatch.setattr(room, "Orchestrator", TellingOrchestrator)

    def build(**scripts):
        monkeypatch.setattr(ScriptedMarket, "scripts", scripts)
        monkeypatch.setattr(ScriptedMarket, "calls", [])
        instruments = [
            replace(instrument(), symbol=name, index=i) for i, name in enumerate(("AUSDT", "BUSDT"))
        ]
        settings = scalper_settings(Config(), instruments[0].kind)
        return Corridor(instruments, Config(), (settings, settings))

    return build


def test_timers_of_all_instruments_are_decided_in_the_order_of_their_due_times(make):
    corridor = make(AUSDT=[(10, 1), (30, 2)], BUSDT=[(20, 4), (30, 8), (99, 16)])
    corridor.on_read(corridor.lanes[1], 40, [b"0", b"32"])
    assert ScriptedMarket.calls == [
        "AUSDT decide 1 at 10",
        "BUSDT decide 4 at 20",
        "AUSDT decide 2 at 30",
        "BUSDT decide 8 at 30",
        "BUSDT frame 40",
        "BUSDT frame 40",
        "BUSDT decide 32 at 40",
    ]
    assert corridor.next_due_ns == 99


def test_timers_without_a_mask_are_run_and_decide_nothing(make):
    corridor = make(AUSDT=[(10, 0), (12, 0)])
    corridor.advance(50)
    assert ScriptedMarket.calls == []
    assert corridor.next_due_ns == NEVER


def test_input_that_is_no_frame_comes_after_the_timers_due_by_then(make):
    corridor = make(AUSDT=[(10, 1), (21, 2)])
    corridor.apply(TradingInput(at_ns=20))
    assert ScriptedMarket.calls == ["AUSDT decide 1 at 10"]
    assert corridor.clock.now_ns() == 20
    corridor.apply(EndInput(at_ns=30, reason="over"))
    assert ScriptedMarket.calls[-1] == "AUSDT decide 2 at 21"
    assert corridor.clock.now_ns() == 30
