"""Whales, imbalances and entry candidates of a market, message by message and to the nanosecond."""

import math

import pytest

from engine.signals import EntryReason, FlowKind, MarketKind, Trigger
from tests.native.venue import MS, SECOND, START_NS, Venue

BUY, SELL = 1, -1
OPENED, CLOSED, IMBALANCE, ENTRY = Trigger.WHALE_OPEN, Trigger.WHALE_CLOSE, Trigger.IMBALANCE, Trigger.ENTRY
EXPIRED = Trigger.ENTRY_EXPIRED
POST_NS = 400 * MS
WINDOW_NS = 2 * SECOND
# Bids lean over asks by (90 - 10) / 100 in the band.
BID_HEAVY = {9_999: 90_000}, {10_001: 10_000}


def ready(kind: MarketKind = MarketKind.SPOT, **settings: object) -> Venue:
    venue = Venue(kind, **settings)
    venue.warm_up()
    return venue


def leaning(**settings: object) -> Venue:
    """Return a warm venue whose book has leaned to the bids for a while; that signal is told already."""
    venue = ready(**settings)
    venue.depth(*BID_HEAVY)
    venue.wait(1 * SECOND)
    venue.take_events()
    return venue


def whale(venue: Venue, side: int = BUY, quantity: int = 1_500) -> int:
    """Say one whale of one trade, closed by its timer; return the moment of its only fill since the start."""
    last_ns = venue.elapsed_ns
    assert venue.trade(side, 10_000, quantity) & OPENED
    assert venue.wait(10 * MS) == [(last_ns + 10 * MS, CLOSED)]
    return last_ns


def updates(venue: Venue, n: int, every_ns: int = 100 * MS) -> None:
    """Say `n` updates that change nothing, each after a pause in which nothing is due."""
    for _ in range(n):
        assert venue.wait(every_ns) == []
        assert venue.depth() == 0


def kinds(events: list[dict[str, int | float]]) -> list[int]:
    return [int(event["kind"]) for event in events]


# Sweeps and whales.


def test_whale_opens_once_at_the_trade_that_reaches_the_threshold() -> None:
    venue = ready()
    recv_ns = venue.now_ns
    masks = [venue.trade(BUY, price, 400, venue_ns=START_NS) for price in (10_000, 10_000, 10_001, 10_002)]
    assert masks == [0, 0, OPENED, 0]
    (event,) = venue.take_events()
    assert event["kind"] == FlowKind.WHALE_OPEN
    assert (event["side"], event["episode"], event["n_trades"], event["n_prices"]) == (BUY, 1, 3, 2)
    assert (event["first_price"], event["last_price"]) == (10_000, 10_001)
    assert event["notional"] == pytest.approx(0.4 * (1_000.0 + 1_000.0 + 1_000.1))
    assert event["quantity"] == pytest.approx(1.2)
    assert event["threshold"] == pytest.approx(1_000.0)
    assert event["trade_id"] == venue.trade_id - 2
    assert (event["recv_ns"], event["decide_ns"], event["is_valid"]) == (recv_ns, recv_ns, 1)
    assert (event["best_bid"], event["best_ask"], event["update_id"]) == (9_999, 10_001, 103)
    assert (venue.market.whale.n_whales, venue.market.whale.n_episodes) == (1, 1)


def test_whale_close_by_timer_comes_exactly_ten_milliseconds_after_the_last_fill() -> None:
    venue = ready()
    venue.trade(BUY, 10_000, 1_500, venue_ns=START_NS)
    venue.wait(6 * MS)
    venue.trade(BUY, 10_003, 1_000, venue_ns=START_NS)
    last_ns = venue.elapsed_ns
    assert venue.wait(10 * MS - 1) == []
    assert venue.wait(1) == [(last_ns + 10 * MS, CLOSED)]
    _, event = venue.take_events()
    assert event["kind"] == FlowKind.WHALE_CLOSE
    assert (event["quantity"], event["n_trades"], event["n_prices"]) == (pytest.approx(2.5), 2, 2)
    assert event["decide_ns"] == START_NS + last_ns + 10 * MS
    assert event["recv_ns"] == START_NS + last_ns
    assert math.isnan(event["rho_post"])


@pytest.mark.parametrize(
    ("side", "price", "later_ns", "skipped"),
    [(SELL, 10_000, 0, 0), (BUY, 10_000, 1 * MS, 0), (BUY, 9_999, 0, 0), (BUY, 10_000, 0, 1)],
    ids=["side", "venue-time", "price-falls", "id-missing"],
)
def test_whale_closes_with_the_trade_that_does_not_continue_it(
    side: int, price: int, later_ns: int, skipped: int
) -> None:
    venue = ready()
    assert venue.trade(BUY, 10_000, 1_500, venue_ns=START_NS) == OPENED
    venue.trade_id += skipped
    assert venue.trade(side, price, 100, venue_ns=START_NS + later_ns) == CLOSED
    _, event = venue.take_events()
    assert (event["quantity"], event["n_trades"], event["side"]) == (1.5, 1, BUY)
    # Told before the trade that ended it is counted.
    assert event["trade_id"] == venue.trade_id - 2 - skipped


def test_one_trade_can_close_one_whale_and_open_the_next() -> None:
    venue = ready()
    venue.trade(BUY, 10_000, 1_500)
    assert venue.trade(SELL, 10_000, 1_500) == CLOSED | OPENED
    events = venue.take_events()
    assert kinds(events) == [FlowKind.WHALE_OPEN, FlowKind.WHALE_CLOSE, FlowKind.WHALE_OPEN]
    assert [event["side"] for event in events] == [BUY, BUY, SELL]
    assert [event["episode"] for event in events] == [1, 1, 2]


def test_threshold_is_read_before_the_sweep_enters_the_window() -> None:
    venue = ready(whale_floor_quote=1.0, whale_quantile=1.0)
    before = venue.market.whale.threshold_quote
    assert before == pytest.approx(10.0, rel=0.01)
    venue.trade(BUY, 10_000, 1_500)
    venue.wait(10 * MS)
    assert [event["threshold"] for event in venue.take_events()] == [before, before]
    assert venue.market.whale.threshold_quote == pytest.approx(1_500.0, rel=0.01)


def test_no_whale_before_the_market_is_warm() -> None:
    venue = Venue()
    venue.open()
    for side in (BUY, SELL, BUY):
        assert venue.trade(side, 10_000, 900_000) == 0
    assert venue.wait(29 * SECOND) == []
    assert venue.trade(BUY, 10_000, 900_000) == 0
    venue.wait(2 * SECOND)
    assert venue.trade(BUY, 10_000, 900_000) == OPENED


def test_whales_of_one_side_within_two_seconds_are_one_episode() -> None:
    venue = ready()
    found = []
    for pause_ns, side in (
        (0, BUY),
        (1_900 * MS, BUY),
        (10 * MS, SELL),
        (1_800 * MS, BUY),
        (2_001 * MS, BUY),
    ):
        venue.wait(pause_ns)
        venue.trade(side, 10_000, 1_500)
        found.append(venue.market.whale.episode)
        venue.wait(10 * MS)
    assert found == [1, 1, 2, 1, 3]


def test_notional_of_an_inverse_contract_is_contracts_times_their_size() -> None:
    venue = ready(MarketKind.COINM, contract_size=10.0)
    # 99 contracts of 10 are too few for 1,000 at any price; the hundredth makes it.
    assert venue.trade(BUY, 99_990_000, 99_000, venue_ns=START_NS) == 0
    assert venue.trade(BUY, 99_990_000, 1_000, venue_ns=START_NS) == OPENED
    (event,) = venue.take_events()
    assert (event["notional"], event["quantity"]) == (1_000.0, 100.0)
    # 5 contracts a side in the book.
    assert event["depth_median"] == pytest.approx(50.0)


def test_usual_contract_size_of_the_venue_is_taken_when_none_is_given() -> None:
    venue = ready(MarketKind.COINM)
    assert venue.trade(BUY, 10_000, 99_000, venue_ns=START_NS) == 0
    assert venue.trade(BUY, 10_000, 1_000, venue_ns=START_NS) == OPENED


# Imbalance.


def test_imbalance_is_a_signal_when_it_has_held_exactly_long_enough() -> None:
    venue = ready()
    venue.depth(*BID_HEAVY)
    begin_ns = venue.elapsed_ns
    assert venue.wait(500 * MS - 1) == []
    assert venue.wait(1) == [(begin_ns + 500 * MS, IMBALANCE)]
    venue.wait(100 * MS)
    # 0.5 stays above the floor, 0.4 does not.
    assert venue.depth({9_999: 30_000}) == 0
    assert venue.depth({9_999: 20_000}) == IMBALANCE
    events = venue.take_events()
    assert [(event["kind"], event["side"]) for event in events] == [
        (FlowKind.IMBALANCE_ON, BUY),
        (FlowKind.IMBALANCE_OFF, BUY),
    ]
    assert [event["rho"] for event in events] == pytest.approx([0.8, 1 / 3])


def test_imbalance_that_is_interrupted_begins_anew() -> None:
    venue = ready()
    venue.depth({}, {10_001: 50_000})
    venue.wait(400 * MS)
    venue.depth({}, {10_001: 5_000})
    venue.wait(50 * MS)
    venue.depth({}, {10_001: 50_000})
    begin_ns = venue.elapsed_ns
    assert venue.wait(2 * SECOND) == [(begin_ns + 500 * MS, IMBALANCE)]
    assert venue.take_events()[0]["side"] == SELL


def test_gap_ends_the_imbalance_as_of_an_invalid_book() -> None:
    venue = leaning()
    venue.lose_depth()
    assert venue.depth() == Trigger.GAP | IMBALANCE
    (event,) = venue.take_events()
    assert (event["kind"], event["side"], event["is_valid"]) == (FlowKind.IMBALANCE_OFF, BUY, 0)
    assert venue.wait(2 * SECOND) == []


# Confirmation.


def test_whale_is_confirmed_exactly_four_hundred_milliseconds_after_its_last_fill() -> None:
    venue = leaning()
    last_ns = whale(venue)
    updates(venue, 3)
    assert venue.market.candidate() is None
    assert venue.wait(last_ns + POST_NS - 1 - venue.elapsed_ns) == []
    assert venue.wait(1) == [(last_ns + POST_NS, ENTRY)]
    event = venue.take_events()[-1]
    assert (event["kind"], event["reason"], event["n_updates"]) == (FlowKind.ENTRY_ARMED, 0, 3)
    assert (event["decide_ns"], event["episode"], event["side"]) == (START_NS + last_ns + POST_NS, 1, BUY)
    assert (event["rho_pre"], event["rho_post"], event["rho_post_min"]) == pytest.approx((0.8, 0.8, 0.8))
    candidate = venue.market.candidate()
    assert candidate is not None
    assert (candidate.episode, candidate.side, candidate.n_updates) == (1, BUY, 3)
    assert (candidate.notional, candidate.threshold) == pytest.approx((1_500.0, 1_000.0))
    assert (candidate.last_whale_ns, candidate.expires_ns) == (
        START_NS + last_ns,
        START_NS + last_ns + WINDOW_NS,
    )
    assert venue.market.entry.n_confirmed == 1


def test_updates_at_or_after_the_end_of_the_window_do_not_count() -> None:
    venue = leaning()
    last_ns = whale(venue)
    updates(venue, 2)
    assert venue.wait(last_ns + POST_NS - venue.elapsed_ns) == []
    # The timer has run by now: this update is of the read after it, though its time is the window's end.
    venue.depth()
    (event,) = venue.take_events()[2:]
    assert (event["kind"], event["reason"]) == (FlowKind.ENTRY_REFUSED, EntryReason.FEW_UPDATES)
    assert event["n_updates"] == 2


def test_future_that_would_refuse_changes_nothing_once_the_window_is_over() -> None:
    venue = leaning()
    whale(venue)
    updates(venue, 3)
    # One read, long after the window: its book leans the other way.
    masks = venue.wait(500 * MS)
    venue.depth({9_999: 1_000}, {10_001: 90_000})
    assert [mask for _, mask in masks] == [ENTRY]
    assert venue.take_events()[2]["rho_post"] == pytest.approx(0.8)


def refusal(venue: Venue) -> dict[str, int | float]:
    venue.wait(500 * MS)
    assert venue.market.candidate() is None
    judged = (FlowKind.ENTRY_ARMED, FlowKind.ENTRY_REFUSED)
    (event,) = [event for event in venue.take_events() if event["kind"] in judged]
    assert event["kind"] == FlowKind.ENTRY_REFUSED
    return event


def test_refused_when_the_book_does_not_lean_after_the_whale() -> None:
    venue = leaning()
    whale(venue, SELL)
    updates(venue, 3)
    event = refusal(venue)
    assert (event["reason"], event["side"]) == (EntryReason.RHO_POST, SELL)
    assert event["rho_post"] == pytest.approx(0.8)
    assert event["rho_post_min"] == pytest.approx(-0.8)


def test_refused_when_one_update_fell_below_the_floor() -> None:
    venue = leaning()
    whale(venue)
    updates(venue, 2, 50 * MS)
    venue.depth({9_999: 20_000})
    venue.wait(1 * MS)
    venue.depth({9_999: 90_000})
    event = refusal(venue)
    assert event["reason"] == EntryReason.RHO_POST_MIN
    assert event["rho_post_min"] == pytest.approx(1 / 3)


def test_refused_when_the_book_leaned_the_other_way_before() -> None:
    venue = ready()
    venue.depth({9_999: 10_000}, {10_001: 90_000})
    venue.wait(600 * MS)
    whale(venue)
    venue.depth(*BID_HEAVY)
    updates(venue, 3, 50 * MS)
    event = refusal(venue)
    assert event["reason"] == EntryReason.RHO_PRE
    assert event["rho_pre"] == pytest.approx(-0.8)


def test_refused_when_additions_were_pulled_again() -> None:
    venue = leaning()
    venue.wait(3 * SECOND)
    for _ in range(3):
        venue.depth({9_998: 40_000})
        venue.depth({9_998: 10})
    whale(venue)
    updates(venue, 3)
    event = refusal(venue)
    assert event["reason"] == EntryReason.PULLED
    assert event["pulled_share"] > 0.9


def test_refused_when_the_book_has_no_past_before_the_whale() -> None:
    venue = ready()
    venue.lose_depth()
    venue.depth()
    venue.snapshot(*BID_HEAVY)
    venue.depth()
    whale(venue)
    updates(venue, 3)
    event = refusal(venue)
    assert event["reason"] == EntryReason.NOT_READY
    assert math.isnan(event["rho_pre"])


def test_refused_when_the_book_is_invalid_at_the_end() -> None:
    venue = leaning()
    whale(venue)
    updates(venue, 3, 90 * MS)
    venue.lose_depth()
    venue.depth()
    event = refusal(venue)
    assert (event["reason"], event["is_valid"]) == (EntryReason.BOOK_INVALID, 0)


def test_whale_of_another_episode_supersedes_the_one_that_waits() -> None:
    venue = leaning()
    whale(venue, SELL, 2_000)
    venue.wait(100 * MS)
    last_ns = whale(venue, BUY)
    events = venue.take_events()
    assert kinds(events)[-2:] == [FlowKind.WHALE_CLOSE, FlowKind.ENTRY_REFUSED]
    refused = events[-1]
    assert (refused["reason"], refused["side"], refused["episode"]) == (EntryReason.SUPERSEDED, SELL, 1)
    assert (refused["quantity"], refused["threshold"]) == (2.0, pytest.approx(1_000.0))
    updates(venue, 3)
    assert venue.wait(500 * MS) == [(last_ns + POST_NS, ENTRY)]
    assert kinds(venue.take_events()) == [FlowKind.ENTRY_ARMED]


# The candidate.


def armed(**settings: object) -> tuple[Venue, int]:
    venue = leaning(**settings)
    last_ns = whale(venue)
    updates(venue, 3)
    assert venue.wait(last_ns + POST_NS - venue.elapsed_ns) == [(last_ns + POST_NS, ENTRY)]
    venue.take_events()
    return venue, last_ns


def test_best_price_that_moves_while_a_candidate_is_armed_is_told() -> None:
    venue, last_ns = armed()
    assert venue.depth({9_998: 10}) == 0
    assert venue.depth({9_999: 89_999}) == 0
    assert venue.depth({10_000: 10}) == ENTRY
    assert venue.depth({}, {10_002: 10}) == 0
    assert venue.depth({}, {10_001: 0, 10_002: 9_000}) == ENTRY
    assert venue.wait(last_ns + WINDOW_NS - 1 - venue.elapsed_ns) == []
    assert venue.wait(1) == [(last_ns + WINDOW_NS, EXPIRED)]
    assert venue.depth({10_000: 0}) == 0
    assert venue.market.candidate() is None


def test_second_whale_of_the_episode_prolongs_the_candidate_and_is_counted_once() -> None:
    venue, _ = armed()
    venue.wait(500 * MS)
    last_ns = whale(venue, BUY, 3_000)
    updates(venue, 3)
    assert venue.wait(last_ns + POST_NS - venue.elapsed_ns) == [(last_ns + POST_NS, ENTRY)]
    candidate = venue.market.candidate()
    assert candidate is not None
    assert (candidate.episode, candidate.notional) == (1, pytest.approx(3_000.0))
    assert venue.wait(WINDOW_NS - POST_NS) == [(last_ns + WINDOW_NS, EXPIRED)]
    assert venue.market.candidate() is None
    assert venue.market.entry.n_confirmed == 1


def test_second_whale_of_the_episode_that_is_refused_ends_the_candidate() -> None:
    venue, _ = armed()
    last_ns = whale(venue)
    updates(venue, 2)
    assert venue.wait(500 * MS) == [(last_ns + POST_NS, EXPIRED)]
    assert venue.market.candidate() is None
    (event,) = venue.take_events()[2:]
    assert event["reason"] == EntryReason.FEW_UPDATES
    assert venue.depth({10_000: 10}) == 0
    assert venue.wait(3 * SECOND) == []


def test_candidate_of_another_episode_is_told_over_before_the_next_is_armed() -> None:
    venue, _ = armed(rho_enter=0.0, rho_floor=0.0, rho_pre_min=-1.0, imbalance_hold_ns=3_600 * SECOND)
    venue.depth({9_999: 10_000}, {10_001: 90_000})
    last_ns = whale(venue, SELL)
    updates(venue, 3)
    assert venue.wait(last_ns + POST_NS - venue.elapsed_ns) == [
        (last_ns + POST_NS, EXPIRED),
        (last_ns + POST_NS, ENTRY),
    ]
    candidate = venue.market.candidate()
    assert candidate is not None
    assert (candidate.episode, candidate.side) == (2, SELL)
    assert venue.market.entry.n_confirmed == 2


def test_gap_drops_the_candidate() -> None:
    venue, _ = armed()
    venue.lose_depth()
    assert venue.depth() == Trigger.GAP | IMBALANCE | EXPIRED
    assert venue.market.candidate() is None
    assert venue.wait(3 * SECOND) == []
    # Live again, the old candidate does not come back.
    venue.snapshot(*BID_HEAVY)
    assert venue.depth({10_000: 5}) == Trigger.LIVE
    assert venue.depth({10_000: 0}) == 0
