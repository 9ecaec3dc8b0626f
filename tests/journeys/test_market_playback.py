"""Converted recordings give the frame path's masks and events to the byte; every run and process the same."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import native.market
from native.events import FLOW_EVENT
from native.market import Market
from native.playback import encode_frame, encode_snapshot, run_events
from tests.oracles.adversity import bad_day
from tests.oracles.features import features_of
from tests.oracles.sessions import (
    BUSY,
    SESSIONS,
    SPOT_ETH,
    USDM_BTC,
    USDM_ETH,
    Frame,
    Session,
    market_for,
    play,
    read_frames,
)

pytestmark = [pytest.mark.captures, pytest.mark.slow]

Masks = list[tuple[int, int]]


def encoded(session: Session, frames: list[Frame] | tuple[Frame, ...]) -> bytes:
    """Convert lines; the market that reads them takes none."""
    market = market_for(session)
    records = b"".join(
        (encode_snapshot if frame.is_snapshot else encode_frame)(market, frame.payload, frame.recv_ns)
        for frame in frames
    )
    assert (market.messages, market.now_ns) == (0, 0)
    return records


def play_records(market: Market, records: bytes) -> Masks:
    masks, offset = [], 0
    while offset < len(records):
        offset, mask = run_events(market, records, offset, len(records))
        if mask:
            masks.append((market.now_ns, mask))
    return masks


def coarse(frames: list[Frame] | tuple[Frame, ...], step_ns: int) -> list[Frame]:
    """Give all lines of a step one receive time: one read of many lines."""
    return [frame._replace(recv_ns=(frame.recv_ns // step_ns + 1) * step_ns) for frame in frames]


def assert_both_paths_agree(session: Session, frames: list[Frame] | tuple[Frame, ...]) -> Masks:
    by_frames, by_records = market_for(session, **BUSY), market_for(session, **BUSY)
    for market in (by_frames, by_records):
        market.enable_bbo_log()
    masks = play(by_frames, frames)
    assert play_records(by_records, encoded(session, frames)) == masks
    assert by_records.take_events().tobytes() == by_frames.take_events().tobytes()
    assert by_records.take_bbo().tobytes() == by_frames.take_bbo().tobytes()
    assert features_of(by_records) == features_of(by_frames)
    counters = ("refused", "depth_updates", "trades", "tickers", "snapshots", "floored_quantities")
    assert [getattr(by_records, name) for name in counters] == [getattr(by_frames, name) for name in counters]
    return masks


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_converted_recording_gives_same_masks_and_events(captures: Path, session: Session) -> None:
    assert len(assert_both_paths_agree(session, read_frames(captures, session))) > 500


@pytest.mark.parametrize("step_ms", [1, 50])
@pytest.mark.parametrize("session", [SPOT_ETH, USDM_BTC], ids=str)
def test_reads_of_many_lines_give_one_mask_each_on_both_paths(
    captures: Path, session: Session, step_ms: int
) -> None:
    frames = coarse(read_frames(captures, session), step_ms * 10**6)
    masks = assert_both_paths_agree(session, frames)
    times = [now_ns for now_ns, _ in masks]
    assert times == sorted(times)
    assert len(masks) > 300


@pytest.mark.parametrize("session", [SPOT_ETH, USDM_ETH], ids=str)
def test_damaged_recording_gives_same_masks_and_events(captures: Path, session: Session) -> None:
    assert_both_paths_agree(session, bad_day(read_frames(captures, session)[:24_000], session, 5))


def test_run_over_parts_of_the_records_is_the_run_over_the_whole(captures: Path) -> None:
    frames = read_frames(captures, USDM_ETH)[:20_000]
    records = encoded(USDM_ETH, frames)
    whole, parts = market_for(USDM_ETH, **BUSY), market_for(USDM_ETH, **BUSY)
    masks = play_records(whole, records)
    found: Masks = []
    ends = [len(encoded(USDM_ETH, frames[:n])) for n in (1, 777, 778, 5_000, 19_999, 20_000)]
    offset = 0
    for end in ends:
        while offset < end:
            offset, mask = run_events(parts, records, offset, end)
            if mask:
                found.append((parts.now_ns, mask))
    assert found == masks
    assert parts.take_events().tobytes() == whole.take_events().tobytes()


def test_broken_record_is_refused_where_it_stands(captures: Path) -> None:
    frames = read_frames(captures, USDM_ETH)[:60]
    whole, start = encoded(USDM_ETH, frames), len(encoded(USDM_ETH, frames[:50]))
    for damaged in (whole[: start + 40], whole[:start] + b"\xff" * 64):
        market = market_for(USDM_ETH)
        with pytest.raises(ValueError, match=f"record at {start} is not whole or not sound"):
            play_records(market, damaged)
        assert market.messages == 50
    with pytest.raises(ValueError, match="0 <= offset <= end"):
        run_events(market_for(USDM_ETH), whole, 8, len(whole) + 1)
    assert run_events(market_for(USDM_ETH), b"", 0, 0) == (0, 0)


def digest(folder: Path, session: Session) -> str:
    """Return the digest of all masks and events of a run over a recording."""
    market = market_for(session, **BUSY)
    masks = play(market, read_frames(folder, session))
    events = market.take_events()
    assert events.dtype == FLOW_EVENT
    return hashlib.sha256(repr(masks).encode() + events.tobytes()).hexdigest()


# Run by another process: the same digest, told on its output.
CHILD = """
import sys
from pathlib import Path
import native.market
from tests.journeys.test_market_playback import SESSIONS, digest
print(native.market.__file__)
print([digest(Path(sys.argv[1]), session) for session in SESSIONS[::2]])
"""


def test_every_run_gives_the_same_bytes_in_every_process(captures: Path) -> None:
    first = [digest(captures, session) for session in SESSIONS[::2]]
    assert [digest(captures, session) for session in SESSIONS[::2]] == first
    assert len(set(first)) == len(first)
    root = Path(__file__).resolve().parent.parent.parent
    paths = os.pathsep.join([*(os.environ.get("PYTHONPATH") or "").split(os.pathsep), str(root)]).strip(":")
    for seed, zone in (("0", "Pacific/Auckland"), ("4711", "America/St_Johns")):
        surroundings = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": paths}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(captures)],
            env=surroundings,
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [native.market.__file__, str(first)]
