"""Price-time matching over integer prices and quantities."""

from typing import NamedTuple

cimport cython
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memmove

from native.events cimport Side

cdef int32_t MAX_ORDERS = 1 << 24
cdef int32_t MAX_LEVELS = 1 << 20
cdef int32_t MAX_EVENTS = 1 << 22
# A request starts only with room for: accepted, one fill or maker expiry, the taker's own end.
cdef int32_t EVENT_ROOM = 3


class MatchedEvent(NamedTuple):
    """One event as Python sees it; the fields of the struct MatchEvent, in another order."""

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


cdef int compare_changes(const void* left, const void* right) noexcept nogil:
    # Bids before asks, each best price first.
    cdef const LevelChange* a = <const LevelChange*>left
    cdef const LevelChange* b = <const LevelChange*>right
    if a.side != b.side:
        return -1 if a.side > b.side else 1
    if a.price == b.price:
        return 0
    return -1 if (a.price > b.price) == (a.side > 0) else 1


cdef inline int64_t key_of(int32_t book, int64_t price) noexcept nogil:
    return price if book == 0 else -price


cdef inline int32_t side_of(int32_t book) noexcept nogil:
    return Side.BUY if book == 0 else Side.SELL


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
        Prices a side, 16 to 1,048,576. When full, an order at a further price is rejected (``REASON_LEVELS_FULL``).
    event_capacity : int
        Events kept until `drain_events`, 16 to 4,194,304. When full, a taker stops matching and its remainder
        expires (``REASON_EVENTS_FULL``); a request without room for three events is refused and counted in `n_refused`.
    change_capacity : int
        Level changes kept until `drain_changes`, 64 to 4,194,304. When still 7/8 full after merging,
        `n_changes_lost` counts and the reader must start again from a snapshot.

    Notes
    -----
    Order ids are given here, rising from 1. A price is a positive multiple of the price unit, a quantity of the
    quantity unit. An iceberg shows `display`; when that is eaten it shows the next part and goes to the back of
    its queue. `reduce` keeps the place in the queue.

    Cost: search of a price O(log levels), a new or emptied price moves the keys nearer to the touch than itself
    (none at the touch); all else O(1) per fill. No allocation after construction. FOK with a self-trade rule
    walks the orders it could meet.
    """

    def __cinit__(
        self, int64_t capacity=262_144, int64_t max_levels=32_768, int64_t event_capacity=65_536,
        int64_t change_capacity=65_536,
    ):
        for name, value, low, high in (
            ("capacity", capacity, 16, MAX_ORDERS),
            ("max_levels", max_levels, 16, MAX_LEVELS),
            ("event_capacity", event_capacity, 16, MAX_EVENTS),
            ("change_capacity", change_capacity, 64, MAX_EVENTS),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be between {low} and {high}, found {value}")
        self.capacity_ = <int32_t>capacity
        self.max_levels = <int32_t>max_levels
        self.event_capacity = <int32_t>event_capacity
        self.change_capacity = <int32_t>change_capacity
        self.table_shift = 60
        while (1 << (64 - self.table_shift)) < 2 * self.capacity_:
            self.table_shift -= 1
        self.table_mask = (<uint64_t>1 << (64 - self.table_shift)) - 1
        self.orders = <RestingOrder*>calloc(self.capacity_, sizeof(RestingOrder))
        self.levels = <PriceLevel*>calloc(2 * self.max_levels, sizeof(PriceLevel))
        self.table = <int32_t*>calloc(self.table_mask + 1, sizeof(int32_t))
        self.events = <MatchEvent*>calloc(self.event_capacity, sizeof(MatchEvent))
        self.changes = <LevelChange*>calloc(self.change_capacity, sizeof(LevelChange))
        cdef int book
        for book in range(2):
            self.keys[book] = <int64_t*>calloc(self.max_levels, sizeof(int64_t))
            self.slots[book] = <int32_t*>calloc(self.max_levels, sizeof(int32_t))
        if (
            self.orders == NULL or self.levels == NULL or self.table == NULL or self.events == NULL
            or self.changes == NULL or self.keys[0] == NULL or self.keys[1] == NULL or self.slots[0] == NULL
            or self.slots[1] == NULL
        ):
            raise MemoryError(f"no memory for {capacity} orders and {max_levels} levels a side")
        self.orders_free = -1
        self.levels_free = -1
        self.next_id = 1
        self.next_sequence = 1
        self.drain_period = 1

    def __dealloc__(self):
        free(self.orders)
        free(self.levels)
        free(self.table)
        free(self.events)
        free(self.changes)
        cdef int book
        for book in range(2):
            free(self.keys[book])
            free(self.slots[book])

    cdef int64_t submit(self, int32_t side, int64_t price, int64_t quantity, int32_t kind, int32_t life,
                        int64_t owner, int32_t self_trade, int64_t display) noexcept nogil:
        """
        Match an order and rest what remains; returns its id, or minus the MatchReason if it was not accepted.

        `price` is ignored for market orders. `display` 0, or not below `quantity`, shows everything.
        """
        cdef int32_t reason = REASON_NONE
        cdef int32_t book = 0 if side == Side.BUY else 1
        cdef int32_t position
        cdef bint may_rest = life == LIFE_GTC or life == LIFE_GTX
        cdef int64_t limit_key = 0
        cdef int64_t order_id, left
        cdef MatchEvent* event
        self.last_filled = 0
        if self.n_events + EVENT_ROOM > self.event_capacity:
            self.n_refused += 1
            return -<int64_t>REASON_EVENTS_FULL
        if (
            (side != Side.BUY and side != Side.SELL) or kind < ORDER_LIMIT or kind > ORDER_MARKET
            or life < LIFE_GTC or life > LIFE_GTX or (kind == ORDER_MARKET and may_rest)
            or self_trade < SELF_TRADE_NONE or self_trade > SELF_TRADE_EXPIRE_BOTH
        ):
            reason = REASON_BAD_KIND
        elif quantity <= 0 or display < 0:
            reason = REASON_BAD_QUANTITY
        elif kind == ORDER_LIMIT and price <= 0:
            reason = REASON_BAD_PRICE
        if kind == ORDER_MARKET:
            price = 0
            limit_key = -(<int64_t>1 << 62) * 2  # below every key
        else:
            limit_key = key_of(1 - book, price)
        if reason == REASON_NONE and may_rest:
            position = self.find_key(book, key_of(book, price))
            if position >= 0:
                if self.levels[self.slots[book][position]].total > <int64_t>0x7FFFFFFFFFFFFFFF - quantity:
                    reason = REASON_LEVEL_OVERFLOW
            elif self.n_levels[book] == self.max_levels:
                reason = REASON_LEVELS_FULL
            if self.n_orders == self.capacity_:
                reason = REASON_ORDERS_FULL
            if (
                life == LIFE_GTX and self.n_levels[1 - book] > 0
                and self.keys[1 - book][self.n_levels[1 - book] - 1] >= limit_key
            ):
                reason = REASON_WOULD_TAKE
        if reason != REASON_NONE:
            event = self.push(MATCH_REJECTED, reason, side)
            event.owner = owner
            event.price = price
            event.quantity = quantity
            return -<int64_t>reason
        order_id = self.next_id
        self.next_id += 1
        event = self.push(MATCH_ACCEPTED, REASON_NONE, side)
        event.order_id = order_id
        event.owner = owner
        event.price = price
        event.quantity = quantity
        event.leaves = quantity
        left = quantity
        if life == LIFE_FOK and not self.can_fill(1 - book, limit_key, quantity, owner, self_trade):
            reason = REASON_NO_LIQUIDITY
        else:
            left = self.take(1 - book, order_id, owner, self_trade, limit_key, quantity, &reason)
        if left > 0:
            if may_rest and reason == REASON_NONE:
                self.rest(book, order_id, owner, price, left, display)
            else:
                event = self.push(MATCH_EXPIRED, reason if reason != REASON_NONE else REASON_NO_LIQUIDITY, side)
                event.order_id = order_id
                event.owner = owner
                event.price = price
                event.quantity = left
        return order_id

    cdef int64_t take(self, int32_t book, int64_t taker_id, int64_t owner, int32_t self_trade, int64_t limit_key,
                      int64_t left, int32_t* reason) noexcept nogil:
        cdef int32_t slot, last, side = side_of(1 - book)
        cdef int64_t fill
        cdef PriceLevel* level
        cdef RestingOrder* maker
        cdef MatchEvent* event
        while left > 0 and self.n_levels[book] > 0:
            last = self.n_levels[book] - 1
            if self.keys[book][last] < limit_key:
                break
            if self.n_events + EVENT_ROOM - 1 > self.event_capacity:
                reason[0] = REASON_EVENTS_FULL
                break
            level = &self.levels[self.slots[book][last]]
            slot = level.head
            maker = &self.orders[slot]
            if owner != 0 and maker.owner == owner and self_trade != SELF_TRADE_NONE:
                if self_trade != SELF_TRADE_EXPIRE_TAKER:
                    self.tell(MATCH_EXPIRED, REASON_SELF_TRADE, maker, maker.leaves)
                    self.remove(slot)
                if self_trade != SELF_TRADE_EXPIRE_MAKER:
                    reason[0] = REASON_SELF_TRADE
                    break
                continue
            fill = left if left < maker.displayed else maker.displayed
            left -= fill
            self.last_filled += fill
            maker.displayed -= fill
            maker.leaves -= fill
            level.displayed -= fill
            level.total -= fill
            self.n_fills += 1
            event = self.push(MATCH_FILL, REASON_NONE, side)
            event.trade = self.n_fills
            event.order_id = maker.order_id
            event.owner = maker.owner
            event.taker_id = taker_id
            event.taker_owner = owner
            event.price = maker.price
            event.quantity = fill
            event.leaves = maker.leaves
            event.taker_leaves = left
            if maker.leaves == 0:
                self.remove(slot)
            elif maker.displayed == 0:
                self.refill(slot)
            else:
                self.mark(book, level)
        return left

    cdef bint can_fill(self, int32_t book, int64_t limit_key, int64_t quantity, int64_t owner,
                       int32_t self_trade) noexcept nogil:
        cdef int32_t position = self.n_levels[book] - 1
        cdef int32_t slot
        cdef int64_t ahead
        cdef bint own
        cdef PriceLevel* level
        while position >= 0 and self.keys[book][position] >= limit_key:
            level = &self.levels[self.slots[book][position]]
            if owner == 0 or self_trade == SELF_TRADE_NONE:
                quantity -= quantity if quantity < level.total else level.total
            else:
                # Hidden parts queue behind everyone, so before an own order only the displayed ones are met.
                own = False
                ahead = 0
                slot = level.head
                while slot >= 0:
                    if self.orders[slot].owner == owner:
                        own = True
                        if self_trade != SELF_TRADE_EXPIRE_MAKER:
                            break
                    else:
                        ahead += (
                            self.orders[slot].leaves if self_trade == SELF_TRADE_EXPIRE_MAKER
                            else self.orders[slot].displayed
                        )
                    slot = self.orders[slot].behind
                if not own:
                    ahead = level.total
                quantity -= quantity if quantity < ahead else ahead
                if own and self_trade != SELF_TRADE_EXPIRE_MAKER:
                    return quantity == 0
            if quantity == 0:
                return True
            position -= 1
        return False

    cdef int32_t cancel(self, int64_t order_id) noexcept nogil:
        """Take a resting order out; returns 0 or the MatchReason."""
        cdef int32_t slot = self.find_order(order_id)
        if slot < 0:
            return REASON_UNKNOWN_ORDER
        if self.n_events == self.event_capacity:
            self.n_refused += 1
            return REASON_EVENTS_FULL
        self.tell(MATCH_CANCELLED, REASON_NONE, &self.orders[slot], self.orders[slot].leaves)
        self.remove(slot)
        return REASON_NONE

    cdef int32_t reduce(self, int64_t order_id, int64_t leaves) noexcept nogil:
        """Make a resting order smaller, to `leaves`; it keeps its place. Returns 0 or the MatchReason."""
        cdef int32_t slot = self.find_order(order_id)
        cdef int64_t cut, shown
        cdef RestingOrder* order
        cdef PriceLevel* level
        if slot < 0:
            return REASON_UNKNOWN_ORDER
        order = &self.orders[slot]
        if leaves <= 0 or leaves >= order.leaves:
            return REASON_BAD_QUANTITY
        if self.n_events == self.event_capacity:
            self.n_refused += 1
            return REASON_EVENTS_FULL
        cut = order.leaves - leaves
        level = &self.levels[order.level]
        order.leaves = leaves
        level.total -= cut
        # The hidden part goes first, the displayed one only where it is more than what is left.
        if order.displayed > leaves:
            shown = order.displayed - leaves
            order.displayed = leaves
            level.displayed -= shown
            self.mark(order.side, level)
        self.tell(MATCH_REDUCED, REASON_NONE, order, cut)
        return REASON_NONE

    cdef int64_t best_price(self, int32_t side) noexcept nogil:
        """Return the best bid (side > 0) or ask; 0 if the side is empty."""
        cdef int32_t book = 0 if side > 0 else 1
        if self.n_levels[book] == 0:
            return 0
        return self.levels[self.slots[book][self.n_levels[book] - 1]].price

    cdef int64_t displayed_at(self, int32_t side, int64_t price) noexcept nogil:
        cdef int32_t book = 0 if side > 0 else 1
        cdef int32_t position = self.find_key(book, key_of(book, price))
        return 0 if position < 0 else self.levels[self.slots[book][position]].displayed

    cdef int32_t rest(self, int32_t book, int64_t order_id, int64_t owner, int64_t price, int64_t quantity,
                      int64_t display) noexcept nogil:
        cdef int64_t key = key_of(book, price)
        cdef int32_t position = self.find_key(book, key)
        cdef int32_t slot, place, after
        cdef PriceLevel* level
        cdef RestingOrder* order
        if position < 0:
            position = -1 - position
            if self.levels_free >= 0:
                place = self.levels_free
                self.levels_free = self.levels[place].head
            else:
                place = self.levels_used
                self.levels_used += 1
            after = self.n_levels[book] - position
            memmove(&self.keys[book][position + 1], &self.keys[book][position], after * sizeof(int64_t))
            memmove(&self.slots[book][position + 1], &self.slots[book][position], after * sizeof(int32_t))
            self.keys[book][position] = key
            self.slots[book][position] = place
            self.n_levels[book] += 1
            level = &self.levels[place]
            level.price = price
            level.displayed = 0
            level.total = 0
            level.changed_in = 0
            level.head = -1
            level.tail = -1
            level.n_orders = 0
        else:
            place = self.slots[book][position]
            level = &self.levels[place]
        if self.orders_free >= 0:
            slot = self.orders_free
            self.orders_free = self.orders[slot].behind
        else:
            slot = self.orders_used
            self.orders_used += 1
        order = &self.orders[slot]
        order.order_id = order_id
        order.owner = owner
        order.price = price
        order.leaves = quantity
        order.tranche = display
        order.displayed = display if 0 < display < quantity else quantity
        order.level = place
        order.side = book
        order.before = level.tail
        order.behind = -1
        if level.tail >= 0:
            self.orders[level.tail].behind = slot
        else:
            level.head = slot
        level.tail = slot
        level.n_orders += 1
        level.displayed += order.displayed
        level.total += quantity
        self.n_orders += 1
        self.remember(order_id, slot)
        self.mark(book, level)
        return slot

    cdef void unlink(self, int32_t slot) noexcept nogil:
        cdef RestingOrder* order = &self.orders[slot]
        cdef PriceLevel* level = &self.levels[order.level]
        if order.before >= 0:
            self.orders[order.before].behind = order.behind
        else:
            level.head = order.behind
        if order.behind >= 0:
            self.orders[order.behind].before = order.before
        else:
            level.tail = order.before

    cdef void remove(self, int32_t slot) noexcept nogil:
        cdef RestingOrder* order = &self.orders[slot]
        cdef PriceLevel* level = &self.levels[order.level]
        cdef int32_t book = order.side
        cdef int32_t position, after
        self.unlink(slot)
        level.displayed -= order.displayed
        level.total -= order.leaves
        level.n_orders -= 1
        self.mark(book, level)
        if level.n_orders == 0:
            position = self.find_key(book, key_of(book, level.price))
            after = self.n_levels[book] - position - 1
            memmove(&self.keys[book][position], &self.keys[book][position + 1], after * sizeof(int64_t))
            memmove(&self.slots[book][position], &self.slots[book][position + 1], after * sizeof(int32_t))
            self.n_levels[book] -= 1
            level.head = self.levels_free
            self.levels_free = order.level
        self.forget(order.order_id)
        order.behind = self.orders_free
        self.orders_free = slot
        self.n_orders -= 1

    cdef void refill(self, int32_t slot) noexcept nogil:
        cdef RestingOrder* order = &self.orders[slot]
        cdef PriceLevel* level = &self.levels[order.level]
        order.displayed = order.tranche if order.tranche < order.leaves else order.leaves
        level.displayed += order.displayed
        if level.tail != slot:
            self.unlink(slot)
            order.before = level.tail
            order.behind = -1
            self.orders[level.tail].behind = slot
            level.tail = slot
        self.mark(order.side, level)

    # The displayed quantity of a level has changed: a new update id, and once per drain period a place in the list.
    cdef void mark(self, int32_t book, PriceLevel* level) noexcept nogil:
        cdef LevelChange* change
        self.update_id += 1
        if level.changed_in == self.drain_period:
            return
        level.changed_in = self.drain_period
        if self.is_losing_changes:
            self.n_changes_lost += 1
            return
        if self.n_changes == self.change_capacity:
            self.compact_changes()
            # Not only when nothing was gained: a sort for every change that follows would be the price.
            if self.n_changes > self.change_capacity - (self.change_capacity >> 3):
                self.is_losing_changes = True
                self.n_changes_lost += 1
                return
        change = &self.changes[self.n_changes]
        change.side = side_of(book)
        change.price = level.price
        self.n_changes += 1

    # A price emptied and taken again stands twice in the list: sort, keep one of each.
    cdef void compact_changes(self) noexcept nogil:
        cdef int32_t source, kept = 0
        if self.n_changes == 0:
            return
        qsort(self.changes, self.n_changes, sizeof(LevelChange), compare_changes)
        for source in range(1, self.n_changes):
            if compare_changes(&self.changes[kept], &self.changes[source]) != 0:
                kept += 1
                self.changes[kept] = self.changes[source]
        self.n_changes = kept + 1

    cdef int32_t collect_changes(self) noexcept nogil:
        """Sort the changed levels (bids then asks, best first) and fill in what they display now; returns how many."""
        cdef int32_t i
        self.compact_changes()
        for i in range(self.n_changes):
            self.changes[i].displayed = self.displayed_at(<int32_t>self.changes[i].side, self.changes[i].price)
        return self.n_changes

    cdef void clear_changes(self) noexcept nogil:
        self.n_changes = 0
        self.is_losing_changes = False
        self.drain_period += 1

    cdef void clear_events(self) noexcept nogil:
        self.n_events = 0

    # Position of the key in its side, or -1 - the place where it belongs.
    cdef int32_t find_key(self, int32_t book, int64_t key) noexcept nogil:
        cdef int32_t low = 0
        cdef int32_t high = self.n_levels[book]
        cdef int32_t middle
        cdef const int64_t* keys = self.keys[book]
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] < key:
                low = middle + 1
            else:
                high = middle
        if low < self.n_levels[book] and keys[low] == key:
            return low
        return -1 - low

    # The table holds slot + 1, so that memory fresh from calloc is an empty table.
    cdef int32_t find_order(self, int64_t order_id) noexcept nogil:
        cdef uint64_t place = (<uint64_t>order_id * <uint64_t>0x9E3779B97F4A7C15) >> self.table_shift
        cdef int32_t slot
        if order_id <= 0:
            return -1
        while self.table[place] != 0:
            slot = self.table[place] - 1
            if self.orders[slot].order_id == order_id:
                return slot
            place = (place + 1) & self.table_mask
        return -1

    cdef void remember(self, int64_t order_id, int32_t slot) noexcept nogil:
        cdef uint64_t place = (<uint64_t>order_id * <uint64_t>0x9E3779B97F4A7C15) >> self.table_shift
        while self.table[place] != 0:
            place = (place + 1) & self.table_mask
        self.table[place] = slot + 1

    cdef void forget(self, int64_t order_id) noexcept nogil:
        cdef uint64_t place = (<uint64_t>order_id * <uint64_t>0x9E3779B97F4A7C15) >> self.table_shift
        cdef uint64_t hole, home
        while self.orders[self.table[place] - 1].order_id != order_id:
            place = (place + 1) & self.table_mask
        # Close the hole: entries that probed over it move back, so that no tombstones remain.
        hole = place
        while True:
            place = (place + 1) & self.table_mask
            if self.table[place] == 0:
                break
            home = (
                <uint64_t>self.orders[self.table[place] - 1].order_id * <uint64_t>0x9E3779B97F4A7C15
            ) >> self.table_shift
            if ((place - home) & self.table_mask) >= ((place - hole) & self.table_mask):
                self.table[hole] = self.table[place]
                hole = place
        self.table[hole] = 0

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

    cdef void tell(self, int32_t kind, int32_t reason, const RestingOrder* order, int64_t quantity) noexcept nogil:
        cdef MatchEvent* event = self.push(kind, reason, side_of(order.side))
        event.order_id = order.order_id
        event.owner = order.owner
        event.price = order.price
        event.quantity = quantity
        event.leaves = order.leaves if kind == MATCH_REDUCED else 0

    def apply_order(
        self, int32_t side, int64_t price, int64_t quantity, *, int32_t kind=ORDER_LIMIT, int32_t life=LIFE_GTC,
        int64_t owner=0, int32_t self_trade=SELF_TRADE_NONE, int64_t display=0,
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
        """Take a resting order out; returns 0 or the MatchReason."""
        return self.cancel(order_id)

    def apply_reduce(self, int64_t order_id, int64_t leaves) -> int:
        """Reduce a resting order to `leaves`, keeping its place; returns 0 or the MatchReason."""
        return self.reduce(order_id, leaves)

    @property
    def capacity(self) -> int:
        return self.capacity_

    @property
    def best_bid(self) -> int:
        """Best bid in price units; 0 when there is none."""
        return self.best_price(1)

    @property
    def best_ask(self) -> int:
        """Best ask in price units; 0 when there is none."""
        return self.best_price(-1)

    @property
    def n_bids(self) -> int:
        """Prices on the bid side."""
        return self.n_levels[0]

    @property
    def n_asks(self) -> int:
        """Prices on the ask side."""
        return self.n_levels[1]

    def displayed(self, int32_t side, int64_t price) -> int:
        """Return the displayed quantity at a price of one side of the book; 0 when there is none."""
        return self.displayed_at(side, price)

    def depth(self, int32_t side, int32_t limit=2_147_483_647) -> list:
        """Return (price, displayed quantity) of one side, best first, at most `limit` of them."""
        cdef int32_t book = 0 if side > 0 else 1
        cdef int32_t position = self.n_levels[book] - 1
        cdef PriceLevel* level
        found = []
        while position >= 0 and limit > 0:
            level = &self.levels[self.slots[book][position]]
            found.append((level.price, level.displayed))
            position -= 1
            limit -= 1
        return found

    def order(self, int64_t order_id) -> tuple | None:
        """Return (side, price, leaves, displayed, owner) of a resting order, or None."""
        cdef int32_t slot = self.find_order(order_id)
        if slot < 0:
            return None
        cdef RestingOrder* order = &self.orders[slot]
        return (side_of(order.side), order.price, order.leaves, order.displayed, order.owner)

    def queue(self, int32_t side, int64_t price) -> list:
        """Return the order ids resting at a price, first in time first."""
        cdef int32_t book = 0 if side > 0 else 1
        cdef int32_t position = self.find_key(book, key_of(book, price))
        cdef int32_t slot
        found = []
        if position >= 0:
            slot = self.levels[self.slots[book][position]].head
            while slot >= 0:
                found.append(self.orders[slot].order_id)
                slot = self.orders[slot].behind
        return found

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

    def drain_changes(self) -> tuple:
        """Return the levels changed since the last drain as two lists, bids and asks, of (price, displayed), best first."""
        cdef int32_t i
        cdef int32_t n = self.collect_changes()
        bids = []
        asks = []
        for i in range(n):
            (bids if self.changes[i].side > 0 else asks).append((self.changes[i].price, self.changes[i].displayed))
        self.clear_changes()
        return bids, asks
