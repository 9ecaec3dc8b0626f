"""Recordings on disk: what they are, read line by line, and the files written from them.

Two text formats are recognised by their content, never by their name; either may be plain, gzip or Zstandard:

* *lines*: ``<receive time in ns> <JSON>``, one record a line, the REST depth answer standing in the stream as
  a bare document. Several files follow each other in the order given.
* *cryptofeed*: raw captures of the cryptofeed library. Connections, REST answers and the configuration may
  stand in files of their own; they are merged by receive time, and a REST depth answer knows its symbol from
  its address.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from heapq import merge
from itertools import chain, islice
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

import orjson
import zstandard

from engine.errors import InputError

CHUNK_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 1 << 16
MAX_LINE_BYTES: Final = 1 << 26
OUTLIER_NS: Final = 3_600_000_000_000
MAX_SILENCE_NS: Final = 31 * 86_400_000_000_000
MAX_RECV_NS: Final = (1 << 63) - 1

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"

_LINE_HEAD: Final = re.compile(rb"\d{1,19} +[{\[]")
_CRYPTOFEED_HEAD: Final = re.compile(
    rb"(?:\d{1,10}(?:\.\d{1,9})?: [{\[]|(?:https?|wss?)://\S+ (?:->|<->|<-) \d|configuration: \{)"
)
_CRYPTOFEED_FRAME: Final = re.compile(rb"(?P<seconds>\d{1,10})(?:\.(?P<fraction>\d{1,9}))?: ")
_CRYPTOFEED_ANSWER: Final = re.compile(
    rb"(?P<address>https?://\S+) -> (?P<seconds>\d{1,10})(?:\.(?P<fraction>\d{1,9}))?: "
)
_CRYPTOFEED_SKIPPED: Final = re.compile(rb"(?:configuration: |(?:https?|wss?)://\S+ (?:<->|<-) )")
_DEPTH_ADDRESS: Final = re.compile(rb"/depth\?(?:\S*&)?symbol=([A-Za-z0-9_]+)")


class Framing(Enum):
    """How the lines of a recording are framed."""

    LINES = "lines"
    CRYPTOFEED = "cryptofeed"


class Line(NamedTuple):
    """One received message.

    Attributes
    ----------
    recv_ns : receive time, nanoseconds since 1970.
    payload : the message as the venue sent it.
    symbol : the symbol if the recording names it outside the message (REST answers of cryptofeed), else "".
    """

    recv_ns: int
    payload: bytes
    symbol: str


@dataclass(frozen=True, slots=True)
class Recording:
    """Recorded files that make up one session."""

    paths: tuple[Path, ...]
    framing: Framing

    @property
    def size(self) -> int:
        """Bytes on disk of all files."""
        return sum(path.stat().st_size for path in self.paths)


class Tally:
    """What one pass over a recording met.

    Attributes
    ----------
    bytes_read : bytes taken from disk so far.
    broken_lines : lines without the frame of their format or with an impossible receive time; the messages
        inside are lost.
    truncated : files that end inside a compressed block or inside a line.
    exchange_info : body of the exchangeInfo answer found in the recording, ``b""`` if none.
    """

    __slots__ = ("broken_lines", "bytes_read", "exchange_info", "truncated")

    def __init__(self) -> None:
        self.bytes_read = 0
        self.broken_lines = 0
        self.truncated: list[Path] = []
        self.exchange_info = b""

    def note_truncated(self, path: Path) -> None:
        """Remember that `path` ended too early, once."""
        if path not in self.truncated:
            self.truncated.append(path)


def open_recording(paths: list[Path]) -> Recording:
    """Recognise recorded files as one session.

    Parameters
    ----------
    paths : one or more files, for the *lines* format in the order of time.

    Raises
    ------
    InputError
        A file is missing, unreadable, empty, of another format, or the files are of two formats.
    """
    if not paths:
        raise InputError("expected at least one recorded file, found none")
    framings = [(path, _recognise(path)) for path in paths]
    seen: set[Path] = set()
    for path in paths:
        real = path.resolve()
        if real in seen:
            raise InputError(f"{path} is given twice; a session plays each file once")
        seen.add(real)
    first_path, framing = framings[0]
    for path, other in framings[1:]:
        if other is not framing:
            raise InputError(
                f"{first_path} is in the {framing.value} format and {path} in the {other.value} format; "
                "one session is made of files of one format"
            )
    return Recording(tuple(paths), framing)


def read_lines(recording: Recording, tally: Tally) -> Iterator[Line]:
    """Yield the messages of a session in the order in which they were received.

    Parameters
    ----------
    recording : what to read.
    tally : filled while reading; complete when the iterator is exhausted.

    Cost
    ----
    One pass over the files; memory is bounded by one chunk and the longest line of each file.
    """
    if recording.framing is Framing.LINES:
        return chain.from_iterable(_possible(_plain_lines(path, tally), tally) for path in recording.paths)
    streams = [_possible(_cryptofeed_lines(path, tally), tally) for path in recording.paths]
    return merge(*streams, key=_receive_time)


def _possible(lines: Iterator[Line], tally: Tally) -> Iterator[Line]:
    """Leave out lines whose receive time cannot be: one damaged digit would move the clock by years.

    A time is impossible if it lies more than an hour from both neighbours, which agree with each other. The
    first of a file is if the next two agree that it lies after them, or 31 days before them; the last if it
    lies 31 days from the one before.
    """
    head = list(islice(lines, 3))
    if len(head) == 3:
        first, second, third = (line.recv_ns for line in head)
        is_alone = abs(second - first) > OUTLIER_NS >= abs(third - second)
        if is_alone and not 0 < second - first <= MAX_SILENCE_NS:
            tally.broken_lines += 1
            del head[0]
    before = -1
    held: Line | None = None
    for line in chain(head, lines):
        if held is not None:
            at_ns = held.recv_ns
            if (
                abs(line.recv_ns - at_ns) <= OUTLIER_NS
                or before < 0
                or abs(at_ns - before) <= OUTLIER_NS
                or abs(line.recv_ns - before) > OUTLIER_NS
            ):
                yield held
                before = at_ns
            else:
                tally.broken_lines += 1
        held = line
    if held is None:
        return
    if before < 0 or abs(held.recv_ns - before) <= MAX_SILENCE_NS:
        yield held
    else:
        tally.broken_lines += 1


def read_document(path: Path) -> bytes:
    """Read a whole document such as an exchangeInfo answer, plain, gzip or Zstandard.

    Raises
    ------
    InputError
        The file is missing, unreadable, too long or cut off.
    """
    tally = Tally()
    text = b""
    try:
        for chunk in _chunks(path, tally):
            text += chunk
            if len(text) > MAX_LINE_BYTES:
                raise InputError(f"{path} is longer than {MAX_LINE_BYTES} bytes, expected one JSON document.")
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    if tally.truncated:
        raise InputError(f"{path} is cut off: expected a whole compressed file.")
    return text


def _receive_time(line: Line) -> int:
    return line.recv_ns


def _recognise(path: Path) -> Framing:
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(
            f"{path} is a directory; a recording is a file, and a converted one holds a meta.json"
        )
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; a recording is read twice and cannot be a pipe")
    tally = Tally()
    head = b""
    try:
        for chunk in _chunks(path, tally, HEAD_BYTES):
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    if not head.strip():
        found = "nothing" if not tally.truncated else "a compressed file cut off before its first line"
        raise InputError(f"{path} is empty: expected recorded messages, found {found}")
    for line in head.split(b"\n"):
        if _LINE_HEAD.match(line):
            return Framing.LINES
        if _CRYPTOFEED_HEAD.match(line):
            return Framing.CRYPTOFEED
    raise InputError(
        f"{path} is not a recording Remora knows: expected lines of '<receive time in ns> <JSON>' or a raw "
        f"cryptofeed capture, found {head.lstrip()[:32]!r}"
    )


class _Inflater(Protocol):
    """What zlib's and Zstandard's decompression objects have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _inflater(magic: bytes) -> _Inflater | None:
    if magic.startswith(_GZIP_MAGIC):
        return zlib.decompressobj(wbits=31)
    if magic.startswith(_ZSTD_MAGIC):
        return zstandard.ZstdDecompressor().decompressobj()
    return None


def _chunks(path: Path, tally: Tally, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the plain bytes of a file; a compressed one that is cut or damaged ends early and is noted."""
    with path.open("rb") as file:
        raw = file.read(size)
        tally.bytes_read += len(raw)
        if _inflater(raw[:4]) is None:
            while raw:
                yield raw
                raw = file.read(size)
                tally.bytes_read += len(raw)
            return
        yield from _inflated(path, file, raw, tally, size)


def _inflated(path: Path, file: IO[bytes], raw: bytes, tally: Tally, size: int) -> Iterator[bytes]:
    inflater = _inflater(raw[:4])
    while raw:
        if inflater is None:
            inflater = _inflater(raw[:4])
            if inflater is None:
                # Zero padding after the last member is what gzip itself tolerates.
                if raw.strip(b"\0"):
                    tally.note_truncated(path)
                return
        try:
            plain = inflater.decompress(raw)
        except (zlib.error, zstandard.ZstdError):
            tally.note_truncated(path)
            return
        if plain:
            yield plain
        raw = b""
        if inflater.eof:
            raw = inflater.unused_data
            inflater = None
        if len(raw) < len(_ZSTD_MAGIC):
            more = file.read(size)
            tally.bytes_read += len(more)
            raw += more
    if inflater is not None:
        tally.note_truncated(path)


def _text_lines(path: Path, tally: Tally) -> Iterator[bytes]:
    """Yield the lines that are whole; a last line cut inside its JSON is noted and left out."""
    rest = b""
    for chunk in _chunks(path, tally):
        text = rest + chunk
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        lines = text.split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_LINE_BYTES:
            raise InputError(
                f"{path} holds a line longer than {MAX_LINE_BYTES} bytes; a recording has one message a line"
            )
        yield from lines
    if rest.strip():
        if _is_whole(rest):
            yield rest
        else:
            tally.note_truncated(path)


def _is_whole(line: bytes) -> bool:
    if line.startswith(b"configuration: ") or _CRYPTOFEED_SKIPPED.match(line):
        return True
    start = line.find(b"{")
    if start < 0:
        return False
    try:
        orjson.loads(line[start:])
    except orjson.JSONDecodeError:
        return False
    return True


def _plain_lines(path: Path, tally: Tally) -> Iterator[Line]:
    for text in _text_lines(path, tally):
        stamp, _, payload = text.partition(b" ")
        if stamp.isdigit() and payload:
            recv_ns = int(stamp) if len(stamp) <= 19 else MAX_RECV_NS + 1
            if recv_ns <= MAX_RECV_NS:
                yield Line(recv_ns, payload, "")
                continue
        if text and not text.isspace():
            tally.broken_lines += 1


def _cryptofeed_lines(path: Path, tally: Tally) -> Iterator[Line]:
    for text in _text_lines(path, tally):
        symbol = ""
        frame = _CRYPTOFEED_FRAME.match(text)
        if frame is None:
            frame = _CRYPTOFEED_ANSWER.match(text)
            if frame is None:
                if text and not text.isspace() and not _CRYPTOFEED_SKIPPED.match(text):
                    tally.broken_lines += 1
                continue
            named = _DEPTH_ADDRESS.search(frame["address"])
            if named is None:
                if b"/exchangeInfo" in frame["address"]:
                    tally.exchange_info = text[frame.end() :]
                continue
            symbol = named[1].decode().upper()
        recv_ns = int(frame["seconds"]) * 1_000_000_000 + int((frame["fraction"] or b"0").ljust(9, b"0"))
        if recv_ns <= MAX_RECV_NS:
            yield Line(recv_ns, text[frame.end() :], symbol)
        else:
            tally.broken_lines += 1
