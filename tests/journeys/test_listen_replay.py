"""What was listened to live, recorded, makes the same records in replay, byte for byte."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.observers.tapewriter import Rotation, TapeWriter
from engine.records import encode_line
from engine.replay.jobs import ReplayJob, run_replay
from engine.replay.session import Session
from engine.replay.store import Tally, open_recording, read_lines
from engine.replay.trades import recorded_inputs
from engine.settings import Config, Entry, Whale
from engine.sim.faultscript import Fault, Kind, storm
from engine.view import SilentProgress
from native.market import Market
from native.ring import RingReader, RingWriter
from tests.journeys.livefeeds import FEED, SYMBOL, Journey
from tests.oracles.features import features_of

SECONDS = 45.0
# Any sweep is a whale and any imbalance confirms it: something is said every second.
CONFIG = Config(
    whale=Whale(floor_quote=0.0, quantile=0.5, depth_share=0.0, min_sweeps=1, episode_gap_ms=1),
    entry=Entry(rho_enter=0.05, rho_floor=0.0, rho_pre_min=-1.0, rho_post_ms=200, min_updates=1),
)


def listened(folder: Path, market: str, seed: int, script: tuple[Fault, ...]) -> tuple[Journey, Path]:
    """Listen through a script with the ring written, then write the recording."""
    path = folder / "market.1"
    ring = RingWriter.create(str(path), capacity=1 << 26, instance="a", epoch=1, schema=1, boot_id="")
    reader = RingReader(str(path), name="recorder", from_start=True)
    writer = TapeWriter(
        folder / "tapes", market, reader=reader, compression="none", rotation=Rotation(), say=print
    )
    # With history, and with books that are renewed while they live.
    feed = replace(FEED, history_minutes=5, klines=30, refresh_min=0.1)
    journey = Journey(script, market=market, seed=seed, feed=feed, config=CONFIG, ring=ring, sweep_rate=8.0)

    async def story(journey: Journey) -> None:
        await journey.until_at(SECONDS)

    journey.play(story)
    writer.drain()
    writer.finish()
    assert (reader.n_lost, writer.n_lost) == (0, 0)
    (tape,) = (folder / "tapes").glob("*.txt")
    return journey, tape


def replayed(folder: Path, journey: Journey, tape: Path) -> list[bytes]:
    info, out = folder / "exchange_info.json", folder / "signals.jsonl"
    info.write_bytes(journey.exchange_info)
    job = ReplayJob((tape,), None, symbol=SYMBOL, exchange_info=info, signals=out)
    run_replay(job, SilentProgress())
    return out.read_bytes().splitlines(keepends=True)


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_calm_session_replays_to_the_same_records(tmp_path: Path, market: str) -> None:
    journey, tape = listened(tmp_path, market, 3, ())
    assert journey.seen.count("refresh") > 2
    told = [encode_line(record) for record in journey.seen.records]
    assert len(told) > 50
    assert replayed(tmp_path, journey, tape) == told


def market_after_replay(journey: Journey, tape: Path) -> Market:
    """Play recording and inputs through a corridor of their own."""
    session = Session(journey.instrument, CONFIG)
    lines = read_lines(open_recording([tape]), Tally())
    session.play_lines(lines, inputs=recorded_inputs([tape]))
    return session.market


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "usdm"])
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_storm_replays_to_the_same_records(tmp_path: Path, market: str, seed: int) -> None:
    journey, tape = listened(tmp_path, market, seed, tuple(storm(seed, start=3.0, seconds=SECONDS - 10.0)))
    hold_equal(tmp_path, journey, tape)
    assert journey.engine.refreshes > 0


@pytest.mark.slow
def test_change_of_filters_replays_as_it_came(tmp_path: Path) -> None:
    finer = Fault(at=20.0, kind=Kind.FILTERS, tick="0.0000001")
    journey, tape = listened(tmp_path, "usdm", 5, (finer,))
    assert journey.live.lanes[0].instrument.epoch == 2
    hold_equal(tmp_path, journey, tape)


def hold_equal(folder: Path, journey: Journey, tape: Path) -> None:
    told = [encode_line(record) for record in journey.seen.records]
    assert len(told) > 20
    assert replayed(folder, journey, tape) == told
    # Not the records alone: all that was learned, lost trades that came back included.
    live, played = journey.engine, market_after_replay(journey, tape)
    # The last lines may be older than the end: the seconds that passed since teach nothing but time.
    end_ns = max(live.now_ns, played.now_ns)
    for either in (live, played):
        while either.advance(end_ns):
            pass
    assert features_of(played) == features_of(live)
    assert (played.refreshes, played.instrument_epoch) == (live.refreshes, live.instrument_epoch)
