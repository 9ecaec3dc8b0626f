"""Time bars from one minute to one day, volume bars, and the footprint of the minute."""

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from typing import NamedTuple

from native.events cimport BUY, SELL, Trade, int128_to_object


cdef enum:
    MAX_HISTORY = 1 << 20
    MAX_FOOTPRINT_ROWS = 1 << 20
    LONG_HISTORY = 256        # closed bars kept of every interval but the minute

cdef int64_t MINUTE_NS = 60_000_000_000
WIDTHS_NS[:] = [
    60_000_000_000,
    180_000_000_000,
    300_000_000_000,
    900_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
    14_400_000_000_000,
    86_400_000_000_000,
]

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d")


class BarRecord(NamedTuple):
    """One bar in whole numbers: venue ns, price units, quantity units, their product for the notional."""

    open_ns: int
    close_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    taker_buy_volume: int
    notional: int
    n_trades: int
    first_trade_id: int
    last_trade_id: int
    has_gap: bool
    is_closed: bool


cdef object record_of(const Bar* bar):
    return BarRecord(
        bar.open_ns,
        bar.close_ns,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        int128_to_object(bar.volume),
        int128_to_object(bar.taker_buy_volume),
        int128_to_object(bar.notional),
        bar.n_trades,
        bar.first_trade_id,
        bar.last_trade_id,
        bool(bar.has_gap),
        bool(bar.is_closed),
    )


cdef int index_of(str interval) except -1:
    if interval not in INTERVALS:
        raise ValueError(f"interval must be one of {', '.join(INTERVALS)}, found {interval!r}")
    return INTERVALS.index(interval)


cdef inline void merge(Bar* bar, const Bar* later, int64_t open_ns, int64_t close_ns) noexcept nogil:
    if bar.n_trades == 0:
        bar[0] = later[0]
        bar.open_ns = open_ns
        bar.close_ns = close_ns
        return
    if later.high > bar.high:
        bar.high = later.high
    if later.low < bar.low:
        bar.low = later.low
    bar.close = later.close
    bar.volume += later.volume
    bar.taker_buy_volume += later.taker_buy_volume
    bar.notional += later.notional
    bar.n_trades += later.n_trades
    bar.last_trade_id = later.last_trade_id
    bar.has_gap |= later.has_gap


@cython.final
cdef class Bars:
    """Time bars, volume bars and footprint of one instrument.

    Parameters
    ----------
    tick : int
        Tick size in price units, >= 1.
    row_units : int
        Row height of the footprint in price units; 0 = chosen at the first trade: one basis point of its
        price, rounded down to whole ticks, at least one tick.
    volume_bar_quantity : int
        Quantity units that close a volume bar; 0 = no volume bars.
    grace_ns : int
        How long after its end, in venue time, a bar without a successor waits for late trades.
    history : int
        Closed one-minute bars kept, 1 to 2**20, 128 bytes each; 256 are kept of every other interval and of
        volume bars. When a ring is full a new bar takes the place of the oldest; `n_closed_bars` tells how
        many there were.
    footprint_rows : int
        Rows of a footprint, 16 to 2**20, centred on the first price of its minute; a trade outside them is
        counted in `outside_trades` and missing from the footprint only.

    Raises
    ------
    ValueError
        If a parameter is outside its bounds.

    Notes
    -----
    * A trade belongs to the minute of its venue time. The first trade of a later minute closes the open one
      at once; otherwise `advance` does, when any message carries a venue time of at least its end +
      `grace_ns`.
    * A trade of a minute that is closed already, or that passed empty, is late: by itself this room counts it and
      leaves it out of every bar; in a market `native.latebars` teaches it to the time bars of its minute.
    * A minute without trades has no bar, so neighbours in a list may lie further apart than their interval.
    * Longer intervals are sums of closed minutes, hence exactly what the same trades would have built; they
      close by the same clock as the minute. All are aligned to the UTC day.
    * Trades that came later, lost ones or overdue ones (`native.latebars`), correct closed bars, or open one that was
      missing; volume bars are never corrected.
    * `mark_gap` says that trades may be missing between the last trade taken in and the next one: the open
      bars of all intervals carry it, and the bars of the next trade too. The first bars after construction
      or `reset` carry it, for their beginning was not seen.
    * A volume bar closes with the trade that fills it. That trade is not split: a bar may hold more than
      asked.
    * A trade that does not teach, or whose price or quantity is not positive, is skipped and counted.
    * A trade without a known aggressor counts in the volume, in no side of the footprint, and not as taker
      buy.
    * Blind to: trades the venue never sent. A venue time far in the future would close everything up to it:
      the caller refuses such messages; `reset` begins anew.

    Cost: a trade is O(1); the close of a minute is O(8) plus the occupied rows of the footprint of the minute
    before. No allocation after construction.
    """

    def __cinit__(
        self,
        *,
        int64_t tick,
        int64_t row_units=0,
        int64_t volume_bar_quantity=0,
        int64_t grace_ns=1_000_000_000,
        int64_t history=1_500,
        int64_t footprint_rows=4_096,
    ):
        cdef int i
        if tick < 1:
            raise ValueError(f"tick must be at least 1 price unit, found {tick}")
        if row_units < 0:
            raise ValueError(f"row_units must be 0 or positive, found {row_units}")
        if volume_bar_quantity < 0:
            raise ValueError(f"volume_bar_quantity must be 0 or positive, found {volume_bar_quantity}")
        if grace_ns < 0:
            raise ValueError(f"grace_ns must not be negative, found {grace_ns}")
        if history < 1 or history > MAX_HISTORY:
            raise ValueError(f"history must be 1 to {MAX_HISTORY} bars, found {history}")
        if footprint_rows < 16 or footprint_rows > MAX_FOOTPRINT_ROWS:
            raise ValueError(f"footprint_rows must be 16 to {MAX_FOOTPRINT_ROWS}, found {footprint_rows}")
        self.tick = tick
        self.fixed_row_units = row_units
        self.volume_bar_quantity = volume_bar_quantity
        self.grace_ns = grace_ns
        self.n_footprint_rows = footprint_rows
        for i in range(N_INTERVALS):
            self.capacities[i] = history if i == BAR_1M else LONG_HISTORY
            self.rings[i] = <Bar*>calloc(self.capacities[i], sizeof(Bar))
            if self.rings[i] == NULL:
                raise MemoryError
        self.open_footprint.rows = <FootprintRow*>calloc(footprint_rows, sizeof(FootprintRow))
        self.closed_footprint.rows = <FootprintRow*>calloc(footprint_rows, sizeof(FootprintRow))
        if self.open_footprint.rows == NULL or self.closed_footprint.rows == NULL:
            raise MemoryError
        self.reset()

    def __dealloc__(self):
        cdef int i
        for i in range(N_INTERVALS):
            free(self.rings[i])
        free(self.open_footprint.rows)
        free(self.closed_footprint.rows)

    cdef int apply_trade(self, const Trade* trade) noexcept nogil:
        cdef:
            int n = 0
            int64_t open_ns
            Bar* minute = &self.opened[<int>BAR_1M]
            Bar* filling = &self.opened[<int>BAR_VOLUME]
        self.closed_mask = 0
        if trade.teaches == 0 or trade.price <= 0 or trade.quantity <= 0:
            self.skipped += 1
            return 0
        if trade.venue_ns < self.closed_until_ns:
            self.late += 1
            return 0
        # An open minute begins at closed_until_ns, so its trades need no division.
        if minute.n_trades == 0 or trade.venue_ns >= minute.close_ns:
            open_ns = trade.venue_ns // MINUTE_NS * MINUTE_NS
            n = self.close_until(open_ns)
            begin(minute, trade, open_ns, open_ns + MINUTE_NS)
        extend(minute, trade)
        self.extend_footprint(&self.open_footprint, trade)
        if self.volume_bar_quantity != 0:
            if filling.n_trades == 0:
                begin(filling, trade, trade.venue_ns, 0)
            extend(filling, trade)
            filling.has_gap |= self.gap_pending
            if filling.volume >= self.volume_bar_quantity:
                filling.close_ns = trade.venue_ns + 1
                self.close_bar(BAR_VOLUME)
                n += 1
        minute.has_gap |= self.gap_pending
        self.gap_pending = 0
        return n

    cdef int advance(self, int64_t venue_ns) noexcept nogil:
        self.closed_mask = 0
        if venue_ns - self.grace_ns < self.closed_until_ns + MINUTE_NS:
            return 0
        return self.close_until((venue_ns - self.grace_ns) // MINUTE_NS * MINUTE_NS)

    cdef void mark_gap(self) noexcept nogil:
        cdef int i
        # Without a trade a bar is not open: the mark would be wiped when it begins, hence the pending flag.
        for i in range(N_INTERVALS):
            self.opened[i].has_gap |= GAP_UNKNOWN
        self.gap_pending |= GAP_UNKNOWN

    cdef const Bar* closed_bar(self, int interval, int64_t back) noexcept nogil:
        # `back` places before the newest; valid until the next trade or advance; NULL if it is not kept.
        cdef int64_t n
        if interval < 0 or interval >= N_INTERVALS:
            return NULL
        n = self.n_closed[interval]
        if back < 0 or back >= n or back >= self.capacities[interval]:
            return NULL
        return &self.rings[interval][(n - 1 - back) % self.capacities[interval]]

    cdef int read_open(self, int interval, Bar* out) noexcept nogil:
        # Returns 1 and the open bar, or 0 if none is open; O(1).
        cdef:
            int64_t open_ns, width_ns
            const Bar* minute = &self.opened[<int>BAR_1M]
        if interval < 0 or interval >= N_INTERVALS:
            return 0
        out[0] = self.opened[interval]
        if interval != BAR_1M and interval != BAR_VOLUME and minute.n_trades != 0:
            width_ns = WIDTHS_NS[interval]
            open_ns = minute.open_ns // width_ns * width_ns
            merge(out, minute, open_ns, open_ns + width_ns)
        return out.n_trades != 0

    cdef void reset(self) noexcept nogil:
        cdef int i
        for i in range(N_INTERVALS):
            self.n_closed[i] = 0
            memset(&self.opened[i], 0, sizeof(Bar))
        self.row_units = self.fixed_row_units
        memset(self.open_footprint.rows, 0, self.n_footprint_rows * sizeof(FootprintRow))
        memset(self.closed_footprint.rows, 0, self.n_footprint_rows * sizeof(FootprintRow))
        self.open_footprint.low = 0
        self.open_footprint.high = -1
        self.closed_footprint.low = 0
        self.closed_footprint.high = -1
        self.closed_footprint_ns = 0
        self.closed_until_ns = 0
        self.gap_pending = GAP_UNKNOWN
        self.closed_mask = 0

    cdef int close_until(self, int64_t boundary_ns) noexcept nogil:
        # Close every time bar that ends at or before the boundary, the minute first: the others contain it.
        cdef:
            int i
            int n = 0
            int64_t open_ns
            Bar* minute = &self.opened[<int>BAR_1M]
            Footprint footprint
        if boundary_ns > self.closed_until_ns:
            self.closed_until_ns = boundary_ns
        if minute.n_trades != 0 and minute.close_ns <= boundary_ns:
            for i in range(1, N_TIME_INTERVALS):
                open_ns = minute.open_ns // WIDTHS_NS[i] * WIDTHS_NS[i]
                merge(&self.opened[i], minute, open_ns, open_ns + WIDTHS_NS[i])
            self.closed_footprint_ns = minute.open_ns
            self.close_bar(BAR_1M)
            n += 1
            footprint = self.closed_footprint
            self.closed_footprint = self.open_footprint
            self.clear_footprint(&footprint)
            self.open_footprint = footprint
        for i in range(1, N_TIME_INTERVALS):
            if self.opened[i].n_trades != 0 and self.opened[i].close_ns <= boundary_ns:
                self.close_bar(i)
                n += 1
        return n

    cdef void clear_footprint(self, Footprint* footprint) noexcept nogil:
        if footprint.low <= footprint.high:
            memset(
                &footprint.rows[footprint.low], 0, (footprint.high - footprint.low + 1) * sizeof(FootprintRow)
            )
        footprint.low = 0
        footprint.high = -1

    cdef void close_bar(self, int interval) noexcept nogil:
        cdef Bar* bar = &self.opened[interval]
        bar.is_closed = 1
        self.rings[interval][self.n_closed[interval] % self.capacities[interval]] = bar[0]
        self.n_closed[interval] += 1
        self.closed_mask |= 1 << interval
        memset(bar, 0, sizeof(Bar))

    cdef void extend_footprint(self, Footprint* footprint, const Trade* trade) noexcept nogil:
        cdef int64_t index, ticks
        if self.row_units == 0:
            ticks = trade.price // 10_000 // self.tick
            self.row_units = (ticks if ticks > 1 else 1) * self.tick
        index = trade.price // self.row_units
        if footprint.low > footprint.high:
            footprint.base_row = index - self.n_footprint_rows // 2
        index -= footprint.base_row
        if index < 0 or index >= self.n_footprint_rows:
            self.outside += 1
            return
        if trade.aggressor == BUY:
            footprint.rows[index].buy += trade.quantity
        elif trade.aggressor == SELL:
            footprint.rows[index].sell += trade.quantity
        else:
            return
        if footprint.low > footprint.high:
            footprint.low = index
            footprint.high = index
        elif index < footprint.low:
            footprint.low = index
        elif index > footprint.high:
            footprint.high = index

    def apply(
        self,
        int64_t trade_id,
        int64_t price,
        int64_t quantity,
        int64_t venue_ns,
        int aggressor,
        first_id: int | None = None,
        last_id: int | None = None,
        bint teaches=True,
    ) -> int:
        """Take in one trade and return how many bars it closed, over all intervals.

        `price` and `quantity` in units, `aggressor` a `Side`; `first_id` and `last_id` are the trades an
        aggTrade merges, by default the trade's own id; `teaches` is False for a print that is no market
        trade.
        """
        cdef Trade trade
        memset(&trade, 0, sizeof(Trade))
        trade.trade_id = trade_id
        trade.price = price
        trade.quantity = quantity
        trade.regular_quantity = quantity
        trade.venue_ns = venue_ns
        trade.event_ns = venue_ns
        trade.aggressor = aggressor
        trade.first_id = trade_id if first_id is None else first_id
        trade.last_id = trade_id if last_id is None else last_id
        trade.is_aggregate = first_id is not None
        trade.teaches = teaches
        return self.apply_trade(&trade)

    def advance_to(self, int64_t venue_ns) -> int:
        """Tell the venue time of any message; return how many bars it closed, over all intervals."""
        return self.advance(venue_ns)

    def note_gap(self) -> None:
        """Say that trades may be missing between the last one and the next."""
        self.mark_gap()

    def clear(self) -> None:
        """Forget all bars and the row height; the counters of trades left out run on."""
        self.reset()

    def bars(self, str interval) -> list[BarRecord]:
        """Return the closed bars of an interval that are still kept, oldest first."""
        return self._closed(index_of(interval))

    def volume_bars(self) -> list[BarRecord]:
        """Return the closed volume bars that are still kept, oldest first."""
        return self._closed(BAR_VOLUME)

    def n_closed_bars(self, str interval) -> int:
        """Return how many bars of an interval have closed since construction or the last reset."""
        return self.n_closed[index_of(interval)]

    def open_bar(self, str interval) -> BarRecord | None:
        """Return the open bar of an interval as it stands, or None if it has no trade yet."""
        cdef Bar bar
        if not self.read_open(index_of(interval), &bar):
            return None
        return record_of(&bar)

    def open_volume_bar(self) -> BarRecord | None:
        """Return the open volume bar as it stands (``close_ns`` 0), or None if it has no trade yet."""
        cdef Bar bar
        if not self.read_open(BAR_VOLUME, &bar):
            return None
        return record_of(&bar)

    def footprint(self, bint closed=True) -> list[tuple[int, int, int]]:
        """Return ``(lowest price of the row, bought, sold)`` of each row traded in, ascending.

        Parameters
        ----------
        closed : bool
            True for the last closed one-minute bar, False for the open one.
        """
        cdef Footprint* footprint = &self.closed_footprint if closed else &self.open_footprint
        cdef int64_t i
        return [
            (
                (footprint.base_row + i) * self.row_units,
                int128_to_object(footprint.rows[i].buy),
                int128_to_object(footprint.rows[i].sell),
            )
            for i in range(footprint.low, footprint.high + 1)
            if footprint.rows[i].buy != 0 or footprint.rows[i].sell != 0
        ]

    cdef list _closed(self, int interval):
        cdef int64_t back
        cdef int64_t n = self.n_closed[interval]
        if n > self.capacities[interval]:
            n = self.capacities[interval]
        return [record_of(self.closed_bar(interval, back)) for back in range(n - 1, -1, -1)]

    @property
    def footprint_row_units(self) -> int:
        """Row height of the footprint in price units; 0 before the first trade if it is chosen there."""
        return self.row_units

    @property
    def last_closed_mask(self) -> int:
        """Bits ``1 << BarInterval`` of the bars that the last trade or advance closed."""
        return self.closed_mask

    @property
    def closed_until(self) -> int:
        """Venue time in ns before which every trade is late."""
        return self.closed_until_ns

    @property
    def late_trades(self) -> int:
        """Trades left out of all bars since construction because their minute was closed, or kept no more."""
        return self.late

    @property
    def overdue_trades(self) -> int:
        """Trades of the feed that corrected bars since construction because their minute was closed."""
        return self.overdue

    @property
    def skipped_trades(self) -> int:
        """Trades left out since construction because they do not teach or are not positive."""
        return self.skipped

    @property
    def outside_trades(self) -> int:
        """Trades missing from a footprint since construction because their price was outside its rows."""
        return self.outside
