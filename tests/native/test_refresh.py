"""A live book takes a snapshot without a moment in which it is not: right levels, and nobody notices."""

import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.signals import MarketKind, Trigger
from native.market import Market
from tests.native.venue import MS, Levels, Venue

KINDS = (MarketKind.SPOT, MarketKind.USDM)


def book_of(market: Market) -> tuple[Levels, Levels]:
    return dict(market.book.levels(1, 10_000)), dict(market.book.levels(-1, 10_000))


def noticed(market: Market) -> tuple[object, ...]:
    """Return what lives from changes of the book, exact to the bit."""
    depth = market.imbalance
    rho = None if math.isnan(depth.rho) else depth.rho
    return (
        market.is_valid,
        market.update_id,
        market.book_epoch,
        market.now_ns,
        depth.band,
        depth.band_sums,
        rho,
        depth.order_flow,
        depth.signal_side,
        depth.hold_due,
        market.best_bid,
        market.best_ask,
        market.gaps,
        market.triggers.next_due_ns,
        market.flow.n_sweeps,
        len(market.take_events()),
    )


@dataclass
class Truth:
    """The venue's own book, and its update ids."""

    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)

    def set(self, bids: Levels, asks: Levels) -> None:
        for mine, changed in ((self.bids, bids), (self.asks, asks)):
            mine.update(changed)
            for price in [price for price, quantity in mine.items() if quantity == 0]:
                del mine[price]

    def best(self, n: int) -> tuple[Levels, Levels]:
        bids, asks = sorted(self.bids, reverse=True)[:n], sorted(self.asks)[:n]
        return {price: self.bids[price] for price in bids}, {price: self.asks[price] for price in asks}


class Truthful(Venue):
    """A venue with a deep book, of which a snapshot shows five levels a side."""

    def __init__(self, kind: MarketKind = MarketKind.SPOT, *, n: int = 5, depth: int = 12) -> None:
        super().__init__(kind)
        self.truth = Truth(
            {10_000 - k: 100 + k for k in range(1, depth)}, {10_000 + k: 200 + k for k in range(1, depth)}
        )
        self.n = n
        self.snapshot(*self.truth.best(n))
        assert self.change({}, {}) == Trigger.LIVE

    def change(self, bids: Levels, asks: Levels) -> int:
        self.truth.set(bids, asks)
        self.wait(10 * MS)
        return self.depth(bids, asks)

    def refresh(self, n: int | None = None) -> int:
        return self.snapshot(*self.truth.best(self.n if n is None else n))


@pytest.mark.parametrize("kind", KINDS)
def test_snapshot_without_a_beginning_when_live_then_it_is_not_taken(kind: MarketKind) -> None:
    venue = Truthful(kind)
    before = book_of(venue.market)
    assert venue.refresh(10) == 0
    assert (book_of(venue.market), venue.market.refreshes, venue.market.refreshes_refused) == (before, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_snapshot_after_a_beginning_when_it_agrees_then_the_far_book_is_new_and_nobody_notices(
    kind: MarketKind,
) -> None:
    venue = Truthful(kind)
    market = venue.market
    assert market.book.horizons == (9_995, 10_005)
    market.begin_refresh()
    assert market.refresh.is_running
    venue.change({9_999: 7}, {10_009: 5})
    before = noticed(market)
    assert venue.refresh(10) == 0
    assert noticed(market) == before
    assert (market.refreshes, market.refreshes_refused, market.refresh.is_running) == (1, 0, False)
    assert book_of(market) == venue.truth.best(10)
    assert market.book.horizons == (9_990, 10_010)
    assert venue.change({9_993: 0}, {10_001: 0}) == 0
    venue.truth.set({9_989: 0}, {10_011: 0})
    assert book_of(market) == (venue.truth.bids, venue.truth.asks)
    # Once is once.
    venue.refresh(10)
    assert market.refreshes == 1


@pytest.mark.parametrize("kind", KINDS)
def test_snapshot_that_is_ahead_of_the_stream_then_it_waits_for_its_update(kind: MarketKind) -> None:
    venue = Truthful(kind)
    market = venue.market
    market.begin_refresh()
    told = venue.depth_data({9_999: 50}, {10_007: 9})
    further = venue.depth_data({9_998: 60}, {})
    venue.truth.set({9_999: 50}, {10_007: 9})
    # Its id lies inside the first of the two updates that are still on their way.
    bids, asks = venue.truth.best(10)
    venue.snapshot(bids, asks, at_id=told["u"] if kind is MarketKind.USDM else int(str(told["u"])) - 1)
    assert (market.refreshes, market.refresh.is_running, market.is_valid) == (0, True, True)
    assert venue.say(told) == 0
    assert (market.refreshes, market.refresh.is_running) == (1, False)
    assert book_of(market) == venue.truth.best(10)
    venue.say(further)
    venue.truth.set({9_998: 60}, {})
    assert book_of(market) == venue.truth.best(10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("side", "price", "quantity"),
    [("bids", 9_999, 1), ("bids", 9_996, 0), ("asks", 10_004, 77), ("asks", 10_001, 0), ("bids", 10_000, 3)],
)
def test_snapshot_that_contradicts_the_book_then_the_old_one_stays(
    kind: MarketKind, side: str, price: int, quantity: int
) -> None:
    venue = Truthful(kind)
    market = venue.market
    market.begin_refresh()
    venue.change({9_997: 1}, {})
    before, seen = book_of(market), noticed(market)
    horizons = market.book.horizons
    venue.truth.set(*(({price: quantity}, {}) if side == "bids" else ({}, {price: quantity})))
    assert venue.refresh(10) == 0
    assert (market.refreshes, market.refreshes_refused) == (0, 1)
    assert (book_of(market), noticed(market), market.book.horizons) == (before, seen, horizons)
    assert not market.refresh.is_running


def test_snapshot_older_than_the_beginning_then_it_is_refused() -> None:
    venue = Truthful()
    levels = venue.truth.best(10)
    old_id = venue.book_id
    venue.change({9_998: 1}, {})
    venue.market.begin_refresh()
    venue.snapshot(*levels, at_id=old_id)
    assert (venue.market.refreshes, venue.market.refreshes_refused) == (0, 1)
    assert venue.market.is_valid


def test_chain_that_breaks_meanwhile_then_the_snapshot_begins_the_book_anew() -> None:
    venue = Truthful()
    venue.market.begin_refresh()
    venue.lose_depth({9_998: 1})
    assert venue.change({9_997: 2}, {}) == Trigger.GAP
    assert (venue.market.refresh.is_running, venue.market.refresh.abandoned) == (False, 1)
    venue.truth.set({9_998: 1}, {})
    venue.refresh(10)
    assert venue.change({}, {}) == Trigger.LIVE
    assert (venue.market.refreshes, venue.market.book_epoch) == (0, 2)
    assert book_of(venue.market) == venue.truth.best(10)


def test_beginning_before_the_book_is_live_then_it_is_ignored() -> None:
    venue = Venue()
    venue.market.begin_refresh()
    assert not venue.market.refresh.is_running
    venue.open()
    assert venue.market.is_valid


def test_more_updates_than_are_kept_then_the_refresh_is_abandoned() -> None:
    venue = Venue(buffer_levels=1_024)
    venue.open()
    venue.market.begin_refresh()
    for k in range(600):
        venue.depth({9_000 + k: 1}, {11_000 + k: 1})
    assert (venue.market.refresh.abandoned, venue.market.refresh.is_running) == (1, False)
    assert venue.market.is_valid


def test_band_that_reaches_behind_the_horizon_then_its_sums_are_taken_anew() -> None:
    venue = Truthful(n=5, depth=12)
    market = venue.market
    # The band is five ticks and more; removing the near levels moves it behind the horizon.
    venue.change({9_999: 0, 9_998: 0, 9_997: 0}, {10_001: 0})
    market.begin_refresh()
    venue.refresh(20)
    assert market.refreshes == 1
    low, high = market.imbalance.band
    assert market.imbalance.band_sums == (
        market.book.sum_between(1, low, 2**61),
        market.book.sum_between(-1, 1, high),
    )
    for price in list(venue.truth.bids)[:-1]:
        venue.change({price: 0}, {})
    low, high = market.imbalance.band
    assert market.imbalance.band_sums[0] == market.book.sum_between(1, low, 2**61)


Changes = list[tuple[bool, int, int]]
CHANGES = st.lists(
    st.tuples(st.booleans(), st.integers(-25, 25), st.sampled_from([0, 0, 1, 5, 9])), min_size=0, max_size=4
)


@settings(max_examples=150)
@given(
    told=st.tuples(
        st.lists(CHANGES, max_size=8), st.lists(CHANGES, max_size=6), st.lists(CHANGES, max_size=4)
    ),
    asked=st.tuples(st.sampled_from([5, 10, 20, 1_001]), st.integers(-4, 4), st.integers(0, 1_000)),
    kind=st.sampled_from(KINDS),
)
def test_refreshed_book_knows_what_one_that_began_with_that_snapshot_knows_and_more(
    told: tuple[list[Changes], list[Changes], list[Changes]], asked: tuple[int, int, int], kind: MarketKind
) -> None:
    (before, kept, after), (n, delay, seed) = told, asked
    chance = random.Random(seed)
    venue, plain = Truthful(kind, n=5, depth=30), Truthful(kind, n=5, depth=30)
    twin = Venue(kind)

    def split(changes: Changes) -> tuple[Levels, Levels]:
        # Never crossed: the best prices stay apart.
        bids = {9_970 + abs(price): quantity for is_bid, price, quantity in changes if is_bid}
        asks = {10_030 - abs(price): quantity for is_bid, price, quantity in changes if not is_bid}
        return bids, asks

    for changes in before:
        for one in (venue, plain):
            one.change(*split(changes))
    twin.book_id = venue.book_id
    venue.market.begin_refresh()
    updates = [split(changes) for changes in kept]
    place = chance.randint(0, len(updates))
    arrives = min(max(0, place + delay), len(updates))
    snapshot: tuple[Levels, Levels, int] | None = None
    horizon: tuple[int, int] = (0, 0)
    # The stream as the venue makes it; the answer is of the moment `place` and comes at `arrives`.
    data = []
    for number in range(len(updates) + 1):
        if number == place:
            snapshot = *venue.truth.best(n), venue.book_id
        if number < len(updates):
            venue.truth.set(*updates[number])
            data.append(venue.depth_data(*updates[number]))
    assert snapshot
    twin.market.on_frame(b"{}", twin.now_ns)
    twin.snapshot(snapshot[0], snapshot[1], at_id=snapshot[2])
    for number in range(len(updates) + 1):
        if number == arrives:
            venue.snapshot(snapshot[0], snapshot[1], at_id=snapshot[2])
        if number < len(updates):
            venue.say(data[number])
            plain.depth(*updates[number])
            twin.say(data[number])
    for changes in after:
        venue.change(*split(changes))
        plain.change(*split(changes))
        twin.now_ns = venue.now_ns
        twin.book_id = venue.book_id - 3
        twin.depth(*split(changes))
    market = venue.market
    assert (market.refreshes, market.refreshes_refused, market.is_valid) == (1, 0, True)
    horizon = market.book.horizons
    old = plain.market.book.horizons
    for side, mine, other, truth in zip(
        (1, -1), book_of(market), book_of(twin.market), (venue.truth.bids, venue.truth.asks), strict=True
    ):
        # All that either knows, and nothing that is not.
        assert other.items() <= mine.items() <= truth.items()
        known = horizon[0 if side > 0 else 1]
        assert all(price in mine for price in truth if known == 0 or side * price >= side * known)
        assert known == 0 or side * known <= side * old[0 if side > 0 else 1]
    # The one that was never refreshed has seen nothing else.
    assert market.best_bid == plain.market.best_bid
    assert market.imbalance.order_flow == plain.market.imbalance.order_flow
    assert market.take_events().size == plain.market.take_events().size
