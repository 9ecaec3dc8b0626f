"""Contents page of Binance's fields: places of keys, single values, and the plain events made of them alone."""

from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcmp

from native.cursor cimport Spans, at_value_end, has, letter_of
from native.events cimport (
    PARSE_MISSING, PARSE_OK, PARSE_OVERFLOW, PARSE_SYNTAX, PARSE_TRUNCATED, DayTicker, ForceOrder, MarkPrice,
)
from native.fixed cimport DECIMAL_OK, DECIMAL_OVERFLOW, DECIMAL_TRUNCATED, read_integer


# Places in Spans of the keys that are longer than a letter.
cdef enum:
    KEY_PU = 1
    KEY_BIDS = 2
    KEY_ASKS = 3
    KEY_LAST_UPDATE_ID = 4
    KEY_SYMBOL = 5
    KEY_STREAM = 6
    KEY_DATA = 7
    KEY_NQ = 8
    KEY_AP = 9


cdef inline int place_of(const char* key, int64_t length) noexcept nogil:
    if length <= 1:
        return letter_of(key, length)
    if length == 2:
        if key[0] == c'p' and key[1] == c'u':
            return KEY_PU
        if key[0] == c'n' and key[1] == c'q':
            return KEY_NQ
        return KEY_AP if key[0] == c'a' and key[1] == c'p' else 0
    if length == 4:
        if memcmp(key, b"data", 4) == 0:
            return KEY_DATA
        if memcmp(key, b"bids", 4) == 0:
            return KEY_BIDS
        return KEY_ASKS if memcmp(key, b"asks", 4) == 0 else 0
    if length == 6:
        if memcmp(key, b"stream", 6) == 0:
            return KEY_STREAM
        return KEY_SYMBOL if memcmp(key, b"symbol", 6) == 0 else 0
    return KEY_LAST_UPDATE_ID if length == 12 and memcmp(key, b"lastUpdateId", 12) == 0 else 0


cdef inline bint is_name(const char* name, int64_t length, const char* wanted, int64_t n) noexcept nogil:
    return length == n and memcmp(name, wanted, n) == 0


cdef inline int from_decimal(int status) noexcept nogil:
    if status == DECIMAL_OVERFLOW:
        return PARSE_OVERFLOW
    return PARSE_TRUNCATED if status == DECIMAL_TRUNCATED else PARSE_SYNTAX


# Each reads one value and returns a ParseStatus.

cdef inline int integer_of(Spans* spans, int key, const char* end, int64_t* out) noexcept nogil:
    cdef const char* p
    cdef int status
    if not has(spans, key):
        return PARSE_MISSING
    p = spans.at[key]
    status = read_integer(&p, end, out)
    if status != DECIMAL_OK:
        return from_decimal(status)
    if spans.at[key][0] == c'0' and p - spans.at[key] > 1:
        return PARSE_SYNTAX  # JSON has no leading zeros: a byte was lost or damaged
    return PARSE_OK if at_value_end(p, end) else PARSE_SYNTAX


cdef inline int time_of(Spans* spans, int key, const char* end, bint is_needed, int64_t* out_ns) noexcept nogil:
    # Streams speak milliseconds, with `timeUnit=MICROSECOND` microseconds: told apart by size.
    cdef int64_t value = 0, unit
    cdef int status
    out_ns[0] = 0
    if not (is_needed or has(spans, key)):
        return PARSE_OK
    status = integer_of(spans, key, end, &value)
    if status != PARSE_OK:
        return status
    unit = 1000 if value >= 100000000000000LL else 1000000
    if value > INT64_MAX // unit:
        return PARSE_OVERFLOW
    out_ns[0] = value * unit
    return PARSE_OK


# hot
cdef int object_of(Spans* spans, int key, const char* end, Spans* out) noexcept nogil
cdef int scaled_of(Spans* spans, int key, const char* end, int digits, bint is_needed, int64_t* out) noexcept nogil
cdef int unsigned_of(Spans* spans, int key, const char* end, int digits, bint is_needed, int64_t* out) noexcept nogil
cdef int mark_of(Spans* spans, const char* end, MarkPrice* mark) noexcept nogil
cdef int force_of(Spans* spans, const char* end, int quantity_digits, ForceOrder* force) noexcept nogil
cdef int day_of(Spans* spans, const char* end, int price_digits, DayTicker* day) noexcept nogil
