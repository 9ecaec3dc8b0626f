"""The public side of one symbol of the simulated venue: its streams and its answers, driven by a crowd."""

import heapq
from collections.abc import Callable
from typing import Final

from engine.sim.bookstreams import BookStreams
from engine.sim.crowd import Crowd
from engine.sim.listeners import Sink, Stream
from engine.sim.markets import CrowdSpec, Market
from engine.sim.messages import Deal, Messages
from engine.sim.tape import FIRST_TRADE_IDS, NEVER, START_NS
from engine.sim.truth import Truth
from native.matching import Matching, MatchKind

MS: Final = 1_000_000
FILL: Final = int(MatchKind.MATCH_FILL)
TRADING: Final = "TRADING"


class PublicMarket:
    """
    One symbol of one market, as the public sees it.

    Parameters
    ----------
    spec : CrowdSpec
    seed : int
        Not negative. Everything that happens follows from specification, seed and start; never from who
        listens.
    start_ns : int
        Venue time of the first moment, in the Unix epoch.
    on_truth : callable, optional
        Receives what the crowd really did; after a halt its times lie behind by the length of the halt.

    Attributes
    ----------
    symbol, market, spec
    crowd : the traders; their prices are ticks, their quantities lots.
    """

    def __init__(
        self,
        spec: CrowdSpec,
        seed: int,
        start_ns: int,
        *,
        on_truth: Callable[[Truth], None] | None = None,
    ) -> None:
        self.spec: Final = spec
        self.symbol: Final = spec.symbol
        self.market: Final[Market] = spec.market
        self._now_ns = start_ns
        self._timers: list[tuple[int, int, Callable[[int], None]]] = []
        self._n_timers = 0
        self._status = TRADING
        self._behind_ns = 0  # how long the crowd has stood still
        self._halted_ns = 0
        first_id = FIRST_TRADE_IDS[spec.market] + max(0, start_ns - START_NS) // MS
        is_thin = spec.maker_rate < 20.0
        matching = Matching(16_384, 8_192, 16_384, 32_768) if is_thin else Matching(65_536, 16_384)
        self.crowd: Final = Crowd(
            spec, seed, start_ns, matching=matching, first_trade_id=first_id, on_truth=on_truth
        )
        self._matching = matching
        self._messages = Messages(spec)
        self._book = BookStreams(matching.resting, self._messages, seed, lambda: self._now_ns, self._schedule)
        name = self._messages.name
        self._trade = Stream(f"{name}@trade")
        self._streams: dict[str, Stream] = {**self._book.streams, self._trade.name: self._trade}

    @property
    def next_ns(self) -> int:
        """Venue time at which something happens next."""
        due = self._timers[0][0] if self._timers else NEVER
        return min(due, self.crowd.next_ns + self._behind_ns) if self._status == TRADING else due

    @property
    def now_ns(self) -> int:
        """Venue time up to which everything has happened."""
        return self._now_ns

    def advance(self, now_ns: int) -> None:
        """Let everything happen up to and including `now_ns`; the listeners hear of it meanwhile."""
        crowd, timers = self.crowd, self._timers
        while True:
            due = timers[0][0] if timers else NEVER
            act = crowd.next_ns + self._behind_ns if self._status == TRADING else NEVER
            if due > now_ns and act > now_ns:
                break
            if due <= act:
                self._now_ns, _, action = heapq.heappop(timers)
                action(due)
            else:
                self._now_ns = act
                crowd.act()
                self._settle(act)
        self._now_ns = max(self._now_ns, now_ns)

    def listen(self, stream: str, sink: Sink) -> bool:
        """Let `sink` hear a stream from now on; False if there is no such stream."""
        found = self._streams.get(stream)
        if found is None:
            return False
        found.listen(sink)
        return True

    def unlisten(self, stream: str, sink: Sink) -> None:
        """Let `sink` hear a stream no more."""
        found = self._streams.get(stream)
        if found is not None:
            found.unlisten(sink)

    def depth(self, limit: int) -> dict[str, object]:
        """Return so many levels of each side as the depth endpoint answers."""
        update_id, bids, asks = self._book.snapshot(limit)
        answer: dict[str, object] = {"lastUpdateId": update_id}
        if self.market == "usdm":
            answer |= {"E": self._now_ns // MS, "T": self._book.changed_ns // MS}
        pairs = self._messages.pairs
        return answer | {"bids": pairs(bids), "asks": pairs(asks)}

    def _schedule(self, at_ns: int, action: Callable[[int], None]) -> None:
        self._n_timers += 1
        heapq.heappush(self._timers, (at_ns, self._n_timers, action))

    def _settle(self, now: int) -> None:
        for event in self._matching.drain_events():
            if event.kind == FILL:
                deal = Deal(
                    self.crowd.first_trade_id + event.trade - 1,
                    now,
                    event.price,
                    event.quantity,
                    is_buy=event.side > 0,
                )
                if self._trade.sinks:
                    self._trade.tell(self._messages.trade(self._trade.name, deal))
        self._book.changed(now)
