"""Whales: sweeps that are large against a floor, the depth of the book and the last hour of sweeps."""

cimport cython
from libc.math cimport INFINITY, NAN, isnan, log, pow
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from native.events cimport Side, int128_t


cdef enum:
    MAX_CAPACITY = 16_777_216
    MEDIANS_OF_FLOOR = 20     # adaptive floor: this many median sweeps

cdef double SMALLEST_QUOTE = 1e-2
cdef double BUCKET_RATIO = 1.01
cdef double INVERSE_LOG_RATIO = 1.0 / log(BUCKET_RATIO)

# Lower edges, one beyond the last bucket. The table alone decides where a value belongs; the logarithm only
# guesses the place.
cdef double[NOTIONAL_BUCKETS + 1] EDGES


cdef void fill_edges() noexcept nogil:
    cdef int i
    for i in range(NOTIONAL_BUCKETS + 1):
        EDGES[i] = SMALLEST_QUOTE * pow(BUCKET_RATIO, i)


fill_edges()


cdef int32_t bucket_of(double quote) noexcept nogil:
    """Bucket of a notional; what lies outside the table goes to its ends."""
    cdef int32_t bucket
    if not quote > EDGES[0]:
        return 0
    if quote >= EDGES[NOTIONAL_BUCKETS - 1]:
        return NOTIONAL_BUCKETS - 1
    bucket = <int32_t>(log(quote / SMALLEST_QUOTE) * INVERSE_LOG_RATIO)
    while EDGES[bucket] > quote:
        bucket -= 1
    while EDGES[bucket + 1] <= quote:
        bucket += 1
    return bucket


cdef int128_t int128_from_object(object value) except? -1:
    cdef int64_t high = value >> 64
    cdef uint64_t low = value & 0xFFFF_FFFF_FFFF_FFFF
    return (<int128_t>high << 64) | low


cdef int fill_sweep(Sweep* sweep, tuple record) except -1:
    memset(sweep, 0, sizeof(Sweep))
    (
        sweep.first_trade_id,
        sweep.last_trade_id,
        sweep.first_price,
        sweep.last_price,
        sweep.venue_ns,
        sweep.first_recv_ns,
        sweep.last_recv_ns,
        quantity,
        notional,
        sweep.aggressor,
        sweep.n_trades,
        sweep.n_prices,
        sweep.is_aggregate,
    ) = record
    sweep.quantity = int128_from_object(quantity)
    sweep.notional = int128_from_object(notional)
    return 0


@cython.final
cdef class Whale:
    """Find sweeps that are large now, and group them into episodes.

    Parameters
    ----------
    floor_quote : float
        Least notional of a whale, in quote; at least 0.
    notional_scale : float
        Quote per price unit x quantity unit, of an inverse contract per quantity unit; more than 0.
    is_inverse : bool
        An inverse contract: its notional is its quantity, whatever the price.
    adaptive_floor : bool
        True: the floor is ``max(floor_quote, 20 x median sweep of the window)``.
    depth_share : float
        Share of the median one-side depth that a whale must reach; at least 0.
    quantile : float
        Quantile of sweep notional that a whale must reach; 0 to 1.
    window_ns : int
        Length of the window of sweeps, in receive time; at least 1.
    min_sweeps : int
        Sweeps in the window before there is a threshold; 1 to `capacity`.
    capacity : int
        Most sweeps in the window, 1 to 16,777,216 (16 bytes each). When it is full the oldest goes early,
        and is counted in `early_evictions`: the quantile is then one of the last `capacity` sweeps.
    episode_gap_ns : int
        Same-side whales no further apart than this are one episode; at least 0.
    quantity_scale : float
        Base units, of an inverse contract contracts, per quantity unit: for events.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    MemoryError
        If the window cannot be allocated.

    Notes
    -----
    ``threshold = max(floor, depth_share x depth median, quantile of the window)``, read when a sweep begins,
    that is before any part of it is in the window. The window holds the sweeps closed in ``(now - window_ns,
    now]``, counted in log buckets 1 % wide from 1e-2 to 1e12 quote (what lies outside goes to the ends). The
    quantile is that of ``numpy.quantile(window, q, method="lower")``, rank ``floor(q (n - 1))``, as the
    lower edge of its bucket: never above the exact one, below it by less than 1 %.

    An episode belongs to a side: a whale joins the last episode of its own side if it began no later than
    `episode_gap_ns` after that episode's last whale ended, whatever the other side did between. So `episode`
    can return to a lower number.

    Blind to: who stands behind a sweep, parents sliced below the threshold, off-book trades, and whether it
    opens or closes a position.

    Cost: insertion, eviction and quantile are O(log buckets), 12 steps each; no allocation after
    construction.
    """

    def __cinit__(
        self,
        *,
        double floor_quote,
        double notional_scale,
        bint adaptive_floor,
        bint is_inverse=False,
        double depth_share=0.5,
        double quantile=0.995,
        int64_t window_ns=3_600_000_000_000,
        int64_t min_sweeps=500,
        int64_t capacity=131_072,
        int64_t episode_gap_ns=2_000_000_000,
        double quantity_scale=1.0,
    ) -> None:
        if not 0.0 <= floor_quote < INFINITY:
            raise ValueError(f"floor_quote is expected finite and at least 0, found {floor_quote}")
        if not 0.0 < notional_scale < INFINITY:
            raise ValueError(f"notional_scale is expected finite and more than 0, found {notional_scale}")
        if not 0.0 <= depth_share < INFINITY:
            raise ValueError(f"depth_share is expected finite and at least 0, found {depth_share}")
        if not 0.0 <= quantile <= 1.0:
            raise ValueError(f"quantile is expected from 0 to 1, found {quantile}")
        if window_ns < 1:
            raise ValueError(f"window_ns is expected at least 1, found {window_ns}")
        if not 1 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"capacity is expected from 1 to {MAX_CAPACITY} sweeps, found {capacity}")
        if not 1 <= min_sweeps <= capacity:
            raise ValueError(f"min_sweeps is expected from 1 to capacity ({capacity}), found {min_sweeps}")
        if episode_gap_ns < 0:
            raise ValueError(f"episode_gap_ns is expected at least 0, found {episode_gap_ns}")
        self.entries = <WindowEntry*>calloc(capacity, sizeof(WindowEntry))
        if self.entries == NULL:
            raise MemoryError(f"no memory for a window of {capacity} sweeps")
        self.floor_quote = floor_quote
        self.notional_scale = notional_scale
        self.quantity_scale = quantity_scale
        self.is_inverse = is_inverse
        self.adaptive_floor = adaptive_floor
        self.depth_share = depth_share
        self.quantile = quantile
        self.window_ns = window_ns
        self.min_sweeps = min_sweeps
        self.capacity = capacity
        self.episode_gap_ns = episode_gap_ns
        self.depth_median = NAN
        self.sweep_quantile = NAN
        self.sweep_median = NAN
        self.whale_threshold = NAN
        self.threshold_is_stale = True

    def __dealloc__(self) -> None:
        free(self.entries)

    cdef void set_depth_median(self, double one_side_depth_quote) noexcept nogil:
        """Take the median one-side depth of the entry band in quote; NaN or at most 0 means not ready."""
        if not one_side_depth_quote > 0.0:
            one_side_depth_quote = NAN
        if one_side_depth_quote != self.depth_median:
            self.depth_median = one_side_depth_quote
            self.threshold_is_stale = True

    cdef double threshold(self) noexcept nogil:
        """Notional in quote from which a sweep that begins now is a whale; NaN while warming up. Cached
        between changes."""
        cdef double value
        if not self.threshold_is_stale:
            return self.cached_threshold
        self.threshold_is_stale = False
        if self.n_window < self.min_sweeps or isnan(self.depth_median):
            value = NAN
        else:
            value = self.floor_quote
            if self.adaptive_floor and MEDIANS_OF_FLOOR * self.sweep_median > value:
                value = MEDIANS_OF_FLOOR * self.sweep_median
            if self.depth_share * self.depth_median > value:
                value = self.depth_share * self.depth_median
            if self.sweep_quantile > value:
                value = self.sweep_quantile
        self.cached_threshold = value
        return value

    cdef double notional_of(self, const Sweep* sweep) noexcept nogil:
        """Notional of a sweep in quote."""
        return <double>(sweep.quantity if self.is_inverse else sweep.notional) * self.notional_scale

    cdef void describe(
        self, FlowEvent* event, const Sweep* sweep, int64_t episode, double threshold
    ) noexcept nogil:
        """Write a sweep into an event, and the episode and threshold that it was judged by."""
        event.episode = episode
        event.first_price = sweep.first_price
        event.last_price = sweep.last_price
        event.quantity = <double>sweep.quantity * self.quantity_scale
        event.notional = self.notional_of(sweep)
        event.threshold = threshold
        event.n_trades = sweep.n_trades
        event.n_prices = sweep.n_prices

    cdef bint opens(self, const Sweep* sweep) noexcept nogil:
        """Whether the running sweep becomes a whale with the trade just added; true once per sweep.

        Called after every trade of a sweep. The first call of a sweep reads the threshold, which then holds
        for all of it.
        """
        cdef int side
        if not self.sweep_is_tracked or sweep.first_trade_id != self.tracked_trade_id:
            self.sweep_is_tracked = True
            self.sweep_is_whale = False
            self.tracked_trade_id = sweep.first_trade_id
            self.tracked_threshold = self.threshold()
        # A NaN threshold compares false: no whale while warming up.
        if self.sweep_is_whale or not self.notional_of(sweep) >= self.tracked_threshold:
            return False
        self.sweep_is_whale = True
        self.whale_threshold = self.tracked_threshold
        self.whale_first_trade_id = sweep.first_trade_id
        self.n_whales += 1
        side = 1 if sweep.aggressor == Side.BUY else 0
        if (
            self.side_episode[side] == 0
            or sweep.first_recv_ns - self.side_last_ns[side] > self.episode_gap_ns
        ):
            self.n_episodes += 1
            self.side_episode[side] = self.n_episodes
        self.side_last_ns[side] = sweep.last_recv_ns
        self.episode = self.side_episode[side]
        self.episode_side = sweep.aggressor
        self.episode_last_ns = sweep.last_recv_ns
        return True

    cdef bint closes(self, const Sweep* sweep, int64_t now_ns) noexcept nogil:
        """Whether the closed sweep was an opened whale; puts it into the window. Called for every closed
        sweep.

        Parameters
        ----------
        sweep
            The sweep as it closed.
        now_ns
            Receive time, not before that of the last call.
        """
        cdef bint was_whale = (
            self.sweep_is_tracked and self.sweep_is_whale and sweep.first_trade_id == self.tracked_trade_id
        )
        cdef WindowEntry* entry
        self.sweep_is_tracked = False
        if was_whale:
            # No other whale can have opened since: the episode is this sweep's.
            self.side_last_ns[1 if sweep.aggressor == Side.BUY else 0] = sweep.last_recv_ns
            self.episode_last_ns = sweep.last_recv_ns
        self.evict_until(now_ns)
        if self.n_window == self.capacity:
            self.evict_oldest()
            self.early_evictions += 1
        entry = &self.entries[(self.oldest + self.n_window) % self.capacity]
        entry.recv_ns = now_ns
        entry.bucket = bucket_of(self.notional_of(sweep))
        self.add_to_tree(entry.bucket, 1)
        self.n_window += 1
        self.refresh()
        return was_whale

    cdef void advance(self, int64_t now_ns) noexcept nogil:
        """Let sweeps leave the window by time. Cost: O(log buckets) for each that leaves."""
        if self.evict_until(now_ns):
            self.refresh()

    cdef bint evict_until(self, int64_t now_ns) noexcept nogil:
        cdef int64_t n_before = self.n_window
        while self.n_window > 0 and now_ns - self.entries[self.oldest].recv_ns >= self.window_ns:
            self.evict_oldest()
        return self.n_window < n_before

    cdef void evict_oldest(self) noexcept nogil:
        self.add_to_tree(self.entries[self.oldest].bucket, -1)
        self.oldest += 1
        if self.oldest == self.capacity:
            self.oldest = 0
        self.n_window -= 1

    cdef void add_to_tree(self, int32_t bucket, int32_t change) noexcept nogil:
        cdef int32_t node = bucket + 1
        while node <= TREE_SIZE:
            self.tree[node] += change
            node += node & -node

    cdef double window_quantile(self, double q) noexcept nogil:
        """Lower edge of the bucket of rank floor(q (n - 1)); NaN when the window is empty."""
        cdef int64_t rank
        cdef int32_t node = 0
        cdef int32_t step = TREE_SIZE // 2
        if self.n_window == 0:
            return NAN
        rank = <int64_t>(q * <double>(self.n_window - 1))
        while step > 0:
            if self.tree[node + step] <= rank:
                node += step
                rank -= self.tree[node]
            step //= 2
        return EDGES[node]

    cdef void refresh(self) noexcept nogil:
        self.sweep_quantile = self.window_quantile(self.quantile)
        if self.adaptive_floor:
            self.sweep_median = self.window_quantile(0.5)
        self.threshold_is_stale = True

    def apply_depth_median(self, double one_side_depth_quote) -> None:
        """Take the median one-side depth.

        Parameters
        ----------
        one_side_depth_quote : float
            Quote; NaN or at most 0 means not ready.
        """
        self.set_depth_median(one_side_depth_quote)

    def apply_running(self, tuple sweep not None) -> bool:
        """Judge the running sweep after one of its trades.

        Parameters
        ----------
        sweep : tuple
            As `Flow.running` gives it.

        Returns
        -------
        bool
            True at the trade where it becomes a whale.
        """
        cdef Sweep record
        fill_sweep(&record, sweep)
        return self.opens(&record)

    def apply_closed(self, tuple sweep not None, int64_t now_ns) -> bool:
        """Take a closed sweep into the window.

        Parameters
        ----------
        sweep : tuple
            As `Flow.apply` gives it.
        now_ns : int
            Receive time.

        Returns
        -------
        bool
            True if it was an opened whale.
        """
        cdef Sweep record
        fill_sweep(&record, sweep)
        return self.closes(&record, now_ns)

    def apply_time(self, int64_t now_ns) -> None:
        """Let sweeps leave the window by time.

        Parameters
        ----------
        now_ns : int
            Receive time.
        """
        self.advance(now_ns)

    @property
    def threshold_quote(self) -> float:
        """Notional from which a sweep that begins now is a whale; NaN while warming up."""
        return self.threshold()
