"""Contents page of price-time matching: what an order does to the resting ones, and what is told of it."""

from libc.stdint cimport int32_t, int64_t

from native.resting cimport RestingOrder, RestingOrders


cpdef enum OrderKind:
    ORDER_LIMIT = 0
    ORDER_MARKET = 1


cpdef enum OrderLife:
    """Time in force. A market order is always IOC or FOK."""
    LIFE_GTC = 0              # the remainder rests
    LIFE_IOC = 1              # the remainder expires
    LIFE_FOK = 2              # all at once or nothing
    LIFE_GTX = 3              # post-only: refused if it would take


cpdef enum SelfTrade:
    """What happens when an order would meet one of the same owner; owner 0 belongs to nobody."""
    SELF_TRADE_NONE = 0
    SELF_TRADE_EXPIRE_MAKER = 1
    SELF_TRADE_EXPIRE_TAKER = 2
    SELF_TRADE_EXPIRE_BOTH = 3


cpdef enum MatchKind:
    """What one MatchEvent tells."""
    MATCH_ACCEPTED = 1
    MATCH_FILL = 2
    MATCH_REDUCED = 3
    MATCH_CANCELLED = 4       # by request
    MATCH_EXPIRED = 5         # by a rule: see MatchReason
    MATCH_REJECTED = 6


cpdef enum MatchReason:
    """Why an order was rejected or expired, or a request refused; 0 is fine."""
    REASON_NONE = 0
    REASON_BAD_PRICE = 1      # a limit order without positive price
    REASON_BAD_QUANTITY = 2   # not positive, or a reduction that does not reduce
    REASON_BAD_KIND = 3       # unknown side, kind, life or self-trade rule; a market order that would rest
    REASON_WOULD_TAKE = 4     # GTX against a standing opposite price
    REASON_ORDERS_FULL = 5    # the pool of resting orders is full
    REASON_LEVELS_FULL = 6    # the side has no room for another price
    REASON_LEVEL_OVERFLOW = 7   # the sum at this price would not fit 64 bits
    REASON_EVENTS_FULL = 8    # the caller has not drained the event buffer
    REASON_NO_LIQUIDITY = 9   # remainder of IOC or market; FOK that cannot fill
    REASON_SELF_TRADE = 10
    REASON_UNKNOWN_ORDER = 11   # never was, or is gone


cdef struct MatchEvent:
    int64_t sequence          # running number, from 1
    int64_t trade             # running number of the fill, from 1; 0 for other kinds
    int64_t order_id          # the maker of a fill; otherwise the order itself, 0 if rejected
    int64_t owner             # of order_id
    int64_t taker_id          # fills only, else 0
    int64_t taker_owner
    int64_t price             # price units: the maker's price for a fill; 0 for a market order
    int64_t quantity          # filled, accepted, cut off, cancelled or expired quantity
    int64_t leaves            # of order_id afterwards
    int64_t taker_leaves      # fills only, else 0
    int32_t kind              # MatchKind
    int32_t reason            # MatchReason
    int32_t side              # Side: of the aggressor for fills, else of the order
    int32_t reserved


cdef class Matching:
    cdef readonly RestingOrders resting   # the book; others only read it
    cdef readonly int64_t n_fills         # ever; the running number of the last fill
    cdef readonly int64_t last_filled     # quantity the latest submitted order took
    cdef readonly int64_t n_refused       # requests refused because events were not drained
    cdef readonly int32_t n_events
    cdef MatchEvent* events
    cdef int32_t event_capacity
    cdef int64_t next_id
    cdef int64_t next_sequence

    # hot
    cdef int64_t submit(self, int32_t side, int64_t price, int64_t quantity, int32_t kind, int32_t life,
                        int64_t owner, int32_t self_trade, int64_t display) noexcept nogil
    cdef int32_t cancel(self, int64_t order_id) noexcept nogil
    cdef int32_t reduce(self, int64_t order_id, int64_t leaves) noexcept nogil
    cdef void clear_events(self) noexcept nogil
    cdef int32_t examine(self, int32_t side, int64_t price, int64_t quantity, int32_t kind, int32_t life,
                         int32_t self_trade, int64_t display) noexcept nogil
    cdef int64_t take(self, int32_t book, int64_t taker_id, int64_t owner, int32_t self_trade,
                      int64_t limit_key, int64_t left, int32_t* reason) noexcept nogil
    cdef bint can_fill(self, int32_t book, int64_t limit_key, int64_t quantity, int64_t owner,
                       int32_t self_trade) noexcept nogil
    cdef MatchEvent* push(self, int32_t kind, int32_t reason, int32_t side) noexcept nogil
    cdef void tell(self, int32_t kind, int32_t reason, const RestingOrder* order,
                   int64_t quantity) noexcept nogil
