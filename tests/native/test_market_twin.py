"""The whole market held to its slow twin: every feature, every event in every field, every mask."""

import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy
import pytest

from engine.signals import FlowKind, MarketKind
from native.market import Market
from tests.oracles.adversity import bad_day
from tests.oracles.features import features_of, slow_features
from tests.oracles.market import Event, SlowMarket
from tests.oracles.sessions import (
    BUSY,
    SPOT_BTC,
    SPOT_ETH,
    USDM_BTC,
    USDM_ETH,
    Frame,
    Session,
    feed,
    market_for,
    read_frames,
    read_slow_frame,
    read_slowly,
    settings_for,
    slow_market_for,
    slow_reader_for,
)
from tests.oracles.wire import Reading

pytestmark = [pytest.mark.captures, pytest.mark.slow]

# Sums of products whose order the twin does not share.
ROUNDED = {"rho_pre", "rho_post"}


def assert_same_events(events: numpy.typing.NDArray[numpy.void], expected: list[Event]) -> None:
    assert len(events) == len(expected)
    for name in events.dtype.names or ():
        found, wanted = events[name], numpy.array([event[name] for event in expected])
        if name in ROUNDED:
            assert numpy.allclose(found, wanted, rtol=1e-9, atol=1e-12, equal_nan=True), name
        else:
            assert numpy.array_equal(found, wanted, equal_nan=wanted.dtype.kind == "f"), name


def assert_same_features(market: Market, twin: SlowMarket) -> None:
    found, expected = features_of(market), slow_features(twin, market.price_scale)
    for name, value in expected.items():
        assert found[name] == value, name
    assert market.sigma_60_bps == pytest.approx(twin.sigma_60_bps, rel=1e-12, nan_ok=True)


def play_both(
    market: Market, twin: SlowMarket, frames: Iterable[tuple[Frame, Reading | None]], cuts: set[int]
) -> None:
    """Play each line as a read of its own into both; masks are the same all along, features at the cuts."""
    market.enable_bbo_log()
    for number, (frame, reading) in enumerate(frames):
        while True:
            mask, expected = market.advance(frame.recv_ns), twin.advance(frame.recv_ns)
            assert (mask, market.now_ns) == (expected, twin.now_ns)
            if not mask:
                break
        assert feed(market, frame) == twin.take(reading, frame.recv_ns)
        if number in cuts:
            assert_same_features(market, twin)
    assert_same_features(market, twin)
    assert_same_events(market.take_events(), twin.events)
    assert market.take_bbo().tolist() == twin.bbo


def played_twin(captures: Path, session: Session, settings: dict[str, object], n_cuts: int) -> SlowMarket:
    market = market_for(session, **settings)
    twin = slow_market_for(session, settings_for(session, **settings))
    frames, readings = read_frames(captures, session), read_slowly(captures, session)
    cuts = set(random.Random(f"{session}").sample(range(len(frames)), n_cuts))
    play_both(market, twin, zip(frames, readings, strict=True), cuts)
    return twin


@pytest.mark.parametrize("session", [SPOT_BTC, USDM_BTC], ids=str)
def test_busy_market_equals_slow_twin_all_along(captures: Path, session: Session) -> None:
    twin = played_twin(captures, session, BUSY, 5)
    kinds = {event["kind"] for event in twin.events}
    assert kinds == {int(kind) for kind in FlowKind}
    assert twin.depth_applied == session.depth_applied


@pytest.mark.parametrize("session", [SPOT_ETH, USDM_ETH], ids=str)
def test_market_of_the_preset_equals_slow_twin_all_along(captures: Path, session: Session) -> None:
    twin = played_twin(captures, session, {}, 2)
    assert sum(event["kind"] == FlowKind.WHALE_OPEN for event in twin.events) > 5


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("session", [SPOT_ETH, USDM_ETH], ids=str)
def test_market_on_a_bad_day_equals_slow_twin(captures: Path, session: Session, seed: int) -> None:
    settings = BUSY | {"whale_min_sweeps": 20, "rho_enter": 0.2, "rho_floor": 0.0}
    market = market_for(session, **settings)
    twin = slow_market_for(session, settings_for(session, **settings))
    frames = bad_day(read_frames(captures, session)[:20_000], session, seed)
    reader = slow_reader_for(session)
    readings = [read_slow_frame(reader, frame) for frame in frames]
    play_both(market, twin, zip(frames, readings, strict=True), set(range(3_000, len(frames), 6_000)))
    assert min(twin.gaps, twin.crossed, market.refused, market.stale_periods) > 0
    assert min(market.foreign_messages, market.flow.duplicates, market.flow.missing_ids) > 0
    assert min(market.sequence.stale_snapshots, market.sequence.duplicates) > 0
    assert twin.book_epoch > 5


def test_inverse_contract_equals_slow_twin(captures: Path) -> None:
    # The messages of a linear contract, read as those of an inverse one of 10 quote a contract.
    session = replace(USDM_ETH, kind=MarketKind.COINM)
    settings = BUSY | {"whale_floor_quote": 50.0}
    market = market_for(session, contract_size=10.0, **settings)
    twin = slow_market_for(session, settings_for(session, **settings), contract_size=10.0)
    lines = zip(read_frames(captures, USDM_ETH), read_slowly(captures, USDM_ETH), strict=True)
    play_both(market, twin, islice(lines, 40_000), {20_000})
    assert market.whale.n_whales > 50
