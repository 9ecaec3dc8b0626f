"""The control page through the standard library alone."""

import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from engine.control import ControlFile, ControlStatus, Raised, Slot, Wanted
from engine.errors import InputError


def page_bytes(*, magic: bytes = b"REMCPAGE", layout: int = 1, size: int = 4096, spoil: int = 0) -> bytes:
    """Write a page by hand: the layout as documented, without the room under test."""
    header = struct.pack("<8sII16sqqq40s", magic, layout, size, b"btc", 3, 4321, 10, b"boot")
    page = bytearray(4096)
    page[: len(header)] = header
    struct.pack_into("<I", page, len(header), zlib.crc32(header) ^ spoil)
    struct.pack_into("<qq", page, 128, 17, 1_700_000_000_000_000_000)
    struct.pack_into("<qqqq", page, 192, -5, 500_000, 1, 1)
    for slot, word in enumerate((0, 6 << 2 | 1, 0, 7 << 2 | 2)):
        struct.pack_into("<Q", page, 256 + 64 * slot, word)
    return bytes(page)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "control"
    made.write_bytes(page_bytes())
    return made


def test_page_when_read_then_every_field_is_where_it_is_documented(path: Path) -> None:
    with ControlFile(str(path)) as file:
        found = file.read()
    assert found == ControlStatus(
        instance="btc",
        epoch=3,
        pid=4321,
        start_ns=10,
        boot_id="boot",
        heartbeat_count=17,
        heartbeat_ns=1_700_000_000_000_000_000,
        breaker=-5,
        size_factor=500_000,
        sides=1,
        is_paused=True,
        raised=(
            Raised(Wanted.ACTIVE, 0),
            Raised(Wanted.REDUCING, 6),
            Raised(Wanted.ACTIVE, 0),
            Raised(Wanted.HALTED, 7),
        ),
    )
    assert found.wanted is Wanted.HALTED


def test_raise_when_the_slot_is_stricter_already_then_it_stays_and_the_file_keeps_it(path: Path) -> None:
    with ControlFile(str(path)) as file:
        file.raise_wanted(Slot.KILL, Wanted.REDUCING, 20)
        file.raise_wanted(Slot.OPERATOR, Wanted.HALTED, 21)
        file.raise_wanted(Slot.GUARD, Wanted.REDUCING, 2**62 - 1)
    with ControlFile(str(path)) as file:
        assert file.read().raised == (
            Raised(Wanted.ACTIVE, 0),
            Raised(Wanted.HALTED, 21),
            Raised(Wanted.REDUCING, 2**62 - 1),
            Raised(Wanted.HALTED, 20),
        )


def test_raise_when_no_time_is_given_then_it_is_now(path: Path) -> None:
    with ControlFile(str(path)) as file:
        before = time.time_ns()
        file.raise_wanted(Slot.GUARD, Wanted.HALTED)
        assert before <= file.read().raised[Slot.GUARD].time_ns <= time.time_ns()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "has 4096 bytes, found 0"),
        (page_bytes()[:-1], "has 4096 bytes, found 4095"),
        (page_bytes(magic=b"REMORING"), "found b'REMORING', layout 1"),
        (page_bytes(layout=2), "layout 2"),
        (page_bytes(size=8192), "8192 bytes"),
        (page_bytes(spoil=1), "wrong checksum"),
        (page_bytes()[:320] + b"\3" + page_bytes()[321:], "the state 3 in slot OPERATOR"),
    ],
    ids=["empty", "short", "magic", "layout", "size", "checksum", "state"],
)
def test_page_when_it_cannot_be_trusted_then_open_says_why_in_one_sentence(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "control"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as told:
        ControlFile(str(path))
    assert str(path) in str(told.value)
    assert str(told.value).endswith(".")


def test_page_when_there_is_none_then_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected the control page of an engine at .*: No such file"):
        ControlFile(str(tmp_path / "control"))


def test_page_when_damaged_after_it_was_opened_then_it_is_halted_and_can_still_be_raised(path: Path) -> None:
    with ControlFile(str(path)) as file:
        with path.open("r+b") as raw:
            raw.write(b"\0" * 8)
        with pytest.raises(InputError, match="expected a control page"):
            file.read()
        assert file.wanted() is Wanted.HALTED
        file.raise_wanted(Slot.GUARD, Wanted.HALTED, 30)
        with path.open("r+b") as raw:
            raw.write(b"REMCPAGE")
        assert file.read().raised[Slot.GUARD] == Raised(Wanted.HALTED, 30)


def test_room_when_imported_alone_then_nothing_compiled_comes_with_it() -> None:
    code = """
import sys
import engine.control
compiled = ("native", "numpy", "msgspec", "orjson", "uvloop")
strange = [name for name in sys.modules if name.split(".")[0] in compiled]
assert not strange, strange
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
