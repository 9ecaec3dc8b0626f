"""All we know of one instrument: one frame in, one trigger mask out.

A conductor. It holds no formula; it says in which order the rooms hear of a message:

* depth: ids judged -> levels into book and imbalance -> window, crossed check, imbalance settled -> cross-check
* trade: duplicate? -> a sweep that it ends is closed -> flow, profiles, bars -> whale
* timers run before the frames of a read, each at its own due time, one mask at a time
"""

import numpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython cimport final
from libc.math cimport NAN

from native.alignment cimport AlignmentRule, placed_object, rule_of
from native.clock cimport monotonic_ns
from native.entry cimport describe_confirmation
from native.events cimport (
    COINM, FLOW_ENTRY_ARMED, FLOW_ENTRY_REFUSED, FLOW_IMBALANCE_OFF, FLOW_IMBALANCE_ON, FLOW_WHALE_CLOSE,
    FLOW_WHALE_OPEN, MASK_DUE, MASK_ENTRY, MASK_ENTRY_EXPIRED, MASK_GAP, MASK_IMBALANCE, MASK_LEVEL, MASK_LIVE,
    MASK_REFUSED, MASK_STALE, MASK_WHALE_CLOSE, MASK_WHALE_OPEN, MESSAGE_DEPTH, MESSAGE_KLINE, MESSAGE_PARTIAL,
    MESSAGE_SNAPSHOT, MESSAGE_TICKER, MESSAGE_TRADE, PARSE_FOREIGN, PARSE_OK, REASON_CONFIRMED,
    REASON_SUPERSEDED, SEQUENCE_LIVE, SPOT, USDM, int128_to_object,
)
from native.histogram cimport Histogram
from native.imbalance cimport Confirmation
from native.refresh cimport is_whole
from native.sequence cimport (
    ACTION_APPLY, ACTION_BREAK, ACTION_IGNORE,
)
from native.triggers cimport (
    TIMER_CONFIRM, TIMER_EXPIRY, TIMER_HOLD, TIMER_SECOND, TIMER_STALE, TIMER_SWEEP,
)
from native.walk cimport walk_bps

from native.entry import Candidate


cdef int64_t SECOND_NS = 1000000000


@final
cdef class Market:
    """The market of one instrument.

    Parameters
    ----------
    symbol : str
        Venue symbol in upper case.
    kind : int
        MarketKind: the venue's rules.
    index, epoch : int
        Dense instrument index and instrument epoch, stamped on every event.
    price_digits, quantity_digits : int
        Units: 10^-digits.
    tick : int
        Price units per tick.
    contract_size : float
        Quote per inverse contract; 0 = the venue's usual 100 for BTC, 10 for others. Ignored elsewhere.
    others
        The fields of `engine.config.MarketSettings`, whose documentation says what they mean.

    Notes
    -----
    Cost: see benchmarks; no allocation, lock or Python object per message. Threads: one.
    """

    def __cinit__(
        self, *, symbol: str, kind: int, index: int = 0, epoch: int = 1, price_digits: int, quantity_digits: int,
        tick: int, contract_size: float = 0.0, band_min_bps: float = 2.0, band_spread_multiple: float = 1.5,
        band_min_ticks: int = 5, rho_enter: float = 0.60, rho_floor: float = 0.45, rho_pre_min: float = -0.20,
        pulled_share_max: float = 0.5, rho_pre_ns: int = 500_000_000, rho_post_ns: int = 400_000_000,
        pulled_window_ns: int = 2_000_000_000, episode_window_ns: int = 2_000_000_000, min_updates: int = 3,
        imbalance_hold_ns: int = 500_000_000, whale_floor_quote: float = 10_000.0,
        whale_adaptive_floor: bool = True, whale_depth_share: float = 0.5, whale_quantile: float = 0.995,
        whale_window_ns: int = 3_600_000_000_000, whale_min_sweeps: int = 500, sweep_timeout_ns: int = 10_000_000,
        episode_gap_ns: int = 2_000_000_000, profile_window_ns: int = 14_400_000_000_000,
        profile_ready_ns: int = 3_600_000_000_000, session_ready_ns: int = 3_600_000_000_000,
        session_enabled: bool = True, value_area: float = 0.70, two_row: bool = False, row_bps: float = 1.0,
        node_share: float = 0.70, volatility_span: int = 20, volatility_ready_after: int = 5,
        stale_ns: int = 1_000_000_000, overflow_levels: int = 32_768, buffer_levels: int = 262_144,
    ):
        if kind not in (SPOT, USDM, COINM):
            raise ValueError(f"kind must be a MarketKind (0, 1, 2), found {kind}")
        if stale_ns < 1:
            raise ValueError(f"stale_ns must be positive, found {stale_ns}")
        self.symbol, self.kind = symbol, kind
        self.index, self.instrument_epoch = index, epoch
        self.price_digits, self.quantity_digits = price_digits, quantity_digits
        self.price_scale = 10.0 ** -price_digits
        self._quantity_scale = 10.0 ** -quantity_digits
        self._notional_scale = 10.0 ** -(price_digits + quantity_digits)
        if kind == COINM:
            self._contract_size = contract_size or (100.0 if symbol.startswith("BTCUSD") else 10.0)
            self._notional_scale = self._contract_size * self._quantity_scale
        self._wire = BinanceJson(
            symbol=symbol, price_digits=price_digits, quantity_digits=quantity_digits, is_spot=kind == SPOT
        )
        self.book = Book(tick=tick, far_capacity=overflow_levels)
        self.imbalance = Imbalance(
            self.book, band_min_bps=band_min_bps, band_spread_multiple=band_spread_multiple,
            band_min_ticks=band_min_ticks, rho_enter=rho_enter, rho_floor=rho_floor, hold_ns=imbalance_hold_ns,
            pulled_window_ns=pulled_window_ns, rho_pre_min=rho_pre_min, rho_pre_ns=rho_pre_ns,
            rho_post_ns=rho_post_ns, min_updates=min_updates, pulled_max=pulled_share_max,
        )
        self.flow = Flow(sweep_timeout_ns=sweep_timeout_ns)
        self.whale = Whale(
            floor_quote=whale_floor_quote, depth_share=whale_depth_share, quantile=whale_quantile,
            window_ns=whale_window_ns, min_sweeps=whale_min_sweeps, episode_gap_ns=episode_gap_ns,
            notional_scale=self._notional_scale, is_inverse=kind == COINM, adaptive_floor=whale_adaptive_floor,
            quantity_scale=self._quantity_scale,
        )
        self.areas = Areas(
            tick=tick, price_scale=self.price_scale, window_ns=profile_window_ns, rolling_ready_ns=profile_ready_ns,
            session_ready_ns=session_ready_ns, has_session=session_enabled, node_share=node_share, row_bps=row_bps,
            value_area=value_area, two_row=two_row,
        )
        self.bars = Bars(tick=tick, row_units=0)
        self.volatility = Volatility(span=volatility_span, ready_after=volatility_ready_after)
        self.triggers = Triggers()
        self.entry = Entry(self.imbalance, self.triggers, window_ns=episode_window_ns)
        self.sequence = Sequence(is_spot=kind == SPOT)
        self.crosscheck, self.latency = Crosscheck(), Latency()
        self.backlog = Backlog(capacity_levels=buffer_levels)
        self.events, self.bbo, self.tape = EventLog(), BboLog(), Tape()
        self.venue_time, self.skew = VenueTime(), FeedSkew()
        self.context = Context(self.bars)
        self.missing_trades = TradeGaps(self.flow, self.areas, self.bars, self.venue_time)
        self.refresh = Refresh(
            self.book, self.imbalance, tick=tick, far_capacity=overflow_levels, capacity_levels=buffer_levels
        )
        self._stale_ns = stale_ns
        self.update_id = -1

    cdef uint32_t apply_frame(self, const char* frame, int64_t length, int64_t recv_ns) noexcept nogil:
        cdef int64_t begin = monotonic_ns()
        cdef uint32_t mask
        self._wire.parse(frame, length)
        mask = self.apply_message(&self._wire.message, recv_ns)
        self.latency.record(self._wire.message.kind, monotonic_ns() - begin)
        return mask

    cdef uint32_t apply_message(self, const Message* message, int64_t recv_ns) noexcept nogil:
        cdef uint32_t mask = 0
        if message.status == PARSE_FOREIGN:
            self.foreign_messages += 1
            return 0
        self.messages += 1
        self.now_ns = recv_ns
        self.last_recv_ns = recv_ns
        if message.status != PARSE_OK:
            self.refused += 1
            return MASK_REFUSED
        if message.kind == MESSAGE_TICKER:
            self.tickers += 1
            self.crosscheck.on_ticker(&message.ticker)
        elif message.kind == MESSAGE_TRADE:
            self.trades += 1
            mask = self._on_trade(&message.trade)
        elif message.kind == MESSAGE_DEPTH:
            self.depth_updates += 1
            mask = self._on_depth(&message.depth)
        elif message.kind == MESSAGE_SNAPSHOT:
            mask = self._on_snapshot(&message.depth)
        elif message.kind == MESSAGE_PARTIAL:
            self.partial_books += 1
        elif self.context.take(message):
            self.klines += message.kind == MESSAGE_KLINE
        else:
            self.other_messages += 1
        return mask

    cdef double _depth_quote(self) noexcept nogil:
        cdef double depth = self.imbalance.median_depth()
        if self._contract_size > 0.0:
            depth /= 0.5 * <double>(self.book.bids.best + self.book.asks.best)
        return depth * self._notional_scale

    cdef uint32_t _on_depth(self, const DepthUpdate* update) noexcept nogil:
        cdef int action = self.sequence.judge(update)
        self.floored_quantities += update.floored
        if update.venue_ns and self.venue_time.believes(update.venue_ns, self.now_ns):
            self.bars.advance(update.venue_ns)
            self.skew.on_depth(update.venue_ns)
        if action == ACTION_APPLY:
            return self._apply_depth(update)
        if action == ACTION_IGNORE:
            if not self.sequence.is_lost():
                return 0
            action = ACTION_BREAK
        self.backlog.keep(update)
        if action == ACTION_BREAK:
            return self._invalidate()
        return 0

    cdef uint32_t _apply_depth(self, const DepthUpdate* update) noexcept nogil:
        cdef uint32_t mask = 0
        cdef int64_t bid = self.book.bids.best, ask = self.book.asks.best
        cdef int64_t change, best_ask
        cdef int32_t i, side
        for i in range(update.n_bids):
            change = self.book.set_level(1, update.bids[i].price, update.bids[i].quantity)
            if change:
                self.imbalance.on_level(1, update.bids[i].price, change, self.now_ns)
        for i in range(update.n_asks):
            change = self.book.set_level(-1, update.asks[i].price, update.asks[i].quantity)
            if change:
                self.imbalance.on_level(-1, update.asks[i].price, change, self.now_ns)
        self.book.settle()
        self.update_id = update.final_id
        self.depth_applied += 1
        best_ask = 0 if self.book.asks.n_levels == 0 else self.book.asks.best
        self.bbo.push(update.final_id, self.book.bids.best, best_ask)
        if self.book.is_crossed():
            self.crossed += 1
            self.sequence.break_chain()
            return self._invalidate()
        side = self.imbalance.heavy_side
        if self.imbalance.settle(self.now_ns):
            self._event(FLOW_IMBALANCE_OFF, side)
            mask |= MASK_IMBALANCE
        if self.imbalance.hold_due_ns != self.triggers.due[<int>TIMER_HOLD]:
            self.triggers.arm(TIMER_HOLD, self.imbalance.hold_due_ns)
        self.crosscheck.on_book(update.final_id, self.book.bids.best, best_ask)
        self.triggers.arm(TIMER_STALE, self.now_ns + self._stale_ns)
        if not self.is_valid:
            self.is_valid = True
            mask |= MASK_LIVE
        # A book that is live again may have moved past a level while it was not.
        if mask & MASK_LIVE or self.book.bids.best != bid or self.book.asks.best != ask:
            if self.entry.is_armed:
                mask |= MASK_ENTRY
            if self.triggers.check_levels(self.book.bids.best, self.book.asks.best):
                mask |= MASK_LEVEL
        if self.refresh.is_open:
            self.refresh.on_update(update)
        return mask

    cdef uint32_t _on_snapshot(self, const DepthUpdate* snapshot) noexcept nogil:
        # The kept updates that the snapshot does not hold yet follow it at once.
        cdef uint32_t mask = 0
        cdef const DepthUpdate* update
        cdef int action
        self.snapshots += 1
        self.floored_quantities += snapshot.floored
        if self.refresh.is_open:
            self.refresh.on_snapshot(snapshot, self.update_id)
            return 0
        if not self.sequence.start(snapshot.final_id):
            return 0
        self.book.load(snapshot, is_whole(snapshot))
        self.book_epoch += 1
        self.update_id = snapshot.final_id
        self.is_valid = False
        self.imbalance.reset()
        self.crosscheck.reset()
        self.triggers.disarm(TIMER_HOLD)
        update = self.backlog.front()
        while update is not NULL:
            action = self.sequence.judge(update)
            if action == ACTION_APPLY:
                mask |= self._apply_depth(update)
            elif action == ACTION_BREAK:
                # An update was lost among the kept ones: what follows it waits for a later snapshot.
                mask |= self._invalidate()
                break
            elif action != ACTION_IGNORE:
                break
            self.backlog.drop_front()
            update = self.backlog.front()
        return mask

    cdef uint32_t _invalidate(self) noexcept nogil:
        # The book stays readable; nothing is decided on it until a snapshot joins again.
        cdef uint32_t mask = MASK_GAP
        self.is_valid = False
        self.refresh.abandon()
        if self.imbalance.is_on:
            self._event(FLOW_IMBALANCE_OFF, self.imbalance.heavy_side)
            mask |= MASK_IMBALANCE
        self.imbalance.reset()
        self.triggers.disarm(TIMER_HOLD)
        self.triggers.disarm(TIMER_STALE)
        if self.entry.drop():
            mask |= MASK_ENTRY_EXPIRED
        return mask

    cdef uint32_t _on_trade(self, const Trade* trade) noexcept nogil:
        cdef uint32_t mask = 0
        cdef FlowEvent* event
        cdef int64_t missing = self.flow.missing_ids
        if not self.venue_time.believes(trade.venue_ns, self.now_ns):
            return 0
        self.floored_quantities += trade.floored
        if not self.flow.accepts(trade):
            return 0
        if self.flow.ends_sweep(trade):
            mask |= self._close_sweep()
        self.flow.apply_trade(trade, self.now_ns)
        self.missing_trades.on_trade(trade, self.flow.missing_ids - missing)
        self.skew.on_trade(trade.venue_ns)
        self.tape.push(trade)
        if not trade.teaches:
            return mask
        self.areas.on_trade(trade, self.now_ns)
        self.missing_trades.teach_bars(trade)
        self.imbalance.on_trade(trade.aggressor, trade.price, trade.quantity, self.now_ns)
        self.triggers.arm(TIMER_SWEEP, self.flow.sweep_due_ns)
        if self.whale.opens(&self.flow.sweep):
            event = self._event(FLOW_WHALE_OPEN, self.flow.sweep.aggressor)
            self.whale.describe(event, &self.flow.sweep, self.whale.episode, self.whale.whale_threshold)
            mask |= MASK_WHALE_OPEN
        return mask

    cdef uint32_t _close_sweep(self) noexcept nogil:
        cdef FlowEvent* event
        self.flow.close_sweep()
        self.triggers.disarm(TIMER_SWEEP)
        if not self.whale.closes(&self.flow.closed, self.now_ns):
            return 0
        event = self._event(FLOW_WHALE_CLOSE, self.flow.closed.aggressor)
        self.whale.describe(event, &self.flow.closed, self.whale.episode, self.whale.whale_threshold)
        if self.entry.is_superseded_by(self.whale.episode):
            event = self._event(FLOW_ENTRY_REFUSED, self.entry.watched.sweep.aggressor)
            self.whale.describe(
                event, &self.entry.watched.sweep, self.entry.watched.episode, self.entry.watched.threshold
            )
            event.reason = REASON_SUPERSEDED
        self.entry.watch(
            &self.flow.closed, self.whale.episode, self.whale.whale_threshold, self.whale.notional_of(&self.flow.closed)
        )
        return MASK_WHALE_CLOSE

    cdef uint32_t _confirm(self) noexcept nogil:
        cdef Confirmation seen
        cdef FlowEvent* event
        cdef uint32_t mask
        if self.entry.makes_way(self.now_ns):
            return MASK_ENTRY_EXPIRED
        mask = self.entry.judge(self.now_ns, self.is_valid, &seen)
        event = self._event(
            FLOW_ENTRY_ARMED if seen.reason == REASON_CONFIRMED else FLOW_ENTRY_REFUSED,
            self.entry.watched.sweep.aggressor,
        )
        self.whale.describe(
            event, &self.entry.watched.sweep, self.entry.watched.episode, self.entry.watched.threshold
        )
        describe_confirmation(event, &seen)
        return mask

    cdef uint32_t _on_second(self) noexcept nogil:
        cdef int64_t second = self.now_ns // SECOND_NS
        cdef bint has_mid = self.is_valid and self.book.bids.n_levels > 0 and self.book.asks.n_levels > 0
        self.context.check()
        self.flow.advance(self.now_ns)
        self.whale.advance(self.now_ns)
        self.areas.advance(self.now_ns)
        if has_mid:
            self.imbalance.sample()
            self.whale.set_depth_median(self._depth_quote())
            self.areas.mark_inside(self.book.bids.best + self.book.asks.best, self.now_ns)
        if second % 60 == 0:
            self.volatility.sample_mid(
                0.5 * <double>(self.book.bids.best + self.book.asks.best) if has_mid else 0.0, second // 60, has_mid
            )
        self.triggers.arm(TIMER_SECOND, (second + 1) * SECOND_NS)
        return 0

    cdef uint32_t _on_timer(self, int timer) noexcept nogil:
        if timer == TIMER_SECOND:
            return self._on_second()
        if timer == TIMER_SWEEP:
            return self._close_sweep() if self.flow.sweep_is_open else 0
        if timer == TIMER_HOLD:
            self.imbalance.hold()
            if self.imbalance.is_on:
                self._event(FLOW_IMBALANCE_ON, self.imbalance.heavy_side)
                return MASK_IMBALANCE
            return 0
        if timer == TIMER_CONFIRM:
            return self._confirm()
        if timer == TIMER_EXPIRY:
            self.entry.drop()
            return MASK_ENTRY_EXPIRED
        if timer == TIMER_STALE:
            self.stale_periods += 1
            return MASK_STALE
        return MASK_DUE

    cdef uint32_t run_timers(self, int64_t now_ns) noexcept nogil:
        # Timers due at or before now, in order of their due times, up to the first that gives a mask.
        cdef int64_t due
        cdef int timer
        cdef uint32_t mask
        if not self._is_started:
            self._is_started = True
            self.triggers.arm(TIMER_SECOND, (now_ns // SECOND_NS + 1) * SECOND_NS)
        while self.triggers.next_due <= now_ns:
            due = self.triggers.next_due
            timer = self.triggers.pop(now_ns)
            if due > self.now_ns:
                self.now_ns = due
            mask = self._on_timer(timer)
            if mask:
                return mask
        if now_ns > self.now_ns:
            self.now_ns = now_ns
        return 0

    cdef FlowEvent* _event(self, int kind, int side) noexcept nogil:
        cdef FlowEvent* event = self.events.push()
        event.kind = kind
        event.side = side
        event.instrument = self.index
        event.instrument_epoch = self.instrument_epoch
        event.book_epoch = self.book_epoch
        event.is_valid = self.is_valid
        event.update_id = self.update_id
        event.trade_id = self.flow.last_trade_id
        event.venue_ns = self.venue_time.last_ns
        event.recv_ns = self.last_recv_ns
        event.decide_ns = self.now_ns
        event.best_bid = self.book.bids.best
        event.best_ask = 0 if self.book.asks.n_levels == 0 else self.book.asks.best
        event.depth_median = self.whale.depth_median
        event.flow_quantile = self.whale.sweep_quantile
        event.rho = self.imbalance.rho
        return event

    def on_frame(self, frame: bytes, recv_ns: int) -> int:
        """Take one stream frame.

        Parameters
        ----------
        frame : bytes
            As the venue sent it, bare or in the combined-stream wrapper.
        recv_ns : int
            Corridor time of the socket read; `advance` was called with it before.

        Returns
        -------
        int
            TriggerMask bits; 0: nothing to decide.

        Notes
        -----
        Cost: linear in the frame, see benchmarks; no Python object besides the returned integer.
        """
        return self.apply_frame(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), recv_ns)

    def on_snapshot(self, body: bytes, recv_ns: int) -> int:
        """Take a REST depth answer; while the chain is LIVE only after `begin_refresh`. Otherwise as `on_frame`."""
        self._wire.parse_snapshot(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return self.apply_message(&self._wire.message, recv_ns)

    def begin_refresh(self) -> None:
        """Let the next snapshot renew the far levels of the live book, see `native.refresh`; ignored unless LIVE."""
        if self.sequence.state == SEQUENCE_LIVE:
            self.refresh.begin(self.update_id)

    def on_trades(self, body: bytes, recv_ns: int) -> int:
        """Take a REST answer of past trades; return how many rows were missing and teach, see `native.tradegaps`."""
        self.now_ns = max(recv_ns, self.now_ns)
        return self.missing_trades.take(body, self.price_digits, self.quantity_digits, self.now_ns)

    def on_context(self, what: str, body: bytes) -> bool:
        """Take a REST answer, "open_interest" or "premium_index"; False: it could not be read."""
        return bool(self.context.take_answer(what, body, self.symbol, self.quantity_digits))

    def trade_gaps(self) -> list:
        """Return missing trades as (first id, last id, venue ns of the trade before, of the trade behind)."""
        return self.missing_trades.ranges()

    def close_gaps(self) -> int:
        """Give up all missing trades: their bars stay marked. Returns the ranges given up."""
        return self.missing_trades.close_all()

    def advance(self, now_ns: int) -> int:
        """Run timers due at or before `now_ns`, up to the first that gives a mask.

        Call it before every read and when quiet, again and again until it returns 0; every mask is decided at the
        market's own `now_ns`, which is the due time of the timer.
        """
        return self.run_timers(now_ns)

    def take_events(self) -> numpy.ndarray:
        """Return the flow events since the last call, oldest first, as a FLOW_EVENT array of its own memory."""
        return self.events.take()

    def enable_bbo_log(self) -> None:
        """Keep best prices of every applied depth update from now on, for `take_bbo`."""
        self.bbo.enable()

    def take_bbo(self) -> numpy.ndarray:
        """Return (update_id, best_bid, best_ask) per update applied since the last call, price units."""
        return self.bbo.take()

    def frame_to_mask(self, kind: str) -> Histogram:
        """Return the latency histogram (ns) of "depth", "trade" or "ticker" messages, from bytes to mask."""
        return self.latency.of(kind)

    def candidate(self) -> Candidate | None:
        """Return the confirmed whale episode that waits for an entry; None if there is none."""
        return self.entry.armed()

    def profiles(self) -> tuple:
        """Return the profiles that hold volume: session, rolling, previous."""
        return self.areas.states(self.now_ns)

    def align(self, side: int, reach_bps: float, rule) -> tuple:
        """Return where mid, which must be known, stands to value: see `native.alignment.align_profiles`."""
        cdef AlignmentRule wanted = rule_of(rule)
        return placed_object(self.areas.place(side, self.mid, reach_bps, &wanted, self.now_ns))

    def walk_bps(self, side: int, notional_quote: float) -> float:
        """Return the slippage beyond the best price of taking `notional_quote` as aggressor `side`, in bps.

        NaN if the book is not valid or too thin inside its horizon. Cost: linear in the levels taken.
        """
        if not self.is_valid:
            return NAN
        return walk_bps(
            self.book, side, notional_quote, self.price_scale, self._quantity_scale, self._contract_size
        )

    @property
    def best_bid(self) -> int:
        """Best bid in price units; 0 when there is none."""
        return self.book.bids.best

    @property
    def best_ask(self) -> int:
        """Best ask in price units; 0 when there is none."""
        return 0 if self.book.asks.n_levels == 0 else self.book.asks.best

    @property
    def mid(self) -> float:
        """Middle of the best prices in quote; NaN while a side is empty."""
        if self.book.bids.n_levels == 0 or self.book.asks.n_levels == 0:
            return NAN
        return 0.5 * (self.book.bids.best + self.book.asks.best) * self.price_scale

    @property
    def spread_bps(self) -> float:
        """Spread over mid in bps; NaN while a side is empty."""
        if self.book.bids.n_levels == 0 or self.book.asks.n_levels == 0:
            return NAN
        return 2e4 * (self.book.asks.best - self.book.bids.best) / (self.book.asks.best + self.book.bids.best)

    @property
    def sigma_60_bps(self) -> float:
        """EWMA volatility of one-minute mid returns in bps; NaN until ready."""
        return self.volatility.sigma_60_bps()

    @property
    def cvd(self) -> int:
        """Cumulative volume delta since the start, quantity units."""
        return int128_to_object(self.flow.total_cvd)

    @property
    def last_trade_id(self) -> int:
        """Id of the last trade; -1 before the first."""
        return self.flow.last_trade_id

    @property
    def gaps(self) -> int:
        """Breaks of the live depth chain."""
        return self.sequence.gaps

    @property
    def trade_gaps_forgotten(self) -> int:
        """Ranges of missing trades forgotten for want of room."""
        return self.missing_trades.forgotten

    @property
    def refreshes(self) -> int:
        """Snapshots taken into the live book."""
        return self.refresh.refreshes

    @property
    def refreshes_refused(self) -> int:
        """Snapshots that were not: too old, or not the book that we have."""
        return self.refresh.refused

    @property
    def ticker_compared(self) -> int:
        """Comparisons of best prices with the venue's bookTicker, see `native.crosscheck`."""
        return self.crosscheck.compared

    @property
    def ticker_equal(self) -> int:
        """Of them, equal ones."""
        return self.crosscheck.equal

    @property
    def last_venue_ns(self) -> int:
        """Newest believed venue time."""
        return self.venue_time.last_ns
