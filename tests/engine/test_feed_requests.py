"""What the feed asks for beside snapshots: lost trades, history, refreshes, clock, listing, context."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest

from engine.instruments import Instrument
from engine.signals import MarketKind
from engine.venues.transport import HttpAnswer
from tests.engine.feed_world import MS, SETTINGS, START_NS, World, ok, play, refused
from tests.engine.test_feed_sockets import stream_state

KINDS = [MarketKind.SPOT, MarketKind.USDM]
both_kinds = pytest.mark.parametrize("kind", KINDS)
DEPTH = "btcusdt@depth@100ms"


def trades_of(kind: MarketKind) -> tuple[str, str]:
    """Return the stream of trades and the request that fills its gaps."""
    return (
        ("btcusdt@trade", "historicalTrades")
        if kind is MarketKind.SPOT
        else ("btcusdt@aggTrade", "aggTrades")
    )


async def lose_trades(world: World, seconds: float) -> None:
    world.venue.quiet.add(trades_of(world.kind)[0])
    n_rows = len(world.tape.rows)
    for _ in range(int(seconds * 1000)):
        world.tape.event(world.loop.now_ns)
        await asyncio.sleep(0.001)
    world.venue.quiet.clear()
    assert len(world.tape.rows) > n_rows
    await asyncio.sleep(1)


@both_kinds
@pytest.mark.parametrize(("lost_s", "pages"), [(0.01, 1), (2.5, 3)])
def test_lost_trades_are_filled_page_by_page(kind: MarketKind, lost_s: float, pages: int) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        await lose_trades(world, lost_s)
        assert world.market.cvd != world.tape.cvd()
        missing = world.feed.status().lanes[0].missing_trades
        assert missing > lost_s * 900
        await asyncio.sleep(5)
        status = world.feed.status().lanes[0]
        assert (status.missing_trades, status.filled_trades, status.left_trades) == (0, missing, 0)
        await world.settled()
        assert world.market.cvd == world.tape.cvd()

    world = play(World(kind), script)
    asked = world.venue.asked_for(trades_of(kind)[1])
    assert len(asked) == pages
    assert len(world.told("gap_filled")) == pages
    assert world.told("gap_left") == []


def test_trades_that_the_venue_does_not_have_are_left_and_said() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        world.venue.faults.append(lambda what, _asked: ok(b"[]") if what == "aggTrades" else None)
        await lose_trades(world, 0.02)
        await asyncio.sleep(60)
        assert world.market.trade_gaps() == []
        status = world.feed.status().lanes[0]
        assert (status.missing_trades, status.left_trades >= 20) == (0, True)
        n_asked = len(world.venue.asked_for("aggTrades"))
        await asyncio.sleep(600)
        assert len(world.venue.asked_for("aggTrades")) == n_asked == 5

    world = play(World(), script)
    assert len(world.told("gap_left")) == 1
    first, last = world.told("gap_left")[0][3].split(": ")[1].split("-")
    assert int(last) - int(first) >= 19


@pytest.mark.parametrize(
    ("fault", "requests"), [(refused(503), 2), (refused(429, **{"retry-after": "9"}), 2), (refused(401), 1)]
)
def test_page_that_failed_is_asked_for_again_unless_it_was_refused(fault: HttpAnswer, requests: int) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        faults = [fault]
        world.venue.faults.append(
            lambda what, _asked: faults.pop() if what == "aggTrades" and faults else None
        )
        await lose_trades(world, 0.02)
        await asyncio.sleep(30)
        assert world.market.trade_gaps() == []
        is_filled = world.market.cvd == world.tape.cvd()
        assert is_filled is (requests == 2)

    world = play(World(), script)
    times = [at for at, _ in world.venue.asked_for("aggTrades")]
    assert len(times) == requests
    if fault.status == 429:
        assert times[1] - times[0] >= 9


def test_lost_trades_wait_while_a_book_has_no_snapshot() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(2)
        world.venue.faults.append(lambda what, _asked: 4.0 if what == "depth" else None)
        world.venue.skip.add(DEPTH)
        await world.until(lambda: world.market.gaps == 1)
        await lose_trades(world, 0.05)
        await world.until_live(5)
        await asyncio.sleep(4)
        assert world.market.trade_gaps() == []

    world = play(World(), script)
    (filled,) = world.venue.asked_for("aggTrades")
    assert filled[0] > world.venue.asked_for("depth")[-1][0] + 4.0


# History.


@both_kinds
def test_history_comes_before_the_first_frame_whole_and_in_order(kind: MarketKind) -> None:
    settings = replace(SETTINGS, history_minutes=75, klines=1440)

    world = World(kind, settings=settings)
    if kind is MarketKind.SPOT:
        world.tape.is_single = False
    for n in range(3500):
        world.tape.event(START_NS - (3500 - n) * 1000 * MS)
    n_before = len(world.tape.rows)
    order: list[str] = []
    world.venue.on_open = lambda _link: order.append("opened")

    async def watch(world: World) -> None:
        await world.until(lambda: ("history", 0) in world.given, 30)
        assert order == []
        await world.until_live(30)

    play(world, watch)
    klines, trades = (msgspec.json.decode(body) for body in world.history)
    opens = [row[0] for row in klines]
    assert len(opens) == 1440
    assert {after - before for before, after in pairwise(opens)} == {60_000}
    ids = [row["a"] for row in trades]
    assert ids == list(range(500, 500 + n_before))
    assert len(world.venue.asked_for("klines")) == 2
    assert len(world.venue.asked_for("aggTrades")) == 4


def test_history_that_cannot_be_had_does_not_keep_the_streams_away() -> None:
    settings = replace(SETTINGS, history_minutes=75, klines=100)

    async def script(world: World) -> None:
        world.venue.faults.append(lambda what, _asked: refused(503) if what == "klines" else None)
        assert 89 < await world.until_live(100) < 92

    world = play(World(settings=settings), script)
    assert len(world.told("history_left")) == 1
    assert 10 < len(world.told("history_failed")) < 20


def test_history_of_many_is_cut_to_what_the_budget_bears() -> None:
    symbols = tuple(f"S{n}USDT" for n in range(20))
    world = World(MarketKind.USDM, symbols, replace(SETTINGS, history_minutes=75, klines=10))
    for tape in world.venue.tapes.values():
        for n in range(5000):
            tape.event(START_NS - (5000 - n) * 100 * MS)

    async def script(world: World) -> None:
        await world.until_live(60)

    play(world, script)
    assert len(world.venue.asked_for("aggTrades")) == 60
    assert all("3000 trades, cut" in detail for *_, detail in world.told("history"))


# Refresh, clock, context.


@both_kinds
def test_live_book_is_refreshed_without_a_blind_moment(kind: MarketKind) -> None:
    settings = replace(SETTINGS, refresh_min=1.0)

    async def script(world: World) -> None:
        await world.until_live()
        for _ in range(18_000):
            await asyncio.sleep(0.01)
            assert world.market.is_valid
        assert world.market.refreshes >= 2
        assert world.market.refreshes == world.feed.status().lanes[0].refreshes
        await world.settled()

    world = play(World(kind, settings=settings), script)
    assert world.market.gaps == 0
    assert len(world.told("refresh")) == world.market.refreshes


def test_gap_during_a_refresh_is_a_resync_like_any_other() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        delays = [2.0]
        world.venue.faults.append(lambda what, _asked: delays.pop() if what == "depth" and delays else None)
        await world.until(lambda: len(world.venue.asked_for("depth")) == 2, 70)
        world.venue.skip.add(DEPTH)
        await world.until(lambda: world.market.gaps == 1, 1)
        await world.until_live(5)
        await asyncio.sleep(1)
        await world.settled()

    play(World(settings=replace(SETTINGS, refresh_min=1.0)), script)


def test_clock_is_measured_often_at_first_and_then_as_told() -> None:
    async def script(world: World) -> None:
        await asyncio.sleep(100)
        status = world.feed.status()
        assert abs(status.offset_ns) <= status.offset_error_ns < 15 * MS

    world = play(World(settings=replace(SETTINGS, clock_s=20.0)), script)
    times = [round(at) for at, _ in world.venue.asked_for("time")]
    assert times == [0, 1, 2, 3, 4, 24, 44, 64, 84]
    assert len(world.told("clock")) == 9


def test_clock_that_cannot_be_read_is_said_and_tried_again() -> None:
    async def script(world: World) -> None:
        assert world.feed.status().offset_error_ns == -1
        world.venue.faults.append(lambda what, _asked: refused(500) if what == "time" else None)
        await asyncio.sleep(65)
        world.venue.faults.clear()
        await asyncio.sleep(30)

    world = play(World(), script)
    assert len(world.told("clock_failed")) == 3
    assert len(world.told("clock")) >= 1


def test_open_interest_and_premium_are_read_each_half_minute_on_usdm_only() -> None:
    async def script(_world: World) -> None:
        await asyncio.sleep(121)

    world = play(World(MarketKind.USDM, ("AUSDT", "BUSDT")), script)
    for what in ("open_interest", "premium_index"):
        assert [world.given.count((what, index)) for index in (0, 1)] == [4, 4]
    spot = play(World(MarketKind.SPOT), script)
    assert {what for what, _ in spot.given} == {"snapshot"}


# Listing.


@both_kinds
def test_delisted_instrument_ends_with_the_second_reading_and_the_others_go_on(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.status["BTCUSDT"] = "GONE"
        await world.until(lambda: world.told("status") != [], 70)
        assert world.feed.status().lanes[0].listing == "UNLISTED"
        assert stream_state(world, DEPTH) == "speaking"
        await asyncio.sleep(70)
        assert {one.state for one in world.feed.status().lanes[0].streams} == {"dropped"}
        assert not any("btcusdt" in name for link in world.venue.links for name in link.streams)
        assert any("ethusdt@depth" in name for link in world.venue.links for name in link.streams)
        assert world.feed.status().is_live
        n = world.feed_lanes[1].market.depth_applied
        await asyncio.sleep(120)
        assert world.feed_lanes[1].market.depth_applied > n + 1000
        world.venue.status.clear()
        await asyncio.sleep(80)
        assert [lane.book for lane in world.feed.status().lanes] == ["live", "live"]
        await world.settled()

    world = play(World(kind, ("BTCUSDT", "ETHUSDT")), script)
    assert [one.status for one in world.instruments] == ["UNLISTED", "TRADING"]


def test_one_incomplete_listing_stops_no_stream() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.status["BTCUSDT"] = "GONE"
        await world.until(lambda: len(world.venue.asked_for("exchangeInfo")) == 1, 70)
        await asyncio.sleep(1)
        world.venue.status.clear()
        await asyncio.sleep(70)
        assert stream_state(world, DEPTH) == "speaking"
        assert all("UNSUBSCRIBE" not in str(asked) for link in world.venue.links for _, asked in link.asked)
        assert [len(link.asked) for link in world.venue.links] == [1, 1]
        assert len(world.venue.opened) == 2

    play(World(MarketKind.USDM, ("BTCUSDT", "ETHUSDT")), script)


@pytest.mark.parametrize("fault", [refused(500), ok(b"{}"), ok(b'{"symbols":[]}'), ok(b"[")])
def test_listing_that_cannot_be_read_changes_nothing(fault: HttpAnswer) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.faults.append(lambda what, _asked: fault if what == "exchangeInfo" else None)
        await asyncio.sleep(200)
        assert stream_state(world, DEPTH) == "speaking"

    world = play(World(), script)
    assert len(world.told("listing_failed")) == 3
    assert world.instruments == []


@both_kinds
def test_new_filters_are_told_and_another_market_in_place_is_fed_from_then_on(kind: MarketKind) -> None:
    async def script(world: World) -> None:
        await world.until_live()
        old = world.market
        body = world.venue.info().replace(b'"tickSize":"0.01"', b'"tickSize":"0.001"')
        world.venue.faults.append(lambda what, _asked: ok(body) if what == "exchangeInfo" else None)
        await world.until(lambda: world.instruments != [], 70)
        assert world.market is not old
        applied = old.depth_applied
        await world.until_live(3)
        await asyncio.sleep(3)
        assert old.depth_applied == applied
        assert world.market.depth_applied > 20
        assert world.market.price_digits == 3
        assert len(world.venue.opened) == (1 if kind is MarketKind.SPOT else 2)

    class Rebuilding(World):
        def on_instrument(self, found: Instrument) -> None:
            super().on_instrument(found)
            self.feed_lanes[0].market = self._market(found)

    world = play(Rebuilding(kind), script)
    assert [one.epoch for one in world.instruments] == [2]
    assert len(world.told("filters")) == 1


def test_answer_that_was_asked_for_another_market_is_not_given_to_the_one_in_its_place() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        await asyncio.sleep(57)
        world.venue.faults.append(lambda what, _asked: 4.5 if what == "depth" else None)
        world.venue.skip.add(DEPTH)
        await world.until(lambda: len(world.venue.asked_for("depth")) == 2, 2)
        body = world.venue.info().replace(b'"tickSize":"0.01"', b'"tickSize":"0.001"')
        world.venue.faults.append(lambda what, _asked: ok(body) if what == "exchangeInfo" else None)
        await world.until(lambda: world.instruments != [], 10)
        world.venue.faults.pop(0)
        await world.until_live(10)

    class Rebuilding(World):
        def on_instrument(self, found: Instrument) -> None:
            super().on_instrument(found)
            self.feed_lanes[0].market = self._market(found)

    world = play(Rebuilding(), script)
    assert len(world.venue.asked_for("depth")) == 3
    assert world.given.count(("snapshot", 0)) == 2


def test_everything_down_at_once_is_said_in_the_status() -> None:
    async def script(world: World) -> None:
        await world.until_live()
        world.venue.is_up = False
        for link in tuple(world.venue.links):
            link.end("reset")
        await asyncio.sleep(120)
        status = world.feed.status()
        assert not status.is_live
        assert not any(one.connection for one in status.connections)
        assert {one.last_error for one in status.connections} == {"connection refused"}
        assert all(one.since_ns < status.now_ns - 100_000 * MS for one in status.connections)
        assert status.unanswered > 0
        assert "connection refused" in status.last_error
        assert {one.state for one in status.lanes[0].streams} == {"waiting"}
        assert status.lanes[0].streams[0].age_ns > 100_000 * MS
        assert status.used_weight >= 0
        world.venue.is_up = True
        await world.until(lambda: world.feed.status().is_live, 60)

    play(World(), script)
