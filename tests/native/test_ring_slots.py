"""Readers with names: their slots, their commits, and how far the durable ones are behind."""

import gc
import os
import struct
from pathlib import Path

import pytest

from native.ring import RingError
from tests.native.rings import SLOTS, make, opened, poke


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "facts.ring"


def test_durable_lag_when_only_others_lag_then_it_is_nothing(path: Path) -> None:
    writer = make(path)
    _named, _nameless = opened(path, "feed"), opened(path)
    assert writer.durable_lag == 0.0
    for _ in range(200):
        writer.append(0, bytes(488), 0)
    assert writer.durable_lag == 0.0


def test_durable_lag_when_a_durable_reader_lags_then_it_is_the_worst_commit_over_the_capacity(
    path: Path,
) -> None:
    writer = make(path)
    journal = opened(path, "journal", is_durable=True)
    _prompt = opened(path, "prompt", is_durable=True)
    writer.append(0, bytes(488), 0)
    writer.append(0, bytes(488), 0)
    journal.read(1)
    assert writer.durable_lag == 0.25, "reading is not committing"
    journal.commit()
    _prompt.read(2)
    _prompt.commit()
    assert writer.durable_lag == 0.125
    journal.read(1)
    journal.commit()
    assert writer.durable_lag == 0.0
    for _ in range(50):
        writer.append(0, bytes(488), 0)
    assert writer.durable_lag == 1.0


def test_durable_lag_when_the_reader_has_never_come_then_it_counts_from_the_first_record(path: Path) -> None:
    writer = make(path, durable_readers=("journal", "recorder"))
    writer.append(0, bytes(488), 0)
    assert writer.durable_lag == 0.125
    assert writer.slots() == [("journal", True, 0, 512), ("recorder", True, 0, 512)]
    journal = opened(path, "journal", is_durable=True, from_start=False)
    assert [record[0] for record in journal.read(9)] == [1], (
        "its place was kept: it begins at the first record"
    )


def test_durable_reader_when_it_comes_back_then_it_goes_on_at_its_commit(path: Path) -> None:
    writer = make(path)
    journal = opened(path, "journal", is_durable=True)
    for i in range(1, 11):
        writer.append(0, b"", i)
    journal.read(4)
    journal.commit()
    journal.read(3)
    journal.close()
    assert writer.slots() == [("journal", True, os.getpid(), 6 * 24)]
    for from_start in (True, False):
        again = opened(path, "journal", is_durable=True, from_start=from_start)
        assert [record[0] for record in again.read(99)] == [5, 6, 7, 8, 9, 10]
        assert again.n_lost == 0
        again.close()


def test_durable_reader_when_overrun_while_away_then_the_loss_is_exact(path: Path) -> None:
    writer = make(path)
    journal = opened(path, "journal", is_durable=True)
    for i in range(1, 11):
        writer.append(0, b"", i)
    journal.read(4)
    journal.commit()
    journal.close()
    for i in range(11, 1011):
        writer.append(0, b"", i)
    again = opened(path, "journal", is_durable=True, from_start=False)
    records = again.read(9999)
    assert (again.n_overruns, again.n_lost) == (1, records[0][0] - 5)
    assert [record[0] for record in records] == list(range(records[0][0], 1011))


def test_durable_reader_when_killed_between_its_two_stores_then_nothing_is_lost(path: Path) -> None:
    writer = make(path)
    journal = opened(path, "journal", is_durable=True)
    for i in range(1, 11):
        writer.append(0, b"", i)
    journal.close()
    # It had read six: the sequence is stored, the cursor is not.
    poke(path, SLOTS + 8, struct.pack("<q", 7))
    again = opened(path, "journal", is_durable=True, from_start=False)
    assert [record[0] for record in again.read(99)] == list(range(1, 11))
    assert (again.n_overruns, again.n_lost) == (0, 0)


def test_durable_reader_when_its_stored_cursor_is_impossible_then_opening_says_so(path: Path) -> None:
    make(path, durable_readers=("journal",)).append(0, b"", 0)
    for cursor in (-8, 3, 32):
        poke(path, SLOTS, struct.pack("<q", cursor))
        with pytest.raises(RingError, match=f"'journal' committed {cursor} bytes of 24"):
            opened(path, "journal", is_durable=True)


def test_name_when_a_living_reader_has_it_then_it_is_refused_until_that_one_goes(path: Path) -> None:
    make(path)
    for is_durable in (True, False):
        first = opened(path, "journal", is_durable=is_durable)
        with pytest.raises(RingError, match=f"process {os.getpid()} reads .* as 'journal' already"):
            opened(path, "journal", is_durable=is_durable)
        del first
        gc.collect()
        opened(path, "journal", is_durable=is_durable).close()
        path.unlink()
        make(path)


def test_name_when_it_is_durable_then_a_passing_reader_cannot_take_it(path: Path) -> None:
    make(path, durable_readers=("journal",))
    with pytest.raises(RingError, match="open it as one"):
        opened(path, "journal")


def test_slots_when_all_are_taken_then_opening_tells_by_whom_and_a_free_one_is_used_again(path: Path) -> None:
    writer = make(path, durable_readers=("journal",))
    readers = [opened(path, f"reader {i}") for i in range(15)]
    with pytest.raises(RingError, match=r"all 16 reader slots .*'journal', 'reader 0', .*'reader 14'"):
        opened(path, "one more")
    opened(path)
    readers.pop(3).close()
    assert len(writer.slots()) == 15
    late = opened(path, "one more", from_start=False)
    assert ("one more", False, os.getpid(), 0) in late.slots()
    assert len(late.slots()) == 16


def test_slots_when_a_passing_reader_comes_back_then_it_begins_as_asked(path: Path) -> None:
    writer = make(path)
    feed = opened(path, "feed")
    writer.append(0, b"", 0)
    feed.read(1)
    feed.commit()
    feed.close()
    assert [record[0] for record in opened(path, "feed").read(9)] == [1]


def test_reader_when_it_has_no_name_or_is_closed_then_it_cannot_commit(path: Path) -> None:
    make(path)
    with pytest.raises(ValueError, match="with a name"):
        opened(path).commit()
    with pytest.raises(ValueError, match="needs a name"):
        opened(path, is_durable=True)
    feed = opened(path, "feed")
    feed.close()
    feed.close()
    with pytest.raises(ValueError, match="open reader"):
        feed.commit()
    with pytest.raises(ValueError, match="closed"):
        feed.read(1)
    assert (feed.lag, feed.is_writer_alive) == (0, False)
