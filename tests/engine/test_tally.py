import msgspec
import pytest

from engine.facts import FACTS_VERSION, DecisionFact, FillFact, OrderFact, PlanFact, SessionFact
from engine.tally import Tally


def fact(kind: type, **values: object) -> object:
    """Return a fact whose fields are empty but for those given."""
    empty = {"str": "", "int": 0, "float": 0.0, "bool": False}
    fields = {one.name: empty.get(getattr(one.type, "__name__", "")) for one in msgspec.structs.fields(kind)}
    fields["v"] = FACTS_VERSION
    return kind(**(fields | values))


def told(*facts: object) -> Tally:
    tally = Tally()
    for one in facts:
        tally.take(one)
    return tally


def test_round_trip_is_a_plan_that_is_over_after_an_entering_fill():
    tally = told(
        fact(DecisionFact, purpose="entry", serial=1),
        fact(OrderFact, event="sent", client_order_id="ra1-1"),
        fact(FillFact, plan=3, purpose="entry"),
        fact(OrderFact, event="fill_whole", client_order_id="ra1-1"),
        fact(FillFact, plan=3, purpose="stop"),
        fact(PlanFact, plan=3, stage="over", pnl=5),
        fact(PlanFact, plan=4, stage="over", pnl=0),
    )
    assert (tally.approved, tally.orders, tally.fills) == (1, 1, 2)
    assert (tally.round_trips, tally.wins, tally.filled_plans) == (1, 1, {3})
    assert tally.facts == 7


def test_refusals_are_counted_by_reason():
    refused = [
        fact(DecisionFact, purpose="entry", refusal=reason) for reason in ("paused", "paused", "halted")
    ]
    tally = told(*refused)
    assert (tally.approved, dict(tally.refusals)) == (0, {"paused": 2, "halted": 1})


def test_what_a_restart_takes_over_is_not_counted_again_but_closes():
    tally = told(
        fact(SessionFact, event="begin"),
        fact(SessionFact, event="restoring"),
        fact(FillFact, plan=3, purpose="entry"),
        fact(OrderFact, event="sent"),
        fact(PlanFact, plan=2, stage="over", pnl=9),
        fact(SessionFact, event="restored"),
        fact(FillFact, plan=3, purpose="time"),
        fact(PlanFact, plan=3, stage="over", pnl=-1),
    )
    assert (tally.orders, tally.fills, tally.round_trips, tally.wins) == (0, 1, 1, 0)


@pytest.mark.parametrize("n", [1, 12, 40])
def test_last_lines_are_kept_newest_last(n):
    tally = told(*(fact(FillFact, quantity=str(i), side="buy", price="1", position="2") for i in range(n)))
    assert len(tally.lines) == min(n, 12)
    assert tally.lines[-1] == f"fill buy {n - 1} at 1: position 2"
