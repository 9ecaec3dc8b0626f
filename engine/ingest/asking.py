"""What the feed asks of the venue by request: snapshots, lost trades, clock, listing, context, history.

Everything goes through one budget of request weight. Books come before lost trades, and those wait while any
book is without its snapshot.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

import msgspec

from engine.clock import Clock
from engine.errors import InputError, VenueError
from engine.ingest.book_sync import LIVE, BookChange, Turns, Want, is_too_old
from engine.ingest.clocksync import ClockOffset
from engine.ingest.history import read_history
from engine.ingest.intake import Intake
from engine.ingest.listing import Comparison, Listing
from engine.ingest.streams import LaneState
from engine.ingest.trade_sync import Page
from engine.settings import Feed as FeedSettings
from engine.signals import MarketKind
from engine.venues.binance_rest import BinanceRest, RestError

NS_PER_S: Final = 1_000_000_000
BOOK_TICK_S: Final = 0.025
FILL_TICK_S: Final = 0.25
CONTEXT_S: Final = 30.0
RETRY_S: Final = 5.0
FIRST_CLOCK_READINGS: Final = 5  # a second apart, for a least round trip to be among them
HISTORY_S: Final = 90.0  # all of it; a late start costs more than a short history
HISTORY_AT_ONCE: Final = 4
TRADES_AT_ONCE: Final = {MarketKind.SPOT: 1000, MarketKind.USDM: 500}
HISTORY_PAGES_SPOT: Final = 200  # of all instruments together: weight 4 each
HISTORY_PAGES_USDM: Final = 60  # weight 20 each


class _Snapshot(msgspec.Struct, rename="camel"):
    last_update_id: int


class Asking:
    """The requests of one feed.

    Parameters
    ----------
    kind, lanes, intake, rest, clock, settings, random
        As of the feed.

    Attributes
    ----------
    offset : the venue's clock against ours.
    unanswered : requests without a usable answer, in a row.
    last_error : of the last of them.
    """

    def __init__(
        self,
        *,
        kind: MarketKind,
        lanes: Sequence[LaneState],
        intake: Intake,
        rest: BinanceRest,
        clock: Clock,
        settings: FeedSettings,
        random: Random,
    ) -> None:
        self.offset = ClockOffset()
        self.unanswered = 0
        self.last_error = ""
        self._kind = kind
        self._lanes = lanes
        self._books = [lane.book for lane in lanes]
        self._intake = intake
        self._rest = rest
        self._clock = clock
        self._settings = settings
        self._random = random
        self._listing = Listing([lane.lane.instrument for lane in lanes])
        self._turns = Turns()
        self._depth_limit = (
            settings.depth_limit_spot if kind is MarketKind.SPOT else settings.depth_limit_usdm
        )
        self._next_fill = 0

    def note(self, error: Exception | None) -> int:
        """Note how a request ended; returns how long the venue wants to be left alone, ns."""
        if error is None:
            self.unanswered = 0
            return 0
        self.unanswered += 1
        self.last_error = str(error)
        return error.retry_ns if isinstance(error, RestError) else 0

    # Before the first frame.

    async def read_histories(self) -> None:
        """Give every instrument its history, as far as it can be had in 90 s."""
        if not self._settings.history_minutes and not self._settings.klines:
            return
        gate = asyncio.Semaphore(HISTORY_AT_ONCE)
        missing = {lane.index for lane in self._lanes}
        try:
            async with asyncio.timeout(HISTORY_S), asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(self._read_history(lane, gate, missing))
        except TimeoutError:
            pass
        for index in sorted(missing):
            self._intake.on_event(index, "history_left", self.last_error or "no time was left for it")

    async def _read_history(self, lane: LaneState, gate: asyncio.Semaphore, missing: set[int]) -> None:
        total = HISTORY_PAGES_SPOT if self._kind is MarketKind.SPOT else HISTORY_PAGES_USDM
        async with gate:
            while True:
                try:
                    found = await read_history(
                        self._rest,
                        lane.symbol,
                        klines=self._settings.klines,
                        minutes=self._settings.history_minutes,
                        max_pages=max(1, total // len(self._lanes)),
                    )
                    self.note(None)
                    self._intake.on_history(lane.index, found.klines, found.agg_trades)
                except VenueError as error:
                    wait_s = max(RETRY_S, self.note(error) / NS_PER_S)
                    self._intake.on_event(lane.index, "history_failed", str(error))
                    await asyncio.sleep(wait_s)
                except ValueError as error:
                    # Not what the endpoints give: asking again brings the same.
                    self.note(error)
                    return
                else:
                    missing.discard(lane.index)
                    whole = "whole" if found.is_whole else "cut"
                    self._intake.on_event(lane.index, "history", f"{found.n_trades} trades, {whole}")
                    return

    # Books.

    async def keep_books(self) -> None:
        """Bring every book its snapshots, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now_ns = self._clock.now_ns()
                for lane in self._lanes:
                    if not lane.is_dropped:
                        self._look_at(lane, now_ns)
                turn = self._turns.choose(now_ns, self._books)
                if turn is not None:
                    index, want = turn
                    lane = self._lanes[index]
                    lane.book.begin(want)
                    tasks.create_task(self._bring(lane, want))
                await asyncio.sleep(BOOK_TICK_S)

    def _look_at(self, lane: LaneState, now_ns: int) -> None:
        market = lane.market
        state = market.sequence.state
        change = lane.book.observe(now_ns, state, 1 if state == LIVE else len(market.backlog))
        if change is BookChange.RESYNC:
            self._intake.on_event(lane.index, "resync", f"after update {market.update_id}")
        elif change is BookChange.LIVE:
            took_ns = lane.book.last_resync_ns
            detail = f"update {market.update_id}"
            if lane.book.resyncs:
                detail += f", {took_ns / NS_PER_S:.3f} s without a book"
            self._intake.on_event(lane.index, "live", detail)

    async def _bring(self, lane: LaneState, want: Want) -> None:
        market = lane.market
        if want is Want.REFRESH:
            self._intake.on_event(lane.index, "refresh", "begin")
        try:
            is_urgent = want is Want.SNAPSHOT
            body = await self._rest.depth(lane.symbol, self._depth_limit, is_urgent=is_urgent)
            last_update_id = msgspec.json.decode(body, type=_Snapshot).last_update_id
        except (VenueError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            lane.book.fail(self._clock.now_ns(), self.note(error))
            self._intake.on_event(lane.index, "snapshot_failed", f"{want}: {error}")
            return
        self.note(None)
        now_ns = self._clock.now_ns()
        if lane.market is not market or (want is Want.REFRESH and market.sequence.state != LIVE):
            # Another market was put in its place meanwhile, or the refresh was overtaken by a gap.
            lane.book.end(now_ns, is_taken=False)
            return
        if want is Want.SNAPSHOT and is_too_old(self._kind, last_update_id, market.backlog.ids()):
            lane.book.end(now_ns, is_taken=False)
            return
        self._intake.on_snapshot(lane.index, body)
        lane.book.end(now_ns, is_taken=True)

    # Lost trades.

    async def fill_trades(self) -> None:
        """Bring lost trades while no book waits, until cancelled."""
        while True:
            now_ns = self._clock.now_ns()
            if not any(book.in_flight is Want.SNAPSHOT or book.due_ns <= now_ns for book in self._books):
                await self._fill_next()
            await asyncio.sleep(FILL_TICK_S)

    async def _fill_next(self) -> None:
        # From the one after the last that was helped: a long gap does not starve the others.
        now_ns = self._clock.now_ns()
        for step in range(len(self._lanes)):
            lane = self._lanes[(self._next_fill + step) % len(self._lanes)]
            gaps = lane.market.trade_gaps()
            if not gaps and lane.trades.in_flight is None:
                continue
            page = lane.trades.wants(now_ns, gaps)
            if page is not None:
                self._next_fill = (lane.index + 1) % len(self._lanes)
                await self._fill(lane, page)
                return
            left = lane.trades.given_up(gaps)
            if left:
                told = ", ".join(f"{first}-{last}" for first, last, _, _ in left[:20])
                self._intake.on_event(lane.index, "gap_left", f"{len(left)} ranges: {told}")
                lane.trades.leave(left)

    async def _fill(self, lane: LaneState, page: Page) -> None:
        market = lane.market
        lane.trades.begin(page)
        try:
            if lane.streams["trades"].name.endswith("@aggTrade"):
                body = await self._rest.agg_trades(lane.symbol, from_id=page.from_id, limit=page.limit)
            else:
                limit = min(page.limit, TRADES_AT_ONCE[self._kind])
                body = await self._rest.historical_trades(lane.symbol, page.from_id, limit=limit)
        except VenueError as error:
            retry_ns = self.note(error)
            is_refused = isinstance(error, RestError) and error.status in (400, 401) and not error.is_unknown
            lane.trades.fail(self._clock.now_ns(), retry_ns, is_refused=is_refused)
            self._intake.on_event(lane.index, "gap_failed", str(error))
            return
        self.note(None)
        if lane.market is not market:
            lane.trades.fail(self._clock.now_ns())
            return
        self._intake.on_trades(lane.index, body)
        n_filled = lane.trades.end(self._clock.now_ns(), market.trade_gaps())
        if n_filled:
            last_id = page.from_id + page.limit - 1
            self._intake.on_event(lane.index, "gap_filled", f"{n_filled} of {page.from_id}-{last_id}")

    # The venue's clock and listing, and what has no stream.

    async def read_clock(self) -> None:
        """Measure the venue's clock again and again, until cancelled."""
        while True:
            try:
                found = await self._rest.server_time()
                self.offset.observe(found.server_ns, found.sent_ns, found.received_ns)
                self.note(None)
                now_ns = self._clock.now_ns()
                offset_ns, error_ns = self.offset.offset_ns(now_ns), self.offset.error_ns(now_ns)
                self._intake.on_event(-1, "clock", f"offset {offset_ns} ns, error {error_ns} ns")
            except (VenueError, ValueError) as error:
                self.note(error)
                self._intake.on_event(-1, "clock_failed", str(error))
            is_early = 0 < self.offset.observations < FIRST_CLOCK_READINGS
            await asyncio.sleep(1.0 if is_early else self._settings.clock_s)

    async def read_listing(self, on_comparison: Callable[[Comparison], None]) -> None:
        """Compare the venue's listing with ours again and again, until cancelled."""
        symbols = [lane.symbol for lane in self._lanes]
        while True:
            await asyncio.sleep(self._settings.listing_s)
            try:
                found = self._listing.compare(await self._rest.exchange_info(symbols))
            except (VenueError, InputError) as error:
                self.note(error)
                self._intake.on_event(-1, "listing_failed", str(error))
            else:
                self.note(None)
                for problem in found.problems:
                    self._intake.on_event(-1, "listing_failed", problem)
                on_comparison(found)

    async def read_contexts(self) -> None:
        """Read open interest and premium index of all each 30 s, until cancelled; spot has neither."""
        while self._kind is not MarketKind.SPOT:
            for lane in self._lanes:
                await asyncio.sleep(CONTEXT_S / len(self._lanes))
                if not lane.is_dropped:
                    await self._context(lane, "open_interest", self._rest.open_interest)
                    await self._context(lane, "premium_index", self._rest.premium_index)

    async def _context(self, lane: LaneState, what: str, ask: Callable[[str], Awaitable[bytes]]) -> None:
        try:
            body = await ask(lane.symbol)
        except VenueError as error:
            self.note(error)
        else:
            self.note(None)
            self._intake.on_context(lane.index, what, body)
