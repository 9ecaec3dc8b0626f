"""Price-time matching: each rule by example, and long random runs against the slow twin."""

import random
from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from native.events import Side
from native.matching import MatchedEvent, Matching, MatchKind, MatchReason, OrderKind, OrderLife, SelfTrade
from native.resting import RestingOrders
from tests.oracles.matching import TwinMatching

BUY, SELL = int(Side.BUY), int(Side.SELL)
IOC, FOK, GTX = OrderLife.LIFE_IOC, OrderLife.LIFE_FOK, OrderLife.LIFE_GTX
MARKET = OrderKind.ORDER_MARKET


def small() -> Matching:
    return Matching(64, 16, 64, 64)


def fills(matching: Matching) -> list[tuple[int, int, int, int]]:
    """Return (maker, taker, price, quantity) of the fills since the last drain."""
    events = matching.drain_events()
    return [(e.order_id, e.taker_id, e.price, e.quantity) for e in events if e.kind == MatchKind.MATCH_FILL]


def last(matching: Matching) -> MatchedEvent:
    return matching.drain_events()[-1]


def test_best_price_first_then_first_in_time() -> None:
    matching = small()
    late = [matching.apply_order(SELL, price, 5) for price in (102, 101, 101)]
    taker = matching.apply_order(BUY, 102, 12)
    assert fills(matching) == [(late[1], taker, 101, 5), (late[2], taker, 101, 5), (late[0], taker, 102, 2)]
    assert matching.resting.order(late[0]) == (SELL, 102, 3, 3, 0)
    assert matching.last_filled == 12


def test_remainder_of_limit_order_rests_at_its_price() -> None:
    matching = small()
    matching.apply_order(SELL, 101, 5)
    order = matching.apply_order(BUY, 101, 8)
    assert (matching.resting.best_bid, matching.resting.best_ask) == (101, 0)
    assert matching.resting.order(order) == (BUY, 101, 3, 3, 0)


def test_price_that_does_not_meet_leaves_both_resting() -> None:
    matching = small()
    matching.apply_order(SELL, 101, 5)
    matching.apply_order(BUY, 100, 5)
    assert fills(matching) == []
    assert (matching.resting.best_bid, matching.resting.best_ask) == (100, 101)


def test_ioc_remainder_expires() -> None:
    matching = small()
    matching.apply_order(SELL, 101, 5)
    matching.apply_order(BUY, 101, 8, life=IOC)
    event = last(matching)
    assert (event.kind, event.reason) == (MatchKind.MATCH_EXPIRED, MatchReason.REASON_NO_LIQUIDITY)
    assert event.quantity == 3
    assert matching.resting.n_orders == 0


def test_fok_fills_whole_or_touches_nothing() -> None:
    matching = small()
    matching.apply_order(SELL, 101, 5)
    matching.apply_order(SELL, 102, 5)
    matching.apply_order(BUY, 102, 11, life=FOK)
    assert fills(matching) == []
    matching.apply_order(BUY, 102, 10, life=FOK)
    assert [fill[3] for fill in fills(matching)] == [5, 5]


@pytest.mark.parametrize(
    ("rule_", "most"),
    [
        (SelfTrade.SELF_TRADE_NONE, 22),
        (SelfTrade.SELF_TRADE_EXPIRE_MAKER, 17),
        (SelfTrade.SELF_TRADE_EXPIRE_TAKER, 9),
        (SelfTrade.SELF_TRADE_EXPIRE_BOTH, 9),
    ],
)
def test_fok_counts_only_what_it_would_reach_before_an_own_order(rule_: SelfTrade, most: int) -> None:
    for quantity, whole in ((most + 1, False), (most, True)):
        matching = small()
        matching.apply_order(SELL, 100, 6)
        matching.apply_order(SELL, 101, 8, display=3)  # its hidden part comes after our own order
        matching.apply_order(SELL, 101, 5, owner=7)
        matching.apply_order(SELL, 102, 3)
        matching.apply_order(BUY, 102, quantity, life=FOK, owner=7, self_trade=rule_)
        assert sum(fill[3] for fill in fills(matching)) == (quantity if whole else 0)


def test_orders_are_found_by_id_through_thousands_of_comings_and_goings() -> None:
    matching = Matching(64, 16, 64, 64)
    draw = random.Random(1)
    live: list[int] = []
    for _ in range(4_000):
        if len(live) == 64 or (live and draw.random() < 0.45):
            assert matching.apply_cancel(live.pop(draw.randrange(len(live)))) == MatchReason.REASON_NONE
        else:
            live.append(matching.apply_order(BUY, 100, 1))
        matching.drain_events()
        probe = draw.choice(live) if live else 0
        assert (matching.resting.order(probe) is not None) == bool(live)
    assert sorted(matching.resting.queue(BUY, 100)) == sorted(live)


def test_post_only_against_standing_price_is_rejected() -> None:
    matching = small()
    matching.apply_order(SELL, 101, 5)
    assert matching.apply_order(BUY, 101, 5, life=GTX) == -MatchReason.REASON_WOULD_TAKE
    assert matching.apply_order(BUY, 100, 5, life=GTX) > 0


def test_market_order_walks_the_book_and_never_rests() -> None:
    matching = small()
    matching.apply_order(BUY, 100, 5)
    matching.apply_order(BUY, 1, 5)
    matching.apply_order(SELL, 0, 12, kind=MARKET, life=IOC)
    assert [fill[2:] for fill in fills(matching)] == [(100, 5), (1, 5)]
    assert matching.resting.n_orders == 0
    assert matching.apply_order(SELL, 0, 12, kind=MARKET) == -MatchReason.REASON_BAD_KIND


def test_reduce_keeps_the_place_and_cancel_loses_it() -> None:
    matching = small()
    first, second = matching.apply_order(SELL, 101, 9), matching.apply_order(SELL, 101, 9)
    assert matching.apply_reduce(first, 4) == MatchReason.REASON_NONE
    assert matching.resting.queue(SELL, 101) == [first, second]
    assert matching.resting.displayed(SELL, 101) == 13
    assert matching.apply_reduce(first, 4) == MatchReason.REASON_BAD_QUANTITY
    assert matching.apply_cancel(first) == MatchReason.REASON_NONE
    assert matching.apply_cancel(first) == MatchReason.REASON_UNKNOWN_ORDER
    assert matching.apply_reduce(first, 1) == MatchReason.REASON_UNKNOWN_ORDER


def test_iceberg_shows_its_part_and_goes_to_the_back_when_eaten() -> None:
    matching = small()
    iceberg = matching.apply_order(SELL, 101, 10, display=4)
    plain = matching.apply_order(SELL, 101, 3)
    assert matching.resting.depth(SELL) == [(101, 7)]
    matching.apply_order(BUY, 101, 5, life=IOC)
    assert matching.resting.queue(SELL, 101) == [plain, iceberg]
    assert matching.resting.order(iceberg) == (SELL, 101, 6, 4, 0)
    matching.apply_order(BUY, 101, 100, life=IOC)
    assert [fill[3] for fill in fills(matching)] == [4, 1, 2, 4, 2]


def test_reduced_iceberg_gives_up_its_hidden_part_first() -> None:
    matching = small()
    iceberg = matching.apply_order(SELL, 101, 10, display=4)
    matching.apply_reduce(iceberg, 5)
    assert matching.resting.displayed(SELL, 101) == 4
    matching.apply_reduce(iceberg, 3)
    assert matching.resting.displayed(SELL, 101) == 3


@pytest.mark.parametrize(
    ("rule_", "left_of_maker", "left_of_taker", "traded"),
    [
        (SelfTrade.SELF_TRADE_NONE, False, False, 10),
        (SelfTrade.SELF_TRADE_EXPIRE_MAKER, False, True, 5),
        (SelfTrade.SELF_TRADE_EXPIRE_TAKER, True, False, 0),
        (SelfTrade.SELF_TRADE_EXPIRE_BOTH, False, False, 0),
    ],
)
def test_own_order_in_the_way_expires_as_the_rule_says(
    rule_: SelfTrade, left_of_maker: bool, left_of_taker: bool, traded: int
) -> None:
    matching = small()
    own = matching.apply_order(SELL, 101, 5, owner=7)
    matching.apply_order(SELL, 102, 5)
    taker = matching.apply_order(BUY, 102, 10, owner=7, self_trade=rule_)
    assert sum(fill[3] for fill in fills(matching)) == traded
    assert (matching.resting.order(own) is not None) == left_of_maker
    assert (matching.resting.order(taker) is not None) == left_of_taker


def test_owner_nobody_may_trade_with_itself() -> None:
    matching = small()
    matching.apply_order(SELL, 101, 5)
    matching.apply_order(BUY, 101, 5, self_trade=SelfTrade.SELF_TRADE_EXPIRE_BOTH)
    assert matching.n_fills == 1


@pytest.mark.parametrize(
    ("side", "price", "quantity", "reason"),
    [
        (0, 100, 1, MatchReason.REASON_BAD_KIND),
        (BUY, 0, 1, MatchReason.REASON_BAD_PRICE),
        (BUY, -5, 1, MatchReason.REASON_BAD_PRICE),
        (SELL, 100, 0, MatchReason.REASON_BAD_QUANTITY),
        (SELL, 100, -1, MatchReason.REASON_BAD_QUANTITY),
    ],
)
def test_senseless_order_is_rejected_with_its_reason(
    side: int, price: int, quantity: int, reason: MatchReason
) -> None:
    matching = small()
    assert matching.apply_order(side, price, quantity) == -reason
    assert last(matching).kind == MatchKind.MATCH_REJECTED


def test_full_pools_reject_what_may_rest_and_serve_what_may_not() -> None:
    matching = Matching(16, 16, 128, 64)
    for _ in range(16):
        matching.apply_order(SELL, 101, 1)
    assert matching.apply_order(SELL, 101, 1) == -MatchReason.REASON_ORDERS_FULL
    assert matching.apply_order(BUY, 101, 3, life=IOC) > 0
    levels = Matching(64, 16, 128, 64)
    for price in range(101, 117):
        levels.apply_order(SELL, price, 1)
    assert levels.apply_order(SELL, 200, 1) == -MatchReason.REASON_LEVELS_FULL
    assert levels.apply_order(SELL, 101, 1) > 0


def test_sum_beyond_64_bits_at_a_price_is_rejected() -> None:
    matching = small()
    assert matching.apply_order(BUY, 100, 2**62) > 0
    assert matching.apply_order(BUY, 100, 2**62 - 1) > 0
    assert matching.apply_order(BUY, 100, 1) == -MatchReason.REASON_LEVEL_OVERFLOW


def test_full_event_buffer_ends_the_taker_and_refuses_the_next_request() -> None:
    matching = Matching(64, 16, 16, 64)
    for _ in range(14):
        matching.apply_order(SELL, 101, 1)
        matching.drain_events()
    matching.apply_order(SELL, 102, 1)
    matching.apply_order(BUY, 102, 20)
    assert matching.apply_order(BUY, 90, 1) == -MatchReason.REASON_EVENTS_FULL
    events = matching.drain_events()
    assert len(events) == 16
    assert (events[-1].kind, events[-1].reason) == (MatchKind.MATCH_EXPIRED, MatchReason.REASON_EVENTS_FULL)
    assert matching.n_refused == 1
    assert matching.resting.best_bid == 0  # what the taker could not match must not rest crossed


def test_changes_that_do_not_fit_are_counted_until_the_next_drain() -> None:
    matching = Matching(256, 128, 1024, 64)
    for price in range(1, 101):
        matching.apply_order(BUY, price, 1)
    assert matching.resting.n_changes_lost > 0
    matching.resting.drain_changes()
    matching.apply_order(BUY, 50, 1)
    assert matching.resting.drain_changes() == ([(50, 2)], [])


def test_price_emptied_and_taken_again_is_told_once() -> None:
    matching = small()
    for _ in range(40):
        matching.apply_cancel(matching.apply_order(BUY, 100, 3))
        matching.drain_events()
    matching.apply_order(BUY, 100, 2)
    assert matching.resting.drain_changes() == ([(100, 2)], [])
    assert matching.resting.n_changes_lost == 0


@pytest.mark.parametrize(
    "arguments", [(15, 16, 16, 64), (16, 15, 16, 64), (16, 16, 15, 64), (16, 16, 16, 63)]
)
def test_capacity_below_its_bound_raises(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be between"):
        Matching(*arguments)


def test_resting_orders_alone_are_empty() -> None:
    resting = RestingOrders(16, 16, 64)
    assert (resting.best_bid, resting.best_ask, resting.n_bids, resting.n_asks) == (0, 0, 0, 0)
    assert resting.order(1) is None
    assert resting.queue(BUY, 1) == []


class Twins(RuleBasedStateMachine):
    """The same requests to both; everything that can be seen must be the same."""

    @initialize()
    def start(self) -> None:
        self.native = Matching(24, 16, 4096, 64)
        self.twin = TwinMatching(24, 16)
        self.mirror: dict[tuple[int, int], int] = {}
        self.open: dict[int, int] = defaultdict(int)
        self.update_id = 0

    @rule(
        side=st.sampled_from((BUY, SELL)),
        price=st.integers(0, 24),
        quantity=st.integers(0, 20),
        kind=st.sampled_from((0, 0, 0, 1)),
        life=st.sampled_from((0, 0, 0, 1, 2, 3)),
        owner=st.integers(0, 2),
        self_trade=st.sampled_from(list(SelfTrade)),
        display=st.sampled_from((0, 0, 1, 2, 5)),
    )
    def order(self, **request: int) -> None:
        assert self.native.apply_order(**request) == self.twin.apply_order(**request)

    @rule(pick=st.integers(0, 10**6))
    def cancel(self, pick: int) -> None:
        order_id = pick % (self.twin.next_id + 1)
        assert self.native.apply_cancel(order_id) == self.twin.apply_cancel(order_id)

    @rule(pick=st.integers(0, 10**6), leaves=st.integers(0, 15))
    def reduce(self, pick: int, leaves: int) -> None:
        order_id = pick % (self.twin.next_id + 1)
        assert self.native.apply_reduce(order_id, leaves) == self.twin.apply_reduce(order_id, leaves)

    @rule()
    def drain(self) -> None:
        bids, asks = self.native.resting.drain_changes()
        for side, changes in ((BUY, bids), (SELL, asks)):
            prices = [price for price, _ in changes]
            assert prices == sorted(set(prices), reverse=side == BUY)
            for price, displayed in changes:
                self.mirror[side, price] = displayed
        held = {key: displayed for key, displayed in self.mirror.items() if displayed > 0}
        assert held == {(side, p): q for side in (BUY, SELL) for p, q in self.twin.depth(side)}

    @invariant()
    def same_events_same_book(self) -> None:
        if not hasattr(self, "native"):
            return
        events = self.native.drain_events()
        assert events == self.twin.events
        self.twin.events.clear()
        resting = self.native.resting
        bids, asks = resting.depth(BUY), resting.depth(SELL)
        assert (bids, asks) == (self.twin.depth(BUY), self.twin.depth(SELL))
        assert not bids or not asks or bids[0][0] < asks[0][0]
        assert resting.n_orders == len(self.twin.orders)
        for order in self.twin.orders:
            state = (order.side, order.price, order.leaves, order.displayed, order.owner)
            assert resting.order(order.order_id) == state
        for side, levels in ((BUY, bids), (SELL, asks)):
            for price, _ in levels:
                ids = [o.order_id for o in self.twin.orders if o.side == side and o.price == price]
                assert resting.queue(side, price) == ids
        assert resting.update_id >= self.update_id
        self.update_id = resting.update_id
        self.conserve(events)

    def conserve(self, events: list[MatchedEvent]) -> None:
        for event in events:
            if event.kind == MatchKind.MATCH_ACCEPTED:
                self.open[event.order_id] += event.quantity
            elif event.kind == MatchKind.MATCH_FILL:
                self.open[event.order_id] -= event.quantity
                self.open[event.taker_id] -= event.quantity
            elif event.kind != MatchKind.MATCH_REJECTED:
                self.open[event.order_id] -= event.quantity
        leaves = {order.order_id: order.leaves for order in self.twin.orders}
        assert {order_id: left for order_id, left in self.open.items() if left != 0} == leaves


TestTwins = pytest.mark.slow(Twins.TestCase)
TestTwins.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
