"""Messages that are not for the book: foreign, refused, partial and other ones; trades and their times."""

import pytest

from engine.signals import MarketKind, Trigger
from tests.native.venue import MS, SECOND, START_NS, Venue


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
    assert (venue.market.best_bid, venue.market.best_ask) == (9_999, 10_001)
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


@pytest.mark.parametrize("kind", MarketKind)
def test_venue_that_began_anew_with_lower_ids_is_a_gap_and_a_snapshot_joins(kind: MarketKind) -> None:
    venue = Venue(kind)
    venue.book_id = 1_000_000
    venue.open()
    assert venue.market.is_valid
    venue.book_id = 500
    masks = [venue.depth({9_990: 1_000 + i}) for i in range(100)]
    assert masks == [0] * 99 + [Trigger.GAP]
    assert (venue.market.is_valid, venue.market.gaps) == (False, 1)
    assert venue.market.best_bid == 9_999  # the old book stays readable
    mask = venue.snapshot({9_980: 2_000}, {10_020: 2_000})
    assert (mask | venue.depth({9_990: 0, 9_981: 500})) & Trigger.LIVE
    assert (venue.market.is_valid, venue.market.best_bid) == (True, 9_981)


def test_old_updates_between_new_ones_are_no_gap() -> None:
    venue = Venue()
    venue.open()
    old = venue.depth_data({9_990: 1_000})
    for _ in range(3):
        for _ in range(99):
            venue.say(old)
        assert venue.depth({9_991: 1_000}) & Trigger.GAP == 0
    assert (venue.market.is_valid, venue.market.gaps) == (True, 0)


def test_snapshot_from_ahead_that_nothing_reaches_is_given_up() -> None:
    venue = Venue()
    venue.depth({9_990: 1_000})
    venue.snapshot({9_999: 1_000}, {10_001: 1_000}, at_id=9_000_000)
    masks = [venue.depth({9_990: 1_000 + i}) for i in range(100)]
    assert masks == [0] * 99 + [Trigger.GAP]
    venue.snapshot({9_999: 1_000}, {10_001: 1_000})
    assert venue.depth({9_990: 5}) & Trigger.LIVE
