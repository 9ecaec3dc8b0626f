"""Trade flow of one instrument: the id chain, sweep assembly, CVD, rolling signed rates."""

cimport cython
from libc.stdint cimport INT64_MAX
from libc.string cimport memset

from native.events cimport Side, int128_to_object


# Not enum members: an enum that needs 64 bits is unsigned, and would drag signed times along.
cdef int64_t DAY_NS = 86_400_000_000_000
cdef int64_t MAX_SWEEP_TIMEOUT_NS = 60_000_000_000


cdef object sweep_to_tuple(const Sweep* sweep):
    return (
        sweep.first_trade_id,
        sweep.last_trade_id,
        sweep.first_price,
        sweep.last_price,
        sweep.venue_ns,
        sweep.first_recv_ns,
        sweep.last_recv_ns,
        int128_to_object(sweep.quantity),
        int128_to_object(sweep.notional),
        sweep.aggressor,
        sweep.n_trades,
        sweep.n_prices,
        bool(sweep.is_aggregate),
    )


cdef inline void add_rate(FlowRate* total, const FlowRate* part) noexcept nogil:
    total.buy += part.buy
    total.sell += part.sell
    total.n_trades += part.n_trades


cdef inline void subtract_rate(FlowRate* total, const FlowRate* part) noexcept nogil:
    total.buy -= part.buy
    total.sell -= part.sell
    total.n_trades -= part.n_trades


@cython.final
cdef class Flow:
    """Keep the tape of one instrument: id chain, sweeps, CVD, signed rates.

    Parameters
    ----------
    sweep_timeout_ns : int
        An open sweep is due this long after its last trade was received; 1 ns to 60 s.

    Raises
    ------
    ValueError
        If the timeout is out of its range.

    Notes
    -----
    The caller's order for each trade: close the sweep if it is due, ask `accepts`, ask `ends_sweep` and
    close, `apply_trade`.

    * *Id chain*: trade ids, or aggregate ids on a feed of aggregate trades; one instrument reads one of the
      two feeds.
    * *Sweep*: consecutive trades with the same aggressor, the same venue time, consecutive ids and a price
      that never falls (BUY) or never rises (SELL). It is closed by the first trade that does not continue
      it, or by the timer at ``last_recv_ns + sweep_timeout_ns`` (that instant included).
    * *CVD*: ``sum of side * quantity``, exact. The session starts at zero with the first trade whose venue
      time lies in a later UTC day; a trade of an earlier day that comes after it counts in the total only.
    * *Rates*: sums over buckets of 100 ms of receive time. A window of W covers the running bucket and the
      W/100 ms - 1 before it, so it reaches back more than W - 100 ms and at most W.
    * A print that does not teach moves the id chain and nothing else: a sweep goes on after it.

    Blind to: who traded and how many orders stood behind a sweep (inferred from time, side and ids;
    aggregate trades may merge several orders), and trades lost in transit, which are only counted in
    `missing_ids`.
    """

    def __cinit__(self, int64_t sweep_timeout_ns=10_000_000) -> None:
        if not 1 <= sweep_timeout_ns <= MAX_SWEEP_TIMEOUT_NS:
            raise ValueError(
                f"sweep_timeout_ns is expected from 1 to {MAX_SWEEP_TIMEOUT_NS}, found {sweep_timeout_ns}"
            )
        self.sweep_timeout_ns = sweep_timeout_ns
        self.sweep_due_ns = INT64_MAX
        self.last_trade_id = -1
        self.day = -1
        self.continuing_id = -1

    cdef bint accepts(self, const Trade* trade) noexcept nogil:
        """Whether the trade is new; a duplicate or an older id is counted and refused."""
        if trade.trade_id <= self.last_trade_id:
            self.duplicates += 1
            return False
        return True

    cdef bint ends_sweep(self, const Trade* trade) noexcept nogil:
        """Whether a sweep is open and this accepted trade does not continue it; changes nothing."""
        if not self.sweep_is_open or not trade.teaches:
            return False
        if trade.trade_id != self.continuing_id:
            return True
        if trade.aggressor != self.sweep.aggressor or trade.venue_ns != self.sweep.venue_ns:
            return True
        if trade.aggressor == Side.BUY:
            return trade.price < self.sweep.last_price
        return trade.price > self.sweep.last_price

    cdef void close_sweep(self) noexcept nogil:
        """Make the running sweep the last closed one; nothing happens when none is open."""
        if not self.sweep_is_open:
            return
        self.closed = self.sweep
        self.sweep_is_open = False
        self.sweep_due_ns = INT64_MAX
        self.n_sweeps += 1

    cdef void join_sweep(self, const Trade* trade, int64_t now_ns) noexcept nogil:
        """Extend the running sweep, or open one."""
        if not self.sweep_is_open:
            self.sweep_is_open = True
            self.sweep.first_trade_id = trade.trade_id
            self.sweep.first_price = trade.price
            self.sweep.last_price = trade.price
            self.sweep.venue_ns = trade.venue_ns
            self.sweep.first_recv_ns = now_ns
            self.sweep.quantity = 0
            self.sweep.notional = 0
            self.sweep.aggressor = trade.aggressor
            self.sweep.n_trades = 0
            self.sweep.n_prices = 1
            self.sweep.is_aggregate = 0
        # Prices of a sweep are monotone, so a change is a price not seen in it before.
        if trade.price != self.sweep.last_price:
            self.sweep.n_prices += 1
            self.sweep.last_price = trade.price
        self.sweep.last_trade_id = trade.trade_id
        self.sweep.last_recv_ns = now_ns
        self.sweep.quantity += trade.quantity
        self.sweep.notional += <int128_t>trade.price * trade.quantity
        self.sweep.n_trades += 1
        self.sweep.is_aggregate |= trade.is_aggregate
        self.sweep_due_ns = now_ns + self.sweep_timeout_ns

    cdef void apply_trade(self, const Trade* trade, int64_t now_ns) noexcept nogil:
        """Take an accepted trade, after an ended sweep was closed.

        Parameters
        ----------
        trade
            Read during the call only.
        now_ns
            Receive time; one earlier than the newest rate bucket counts in that bucket.

        Cost: constant, plus one step per 100 ms passed since the last call (at most 600); no allocation.
        """
        cdef int64_t day
        cdef int128_t signed_quantity
        cdef FlowRate part
        if self.last_trade_id >= 0 and trade.trade_id > self.last_trade_id + 1:
            self.missing_ids += trade.trade_id - self.last_trade_id - 1
        self.last_trade_id = trade.trade_id
        if not trade.teaches:
            # It hands the chain on only if it stands in it: an id lost before it still ends the sweep.
            if trade.trade_id == self.continuing_id:
                self.continuing_id += 1
            return
        self.continuing_id = trade.trade_id + 1
        self.join_sweep(trade, now_ns)

        part.buy = 0
        part.sell = 0
        part.n_trades = 1
        if trade.aggressor == Side.BUY:
            part.buy = trade.quantity
        elif trade.aggressor == Side.SELL:
            part.sell = trade.quantity
        signed_quantity = part.buy - part.sell
        self.total_cvd += signed_quantity
        day = trade.venue_ns // DAY_NS
        if day > self.day:
            self.day = day
            self.day_cvd = 0
        if day == self.day:
            self.day_cvd += signed_quantity

        self.advance(now_ns)
        add_rate(&self.rate_ring[self.rate_head % RATE_BUCKETS], &part)
        add_rate(&self.rate_1s, &part)
        add_rate(&self.rate_10s, &part)
        add_rate(&self.rate_60s, &part)

    cdef void apply_late(self, const Trade* trade) noexcept nogil:
        """Take a trade that was missing: it counts in both CVDs, and in no sweep, no rate and no chain."""
        cdef int64_t day = trade.venue_ns // DAY_NS
        cdef int128_t signed_quantity = trade.quantity
        if trade.aggressor != Side.BUY:
            signed_quantity = -signed_quantity
        self.total_cvd += signed_quantity
        if day > self.day:
            self.day = day
            self.day_cvd = 0
        if day == self.day:
            self.day_cvd += signed_quantity

    cdef void advance(self, int64_t now_ns) noexcept nogil:
        """Let the rate windows slide to a receive time; an earlier one is ignored. Cost: <= 600 steps."""
        cdef int64_t target = now_ns // RATE_BUCKET_NS
        cdef int64_t head = self.rate_head
        cdef FlowRate* newest
        if target <= head:
            return
        if target - head >= RATE_BUCKETS:
            memset(self.rate_ring, 0, sizeof(self.rate_ring))
            memset(&self.rate_1s, 0, sizeof(FlowRate))
            memset(&self.rate_10s, 0, sizeof(FlowRate))
            memset(&self.rate_60s, 0, sizeof(FlowRate))
            self.rate_head = target
            return
        while head < target:
            head += 1
            # Forward by 600 - n, not back by n: the C remainder stays positive in the first minute.
            subtract_rate(&self.rate_1s, &self.rate_ring[(head + RATE_BUCKETS - BUCKETS_1S) % RATE_BUCKETS])
            subtract_rate(&self.rate_10s, &self.rate_ring[(head + RATE_BUCKETS - BUCKETS_10S) % RATE_BUCKETS])
            # The slot of the new bucket still holds the one 60 s older.
            newest = &self.rate_ring[head % RATE_BUCKETS]
            subtract_rate(&self.rate_60s, newest)
            memset(newest, 0, sizeof(FlowRate))
        self.rate_head = head

    cdef void reset_chain(self) noexcept nogil:
        """Start the id chain anew after a reconnect: any id is next, no gap is counted across."""
        self.last_trade_id = -1
        self.continuing_id = -1

    def apply(
        self,
        int64_t trade_id,
        int64_t price,
        int64_t quantity,
        int aggressor,
        int64_t venue_ns,
        int64_t now_ns,
        bint teaches=True,
        bint is_aggregate=False,
    ) -> tuple | None:
        """Take one trade as the corridor does: timer, chain, sweep, apply.

        Parameters
        ----------
        trade_id : int
            Trade id, or aggregate id.
        price : int
            Price units.
        quantity : int
            Quantity units.
        aggressor : int
            1 buyer, -1 seller.
        venue_ns : int
            When the venue matched it.
        now_ns : int
            Receive time.
        teaches : bool
            False for a print that only moves the id chain.
        is_aggregate : bool
            True for an aggregate trade.

        Returns
        -------
        tuple or None
            The sweep that this call closed: first and last trade id, first and last price, venue time, first
            and last receive time, quantity, notional (price units x quantity units), aggressor, trades,
            prices, is_aggregate.

        Raises
        ------
        ValueError
            If the aggressor is neither 1 nor -1.
        """
        cdef Trade trade
        cdef int64_t n_before = self.n_sweeps
        if aggressor != Side.BUY and aggressor != Side.SELL:
            raise ValueError(f"an aggressor is 1 (buyer) or -1 (seller), found {aggressor}")
        memset(&trade, 0, sizeof(Trade))
        trade.trade_id = trade_id
        trade.price = price
        trade.quantity = quantity
        trade.regular_quantity = quantity
        trade.venue_ns = venue_ns
        trade.event_ns = venue_ns
        trade.first_id = trade_id
        trade.last_id = trade_id
        trade.aggressor = aggressor
        trade.is_aggregate = is_aggregate
        trade.teaches = teaches
        if now_ns >= self.sweep_due_ns:
            self.close_sweep()
        if self.accepts(&trade):
            if self.ends_sweep(&trade):
                self.close_sweep()
            self.apply_trade(&trade, now_ns)
        return sweep_to_tuple(&self.closed) if self.n_sweeps > n_before else None

    def apply_time(self, int64_t now_ns) -> tuple | None:
        """Let time pass: close a due sweep and slide the rate windows.

        Parameters
        ----------
        now_ns : int
            Receive time.

        Returns
        -------
        tuple or None
            The sweep that the timer closed, as from `apply`.
        """
        cdef bint is_due = now_ns >= self.sweep_due_ns
        if is_due:
            self.close_sweep()
        self.advance(now_ns)
        return sweep_to_tuple(&self.closed) if is_due else None

    def apply_reconnect(self) -> tuple | None:
        """Close an open sweep and start the id chain anew.

        Returns
        -------
        tuple or None
            The sweep that was open, as from `apply`.
        """
        cdef bint was_open = self.sweep_is_open
        self.close_sweep()
        self.reset_chain()
        return sweep_to_tuple(&self.closed) if was_open else None

    def rates(self, int64_t window_ns) -> tuple:
        """Return what was traded in a rolling window of receive time.

        Parameters
        ----------
        window_ns : int
            1 s, 10 s or 60 s, in nanoseconds.

        Returns
        -------
        tuple of int
            Quantity units taken by buyers, by sellers, and the number of trades; the delta is the first
            minus the second.

        Raises
        ------
        ValueError
            If the window is none of the three.
        """
        cdef const FlowRate* rate
        if window_ns == 1_000_000_000:
            rate = &self.rate_1s
        elif window_ns == 10_000_000_000:
            rate = &self.rate_10s
        elif window_ns == 60_000_000_000:
            rate = &self.rate_60s
        else:
            raise ValueError(f"rates are kept over 1, 10 and 60 s in nanoseconds, found {window_ns}")
        return int128_to_object(rate.buy), int128_to_object(rate.sell), rate.n_trades

    @property
    def running(self) -> tuple | None:
        """The open sweep, as from `apply`; None when none is open."""
        return sweep_to_tuple(&self.sweep) if self.sweep_is_open else None

    @property
    def cvd(self) -> int:
        """Cumulative volume delta since construction, in quantity units."""
        return int128_to_object(self.total_cvd)

    @property
    def session_cvd(self) -> int:
        """Cumulative volume delta of the UTC day of venue time, in quantity units."""
        return int128_to_object(self.day_cvd)
