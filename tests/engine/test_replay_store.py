"""Recordings: recognised by content, read to the last whole line, and honest about what is missing."""

import gzip
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.replay.store import Framing, Line, Tally, open_recording, read_document, read_lines
from tests.engine.recordings import START_NS, spot_session, text, write

SESSION = text(spot_session())


def read(*paths: Path) -> tuple[list[Line], Tally]:
    tally = Tally()
    return list(read_lines(open_recording(list(paths)), tally)), tally


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "a.zst", "a.other"])
def test_recording_plain_or_compressed_gives_the_same_lines(tmp_path: Path, name: str) -> None:
    lines, tally = read(write(tmp_path / name, SESSION))
    assert [b"%d %s\n" % (line.recv_ns, line.payload) for line in lines] == SESSION.splitlines(keepends=True)
    assert tally.broken_lines == 0
    assert tally.truncated == []
    assert tally.bytes_read == (tmp_path / name).stat().st_size


def test_compression_is_recognised_by_content_when_the_name_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(gzip.compress(SESSION, mtime=0))
    assert len(read(path)[0]) == 10


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_file_of_several_compressed_members_is_read_to_its_end(tmp_path: Path, compress) -> None:
    path = tmp_path / "a"
    path.write_bytes(compress(SESSION[:100]) + compress(SESSION[100:101]) + compress(SESSION[101:]))
    lines, tally = read(path)
    assert len(lines) == 10
    assert tally.truncated == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0, max_value=2000), name=st.sampled_from(["a.txt", "a.gz", "a.zst"]))
def test_file_cut_anywhere_gives_a_prefix_of_its_whole_lines(tmp_path: Path, cut: int, name: str) -> None:
    path = write(tmp_path / name, SESSION)
    whole = read(path)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 1 - cut % len(content)])
    try:
        lines, tally = read(path)
    except InputError:  # cut before the first line could be recognised
        return
    assert lines == whole[: len(lines)]
    assert tally.broken_lines == 0
    # A plain file cut between two lines cannot be told from a whole one.
    assert bool(tally.truncated) == (name != "a.txt" or len(path.read_bytes().splitlines()) > len(lines))


def test_damaged_compressed_data_end_the_recording_and_are_noted(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(SESSION * 50, mtime=0))
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    lines, tally = read(path)
    assert len(lines) <= 500
    assert tally.truncated == [path]


def test_garbage_after_the_last_gzip_member_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(SESSION, mtime=0) + b"garbage")
    lines, tally = read(path)
    assert len(lines) == 10
    assert tally.truncated == [path]


def test_last_line_without_line_feed_but_whole_is_read(tmp_path: Path) -> None:
    lines, tally = read(write(tmp_path / "a", SESSION.rstrip(b"\n")))
    assert len(lines) == 10
    assert tally.truncated == []


def test_broken_line_in_the_middle_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = SESSION.splitlines(keepends=True)
    content = b"".join(
        [*lines[:3], b"\x00\xffnonsense\n", b"\n", b"99999999999999999999 {}\n", b"12\n", *lines[3:]]
    )
    found, tally = read(write(tmp_path / "a", content))
    assert len(found) == 10
    assert tally.broken_lines == 3


def stamped(*times_s: float) -> bytes:
    return b"".join(b'%d {"n":%d}\n' % (START_NS + round(s * 1e9), n) for n, s in enumerate(times_s))


@pytest.mark.parametrize(
    ("times_s", "left_out"),
    [
        ((0, 1, 2, 3), ()),
        ((0, 1, 1e8, 2, 3), (2,)),
        ((0, 1, -1e8, 2, 3), (2,)),
        ((0, 7200, 7201), ()),
        ((0, 1e8, 2), (1,)),
        ((0, 1e8), (1,)),
        ((1e8, 0, 1), (0,)),
        ((7200, 0, 1), (0,)),
        ((-1e8, 0, 1), (0,)),
        ((0, 1, 1e8), (2,)),
        ((0, 1, 7200), ()),
        ((0, 1, 7200, 7201), ()),
        ((0, 1, 7200, 14400), ()),
        ((0,), ()),
    ],
)
def test_line_with_an_impossible_time_is_left_out_and_counted(
    tmp_path: Path, times_s: tuple[float, ...], left_out: tuple[int, ...]
) -> None:
    lines, tally = read(write(tmp_path / "a", stamped(*times_s)))
    expected = [b'{"n":%d}' % n for n in range(len(times_s)) if n not in left_out]
    assert [line.payload for line in lines] == expected
    assert tally.broken_lines == len(left_out)


def test_damaged_time_in_one_cryptofeed_file_does_not_hold_up_the_merge(tmp_path: Path) -> None:
    lines = CRYPTOFEED_WS.splitlines(keepends=True)
    lines.insert(3, b'9999999999.1: {"stream":"nknusdt@trade"}\n')
    lines.insert(3, b'7633998512.1: {"stream":"nknusdt@trade"}\n')
    tally = Tally()
    files = [write(tmp_path / "ws", b"".join(lines)), write(tmp_path / "http", CRYPTOFEED_HTTP)]
    found = list(read_lines(open_recording(files), tally))
    assert [line.symbol for line in found] == ["", "NKNUSDT", ""]
    assert tally.broken_lines == 2


def test_windows_line_ends_are_not_part_of_the_message(tmp_path: Path) -> None:
    lines, _ = read(write(tmp_path / "a", SESSION.replace(b"\n", b"\r\n")))
    assert all(line.payload.endswith(b"}") for line in lines)


def test_several_files_follow_each_other_in_the_order_given(tmp_path: Path) -> None:
    second = write(tmp_path / "a.gz", text(spot_session(), start_ns=START_NS + 10**9))
    first = write(tmp_path / "b", SESSION)
    lines, _ = read(first, second)
    assert [line.recv_ns for line in lines] == sorted(line.recv_ns for line in lines)
    assert len(lines) == 20


CRYPTOFEED_WS = b"""\
wss://stream.binance.com:9443/stream?streams=nknusdt@depth@100ms <-> 1633998511.159679
wss://stream.binance.com:9443/stream <- 1633998511.2: {"method":"SUBSCRIBE"}
1633998512.0633569: {"stream":"nknusdt@depth@100ms","data":{"e":"depthUpdate","s":"NKNUSDT","U":1,"u":2}}
1633998514: {"stream":"nknusdt@depth@100ms","data":{"e":"depthUpdate","s":"NKNUSDT","U":3,"u":4}}
"""
CRYPTOFEED_HTTP = b"""\
https://api.binance.com/api/v3/exchangeInfo -> 1633998511.13: {"symbols":[]}
configuration: {"trades":["NKN-USDT"]}
https://api.binance.com/api/v3/depth?symbol=NKNUSDT&limit=1000 -> 1633998513.320639: {"lastUpdateId":2}
"""


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_cryptofeed_files_are_merged_by_time_whatever_their_order(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    paths = [write(tmp_path / "ws", CRYPTOFEED_WS), write(tmp_path / "http.gz", CRYPTOFEED_HTTP)]
    recording = open_recording([paths[i] for i in order])
    tally = Tally()
    lines = list(read_lines(recording, tally))
    assert recording.framing is Framing.CRYPTOFEED
    assert [(line.recv_ns, line.symbol) for line in lines] == [
        (1633998512063356900, ""),
        (1633998513320639000, "NKNUSDT"),
        (1633998514000000000, ""),
    ]
    assert lines[1].payload == b'{"lastUpdateId":2}'
    assert tally.exchange_info == b'{"symbols":[]}'
    assert tally.broken_lines == 0


def test_cryptofeed_single_file_keeps_connection_lines_and_configuration_out(tmp_path: Path) -> None:
    content = b"configuration: {}\n" + CRYPTOFEED_WS + b"nonsense\n"
    lines, tally = read(write(tmp_path / "a.raw", content))
    assert len(lines) == 2
    assert tally.broken_lines == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n  \n", "is empty"),
        (bytes(range(256)) * 8, "not a recording"),
        (b'{"t":"header","format":2}\n', "not a recording"),
        (b"open_time_ms,open\n1,2\n", "not a recording"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(SESSION, mtime=0)[:12], "is empty"),
        (b"1700000000000000000 not json\n", "not a recording"),
    ],
)
def test_other_content_is_refused_in_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        open_recording([path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_directory_and_repeated_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", SESSION)
    with pytest.raises(InputError, match="does not exist"):
        open_recording([tmp_path / "absent"])
    with pytest.raises(InputError, match="is a directory"):
        open_recording([tmp_path])
    with pytest.raises(InputError, match="given twice"):
        open_recording([path, path])
    with pytest.raises(InputError, match="not a regular file"):
        open_recording([Path("/dev/null")])


def test_files_of_two_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one session is made of files of one format"):
        open_recording([write(tmp_path / "a", SESSION), write(tmp_path / "b", CRYPTOFEED_WS)])


def test_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.replay.store.MAX_LINE_BYTES", 1 << 21)
    path = tmp_path / "a"
    path.write_bytes(b"1 {" + b"x" * (1 << 22))
    with pytest.raises(InputError, match="longer than"):
        list(read_lines(open_recording([path]), Tally()))


def test_document_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b'{"symbols":[]}', mtime=0))
    assert read_document(path) == b'{"symbols":[]}'
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="cut off"):
        read_document(path)


@pytest.mark.captures
def test_cryptofeed_captures_give_every_message_and_snapshot(captures: Path) -> None:
    folder = captures / "cryptofeed_binance_2021"
    lines, tally = read(folder / "BINANCE_20210405_10symbols.raw.gz")
    assert (len(lines), sum(line.symbol != "" for line in lines)) == (4709 + 1240 + 5408 + 10, 10)
    assert tally.broken_lines == 0
    lines, tally = read(*(folder / f"BINANCE{part}.gz" for part in (".0", ".http.0.0", ".ws.1.0")))
    assert (len(lines), sum(line.symbol != "" for line in lines)) == (177 + 2 + 84 + 2 + 4, 4)
    assert len(tally.exchange_info) > 1_000_000
    assert [line.recv_ns for line in lines] == sorted(line.recv_ns for line in lines)
