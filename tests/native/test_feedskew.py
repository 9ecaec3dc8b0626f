"""How far the depth feed stands from the trade feed, and the latency histograms by kind."""

import math

import pytest

from engine.signals import MarketKind
from native.feedskew import FeedSkew
from native.latency import Latency
from tests.native.venue import MS, SECOND, Venue


def test_skew_when_depth_is_ahead_or_behind_then_its_sign_says_so() -> None:
    skew = FeedSkew()
    skew.apply_trade(5 * SECOND)
    assert (skew.n, skew.last_ns) == (0, 0)
    assert math.isnan(skew.mean_ns)
    skew.apply_depth(5 * SECOND)
    skew.apply_trade(4 * SECOND)
    assert (skew.n, skew.last_ns, skew.mean_ns, skew.deviation_ns) == (1, SECOND, SECOND, 0.0)
    # An older update changes nothing.
    skew.apply_depth(SECOND)
    skew.apply_trade(7 * SECOND)
    assert (skew.n, skew.last_ns) == (2, -2 * SECOND)


def test_mean_and_deviation_when_trades_go_on_then_they_are_decayed_over_64() -> None:
    skew = FeedSkew()
    mean, deviation = 0.0, 0.0
    skew.apply_depth(10 * SECOND)
    for number in range(300):
        one = float((number * 37 % 101 - 50) * MS)
        skew.apply_trade(10 * SECOND - int(one))
        if number == 0:
            mean = one
        else:
            deviation += (abs(one - mean) - deviation) / 64
            mean += (one - mean) / 64
    assert skew.mean_ns == pytest.approx(mean)
    assert skew.deviation_ns == pytest.approx(deviation)


def test_market_of_two_sockets_when_the_book_lags_then_it_can_be_read() -> None:
    venue = Venue(MarketKind.USDM)
    venue.open()
    for _ in range(200):
        venue.wait(100 * MS)
        venue.trade(1, 10_000, 1)
        venue.depth()
    # Each trade meets the update before it, a tenth of a second old.
    assert venue.market.skew.last_ns == -100 * MS
    assert venue.market.skew.mean_ns == pytest.approx(-100 * MS, rel=0.1)
    assert venue.market.skew.n == 200


def test_latency_when_asked_for_another_kind_then_it_says_which_there_are() -> None:
    latency = Latency()
    assert latency.of("depth") is latency.depth
    with pytest.raises(ValueError, match="depth, trade or ticker, found 'kline'"):
        latency.of("kline")
