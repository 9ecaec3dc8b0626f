"""What the public hears of one book: depth updates of all speeds, partial books, best prices.

Each speed has its own chain of update ids over the same book. USD-M ids are shared by all symbols of the
venue, so they jump; they never depend on who listens.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from engine.sim.crowd import endless
from engine.sim.listeners import Pulse, Schedule, Stream
from engine.sim.messages import Levels, Messages
from native.resting import RestingOrders

MS: Final = 1_000_000
DEPTHS: Final = (5, 10, 20)
# A book keeps this many changed levels between two drains at least; before it is full they are moved on.
MAX_UNDRAINED: Final = 16_384
SPEEDS_MS: Final = {
    "spot": ((1000, ""), (100, "@100ms")),
    "usdm": ((250, ""), (500, "@500ms"), (100, "@100ms")),
}
UNTHROTTLED_NS: Final = 51 * MS  # as often as @depth@0ms came in the recordings


@dataclass(slots=True, eq=False)
class Chain:
    """The changes of one stream since its last message."""

    stream: Stream | None = None
    last_id: int = 0  # u of the last message
    first_id: int = 0  # U of the next one; 0 = nothing has changed yet
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)


class BookStreams:
    """
    Streams of one book, and the update ids that its snapshots carry.

    Parameters
    ----------
    book : RestingOrders
        Nobody else drains its changes.
    messages : Messages
    seed : int
    now, schedule : callable
        Venue time, and to be called at a later one.

    Notes
    -----
    A chain exists while somebody listens: its first message tells what changed since then. Call `changed`
    after each thing that happened to the book.
    """

    def __init__(
        self,
        book: RestingOrders,
        messages: Messages,
        seed: int,
        now: Callable[[], int],
        schedule: Schedule,
    ) -> None:
        self._book = book
        self._messages = messages
        self._now = now
        self._schedule = schedule
        self._is_usdm = messages.is_usdm
        self._id_offset = 5_123_107_000_000 if self._is_usdm else 50_093_239_000
        self._jump = endless(np.random.default_rng([seed, 21]).standard_exponential).__next__
        self._seen_id = self._drained_id = book.update_id
        self._changed_ns = now()
        self._waiting: list[Chain] = []
        self._chains: list[Chain] = []
        self._best = (0, 0, 0, 0)
        name = messages.name
        self._ticker = Stream(f"{name}@bookTicker")
        self.streams: Final[dict[str, Stream]] = {self._ticker.name: self._ticker}
        for ms, suffix in SPEEDS_MS["usdm" if self._is_usdm else "spot"]:
            phase = seed * 7_919_000 % (ms * MS)
            self._add(f"{name}@depth{suffix}", ms * MS, phase, 0)
            for limit in DEPTHS:
                self._add(f"{name}@depth{limit}{suffix}", ms * MS, phase, limit)
        if self._is_usdm:
            self._add(f"{name}@depth@0ms", UNTHROTTLED_NS, seed * 7_919_000 % UNTHROTTLED_NS, 0)

    @property
    def now_id(self) -> int:
        """Update id of the book as it is."""
        return self._id_offset + self._book.update_id

    @property
    def changed_ns(self) -> int:
        """Venue time of the last change of the book."""
        return self._changed_ns

    def changed(self, now: int) -> None:
        """Take over what happened to the book at `now`; tell the best prices if they changed."""
        book = self._book
        update_id = book.update_id
        if update_id == self._seen_id:
            return
        if self._is_usdm:
            self._id_offset += int(24 * self._jump())
        if self._waiting:
            first = self._id_offset + self._seen_id + 1
            for chain in self._waiting:
                chain.first_id = first
            self._waiting.clear()
        self._seen_id = update_id
        self._changed_ns = now
        if update_id - self._drained_id > MAX_UNDRAINED:
            self._drain()
        if self._ticker.sinks:
            self._tell_ticker(now)

    def snapshot(self, limit: int) -> tuple[int, Levels, Levels]:
        """Return the update id, and so many levels of each side, best first."""
        return self.now_id, self._book.depth(1, limit), self._book.depth(-1, limit)

    def _tell_ticker(self, now: int) -> None:
        book = self._book
        bid, ask = book.best_bid, book.best_ask
        if bid == 0 or ask == 0:
            return
        best = (bid, book.displayed(1, bid), ask, book.displayed(-1, ask))
        if best != self._best:
            self._best = best
            ticker = self._ticker
            ticker.tell(self._messages.ticker(ticker.name, self.now_id, now, (best[:2], best[2:])))

    def _add(self, name: str, period_ns: int, phase_ns: int, limit: int) -> None:
        chain = Chain()
        tell = partial(self._tell_top, name, chain, limit) if limit else partial(self._tell_diff, name, chain)
        begin = partial(self._begin, chain, is_diff=limit == 0)
        chain.stream = Pulse(name, (period_ns, phase_ns), self._now, self._schedule, beat=tell, begin=begin)
        self.streams[name] = chain.stream

    def _begin(self, chain: Chain, *, is_diff: bool) -> None:
        if is_diff:
            self._drain()
            chain.bids, chain.asks = {}, {}
            if chain not in self._chains:
                self._chains.append(chain)
        chain.last_id = self.now_id
        chain.first_id = 0
        self._await(chain)

    def _await(self, chain: Chain) -> None:
        if chain not in self._waiting:
            self._waiting.append(chain)

    def _drain(self) -> None:
        bids, asks = self._book.drain_changes()
        self._drained_id = self._book.update_id
        for chain in self._chains:
            if chain.stream is not None and chain.stream.sinks:
                chain.bids.update(bids)
                chain.asks.update(asks)

    def _tell_diff(self, name: str, chain: Chain, now: int) -> None:
        if chain.first_id == 0:
            return
        self._drain()
        ids = (chain.first_id, self.now_id, chain.last_id)
        # The order of the recordings: spot best first, USD-M by rising price.
        bids = sorted(chain.bids.items(), reverse=not self._is_usdm)
        asks = sorted(chain.asks.items())
        chain.bids, chain.asks = {}, {}
        self._next(chain, ids[1])
        if bids or asks:
            told = self._messages.depth(name, ids, (now, self._changed_ns), bids, asks)
            self.streams[name].tell(told)

    def _tell_top(self, name: str, chain: Chain, limit: int, now: int) -> None:
        if chain.first_id == 0:
            return
        ids = (chain.first_id, self.now_id, chain.last_id)
        _, bids, asks = self.snapshot(limit)
        self._next(chain, ids[1])
        if self._is_usdm:
            told = self._messages.depth(name, ids, (now, self._changed_ns), bids, asks)
        else:
            told = self._messages.top(name, ids[1], now, (bids, asks))
        self.streams[name].tell(told)

    def _next(self, chain: Chain, last_id: int) -> None:
        chain.last_id = last_id
        chain.first_id = 0
        self._await(chain)
