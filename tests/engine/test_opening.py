"""What is opened at a venue: the symbols asked for, both sides of a pair, and refusals in one sentence."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.clock import LiveClock
from engine.errors import InputError, VenueError
from engine.listen import PAIR, Listening
from engine.opening import LiveOpening
from engine.sim.house import House
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.watchjob import Watch, WatchOptions
from tests.engine.served import serving

WHAT = Listening(PAIR, ("BTCUSDT", "ETHUSDT"), 0, "", None, None, "live")


@asynccontextmanager
async def venue(*, spot: tuple[str, ...], usdm: tuple[str, ...]) -> AsyncIterator[str]:
    start_ns = LiveClock().now_ns()
    markets = [PublicMarket(spec_of(name, "spot"), 1, start_ns) for name in spot]
    markets += [PublicMarket(spec_of(name, "usdm"), 1, start_ns) for name in usdm]
    async with serving(House(markets, api_key="k", api_secret="s")) as (_, place):
        yield f"http://{place}"


def opened(
    what: Listening, *, spot: tuple[str, ...], usdm: tuple[str, ...]
) -> list[list[tuple[str, str, int]]]:
    """Return kind, symbol and index of every lane of every side."""

    async def run() -> list[list[tuple[str, str, int]]]:
        async with venue(spot=spot, usdm=usdm) as origin:
            return await _lanes(replace(what, origin=origin))

    return asyncio.run(run())


async def _lanes(what: Listening) -> list[list[tuple[str, str, int]]]:
    clock = LiveClock()
    with Path(os.devnull).open("w") as out:
        watch = Watch(WatchOptions(venue="v"), clock=clock, sleep=asyncio.sleep, out=out)
        async with LiveOpening().watched(what, watch) as lives:
            return [
                [
                    (one.instrument.kind.name.lower(), one.instrument.symbol, one.instrument.index)
                    for one in live.lanes
                ]
                for live in lives
            ]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMORA_ENGINE__RUN_DIR", str(tmp_path))


@pytest.mark.slow
def test_pair_is_opened_on_both_markets_in_one_order_usdm_first() -> None:
    found = opened(WHAT, spot=("ETHUSDT", "BTCUSDT"), usdm=("BTCUSDT", "ETHUSDT"))
    assert found == [
        [("usdm", "BTCUSDT", 0), ("usdm", "ETHUSDT", 1)],
        [("spot", "BTCUSDT", 0), ("spot", "ETHUSDT", 1)],
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spot", "usdm", "said"),
    [
        (("BTCUSDT",), ("BTCUSDT", "ETHUSDT"), "binance-spot does not list ETHUSDT"),
        (("BTCUSDT", "ETHUSDT"), ("ETHUSDT",), "binance-usdm does not list BTCUSDT"),
    ],
)
def test_symbol_that_one_side_does_not_list_is_one_sentence(
    spot: tuple[str, ...], usdm: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError, match=f"^{said}.$") as found:
        opened(WHAT, spot=spot, usdm=usdm)
    assert found.value.exit_code == 2


@pytest.mark.slow
def test_largest_pairs_are_those_of_usdm_that_are_on_spot_too() -> None:
    what = replace(WHAT, symbols=(), top=1)
    (perp,), (spot,) = opened(what, spot=("ETHUSDT", "SOLUSDT"), usdm=("BTCUSDT", "SOLUSDT"))
    assert (perp, spot) == (("usdm", "SOLUSDT", 0), ("spot", "SOLUSDT", 0))
    with pytest.raises(InputError, match="trades no symbol on both"):
        opened(what, spot=("ETHUSDT",), usdm=("BTCUSDT",))


def test_venue_that_is_not_there_is_a_venue_error() -> None:
    with pytest.raises(VenueError, match="the connection was refused"):
        asyncio.run(_lanes(replace(WHAT, origin="http://127.0.0.1:9")))
