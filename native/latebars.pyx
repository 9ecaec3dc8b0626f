"""Bars that closed without some of their trades, and those trades when they come later.

A bar carries GAP_LISTED as long as a range of missing ids reaches into its time, GAP_UNKNOWN for good once nobody can
say what it lacks. A late trade corrects the bars of its venue time; its id tells whether it was the first or the last.
It is late because it was lost and asked for, or because the feed brought it when its minute had closed.
"""

from libc.stdint cimport int32_t, int64_t

from native.bars cimport (
    BAR_1M, GAP_LISTED, GAP_UNKNOWN, N_INTERVALS, N_TIME_INTERVALS, WIDTHS_NS, Bar, Bars, begin, extend,
)
from native.events cimport Trade


cdef inline void correct(Bar* bar, const Trade* trade) noexcept nogil:
    # Ids ascend with time: they say whether this trade is the first or the last of the bar.
    cdef int64_t last_id = bar.last_trade_id, close = bar.close
    if trade.first_id < bar.first_trade_id:
        bar.first_trade_id = trade.first_id
        bar.open = trade.price
    extend(bar, trade)
    if trade.last_id < last_id:
        bar.last_trade_id = last_id
        bar.close = close


cdef inline Bar* kept_bar(Bars bars, int interval, int64_t back) noexcept nogil:
    return <Bar*>bars.closed_bar(interval, back)


cdef void mark_listed_gap(Bars bars, int64_t after_ns, int64_t before_ns) noexcept nogil:
    # The trades between these two venue times are missing: bars that closed meanwhile lack some as well.
    cdef int i
    cdef int64_t back
    cdef Bar* bar
    for i in range(N_INTERVALS):
        bars.opened[i].has_gap |= GAP_LISTED
        back = 0
        bar = kept_bar(bars, i, back)
        while bar is not NULL and bar.close_ns > after_ns:
            if bar.open_ns <= before_ns:
                bar.has_gap |= GAP_LISTED
            back += 1
            bar = kept_bar(bars, i, back)
    bars.gap_pending |= GAP_LISTED


cdef void give_up_gap(Bars bars, const GapRange* given_up) noexcept nogil:
    # What is missing in these bars will not come: `review_gaps` clears the other bit.
    cdef int i
    cdef int64_t back
    cdef Bar* bar
    for i in range(N_INTERVALS):
        if bars.opened[i].has_gap & GAP_LISTED and bars.opened[i].open_ns <= given_up.before_ns:
            bars.opened[i].has_gap |= GAP_UNKNOWN
        back = 0
        bar = kept_bar(bars, i, back)
        while bar is not NULL and bar.close_ns > given_up.after_ns:
            if bar.has_gap & GAP_LISTED and bar.open_ns <= given_up.before_ns:
                bar.has_gap |= GAP_UNKNOWN
            back += 1
            bar = kept_bar(bars, i, back)
    if bars.gap_pending & GAP_LISTED:
        bars.gap_pending |= GAP_UNKNOWN


cdef void review_gaps(Bars bars, const GapRange* ranges, int64_t n) noexcept nogil:
    # A bar lacks listed trades as long as one of these ranges reaches into it.
    cdef int i
    cdef int64_t back, k
    cdef Bar* bar
    if n == 0:
        bars.gap_pending &= ~GAP_LISTED
    for i in range(N_INTERVALS):
        back = -1
        bar = &bars.opened[i]
        while bar is not NULL:
            if bar.has_gap & GAP_LISTED:
                bar.has_gap &= ~GAP_LISTED
                for k in range(n):
                    if bar.open_ns <= ranges[k].before_ns and (back < 0 or ranges[k].after_ns < bar.close_ns):
                        bar.has_gap |= GAP_LISTED
                        break
            back += 1
            bar = kept_bar(bars, i, back)


cdef void mark_listed_bars(Bars bars, int64_t venue_ns, const GapRange* ranges, int64_t n) noexcept nogil:
    # The time bars around a venue time lack listed trades if one of these ranges reaches into them.
    cdef int i
    cdef int64_t k
    cdef Bar* bar
    for i in range(N_TIME_INTERVALS):
        bar = <Bar*>bar_at(bars, i, venue_ns // WIDTHS_NS[i] * WIDTHS_NS[i])
        if bar is NULL:
            bar = &bars.opened[i]
        for k in range(n):
            if bar.open_ns <= ranges[k].before_ns and ranges[k].after_ns < bar.close_ns:
                bar.has_gap |= GAP_LISTED
                break


cdef bint apply_late(Bars bars, const Trade* trade) noexcept nogil:
    # A trade whose place among the others is told by its ids; False: its minute is kept no more.
    cdef Bar* minute = &bars.opened[<int>BAR_1M]
    if trade.venue_ns >= bars.closed_until_ns:
        if minute.n_trades == 0 or trade.venue_ns >= minute.close_ns:
            bars.apply_trade(trade)
        else:
            correct(minute, trade)
            bars.extend_footprint(&bars.open_footprint, trade)
        return True
    # A bar that begins with it is marked until `review_gaps` has seen whether more of it is missing.
    return correct_bars(bars, trade, GAP_LISTED)


cdef bint apply_overdue(Bars bars, const Trade* trade) noexcept nogil:
    # The feed's next trade, of a minute that is closed: its bars carry the mark of what may be missing before it, and
    # as with every trade that mark ends with it. False: its minute is kept no more.
    if not correct_bars(bars, trade, bars.gap_pending):
        return False
    bars.overdue += 1
    bars.gap_pending = 0
    return True


cdef bint correct_bars(Bars bars, const Trade* trade, int32_t gap) noexcept nogil:
    # All time bars of a closed minute's trade, and its footprint; False: its minute is kept no more.
    cdef:
        int i
        int64_t open_ns = trade.venue_ns // WIDTHS_NS[<int>BAR_1M] * WIDTHS_NS[<int>BAR_1M]
    if not correct_closed(bars, BAR_1M, trade, gap):
        bars.late += 1
        return False
    for i in range(1, N_TIME_INTERVALS):
        correct_closed(bars, i, trade, gap)
    if open_ns > bars.closed_footprint_ns:
        bars.clear_footprint(&bars.closed_footprint)
        bars.closed_footprint_ns = open_ns
    if open_ns == bars.closed_footprint_ns:
        bars.extend_footprint(&bars.closed_footprint, trade)
    return True


cdef bint correct_closed(Bars bars, int interval, const Trade* trade, int32_t gap) noexcept nogil:
    # The bar of a closed minute's trade: closed itself, or the closed part of an open one. False: not kept.
    cdef:
        int64_t open_ns = trade.venue_ns // WIDTHS_NS[interval] * WIDTHS_NS[interval]
        int64_t close_ns = open_ns + WIDTHS_NS[interval]
        int64_t capacity = bars.capacities[interval]
        int64_t back = 0, place
        Bar* ring = bars.rings[interval]
        Bar* bar
    if close_ns > bars.closed_until_ns:
        bar = &bars.opened[interval]
        if bar.n_trades != 0:
            correct(bar, trade)
            bar.has_gap |= gap
            return True
        begin(bar, trade, open_ns, close_ns)
        extend(bar, trade)
        bar.has_gap = gap
        return True
    bar = kept_bar(bars, interval, back)
    while bar is not NULL and bar.open_ns > open_ns:
        back += 1
        bar = kept_bar(bars, interval, back)
    if bar is not NULL and bar.open_ns == open_ns:
        correct(bar, trade)
        bar.has_gap |= gap
        return True
    if bar is NULL and bars.n_closed[interval] >= capacity:
        return False
    # All trades of that time were missing: the newer bars make room.
    place = bars.n_closed[interval]
    while back > 0:
        ring[place % capacity] = ring[(place - 1) % capacity]
        place -= 1
        back -= 1
    bar = &ring[place % capacity]
    begin(bar, trade, open_ns, close_ns)
    extend(bar, trade)
    bar.has_gap = gap
    bar.is_closed = 1
    bars.n_closed[interval] += 1
    return True


cdef const Bar* bar_at(Bars bars, int interval, int64_t open_ns) noexcept nogil:
    # The closed bar that begins at a time; NULL if there is none.
    cdef int64_t back = 0
    cdef const Bar* bar = bars.closed_bar(interval, back)
    while bar is not NULL and bar.open_ns > open_ns:
        back += 1
        bar = bars.closed_bar(interval, back)
    return bar if bar is not NULL and bar.open_ns == open_ns else NULL
