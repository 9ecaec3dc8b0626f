"""Fifty instruments over real sockets: live soon, no gap, and no book wrong when the venue stands still."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.sim.house import House
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.server import Pace
from tests.journeys.socketfeeds import served

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = tuple(f"C{n:02d}USDT" for n in range(50))
PAST_MINUTES = 60  # of the venue: two days of fifty symbols take half a minute to draw
# Fifty snapshots of 5,000 levels on spot weigh 12,500, and 4,800 a minute are for them: three minutes' share.
LIVE_S = {"usdm": 20.0, "spot": 130.0}
MAX_CPU_SHARE = 0.5
PATIENCE_S = 260.0


async def listen(market: str, seconds: float) -> tuple[dict[str, PublicMarket], dict[str, Any], float]:
    """Serve the symbols to an engine in another process for a while, let the venue stand still, and end."""
    start_ns = time.time_ns()
    side = "spot" if market == "spot" else "usdm"
    markets = {name: PublicMarket(spec_of(name, side), 1, start_ns) for name in SYMBOLS}
    for one in markets.values():
        one.prepare()
    house = House(list(markets.values()), api_key="key")
    # What has passed meanwhile is caught up with before anybody listens.
    house.advance(time.time_ns())
    async with served(house, Pace(time.time_ns())) as port, asyncio.timeout(PATIENCE_S):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.journeys.listening",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            limit=1 << 26,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            options = {"market": market, "origin": f"http://127.0.0.1:{port}", "symbols": SYMBOLS}
            process.stdin.write(json.dumps(options).encode() + b"\n")
            live_s = json.loads(await process.stdout.readline())["live_s"]
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(seconds, over.set)
            await over.wait()
            for one in markets.values():
                one.set_status("HALT")
            process.stdin.write(b"stop\n")
            found = json.loads(await process.stdout.readline())
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return markets, found, live_s


def faults_of(market: PublicMarket, lane: dict[str, Any]) -> list[str]:
    """Compare one book with the venue's, as far as the engine says it knows it."""
    found = [] if lane["is_valid"] else ["the book is not valid"]
    if lane["gaps"] or lane["missing_trades"]:
        found.append(f"{lane['gaps']} gaps, {lane['missing_trades']} trades were missing")
    update_id = market.depth(5)["lastUpdateId"]
    if lane["update_id"] != update_id:
        found.append(f"at update {lane['update_id']}, the venue at {update_id}")
    for side, truth, levels, horizon in zip(
        (1, -1), market.truth.book(), lane["levels"], lane["horizons"], strict=True
    ):
        # 0: all of the side is known.
        ours = {price: size for price, size in levels if not horizon or (horizon - price) * side <= 0}
        known = {price: size for price, size in truth.items() if not horizon or (horizon - price) * side <= 0}
        if not ours or ours != known:
            found.append(f"side {side}: {sorted(ours.items() ^ known.items())[:4]} differ")
    return [f"{lane['symbol']}: {sentence}" for sentence in found]


def check(market: str, seconds: float) -> None:
    markets, found, live_s = asyncio.run(listen(market, seconds))
    wrong = [fault for lane in found["lanes"] for fault in faults_of(markets[lane["symbol"]], lane)]
    print(
        f"\n{len(found['lanes'])} instruments on {market}, {found['streams']} streams on "
        f"{found['connections']} connections: all live in {live_s:.2f} s, then {found['seconds']:.1f} s with "
        f"{found['messages_per_s']:.0f} messages/s at {found['cpu_share']:.1%} of a CPU; "
        f"{sum(lane['gaps'] for lane in found['lanes'])} gaps, {found['reconnects']} reconnects, "
        f"{len(wrong)} faults"
    )
    assert found["error"] == "None"
    assert len(found["lanes"]) == len(SYMBOLS)
    assert not wrong, "\n".join(wrong)
    assert found["reconnects"] == 0
    assert live_s < LIVE_S[market]
    assert found["cpu_share"] < MAX_CPU_SHARE
    assert found["messages_per_s"] > 100


@pytest.fixture(autouse=True)
def short_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the venue's past be short: nobody reads it here but the 24 h statistics."""
    monkeypatch.setattr("engine.sim.history.FULL_MINUTES", PAST_MINUTES)


@pytest.mark.slow
def test_fifty_instruments_are_live_soon_and_none_is_wrong() -> None:
    check("usdm", 4.0)


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("REMORA_DRILL"), reason="a drill: REMORA_DRILL=1 runs it")
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_fifty_instruments_for_a_minute_have_no_gap_and_none_is_wrong(market: str) -> None:
    check(market, 60.0)
