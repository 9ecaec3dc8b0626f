"""Books on a scripted venue: first snapshot, too old and too new ones, gaps, refused and lost answers."""

import asyncio
from itertools import pairwise

import pytest

from engine.signals import MarketKind
from engine.venues.binance_rest import ENDPOINTS
from engine.venues.transport import HttpAnswer, TransportError
from tests.engine.feed_world import DEPTH_MS, MS, START_NS, S, World, ok, play, refused

KINDS = [MarketKind.SPOT, MarketKind.USDM]
DEPTH = "btcusdt@depth@100ms"
both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
def test_feed_connects_subscribes_and_brings_the_book_live(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        assert await world.until_live() < 0.5
        await asyncio.sleep(5)
        assert world.market.gaps == 0
        assert world.market.trades > 5
        assert world.market.flow.missing_ids == 0
        await world.settled()

    world = play(World(kind), script)
    assert world.given.count(("snapshot", 0)) == 1
    assert len(world.venue.opened) == (1 if kind is MarketKind.SPOT else 2)
    assert len(world.told("live")) == 1
    assert world.told("resync") == []


@both_kinds
def test_snapshot_is_asked_for_after_the_first_event_only(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        world.venue.quiet.add(DEPTH)
        await asyncio.sleep(10)
        assert world.venue.asked_for("depth") == []
        world.venue.quiet.clear()
        await world.until_live()

    play(World(kind), script)


@both_kinds
def test_lost_update_makes_a_gap_and_the_book_whole_again(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(1)
        world.venue.skip.add(DEPTH)
        await world.until(lambda: world.market.gaps == 1)
        assert not world.market.is_valid
        assert world.market.best_bid > 0  # the old book stays readable
        assert await world.until_live() < 0.6
        await asyncio.sleep(1)
        status = world.feed.status().lanes[0]
        assert (status.gaps, status.resyncs, status.book) == (1, 1, "live")
        assert 0 < status.last_resync_ns < 0.6 * S
        await world.settled()

    world = play(World(kind), script)
    told = [event for _, _, event, _ in world.events if event in ("resync", "live")]
    assert told == ["live", "resync", "live"]
    assert len(world.venue.asked_for("depth")) == 2


@both_kinds
def test_snapshot_older_than_the_buffer_is_fetched_again_and_never_given(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        old = world.book.snapshot()
        world.book.event(START_NS)  # before the stream begins, and not in the snapshot
        answers = [old, old, old]
        world.venue.faults.append(
            lambda what, _asked: ok(answers.pop()) if what == "depth" and answers else None
        )
        await asyncio.sleep(0.35)
        assert not world.market.is_valid
        kept = len(world.market.backlog)
        await world.until_live(10)
        assert world.market.depth_updates > kept
        assert world.feed.status().lanes[0].snapshots_too_old == 3
        await world.settled()

    world = play(World(kind), script)
    assert world.given.count(("snapshot", 0)) == 1
    assert world.market.snapshots == 1
    times = [at for at, _ in world.venue.asked_for("depth")]
    waits = [after - before for before, after in pairwise(times)]
    assert len(waits) == 3
    assert 0.2 < waits[0] < 0.5
    assert waits[0] < waits[2] < 1.8


@both_kinds
def test_after_a_gap_a_snapshot_that_is_too_old_does_not_replace_the_old_book(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        old = world.book.snapshot()
        await asyncio.sleep(1)
        world.venue.faults.append(lambda what, _asked: ok(old) if what == "depth" else None)
        world.venue.skip.add(DEPTH)
        await world.until(lambda: world.market.gaps == 1)
        stayed = (world.market.update_id, world.market.best_bid, world.market.best_ask)
        await asyncio.sleep(20)
        assert (world.market.update_id, world.market.best_bid, world.market.best_ask) == stayed
        assert not world.market.is_valid
        world.venue.faults.clear()
        await world.until_live(25)
        await world.settled()

    world = play(World(kind), script)
    assert 4 <= len(world.venue.asked_for("depth")) <= 12


@both_kinds
def test_late_snapshot_joins_what_was_buffered_meanwhile(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        world.venue.faults.append(lambda what, _asked: 4.0 if what == "depth" else None)
        await asyncio.sleep(3.9)
        assert len(world.market.backlog) > 30
        assert await world.until_live() < 0.4
        await world.settled()

    assert len(play(World(kind), script).venue.asked_for("depth")) == 1


@both_kinds
@pytest.mark.parametrize("inside", [0, 1, 2, 3])
def test_first_event_may_straddle_the_snapshot(kind: MarketKind, inside: int) -> None:
    # The snapshot holds the newest event, and says an id from its end back to just before its first.
    async def script(world: World) -> None:
        world.venue.faults.append(
            lambda what, _asked: (
                ok(world.book.snapshot(world.book.last_id - inside)) if what == "depth" else None
            )
        )
        await world.until_live(5)
        await world.settled()

    world = play(World(kind), script)
    assert world.given.count(("snapshot", 0)) == 1
    assert world.market.gaps == 0


@both_kinds
def test_snapshot_ahead_of_a_slow_stream_waits_for_it(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until(lambda: world.market.snapshots == 1)
        assert not world.market.is_valid
        assert world.feed.status().lanes[0].book == "bridging"
        assert 0.5 < await world.until_live() < 0.8
        await world.settled()

    def slow(link: object) -> None:
        link.lag_ns = 700 * MS  # type: ignore[attr-defined]

    world = World(kind)
    world.venue.on_open = slow
    play(world, script)
    assert len(world.venue.asked_for("depth")) == 1


@both_kinds
@pytest.mark.parametrize(("second_s", "requests"), [(0.2, 2), (0.75, 3)])
def test_second_gap_during_a_fetch(kind: MarketKind, second_s: float, requests: int) -> None:
    # Before the venue made the snapshot it is in it; after, the chain breaks again behind the join.
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(1)
        delays = [1.0]
        world.venue.faults.append(lambda what, _asked: delays.pop() if what == "depth" and delays else None)
        world.venue.skip.add(DEPTH)
        await world.until(lambda: len(world.venue.asked_for("depth")) == 2)
        await asyncio.sleep(second_s)
        world.venue.skip.add(DEPTH)
        await world.until_live(5)
        await asyncio.sleep(1)
        await world.settled()
        assert world.feed.status().lanes[0].resyncs == 1

    assert len(play(World(kind), script).venue.asked_for("depth")) == requests


REFUSALS: list[tuple[str, HttpAnswer | Exception | float, float, float]] = [
    ("429 with a time", refused(429, **{"retry-after": "7"}), 7.0, 8.0),
    ("429 without", refused(429), 60.0, 61.0),
    ("418", refused(418, **{"retry-after": "180"}), 180.0, 181.0),
    ("403", refused(403), 360.0, 361.0),
    ("503", refused(503), 0.2, 1.0),
    ("500", refused(500), 0.2, 1.0),
    ("400", refused(400), 0.2, 1.0),
    ("reset", TransportError("the connection was reset"), 0.2, 1.0),
    ("time-out", 9.0, 5.2, 6.0),
    ("no JSON", ok(b"<html>"), 0.2, 1.0),
    ("cut", ok(b'{"lastUpdateId":1,"bids":[["1.0"'), 0.2, 1.0),
    ("no id", ok(b'{"bids":[],"asks":[]}'), 0.2, 1.0),
]


@pytest.mark.parametrize(
    ("fault", "least_s", "most_s"), [one[1:] for one in REFUSALS], ids=[one[0] for one in REFUSALS]
)
def test_request_that_failed_is_made_again_when_it_may(
    fault: HttpAnswer | Exception | float, least_s: float, most_s: float
) -> None:
    async def script(world: World) -> None:
        faults = [fault]
        world.venue.faults.append(lambda what, _asked: faults.pop() if what == "depth" and faults else None)
        await world.until_live(400)
        assert world.feed.status().lanes[0].snapshots_failed == 1
        await world.settled()

    world = play(World(), script)
    first, second = [at for at, _ in world.venue.asked_for("depth")]
    assert least_s <= second - first <= most_s
    assert len(world.told("snapshot_failed")) == 1
    if least_s >= 7:
        # A ban is of the address: nothing else is asked for either.
        between = [at for at, *_ in world.venue.requests if first < (at - START_NS) / S - 0.1 < second - 0.2]
        assert between == []


def test_hour_without_answers_costs_a_bounded_number_of_requests() -> None:
    async def script(world: World) -> None:
        world.venue.faults.append(lambda what, _asked: refused(503) if what == "depth" else None)
        await asyncio.sleep(3600)
        assert 180 < len(world.venue.asked_for("depth")) < 400
        assert world.feed.status().unanswered > 0
        assert "503" in world.feed.status().last_error
        world.venue.faults.clear()
        assert await world.until_live(25) <= 20.1
        await world.settled()

    play(World(), script)


SYMBOLS = tuple(f"S{n:02d}USDT" for n in range(50))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limit", "within_s"), [(KINDS[0], 6000, 200.0), (KINDS[1], 2400, 10.0)])
def test_fifty_instruments_become_live_within_the_budget(
    kind: MarketKind, limit: int, within_s: float
) -> None:
    async def script(world: World) -> None:
        await world.until_live(within_s)

    world = play(World(kind, SYMBOLS, limit_per_minute=limit), script)
    names = {endpoint.path.rpartition("/")[2]: endpoint for endpoint in ENDPOINTS[kind].values()}
    spent: dict[int, int] = {}
    for at_ns, what, asked in world.venue.requests:
        minute = at_ns // (60 * S)
        spent[minute] = spent.get(minute, 0) + names[what].weight(int(asked.get("limit", 0)))
    assert max(spent.values()) <= limit
    assert len(world.venue.asked_for("depth")) == 50
    # Two at once at most: both may have waited for the budget of the next minute.
    times = [at for at, _ in world.venue.asked_for("depth")]
    assert min(after - before for before, after in zip(times, times[2:], strict=False)) >= 0.02
    assert sum(lane.market.gaps for lane in world.feed_lanes) == 0


def test_book_that_never_was_live_goes_before_one_that_was() -> None:
    async def script(world: World) -> None:
        world.venue.quiet |= {"cusdt@depth@100ms", "dusdt@depth@100ms"}
        await world.until(lambda: all(lane.market.is_valid for lane in world.feed_lanes[:2]))
        await asyncio.sleep(1)
        asked = len(world.venue.requests)
        world.venue.quiet.clear()
        world.venue.skip |= {"ausdt@depth@100ms", "busdt@depth@100ms"}
        await asyncio.sleep(2 * DEPTH_MS / 1000)
        world.venue.skip.clear()
        await world.until_live()
        order = [ask["symbol"] for _, what, ask in world.venue.requests[asked:] if what == "depth"]
        assert sorted(order) == ["AUSDT", "BUSDT", "CUSDT", "DUSDT"]

    play(World(MarketKind.USDM, ("AUSDT", "BUSDT", "CUSDT", "DUSDT")), script)
