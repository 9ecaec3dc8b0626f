"""Contents page of imbalance: the entry band, depth imbalance over time and around a sweep, order flow."""

from cython cimport final
from libc.stdint cimport int32_t, int64_t

from native.book cimport Book
from native.events cimport int128_t
from native.pulled cimport Pulled


cdef enum:
    HISTORY = 2048            # depth updates whose imbalance is kept
    MEDIAN_SAMPLES = 300      # one a second: five minutes
    MEDIAN_READY = 30


cdef struct RollingMedian:
    double ring[MEDIAN_SAMPLES]
    double ordered[MEDIAN_SAMPLES]
    int32_t n
    int32_t oldest


cdef struct WindowRho:
    double mean               # time-weighted; NaN: not known over the whole window
    double lowest             # of side x rho over the updates inside; NaN or +inf: none
    int32_t n_updates


cdef struct Confirmation:
    int32_t reason            # EntryReason
    int32_t n_updates
    double rho_pre
    double rho_post
    double rho_post_min
    double pulled_share


@final
cdef class Imbalance:
    cdef Book _book
    cdef double _rho_pre_min
    cdef double _pulled_max
    cdef int64_t _rho_pre_ns
    cdef int64_t rho_post_ns
    cdef int32_t _min_updates
    cdef double _band_min_bps
    cdef double _spread_multiple
    cdef int64_t _band_min_units
    cdef double _rho_enter
    cdef double _rho_floor
    cdef int64_t _hold_ns
    cdef int64_t _pulled_window_ns
    cdef bint _is_loaded
    cdef int64_t _loaded_ns           # since when every change inside the band is known
    cdef int64_t _dropped_seen
    cdef int64_t low_bid              # the band, price units, both ends inside
    cdef int64_t high_ask
    cdef int128_t bid_sum             # quantity units inside the band
    cdef int128_t ask_sum
    cdef readonly double rho          # NaN: one side is empty
    cdef RollingMedian _spreads       # price units
    cdef RollingMedian _depths        # quantity units x price units, mean of both sides
    cdef int64_t _times[HISTORY]
    cdef double _rhos[HISTORY]
    cdef int64_t _n_history
    cdef Pulled _pulled               # told of changes inside the band only
    cdef int32_t heavy_side           # candidate side of the imbalance signal; 0 = none
    cdef bint is_on                   # and it has held long enough
    cdef int64_t hold_due_ns          # when it will have; INT64_MAX = no timer
    cdef int64_t _previous_bid
    cdef int64_t _previous_bid_quantity
    cdef int64_t _previous_ask
    cdef int64_t _previous_ask_quantity
    cdef bint _has_previous
    cdef int128_t ofi_total           # quantity units since the last reset
    cdef readonly double ofi          # decayed, time constant 1 s
    cdef int64_t _ofi_ns
    cdef readonly int64_t beyond_horizon  # updates whose band reached behind what the book knows

    # hot
    cdef void on_level(self, int side, int64_t price, int64_t change, int64_t now_ns) noexcept nogil
    cdef void on_trade(self, int aggressor, int64_t price, int64_t quantity, int64_t now_ns) noexcept nogil
    cdef int settle(self, int64_t now_ns) noexcept nogil
    cdef void window(self, int side, int64_t begin_ns, int64_t end_ns, WindowRho* out) noexcept nogil
    cdef double pulled_share(self, int side, int64_t now_ns) noexcept nogil
    cdef void confirm(
        self, int side, int64_t first_ns, int64_t end_ns, int64_t now_ns, Confirmation* out
    ) noexcept nogil
    cdef void sample(self) noexcept nogil
    cdef double median_spread(self) noexcept nogil
    cdef double median_depth(self) noexcept nogil
    cdef void hold(self) noexcept nogil
    cdef void resum(self) noexcept nogil
    cdef void reset(self) noexcept nogil
    cdef void _move_band(self, int64_t now_ns) noexcept nogil
    cdef void _order_flow(self, int64_t now_ns) noexcept nogil
