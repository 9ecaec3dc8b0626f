"""Sessions roll at 00:00 UTC of venue time; young ones are not ready; the last one stays."""

import pytest

from native.areas import Areas, ProfileState

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MIDNIGHT = 20_000 * DAY


def areas(has_session: bool = True, session_ready_ns: int = HOUR) -> Areas:
    return Areas(
        tick=1,
        price_scale=0.01,
        window_ns=4 * HOUR,
        rolling_ready_ns=HOUR,
        session_ready_ns=session_ready_ns,
        has_session=has_session,
        node_share=0.7,
        row_bps=1.0,
        value_area=0.70,
        two_row=False,
    )


def by_source(found: tuple[ProfileState, ...]) -> dict[str, ProfileState]:
    return {state.source: state for state in found}


def test_nothing_traded_is_no_profile() -> None:
    assert areas().states(MIDNIGHT) == ()


def test_prices_are_middle_and_outer_edges_of_rows() -> None:
    room = areas()
    room.apply_trade(1_000_000, 5, MIDNIGHT, MIDNIGHT)  # rows of 100 units: row 10,000
    (session, rolling) = room.states(MIDNIGHT)
    assert (session.source, rolling.source) == ("session", "rolling")
    assert (session.poc, session.val, session.vah) == (10_000.5, 10_000.0, 10_001.0)
    assert session[2:5] == rolling[2:5]


def test_session_is_ready_by_age_only() -> None:
    room = areas()
    room.apply_trade(1_000_000, 5, MIDNIGHT, MIDNIGHT)
    assert [state.is_ready for state in room.states(MIDNIGHT + HOUR - 1)] == [False, False]
    assert [state.is_ready for state in room.states(MIDNIGHT + HOUR)] == [True, True]
    assert room.states(MIDNIGHT + HOUR)[0].age_ns == HOUR


def test_midnight_ends_the_session_and_keeps_its_final_levels() -> None:
    room = areas()
    start = MIDNIGHT - 2 * HOUR
    for i in range(3):
        room.apply_trade(1_000_000, 7, start + i, start + i)
    room.apply_mid(2_000_050, MIDNIGHT - 5)
    room.apply_trade(1_020_000, 1, MIDNIGHT, MIDNIGHT + 3)
    found = by_source(room.states(MIDNIGHT + 3))
    assert (found["previous"].poc, found["previous"].is_ready) == (10_000.5, True)
    assert found["previous"].is_poc_naked
    assert found["previous"].last_inside_ns == MIDNIGHT - 5
    # A row of the new session is 1 bps of its own first price.
    assert (found["session"].poc, found["session"].is_ready) == (10_200.51, False)
    assert found["session"].last_inside_ns == 0
    assert found["rolling"].poc == 10_000.5


def test_previous_of_a_young_session_is_not_ready() -> None:
    room = areas()
    room.apply_trade(1_000_000, 7, MIDNIGHT - 6 * MINUTE, MIDNIGHT - 6 * MINUTE)
    room.apply_trade(1_000_000, 7, MIDNIGHT, MIDNIGHT)
    assert by_source(room.states(MIDNIGHT + 2 * HOUR))["previous"].is_ready is False


def test_naked_poc_is_covered_by_a_trade_in_its_row_only() -> None:
    room = areas()
    room.apply_trade(1_000_000, 7, MIDNIGHT - HOUR, MIDNIGHT - HOUR)
    room.apply_trade(1_000_100, 1, MIDNIGHT, MIDNIGHT)
    assert by_source(room.states(MIDNIGHT))["previous"].is_poc_naked
    room.apply_trade(1_000_099, 1, MIDNIGHT + 1, MIDNIGHT + 1)
    assert not by_source(room.states(MIDNIGHT + 1))["previous"].is_poc_naked


def test_a_trade_of_the_day_before_that_comes_late_does_not_teach_the_new_session() -> None:
    room = areas()
    room.apply_trade(1_000_000, 1, MIDNIGHT, MIDNIGHT)
    room.apply_trade(1_005_000, 9, MIDNIGHT - 1, MIDNIGHT + 1)
    found = by_source(room.states(MIDNIGHT + 1))
    assert found["session"].poc == 10_000.5
    assert found["rolling"].poc == 10_050.5


def test_inside_is_edge_to_edge() -> None:
    room = areas()
    room.apply_trade(1_000_000, 1, MIDNIGHT, MIDNIGHT)
    for mid_x2, moment in ((1_999_999, 1), (2_000_201, 2), (2_000_000, 3), (2_000_200, 4)):
        room.apply_mid(mid_x2, MIDNIGHT + moment)
        expected = MIDNIGHT + moment if moment > 2 else 0
        assert [state.last_inside_ns for state in room.states(MIDNIGHT + 10)] == [expected, expected]


def test_without_sessions_only_the_rolling_profile_is_shown() -> None:
    room = areas(has_session=False)
    room.apply_trade(1_000_000, 1, MIDNIGHT - 1, MIDNIGHT - 1)
    room.apply_trade(1_000_000, 1, MIDNIGHT, MIDNIGHT)
    assert [state.source for state in room.states(MIDNIGHT)] == ["rolling"]


def test_nodes_are_middles_of_rows() -> None:
    room = areas()
    for row, quantity in ((10_000, 100), (10_020, 80), (10_040, 10)):
        room.apply_trade(row * 100, quantity, MIDNIGHT, MIDNIGHT)
    assert room.states(MIDNIGHT)[0].nodes == (10_020.5,)


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="node_share must be above 0 and at most 1, found 0"):
        Areas(
            tick=1,
            price_scale=0.01,
            window_ns=HOUR,
            rolling_ready_ns=0,
            session_ready_ns=0,
            has_session=True,
            node_share=0.0,
            row_bps=1.0,
            value_area=0.7,
            two_row=False,
        )
