"""Resting orders by price, then time."""

cimport cython
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memmove

cdef int32_t MAX_ORDERS = 1 << 24
cdef int32_t MAX_LEVELS = 1 << 20
cdef int32_t MAX_CHANGES = 1 << 22
cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15


cdef int compare_changes(const void* left, const void* right) noexcept nogil:
    # Bids before asks, each best price first.
    cdef const LevelChange* a = <const LevelChange*>left
    cdef const LevelChange* b = <const LevelChange*>right
    if a.side != b.side:
        return -1 if a.side > b.side else 1
    if a.price == b.price:
        return 0
    return -1 if (a.price > b.price) == (a.side > 0) else 1


@cython.final
cdef class RestingOrders:
    """
    Hold the resting orders of one instrument: queues by price, found by price and by order id.

    Parameters
    ----------
    capacity : int
        Orders at once, 16 to 16,777,216. Who adds looks first whether there is room.
    max_levels : int
        Prices a side, 16 to 1,048,576; likewise.
    change_capacity : int
        Level changes kept until `drain_changes`, 64 to 4,194,304. When still 7/8 full after merging,
        `n_changes_lost` counts, and the reader must start again from a snapshot.

    Notes
    -----
    It matches nothing: `Matching` writes, others read. An iceberg shows its tranche; when that is eaten it
    shows the next part and goes to the back of its queue.

    Cost: search of a price O(log levels); a new or emptied price moves the keys nearer to the touch than
    itself (none at the touch); all else O(1). No allocation after construction.
    """

    def __cinit__(self, int64_t capacity, int64_t max_levels, int64_t change_capacity):
        for name, value, low, high in (
            ("capacity", capacity, 16, MAX_ORDERS),
            ("max_levels", max_levels, 16, MAX_LEVELS),
            ("change_capacity", change_capacity, 64, MAX_CHANGES),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be between {low} and {high}, found {value}")
        cdef int book
        self.capacity = <int32_t>capacity
        self.max_levels = <int32_t>max_levels
        self.change_capacity = <int32_t>change_capacity
        self.table_shift = 60
        while (1 << (64 - self.table_shift)) < 2 * self.capacity:
            self.table_shift -= 1
        self.table_mask = (<uint64_t>1 << (64 - self.table_shift)) - 1
        self.orders = <RestingOrder*>calloc(self.capacity, sizeof(RestingOrder))
        self.levels = <PriceLevel*>calloc(2 * self.max_levels, sizeof(PriceLevel))
        self.table = <int32_t*>calloc(self.table_mask + 1, sizeof(int32_t))
        self.changes = <LevelChange*>calloc(self.change_capacity, sizeof(LevelChange))
        for book in range(2):
            self.keys[book] = <int64_t*>calloc(self.max_levels, sizeof(int64_t))
            self.slots[book] = <int32_t*>calloc(self.max_levels, sizeof(int32_t))
            if self.keys[book] == NULL or self.slots[book] == NULL:
                raise MemoryError(f"no memory for {max_levels} levels a side")
        if self.orders == NULL or self.levels == NULL or self.table == NULL or self.changes == NULL:
            raise MemoryError(f"no memory for {capacity} orders and {max_levels} levels a side")
        self.orders_free = -1
        self.levels_free = -1
        self.drain_period = 1

    def __dealloc__(self):
        cdef int book
        free(self.orders)
        free(self.levels)
        free(self.table)
        free(self.changes)
        for book in range(2):
            free(self.keys[book])
            free(self.slots[book])

    cdef PriceLevel* best_level(self, int32_t book) noexcept nogil:
        """Return the best level of a book; NULL when it is empty."""
        if self.n_levels[book] == 0:
            return NULL
        return &self.levels[self.slots[book][self.n_levels[book] - 1]]

    cdef int64_t displayed_at(self, int32_t side, int64_t price) noexcept nogil:
        cdef int32_t book = book_of(side)
        cdef int32_t position = self.find_key(book, key_of(book, price))
        return 0 if position < 0 else self.levels[self.slots[book][position]].displayed

    # Position of the key in its book, or -1 - the place where it belongs.
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

    cdef void add(self, int32_t book, int64_t order_id, int64_t owner, int64_t price, int64_t quantity,
                  int64_t display) noexcept nogil:
        """Put an order at the back of its queue; the caller has seen that there is room."""
        cdef int32_t position = self.find_key(book, key_of(book, price))
        cdef int32_t slot, place
        cdef PriceLevel* level
        cdef RestingOrder* order
        place = self.slots[book][position] if position >= 0 else self.add_level(book, price, -1 - position)
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
        order.book = book
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

    cdef int32_t add_level(self, int32_t book, int64_t price, int32_t position) noexcept nogil:
        cdef int32_t place
        cdef size_t after = self.n_levels[book] - position
        cdef PriceLevel* level
        if self.levels_free >= 0:
            place = self.levels_free
            self.levels_free = self.levels[place].head
        else:
            place = self.levels_used
            self.levels_used += 1
        memmove(&self.keys[book][position + 1], &self.keys[book][position], after * sizeof(int64_t))
        memmove(&self.slots[book][position + 1], &self.slots[book][position], after * sizeof(int32_t))
        self.keys[book][position] = key_of(book, price)
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
        return place

    cdef void eat(self, int32_t slot, int64_t quantity) noexcept nogil:
        """Take a fill, at most the displayed quantity, off an order; refill it or remove it as needed."""
        cdef RestingOrder* order = &self.orders[slot]
        cdef PriceLevel* level = &self.levels[order.level]
        order.displayed -= quantity
        order.leaves -= quantity
        level.displayed -= quantity
        level.total -= quantity
        if order.leaves == 0:
            self.remove(slot)
        elif order.displayed == 0:
            self.refill(slot)
        else:
            self.mark(order.book, level)

    cdef void shrink(self, int32_t slot, int64_t leaves) noexcept nogil:
        """Make an order smaller in its place: the hidden part goes first."""
        cdef RestingOrder* order = &self.orders[slot]
        cdef PriceLevel* level = &self.levels[order.level]
        level.total -= order.leaves - leaves
        order.leaves = leaves
        if order.displayed > leaves:
            level.displayed -= order.displayed - leaves
            order.displayed = leaves
            self.mark(order.book, level)

    cdef void remove(self, int32_t slot) noexcept nogil:
        cdef RestingOrder* order = &self.orders[slot]
        cdef PriceLevel* level = &self.levels[order.level]
        cdef int32_t book = order.book
        cdef int32_t position
        cdef size_t after
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
        self.mark(order.book, level)

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

    # The displayed quantity of a level has changed: a new update id, and once a period a place in the list.
    cdef void mark(self, int32_t book, PriceLevel* level) noexcept nogil:
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
        self.changes[self.n_changes].side = side_of(book)
        self.changes[self.n_changes].price = level.price
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
        """Sort the changes, bids then asks, best first; fill in what is displayed now; return how many."""
        cdef int32_t i
        self.compact_changes()
        for i in range(self.n_changes):
            self.changes[i].displayed = self.displayed_at(
                <int32_t>self.changes[i].side, self.changes[i].price
            )
        return self.n_changes

    cdef void clear_changes(self) noexcept nogil:
        self.n_changes = 0
        self.is_losing_changes = False
        self.drain_period += 1

    # The table holds slot + 1, so that memory fresh from calloc is an empty table.
    cdef int32_t find_order(self, int64_t order_id) noexcept nogil:
        """Return the slot of an order; -1 when it does not rest here."""
        cdef uint64_t place = (<uint64_t>order_id * GOLDEN) >> self.table_shift
        cdef int32_t slot
        while self.table[place] != 0:
            slot = self.table[place] - 1
            if self.orders[slot].order_id == order_id:
                return slot
            place = (place + 1) & self.table_mask
        return -1

    cdef void remember(self, int64_t order_id, int32_t slot) noexcept nogil:
        cdef uint64_t place = (<uint64_t>order_id * GOLDEN) >> self.table_shift
        while self.table[place] != 0:
            place = (place + 1) & self.table_mask
        self.table[place] = slot + 1

    cdef void forget(self, int64_t order_id) noexcept nogil:
        cdef uint64_t place = (<uint64_t>order_id * GOLDEN) >> self.table_shift
        cdef uint64_t hole, home
        while self.orders[self.table[place] - 1].order_id != order_id:
            place = (place + 1) & self.table_mask
        # Close the hole: entries that probed over it move back, so that no tombstones remain.
        hole = place
        while True:
            place = (place + 1) & self.table_mask
            if self.table[place] == 0:
                break
            home = (<uint64_t>self.orders[self.table[place] - 1].order_id * GOLDEN) >> self.table_shift
            if ((place - home) & self.table_mask) >= ((place - hole) & self.table_mask):
                self.table[hole] = self.table[place]
                hole = place
        self.table[hole] = 0

    @property
    def best_bid(self) -> int:
        """Best bid in price units; 0 when there is none."""
        cdef PriceLevel* level = self.best_level(0)
        return 0 if level == NULL else level.price

    @property
    def best_ask(self) -> int:
        """Best ask in price units; 0 when there is none."""
        cdef PriceLevel* level = self.best_level(1)
        return 0 if level == NULL else level.price

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
        cdef int32_t book = book_of(side)
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
        """Return (side, price, leaves, displayed, owner) of an order; None when it does not rest here."""
        cdef int32_t slot = self.find_order(order_id)
        if slot < 0:
            return None
        cdef RestingOrder* order = &self.orders[slot]
        return (side_of(order.book), order.price, order.leaves, order.displayed, order.owner)

    def queue(self, int32_t side, int64_t price) -> list:
        """Return the ids of the orders at a price, first in time first."""
        cdef int32_t book = book_of(side)
        cdef int32_t position = self.find_key(book, key_of(book, price))
        cdef int32_t slot
        found = []
        if position >= 0:
            slot = self.levels[self.slots[book][position]].head
            while slot >= 0:
                found.append(self.orders[slot].order_id)
                slot = self.orders[slot].behind
        return found

    def drain_changes(self) -> tuple:
        """Return what changed since the last drain: bids and asks, each (price, displayed), best first."""
        cdef int32_t i
        cdef int32_t n = self.collect_changes()
        bids = []
        asks = []
        for i in range(n):
            side = bids if self.changes[i].side > 0 else asks
            side.append((self.changes[i].price, self.changes[i].displayed))
        self.clear_changes()
        return bids, asks
