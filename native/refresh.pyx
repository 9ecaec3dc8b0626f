"""A live book learns its far levels anew from a snapshot, in one step and without a blind moment.

1. `begin`: from here on every update that the book takes is kept as well.
2. The snapshot comes. It is loaded beside the book; if the stream has not reached its id yet, it waits for it.
3. The kept updates behind the snapshot's id are applied to it: now both are books of one moment.
4. They must agree wherever both know: best prices, and every level up to the nearer horizon of a side. If they do, what
   the old book knows behind the snapshot is added, and the two change places; if not, the old one stays.

A side's horizon is then the farther of the two: a price that ran leaves the book cut short before it, and knows much
behind it.
"""

from cython cimport final
from libc.stdint cimport INT64_MAX


@final
cdef class Refresh:
    """The background refresh of one book.

    Parameters
    ----------
    book, imbalance : Book, Imbalance
        What is refreshed, and what keeps sums over it.
    tick, far_capacity : int
        As of that book.
    capacity_levels : int
        Levels kept between `begin` and the end, as in `native.backlog`.

    Notes
    -----
    Nobody is told of levels that change by it: nothing was added or pulled, it was there before. Only the sums of the
    imbalance's band are taken anew, for a band that reaches behind the old horizon.

    Cost: a copy of each update while it runs; the end is linear in the levels of both books, some 100 ns a level. No
    allocation after construction; the system lends the memory when it is first used.
    """

    def __cinit__(
        self, Book book not None, Imbalance imbalance not None, *, tick: int, far_capacity: int, capacity_levels: int
    ):
        self._book = book
        self._imbalance = imbalance
        self._next = Book(tick=tick, far_capacity=far_capacity)
        self._later = Backlog(capacity_levels=capacity_levels)

    cdef void begin(self, int64_t update_id) noexcept nogil:
        self._close()
        self._first_id = update_id
        self._forgotten = self._later.forgotten
        self.is_open = True

    cdef void on_update(self, const DepthUpdate* update) noexcept nogil:
        # After the book took it.
        self._later.keep(update)
        if self._later.forgotten != self._forgotten:
            self.abandon()
        elif self._is_loaded and update.final_id >= self._snapshot_id:
            self._finish()

    cdef void on_snapshot(self, const DepthUpdate* snapshot, int64_t update_id) noexcept nogil:
        if snapshot.final_id < self._first_id:
            self.refused += 1
            self._close()
            return
        self._next.load(snapshot, is_whole(snapshot))
        self._snapshot_id = snapshot.final_id
        self._is_loaded = True
        if update_id >= self._snapshot_id:
            self._finish()

    cdef void abandon(self) noexcept nogil:
        if self.is_open:
            self.abandoned += 1
            self._close()

    cdef void _close(self) noexcept nogil:
        self.is_open = False
        self._is_loaded = False
        self._later.clear()

    cdef void _finish(self) noexcept nogil:
        cdef const DepthUpdate* update = self._later.front()
        cdef int64_t dropped = self._next.dropped_levels
        cdef int32_t i
        while update is not NULL:
            if update.final_id > self._snapshot_id:
                for i in range(update.n_bids):
                    self._next.set_level(1, update.bids[i].price, update.bids[i].quantity)
                for i in range(update.n_asks):
                    self._next.set_level(-1, update.asks[i].price, update.asks[i].quantity)
            self._later.drop_front()
            update = self._later.front()
        self._close()
        if not (self._agrees(1) and self._agrees(-1)):
            self.refused += 1
            return
        self._keep_behind(1)
        self._keep_behind(-1)
        self._next.settle()
        self._book.exchange(self._next)
        self._book.dropped_levels += self._next.dropped_levels - dropped
        self._imbalance.resum()
        self.refreshes += 1

    cdef bint _agrees(self, int side) noexcept nogil:
        cdef Ladder* mine = &self._book.bids if side > 0 else &self._book.asks
        cdef Ladder* other = &self._next.bids if side > 0 else &self._next.asks
        cdef int64_t sign = mine.sign
        cdef int64_t horizon = max(sign * mine.horizon, sign * other.horizon)
        cdef int64_t price = mine.best
        if price != other.best:
            return False
        while 0 < price < INT64_MAX and sign * price >= horizon:
            if self._book.quantity_at(side, price) != self._next.quantity_at(side, price):
                return False
            if self._book.worse(side, price) != self._next.worse(side, price):
                # The one that goes on may do so where the other knows nothing.
                price = max(sign * self._book.worse(side, price), sign * self._next.worse(side, price))
                return price < horizon or not 0 < sign * price < INT64_MAX
            price = self._book.worse(side, price)
        return True

    cdef void _keep_behind(self, int side) noexcept nogil:
        # What the old book knows behind the snapshot stays known.
        cdef Ladder* mine = &self._book.bids if side > 0 else &self._book.asks
        cdef Ladder* other = &self._next.bids if side > 0 else &self._next.asks
        cdef int64_t price = other.horizon
        if not 0 < price < INT64_MAX:
            return
        other.horizon = other.sign * min(other.sign * other.horizon, mine.sign * mine.horizon)
        price = self._book.worse(side, price)
        while 0 < price < INT64_MAX:
            self._next.set_level(side, price, self._book.quantity_at(side, price))
            price = self._book.worse(side, price)

    @property
    def is_running(self) -> bool:
        """Whether updates are being kept for a snapshot."""
        return self.is_open
