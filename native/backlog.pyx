"""Depth updates kept while the book has no snapshot, in order, bounded."""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.string cimport memcpy


@final
cdef class Backlog:
    """A bounded queue of depth updates with their levels.

    Parameters
    ----------
    capacity_levels : int
        Levels of all kept updates together, 1,024 to 16,777,216 (default 262,144).
    capacity_updates : int
        Updates, 16 to 1,048,576 (default 32,768).

    Notes
    -----
    When full everything kept is forgotten and counted: a snapshot taken later joins what follows, an older one is then
    found stale and fetched again. What was dropped from the front makes room only once all is. Cost: one copy of the
    levels an update; no allocation after construction.
    """

    def __cinit__(self, *, capacity_levels: int = 262_144, capacity_updates: int = 32_768):
        if not 1024 <= capacity_levels <= 1 << 24:
            raise ValueError(f"capacity_levels must be 1024 to 16777216, found {capacity_levels}")
        if not 16 <= capacity_updates <= 1 << 20:
            raise ValueError(f"capacity_updates must be 16 to 1048576, found {capacity_updates}")
        self._capacity_levels = capacity_levels
        self._capacity_updates = capacity_updates
        self._levels = <Level*>PyMem_RawCalloc(capacity_levels, sizeof(Level))
        self._updates = <DepthUpdate*>PyMem_RawCalloc(capacity_updates, sizeof(DepthUpdate))
        if self._levels is NULL or self._updates is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self._levels)
        PyMem_RawFree(self._updates)

    cdef void keep(self, const DepthUpdate* update) noexcept nogil:
        cdef int64_t n_levels = <int64_t>update.n_bids + update.n_asks
        cdef DepthUpdate* kept
        if self._n == self._capacity_updates or self._used_levels + n_levels > self._capacity_levels:
            self.forgotten += self._n - self._first
            self.clear()
            if n_levels > self._capacity_levels:
                self.forgotten += 1
                return
        kept = &self._updates[self._n]
        kept[0] = update[0]
        kept.bids = &self._levels[self._used_levels]
        memcpy(&self._levels[self._used_levels], update.bids, update.n_bids * sizeof(Level))
        self._used_levels += update.n_bids
        kept.asks = &self._levels[self._used_levels]
        memcpy(&self._levels[self._used_levels], update.asks, update.n_asks * sizeof(Level))
        self._used_levels += update.n_asks
        self._n += 1

    cdef const DepthUpdate* front(self) noexcept nogil:
        # The oldest kept update, NULL if there is none; valid until the next keep or clear.
        if self._first < self._n:
            return &self._updates[self._first]
        return NULL

    cdef void drop_front(self) noexcept nogil:
        self._first += 1
        if self._first >= self._n:
            self.clear()

    cdef void clear(self) noexcept nogil:
        self._n = 0
        self._first = 0
        self._used_levels = 0

    def __len__(self):
        return self._n - self._first

    def ids(self) -> list:
        """Return (U, u, pu) of the kept updates, oldest first."""
        cdef int64_t i
        return [
            (self._updates[i].first_id, self._updates[i].final_id, self._updates[i].previous_id)
            for i in range(self._first, self._n)
        ]

    def apply_keep(self, first_id: int, final_id: int, bids: list, asks: list) -> None:
        """Keep an update given as Python values: for tests."""
        cdef DepthUpdate update
        cdef Level levels[512]
        cdef int i = 0
        if len(bids) + len(asks) > 512:
            raise ValueError(f"at most 512 levels, found {len(bids) + len(asks)}")
        for price, quantity in [*bids, *asks]:
            levels[i].price = price
            levels[i].quantity = quantity
            i += 1
        update.first_id = first_id
        update.final_id = final_id
        update.previous_id = -1
        update.venue_ns = 0
        update.floored = 0
        update.n_bids = len(bids)
        update.n_asks = len(asks)
        update.bids = levels
        update.asks = levels + update.n_bids
        self.keep(&update)

    def take_front(self) -> tuple:
        """Return and drop the oldest update as (U, u, bids, asks); None if there is none."""
        cdef const DepthUpdate* update = self.front()
        cdef int i
        cdef object taken
        if update is NULL:
            return None
        taken = (
            update.first_id, update.final_id,
            [(update.bids[i].price, update.bids[i].quantity) for i in range(update.n_bids)],
            [(update.asks[i].price, update.asks[i].quantity) for i in range(update.n_asks)],
        )
        self.drop_front()
        return taken
