"""Recorded sessions in their compiled form: a frame becomes a record once, then runs through the market many times.

A run makes the same calls in the same order as the frames would: timers before each read, every record of the read, one
mask at its end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset

from native.clock cimport monotonic_ns
from native.eventfile cimport RecordHeader, encode_record, read_record
from native.events cimport PARSE_FOREIGN, Message


cdef uint32_t run_reads(Market market, const char* data, int64_t* at, int64_t end) noexcept nogil:
    # Reads (records of equal receive time) up to the first mask; a broken record at n gives at = -n - 1.
    cdef RecordHeader header
    cdef Message message
    cdef int64_t size, recv_ns, begin
    cdef uint32_t mask = 0
    memset(&header, 0, sizeof(header))
    while at[0] < end:
        size = read_record(data + at[0], end - at[0], &header, &message)
        if size == 0:
            at[0] = -at[0] - 1
            return 0
        recv_ns = header.recv_ns
        mask = market.run_timers(recv_ns)
        if mask:
            return mask
        while True:
            begin = monotonic_ns()
            mask |= market.apply_message(&message, recv_ns)
            market.latency.record(message.kind, monotonic_ns() - begin)
            at[0] += size
            if at[0] >= end:
                break
            size = read_record(data + at[0], end - at[0], &header, &message)
            if size == 0:
                at[0] = -at[0] - 1
                return 0
            if header.recv_ns != recv_ns:
                break
        # A run without masks must not outrun the log of best prices: the caller takes it and comes back.
        if mask or market.bbo.is_half_full():
            return mask
    return mask


def encode_frame(market: Market, frame: bytes, recv_ns: int) -> bytes:
    """Return the event-file record of a stream frame; the market does not take it. Another symbol's frame: empty."""
    market._wire.parse(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
    if market._wire.message.status == PARSE_FOREIGN:
        return b""
    return encode_record(&market._wire.message, recv_ns)


def encode_snapshot(market: Market, body: bytes, recv_ns: int) -> bytes:
    """Return the event-file record of a REST depth answer; otherwise as `encode_frame`."""
    market._wire.parse_snapshot(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
    if market._wire.message.status == PARSE_FOREIGN:
        return b""
    return encode_record(&market._wire.message, recv_ns)


def run_events(market: Market, buffer: object, offset: int, end: int) -> tuple:
    """Run records of an event file from `offset` until there is something to decide.

    Parameters
    ----------
    market : Market
        Takes the messages.
    buffer : buffer of bytes
        The mapped file; it must outlive the call.
    offset, end : int
        Where the next read begins, and where the records end.

    Returns
    -------
    tuple of (int, int)
        Offset of the next read and the mask: of the timers before that read, or of the whole read before it. Mask 0
        with the offset at `end`: all was run; before it: the log of best prices is half full and wants to be taken.

    Raises
    ------
    ValueError
        If a record is not whole or not sound.
    """
    cdef const unsigned char[::1] view = buffer
    cdef int64_t at = offset, last = end
    cdef uint32_t mask
    if not 0 <= at <= last <= view.shape[0]:
        raise ValueError(f"0 <= offset <= end <= {view.shape[0]} is needed, found {offset}, {end}")
    if at == last:
        return at, 0
    mask = run_reads(market, <const char*>&view[0], &at, last)
    if at < 0:
        raise ValueError(f"the record at {-at - 1} is not whole or not sound")
    return at, mask
