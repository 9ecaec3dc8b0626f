"""Makes, opens and damages rings for the tests of the ring."""

import mmap
import struct
from pathlib import Path

from native.ring import RingReader, RingWriter

HEADER = 4096
RESERVED, COMMITTED, SLOTS = 128, 192, 448
SCHEMA = 0xFEED_0123_4567_89AB
BOOT = "0b1f5f4e-9a56-4c29-8f11-6f0ed8b3d1aa"


def make(path: Path, capacity: int = 4096, durable_readers: tuple[str, ...] = ()) -> RingWriter:
    return RingWriter.create(
        str(path),
        capacity=capacity,
        instance="remora-1",
        epoch=7,
        schema=SCHEMA,
        boot_id=BOOT,
        durable_readers=durable_readers,
    )


def opened(path: Path, name: str = "", *, is_durable: bool = False, from_start: bool = True) -> RingReader:
    return RingReader(str(path), name=name, is_durable=is_durable, from_start=from_start)


def poke(path: Path, place: int, values: bytes) -> None:
    """Write into the file as a killed writer could have left it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[place : place + len(values)] = values


def counter(path: Path, place: int) -> int:
    found: int = struct.unpack_from("<q", path.read_bytes(), place)[0]
    return found
