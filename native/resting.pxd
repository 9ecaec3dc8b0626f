"""Contents page of the resting orders: the book of the simulated exchange, order by order."""

from libc.stdint cimport int32_t, int64_t, uint64_t


cdef struct LevelChange:
    int64_t price
    int64_t displayed         # the new displayed quantity; 0: the price is empty
    int64_t side              # Side of the book


cdef struct RestingOrder:
    int64_t order_id
    int64_t owner
    int64_t price
    int64_t leaves            # displayed + hidden
    int64_t displayed
    int64_t tranche           # iceberg: quantity shown after a refill; 0: all is shown
    int32_t level             # slot of its price
    int32_t before            # neighbours in the queue; -1 = none
    int32_t behind            # also the free list
    int32_t book              # 0 bids, 1 asks


cdef struct PriceLevel:
    int64_t price
    int64_t displayed
    int64_t total             # displayed + hidden
    int64_t changed_in        # drain period in which it entered the list of changes
    int32_t head              # first in time; also the free list
    int32_t tail
    int32_t n_orders
    int32_t reserved


cdef inline int64_t key_of(int32_t book, int64_t price) noexcept nogil:
    return price if book == 0 else -price


cdef inline int32_t side_of(int32_t book) noexcept nogil:
    return 1 if book == 0 else -1


cdef inline int32_t book_of(int32_t side) noexcept nogil:
    return 0 if side > 0 else 1


cdef class RestingOrders:
    cdef RestingOrder* orders
    cdef PriceLevel* levels
    cdef int32_t* table       # open addressing: order id -> slot + 1, 0 = empty
    cdef int64_t* keys[2]     # per book, rising, the best last: a bid's key is its price, an ask's minus it
    cdef int32_t* slots[2]    # the level of each key
    cdef int32_t n_levels[2]
    cdef readonly int32_t capacity
    cdef readonly int32_t max_levels
    cdef int32_t orders_used  # high-water mark of the pool
    cdef int32_t orders_free  # head of the free list, -1 = none
    cdef int32_t levels_used
    cdef int32_t levels_free
    cdef uint64_t table_mask
    cdef int32_t table_shift
    cdef readonly int32_t n_orders        # resting now
    cdef readonly int64_t update_id       # +1 with every change of a displayed quantity
    cdef readonly int64_t n_changes_lost  # above 0: changes did not fit, take a snapshot
    cdef LevelChange* changes
    cdef int32_t n_changes
    cdef int32_t change_capacity
    cdef bint is_losing_changes
    cdef int64_t drain_period

    # hot
    cdef PriceLevel* best_level(self, int32_t book) noexcept nogil
    cdef int64_t displayed_at(self, int32_t side, int64_t price) noexcept nogil
    cdef int32_t find_order(self, int64_t order_id) noexcept nogil
    cdef int32_t find_key(self, int32_t book, int64_t key) noexcept nogil
    cdef void add(self, int32_t book, int64_t order_id, int64_t owner, int64_t price, int64_t quantity,
                  int64_t display) noexcept nogil
    cdef void eat(self, int32_t slot, int64_t quantity) noexcept nogil
    cdef void shrink(self, int32_t slot, int64_t leaves) noexcept nogil
    cdef void remove(self, int32_t slot) noexcept nogil
    cdef int32_t collect_changes(self) noexcept nogil
    cdef void clear_changes(self) noexcept nogil
    cdef int32_t add_level(self, int32_t book, int64_t price, int32_t position) noexcept nogil
    cdef void refill(self, int32_t slot) noexcept nogil
    cdef void unlink(self, int32_t slot) noexcept nogil
    cdef void remember(self, int64_t order_id, int32_t slot) noexcept nogil
    cdef void forget(self, int64_t order_id) noexcept nogil
    cdef void mark(self, int32_t book, PriceLevel* level) noexcept nogil
    cdef void compact_changes(self) noexcept nogil
