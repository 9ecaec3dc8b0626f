"""Live market data of one venue: every instrument's streams connected, its book whole, its trades complete.

The shell around decisions that stand elsewhere: `carrier` keeps sockets, `book_sync` and `trade_sync` say
what is asked for by request, `asking` asks. A venue that is down is waited for, never given up.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from typing import Final

from engine.clock import Clock
from engine.ingest.asking import Asking
from engine.ingest.book_sync import LIVE, NS_PER_S, BookSync
from engine.ingest.carrier import Carrier
from engine.ingest.deadlines import Attempts, Silence, Watch, silences
from engine.ingest.intake import Intake
from engine.ingest.listing import UNLISTED, Comparison
from engine.ingest.status import FeedStatus, LaneStatus, StreamStatus
from engine.ingest.streams import FeedLane, LaneState, Stream
from engine.ingest.trade_sync import TradeSync
from engine.instruments import Instrument
from engine.settings import Feed as FeedSettings
from engine.signals import MarketKind
from engine.venues.binance_rest import BinanceRest
from engine.venues.binance_streams import Addresses, category, reply_of, stream_names, stream_url
from engine.venues.transport import FrameTransport
from native.events import SequenceState
from native.router import Router

__all__ = ["Feed", "FeedLane"]

NS_PER_MIN: Final = 60 * NS_PER_S
BOOK_STATES: Final = {
    int(SequenceState.SEQUENCE_BUFFERING): "buffering",
    int(SequenceState.SEQUENCE_BRIDGING): "bridging",
    int(SequenceState.SEQUENCE_LIVE): "live",
    int(SequenceState.SEQUENCE_GAP): "gap",
}


class Feed:
    """Feeds the markets of one kind from one venue.

    Parameters
    ----------
    kind
        Spot or USD-M.
    lanes
        Instruments and their markets, by the dense index of the instruments.
    router
        Takes every message; its `on_control` and `on_heir` lead to those of this feed.
    intake
        Takes everything else, as inputs.
    frames
        Opens stream sockets.
    rest
        Asks for snapshots and the like, within the budget.
    addresses
        Where the streams are.
    clock
        Our time, moving on with the running loop.
    settings
        Deadlines, waits, limits.
    seed
        Of all jitter.
    """

    def __init__(
        self,
        *,
        kind: MarketKind,
        lanes: Sequence[FeedLane],
        router: Router,
        intake: Intake,
        frames: FrameTransport,
        rest: BinanceRest,
        addresses: Addresses,
        clock: Clock,
        settings: FeedSettings,
        seed: int,
    ) -> None:
        self._kind = kind
        self._router = router
        self._intake = intake
        self._rest = rest
        self._clock = clock
        self._settings = settings
        random = Random(seed)
        refresh_ns = int(settings.refresh_min * NS_PER_MIN)
        self._lanes = tuple(
            LaneState(
                index=index,
                lane=lane,
                market=lane.market,
                book=BookSync(random, refresh_ns),
                trades=TradeSync(),
            )
            for index, lane in enumerate(lanes)
        )
        rules = silences(settings.first_message_s, settings.depth_silence_s, settings.trade_silence_s)
        by_category: dict[str, list[Stream]] = {}
        for lane in self._lanes:
            for stream in self._streams_of(lane, rules):
                by_category.setdefault(stream.category, []).append(stream)
        numbers, attempts, size = count(1), Attempts(), settings.streams_per_connection
        self._carriers = tuple(
            Carrier(
                category=name,
                url=stream_url(addresses, kind, name),
                streams=streams[first : first + size],
                kind=kind,
                router=router,
                frames=frames,
                clock=clock,
                settings=settings,
                numbers=numbers,
                attempts=attempts,
                random=random,
                tell=intake.on_event,
            )
            for name, streams in by_category.items()
            for first in range(0, len(streams), size)
        )
        self._carrier_of = {stream: carrier for carrier in self._carriers for stream in carrier.streams}
        self._by_slot = {stream.slot: stream for stream in self._carrier_of}
        self._asking = Asking(
            kind=kind,
            lanes=self._lanes,
            intake=intake,
            rest=rest,
            clock=clock,
            settings=settings,
            random=random,
        )

    def _streams_of(self, lane: LaneState, rules: dict[str, Silence]) -> Iterator[Stream]:
        names = stream_names(lane.symbol, self._kind, has_trade_stream=self._settings.has_trade_stream)
        for role, name in names.items():
            stream = Stream(
                name=name,
                role=role,
                category=category(name, self._kind),
                lane=lane,
                slot=self._router.add_stream(name, lane.market),
                watch=Watch(rules.get(role)),
            )
            lane.streams[role] = stream
            yield stream

    # What the router brings.

    def on_control(self, connection: int, payload: bytes, _recv_ns: int) -> None:
        """Take a message that is of no known stream: a reply, or a notice of the venue."""
        if b'"serverShutdown"' in payload:
            for carrier in self._carriers:
                carrier.on_shutdown(connection)
            return
        reply = reply_of(payload)
        if reply is not None:
            for carrier in self._carriers:
                carrier.on_reply(connection, reply)

    def on_heir(self, slot: int, connection: int, payload: bytes, _recv_ns: int) -> bool:
        """Decide whether a new connection takes a stream over with this message."""
        stream = self._by_slot.get(slot)
        return stream is not None and self._carrier_of[stream].on_heir(slot, connection, payload)

    # The work.

    async def run(self) -> None:
        """Feed the markets until cancelled.

        History comes first, then the streams are connected: markets learn from it before their first frame.
        """
        asking = self._asking
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asking.read_clock(), name="feed clock")
            await asking.read_histories()
            for carrier in self._carriers:
                tasks.create_task(carrier.run(), name=f"feed {carrier.category}")
            tasks.create_task(asking.keep_books(), name="feed books")
            tasks.create_task(asking.fill_trades(), name="feed trades")
            tasks.create_task(asking.read_contexts(), name="feed context")
            tasks.create_task(asking.read_listing(self._on_comparison), name="feed listing")

    def refresh(self, index: int) -> None:
        """Have the book of one instrument read anew soon, as `refresh_min` has it done."""
        self._lanes[index].book.refresh_now()

    def status(self) -> FeedStatus:
        """Return where every stream, book and connection stands now. Cost: some microseconds a stream."""
        now_ns = self._clock.now_ns()
        asking = self._asking
        lanes = tuple(self._lane_status(lane, now_ns) for lane in self._lanes)
        budget = self._rest.budget
        return FeedStatus(
            now_ns=now_ns,
            is_live=all(
                state.book == "live" and self._is_fed(lane, now_ns)
                for lane, state in zip(self._lanes, lanes, strict=True)
                if state.listing != UNLISTED
            ),
            lanes=lanes,
            connections=tuple(carrier.status() for carrier in self._carriers),
            offset_ns=asking.offset.offset_ns(now_ns),
            offset_error_ns=asking.offset.error_ns(now_ns) if asking.offset.is_ready else -1,
            used_weight=budget.used(now_ns),
            banned_until_ns=max(0, budget.banned_until_ns),
            unanswered=asking.unanswered,
            last_error=asking.last_error,
        )

    def _is_fed(self, lane: LaneState, now_ns: int) -> bool:
        # A chain without a gap may be one that nobody goes on with.
        stream = lane.streams["depth"]
        last_ns = self._router.last_recv_ns(stream.slot)
        return (
            self._carrier_of[stream].is_open(self._router.owner(stream.slot))
            and last_ns > 0
            and now_ns - last_ns <= int(self._settings.depth_silence_s * NS_PER_S)
        )

    def _lane_status(self, lane: LaneState, now_ns: int) -> LaneStatus:
        market, book, trades = lane.market, lane.book, lane.trades
        state = market.sequence.state
        skew_ns = market.last_recv_ns - market.last_venue_ns if market.last_venue_ns else 0
        if skew_ns:
            skew_ns += self._asking.offset.offset_ns(now_ns)
        return LaneStatus(
            index=lane.index,
            symbol=lane.symbol,
            listing=lane.lane.instrument.status,
            book=BOOK_STATES[state],
            book_since_ns=book.live_since_ns if state == LIVE else book.resync_since_ns,
            update_id=market.update_id,
            gaps=market.gaps,
            resyncs=book.resyncs,
            last_resync_ns=book.last_resync_ns,
            snapshots_failed=book.failed,
            snapshots_too_old=book.too_old,
            refreshes=book.refreshed,
            missing_trades=sum(last - first + 1 for first, last, _, _ in market.trade_gaps()),
            filled_trades=trades.filled,
            left_trades=trades.left,
            skew_ns=skew_ns,
            streams=tuple(self._stream_status(stream, now_ns) for stream in lane.streams.values()),
        )

    def _stream_status(self, stream: Stream, now_ns: int) -> StreamStatus:
        last_ns = self._router.last_recv_ns(stream.slot)
        owner = self._router.owner(stream.slot)
        if stream.is_dropped:
            state = "dropped"
        elif stream.rejected_ns:
            state = "rejected"
        elif not owner:
            state = "waiting"
        elif stream.is_silent:
            state = "silent"
        else:
            state = "speaking" if last_ns else "asked"
        return StreamStatus(
            name=stream.name,
            role=stream.role,
            state=state,
            connection=owner,
            age_ns=now_ns - last_ns if last_ns else -1,
            messages=self._router.n_messages(stream.slot),
            times_silent=stream.times_silent,
        )

    # The listing.

    def _on_comparison(self, found: Comparison) -> None:
        was_unlisted = [lane for lane in self._lanes if lane.lane.instrument.status == UNLISTED]
        for instrument in found.changed:
            self._on_changed(self._lanes[instrument.index], instrument)
        for lane in was_unlisted:
            is_back = lane.lane.instrument.status != UNLISTED
            # One incomplete answer is no delisting: the streams of an instrument end with the second.
            if lane.is_dropped == is_back:
                lane.is_dropped = not is_back
                for carrier, streams in self._by_carrier(lane).items():
                    if is_back:
                        carrier.restore(streams)
                    else:
                        carrier.drop(streams)

    def _on_changed(self, lane: LaneState, new: Instrument) -> None:
        old, lane.lane.instrument = lane.lane.instrument, new
        if new.status != old.status:
            self._intake.on_event(lane.index, "status", f"{old.status or 'unknown'}, now {new.status}")
            for stream in lane.streams.values():
                # What was silent because its market rested gets its whole time again.
                stream.watch.ask(self._clock.now_ns())
        if new.epoch != old.epoch:
            detail = f"epoch {new.epoch}: tick {new.tick}, step {new.step}, digits {new.price_digits}"
            self._intake.on_event(lane.index, "filters", detail)
        self._intake.on_instrument(new)
        if lane.lane.market is not lane.market:
            self._feed_another(lane)

    def _feed_another(self, lane: LaneState) -> None:
        # The corridor put another market in place: the same streams lead to it from now on.
        lane.market = lane.lane.market
        for stream in lane.streams.values():
            self._router.remove_stream(stream.slot)
            del self._by_slot[stream.slot]
            stream.slot = self._router.add_stream(stream.name, lane.market)
            self._by_slot[stream.slot] = stream
        for carrier, streams in self._by_carrier(lane).items():
            carrier.lead_anew(streams)

    def _by_carrier(self, lane: LaneState) -> dict[Carrier, list[Stream]]:
        found: dict[Carrier, list[Stream]] = {}
        for stream in lane.streams.values():
            found.setdefault(self._carrier_of[stream], []).append(stream)
        return found
