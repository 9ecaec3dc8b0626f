"""Contents page of the gate: the last limits that every order passes before it is sent."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.events cimport int128_t


cpdef enum GateReason:
    """Why an order is not let through; in the order of the checks, 0 is fine."""
    GATE_FINE = 0
    GATE_HALTED = 1
    GATE_REDUCING = 2
    GATE_BOOK_INVALID = 3       # not LIVE, one-sided or crossed
    GATE_OLD_EPOCH = 4          # the numbers are in units of another epoch
    GATE_BAD_QUANTITY = 5       # not positive, off the step, or 2^62 and more
    GATE_BAD_PRICE = 6          # not positive, off the tick, or 2^62 and more; a market order with a price
    GATE_PRICE_BAND = 7
    GATE_TOO_SMALL = 8          # below the venue's least notional
    GATE_ORDER_NOTIONAL = 9
    GATE_POSITION_NOTIONAL = 10   # worst side of the instrument
    GATE_GROSS_NOTIONAL = 11    # worst sides of all instruments
    GATE_ORDER_RATE = 12
    GATE_OVER_REDUCE = 13       # not opposite to the position, or more than it minus the reducing leaves


cdef struct GateInstrument:
    int64_t epoch             # 0: not set yet
    int64_t tick              # price units
    int64_t step              # quantity units
    int64_t min_notional      # 10^-8 quote, as the next two
    int64_t max_order
    int64_t max_position
    int64_t band              # 10^-8 of mid
    int64_t position          # quantity units, signed
    int64_t entering[2]       # leaves that may enlarge the position: sells, buys
    int64_t reducing[2]
    int64_t mark              # price units; 0: none yet
    int128_t scale            # 10^|shift|
    int128_t exposure         # worst side at the mark, 10^-8 quote
    int32_t shift             # money = price x quantity x 10^shift
    int32_t price_digits
    int32_t quantity_digits
    int32_t is_futures


@final
cdef class Gate:
    cdef readonly int32_t instruments
    cdef readonly int32_t wanted          # Wanted of native.control
    cdef int32_t _max_rate
    cdef int64_t _max_gross
    cdef int128_t _gross                  # sum of the exposures
    cdef int64_t _n_noted
    cdef int64_t* _noted                  # ring of the newest `_max_rate` times
    cdef GateInstrument* _instruments

    # hot
    cdef int judge(self, int32_t index, int64_t epoch, int32_t side, int32_t kind, int64_t price, int64_t quantity,
                   bint is_reducing, int64_t now_ns, int64_t best_bid, int64_t best_ask,
                   bint is_valid) noexcept nogil
    cdef int judge_reducing(self, const GateInstrument* one, int32_t side, int32_t kind, int64_t price,
                            int64_t quantity, int64_t best_bid, int64_t best_ask, bint is_valid) noexcept nogil
    cdef void count_order(self, int64_t now_ns) noexcept nogil
    cdef void revalue(self, GateInstrument* one) noexcept nogil
    # cold
    cdef GateInstrument* at(self, int32_t index) except NULL
    cdef int change_leaves(self, int32_t index, int32_t side, int64_t quantity, bint is_reducing,
                           int sign) except -1
