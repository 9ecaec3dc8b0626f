"""What the public hears of the trades: each one at once, and the aggregates when they are told."""

from collections.abc import Callable
from typing import Final

from engine.sim.aggregates import TradeLog
from engine.sim.listeners import Schedule, Sink, Stream
from engine.sim.messages import Deal, Messages


class _Aggregates(Stream):
    """A stream that finds out what it has to tell when the first listener comes."""

    __slots__ = ("_begin",)

    def __init__(self, name: str, begin: Callable[[], None]) -> None:
        super().__init__(name)
        self._begin = begin

    def listen(self, sink: Sink) -> None:
        if not self.sinks:
            self._begin()
        super().listen(sink)


class TradeStreams:
    """
    The streams `@trade` and `@aggTrade` of one market.

    Parameters
    ----------
    log : TradeLog
        Trades come into it through `add`.
    messages : Messages
    now, schedule : callable
        Venue time, and to be called at a later one.

    Notes
    -----
    Aggregates of spot are told when their order is done, those of USD-M 100 ms after their first trade.
    """

    def __init__(self, log: TradeLog, messages: Messages, now: Callable[[], int], schedule: Schedule) -> None:
        self._log = log
        self._messages = messages
        self._now = now
        self._schedule = schedule
        self._trade = Stream(f"{messages.name}@trade")
        self._aggregate = _Aggregates(f"{messages.name}@aggTrade", self._begin)
        self._next_id = log.first_aggregate_id  # of the aggregate to be told next
        self._is_due = False
        self.streams: Final[dict[str, Stream]] = {
            self._trade.name: self._trade,
            self._aggregate.name: self._aggregate,
        }

    def add(self, deal: Deal, taker: int) -> None:
        """Take a trade into the log and tell it."""
        self._log.add(deal, taker)
        if self._trade.sinks:
            self._trade.tell(self._messages.trade(self._trade.name, deal))

    def settle(self, now: int) -> None:
        """Tell the aggregates that are due, after all trades of one moment were added."""
        if self._aggregate.sinks:
            self._tell(now)

    def _begin(self) -> None:
        log, now = self._log, self._now()
        self._next_id = log.first_aggregate_id + log.told_by(now)
        self._await()

    def _tell(self, now: int) -> None:
        log, stream = self._log, self._aggregate
        end_id = log.first_aggregate_id + log.told_by(now)
        begin_id = max(self._next_id, log.first_aggregate_id)
        self._next_id = max(begin_id, end_id)
        for number in range(begin_id - log.first_aggregate_id, end_id - log.first_aggregate_id):
            stream.tell(self._messages.aggregate(stream.name, now, log.aggregate(number)))
        self._await()

    def _await(self) -> None:
        log = self._log
        if not self._is_due and self._next_id < log.next_aggregate_id:
            self._is_due = True
            self._schedule(log.due_ns(self._next_id - log.first_aggregate_id), self._on_due)

    def _on_due(self, now: int) -> None:
        self._is_due = False
        if self._aggregate.sinks:
            self._tell(now)
