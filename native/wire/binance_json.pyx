"""Binance JSON market data (spot, USD-M, COIN-M) into events.

Reads `depthUpdate`, `trade`, `aggTrade`, `bookTicker`, `kline`, partial books and the REST depth answer, bare or in
the combined-stream wrapper, keys in any order, unknown keys skipped. The whole frame is read to its end before a
message counts: a frame cut anywhere gives a status, never half an event.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython cimport final
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from native.cursor cimport peek, skip_value, take, take_integer, take_string
from native.events cimport (
    BookTicker, Kline, MarketKind, MESSAGE_DEPTH, MESSAGE_KLINE, MESSAGE_NONE, MESSAGE_PARTIAL, MESSAGE_SNAPSHOT,
    MESSAGE_TICKER, MESSAGE_TRADE, PARSE_CAPACITY, PARSE_EXCESS_DIGITS, PARSE_FOREIGN, PARSE_MISSING, PARSE_OK,
    PARSE_OVERFLOW, PARSE_SYNTAX, PARSE_TRUNCATED, Side, SPOT, Trade,
)
from native.fixed cimport (
    DECIMAL_FLOORED, DECIMAL_OK, DECIMAL_OVERFLOW, DECIMAL_TRUNCATED, read_decimal,
)

from native.events import MessageKind, ParseStatus


cdef enum:
    KEY_PU = 1


cdef inline bint has(Spans* spans, int key) noexcept nogil:
    if key < 64:
        return (spans.seen_low >> key) & 1
    return (spans.seen_high >> (key - 64)) & 1


cdef inline void note(Spans* spans, int key, const char* at) noexcept nogil:
    spans.at[key] = at
    if key < 64:
        spans.seen_low |= 1ULL << key
    else:
        spans.seen_high |= 1ULL << (key - 64)


cdef inline int broken(Cursor* c) noexcept nogil:
    # A value that could not be read: the text ended, or it is not the JSON we expect.
    return PARSE_TRUNCATED if c.p >= c.end else PARSE_SYNTAX


cdef inline int64_t to_ns(int64_t venue_time) noexcept nogil:
    # Streams speak milliseconds, with `timeUnit=MICROSECOND` microseconds: told apart by size.
    if venue_time >= 100000000000000LL:
        return venue_time * 1000
    return venue_time * 1000000


cdef inline int from_decimal(int status) noexcept nogil:
    if status == DECIMAL_OVERFLOW:
        return PARSE_OVERFLOW
    if status == DECIMAL_TRUNCATED:
        return PARSE_TRUNCATED
    return PARSE_SYNTAX


cdef int note_members(Cursor* c, Spans* spans) noexcept nogil:
    # Notes where each short key's value begins and steps over the object; later duplicates win, as in `json`.
    cdef const char* key
    cdef int64_t length
    spans.seen_low = 0
    spans.seen_high = 0
    if not take(c, c'{'):
        return broken(c)
    if take(c, c'}'):
        return PARSE_OK
    while True:
        if not take_string(c, &key, &length) or not take(c, c':'):
            return broken(c)
        if length == 1 and 1 < <unsigned char>key[0] < 128:
            if peek(c) < 0:
                return PARSE_TRUNCATED
            note(spans, key[0], c.p)
        elif length == 2 and key[0] == c'p' and key[1] == c'u':
            if peek(c) < 0:
                return PARSE_TRUNCATED
            note(spans, KEY_PU, c.p)
        if not skip_value(c):
            return broken(c)
        if take(c, c','):
            continue
        if take(c, c'}'):
            return PARSE_OK
        return broken(c)


cdef inline int integer_of(Spans* spans, int key, const char* end, int64_t* out) noexcept nogil:
    cdef Cursor c
    if not has(spans, key):
        return PARSE_MISSING
    c.p = spans.at[key]
    c.end = end
    return PARSE_OK if take_integer(&c, out) else PARSE_SYNTAX


cdef inline bint string_of(
    Spans* spans, int key, const char* end, const char** start, int64_t* length
) noexcept nogil:
    cdef Cursor c
    if not has(spans, key):
        return False
    c.p = spans.at[key]
    c.end = end
    return take_string(&c, start, length)


cdef inline int optional_time(Spans* spans, int key, const char* end, int64_t* out) noexcept nogil:
    cdef int64_t value = 0
    cdef int status
    out[0] = 0
    if not has(spans, key):
        return PARSE_OK
    status = integer_of(spans, key, end, &value)
    out[0] = to_ns(value)
    return status


cdef bint is_partial_stream(const char* name, int64_t length) noexcept nogil:
    # `btcusdt@depth5`, `@depth10@100ms`: a digit right behind `@depth` that is not followed by `ms` only.
    cdef int64_t i = 0
    while i + 6 < length:
        if name[i] == c'@' and memcmp(name + i, b"@depth", 6) == 0:
            return c'0' <= name[i + 6] <= c'9'
        i += 1
    return False


@final
cdef class BinanceJson:
    """Frames of one instrument into one reused Message.

    Parameters
    ----------
    symbol : str
        Upper-case venue symbol, at most 31 ASCII characters; frames of another symbol are PARSE_FOREIGN.
    price_digits, quantity_digits : int
        Units 10^-digits, 0 to 18. A price finer than its unit is refused, a finer quantity floored and counted.
    is_spot : bool
        Spot rules: no `pu`.
    max_levels : int
        Capacity of the scratch arrays per side, 16 to 65,536; a frame with more is PARSE_CAPACITY.

    Notes
    -----
    Cost: linear in the frame; no allocation after construction. Lifetime: the message and its levels are valid until
    the next frame.
    """

    def __cinit__(
        self, *, symbol: str, price_digits: int, quantity_digits: int, is_spot: bool, max_levels: int = 16_384
    ):
        encoded = symbol.encode("ascii", "replace")
        if not 1 <= len(encoded) <= 31:
            raise ValueError(f"symbol must have 1 to 31 characters, found {symbol!r}")
        for name, value in (("price_digits", price_digits), ("quantity_digits", quantity_digits)):
            if not 0 <= value <= 18:
                raise ValueError(f"{name} must be 0 to 18, found {value}")
        if not 16 <= max_levels <= 65_536:
            raise ValueError(f"max_levels must be 16 to 65536, found {max_levels}")
        self._symbol_length = len(encoded)
        memcpy(self._symbol, PyBytes_AS_STRING(encoded), self._symbol_length)
        self._price_digits = price_digits
        self._quantity_digits = quantity_digits
        self._is_spot = is_spot
        self._max_levels = max_levels
        self._bids = <Level*>calloc(max_levels, sizeof(Level))
        self._asks = <Level*>calloc(max_levels, sizeof(Level))
        if self._bids is NULL or self._asks is NULL:
            raise MemoryError()
        self.message.depth.bids = self._bids
        self.message.depth.asks = self._asks

    def __dealloc__(self):
        free(self._bids)
        free(self._asks)

    cdef int _levels(self, Cursor* c, Level* out, int32_t* n) noexcept nogil:
        # [["price","quantity"],...]; Binance writes no space, so the spaceless form is tried first.
        cdef int status
        cdef int32_t count = 0
        cdef const char* p
        n[0] = 0
        if not take(c, c'['):
            return broken(c)
        if take(c, c']'):
            return PARSE_OK
        while True:
            if count == self._max_levels:
                return PARSE_CAPACITY
            if c.end - c.p >= 2 and c.p[0] == c'[' and c.p[1] == c'"':
                c.p += 2
            elif not (take(c, c'[') and take(c, c'"')):
                return broken(c)
            status = read_decimal(&c.p, c.end, self._price_digits, &out[count].price)
            if status != DECIMAL_OK:
                return PARSE_EXCESS_DIGITS if status == DECIMAL_FLOORED else from_decimal(status)
            p = c.p
            if c.end - p >= 3 and p[0] == c'"' and p[1] == c',' and p[2] == c'"':
                c.p = p + 3
            elif p >= c.end:
                return PARSE_TRUNCATED
            elif p[0] != c'"':
                return PARSE_SYNTAX
            else:
                c.p += 1
                if not (take(c, c',') and take(c, c'"')):
                    return broken(c)
            status = read_decimal(&c.p, c.end, self._quantity_digits, &out[count].quantity)
            if status != DECIMAL_OK:
                if status != DECIMAL_FLOORED:
                    return from_decimal(status)
                self._floored += 1
            count += 1
            p = c.p
            if c.end - p >= 3 and p[0] == c'"' and p[1] == c']' and p[2] == c',':
                c.p = p + 3
                continue
            if p >= c.end:
                return PARSE_TRUNCATED
            if p[0] != c'"':
                return PARSE_SYNTAX
            c.p += 1
            # A third element was once part of Binance's levels (an empty array): skipped.
            while take(c, c','):
                if not skip_value(c):
                    return broken(c)
            if not take(c, c']'):
                return broken(c)
            if take(c, c','):
                continue
            if take(c, c']'):
                n[0] = count
                return PARSE_OK
            return broken(c)

    cdef int _decimal(self, Spans* spans, int key, const char* end, bint is_price, int64_t* out) noexcept nogil:
        cdef const char* p
        cdef int status
        if not has(spans, key):
            return PARSE_MISSING
        p = spans.at[key]
        if p[0] != c'"':
            return PARSE_SYNTAX
        p += 1
        status = read_decimal(&p, end, self._price_digits if is_price else self._quantity_digits, out)
        if status > DECIMAL_FLOORED:
            return from_decimal(status)
        if p >= end or p[0] != c'"':
            return PARSE_SYNTAX
        if status == DECIMAL_FLOORED:
            if is_price:
                return PARSE_EXCESS_DIGITS
            self._floored += 1
        return PARSE_OK

    cdef int _check_symbol(self, Spans* spans, const char* end) noexcept nogil:
        cdef const char* start
        cdef int64_t length
        if not has(spans, c's'):
            return PARSE_OK
        if not string_of(spans, c's', end, &start, &length):
            return PARSE_SYNTAX
        if length != self._symbol_length or memcmp(start, self._symbol, length) != 0:
            return PARSE_FOREIGN
        return PARSE_OK

    cdef int parse(self, const char* frame, int64_t length) noexcept nogil:
        # Returns the status, also kept in `message.status`; `message.kind` says what it was.
        cdef Cursor c
        cdef Cursor body
        cdef const char* key
        cdef const char* stream = NULL
        cdef int64_t key_length, stream_length = 0
        cdef int status
        cdef bint is_partial = False
        c.p = frame
        c.end = frame + length
        body.p = NULL
        body.end = c.end
        self._floored = 0
        self.message.kind = MESSAGE_NONE
        self.message.status = PARSE_OK
        # {"stream":"...","data":{...}}: the wrapper is recognised by its first key, in either order.
        if not take(&c, c'{'):
            self.message.status = broken(&c)
            return self.message.status
        if not take_string(&c, &key, &key_length):
            self.message.status = PARSE_OK if take(&c, c'}') else broken(&c)
            return self.message.status
        if not ((key_length == 6 and memcmp(key, b"stream", 6) == 0)
                or (key_length == 4 and memcmp(key, b"data", 4) == 0)):
            c.p = frame
            status = self._object(&c, False, False)
            if status == PARSE_OK and peek(&c) >= 0:
                status = PARSE_SYNTAX
            self.message.status = status
            if status != PARSE_OK:
                self.message.kind = MESSAGE_NONE
            return status
        status = PARSE_OK
        while True:
            if not take(&c, c':'):
                status = broken(&c)
                break
            if key_length == 6 and memcmp(key, b"stream", 6) == 0:
                if not take_string(&c, &stream, &stream_length):
                    status = broken(&c)
                    break
            elif key_length == 4 and memcmp(key, b"data", 4) == 0:
                if peek(&c) < 0:
                    status = PARSE_TRUNCATED
                    break
                body.p = c.p
                if stream is NULL:
                    if not skip_value(&c):
                        status = broken(&c)
                        break
                elif peek(&c) == c'{':
                    is_partial = is_partial_stream(stream, stream_length)
                    status = self._object(&c, is_partial, True)
                    if status != PARSE_OK:
                        break
                    body.p = NULL
                elif not skip_value(&c):
                    status = broken(&c)
                    break
            elif not skip_value(&c):
                status = broken(&c)
                break
            if take(&c, c','):
                if not take_string(&c, &key, &key_length):
                    status = broken(&c)
                    break
                continue
            if not take(&c, c'}') or peek(&c) >= 0:
                status = broken(&c)
            break
        if status == PARSE_OK and body.p is not NULL and peek(&body) == c'{':
            # `data` stood before `stream`: only now is it known whether the book is a partial one.
            is_partial = stream is not NULL and is_partial_stream(stream, stream_length)
            status = self._object(&body, is_partial, True)
        if status != PARSE_OK:
            self.message.kind = MESSAGE_NONE
        self.message.status = status
        return status

    cdef int _object(self, Cursor* c, bint is_partial, bint is_wrapped) noexcept nogil:
        # One event object. Depth updates are long: their levels are read while stepping, the rest is noted.
        cdef Spans* spans = &self._outer
        cdef const char* key
        cdef const char* event = NULL
        cdef int64_t length, event_length = 0
        cdef int status
        cdef const char* first = c.p
        cdef int32_t n_bids = -1, n_asks = -1
        cdef int letter, following
        spans.seen_low = 0
        spans.seen_high = 0
        if not take(c, c'{'):
            return broken(c)
        if take(c, c'}'):
            return PARSE_OK
        while True:
            if not take_string(c, &key, &length) or not take(c, c':'):
                return broken(c)
            letter = 0
            following = peek(c)
            if following < 0:
                return PARSE_TRUNCATED
            if length == 1 and 1 < <unsigned char>key[0] < 128:
                letter = key[0]
            elif length == 2 and key[0] == c'p' and key[1] == c'u':
                letter = KEY_PU
            elif (length == 4 and (memcmp(key, b"bids", 4) == 0 or memcmp(key, b"asks", 4) == 0)) or (
                    length == 12 and memcmp(key, b"lastUpdateId", 12) == 0):
                # A book without an event name: a spot partial book if a stream says so. A bare one is the REST
                # answer, which has its own entry: the diff chain never takes one by mistake.
                c.p = first
                if is_wrapped and is_partial:
                    return self._book_body(c, MESSAGE_PARTIAL)
                return PARSE_OK if skip_value(c) else broken(c)
            if letter:
                note(spans, letter, c.p)
            if following == c'[' and letter == c'b':
                status = self._levels(c, self._bids, &n_bids)
                if status != PARSE_OK:
                    return status
            elif following == c'[' and letter == c'a':
                status = self._levels(c, self._asks, &n_asks)
                if status != PARSE_OK:
                    return status
            elif letter == c'e' and following == c'"':
                if not take_string(c, &event, &event_length):
                    return broken(c)
            elif not skip_value(c):
                return broken(c)
            if take(c, c','):
                continue
            if take(c, c'}'):
                break
            return broken(c)
        self.message.depth.n_bids = n_bids
        self.message.depth.n_asks = n_asks
        if event is NULL:
            # The spot bookTicker carries no event name: known by its keys.
            if (has(spans, c'u') and has(spans, c'b') and has(spans, c'B') and has(spans, c'a')
                    and has(spans, c'A') and spans.at[<int>c'b'][0] == c'"'):
                return self._ticker(c.p)
            return PARSE_OK
        return self._event(event, event_length, c.p, is_partial)

    cdef int _event(self, const char* event, int64_t length, const char* end, bint is_partial) noexcept nogil:
        if length == 11 and memcmp(event, b"depthUpdate", 11) == 0:
            return self._depth(end, is_partial)
        if length == 5 and memcmp(event, b"trade", 5) == 0:
            return self._trade(end, False)
        if length == 10 and memcmp(event, b"bookTicker", 10) == 0:
            return self._ticker(end)
        if length == 8 and memcmp(event, b"aggTrade", 8) == 0:
            return self._trade(end, True)
        if length == 5 and memcmp(event, b"kline", 5) == 0:
            return self._kline(end)
        return PARSE_OK

    cdef int _depth(self, const char* end, bint is_partial) noexcept nogil:
        cdef Spans* spans = &self._outer
        cdef int status = self._check_symbol(spans, end)
        if status != PARSE_OK:
            return status
        if self.message.depth.n_bids < 0 or self.message.depth.n_asks < 0:
            return PARSE_MISSING
        status = integer_of(spans, c'U', end, &self.message.depth.first_id)
        if status == PARSE_OK:
            status = integer_of(spans, c'u', end, &self.message.depth.final_id)
        self.message.depth.previous_id = -1
        if status == PARSE_OK and not self._is_spot:
            status = integer_of(spans, KEY_PU, end, &self.message.depth.previous_id)
        if status == PARSE_OK:
            status = optional_time(spans, c'E', end, &self.message.depth.venue_ns)
        if status == PARSE_OK:
            self.message.depth.floored = self._floored
            self.message.kind = MESSAGE_PARTIAL if is_partial else MESSAGE_DEPTH
        return status

    cdef int _trade(self, const char* end, bint is_aggregate) noexcept nogil:
        cdef Spans* spans = &self._outer
        cdef Trade* trade = &self.message.trade
        cdef const char* print_kind
        cdef int64_t length
        cdef int status = self._check_symbol(spans, end)
        if status == PARSE_OK:
            status = integer_of(spans, c'a' if is_aggregate else c't', end, &trade.trade_id)
        if status == PARSE_OK:
            status = self._decimal(spans, c'p', end, True, &trade.price)
        if status == PARSE_OK:
            status = self._decimal(spans, c'q', end, False, &trade.quantity)
        if status == PARSE_OK:
            status = optional_time(spans, c'T', end, &trade.venue_ns)
        if status == PARSE_OK:
            status = optional_time(spans, c'E', end, &trade.event_ns)
        if status != PARSE_OK:
            return status
        if not has(spans, c'm') or not has(spans, c'T'):
            return PARSE_MISSING
        # `m`: the buyer is the maker, so the seller crossed the spread.
        if spans.at[<int>c'm'][0] == c't':
            trade.aggressor = Side.SELL
        elif spans.at[<int>c'm'][0] == c'f':
            trade.aggressor = Side.BUY
        else:
            return PARSE_SYNTAX
        trade.first_id = trade.trade_id
        trade.last_id = trade.trade_id
        if is_aggregate:
            status = integer_of(spans, c'f', end, &trade.first_id)
            if status == PARSE_OK:
                status = integer_of(spans, c'l', end, &trade.last_id)
            if status != PARSE_OK:
                return status
        trade.is_aggregate = is_aggregate
        trade.teaches = 1
        if has(spans, c'X'):
            if not string_of(spans, c'X', end, &print_kind, &length):
                return PARSE_SYNTAX
            trade.teaches = length == 6 and memcmp(print_kind, b"MARKET", 6) == 0
        trade.floored = self._floored > 0
        self.message.kind = MESSAGE_TRADE
        return PARSE_OK

    cdef int _ticker(self, const char* end) noexcept nogil:
        cdef Spans* spans = &self._outer
        cdef BookTicker* ticker = &self.message.ticker
        cdef int status = self._check_symbol(spans, end)
        if status == PARSE_OK:
            status = integer_of(spans, c'u', end, &ticker.update_id)
        if status == PARSE_OK:
            status = self._decimal(spans, c'b', end, True, &ticker.bid_price)
        if status == PARSE_OK:
            status = self._decimal(spans, c'B', end, False, &ticker.bid_quantity)
        if status == PARSE_OK:
            status = self._decimal(spans, c'a', end, True, &ticker.ask_price)
        if status == PARSE_OK:
            status = self._decimal(spans, c'A', end, False, &ticker.ask_quantity)
        if status == PARSE_OK:
            status = optional_time(spans, c'E', end, &ticker.venue_ns)
        if status == PARSE_OK:
            self.message.kind = MESSAGE_TICKER
        return status

    cdef int _kline(self, const char* end) noexcept nogil:
        cdef Spans* spans = &self._outer
        cdef Kline* kline = &self.message.kline
        cdef Cursor c
        cdef const char* interval
        cdef int64_t length, number = 0
        cdef int status = self._check_symbol(spans, end)
        cdef int i
        if status != PARSE_OK:
            return status
        if not has(spans, c'k'):
            return PARSE_MISSING
        status = optional_time(spans, c'E', end, &kline.venue_ns)
        if status != PARSE_OK:
            return status
        c.p = spans.at[<int>c'k']
        c.end = end
        spans = &self._inner
        status = note_members(&c, spans)
        if status != PARSE_OK:
            return status
        if not has(spans, c't') or not has(spans, c'T') or not has(spans, c'x'):
            return PARSE_MISSING
        status = optional_time(spans, c't', end, &kline.open_ns)
        if status == PARSE_OK:
            status = optional_time(spans, c'T', end, &kline.close_ns)
        if status == PARSE_OK:
            status = integer_of(spans, c'n', end, &kline.n_trades)
        if status == PARSE_OK:
            status = self._decimal(spans, c'o', end, True, &kline.open)
        if status == PARSE_OK:
            status = self._decimal(spans, c'h', end, True, &kline.high)
        if status == PARSE_OK:
            status = self._decimal(spans, c'l', end, True, &kline.low)
        if status == PARSE_OK:
            status = self._decimal(spans, c'c', end, True, &kline.close)
        if status == PARSE_OK:
            status = self._decimal(spans, c'v', end, False, &kline.volume)
        if status == PARSE_OK:
            status = self._decimal(spans, c'V', end, False, &kline.taker_buy_volume)
        if status != PARSE_OK:
            return status
        if not string_of(spans, c'i', end, &interval, &length) or length < 2 or length > 3:
            return PARSE_SYNTAX
        for i in range(length - 1):
            if not c'0' <= interval[i] <= c'9':
                return PARSE_SYNTAX
            number = number * 10 + (interval[i] - c'0')
        if interval[length - 1] == c's':
            kline.interval_ns = number * 1000000000LL
        elif interval[length - 1] == c'm':
            kline.interval_ns = number * 60000000000LL
        elif interval[length - 1] == c'h':
            kline.interval_ns = number * 3600000000000LL
        elif interval[length - 1] == c'd':
            kline.interval_ns = number * 86400000000000LL
        elif interval[length - 1] == c'w':
            kline.interval_ns = number * 604800000000000LL
        else:
            kline.interval_ns = 0
        kline.is_closed = spans.at[<int>c'x'][0] == c't'
        self.message.kind = MESSAGE_KLINE
        return PARSE_OK

    cdef int _book_body(self, Cursor* c, int kind) noexcept nogil:
        # {"lastUpdateId":n,"bids":[...],"asks":[...]}, the REST answer and the spot partial book.
        cdef const char* key
        cdef const char* symbol
        cdef int64_t length, symbol_length, when = 0
        cdef int status
        cdef bint has_id = False
        self.message.depth.n_bids = -1
        self.message.depth.n_asks = -1
        self.message.depth.venue_ns = 0
        if not take(c, c'{'):
            return broken(c)
        while True:
            if not take_string(c, &key, &length) or not take(c, c':'):
                return broken(c)
            status = PARSE_OK
            if length == 4 and memcmp(key, b"bids", 4) == 0:
                status = self._levels(c, self._bids, &self.message.depth.n_bids)
            elif length == 4 and memcmp(key, b"asks", 4) == 0:
                status = self._levels(c, self._asks, &self.message.depth.n_asks)
            elif length == 12 and memcmp(key, b"lastUpdateId", 12) == 0:
                if not take_integer(c, &self.message.depth.final_id):
                    return broken(c)
                has_id = True
            elif length == 1 and key[0] == c'E':
                if not take_integer(c, &when):
                    return broken(c)
                self.message.depth.venue_ns = to_ns(when)
            elif length == 6 and memcmp(key, b"symbol", 6) == 0:
                if not take_string(c, &symbol, &symbol_length):
                    return broken(c)
                if symbol_length != self._symbol_length or memcmp(symbol, self._symbol, symbol_length) != 0:
                    return PARSE_FOREIGN
            elif not skip_value(c):
                return broken(c)
            if status != PARSE_OK:
                return status
            if take(c, c','):
                continue
            if take(c, c'}'):
                break
            return broken(c)
        if not has_id or self.message.depth.n_bids < 0 or self.message.depth.n_asks < 0:
            return PARSE_MISSING
        self.message.depth.first_id = self.message.depth.final_id
        self.message.depth.previous_id = -1
        self.message.depth.floored = self._floored
        self.message.kind = kind
        return PARSE_OK

    cdef int parse_snapshot(self, const char* body, int64_t length) noexcept nogil:
        # The REST depth answer, which never comes by a stream.
        cdef Cursor c
        cdef int status
        c.p = body
        c.end = body + length
        self._floored = 0
        self.message.kind = MESSAGE_NONE
        status = self._book_body(&c, MESSAGE_SNAPSHOT)
        if status == PARSE_OK and peek(&c) >= 0:
            status = PARSE_SYNTAX
        if status != PARSE_OK:
            self.message.kind = MESSAGE_NONE
        self.message.status = status
        return status

    def read(self, frame: bytes) -> tuple:
        """Parse one frame and return it as Python values: for tests and tools, not for the corridor.

        Returns
        -------
        tuple of (ParseStatus, MessageKind, dict)
            The fields of the event by name; empty unless the status is PARSE_OK.
        """
        self.parse(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        return self._as_python()

    def read_snapshot(self, body: bytes) -> tuple:
        """Parse one REST depth answer; otherwise as `read`."""
        self.parse_snapshot(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return self._as_python()

    def _as_python(self) -> tuple:
        cdef int i
        fields = {}
        kind = self.message.kind
        if self.message.status != PARSE_OK:
            pass
        elif kind in (MESSAGE_DEPTH, MESSAGE_SNAPSHOT, MESSAGE_PARTIAL):
            depth = self.message.depth
            fields = {
                "first_id": depth.first_id, "final_id": depth.final_id, "previous_id": depth.previous_id,
                "venue_ns": depth.venue_ns, "floored": depth.floored,
                "bids": [(self._bids[i].price, self._bids[i].quantity) for i in range(depth.n_bids)],
                "asks": [(self._asks[i].price, self._asks[i].quantity) for i in range(depth.n_asks)],
            }
        elif kind == MESSAGE_TRADE:
            fields = self.message.trade
        elif kind == MESSAGE_TICKER:
            fields = self.message.ticker
        elif kind == MESSAGE_KLINE:
            fields = self.message.kline
        return ParseStatus(self.message.status), MessageKind(kind), fields
