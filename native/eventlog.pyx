"""Bounded rings of flow events and of best prices: native code writes, Python takes at its own pace.

When a ring is full the oldest entry is lost and counted.
"""

import numpy

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport final
from libc.math cimport NAN
from libc.string cimport memcpy, memset

from native.events import FLOW_EVENT


@final
cdef class EventLog:
    """Flow events until they are taken.

    Parameters
    ----------
    capacity : int
        Events kept, 16 to 1,048,576.
    """

    def __cinit__(self, capacity: int = 4096):
        if not 16 <= capacity <= 1 << 20:
            raise ValueError(f"capacity must be 16 to 1048576, found {capacity}")
        self._capacity = capacity
        self._events = <FlowEvent*>PyMem_RawCalloc(capacity, sizeof(FlowEvent))
        if self._events is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self._events)

    cdef FlowEvent* push(self) noexcept nogil:
        # An event with its sequence number, to be filled in place; what may stay unknown is NaN, the rest zero.
        cdef FlowEvent* event
        if self._n - self._n_taken == self._capacity:
            self._n_taken += 1
            self.lost += 1
        event = &self._events[self._n % self._capacity]
        self._n += 1
        memset(event, 0, sizeof(FlowEvent))
        event.sequence = self._n
        event.threshold = NAN
        event.rho_pre = NAN
        event.rho_post = NAN
        event.rho_post_min = NAN
        event.pulled_share = NAN
        return event

    def take(self) -> numpy.ndarray:
        """Return the events since the last call, oldest first, as a FLOW_EVENT array of its own memory."""
        cdef int64_t n = self._n - self._n_taken
        cdef int64_t i
        cdef unsigned char[::1] raw
        events = numpy.empty(n, FLOW_EVENT)
        if n:
            raw = events.view(numpy.uint8)
            for i in range(n):
                memcpy(&raw[i * <int64_t>sizeof(FlowEvent)],
                       &self._events[(self._n_taken + i) % self._capacity], sizeof(FlowEvent))
        self._n_taken = self._n
        return events


@final
cdef class BboLog:
    """Best prices per applied depth update until they are taken; holds no memory until enabled.

    Parameters
    ----------
    capacity : int
        Rows kept, 16 to 1,048,576.
    """

    def __cinit__(self, capacity: int = 65_536):
        if not 16 <= capacity <= 1 << 20:
            raise ValueError(f"capacity must be 16 to 1048576, found {capacity}")
        self._capacity = capacity

    def __dealloc__(self):
        PyMem_RawFree(self._rows)

    cdef void push(self, int64_t update_id, int64_t best_bid, int64_t best_ask) noexcept nogil:
        cdef BboRow* row
        if self._rows is NULL:
            return
        if self._n - self._n_taken == self._capacity:
            self._n_taken += 1
            self.lost += 1
        row = &self._rows[self._n % self._capacity]
        row.update_id = update_id
        row.best_bid = best_bid
        row.best_ask = best_ask
        self._n += 1

    cdef bint is_half_full(self) noexcept nogil:
        return self._n - self._n_taken > self._capacity // 2

    def enable(self) -> None:
        """Keep rows from now on."""
        if self._rows is NULL:
            self._rows = <BboRow*>PyMem_RawCalloc(self._capacity, sizeof(BboRow))
            if self._rows is NULL:
                raise MemoryError()

    def take(self) -> numpy.ndarray:
        """Return (update_id, best_bid, best_ask) rows since the last call, int64 of shape (n, 3)."""
        cdef int64_t n = self._n - self._n_taken
        cdef int64_t i
        rows = numpy.empty((n, 3), numpy.int64)
        cdef int64_t[:, ::1] raw = rows
        for i in range(n):
            memcpy(&raw[i, 0], &self._rows[(self._n_taken + i) % self._capacity], sizeof(BboRow))
        self._n_taken = self._n
        return rows


@final
cdef class Tape:
    """The last 64 trades, for views."""

    cdef void push(self, const Trade* trade) noexcept nogil:
        self._trades[self._n % TAPE] = trade[0]
        self._n += 1

    def last(self, n: int) -> list:
        """Return up to `n` last trades, newest first: (trade_id, price, quantity, aggressor, venue_ns)."""
        cdef int64_t first = max(0, self._n - max(0, min(n, TAPE)))
        cdef int64_t i
        found = []
        for i in range(self._n - 1, first - 1, -1):
            trade = self._trades[i % TAPE]
            found.append((trade.trade_id, trade.price, trade.quantity, trade.aggressor, trade.venue_ns))
        return found
