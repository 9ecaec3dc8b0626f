"""How much of the venue's request weight is spent: one count for all processes that ask from this address.

The venue counts weight by IP address and minute, so every process of the machine charges one small mapped
file per host. A charge is made under a lock that the kernel drops with its holder, into the slot that does
not count yet, with a checksum: a process killed at any instant leaves the state before or after its charge.
"""

import fcntl
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from engine.errors import InputError, StateError

NS_PER_MINUTE: Final = 60_000_000_000
# A request stamped by our clock is counted by the venue at most this much earlier or later: the way there,
# and how far the clocks disagree.
EDGE_NS: Final = 2_000_000_000
# Told when the lock could not be had: a holder is stopped, or there are very many.
BUSY_NS: Final = 1_000_000
LONGEST_BAN_NS: Final = 3 * 24 * 60 * NS_PER_MINUTE  # of the venue
_MUCH: Final = 2**40  # of weight: what the venue says is not trusted to fit a file
_ATTEMPTS: Final = 64  # to get the lock, with the processor given away in between

_SLOT: Final = struct.Struct("<8sQqqqqqqI")
_MAGIC: Final = b"RMRWGT01"
_SLOT_BYTES: Final = 128  # a slot never shares a cache line with the other
FILE_BYTES: Final = 2 * _SLOT_BYTES


@dataclass(frozen=True, slots=True)
class _Spent:
    """What is known of the weight; `minute` is a count of minutes since the epoch."""

    serial: int = 0
    minute: int = 0
    used: int = 0  # in this minute: charged, carried over, or told by the venue if that is more
    head: int = 0  # charged within the first EDGE_NS of it: may count to the minute before
    tail: int = 0  # charged within the last EDGE_NS of it: may count to the minute after
    previous: int = 0  # used in the minute before
    banned_until_ns: int = 0

    def at(self, now_ns: int) -> "_Spent":
        """Return this in the minute of `now_ns`; a minute that is over is not entered again."""
        passed = now_ns // NS_PER_MINUTE - self.minute
        if passed <= 0:
            return self
        return replace(
            self,
            minute=self.minute + passed,
            used=self.tail if passed == 1 else 0,
            head=0,
            tail=0,
            previous=self.used if passed == 1 else 0,
        )


def budget_path(folder: Path, origin: str) -> Path:
    """Return where the budget of an origin lies: one file per host, shared by all who ask there."""
    host = urlsplit(origin).netloc or origin
    return folder / f"weight-{re.sub(r'[^A-Za-z0-9.-]', '_', host)}"


class Budget:
    """Charges requests before they are sent.

    Made by `Budget.open`.

    Attributes
    ----------
    limit_per_minute : weight the venue takes in a minute.
    regular_limit : of that, what requests that are not urgent may spend.
    notice : a sentence about a file that could not be used and was begun anew; empty while all is well.

    Notes
    -----
    For requests whose times of counting differ from our stamps by up to `EDGE_NS` each, no minute of the
    venue sees more than the limit, whatever processes and tasks do; urgent ones always get what is reserved
    for them, at the latest `EDGE_NS` after a minute's start. Weight spent by programs that do not charge here
    is seen only through `learn`.

    An object belongs to one thread and one process: open another in each. A path on a network filesystem is
    no good: its locks may not be the kernel's.

    Cost
    ----
    About 15 us. No call blocks: where the lock is not had in 64 attempts (well below a millisecond, unless
    the machine is overloaded), `take` says to wait, and `learn` and `ban` are written with the next call.
    """

    def __init__(
        self, path: Path | None, file: int, memory: mmap.mmap, limit_per_minute: int, regular_limit: int
    ) -> None:
        self.limit_per_minute = limit_per_minute
        self.regular_limit = regular_limit
        self.notice = ""
        self._path = path
        self._file = file
        self._memory = memory
        self._process = os.getpid()
        self._known = _Spent()
        self._owed_ban_ns = 0
        self._owed_used = (0, 0)  # weight, when it was told

    @classmethod
    def open(cls, path: Path | None, *, limit_per_minute: int, reserved_share: float = 0.2) -> Self:
        """Open the budget of a host, making its file where it is missing.

        Parameters
        ----------
        path
            Of `budget_path`; None for private memory.
        limit_per_minute
            The venue's REQUEST_WEIGHT of a minute.
        reserved_share
            Share of it that only urgent requests may spend, 0 to below 1.

        Raises
        ------
        ValueError
            The limit or the share is out of bounds.
        InputError
            The file cannot be made or opened.
        """
        if limit_per_minute < 1 or not 0 <= reserved_share < 1:
            raise ValueError(
                "Expected a limit of at least 1 and a reserved share from 0 to below 1, found "
                f"{limit_per_minute} and {reserved_share}."
            )
        file, memory = (-1, mmap.mmap(-1, FILE_BYTES)) if path is None else _map(path)
        regular = limit_per_minute - round(limit_per_minute * reserved_share)
        budget = cls(path, file, memory, limit_per_minute, regular)
        with budget._locked() as has_lock:
            if has_lock:
                budget._load()
        return budget

    def take(self, weight: int, now_ns: int, *, is_urgent: bool = False) -> int:
        """Charge a request that is sent next.

        Parameters
        ----------
        weight
            Of the request.
        now_ns
            The corridor's time.
        is_urgent
            Whether it may spend the reserved share.

        Returns
        -------
        int
            0: charged, send it. Otherwise nothing is charged: ask again after so many nanoseconds.

        Raises
        ------
        ValueError
            It weighs less than 0, or more than a whole minute would allow.
        """
        allowed = self.limit_per_minute if is_urgent else self.regular_limit
        if not 0 <= weight <= allowed:
            raise ValueError(f"Expected a weight from 0 to {allowed}, found {weight}.")
        with self._locked() as has_lock:
            if not has_lock:
                return BUSY_NS
            before = self._load(now_ns)
            spent = before.at(now_ns)
            if now_ns < spent.banned_until_ns:
                return spent.banned_until_ns - now_ns
            start_ns = spent.minute * NS_PER_MINUTE
            into_ns = max(0, now_ns - start_ns)
            if spent.used + weight > allowed:
                return start_ns + NS_PER_MINUTE + EDGE_NS - now_ns
            if into_ns < EDGE_NS and spent.previous + spent.head + weight > allowed:
                return start_ns + EDGE_NS - now_ns
            self._store(
                replace(
                    spent,
                    used=spent.used + weight,
                    head=spent.head + (weight if into_ns < EDGE_NS else 0),
                    tail=spent.tail + (weight if into_ns >= NS_PER_MINUTE - EDGE_NS else 0),
                )
            )
            return 0

    def learn(self, used: int, now_ns: int) -> None:
        """Take over what the venue says was used in its minute at `now_ns`, if that is more than we know.

        Near the start of a minute it may still speak of the minute before, and is taken for that one.
        """
        used = min(used, _MUCH)
        with self._locked() as has_lock:
            if not has_lock:
                self._owed_used = max(self._owed_used, (used, now_ns))
                return
            spent = self._load(now_ns).at(now_ns)
            told = _told(spent, used, now_ns)
            if told != self._known:
                self._store(told)

    def ban(self, until_ns: int) -> None:
        """Let nobody ask before `until_ns`; an earlier moment than known changes nothing."""
        with self._locked() as has_lock:
            if not has_lock:
                self._owed_ban_ns = max(self._owed_ban_ns, until_ns)
                return
            spent = self._load()
            if until_ns > spent.banned_until_ns:
                self._store(replace(spent, banned_until_ns=until_ns))

    @property
    def banned_until_ns(self) -> int:
        """Until when nobody may ask; as last seen, if the lock is not had. 0 = never banned."""
        with self._locked() as has_lock:
            known = self._load() if has_lock else self._known
        return max(known.banned_until_ns, self._owed_ban_ns)

    def used(self, now_ns: int) -> int:
        """Return the weight of the minute so far; as last seen, if the lock is not had."""
        with self._locked() as has_lock:
            return (self._load() if has_lock else self._known).at(now_ns).used

    def close(self) -> None:
        """Let go of the file; again is harmless."""
        self._memory.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        if os.getpid() != self._process:
            raise StateError("Expected a budget opened by this process, found one inherited by a fork.")
        if self._path is None:
            yield True
            return
        for _ in range(_ATTEMPTS):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.sched_yield()
                continue
            if os.fstat(self._file).st_nlink or not self._reopen(self._path):
                break
        else:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _reopen(self, path: Path) -> bool:
        """Go over to the file that others find, since ours was removed; False: there is none to be had."""
        try:
            file, memory = _map(path)
        except InputError as error:
            self.notice = str(error)
            return False
        self.notice = f"Expected the count of request weight at {path} to stay, found it removed: begun anew."
        self.close()
        self._file, self._memory = file, memory
        self._owed_used = (self._known.used, self._known.minute * NS_PER_MINUTE + EDGE_NS)
        self._owed_ban_ns = self._known.banned_until_ns
        return True

    def _load(self, now_ns: int | None = None) -> _Spent:
        """Return the slot that counts, with what this process owes it; call it locked."""
        if self._path is not None and os.fstat(self._file).st_size < FILE_BYTES:
            # Somebody cut it under us: reading past its end would end the process.
            os.posix_fallocate(self._file, 0, FILE_BYTES)
            self.notice = f"Expected {FILE_BYTES} bytes in {self._path}, found fewer: begun anew."
        found = [one for one in map(self._slot, (0, 1)) if one is not None]
        if found:
            spent = max(found, key=lambda one: one.serial)
        else:
            spent = _Spent()
            if any(self._memory[:FILE_BYTES]):
                self.notice = (
                    f"Expected a count of request weight in {self._path}, found other bytes: begun anew."
                )
                self._memory[:FILE_BYTES] = bytes(FILE_BYTES)
            # From here on one slot is whole at any instant.
            self._store(spent)
            spent = self._known
        if now_ns is not None and spent.minute > now_ns // NS_PER_MINUTE + 1:
            self.notice = (
                f"Expected a count of minute {now_ns // NS_PER_MINUTE} in {self._path}, found one of minute "
                f"{spent.minute}, by a clock that is ahead: begun anew."
            )
            ban_ns = spent.banned_until_ns
            spent = _Spent(
                serial=spent.serial, banned_until_ns=ban_ns if ban_ns <= now_ns + LONGEST_BAN_NS else 0
            )
        weight, told_ns = self._owed_used
        if weight:
            spent = _told(spent.at(told_ns), weight, told_ns)
        spent = replace(spent, banned_until_ns=max(spent.banned_until_ns, self._owed_ban_ns))
        if weight or self._owed_ban_ns:
            self._owed_used, self._owed_ban_ns = (0, 0), 0
            self._store(spent)
        self._known = spent
        return self._known

    def _slot(self, number: int) -> _Spent | None:
        start = number * _SLOT_BYTES
        content = self._memory[start : start + _SLOT.size]
        magic, *counts, checksum = _SLOT.unpack(content)
        if magic != _MAGIC or zlib.crc32(content[:-4]) != checksum:
            return None
        return _Spent(*counts)

    def _store(self, spent: _Spent) -> None:
        """Write the slot that does not count, which counts from its last byte on; call it locked."""
        spent = replace(spent, serial=self._known_serial() + 1)
        content = bytearray(
            _SLOT.pack(
                _MAGIC,
                spent.serial,
                spent.minute,
                spent.used,
                spent.head,
                spent.tail,
                spent.previous,
                spent.banned_until_ns,
                0,
            )
        )
        content[-4:] = zlib.crc32(content[:-4]).to_bytes(4, "little")
        start = spent.serial % 2 * _SLOT_BYTES
        self._memory[start : start + _SLOT.size] = bytes(content)
        self._known = spent

    def _known_serial(self) -> int:
        return max((one.serial for one in map(self._slot, (0, 1)) if one is not None), default=0)


def _told(spent: _Spent, used: int, now_ns: int) -> _Spent:
    minute, into_ns = divmod(now_ns, NS_PER_MINUTE)
    if minute == spent.minute and into_ns >= EDGE_NS:
        return replace(spent, used=max(spent.used, used))
    if minute in (spent.minute, spent.minute - 1):
        return replace(spent, previous=max(spent.previous, used))
    return spent


def _map(path: Path) -> tuple[int, mmap.mmap]:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Its pages are taken now: on a full filesystem a later write would end the process.
            os.posix_fallocate(file, 0, FILE_BYTES)
            return file, mmap.mmap(file, FILE_BYTES)
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        raise InputError(
            f"Expected a file for the count of request weight at {path}, found: {error.strerror}.",
            path=str(path),
        ) from error
