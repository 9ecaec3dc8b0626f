"""Contents page of event files: one Message <-> one record of bytes that can be mapped and read in place."""

from libc.stdint cimport int32_t, int64_t

from native.events cimport BookTicker, DayTicker, DepthUpdate, ForceOrder, Kline, Level, MarkPrice, Message, Trade


cdef struct RecordHeader:
    int64_t recv_ns
    int32_t kind              # MessageKind
    int32_t status            # ParseStatus: a frame that could not be read is a record as well
    int64_t size              # of the whole record, a multiple of 8


cdef struct DepthHeader:
    int64_t first_id
    int64_t final_id
    int64_t previous_id
    int64_t venue_ns
    int32_t n_bids
    int32_t n_asks
    int32_t floored
    int32_t padding


# hot
cdef int64_t read_record(const char* at, int64_t left, RecordHeader* header, Message* out) noexcept nogil
# cold
cdef bytes encode_record(const Message* message, int64_t recv_ns)
