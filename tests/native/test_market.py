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
    assert math.isnan(venue.market.rho)
    assert math.isnan(venue.market.walk_bps(1, 100.0))
    # A snapshot of before the gap cannot join what was kept.
    assert venue.snapshot({1_000: 1}, {20_000: 1}, at_id=104) == 0
    assert not venue.market.is_valid
    mask = venue.snapshot({9_999: 5_000, 9_998: 1_000}, {10_001: 4_000}, at_id=106)
    assert mask == Trigger.LIVE
    assert (venue.market.is_valid, venue.market.book_epoch, venue.market.gaps) == (True, 3, 1)
    assert [price for price, _ in venue.market.book.levels(1, 9)] == [9_999, 9_998, 9_997, 9_996]
    assert venue.market.rho == pytest.approx((8_000 - 4_000) / 12_000)


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


# What is not for this book.


def test_foreign_symbol_changes_nothing_but_its_counter() -> None:
    venue = Venue()
    venue.open()
    venue.now_ns += 5 * MS
    before = venue.market.messages, venue.market.last_recv_ns, venue.market.update_id
    data = venue.depth_data({9_998: 1_000}) | {"s": "BBBUSDT"}
    assert venue.say(data) == 0
    assert (venue.market.messages, venue.market.last_recv_ns, venue.market.update_id) == before
    assert venue.market.foreign_messages == 1


@pytest.mark.parametrize("keep", [30, 90, -1])
def test_refused_frame_leaves_state_and_the_lost_update_is_a_gap(keep: int) -> None:
    venue = Venue()
    venue.open()
    data = venue.depth_data({9_998: 1_000})
    frame = b'{"stream":"aaausdt@depth@100ms","data":' + bytes(str(data).replace("'", '"'), "ascii") + b"}"
    assert venue.market.on_frame(frame[:keep], venue.now_ns) == Trigger.REFUSED
    assert (venue.market.refused, venue.market.depth_updates, venue.market.update_id) == (1, 1, 103)
    assert venue.market.is_valid
    assert venue.depth({9_997: 1_000}) == Trigger.GAP


def test_refused_snapshot_leaves_the_book_empty() -> None:
    venue = Venue()
    assert venue.market.on_snapshot(b'{"lastUpdateId":7,"bids":[["1.0"', START_NS) == Trigger.REFUSED
    assert (venue.market.snapshots, venue.market.book_epoch, venue.market.best_bid) == (0, 0, 0)


def test_partial_book_of_futures_does_not_enter_the_diff_chain() -> None:
    venue = Venue(MarketKind.USDM)
    venue.open()
    partial = venue.stamp("depthUpdate") | {"T": 1, "U": 500, "u": 900, "pu": 499}
    partial |= {"b": [["999.5", "1.000"]], "a": [["1000.3", "1.000"]]}
    assert venue.say(partial, "depth5@100ms") == 0
    assert (venue.market.partial_books, venue.market.depth_updates) == (1, 1)
    assert bests(venue) == (9_999, 10_001)
    assert venue.depth({9_998: 1_000}) == 0
    assert (venue.market.gaps, venue.market.is_valid) == (0, True)


def test_other_messages_are_counted_by_kind() -> None:
    venue = Venue()
    bar = {"t": 1, "T": 2, "i": "1m", "o": "1.0", "h": "1.0", "l": "1.0", "c": "1.0", "v": "1.000"}
    bar |= {"V": "1.000", "n": 1, "x": False}
    assert venue.say(venue.stamp("kline") | {"k": bar}, "kline_1m") == 0
    assert venue.ticker(9_999, 10_001, at_id=1) == 0
    assert venue.market.on_frame(b'{"result":null,"id":1}', venue.now_ns) == 0
    market = venue.market
    assert (market.messages, market.klines, market.tickers, market.other_messages) == (3, 1, 1, 1)


def test_quantities_finer_than_their_unit_are_floored_and_counted() -> None:
    venue = Venue()
    venue.open()
    data = venue.depth_data() | {"b": [["999.8", "1.00099"], ["999.7", "2.000"]]}
    venue.say(data)
    assert venue.market.book.levels(1, 2)[1] == (9_998, 1_000)
    venue.say(venue.trade_data(1, 10_000, 1) | {"q": "0.0019"}, "trade")
    assert (venue.market.floored_quantities, venue.market.cvd) == (2, 1)


def test_book_is_held_against_the_ticker_of_the_same_ids() -> None:
    venue = Venue()
    venue.open()
    venue.ticker(9_999, 10_001, at_id=105)
    venue.depth({9_000: 1})
    venue.ticker(9_998, 10_001, at_id=109)
    venue.depth({9_001: 1})
    assert (venue.market.ticker_compared, venue.market.ticker_equal) == (2, 1)


# Trades.


def test_print_that_is_no_market_trade_moves_the_id_chain_only() -> None:
    venue = Venue(MarketKind.USDM)
    venue.trade(1, 10_000, 100)
    assert venue.trade(-1, 5_000, 900_000, X="INSURANCE_FUND") == 0
    venue.trade(1, 10_000, 100, X="MARKET")
    market = venue.market
    assert (market.cvd, market.last_trade_id, market.flow.missing_ids) == (200, 3, 0)
    assert market.areas.rolling.n_trades == 2
    bar = market.bars.open_bar("1m")
    assert bar is not None
    assert (bar.low, bar.volume, bar.n_trades) == (10_000, 200, 2)
    # The sweep goes on after it.
    assert market.flow.running is not None
    assert market.flow.running[10] == 2


def test_trade_that_came_before_is_not_taken_again() -> None:
    venue = Venue()
    data = venue.trade_data(1, 10_000, 100)
    venue.say(data, "trade")
    venue.say(data, "trade")
    assert (venue.market.trades, venue.market.cvd, venue.market.flow.duplicates) == (2, 100, 1)
    assert len(venue.market.tape.last(5)) == 1


def test_missing_trade_ids_mark_the_bars() -> None:
    venue = Venue()
    start = START_NS // (60 * SECOND) * 60 * SECOND + 60 * SECOND
    venue.wait(start - venue.now_ns)
    venue.trade(1, 10_000, 100)
    venue.wait(60 * SECOND)
    venue.trade(1, 10_000, 100)
    venue.trade_id += 3
    venue.wait(1 * SECOND)
    venue.trade(1, 10_000, 100)
    venue.wait(60 * SECOND)
    venue.trade(1, 10_000, 100)
    venue.wait(60 * SECOND)
    venue.trade(1, 10_000, 100)
    # The first bar's beginning was not seen.
    assert [bar.has_gap for bar in venue.market.bars.bars("1m")] == [True, True, False]
    assert venue.market.flow.missing_ids == 3


def test_time_far_off_is_not_believed_until_it_stays() -> None:
    venue = Venue()
    venue.open()
    venue.trade(1, 10_000, 100)
    day_ns = 86_400 * SECOND
    assert venue.trade(1, 10_000, 100, venue_ns=venue.now_ns + day_ns) == 0
    assert (venue.market.cvd, venue.market.venue_time.outliers) == (100, 1)
    venue.venue_lead_ns = -day_ns
    assert venue.depth({9_998: 1_000}) == 0
    # The levels are taken, the time is not.
    assert venue.market.book.levels(1, 2)[1] == (9_998, 1_000)
    assert venue.market.last_venue_ns == START_NS
    assert venue.market.bars.closed_until <= START_NS
    # A far time that stays is the venue's: its clock did move.
    venue.venue_lead_ns = day_ns
    for _ in range(30):
        venue.depth()
    assert venue.market.venue_time.outliers == 32
    assert venue.market.last_venue_ns == START_NS
    venue.depth()
    assert (venue.market.venue_time.outliers, venue.market.last_venue_ns) == (32, START_NS + day_ns)


def test_disbelieved_trade_is_missing_from_the_bars() -> None:
    venue = Venue()
    venue.trade(1, 10_000, 100)
    venue.trade(1, 10_000, 100, venue_ns=venue.now_ns - 3_600 * SECOND)
    venue.trade(1, 10_000, 100)
    assert venue.market.flow.missing_ids == 1
    bar = venue.market.bars.open_bar("1m")
    assert bar is not None
    assert bar.has_gap


def test_recent_trades_come_newest_first() -> None:
    venue = Venue()
    for number in range(70):
        venue.trade(1 if number % 2 else -1, 10_000 + number, 100)
    assert venue.market.tape.last(2) == [
        (70, 10_069, 100, 1, START_NS),
        (69, 10_068, 100, -1, START_NS),
    ]
    assert len(venue.market.tape.last(1_000)) == 64


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
    assert math.isnan(venue.market.rho)


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
