"""Order book of one instrument: constant time around the touch, ordered and bounded beyond.

A price is an int64 multiple of the instrument's price unit. On-grid prices inside a window of 2^window_bits ticks
lie in a ring indexed by tick, with a two-level bitmap that finds the next level by counting zeros; all others (far
levels, and prices off a grid that grew) lie in a sorted array per side. The window follows the mid, or the living
side: when that is more than a quarter window from the middle, leaving and entering levels change places in one merge.
Asks are kept under negated prices, so that one code serves both sides: the better level has the greater key.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.string cimport memcpy, memmove

from native.events cimport abs64, int128_to_object


cdef extern from *:
    int __builtin_clzll(uint64_t value) noexcept nogil
    int __builtin_ctzll(uint64_t value) noexcept nogil


cdef inline bint is_price(int64_t price) noexcept nogil:
    # 1 to 2^62 - 1: the sum of two prices, and the end of a window around one, still fit 64 bits.
    return price > 0 and price >> 62 == 0


cdef inline int64_t floor_divide(int64_t key, int64_t tick) noexcept nogil:
    cdef int64_t quotient
    if tick == 1:
        return key
    quotient = key // tick
    return quotient - (quotient * tick > key)


cdef inline int64_t nothing(const Ladder* ladder) noexcept nogil:
    # The key of no level: below every other.
    return 0 if ladder.sign > 0 else -INT64_MAX


cdef inline void mark(Ladder* ladder, int64_t position) noexcept nogil:
    ladder.words[position >> 6] |= 1ULL << (position & 63)
    ladder.summary[position >> 12] |= 1ULL << ((position >> 6) & 63)


cdef inline void unmark(Ladder* ladder, int64_t position) noexcept nogil:
    ladder.words[position >> 6] &= ~(1ULL << (position & 63))
    if ladder.words[position >> 6] == 0:
        ladder.summary[position >> 12] &= ~(1ULL << ((position >> 6) & 63))


cdef int64_t previous_set(const Ladder* ladder, int64_t position) noexcept nogil:
    # Highest marked position <= position, or -1.
    cdef int64_t word = position >> 6
    cdef int64_t group = word >> 6
    cdef uint64_t bits = ladder.words[word] & (~0ULL >> (63 - (position & 63)))
    if bits:
        return (word << 6) | (63 - __builtin_clzll(bits))
    bits = ladder.summary[group] & ((1ULL << (word & 63)) - 1)
    while bits == 0:
        group -= 1
        if group < 0:
            return -1
        bits = ladder.summary[group]
    word = (group << 6) | (63 - __builtin_clzll(bits))
    return (word << 6) | (63 - __builtin_clzll(ladder.words[word]))


cdef int32_t lower_bound(const int64_t* keys, int32_t n, int64_t key) noexcept nogil:
    # First index whose key is not below `key`. The steps are arithmetic: no branch to guess wrong.
    cdef int32_t low = 0, half
    while n > 0:
        half = (n + 1) >> 1
        low += half & -<int32_t>(keys[low + half - 1] < key)
        n -= half
    return low


cdef void take_far(Ladder* ladder, int32_t i) noexcept nogil:
    cdef size_t size = (ladder.n_far - i - 1) * sizeof(int64_t)
    memmove(ladder.far_key + i, ladder.far_key + i + 1, size)
    memmove(ladder.far_quantity + i, ladder.far_quantity + i + 1, size)
    ladder.n_far -= 1
    ladder.n_levels -= 1


@final
cdef class Book:
    """Two sides of one instrument.

    Parameters
    ----------
    tick : int
        Price units per tick, 1 to 2^40.
    window_bits : int
        The ring holds 2^window_bits ticks, 12 to 20 (default 16).
    far_capacity : int
        Levels a side outside the ring, 16 to 1,048,576 (default 32,768). When full the one farthest from the touch
        is dropped and counted, and the side's horizon moves in front of it.

    Notes
    -----
    Prices are 1 to 2^62 - 1 price units. An empty side reads best bid 0 and best ask 0 from Python.

    Cost: `set_level` is constant inside the window, logarithmic plus a memory move outside; no allocation after
    construction. Of the 3.7 MB of the default capacities the system lends zeroed pages as they are touched: the
    ring where levels are, the far levels there are, the buffers of the merge when the window moves.
    """

    def __cinit__(self, *, tick: int = 1, window_bits: int = 16, far_capacity: int = 32_768):
        cdef Ladder* ladder
        cdef int side
        if not 1 <= tick <= 1 << 40:
            raise ValueError(f"tick must be 1 to 2^40 price units, found {tick}")
        if not 12 <= window_bits <= 20:
            raise ValueError(f"window_bits must be 12 to 20, found {window_bits}")
        if not 16 <= far_capacity <= 1 << 20:
            raise ValueError(f"far_capacity must be 16 to 1048576, found {far_capacity}")
        self.tick = tick
        self._window = 1 << <int>window_bits
        self._mask = self._window - 1
        self._far_capacity = far_capacity
        self._merge_key = <int64_t*>PyMem_RawCalloc(self._far_capacity + self._window, sizeof(int64_t))
        self._merge_quantity = <int64_t*>PyMem_RawCalloc(self._far_capacity + self._window, sizeof(int64_t))
        if self._merge_key is NULL or self._merge_quantity is NULL:
            raise MemoryError()
        for side in range(2):
            ladder = &self.asks if side else &self.bids
            ladder.sign = -1 if side else 1
            ladder.quantity = <int64_t*>PyMem_RawCalloc(self._window, sizeof(int64_t))
            ladder.words = <uint64_t*>PyMem_RawCalloc(self._window >> 6, sizeof(uint64_t))
            ladder.summary = <uint64_t*>PyMem_RawCalloc(self._window >> 12, sizeof(uint64_t))
            ladder.far_key = <int64_t*>PyMem_RawCalloc(self._far_capacity, sizeof(int64_t))
            ladder.far_quantity = <int64_t*>PyMem_RawCalloc(self._far_capacity, sizeof(int64_t))
            if (ladder.quantity is NULL or ladder.words is NULL or ladder.summary is NULL
                    or ladder.far_key is NULL or ladder.far_quantity is NULL):
                raise MemoryError()
        self.clear()

    def __dealloc__(self):
        cdef Ladder* ladder
        cdef int side
        for side in range(2):
            ladder = &self.asks if side else &self.bids
            PyMem_RawFree(ladder.quantity)
            PyMem_RawFree(ladder.words)
            PyMem_RawFree(ladder.summary)
            PyMem_RawFree(ladder.far_key)
            PyMem_RawFree(ladder.far_quantity)
        PyMem_RawFree(self._merge_key)
        PyMem_RawFree(self._merge_quantity)

    cdef int64_t set_level(self, int side, int64_t price, int64_t quantity) noexcept nogil:
        # Absolute quantity at a price, 0 deletes; returns the change of quantity at that price.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int64_t index, position, old
        if not is_price(price) or quantity < 0:
            self.bad_levels += 1
            return 0
        index = price if self.tick == 1 else price // self.tick
        if index * self.tick != price:
            return self._set_far(ladder, price, quantity)
        index *= ladder.sign
        if <uint64_t>(index - ladder.base) >= <uint64_t>self._window:
            return self._set_far(ladder, price, quantity)
        position = index & self._mask
        old = ladder.quantity[position]
        if quantity:
            ladder.quantity[position] = quantity
            if old == 0:
                mark(ladder, position)
                ladder.n_levels += 1
                if ladder.sign * price > ladder.sign * ladder.best:
                    ladder.best = price
        elif old:
            ladder.quantity[position] = 0
            unmark(ladder, position)
            ladder.n_levels -= 1
            if price == ladder.best:
                self._find_best(ladder)
        return quantity - old

    cdef int64_t _set_far(self, Ladder* ladder, int64_t price, int64_t quantity) noexcept nogil:
        cdef int64_t key = ladder.sign * price, old
        cdef int32_t n = ladder.n_far
        cdef int32_t i = lower_bound(ladder.far_key, n, key)
        if i < n and ladder.far_key[i] == key:
            old = ladder.far_quantity[i]
            if quantity:
                ladder.far_quantity[i] = quantity
            else:
                take_far(ladder, i)
                if price == ladder.best:
                    self._find_best(ladder)
            return quantity - old
        if quantity == 0:
            return 0
        if n == self._far_capacity:
            self.dropped_levels += 1
            old = key if i == 0 else ladder.far_key[0]
            ladder.horizon = ladder.sign * max(ladder.sign * ladder.horizon, old + 1)
            if i == 0:
                return 0
            take_far(ladder, 0)
            n -= 1
            i -= 1
        memmove(ladder.far_key + i + 1, ladder.far_key + i, (n - i) * sizeof(int64_t))
        memmove(ladder.far_quantity + i + 1, ladder.far_quantity + i, (n - i) * sizeof(int64_t))
        ladder.far_key[i] = key
        ladder.far_quantity[i] = quantity
        ladder.n_far = n + 1
        ladder.n_levels += 1
        if key > ladder.sign * ladder.best:
            ladder.best = price
        return quantity

    cdef int64_t _ring_below(self, const Ladder* ladder, int64_t index) noexcept nogil:
        # Highest tick index <= index that holds a level, below the base if none. The ring is circular: from the slot
        # down to slot 0, then around.
        cdef int64_t position
        if index < ladder.base:
            return index
        index = min(index, ladder.base + self._mask)
        position = previous_set(ladder, index & self._mask)
        if position < 0:
            position = previous_set(ladder, self._mask)
        if position < 0:
            return ladder.base - 1
        position = ladder.base + ((position - ladder.base) & self._mask)
        return position if position <= index else ladder.base - 1

    cdef void _find_best(self, Ladder* ladder) noexcept nogil:
        # The best has just gone, so nothing lies before it.
        cdef int64_t index = self._ring_below(ladder, floor_divide(ladder.sign * ladder.best, self.tick))
        cdef int64_t key = index * self.tick if index >= ladder.base else nothing(ladder)
        if ladder.n_far:
            key = max(key, ladder.far_key[ladder.n_far - 1])
        ladder.best = ladder.sign * key

    cdef int64_t quantity_at(self, int side, int64_t price) noexcept nogil:
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int64_t index
        cdef int32_t i
        if not is_price(price):
            return 0
        index = price if self.tick == 1 else price // self.tick
        if index * self.tick == price:
            index *= ladder.sign
            if <uint64_t>(index - ladder.base) < <uint64_t>self._window:
                return ladder.quantity[index & self._mask]
        i = lower_bound(ladder.far_key, ladder.n_far, ladder.sign * price)
        if i < ladder.n_far and ladder.far_key[i] == ladder.sign * price:
            return ladder.far_quantity[i]
        return 0

    cdef bint is_crossed(self) noexcept nogil:
        return self.bids.n_levels > 0 and self.asks.n_levels > 0 and self.bids.best >= self.asks.best

    cdef void settle(self) noexcept nogil:
        # Once a message, after its levels: keep the window around the mid, or around the living side.
        cdef int64_t anchor
        if self.bids.n_levels and self.asks.n_levels:
            anchor = (self.bids.best + self.asks.best) >> 1
        elif self.bids.n_levels:
            anchor = self.bids.best
        elif self.asks.n_levels:
            anchor = self.asks.best
        else:
            return
        if self.tick != 1:
            anchor //= self.tick
        if abs64(anchor - self._middle) > self._window >> 2:
            self._recentre(anchor)

    cdef void _recentre(self, int64_t middle) noexcept nogil:
        # A base is a multiple of 64: the slots of a bitmap word are neighbours in price, in every window.
        if self._middle >= 0:
            self.recentres += 1
        self._middle = middle
        self._shift(&self.bids, (middle - (self._window >> 1)) & ~63LL)
        self._shift(&self.asks, (-middle - (self._window >> 1)) & ~63LL)

    cdef void _shift(self, Ladder* ladder, int64_t base) noexcept nogil:
        # One descending merge of the far levels with the ring's leaving ones, written from the end of the buffer;
        # then each goes where it now belongs.
        cdef int64_t low = ladder.base, high = ladder.base + self._mask
        cdef int64_t index, key
        cdef int64_t* keys = self._merge_key + self._far_capacity + self._window
        cdef int64_t* quantities = self._merge_quantity + self._far_capacity + self._window
        cdef int32_t i = ladder.n_far - 1, total = 0, n = 0, excess
        if base >= ladder.base:
            high = min(high, base - 1)
        else:
            low = max(low, base + self._window)
        while True:
            index = self._ring_below(ladder, high) if low <= high else low - 1
            key = index * self.tick if index >= low else -INT64_MAX
            while i >= 0 and ladder.far_key[i] > key:
                total += 1
                keys[-total] = ladder.far_key[i]
                quantities[-total] = ladder.far_quantity[i]
                i -= 1
            if index < low:
                break
            total += 1
            keys[-total] = key
            quantities[-total] = ladder.quantity[index & self._mask]
            ladder.quantity[index & self._mask] = 0
            unmark(ladder, index & self._mask)
            high = index - 1
        ladder.base = base
        keys -= total
        quantities -= total
        for i in range(total):
            index = floor_divide(keys[i], self.tick)
            if <uint64_t>(index - base) < <uint64_t>self._window and index * self.tick == keys[i]:
                ladder.quantity[index & self._mask] = quantities[i]
                mark(ladder, index & self._mask)
            else:
                keys[n] = keys[i]
                quantities[n] = quantities[i]
                n += 1
        excess = max(n - self._far_capacity, 0)
        if excess:
            self.dropped_levels += excess
            ladder.n_levels -= excess
            ladder.horizon = ladder.sign * max(ladder.sign * ladder.horizon, keys[excess - 1] + 1)
        ladder.n_far = n - excess
        memcpy(ladder.far_key, keys + excess, ladder.n_far * sizeof(int64_t))
        memcpy(ladder.far_quantity, quantities + excess, ladder.n_far * sizeof(int64_t))

    cdef int64_t worse(self, int side, int64_t price) noexcept nogil:
        # Next level behind `price`, away from the touch; bids 0 and asks INT64_MAX when there is none.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int64_t key = ladder.sign * price
        cdef int64_t index = self._ring_below(ladder, floor_divide(key - 1, self.tick))
        cdef int32_t i = lower_bound(ladder.far_key, ladder.n_far, key)
        key = ladder.far_key[i - 1] if i > 0 else nothing(ladder)
        if index >= ladder.base:
            key = max(key, index * self.tick)
        return ladder.sign * key

    cdef int128_t depth_sum(self, int side, int32_t n) noexcept nogil:
        # Quantity of the best n levels: ring and far levels merged, the ring a bitmap word at a time where no far
        # level lies between its prices.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int128_t total = 0
        cdef int64_t index = self._ring_below(ladder, floor_divide(ladder.sign * ladder.best, self.tick))
        cdef int64_t key, far_key, end, word
        cdef uint64_t bits
        cdef int32_t i = ladder.n_far - 1
        cdef int bit
        while n > 0:
            key = index * self.tick if index >= ladder.base else -INT64_MAX
            far_key = ladder.far_key[i] if i >= 0 else -INT64_MAX
            if key > far_key:
                word = (index & self._mask) >> 6
                end = index & ~63LL
                bits = ladder.words[word] & (~0ULL >> (63 - (index & 63)))
                if far_key >= end * self.tick:
                    end = index
                    bits = 1ULL << (index & 63)
                while bits and n > 0:
                    bit = 63 - __builtin_clzll(bits)
                    bits ^= 1ULL << bit
                    total += ladder.quantity[(word << 6) | bit]
                    n -= 1
                index = self._ring_below(ladder, end - 1)
            elif i >= 0:
                total += ladder.far_quantity[i]
                i -= 1
                n -= 1
            else:
                break
        return total

    cdef int128_t range_sum(self, int side, int64_t low, int64_t high) noexcept nogil:
        # Quantity at prices low <= p <= high.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int128_t total = 0
        cdef int64_t first, last, word
        cdef uint64_t bits
        cdef int32_t i
        low = max(low, 1)
        high = min(high, INT64_MAX >> 1)
        if low > high or ladder.n_levels == 0:
            return total
        if ladder.sign < 0:
            first = -high
            high = -low
            low = first
        if ladder.n_far and ladder.far_key[ladder.n_far - 1] >= low and ladder.far_key[0] <= high:
            i = lower_bound(ladder.far_key, ladder.n_far, low)
            while i < ladder.n_far and ladder.far_key[i] <= high:
                total += ladder.far_quantity[i]
                i += 1
        first = max(floor_divide(low - 1, self.tick) + 1, ladder.base)
        last = min(floor_divide(high, self.tick), ladder.base + self._mask)
        while first <= last:
            word = (first & self._mask) >> 6
            bits = ladder.words[word] & (~0ULL << (first & 63))
            if last < first | 63:
                bits &= ~0ULL >> (63 - (last & 63))
            while bits:
                total += ladder.quantity[(word << 6) | __builtin_ctzll(bits)]
                bits &= bits - 1
            first = (first | 63) + 1
        return total

    cdef void exchange(self, Book other) noexcept nogil:
        # Two books of the same tick and capacities change their levels; counters stay where they are.
        cdef Ladder ladder = self.bids
        cdef int64_t middle = self._middle
        self.bids = other.bids
        other.bids = ladder
        ladder = self.asks
        self.asks = other.asks
        other.asks = ladder
        self._middle = other._middle
        other._middle = middle

    cdef void clear(self) noexcept nogil:
        cdef Ladder* ladder
        cdef int64_t position
        cdef int side
        for side in range(2):
            ladder = &self.asks if side else &self.bids
            position = previous_set(ladder, self._mask)
            while position >= 0:
                ladder.quantity[position] = 0
                unmark(ladder, position)
                position = previous_set(ladder, position)
            ladder.n_far = 0
            ladder.n_levels = 0
            ladder.best = 0 if ladder.sign > 0 else INT64_MAX
            ladder.horizon = ladder.best
            # No price lies in this window: all levels are far until the first centre.
            ladder.base = -ladder.sign * self._window
        self._middle = -self._window

    cdef void load(self, const DepthUpdate* snapshot, bint is_complete) noexcept nogil:
        # Replace everything. Levels behind a cut snapshot are unknown until they change: the horizon says from where.
        cdef int32_t i
        cdef int64_t bid = 0, ask = INT64_MAX, lowest = INT64_MAX, highest = 0
        cdef const Level* level
        self.clear()
        for i in range(snapshot.n_bids):
            level = &snapshot.bids[i]
            if is_price(level.price) and level.quantity > 0:
                bid = max(bid, level.price)
                lowest = min(lowest, level.price)
        for i in range(snapshot.n_asks):
            level = &snapshot.asks[i]
            if is_price(level.price) and level.quantity > 0:
                ask = min(ask, level.price)
                highest = max(highest, level.price)
        if bid and highest:
            self._recentre(((bid + ask) >> 1) // self.tick)
        elif bid or highest:
            self._recentre((bid if bid else ask) // self.tick)
        if bid and not is_complete:
            self.bids.horizon = lowest
        if highest and not is_complete:
            self.asks.horizon = highest
        # A snapshot lists the best levels first; from the last one on, far levels are appended and nothing moves.
        for i in range(snapshot.n_bids - 1, -1, -1):
            self.set_level(1, snapshot.bids[i].price, snapshot.bids[i].quantity)
        for i in range(snapshot.n_asks - 1, -1, -1):
            self.set_level(-1, snapshot.asks[i].price, snapshot.asks[i].quantity)

    @property
    def best_bid(self) -> int:
        """Best bid in price units; 0 when there is none."""
        return self.bids.best

    @property
    def best_ask(self) -> int:
        """Best ask in price units; 0 when there is none."""
        return 0 if self.asks.n_levels == 0 else self.asks.best

    @property
    def horizons(self) -> tuple:
        """Last bid and last ask price still known; levels behind them are not (0: all levels are known)."""
        return self.bids.horizon, 0 if self.asks.horizon == INT64_MAX else self.asks.horizon

    @property
    def n_levels(self) -> tuple:
        """Number of bid and of ask levels."""
        return self.bids.n_levels, self.asks.n_levels

    @property
    def n_far_levels(self) -> tuple:
        """Number of bid and of ask levels that lie in the overflow."""
        return self.bids.n_far, self.asks.n_far

    def apply_level(self, side: int, price: int, quantity: int) -> int:
        """Set the absolute quantity at a price and return its change; zero deletes.

        Parameters
        ----------
        side : int
            Side of the book: BUY (1) or SELL (-1).
        price, quantity : int
            Price and quantity units. A price outside 1 to 2^62 - 1 or a negative quantity is counted in `bad_levels`
            and left out.
        """
        return self.set_level(side, price, quantity)

    def apply_snapshot(self, bids: list, asks: list, *, is_complete: bool) -> None:
        """Replace all levels and centre the window.

        Parameters
        ----------
        bids, asks : list of (int, int)
            Price and quantity units, in any order.
        is_complete : bool
            Whether these are all levels of the venue; otherwise those behind the last of a side are unknown.
        """
        cdef DepthUpdate snapshot
        cdef Level* levels = <Level*>PyMem_RawCalloc(len(bids) + len(asks) + 1, sizeof(Level))
        cdef int32_t n = 0
        if levels is NULL:
            raise MemoryError()
        try:
            for price, quantity in (*bids, *asks):
                levels[n].price = price
                levels[n].quantity = quantity
                n += 1
            snapshot.n_bids = len(bids)
            snapshot.n_asks = len(asks)
            snapshot.bids = levels
            snapshot.asks = levels + len(bids)
            self.load(&snapshot, is_complete)
        finally:
            PyMem_RawFree(levels)

    def apply_settle(self) -> None:
        """End a message: follow the market with the window."""
        self.settle()

    def apply_clear(self) -> None:
        """Forget all levels."""
        self.clear()

    def quantity(self, side: int, price: int) -> int:
        """Return the quantity at a price; 0 if there is none."""
        return self.quantity_at(side, price)

    def levels(self, side: int, n: int) -> list:
        """Return the best `n` levels as (price, quantity), best first."""
        cdef int64_t price = self.bids.best if side > 0 else self.asks.best
        found = []
        while len(found) < n and 0 < price < INT64_MAX:
            found.append((price, self.quantity_at(side, price)))
            price = self.worse(side, price)
        return found

    def top_sum(self, side: int, n: int) -> int:
        """Return the quantity of the best `n` levels of a side."""
        return int128_to_object(self.depth_sum(side, n))

    def sum_between(self, side: int, low: int, high: int) -> int:
        """Return the quantity at prices from `low` to `high`, both included."""
        return int128_to_object(self.range_sum(side, low, high))
