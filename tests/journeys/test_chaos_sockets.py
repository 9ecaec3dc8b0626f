"""Storms over real loopback TLS sockets: proxy, venue and both transports; then the venue's truth."""

import os
import random

import pytest

from engine.sim.faultscript import Fault, Kind, storm
from engine.sim.tcpproxy import Mishap, Step
from tests.journeys.socketfeeds import SocketJourney
from tests.journeys.test_chaos import check_trades

BEGIN_S = 8.0
STORM_S = 48.0
SETTLE_S = 8.0
WHOLE_S = 120.0
PLAY_S = 60.0  # of the machine: a bound, no expectation
HANDSHAKE_BYTES = 6_000
PROXIED = 14  # connections that have a script
LONG_WAITS = (403, 418, 429)


def weather_of(seed: int) -> tuple[Fault, ...]:
    """Draw what the venue does wrong; our clock and our reading are the machine's own here.

    A handshake that is refused for minutes would be minutes of the machine: virtual storms have it.
    """
    return tuple(
        fault
        for fault in storm(seed, start=BEGIN_S, seconds=STORM_S)
        if fault.kind not in (Kind.CLOCK, Kind.STALL)
        and not (fault.kind is Kind.REFUSE_HANDSHAKE and fault.status in LONG_WAITS)
    )


def mishaps_of(seed: int) -> list[list[Step]]:
    """Draw what befalls the lines, at bytes that may lie inside a handshake, a record, a message."""
    dice = random.Random(f"lines {seed}")
    scripts = []
    for _ in range(PROXIED):
        place, script = 0, []
        for _ in range(dice.randint(1, 3)):
            place += int(10 ** dice.uniform(1.5, 5.3))
            mishap = dice.choice(tuple(Mishap))
            if mishap is Mishap.LOSE:
                # A handshake that lacks bytes is given up after ten seconds of the machine: not one storm's.
                place = max(place, HANDSHAKE_BYTES)
            seconds = dice.uniform(0.02, 0.4) if mishap is Mishap.STALL else dice.uniform(0.001, 0.03)
            script.append(Step(place, mishap, seconds=seconds, n_bytes=dice.randint(1, 3000)))
        scripts.append(script)
    return scripts


def make(seed: int) -> SocketJourney:
    """A third of the seeds read with websockets, half of them stand on uvloop, half are USD-M."""
    return SocketJourney(
        weather_of(seed),
        mishaps_of(seed),
        market="usdm" if seed // 2 % 2 else "spot",
        seed=seed,
        transport="websockets" if seed % 3 == 2 else "picows",
        loop_name="asyncio" if seed % 2 else "uvloop",
    )


async def weather(journey: SocketJourney) -> None:
    """Wait through the storm, end what is left of it, and see all become whole and stay so."""
    await journey.until_at(BEGIN_S + STORM_S)
    # Connections that wait for their mishap would be struck in the calm: from here on none is.
    journey.proxy._scripts.clear()
    journey.proxy.cut()
    await journey.until(lambda: journey.is_whole, WHOLE_S, "a whole market after the storm")
    await journey.until_at(max(journey.now_s + SETTLE_S, 75.0))
    await journey.until(lambda: journey.is_whole, WHOLE_S, "a whole market some seconds later")
    await journey.stand_still()


def run_storm(seed: int) -> SocketJourney:
    journey = make(seed)
    try:
        journey.play(weather, PLAY_S)
        assert journey.seen.n_compared > 100
        assert sum(journey.faults.happened.values()) > 5
        assert journey.mishaps
        check_trades(journey)
    except AssertionError as error:
        raise AssertionError(f"storm {seed}: {error}") from error
    faults = sum(journey.faults.happened.values())
    print(
        f"\nstorm {seed}: {faults} faults of the venue, {sum(journey.mishaps.values())} of the line, "
        f"{journey.n_connections} connections, {journey.seen.n_compared} books compared, "
        f"{journey.engine.gaps} gaps, longest without a book {journey.seen.blind_s():.1f} venue s, "
        f"trades filled {journey.filled}, left {journey.left}"
    )
    return journey


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 4])
def test_after_a_storm_over_sockets_the_engine_knows_what_the_venue_knows(seed: int) -> None:
    run_storm(seed)


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("REMORA_DRILL"), reason="a drill: REMORA_DRILL=1 runs it")
@pytest.mark.parametrize("seed", range(100, 120))
def test_after_many_storms_over_sockets_the_engine_knows_what_the_venue_knows(seed: int) -> None:
    run_storm(seed)
