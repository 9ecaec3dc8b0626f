"""The queue of depth updates that wait for a snapshot, against the slow twin."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from native.backlog import Backlog
from native.events import MarketKind
from native.market import Market
from tests.oracles.backlog import SlowBacklog, Update

BIG = 2**63 - 1
LEVELS = st.lists(st.tuples(st.integers(0, BIG), st.integers(0, BIG)), max_size=6)


def levels_of(n: int, first: int) -> list[tuple[int, int]]:
    return [(first + i, BIG - first - i) for i in range(n)]


class RandomBacklog(RuleBasedStateMachine):
    """Keep and take in any order, with room for 16 updates or 1,024 levels."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = Backlog(capacity_levels=1024, capacity_updates=16)
        self.slow = SlowBacklog(1024, 16)
        self.n = 0

    def keep(self, update: Update) -> None:
        self.n += 1
        self.fast.apply_keep(*update)
        self.slow.keep(update)

    @rule(bids=LEVELS, asks=LEVELS)
    def keep_any(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        self.keep((self.n, BIG - self.n, bids, asks))

    @rule(n_bids=st.integers(0, 256), n_asks=st.integers(0, 256))
    def keep_large(self, n_bids: int, n_asks: int) -> None:
        self.keep((self.n, self.n + 1, levels_of(n_bids, self.n), levels_of(n_asks, 1000 + self.n)))

    @rule(times=st.integers(1, 8))
    def keep_empty(self, times: int) -> None:
        for _ in range(times):
            self.keep((self.n, self.n, [], []))

    @rule(times=st.integers(1, 5))
    def take(self, times: int) -> None:
        for _ in range(times):
            assert self.fast.take_front() == self.slow.take_front()

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.fast) == len(self.slow.kept)
        assert self.fast.ids() == [(update[0], update[1], -1) for update in self.slow.kept]
        assert self.fast.forgotten == self.slow.forgotten

    def teardown(self) -> None:
        """Find every kept update whole, down to the last."""
        while self.slow.kept:
            assert self.fast.take_front() == self.slow.take_front()
        assert self.fast.take_front() is None


RandomBacklog.TestCase.settings = settings(max_examples=100, stateful_step_count=40)


@pytest.mark.slow
class TestRandomBacklog(RandomBacklog.TestCase):  # type: ignore[misc]
    """Any order of keeping and taking gives what the twin gives."""


def test_updates_when_kept_then_they_leave_in_order_with_their_levels() -> None:
    backlog = Backlog()
    updates: list[Update] = [(1, 2, [(10, 1)], []), (3, 4, [], [(11, 2), (12, 0)]), (5, 6, [], [])]
    for update in updates:
        backlog.apply_keep(*update)
    assert backlog.ids() == [(1, 2, -1), (3, 4, -1), (5, 6, -1)]
    assert [backlog.take_front() for _ in range(4)] == [*updates, None]


@pytest.mark.parametrize(("n_updates", "n_levels"), [(16, 64), (2, 512)], ids=["updates", "levels"])
def test_backlog_when_exactly_full_then_the_next_update_forgets_the_rest(
    n_updates: int, n_levels: int
) -> None:
    backlog = Backlog(capacity_levels=1024, capacity_updates=16)
    for i in range(n_updates):
        backlog.apply_keep(i, i, levels_of(n_levels, i), [])
    assert (len(backlog), backlog.forgotten) == (n_updates, 0)
    backlog.apply_keep(99, 99, [(7, 8)], [])
    assert (backlog.ids(), backlog.forgotten) == ([(99, 99, -1)], n_updates)
    assert backlog.take_front() == (99, 99, [(7, 8)], [])


def test_backlog_when_partly_taken_then_only_what_was_still_kept_is_forgotten() -> None:
    backlog = Backlog(capacity_levels=1024, capacity_updates=16)
    for i in range(16):
        backlog.apply_keep(i, i, [], [])
    for _ in range(10):
        backlog.take_front()
    backlog.apply_keep(99, 99, [], [])
    assert (backlog.ids(), backlog.forgotten) == ([(99, 99, -1)], 6)


def test_update_when_larger_than_the_whole_backlog_then_it_is_forgotten_too() -> None:
    market = Market(
        symbol="BTCUSDT", kind=MarketKind.SPOT, price_digits=2, quantity_digits=5, tick=1, buffer_levels=1024
    )
    for first_id, n in ((1, 10), (11, 1024), (21, 1025), (31, 1)):
        levels = ",".join(f'["{100 + i}.00","1.00000"]' for i in range(n))
        frame = (
            f'{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":{first_id},"u":{first_id + 9},'
            f'"b":[{levels}],"a":[]}}'
        )
        assert market.on_frame(frame.encode(), first_id) == 0
    # The 1,024 of the second push out the first; the third is too large and pushes out the second.
    assert (market.backlog.ids(), market.backlog.forgotten) == ([(31, 40, -1)], 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("capacity_levels", 1023),
        ("capacity_levels", (1 << 24) + 1),
        ("capacity_updates", 15),
        ("capacity_updates", (1 << 20) + 1),
    ],
)
def test_constructor_when_a_capacity_is_out_of_bounds_then_it_says_what_was_found(
    name: str, value: int
) -> None:
    with pytest.raises(ValueError, match=f"{name} .* found {value}"):
        Backlog(**{name: value})


def test_keep_when_given_more_than_a_test_needs_then_refused() -> None:
    with pytest.raises(ValueError, match="found 513"):
        Backlog().apply_keep(1, 1, levels_of(300, 1), levels_of(213, 1))
