import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import load_config, scalper_settings
from engine.signals import Action, Alignment, MarketKind, ProfileSource, Side, Signal, Veto, VetoReason
from engine.strategy import MarketView, Strategy
from strategies.volume_scalper import VolumeScalper
from tests.oracles import scalper as twin
from tests.strategies.views import NS_PER_S, FakeCandidate, FakeMarket, FakeProfile

MID = 10_000.0  # one bps of it is 1.0


def settings_of(kind=MarketKind.USDM, **environ):
    return scalper_settings(
        load_config(None, "live", {f"REMORA_{key}": value for key, value in environ.items()}), kind
    )


def edge_long(**changes):
    """A price at VAL, the POC 45 bps ahead, nothing between; the target of 40 bps lies before it."""
    return FakeMarket(**{"known": (FakeProfile(poc=MID + 45, vah=MID + 80, val=MID - 1),)} | changes)


def breakout_long(**changes):
    """A price 5 bps above VAH, in the area a minute ago, free above."""
    profile = FakeProfile(poc=MID - 40, vah=MID - 5, val=MID - 80, last_inside_ns=941 * NS_PER_S)
    return FakeMarket(**{"known": (profile,)} | changes)


def proposed(market, kind=MarketKind.USDM, **environ):
    return VolumeScalper(settings_of(kind, **environ)).propose(market)


def reason_of(outcome):
    assert isinstance(outcome, Veto)
    return outcome.reason


def test_fakes_and_scalper_fit_the_socket():
    strategy: Strategy = VolumeScalper(settings_of())
    market: MarketView = FakeMarket(waiting=None)
    assert strategy.propose(market) is None
    assert strategy.name == "volume_scalper"


def test_aligned_and_affordable_long_is_proposed_with_all_its_evidence():
    signal = proposed(edge_long())
    cost_bps = 2.0 + 5.0 + 0.05
    assert signal == Signal(
        strategy="volume_scalper",
        action=Action.ENTRY,
        symbol="BTCUSDT",
        kind=MarketKind.USDM,
        instrument_epoch=1,
        book_epoch=2,
        update_id=77,
        trade_id=88,
        venue_ns=1001 * NS_PER_S - 5_000_000,
        recv_ns=1001 * NS_PER_S,
        decide_ns=1001 * NS_PER_S,
        is_valid=True,
        side=Side.BUY,
        price=999_995,
        price_digits=2,
        mid=MID,
        spread_bps=0.1,
        notional_quote=1000.0,
        confidence=pytest.approx(0.5 + (2 / 3 + 0.5 + 1.0) / 6),
        target_bps=40.0,
        stop_bps=20.1,
        time_stop_ns=120 * NS_PER_S,
        cost_bps=pytest.approx(cost_bps),
        sigma_60_bps=20.0,
        is_cost_gated=True,
        episode=1,
        whale_notional=400_000.0,
        threshold=100_000.0,
        rho_pre=0.1,
        rho_post=0.8,
        rho_post_min=0.7,
        pulled_share=0.2,
        n_updates=4,
        alignment=Alignment.EDGE,
        profile_source=ProfileSource.ROLLING,
    )


@pytest.mark.parametrize(
    ("kind", "side", "price"),
    [
        (MarketKind.SPOT, Side.BUY, 1_000_005),
        (MarketKind.SPOT, Side.SELL, 999_995),
        (MarketKind.USDM, Side.BUY, 999_995),
        (MarketKind.USDM, Side.SELL, 1_000_005),
    ],
)
def test_spot_takes_and_futures_rest_at_the_touch(kind, side, price):
    outcome = proposed(FakeMarket(kind=kind, waiting=FakeCandidate(side=side)), kind)
    assert outcome.signal.price == price


@pytest.mark.parametrize(
    ("kind", "side", "cost_bps"),
    [
        (MarketKind.SPOT, Side.BUY, 10 + 10 + 0.5 + 1.0 + 2.0),
        (MarketKind.SPOT, Side.SELL, 10 + 10 + 0.5 + 1.0 + 2.0),
        (MarketKind.USDM, Side.BUY, 2 + 5 + 0.25 + 2.0),
        (MarketKind.USDM, Side.SELL, 2 + 5 + 0.25 + 1.0),
        (MarketKind.COINM, Side.BUY, 2 + 5 + 0.25 + 2.0),
    ],
)
def test_cost_is_fees_spread_crossed_and_the_walk_of_each_taker(kind, side, cost_bps):
    market = FakeMarket(
        kind=kind, spread_bps=0.5, walk={Side.BUY: 1.0, Side.SELL: 2.0}, waiting=FakeCandidate(side=side)
    )
    outcome = proposed(market, kind)
    assert outcome.signal.cost_bps == pytest.approx(cost_bps)


def test_breakout_is_proposed_with_its_lower_confidence():
    signal = proposed(breakout_long())
    assert signal.alignment is Alignment.BREAKOUT
    assert signal.confidence == pytest.approx(0.5 + (2 / 3 + 0.5 + 0.7) / 6)
    assert signal.target_bps == 40.0


@pytest.mark.parametrize(
    ("change", "is_aligned"),
    [
        ({}, True),
        ({"vah": MID - 1}, True),
        ({"vah": MID - 0.9}, False),
        ({"vah": MID - 15}, True),
        ({"vah": MID - 15.1}, False),
        ({"last_inside_ns": 701 * NS_PER_S}, True),
        ({"last_inside_ns": 701 * NS_PER_S - 1}, False),
        ({"last_inside_ns": 0}, False),
        ({"nodes": (MID + 39.9,)}, False),
        ({"nodes": (MID + 40,)}, True),
        ({"nodes": (MID - 1,)}, True),
    ],
)
def test_breakout_needs_its_distance_a_fresh_inside_and_a_free_way(change, is_aligned):
    market = breakout_long()
    market.known = (replace(market.known[0], **change),)
    assert isinstance(proposed(market), Signal) is is_aligned


@pytest.mark.parametrize(
    ("change", "is_aligned"),
    [
        ({"val": MID + 3, "vah": MID + 50}, True),
        ({"val": MID - 3, "vah": MID + 50}, True),
        ({"val": MID - 3.1, "vah": MID + 50}, False),
        ({"val": MID - 4.5, "vah": MID + 86}, True),
        ({"val": MID - 5, "vah": MID + 90}, False),
        ({"vah": MID + 39}, False),
        ({"vah": MID + 41}, True),
        ({"nodes": (MID + 20,)}, False),
    ],
)
def test_edge_is_as_wide_as_three_bps_or_a_twentieth_of_the_area(change, is_aligned):
    market = edge_long()
    market.known = (replace(market.known[0], **change),)
    assert isinstance(proposed(market), Signal) is is_aligned


def test_middle_of_the_area_is_not_aligned_and_tells_its_profile():
    outcome = proposed(FakeMarket(known=(FakeProfile(poc=MID, vah=MID + 50, val=MID - 50),)))
    assert reason_of(outcome) is VetoReason.NOT_ALIGNED
    assert (outcome.signal.alignment, outcome.signal.profile_source) == (None, ProfileSource.ROLLING)
    assert math.isnan(outcome.signal.target_bps)
    assert outcome.signal.time_stop_ns == 0


def test_edge_trade_takes_the_nearest_poc_as_its_target():
    market = edge_long(known=(FakeProfile(poc=MID + 20, vah=MID + 80, val=MID, nodes=(MID + 20,)),))
    assert proposed(market).target_bps == pytest.approx(20.0)
    naked = FakeProfile(source="previous", poc=MID + 18, vah=MID + 1, val=MID, is_poc_naked=True)
    assert proposed(replace(market, known=(*market.known, naked))).target_bps == pytest.approx(18.0)
    traded = replace(naked, is_poc_naked=False)
    assert proposed(replace(market, known=(*market.known, traded))).target_bps == pytest.approx(20.0)


def test_edge_trade_to_a_poc_nearer_than_twice_the_cost_is_a_cost():
    market = edge_long(known=(FakeProfile(poc=MID + 14, vah=MID + 80, val=MID),))
    assert reason_of(proposed(market)) is VetoReason.COST
    assert proposed(market, COST__GATE="off").target_bps == pytest.approx(14.0)


@pytest.mark.parametrize("obstacle", [{"poc": MID + 30}, {"vah": MID + 30}])
def test_other_ready_profile_in_the_way_of_a_breakout_refuses_it(obstacle):
    other = replace(FakeProfile(source="session", poc=MID - 60, vah=MID - 2, val=MID - 90), **obstacle)
    rolling = breakout_long().known[0]
    market = breakout_long(known=(rolling, replace(other, is_ready=False)))
    assert isinstance(proposed(market), Signal)
    session = replace(rolling, source="session")
    market = breakout_long(known=(session, replace(other, source="rolling")))
    assert reason_of(proposed(market)) is VetoReason.NOT_ALIGNED


def test_primary_is_session_then_rolling_then_previous():
    aligned = breakout_long().known[0]
    middle = FakeProfile(poc=MID - 1, vah=MID - 0.5, val=MID - 50)
    session, rolling, previous = (
        replace(aligned, source=name) for name in ("session", "rolling", "previous")
    )
    young = replace(middle, source="session", is_ready=False)
    for known, source in [
        ((rolling, session, previous), "session"),
        ((young, rolling, previous), "rolling"),
        ((previous, young, replace(middle, is_ready=False)), "previous"),
    ]:
        assert proposed(breakout_long(known=known)).profile_source == source
    assert reason_of(proposed(breakout_long(known=(young,)))) is VetoReason.NOT_ALIGNED
    assert reason_of(proposed(breakout_long(known=()))) is VetoReason.NOT_ALIGNED


def test_volatility_that_cannot_pay_twice_the_cost_is_vetoed():
    market = breakout_long(sigma_60_bps=7.0)
    outcome = proposed(market)
    assert reason_of(outcome) is VetoReason.COST
    assert outcome.signal.target_bps == pytest.approx(2 * 7.05)
    assert outcome.signal.is_cost_gated
    assert isinstance(proposed(breakout_long(sigma_60_bps=7.06)), Signal)


def test_gate_off_proposes_the_larger_target_and_says_so():
    signal = proposed(breakout_long(sigma_60_bps=4.0), COST__GATE="off")
    assert not signal.is_cost_gated
    assert signal.target_bps == pytest.approx(2 * 7.05)
    assert signal.stop_bps == pytest.approx(7.05)
    assert signal.time_stop_ns == pytest.approx(30 * (14.1 / 4.0) ** 2 * NS_PER_S, abs=1000)


@pytest.mark.parametrize(("sigma_bps", "seconds"), [(0.0, 900), (1.0, 900), (100.0, 120)])
def test_time_stop_stays_within_its_bounds(sigma_bps, seconds):
    known = (replace(breakout_long().known[0], vah=MID - 5),)
    signal = proposed(breakout_long(sigma_60_bps=sigma_bps, known=known), COST__GATE="off")
    assert signal.time_stop_ns == seconds * NS_PER_S


def test_time_stop_of_a_near_poc_is_the_shortest():
    market = edge_long(known=(FakeProfile(poc=MID + 16, vah=MID + 80, val=MID),))
    assert proposed(market).time_stop_ns == 30 * NS_PER_S


@pytest.mark.parametrize(
    "change",
    [
        {"sigma_60_bps": math.nan},
        {"mid": math.nan},
        {"spread_bps": math.nan},
        {"walk": {Side.BUY: 0.0, Side.SELL: math.nan}},
    ],
)
def test_unknown_input_is_not_ready(change):
    assert reason_of(proposed(edge_long(**change), COST__GATE="off")) is VetoReason.NOT_READY


def test_invalid_book_is_vetoed_before_anything_is_read_from_it():
    market = edge_long(is_valid=False, mid=0.0, best_bid=0, best_ask=0)
    outcome = proposed(market)
    assert reason_of(outcome) is VetoReason.BOOK_INVALID
    assert not outcome.signal.is_valid


def test_weak_whale_on_a_breakout_is_vetoed_for_confidence():
    weak = FakeCandidate(notional=100_000.0, rho_post=0.6)
    outcome = proposed(breakout_long(waiting=weak), VOLUME_SCALPER__MIN_CONFIDENCE="0.62")
    assert reason_of(outcome) is VetoReason.CONFIDENCE
    assert outcome.signal.confidence == pytest.approx(0.5 + 0.7 / 6)
    assert isinstance(proposed(breakout_long(waiting=weak)), Signal)


@pytest.mark.parametrize(
    ("notional", "rho", "confidence"),
    [(1e9, 1.0, 1.0), (1.0, -1.0, 0.5 + 2 / 6), (200_000.0, 0.6, 0.5 + (1 / 3 + 1) / 6)],
)
def test_confidence_parts_are_clipped(notional, rho, confidence):
    signal = proposed(edge_long(waiting=FakeCandidate(notional=notional, rho_post=rho)))
    assert signal.confidence == pytest.approx(confidence)


def short_of(market):
    """The same market seen in a mirror at mid."""

    def mirrored(profile):
        return replace(
            profile,
            poc=2 * MID - profile.poc,
            vah=2 * MID - profile.val,
            val=2 * MID - profile.vah,
            nodes=tuple(2 * MID - node for node in profile.nodes),
        )

    return replace(
        market,
        walk={Side.BUY: market.walk[Side.SELL], Side.SELL: market.walk[Side.BUY]},
        waiting=replace(market.waiting, side=Side.SELL),
        known=tuple(mirrored(profile) for profile in market.known),
    )


def test_short_on_spot_is_told_with_the_signal_it_would_have_been():
    market = short_of(breakout_long(kind=MarketKind.SPOT, sigma_60_bps=30.0))
    outcome = proposed(market, MarketKind.SPOT)
    assert reason_of(outcome) is VetoReason.NO_SHORT
    signal = outcome.signal
    assert (signal.side, signal.alignment, signal.target_bps) == (Side.SELL, Alignment.BREAKOUT, 60.0)
    assert isinstance(proposed(replace(market, kind=MarketKind.USDM)), Signal)


def test_veto_is_returned_once_for_each_reason_of_an_episode():
    scalper = VolumeScalper(settings_of())
    market = breakout_long(sigma_60_bps=math.nan)
    reasons = []
    for sigma_bps in (math.nan, math.nan, 5.0, math.nan, 5.0):
        outcome = scalper.propose(replace(market, sigma_60_bps=sigma_bps))
        reasons.append(outcome and outcome.reason)
    assert reasons == [VetoReason.NOT_READY, None, VetoReason.COST, None, None]
    assert (
        reason_of(scalper.propose(replace(market, waiting=FakeCandidate(episode=2)))) is VetoReason.NOT_READY
    )


def test_episode_is_entered_once_and_its_further_whale_is_a_duplicate():
    scalper = VolumeScalper(settings_of(VOLUME_SCALPER__COOLDOWN_S="0"))
    market = edge_long()
    assert isinstance(scalper.propose(market), Signal)
    assert scalper.propose(market) is None
    again = replace(market, waiting=FakeCandidate(last_whale_ns=market.waiting.last_whale_ns + 1))
    opposite = replace(market, waiting=FakeCandidate(episode=2, side=Side.SELL))
    assert reason_of(scalper.propose(opposite)) is VetoReason.NOT_ALIGNED
    assert reason_of(scalper.propose(again)) is VetoReason.DUPLICATE_EPISODE
    assert scalper.propose(again) is None
    assert isinstance(scalper.propose(replace(market, waiting=FakeCandidate(episode=3))), Signal)
    counts = scalper.funnel.counts()
    assert (counts.imbalance, counts.entries, counts.n_open) == (3, 2, 1)


def test_cooldown_holds_back_the_next_episode_for_thirty_seconds():
    scalper = VolumeScalper(settings_of())
    market = edge_long()
    assert isinstance(scalper.propose(market), Signal)
    early = replace(market, now_ns=market.now_ns + 30 * NS_PER_S - 1, waiting=FakeCandidate(episode=2))
    assert reason_of(scalper.propose(early)) is VetoReason.COOLDOWN
    assert isinstance(scalper.propose(replace(early, now_ns=early.now_ns + 1)), Signal)


def test_short_refused_on_spot_starts_no_cooldown():
    scalper = VolumeScalper(settings_of(MarketKind.SPOT))
    market = breakout_long(kind=MarketKind.SPOT, sigma_60_bps=30.0)
    assert reason_of(scalper.propose(short_of(market))) is VetoReason.NO_SHORT
    assert isinstance(scalper.propose(replace(market, waiting=FakeCandidate(episode=2))), Signal)


def test_funnel_counts_an_expired_episode_under_its_last_veto():
    scalper = VolumeScalper(settings_of())
    market = breakout_long(sigma_60_bps=5.0)
    scalper.propose(market)
    scalper.propose(replace(market, sigma_60_bps=math.nan))
    assert scalper.funnel.counts().n_open == 1
    scalper.on_expired(market)
    assert scalper.funnel.counts().n_open == 1
    scalper.on_expired(replace(market, waiting=None))
    counts = scalper.funnel.counts()
    assert (counts.imbalance, counts.aligned, counts.cost, counts.entries, counts.n_open) == (1, 1, 0, 0, 0)
    assert dict(counts.vetoes)[VetoReason.NOT_READY] == 1
    assert counts.is_cost_gated


def test_gate_off_counts_every_aligned_episode_as_past_the_cost():
    scalper = VolumeScalper(settings_of(COST__GATE="off"))
    scalper.propose(breakout_long(sigma_60_bps=1.0))
    counts = scalper.funnel.counts()
    assert (counts.aligned, counts.cost, counts.entries) == (1, 1, 1)
    assert not counts.is_cost_gated


quarters = st.integers(-400, 400).map(lambda n: MID + n / 4)


@st.composite
def profiles(draw, source):
    # One edge of the area near mid, the rest of it above or below: most of these are aligned for one side.
    edge = draw(st.integers(-64, 64))
    direction = draw(st.sampled_from([-1, 1]))
    reach, more = draw(st.integers(0, 300)), draw(st.integers(0, 300))
    val, poc, vah = sorted(
        MID + n / 4 for n in (edge, edge + direction * reach, edge + direction * (reach + more))
    )
    return FakeProfile(
        source=source,
        is_ready=draw(st.sampled_from([True, True, False])),
        poc=poc,
        vah=vah,
        val=val,
        nodes=tuple(draw(st.lists(quarters, max_size=2))),
        is_poc_naked=source == "previous" and draw(st.booleans()),
        last_inside_ns=draw(st.sampled_from([900 * NS_PER_S, 600 * NS_PER_S, 0])),
    )


@st.composite
def markets(draw):
    sources = draw(
        st.sampled_from([("rolling",), ("previous", "session"), ("previous", "rolling", "session"), ()])
    )
    # Prices in quarters of a bps, so that distances are exact and the twin agrees at every boundary.
    return FakeMarket(
        kind=draw(st.sampled_from(MarketKind)),
        spread_bps=draw(st.integers(0, 8)) / 4,
        sigma_60_bps=draw(st.integers(0, 160)) / 4,
        walk={Side.BUY: draw(st.integers(0, 8)) / 4, Side.SELL: draw(st.integers(0, 8)) / 4},
        waiting=FakeCandidate(side=draw(st.sampled_from([Side.BUY, Side.SELL]))),
        known=tuple(draw(profiles(source)) for source in sources),
    )


@pytest.mark.slow
@given(market=markets(), gate=st.sampled_from(["on", "off"]))
def test_place_target_and_verdict_are_those_of_the_slow_twin(market, gate):
    settings = settings_of(MarketKind(market.kind), COST__GATE=gate)
    outcome = VolumeScalper(settings).propose(market)
    signal = outcome.signal if isinstance(outcome, Veto) else outcome
    side = market.waiting.side
    cost_bps, place = twin.cost_bps(market, side, settings), twin.place(market, side, settings)
    assert signal.cost_bps == cost_bps
    if place is None:
        assert reason_of(outcome) is VetoReason.NOT_ALIGNED
        return
    alignment, target_bps = place
    assert signal.alignment == alignment
    assert signal.target_bps == pytest.approx(float(target_bps), abs=1e-9)
    is_to_poc = target_bps < max(2 * cost_bps, 2 * signal.sigma_60_bps)
    if gate == "on" and (target_bps if is_to_poc else 2 * signal.sigma_60_bps) < 2 * cost_bps:
        assert reason_of(outcome) is VetoReason.COST
    elif market.kind == MarketKind.SPOT and side == Side.SELL:
        assert reason_of(outcome) is VetoReason.NO_SHORT
    else:
        assert isinstance(outcome, Signal)


@pytest.mark.slow
@given(market=markets())
def test_short_is_the_mirror_of_long(market):
    market = replace(market, kind=MarketKind.USDM, waiting=replace(market.waiting, side=Side.BUY))
    first, second = proposed(market), proposed(short_of(market))
    assert type(first) is type(second)
    if isinstance(first, Veto):
        assert first.reason is second.reason
        first, second = first.signal, second.signal
    assert first.alignment is second.alignment
    assert first.cost_bps == second.cost_bps
    assert first.target_bps == second.target_bps or math.isnan(first.target_bps)
    assert (first.side, second.side) == (Side.BUY, Side.SELL)
