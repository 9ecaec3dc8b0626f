"""Sockets on a scripted venue: subscriptions, silence, refusals, breaks, and nothing left of a thousand."""

import asyncio
import gc
from dataclasses import replace
from itertools import pairwise

import pytest

from engine.ingest.deadlines import Attempts
from engine.signals import MarketKind, Trigger
from engine.venues.transport import TransportError
from tests.engine.feed_world import SETTINGS, START_NS, S, ScriptLink, World, play

DEPTH = "btcusdt@depth@100ms"
TRADES = "btcusdt@aggTrade"
SYMBOLS = tuple(f"S{n:02d}USDT" for n in range(50))


def opened_s(world: World) -> list[float]:
    return [(at_ns - START_NS) / S for at_ns, _ in world.venue.opened]


def public(world: World) -> ScriptLink:
    return next(link for link in world.venue.links if "/public/" in link.url)


def stream_state(world: World, name: str) -> str:
    return next(one.state for one in world.feed.status().lanes[0].streams if one.name == name)


# Subscriptions.


@pytest.mark.parametrize(
    ("kind", "sizes", "pace_s"), [(MarketKind.SPOT, [50, 200], 0.4), (MarketKind.USDM, [100, 200, 50], 0.2)]
)
def test_streams_are_asked_for_in_few_messages_at_half_the_pace_allowed(
    kind: MarketKind, sizes: list[int], pace_s: float
) -> None:
    links: list[ScriptLink] = []

    async def script(world: World) -> None:
        await asyncio.sleep(3)
        links.extend(world.venue.links)

    world = World(kind, SYMBOLS)
    play(world, script)
    assert sorted(len(link.streams) for link in links) == sorted(sizes)
    for link in links:
        times = [at_ns for at_ns, _ in link.asked]
        assert all(after - before >= pace_s * S for before, after in pairwise(times))
        assert all(len(asked["params"]) <= 100 for _, asked in link.asked)  # type: ignore[arg-type]
        assert len(link.asked) == -(-len(link.streams) // 100)
        assert len({asked["id"] for _, asked in link.asked}) == len(link.asked)
    assert {name for link in links for name in link.streams} == {
        one.name for lane in world.feed.status().lanes for one in lane.streams
    }


def test_public_and_market_streams_never_share_a_socket() -> None:
    async def script(world: World) -> None:
        await asyncio.sleep(1)
        streams = {link.url.split("/")[3]: link.streams for link in world.venue.links}
        assert streams == {
            "public": {DEPTH, "btcusdt@bookTicker"},
            "market": {
                TRADES,
                "btcusdt@kline_1m",
                "btcusdt@ticker",
                "btcusdt@markPrice@1s",
                "btcusdt@forceOrder",
            },
        }

    play(World(), script)


def test_one_refused_stream_costs_the_others_nothing_and_is_asked_for_again() -> None:
    async def script(world: World) -> None:
        world.venue.rejected.add("btcusdt@markPrice@1s")
        await world.until_live()
        await asyncio.sleep(20)
        assert stream_state(world, "btcusdt@markPrice@1s") == "rejected"
        assert stream_state(world, TRADES) == "speaking"
        assert len(world.venue.opened) == 2
        world.venue.rejected.clear()
        await asyncio.sleep(60)
        assert stream_state(world, "btcusdt@markPrice@1s") == "speaking"

    world = play(World(), script)
    told = world.told("rejected")
    assert len(told) == 1
    assert "btcusdt@markPrice@1s" in told[0][3]
    assert "Invalid request" in told[0][3]


def test_request_without_an_answer_costs_the_connection() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(20)
        assert len(world.venue.opened) == 3

    def mute(link: ScriptLink) -> None:
        link.answers_requests = bool(world.venue.links)  # the first does not

    world = World()
    world.venue.on_open = mute
    play(world, script)
    assert 5.0 <= opened_s(world)[2] <= 5.6


# Silence.


@pytest.mark.parametrize("n_silent", [1, 2])
def test_address_that_answers_and_delivers_nothing_is_left_and_tried_again(n_silent: int) -> None:
    # What the retired addresses of USD-M do: handshake and answer are fine, then nothing, for hours.
    async def script(world: World) -> None:
        await world.until_live(120)
        await world.settled()

    def mute(link: ScriptLink) -> None:
        if "/public/" in link.url and sum("/public/" in url for _, url in world.venue.opened) <= n_silent:
            link.muted |= {DEPTH, "btcusdt@bookTicker"}

    world = World()
    world.venue.on_open = mute
    play(world, script)
    times = [
        at for at, (_, url) in zip(opened_s(world), world.venue.opened, strict=True) if "/public/" in url
    ]
    # The second time it is given twice as long.
    for wait_s, (before, after) in zip([15, 30], pairwise(times), strict=False):
        assert wait_s <= after - before <= wait_s + 1.2
    assert len(times) == n_silent + 1
    assert [detail.split(":")[0] for *_, detail in world.told("silent")] == [DEPTH] * n_silent


def test_stream_that_falls_silent_is_replaced_and_the_others_lose_nothing() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(3)
        world.venue.links[0].muted.add(DEPTH)
        await world.until(lambda: world.told("silent") != [])
        await world.until(lambda: world.market.gaps == 1 and world.market.is_valid, 5)
        await asyncio.sleep(30)
        assert stream_state(world, DEPTH) == "speaking"
        assert world.market.flow.missing_ids == 0
        assert len(world.venue.links) == 1
        await world.settled()

    world = play(World(MarketKind.SPOT), script)
    assert len(world.told("silent")) == 1
    assert len(world.venue.opened) == 2
    assert world.told("disconnected") == []


def test_thin_market_whose_book_rests_is_not_connected_to_again_and_again() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.quiet.add(DEPTH)
        await asyncio.sleep(3600)

    world = play(World(MarketKind.SPOT, settings=replace(SETTINGS, listing_s=86_400.0)), script)
    # 5 s, then 15 s to the first message, doubled up to 240 s.
    assert 10 < len(world.venue.opened) < 25


def test_quiet_trades_are_no_fault_until_the_statistics_show_trades() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(5)
        market = next(link for link in world.venue.links if "/market/" in link.url)
        market.muted.add(TRADES)
        world.venue.quiet.add("btcusdt@ticker")
        await asyncio.sleep(600)
        assert len(world.venue.opened) == 2
        day = {
            "e": "24hrTicker",
            "E": 1,
            "s": "BTCUSDT",
            "o": "1.00",
            "h": "9.00",
            "l": "1.00",
            "v": "1",
            "q": "1",
        }
        for n_trades in (10, 9, 11):
            world.venue.quiet.clear()
            world.venue.tell("btcusdt@ticker", {**day, "c": "5.00", "n": n_trades})
            if n_trades < 11:
                world.venue.quiet.add("btcusdt@ticker")
            await asyncio.sleep(100)
            assert len(world.venue.opened) == (3 if n_trades == 11 else 2)
        assert stream_state(world, TRADES) == "speaking"

    world = play(World(), script)
    assert ["aggTrade" in detail for *_, detail in world.told("silent")] == [True]


def test_market_that_is_halted_is_waited_for_and_not_connected_to_again() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.status["BTCUSDT"] = "HALT"
        await world.until(lambda: world.told("status") != [], 70)
        world.venue.quiet.add(DEPTH)
        await asyncio.sleep(1800)
        assert len(world.venue.opened) == 1
        world.venue.status.clear()
        world.venue.quiet.clear()
        await asyncio.sleep(70)
        assert len(world.venue.opened) == 1
        await world.settled()

    world = play(World(MarketKind.SPOT), script)
    assert [detail for *_, detail in world.told("status")] == ["TRADING, now HALT", "HALT, now TRADING"]
    assert [one.status for one in world.instruments] == ["HALT", "TRADING"]


# Breaks.


@pytest.mark.parametrize("kind", [MarketKind.SPOT, MarketKind.USDM])
def test_broken_socket_is_replaced_at_once_and_the_book_made_whole(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(70)
        for link in tuple(world.venue.links):
            link.end("reset by peer")
        await asyncio.sleep(0.25)
        status = world.feed.status()
        assert {one.reconnects for one in status.connections} == {1}
        assert {one.last_error for one in status.connections} == {"reset by peer"}
        await world.until_live(2)
        await world.settled()

    world = play(World(kind), script)
    assert all("reset by peer" in detail for *_, detail in world.told("disconnected"))


def test_storm_of_breaks_keeps_to_the_limits_and_ends_in_a_whole_book() -> None:
    async def script(world: World) -> None:
        began_ns = world.loop.now_ns
        while world.loop.now_ns - began_ns < 600 * S:
            for link in tuple(world.venue.links):
                link.end("storm")
            await asyncio.sleep(0.2)
        assert await world.until_live(61) <= 31
        await world.settled()

    world = play(World(), script)
    times = opened_s(world)
    assert 2 * 600 / 30 < len(times) < 150
    assert max(one.failures for one in world.feed.status().connections) > 5


def test_attempts_to_connect_keep_to_half_of_the_venues_limit() -> None:
    async def script(world: World) -> None:
        world.venue.is_up = False
        await asyncio.sleep(1200)
        world.venue.is_up = True
        await world.until_live(400)

    settings = replace(SETTINGS, backoff_max_s=0.01, backoff_first_s=0.01)
    times = [at_ns for at_ns, _ in play(World(settings=settings), script).venue.opened]
    assert max(sum(1 for other in times if at <= other < at + 300 * S) for at in times) == 150


def test_what_keeps_a_socket_from_opening_is_said() -> None:
    async def script(world: World) -> None:
        world.venue.refusals += [TransportError("name not known: stream.binance.com")] * 3
        await asyncio.sleep(0.02)
        status = world.feed.status().connections[0]
        assert status.state == "waiting"
        assert (status.connection, status.last_error) == (0, "name not known: stream.binance.com")
        assert status.failures >= 1
        await world.until_live()

    world = play(World(MarketKind.SPOT), script)
    assert all("name not known" in detail for *_, detail in world.told("connect_failed"))
    assert len(world.told("connect_failed")) == 3


@pytest.mark.parametrize(
    ("facts", "least_s", "most_s"),
    [
        ({"status": 429}, 60, 66),
        ({"status": 429, "retry_after_s": 200}, 200, 200.1),
        ({"status": 418}, 120, 126),
        ({"status": 403}, 300, 306),
        ({"status": 503}, 0, 1),
    ],
)
def test_handshake_that_says_leave_us_alone_is_waited_for(
    facts: dict[str, int], least_s: float, most_s: float
) -> None:
    async def script(world: World) -> None:
        world.venue.refusals.append(TransportError("refused", **facts))
        await world.until_live(310)

    first, second = opened_s(play(World(MarketKind.SPOT), script))
    assert least_s <= second - first <= most_s + 0.1


@pytest.mark.slow
def test_venue_that_is_down_for_hours_is_waited_for() -> None:
    async def script(world: World) -> None:
        world.venue.is_up, world.venue.is_paused = False, True
        await asyncio.sleep(2 * 3600)
        assert 240 < len(world.venue.opened) < 1000
        assert world.feed.status().connections[0].state == "waiting"
        world.venue.is_up, world.venue.is_paused = True, False
        await world.until_live(60)
        await world.settled()

    play(World(MarketKind.SPOT), script)


@pytest.mark.slow
def test_thousand_reconnects_leave_no_task_and_no_growing_table() -> None:
    def sizes(world: World) -> dict[str, int]:
        carriers = world.feed._carriers
        return {
            "tasks": len(asyncio.all_tasks()),
            "slots": len(world.feed._by_slot),
            "pending": sum(len(c._current.pending) for c in carriers if c._current is not None),
            "handover": sum(len(c._handover.pending) for c in carriers),
            "timers": sum(not handle.cancelled() for *_, handle in world.loop._timers),
            "connections": sum(isinstance(one, ScriptLink) for one in gc.get_objects()),
        }

    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(5)
        gc.collect()
        before = sizes(world)
        world.events.clear()
        for _ in range(1000):
            await world.until(lambda: bool(world.venue.links), 40)
            for link in tuple(world.venue.links):
                link.end("again")
            del link
            await asyncio.sleep(0.15)
        await world.until_live(90)
        await asyncio.sleep(5)
        assert len(world.told("disconnected")) >= 1000
        world.events.clear()
        gc.collect()
        assert sizes(world) == before
        await world.settled()

    # The limit of attempts would stretch it over hours; it is another test's.
    settings = replace(SETTINGS, backoff_max_s=0.05, backoff_first_s=0.01)
    world = World(settings=settings)
    for carrier in world.feed._carriers:
        carrier._attempts = Attempts(10**6)
    play(world, script)


# Whether it is live.


def test_feed_is_live_until_its_depth_socket_ends_although_the_chain_has_no_gap() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        assert world.feed.status().is_live
        world.venue.is_up = False
        public(world).end("reset")
        await asyncio.sleep(0.001)
        status = world.feed.status()
        # The other socket still stands, the book was live a moment ago and nothing is missing in it.
        assert status.lanes[0].book == "live"
        assert world.market.is_valid
        assert len(world.venue.links) == 1
        assert not status.is_live
        world.venue.is_up = True
        await world.until(lambda: world.feed.status().is_live)

    play(World(), script)


def test_feed_whose_depth_says_nothing_is_live_for_the_deadline_and_no_longer() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        world.venue.quiet.add(DEPTH)
        last_ns = world.loop.now_ns - world.feed.status().lanes[0].streams[0].age_ns
        while world.feed.status().is_live:
            await asyncio.sleep(0.01)
        spoken_s = (world.loop.now_ns - last_ns) / S
        assert SETTINGS.depth_silence_s < spoken_s < SETTINGS.depth_silence_s + 0.2
        assert world.market.is_valid
        world.venue.quiet.clear()
        await world.until(lambda: world.feed.status().is_live)

    play(World(), script)


def test_sockets_gone_make_every_book_stale_before_anything_else_is_decided() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        before = world.market.stale_periods
        world.venue.is_up = False
        for link in tuple(world.venue.links):
            link.end("reset")
        gone_ns = world.market.last_recv_ns
        stale: list[int] = []
        # What the corridor's timer task does: timers in their order, each at its own time.
        while not stale:
            await asyncio.sleep(0.01)
            while mask := world.market.advance(world.loop.now_ns):
                if mask & Trigger.STALE:
                    stale.append(world.market.now_ns)
        assert 0.8 * S <= stale[0] - gone_ns <= 1.0 * S
        assert world.market.stale_periods == before + 1
        assert world.market.is_valid
        assert not world.feed.status().is_live

    play(World(), script)
