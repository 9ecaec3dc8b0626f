"""The broadcast ring against its slow twin, on files of every broken kind, and its slots."""

import gc
import os
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from native.ring import RingError, RingReader, RingWriter
from tests.native.rings import BOOT, COMMITTED, HEADER, RESERVED, SCHEMA, counter, make, opened, poke
from tests.oracles.ring import SlowRing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "facts.ring"


class RandomRing(RuleBasedStateMachine):
    """One writer, three readers that fall behind as they like; every record, loss and lag as in the twin."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ring"
        self.n_read: dict[int, int] = {}
        self.n_lost: dict[int, int] = {}
        self.n_overruns: dict[int, int] = {}
        self.committed = 0

    @initialize(capacity=st.sampled_from([4096, 8192]))
    def start(self, capacity: int) -> None:
        self.writer = make(self.path, capacity)
        self.slow = SlowRing(capacity)
        self.readers = {
            0: opened(self.path),
            1: opened(self.path, "journal", is_durable=True),
            2: opened(self.path, "feed"),
        }
        for i in self.readers:
            self.n_read[i] = self.n_lost[i] = self.n_overruns[i] = 0

    @rule(size=st.integers(0, 512), times=st.integers(1, 12), kind=st.integers(0, 65535))
    def write(self, size: int, times: int, kind: int) -> None:
        for i in range(times):
            payload = bytes([(len(self.slow.records) + i) % 256]) * max(0, size - i)
            time_ns = len(self.slow.records) * 1_000 - 5
            assert self.writer.append(kind, payload, time_ns) == self.slow.append(kind, payload, time_ns)

    @rule(i=st.integers(0, 2), limit=st.integers(1, 40))
    def read(self, i: int, limit: int) -> None:
        begin = self.n_read[i]
        if self.slow.is_overrun(self.slow.position(begin)):
            self.n_overruns[i] += 1
            begin = self.slow.resume()
            # What it had copied ahead is its own: it may know more than the ring still holds.
        found = self.readers[i].read(limit)
        if found and found[0][0] == self.n_read[i] + 1 != begin + 1:
            self.n_overruns[i] -= 1
            self.follow(i, limit, found)
            return
        assert found == self.slow.records[begin : begin + limit]
        if found:
            self.n_lost[i] += found[0][0] - 1 - self.n_read[i]
            self.n_read[i] = found[-1][0]

    def follow(self, i: int, limit: int, found: list[tuple[int, int, int, bytes]]) -> None:
        """Hold a read that began with bytes copied before the overrun: whole records, losses told."""
        for record in found:
            assert record == self.slow.records[record[0] - 1]
            self.n_lost[i] += record[0] - 1 - self.n_read[i]
            self.n_overruns[i] += record[0] - 1 > self.n_read[i]
            self.n_read[i] = record[0]
        assert len(found) == limit or self.n_read[i] == len(self.slow.records)

    @rule()
    def commit(self) -> None:
        self.readers[1].commit()
        self.committed = self.n_read[1]

    @rule()
    def lose_the_journal(self) -> None:
        self.readers[1].close()
        self.readers[1] = opened(self.path, "journal", is_durable=True, from_start=False)
        self.n_read[1] = self.committed
        self.n_lost[1] = self.n_overruns[1] = 0

    @invariant()
    def losses_and_lags_are_told(self) -> None:
        for i, reader in getattr(self, "readers", {}).items():
            assert reader.n_lost == self.n_lost[i]
            assert reader.n_overruns == self.n_overruns[i]
        if hasattr(self, "slow"):
            lag = self.slow.end - self.slow.position(self.committed)
            assert self.writer.durable_lag == min(1.0, lag / self.slow.capacity)

    def teardown(self) -> None:
        """Read on to the end: nothing is torn, and every record is given or counted as lost."""
        for i, reader in getattr(self, "readers", {}).items():
            while found := reader.read(7):
                self.follow(i, 7, found)
            assert reader.lag == 0
            assert self.n_read[i] == len(self.slow.records)
            reader.close()
        self.folder.cleanup()


RandomRing.TestCase.settings = settings(max_examples=60, stateful_step_count=40)


@pytest.mark.slow
class TestRandomRing(RandomRing.TestCase):  # type: ignore[misc]
    """Any order of writing, reading and coming back gives what the twin gives."""


def test_header_when_a_ring_is_opened_then_it_tells_who_wrote_it(path: Path) -> None:
    writer = make(path)
    reader = opened(path)
    assert (reader.instance, reader.epoch, reader.schema, reader.boot_id) == ("remora-1", 7, SCHEMA, BOOT)
    assert (reader.writer_pid, reader.capacity, reader.path) == (os.getpid(), 4096, str(path))
    assert (writer.capacity, writer.max_payload, writer.n_records, writer.path) == (4096, 512, 0, str(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_records_when_read_then_they_come_in_order_and_once(path: Path) -> None:
    writer, reader = make(path), opened(path)
    assert reader.read(10) == []
    wanted = [(i + 1, i, -i, bytes([i]) * i) for i in range(30)]
    assert [writer.append(kind, payload, time_ns) for _, kind, time_ns, payload in wanted] == list(
        range(1, 31)
    )
    assert reader.read(10) + reader.read(50) == wanted
    assert reader.read(1) == []
    assert (reader.n_lost, reader.n_overruns, reader.lag, writer.n_records) == (0, 0, 0, 30)


def test_reader_when_it_begins_at_the_end_then_it_sees_only_what_comes(path: Path) -> None:
    writer = make(path)
    writer.append(1, b"old", 0)
    reader = opened(path, from_start=False)
    writer.append(2, b"new", 0)
    assert reader.read(9) == [(2, 2, 0, b"new")]
    assert reader.n_lost == 0


@pytest.mark.parametrize("n_before", [0, 1, 30, 31, 777])
def test_reader_when_overrun_before_its_first_record_then_the_loss_counts_from_where_it_began(
    path: Path, n_before: int
) -> None:
    writer = make(path)
    for i in range(n_before):
        writer.append(0, b"x" * (i % 90), 0)
    reader = opened(path, from_start=False)
    assert (reader.lag, reader.n_lost, reader.n_overruns) == (0, 0, 0)
    for _ in range(500):
        writer.append(0, b"x" * 40, 0)
    records = reader.read(9999)
    assert records[-1][0] == n_before + 500
    assert (reader.n_overruns, reader.n_lost) == (1, records[0][0] - 1 - n_before)


@pytest.mark.parametrize("left", [8, 16, 24, 32])
def test_lap_when_so_many_bytes_are_left_then_the_next_record_begins_the_next_lap(
    path: Path, left: int
) -> None:
    writer, reader = make(path), opened(path)
    for _ in range(7):
        writer.append(0, bytes(488), 0)
    writer.append(0, bytes(512 - 24 - left), 0)
    assert [record[0] for record in reader.read(99)] == list(range(1, 9))
    writer.append(5, bytes(9), 0)
    assert reader.read(99) == [(9, 5, 0, bytes(9))]
    assert counter(path, COMMITTED) == counter(path, RESERVED) == 4096 + 40


def test_lap_when_a_record_fills_it_to_the_byte_then_there_is_no_padding(path: Path) -> None:
    writer, reader = make(path), opened(path)
    for _ in range(9):
        writer.append(0, bytes(488), 0)
    assert counter(path, COMMITTED) == 9 * 512
    assert [record[0] for record in reader.read(99)] == list(range(2, 10)), (
        "record 1 was written over to the byte"
    )
    assert (reader.n_overruns, reader.n_lost) == (1, 1)


@given(st.integers(12, 17), st.data())
def test_payload_when_up_to_an_eighth_of_the_ring_then_it_is_kept_and_beyond_refused(
    power: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = make(Path(folder) / "ring", 1 << power)
        reader = opened(Path(folder) / "ring")
        bound = (1 << power) // 8
        payload = b"\xa5" * data.draw(st.one_of(st.just(bound), st.integers(0, bound)))
        assert writer.append(3, payload, 4) == 1
        with pytest.raises(ValueError, match=f"at most {bound} bytes"):
            writer.append(3, bytes(bound + 1), 4)
        assert writer.append(3, b"", 5) == 2, "a refused record takes no sequence"
        assert reader.read(9) == [(1, 3, 4, payload), (2, 3, 5, b"")]


def test_record_when_longer_than_what_is_copied_at_once_then_it_is_whole(path: Path) -> None:
    writer, reader = make(path, 1 << 21), opened(path)
    long = bytes(range(256)) * 1024
    for _ in range(3):
        writer.append(1, b"short", 0)
        writer.append(2, long, 0)
    assert [record[3] for record in reader.read(9)] == [b"short", long] * 3


def test_overrun_when_the_reader_comes_back_then_the_loss_is_exact_and_most_of_the_ring_is_read(
    path: Path,
) -> None:
    writer, reader = make(path), opened(path)
    for i in range(1, 1001):
        writer.append(0, b"x" * 16, i)
    first = reader.read(1)[0][0]
    assert reader.read(2000)[-1][0] == 1000
    assert (reader.n_overruns, reader.n_lost) == (1, first - 1)
    assert first <= 1000 - 4096 // 40 * 15 // 16 + 2, "at most a sixteenth more than what was written over"


def test_overrun_when_the_lag_is_the_capacity_to_the_byte_then_nothing_is_lost(path: Path) -> None:
    writer, reader = make(path), opened(path)
    for _ in range(8):
        writer.append(0, bytes(488), 0)
    assert reader.lag == reader.capacity
    assert [record[0] for record in reader.read(1)] == [1]
    assert reader.n_overruns == 0


def test_torn_record_when_the_writer_died_in_it_then_only_committed_ones_are_seen(path: Path) -> None:
    writer = make(path)
    for i in range(5):
        writer.append(i, bytes([i]) * 40, i)
    committed = counter(path, COMMITTED)
    for garbage in (b"", b"\xff" * 200, struct.pack("<QQQ", 64, 6, 0), bytes(200)):
        poke(path, RESERVED, struct.pack("<q", committed + 200))
        poke(path, HEADER + committed, garbage)
        reader = opened(path)
        assert [record[0] for record in reader.read(99)] == [1, 2, 3, 4, 5]
        assert (reader.n_overruns, reader.n_lost, reader.lag) == (0, 0, 0)


@pytest.mark.parametrize("span", [8, 32, 512])
def test_torn_record_when_it_lies_over_the_oldest_then_that_one_is_told_as_lost(
    path: Path, span: int
) -> None:
    writer = make(path, durable_readers=("journal",))
    for i in range(1, 9):
        writer.append(0, bytes([i]) * 488, i)
    # The ring is full to the byte; the writer dies in record 9, over record 1.
    poke(path, RESERVED, struct.pack("<q", 4096 + span))
    poke(path, HEADER, struct.pack("<Q", 512))
    poke(path, HEADER + 8, b"\x09" * (span // 3))
    journal = opened(path, "journal", is_durable=True, from_start=False)
    assert [(record[0], set(record[3])) for record in journal.read(99)] == [(i, {i}) for i in range(2, 9)]
    assert (journal.n_overruns, journal.n_lost) == (1, 1)


def test_record_when_it_would_reach_over_the_end_of_its_lap_then_reading_says_so(path: Path) -> None:
    writer, reader = make(path), opened(path)
    for _ in range(8):
        writer.append(0, bytes(488), 0)
    assert len(reader.read(7)) == 7
    writer.append(0, bytes(488), 0)
    poke(path, HEADER + 7 * 512, struct.pack("<Q", 24 + 512))
    late = opened(path)
    with pytest.raises(RingError, match="damaged at byte 3584"):
        late.read(99)


def test_overrun_when_told_then_reading_goes_on_at_the_oldest_sound_place(path: Path) -> None:
    writer, slow = make(path), SlowRing(4096)
    for i in range(600):
        writer.append(0, b"x" * (i % 50), i)
        slow.append(0, b"x" * (i % 50), i)
        if slow.is_overrun(0):
            assert opened(path).read(1) == [slow.records[slow.resume()]]


@pytest.mark.parametrize(
    ("place", "values", "told"),
    [
        (0, b"NOTARING", "found a file that begins with"),
        (8, struct.pack("<I", 2), "layout 1 at .*, found 2"),
        (12, struct.pack("<I", 8192), "layout 1"),
        (32, struct.pack("<q", 8192), "damaged: 8192 bytes of records in a file of 8192"),
        (32, struct.pack("<q", 4095), "damaged"),
        (32, struct.pack("<q", -4096), "damaged"),
        (COMMITTED, struct.pack("<q", 80), "80 bytes committed, 40 reserved"),
        (COMMITTED, struct.pack("<q", 36), "damaged"),
        (COMMITTED, struct.pack("<q", -8), "damaged"),
    ],
)
def test_header_when_it_is_foreign_or_damaged_then_opening_says_so(
    path: Path, place: int, values: bytes, told: str
) -> None:
    make(path).append(1, b"1234567890123456", 0)
    poke(path, place, values)
    with pytest.raises(RingError, match=told):
        opened(path)


def test_file_when_it_is_no_ring_or_absent_then_opening_says_so(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(path)
    path.write_bytes(b"")
    with pytest.raises(RingError, match="found a file of 0 bytes"):
        opened(path)
    path.unlink()
    make(path)
    os.truncate(path, HEADER + 2048)
    with pytest.raises(RingError, match="damaged"):
        opened(path)


def test_schema_when_another_is_wanted_then_opening_tells_both(path: Path) -> None:
    make(path)
    assert RingReader(str(path), from_start=True, schema=SCHEMA).schema == SCHEMA
    with pytest.raises(RingError, match=r"0x0000000000000001 .* 0xfeed0123456789ab"):
        RingReader(str(path), from_start=True, schema=1)


@pytest.mark.parametrize(
    "word",
    [0, 23, 24 + 513, 4096, 2**32 - 1, 24 | 1 << 48, 4095 | 1 << 48, 24 + 200],
    ids=["empty", "no-header", "too-long", "whole", "huge", "padding", "odd-padding", "past-the-end"],
)
def test_record_when_its_size_is_impossible_then_reading_says_so(path: Path, word: int) -> None:
    make(path).append(1, b"1234567890123456", 0)
    poke(path, HEADER, struct.pack("<Q", word))
    with pytest.raises(RingError, match="damaged at byte 0"):
        opened(path).read(1)


@pytest.mark.parametrize("sequence", [0, -1, 1, 3])
def test_record_when_its_sequence_leaves_a_hole_without_an_overrun_then_reading_says_so(
    path: Path, sequence: int
) -> None:
    writer, reader = make(path), opened(path)
    writer.append(0, b"", 0)
    assert len(reader.read(9)) == 1
    writer.append(0, b"", 0)
    poke(path, HEADER + 32, struct.pack("<q", sequence))
    with pytest.raises(RingError, match="damaged at byte 24"):
        reader.read(1)


@settings(max_examples=300)
@given(st.binary(min_size=64, max_size=400), st.integers(0, 64), st.integers(0, 64))
def test_records_when_bytes_are_random_then_reading_ends_and_stays_inside(
    garbage: bytes, place: int, reserved: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ring"
        writer = make(path)
        for _ in range(100):
            writer.append(0, bytes(8), 0)
        poke(path, HEADER + place * 8, garbage)
        poke(path, RESERVED, struct.pack("<q", counter(path, COMMITTED) + reserved * 8))
        reader = opened(path)
        try:
            while reader.read(50):
                pass
        except RingError:
            assert 0 <= reader.lag <= reader.capacity + 512


def test_end_when_the_writer_closes_then_readers_know_it_and_records_are_refused(path: Path) -> None:
    writer, reader = make(path), opened(path)
    writer.append(1, b"last", 0)
    assert (reader.is_closed, reader.is_writer_alive, writer.is_closed) == (False, True, False)
    writer.close()
    writer.close()
    assert (reader.is_closed, reader.is_writer_alive, writer.is_closed) == (True, False, True)
    with pytest.raises(ValueError, match="closed"):
        writer.append(1, b"", 0)
    assert reader.read(9) == [(1, 1, 0, b"last")]


def test_end_when_the_writer_goes_without_closing_then_it_is_gone_but_not_clean(path: Path) -> None:
    make(path).append(1, b"kept", 0)
    gc.collect()
    reader = opened(path)
    assert (reader.is_closed, reader.is_writer_alive) == (False, False)
    assert reader.read(9) == [(1, 1, 0, b"kept")]


@pytest.mark.parametrize("capacity", [0, -4096, 2048, 4097, 5000, 1 << 33])
def test_creation_when_the_capacity_is_no_power_of_two_in_bounds_then_it_is_refused(
    path: Path, capacity: int
) -> None:
    with pytest.raises(ValueError, match=f"found {capacity}"):
        make(path, capacity)
    assert not path.exists()


def test_creation_when_a_word_is_too_long_then_it_is_refused(path: Path) -> None:
    def create(instance: str = "a", epoch: int = 1, schema: int = 1, boot_id: str = "b") -> RingWriter:
        return RingWriter.create(
            str(path), capacity=4096, instance=instance, epoch=epoch, schema=schema, boot_id=boot_id
        )

    for instance in ("a" * 17, "é", "a\0b"):
        with pytest.raises(ValueError, match="instance"):
            create(instance=instance)
    with pytest.raises(ValueError, match="boot_id"):
        create(boot_id="b" * 40)
    for number in (-1, 1 << 64):
        with pytest.raises(ValueError, match="schema"):
            create(schema=number)
        with pytest.raises(ValueError, match="epoch"):
            create(epoch=number)
    for names in (("a", "a"), tuple(f"n{i}" for i in range(17)), ("",), ("n" * 24,)):
        with pytest.raises(ValueError, match=r"durable reader"):
            make(path, durable_readers=names)
    assert not path.exists()
    create(instance="a" * 16, epoch=(1 << 63) - 1, schema=(1 << 64) - 1, boot_id="b" * 39)
    reader = opened(path, "n" * 23)
    assert (reader.instance, reader.epoch, reader.schema) == ("a" * 16, (1 << 63) - 1, (1 << 64) - 1)
    assert (reader.boot_id, reader.slots()[0][0]) == ("b" * 39, "n" * 23)
    with pytest.raises(ValueError, match="name"):
        opened(path, "n" * 24)


def test_record_when_out_of_bounds_then_it_is_refused_and_nothing_is_written(path: Path) -> None:
    writer = make(path)
    for kind in (-1, 65_536):
        with pytest.raises(ValueError, match=f"found {kind}"):
            writer.append(kind, b"", 0)
    with pytest.raises(TypeError, match="bytearray"):
        writer.append(1, bytearray(8), 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit"):
        opened(path).read(0)
    assert counter(path, RESERVED) == 0
    unmade = RingWriter()
    assert (unmade.durable_lag, unmade.slots(), unmade.is_closed) == (0.0, [], True)
    with pytest.raises(ValueError, match="closed"):
        unmade.append(1, b"", 0)
