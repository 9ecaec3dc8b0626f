"""Recorded files: routing, rotation, whole names only for whole files, kills, full disks, and readers."""

import errno
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from engine.errors import InputError
from engine.inputs import EventInput, RingKind, encode_input, read_inputs
from engine.observers import tapefile
from engine.observers.tapefile import Compression, TapeFile
from engine.observers.tapewriter import ASK_AGAIN_NS, Rotation, TapeWriter, parse_rotation
from engine.replay.store import Tally, open_recording, read_lines
from native.ring import RingReader, RingWriter
from tests.engine.recordings import START_NS

S = 1_000_000_000
HOUR_NS = 3_600 * S
# 2023-11-14 22:13:20 UTC
MOMENT = "20231114T221320Z"


class Rig:
    """A ring and its writer."""

    def __init__(
        self, folder: Path, *, compression: Compression = "none", rotation: str = "", capacity: int = 1 << 20
    ) -> None:
        self.folder = folder / "out"
        path = folder / f"ring{len(list(folder.iterdir()))}"
        self.ring = RingWriter.create(
            str(path), capacity=capacity, instance="a", epoch=1, schema=1, boot_id=""
        )
        self.said: list[str] = []
        self.writer = TapeWriter(
            self.folder,
            "spot",
            reader=RingReader(str(path), name="recorder", from_start=True),
            compression=compression,
            rotation=parse_rotation(rotation) if rotation else Rotation(),
            say=self.said.append,
        )

    def frame(self, at_ns: int, symbol: str = "btcusdt", text: str = "x") -> bytes:
        payload = b'{"stream":"%s@trade","data":{"p":"%s"}}' % (symbol.encode(), text.encode())
        self.ring.append(RingKind.FRAME, payload, at_ns)
        return b"%d %s\n" % (at_ns, payload)

    def snapshot(self, at_ns: int, symbol: str = "BTCUSDT") -> bytes:
        body = b'{"lastUpdateId":7,"bids":[],"asks":[]}'
        self.ring.append(RingKind.SNAPSHOT, symbol.encode() + b" " + body, at_ns)
        return b"%d %s\n" % (at_ns, body)

    def event(self, at_ns: int, symbol: str = "", event: str = "connected") -> bytes:
        line = encode_input(EventInput(at_ns=at_ns, symbol=symbol, event=event, detail=""))
        self.ring.append(RingKind.INPUT, line, at_ns)
        return line

    def drained(self) -> list[str]:
        """Drain and flush, and return what is wished for."""
        self.writer.drain()
        self.writer.flush()
        return self.writer.take_wishes()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def lines_of(path: Path) -> list[bytes]:
    tally = Tally()
    return [b"%d %s\n" % (at_ns, payload) for at_ns, payload, _ in read_lines(open_recording([path]), tally)]


def test_frames_and_snapshots_go_to_the_file_of_their_symbol_and_inputs_beside_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    early = rig.event(START_NS - 2, event="connected")
    own = rig.event(START_NS - 1, "BTCUSDT", "subscribed")
    first = rig.frame(START_NS + 1)
    other = rig.frame(START_NS + 2, "ethusdt")
    answer = rig.snapshot(START_NS + 3)
    last = rig.frame(START_NS + 4)
    of_all = rig.event(START_NS + 5, event="clock")
    rig.ring.append(RingKind.FLOW, b"no line of a recording\n", START_NS + 6)
    rig.ring.append(RingKind.FRAME, b'{"result":null,"id":1}', START_NS + 7)
    rig.drained()
    assert all(name.endswith(".part") for name in rig.names())
    rig.writer.finish()
    moment = "20231114T221319Z"  # the first input of BTCUSDT came a nanosecond before the full second
    assert {name: rig.content(name) for name in rig.names()} == {
        f"btcusdt.spot.{moment}.txt": first + answer + last,
        f"btcusdt.spot.{moment}.inputs.jsonl": early + own + of_all,
        f"ethusdt.spot.{MOMENT}.txt": other,
        f"ethusdt.spot.{MOMENT}.inputs.jsonl": early + of_all,
    }
    assert (rig.writer.n_lines, rig.writer.n_unrouted, rig.writer.n_lost, rig.said) == (4, 1, 0, [])
    assert len(list(read_inputs(rig.folder / f"btcusdt.spot.{moment}.inputs.jsonl"))) == 3


def test_symbol_is_found_wherever_the_stream_stands_in_the_message(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.ring.append(
        RingKind.FRAME, b'{"data":{"s":"ETHUSDT"},"stream":"btcusdt_260327@depth@100ms"}', START_NS
    )
    rig.ring.append(RingKind.FRAME, b'{"stream":"!forceOrder@arr","data":{}}', START_NS + 1)
    rig.drained()
    assert rig.names() == [f"btcusdt_260327.spot.{MOMENT}.txt.part"]
    assert rig.writer.n_unrouted == 1


@pytest.mark.parametrize("compression", ["none", "gz", "zst"])
def test_finished_file_is_whole_for_any_reader(tmp_path: Path, compression: Compression) -> None:
    rig = Rig(tmp_path, compression=compression)
    written = b""
    for i in range(300):
        written += rig.frame(START_NS + i, text=f"{i:040d}")
        if i % 50 == 0:
            rig.drained()
    rig.writer.finish()
    (path,) = rig.writer.finished
    assert rig.names() == [path.name]
    raw = path.read_bytes()
    if compression == "gz":
        raw = gzip.decompress(raw)
    elif compression == "zst":
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    assert raw == written
    assert b"".join(lines_of(path)) == written


@pytest.mark.parametrize("compression", ["none", "gz", "zst"])
def test_part_reads_to_the_last_flush_and_cut_anywhere_to_a_whole_line(
    tmp_path: Path, compression: Compression
) -> None:
    rig = Rig(tmp_path, compression=compression)
    written: list[bytes] = []
    flushed_sizes = []
    for i in range(60):
        written.append(rig.frame(START_NS + i, text=f"{i * 7919:030d}"))
        if i % 10 == 9:
            rig.drained()
            flushed_sizes.append(rig.writer.open_parts[0].stat().st_size)
    (part,) = rig.writer.open_parts
    assert lines_of(part) == written
    raw = part.read_bytes()
    cut = tmp_path / "cut"
    for size in range(flushed_sizes[0], len(raw) + 1, 7):
        cut.write_bytes(raw[:size])
        found = lines_of(cut)
        assert found == written[: len(found)]
        n_flushed = 10 * sum(size >= one for one in flushed_sizes)
        assert len(found) >= n_flushed


def test_files_change_at_the_full_hour_between_two_reads_and_ask_for_a_snapshot(tmp_path: Path) -> None:
    rig = Rig(tmp_path, rotation="1h")
    due_ns = (START_NS // HOUR_NS + 1) * HOUR_NS
    header = b'{"input":"session","at_ns":1,"v":1}\n'
    rig.ring.append(RingKind.INPUT, header, START_NS)
    first = [rig.frame(START_NS + 1), rig.snapshot(START_NS + 2)]
    event = rig.event(START_NS + 3, "BTCUSDT", "live")
    read = [rig.frame(due_ns - 1, text="a"), rig.frame(due_ns - 1, text="b")]
    assert rig.drained() == []
    later = [rig.frame(due_ns, text="c"), rig.frame(due_ns, text="d")]
    assert rig.drained() == ["BTCUSDT"]
    assert [path.name for path in rig.writer.finished] == [f"btcusdt.spot.{MOMENT}.txt"]
    later.append(rig.snapshot(due_ns + S))
    later.append(rig.frame(due_ns + 2 * S))
    assert rig.drained() == []
    rig.writer.finish()
    hour = "20231114T230000Z"
    assert {name: rig.content(name) for name in rig.names()} == {
        f"btcusdt.spot.{MOMENT}.txt": b"".join([*first, *read]),
        f"btcusdt.spot.{MOMENT}.inputs.jsonl": header + event,
        f"btcusdt.spot.{hour}.txt": b"".join(later),
        f"btcusdt.spot.{hour}.inputs.jsonl": header,
    }


def test_read_is_not_divided_between_two_files(tmp_path: Path) -> None:
    rig = Rig(tmp_path, rotation="1KiB")
    read = [rig.frame(START_NS, text="a" * 1_000)]
    rig.drained()
    read.append(rig.frame(START_NS, text="b" * 1_000))
    rig.drained()
    later = rig.frame(START_NS + 1)
    rig.drained()
    rig.writer.finish()
    assert rig.content(f"btcusdt.spot.{MOMENT}.txt") == b"".join(read)
    assert rig.content(f"btcusdt.spot.{MOMENT}-2.txt") == later


def test_snapshot_that_does_not_come_is_asked_for_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.frame(START_NS)
    assert rig.drained() == []  # the feed asks by itself
    rig.frame(START_NS + ASK_AGAIN_NS - 1)
    assert rig.drained() == []
    rig.frame(START_NS + ASK_AGAIN_NS)
    assert rig.drained() == ["BTCUSDT"]
    assert rig.drained() == []
    rig.frame(START_NS + 2 * ASK_AGAIN_NS)
    assert rig.drained() == ["BTCUSDT"]
    rig.snapshot(START_NS + 2 * ASK_AGAIN_NS + 1)
    rig.frame(START_NS + 9 * ASK_AGAIN_NS)
    assert rig.drained() == []


def test_loss_in_the_ring_is_counted_said_written_down_and_snapshots_are_asked_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, capacity=1 << 16)
    rig.frame(START_NS)
    rig.drained()
    for i in range(1, 400):
        rig.frame(START_NS + i, text="x" * 1_000)
    wishes = rig.drained()
    rig.writer.finish()
    kept = rig.content(f"btcusdt.spot.{MOMENT}.txt").count(b"\n")
    assert rig.writer.n_lost == 400 - kept > 0
    assert wishes == ["BTCUSDT"]
    assert rig.said == [
        f"{rig.writer.n_lost} records were lost: the disk did not keep up; fresh snapshots are asked for"
    ]
    (entry,) = read_inputs(rig.folder / f"btcusdt.spot.{MOMENT}.inputs.jsonl")
    assert isinstance(entry, EventInput)
    assert (entry.event, entry.detail) == ("lost", f"{rig.writer.n_lost} records")


def test_files_of_an_earlier_recorder_are_never_touched(tmp_path: Path) -> None:
    killed = Rig(tmp_path)
    lines = [killed.frame(START_NS)]
    killed.drained()
    whole = Rig(tmp_path)
    lines.append(whole.frame(START_NS))
    whole.drained()
    whole.writer.finish()
    third = Rig(tmp_path)
    lines.append(third.frame(START_NS))
    third.event(START_NS + 1, "BTCUSDT")
    third.drained()
    third.writer.finish()
    assert third.names() == [
        f"btcusdt.spot.{MOMENT}-2.txt",
        f"btcusdt.spot.{MOMENT}-3.inputs.jsonl",
        f"btcusdt.spot.{MOMENT}-3.txt",
        f"btcusdt.spot.{MOMENT}.txt.part",
    ]
    contents = [third.content(name) for name in reversed(third.names()) if "txt" in name]
    assert contents == [lines[0], lines[2], lines[1]]


def test_name_taken_while_it_was_written_is_not_overwritten(tmp_path: Path) -> None:
    file = TapeFile(tmp_path / "a.txt", "none")
    file.write(b"ours\n")
    (tmp_path / "a.txt").write_bytes(b"theirs\n")
    with pytest.raises(InputError, match="made meanwhile"):
        file.finish()
    assert (tmp_path / "a.txt").read_bytes() == b"theirs\n"
    assert (tmp_path / "a.txt.part").read_bytes() == b"ours\n"
    with pytest.raises(FileExistsError):
        TapeFile(tmp_path / "a.txt", "none")
    (tmp_path / "a.txt.part").unlink()
    with pytest.raises(FileExistsError):
        TapeFile(tmp_path / "a.txt", "none")
    assert not (tmp_path / "a.txt.part").exists()


def test_file_and_then_its_name_are_on_the_device_before_it_is_called_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(fd: int) -> None:
        done.append("folder" if os.path.samestat(os.fstat(fd), tmp_path.stat()) else "file")
        fsync(fd)

    def noted_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(tapefile.os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    file = TapeFile(tmp_path / "a.txt", "none")
    file.write(b"x\n")
    assert file.finish() == tmp_path / "a.txt"
    assert done == ["file", "rename", "folder"]


def test_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        Rig(tmp_path)


class FullDisk:
    """`os.write` of a device that takes so many bytes more, one short write before it refuses."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = self._write(fd, bytes(data)[: self.room])
        self.room -= n
        return n


@pytest.mark.parametrize("compression", ["none", "gz", "zst"])
def test_full_disk_is_one_sentence_and_leaves_whole_lines(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, compression=compression)
    kept = [rig.frame(START_NS + i, text=f"{i * 7919:030d}") for i in range(20)]
    rig.frame(START_NS + 30, "ethusdt")
    rig.drained()
    sizes = {path.name: path.stat().st_size for path in rig.folder.iterdir()}
    disk = FullDisk(11)
    monkeypatch.setattr(tapefile.os, "write", disk.write)
    rig.frame(START_NS + 50, text="lost" * 100)
    rig.writer.drain()
    with pytest.raises(InputError) as refused:
        rig.writer.flush()
    assert "No space left on device; what was recorded before stands in btcusdt" in str(refused.value)
    with pytest.raises(InputError) as again:
        rig.writer.finish()
    assert str(again.value).count(".part") == 1
    names = rig.names()
    assert f"btcusdt.spot.{MOMENT}.txt{tapefile.SUFFIXES[compression]}.part" in names
    assert lines_of(rig.folder / names[0]) == kept
    assert (rig.folder / names[0]).stat().st_size == sizes[names[0]]
    # Plain files need nothing more to be whole: the other symbol's is.
    if compression == "none":
        assert f"ethusdt.spot.{MOMENT}.txt" in names


def test_really_full_device_is_one_sentence(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("this system has no /dev/full")
    file = TapeFile(tmp_path / "a.txt", "none")
    full = os.open("/dev/full", os.O_WRONLY)
    os.close(file._fd)
    file._fd = full
    file.write(b"x\n")
    with pytest.raises(InputError, match="No space left"):
        file.flush()
    with pytest.raises(InputError, match="No space left"):
        file.finish()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.engine.test_tapewriter import START_NS, Rig
rig = Rig(Path({folder!r}), compression={compression!r})
for i in range(5_000):
    rig.frame(START_NS + i, text=f"{{i * 7919:030d}}")
    if i % 100 == 99:
        rig.drained()
    if i == 4_321:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "gz", "zst"])
def test_killed_recorder_leaves_a_part_that_reads_to_its_last_flush(
    tmp_path: Path, compression: Compression
) -> None:
    root = str(Path(__file__).resolve().parents[2])
    script = KILLED.format(root=root, folder=str(tmp_path), compression=compression)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, cwd=root)
    assert done.returncode == -9, done.stderr
    (part,) = (tmp_path / "out").iterdir()
    assert part.name.endswith(".part")
    found = lines_of(part)
    assert len(found) == 4_300
    assert found[-1].startswith(b"%d " % (START_NS + 4_299))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", Rotation(period_ns=HOUR_NS)),
        ("90s", Rotation(period_ns=90 * S)),
        ("1d", Rotation(period_ns=24 * HOUR_NS)),
        ("512MiB", Rotation(size=512 << 20)),
        ("1GiB", Rotation(size=1 << 30)),
    ],
)
def test_rotation_is_a_time_or_a_size(text: str, expected: Rotation) -> None:
    assert parse_rotation(text) == expected


@pytest.mark.parametrize("text", ["", "0h", "1", "1.5h", "-1h", "512MB", "9999999d", "1 h"])
def test_other_rotations_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(text))):
        parse_rotation(text)
