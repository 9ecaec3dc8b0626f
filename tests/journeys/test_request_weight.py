"""Requests of two engines against the limits of the simulated venue, in virtual time."""

import asyncio
import json
import random
from collections import Counter

import pytest

from engine.ingest.clocksync import ClockOffset
from engine.signals import MarketKind
from engine.sim.answers import Answer
from engine.sim.limits import WeightLimit
from engine.sim.restapi import ENDPOINTS as SERVED
from engine.sim.restrules import weight_of
from engine.sim.virtualloop import NS, LoopClock, VirtualLoop, run_on
from engine.sim.virtualtransport import ADDRESS, HouseHttp, VenueOnLoop
from engine.venues.binance_rest import ENDPOINTS, LIMIT_PER_MINUTE, BinanceRest, RestError, encode
from engine.venues.budget import Budget, budget_path

MINUTE = 60 * NS
SPOT, USDM = MarketKind.SPOT, MarketKind.USDM


class WeighingVenue:
    """Answers anything with nothing in it, as long as the address may ask; keeps no data."""

    next_ns = 1 << 62

    def __init__(self, per_minute):
        self.limit = WeightLimit(per_minute)
        self.statuses = Counter()
        self.spent = Counter()  # by minute

    def advance(self, now_ns):
        pass

    def get(self, path, query, headers, *, address, now_ns):
        weight = weight_of(SERVED[path], query)
        charge = self.limit.charge(address, weight, now_ns)
        self.statuses[charge.status] += 1
        headers = {"X-MBX-USED-WEIGHT-1M": str(charge.used)}
        if charge.status != 200:
            headers["Retry-After"] = str(charge.retry_after_s)
            return Answer(charge.status, headers, b'{"code":-1003,"msg":"Too many requests."}')
        self.spent[now_ns // MINUTE] += weight
        body = b"[]" if path.endswith(("Trades", "klines")) else b"{}"
        if path.endswith("/time"):
            body = json.dumps({"serverTime": now_ns // 10**6}).encode()
        return Answer(200, headers, body, delay_ns=random.Random(now_ns).randrange(30_000_000))


def test_weights_are_those_that_the_simulated_venue_charges():
    compared = 0
    for endpoints in ENDPOINTS.values():
        for name, endpoint in endpoints.items():
            most = endpoint.weights[-1][0]
            for limit in endpoint.limits or (range(1, most + 1) if most else (None,)):
                symbol = None if name in ("exchange_info", "day_tickers") else "BTCUSDT"
                query = encode({"symbol": symbol, "limit": limit})
                assert endpoint.weight(limit or 0) == weight_of(SERVED[endpoint.path], query)
                compared += 1
    assert compared > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SPOT, USDM])
@pytest.mark.parametrize("ahead_ms", [-1500, 0, 1500])
def test_two_engines_that_ask_all_they_can_are_never_refused(tmp_path, kind, ahead_ms):
    loop = VirtualLoop()
    venue = WeighingVenue(LIMIT_PER_MINUTE[kind])
    path = budget_path(tmp_path, "http://venue")
    start_ns = loop.now_ns
    urgent_waits = []

    async def ask(rest, dice):
        names = ("BTCUSDT", "ETHUSDT")
        while loop.now_ns < start_ns + 5 * MINUTE:
            if dice.random() < 0.5:
                await rest.depth(dice.choice(names), dice.choice((100, 500, 1000)), is_urgent=False)
            else:
                await rest.agg_trades(dice.choice(names), limit=dice.randrange(1, 1001))
            await asyncio.sleep(dice.random() * 0.02)

    async def ask_urgently(rest, dice):
        while loop.now_ns < start_ns + 5 * MINUTE:
            await asyncio.sleep(dice.random() * 20)
            asked_ns = loop.now_ns
            await rest.depth("BTCUSDT", 1000)
            urgent_waits.append(loop.now_ns - asked_ns)

    async def story():
        async with asyncio.TaskGroup() as tasks:
            for number in range(2):
                clock = LoopClock(loop, ahead_ns=ahead_ms * 10**6)
                http = HouseHttp(VenueOnLoop(loop, venue), clock, seed=number)
                budget = Budget.open(path, limit_per_minute=LIMIT_PER_MINUTE[kind])
                rest = BinanceRest(kind, http, budget, clock)
                for task in range(3):
                    tasks.create_task(ask(rest, random.Random(number * 10 + task)))
                tasks.create_task(ask_urgently(rest, random.Random(number)))

    run_on(loop, story())
    assert set(venue.statuses) == {200}
    whole = sorted(venue.spent)[1:-1]
    assert len(whole) >= 3
    assert min(venue.spent[minute] for minute in whole) >= 0.75 * LIMIT_PER_MINUTE[kind]
    # Urgent requests never wait for the minute to end, only for its first two seconds to pass.
    assert max(urgent_waits) < 2.5 * NS


@pytest.mark.slow
def test_stranger_at_our_address_costs_a_refusal_a_minute_at_most_and_never_a_ban(tmp_path):
    loop = VirtualLoop()
    venue = WeighingVenue(6000)
    start_ns = loop.now_ns
    refusals = []

    async def stranger():
        query = "symbol=BTCUSDT&limit=1000"
        while loop.now_ns < start_ns + 4 * MINUTE:
            found = venue.get("/api/v3/depth", query, {}, address=ADDRESS, now_ns=loop.now_ns)
            # It has no budget, but some manners.
            wait_s = 0.7 if found.status == 200 else int(found.headers["Retry-After"]) + 1
            await asyncio.sleep(wait_s)

    async def ours():
        clock = LoopClock(loop)
        budget = Budget.open(budget_path(tmp_path, "http://venue"), limit_per_minute=6000)
        rest = BinanceRest(SPOT, HouseHttp(VenueOnLoop(loop, venue), clock), budget, clock)
        while loop.now_ns < start_ns + 4 * MINUTE:
            try:
                await rest.depth("BTCUSDT", 1000)
            except RestError as error:
                refusals.append((loop.now_ns // MINUTE, error.status))
            await asyncio.sleep(0.05)

    async def story():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stranger())
            tasks.create_task(ours())

    run_on(loop, story())
    assert 418 not in venue.statuses
    assert all(count == 1 for count in Counter(minute for minute, _ in refusals).values())
    assert {status for _, status in refusals} <= {429}


@pytest.mark.parametrize(("ahead_ms", "drift_ppm"), [(0, 0), (1270, 80), (-90_000, -80)])
def test_clock_of_the_venue_is_known_within_the_error_told(ahead_ms, drift_ppm):
    loop = VirtualLoop()
    venue = WeighingVenue(6000)
    offset = ClockOffset()
    errors = []

    async def story():
        clock = LoopClock(loop, ahead_ns=ahead_ms * 10**6, drift_ppm=drift_ppm)
        http = HouseHttp(VenueOnLoop(loop, venue), clock)
        rest = BinanceRest(SPOT, http, Budget.open(None, limit_per_minute=6000), clock)
        for _ in range(60):
            offset.observe(*await rest.server_time())
            for _ in range(10):
                now_ns = clock.now_ns()
                true_ns = loop.now_ns - now_ns
                assert abs(true_ns - offset.offset_ns(now_ns)) <= offset.error_ns(now_ns)
                errors.append(abs(true_ns - offset.offset_ns(now_ns)))
                await asyncio.sleep(3)

    run_on(loop, story())
    assert offset.contradictions == 0
    assert max(errors) < 25_000_000
