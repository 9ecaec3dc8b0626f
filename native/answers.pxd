"""Contents page of answers: REST answers of trades and candles as whole numbers; all or nothing."""

from libc.stdint cimport int64_t

# cold
cdef list rows_of(bytes body, str what)
cdef int64_t whole_of(object value, int64_t high, str what) except -1
cdef int64_t units_of(object value, int digits, bint may_be_finer, str what) except -1
cdef int64_t signed_units_of(object value, int digits, str what) except? -1
cdef int64_t nanoseconds_of(object value, str what) except -1
cdef dict object_of(bytes body, str what)
cdef list past_trades_of(bytes body, int price_digits, int quantity_digits)
