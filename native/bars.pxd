"""Contents page of bars: time bars, volume bars and the footprint of the minute, from trades.

One rule decides what belongs to a bar: the venue's own time of the trade. Longer intervals are
sums of minutes.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from native.events cimport BUY, Trade, int128_t


cpdef enum BarInterval:
    """Which bars; the value is the bit of `Bars.closed_mask` too. All time intervals divide the UTC day."""
    BAR_1M = 0
    BAR_3M = 1
    BAR_5M = 2
    BAR_15M = 3
    BAR_30M = 4
    BAR_1H = 5
    BAR_4H = 6
    BAR_1D = 7
    BAR_VOLUME = 8


cdef enum:
    N_TIME_INTERVALS = 8
    N_INTERVALS = 9


cdef int64_t[N_TIME_INTERVALS] WIDTHS_NS


cdef enum:
    GAP_UNKNOWN = 1           # trades may be missing, nobody knows which: for good
    GAP_LISTED = 2            # trades are missing whose ids are known, see `native.tradegaps`


cdef struct Bar:
    int64_t open_ns           # venue time; of a volume bar: of its first trade
    int64_t close_ns          # exclusive end; of an open volume bar 0, of a closed one: its last trade + 1
    int64_t open              # price units
    int64_t high
    int64_t low
    int64_t close
    int128_t volume           # quantity units
    int128_t taker_buy_volume  # of it, bought by the aggressor
    int128_t notional         # price units x quantity units
    int64_t n_trades          # an aggTrade counts as the trades it merges
    int64_t first_trade_id    # of the first trade taken in; of an aggTrade its f ...
    int64_t last_trade_id     # of the last trade taken in; ... and its l
    int32_t has_gap           # bits GAP_UNKNOWN, GAP_LISTED; 0: whole
    int32_t is_closed


cdef struct FootprintRow:
    int128_t buy              # quantity units, by side of the aggressor
    int128_t sell


cdef struct Footprint:
    FootprintRow* rows        # [footprint_rows]
    int64_t base_row          # row of rows[0]
    int64_t low               # occupied places; low > high = empty
    int64_t high


cdef inline void begin(Bar* bar, const Trade* trade, int64_t open_ns, int64_t close_ns) noexcept nogil:
    memset(bar, 0, sizeof(Bar))
    bar.open_ns = open_ns
    bar.close_ns = close_ns
    bar.open = trade.price
    bar.high = trade.price
    bar.low = trade.price
    bar.first_trade_id = trade.first_id


cdef inline void extend(Bar* bar, const Trade* trade) noexcept nogil:
    if trade.price > bar.high:
        bar.high = trade.price
    if trade.price < bar.low:
        bar.low = trade.price
    bar.close = trade.price
    bar.volume += trade.quantity
    if trade.aggressor == BUY:
        bar.taker_buy_volume += trade.quantity
    bar.notional += <int128_t>trade.price * trade.quantity
    bar.n_trades += trade.last_id - trade.first_id + 1 if trade.last_id > trade.first_id else 1
    bar.last_trade_id = trade.last_id


@cython.final
cdef class Bars:
    """Time bars, volume bars and footprint of one instrument."""

    cdef:
        int64_t tick
        int64_t fixed_row_units   # 0 = chosen from the first price
        int64_t volume_bar_quantity
        int64_t grace_ns
        int64_t n_footprint_rows

        Bar* rings[N_INTERVALS]   # closed bars
        int64_t capacities[N_INTERVALS]
        int64_t n_closed[N_INTERVALS]     # ever, since construction or reset
        Bar opened[N_INTERVALS]   # n_trades 0 = none; of a longer bar only its closed minutes

        int64_t row_units
        Footprint open_footprint
        Footprint closed_footprint

        int64_t closed_footprint_ns   # open_ns of the minute of the closed footprint
        int64_t closed_until_ns   # all minutes that end at or before this are closed
        int32_t gap_pending       # bits of `Bar.has_gap` for the bars of the next trade
        int32_t closed_mask       # bits 1 << BarInterval of the bars closed by the last call
        int64_t late
        int64_t overdue
        int64_t skipped
        int64_t outside

    # hot
    cdef int apply_trade(self, const Trade* trade) noexcept nogil
    cdef int advance(self, int64_t venue_ns) noexcept nogil
    cdef void mark_gap(self) noexcept nogil
    cdef void clear_footprint(self, Footprint* footprint) noexcept nogil
    cdef const Bar* closed_bar(self, int interval, int64_t back) noexcept nogil
    cdef int read_open(self, int interval, Bar* out) noexcept nogil
    cdef void reset(self) noexcept nogil
    cdef int close_until(self, int64_t boundary_ns) noexcept nogil
    cdef void close_bar(self, int interval) noexcept nogil
    cdef void extend_footprint(self, Footprint* footprint, const Trade* trade) noexcept nogil

    # cold
    cdef list _closed(self, int interval)
