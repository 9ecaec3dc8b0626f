"""One recorded file: written under a name with `.part`, whole and durable before it gets its own."""

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Protocol

import zstandard

from engine.errors import InputError

Compression = Literal["gz", "zst", "none"]

PART: Final = ".part"
SUFFIXES: Final[dict[str, str]] = {"gz": ".gz", "zst": ".zst", "none": ""}
GZIP_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = 31


class _Packer(Protocol):
    """Turns lines into the bytes of a file; `cut` makes all that came before readable."""

    def pack(self, data: bytes) -> bytes: ...
    def cut(self) -> bytes: ...
    def end(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WINDOW)

    def pack(self, data: bytes) -> bytes:
        return self._stream.compress(data)

    def cut(self) -> bytes:
        return self._stream.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._stream.flush(zlib.Z_FINISH)


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()

    def pack(self, data: bytes) -> bytes:
        return self._stream.compress(data)

    def cut(self) -> bytes:
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


class _Plain:
    def pack(self, data: bytes) -> bytes:
        return data

    def cut(self) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


class TapeFile:
    """A file of lines that is being written.

    Parameters
    ----------
    path : the name of the whole file.
    compression : of its content.

    Raises
    ------
    FileExistsError
        The name, or the one with `.part`, is taken; nothing was touched.
    OSError
        It cannot be made.

    Attributes
    ----------
    size : bytes on the device.

    Notes
    -----
    Killed at any moment the file under `.part` reads to a whole line at least as late as the last `flush`.
    """

    def __init__(self, path: Path, compression: Compression) -> None:
        self.path = path
        self.part = path.with_name(path.name + PART)
        self.size = 0
        self._problem: InputError | None = None
        self._lines = bytearray()
        self._packer: _Packer = (
            _Gzip() if compression == "gz" else _Zstd() if compression == "zst" else _Plain()
        )
        self._fd = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        # Looked at after the part is ours: another one may just have finished and taken its name.
        if path.exists():
            os.close(self._fd)
            self.part.unlink()
            raise FileExistsError(str(path))

    def write(self, line: bytes) -> None:
        """Take one line with its line feed; it is on the device after the next `flush`."""
        self._lines += line

    def flush(self) -> None:
        """Give the device all that was taken.

        Raises
        ------
        InputError
            It does not take it; the file then ends where it did before, in whole lines.
        """
        if not self._lines:
            return
        data = self._packer.pack(bytes(self._lines)) + self._packer.cut()
        self._put(data)
        self._lines.clear()

    def finish(self) -> Path:
        """Make the file whole and durable, and give it its name, which is returned.

        Raises
        ------
        InputError
            The device refuses; what was written stays under the name with `.part`.
        """
        self.flush()
        self._put(self._packer.end())
        try:
            os.fsync(self._fd)
            self.abandon()
            if self.path.exists():
                raise FileExistsError(17, "a file of this name was made meanwhile")
            self.part.rename(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as problem:
            self.abandon()
            raise self._refused(problem) from problem
        return self.path

    def abandon(self) -> None:
        """Close the file under the name that it has."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, data: bytes) -> None:
        if self._problem is not None:
            raise self._problem
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as problem:
            # Half a block would still be read to its last whole line; none is surer.
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)
            self.abandon()
            self._problem = self._refused(problem)
            raise self._problem from problem
        self.size += len(data)

    def _refused(self, problem: OSError) -> InputError:
        return InputError(
            f"{self.path} cannot be written: {problem.strerror or problem}; what was recorded before stands "
            f"in {self.part.name}."
        )
