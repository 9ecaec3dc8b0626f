"""Recorded sessions through the router: decisions and markets as by hand, and no object on the way."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from native.market import Market
from native.router import Router
from tests.journeys.test_corridor_is_silent import QUIET, Run, idle, traced_bytes, tried_thrice
from tests.oracles.sessions import (
    BUSY,
    SESSIONS,
    SPOT_BTC,
    SPOT_ETH,
    USDM_BTC,
    USDM_ETH,
    Frame,
    Session,
    market_for,
    read_frames,
    reads_of,
)

pytestmark = [pytest.mark.captures, pytest.mark.slow]

PAIRS = ((SPOT_BTC, SPOT_ETH), (USDM_BTC, USDM_ETH))

Moment = tuple[int, int, tuple[Frame, ...]]
Said = list[tuple[int, int, int]]


def moments(captures: Path, sessions: tuple[Session, ...]) -> Iterator[Moment]:
    """Give the reads of both sessions in one order: number, a moment later than all before, its frames.

    A REST answer is an input of its own.
    """
    numbered = (
        [(read[0].recv_ns, number, read) for read in reads_of(read_frames(captures, session))]
        for number, session in enumerate(sessions)
    )
    last_ns = 0
    for recv_ns, number, read in heapq.merge(*numbered, key=lambda entry: entry[:2]):
        part: list[Frame] = []
        for frame in [*read, None]:
            if part and (frame is None or frame.is_snapshot or part[-1].is_snapshot):
                last_ns = max(recv_ns, last_ns + 1)
                yield number, last_ns, tuple(part)
                part = []
            if frame is not None:
                part.append(frame)


def advance(markets: list[Market], now_ns: int, said: Said) -> None:
    """Run what is due over all markets, in the order of due times."""
    while (due_ns := min(market.triggers.next_due_ns for market in markets)) <= now_ns:
        market = next(market for market in markets if market.triggers.next_due_ns == due_ns)
        if mask := market.advance(due_ns):
            said.append((market.index, market.now_ns, mask))
    for market in markets:
        market.advance(now_ns)


def make_markets(sessions: tuple[Session, ...], start_ns: int, **changed: object) -> list[Market]:
    markets = [market_for(session, **changed | {"index": i}) for i, session in enumerate(sessions)]
    for market in markets:
        market.enable_bbo_log()
        market.advance(start_ns)
    return markets


def by_hand(markets: list[Market], entries: list[Moment]) -> Said:
    said: Said = []
    for number, now_ns, frames in entries:
        market, mask = markets[number], 0
        advance(markets, now_ns, said)
        for frame in frames:
            feed = market.on_snapshot if frame.is_snapshot else market.on_frame
            mask |= feed(frame.payload, now_ns)
        if mask:
            said.append((number, now_ns, mask))
    return said


def routed(
    markets: list[Market], sessions: tuple[Session, ...], entries: list[Moment]
) -> tuple[Said, Router]:
    said: Said = []
    clock = [0]
    router = Router(
        on_due=lambda recv_ns: advance(markets, recv_ns, said),
        on_masks=lambda recv_ns, masks: said.extend((index, recv_ns, mask) for index, mask in masks),
        on_control=lambda _, payload, __: pytest.fail(f"{payload[:80]!r} has no stream"),
        on_heir=lambda *_: False,
        now_ns=lambda: clock[0],
    )
    for number, session in enumerate(sessions):
        for kind in ("depth@100ms", "depth@0ms", "trade", "bookTicker"):
            slot = router.add_stream(f"{session.symbol.lower()}@{kind}", markets[number])
            router.own(slot, 5 + number)
    for number, now_ns, frames in entries:
        clock[0] = now_ns
        if frames[0].is_snapshot:
            advance(markets, router.stamp(), said)
            if mask := markets[number].on_snapshot(frames[0].payload, now_ns):
                said.append((number, now_ns, mask))
            continue
        for frame in frames:
            router.feed(5 + number, frame.payload)
        router.end_read()
    return said, router


@pytest.mark.parametrize("settings", [{}, BUSY], ids=["preset", "busy"])
@pytest.mark.parametrize("sessions", PAIRS, ids=lambda pair: pair[0].kind.name.lower())
def test_recording_gives_the_same_masks_and_markets_as_by_hand(
    captures: Path, sessions: tuple[Session, ...], settings: dict[str, object]
) -> None:
    entries = list(moments(captures, sessions))
    ours, theirs = (make_markets(sessions, entries[0][1], **settings) for _ in range(2))
    said, router = routed(ours, sessions, entries)
    assert said == by_hand(theirs, entries)
    assert len(said) > 100
    assert router.last_error is None
    assert router.n_messages_total == sum(not frame.is_snapshot for *_, frames in entries for frame in frames)
    for one, other in zip(ours, theirs, strict=True):
        assert one.take_events().tobytes() == other.take_events().tobytes()
        assert numpy.array_equal(one.take_bbo(), other.take_bbo())
        for name in ("messages", "cvd", "update_id", "last_trade_id", "gaps", "ticker_equal", "last_recv_ns"):
            assert getattr(one, name) == getattr(other, name), name


def over_router(market: Market, session: Session, frames: tuple[Frame, ...]) -> Run:
    """Return a run of one read after the other through a router whose clock is in C."""
    router = Router(
        on_due=lambda _: pytest.fail("nothing is due"),
        on_masks=lambda *_: None,
        on_control=lambda *_: None,
        on_heir=lambda *_: False,
        # Far in the past, so that no timer of a market is due by the router's moments.
        anchor_ns=-(10**18),
    )
    for kind in ("depth@100ms", "depth@0ms", "trade", "bookTicker"):
        router.own(router.add_stream(f"{session.symbol.lower()}@{kind}", market), 1)
    payloads = [frame.payload for frame in frames if not frame.is_snapshot]
    # Made before, because a loop over a list would make one; and the list must outlive its last item.
    rest = iter(payloads)
    feed, end_read = router.feed, router.end_read

    def run() -> None:
        for payload in rest:
            feed(1, payload)
            end_read()
        assert payloads

    return run


@pytest.mark.parametrize("session", SESSIONS, ids=str)
@tried_thrice
def test_no_byte_is_asked_for_while_all_masks_are_empty(captures: Path, session: Session) -> None:
    frames = read_frames(captures, session)
    market = market_for(session, **QUIET)
    run = over_router(market, session, frames)
    traced_bytes(over_router(market_for(session, **QUIET), session, frames[:100]))
    traced_bytes(idle)
    assert traced_bytes(run) == traced_bytes(idle)
    assert market.messages == sum(not frame.is_snapshot for frame in frames)
