"""The desk as a whole: verdicts, states, commands. Any history at all: `test_desk_histories`."""

import msgspec
import pytest

from engine.facts import CommandFact, DecisionFact, FillFact, StateFact, decode_fact, encode_fact
from engine.orders import (
    Approved,
    Intent,
    OrderEvent,
    OrderState,
    RefusalReason,
    Refused,
)
from engine.risk.desk import GATE_REASONS, Desk
from engine.signals import MarketKind, Side, Trigger
from native.gate import Gate, GateReason
from tests.engine.desks import NS_PER_MS, NS_PER_S, DeskMarket, Rig, bitcoin, settings_of, signal_for


def refusals(rig: Rig) -> list[str]:
    return [str(refused.reason) for refused in rig.refused]


def test_approval_reserves_at_once_and_is_written_down_when_asked() -> None:
    rig = Rig()
    intent = rig.desk.intend(signal_for(rig.market), rig.market)
    assert isinstance(intent, Intent)
    approved = rig.desk.review(intent, rig.market)
    assert isinstance(approved, Approved)
    assert (approved.serial, approved.quantity, approved.intent) == (1, 10, intent)
    assert rig.gate.entering_leaves(0, 1) == 10
    assert rig.of(DecisionFact) == []  # that waits until the order has left
    rig.desk.write_down(approved)
    (fact,) = rig.of(DecisionFact)
    assert (fact.refusal, fact.serial, fact.price, fact.quantity) == (None, 1, "99999.9", "0.010")
    assert (fact.side, fact.kind, fact.life, fact.purpose) == ("buy", "limit", "gtx", "entry")
    assert (fact.best_bid, fact.best_ask) == ("99999.9", "100000.1")
    assert decode_fact(encode_fact(fact)) == fact
    rig.desk.release(approved)
    assert rig.gate.entering_leaves(0, 1) == 0
    assert rig.plan is None


def test_reasons_of_the_gate_are_those_of_the_vocabulary() -> None:
    assert [None, *(reason.name.removeprefix("GATE_") for reason in list(GateReason)[1:])] == [
        None if reason is None else reason.name for reason in GATE_REASONS
    ]


def change_market(rig: Rig, **changes) -> None:
    for name, value in changes.items():
        setattr(rig.market, name, value)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda rig: rig.desk.set_wanted(2, "test", 0), "halted"),
        (lambda rig: rig.desk.set_wanted(1, "test", 0), "reducing"),
        (lambda rig: setattr(rig.desk, "is_warming_up", True), "warming_up"),
        (lambda rig: rig.command("pause"), "paused"),
        (lambda rig: rig.command("side", "short-only"), "side_closed"),
        (lambda rig: rig.desk.set_facts_lag(0.5, 0), "facts_lag"),
        (lambda rig: rig.desk.set_facts_lag(0.9, 0), "halted"),
        (lambda rig: rig.trigger(Trigger.STALE), "stale_book"),
        (lambda rig: change_market(rig, is_valid=False), "book_invalid"),
        (lambda rig: change_market(rig, best_bid=1_000_001), "book_invalid"),
        (lambda rig: change_market(rig, book_epoch=9), "old_epoch"),
        (lambda rig: change_market(rig, instrument_epoch=9), "old_epoch"),
        (lambda rig: change_market(rig, best_bid=900_000, best_ask=900_002), "price_band"),
    ],
)
def test_entry_is_refused_with_its_reason(prepare, reason) -> None:
    rig = Rig()
    intent = rig.desk.intend(signal_for(rig.market), rig.market)
    assert isinstance(intent, Intent)
    prepare(rig)
    refused = rig.desk.review(intent, rig.market)
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert rig.of(DecisionFact)[-1].refusal == reason
    assert rig.desk.newest_serial == 0
    assert rig.gate.worst_long(0) == 0


@pytest.mark.parametrize(("age_ms", "is_sent"), [(250, True), (251, False)])
def test_signal_older_than_allowed_is_refused_by_corridor_time(age_ms, is_sent) -> None:
    rig = Rig()
    age_ns = 250 * NS_PER_MS + (age_ms - 250)
    order = rig.enter(decide_ns=rig.market.last_recv_ns + age_ns)
    assert (order is not None) is is_sent
    if not is_sent:
        (refused,) = rig.refused
        assert (refused.reason, refused.limit, refused.found) == ("stale_signal", 250 * NS_PER_MS, age_ns)


def test_inverse_and_closed_instruments_are_not_traded() -> None:
    for rig in (Rig(MarketKind.COINM), Rig(instrument=bitcoin(status="BREAK"))):
        assert rig.enter() is None
        assert refusals(rig) == ["not_tradable"]


def test_nothing_opens_short_on_spot() -> None:
    rig = Rig(MarketKind.SPOT)
    assert rig.enter(Side.SELL) is None
    assert refusals(rig) == ["side_closed"]


@pytest.mark.parametrize(
    ("environ", "reason", "limit"),
    [
        ({"REMORA_RISK__MAX_ORDER_QUOTE": "999.9"}, "order_notional", 999.9),
        ({"REMORA_RISK__MAX_POSITION_QUOTE": "999.9"}, "position_notional", 999.9),
        ({"REMORA_RISK__MAX_GROSS_QUOTE": "999.9"}, "gross_notional", 999.9),
    ],
)
def test_limits_refuse_what_would_pass_them_and_say_by_how_much(environ, reason, limit) -> None:
    rig = Rig(**environ)
    assert rig.enter() is None
    (refused,) = rig.refused
    assert (refused.reason, refused.limit) == (reason, limit)
    assert refused.found > limit


def test_order_rate_refuses_the_next_within_a_second() -> None:
    rig = Rig(REMORA_RISK__MAX_ORDERS_PER_S="2")
    for _ in range(2):
        rig.tell(rig.enter(sigma_60_bps=1.0), OrderEvent.REJECTED)
    assert rig.enter() is None
    assert refusals(rig) == ["order_rate"]
    rig.market.now_ns += NS_PER_S
    assert rig.enter(decide_ns=rig.market.now_ns, recv_ns=rig.market.now_ns) is not None


def test_one_plan_per_instrument_until_nothing_of_it_works() -> None:
    rig = Rig()
    rig.hold()
    assert rig.enter() is None
    rig.command("flatten")
    rig.fill(rig.working("flatten")[0])
    assert rig.enter() is None  # its stop at the venue is not withdrawn yet
    rig.tell(rig.working("hard_stop")[0], OrderEvent.CANCELLED)
    assert rig.enter() is not None
    assert refusals(rig) == ["position_open"] * 2
    assert rig.plan.number > 1


def test_intent_of_a_plan_that_is_over_begins_nothing() -> None:
    rig = Rig()
    order = rig.enter(sigma_60_bps=1.0)
    rig.tell(order, OrderEvent.REJECTED)
    verdict = rig.desk.review(order.intent, rig.market)
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.POSITION_OPEN


def test_gross_limit_counts_the_other_instruments() -> None:
    instruments = (bitcoin(), bitcoin(symbol="ETHUSDT", base="ETH", index=1))
    limits = settings_of(REMORA_RISK__MAX_GROSS_QUOTE="1500")
    gate = Gate(instruments=2, max_orders_per_s=10, max_gross_money=limits.max_gross_money)
    facts: list = []
    desk = Desk(instruments=instruments, settings=limits, gate=gate, facts=facts.append)
    markets = (DeskMarket(), DeskMarket(symbol="ETHUSDT", index=1))
    intents = [desk.intend(signal_for(market), market) for market in markets]
    verdicts = [desk.review(intent, market) for intent, market in zip(intents, markets, strict=True)]
    assert isinstance(verdicts[0], Approved)
    assert isinstance(verdicts[1], Refused)
    assert verdicts[1].reason is RefusalReason.GROSS_NOTIONAL
    desk.release(verdicts[0])
    assert isinstance(desk.review(intents[1], markets[1]), Approved)


@pytest.mark.parametrize("state", [1, 2])
def test_reducing_orders_go_on_above_active(state) -> None:
    rig = Rig()
    rig.hold()
    rig.carry(rig.desk.set_wanted(state, "test", rig.market.now_ns))
    rig.quote(rig.plan.stop_price, rig.plan.stop_price + 2)
    assert len(rig.working("stop")) == 1
    assert rig.refused == []


def test_state_is_raised_by_anyone_and_lowered_by_resume_alone() -> None:
    rig = Rig()
    for state in (1, 0, 2, 1, 0):
        rig.desk.set_wanted(state, "page", 5)
    assert [(fact.wanted, fact.reason) for fact in rig.of(StateFact)] == [
        ("reducing", "page"),
        ("halted", "page"),
    ]
    rig.command("pause")
    rig.command("resume")
    assert (rig.desk.wanted, rig.desk.is_paused, rig.gate.wanted) == (0, False, 0)
    assert rig.enter() is not None


def test_commands_and_states_are_written_down_states_only_when_they_change() -> None:
    rig = Rig()
    for verb, argument in (
        ("pause", ""),
        ("pause", ""),
        ("side", "long-only"),
        ("size", "0.5"),
        ("status", ""),
        ("halt", ""),
        ("resume", ""),
    ):
        rig.command(verb, argument)
    assert [fact.verb for fact in rig.of(CommandFact)] == [
        "pause",
        "pause",
        "side",
        "size",
        "status",
        "halt",
        "resume",
    ]
    assert [(fact.wanted, fact.is_paused, fact.sides, fact.size) for fact in rig.of(StateFact)] == [
        ("active", True, "both", 1.0),
        ("active", True, "long-only", 1.0),
        ("active", True, "long-only", 0.5),
        ("halted", True, "long-only", 0.5),
        ("active", False, "long-only", 0.5),
    ]


@pytest.mark.parametrize(
    ("verb", "argument", "symbol", "is_closed"),
    [
        ("flatten", "", "", True),
        ("flatten", "", "BTCUSDT", True),
        ("flatten", "", "ETHUSDT", False),
        ("stop", "flatten", "", True),
        ("stop", "protect", "", False),
        ("halt", "", "", False),
    ],
)
def test_flatten_closes_what_it_names(verb, argument, symbol, is_closed) -> None:
    rig = Rig()
    rig.hold()
    rig.command(verb, argument, symbol)
    assert bool(rig.working("flatten")) is is_closed
    assert rig.desk.wanted == (2 if verb in ("stop", "halt") else 0)


def test_late_fill_of_a_plan_that_is_over_is_closed_at_once() -> None:
    rig = Rig()
    order = rig.enter(sigma_60_bps=1.0)
    rig.accept(order)
    rig.advance(2 * NS_PER_S)
    rig.tell(order, OrderEvent.CANCELLED)
    assert rig.plan.is_over
    rig.fill(order, 3)
    (exit_order,) = rig.working()
    assert (exit_order.intent.purpose, exit_order.quantity) == ("flatten", 3)
    rig.fill(exit_order)
    assert rig.plan.is_over
    assert rig.gate.worst_long(0) == rig.gate.worst_short(0) == 0


def test_late_fill_of_an_older_plan_against_the_present_one_ends_in_flat() -> None:
    rig = Rig()
    old = rig.enter(sigma_60_bps=1.0)
    rig.tell(old, OrderEvent.REJECTED)
    new = rig.enter(Side.SELL)
    rig.accept(new)
    rig.fill(old, 3)
    assert rig.plan.stage == "exiting"
    assert new.state is OrderState.CANCEL_PENDING
    assert [(order.intent.side, order.quantity) for order in rig.working("flatten")] == [(Side.SELL, 3)]


def test_fill_is_written_down_with_the_position_after_it() -> None:
    rig = Rig()
    rig.hold()
    rig.command("flatten")
    rig.fill(rig.working("flatten")[0], 4, price=1_000_999)
    assert [(fact.purpose, fact.position, fact.realised) for fact in rig.of(FillFact)] == [
        ("entry", "0.010", 0),
        ("flatten", "0.006", 4 * 10**7),
    ]


def test_same_inputs_write_the_same_bytes() -> None:
    def history() -> bytes:
        rig = Rig()
        rig.hold()
        rig.quote(rig.plan.target_price, rig.plan.target_price + 2)
        rig.fill(rig.working("target")[0])
        rig.tell(rig.working("hard_stop")[0], OrderEvent.CANCELLED)
        return b"".join(encode_fact(fact) for fact in rig.facts)

    assert history() == history()


def test_facts_of_the_desk_are_of_the_vocabulary() -> None:
    rig = Rig()
    rig.hold()
    assert all(msgspec.json.decode(encode_fact(fact))["v"] == 1 for fact in rig.facts)
