"""Records of converted event files: what the wire room read, as bytes for repeated replay.

A record is a header, then the fields of the event; levels follow their depth header. All is 8-byte aligned and
little-endian, so that a mapped file is read in place: the levels of a Message point into it. Nothing is read past the
end that is given, whatever the bytes are; prices and quantities of levels are judged by the book.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

from native.events cimport (
    BUY, MESSAGE_DAY, MESSAGE_DEPTH, MESSAGE_FORCE, MESSAGE_KLINE, MESSAGE_MARK, MESSAGE_NONE, MESSAGE_PARTIAL,
    MESSAGE_SNAPSHOT, MESSAGE_TICKER, MESSAGE_TRADE, PARSE_FOREIGN, PARSE_OK, SELL,
)


cdef inline bint has_levels(int kind) noexcept nogil:
    return kind == MESSAGE_DEPTH or kind == MESSAGE_SNAPSHOT or kind == MESSAGE_PARTIAL


cdef inline int64_t fixed_size(int kind) noexcept nogil:
    # Bytes behind the header without levels; -1 for a kind that does not exist.
    if has_levels(kind):
        return sizeof(DepthHeader)
    if kind == MESSAGE_TRADE:
        return sizeof(Trade)
    if kind == MESSAGE_TICKER:
        return sizeof(BookTicker)
    if kind == MESSAGE_KLINE:
        return sizeof(Kline)
    if kind == MESSAGE_MARK:
        return sizeof(MarkPrice)
    if kind == MESSAGE_FORCE:
        return sizeof(ForceOrder)
    if kind == MESSAGE_DAY:
        return sizeof(DayTicker)
    return 0 if kind == MESSAGE_NONE else -1


cdef int64_t read_record(const char* at, int64_t left, RecordHeader* header, Message* out) noexcept nogil:
    # Size of the record at `at`, 0 if it is not whole or not sound: a kind, status or size that no message has, a place
    # off the 8-byte grid, a trade that the wire room would not make. `out` may then hold anything.
    cdef DepthHeader depth
    cdef int64_t size
    if left < <int64_t>sizeof(RecordHeader):
        return 0
    memcpy(header, at, sizeof(RecordHeader))
    size = fixed_size(header.kind)
    if size < 0 or header.size & 7 or <size_t>at & 7:
        return 0
    if header.size > left or header.size < <int64_t>sizeof(RecordHeader) + size:
        return 0
    if header.status < PARSE_OK or header.status > PARSE_FOREIGN or (
            header.status != PARSE_OK and header.kind != MESSAGE_NONE):
        return 0
    at += sizeof(RecordHeader)
    size = header.size - <int64_t>sizeof(RecordHeader) - size
    if size != 0 and not has_levels(header.kind):
        return 0
    out.kind = header.kind
    out.status = header.status
    if has_levels(header.kind):
        memcpy(&depth, at, sizeof(DepthHeader))
        if (depth.n_bids < 0 or depth.n_asks < 0 or
                (<int64_t>depth.n_bids + depth.n_asks) * <int64_t>sizeof(Level) != size):
            return 0
        out.depth.first_id = depth.first_id
        out.depth.final_id = depth.final_id
        out.depth.previous_id = depth.previous_id
        out.depth.venue_ns = depth.venue_ns
        out.depth.n_bids = depth.n_bids
        out.depth.n_asks = depth.n_asks
        out.depth.floored = depth.floored
        out.depth.bids = <const Level*>(at + sizeof(DepthHeader))
        out.depth.asks = out.depth.bids + depth.n_bids
    elif header.kind == MESSAGE_TRADE:
        memcpy(&out.trade, at, sizeof(Trade))
        if out.trade.price < 0 or out.trade.quantity < 0 or out.trade.regular_quantity < 0 or (
                out.trade.aggressor != BUY and out.trade.aggressor != SELL):
            return 0
    elif header.kind == MESSAGE_TICKER:
        memcpy(&out.ticker, at, sizeof(BookTicker))
    elif header.kind == MESSAGE_KLINE:
        memcpy(&out.kline, at, sizeof(Kline))
    elif header.kind == MESSAGE_MARK:
        memcpy(&out.mark, at, sizeof(MarkPrice))
    elif header.kind == MESSAGE_FORCE:
        memcpy(&out.force, at, sizeof(ForceOrder))
    elif header.kind == MESSAGE_DAY:
        memcpy(&out.day, at, sizeof(DayTicker))
    return header.size


cdef bytes encode_record(const Message* message, int64_t recv_ns):
    cdef RecordHeader header
    cdef DepthHeader depth
    cdef int64_t n_bids = 0, n_asks = 0
    cdef char* out
    header.recv_ns = recv_ns
    header.kind = message.kind if message.status == PARSE_OK else MESSAGE_NONE
    header.status = message.status
    if has_levels(header.kind):
        n_bids = message.depth.n_bids
        n_asks = message.depth.n_asks
    header.size = sizeof(RecordHeader) + fixed_size(header.kind) + (n_bids + n_asks) * sizeof(Level)
    record = PyBytes_FromStringAndSize(NULL, header.size)
    out = PyBytes_AS_STRING(record)
    memcpy(out, &header, sizeof(RecordHeader))
    out += sizeof(RecordHeader)
    if has_levels(header.kind):
        depth.first_id = message.depth.first_id
        depth.final_id = message.depth.final_id
        depth.previous_id = message.depth.previous_id
        depth.venue_ns = message.depth.venue_ns
        depth.n_bids = message.depth.n_bids
        depth.n_asks = message.depth.n_asks
        depth.floored = message.depth.floored
        depth.padding = 0
        memcpy(out, &depth, sizeof(DepthHeader))
        out += sizeof(DepthHeader)
        memcpy(out, message.depth.bids, n_bids * sizeof(Level))
        memcpy(out + n_bids * sizeof(Level), message.depth.asks, n_asks * sizeof(Level))
    elif header.kind == MESSAGE_TRADE:
        memcpy(out, &message.trade, sizeof(Trade))
    elif header.kind == MESSAGE_TICKER:
        memcpy(out, &message.ticker, sizeof(BookTicker))
    elif header.kind == MESSAGE_KLINE:
        memcpy(out, &message.kline, sizeof(Kline))
    elif header.kind == MESSAGE_MARK:
        memcpy(out, &message.mark, sizeof(MarkPrice))
    elif header.kind == MESSAGE_FORCE:
        memcpy(out, &message.force, sizeof(ForceOrder))
    elif header.kind == MESSAGE_DAY:
        memcpy(out, &message.day, sizeof(DayTicker))
    return record


def record_sizes() -> dict:
    """Return the sizes in bytes of what a record is made of: the layout that a file's version stands for."""
    return {
        "header": sizeof(RecordHeader), "depth": sizeof(DepthHeader), "level": sizeof(Level), "trade": sizeof(Trade),
        "ticker": sizeof(BookTicker), "kline": sizeof(Kline), "mark": sizeof(MarkPrice), "force": sizeof(ForceOrder),
        "day": sizeof(DayTicker),
    }


def first_record(data: bytes) -> tuple:
    """Read the first record: (size, recv_ns, kind, status); size 0 if it is not whole or not sound."""
    cdef RecordHeader header
    cdef Message message
    memset(&header, 0, sizeof(header))
    cdef int64_t size = read_record(PyBytes_AS_STRING(data), len(data), &header, &message)
    return size, header.recv_ns, header.kind, header.status
