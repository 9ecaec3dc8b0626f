"""Write what the rings hold into files, as a recording that can be replayed.

A recording is a directory: ``<symbol>.txt`` with the frames (``<receive time in ns> <message>``),
``<symbol>.inputs.jsonl`` with all other inputs, ``signals.jsonl`` with what the market saw and what was
concluded, ``decisions.jsonl`` with the facts. Files are appended to line by line: one that was cut loses its
last line at most.
"""

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from engine.errors import InputError
from engine.inputs import RingKind, inputs_path

BATCH: Final = 4096
BUFFER_BYTES: Final = 1 << 16
SIGNALS_NAME: Final = "signals.jsonl"
DECISIONS_NAME: Final = "decisions.jsonl"


class Reader(Protocol):
    """A reader of one ring; `native.ring.RingReader` is one."""

    @property
    def n_lost(self) -> int: ...
    def read(self, limit: int) -> list[tuple[int, int, int, bytes]]: ...
    def commit(self) -> None: ...


class Recorder:
    """Drain the rings of one engine into a directory.

    Parameters
    ----------
    directory : made if it does not exist; must hold no recording.
    symbol : names the files.
    market, facts : readers of the two rings, at their beginning.

    Raises
    ------
    InputError
        The directory cannot be written to, or holds a recording already.

    """

    def __init__(self, directory: Path, symbol: str, *, market: Reader, facts: Reader) -> None:
        self.frames_path = directory / f"{symbol.lower()}.txt"
        self._market = market
        self._facts = facts
        paths = (
            self.frames_path,
            inputs_path(self.frames_path),
            directory / SIGNALS_NAME,
            directory / DECISIONS_NAME,
        )
        self._files: list[BinaryIO] = []
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for path in paths:
                self._files.append(path.open("xb", buffering=BUFFER_BYTES))
        except OSError as problem:
            for file, path in zip(self._files, paths, strict=False):
                file.close()
                path.unlink()
            if isinstance(problem, FileExistsError):
                raise InputError(f"{directory} holds a recording already; give a new directory.") from problem
            raise InputError(f"{directory} cannot be written: {problem.strerror or problem}.") from problem

    @property
    def n_lost(self) -> int:
        """Ring records that were overwritten before they could be written down."""
        return self._market.n_lost + self._facts.n_lost

    def drain(self) -> None:
        """Write down everything that the rings hold now.

        Raises
        ------
        InputError
            The device refuses the bytes, for example because it is full.
        """
        frames, inputs, signals, decisions = self._files
        try:
            while records := self._market.read(BATCH):
                for _, kind, time_ns, payload in records:
                    if kind == RingKind.FRAME:
                        frames.write(b"%d %s\n" % (time_ns, payload))
                    elif kind == RingKind.INPUT:
                        inputs.write(payload)
                    else:
                        signals.write(payload)
            while records := self._facts.read(BATCH):
                for _, kind, _, payload in records:
                    if kind == RingKind.FACT:
                        decisions.write(payload)
            for file in self._files:
                file.flush()
        except OSError as problem:
            raise self._broken(problem) from problem
        self._market.commit()
        self._facts.commit()

    def write_input(self, line: bytes) -> None:
        """Write an input that is too large for the ring, after all that is in the rings.

        Raises
        ------
        InputError
            As `drain`.
        """
        self.drain()
        try:
            self._files[1].write(line)
            self._files[1].flush()
        except OSError as problem:
            raise self._broken(problem) from problem

    def close(self) -> None:
        """Close the files; what a full device did not take is lost, and was told."""
        for file in self._files:
            with suppress(OSError):
                file.close()

    def _broken(self, problem: OSError) -> InputError:
        self.close()
        return InputError(
            f"The recording in {self.frames_path.parent} cannot be written: {problem.strerror or problem}."
        )
