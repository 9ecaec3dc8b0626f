"""Where a price stands to value; the rules themselves are held against a slow twin in `tests.strategies`."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.strategy import AlignmentRule
from native.alignment import align_profiles
from native.market import Market
from tests.oracles.sessions import USDM_BTC, feed, market_for, read_frames
from tests.strategies.views import FakeProfile

SECOND = 10**9
RULE = AlignmentRule(
    edge_bps=3.0, edge_share=0.05, breakout_min_bps=1.0, breakout_max_bps=15.0, inside_ns=300 * SECOND
)
MID = 10_000.0
PROFILE = FakeProfile(poc=MID + 45, vah=MID + 80, val=MID - 1)


def placed(*profiles: FakeProfile, side: int = 1, reach_bps: float = 40.0) -> tuple[str, str, float]:
    return align_profiles(profiles, side=side, mid=MID, reach_bps=reach_bps, now_ns=1000 * SECOND, rule=RULE)


def same(one: tuple[str, str, float], other: tuple[str, str, float]) -> bool:
    return one[:2] == other[:2] and (one[2] == other[2] or (math.isnan(one[2]) and math.isnan(other[2])))


def test_no_profile_is_nowhere_without_a_source() -> None:
    assert same(placed(), ("", "", math.nan))
    assert same(placed(replace(PROFILE, is_ready=False)), ("", "", math.nan))


def test_previous_session_stands_in_though_it_is_not_ready() -> None:
    assert same(placed(replace(PROFILE, source="previous", is_ready=False)), ("edge", "previous", 40.0))


@pytest.mark.parametrize(
    "profiles",
    [
        (PROFILE,) * 4,
        (replace(PROFILE, source="weekly"),),
        (replace(PROFILE, nodes=(MID,) * 33),),
    ],
)
def test_profiles_that_cannot_be_are_refused(profiles: tuple[FakeProfile, ...]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        placed(*profiles)


@pytest.mark.captures
@pytest.mark.slow
def test_market_aligns_as_the_profiles_that_it_shows_say(captures: Path) -> None:
    rule = RULE._replace(edge_bps=0.3, breakout_min_bps=0.1)
    market = market_for(
        USDM_BTC,
        profile_ready_ns=20 * SECOND,
        session_ready_ns=40 * SECOND,
        session_enabled=True,
        value_area=0.2,
    )
    found: dict[str, int] = {"": 0, "edge": 0, "breakout": 0}
    sources: set[str] = set()
    for number, frame in enumerate(read_frames(captures, USDM_BTC)):
        while market.advance(frame.recv_ns):
            pass
        feed(market, frame)
        if number % 50 or not market.is_valid:
            continue
        for side in (1, -1):
            for reach_bps in (0.02, 0.5, 30.0):
                one = market.align(side, reach_bps, rule)
                assert same(one, shown(market, side, reach_bps, rule)), (number, side, reach_bps)
                found[one[0]] += 1
                sources.add(one[1])
    assert min(found.values()) > 50
    assert sources >= {"rolling", "session"}


def shown(market: Market, side: int, reach_bps: float, rule: AlignmentRule) -> tuple[str, str, float]:
    return align_profiles(
        market.profiles(), side=side, mid=market.mid, reach_bps=reach_bps, now_ns=market.now_ns, rule=rule
    )
