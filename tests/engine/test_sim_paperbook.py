"""The paper-fill rule: examples of every sentence of it, and a slow twin that keeps the whole story."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.signals import MarketKind, Side
from engine.sim.paperbook import Filled, PaperBook, Print, Taken
from tests.native.venue import Venue

BUY, SELL = Side.BUY, Side.SELL
BIDS = {9_990: 5_000, 9_980: 2_000}
ASKS = {10_010: 3_000, 10_020: 4_000, 10_030: 1_000}


def opened(bids: dict[int, int] | None = None, asks: dict[int, int] | None = None) -> tuple[Venue, PaperBook]:
    venue = Venue(MarketKind.USDM)
    venue.open(BIDS if bids is None else bids, ASKS if asks is None else asks)
    return venue, PaperBook(venue.market)


# Taker orders.


def test_taker_walks_the_displayed_levels_to_its_limit() -> None:
    _, book = opened()
    assert book.take(BUY, 10_020, 10_000) == [Taken(10_010, 3_000), Taken(10_020, 4_000)]
    assert book.take(SELL, 0, 6_000) == [Taken(9_990, 5_000), Taken(9_980, 1_000)]


def test_what_was_taken_is_gone_until_more_is_displayed() -> None:
    venue, book = opened()
    assert book.take(BUY, 10_010, 2_000) == [Taken(10_010, 2_000)]
    assert book.take(BUY, 10_010, 2_000) == [Taken(10_010, 1_000)]
    assert book.take(BUY, 10_010, 2_000) == []
    venue.depth(asks={10_020: 4_500})  # told of another price
    book.on_read([])
    assert book.take(BUY, 10_010, 2_000) == []
    venue.depth(asks={10_010: 3_700})  # 700 more on top of what was gone
    book.on_read([])
    assert book.take(BUY, 10_010, 2_000) == [Taken(10_010, 700)]


def test_what_others_withdraw_comes_first_out_of_what_we_left() -> None:
    venue, book = opened()
    book.take(BUY, 10_010, 1_000)
    venue.depth(asks={10_010: 1_500})
    book.on_read([])
    assert book.offers(BUY, 10_010, 9_000) == [Taken(10_010, 500)]
    venue.depth(asks={10_010: 600})
    book.on_read([])
    assert book.offers(BUY, 10_010, 9_000) == []
    venue.depth(asks={10_010: 900})
    book.on_read([])
    assert book.offers(BUY, 10_010, 9_000) == [Taken(10_010, 300)]


def test_level_that_was_empty_at_the_end_of_a_read_is_new() -> None:
    venue, book = opened()
    book.take(BUY, 10_010, 3_000)
    venue.depth(asks={10_010: 0})
    book.on_read([])
    venue.depth(asks={10_010: 3_000})
    book.on_read([])
    assert book.offers(BUY, 10_010, 9_000) == [Taken(10_010, 3_000)]


def test_hundreds_of_levels_are_walked() -> None:
    _, book = opened(asks={10_010 + index: 10 for index in range(700)})
    assert len(book.offers(BUY, 0, 6_995)) == 700
    assert sum(part.quantity for part in book.offers(BUY, 0, 6_995)) == 6_995


def test_nothing_is_offered_while_the_book_is_not_valid() -> None:
    venue, book = opened()
    venue.lose_depth()
    venue.depth()
    assert not venue.market.is_valid
    assert book.offers(BUY, 0, 1_000) == []


# Resting orders.


def test_resting_order_fills_after_all_that_stood_ahead_has_traded_there() -> None:
    _, book = opened()
    book.rest("a", BUY, 9_990, 1_000)
    assert book.on_read([Print(9_990, 4_999, -1)]) == []
    assert book.on_read([Print(9_990, 1, -1)]) == []
    assert book.on_read([Print(9_990, 400, -1), Print(9_990, 900, -1)]) == [
        Filled("a", 400),
        Filled("a", 600),
    ]
    assert book.resting == {}


def test_one_trade_passes_the_queue_and_fills_by_what_is_left() -> None:
    _, book = opened()
    book.rest("a", SELL, 10_010, 1_000)
    assert book.on_read([Print(10_010, 3_250, 1)]) == [Filled("a", 250)]


def test_trades_of_the_own_side_and_cancels_do_not_move_the_queue() -> None:
    venue, book = opened()
    book.rest("a", BUY, 9_990, 1_000)
    venue.depth({9_990: 0})
    assert book.on_read([Print(9_990, 9_000, 1), Print(10_000, 9_000, -1)]) == []
    assert book.resting["a"].ahead == 5_000


@pytest.mark.parametrize(
    ("side", "price", "through"), [(BUY, 9_990, 9_989), (SELL, 10_010, 10_011)], ids=["bid", "ask"]
)
@pytest.mark.parametrize("aggressor", [1, -1])
def test_trade_through_the_price_fills_all_of_it_at_its_own_price(
    side: Side, price: int, through: int, aggressor: int
) -> None:
    _, book = opened()
    book.rest("a", side, price, 1_000)
    assert book.on_read([Print(through, 1, aggressor)]) == [Filled("a", 1_000)]


def test_own_orders_at_one_price_share_its_trades_in_turn() -> None:
    _, book = opened()
    book.rest("a", BUY, 9_990, 1_000)
    book.rest("b", BUY, 9_990, 1_000)
    assert book.on_read([Print(9_990, 5_600, -1)]) == [Filled("a", 600)]
    assert book.on_read([Print(9_990, 600, -1)]) == [Filled("a", 400), Filled("b", 200)]


def test_print_on_what_we_took_ourselves_is_no_trade_through() -> None:
    _, book = opened()
    book.take(BUY, 10_020, 9_000)
    book.rest("a", BUY, 10_020, 2_000)
    assert book.on_read([Print(10_010, 3_000, 1)]) == []
    assert book.on_read([Print(9_990, 10, -1)]) == [Filled("a", 2_000)]


def test_order_placed_without_a_valid_book_takes_its_place_when_there_is_one() -> None:
    venue, book = opened()
    venue.lose_depth()
    venue.depth()
    book.rest("a", BUY, 9_990, 1_000)
    assert book.resting["a"].ahead is None
    assert book.on_read([Print(9_990, 50_000, -1)]) == []
    venue.snapshot({9_990: 700}, ASKS)
    venue.depth()
    assert book.on_read([]) == []
    assert book.resting["a"].ahead == 700
    assert book.on_read([Print(9_990, 701, -1)]) == [Filled("a", 1)]


def test_cut_order_keeps_its_place_and_is_gone_at_nothing() -> None:
    _, book = opened()
    book.rest("a", BUY, 9_990, 1_000)
    book.cut("a", 300)
    book.cut("unknown", 0)
    assert (book.resting["a"].leaves, book.resting["a"].ahead) == (300, 5_000)
    book.cut("a", 0)
    assert book.resting == {}


def test_post_only_price_is_judged_by_what_is_displayed() -> None:
    _, book = opened()
    book.take(BUY, 10_010, 3_000)  # gone for us, displayed to all
    assert book.would_take(BUY, 10_010)
    assert not book.would_take(BUY, 10_009)
    assert book.would_take(SELL, 9_990)
    assert not book.would_take(SELL, 9_991)


# The twin.


@dataclass
class Twin:
    """Every state and trade since the start; each answer is worked out from all of it."""

    states: list[dict[int, dict[int, int]]]
    taken: list[tuple[int, int, int, int]] = field(
        default_factory=list
    )  # state, side of book, price, quantity
    prints: list[tuple[int, Print]] = field(default_factory=list)
    placed: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    fills: list[tuple[int, str, int]] = field(default_factory=list)  # number of the print, name, quantity

    def gone(self, side: int, price: int, until: int) -> int:
        left = 0
        for number, state in enumerate(self.states[: until + 1]):
            left = min(left, state[side].get(price, 0))
            left += sum(t[3] for t in self.taken if t[:3] == (number, side, price))
        return left

    def offers(self, side: int, limit: int, quantity: int) -> list[Taken]:
        now = len(self.states) - 1
        levels = sorted(self.states[now][-side].items(), key=lambda level: level[0] * side)
        found = []
        for price, displayed in levels:
            if limit and (price - limit) * side > 0:
                break
            part = min(quantity, displayed - self.gone(-side, price, now))
            if part > 0:
                found.append(Taken(price, part))
                quantity -= part
        return found

    def read(self, state: dict[int, dict[int, int]], prints: list[Print]) -> list[Filled]:
        before = len(self.states) - 1
        found = []
        for one in prints:
            number = len(self.prints)
            self.prints.append((before, one))
            for name, since, at_state, side, price, quantity in self.placed:
                got = self.filled(name)
                if got == quantity or name in self.cancelled:
                    continue
                if (price - one.price) * side > 0 and self.gone(-side, one.price, before) == 0:
                    part = quantity - got
                elif one.price == price and one.aggressor == -side:
                    ahead = self.states[at_state][side].get(price, 0)
                    # All that traded against the price since it came, less what older ones of ours got of it.
                    seen = sum(
                        p.quantity
                        for _, p in self.prints[since:]
                        if p.price == price and p.aggressor == -side
                    )
                    older = {
                        n for n, s, _, d, at, _ in self.placed if s <= since and (d, at) == (side, price)
                    }
                    index = [p[0] for p in self.placed].index(name)
                    older &= {p[0] for p in self.placed[:index]}
                    seen -= sum(
                        q
                        for at, n, q in self.fills
                        if n in older and at >= since and self.prints[at][1].price == price
                    )
                    part = max(0, min(quantity, seen - ahead) - got)
                else:
                    continue
                if part:
                    self.fills.append((number, name, part))
                    found.append(Filled(name, part))
        self.states.append(state)
        return found

    def filled(self, name: str) -> int:
        return sum(q for _, n, q in self.fills if n == name)


levels = st.dictionaries(st.integers(0, 5), st.integers(0, 6), max_size=4)
prints = st.lists(
    st.builds(Print, st.integers(9_995, 10_006), st.integers(1, 9), st.sampled_from([1, -1])), max_size=4
)
actions = st.one_of(
    st.tuples(st.just("read"), levels, levels, prints),
    st.tuples(st.just("take"), st.sampled_from([BUY, SELL]), st.integers(9_995, 10_006), st.integers(1, 12)),
    st.tuples(st.just("rest"), st.sampled_from([BUY, SELL]), st.integers(9_996, 10_005), st.integers(1, 8)),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
)


@given(story=st.lists(actions, max_size=30))
@settings(max_examples=150, deadline=None)
def test_book_gives_what_the_twin_gives_and_never_more_than_was_there(story: list[tuple]) -> None:  # type: ignore[type-arg]
    venue, book = opened({10_000: 3}, {10_001: 3})
    twin = Twin([{1: {10_000: 3}, -1: {10_001: 3}}])
    n_names = 0
    for action in story:
        now = twin.states[-1]
        if action[0] == "read":
            # Bids stay below asks: a crossed book is not valid.
            bids = {10_000 - place: quantity for place, quantity in action[1].items()}
            asks = {10_001 + place: quantity for place, quantity in action[2].items()}
            venue.depth(bids, asks)
            state = {
                side: {p: q for p, q in (now[side] | told).items() if q}
                for side, told in ((1, bids), (-1, asks))
            }
            assert book.on_read(action[3]) == twin.read(state, action[3])
        elif action[0] == "take":
            side, limit, quantity = action[1:]
            expected = twin.offers(side, limit, quantity)
            assert book.offers(side, limit, quantity) == expected
            assert book.take(side, limit, quantity) == expected
            twin.taken += [(len(twin.states) - 1, -int(side), part.price, part.quantity) for part in expected]
            # Conservation: what is gone was there.
            for price, displayed in now[-int(side)].items():
                assert 0 <= twin.gone(-int(side), price, len(twin.states) - 1) <= displayed
        elif action[0] == "rest":
            side, price, quantity = action[1:]
            n_names += 1
            twin.placed.append(
                (f"{n_names}", len(twin.prints), len(twin.states) - 1, int(side), price, quantity)
            )
            book.rest(f"{n_names}", side, price, quantity)
        elif book.resting:
            name = list(book.resting)[action[1] % len(book.resting)]
            book.cut(name, 0)
            twin.cancelled.add(name)
        open_now = {
            one[0]: one[5] - twin.filled(one[0]) for one in twin.placed if one[0] not in twin.cancelled
        }
        assert {name: order.leaves for name, order in book.resting.items()} == {
            name: left for name, left in open_now.items() if left
        }
