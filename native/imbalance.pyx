"""Depth imbalance in the entry band, now and around a sweep, and order flow imbalance at the touch.

The entry band is half-width = max(band_min_bps of mid, band_spread_multiple x five-minute median spread,
band_min_ticks) around mid with equal weights; rho = (bids - asks) / (bids + asks) over the quantities in it. The sums
are exact integers, kept per level change and per move of the band; nothing drifts.

Blind to: orders that come and go between two depth updates; levels that nobody means to trade; RPI orders, which the
venue leaves out of its depth; levels of the band behind the book's horizon that have not changed since the snapshot
(`beyond_horizon` counts such updates); and what `native.pulled` is blind to.
"""

from cython cimport final
from libc.math cimport INFINITY, NAN, exp, isnan
from libc.stdint cimport INT64_MAX
from libc.string cimport memmove

from native.events cimport (
    REASON_CONFIRMED, REASON_FEW_UPDATES, REASON_NOT_READY, REASON_PULLED, REASON_RHO_POST, REASON_RHO_POST_MIN,
    REASON_RHO_PRE, int128_to_object,
)


cdef double WIDEST = 1e18     # price units; the edges of a band still fit 64 bits


cdef void median_push(RollingMedian* median, double value) noexcept nogil:
    cdef int32_t i = 0
    cdef double gone
    if median.n == MEDIAN_SAMPLES:
        gone = median.ring[median.oldest]
        while median.ordered[i] != gone:
            i += 1
        memmove(&median.ordered[i], &median.ordered[i + 1], (MEDIAN_SAMPLES - 1 - i) * sizeof(double))
        median.ring[median.oldest] = value
        median.oldest = (median.oldest + 1) % MEDIAN_SAMPLES
        median.n -= 1
    else:
        median.ring[median.n] = value
    i = median.n
    while i > 0 and median.ordered[i - 1] > value:
        median.ordered[i] = median.ordered[i - 1]
        i -= 1
    median.ordered[i] = value
    median.n += 1


cdef double median_of(const RollingMedian* median) noexcept nogil:
    # The lower middle: a value that was seen.
    if median.n == 0:
        return NAN
    return median.ordered[(median.n - 1) // 2]


@final
cdef class Imbalance:
    """What the book leans to.

    Parameters
    ----------
    book : Book
        The book it reads; it must be told of every level change and of every end of a message.
    band_min_bps, band_spread_multiple, band_min_ticks
        Half-width of the entry band, see the module's text.
    rho_enter, rho_floor : float
        An imbalance signal starts when side x rho >= rho_enter and no update falls below rho_floor for `hold_ns`.
    hold_ns : int
        How long an imbalance must hold to become a signal.
    pulled_window_ns : int
        Window of the pulled share.
    rho_pre_min, rho_pre_ns, rho_post_ns, min_updates, pulled_max
        What confirms a whale, see `confirmation`.

    Notes
    -----
    Cost: constant per level change, O(levels between the old and the new edge of the band) per message; no allocation
    after construction. The medians take one sample a second of a valid book, 300 at most, and are not ready below 30.
    """

    def __cinit__(
        self, book: Book, *, band_min_bps: float = 2.0, band_spread_multiple: float = 1.5, band_min_ticks: int = 5,
        rho_enter: float = 0.60, rho_floor: float = 0.45, hold_ns: int = 500_000_000,
        pulled_window_ns: int = 2_000_000_000, rho_pre_min: float = -0.20, rho_pre_ns: int = 500_000_000,
        rho_post_ns: int = 400_000_000, min_updates: int = 3, pulled_max: float = 0.5,
    ):
        if not 0.0 <= band_min_bps <= 1000.0:
            raise ValueError(f"band_min_bps must be 0 to 1000, found {band_min_bps}")
        if not 0.0 <= band_spread_multiple <= 100.0:
            raise ValueError(f"band_spread_multiple must be 0 to 100, found {band_spread_multiple}")
        if not 0 <= band_min_ticks <= 100_000:
            raise ValueError(f"band_min_ticks must be 0 to 100000, found {band_min_ticks}")
        if not 0.0 <= rho_floor <= rho_enter <= 1.0:
            raise ValueError(f"0 <= rho_floor <= rho_enter <= 1 is needed, found {rho_floor}, {rho_enter}")
        if hold_ns < 0:
            raise ValueError(f"hold_ns must not be negative, found {hold_ns}")
        if pulled_window_ns < 1:
            raise ValueError(f"pulled_window_ns must be positive, found {pulled_window_ns}")
        if rho_pre_ns < 1 or rho_post_ns < 1:
            raise ValueError(f"rho_pre_ns and rho_post_ns must be positive, found {rho_pre_ns}, {rho_post_ns}")
        if not 1 <= min_updates <= HISTORY // 4:
            raise ValueError(f"min_updates must be 1 to {HISTORY // 4}, found {min_updates}")
        if not -1.0 <= rho_pre_min <= 1.0 or not 0.0 <= pulled_max <= 1.0:
            raise ValueError(f"rho_pre_min in [-1, 1] and pulled_max in [0, 1] are needed, found {rho_pre_min}, "
                             f"{pulled_max}")
        self._rho_pre_min = rho_pre_min
        self._rho_pre_ns = rho_pre_ns
        self.rho_post_ns = rho_post_ns
        self._min_updates = min_updates
        self._pulled_max = pulled_max
        self._book = book
        self._band_min_bps = band_min_bps
        self._spread_multiple = band_spread_multiple
        self._band_min_units = band_min_ticks * book.tick
        self._rho_enter = rho_enter
        self._rho_floor = rho_floor
        self._hold_ns = hold_ns
        self._pulled_window_ns = pulled_window_ns
        self._pulled = Pulled()
        self.reset()

    cdef void reset(self) noexcept nogil:
        # A new book: what was learnt from the old chain is not flow, and its history is not comparable.
        self._is_loaded = False
        self._has_previous = False
        self._n_history = 0
        self.rho = NAN
        self.bid_sum = 0
        self.ask_sum = 0
        self.low_bid = INT64_MAX
        self.high_ask = 0
        self.heavy_side = 0
        self.is_on = False
        self.hold_due_ns = INT64_MAX
        self.ofi_total = 0
        self.ofi = 0.0
        self._ofi_ns = 0
        self._pulled.reset()

    cdef void resum(self) noexcept nogil:
        # The book has learned levels without a change of them: where the band reached behind what it knew.
        if self._is_loaded:
            self.bid_sum = self._book.range_sum(1, self.low_bid, INT64_MAX - 1)
            self.ask_sum = self._book.range_sum(-1, 1, self.high_ask)

    cdef void on_level(self, int side, int64_t price, int64_t change, int64_t now_ns) noexcept nogil:
        if side > 0:
            if price < self.low_bid:
                return
            self.bid_sum += change
        else:
            if price > self.high_ask:
                return
            self.ask_sum += change
        self._pulled.note(side, price, change, False, now_ns)

    cdef void on_trade(self, int aggressor, int64_t price, int64_t quantity, int64_t now_ns) noexcept nogil:
        # A seller takes bids, a buyer takes asks.
        self._pulled.note(-aggressor, price, quantity, True, now_ns)

    cdef void _move_band(self, int64_t now_ns) noexcept nogil:
        cdef int64_t mid_x2 = self._book.bids.best + self._book.asks.best
        cdef int64_t half = <int64_t>(<double>mid_x2 * (self._band_min_bps * 0.5e-4))
        cdef int64_t low, high
        cdef double wide = self._spread_multiple * median_of(&self._spreads)
        if wide > <double>half:
            half = <int64_t>wide if wide < WIDEST else <int64_t>WIDEST
        if self._band_min_units > half:
            half = self._band_min_units
        low = ((mid_x2 + 1) >> 1) - half
        high = (mid_x2 >> 1) + half
        if low < self._book.bids.horizon or high > self._book.asks.horizon:
            self.beyond_horizon += 1
        if not self._is_loaded:
            self._loaded_ns = now_ns
        if not self._is_loaded or self._book.dropped_levels != self._dropped_seen:
            self._dropped_seen = self._book.dropped_levels
            self._is_loaded = True
            self.bid_sum = self._book.range_sum(1, low, INT64_MAX - 1)
            self.ask_sum = self._book.range_sum(-1, 1, high)
        else:
            if low < self.low_bid:
                self.bid_sum += self._book.range_sum(1, low, self.low_bid - 1)
            elif low > self.low_bid:
                self.bid_sum -= self._book.range_sum(1, self.low_bid, low - 1)
            if high > self.high_ask:
                self.ask_sum += self._book.range_sum(-1, self.high_ask + 1, high)
            elif high < self.high_ask:
                self.ask_sum -= self._book.range_sum(-1, high + 1, self.high_ask)
        self.low_bid = low
        self.high_ask = high

    cdef void _order_flow(self, int64_t now_ns) noexcept nogil:
        # Cont, Kukanov, Stoikov (2014): what joined and left the touch, bids positive. The first book after a
        # snapshot only sets the stage.
        cdef int64_t bid = self._book.bids.best, ask = self._book.asks.best
        cdef int64_t bid_quantity = self._book.quantity_at(1, bid)
        cdef int64_t ask_quantity = self._book.quantity_at(-1, ask)
        cdef int128_t e = 0
        if self._has_previous:
            if bid >= self._previous_bid:
                e += bid_quantity
            if bid <= self._previous_bid:
                e -= self._previous_bid_quantity
            if ask <= self._previous_ask:
                e -= ask_quantity
            if ask >= self._previous_ask:
                e += self._previous_ask_quantity
            self.ofi_total += e
            self.ofi = self.ofi * exp(<double>(self._ofi_ns - now_ns) * 1e-9) + <double>e
        self._has_previous = True
        self._previous_bid = bid
        self._previous_bid_quantity = bid_quantity
        self._previous_ask = ask
        self._previous_ask_quantity = ask_quantity
        self._ofi_ns = now_ns

    cdef int settle(self, int64_t now_ns) noexcept nogil:
        # Once a message, after the book settled. Returns 1 if an imbalance signal ended.
        cdef double bids, asks, rho
        cdef int ended = 0
        cdef int64_t slot
        if self._book.bids.n_levels == 0 or self._book.asks.n_levels == 0 or self._book.is_crossed():
            self.rho = NAN
            self._is_loaded = False
            self._has_previous = False
            self.low_bid = INT64_MAX
            self.high_ask = 0
        else:
            self._move_band(now_ns)
            self._order_flow(now_ns)
            bids = <double>self.bid_sum
            asks = <double>self.ask_sum
            self.rho = NAN if bids <= 0.0 or asks <= 0.0 else (bids - asks) / (bids + asks)
        rho = self.rho
        slot = self._n_history % HISTORY
        self._times[slot] = now_ns
        self._rhos[slot] = rho
        self._n_history += 1
        if self.heavy_side and not self.heavy_side * rho >= self._rho_floor:
            ended = 1 if self.is_on else 0
            self.heavy_side = 0
            self.is_on = False
            self.hold_due_ns = INT64_MAX
        if self.heavy_side == 0 and (rho >= self._rho_enter or rho <= -self._rho_enter):
            self.heavy_side = 1 if rho > 0.0 else -1
            self.hold_due_ns = now_ns + self._hold_ns
        return ended

    cdef void hold(self) noexcept nogil:
        # The timer at hold_due_ns: the imbalance has held and is a signal.
        self.is_on = self.heavy_side != 0
        self.hold_due_ns = INT64_MAX

    cdef void window(self, int side, int64_t begin_ns, int64_t end_ns, WindowRho* out) noexcept nogil:
        # Time-weighted mean of rho over (begin, end], from the newest update backwards. An update inside that was not
        # ready makes the window so, even if the next one came at the same moment.
        cdef int64_t i = self._n_history
        cdef int64_t first = 0 if i <= HISTORY else i - HISTORY
        cdef int64_t high = end_ns, when
        cdef double total = 0.0, rho
        out.mean = NAN
        out.lowest = INFINITY
        out.n_updates = 0
        while i > first:
            i -= 1
            when = self._times[i % HISTORY]
            if when > end_ns:
                continue
            rho = self._rhos[i % HISTORY]
            if when > begin_ns:
                out.n_updates += 1
                if isnan(rho):
                    total = NAN
                    out.lowest = NAN
                elif side * rho < out.lowest:
                    out.lowest = side * rho
            else:
                when = begin_ns
            if high > when:
                total += rho * <double>(high - when)
                high = when
            if when == begin_ns:
                out.mean = total / <double>(end_ns - begin_ns)
                return

    cdef double pulled_share(self, int side, int64_t now_ns) noexcept nogil:
        # Of the quantity added to a side of the band in (now - window, now]: how much was pulled again. Unknown unless
        # the band was followed all the while.
        cdef int64_t begin_ns = now_ns - self._pulled_window_ns
        if not self._is_loaded or begin_ns < self._loaded_ns:
            return NAN
        return self._pulled.share(side, begin_ns, now_ns)

    cdef void confirm(
        self, int side, int64_t first_ns, int64_t end_ns, int64_t now_ns, Confirmation* out
    ) noexcept nogil:
        # Judged at end_ns + rho_post_ns: what the book said before a sweep and says after it.
        cdef WindowRho before, after
        self.window(side, first_ns - self._rho_pre_ns, first_ns, &before)
        self.window(side, end_ns, end_ns + self.rho_post_ns, &after)
        out.rho_pre = before.mean
        out.rho_post = after.mean
        out.rho_post_min = after.lowest if after.n_updates else NAN
        out.n_updates = after.n_updates
        out.pulled_share = self.pulled_share(side, now_ns)
        if isnan(before.mean) or isnan(after.mean) or isnan(out.pulled_share):
            out.reason = REASON_NOT_READY
        elif after.n_updates < self._min_updates:
            out.reason = REASON_FEW_UPDATES
        elif not side * after.mean >= self._rho_enter:
            out.reason = REASON_RHO_POST
        elif not after.lowest >= self._rho_floor:
            out.reason = REASON_RHO_POST_MIN
        elif not side * before.mean >= self._rho_pre_min:
            out.reason = REASON_RHO_PRE
        elif not out.pulled_share < self._pulled_max:
            out.reason = REASON_PULLED
        else:
            out.reason = REASON_CONFIRMED

    cdef void sample(self) noexcept nogil:
        # Once a second while the book is valid and has two sides.
        cdef double mid
        if self._book.bids.n_levels == 0 or self._book.asks.n_levels == 0 or not self._is_loaded:
            return
        mid = 0.5 * <double>(self._book.bids.best + self._book.asks.best)
        median_push(&self._spreads, <double>(self._book.asks.best - self._book.bids.best))
        median_push(&self._depths, 0.5 * (<double>self.bid_sum + <double>self.ask_sum) * mid)

    cdef double median_spread(self) noexcept nogil:
        return median_of(&self._spreads) if self._spreads.n >= MEDIAN_READY else NAN

    cdef double median_depth(self) noexcept nogil:
        return median_of(&self._depths) if self._depths.n >= MEDIAN_READY else NAN

    @property
    def band(self) -> tuple:
        """Lowest bid and highest ask of the entry band in price units, both inside."""
        return self.low_bid, self.high_ask

    @property
    def band_sums(self) -> tuple:
        """Bid and ask quantity inside the band, quantity units."""
        return int128_to_object(self.bid_sum), int128_to_object(self.ask_sum)

    @property
    def order_flow(self) -> int:
        """Order flow imbalance at the touch since the last reset, quantity units, bids positive."""
        return int128_to_object(self.ofi_total)

    @property
    def signal_side(self) -> int:
        """Side of the imbalance signal that is on; 0 if none."""
        return self.heavy_side if self.is_on else 0

    @property
    def hold_due(self) -> int:
        """Moment at which the present imbalance becomes a signal; 0 if none is waiting."""
        return 0 if self.hold_due_ns == INT64_MAX else self.hold_due_ns

    def apply_level(self, side: int, price: int, quantity: int, now_ns: int) -> None:
        """Set a level in the book and tell the imbalance, as the market does."""
        cdef int64_t change = self._book.set_level(side, price, quantity)
        if change:
            self.on_level(side, price, change, now_ns)

    def apply_trade(self, aggressor: int, price: int, quantity: int, now_ns: int) -> None:
        """Tell of a trade: it explains a decrease of the level it took from."""
        self.on_trade(aggressor, price, quantity, now_ns)

    def apply_settle(self, now_ns: int) -> bool:
        """End a message; True if an imbalance signal ended."""
        self._book.settle()
        return bool(self.settle(now_ns))

    def apply_hold(self) -> None:
        """Run the hold timer."""
        self.hold()

    def apply_sample(self) -> None:
        """Take the one-second sample."""
        self.sample()

    def apply_reset(self) -> None:
        """Begin anew after a snapshot."""
        self.reset()

    def window_rho(self, side: int, begin_ns: int, end_ns: int) -> tuple:
        """Return what rho was over (begin, end].

        Parameters
        ----------
        side : int
            BUY (1) or SELL (-1): the sign under which the lowest is looked for.
        begin_ns, end_ns : int
            Receive times; an update at `begin_ns` is not inside, one at `end_ns` is.

        Returns
        -------
        tuple of (float, float, int)
            Time-weighted mean of rho, lowest side x rho of the updates inside, and their number. The mean is NaN if no
            update at or before `begin_ns` is kept, or if a side of the band was empty at any time of the window.
        """
        cdef WindowRho out
        if end_ns <= begin_ns:
            raise ValueError(f"end_ns must be after begin_ns, found {begin_ns}, {end_ns}")
        self.window(side, begin_ns, end_ns, &out)
        return out.mean, out.lowest, out.n_updates

    def confirmation(self, side: int, first_ns: int, end_ns: int, now_ns: int) -> tuple:
        """Judge a sweep by the book around it.

        Parameters
        ----------
        side : int
            Side of the aggressor.
        first_ns, end_ns : int
            Receive times of the sweep's first and last fill.
        now_ns : int
            Moment of the judgement, end_ns + rho_post_ns in the market.

        Returns
        -------
        tuple of (int, float, float, float, int, float)
            EntryReason (0 = confirmed), rho_pre, rho_post, lowest side x rho after, updates after, pulled share.

        Notes
        -----
        Confirmed when side x rho_post >= rho_enter over (end, end + rho_post_ns] with at least `min_updates` updates,
        none below rho_floor, side x rho_pre >= rho_pre_min over the rho_pre_ns before the first fill, and less than
        `pulled_max` of the supporting side's additions pulled again. What comes after that moment changes nothing.
        """
        cdef Confirmation out
        self.confirm(side, first_ns, end_ns, now_ns, &out)
        return out.reason, out.rho_pre, out.rho_post, out.rho_post_min, out.n_updates, out.pulled_share

    def pulled(self, side: int, now_ns: int) -> float:
        """Return the share of a side's additions within the window that was pulled again, 0 to 1.

        NaN if unknown: the band was not followed over the whole window, or more changed than `native.pulled` keeps.
        """
        return self.pulled_share(side, now_ns)

    def medians(self) -> tuple:
        """Return five-minute medians: spread (price units), one-side depth (price x quantity units); NaN: not ready."""
        return self.median_spread(), self.median_depth()
