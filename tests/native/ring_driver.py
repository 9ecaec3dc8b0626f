"""Compiles the C block of the ring with its driver, and knows every record that the driver writes."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CONTENTS = HERE.parent.parent / "native" / "ring.pxd"
POOL = 1 << 20
WORD = (1 << 64) - 1


def protocol() -> str:
    """Return the C block of the ring as the room compiles it."""
    found = re.search(r'cdef extern from \*:\n    """\n(.*?)\n    """', CONTENTS.read_text(), re.DOTALL)
    assert found, "the room has its protocol in one block"
    return re.sub("^    ", "", found[1], flags=re.MULTILINE)


def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("cc")
    if not found:
        pytest.skip("the driver of the ring needs a C compiler")
    return found


def compile_driver(folder: Path, flags: tuple[str, ...], text: str | None = None) -> Path:
    """Compile protocol and driver; the sources stay beside the program."""
    source, program = folder / "driver.c", folder / "driver"
    source.write_text(f"{text or protocol()}\n{(HERE / 'ring_driver.c').read_text()}")
    command = [
        compiler(),
        "-std=gnu11",
        "-Wall",
        "-Werror",
        *flags,
        str(source),
        "-o",
        str(program),
        "-pthread",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def mix(number: int) -> int:
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & WORD
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & WORD
    return number ^ number >> 31


@cache
def pool() -> bytes:
    return b"".join(mix(i + 1).to_bytes(8, "little") for i in range(0, POOL, 8))


@dataclass(frozen=True, slots=True)
class Author:
    """What the driver writes into a ring of this capacity."""

    capacity: int

    def record(self, sequence: int) -> tuple[int, int, int, bytes]:
        """Return record `sequence` as a reader must find it."""
        longest = self.capacity // 8
        size = mix(sequence) % ((longest // 16 if sequence & 3 else longest) + 1)
        at = mix(~sequence & WORD) % (POOL - size)
        return sequence, sequence & 0xFFFF, sequence * 1000, pool()[at : at + size]
