"""Whether a snapshot can join, when one is asked for, whose turn it is."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ingest.book_sync import (
    AGAIN_MAX_NS,
    JITTER_NS,
    LIVE,
    NEVER_NS,
    STEADY_NS,
    BookChange,
    BookSync,
    Turns,
    Want,
    is_too_old,
)
from engine.signals import MarketKind
from native.events import SequenceState
from native.sequence import Sequence, SequenceAction

S = 1_000_000_000
MS = 1_000_000
BUFFERING = int(SequenceState.SEQUENCE_BUFFERING)
BRIDGING = int(SequenceState.SEQUENCE_BRIDGING)
GAP = int(SequenceState.SEQUENCE_GAP)


@pytest.mark.parametrize("kind", [MarketKind.SPOT, MarketKind.USDM])
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=6),
    st.integers(0, 40),
)
def test_snapshot_is_too_old_exactly_when_the_chain_would_refuse_it(
    kind: MarketKind, shape: list[tuple[int, int]], snapshot_id: int
) -> None:
    kept, at = [], 8
    for skipped, length in shape:
        # Spot ids follow each other; on futures other symbols' ids lie between.
        first = at + 1 + skipped
        kept.append((first, first + length, -1 if kind is MarketKind.SPOT else at))
        at = first + length
    sequence = Sequence(is_spot=kind is MarketKind.SPOT)
    sequence.apply_snapshot(snapshot_id)
    actions = [sequence.apply(*one) for one in kept]
    assert is_too_old(kind, snapshot_id, kept) == (SequenceAction.ACTION_STALE in actions)


@pytest.mark.parametrize(
    ("snapshot_id", "is_old"),
    [(98, True), (99, False), (100, False), (104, False), (105, False), (300, False)],
)
def test_spot_snapshot_against_the_first_kept_update(snapshot_id: int, is_old: bool) -> None:
    assert is_too_old(MarketKind.SPOT, snapshot_id, [(100, 104, -1), (105, 110, -1)]) is is_old


@pytest.mark.parametrize(("snapshot_id", "is_old"), [(96, True), (97, False), (100, False), (104, False)])
def test_futures_snapshot_against_the_first_kept_update(snapshot_id: int, is_old: bool) -> None:
    assert is_too_old(MarketKind.USDM, snapshot_id, [(100, 104, 97), (108, 110, 104)]) is is_old


def test_nothing_is_asked_for_before_the_first_event() -> None:
    book = BookSync(Random(1), 0)
    for now in range(0, 60 * S, S):
        assert book.observe(now, BUFFERING, 0) is BookChange.NONE
        assert book.wants(now) is None
    book.observe(60 * S, BUFFERING, 1)
    assert book.due_ns <= 60 * S + JITTER_NS
    assert book.wants(60 * S + JITTER_NS) is Want.SNAPSHOT


def test_never_a_second_request_beside_the_first() -> None:
    book = BookSync(Random(1), 0)
    book.observe(0, BUFFERING, 1)
    book.begin(Want.SNAPSHOT)
    for now in range(0, 60 * S, S):
        book.observe(now, GAP, 99)
        assert book.wants(now) is None


def test_snapshots_that_are_too_old_are_asked_for_ever_more_rarely() -> None:
    book, now, asked = BookSync(Random(3), 0), 0, []
    while now < 3600 * S:
        book.observe(now, BUFFERING, 5)
        if book.wants(now):
            asked.append(now)
            book.begin(Want.SNAPSHOT)
            book.end(now, is_taken=False)
        now += 25 * MS
    waits = [after - before for before, after in pairwise(asked)]
    assert 200 * MS <= waits[0] <= 425 * MS
    assert all(AGAIN_MAX_NS // 2 <= wait <= AGAIN_MAX_NS + 25 * MS for wait in waits[10:])
    assert len(set(waits[10:])) > 20  # with jitter
    assert book.too_old == len(asked)
    assert len(asked) < 400


def test_venue_that_wants_to_be_left_alone_is() -> None:
    book = BookSync(Random(1), 0)
    book.observe(0, BUFFERING, 1)
    book.begin(Want.SNAPSHOT)
    book.fail(S, retry_ns=77 * S)
    book.observe(2 * S, BUFFERING, 9)
    assert book.wants(78 * S - 1) is None
    assert book.wants(78 * S) is Want.SNAPSHOT
    assert book.failed == 1


def test_bridging_book_waits_for_its_event_and_asks_for_nothing() -> None:
    book = BookSync(Random(1), 0)
    book.observe(0, BUFFERING, 1)
    book.begin(Want.SNAPSHOT)
    book.end(S, is_taken=True)
    for now in range(S, 600 * S, S):
        book.observe(now, BRIDGING, 0)
        assert book.wants(now) is None
    # The event that came showed that the snapshot was too old after all.
    book.observe(600 * S, BUFFERING, 1)
    assert book.wants(600 * S + 400 * MS) is Want.SNAPSHOT


def live_book(refresh_ns: int = 0) -> BookSync:
    book = BookSync(Random(1), refresh_ns)
    book.observe(0, BUFFERING, 1)
    book.begin(Want.SNAPSHOT)
    book.end(S, is_taken=True)
    assert book.observe(2 * S, LIVE, 0) is BookChange.LIVE
    return book


def test_gap_is_told_once_and_timed_until_live_again() -> None:
    book = live_book()
    assert book.observe(9 * S, LIVE, 1) is BookChange.NONE
    assert book.observe(10 * S, GAP, 1) is BookChange.RESYNC
    assert book.observe(11 * S, GAP, 2) is BookChange.NONE
    assert (book.resync_since_ns, book.live_since_ns) == (10 * S, 0)
    assert book.wants(11 * S) is Want.SNAPSHOT
    book.begin(Want.SNAPSHOT)
    book.end(12 * S, is_taken=True)
    assert book.observe(13 * S, LIVE, 1) is BookChange.LIVE
    assert (book.resyncs, book.last_resync_ns, book.live_since_ns) == (1, 3 * S, 13 * S)
    assert book.due_ns == NEVER_NS


def test_row_of_requests_is_forgotten_after_half_a_minute_live() -> None:
    book = live_book()
    book.observe(2 * S + STEADY_NS - 1, LIVE, 0)
    assert book.row == 1
    book.observe(2 * S + STEADY_NS, LIVE, 0)
    assert book.row == 0


def test_live_book_is_refreshed_again_and_again_and_a_broken_one_is_not() -> None:
    book, asked = live_book(600 * S), []
    for now in range(2 * S, 7200 * S, S):
        book.observe(now, LIVE, 0)
        if book.wants(now):
            asked.append(now)
            book.begin(Want.REFRESH)
            book.end(now, is_taken=True)
    assert 302 * S <= asked[0] <= 602 * S
    assert {after - before for before, after in pairwise(asked)} == {600 * S}
    book.observe(7200 * S, GAP, 1)
    assert book.wants(7300 * S) is Want.SNAPSHOT
    assert book.refreshed == len(asked)


def test_refresh_that_failed_is_tried_again_later_and_is_no_row() -> None:
    book = live_book(600 * S)
    book.observe(610 * S, LIVE, 0)
    book.begin(Want.REFRESH)
    book.fail(611 * S)
    assert book.row == 0
    assert book.wants(685 * S) is None
    assert book.wants(686 * S) is Want.REFRESH


def waiting_book(*, was_live: bool, since_ns: int) -> BookSync:
    book = BookSync(Random(1), 0)
    if was_live:
        book.observe(0, LIVE, 0)
    book.observe(since_ns, GAP, 1)
    return book


def test_books_that_were_never_live_come_first_then_the_longest_due() -> None:
    books = [
        waiting_book(was_live=True, since_ns=S),
        waiting_book(was_live=False, since_ns=3 * S),
        waiting_book(was_live=False, since_ns=2 * S),
    ]
    turns, order = Turns(max_flights=9, spacing_ns=50 * MS), []
    for now in range(5 * S, 6 * S, 10 * MS):
        turn = turns.choose(now, books)
        if turn is not None:
            books[turn[0]].begin(turn[1])
            order.append((turn[0], (now - 5 * S) // MS))
    assert order == [(2, 0), (1, 50), (0, 100)]


def test_no_more_flights_than_allowed() -> None:
    books = [waiting_book(was_live=False, since_ns=S) for _ in range(5)]
    turns = Turns(max_flights=2, spacing_ns=1)
    for now in (5 * S, 6 * S):
        turn = turns.choose(now, books)
        assert turn is not None
        books[turn[0]].begin(turn[1])
    assert turns.choose(7 * S, books) is None
    books[0].fail(8 * S)
    assert turns.choose(8 * S, books) is not None


def test_refresh_goes_alone_and_last() -> None:
    live = live_book(600 * S)
    live.observe(700 * S, LIVE, 0)
    broken = waiting_book(was_live=True, since_ns=699 * S)
    turns = Turns()
    assert turns.choose(700 * S, [live, broken]) == (1, Want.SNAPSHOT)
    broken.begin(Want.SNAPSHOT)
    assert turns.choose(701 * S, [live, broken]) is None
    broken.end(701 * S, is_taken=True)
    broken.observe(702 * S, LIVE, 0)
    assert turns.choose(703 * S, [live, broken]) == (0, Want.REFRESH)
