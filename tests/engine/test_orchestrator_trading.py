"""From outcomes to orders: what is asked of desk and executor, in which order."""

from dataclasses import dataclass, field

import msgspec
import pytest

from engine.clock import VirtualClock
from engine.config import load_config, scalper_settings
from engine.errors import StateError
from engine.orchestrator import MAX_WISHES, Orchestrator, Trading
from engine.orders import Approved, Change, Order, OrderEvent, OrderState, RefusalReason, Refused, Withdraw
from engine.signals import MarketKind, Trigger
from strategies.volume_scalper import VolumeScalper
from tests.engine.order_values import intent
from tests.engine.test_orchestrator import Scripted
from tests.strategies.views import FakeMarket, FakeProfile

WITHDRAW = Withdraw(client_order_id="ra1-9", instrument=0, reason="gap", decide_ns=7)


def change():
    order = Order(
        client_order_id="ra1-9", intent=intent(), quantity=10, state=OrderState.OPEN, sent_ns=1, last_ns=1
    )
    return Change(
        order=order,
        event=OrderEvent.CANCEL_SENT,
        state_before=OrderState.OPEN,
        leaves_before=10,
        leaves_after=10,
        fill=None,
        at_ns=7,
    )


@dataclass
class FakeDesk:
    """Wishes what it is told to, approves everything unless told otherwise, and writes its calls down."""

    calls: list = field(default_factory=list)
    on_trigger_wishes: list = field(default_factory=list)
    on_change_wishes: list = field(default_factory=list)
    refusal: RefusalReason | None = None

    def on_trigger(self, _market, mask):
        self.calls.append(f"trigger {mask}")
        return list(self.on_trigger_wishes)

    def intend(self, signal, _market):
        self.calls.append(f"intend {signal.confidence}")
        return intent(signal=signal)

    def review(self, wish, _market):
        self.calls.append(f"review {wish.purpose}")
        if self.refusal is not None:
            return Refused(reason=self.refusal, intent=wish)
        return Approved(serial=1, intent=wish, quantity=wish.quantity)

    def release(self, _approved):
        self.calls.append("release")

    def on_sent(self, order):
        self.calls.append(f"sent {order.client_order_id}")

    def on_change(self, _change, _market):
        self.calls.append("change")
        return list(self.on_change_wishes)


@dataclass
class FakeExecutor:
    calls: list
    refusal: RefusalReason | None = None

    def submit(self, approved, now_ns):
        self.calls.append(f"submit at {now_ns}")
        if self.refusal is not None:
            return Refused(reason=self.refusal, intent=approved.intent)
        return Order(
            client_order_id="ra1-1",
            intent=approved.intent,
            quantity=approved.quantity,
            state=OrderState.IN_FLIGHT,
            sent_ns=now_ns,
            last_ns=now_ns,
        )

    def cancel(self, wish, _now_ns):
        self.calls.append(f"cancel {wish.client_order_id}")
        return change()


@pytest.fixture
def market():
    return FakeMarket(known=(FakeProfile(poc=10_045.0, vah=10_080.0, val=9_999.0),))


@pytest.fixture
def signal(market):
    return VolumeScalper(scalper_settings(load_config(None, "live", {}), MarketKind.USDM)).propose(market)


def make(*strategies, desk=None, refusal=None):
    desk = desk or FakeDesk()
    executor = FakeExecutor(desk.calls, refusal)
    heard = []
    trading = Trading(desk, executor, heard.append)
    return Orchestrator(strategies, VirtualClock(7), heard.append, trading), desk.calls, heard


def test_desk_looks_after_what_is_held_before_a_strategy_is_asked(market, signal):
    strategy = Scripted(signal)
    orchestrator, calls, heard = make(strategy, desk=FakeDesk(on_trigger_wishes=[WITHDRAW, intent()]))
    orchestrator.on_trigger(market, Trigger.ENTRY)
    assert calls == [
        "trigger 8",
        "cancel ra1-9",
        "change",
        "review entry",
        "submit at 7",
        "sent ra1-1",
        f"intend {signal.confidence}",
        "review entry",
        "submit at 7",
        "sent ra1-1",
    ]
    assert len(heard) == 1


def test_most_confident_of_several_signals_becomes_the_only_intent(market, signal):
    weaker = msgspec.structs.replace(signal, confidence=signal.confidence - 0.05)
    orchestrator, calls, heard = make(Scripted(weaker), Scripted(signal), Scripted(weaker))
    orchestrator.on_trigger(market, Trigger.ENTRY)
    assert [call for call in calls if call.startswith("intend")] == [f"intend {signal.confidence}"]
    assert len(heard) == 3


def test_broken_book_proposes_nothing_but_the_desk_is_asked(market, signal):
    orchestrator, calls, heard = make(Scripted(signal))
    assert orchestrator.on_trigger(market, Trigger.ENTRY | Trigger.GAP) == []
    assert (calls, heard) == ([f"trigger {8 | 32}"], [])


def test_refused_intent_reaches_no_executor(market, signal):
    orchestrator, calls, _ = make(Scripted(signal), desk=FakeDesk(refusal=RefusalReason.PAUSED))
    orchestrator.on_trigger(market, Trigger.ENTRY)
    assert calls[-1] == "review entry"


def test_approval_that_could_not_be_sent_is_given_back(market, signal):
    orchestrator, calls, _ = make(Scripted(signal), refusal=RefusalReason.ORDER_SOCKET_DOWN)
    orchestrator.on_trigger(market, Trigger.ENTRY)
    assert calls[-2:] == ["submit at 7", "release"]


def test_wishes_that_do_not_end_are_an_error(market):
    orchestrator, calls, _ = make(desk=FakeDesk(on_change_wishes=[WITHDRAW]))
    with pytest.raises(StateError, match=f"at most {MAX_WISHES} wishes"):
        orchestrator.on_change(change(), market)
    assert len(calls) < 3 * MAX_WISHES


def test_without_trading_there_are_signals_only(market, signal):
    heard = []
    orchestrator = Orchestrator((Scripted(signal),), VirtualClock(7), heard.append)
    assert orchestrator.on_trigger(market, Trigger.ENTRY) == heard
    orchestrator.perform([WITHDRAW], market)
    orchestrator.on_change(change(), market)
