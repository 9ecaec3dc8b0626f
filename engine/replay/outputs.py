"""Output files that bear their name only when they are whole."""

from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from engine.errors import InputError

PARTIAL_SUFFIX: Final = ".partial"
BUFFER_BYTES: Final = 1 << 18


def partial_path(path: Path) -> Path:
    """Return the name under which `path` is written until it is whole."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


class OutputFile:
    """A file written beside its place and renamed to it by `finish`.

    Parameters
    ----------
    path : where the whole file will stand; an older file there is replaced at the end, not before.

    Raises
    ------
    InputError
        The place cannot be written to.

    Notes
    -----
    Left without `finish` (an error, Ctrl-C), what was written stays under the name with ``.partial``.
    """

    __slots__ = ("_file", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise InputError(f"{path} cannot be written: it is a directory, expected the name of a file.")
        try:
            self._file: IO[bytes] = partial_path(path).open("wb", buffering=BUFFER_BYTES)
        except OSError as problem:
            raise InputError(f"{path} cannot be written: {problem.strerror or problem}.") from problem

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises
        ------
        InputError
            The device refused them, for example because it is full.
        """
        try:
            self._file.write(data)
        except OSError as problem:
            raise self._failed(problem) from problem

    def finish(self) -> None:
        """Write what is buffered and give the file its name."""
        try:
            self._file.close()
            partial_path(self.path).replace(self.path)
        except OSError as problem:
            raise self._failed(problem) from problem

    def keep(self) -> Path:
        """Write what is buffered and leave the file under its partial name, which is returned."""
        try:
            self._file.close()
        except OSError as problem:
            raise self._failed(problem) from problem
        return partial_path(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError:
            if kind is None:
                raise

    def _failed(self, problem: OSError) -> InputError:
        return InputError(
            f"{self.path} cannot be written: {problem.strerror or problem}; what was written stands in "
            f"{partial_path(self.path)}."
        )
