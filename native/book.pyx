"""Order book of one instrument: constant time around the touch, ordered and bounded beyond.

A price is an int64 multiple of the instrument's price unit. On-grid prices inside a window of 2^window_bits ticks lie
in a ring indexed by tick, with a two-level bitmap that finds the next level by counting zeros; all others (far levels,
and prices off a grid that grew) lie in a sorted array per side. The window follows the mid, or the living side: when
the anchor is more than a quarter window from the middle, leaving and entering levels change places in one merge.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.string cimport memmove, memset

from native.events cimport abs64, int128_to_object


cdef extern from *:
    int __builtin_ctzll(uint64_t value) noexcept nogil
    int __builtin_clzll(uint64_t value) noexcept nogil


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


cdef int64_t next_set(const Ladder* ladder, int64_t position, int32_t n_summary) noexcept nogil:
    # Lowest marked position >= position, or -1.
    cdef int64_t word = position >> 6
    cdef int64_t group = word >> 6
    cdef uint64_t bits = ladder.words[word] & (~0ULL << (position & 63))
    if bits:
        return (word << 6) | __builtin_ctzll(bits)
    bits = 0 if (word & 63) == 63 else ladder.summary[group] & (~0ULL << ((word & 63) + 1))
    while bits == 0:
        group += 1
        if group >= n_summary:
            return -1
        bits = ladder.summary[group]
    word = (group << 6) | __builtin_ctzll(bits)
    return (word << 6) | __builtin_ctzll(ladder.words[word])


cdef int32_t lower_bound(const int64_t* prices, int32_t n, int64_t price) noexcept nogil:
    # First index whose price is not below `price`.
    cdef int32_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) >> 1
        if prices[middle] < price:
            low = middle + 1
        else:
            high = middle
    return low


@final
cdef class Book:
    """Two sides of one instrument.

    Parameters
    ----------
    tick : int
        Price units per tick, at least 1.
    window_bits : int
        The ring holds 2^window_bits ticks, 12 to 20 (default 16).
    far_capacity : int
        Levels a side outside the ring, 16 to 1,048,576 (default 32,768). When full the level farthest from the touch
        is dropped and counted, and the side's horizon moves to it.

    Notes
    -----
    Cost: `set_level` is constant inside the window, logarithmic plus a memory move outside; no allocation after
    construction. An empty side reads best bid 0 and best ask 0 from Python.
    """

    def __cinit__(self, *, tick: int = 1, window_bits: int = 16, far_capacity: int = 32_768):
        cdef Ladder* ladder
        if not 1 <= tick <= 1 << 40:
            raise ValueError(f"tick must be 1 to 2^40 price units, found {tick}")
        if not 12 <= window_bits <= 20:
            raise ValueError(f"window_bits must be 12 to 20, found {window_bits}")
        if not 16 <= far_capacity <= 1 << 20:
            raise ValueError(f"far_capacity must be 16 to 1048576, found {far_capacity}")
        self.tick = tick
        self._window = 1 << <int>window_bits
        self._mask = self._window - 1
        self._n_words = <int32_t>(self._window >> 6)
        self._n_summary = (self._n_words + 63) >> 6
        self._far_capacity = far_capacity
        cdef int side
        for side in range(2):
            ladder = &self.bids if side == 0 else &self.asks
            ladder.quantity = <int64_t*>PyMem_RawCalloc(self._window, sizeof(int64_t))
            ladder.words = <uint64_t*>PyMem_RawCalloc(self._n_words, sizeof(uint64_t))
            ladder.summary = <uint64_t*>PyMem_RawCalloc(self._n_summary, sizeof(uint64_t))
            ladder.far_price = <int64_t*>PyMem_RawCalloc(self._far_capacity, sizeof(int64_t))
            ladder.far_quantity = <int64_t*>PyMem_RawCalloc(self._far_capacity, sizeof(int64_t))
            ladder.spare_price = <int64_t*>PyMem_RawCalloc(self._far_capacity + self._window, sizeof(int64_t))
            ladder.spare_quantity = <int64_t*>PyMem_RawCalloc(self._far_capacity + self._window, sizeof(int64_t))
            if (ladder.quantity is NULL or ladder.words is NULL or ladder.summary is NULL
                    or ladder.far_price is NULL or ladder.far_quantity is NULL
                    or ladder.spare_price is NULL or ladder.spare_quantity is NULL):
                raise MemoryError()
        self.clear()

    def __dealloc__(self):
        cdef Ladder* ladder
        cdef int side
        for side in range(2):
            ladder = &self.bids if side == 0 else &self.asks
            PyMem_RawFree(ladder.quantity)
            PyMem_RawFree(ladder.words)
            PyMem_RawFree(ladder.summary)
            PyMem_RawFree(ladder.far_price)
            PyMem_RawFree(ladder.far_quantity)
            PyMem_RawFree(ladder.spare_price)
            PyMem_RawFree(ladder.spare_quantity)

    cdef int64_t set_level(self, int side, int64_t price, int64_t quantity) noexcept nogil:
        # Absolute quantity at a price, 0 deletes; returns the change of quantity at that price.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int64_t index, position, old
        if price <= 0 or quantity < 0:
            self.bad_levels += 1
            return 0
        index = price if self.tick == 1 else price // self.tick
        if (not self._is_anchored or <uint64_t>(index - self._base) >= <uint64_t>self._window
                or index * self.tick != price):
            return self._set_far(ladder, side > 0, price, quantity)
        position = index & self._mask
        old = ladder.quantity[position]
        if quantity:
            ladder.quantity[position] = quantity
            if old == 0:
                mark(ladder, position)
                ladder.n_levels += 1
                if side > 0:
                    if price > ladder.best:
                        ladder.best = price
                elif price < ladder.best:
                    ladder.best = price
        elif old:
            ladder.quantity[position] = 0
            unmark(ladder, position)
            ladder.n_levels -= 1
            if price == ladder.best:
                self._find_best(ladder, side > 0)
        return quantity - old

    cdef int64_t _ring_best(self, Ladder* ladder, bint is_bid) noexcept nogil:
        # Best price in the ring or -1. The ring is circular: from the window's good end down to slot 0 (or up to the
        # last slot), then around.
        cdef int64_t start, position
        if is_bid:
            start = (self._base + self._window - 1) & self._mask
            position = previous_set(ladder, start)
            if position < 0:
                position = previous_set(ladder, self._mask)
        else:
            start = self._base & self._mask
            position = next_set(ladder, start, self._n_summary)
            if position < 0:
                position = next_set(ladder, 0, self._n_summary)
        if position < 0:
            return -1
        return (self._base + ((position - self._base) & self._mask)) * self.tick

    cdef void _find_best(self, Ladder* ladder, bint is_bid) noexcept nogil:
        cdef int64_t best = self._ring_best(ladder, is_bid)
        if is_bid:
            if best < 0:
                best = 0
            if ladder.n_far and ladder.far_price[ladder.n_far - 1] > best:
                best = ladder.far_price[ladder.n_far - 1]
        else:
            if best < 0:
                best = INT64_MAX
            if ladder.n_far and ladder.far_price[0] < best:
                best = ladder.far_price[0]
        ladder.best = best

    cdef int64_t _set_far(self, Ladder* ladder, bint is_bid, int64_t price, int64_t quantity) noexcept nogil:
        cdef int32_t n = ladder.n_far
        cdef int32_t i = lower_bound(ladder.far_price, n, price)
        cdef int64_t old
        if i < n and ladder.far_price[i] == price:
            old = ladder.far_quantity[i]
            if quantity:
                ladder.far_quantity[i] = quantity
                return quantity - old
            memmove(ladder.far_price + i, ladder.far_price + i + 1, (n - i - 1) * sizeof(int64_t))
            memmove(ladder.far_quantity + i, ladder.far_quantity + i + 1, (n - i - 1) * sizeof(int64_t))
            ladder.n_far = n - 1
            ladder.n_levels -= 1
            if price == ladder.best:
                self._find_best(ladder, is_bid)
            return -old
        if quantity == 0:
            return 0
        if n == self._far_capacity:
            self.dropped_levels += 1
            if is_bid:
                if i == 0:
                    ladder.horizon = price if price > ladder.horizon else ladder.horizon
                    return 0
                if ladder.far_price[0] > ladder.horizon:
                    ladder.horizon = ladder.far_price[0]
                memmove(ladder.far_price, ladder.far_price + 1, (n - 1) * sizeof(int64_t))
                memmove(ladder.far_quantity, ladder.far_quantity + 1, (n - 1) * sizeof(int64_t))
                i -= 1
            else:
                if i == n:
                    ladder.horizon = price if price < ladder.horizon else ladder.horizon
                    return 0
                if ladder.far_price[n - 1] < ladder.horizon:
                    ladder.horizon = ladder.far_price[n - 1]
            n -= 1
            ladder.n_levels -= 1
        memmove(ladder.far_price + i + 1, ladder.far_price + i, (n - i) * sizeof(int64_t))
        memmove(ladder.far_quantity + i + 1, ladder.far_quantity + i, (n - i) * sizeof(int64_t))
        ladder.far_price[i] = price
        ladder.far_quantity[i] = quantity
        ladder.n_far = n + 1
        ladder.n_levels += 1
        if is_bid:
            if price > ladder.best:
                ladder.best = price
        elif price < ladder.best:
            ladder.best = price
        return quantity

    cdef int64_t quantity_at(self, int side, int64_t price) noexcept nogil:
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int64_t index
        cdef int32_t i
        if price <= 0:
            return 0
        index = price if self.tick == 1 else price // self.tick
        if (self._is_anchored and <uint64_t>(index - self._base) < <uint64_t>self._window
                and index * self.tick == price):
            return ladder.quantity[index & self._mask]
        i = lower_bound(ladder.far_price, ladder.n_far, price)
        if i < ladder.n_far and ladder.far_price[i] == price:
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
        if not self._is_anchored or abs64(anchor - self._base - (self._window >> 1)) > (self._window >> 2):
            self._recentre(anchor)

    cdef void _recentre(self, int64_t middle) noexcept nogil:
        cdef int64_t base = middle - (self._window >> 1)
        if not self._is_anchored:
            # Nothing lies in the ring yet; the slots follow the new base, and far levels enter.
            self._base = base
            self._is_anchored = True
        else:
            self.recentres += 1
        self._shift(&self.bids, True, base)
        self._shift(&self.asks, False, base)
        self._base = base

    cdef void _shift(self, Ladder* ladder, bint is_bid, int64_t base) noexcept nogil:
        # One ascending merge of the far levels with the ring's leaving ones, then each goes where it now belongs.
        cdef int64_t low, high, index, position
        cdef int32_t i = 0, total = 0, n = 0, excess
        if base >= self._base:
            low = self._base
            high = base if base < self._base + self._window else self._base + self._window
        else:
            low = base + self._window if base + self._window > self._base else self._base
            high = self._base + self._window
        while low < high:
            position = next_set(ladder, low & self._mask, self._n_summary)
            if position < 0:
                position = next_set(ladder, 0, self._n_summary)
            if position < 0:
                break
            index = self._base + ((position - self._base) & self._mask)
            if index < low or index >= high:
                break
            while i < ladder.n_far and ladder.far_price[i] < index * self.tick:
                ladder.spare_price[total] = ladder.far_price[i]
                ladder.spare_quantity[total] = ladder.far_quantity[i]
                total += 1
                i += 1
            ladder.spare_price[total] = index * self.tick
            ladder.spare_quantity[total] = ladder.quantity[position]
            total += 1
            ladder.quantity[position] = 0
            unmark(ladder, position)
            low = index + 1
        while i < ladder.n_far:
            ladder.spare_price[total] = ladder.far_price[i]
            ladder.spare_quantity[total] = ladder.far_quantity[i]
            total += 1
            i += 1
        # Compact in place: what stays far keeps its order, what is inside the new window enters the ring.
        for i in range(total):
            index = ladder.spare_price[i] // self.tick
            if (<uint64_t>(index - base) < <uint64_t>self._window and index * self.tick == ladder.spare_price[i]):
                ladder.quantity[index & self._mask] = ladder.spare_quantity[i]
                mark(ladder, index & self._mask)
            else:
                ladder.spare_price[n] = ladder.spare_price[i]
                ladder.spare_quantity[n] = ladder.spare_quantity[i]
                n += 1
        excess = n - self._far_capacity
        i = 0
        if excess > 0:
            self.dropped_levels += excess
            ladder.n_levels -= excess
            n = self._far_capacity
            if is_bid:
                i = excess
                if ladder.spare_price[excess - 1] > ladder.horizon:
                    ladder.horizon = ladder.spare_price[excess - 1]
            elif ladder.spare_price[n] < ladder.horizon:
                ladder.horizon = ladder.spare_price[n]
        memmove(ladder.far_price, ladder.spare_price + i, n * sizeof(int64_t))
        memmove(ladder.far_quantity, ladder.spare_quantity + i, n * sizeof(int64_t))
        ladder.n_far = n

    cdef int64_t worse(self, int side, int64_t price) noexcept nogil:
        # Next level behind `price`, away from the touch; bids 0 and asks INT64_MAX when there is none.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int64_t index, position, found
        cdef int32_t i
        if side > 0:
            found = 0
            i = lower_bound(ladder.far_price, ladder.n_far, price)
            if i > 0:
                found = ladder.far_price[i - 1]
            index = (price - 1) // self.tick
            if index > self._base + self._mask:
                index = self._base + self._mask
            if price > 0 and self._is_anchored and index >= self._base:
                position = previous_set(ladder, index & self._mask)
                if position < 0:
                    position = previous_set(ladder, self._mask)
                if position >= 0:
                    position = self._base + ((position - self._base) & self._mask)
                    if position <= index and position * self.tick > found:
                        found = position * self.tick
            return found
        found = INT64_MAX
        if price == INT64_MAX:
            return found
        i = lower_bound(ladder.far_price, ladder.n_far, price + 1)
        if i < ladder.n_far:
            found = ladder.far_price[i]
        index = price // self.tick + 1
        if index < self._base:
            index = self._base
        if self._is_anchored and index <= self._base + self._mask:
            position = next_set(ladder, index & self._mask, self._n_summary)
            if position < 0:
                position = next_set(ladder, 0, self._n_summary)
            if position >= 0:
                position = self._base + ((position - self._base) & self._mask)
                if position >= index and position * self.tick < found:
                    found = position * self.tick
        return found

    cdef int128_t depth_sum(self, int side, int32_t n) noexcept nogil:
        # Quantity of the best n levels. While the far levels lie behind the window only ring words are walked.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int128_t total = 0
        cdef int64_t price = ladder.best, position, word
        cdef int32_t left = n
        cdef uint64_t bits
        if ladder.n_levels == 0:
            return total
        if self._is_anchored and (ladder.n_far == 0 or (
                ladder.far_price[ladder.n_far - 1] < self._base * self.tick if side > 0
                else ladder.far_price[0] >= (self._base + self._window) * self.tick)):
            if ladder.n_levels - ladder.n_far < left:
                left = <int32_t>(ladder.n_levels - ladder.n_far)
            n -= left
            position = (price // self.tick if self.tick != 1 else price) & self._mask
            word = position >> 6
            if side > 0:
                bits = ladder.words[word] & (~0ULL >> (63 - (position & 63)))
                while left > 0:
                    while bits and left > 0:
                        position = 63 - __builtin_clzll(bits)
                        bits ^= 1ULL << position
                        price = (word << 6) | position
                        total += ladder.quantity[price]
                        left -= 1
                    word = word - 1 if word else self._n_words - 1
                    bits = ladder.words[word]
                price = self._base * self.tick
            else:
                bits = ladder.words[word] & (~0ULL << (position & 63))
                while left > 0:
                    while bits and left > 0:
                        position = __builtin_ctzll(bits)
                        bits &= bits - 1
                        total += ladder.quantity[(word << 6) | position]
                        left -= 1
                    word = word + 1 if word + 1 < self._n_words else 0
                    bits = ladder.words[word]
                price = (self._base + self._mask) * self.tick
            if n == 0:
                return total
            price = self.worse(side, price)
        while n > 0 and 0 < price < INT64_MAX:
            total += self.quantity_at(side, price)
            price = self.worse(side, price)
            n -= 1
        return total

    cdef int128_t range_sum(self, int side, int64_t low, int64_t high) noexcept nogil:
        # Quantity at prices low <= p <= high.
        cdef Ladder* ladder = &self.bids if side > 0 else &self.asks
        cdef int128_t total = 0
        cdef int64_t first, last, n, position, word
        cdef int32_t i
        cdef uint64_t bits
        if low > high or ladder.n_levels == 0:
            return total
        if ladder.n_far and ladder.far_price[ladder.n_far - 1] >= low and ladder.far_price[0] <= high:
            i = lower_bound(ladder.far_price, ladder.n_far, low)
            while i < ladder.n_far and ladder.far_price[i] <= high:
                total += ladder.far_quantity[i]
                i += 1
        if not self._is_anchored:
            return total
        first = low if self.tick == 1 else (low + self.tick - 1) // self.tick
        last = high if self.tick == 1 else high // self.tick
        if first < self._base:
            first = self._base
        if last > self._base + self._mask:
            last = self._base + self._mask
        n = last - first + 1
        while n > 0:
            position = first & self._mask
            word = position >> 6
            bits = ladder.words[word] & (~0ULL << (position & 63))
            last = 64 - (position & 63)
            if n < last:
                bits &= ~0ULL >> (64 - (position & 63) - n)
                last = n
            while bits:
                total += ladder.quantity[(word << 6) | __builtin_ctzll(bits)]
                bits &= bits - 1
            first += last
            n -= last
        return total

    cdef void _clear_ladder(self, Ladder* ladder, bint is_bid) noexcept nogil:
        cdef int64_t position = next_set(ladder, 0, self._n_summary)
        while position >= 0:
            ladder.quantity[position] = 0
            unmark(ladder, position)
            position = next_set(ladder, position, self._n_summary)
        ladder.n_far = 0
        ladder.n_levels = 0
        ladder.best = 0 if is_bid else INT64_MAX
        ladder.horizon = 0 if is_bid else INT64_MAX

    cdef void clear(self) noexcept nogil:
        self._clear_ladder(&self.bids, True)
        self._clear_ladder(&self.asks, False)
        self._is_anchored = False
        self._base = 0

    cdef void load(self, const DepthUpdate* snapshot, bint is_complete) noexcept nogil:
        # Replace everything. Levels behind a cut snapshot are unknown until they change: the horizon says from where.
        cdef int32_t i
        cdef int64_t bid = 0, ask = INT64_MAX
        cdef int64_t lowest = INT64_MAX, highest = 0
        self.clear()
        for i in range(snapshot.n_bids):
            if snapshot.bids[i].price > bid:
                bid = snapshot.bids[i].price
            if snapshot.bids[i].price < lowest:
                lowest = snapshot.bids[i].price
        for i in range(snapshot.n_asks):
            if snapshot.asks[i].price < ask:
                ask = snapshot.asks[i].price
            if snapshot.asks[i].price > highest:
                highest = snapshot.asks[i].price
        if snapshot.n_bids and snapshot.n_asks:
            self._recentre(((bid + ask) >> 1) // self.tick)
        elif snapshot.n_bids or snapshot.n_asks:
            self._recentre((bid if snapshot.n_bids else ask) // self.tick)
        if not is_complete:
            if snapshot.n_bids:
                self.bids.horizon = lowest
            if snapshot.n_asks:
                self.asks.horizon = highest
        for i in range(snapshot.n_bids):
            self.set_level(1, snapshot.bids[i].price, snapshot.bids[i].quantity)
        for i in range(snapshot.n_asks):
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
        """Lowest bid and highest ask behind which levels are unknown (0, 0: nothing is unknown)."""
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
            Price and quantity units. A price that is not positive or a negative quantity is counted in `bad_levels`
            and left out.
        """
        return self.set_level(side, price, quantity)

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
