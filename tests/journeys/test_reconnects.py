"""An engine whose lines break a thousand times, without garbage collection: it holds what it held before."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.sim.house import House
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.server import Pace
from engine.sim.tcpproxy import Mishap, Step, TcpProxy
from tests.journeys.livefeeds import START_NS, SYMBOL
from tests.journeys.socketfeeds import TRANSPORTS, Certificates, served

ROOT = Path(__file__).resolve().parents[2]
SPEED = 30.0  # the venue allows 300 connections in five minutes of its own
WARM_UP = 20
ENDS = (Mishap.RESET, Mishap.FINISH, Mishap.FLIP)
LONGEST_S = 0.6  # of the machine for each reconnect, on the mean
MAX_BYTES_EACH = 6_000  # of resident memory that one reconnect may leave
UNDER_WAY = 8
TIMER_S = 35.0  # uvloop looks after thirty seconds whether a TLS connection that was closed has ended
HELD_BY_TIMERS = ("Future", "Handle", "TimerHandle", "socket", "links")
DRILL = pytest.mark.skipif(not os.environ.get("REMORA_DRILL"), reason="a drill: REMORA_DRILL=1 runs it")


def breaks(n: int) -> list[list[Step]]:
    """Draw where each line ends, and how: with a reset, an end in order, a byte that is another."""
    dice = random.Random("breaks")
    return [[Step(dice.randint(8_000, 24_000), dice.choice(ENDS))] for _ in range(n)]


async def reconnect(transport: str, n_reconnects: int, folder: Path) -> dict[str, Any]:
    """Serve a venue behind a breaking proxy to an engine in a process of its own; return its report."""
    trust = Certificates()
    authority = folder / "authority.pem"
    trust.authority.cert_pem.write_to_path(str(authority))
    house = House([PublicMarket(spec_of(SYMBOL, "spot"), 1, START_NS)], api_key="key")
    pace = Pace(START_NS, SPEED)
    async with (
        served(house, pace, trust.server) as port,
        TcpProxy(port, breaks(2 * (n_reconnects + WARM_UP))) as proxy,
        asyncio.timeout(30 + LONGEST_S * n_reconnects),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.journeys.reconnecting",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        options = {
            "market": "spot",
            "rest": f"https://127.0.0.1:{port}",
            "streams": f"https://127.0.0.1:{proxy.port}",
            "authority": str(authority),
            "transport": transport,
            "start_ns": pace.now_ns(),
            "speed": SPEED,
            "warm_up": WARM_UP,
            "reconnects": n_reconnects,
        }
        try:
            out, _ = await process.communicate(json.dumps(options).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


def slope(rows: list[list[int]]) -> float:
    """Return how many bytes of resident memory a reconnect leaves, by least squares over the second half."""
    half = rows[len(rows) // 2 :]
    mean_x = sum(row[0] for row in half) / len(half)
    mean_y = sum(row[1] for row in half) / len(half)
    spread = sum((row[0] - mean_x) ** 2 for row in half)
    return sum((row[0] - mean_x) * (row[1] - mean_y) for row in half) / spread


def tell(found: dict[str, Any]) -> None:
    """Print what the process held."""
    rows, before = found["rows"], found["before"]
    grown = {name: found["uncollected"][name] - n for name, n in before.items()}
    seconds, each = rows[-1][4] - rows[0][4], found["unreachable"] / found["reconnects"]
    print(
        f"\n{found['reconnects']} reconnects in {seconds:.0f} s, {len(rows)} times live again, "
        f"{found['messages']} messages: tasks {before['tasks']}, at most {max(row[2] for row in rows)}, "
        f"descriptors {before['descriptors']}, at most {max(row[3] for row in rows)}; "
        f"RSS {rows[0][1] >> 10} to {rows[-1][1] >> 10} KiB, in the second half {slope(rows):.0f} bytes a "
        f"reconnect, {each:.1f} unreachable objects each, {found['kinds']}; "
        f"before {before}, more without collection {grown}, after one {found['after']}"
    )


def check(found: dict[str, Any]) -> None:
    """Hold what is counted to what was there before; what a timer of the loop still holds ends with it."""
    rows, before, after = found["rows"], found["before"], found["after"]
    assert found["error"] == "None"
    assert found["tasks_at_end"] == 1
    assert len(rows) > found["reconnects"] // 5
    # A request, or a line that just broke, may be under way at either moment.
    assert max(row[2] for row in rows) <= before["tasks"] + UNDER_WAY
    assert max(row[3] for row in rows) <= before["descriptors"] + UNDER_WAY
    recent = rows[-1][0] - next(row[0] for row in rows if row[4] > rows[-1][4] - TIMER_S)
    for name, n in before.items():
        held = 2 * recent if name in HELD_BY_TIMERS else 0
        assert after[name] <= n + UNDER_WAY + held, name


@pytest.fixture(scope="module", params=sorted(TRANSPORTS))
def sixty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = asyncio.run(reconnect(request.param, 60, tmp_path_factory.mktemp("sixty")))
    tell(found)
    return found


@pytest.fixture(scope="module", params=sorted(TRANSPORTS))
def thousand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = asyncio.run(reconnect(request.param, 1000, tmp_path_factory.mktemp("thousand")))
    tell(found)
    return found


@pytest.mark.slow
def test_sixty_reconnects_leave_no_task_and_no_descriptor(sixty: dict[str, Any]) -> None:
    check(sixty)


@pytest.mark.slow
def test_sixty_reconnects_leave_nothing_to_collect(sixty: dict[str, Any]) -> None:
    assert sixty["unreachable"] < 2 * sixty["reconnects"]


@DRILL
@pytest.mark.drill
@pytest.mark.slow
def test_thousand_reconnects_leave_no_task_and_no_descriptor(thousand: dict[str, Any]) -> None:
    check(thousand)


@DRILL
@pytest.mark.drill
@pytest.mark.slow
def test_thousand_reconnects_leave_no_memory(thousand: dict[str, Any]) -> None:
    assert slope(thousand["rows"]) < MAX_BYTES_EACH
