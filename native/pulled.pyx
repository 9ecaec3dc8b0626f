"""Additions to the book that were withdrawn again: how much of what supports a side means to stay.

The share of a side over a window is what fell without a trade to explain it, over what was added, price by price: a
trade explains a decrease at its own price, and nothing counts as pulled that was not added in the window.

Blind to: orders that come and go between two depth updates; who withdraws, and why; a trade that arrives after the
decrease it caused counts as pulled.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.math cimport NAN
from libc.stdint cimport uint64_t


@final
cdef class Pulled:
    """The last changes of the levels somebody watches, and the trades at them.

    Notes
    -----
    Keeps 16,384 changes and trades of both sides together; the oldest is overwritten, and a share over a window that
    reaches behind the kept ones, or over more than 3,072 prices of the side, is NaN. Cost: constant a change, linear in
    the changes of the window a share; no allocation after construction.
    """

    def __cinit__(self):
        self._changes = <Change*>PyMem_RawCalloc(CHANGES, sizeof(Change))
        self._sums = <PriceSum*>PyMem_RawCalloc(PRICES, sizeof(PriceSum))
        if self._changes is NULL or self._sums is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self._changes)
        PyMem_RawFree(self._sums)

    cdef void reset(self) noexcept nogil:
        self._n_changes = 0

    cdef void note(self, int side, int64_t price, int64_t quantity, bint is_trade, int64_t now_ns) noexcept nogil:
        cdef Change* change = &self._changes[self._n_changes % CHANGES]
        self._n_changes += 1
        change.recv_ns = now_ns
        change.price = price
        change.quantity = quantity
        change.side = side
        change.is_trade = is_trade

    cdef PriceSum* _sum_at(self, int64_t price) noexcept nogil:
        # The slot of a price in the table of this generation; NULL when the table is full.
        cdef int64_t slot = <int64_t>((<uint64_t>price * 0x9E3779B97F4A7C15ULL) >> 52)
        while self._sums[slot].generation == self._generation:
            if self._sums[slot].price == price:
                return &self._sums[slot]
            slot = (slot + 1) % PRICES
        if self._n_sums == PRICES_USED:
            return NULL
        self._n_sums += 1
        self._sums[slot].price = price
        self._sums[slot].generation = self._generation
        self._sums[slot].added = 0
        self._sums[slot].traded = 0
        return &self._sums[slot]

    cdef double share(self, int side, int64_t begin_ns, int64_t end_ns) noexcept nogil:
        # O(changes in the window); asked for once a whale.
        cdef int64_t oldest = 0 if self._n_changes <= CHANGES else self._n_changes - CHANGES
        cdef int64_t i = self._n_changes
        cdef const Change* change
        cdef PriceSum* level
        cdef int128_t added = 0, pulled = 0, fallen
        while i > oldest and self._changes[(i - 1) % CHANGES].recv_ns > begin_ns:
            i -= 1
        if i == oldest and oldest > 0:
            return NAN
        self._generation += 1
        self._n_sums = 0
        while i < self._n_changes:
            change = &self._changes[i % CHANGES]
            i += 1
            if change.side != side or change.recv_ns > end_ns:
                continue
            level = self._sum_at(change.price)
            if level is NULL:
                return NAN
            if change.is_trade:
                level.traded += change.quantity
            elif change.quantity > 0:
                level.added += change.quantity
                added += change.quantity
            else:
                fallen = -change.quantity
                if level.traded >= fallen:
                    level.traded -= fallen
                    continue
                fallen -= level.traded
                level.traded = 0
                if fallen > level.added:
                    fallen = level.added
                level.added -= fallen
                pulled += fallen
        if added == 0:
            return 0.0
        return <double>pulled / <double>added

    def apply_change(self, side: int, price: int, change: int, now_ns: int) -> None:
        """Tell of a level of a side (BUY: bids) whose quantity grew or fell; times must not go back."""
        self.note(side, price, change, False, now_ns)

    def apply_trade(self, aggressor: int, price: int, quantity: int, now_ns: int) -> None:
        """Tell of a trade: a seller takes bids, a buyer takes asks."""
        self.note(-aggressor, price, quantity, True, now_ns)

    def apply_reset(self) -> None:
        """Forget everything: the book is anew."""
        self.reset()

    def pulled_share(self, side: int, begin_ns: int, end_ns: int) -> float:
        """Return how much of what was added to a side was pulled again.

        Parameters
        ----------
        side : int
            Of the book: BUY (1) for bids.
        begin_ns, end_ns : int
            Receive times; a change at `begin_ns` is not inside, one at `end_ns` is.

        Returns
        -------
        float
            0 to 1, and 0 if nothing was added; NaN: unknown.
        """
        return self.share(side, begin_ns, end_ns)
