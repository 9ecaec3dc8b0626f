"""Recorded or written messages played into the markets of a corridor, in place of a venue."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.clock import VirtualClock
from engine.config import load_config, scalper_settings
from engine.corridor import Corridor, Lane, Watch
from engine.ingest.status import FeedStatus
from engine.inputs import EventInput, RingKind, is_snapshot
from engine.instruments import Instrument
from engine.replay.sources import open_source, source_lines
from engine.replay.store import Line, Tally
from native.ring import RingWriter


class PlayedMarkets:
    """Markets that are fed from lines; time is that of the lines and moves when it is waited for.

    Parameters
    ----------
    recordings : lines of each instrument, in the order of their times.
    watch : takes every record.
    ring : takes every message and snapshot, as a live engine's ring does.
    """

    def __init__(
        self,
        recordings: Sequence[tuple[Instrument, Sequence[Line]]],
        *,
        watch: Watch | None = None,
        ring: RingWriter | None = None,
        preset: str = "capture",
    ) -> None:
        config = load_config(None, preset, {})
        instruments = [replace(one, index=index) for index, (one, _) in enumerate(recordings)]
        self.corridor = Corridor(
            instruments, config, [scalper_settings(config, one.kind) for one in instruments], watch=watch
        )
        found = [
            (line.recv_ns, index, line.payload)
            for index, (_, lines) in enumerate(recordings)
            for line in lines
        ]
        # Sorting is stable: what one connection brought stays in its order.
        self._lines = sorted(found, key=lambda one: one[0])
        self._next = 0
        self._ring = ring
        self._stamp_ns = 0
        self.clock = VirtualClock(self._lines[0][0])
        self.refreshed: list[str] = []
        self.events: list[EventInput] = []

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return self.corridor.lanes

    @property
    def is_over(self) -> bool:
        return self._next == len(self._lines)

    @property
    def last_ns(self) -> int:
        return self._lines[-1][0]

    def status(self) -> FeedStatus | None:
        """There are no connections."""
        return None

    def refresh(self, symbol: str) -> None:
        self.refreshed.append(symbol)

    async def run(self) -> None:
        """Be fed by whoever waits; end when cancelled."""
        await asyncio.Event().wait()

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass, with all that it brings."""
        self.play_until(self.clock.now_ns() + round(seconds * 1e9))
        await asyncio.sleep(0)

    def play_until(self, now_ns: int) -> None:
        while not self.is_over and self._lines[self._next][0] <= now_ns:
            read_ns = self._lines[self._next][0]
            reads: dict[int, list[bytes]] = {}
            # Two markets are two sockets: each read has a moment of its own.
            while not self.is_over and self._lines[self._next][0] == read_ns:
                _, index, payload = self._lines[self._next]
                reads.setdefault(index, []).append(payload)
                self._next += 1
            for index, payloads in reads.items():
                self._stamp_ns = max(self._stamp_ns + 1, read_ns)
                self._take(self.lanes[index], payloads)
        self._stamp_ns = max(self._stamp_ns + 1, now_ns)
        self.corridor.advance(self._stamp_ns)
        self.clock.advance_to(max(now_ns, self.clock.now_ns()))

    def _take(self, lane: Lane, payloads: Sequence[bytes]) -> None:
        if self._ring is not None:
            name = lane.instrument.symbol.encode()
            for payload in payloads:
                is_answer = is_snapshot(payload)
                kind = RingKind.SNAPSHOT if is_answer else RingKind.FRAME
                self._ring.append(kind, name + b" " + payload if is_answer else payload, self._stamp_ns)
        self.corridor.on_read(lane, self._stamp_ns, payloads)


def recorded(
    paths: Sequence[Path], market: str, seconds: float | None = None
) -> tuple[Instrument, list[Line]]:
    """Return the instrument and the first seconds of a recording of one symbol."""
    source = open_source(tuple(paths), market=market, symbol=None, exchange_info=None)
    return source.instrument, list(_until(source_lines(source, Tally()), seconds))


def _until(lines: Iterator[Line], seconds: float | None) -> Iterator[Line]:
    first_ns = 0
    for line in lines:
        first_ns = first_ns or line.recv_ns
        if seconds is not None and line.recv_ns - first_ns > seconds * 1e9:
            return
        yield line


CAPTURED: Mapping[str, tuple[str, str]] = {
    "spot_btc": ("binance_spot_20240808/spot_btcusdt_20240808.gz", "spot"),
    "spot_eth": ("binance_spot_20240808/spot_ethusdt_20240808.gz", "spot"),
    "usdm_btc": ("binance_usdm_20240808/usdm_btcusdt_20240808.gz", "usdm"),
    "usdm_eth": ("binance_usdm_20240808/usdm_ethusdt_20240808.gz", "usdm"),
}
