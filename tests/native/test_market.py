"""The market as a conductor: chain and book, times, prints that do not teach, timers, counters and logs."""

import math

import numpy
import pytest

from engine.signals import MarketKind, Trigger
from native.events import SequenceState
from native.market import Market
from native.triggers import LevelSide, Timer
from tests.native.venue import MS, SECOND, START_NS, Venue

BOTH = pytest.mark.parametrize("kind", [MarketKind.SPOT, MarketKind.USDM], ids=lambda kind: kind.name)


def bests(venue: Venue) -> tuple[int, int]:
    return venue.market.best_bid, venue.market.best_ask


# Chain and book.


@BOTH
def test_snapshot_then_joining_update_makes_book_live(kind: MarketKind) -> None:
    venue = Venue(kind)
    assert not venue.market.is_valid
    assert venue.snapshot({9_990: 1_000, 9_980: 2_000}, {10_010: 3_000}) == 0
    assert bests(venue) == (9_990, 10_010)
    assert (venue.market.is_valid, venue.market.book_epoch) == (False, 1)
    assert venue.depth({9_990: 0}, {10_005: 500}) == Trigger.LIVE
    assert bests(venue) == (9_980, 10_005)
    assert (venue.market.is_valid, venue.market.update_id) == (True, 103)
    assert venue.depth({9_981: 10}) == 0
    assert venue.market.book.levels(1, 5) == [(9_981, 10), (9_980, 2_000)]
    assert venue.market.book.levels(-1, 5) == [(10_005, 500), (10_010, 3_000)]


@BOTH
def test_buffered_updates_follow_the_snapshot_at_once(kind: MarketKind) -> None:
    venue = Venue(kind)
    for price in (9_901, 9_902, 9_903):
        assert venue.depth({price: 1_000}) == 0
    assert (venue.market.depth_updates, venue.market.depth_applied, len(venue.market.backlog)) == (3, 0, 3)
    # The snapshot holds the first update and a part of the second.
    assert venue.snapshot({9_900: 1_000}, {10_010: 1_000}, at_id=105) == Trigger.LIVE
    assert venue.market.book.levels(1, 5) == [(9_903, 1_000), (9_902, 1_000), (9_900, 1_000)]
    assert (venue.market.depth_applied, len(venue.market.backlog), venue.market.update_id) == (2, 0, 109)
    assert venue.market.take_bbo().tolist() == [[106, 9_902, 10_010], [109, 9_903, 10_010]]
    assert venue.depth({9_904: 1_000}) == 0
    assert venue.market.take_bbo().tolist() == [[112, 9_904, 10_010]]
    assert venue.market.gaps == 0


@BOTH
def test_gap_leaves_old_book_readable_and_invalid_until_a_later_snapshot(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.open({9_999: 5_000}, {10_001: 4_000})
    venue.lose_depth({9_998: 1_000})
    assert venue.depth({9_997: 1_000}) == Trigger.GAP
    assert (venue.market.is_valid, venue.market.gaps) == (False, 1)
    assert venue.market.sequence.state == SequenceState.SEQUENCE_GAP
    assert venue.market.book.levels(1, 9) == [(9_999, 5_000)]
    assert venue.market.update_id == 103
    assert venue.depth({9_996: 1_000}) == 0
    assert bests(venue) == (9_999, 10_001)
    assert math.isnan(venue.market.imbalance.rho)
    assert math.isnan(venue.market.walk_bps(1, 100.0))
    # A snapshot of before the gap cannot join what was kept.
    assert venue.snapshot({1_000: 1}, {20_000: 1}, at_id=104) == 0
    assert not venue.market.is_valid
    mask = venue.snapshot({9_999: 5_000, 9_998: 1_000}, {10_001: 4_000}, at_id=106)
    assert mask == Trigger.LIVE
    assert (venue.market.is_valid, venue.market.book_epoch, venue.market.gaps) == (True, 3, 1)
    assert [price for price, _ in venue.market.book.levels(1, 9)] == [9_999, 9_998, 9_997, 9_996]
    assert venue.market.imbalance.rho == pytest.approx((8_000 - 4_000) / 12_000)


@BOTH
def test_gap_among_buffered_updates_leaves_book_invalid(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.depth({9_998: 1_000})
    venue.lose_depth()
    venue.depth({9_997: 1_000})
    mask = venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=101)
    assert mask & Trigger.GAP
    assert (venue.market.is_valid, venue.market.gaps) == (False, 1)
    assert venue.market.sequence.state == SequenceState.SEQUENCE_GAP
    venue.depth({9_996: 1_000})
    assert not venue.market.is_valid
    assert venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=106) == Trigger.LIVE
    assert [price for price, _ in venue.market.book.levels(1, 9)] == [9_999, 9_997, 9_996]


@BOTH
def test_snapshot_older_than_the_first_update_waits_for_another(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.depth({9_998: 1_000})
    assert venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=90) == 0
    assert (venue.market.is_valid, venue.market.sequence.stale_snapshots) == (False, 1)
    assert venue.depth({9_997: 1_000}) == 0
    assert venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=101) == Trigger.LIVE
    assert [price for price, _ in venue.market.book.levels(1, 9)] == [9_999, 9_998, 9_997]


@BOTH
def test_snapshot_while_live_is_counted_and_not_taken(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.open()
    assert venue.snapshot({1_000: 1}, {20_000: 1}, at_id=1_000) == 0
    assert (venue.market.snapshots, venue.market.book_epoch) == (2, 1)
    assert bests(venue) == (9_999, 10_001)
    assert venue.market.is_valid


@BOTH
def test_update_that_came_before_is_ignored(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.open()
    data = venue.depth_data({9_998: 1_000})
    venue.say(data)
    assert venue.say(data) == 0
    assert venue.depth({9_997: 1_000}) == 0
    assert (venue.market.sequence.duplicates, venue.market.depth_applied, venue.market.gaps) == (1, 3, 0)


@BOTH
def test_crossed_book_becomes_invalid_until_a_snapshot(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.open()
    assert venue.depth({10_001: 1_000}) == Trigger.GAP
    assert (venue.market.is_valid, venue.market.crossed, venue.market.gaps) == (False, 1, 0)
    assert bests(venue) == (10_001, 10_001)
    assert venue.depth({10_001: 0}) == 0
    assert not venue.market.is_valid
    assert venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=venue.book_id - 1) == Trigger.LIVE
    assert (venue.market.is_valid, venue.market.book_epoch) == (True, 2)


@BOTH
def test_crossed_book_among_buffered_updates_stays_invalid(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.depth({9_998: 1_000})
    venue.depth({10_001: 1_000})
    venue.depth({10_001: 0})
    assert venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=101) & Trigger.GAP
    assert not venue.market.is_valid
    assert venue.snapshot({9_999: 5_000}, {10_001: 5_000}, at_id=107) == Trigger.LIVE


def test_buffer_that_overflows_is_forgotten_and_a_later_snapshot_joins() -> None:
    venue = Venue(buffer_levels=1_024)
    for _ in range(1_025):
        venue.depth({9_998: 1_000})
    assert venue.market.backlog.forgotten == 1_024
    assert venue.snapshot({9_999: 1}, {10_001: 1}, at_id=101) == 0
    assert venue.snapshot({9_999: 1}, {10_001: 1}, at_id=venue.book_id - 1) == Trigger.LIVE


# Timers and levels.


def test_silence_of_depth_is_stale_once_at_its_exact_time() -> None:
    venue = Venue(stale_ns=1_000 * MS)
    venue.open()
    venue.wait(400 * MS)
    venue.depth({9_998: 1})
    assert venue.wait(999 * MS) == []
    venue.trade(1, 10_000, 100)
    assert venue.wait(1 * MS) == [(1_400 * MS, Trigger.STALE)]
    assert venue.wait(10 * SECOND) == []
    assert (venue.market.stale_periods, venue.market.is_valid) == (1, True)
    venue.depth({9_997: 1})
    assert venue.wait(2 * SECOND) == [(venue.elapsed_ns - 1 * SECOND, Trigger.STALE)]


def test_invalid_book_is_not_told_to_be_stale() -> None:
    venue = Venue(stale_ns=1_000 * MS)
    venue.open()
    venue.lose_depth()
    venue.depth()
    assert venue.wait(5 * SECOND) == []


def test_timers_are_told_one_at_a_time_at_their_own_times() -> None:
    venue = Venue(stale_ns=1_000 * MS)
    venue.open()
    venue.market.triggers.arm_timer(Timer.TIMER_DESK, START_NS + 700 * MS)
    assert venue.wait(3 * SECOND) == [(700 * MS, Trigger.DUE), (1_000 * MS, Trigger.STALE)]
    assert venue.market.now_ns == venue.now_ns
    assert venue.market.last_recv_ns == START_NS


def test_level_is_told_when_the_best_price_reaches_it() -> None:
    venue = Venue()
    venue.open()
    venue.market.triggers.arm_level(3, LevelSide.LEVEL_BID_AT_OR_BELOW, 9_990)
    assert venue.depth({9_995: 1_000}) == 0
    assert venue.depth({9_999: 0}) == 0
    assert venue.depth({9_989: 1_000, 9_995: 0}) == Trigger.LEVEL
    assert venue.market.triggers.take_fired() == 1 << 3
    assert venue.depth({9_988: 1_000, 9_989: 0}) == 0


def test_level_passed_while_the_book_was_invalid_is_told_when_it_is_live() -> None:
    venue = Venue()
    venue.open()
    venue.market.triggers.arm_level(0, LevelSide.LEVEL_BID_AT_OR_BELOW, 9_000)
    venue.lose_depth()
    venue.depth()
    assert venue.snapshot({8_000: 1_000}, {8_010: 1_000}) == 0
    assert venue.depth({7_000: 1}) == Trigger.LIVE | Trigger.LEVEL


# Views, logs and counters.


def test_prices_in_quote_follow_the_book_and_an_empty_side_is_unknown() -> None:
    venue = Venue()
    assert math.isnan(venue.market.mid)
    venue.open()
    assert venue.market.mid == pytest.approx(1_000.0)
    assert venue.market.spread_bps == pytest.approx(2.0)
    assert venue.market.walk_bps(1, 100.0) == pytest.approx(0.0)
    assert math.isnan(venue.market.walk_bps(1, 1e9))
    venue.depth({}, {10_001: 0})
    assert (venue.market.best_ask, venue.market.is_valid) == (0, True)
    assert math.isnan(venue.market.spread_bps)
    assert math.isnan(venue.market.imbalance.rho)


def test_every_message_is_counted_in_the_histogram_of_its_kind() -> None:
    venue = Venue()
    venue.open()
    venue.trade(1, 10_000, 100)
    venue.ticker(9_999, 10_001, at_id=200)
    venue.ticker(9_999, 10_001, at_id=201)
    assert [venue.market.frame_to_mask(kind).count for kind in ("depth", "trade", "ticker")] == [1, 1, 2]
    with pytest.raises(ValueError, match="kind must be depth, trade or ticker, found 'kline'"):
        venue.market.frame_to_mask("kline")


def test_events_nobody_takes_are_lost_oldest_first_and_counted() -> None:
    venue = Venue(imbalance_hold_ns=1)
    venue.open()
    for _ in range(2_100):
        venue.depth({9_999: 50_000})
        venue.wait(1)
        venue.depth({9_999: 5_000})
    events = venue.market.take_events()
    assert len(events) == 4_096
    assert venue.market.events.lost == 104
    assert numpy.array_equal(events["sequence"], numpy.arange(105, 4_201))
    assert set(events["kind"].tolist()) == {3, 4}
    assert len(venue.market.take_events()) == 0


def test_events_carry_the_instrument_they_belong_to() -> None:
    venue = Venue(imbalance_hold_ns=1)
    venue.open({9_999: 50_000})
    venue.wait(1)
    (event,) = venue.take_events()
    assert (event["instrument"], event["instrument_epoch"], event["book_epoch"]) == (7, 3, 1)


def test_best_prices_are_logged_only_when_enabled() -> None:
    market = Market(symbol="AAAUSDT", kind=0, price_digits=1, quantity_digits=3, tick=1)
    body = b'{"lastUpdateId":1,"bids":[["1.0","1.000"]],"asks":[["2.0","1.000"]]}'
    update = b'{"e":"depthUpdate","s":"AAAUSDT","U":2,"u":2,"b":[],"a":[]}'
    market.on_snapshot(body, 1)
    assert market.on_frame(update, 2) == Trigger.LIVE
    assert market.take_bbo().shape == (0, 3)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kind": 3}, "kind must be a MarketKind"),
        ({"stale_ns": 0}, "stale_ns must be positive, found 0"),
        ({"episode_window_ns": 1}, "window_ns must be at least rho_post_ns"),
        ({"symbol": "aaausdt"}, "symbol must be in upper case"),
        ({"tick": 0}, "tick must be"),
        ({"rho_floor": 0.9}, "rho_floor <= rho_enter"),
        ({"buffer_levels": 1}, "capacity_levels must be"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(wrong: dict[str, object], sentence: str) -> None:
    right = {"symbol": "AAAUSDT", "kind": 0, "price_digits": 1, "quantity_digits": 3, "tick": 1}
    with pytest.raises(ValueError, match=sentence):
        Market(**(right | wrong))
