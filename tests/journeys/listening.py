"""A process that listens to many instruments until it is told to stop, then says what it knows of each.

`python -m tests.journeys.listening`: the options as one line of JSON on standard input, any second line stops
it; on standard output a line once all books are live, and the report as another.
"""

import asyncio
import gc
import json
import sys
import time
from dataclasses import replace
from typing import Any

import uvloop

from engine.clock import LiveClock
from engine.ingest.aiohttp_http import AiohttpTransport
from engine.ingest.listing import instruments_of
from engine.ingest.picows_transport import PicowsTransport
from engine.live import LiveMarkets
from engine.settings import Config, Feed
from engine.venues.binance_rest import LIMIT_PER_MINUTE, BinanceRest
from engine.venues.binance_streams import addresses
from engine.venues.budget import Budget
from tests.journeys.livefeeds import KINDS

LOOK_S = 0.02
LIVE_S = 150.0  # of patience; the bound is the test's
QUIET_LOOKS = 25  # without another message of a book: all that the venue told is read


async def look() -> None:
    """Come round again a little later."""
    happened = asyncio.Event()
    asyncio.get_running_loop().call_later(LOOK_S, happened.set)
    await happened.wait()


async def main(options: dict[str, Any]) -> None:
    kind = KINDS[options["market"]]
    origin = options["origin"]
    clock = LiveClock()
    # As set by default, but for the history of the past: it is another test's.
    feed = replace(Feed(), origin=origin, history_minutes=0, klines=0)
    http = AiohttpTransport(origin, clock=clock)
    budget = Budget.open(None, limit_per_minute=LIMIT_PER_MINUTE[kind])
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        rest = BinanceRest(kind, http, budget, clock)
        listing = await rest.exchange_info()
        live = LiveMarkets(
            instruments=instruments_of(listing, tuple(options["symbols"]), kind),
            config=replace(Config(), feed=feed),
            clock=clock,
            frames=PicowsTransport(),
            rest=rest,
            addresses=addresses(kind, origin=origin),
            seed=1,
        )
        began_s = loop.time()
        running = asyncio.ensure_future(live.run())
        async with asyncio.timeout(LIVE_S):
            while not is_whole(live):
                await look()
        print(json.dumps({"live_s": loop.time() - began_s}), flush=True)
        gc.collect()
        gc.freeze()
        gc.disable()
        since_s, cpu_s, n_messages = loop.time(), time.process_time(), live.router.n_messages_total
        await reader.readline()
        length_s = loop.time() - since_s
        share = (time.process_time() - cpu_s) / length_s
        per_s = (live.router.n_messages_total - n_messages) / length_s
        n_quiet, before = 0, ()
        async with asyncio.timeout(LIVE_S):
            while n_quiet < QUIET_LOOKS:
                await look()
                now = tuple((lane.market.update_id, lane.market.is_valid) for lane in live.lanes)
                n_quiet, before = n_quiet + 1 if now == before else 0, now
        report = {
            "cpu_share": share,
            "messages_per_s": per_s,
            "seconds": length_s,
            "error": repr(live.router.last_error),
            "connections": len(live.status().connections),
            "reconnects": sum(one.reconnects for one in live.status().connections),
            "streams": sum(len(lane.streams) for lane in live.status().lanes),
            "lanes": [knowledge(live, index) for index in range(len(live.lanes))],
        }
        running.cancel()
        await asyncio.wait((running,))
    finally:
        await http.close()
    print(json.dumps(report), flush=True)


def is_whole(live: LiveMarkets) -> bool:
    """Whether every book is live and every stream is carried."""
    status = live.status()
    return status.is_live and all(stream.connection for lane in status.lanes for stream in lane.streams)


def knowledge(live: LiveMarkets, index: int) -> dict[str, object]:
    """Return what the engine knows of one instrument."""
    market, status = live.lanes[index].market, live.status().lanes[index]
    return {
        "symbol": live.lanes[index].instrument.symbol,
        "is_valid": market.is_valid,
        "update_id": market.update_id,
        "gaps": market.gaps,
        "resyncs": status.resyncs,
        "missing_trades": status.missing_trades + status.left_trades + status.filled_trades,
        "last_trade_id": market.last_trade_id,
        "silent": [stream.name for stream in status.streams if stream.messages == 0],
        "horizons": list(market.book.horizons),
        "levels": [market.book.levels(side, 100_000) for side in (1, -1)],
    }


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.stdin.buffer.raw.readline())))  # type: ignore[union-attr]
