"""One connection replaced by another: rotation, shutdown, every kind of overlap, and what goes wrong."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.signals import MarketKind
from engine.venues.transport import TransportError
from tests.engine.feed_world import MS, SETTINGS, ScriptLink, World, play

KINDS = [MarketKind.SPOT, MarketKind.USDM]
DEPTH = "btcusdt@depth@100ms"
both_kinds = pytest.mark.parametrize("kind", KINDS)

# Rotated after 32.4 to 36 s.
ROTATING = replace(SETTINGS, rotate_h=0.01)


def shut_down(link: ScriptLink) -> None:
    link.say({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})


async def until_replaced(world: World, n: int = 1) -> None:
    await world.until(lambda: len(world.told("taken_over")) >= n, 60)


def assert_seamless(world: World) -> None:
    market = world.market
    assert (market.gaps, market.flow.missing_ids, world.feed.status().lanes[0].resyncs) == (0, 0, 0)
    assert world.told("disconnected") == []
    assert len(world.venue.asked_for("depth")) == 1


@both_kinds
def test_old_connection_is_replaced_without_losing_anything(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        n = len(world.venue.opened)
        await asyncio.sleep(30)
        assert len(world.venue.opened) == n
        await asyncio.sleep(7 + SETTINGS.handover_s)
        assert len(world.venue.opened) == 2 * n
        assert len(world.venue.links) == n
        assert {one.connection for one in world.feed.status().lanes[0].streams} == {
            link.connection for link in world.venue.links
        }
        await world.settled()
        assert_seamless(world)
        assert world.market.cvd == world.tape.cvd()

    play(World(kind, settings=ROTATING), script)


@both_kinds
def test_connections_are_not_replaced_in_the_same_moment(kind: MarketKind) -> None:
    symbols = tuple(f"S{n}USDT" for n in range(6))
    settings = replace(ROTATING, streams_per_connection=5)

    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(50)

    world = play(World(kind, symbols, settings), script)
    times = sorted({round(at, 1) for at, *_ in world.told("rotate")})
    assert len(times) >= 5
    assert times[-1] - times[0] > 1


@both_kinds
def test_shutdown_notice_replaces_the_connection_at_once(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(3)
        old = world.venue.links[0]
        shut_down(old)
        await world.until(lambda: not old.is_open, 6)
        assert old.reason.result() == "closed by us"
        await world.settled()
        assert_seamless(world)

    world = play(World(kind), script)
    assert len(world.told("rotate")) == 1
    assert "serverShutdown" in world.told("rotate")[0][3]


def test_shutdown_notice_without_a_wrapper_is_understood() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.links[0].say({"e": "serverShutdown", "E": 1})
        await until_replaced(world)
        await world.settled()
        assert_seamless(world)

    play(World(), script)


def lags(world: World, *lag_ms: int) -> Callable[[ScriptLink], None]:
    """Give the public sockets these delays, one after the other."""
    left = list(lag_ms)

    def on_open(link: ScriptLink) -> None:
        if "/market/" not in link.url:
            link.lag_ns = (left.pop(0) if left else lag_ms[-1]) * MS

    world.venue.on_open = on_open
    return on_open


@both_kinds
@pytest.mark.parametrize(
    ("old_ms", "new_ms"), [(0, 0), (0, 40), (40, 0), (30, 90), (90, 30), (0, 99), (150, 150)]
)
def test_overlap_of_less_than_an_update_is_seamless(kind: MarketKind, old_ms: int, new_ms: int) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        shut_down(world.venue.links[0])
        await until_replaced(world)
        await asyncio.sleep(2)
        await world.settled()
        assert_seamless(world)

    world = World(kind)
    lags(world, old_ms, new_ms)
    play(world, script)


@both_kinds
def test_new_connection_far_behind_the_old_one_is_waited_for_and_repeats_nothing(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        shut_down(world.venue.links[0])
        await until_replaced(world)
        await asyncio.sleep(2)
        await world.settled()
        assert_seamless(world)
        assert world.market.cvd == world.tape.cvd()
        assert world.market.sequence.duplicates > 0

    world = World(kind)
    lags(world, 0, 650)
    play(world, script)


@both_kinds
def test_new_connection_far_ahead_of_the_old_one_takes_over_late_and_costs_one_resync(
    kind: MarketKind,
) -> None:
    # No message of the new one ever continues the old one: after `handover_s` it owns the book all the same.
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        old = world.venue.links[0]
        before_s = (await asyncio.sleep(0), world.loop.time())[1]
        shut_down(old)
        await world.until(lambda: not old.is_open, 10)
        assert 5.0 <= world.loop.time() - before_s <= 5.4
        await world.until(lambda: world.market.gaps == 1, 1)
        await world.until_live(2)
        await asyncio.sleep(3)
        assert world.feed.status().lanes[0].resyncs == 1
        await world.settled()
        assert world.market.cvd == world.tape.cvd()

    world = World(kind)
    lags(world, 650, 0)
    play(world, script)
    assert "without a common message" in world.told("taken_over")[0][3]


@both_kinds
def test_new_connection_that_brings_nothing_owns_the_streams_and_is_left_for_silence(
    kind: MarketKind,
) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        world.venue.on_open = lambda link: link.muted.update(all_names(world))
        shut_down(world.venue.links[0])
        await until_replaced(world)
        world.venue.on_open = None
        await world.until(lambda: world.told("silent") != [], 30)
        await world.until_live(10)
        await asyncio.sleep(9)  # the trades, too, are waited for in a handover
        await world.settled()
        assert world.market.cvd == world.tape.cvd()

    play(World(kind), script)


def all_names(world: World) -> set[str]:
    return {one.name for one in world.feed.status().lanes[0].streams}


@both_kinds
def test_new_connection_that_breaks_in_the_handover_gives_everything_back(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        old = world.venue.links[0]
        world.venue.on_open = lambda link: link.muted.add(DEPTH)
        shut_down(old)
        await world.until(
            lambda: (
                len(world.venue.links) == len(world.venue.symbols) + len(KINDS) - (kind is MarketKind.SPOT)
            )
        )
        await asyncio.sleep(1)
        newest = world.venue.links[-1]
        world.venue.on_open = None
        newest.end("reset")
        await asyncio.sleep(0.3)
        assert {one.connection for one in world.feed.status().lanes[0].streams} & {newest.connection} == set()
        await until_replaced(world)
        await asyncio.sleep(3)
        assert not old.is_open
        await world.settled()
        assert world.market.gaps == 0
        assert world.market.cvd == world.tape.cvd()

    play(World(kind), script)


@both_kinds
def test_old_connection_that_breaks_in_the_handover_leaves_everything_to_the_new_one(
    kind: MarketKind,
) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        old = world.venue.links[0]
        world.venue.on_open = lambda link: link.muted.add(DEPTH)
        n = len(world.venue.opened)
        shut_down(old)
        await world.until(lambda: len(world.venue.opened) == n + 1)
        await asyncio.sleep(0.5)
        world.venue.links[-1].muted.clear()
        old.end("its hour had come")
        await until_replaced(world)
        await world.until_live(5)
        await asyncio.sleep(3)
        assert len(world.venue.opened) == n + 1
        await world.settled()
        assert world.market.cvd == world.tape.cvd()

    play(World(kind), script)


def test_old_connection_that_breaks_while_the_new_one_is_opening() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        old = world.venue.links[0]
        shut_down(old)
        await asyncio.sleep(0.003)
        old.end("its hour had come")
        await world.until_live(5)
        await asyncio.sleep(10)
        assert len(world.venue.links) == 1
        assert world.told("taken_over") == []
        await world.settled()

    play(World(MarketKind.SPOT), script)


def test_new_connection_that_cannot_be_had_leaves_the_old_one_in_place() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        old = world.venue.links[0]
        world.venue.refusals += [TransportError("refused")] * 6
        shut_down(old)
        await asyncio.sleep(0.2)
        assert old.is_open
        assert world.market.is_valid
        await world.until(lambda: not old.is_open, 60)
        await world.settled()
        assert_seamless(world)

    world = play(World(MarketKind.SPOT), script)
    assert len(world.told("connect_failed")) == 6


@pytest.mark.slow
@both_kinds
def test_hundred_rotations_lose_nothing_and_leave_nothing(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(1)
        tasks = len(asyncio.all_tasks())
        for n in range(100):
            shut_down(world.venue.links[0])
            await until_replaced(world, n + 1)
            await asyncio.sleep(0.137)
        assert len(asyncio.all_tasks()) == tasks
        await world.settled()
        assert_seamless(world)
        assert world.market.cvd == world.tape.cvd()

    play(World(kind), script)
