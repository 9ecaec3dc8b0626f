"""Whole recordings through one market: right counts, a right book, midnight in the middle of it."""

from pathlib import Path

import pytest

from engine.signals import Trigger
from native.areas import ProfileState
from native.market import Market
from tests.oracles.sessions import (
    SESSIONS,
    SPOT_BTC,
    SPOT_ETH,
    Session,
    feed,
    market_for,
    play,
    read_frames,
)

pytestmark = [pytest.mark.captures, pytest.mark.slow]

SECOND = 10**9
MIDNIGHT_NS = 1_723_161_600 * SECOND


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_recording_is_taken_whole_without_gap_or_crossed_book(captures: Path, session: Session) -> None:
    frames = read_frames(captures, session)
    market = market_for(session)
    market.enable_bbo_log()
    masks = play(market, frames)
    assert (market.gaps, market.crossed, market.refused, market.foreign_messages) == (0, 0, 0, 0)
    assert market.messages == len(frames)
    assert (market.depth_updates, market.depth_applied) == (session.depth_updates, session.depth_applied)
    assert (market.trades, market.tickers, market.snapshots) == (session.trades, session.tickers, 1)
    assert market.depth_updates + market.trades + market.tickers + market.snapshots == market.messages
    assert market.other_messages + market.klines + market.partial_books == 0
    assert (market.flow.missing_ids, market.flow.duplicates, market.venue_time.outliers) == (0, 0, 0)
    assert market.ticker_compared > 5_000
    assert market.ticker_equal >= session.least_equal * market.ticker_compared
    rows = market.take_bbo()
    assert len(rows) == session.depth_applied
    assert (rows[:, 1] < rows[:, 2]).all()
    assert sum(mask == Trigger.LIVE for _, mask in masks) == 1
    assert not any(mask & (Trigger.GAP | Trigger.STALE | Trigger.REFUSED) for _, mask in masks)
    assert market.flow.n_sweeps > market.whale.n_whales >= market.whale.n_episodes > 0


def test_counts_are_those_of_the_provenance() -> None:
    # The second snapshot-less file continues the first: updates and trades of both days.
    assert SPOT_BTC.depth_updates == 3_451 + 3_044
    assert SPOT_BTC.trades == 9_757 + 10_147
    assert SPOT_ETH.depth_updates == 3_434 + 3_036
    assert SPOT_ETH.trades == 6_106 + 8_409


def states(market: Market) -> dict[str, ProfileState]:
    return {state.source: state for state in market.profiles()}


def levels(state: ProfileState) -> tuple[float, float, float]:
    return state.poc, state.vah, state.val


@pytest.mark.parametrize(("ready_s", "is_previous_ready"), [(200, True), (400, False)])
@pytest.mark.parametrize("session", [SPOT_BTC, SPOT_ETH], ids=str)
def test_young_session_after_midnight_is_not_ready(
    captures: Path, session: Session, ready_s: int, is_previous_ready: bool
) -> None:
    market = market_for(
        session,
        session_enabled=True,
        session_ready_ns=ready_s * SECOND,
        profile_window_ns=60 * SECOND,
        profile_ready_ns=30 * SECOND,
    )
    yesterday: dict[str, ProfileState] = {}
    began_ns = n_young = n_old = 0
    for number, frame in enumerate(read_frames(captures, session)):
        while market.advance(frame.recv_ns):
            pass
        if not began_ns and market.last_venue_ns >= MIDNIGHT_NS - SECOND:
            yesterday = states(market)
        feed(market, frame)
        if not yesterday or (began_ns and number % 100):
            continue
        now = states(market)
        if not began_ns and "previous" in now:
            began_ns = frame.recv_ns
            assert now["session"].age_ns == 0
        if began_ns:
            is_old = market.now_ns - began_ns >= ready_s * SECOND
            n_young, n_old = n_young + (not is_old), n_old + is_old
            assert now["session"].is_ready is is_old
            # The final levels are those of the moment before; ready only if that session was old enough.
            assert levels(now["previous"]) == levels(yesterday["session"])
            assert now["previous"].is_ready is is_previous_ready
            assert now["rolling"].is_ready is True
    assert began_ns
    assert n_young > 50
    assert (n_old > 50) is is_previous_ready
    assert market.flow.session_cvd != market.cvd
