"""Lost trades page by page, against a slow twin of a market that lacks them."""

from hypothesis import given
from hypothesis import strategies as st

from engine.ingest.trade_sync import MAX_RANGE, MAX_TRIES, PAGE, SETTLE_NS, Range, TradeSync

S = 1_000_000_000


class Lacking:
    """The ids that a market lacks, as a set, and as the ranges it tells."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self.ids = {one for first, last in ranges for one in range(first, last + 1)}

    def gaps(self) -> list[Range]:
        found: list[list[int]] = []
        for one in sorted(self.ids):
            if found and one == found[-1][1] + 1:
                found[-1][1] = one
            else:
                found.append([one, one])
        return [(first, last, 0, 0) for first, last in found]


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 3_000)), max_size=6))
def test_everything_that_the_venue_has_is_filled_in_the_fewest_pages(spans: list[tuple[int, int]]) -> None:
    lacking = Lacking([(first, first + length) for first, length in spans])
    total = len(lacking.ids)
    needed = sum(-(-(last - first + 1) // PAGE) for first, last, _, _ in lacking.gaps())
    sync, now, pages = TradeSync(), 0, 0
    while lacking.ids:
        page = sync.wants(now, lacking.gaps())
        if page is not None:
            assert now >= SETTLE_NS
            assert 1 <= page.limit <= PAGE
            pages += 1
            sync.begin(page)
            assert sync.wants(now, lacking.gaps()) is None
            before = len(lacking.ids)
            lacking.ids -= set(range(page.from_id, page.from_id + page.limit))
            assert sync.end(now, lacking.gaps()) == before - len(lacking.ids)
        now += S // 4
    assert pages == needed
    assert (sync.filled, sync.left) == (total, 0)
    assert sync.given_up([]) == []


def drive(sync: TradeSync, lacking: Lacking, has: set[int], seconds: int) -> list[int]:
    """Ask a venue that has only some trades; returns when it was asked, in ms."""
    asked = []
    for now in range(0, seconds * S, S // 4):
        page = sync.wants(now, lacking.gaps())
        if page is not None:
            asked.append(now // 1_000_000)
            sync.begin(page)
            lacking.ids -= has & set(range(page.from_id, page.from_id + page.limit))
            sync.end(now, lacking.gaps())
    return asked


def test_range_that_the_venue_does_not_have_is_given_up_after_some_tries() -> None:
    sync, lacking = TradeSync(), Lacking([(10, 19)])
    asked = drive(sync, lacking, set(), 600)
    assert asked == [1000, 3000, 7000, 15_000, 31_000]
    assert len(asked) == MAX_TRIES
    assert sync.given_up(lacking.gaps()) == [(10, 19, 0, 0)]
    sync.leave(lacking.gaps())
    assert sync.left == 10


def test_others_are_filled_before_what_is_hopeless_is_left() -> None:
    sync, lacking = TradeSync(), Lacking([(10, 19), (100, 2300)])
    has = set(range(100, 2301))
    for now in range(0, 10 * S, S // 4):
        page = sync.wants(now, lacking.gaps())
        assert sync.given_up(lacking.gaps()) == []
        if page is not None:
            sync.begin(page)
            assert sync.given_up(lacking.gaps()) == []
            lacking.ids -= has & set(range(page.from_id, page.from_id + page.limit))
            sync.end(now, lacking.gaps())
    assert lacking.ids == set(range(10, 20))
    drive(sync, lacking, has, 600)
    assert [one[:2] for one in sync.given_up(lacking.gaps())] == [(10, 19)]


def test_page_with_some_of_its_trades_is_progress_and_what_is_left_is_tried_alone() -> None:
    sync, lacking = TradeSync(), Lacking([(10, 19)])
    drive(sync, lacking, set(range(10, 15)), 3)
    assert lacking.gaps() == [(15, 19, 0, 0)]
    assert sync.filled == 5


def test_range_beyond_reason_is_left_without_asking() -> None:
    sync, lacking = TradeSync(), [(1, MAX_RANGE + 1, 0, 0)]
    assert sync.wants(100 * S, lacking) is None
    assert sync.given_up(lacking) == lacking


def test_refused_question_is_not_asked_again_and_a_lost_answer_is() -> None:
    for is_refused in (True, False):
        sync, gaps = TradeSync(), [(10, 19, 0, 0)]
        sync.wants(0, gaps)
        page = sync.wants(S, gaps)
        assert page is not None
        sync.begin(page)
        sync.fail(S, retry_ns=90 * S, is_refused=is_refused)
        assert bool(sync.given_up(gaps)) is is_refused
        assert sync.wants(91 * S - 1, gaps) is None
        assert (sync.wants(91 * S, gaps) is None) is is_refused


def test_nothing_is_remembered_of_ranges_that_are_no_more() -> None:
    sync = TradeSync()
    for n in range(5000):
        gaps = [(n * 10, n * 10 + 5, 0, 0)]
        now = n * 10 * S
        sync.wants(now, gaps)
        page = sync.wants(now + S, gaps)
        assert page is not None
        sync.begin(page)
        if n % 2:
            sync.fail(now + S)
        else:
            sync.end(now + S, [])
    sync.wants(10**18, [])
    assert sum(map(len, (sync._due_ns, sync._tries, sync._given_up))) == 0
