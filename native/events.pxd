"""Contents page of the vocabulary of events: C structs, enums, the 128-bit sum type."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from *:
    """
    typedef __int128 remora_int128;
    """
    # Sums of quantities and notionals. Cython ranks it like `long long`; the C compiler does the 128-bit
    # arithmetic, so: cast the first operand, and never let a value of this type become a Python object.
    ctypedef long long int128_t "remora_int128"


cpdef enum Side:
    """Of the *aggressor* for trades and signals, of the *book* for levels (a bid is BUY)."""
    SELL = -1
    NEITHER = 0
    BUY = 1


cpdef enum MarketKind:
    """Which venue rules apply."""
    SPOT = 0
    USDM = 1
    COINM = 2


cpdef enum MessageKind:
    """What one frame turned out to be."""
    MESSAGE_NONE = 0        # no event for us: a subscription answer, an unknown event
    MESSAGE_DEPTH = 1       # depthUpdate of the diff chain
    MESSAGE_TRADE = 2       # trade or aggTrade
    MESSAGE_TICKER = 3      # bookTicker
    MESSAGE_KLINE = 4
    MESSAGE_SNAPSHOT = 5    # answer of the REST depth endpoint
    MESSAGE_PARTIAL = 6     # partial book (`@depth5`): never enters the diff chain
    MESSAGE_MARK = 7        # markPriceUpdate
    MESSAGE_FORCE = 8       # forceOrder: a sample of liquidations, never volume
    MESSAGE_DAY = 9         # 24hrTicker


cpdef enum ParseStatus:
    """How reading a frame ended; 0 is fine. Anything else leaves the state of the instrument untouched."""
    PARSE_OK = 0
    PARSE_TRUNCATED = 1       # the text ends inside a value
    PARSE_SYNTAX = 2          # not the JSON that was expected
    PARSE_MISSING = 3         # a required key is absent
    PARSE_OVERFLOW = 4        # a number does not fit 64 bits in its unit
    PARSE_EXCESS_DIGITS = 5   # a price is finer than the price unit
    PARSE_CAPACITY = 6        # more levels than the scratch array holds
    PARSE_FOREIGN = 7         # another instrument's message


cpdef enum SequenceState:
    """Where the update-id chain of the book stands."""
    SEQUENCE_BUFFERING = 0    # no snapshot: updates are kept
    SEQUENCE_BRIDGING = 1     # snapshot applied, the first joining update has not come
    SEQUENCE_LIVE = 2
    SEQUENCE_GAP = 3          # chain broken: the old book stays readable and INVALID


cpdef enum TriggerMask:
    """Why Python is entered; an empty mask means: return, nothing to decide."""
    MASK_WHALE_OPEN = 1
    MASK_WHALE_CLOSE = 2
    MASK_IMBALANCE = 4        # an imbalance signal started or ended
    MASK_ENTRY = 8            # an entry candidate is armed, or its market changed
    MASK_ENTRY_EXPIRED = 16   # the candidate is over
    MASK_GAP = 32             # the book became invalid
    MASK_LIVE = 64            # the book became valid
    MASK_STALE = 128          # no depth update for too long
    MASK_LEVEL = 256          # an armed price level was reached
    MASK_DUE = 512            # an armed timer is due
    MASK_REFUSED = 1024       # a frame could not be read


cpdef enum FlowKind:
    """What a FlowEvent records."""
    FLOW_WHALE_OPEN = 1
    FLOW_WHALE_CLOSE = 2
    FLOW_IMBALANCE_ON = 3
    FLOW_IMBALANCE_OFF = 4
    FLOW_ENTRY_ARMED = 5      # whale episode confirmed by the imbalance after it
    FLOW_ENTRY_REFUSED = 6    # the imbalance after the whale did not confirm


cdef struct Level:
    int64_t price             # price units
    int64_t quantity          # quantity units, absolute; 0 deletes


cdef struct DepthUpdate:
    int64_t first_id          # U
    int64_t final_id          # u, or lastUpdateId of a snapshot
    int64_t previous_id       # pu; -1 on spot
    int64_t venue_ns          # E; 0 if absent
    int32_t n_bids
    int32_t n_asks
    const Level* bids
    const Level* asks
    int32_t floored           # quantities with digits finer than the quantity unit, cut off


cdef struct Trade:
    int64_t trade_id          # t, or a of an aggTrade
    int64_t price
    int64_t quantity
    int64_t venue_ns          # T: when the venue matched it
    int64_t event_ns          # E
    int64_t first_id          # f and l of an aggTrade; the trade's own id otherwise
    int64_t last_id
    int64_t regular_quantity  # nq: without what met retail price improvement orders; = quantity where absent
    int32_t aggressor         # Side
    uint8_t is_aggregate
    uint8_t teaches           # 0: a print of nothing, or with `X` other than MARKET; not for flow, profile, bars
    uint8_t floored


cdef struct BookTicker:
    int64_t update_id
    int64_t bid_price
    int64_t bid_quantity
    int64_t ask_price
    int64_t ask_quantity
    int64_t venue_ns          # E; 0 on spot, whose ticker carries no time


cdef struct Kline:
    int64_t open_ns
    int64_t close_ns
    int64_t venue_ns
    int64_t open
    int64_t high
    int64_t low
    int64_t close
    int64_t volume
    int64_t taker_buy_volume
    int64_t n_trades
    int64_t interval_ns
    uint8_t is_closed


cdef enum:
    CONTEXT_DIGITS = 8        # what the venue reckons, finer than a tick: units of 1e-8
    DAY_DIGITS = 4            # sums of a day, which would not fit finer units: units of 1e-4


cdef struct MarkPrice:
    int64_t mark              # p, 1e-8 quote, as the others
    int64_t average           # ap; 0 if absent
    int64_t index             # i; 0 if absent
    int64_t settle            # P; 0 if absent
    int64_t funding_rate      # r, 1e-8; may be negative
    int64_t next_funding_ns   # T; 0 if there is none
    int64_t venue_ns          # E
    uint8_t has_funding       # 0: the contract has none (`r` is empty or absent)


cdef struct ForceOrder:
    int64_t price             # p, 1e-8 quote: a bankruptcy price need not lie on the grid
    int64_t average_price     # ap, 1e-8 quote; 0 if absent
    int64_t quantity          # q, quantity units, as the next two
    int64_t last_quantity     # l; 0 if absent
    int64_t filled_quantity   # z; 0 if absent
    int64_t venue_ns          # T
    int64_t event_ns          # E
    int32_t side              # Side of the order: SELL closes a long
    uint8_t is_filled         # X is FILLED


cdef struct DayTicker:
    int64_t last              # c, price units, as the next three
    int64_t open              # o
    int64_t high              # h
    int64_t low               # l
    int64_t volume            # v, 1e-4 base (contracts)
    int64_t quote_volume      # q, 1e-4 quote (inverse: base)
    int64_t n_trades          # n
    int64_t open_ns           # O
    int64_t close_ns          # C
    int64_t venue_ns          # E


cdef struct Message:
    int32_t kind              # MessageKind
    int32_t status            # ParseStatus
    DepthUpdate depth         # MESSAGE_DEPTH, MESSAGE_SNAPSHOT, MESSAGE_PARTIAL
    Trade trade
    BookTicker ticker
    Kline kline
    MarkPrice mark
    ForceOrder force
    DayTicker day


cdef struct Sweep:
    int64_t first_trade_id
    int64_t last_trade_id
    int64_t first_price
    int64_t last_price
    int64_t venue_ns          # the one venue time all its trades share
    int64_t first_recv_ns
    int64_t last_recv_ns
    int128_t quantity         # quantity units
    int128_t notional         # price units x quantity units
    int32_t aggressor
    int32_t n_trades
    int32_t n_prices          # distinct prices
    uint8_t is_aggregate      # came from aggTrades: several orders may be merged


cdef struct FlowEvent:
    # 208 bytes, 8-byte aligned; the NumPy dtype FLOW_EVENT is the same bytes, a test holds them equal.
    int64_t sequence          # per instrument, from 1
    int32_t kind              # FlowKind
    int32_t side              # Side of the aggressor, or the heavier side of the book
    int32_t instrument        # dense index
    int32_t instrument_epoch
    int32_t book_epoch        # +1 with every snapshot applied
    int32_t is_valid          # 1: the book was LIVE and not crossed
    int64_t update_id         # of the book
    int64_t trade_id          # last trade seen
    int64_t venue_ns
    int64_t recv_ns
    int64_t decide_ns
    int64_t episode           # number of the whale episode, from 1; 0 = none
    int64_t best_bid          # price units
    int64_t best_ask
    int64_t first_price
    int64_t last_price
    double quantity           # base units of the instrument
    double notional           # quote
    double threshold          # quote
    double depth_median       # quote
    double flow_quantile      # quote
    double rho                # depth imbalance in the entry band now
    double rho_pre
    double rho_post
    double rho_post_min
    double pulled_share
    int32_t n_trades
    int32_t n_prices
    int32_t n_updates         # depth updates behind rho_post
    int32_t reason            # EntryReason, 0 = confirmed


cpdef enum EntryReason:
    """Why the imbalance after a whale did not confirm it."""
    REASON_CONFIRMED = 0
    REASON_BOOK_INVALID = 1
    REASON_NOT_READY = 2        # one side of the band was empty, or no history before the sweep
    REASON_FEW_UPDATES = 3      # fewer than 3 depth updates in the window
    REASON_RHO_POST = 4
    REASON_RHO_POST_MIN = 5
    REASON_RHO_PRE = 6
    REASON_PULLED = 7
    REASON_SUPERSEDED = 8       # another episode's whale came before the window was over


cdef inline int64_t abs64(int64_t value) noexcept nogil:
    return -value if value < 0 else value


cdef object int128_to_object(int128_t value)
