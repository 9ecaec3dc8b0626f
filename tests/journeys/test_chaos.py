"""Storms over the whole public side: whatever happened, in the end the engine knows what the venue knows."""

import os
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.records import SignalRecord
from engine.settings import Config, Profile, Whale
from engine.sim.faultscript import Kind, storm
from engine.sim.messages import Deal
from engine.sim.virtualloop import NS
from tests.journeys.livefeeds import FEED, Journey

CALM_S = 3.0
STORM_S = 60.0
SETTLE_S = 12.0  # of calm that is watched after everything is whole
WHOLE_S = 330.0  # a 403 in a handshake is left alone for five minutes
MINUTE_NS = 60 * NS


async def weather(journey: Journey) -> None:
    """Wait through the storm, then until all is whole, then a while, to see that it stays."""
    await journey.until_at(CALM_S + STORM_S)
    await journey.until(lambda: journey.is_whole, WHOLE_S, "a whole market after the storm")
    # What the last messages of the storm lacked shows with the first ones after it.
    since_s = journey.now_s
    await journey.until_at(since_s + SETTLE_S)
    await journey.until(lambda: journey.is_whole, WHOLE_S, "a whole market some seconds later")


def run_storm(seed: int, market: str) -> Journey:
    journey = Journey(storm(seed, start=CALM_S, seconds=STORM_S), market=market, seed=seed)
    journey.play(weather)
    return journey


def taken_deals(journey: Journey) -> list[Deal]:
    """Return the venue's trades from the first the engine took to its last, without those it says it lost.

    A batched trade has the time of its batch, whichever side of a minute its parts were on.
    """
    first_id, last_id = journey.seen.first_trade_id, journey.engine.last_trade_id
    lost = journey.left_ranges
    deals = journey.market.truth.trades()
    if not journey.is_batched:
        return [
            deal
            for deal in deals
            if first_id <= deal.trade_id <= last_id
            and not any(first <= deal.trade_id <= last for first, last in lost)
        ]
    known = {deal.trade_id: deal for deal in deals}
    found: list[Deal] = []
    next_id = first_id
    while next_id <= last_id:
        rows = journey.market.agg_trades(next_id, None, None, 1000)
        for row in rows:
            next_id = _int(row["a"]) + 1
            if next_id - 1 > last_id or any(first <= next_id - 1 <= last for first, last in lost):
                continue
            found += [
                replace(known[trade_id], venue_ns=_int(row["T"]) * 1_000_000)
                for trade_id in range(_int(row["f"]), _int(row["l"]) + 1)
            ]
    return found


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def signed(deals: Sequence[Deal]) -> int:
    return sum(deal.quantity if deal.is_buy else -deal.quantity for deal in deals)


def check_trades(journey: Journey) -> None:
    """Compare CVD, session profile and 1m bars with plain sums over the venue's trades."""
    market = journey.engine
    deals = taken_deals(journey)
    assert len(deals) > 50
    assert market.cvd == signed(deals)

    profile = market.areas.session
    rows: dict[int, int] = {}
    for deal in deals:
        row = deal.price // profile.row_units
        rows[row] = rows.get(row, 0) + deal.quantity
    lowest, volumes = profile.snapshot()
    assert {lowest + n: volume for n, volume in enumerate(volumes) if volume} == rows

    minutes: dict[int, list[Deal]] = {}
    for deal in deals:
        minutes.setdefault(deal.venue_ns - deal.venue_ns % MINUTE_NS, []).append(deal)
    bars = market.bars.bars("1m")
    assert len(bars) >= 2
    for bar in bars:
        found = minutes[bar.open_ns]
        if bar.has_gap and journey.left_ranges:
            continue
        # The first began before we did; every other one is whole once its trades were filled in.
        assert bar.has_gap == (bar is bars[0])
        assert (bar.open, bar.high, bar.low, bar.close, bar.n_trades) == (
            found[0].price,
            max(deal.price for deal in found),
            min(deal.price for deal in found),
            found[-1].price,
            len(found),
        )
        assert bar.volume == sum(deal.quantity for deal in found)
        assert bar.taker_buy_volume == sum(deal.quantity for deal in found if deal.is_buy)


def check(journey: Journey) -> None:
    """Hold the end of a storm to the venue's truth; the books were compared all the way."""
    assert journey.is_whole
    assert journey.seen.n_compared > 100
    assert sum(journey.faults.happened.values()) > 5
    check_trades(journey)


def report(journeys: Sequence[Journey]) -> None:
    """Print what the storms did."""
    blind = sorted(journey.seen.blind_s() for journey in journeys)
    happened = {kind.value: sum(journey.faults.happened[kind] for journey in journeys) for kind in Kind}
    print(
        f"\n{len(journeys)} storms: {sum(j.seen.n_compared for j in journeys)} books compared, "
        f"{sum(j.engine.gaps for j in journeys)} gaps, longest without a book p50 "
        f"{blind[len(blind) // 2]:.1f} s, worst {blind[-1]:.1f} s, "
        f"trades filled {sum(j.filled for j in journeys)}, left {sum(j.left for j in journeys)}, "
        f"faults { {name: n for name, n in happened.items() if n} }"
    )


def run_batch(seeds: range, market: str) -> None:
    journeys = []
    for seed in seeds:
        try:
            journey = run_storm(seed, market)
            check(journey)
        except AssertionError as error:
            raise AssertionError(f"storm {seed} on {market}: {error}") from error
        journeys.append(journey)
    report(journeys)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 35, 5))
def test_after_a_storm_spot_knows_what_the_venue_knows(first: int) -> None:
    run_batch(range(first, first + 5), "spot")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1015, 5))
def test_after_a_storm_usdm_knows_what_the_venue_knows(first: int) -> None:
    run_batch(range(first, first + 5), "usdm")


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("REMORA_DRILL"), reason="a drill: REMORA_DRILL=1 runs it")
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_after_many_storms_the_engine_knows_what_the_venue_knows(market: str) -> None:
    run_batch(range(2000, 2250), market)


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_same_storm_twice_publishes_the_same_bytes(market: str) -> None:
    first, again = run_storm(7, market), run_storm(7, market)
    assert first.seen.n_looks > 500
    assert first.digest == again.digest
    assert first.digest != run_storm(8, market).digest


@pytest.mark.slow
def test_what_is_decided_in_a_storm_is_decided_on_valid_books() -> None:
    whale = replace(Whale(), min_sweeps=30, floor_quote=1_000.0)
    profile = replace(Profile(), rolling_min=1.0, rolling_ready_share=0.1, session=False)
    journey = Journey(
        storm(1, start=8.0, seconds=50.0, intensity=0.5),
        market="usdm",
        symbol="SOLUSDT",
        sweep_rate=8.0,
        whales_per_minute=60.0,
        config=replace(Config(), whale=whale, profile=profile),
        feed=replace(FEED, klines=60, history_minutes=10),
    )

    async def story(journey: Journey) -> None:
        await journey.until_at(62)

    seen = journey.play(story)
    outcomes = [record.veto for record in seen.records if isinstance(record, SignalRecord)]
    assert sum(veto not in ("book_invalid", "not_ready") for veto in outcomes) >= 3
    assert journey.engine.gaps >= 1
