"""Record the markets of a ring: a file for each symbol, begun anew when it is old or large enough.

Files are named ``<symbol>.<market>.<UTC of the first line>.txt`` with ``.gz`` or ``.zst``; what is no frame
stands beside in ``.inputs.jsonl``. Lines are ``<receive time in ns> <message>``, the REST depth answer bare
among them, so each file can be replayed alone once its snapshot came.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import InputError
from engine.inputs import EventInput, RingKind, encode_input, inputs_path
from engine.observers.recorder import Reader
from engine.observers.tapefile import SUFFIXES, Compression, TapeFile

BATCH: Final = 4096
NS_PER_S: Final = 1_000_000_000
ASK_AGAIN_NS: Final = 30 * NS_PER_S
HEADERS: Final = ("session", "listen")  # lines that stand first in every file
EARLY_INPUTS: Final = 1_000  # of all symbols, from before the first file
MAX_SYMBOL: Final = 40
_ROTATION: Final = re.compile(r"(\d{1,9})(s|m|h|d|KiB|MiB|GiB)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BYTES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_STREAM: Final = b'"stream"'
_SYMBOL: Final = re.compile(rb'"stream"\s*:\s*"([A-Za-z0-9_]{1,40})@')

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is followed by the next; 0 is never.

    Attributes
    ----------
    period_ns : at each multiple of it since 1970, UTC.
    size : when so many bytes are on the device.
    """

    period_ns: int = 0
    size: int = 0


class _Named(msgspec.Struct):
    symbol: str = ""


class _Addressed(msgspec.Struct):
    """The symbol of an input, wherever it stands."""

    symbol: str = ""
    input: str = ""
    instrument: _Named | int | str | None = None


@dataclass(slots=True)
class _Tape:
    """The open files of one symbol.

    Attributes
    ----------
    asked_ns : when a snapshot was last wished for; 0: none is needed.
    """

    symbol: str
    lines: TapeFile
    inputs: TapeFile | None
    due_ns: int
    last_ns: int
    asked_ns: int
    n_lines: int = 0


def parse_rotation(text: str) -> Rotation:
    """Read a rotation like 1h, 30m, 512MiB.

    Raises
    ------
    InputError
        It is of another form, or nothing.
    """
    found = _ROTATION.fullmatch(text)
    amount = int(found[1]) if found is not None else 0
    if found is None or amount == 0 or amount * _SECONDS.get(found[2], 0) > 366 * 86_400:
        raise InputError(
            f"--rotate expects a time up to a year like 30m, 1h, 1d or a size like 512MiB, found {text!r}."
        )
    if found[2] in _SECONDS:
        return Rotation(period_ns=amount * _SECONDS[found[2]] * NS_PER_S)
    return Rotation(size=amount * _BYTES[found[2]])


class TapeWriter:
    """Drain the ring of one venue's markets into files.

    Parameters
    ----------
    directory : made if it does not exist; files that stand there are never touched.
    market : "spot" or "usdm"; part of the names.
    reader : of the ring, at its beginning.
    compression : of the lines; inputs are never compressed.
    rotation : when files change.
    say : told one sentence when something is lost.

    Raises
    ------
    InputError
        The directory cannot be made.

    Notes
    -----
    `drain` several times a second, `flush` about once: only then does the ring forget. Records with one
    receive time are one read and stay in one file. Not thread-safe; may block for as long as the device does.
    """

    def __init__(
        self,
        directory: Path,
        market: str,
        *,
        reader: Reader,
        compression: Compression,
        rotation: Rotation,
        say: Say,
    ) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InputError(f"{directory} cannot be written: {problem.strerror or problem}.") from problem
        self.n_lines = 0
        self.n_unrouted = 0
        self.finished: list[Path] = []
        self._directory = directory
        self._market = market
        self._reader = reader
        self._compression: Compression = compression
        self._rotation = rotation
        self._say = say
        self._tapes: dict[str, _Tape] = {}
        self._early: list[bytes] = []
        self._header = b""
        self._wishes: list[str] = []
        self._n_lost = 0
        self._last_ns = 0
        self._addressed: msgspec.json.Decoder[_Addressed] = msgspec.json.Decoder(_Addressed)

    @property
    def n_lost(self) -> int:
        """Ring records that were overwritten before they could be written down."""
        return self._n_lost

    @property
    def n_bytes(self) -> int:
        """Bytes on the device in files that are open."""
        return sum(tape.lines.size for tape in self._tapes.values())

    @property
    def open_parts(self) -> list[Path]:
        """Where the lines are written now."""
        return [tape.lines.part for tape in self._tapes.values()]

    def take_wishes(self) -> list[str]:
        """Return the symbols whose recording needs a fresh REST depth answer; each is told once."""
        found, self._wishes = self._wishes, []
        return found

    def drain(self) -> None:
        """Take everything that the ring holds now.

        Raises
        ------
        InputError
            A file cannot be begun or finished, for example because the device is full.
        """
        while records := self._reader.read(BATCH):
            self._note_loss()
            for _, kind, time_ns, payload in records:
                self._last_ns = max(self._last_ns, time_ns)
                if kind == RingKind.FRAME:
                    self._take_frame(time_ns, payload)
                elif kind == RingKind.SNAPSHOT:
                    name, _, body = payload.partition(b" ")
                    tape = self._tape(name.decode("ascii", "replace"), time_ns)
                    tape.asked_ns = 0
                    self._put(tape, time_ns, body.replace(b"\n", b" "))
                elif kind == RingKind.INPUT:
                    self._take_input(time_ns, payload)
        self._note_loss()
        for tape in self._tapes.values():
            if tape.asked_ns and self._last_ns - tape.asked_ns >= ASK_AGAIN_NS:
                self._wish(tape)

    def flush(self) -> None:
        """Put what was taken on the device, then let the ring forget it.

        Raises
        ------
        InputError
            The device does not take it.
        """
        for tape in self._tapes.values():
            tape.lines.flush()
            if tape.inputs is not None:
                tape.inputs.flush()
        self._reader.commit()

    def finish(self) -> None:
        """Take what is left, and make all files whole.

        Raises
        ------
        InputError
            Of the first file that cannot be; every other one is.
        """
        first: InputError | None = None
        try:
            self.drain()
        except InputError as problem:
            first = problem
        for tape in list(self._tapes.values()):
            try:
                self._close(tape)
            except InputError as problem:
                first = first or problem
        if first is not None:
            raise first
        self._reader.commit()

    def _take_frame(self, time_ns: int, payload: bytes) -> None:
        found = _SYMBOL.search(payload, max(payload.find(_STREAM), 0))
        if found is None:
            self.n_unrouted += 1
            return
        self._put(self._tape(found[1].decode().upper(), time_ns), time_ns, payload)

    def _take_input(self, time_ns: int, line: bytes) -> None:
        found = self._addressed.decode(line)
        symbol = found.symbol or (found.instrument.symbol if isinstance(found.instrument, _Named) else "")
        if found.input in HEADERS:
            self._header = line
        elif symbol:
            self._put_input(self._tape(symbol, time_ns), line)
            return
        for tape in self._tapes.values():
            self._put_input(tape, line)
        if not self._tapes and found.input not in HEADERS and len(self._early) < EARLY_INPUTS:
            self._early.append(line)

    def _tape(self, symbol: str, time_ns: int) -> _Tape:
        """Return the open files of a symbol; the next ones if these are old or large enough."""
        tape = self._tapes.get(symbol)
        if tape is None:
            tape = self._tapes[symbol] = self._open(symbol, time_ns)
            for line in self._early:
                self._put_input(tape, line)
            # The feed asks by itself at its start; only if nothing comes it is asked.
            tape.asked_ns = time_ns
        elif time_ns > tape.last_ns and (
            (self._rotation.period_ns and time_ns >= tape.due_ns)
            or (self._rotation.size and tape.lines.size >= self._rotation.size)
        ):
            self._close(tape)
            tape = self._tapes[symbol] = self._open(symbol, time_ns)
            self._wish(tape)
        return tape

    def _open(self, symbol: str, time_ns: int) -> _Tape:
        moment = datetime.fromtimestamp(time_ns // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
        stem = f"{symbol.lower()[:MAX_SYMBOL]}.{self._market}.{moment}"
        for number in count(1):
            name = f"{stem}{f'-{number}' if number > 1 else ''}.txt{SUFFIXES[self._compression]}"
            path = self._directory / name
            if inputs_path(path).exists():
                continue
            try:
                lines = TapeFile(path, self._compression)
                break
            except FileExistsError:
                continue
            except OSError as problem:
                raise InputError(f"{path} cannot be written: {problem.strerror or problem}.") from problem
        period_ns = self._rotation.period_ns
        due_ns = (time_ns // period_ns + 1) * period_ns if period_ns else 0
        tape = _Tape(symbol, lines, None, due_ns, time_ns, 0)
        if self._header:
            self._put_input(tape, self._header)
        return tape

    def _put(self, tape: _Tape, time_ns: int, payload: bytes) -> None:
        tape.lines.write(b"%d %s\n" % (time_ns, payload))
        tape.last_ns = time_ns
        tape.n_lines += 1
        self.n_lines += 1

    def _put_input(self, tape: _Tape, line: bytes) -> None:
        if tape.inputs is None:
            path = inputs_path(tape.lines.path)
            try:
                tape.inputs = TapeFile(path, "none")
            except OSError as problem:
                raise InputError(f"{path} cannot be written: {problem.strerror or problem}.") from problem
        tape.inputs.write(line)

    def _wish(self, tape: _Tape) -> None:
        tape.asked_ns = self._last_ns
        if tape.symbol not in self._wishes:
            self._wishes.append(tape.symbol)

    def _note_loss(self) -> None:
        n_new = self._reader.n_lost - self._n_lost
        if not n_new:
            return
        self._n_lost += n_new
        self._say(f"{n_new} records were lost: the disk did not keep up; fresh snapshots are asked for")
        for tape in self._tapes.values():
            detail = f"{n_new} records"
            self._put_input(
                tape,
                encode_input(
                    EventInput(at_ns=self._last_ns, symbol=tape.symbol, event="lost", detail=detail)
                ),
            )
            self._wish(tape)

    def _close(self, tape: _Tape) -> None:
        del self._tapes[tape.symbol]
        try:
            if tape.inputs is not None:
                tape.inputs.finish()
            self.finished.append(tape.lines.finish())
        finally:
            tape.lines.abandon()
            if tape.inputs is not None:
                tape.inputs.abandon()
