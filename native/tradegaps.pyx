"""Trades that never arrived: their ids are kept, and when the venue tells of them later they teach what is summed.

Sums that no order of arrival changes take a late trade: CVD, the CVD and profile of its session, the rolling profile at
the time it would have come, the bars of its venue time. What lives from the moment does not: sweeps, whales, episodes,
rates, imbalance and the tape.
"""

from cython cimport final
from libc.string cimport memmove, memset

from native.answers cimport past_trades_of
from native.events cimport BUY, SELL
from native.latebars cimport apply_late, apply_overdue, give_up_gap, mark_listed_bars, mark_listed_gap, review_gaps


cdef int64_t TOLERANCE_NS = 60000000000


@final
cdef class TradeGaps:
    """Ranges of missing trade ids of one instrument, at most 1,024.

    Parameters
    ----------
    flow, areas, bars : Flow, Areas, Bars
        What a late trade teaches.
    venue_time : VenueTime
        Tells when a trade would have come.

    Notes
    -----
    * Ids are those of the feed: of trades, or of aggregates. On a feed of trades an aggregate fills the ids from `f` to
      `l` if all of them are missing in one range; on a feed of aggregates single trades fill nothing.
    * A range shrinks from its ends and splits in its middle; the times at its ends become those of the trades that came
      back, so that a bar is known to be whole as soon as no missing trade can lie in it.
    * A session that is over is kept as levels only: its late trades are counted in `left`, and so are those of a minute
      older than the bars kept. They still count in the CVD.
    * Row heights of profiles and footprint are those of the first price seen, even if an earlier one comes late.
    * Blind to: prints that are no market trade, which the REST answers do not mark.

    Cost: constant per trade of the feed; a late trade some microseconds, and more the older it is: cells of the rolling
    window behind it move. No allocation but for reading an answer.
    """

    def __cinit__(self, Flow flow not None, Areas areas not None, Bars bars not None, VenueTime venue_time not None):
        self._flow = flow
        self._areas = areas
        self._bars = bars
        self._venue_time = venue_time

    cdef void on_trade(self, const Trade* trade, int64_t n_missing) noexcept nogil:
        # Every trade that is taken into the chain, before it teaches; ids were skipped before it or not.
        cdef GapRange found
        if n_missing > 0:
            found.first_id = trade.trade_id - n_missing
            found.last_id = trade.trade_id - 1
            found.after_ns = min(self._last_ns, trade.venue_ns)
            found.before_ns = trade.venue_ns
            self._add(self._n, &found)
            mark_listed_gap(self._bars, found.after_ns, found.before_ns)
        self._is_aggregate = trade.is_aggregate
        self._last_ns = max(self._last_ns, trade.venue_ns)

    cdef void teach_bars(self, const Trade* trade) noexcept nogil:
        # Every trade of the chain that teaches, in its order; if its minute closed before it came, it corrects that.
        if trade.venue_ns >= self._bars.closed_until_ns or trade.price <= 0 or trade.quantity <= 0:
            self._bars.apply_trade(trade)
        elif apply_overdue(self._bars, trade) and self._n:
            # A bar that it opened may lie in the time of trades that are missing still.
            mark_listed_bars(self._bars, trade.venue_ns, self._ranges, self._n)

    cdef void _add(self, int64_t place, const GapRange* added) noexcept nogil:
        if self._n == RANGES:
            self.forgotten += 1
            if place == 0:
                self._give_up(added)
                return
            self._give_up(&self._ranges[0])
            self._drop(0)
            place -= 1
        memmove(&self._ranges[place + 1], &self._ranges[place], (self._n - place) * sizeof(GapRange))
        self._ranges[place] = added[0]
        self._n += 1

    cdef void _give_up(self, const GapRange* given_up) noexcept nogil:
        give_up_gap(self._bars, given_up)

    cdef void _drop(self, int64_t place) noexcept nogil:
        self._n -= 1
        memmove(&self._ranges[place], &self._ranges[place + 1], (self._n - place) * sizeof(GapRange))

    cdef int64_t _find(self, int64_t first_id, int64_t last_id) noexcept nogil:
        # The range that holds all these ids, -1 if none does.
        cdef int64_t low = 0, high = self._n, middle
        while low < high:
            middle = (low + high) >> 1
            if self._ranges[middle].last_id < first_id:
                low = middle + 1
            else:
                high = middle
        if low < self._n and self._ranges[low].first_id <= first_id and last_id <= self._ranges[low].last_id:
            return low
        return -1

    cdef bint fill(self, Trade* trade, int64_t first_id, int64_t last_id, int64_t now_ns) noexcept nogil:
        # Teach a trade that fills these ids; False: they are not missing, or its time is not of their place.
        cdef int64_t place = self._find(first_id, last_id), at_ns, when
        cdef GapRange* found
        cdef GapRange before
        cdef bint is_kept
        if place < 0:
            return False
        found = &self._ranges[place]
        if trade.venue_ns < found.after_ns - TOLERANCE_NS or trade.venue_ns > found.before_ns + TOLERANCE_NS:
            self.misplaced += 1
            return False
        when = min(max(trade.venue_ns, found.after_ns), found.before_ns)
        before = found[0]
        before.last_id = first_id - 1
        before.before_ns = when
        found.first_id = last_id + 1
        found.after_ns = when
        if found.first_id > found.last_id:
            if before.first_id <= before.last_id:
                found[0] = before
            else:
                self._drop(place)
        elif before.first_id <= before.last_id:
            self._add(place, &before)
        self.filled += 1
        if trade.teaches:
            at_ns = min(trade.venue_ns - self._venue_time._offset_ns, now_ns)
            self._flow.apply_late(trade)
            is_kept = self._areas.apply_late(trade, at_ns)
            if not apply_late(self._bars, trade) or not is_kept:
                self.left += 1
        return True

    cdef int64_t take(self, bytes body, int price_digits, int quantity_digits, int64_t now_ns) except -1:
        cdef Trade trade
        cdef int64_t number, n_taken = 0
        memset(&trade, 0, sizeof(Trade))
        try:
            rows = past_trades_of(body, price_digits, quantity_digits)
        except ValueError:
            self.refused += 1
            return 0
        for number, first_id, last_id, price, quantity, venue_ns, is_buyer_maker in rows:
            trade.is_aggregate = number >= 0
            if self._is_aggregate and not trade.is_aggregate:
                continue
            trade.first_id = first_id
            trade.last_id = last_id
            trade.trade_id = number if trade.is_aggregate else first_id
            trade.price = price
            trade.quantity = quantity
            trade.regular_quantity = quantity
            trade.venue_ns = trade.event_ns = venue_ns
            trade.aggressor = SELL if is_buyer_maker else BUY
            trade.teaches = trade.price > 0 and trade.quantity > 0
            if self._is_aggregate:
                n_taken += self.fill(&trade, number, number, now_ns)
            else:
                n_taken += self.fill(&trade, trade.first_id, trade.last_id, now_ns)
        if n_taken:
            review_gaps(self._bars, self._ranges, self._n)
        return n_taken

    cdef int64_t close_all(self) noexcept nogil:
        # Nothing of it will come: the bars stay marked for good. Returns the ranges given up.
        cdef int64_t n = self._n, i
        for i in range(n):
            self._give_up(&self._ranges[i])
        self._n = 0
        self.given_up += n
        review_gaps(self._bars, self._ranges, 0)
        return n

    cdef list ranges(self):
        cdef int64_t i
        return [
            (self._ranges[i].first_id, self._ranges[i].last_id, self._ranges[i].after_ns, self._ranges[i].before_ns)
            for i in range(self._n)
        ]

    def __len__(self):
        return self._n

    @property
    def missing_ids(self) -> int:
        """Ids of all ranges together."""
        cdef int64_t i, total = 0
        for i in range(self._n):
            total += self._ranges[i].last_id - self._ranges[i].first_id + 1
        return total
