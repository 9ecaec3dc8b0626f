"""A writer killed at random points inside its writes leaves no torn record and no hole, and loses nothing."""

import mmap
import os
import random
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from native.ring import RingReader, RingWriter
from tests.native.ring_driver import Author, compile_driver

RESERVED, COMMITTED = 128, 192
CAPACITIES = (1 << 12, 1 << 16, 1 << 20)


@dataclass(slots=True)
class Harvest:
    """What a number of kills came to."""

    n_kills: int = 0
    n_inside: int = 0
    n_records: int = 0
    n_followed: int = 0


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C block of the ring with a program that writes without end, as fast as it can."""
    return compile_driver(tmp_path_factory.mktemp("ring_driver"), ("-O2",))


@pytest.fixture
def shared() -> Path:
    """A folder in shared memory, as in life."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("there is no shared-memory filesystem")
    return memory


def make(path: Path, capacity: int) -> RingWriter:
    return RingWriter.create(str(path), capacity=capacity, instance="i", epoch=1, schema=1, boot_id="b")


def check(author: Author, records: list[tuple[int, int, int, bytes]]) -> None:
    """Hold every record against what was written under its sequence."""
    for record in records:
        assert record == author.record(record[0])


def kill_once(driver: Path, folder: Path, capacity: int, wait_us: float, harvest: Harvest) -> None:
    """Start a writer, kill it that long after its first record, and read what it left."""
    ring, acknowledged = folder / "ring", folder / "acknowledged"
    make(ring, capacity)
    acknowledged.write_bytes(bytes(8))
    author = Author(capacity)
    follower = RingReader(str(ring), from_start=True)
    with acknowledged.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
        writer = subprocess.Popen([driver, "write", ring, acknowledged])
        try:
            while counter[:8] == bytes(8):
                assert writer.poll() is None
            until = time.perf_counter_ns() + int(wait_us * 1000)
            followed: list[tuple[int, int, int, bytes]] = []
            # One round in two the ring is followed while it is written and killed.
            while time.perf_counter_ns() < until:
                if harvest.n_kills % 2:
                    followed += follower.read(4)
        finally:
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
        n_acknowledged = struct.unpack("<q", counter[:8])[0]
    reserved = struct.unpack_from("<q", ring.read_bytes(), RESERVED)[0]
    committed = struct.unpack_from("<q", ring.read_bytes(), COMMITTED)[0]

    late = RingReader(str(ring), from_start=True)
    assert (late.is_closed, late.is_writer_alive) == (False, False)
    left = late.read(1 << 20)
    check(author, left)
    # No hole, every acknowledged record that the ring still holds, at most one that was not acknowledged yet.
    assert [record[0] for record in left] == list(range(late.n_lost + 1, late.n_lost + 1 + len(left)))
    assert n_acknowledged <= late.n_lost + len(left) <= n_acknowledged + 1
    assert late.lag == 0
    held = sum((24 + len(record[3]) + 7) // 8 * 8 for record in left)
    assert late.n_lost == 0 or held >= capacity * 5 // 8, (
        "lost is only what was written over, and its neighbours"
    )

    followed += follower.read(1 << 20)
    check(author, followed)
    assert len(followed) + follower.n_lost == late.n_lost + len(left)
    harvest.n_kills += 1
    harvest.n_inside += reserved > committed
    harvest.n_records += len(left)
    harvest.n_followed += len(followed)


def drill(driver: Path, shared: Path, n_kills: int, seed: int) -> Harvest:
    chance, harvest = random.Random(seed), Harvest()
    folder = shared / f"remora-kill-{os.getpid()}"
    folder.mkdir()
    try:
        for i in range(n_kills):
            kill_once(
                driver,
                folder,
                CAPACITIES[i % 3],
                chance.choice((5, 50, 500, 2000)) * chance.random(),
                harvest,
            )
            (folder / "ring").unlink()
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return harvest


@pytest.mark.slow
def test_writer_when_killed_inside_its_writes_then_every_record_is_whole(driver: Path, shared: Path) -> None:
    harvest = drill(driver, shared, 30, 1)
    assert harvest.n_inside >= 10, f"kills must land inside writes: {harvest}"


@pytest.mark.slow
@pytest.mark.drill
def test_writer_when_killed_a_thousand_times_then_every_record_is_whole(driver: Path, shared: Path) -> None:
    n_kills = int(os.environ.get("REMORA_RING_KILLS", "0"))
    if not n_kills:
        pytest.skip("set REMORA_RING_KILLS to the number of writers to kill, such as 1000")
    harvest = drill(driver, shared, n_kills, 2)
    print(harvest)
    assert harvest.n_inside >= n_kills // 4, f"kills must land inside writes: {harvest}"
