"""The shared control page through the standard library alone, for whoever must work when the rest is broken.

`native.control` knows the same layout; a test holds both together. Words are 8 bytes, little-endian, aligned;
an aligned word is moved at once by the processors that this runs on.
"""

import mmap
import os
import struct
import time
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from engine.errors import InputError


class Wanted(IntEnum):
    """What the engine shall do; anyone may raise it, only a command lowers it."""

    ACTIVE = 0
    REDUCING = 1  # nothing but orders that reduce
    HALTED = 2  # likewise, until `resume`


class Slot(IntEnum):
    """Who raises; each writes into its own slot."""

    ENGINE = 0
    OPERATOR = 1
    GUARD = 2
    KILL = 3


SIZE: Final = 4096
LAYOUT: Final = 1
MAGIC: Final = b"REMCPAGE"
HEADER: Final = struct.Struct("<8sII16sqqq40sI")  # magic to start_ns and boot id, then the checksum
CHECKED: Final = HEADER.size - 4  # bytes that the checksum is of
HEARTBEAT: Final = struct.Struct("<qq")  # count, corridor ns
HEARTBEAT_AT: Final = 128
SHOWN: Final = struct.Struct("<qqqq")  # breaker, size factor, sides, pause
SHOWN_AT: Final = 192
WORD: Final = struct.Struct("<Q")  # time_ns << 2 | state
SLOTS_AT: Final = 256
SLOT_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class Raised:
    """What one slot asks for, and since when; ACTIVE and 0 if nothing."""

    state: Wanted
    time_ns: int


@dataclass(frozen=True, slots=True)
class ControlStatus:
    """Everything that the page says. Each word is whole; two words may be of different moments."""

    instance: str
    epoch: int
    pid: int
    start_ns: int
    boot_id: str
    heartbeat_count: int
    heartbeat_ns: int  # corridor time; 0 = not yet
    breaker: int
    size_factor: int  # 10^-6
    sides: int  # 0 both, 1 long-only, 2 short-only
    is_paused: bool
    raised: tuple[Raised, ...]  # by slot

    @property
    def wanted(self) -> Wanted:
        """The strictest of the slots."""
        return max(raised.state for raised in self.raised)


class ControlFile:
    """The control page of one engine, mapped.

    Raises
    ------
    InputError
        There is no page at `path`, it cannot be opened, or it cannot be trusted.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"Expected the control page of an engine at {path}: {error.strerror}.", path=path
            ) from error
        try:
            found = os.fstat(file).st_size
            if found != SIZE:
                raise InputError(f"{path}: a control page has {SIZE} bytes, found {found}.", path=path)
            self._page = mmap.mmap(file, SIZE)
        finally:
            os.close(file)
        try:
            self.read()
        except InputError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()

    def read(self) -> ControlStatus:
        """Return all that the page says.

        Raises
        ------
        InputError
            The page is damaged, or being made anew by a starting engine.
        """
        magic, layout, size, instance, epoch, pid, start_ns, boot_id, checksum = HEADER.unpack_from(
            self._page
        )
        if magic != MAGIC or layout != LAYOUT or size != SIZE:
            raise InputError(
                f"{self.path}: expected a control page of layout {LAYOUT}, found "
                f"{magic!r}, layout {layout}, {size} bytes.",
                path=self.path,
            )
        if zlib.crc32(self._page[:CHECKED]) != checksum:
            raise InputError(
                f"{self.path}: expected a whole control page, found a wrong checksum.", path=self.path
            )
        words = [self._word(slot) for slot in Slot]
        for slot, word in zip(Slot, words, strict=True):
            if word & 3 > Wanted.HALTED:
                raise InputError(
                    f"{self.path}: expected a whole control page, found the state 3 in slot {slot.name}.",
                    path=self.path,
                )
        count, heartbeat_ns = HEARTBEAT.unpack_from(self._page, HEARTBEAT_AT)
        breaker, size_factor, sides, is_paused = SHOWN.unpack_from(self._page, SHOWN_AT)
        return ControlStatus(
            instance=_text(instance),
            epoch=epoch,
            pid=pid,
            start_ns=start_ns,
            boot_id=_text(boot_id),
            heartbeat_count=count,
            heartbeat_ns=heartbeat_ns,
            breaker=breaker,
            size_factor=size_factor,
            sides=sides,
            is_paused=is_paused != 0,
            raised=tuple(Raised(Wanted(word & 3), word >> 2) for word in words),
        )

    def wanted(self) -> Wanted:
        """Return the strictest state that anyone has raised; HALTED if the page cannot be trusted."""
        try:
            return self.read().wanted
        except InputError:
            return Wanted.HALTED

    def raise_wanted(self, slot: Slot, state: Wanted, now_ns: int | None = None) -> None:
        """Raise the wanted state in one's own slot, now unless told when; never lowers it.

        Works on a page that was damaged after it was opened, too. The state is written even if the slot shows
        it already: the engine may be clearing the slot at this moment.
        """
        word = self._word(slot)
        wanted = max(word & 3, state)
        moment = time.time_ns() if now_ns is None else now_ns
        WORD.pack_into(self._page, SLOTS_AT + slot * SLOT_SIZE, moment << 2 | wanted)

    def _word(self, slot: Slot) -> int:
        found: tuple[int] = WORD.unpack_from(self._page, SLOTS_AT + slot * SLOT_SIZE)
        return found[0]


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("ascii", "replace")
