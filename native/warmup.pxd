"""Contents page of the warm-up: one aggregate trade of the past into what a market learns from trades."""

from libc.stdint cimport int64_t

from native.events cimport Trade
from native.market cimport Market

# hot
cdef void close_sweep(Market market, int64_t now_ns) noexcept nogil
cdef void learn_trade(Market market, Trade* trade, int64_t now_ns) noexcept nogil
