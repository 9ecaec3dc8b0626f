from dataclasses import dataclass, field, replace

import msgspec
import pytest

from engine.clock import VirtualClock
from engine.config import load_config, scalper_settings
from engine.orchestrator import Orchestrator
from engine.signals import MarketKind, Side, Signal, Trigger, Veto, VetoReason
from strategies.volume_scalper import VolumeScalper
from tests.strategies.views import NS_PER_S, FakeMarket, FakeProfile


@dataclass
class Scripted:
    """A strategy that answers what it is told to."""

    answer: Signal | Veto | None = None
    name: str = "scripted"
    calls: list[str] = field(default_factory=list)

    def propose(self, view):
        assert view is not None
        self.calls.append("propose")
        return self.answer

    def on_expired(self, view):
        assert view is not None
        self.calls.append("expired")


def settings():
    return scalper_settings(load_config(None, "live", {}), MarketKind.USDM)


@pytest.fixture
def market():
    return FakeMarket(known=(FakeProfile(poc=10_045.0, vah=10_080.0, val=9_999.0),))


@pytest.fixture
def signal(market):
    return VolumeScalper(settings()).propose(market)


def orchestra(*strategies, now_ns=7):
    heard = []
    return Orchestrator(strategies, VirtualClock(now_ns), heard.append), heard


def test_entry_asks_every_strategy_and_tells_the_sink_in_order(market, signal):
    veto = Veto(reason=VetoReason.COST, signal=signal)
    orchestrator, heard = orchestra(Scripted(signal), Scripted(None), Scripted(veto))
    outcomes = orchestrator.on_trigger(market, Trigger.ENTRY | Trigger.WHALE_CLOSE)
    assert [type(found) for found in outcomes] == [Signal, Veto]
    assert heard == outcomes


def test_outcomes_carry_the_time_of_the_decision_and_are_otherwise_untouched(market, signal):
    veto = Veto(reason=VetoReason.COST, signal=signal)
    orchestrator, heard = orchestra(Scripted(signal), Scripted(veto), now_ns=1002 * NS_PER_S)
    orchestrator.on_trigger(market, Trigger.ENTRY)
    stamped = msgspec.structs.replace(signal, decide_ns=1002 * NS_PER_S)
    assert heard == [stamped, Veto(reason=VetoReason.COST, signal=stamped)]
    assert signal.decide_ns == 1001 * NS_PER_S


@pytest.mark.parametrize(
    "mask", [0, *(bit for bit in Trigger if bit not in (Trigger.ENTRY, Trigger.ENTRY_EXPIRED))]
)
def test_nothing_is_asked_without_a_candidate(market, signal, mask):
    strategy = Scripted(signal)
    orchestrator, heard = orchestra(strategy)
    assert orchestrator.on_trigger(market, mask) == heard == strategy.calls == []


@pytest.mark.parametrize("trouble", [Trigger.GAP, Trigger.STALE, Trigger.GAP | Trigger.LIVE])
def test_gap_or_stale_in_the_read_proposes_nothing(market, signal, trouble):
    strategy = Scripted(signal)
    orchestrator, heard = orchestra(strategy)
    assert orchestrator.on_trigger(market, Trigger.ENTRY | trouble) == heard == []
    assert strategy.calls == []
    orchestrator.on_trigger(market, Trigger.ENTRY_EXPIRED | trouble)
    assert strategy.calls == ["expired"]


def test_expiry_is_told_before_a_new_candidate_is_judged(market, signal):
    strategy = Scripted(signal)
    orchestrator, _ = orchestra(strategy)
    orchestrator.on_trigger(market, int(Trigger.ENTRY | Trigger.ENTRY_EXPIRED))
    assert strategy.calls == ["expired", "propose"]


def test_long_against_short_is_nothing_but_vetoes_are_told(market, signal):
    short = msgspec.structs.replace(signal, side=Side.SELL)
    veto = Veto(reason=VetoReason.COST, signal=short)
    orchestrator, heard = orchestra(Scripted(signal), Scripted(veto), Scripted(short))
    orchestrator.on_trigger(market, Trigger.ENTRY)
    assert [type(found) for found in heard] == [Veto]
    assert orchestrator.n_disagreements == 1


def test_vetoed_short_does_not_stand_against_a_long(market, signal):
    veto = Veto(reason=VetoReason.COST, signal=msgspec.structs.replace(signal, side=Side.SELL))
    orchestrator, heard = orchestra(Scripted(signal), Scripted(veto), Scripted(signal))
    orchestrator.on_trigger(market, Trigger.ENTRY)
    assert [type(found) for found in heard] == [Signal, Veto, Signal]
    assert orchestrator.n_disagreements == 0


def test_scalper_enters_an_episode_once_however_often_it_is_triggered(market):
    orchestrator, heard = orchestra(VolumeScalper(settings()))
    for _ in range(5):
        orchestrator.on_trigger(market, Trigger.ENTRY)
    orchestrator.on_trigger(replace(market, waiting=None), Trigger.ENTRY_EXPIRED)
    assert [type(found) for found in heard] == [Signal]
