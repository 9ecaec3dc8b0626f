"""While nothing fires the corridor makes no Python object, asks for no memory and wakes no collector."""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from native.market import Market
from native.playback import encode_frame, encode_snapshot, run_events
from tests.oracles.sessions import BUSY, SESSIONS, Frame, Session, market_for, read_frames

pytestmark = [pytest.mark.captures, pytest.mark.slow]

Run = Callable[[], None]

# The return value of a call whose mask is above 256 is an int of its own, and dies at once.
ONE_OBJECT_BYTES = 64


@pytest.fixture
def eager_collector() -> Iterator[list[int]]:
    """Let the collector start at every second container; return the collections it tells of."""
    seen: list[int] = []

    def note(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            seen.append(1)

    was = gc.get_threshold()
    gc.collect()
    # Of the old objects none is looked at: only what the corridor made could be collected.
    gc.freeze()
    gc.callbacks.append(note)
    gc.set_threshold(1, 1, 1)
    yield seen
    gc.set_threshold(*was)
    gc.callbacks.remove(note)
    gc.unfreeze()


def over_frames(market: Market, frames: tuple[Frame, ...]) -> Run:
    """Return a run over lines that are read already, by the rule of the corridor."""
    feeds = [market.on_snapshot if frame.is_snapshot else market.on_frame for frame in frames]
    lines = [(feed, one.payload, one.recv_ns) for feed, one in zip(feeds, frames, strict=True)]
    # Made before, because a loop over a list would make one; and the list must outlive its last item.
    rest = iter(lines)
    advance = market.advance

    def run() -> None:
        for feed, payload, recv_ns in rest:
            while advance(recv_ns):
                pass
            feed(payload, recv_ns)
        assert lines

    return run


def encoded(market: Market, frames: tuple[Frame, ...]) -> bytes:
    return b"".join(
        (encode_snapshot if frame.is_snapshot else encode_frame)(market, frame.payload, frame.recv_ns)
        for frame in frames
    )


def over_records(market: Market, frames: tuple[Frame, ...]) -> Run:
    """Return a run over the converted lines."""
    records = encoded(market, frames)
    end = len(records)

    def run() -> None:
        offset = 0
        while offset < end:
            offset, _ = run_events(market, records, offset, end)

    return run


def traced_bytes(run: Run) -> tuple[int, int]:
    """Return the memory that a run keeps, and the most it held at a time, beyond what was there."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        run()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before


@pytest.mark.parametrize("settings", [{}, BUSY], ids=["preset", "busy"])
@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_whole_recording_leaves_no_object_and_wakes_no_collector(
    captures: Path, eager_collector: list[int], session: Session, settings: dict[str, object]
) -> None:
    market = market_for(session, **settings)
    run = over_frames(market, read_frames(captures, session))
    blocks = sys.getallocatedblocks()
    eager_collector.clear()
    run()
    n_collections, blocks_after = len(eager_collector), sys.getallocatedblocks()
    assert n_collections == 0
    # The count of blocks is an object itself.
    assert blocks_after - blocks <= 4
    assert market.messages == len(read_frames(captures, session))


@pytest.mark.parametrize("make_run", [over_frames, over_records], ids=["frames", "records"])
@pytest.mark.parametrize("session", SESSIONS[::2], ids=str)
def test_whole_recording_asks_for_no_memory(
    captures: Path, session: Session, make_run: Callable[[Market, tuple[Frame, ...]], Run]
) -> None:
    frames = read_frames(captures, session)
    market = market_for(session, **BUSY)
    # The interpreter and the measure itself settle in a first, short run.
    traced_bytes(make_run(market_for(session), frames[:100]))
    held, most = traced_bytes(make_run(market, frames))
    # A stop of the converted run answers with a tuple and an offset.
    allowed = 4 * ONE_OBJECT_BYTES if make_run is over_records else ONE_OBJECT_BYTES
    assert held <= allowed
    assert most <= allowed
    assert market.whales > 100


def test_converted_run_leaves_no_object_between_its_stops(captures: Path, eager_collector: list[int]) -> None:
    session = SESSIONS[0]
    # Nothing can fire: no threshold is ever reached, and the book leans to no side.
    market = market_for(session, whale_floor_quote=1e15, rho_enter=1.0, rho_floor=1.0, stale_ns=3_600 * 10**9)
    frames = read_frames(captures, session)
    records = encoded(market, frames)
    first, mask = run_events(market, records, 0, len(records))
    assert mask
    blocks = sys.getallocatedblocks()
    eager_collector.clear()
    stopped = run_events(market, records, first, len(records))
    n_collections, blocks_after = len(eager_collector), sys.getallocatedblocks()
    assert stopped == (len(records), 0)
    assert n_collections <= 1
    assert blocks_after - blocks <= 8
    assert market.messages == len(frames)


def test_the_measures_see_an_object_where_one_is_made(captures: Path, eager_collector: list[int]) -> None:
    session = SESSIONS[0]
    market = market_for(session)
    kept: list[object] = []
    frames = read_frames(captures, session)[:1_000]
    lines = [(market.on_snapshot if f.is_snapshot else market.on_frame, f.payload, f.recv_ns) for f in frames]
    blocks = sys.getallocatedblocks()
    eager_collector.clear()
    for feed, payload, recv_ns in lines:
        feed(payload, recv_ns)
        kept.append([payload])
    assert len(eager_collector) > 100
    assert sys.getallocatedblocks() - blocks > 900
