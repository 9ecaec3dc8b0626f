"""Contents page of volume at price: rows of equal height, point of control, value area, volume nodes.

A row is a whole number: price // row_units. Row r covers the prices [r x row_units, (r + 1) x row_units).
"""

cimport cython
from libc.stdint cimport int32_t, int64_t

from native.events cimport int128_t


cdef struct ProfileLevels:
    int32_t is_ready          # 1: old enough to be used; the other fields are filled either way
    int64_t poc_row           # point of control: the row with the most volume
    int64_t vah_row           # highest row of the value area
    int64_t val_row           # lowest row of the value area
    int64_t row_units         # price units per row; 0 before the first trade
    int64_t first_ns          # corridor time of the trade the age counts from; 0 = none
    int64_t last_ns           # corridor time of the last trade taken in; 0 = none
    int128_t total            # quantity units; 0 = nothing in the profile, the rows mean nothing


cdef struct ProfileCell:
    int128_t volume           # quantity units
    int64_t bucket            # now_ns // bucket_ns
    int64_t index             # place of the row in the array


@cython.final
cdef class Profile:
    """Volume at price of one instrument, over a session or a rolling window, in constant memory."""

    cdef:
        int64_t tick
        int64_t window_ns
        int64_t ready_ns
        int64_t bucket_ns
        int64_t row_share         # row height in 1e-10 of the price
        int64_t area_share        # value area in millionths of the volume
        int32_t is_two_row
        int64_t n_rows
        int64_t cell_capacity

        int128_t* volumes         # [n_rows] quantity units
        ProfileCell* cells        # [cell_capacity] ring in bucket order; NULL for a session profile
        int32_t* cell_of_row      # [n_rows] the row's newest cell, -1 = none; the cell must agree
        int64_t oldest_cell       # ring position of the oldest cell
        int64_t n_cells

        int64_t units             # price units per row; 0 = not chosen yet
        int64_t base_row          # row of volumes[0]
        int64_t low               # no volume below this place ...
        int64_t high              # ... nor above this one; low > high = empty
        int128_t total
        int64_t now
        int64_t bucket
        int64_t bucket_end_ns
        int64_t first_ns
        int64_t last_ns
        int64_t taught
        int64_t outside
        int64_t evicted_early
        int64_t nodes_left_out
        int32_t is_dirty
        int64_t poc
        int64_t vah
        int64_t val

    # hot
    cdef void apply_trade(self, int64_t price, int64_t quantity, int64_t now_ns) noexcept nogil
    cdef void apply_late(self, int64_t price, int64_t quantity, int64_t at_ns) noexcept nogil
    cdef bint keep_late_cell(self, int64_t index, int64_t quantity, int64_t at_ns) noexcept nogil
    cdef void advance(self, int64_t now_ns) noexcept nogil
    cdef int levels(self, ProfileLevels* out, int64_t now_ns) noexcept nogil
    cdef int nodes(self, int64_t* out_rows, int capacity, double share) noexcept nogil
    cdef void reset(self) noexcept nogil
    cdef void place(self, int64_t price) noexcept nogil
    cdef void keep_cell(self, int64_t index, int64_t quantity) noexcept nogil
    cdef void evict_oldest(self) noexcept nogil
    cdef void refresh(self) noexcept nogil
    cdef void walk_area(self, int64_t poc) noexcept nogil
