"""Contents page of Binance's JSON: one frame of bytes -> one Message of int64, no Python object."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.cursor cimport Cursor, Spans, has
from native.events cimport Level, Message
from native.wire.binance_fields cimport KEY_ASKS, KEY_BIDS, KEY_DATA, KEY_STREAM


cdef inline bint is_list_of_levels(int place) noexcept nogil:
    return place == c'b' or place == c'a' or place == KEY_BIDS or place == KEY_ASKS


cdef inline bint is_wrapper(Spans* spans) noexcept nogil:
    return has(spans, KEY_STREAM) or has(spans, KEY_DATA)


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
    # Of the frame that is being read:
    cdef const char* _end
    cdef const char* _stream      # name of the combined stream, NULL in a bare frame
    cdef int64_t _stream_length
    cdef int _status              # the first thing that was wrong
    cdef int _levels_status       # of the first list of levels that could not be taken
    cdef int32_t _floored
    cdef Spans* _spans            # of the object whose values are being read: one of the next three
    cdef Spans _outer
    cdef Spans _data
    cdef Spans _inner             # of a kline's bar or of a liquidation's order

    # hot
    cdef int parse(self, const char* frame, int64_t length) noexcept nogil
    cdef int parse_snapshot(self, const char* body, int64_t length) noexcept nogil
    cdef void _step(self, const char* text, int64_t length) noexcept nogil
    cdef int _members(self, Cursor* c, Spans* spans, bint is_outermost) noexcept nogil
    cdef int _levels(self, Cursor* c, Level* out, int32_t* n) noexcept nogil
    cdef void _unwrap(self) noexcept nogil
    cdef void _event(self) noexcept nogil
    cdef void _depth(self) noexcept nogil
    cdef void _book(self, int kind) noexcept nogil
    cdef void _trade(self, bint is_aggregate) noexcept nogil
    cdef void _ticker(self) noexcept nogil
    cdef void _kline(self) noexcept nogil
    cdef void _step_inside(self, int key) noexcept nogil
    cdef void _check_symbol(self, int key) noexcept nogil
    cdef void _check_stream(self) noexcept nogil
    cdef void _check_levels(self, int bids, int asks) noexcept nogil
    cdef void _integer(self, int key, int64_t* out) noexcept nogil
    cdef void _time(self, int key, bint is_needed, int64_t* out_ns) noexcept nogil
    cdef void _decimal(self, int key, bint is_price, int64_t* out) noexcept nogil
    cdef void _interval(self, int key, int64_t* out_ns) noexcept nogil
    cdef bint _flag(self, int key) noexcept nogil

    # cold
    cdef tuple _as_python(self)
