"""The table of an order's states."""

import pytest

from engine.orders import FINAL_STATES, TRANSITIONS, Order, OrderEvent, OrderState, next_state
from tests.engine.order_values import intent

S, E = OrderState, OrderEvent
FILLS = {E.FILL_PART, E.FILL_WHOLE}

# Written out by hand, from what each state and event mean: "-" is not expected there.
EXPECTED = """
state           ACCEPTED FILL_PART FILL_WHOLE CANCEL_SENT CANCEL_REJECTED CANCELLED EXPIRED REJECTED TIMEOUT STATUS ABSENT
IN_FLIGHT       OPEN     OPEN      FILLED     PENDING     -               CANCELLED EXPIRED REJECTED UNKNOWN OPEN   REJECTED
OPEN            OPEN     OPEN      FILLED     PENDING     -               CANCELLED EXPIRED REJECTED -       OPEN   CANCELLED
CANCEL_PENDING  PENDING  PENDING   FILLED     -           UNKNOWN         CANCELLED EXPIRED REJECTED UNKNOWN OPEN   CANCELLED
UNKNOWN         OPEN     UNKNOWN   FILLED     -           UNKNOWN         CANCELLED EXPIRED REJECTED -       OPEN   REJECTED
FILLED          -        -         -          -           -               -         -       -        -       -      -
CANCELLED       -        CANCELLED FILLED     -           -               -         -       -        -       -      -
EXPIRED         -        EXPIRED   FILLED     -           -               -         -       -        -       -      -
REJECTED        -        REJECTED  FILLED     -           -               -         -       -        -       -      -
"""  # noqa: E501


def expected_table() -> dict[tuple[OrderState, OrderEvent], OrderState | None]:
    head, *rows = (line.split() for line in EXPECTED.strip().splitlines())
    names = {"PENDING": "CANCEL_PENDING"}
    return {
        (S[row[0]], E[event]): None if cell == "-" else S[names.get(cell, cell)]
        for row in rows
        for event, cell in zip(head[1:], row[1:], strict=True)
    }


def test_every_pair_of_state_and_event_has_its_stated_outcome():
    expected = expected_table()
    assert set(expected) == {(state, event) for state in S for event in E}
    assert {pair: next_state(*pair) for pair in expected} == expected


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_final_state_is_left_by_nothing_but_the_fill_that_completes_the_order(state):
    left_by = {event for event in E if next_state(state, event) not in (None, state)}
    assert left_by == (set() if state is S.FILLED else {E.FILL_WHOLE})
    assert next_state(state, E.FILL_WHOLE) in (None, S.FILLED)


def test_fill_moves_an_order_that_is_not_over_and_never_back_to_in_flight():
    for state in set(S) - FINAL_STATES:
        for event in FILLS:
            assert next_state(state, event) not in (None, S.IN_FLIGHT)
    assert S.IN_FLIGHT not in TRANSITIONS.values()


def test_every_state_that_is_not_final_can_end_and_every_state_can_be_reached():
    for state in set(S) - FINAL_STATES:
        assert {next_state(state, event) for event in E} >= FINAL_STATES
    assert set(TRANSITIONS.values()) == set(S) - {S.IN_FLIGHT}


@pytest.mark.parametrize("state", S)
def test_leaves_of_an_order_are_all_that_is_open_or_what_one_that_is_over_owes(state):
    order = Order("ra1-1", intent(), 10, state, 0, 0, filled=3, reported_filled=7)
    assert order.is_final == (state in FINAL_STATES)
    assert order.leaves == (4 if order.is_final else 7)
