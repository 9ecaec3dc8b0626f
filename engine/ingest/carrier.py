"""One group of streams, and the sockets that carry it one after the other.

A socket is opened and the streams are asked for in few messages; each stream is watched for silence of its
own, because an answered request proves nothing (a retired address answers and then delivers nothing). A
socket that is to end, or that is silent, is replaced before it is closed: the new one takes each stream over
with the first message that continues ours. A socket that broke is replaced after a wait.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from engine.clock import Clock
from engine.ingest.connection import Connection
from engine.ingest.deadlines import HEALTHY_NS, NS_PER_S, Attempts, Backoff, Pace
from engine.ingest.handover import Handover, continues_depth, continues_trades
from engine.ingest.status import ConnectionStatus
from engine.ingest.streams import Stream
from engine.settings import Feed as FeedSettings
from engine.signals import MarketKind
from engine.venues.binance_streams import Reply
from engine.venues.transport import FrameTransport, TransportError
from native.router import Router

CONNECT_S: Final = 10.0
TICK_S: Final = 0.1
LOOK_NS: Final = NS_PER_S  # between two looks for silence
REJECTED_NS: Final = 60 * NS_PER_S  # a refused stream is asked for again after this
# Answers to a handshake that say: leave us alone. 429 too many, 418 banned for it, 403 the firewall.
HANDSHAKE_WAITS_NS: Final = {429: 60 * NS_PER_S, 418: 120 * NS_PER_S, 403: 300 * NS_PER_S}
HOUR_NS: Final = 3600 * NS_PER_S

Tell = Callable[[int, str, str], None]  # instrument or -1, event, detail


class Carrier:
    """Keeps one group of streams connected.

    Parameters
    ----------
    category, url
        Of the venue's addresses.
    streams
        All of one category, at most as many as one connection may carry.
    kind
        Whose rules.
    router, frames, clock
        Where messages go, what opens sockets, and our time.
    settings
        Deadlines and waits.
    numbers
        Of connections: one for the whole feed.
    attempts
        To connect: one for the whole feed.
    random
        Source of the jitter.
    tell
        Takes events; never called while a message is being taken.

    Attributes
    ----------
    reconnects : sockets that broke.
    replaced : sockets that were replaced without a break.
    """

    def __init__(
        self,
        *,
        category: str,
        url: str,
        streams: Sequence[Stream],
        kind: MarketKind,
        router: Router,
        frames: FrameTransport,
        clock: Clock,
        settings: FeedSettings,
        numbers: Iterator[int],
        attempts: Attempts,
        random: Random,
        tell: Tell,
    ) -> None:
        self.category = category
        self.streams = tuple(streams)
        self.reconnects = 0
        self.replaced = 0
        self._url = url
        self._kind = kind
        self._router = router
        self._frames = frames
        self._clock = clock
        self._settings = settings
        self._numbers = numbers
        self._attempts = attempts
        self._random = random
        self._tell = tell
        self._backoff = Backoff(
            int(settings.backoff_first_s * NS_PER_S), int(settings.backoff_max_s * NS_PER_S), random
        )
        self._reply_ns = int(settings.reply_s * NS_PER_S)
        self._by_slot = {stream.slot: stream for stream in self.streams}
        self._tasks: asyncio.TaskGroup | None = None
        self._wake = asyncio.Event()
        self._current: Connection | None = None
        self._heir: Connection | None = None
        self._handover = Handover(())
        self._is_opening = False
        self._is_replacing = False
        self._not_before_ns = 0
        self._look_ns = 0
        self._since_ns = 0
        self._last_error = ""

    # What the router brings; only noted here, because a read is going on.

    def on_reply(self, connection: int, reply: Reply) -> None:
        """Take an answer to one of our requests."""
        for one in (self._current, self._heir):
            if one is not None and one.number == connection:
                one.on_reply(reply)
                self._wake.set()

    def on_shutdown(self, connection: int) -> None:
        """Take the venue's word that it is about to end a connection."""
        for one in (self._current, self._heir):
            if one is not None and one.number == connection:
                one.is_leaving = True
                self._wake.set()

    def on_heir(self, slot: int, connection: int, payload: bytes) -> bool:
        """Decide whether the new connection takes a stream over with this message."""
        stream = self._by_slot.get(slot)
        if stream is None or self._heir is None or self._heir.number != connection:
            return False
        market = stream.lane.market
        if stream.role == "depth":
            sequence = market.sequence
            continues = continues_depth(self._kind, sequence.state, sequence.last_id, payload)
        elif stream.role == "trades":
            continues = continues_trades(stream.name, market.last_trade_id, payload)
        else:
            continues = True
        if continues and self._handover.take(slot) and not self._handover.pending:
            self._wake.set()
        return continues

    # What the feed says.

    def drop(self, streams: Sequence[Stream]) -> None:
        """Have no more of these streams: the venue lists their instrument no more."""
        for stream in streams:
            stream.is_dropped = True
            self._router.own(stream.slot, 0)
            self._router.inherit(stream.slot, 0)
            self._handover.take(stream.slot)
        for one in (self._current, self._heir):
            if one is not None:
                one.forget(streams)

    def restore(self, streams: Sequence[Stream]) -> None:
        """Have dropped streams again."""
        for stream in streams:
            stream.is_dropped = False
            stream.rejected_ns = 0
        self._hand_out(streams)
        for one in (self._current, self._heir):
            if one is not None:
                one.ask(streams)

    def lead_anew(self, streams: Sequence[Stream]) -> None:
        """Have streams lead to another market: their slots in the router are others now."""
        self._by_slot = {stream.slot: stream for stream in self.streams}
        self._handover.pending &= self._by_slot.keys()
        self._hand_out([stream for stream in streams if not stream.is_dropped])

    def _hand_out(self, streams: Sequence[Stream]) -> None:
        # A new slot or a returned stream has no chain that an heir could continue.
        newest = self._heir or self._current
        for stream in streams:
            self._router.own(stream.slot, 0 if newest is None else newest.number)
            stream.watch.ask(self._clock.now_ns())

    def is_open(self, connection: int) -> bool:
        """Tell whether a connection is one of ours and its socket stands."""
        return any(
            one is not None and one.number == connection and one.closed is None
            for one in (self._current, self._heir)
        )

    def status(self) -> ConnectionStatus:
        """Return how the group is carried now."""
        current = self._current
        if current is None:
            state = "connecting" if self._is_opening else "waiting"
        else:
            state = "replacing" if self._is_replacing or self._heir is not None else "open"
        return ConnectionStatus(
            connection=0 if current is None else current.number,
            category=self.category,
            streams=sum(1 for stream in self.streams if stream.is_wanted),
            state=state,
            since_ns=self._since_ns if current is None else current.opened_ns,
            rotates_ns=0 if current is None else current.rotates_ns,
            reconnects=self.reconnects,
            failures=self._backoff.failures if current is None or self._is_young(current) else 0,
            last_error=self._last_error,
        )

    def _is_young(self, connection: Connection) -> bool:
        return self._clock.now_ns() - connection.opened_ns < HEALTHY_NS

    # The work.

    async def run(self) -> None:
        """Keep the streams connected until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._since_ns = self._clock.now_ns()
            try:
                while True:
                    while self._current is None:
                        self._current = await self._attempt()
                    self._begin(self._current)
                    while self._current is not None:
                        await self._nap()
                        self._tick(self._clock.now_ns())
            finally:
                for one in (self._current, self._heir):
                    if one is not None:
                        one.link.close()

    async def _nap(self) -> None:
        try:
            async with asyncio.timeout(TICK_S):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _attempt(self) -> Connection | None:
        """Open one socket when it is time; None: it could not be had, and the next time is set."""
        while (wait_ns := self._wait_ns()) > 0:
            await asyncio.sleep(wait_ns / NS_PER_S)
        self._is_opening = True
        number = next(self._numbers)
        try:
            link = await self._frames.open(self._url, number, self._router, timeout_s=CONNECT_S)
        except TransportError as error:
            self._on_refused(error)
            return None
        finally:
            self._is_opening = False
        now_ns = self._clock.now_ns()
        # Not all at once: they were opened together.
        life_ns = int(self._settings.rotate_h * HOUR_NS * self._random.uniform(0.9, 1.0))
        connection = Connection(
            number, link, now_ns, now_ns + life_ns, Pace(5 if self._kind is MarketKind.SPOT else 10)
        )
        assert self._tasks is not None
        self._tasks.create_task(self._wait_closed(connection))
        return connection

    def _wait_ns(self) -> int:
        now_ns = self._clock.now_ns()
        if now_ns < self._not_before_ns:
            return self._not_before_ns - now_ns
        return self._attempts.take(now_ns)

    def _on_refused(self, error: TransportError) -> None:
        status = error.facts.get("status")
        wait_ns = self._backoff.fail()
        if isinstance(status, int) and status in HANDSHAKE_WAITS_NS:
            wait_ns = HANDSHAKE_WAITS_NS[status] + self._random.randint(0, 5 * NS_PER_S)
        after_s = error.facts.get("retry_after_s")
        if isinstance(after_s, int | float):
            wait_ns = max(wait_ns, int(after_s * NS_PER_S))
        self._not_before_ns = self._clock.now_ns() + wait_ns
        self._last_error = str(error)
        self._tell(-1, "connect_failed", f"{self.category}, next in {wait_ns / NS_PER_S:.1f} s: {error}")

    async def _wait_closed(self, connection: Connection) -> None:
        connection.closed = await connection.link.wait_closed() or "closed without a reason"
        self._wake.set()

    def _begin(self, connection: Connection) -> None:
        for stream in self.streams:
            if not stream.is_dropped:
                self._router.own(stream.slot, connection.number)
        self._ask_all(connection)
        self._tell(-1, "connected", f"{self.category}: connection {connection.number}, {self._url}")
        connection.pump(self._clock.now_ns(), self._reply_ns)

    def _ask_all(self, connection: Connection) -> None:
        now_ns = self._clock.now_ns()
        wanted = [stream for stream in self.streams if not stream.is_dropped]
        for stream in wanted:
            stream.rejected_ns = 0
            stream.watch.ask(now_ns)
        # Books first: they need the longest until they are whole.
        connection.ask(sorted(wanted, key=lambda stream: stream.role != "depth"))

    def _tick(self, now_ns: int) -> None:
        for one in (self._current, self._heir):
            if one is not None:
                one.pump(now_ns, self._reply_ns)
                self._work_on_replies(one, now_ns)
                if one.is_overdue(now_ns):
                    self._tell(-1, "silent", f"connection {one.number} did not answer a request")
                    one.link.close()
        self._drop_broken(now_ns)
        if self._heir is not None:
            if self._heir.is_asked:
                self._handover.start(now_ns, int(self._settings.handover_s * NS_PER_S))
            if self._handover.is_over(now_ns):
                self._promote()
        elif self._current is not None and not self._is_replacing:
            reason = self._why_replace(now_ns)
            if reason and self._tasks is not None:
                self._is_replacing = True
                self._tell(-1, "rotate", f"connection {self._current.number}: {reason}")
                self._tasks.create_task(self._open_heir(self._current))

    def _work_on_replies(self, connection: Connection, now_ns: int) -> None:
        while connection.answered:
            reply, streams = connection.answered.popleft()
            if reply.is_ok:
                if streams:
                    self._tell(-1, "subscribed", f"connection {connection.number}: {len(streams)} streams")
            elif len(streams) > 1:
                # One bad name must not cost the others: each is asked for alone.
                for stream in streams:
                    connection.ask((stream,))
            else:
                for stream in streams:
                    stream.rejected_ns = now_ns
                    self._handover.take(stream.slot)
                    self._tell(stream.lane.index, "rejected", f"{stream.name}: {reply.code} {reply.message}")
        if connection is self._current and connection.is_asked:
            for stream in self.streams:
                is_rejected = stream.rejected_ns and not stream.is_dropped
                if is_rejected and now_ns - stream.rejected_ns >= REJECTED_NS:
                    stream.rejected_ns = 0
                    stream.watch.ask(now_ns)
                    connection.ask((stream,))

    def _drop_broken(self, now_ns: int) -> None:
        heir, current = self._heir, self._current
        if heir is not None and heir.closed is not None:
            self._fail(heir, now_ns)
            for stream in self.streams:
                # What it had taken over already goes back to the old one; the ids show what was lost.
                self._router.inherit(stream.slot, 0)
                if current is not None and self._router.owner(stream.slot) == heir.number:
                    self._router.own(stream.slot, current.number)
            self._heir = None
        if current is not None and current.closed is not None:
            self.reconnects += 1
            if self._heir is not None:
                self._fail(current, now_ns)
                self._promote()
                return
            for stream in self.streams:
                self._router.own(stream.slot, 0)
            self._current = None
            self._since_ns = now_ns
            self._fail(current, now_ns)

    def _fail(self, connection: Connection, now_ns: int) -> None:
        wait_ns = self._backoff.fail(now_ns - connection.opened_ns)
        self._not_before_ns = now_ns + wait_ns
        self._last_error = connection.closed or ""
        detail = f"{self.category}: connection {connection.number}: {connection.closed}"
        self._tell(-1, "disconnected", detail)

    def _why_replace(self, now_ns: int) -> str:
        current = self._current
        if current is None:
            return ""
        if current.is_leaving:
            return "serverShutdown"
        if now_ns >= current.rotates_ns:
            return "old"
        if now_ns < self._look_ns:
            return ""
        self._look_ns = now_ns + LOOK_NS
        silent = [stream for stream in self.streams if self._is_silent(stream, now_ns)]
        for stream in silent:
            stream.is_silent = True
            stream.times_silent += 1
            stream.watch.give_longer()
            last_ns = self._router.last_recv_ns(stream.slot)
            age = f"{(now_ns - last_ns) / NS_PER_S:.1f} s" if last_ns else "ever"
            self._tell(stream.lane.index, "silent", f"{stream.name}: nothing for {age}")
        return f"silent: {len(silent)} of {len(self.streams)} streams" if silent else ""

    def _is_silent(self, stream: Stream, now_ns: int) -> bool:
        if not stream.is_wanted or not stream.lane.is_trading:
            return False
        last_ns = self._router.last_recv_ns(stream.slot)
        if last_ns and stream.is_silent and now_ns - last_ns < LOOK_NS:
            stream.is_silent = False
        if stream.role == "trades":
            proof_ns = stream.lane.traded_ns(now_ns)
        else:
            trades = stream.lane.streams.get("trades")
            proof_ns = 0 if trades is None else self._router.last_recv_ns(trades.slot)
        return stream.watch.is_silent(now_ns, last_ns, proof_ns)

    async def _open_heir(self, old: Connection) -> None:
        try:
            heir = await self._attempt()
        finally:
            self._is_replacing = False
        if heir is None:
            return
        if self._current is not old:
            # The old one broke meanwhile, and another was opened in its place.
            heir.link.close()
            return
        self._heir = heir
        wanted = [stream for stream in self.streams if not stream.is_dropped]
        silent = [stream for stream in wanted if stream.is_silent]
        self._handover = Handover(stream.slot for stream in wanted if not stream.is_silent)
        for stream in wanted:
            self._router.inherit(stream.slot, heir.number)
        for stream in silent:
            # The old connection brings nothing that could be continued.
            self._router.own(stream.slot, heir.number)
        self._ask_all(heir)
        self._wake.set()

    def _promote(self) -> None:
        heir, old = self._heir, self._current
        if heir is None or old is None:
            return
        n_forced = 0
        for stream in self.streams:
            self._router.inherit(stream.slot, 0)
            if not stream.is_dropped and self._router.owner(stream.slot) != heir.number:
                self._router.own(stream.slot, heir.number)
                n_forced += 1
            stream.is_silent = False
        self._heir, self._current = None, heir
        self._handover = Handover(())
        self.replaced += 1
        old.link.close()
        forced = f", {n_forced} streams without a common message" if n_forced else ""
        self._tell(-1, "taken_over", f"{self.category}: connection {heir.number} for {old.number}{forced}")
