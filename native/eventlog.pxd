"""Contents page of the logs: bounded rings of what native code wrote, until Python takes it."""

from cython cimport final
from libc.stdint cimport int64_t

from native.events cimport FlowEvent, Trade


cdef enum:
    TAPE = 64                 # last trades kept for views


cdef struct BboRow:
    int64_t update_id
    int64_t best_bid          # price units, 0 when there is none
    int64_t best_ask


@final
cdef class EventLog:
    cdef FlowEvent* _events
    cdef int64_t _capacity
    cdef int64_t _n               # ever
    cdef int64_t _n_taken
    cdef readonly int64_t lost

    # hot
    cdef FlowEvent* push(self) noexcept nogil


@final
cdef class BboLog:
    cdef BboRow* _rows            # NULL until enabled
    cdef int64_t _capacity
    cdef int64_t _n
    cdef int64_t _n_taken
    cdef readonly int64_t lost

    # hot
    cdef void push(self, int64_t update_id, int64_t best_bid, int64_t best_ask) noexcept nogil
    cdef bint is_half_full(self) noexcept nogil


@final
cdef class Tape:
    cdef Trade _trades[TAPE]
    cdef int64_t _n

    # hot
    cdef void push(self, const Trade* trade) noexcept nogil
