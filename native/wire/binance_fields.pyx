"""Values of Binance's objects one by one, and the events that are plain objects of such values.

Mark prices, liquidations and day tickers: nothing is decided on them, so what is finer than their unit is cut off. Each
function returns a ParseStatus and leaves what it wrote before a refusal behind: a refused message has no event.
"""

from libc.stdint cimport int64_t

from native.cursor cimport Cursor, broken, clear, name_of, note, peek, skip_value, take, take_key
from native.events cimport CONTEXT_DIGITS, DAY_DIGITS, Side
from native.fixed cimport DECIMAL_FLOORED, read_decimal


cdef int object_of(Spans* spans, int key, const char* end, Spans* out) noexcept nogil:
    # Steps over the object under `key` and notes where its values begin; a key that stands twice is refused.
    cdef Cursor c
    cdef const char* name
    cdef int64_t length
    cdef int place
    clear(out)
    if not has(spans, key):
        return PARSE_MISSING
    c.p = spans.at[key]
    c.end = end
    if not take(&c, c'{'):
        return broken(&c)
    if take(&c, c'}'):
        return PARSE_OK
    while True:
        if not take_key(&c, &name, &length) or not take(&c, c':') or peek(&c) < 0:
            return broken(&c)
        place = place_of(name, length)
        if place:
            if has(out, place):
                return PARSE_SYNTAX
            note(out, place, c.p)
        if not skip_value(&c):
            return broken(&c)
        if take(&c, c','):
            continue
        return PARSE_OK if take(&c, c'}') else broken(&c)


cdef int scaled_of(Spans* spans, int key, const char* end, int digits, bint is_needed, int64_t* out) noexcept nogil:
    # A decimal that may be negative, in units of 10^-digits; what is finer is cut off toward zero. 0 if it is absent.
    cdef const char* p
    cdef bint is_negative
    cdef int status
    out[0] = 0
    if not has(spans, key):
        return PARSE_MISSING if is_needed else PARSE_OK
    p = spans.at[key]
    if p[0] != c'"':
        return PARSE_SYNTAX
    is_negative = p[1] == c'-'
    p += 2 if is_negative else 1
    status = read_decimal(&p, end, digits, out)
    if status > DECIMAL_FLOORED:
        return from_decimal(status)
    if p >= end or p[0] != c'"':
        return PARSE_SYNTAX
    if is_negative:
        out[0] = -out[0]
    return PARSE_OK


cdef int unsigned_of(Spans* spans, int key, const char* end, int digits, bint is_needed, int64_t* out) noexcept nogil:
    cdef int status = scaled_of(spans, key, end, digits, is_needed, out)
    return PARSE_SYNTAX if status == PARSE_OK and out[0] < 0 else status


cdef int mark_of(Spans* spans, const char* end, MarkPrice* mark) noexcept nogil:
    cdef int status = time_of(spans, c'E', end, False, &mark.venue_ns)
    if status == PARSE_OK:
        status = scaled_of(spans, c'p', end, CONTEXT_DIGITS, True, &mark.mark)
    if status == PARSE_OK:
        status = scaled_of(spans, KEY_AP, end, CONTEXT_DIGITS, False, &mark.average)
    if status == PARSE_OK:
        status = scaled_of(spans, c'i', end, CONTEXT_DIGITS, False, &mark.index)
    if status == PARSE_OK:
        status = scaled_of(spans, c'P', end, CONTEXT_DIGITS, False, &mark.settle)
    # A delivery contract says `"r":"","T":0`.
    mark.funding_rate = 0
    mark.has_funding = has(spans, c'r') and not (
        spans.at[<int>c'r'][0] == c'"' and spans.at[<int>c'r'][1] == c'"')
    if status == PARSE_OK and mark.has_funding:
        status = scaled_of(spans, c'r', end, CONTEXT_DIGITS, True, &mark.funding_rate)
    if status == PARSE_OK:
        status = time_of(spans, c'T', end, False, &mark.next_funding_ns)
    return status


cdef int force_of(Spans* spans, const char* end, int quantity_digits, ForceOrder* force) noexcept nogil:
    # The object `o` of a forceOrder.
    cdef const char* name
    cdef int64_t length
    cdef int status = name_of(spans, c'S', end, &name, &length)
    if status == PARSE_OK:
        if is_name(name, length, b"BUY", 3):
            force.side = Side.BUY
        elif is_name(name, length, b"SELL", 4):
            force.side = Side.SELL
        else:
            status = PARSE_SYNTAX
    if status == PARSE_OK:
        status = time_of(spans, c'T', end, True, &force.venue_ns)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'p', end, CONTEXT_DIGITS, True, &force.price)
    if status == PARSE_OK:
        status = unsigned_of(spans, KEY_AP, end, CONTEXT_DIGITS, False, &force.average_price)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'q', end, quantity_digits, True, &force.quantity)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'l', end, quantity_digits, False, &force.last_quantity)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'z', end, quantity_digits, False, &force.filled_quantity)
    force.is_filled = 0
    if status == PARSE_OK and has(spans, c'X'):
        status = name_of(spans, c'X', end, &name, &length)
        force.is_filled = status == PARSE_OK and is_name(name, length, b"FILLED", 6)
    return status


cdef int day_of(Spans* spans, const char* end, int price_digits, DayTicker* day) noexcept nogil:
    # Prices may be finer than a tick that grew within the day.
    cdef int status = time_of(spans, c'E', end, False, &day.venue_ns)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'c', end, price_digits, True, &day.last)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'o', end, price_digits, True, &day.open)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'h', end, price_digits, True, &day.high)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'l', end, price_digits, True, &day.low)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'v', end, DAY_DIGITS, True, &day.volume)
    if status == PARSE_OK:
        status = unsigned_of(spans, c'q', end, DAY_DIGITS, True, &day.quote_volume)
    if status == PARSE_OK:
        status = integer_of(spans, c'n', end, &day.n_trades)
    if status == PARSE_OK:
        status = time_of(spans, c'O', end, False, &day.open_ns)
    if status == PARSE_OK:
        status = time_of(spans, c'C', end, False, &day.close_ns)
    return status
