"""Markets of a venue that is listened to, without a desk: what watching and recording stand on.

The same corridor as everywhere: frames come through the router, all else as logged inputs, each at a moment
of its own, later than all before.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from engine.clock import Clock
from engine.config import scalper_settings
from engine.corridor import Corridor, Lane, Watch
from engine.ingest.feed import Feed, FeedLane
from engine.ingest.status import FeedStatus
from engine.inputs import (
    ContextInput,
    EventInput,
    Input,
    InstrumentInput,
    ListenInput,
    RingKind,
    TradesInput,
    WarmUpInput,
    encode_input,
)
from engine.instruments import Instrument
from engine.settings import Config
from engine.venues.binance_rest import BinanceRest
from engine.venues.binance_streams import Addresses
from engine.venues.transport import FrameTransport
from native.ring import RingWriter
from native.router import Router

MAX_WAIT_NS: Final = 10_000_000  # a timer armed meanwhile is run this late at most; it sees its own due time
NS_PER_S: Final = 1_000_000_000
EVENTS: Final = 100


class LiveMarkets:
    """Instruments of one venue, their markets fed from it.

    Parameters
    ----------
    instruments : of one kind, by their dense index.
    config : settings.
    clock : wall time that never steps; the router stamps reads with it.
    frames : opens stream sockets.
    rest : asks for snapshots, history and the like.
    addresses : where the streams are.
    ring : takes every frame and input; None writes nothing.
    watch : takes every record of what the markets saw.
    seed : of all jitter.

    Attributes
    ----------
    lanes : by the dense index.
    events : of the connections, newest last, as many as a view can show.
    """

    def __init__(
        self,
        *,
        instruments: Sequence[Instrument],
        config: Config,
        clock: Clock,
        frames: FrameTransport,
        rest: BinanceRest,
        addresses: Addresses,
        ring: RingWriter | None = None,
        watch: Watch | None = None,
        seed: int = 0,
    ) -> None:
        kind = instruments[0].kind
        self.corridor = Corridor(
            instruments, config, [scalper_settings(config, kind) for _ in instruments], watch=watch
        )
        self._addresses = addresses
        self._clock = clock
        self._config = config
        self._ring = ring
        self._instruments = tuple(instruments)
        self._index = {instrument.symbol: instrument.index for instrument in instruments}
        self.events: deque[EventInput] = deque(maxlen=EVENTS)
        self._router = Router(
            on_due=self.corridor.advance,
            on_masks=self.corridor.on_masks,
            on_control=self._on_control,
            on_heir=self._on_heir,
            now_ns=clock.now_ns,
            ring=ring,
            frame_kind=int(RingKind.FRAME),
        )
        self._feed_lanes = [FeedLane(lane.instrument, lane.market) for lane in self.corridor.lanes]
        self._feed = Feed(
            kind=kind,
            lanes=self._feed_lanes,
            router=self._router,
            intake=self,
            frames=frames,
            rest=rest,
            addresses=addresses,
            clock=clock,
            settings=config.feed,
            seed=seed,
        )

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return self.corridor.lanes

    @property
    def router(self) -> Router:
        """Where frames enter; counts what was read."""
        return self._router

    def status(self) -> FeedStatus:
        """Return where every stream, book and connection stands now."""
        return self._feed.status()

    def refresh(self, symbol: str) -> None:
        """Have the book of a symbol read anew soon; the answer is on the ring like all others.

        Raises
        ------
        KeyError
            The symbol is not among these.
        """
        self._feed.refresh(self._index[symbol])

    async def run(self) -> None:
        """Listen until cancelled; a venue that is down is waited for."""
        self._enter(self._begin())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed.run())
            group.create_task(self._run_timers())

    def _begin(self) -> ListenInput:
        market = self._instruments[0].kind.name.lower()
        at_ns = self._router.stamp()
        return ListenInput(at_ns=at_ns, market=market, venue=self._addresses.rest, config=self._config)

    # What the feed brings beside frames

    def on_snapshot(self, index: int, body: bytes) -> None:
        lane = self.lanes[index]
        at_ns = self._router.stamp()
        if self._ring is not None:
            self._ring.append(RingKind.SNAPSHOT, lane.instrument.symbol.encode() + b" " + body, at_ns)
        self.corridor.on_read(lane, at_ns, (body,))

    def on_trades(self, index: int, body: bytes) -> None:
        self._enter(TradesInput(at_ns=self._router.stamp(), symbol=self._symbol(index), body=Raw(body)))

    def on_context(self, index: int, what: str, body: bytes) -> None:
        symbol = self._symbol(index)
        self._enter(ContextInput(at_ns=self._router.stamp(), symbol=symbol, what=what, body=Raw(body)))

    def on_history(self, index: int, klines: bytes, agg_trades: bytes) -> None:
        self._enter(
            WarmUpInput(
                at_ns=self._router.stamp(),
                symbol=self._symbol(index),
                klines=Raw(klines),
                agg_trades=Raw(agg_trades),
            )
        )

    def on_instrument(self, found: Instrument) -> None:
        self._enter(InstrumentInput(at_ns=self._router.stamp(), instrument=found))
        # In another epoch the corridor has put another market in place: the feed leads its streams there.
        self._feed_lanes[found.index].market = self.lanes[found.index].market

    def on_event(self, index: int, event: str, detail: str) -> None:
        symbol = "" if index < 0 else self._symbol(index)
        entry = EventInput(at_ns=self._router.stamp(), symbol=symbol, event=event, detail=detail)
        self.events.append(entry)
        self._enter(entry)

    def _enter(self, entry: Input) -> None:
        if self._ring is not None:
            self._ring.append(RingKind.INPUT, encode_input(entry), entry.at_ns)
        self.corridor.apply(entry)

    def _symbol(self, index: int) -> str:
        return self._instruments[index].symbol

    def _on_control(self, connection: int, payload: bytes, recv_ns: int) -> None:
        self._feed.on_control(connection, payload, recv_ns)

    def _on_heir(self, slot: int, connection: int, payload: bytes, recv_ns: int) -> bool:
        return self._feed.on_heir(slot, connection, payload, recv_ns)

    async def _run_timers(self) -> None:
        corridor, clock = self.corridor, self._clock
        while True:
            wait_ns = min(max(corridor.next_due_ns - clock.now_ns(), 0), MAX_WAIT_NS)
            await asyncio.sleep(wait_ns / NS_PER_S)
            if corridor.next_due_ns <= clock.now_ns():
                corridor.advance(self._router.stamp())
