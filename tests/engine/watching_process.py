"""A process that watches synthetic markets on its own terminal; for tests of the terminal.

Arguments: how it ends ("runs", "breaks", "never opens"), then options of the watch ("json", "once").
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from engine.replay.store import Line
from engine.watchjob import Watch, WatchOptions, run_watch
from engine.watchside import Live
from tests.engine.played_markets import PlayedMarkets
from tests.engine.recordings import START_NS, depth, spot_session, trade
from tests.engine.test_scan import BTC, at, day_ticker, lines

END_S = 60


class Paced(PlayedMarkets):
    """Lines that were written for another time, played now and at their pace."""

    def __init__(self, watch: Watch, how: str) -> None:
        book = lines(spot_session())
        quiet: list[Line] = [
            at(depth("BTCUSDT", 113 + i, 113 + i, [], []), START_NS + (i + 2) * 100_000_000)
            for i in range(END_S * 10)
        ]
        trades = [
            at(trade("BTCUSDT", 10 + i, "60000.01", "0.5"), START_NS + (i + 2) * 200_000_000)
            for i in range(END_S * 5)
        ]
        day = Line(START_NS + 150_000_000, orjson.dumps(day_ticker("50000.0")), "")
        super().__init__([(BTC, [*book, day, *sorted([*quiet, *trades])])], watch=watch.on_record)
        self._how = how

    async def run(self) -> None:
        import time

        from engine.clock import LiveClock

        shift_ns = LiveClock().now_ns() - self.clock.now_ns()
        self._lines = [(recv_ns + shift_ns, index, payload) for recv_ns, index, payload in self._lines]
        began_s = time.monotonic()
        while True:
            if self._how == "breaks" and time.monotonic() - began_s > 1.0:
                raise RuntimeError("the feed broke")
            self.play_until(LiveClock().now_ns())
            await asyncio.sleep(0.02)


def main(how: str, options: list[str]) -> None:
    @asynccontextmanager
    async def opened(watch: Watch) -> AsyncIterator[Sequence[Live]]:
        if how == "never opens":
            await asyncio.Event().wait()
        yield (Paced(watch, how),)

    run_watch(
        WatchOptions(venue="binance-spot", is_json="json" in options, is_once="once" in options), opened
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
