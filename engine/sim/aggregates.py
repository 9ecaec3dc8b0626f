"""The trades of a market since it began, and how the venue tells neighbouring ones as one.

Spot: the fills of one taker order at one price. USD-M: fills at one price and side within 100 ms of the first
of them, told when those are over. Ids of the trades of an aggregate follow on each other in both.
"""

from array import array
from bisect import bisect_left
from typing import Final

from engine.sim.messages import Aggregate, Deal

MS: Final = 1_000_000
WINDOW_NS: Final = 100 * MS
CAPACITY: Final = 1 << 20


class TradeLog:
    """
    Trades and aggregate trades, from the first of the live market on.

    Parameters
    ----------
    first_id, first_aggregate_id : int
        Ids of the first trade and aggregate.
    is_usdm : bool
    capacity : int
        Trades kept at least; at twice as many the older half is forgotten.

    Notes
    -----
    Ids and quantities of forgotten trades answer nothing; `forgotten` counts them.
    """

    def __init__(
        self, first_id: int, first_aggregate_id: int, *, is_usdm: bool, capacity: int = CAPACITY
    ) -> None:
        self.first_id = first_id
        self.first_aggregate_id = first_aggregate_id
        self.forgotten = 0
        self.volume = 0  # lots of all trades
        self._is_usdm = is_usdm
        self._capacity = capacity
        self._venue_ns = array("q")
        self._price = array("q")
        self._lots = array("q")
        self._marks = bytearray()  # 1: the taker bought; 2: retail price improvement
        self._starts = array("q")  # trade number at which each aggregate begins, from the oldest kept
        self._taker = -1

    @property
    def next_id(self) -> int:
        """Id of the next trade."""
        return self.first_id + len(self._price)

    @property
    def next_aggregate_id(self) -> int:
        """Id of the next aggregate trade."""
        return self.first_aggregate_id + len(self._starts)

    def add(self, deal: Deal, taker: int) -> bool:
        """Take a trade; return whether it begins a new aggregate. `taker` is the number of the taker's order.

        Raises
        ------
        ValueError
            When its id does not follow on the last.
        """
        if deal.trade_id != self.next_id:
            raise ValueError(f"Expected trade {self.next_id}, found {deal.trade_id}.")
        is_new = not self._continues(deal, taker)
        if is_new:
            if len(self._price) >= 2 * self._capacity:
                self._forget()
            self._starts.append(len(self._price))
        self._taker = taker
        self._venue_ns.append(deal.venue_ns)
        self._price.append(deal.price)
        self._lots.append(deal.quantity)
        self._marks.append(deal.is_buy | deal.is_rpi << 1)
        self.volume += deal.quantity
        return is_new

    def deal(self, number: int) -> Deal:
        """Return a trade by its number from the oldest kept."""
        marks = self._marks[number]
        return Deal(
            self.first_id + number,
            self._venue_ns[number],
            self._price[number],
            self._lots[number],
            is_buy=bool(marks & 1),
            is_rpi=bool(marks & 2),
        )

    def deals(self, first_id: int, limit: int) -> list[Deal]:
        """Return trades from an id on, at most `limit`, oldest first."""
        begin = max(0, first_id - self.first_id)
        return [self.deal(number) for number in range(begin, min(len(self._price), begin + limit))]

    def aggregate(self, number: int) -> Aggregate:
        """Return an aggregate by its number from the oldest kept, as it is by now."""
        begin = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self._price)
        lots, marks = self._lots, self._marks
        quantity = sum(lots[begin:end])
        regular = quantity
        if self._is_usdm:
            regular -= sum(lots[i] for i in range(begin, end) if marks[i] & 2)
        return Aggregate(
            self.first_aggregate_id + number,
            self._venue_ns[begin],
            self._price[begin],
            quantity,
            regular,
            self.first_id + begin,
            self.first_id + end - 1,
            is_buy=bool(marks[begin] & 1),
        )

    def told_by(self, now_ns: int) -> int:
        """Return how many of the aggregates kept are told at `now_ns`: on spot all, on USD-M the finished."""
        return self.number_at(now_ns - WINDOW_NS + 1) if self._is_usdm else len(self._starts)

    def number_at(self, venue_ns: int) -> int:
        """Return the number of the first aggregate that begins at or after a venue time."""
        starts, times = self._starts, self._venue_ns
        return bisect_left(range(len(starts)), venue_ns, key=lambda number: times[starts[number]])

    def due_ns(self, number: int) -> int:
        """Return the venue time at which an aggregate is told."""
        return self._venue_ns[self._starts[number]] + (WINDOW_NS if self._is_usdm else 0)

    def _continues(self, deal: Deal, taker: int) -> bool:
        if not self._price or self._price[-1] != deal.price or (self._marks[-1] & 1) != deal.is_buy:
            return False
        if self._is_usdm:
            return deal.venue_ns - self._venue_ns[self._starts[-1]] < WINDOW_NS
        return taker == self._taker

    def _forget(self) -> None:
        keep = bisect_left(self._starts, len(self._price) - self._capacity)
        n_trades = self._starts[keep]
        for column in (self._venue_ns, self._price, self._lots):
            del column[:n_trades]
        del self._marks[:n_trades]
        self._starts = array("q", [start - n_trades for start in self._starts[keep:]])
        self.first_id += n_trades
        self.first_aggregate_id += keep
        self.forgotten += n_trades
