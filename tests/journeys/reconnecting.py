"""A process that listens to a venue whose lines break again and again, and counts what it holds.

`python -m tests.journeys.reconnecting` with the options as one JSON object on standard input; the report is
one JSON object on standard output.
"""

import asyncio
import gc
import json
import os
import resource
import ssl
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import uvloop

from engine.ingest.aiohttp_http import AiohttpTransport
from engine.ingest.deadlines import Attempts
from engine.instruments import from_exchange_info
from engine.live import LiveMarkets
from engine.settings import Config, Feed
from engine.sim.server import Pace
from engine.venues.binance_rest import BinanceRest
from engine.venues.binance_streams import addresses
from engine.venues.budget import Budget
from tests.journeys.livefeeds import FEED, KINDS, SYMBOL
from tests.journeys.socketfeeds import TRANSPORTS

PAGE = resource.getpagesize()
LIVE_S = 20.0  # of the machine, at most, from one live book to the next
COUNTED = ("Task", "Future", "Handle", "TimerHandle", "TCPTransport", "SSLProtocol", "SSLObject", "socket")


class Reconnecting(LiveMarkets):
    """An engine that says when its book is live again, and how often a line ended."""

    n_ended = 0

    def on_event(self, index: int, event: str, detail: str) -> None:
        super().on_event(index, event, detail)
        if event == "disconnected":
            self.n_ended += 1
        self.happened.set()

    @property
    def happened(self) -> asyncio.Event:
        return self.__dict__.setdefault("_happened", asyncio.Event())


def descriptors() -> int:
    """Return how many files this process has open, the one that looks not counted."""
    return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * PAGE


def holding() -> dict[str, int]:
    """Count what the process holds that a connection could have left behind."""
    kinds = Counter(type(one).__name__ for one in gc.get_objects())
    return {
        "tasks": len(asyncio.all_tasks()),
        "descriptors": descriptors(),
        **{name: kinds[name] for name in COUNTED},
        "links": sum(n for name, n in kinds.items() if name.endswith("Link")),
        "connections": kinds["Connection"],
    }


async def main(options: dict[str, Any]) -> dict[str, object]:
    kind = KINDS[options["market"]]
    feed: Feed = replace(
        FEED, origin=options["rest"], depth_limit_spot=100, backoff_first_s=0.01, backoff_max_s=0.02
    )
    pace = Pace(options["start_ns"], options["speed"])
    trust = ssl.create_default_context(cafile=options["authority"])
    http = AiohttpTransport(options["rest"], clock=pace, ssl_context=trust)
    try:
        rest = BinanceRest(kind, http, Budget.open(None, limit_per_minute=6000), pace)
        live = Reconnecting(
            instruments=[from_exchange_info(await rest.exchange_info((SYMBOL,)), SYMBOL, kind, 0)],
            config=replace(Config(), feed=feed),
            clock=pace,
            frames=TRANSPORTS[options["transport"]](ssl_context=trust),
            rest=rest,
            addresses=addresses(kind, origin=options["streams"]),
            seed=1,
        )
        # The limit of attempts would stretch it over hours; it is another test's.
        for carrier in live._feed._carriers:
            carrier._attempts = Attempts(10**6)
        running = asyncio.ensure_future(live.run())
        watching = asyncio.ensure_future(watch(live, options["reconnects"], options["warm_up"]))
        await asyncio.wait((running, watching), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        found = await watching
        running.cancel()
        await asyncio.wait((running,))
        del running, watching
    finally:
        await http.close()
    return found | {"tasks_at_end": len(asyncio.all_tasks())}


async def watch(live: Reconnecting, n_reconnects: int, n_warm_up: int) -> dict[str, object]:
    await until_live(live, n_warm_up)
    # As a session of trading does once it has warmed up.
    gc.collect()
    before = holding()
    gc.freeze()
    gc.disable()
    rows: list[tuple[int, int, int, int, float]] = []
    end = live.n_ended + n_reconnects
    now_s = asyncio.get_running_loop().time
    while live.n_ended < end:
        await until_live(live, live.n_ended + 1)
        rows.append((live.n_ended, resident_bytes(), len(asyncio.all_tasks()), descriptors(), now_s()))
    uncollected = holding()
    gc.set_debug(gc.DEBUG_SAVEALL)
    n_unreachable = gc.collect()
    gc.set_debug(0)
    unreachable = Counter(type(one).__name__ for one in gc.garbage)
    gc.garbage.clear()
    gc.collect()
    gc.unfreeze()
    gc.enable()
    return {
        "reconnects": n_reconnects,
        "rows": rows,
        "before": before,
        "uncollected": uncollected,
        "after": holding(),
        "unreachable": n_unreachable,
        "kinds": unreachable.most_common(16),
        "messages": live.router.n_messages_total,
        "error": repr(live.router.last_error),
        "collections": sum(int(one["collections"]) for one in gc.get_stats()),
    }


async def until_live(live: Reconnecting, n_ended: int) -> None:
    """Wait until so many lines have ended and the book is live."""
    async with asyncio.timeout(LIVE_S * max(1, n_ended - live.n_ended)):
        while live.n_ended < n_ended or not live.status().is_live:
            live.happened.clear()
            await live.happened.wait()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(json.loads(sys.stdin.read())))))
