"""Contents page of the cross-check: the rebuilt book against the venue's own best prices."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.events cimport BookTicker


cdef enum:
    PENDING = 4096            # tickers between two depth updates; when full the oldest is overwritten


@final
cdef class Crosscheck:
    cdef BookTicker _pending[PENDING]
    cdef int64_t _head
    cdef int64_t _tail
    cdef int64_t _book_id             # -1: no book yet
    cdef readonly int64_t compared
    cdef readonly int64_t equal
    cdef readonly int64_t late        # tickers at or behind the book's id
    cdef readonly int64_t overwritten

    # hot
    cdef void on_ticker(self, const BookTicker* ticker) noexcept nogil
    cdef void on_book(self, int64_t update_id, int64_t best_bid, int64_t best_ask) noexcept nogil
    cdef void reset(self) noexcept nogil
