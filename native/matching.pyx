"""Price-time matching over integer prices and quantities."""

from typing import NamedTuple

cimport cython
from libc.stdlib cimport calloc, free

from native.resting cimport PriceLevel, book_of, key_of, side_of

cdef int32_t MAX_EVENTS = 1 << 22
# An order starts only with room for: accepted, one fill or maker expiry, its own end.
cdef int32_t EVENT_ROOM = 3
cdef int64_t LARGEST = 0x7FFFFFFFFFFFFFFF


class MatchedEvent(NamedTuple):
    """One event as Python sees it: the fields of the struct MatchEvent in another order."""

    kind: int
    reason: int
    side: int
    order_id: int
    owner: int
    taker_id: int
    taker_owner: int
    price: int
    quantity: int
    leaves: int
    taker_leaves: int
    trade: int
    sequence: int


@cython.final
cdef class Matching:
    """
    Match the orders of one instrument by price, then time.

    Parameters
    ----------
    capacity : int
        Orders that can rest at once, 16 to 16,777,216. When full, orders that may rest are rejected
        (``REASON_ORDERS_FULL``); IOC, FOK and market orders need no place.
    max_levels : int
        Prices a side, 16 to 1,048,576. When full, an order at a new price is rejected
        (``REASON_LEVELS_FULL``).
    event_capacity : int
        Events kept until `drain_events`, 16 to 4,194,304. When full, a taker, be it FOK, stops matching and
        its remainder expires (``REASON_EVENTS_FULL``); a request that finds no room at its start is refused,
        and counted in `n_refused`.
    change_capacity : int
        Level changes kept by `resting` until `drain_changes`, 64 to 4,194,304.

    Notes
    -----
    Order ids are given here, rising from 1. A price is a positive multiple of the price unit, a quantity of
    the quantity unit. A trade happens at the maker's price. `reduce` keeps the place in the queue.

    Cost: O(1) per fill, and what `RestingOrders` says about prices. No allocation after construction. FOK
    with a self-trade rule walks the orders it could meet.
    """

    def __cinit__(
        self, int64_t capacity=262_144, int64_t max_levels=32_768, int64_t event_capacity=65_536,
        int64_t change_capacity=65_536,
    ):
        if not 16 <= event_capacity <= MAX_EVENTS:
            raise ValueError(f"event_capacity must be between 16 and {MAX_EVENTS}, found {event_capacity}")
        self.resting = RestingOrders(capacity, max_levels, change_capacity)
        self.event_capacity = <int32_t>event_capacity
        self.events = <MatchEvent*>calloc(self.event_capacity, sizeof(MatchEvent))
        if self.events == NULL:
            raise MemoryError(f"no memory for {event_capacity} events")
        self.next_id = 1
        self.next_sequence = 1

    def __dealloc__(self):
        free(self.events)

    cdef int64_t submit(self, int32_t side, int64_t price, int64_t quantity, int32_t kind, int32_t life,
                        int64_t owner, int32_t self_trade, int64_t display) noexcept nogil:
        """
        Match an order and rest what remains; return its id, or minus the MatchReason if it was not accepted.

        `price` is ignored for market orders. `display` 0, or not below `quantity`, shows everything.
        """
        cdef int32_t book = book_of(side)
        cdef int32_t reason
        cdef int64_t limit_key, order_id, left = quantity
        cdef MatchEvent* event
        self.last_filled = 0
        if self.n_events + EVENT_ROOM > self.event_capacity:
            self.n_refused += 1
            return -<int64_t>REASON_EVENTS_FULL
        if kind == ORDER_MARKET:
            price = 0
        limit_key = -LARGEST if kind == ORDER_MARKET else key_of(1 - book, price)
        reason = self.examine(side, price, quantity, kind, life, self_trade, display)
        event = self.push(MATCH_REJECTED if reason != REASON_NONE else MATCH_ACCEPTED, reason, side)
        event.owner = owner
        event.price = price
        event.quantity = quantity
        if reason != REASON_NONE:
            return -<int64_t>reason
        order_id = self.next_id
        self.next_id += 1
        event.order_id = order_id
        event.leaves = quantity
        if life == LIFE_FOK and not self.can_fill(1 - book, limit_key, quantity, owner, self_trade):
            reason = REASON_NO_LIQUIDITY
        else:
            left = self.take(1 - book, order_id, owner, self_trade, limit_key, quantity, &reason)
        self.last_filled = quantity - left
        if left > 0:
            if (life == LIFE_GTC or life == LIFE_GTX) and reason == REASON_NONE:
                self.resting.add(book, order_id, owner, price, left, display)
            else:
                if reason == REASON_NONE:
                    reason = REASON_NO_LIQUIDITY
                event = self.push(MATCH_EXPIRED, reason, side)
                event.order_id = order_id
                event.owner = owner
                event.price = price
                event.quantity = left
        return order_id

    # Whether the order can be accepted, before anything is touched.
    cdef int32_t examine(self, int32_t side, int64_t price, int64_t quantity, int32_t kind, int32_t life,
                         int32_t self_trade, int64_t display) noexcept nogil:
        cdef int32_t book = book_of(side)
        cdef int32_t position
        cdef bint may_rest = life == LIFE_GTC or life == LIFE_GTX
        cdef PriceLevel* level
        if (
            (side != 1 and side != -1) or kind < ORDER_LIMIT or kind > ORDER_MARKET
            or life < LIFE_GTC or life > LIFE_GTX or (kind == ORDER_MARKET and may_rest)
            or self_trade < SELF_TRADE_NONE or self_trade > SELF_TRADE_EXPIRE_BOTH
        ):
            return REASON_BAD_KIND
        if quantity <= 0 or display < 0:
            return REASON_BAD_QUANTITY
        if kind == ORDER_LIMIT and price <= 0:
            return REASON_BAD_PRICE
        if not may_rest:
            return REASON_NONE
        if life == LIFE_GTX:
            level = self.resting.best_level(1 - book)
            if level != NULL and key_of(1 - book, level.price) >= key_of(1 - book, price):
                return REASON_WOULD_TAKE
        if self.resting.n_orders == self.resting.capacity:
            return REASON_ORDERS_FULL
        position = self.resting.find_key(book, key_of(book, price))
        if position < 0:
            if self.resting.n_levels[book] == self.resting.max_levels:
                return REASON_LEVELS_FULL
        elif self.resting.levels[self.resting.slots[book][position]].total > LARGEST - quantity:
            return REASON_LEVEL_OVERFLOW
        return REASON_NONE

    cdef int64_t take(self, int32_t book, int64_t taker_id, int64_t owner, int32_t self_trade,
                      int64_t limit_key, int64_t left, int32_t* reason) noexcept nogil:
        cdef int64_t fill
        cdef int32_t slot
        cdef PriceLevel* level
        cdef RestingOrder* maker
        cdef MatchEvent* event
        while left > 0:
            level = self.resting.best_level(book)
            if level == NULL or key_of(book, level.price) < limit_key:
                break
            # The last place is for the taker's own end.
            if self.n_events + EVENT_ROOM - 1 > self.event_capacity:
                reason[0] = REASON_EVENTS_FULL
                break
            slot = level.head
            maker = &self.resting.orders[slot]
            if owner != 0 and maker.owner == owner and self_trade != SELF_TRADE_NONE:
                if self_trade != SELF_TRADE_EXPIRE_TAKER:
                    self.tell(MATCH_EXPIRED, REASON_SELF_TRADE, maker, maker.leaves)
                    self.resting.remove(slot)
                if self_trade != SELF_TRADE_EXPIRE_MAKER:
                    reason[0] = REASON_SELF_TRADE
                    break
                continue
            fill = left if left < maker.displayed else maker.displayed
            left -= fill
            self.n_fills += 1
            event = self.push(MATCH_FILL, REASON_NONE, side_of(1 - book))
            event.trade = self.n_fills
            event.order_id = maker.order_id
            event.owner = maker.owner
            event.taker_id = taker_id
            event.taker_owner = owner
            event.price = maker.price
            event.quantity = fill
            event.leaves = maker.leaves - fill
            event.taker_leaves = left
            self.resting.eat(slot, fill)
        return left

    cdef bint can_fill(self, int32_t book, int64_t limit_key, int64_t quantity, int64_t owner,
                       int32_t self_trade) noexcept nogil:
        cdef int32_t position = self.resting.n_levels[book] - 1
        cdef int32_t slot
        cdef int64_t others, shown_ahead
        cdef bint meets_own
        cdef PriceLevel* level
        cdef RestingOrder* maker
        while position >= 0 and self.resting.keys[book][position] >= limit_key:
            level = &self.resting.levels[self.resting.slots[book][position]]
            others = level.total
            if owner != 0 and self_trade != SELF_TRADE_NONE:
                others = 0
                shown_ahead = 0
                meets_own = False
                slot = level.head
                while slot >= 0:
                    maker = &self.resting.orders[slot]
                    slot = maker.behind
                    if maker.owner == owner:
                        meets_own = True
                        continue
                    others += maker.leaves
                    if not meets_own:
                        shown_ahead += maker.displayed
                # Hidden parts queue behind everyone: who ends at an own order meets only what is shown.
                if meets_own and self_trade != SELF_TRADE_EXPIRE_MAKER:
                    return quantity <= shown_ahead
            if quantity <= others:
                return True
            quantity -= others
            position -= 1
        return False

    cdef int32_t cancel(self, int64_t order_id) noexcept nogil:
        """Take a resting order out; return 0 or the MatchReason."""
        cdef int32_t slot = self.resting.find_order(order_id)
        if slot < 0:
            return REASON_UNKNOWN_ORDER
        if self.n_events == self.event_capacity:
            self.n_refused += 1
            return REASON_EVENTS_FULL
        self.tell(MATCH_CANCELLED, REASON_NONE, &self.resting.orders[slot], self.resting.orders[slot].leaves)
        self.resting.remove(slot)
        return REASON_NONE

    cdef int32_t reduce(self, int64_t order_id, int64_t leaves) noexcept nogil:
        """Make a resting order smaller, to `leaves`; it keeps its place. Return 0 or the MatchReason."""
        cdef int32_t slot = self.resting.find_order(order_id)
        cdef int64_t cut
        cdef RestingOrder* order
        if slot < 0:
            return REASON_UNKNOWN_ORDER
        order = &self.resting.orders[slot]
        if leaves <= 0 or leaves >= order.leaves:
            return REASON_BAD_QUANTITY
        if self.n_events == self.event_capacity:
            self.n_refused += 1
            return REASON_EVENTS_FULL
        cut = order.leaves - leaves
        self.resting.shrink(slot, leaves)
        self.tell(MATCH_REDUCED, REASON_NONE, order, cut)
        return REASON_NONE

    cdef void clear_events(self) noexcept nogil:
        self.n_events = 0

    cdef MatchEvent* push(self, int32_t kind, int32_t reason, int32_t side) noexcept nogil:
        cdef MatchEvent* event = &self.events[self.n_events]
        self.n_events += 1
        event.sequence = self.next_sequence
        self.next_sequence += 1
        event.trade = 0
        event.order_id = 0
        event.owner = 0
        event.taker_id = 0
        event.taker_owner = 0
        event.price = 0
        event.quantity = 0
        event.leaves = 0
        event.taker_leaves = 0
        event.kind = kind
        event.reason = reason
        event.side = side
        event.reserved = 0
        return event

    cdef void tell(self, int32_t kind, int32_t reason, const RestingOrder* order,
                   int64_t quantity) noexcept nogil:
        cdef MatchEvent* event = self.push(kind, reason, side_of(order.book))
        event.order_id = order.order_id
        event.owner = order.owner
        event.price = order.price
        event.quantity = quantity
        event.leaves = order.leaves if kind == MATCH_REDUCED else 0

    def apply_order(
        self, int32_t side, int64_t price, int64_t quantity, *, int32_t kind=ORDER_LIMIT,
        int32_t life=LIFE_GTC, int64_t owner=0, int32_t self_trade=SELF_TRADE_NONE, int64_t display=0,
    ) -> int:
        """
        Match an order and rest what remains.

        Parameters
        ----------
        side : int
            `Side.BUY` or `Side.SELL`.
        price, quantity : int
            In units; the price of a market order is ignored.
        kind, life, self_trade : int
            `OrderKind`, `OrderLife`, `SelfTrade`.
        owner : int
            Who it belongs to, for self-trade prevention; 0 = nobody.
        display : int
            Shown part of an iceberg; 0 or not below `quantity` shows everything.

        Returns
        -------
        int
            The order id, from 1; or minus the `MatchReason` when it was not accepted.
        """
        return self.submit(side, price, quantity, kind, life, owner, self_trade, display)

    def apply_cancel(self, int64_t order_id) -> int:
        """Take a resting order out; return 0 or the MatchReason."""
        return self.cancel(order_id)

    def apply_reduce(self, int64_t order_id, int64_t leaves) -> int:
        """Make a resting order smaller, to `leaves`; it keeps its place. Return 0 or the MatchReason."""
        return self.reduce(order_id, leaves)

    def drain_events(self) -> list:
        """Return the events since the last drain, oldest first, and empty the buffer."""
        cdef int32_t i
        cdef MatchEvent* event
        found = []
        for i in range(self.n_events):
            event = &self.events[i]
            found.append(tuple.__new__(MatchedEvent, (
                event.kind, event.reason, event.side, event.order_id, event.owner, event.taker_id,
                event.taker_owner, event.price, event.quantity, event.leaves, event.taker_leaves,
                event.trade, event.sequence,
            )))
        self.clear_events()
        return found
