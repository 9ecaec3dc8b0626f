"""Binance JSON market data (spot, USD-M, COIN-M) into events.

Reads `depthUpdate`, `trade`, `aggTrade`, `bookTicker`, `kline`, `markPriceUpdate`, `forceOrder`, `24hrTicker`,
partial books and the REST depth answer, bare or in the combined-stream wrapper, keys in any order, unknown keys
skipped. The whole frame is stepped over before a message counts: a frame cut anywhere gives a status, never half an
event. What could be read in two ways (a key that stands twice, an escape in a name) is refused, and so is what is no
JSON: of an event's object and its wrapper every key, which is ASCII, every mark between members, and every value that
the event is made of.

Not looked into, but stepped over by quotes and brackets: values that no field of the event is made of, whatever their
key, and what a level holds behind its quantity; escapes, UTF-8, words and numbers inside them may be no JSON. What an
object of no known event holds is such a value.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython cimport final
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from native.cursor cimport (
    broken, clear, flag_of, has, is_digit, name_of, note, peek, skip_value, take, take_here, take_key,
)
from native.events cimport (
    BookTicker, DepthUpdate, Kline, MESSAGE_DAY, MESSAGE_DEPTH, MESSAGE_FORCE, MESSAGE_KLINE, MESSAGE_MARK,
    MESSAGE_NONE, MESSAGE_PARTIAL, MESSAGE_SNAPSHOT, MESSAGE_TICKER, MESSAGE_TRADE, PARSE_CAPACITY,
    PARSE_EXCESS_DIGITS, PARSE_FOREIGN, PARSE_MISSING, PARSE_OK, PARSE_SYNTAX, Side, Trade,
)
from native.fixed cimport DECIMAL_FLOORED, DECIMAL_OK, read_decimal
from native.wire.binance_fields cimport (
    KEY_LAST_UPDATE_ID, KEY_NQ, KEY_PU, KEY_SYMBOL, day_of, force_of, from_decimal, integer_of, is_name, mark_of,
    object_of, place_of, time_of,
)

from native.events import MessageKind, ParseStatus


cdef inline int64_t ns_of_unit(char letter) noexcept nogil:
    # Of a kline's interval; -1: no such unit. A month has no fixed length: 0.
    if letter == c's':
        return 1000000000LL
    if letter == c'm':
        return 60000000000LL
    if letter == c'h':
        return 3600000000000LL
    if letter == c'd':
        return 86400000000000LL
    if letter == c'w':
        return 604800000000000LL
    return 0 if letter == c'M' else -1


cdef bint is_diff_stream(const char* name, int64_t length) noexcept nogil:
    # `btcusdt@depth`, `btcusdt@depth@100ms`; not `@depth5`, not `@rpiDepth@500ms`.
    cdef int64_t i = 0
    while i < length and name[i] != c'@':
        i += 1
    if length - i < 6 or memcmp(name + i, b"@depth", 6) != 0:
        return False
    return length - i == 6 or name[i + 6] == c'@'


cdef char* exact_copy(bytes text) except NULL:
    cdef char* block = <char*>malloc(PyBytes_GET_SIZE(text) or 1)
    if block is NULL:
        raise MemoryError()
    memcpy(block, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return block


@final
cdef class BinanceJson:
    """Frames of one instrument into one reused Message.

    Parameters
    ----------
    symbol : str
        The venue's upper-case symbol, 1 to 31 bytes of UTF-8; frames of another symbol are PARSE_FOREIGN.
    price_digits, quantity_digits : int
        Units 10^-digits, 0 to 18. A price finer than its unit is refused (PARSE_EXCESS_DIGITS), a finer
        quantity is floored and counted.
    is_spot : bool
        Spot rules: no `pu`.
    max_levels : int
        Capacity of the scratch arrays per side, 16 to 65,536; a frame with more is PARSE_CAPACITY.

    Raises
    ------
    ValueError
        An argument is out of its bounds.

    Notes
    -----
    Cost: linear in the frame; no allocation after construction. Lifetime: the message and its levels are
    valid until the next frame.

    A depth update that comes by another stream than `<symbol>@depth` or `<symbol>@depth@<speed>` is
    MESSAGE_PARTIAL. A bare frame does not name its stream, so a bare `depthUpdate` is taken for a diff:
    subscribe partial books through combined streams only.

    Source: Binance spot `web-socket-streams.md` (2026-07-21) and USD-M, COIN-M market streams.
    """

    def __cinit__(
        self, *, symbol: str, price_digits: int, quantity_digits: int, is_spot: bool, max_levels: int = 16_384
    ):
        encoded = symbol.encode("utf-8")
        if not 1 <= len(encoded) <= 31:
            raise ValueError(f"symbol must have 1 to 31 bytes, found {symbol!r}")
        if symbol != symbol.upper():
            raise ValueError(f"symbol must be in upper case, found {symbol!r}")
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

    cdef int parse(self, const char* frame, int64_t length) noexcept nogil:
        # Returns the status, also kept in `message.status`; `message.kind` says what it was.
        self._step(frame, length)
        if self._status == PARSE_OK and is_wrapper(&self._outer):
            self._unwrap()
        if self._status == PARSE_OK:
            self._event()
        self.message.status = self._status
        return self._status

    cdef int parse_snapshot(self, const char* body, int64_t length) noexcept nogil:
        # The REST depth answer, which never comes by a stream.
        self._step(body, length)
        if is_wrapper(&self._outer):
            self._status = PARSE_SYNTAX
        if self._status == PARSE_OK:
            self._book(MESSAGE_SNAPSHOT)
        self.message.status = self._status
        return self._status

    cdef void _step(self, const char* text, int64_t length) noexcept nogil:
        # Once over the whole text: levels are read in passing, of other values it is noted where they begin.
        cdef Cursor c
        c.p = text
        c.end = text + length
        self._end = c.end
        self._stream = NULL
        self._spans = &self._outer
        self.message.kind = MESSAGE_NONE
        clear(&self._data)
        self._status = self._members(&c, &self._outer, True)
        if self._status == PARSE_OK and peek(&c) >= 0:
            self._status = PARSE_SYNTAX

    cdef int _members(self, Cursor* c, Spans* spans, bint is_outermost) noexcept nogil:
        cdef const char* key
        cdef int64_t length
        cdef int place, status
        clear(spans)
        self._floored = 0
        self._levels_status = PARSE_OK
        self.message.depth.n_bids = -1
        self.message.depth.n_asks = -1
        if not take(c, c'{'):
            return broken(c)
        if take(c, c'}'):
            return PARSE_OK
        while True:
            if not take_key(c, &key, &length) or not take(c, c':') or peek(c) < 0:
                return broken(c)
            place = place_of(key, length)
            if place:
                if has(spans, place):
                    return PARSE_SYNTAX
                note(spans, place, c.p)
            if c.p[0] == c'[' and is_list_of_levels(place) and not (is_outermost and is_wrapper(spans)):
                if place == c'b' or place == KEY_BIDS:
                    status = self._levels(c, self._bids, &self.message.depth.n_bids)
                else:
                    status = self._levels(c, self._asks, &self.message.depth.n_asks)
                if status != PARSE_OK:
                    # Told when all is read: the list may be of another event, or of another instrument.
                    self._levels_status = status
                    c.p = spans.at[place]
                    if not skip_value(c):
                        return broken(c)
            elif place == KEY_DATA and is_outermost and c.p[0] == c'{':
                status = self._members(c, &self._data, False)
                if status != PARSE_OK:
                    return status
            elif not skip_value(c):
                return broken(c)
            if take(c, c','):
                continue
            return PARSE_OK if take(c, c'}') else broken(c)

    cdef int _levels(self, Cursor* c, Level* out, int32_t* n) noexcept nogil:
        # [["price","quantity"],...], with the cursor on the first bracket. Binance writes no space, so the
        # spaceless form is tried first; the cursor itself moves only beside that way.
        cdef const char* p
        cdef const char* end = c.end
        cdef int32_t count = 0
        cdef int status
        if n[0] >= 0:
            return PARSE_SYNTAX  # `b` beside `bids`: which of the two is meant?
        n[0] = 0
        c.p += 1
        if take(c, c']'):
            return PARSE_OK
        p = c.p
        while True:
            if count == self._max_levels:
                return PARSE_CAPACITY
            if end - p >= 2 and p[0] == c'[' and p[1] == c'"':
                p += 2
            else:
                c.p = p
                if not (take(c, c'[') and take(c, c'"')):
                    return broken(c)
                p = c.p
            status = read_decimal(&p, end, self._price_digits, &out[count].price)
            if status != DECIMAL_OK:
                return PARSE_EXCESS_DIGITS if status == DECIMAL_FLOORED else from_decimal(status)
            if end - p >= 3 and p[0] == c'"' and p[1] == c',' and p[2] == c'"':
                p += 3
            else:
                c.p = p
                if not (take_here(c, c'"') and take(c, c',') and take(c, c'"')):
                    return broken(c)
                p = c.p
            status = read_decimal(&p, end, self._quantity_digits, &out[count].quantity)
            if status != DECIMAL_OK:
                if status != DECIMAL_FLOORED:
                    return from_decimal(status)
                self._floored += 1
            count += 1
            if end - p >= 3 and p[0] == c'"' and p[1] == c']' and p[2] == c',':
                p += 3
                continue
            c.p = p
            if not take_here(c, c'"'):
                return broken(c)
            # A third element was once part of Binance's levels (an empty array): skipped.
            while take(c, c','):
                if peek(c) < 0 or not skip_value(c):
                    return broken(c)
            if not take(c, c']'):
                return broken(c)
            if not take(c, c','):
                n[0] = count
                return PARSE_OK if take(c, c']') else broken(c)
            p = c.p

    cdef void _unwrap(self) noexcept nogil:
        # {"stream":"...","data":{...}}: from here on `data` is the object; another value has no members.
        self._status = name_of(&self._outer, KEY_STREAM, self._end, &self._stream, &self._stream_length)
        if self._status == PARSE_OK and not has(&self._outer, KEY_DATA):
            self._status = PARSE_MISSING
        self._spans = &self._data

    cdef void _event(self) noexcept nogil:
        cdef Spans* spans = self._spans
        cdef const char* event
        cdef int64_t length
        if not has(spans, c'e'):
            # Two kinds of spot carry no event name: bookTicker, and the partial book. A partial book outside
            # a wrapper looks like the REST answer, which has its own entry: the diff chain never takes it.
            if has(spans, KEY_LAST_UPDATE_ID):
                if self._stream is not NULL:
                    self._book(MESSAGE_PARTIAL)
            elif (has(spans, c'u') and has(spans, c'b') and has(spans, c'B') and has(spans, c'a')
                    and has(spans, c'A') and spans.at[<int>c'b'][0] == c'"'):
                self._ticker()
        elif spans.at[<int>c'e'][0] == c'"':
            self._status = name_of(spans, c'e', self._end, &event, &length)
            if self._status != PARSE_OK:
                return
            if is_name(event, length, b"depthUpdate", 11):
                self._depth()
            elif is_name(event, length, b"trade", 5):
                self._trade(False)
            elif is_name(event, length, b"bookTicker", 10):
                self._ticker()
            elif is_name(event, length, b"aggTrade", 8):
                self._trade(True)
            elif is_name(event, length, b"kline", 5):
                self._kline()
            elif is_name(event, length, b"markPriceUpdate", 15):
                self._check_symbol(c's')
                if self._status == PARSE_OK:
                    self._status = mark_of(spans, self._end, &self.message.mark)
                if self._status == PARSE_OK:
                    self.message.kind = MESSAGE_MARK
            elif is_name(event, length, b"24hrTicker", 10):
                self._check_symbol(c's')
                if self._status == PARSE_OK:
                    self._status = day_of(spans, self._end, self._price_digits, &self.message.day)
                if self._status == PARSE_OK:
                    self.message.kind = MESSAGE_DAY
            elif is_name(event, length, b"forceOrder", 10):
                self._time(c'E', False, &self.message.force.event_ns)
                self._step_inside(c'o')
                self._check_symbol(c's')
                if self._status == PARSE_OK:
                    self._status = force_of(self._spans, self._end, self._quantity_digits, &self.message.force)
                if self._status == PARSE_OK:
                    self.message.kind = MESSAGE_FORCE

    cdef void _depth(self) noexcept nogil:
        cdef DepthUpdate* depth = &self.message.depth
        self._check_symbol(c's')
        self._check_levels(c'b', c'a')
        self._integer(c'U', &depth.first_id)
        self._integer(c'u', &depth.final_id)
        depth.previous_id = -1
        if not self._is_spot:
            self._integer(KEY_PU, &depth.previous_id)
        self._time(c'E', False, &depth.venue_ns)
        depth.floored = self._floored
        if self._status == PARSE_OK:
            self.message.kind = MESSAGE_DEPTH
            if self._stream is not NULL and not is_diff_stream(self._stream, self._stream_length):
                self.message.kind = MESSAGE_PARTIAL

    cdef void _book(self, int kind) noexcept nogil:
        # {"lastUpdateId":n,"bids":[...],"asks":[...]}: the REST answer, and the spot partial book, which
        # names its instrument in the stream only.
        cdef DepthUpdate* depth = &self.message.depth
        if has(self._spans, KEY_SYMBOL):
            self._check_symbol(KEY_SYMBOL)
        elif self._stream is not NULL:
            self._check_stream()
        self._check_levels(KEY_BIDS, KEY_ASKS)
        self._integer(KEY_LAST_UPDATE_ID, &depth.final_id)
        self._time(c'E', False, &depth.venue_ns)
        depth.first_id = depth.final_id
        depth.previous_id = -1
        depth.floored = self._floored
        if self._status == PARSE_OK:
            self.message.kind = kind

    cdef void _trade(self, bint is_aggregate) noexcept nogil:
        cdef Trade* trade = &self.message.trade
        cdef const char* print_kind
        cdef int64_t length
        self._floored = 0
        self._check_symbol(c's')
        self._integer(c'a' if is_aggregate else c't', &trade.trade_id)
        self._decimal(c'p', True, &trade.price)
        self._decimal(c'q', False, &trade.quantity)
        self._time(c'T', True, &trade.venue_ns)
        self._time(c'E', False, &trade.event_ns)
        # `m`: the buyer is the maker, so the seller crossed the spread.
        trade.aggressor = Side.SELL if self._flag(c'm') else Side.BUY
        trade.first_id = trade.trade_id
        trade.last_id = trade.trade_id
        if is_aggregate:
            self._integer(c'f', &trade.first_id)
            self._integer(c'l', &trade.last_id)
        trade.is_aggregate = is_aggregate
        trade.teaches = 1
        if self._status == PARSE_OK and has(self._spans, c'X'):
            self._status = name_of(self._spans, c'X', self._end, &print_kind, &length)
            if self._status == PARSE_OK:
                trade.teaches = is_name(print_kind, length, b"MARKET", 6)
        # USD-M has sent prints of nothing at 0, and an aggregate says no `X`: there is nothing to learn from them.
        if trade.price == 0 or trade.quantity == 0:
            trade.teaches = 0
        trade.floored = self._floored > 0
        trade.regular_quantity = trade.quantity
        if has(self._spans, KEY_NQ):
            self._decimal(KEY_NQ, False, &trade.regular_quantity)
        if self._status == PARSE_OK:
            self.message.kind = MESSAGE_TRADE

    cdef void _ticker(self) noexcept nogil:
        cdef BookTicker* ticker = &self.message.ticker
        self._check_symbol(c's')
        self._integer(c'u', &ticker.update_id)
        self._decimal(c'b', True, &ticker.bid_price)
        self._decimal(c'B', False, &ticker.bid_quantity)
        self._decimal(c'a', True, &ticker.ask_price)
        self._decimal(c'A', False, &ticker.ask_quantity)
        self._time(c'E', False, &ticker.venue_ns)
        if self._status == PARSE_OK:
            self.message.kind = MESSAGE_TICKER

    cdef void _kline(self) noexcept nogil:
        cdef Kline* kline = &self.message.kline
        self._check_symbol(c's')
        self._time(c'E', False, &kline.venue_ns)
        self._step_inside(c'k')
        self._time(c't', True, &kline.open_ns)
        self._time(c'T', True, &kline.close_ns)
        self._interval(c'i', &kline.interval_ns)
        self._integer(c'n', &kline.n_trades)
        self._decimal(c'o', True, &kline.open)
        self._decimal(c'h', True, &kline.high)
        self._decimal(c'l', True, &kline.low)
        self._decimal(c'c', True, &kline.close)
        self._decimal(c'v', False, &kline.volume)
        self._decimal(c'V', False, &kline.taker_buy_volume)
        kline.is_closed = self._flag(c'x')
        if self._status == PARSE_OK:
            self.message.kind = MESSAGE_KLINE

    cdef void _step_inside(self, int key) noexcept nogil:
        # The object under `key` is the one whose values are read from here on.
        if self._status == PARSE_OK:
            self._status = object_of(self._spans, key, self._end, &self._inner)
            self._spans = &self._inner

    # The rest read one value of `_spans` each, and do nothing once something was wrong.

    cdef void _check_symbol(self, int key) noexcept nogil:
        cdef const char* name
        cdef int64_t length
        if self._status == PARSE_OK:
            self._status = name_of(self._spans, key, self._end, &name, &length)
            if self._status == PARSE_OK and not is_name(name, length, self._symbol, self._symbol_length):
                self._status = PARSE_FOREIGN

    cdef void _check_stream(self) noexcept nogil:
        # `btcusdt@depth5` is of BTCUSDT.
        cdef int64_t i = self._symbol_length
        cdef char letter
        if self._status != PARSE_OK:
            return
        if self._stream_length <= i or self._stream[i] != c'@':
            self._status = PARSE_FOREIGN
            return
        for i in range(self._symbol_length):
            letter = self._stream[i]
            if c'a' <= letter <= c'z':
                letter -= 32
            if letter != self._symbol[i]:
                self._status = PARSE_FOREIGN

    cdef void _check_levels(self, int bids, int asks) noexcept nogil:
        if self._status == PARSE_OK:
            self._status = self._levels_status
        if self._status == PARSE_OK and not (has(self._spans, bids) and has(self._spans, asks)):
            self._status = PARSE_MISSING
        if self._status == PARSE_OK and not (
                self._spans.at[bids][0] == c'[' and self._spans.at[asks][0] == c'['):
            self._status = PARSE_SYNTAX

    cdef void _integer(self, int key, int64_t* out) noexcept nogil:
        if self._status == PARSE_OK:
            self._status = integer_of(self._spans, key, self._end, out)

    cdef void _time(self, int key, bint is_needed, int64_t* out_ns) noexcept nogil:
        out_ns[0] = 0
        if self._status == PARSE_OK:
            self._status = time_of(self._spans, key, self._end, is_needed, out_ns)

    cdef void _decimal(self, int key, bint is_price, int64_t* out) noexcept nogil:
        cdef const char* p
        cdef int status
        if self._status != PARSE_OK:
            return
        if not has(self._spans, key):
            self._status = PARSE_MISSING
            return
        p = self._spans.at[key]
        if p[0] != c'"':
            self._status = PARSE_SYNTAX
            return
        p += 1
        status = read_decimal(&p, self._end, self._price_digits if is_price else self._quantity_digits, out)
        if status > DECIMAL_FLOORED:
            self._status = from_decimal(status)
        elif p >= self._end or p[0] != c'"':
            self._status = PARSE_SYNTAX
        elif status == DECIMAL_FLOORED:
            if is_price:
                self._status = PARSE_EXCESS_DIGITS
            self._floored += 1

    cdef void _interval(self, int key, int64_t* out_ns) noexcept nogil:
        # `15m`: one or two digits and a letter.
        cdef const char* text
        cdef int64_t length, unit
        if self._status != PARSE_OK:
            return
        self._status = name_of(self._spans, key, self._end, &text, &length)
        if self._status != PARSE_OK:
            return
        unit = ns_of_unit(text[length - 1]) if length == 2 or length == 3 else -1
        if unit < 0 or not is_digit(text[0]) or not is_digit(text[length - 2]):
            self._status = PARSE_SYNTAX
            return
        out_ns[0] = unit * (text[length - 2] - c'0' + (10 * (text[0] - c'0') if length == 3 else 0))

    cdef bint _flag(self, int key) noexcept nogil:
        cdef bint found = False
        if self._status == PARSE_OK:
            self._status = flag_of(self._spans, key, self._end, &found)
        return found

    def read(self, frame: bytes) -> tuple:
        """Parse one frame and return it as Python values: for tests and tools, not for the corridor.

        Parameters
        ----------
        frame : bytes
            The text of one message as it came from the socket.

        Returns
        -------
        tuple of (ParseStatus, MessageKind, dict)
            The fields of the event by name; empty unless the status is PARSE_OK and it is an event.

        Notes
        -----
        The parser is given a copy in a block of exactly that length, without the byte that stands behind
        every `bytes` object: a memory checker sees a read past the end.
        """
        cdef char* block = exact_copy(frame)
        self.parse(block, PyBytes_GET_SIZE(frame))
        free(block)
        return self._as_python()

    def read_snapshot(self, body: bytes) -> tuple:
        """Parse one REST depth answer; otherwise as `read`."""
        cdef char* block = exact_copy(body)
        self.parse_snapshot(block, PyBytes_GET_SIZE(body))
        free(block)
        return self._as_python()

    cdef tuple _as_python(self):
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
        elif kind == MESSAGE_MARK:
            fields = self.message.mark
        elif kind == MESSAGE_FORCE:
            fields = self.message.force
        elif kind == MESSAGE_DAY:
            fields = self.message.day
        return ParseStatus(self.message.status), MessageKind(kind), fields
