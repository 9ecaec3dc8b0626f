"""Contents page of the market: all we know of one instrument, and the order in which the rooms hear of a message."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t, uint32_t

from native.areas cimport Areas
from native.backlog cimport Backlog
from native.bars cimport Bars
from native.book cimport Book
from native.context cimport Context
from native.crosscheck cimport Crosscheck
from native.entry cimport Entry
from native.eventlog cimport BboLog, EventLog, Tape
from native.events cimport DepthUpdate, FlowEvent, Message, Sweep, Trade
from native.feedskew cimport FeedSkew
from native.flow cimport Flow
from native.imbalance cimport Imbalance
from native.latency cimport Latency
from native.refresh cimport Refresh
from native.sequence cimport Sequence
from native.tradegaps cimport TradeGaps
from native.triggers cimport Triggers
from native.venuetime cimport VenueTime
from native.volatility cimport Volatility
from native.whale cimport Whale
from native.wire.binance_json cimport BinanceJson


@final
cdef class Market:
    cdef readonly Book book
    cdef readonly Imbalance imbalance
    cdef readonly Flow flow
    cdef readonly Whale whale
    cdef readonly Areas areas
    cdef readonly Entry entry
    cdef readonly Bars bars
    cdef readonly Volatility volatility
    cdef readonly Triggers triggers
    cdef readonly VenueTime venue_time
    cdef readonly Sequence sequence
    cdef readonly Crosscheck crosscheck
    cdef readonly Backlog backlog
    cdef readonly Context context
    cdef readonly TradeGaps missing_trades
    cdef readonly Refresh refresh
    cdef readonly FeedSkew skew           # between the depth and the trade feed
    cdef readonly Latency latency
    cdef BinanceJson _wire

    cdef readonly str symbol
    cdef readonly int kind                # MarketKind
    cdef readonly int index
    cdef readonly int instrument_epoch
    cdef readonly int book_epoch          # +1 with every snapshot applied
    cdef readonly int price_digits
    cdef readonly int quantity_digits
    cdef readonly double price_scale      # quote per price unit
    cdef double _quantity_scale           # base (or contracts) per quantity unit
    cdef double _notional_scale           # quote per price unit x quantity unit; inverse: per quantity unit
    cdef double _contract_size            # inverse: quote per contract; else 0
    cdef int64_t _stale_ns

    cdef readonly int64_t now_ns          # corridor time of what is being decided
    cdef readonly int64_t last_recv_ns
    cdef readonly bint is_valid           # the book is LIVE and not crossed
    cdef readonly int64_t update_id
    cdef bint _is_started

    cdef readonly EventLog events         # flow events
    cdef readonly Tape tape               # last trades
    cdef readonly BboLog bbo              # best prices per applied update, if enabled

    cdef readonly int64_t messages
    cdef readonly int64_t depth_updates
    cdef readonly int64_t depth_applied
    cdef readonly int64_t snapshots
    cdef readonly int64_t trades
    cdef readonly int64_t tickers
    cdef readonly int64_t klines
    cdef readonly int64_t partial_books
    cdef readonly int64_t other_messages
    cdef readonly int64_t foreign_messages
    cdef readonly int64_t refused
    cdef readonly int64_t crossed
    cdef readonly int64_t stale_periods
    cdef readonly int64_t floored_quantities

    # hot
    cdef uint32_t apply_frame(self, const char* frame, int64_t length, int64_t recv_ns) noexcept nogil
    cdef uint32_t apply_message(self, const Message* message, int64_t recv_ns) noexcept nogil
    cdef uint32_t run_timers(self, int64_t now_ns) noexcept nogil
    cdef uint32_t _on_timer(self, int timer) noexcept nogil
    cdef uint32_t _on_depth(self, const DepthUpdate* update) noexcept nogil
    cdef uint32_t _apply_depth(self, const DepthUpdate* update) noexcept nogil
    cdef uint32_t _on_snapshot(self, const DepthUpdate* snapshot) noexcept nogil
    cdef uint32_t _invalidate(self) noexcept nogil
    cdef uint32_t _on_trade(self, const Trade* trade) noexcept nogil
    cdef uint32_t _close_sweep(self) noexcept nogil
    cdef uint32_t _confirm(self) noexcept nogil
    cdef uint32_t _on_second(self) noexcept nogil
    cdef double _depth_quote(self) noexcept nogil
    cdef FlowEvent* _event(self, int kind, int side) noexcept nogil
