"""The update-id rules: every step of the venue's texts; random chains with drops, repeats and reorders."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from native.events import SequenceState
from native.sequence import Sequence, SequenceAction
from tests.oracles.book import read_depth
from tests.oracles.sequence import SlowSequence, SlowVenue, Update

IGNORE, APPLY, BUFFER = (
    SequenceAction.ACTION_IGNORE,
    SequenceAction.ACTION_APPLY,
    SequenceAction.ACTION_BUFFER,
)
BREAK, STALE = SequenceAction.ACTION_BREAK, SequenceAction.ACTION_STALE
BUFFERING, BRIDGING = SequenceState.SEQUENCE_BUFFERING, SequenceState.SEQUENCE_BRIDGING
LIVE, GAP = SequenceState.SEQUENCE_LIVE, SequenceState.SEQUENCE_GAP


def spot(snapshot_id: int | None = None, *, live: bool = False) -> Sequence:
    sequence = Sequence(is_spot=True)
    if snapshot_id is not None:
        assert sequence.apply_snapshot(snapshot_id)
    if live:
        assert snapshot_id is not None
        assert sequence.apply(snapshot_id + 1, snapshot_id + 1) == APPLY
    return sequence


def futures(snapshot_id: int | None = None) -> Sequence:
    sequence = Sequence(is_spot=False)
    if snapshot_id is not None:
        assert sequence.apply_snapshot(snapshot_id)
    return sequence


def counts(sequence: Sequence) -> tuple[int, int, int]:
    return sequence.gaps, sequence.duplicates, sequence.stale_snapshots


# Spot


def test_spot_step_2_updates_before_the_snapshot_are_kept() -> None:
    sequence = spot()
    assert [sequence.apply(1, 5), sequence.apply(6, 9), sequence.apply(20, 30)] == [BUFFER] * 3
    assert (sequence.state, sequence.last_id, counts(sequence)) == (BUFFERING, -1, (0, 0, 0))


def test_spot_step_4_snapshot_older_than_the_first_update_is_stale_and_the_update_kept() -> None:
    sequence = spot(100)
    assert sequence.apply(102, 110) == STALE
    assert (sequence.state, counts(sequence)) == (BUFFERING, (0, 0, 1))
    assert sequence.apply(111, 112) == BUFFER
    assert sequence.apply_snapshot(105)
    assert [sequence.apply(102, 110), sequence.apply(111, 112)] == [APPLY, APPLY]


def test_spot_step_5_update_up_to_the_snapshot_is_discarded() -> None:
    sequence = spot(100)
    assert [sequence.apply(90, 99), sequence.apply(95, 100)] == [IGNORE, IGNORE]
    assert (sequence.state, sequence.last_id, counts(sequence)) == (BRIDGING, 100, (0, 0, 0))


@pytest.mark.parametrize(("first_id", "final_id"), [(95, 101), (100, 101), (101, 101), (101, 150), (1, 150)])
def test_spot_step_5_first_update_around_the_snapshot_joins(first_id: int, final_id: int) -> None:
    sequence = spot(100)
    assert sequence.apply(first_id, final_id) == APPLY
    assert (sequence.state, sequence.last_id) == (LIVE, final_id)


def test_spot_step_6_id_of_the_book_is_that_of_the_snapshot() -> None:
    sequence = spot(100)
    assert (sequence.state, sequence.last_id) == (BRIDGING, 100)


def test_spot_step_7_contiguous_and_overlapping_updates_apply() -> None:
    sequence = spot(100, live=True)
    assert [sequence.apply(102, 105), sequence.apply(106, 106), sequence.apply(104, 110)] == [APPLY] * 3
    assert (sequence.last_id, counts(sequence)) == (110, (0, 0, 0))


def test_spot_step_7_older_update_is_a_duplicate_and_no_gap() -> None:
    sequence = spot(100, live=True)
    assert [sequence.apply(101, 101), sequence.apply(50, 60), sequence.apply(102, 103)] == [
        IGNORE,
        IGNORE,
        APPLY,
    ]
    assert (sequence.state, counts(sequence)) == (LIVE, (0, 2, 0))


def test_spot_step_7_missed_id_breaks_and_everything_waits_for_a_snapshot() -> None:
    sequence = spot(100, live=True)
    assert [sequence.apply(103, 105), sequence.apply(102, 102), sequence.apply(106, 107)] == [
        BREAK,
        BUFFER,
        BUFFER,
    ]
    assert (sequence.state, sequence.last_id, counts(sequence)) == (GAP, 101, (1, 0, 0))


# USD-M and COIN-M


def test_futures_step_b_updates_before_the_snapshot_are_kept() -> None:
    sequence = futures()
    assert [sequence.apply(10, 15, 8), sequence.apply(18, 20, 15)] == [BUFFER] * 2
    assert sequence.state == BUFFERING


def test_futures_step_d_update_before_the_snapshot_is_dropped() -> None:
    sequence = futures(100)
    assert [sequence.apply(80, 90, 75), sequence.apply(92, 99, 90)] == [IGNORE, IGNORE]
    assert (sequence.state, counts(sequence)) == (BRIDGING, (0, 0, 0))


@pytest.mark.parametrize(
    ("first_id", "final_id", "previous_id"),
    [(95, 105, 90), (100, 105, 99), (95, 100, 90), (100, 100, 99), (103, 105, 100), (103, 105, 98)],
)
def test_futures_step_e_first_update_around_the_snapshot_joins(
    first_id: int, final_id: int, previous_id: int
) -> None:
    # In the last two the snapshot's id belongs to another symbol and lies between two updates of this one.
    sequence = futures(100)
    assert sequence.apply(first_id, final_id, previous_id) == APPLY
    assert (sequence.state, sequence.last_id) == (LIVE, final_id)


def test_futures_step_e_update_that_follows_a_later_one_makes_the_snapshot_stale() -> None:
    sequence = futures(100)
    assert sequence.apply(103, 105, 101) == STALE
    assert (sequence.state, counts(sequence)) == (BUFFERING, (0, 0, 1))
    assert sequence.apply_snapshot(101)
    assert sequence.apply(103, 105, 101) == APPLY


def test_futures_step_f_update_continues_by_its_previous_id() -> None:
    sequence = futures(100)
    assert [sequence.apply(95, 105, 90), sequence.apply(120, 130, 105), sequence.apply(131, 131, 130)] == [
        APPLY
    ] * 3


@pytest.mark.parametrize("previous_id", [106, 104, 90, -1])
def test_futures_step_f_other_previous_id_breaks(previous_id: int) -> None:
    sequence = futures(100)
    sequence.apply(95, 105, 90)
    assert sequence.apply(107, 110, previous_id) == BREAK
    assert (sequence.state, sequence.last_id, counts(sequence)) == (GAP, 105, (1, 0, 0))


def test_futures_older_update_is_a_duplicate_and_no_gap() -> None:
    sequence = futures(100)
    sequence.apply(95, 105, 90)
    assert [sequence.apply(95, 105, 90), sequence.apply(80, 90, 75)] == [IGNORE, IGNORE]
    assert (sequence.state, counts(sequence)) == (LIVE, (0, 2, 0))


# Both


@pytest.mark.parametrize("is_spot", [True, False])
def test_gap_recovers_with_a_later_snapshot_and_not_with_an_older_one(is_spot: bool) -> None:
    sequence = Sequence(is_spot=is_spot)
    sequence.apply_snapshot(100)
    kept = (111, 120, 110)
    assert [sequence.apply(101, 105, 100), sequence.apply(*kept)] == [APPLY, BREAK]
    assert sequence.apply_snapshot(107)
    assert (sequence.apply(*kept), sequence.state) == (STALE, BUFFERING)
    assert sequence.apply_snapshot(115)
    assert (sequence.apply(*kept), sequence.state) == (APPLY, LIVE)
    assert sequence.apply(121, 121, 120) == APPLY
    assert counts(sequence) == (1, 0, 1)


@pytest.mark.parametrize("is_spot", [True, False])
def test_live_chain_takes_no_snapshot(is_spot: bool) -> None:
    sequence = Sequence(is_spot=is_spot)
    sequence.apply_snapshot(100)
    sequence.apply(101, 105, 100)
    assert not sequence.apply_snapshot(200)
    assert (sequence.state, sequence.last_id) == (LIVE, 105)


def test_second_snapshot_replaces_one_that_no_update_joined() -> None:
    sequence = spot(100)
    assert sequence.apply_snapshot(200)
    assert [sequence.apply(101, 110), sequence.apply(195, 205)] == [IGNORE, APPLY]


def test_book_found_wrong_breaks_the_chain_without_counting_a_gap() -> None:
    sequence = spot()
    sequence.apply_break()
    assert sequence.state == BUFFERING
    for sequence in (spot(100), spot(100, live=True)):
        sequence.apply_break()
        assert (sequence.state, sequence.apply(102, 103), counts(sequence)) == (GAP, BUFFER, (0, 0, 0))
        assert sequence.apply_snapshot(103)
        assert sequence.apply(104, 104) == APPLY


@pytest.mark.parametrize("is_spot", [True, False])
def test_largest_and_negative_ids_do_not_wrap_around(is_spot: bool) -> None:
    largest, smallest = 2**63 - 1, -(2**63)
    sequence = Sequence(is_spot=is_spot)
    sequence.apply_snapshot(largest)
    assert sequence.apply(smallest, smallest, smallest) == IGNORE
    assert sequence.apply(0, largest, 0) == (IGNORE if is_spot else APPLY)
    sequence = Sequence(is_spot=is_spot)
    sequence.apply_snapshot(smallest)
    assert sequence.apply(largest, largest, largest - 1) == STALE


class RandomChain(RuleBasedStateMachine):
    """A client of a faulty line, with the twin beside it, and a local book of which the truth is known."""

    @initialize(is_spot=st.booleans())
    def connect(self, is_spot: bool) -> None:
        self.venue = SlowVenue(is_spot=is_spot)
        self.sequence = Sequence(is_spot=is_spot)
        self.twin = SlowSequence(is_spot=is_spot)
        self.sent: list[Update] = []
        self.kept: list[Update] = []
        self.held: list[Update] = []
        self.book: dict[int, int] | None = None

    def judge(self, update: Update) -> SequenceAction:
        ids = update.first_id, update.final_id, update.previous_id
        action = self.sequence.apply(*ids)
        assert action == self.twin.apply(*ids)
        if action == APPLY:
            assert self.book is not None
            self.book |= update.changes
        return action

    def receive(self, update: Update) -> None:
        if self.judge(update) in (BUFFER, BREAK, STALE):
            self.kept.append(update)

    def send(self, n: int, stride: int) -> Update:
        self.sent.append(self.venue.next_update(n, stride))
        return self.sent[-1]

    def answer(self, snapshot_id: int) -> None:
        """A snapshot arrives; what was kept follows it at once."""
        is_taken = self.sequence.apply_snapshot(snapshot_id)
        assert is_taken == self.twin.apply_snapshot(snapshot_id)
        if not is_taken:
            return
        self.book = self.venue.truth(snapshot_id)
        while self.kept and self.judge(self.kept[0]) in (APPLY, IGNORE):
            del self.kept[0]

    @rule(n=st.integers(1, 6), stride=st.integers(1, 3))
    def deliver(self, n: int, stride: int) -> None:
        self.receive(self.send(n, stride))

    @rule(n=st.integers(1, 6), stride=st.integers(1, 3))
    def drop(self, n: int, stride: int) -> None:
        self.send(n, stride)

    @rule(n=st.integers(1, 6), stride=st.integers(1, 3))
    def hold_back(self, n: int, stride: int) -> None:
        self.held.append(self.send(n, stride))

    @rule(data=st.data())
    def deliver_held(self, data: st.DataObject) -> None:
        if self.held:
            self.receive(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.sent:
            back = data.draw(st.integers(1, min(len(self.sent), 8)))
            self.receive(self.sent[-back])

    @rule(data=st.data())
    def answer_at_any_id(self, data: st.DataObject) -> None:
        # Ids that other symbols used too, and answers that were long on their way.
        behind = data.draw(st.integers(0, 25))
        self.answer(max(1, self.venue.final_id - behind))

    @rule()
    def find_the_book_wrong(self) -> None:
        self.sequence.apply_break()
        self.twin.apply_break()

    @rule(n=st.integers(1, 6), stride=st.integers(1, 3))
    def recover(self, n: int, stride: int) -> None:
        # A snapshot of now and the next update join, whatever was kept; a chain that does not know yet that
        # it is broken learns it from the first update.
        self.answer(self.venue.final_id)
        self.receive(self.send(n, stride))
        if self.sequence.state != LIVE:
            self.answer(self.venue.final_id)
            self.receive(self.send(n, stride))
        assert self.sequence.state == LIVE
        assert self.sequence.last_id == self.venue.final_id

    @invariant()
    def book_is_the_truth_of_its_id(self) -> None:
        if not hasattr(self, "sequence"):
            return
        if self.sequence.state == LIVE:
            assert self.book == self.venue.truth(self.sequence.last_id)
        for name in ("state", "last_id", "gaps", "duplicates", "stale_snapshots"):
            assert getattr(self.sequence, name) == getattr(self.twin, name), name


TestRandomChain = pytest.mark.slow(RandomChain.TestCase)
TestRandomChain.settings = settings(max_examples=150, stateful_step_count=50)


@pytest.mark.slow
@pytest.mark.captures
@pytest.mark.parametrize(
    ("names", "is_spot", "digits"),
    [
        (("spot_btcusdt_20240808", "spot_btcusdt_20240809"), True, (2, 8)),
        (("spot_ethusdt_20240808", "spot_ethusdt_20240809"), True, (2, 8)),
        (("usdm_btcusdt_20240808",), False, (1, 3)),
        (("usdm_ethusdt_20240808",), False, (2, 3)),
    ],
)
def test_every_update_of_a_capture_joins(
    captures: Path, names: tuple[str, ...], is_spot: bool, digits: tuple[int, int]
) -> None:
    folder = captures / ("binance_spot_20240808" if is_spot else "binance_usdm_20240808")
    sequence = Sequence(is_spot=is_spot)
    kept, actions = [], []
    for message in read_depth([folder / f"{name}.gz" for name in names], *digits):
        ids = message.first_id, message.final_id, message.previous_id
        if not message.is_snapshot:
            action = sequence.apply(*ids)
            actions.append(action)
            if action == BUFFER:
                kept.append(ids)
        elif sequence.apply_snapshot(message.final_id):
            actions = [sequence.apply(*ids) for ids in kept]
    n_old = actions.index(APPLY)
    assert set(actions[:n_old]) <= {IGNORE}
    assert set(actions[n_old:]) == {APPLY}
    assert len(actions) > 6_000
    assert counts(sequence) == (0, 0, 0)
