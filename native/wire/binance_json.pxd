"""Contents page of Binance's JSON: one frame of bytes -> one Message of int64, no Python object."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t, uint64_t

from native.cursor cimport Cursor
from native.events cimport Level, Message


cdef struct Spans:
    # Where the values of the one-letter keys (and `pu`, at index 1) of an object begin.
    uint64_t seen_low
    uint64_t seen_high
    const char* at[128]


@final
cdef class BinanceJson:
    cdef Message message          # the last frame; levels point into `_bids`, `_asks`
    cdef Level* _bids
    cdef Level* _asks
    cdef int32_t _max_levels
    cdef int _price_digits
    cdef int _quantity_digits
    cdef bint _is_spot
    cdef char _symbol[32]
    cdef int64_t _symbol_length
    cdef int32_t _floored
    cdef Spans _outer
    cdef Spans _inner

    # hot
    cdef int parse(self, const char* frame, int64_t length) noexcept nogil
    cdef int parse_snapshot(self, const char* body, int64_t length) noexcept nogil
    cdef int _object(self, Cursor* c, bint is_partial, bint is_wrapped) noexcept nogil
    cdef int _event(self, const char* event, int64_t length, const char* end, bint is_partial) noexcept nogil
    cdef int _depth(self, const char* end, bint is_partial) noexcept nogil
    cdef int _trade(self, const char* end, bint is_aggregate) noexcept nogil
    cdef int _ticker(self, const char* end) noexcept nogil
    cdef int _kline(self, const char* end) noexcept nogil
    cdef int _book_body(self, Cursor* c, int kind) noexcept nogil
    cdef int _levels(self, Cursor* c, Level* out, int32_t* n) noexcept nogil
    cdef int _decimal(self, Spans* spans, int key, const char* end, bint is_price, int64_t* out) noexcept nogil
    cdef int _check_symbol(self, Spans* spans, const char* end) noexcept nogil
