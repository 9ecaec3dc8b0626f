"""The vocabulary of events: enums, and the NumPy dtype of the bytes that native code writes."""

import numpy


cdef extern from *:
    """
    static inline unsigned long long remora_low64(remora_int128 value) {
        return (unsigned long long)value;
    }
    static inline long long remora_high64(remora_int128 value) {
        return (long long)(value >> 64);
    }
    """
    uint64_t remora_low64(int128_t value) noexcept nogil
    int64_t remora_high64(int128_t value) noexcept nogil


FLOW_EVENT = numpy.dtype([
    ("sequence", "<i8"), ("kind", "<i4"), ("side", "<i4"), ("instrument", "<i4"),
    ("instrument_epoch", "<i4"), ("book_epoch", "<i4"), ("is_valid", "<i4"), ("update_id", "<i8"),
    ("trade_id", "<i8"), ("venue_ns", "<i8"), ("recv_ns", "<i8"), ("decide_ns", "<i8"), ("episode", "<i8"),
    ("best_bid", "<i8"), ("best_ask", "<i8"), ("first_price", "<i8"), ("last_price", "<i8"),
    ("quantity", "<f8"), ("notional", "<f8"), ("threshold", "<f8"), ("depth_median", "<f8"),
    ("flow_quantile", "<f8"), ("rho", "<f8"), ("rho_pre", "<f8"), ("rho_post", "<f8"),
    ("rho_post_min", "<f8"), ("pulled_share", "<f8"), ("n_trades", "<i4"), ("n_prices", "<i4"),
    ("n_updates", "<i4"), ("reason", "<i4"),
])


cdef object int128_to_object(int128_t value):
    return (<object>remora_high64(value) << 64) | <object>remora_low64(value)


def sizeof_flow_event() -> int:
    """Return the size of the C struct FlowEvent in bytes; the dtype must have the same."""
    return sizeof(FlowEvent)
