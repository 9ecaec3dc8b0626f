"""Volume at price: point of control, value area and high-volume nodes of a session or of a rolling window."""

cimport cython
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from typing import NamedTuple

from native.events cimport int128_t, int128_to_object


cdef enum:
    MILLION = 1_000_000
    MAX_ROWS = 1 << 20
    MAX_CELLS = 1 << 24
    NODE_REACH = 5

cdef int64_t DAY_NS = 86_400_000_000_000
# One basis point, read to a millionth, is a whole number of these parts of a price.
cdef int64_t TEN_BILLION = 10_000_000_000


class ValueArea(NamedTuple):
    """Levels of a profile at one moment; rows are ``price // row_units``, volume is in quantity units."""

    is_ready: bool
    poc_row: int
    vah_row: int
    val_row: int
    row_units: int
    first_ns: int
    last_ns: int
    total: int


@cython.final
cdef class Profile:
    """Volume at price of one instrument, over a session or a rolling window, in constant memory.

    Parameters
    ----------
    tick : int
        Tick size in price units, >= 1.
    window_ns : int
        Length of the rolling window; 0 = nothing is evicted (a session profile, begun anew by `reset`).
    ready_ns : int
        Age in corridor time from which the levels are ready.
    bucket_ns : int
        A rolling window forgets in steps of this length, whole buckets at a time; at most one day.
    row_bps : float
        Row height in basis points of the first price, rounded down to whole ticks, at least one tick. Read to
        a millionth of a basis point, in (0, 10000].
    rows : int
        Rows of the array, 16 to 2**20, centred on the first price: 16,384 rows of 1 bps reach from 18 % to
        182 % of it. A trade outside them is counted in `outside_trades` and does not teach.
    cells : int
        Capacity in pairs of bucket and row of a rolling window, `rows` to 2**24, 32 bytes each. When it is
        full the oldest bucket goes before its time, counted in `early_evictions`. Unused by a session
        profile.
    value_area : float
        Share of the volume in the value area, read to a millionth, strictly between 0 and 1.
    two_row : bool
        Walk of the value area: False adds one row at a time, True compares and adds pairs of rows.

    Raises
    ------
    ValueError
        If a parameter is outside its bounds.

    Notes
    -----
    * The row height is chosen at the first trade after construction or `reset` and then stays.
    * The *point of control* is the row with the most volume; of equals the one nearest the middle between the
      lowest and the highest occupied row, of two equally near the lower.
    * The *value area* starts at the point of control. While it holds no more than the wanted share, the
      larger of the two neighbouring rows joins, of equals the upper; empty rows between occupied ones are
      rows like others. With `two_row` the sums of the next two rows on each side are compared and both rows
      of the larger join; an edge may then lie on an empty row.
    * Shares are compared in whole numbers: ``held x 1_000_000 <= total x share_in_millionths``.
    * The age counts from the first trade after construction or `reset`; the eviction of that trade does not
      change it, but a window that eviction has emptied starts its age anew: one trade after hours of
      silence is no profile.
    * Time never runs back: an earlier time than the latest one seen is read as the latest.
    * A trade whose price or quantity is not positive counts as outside.
    * Blind to: who traded and why, the order of prices within a bucket, and everything before the first
      trade.

    Cost: a trade is O(1) plus the cells it evicts, each of which is evicted once; levels are O(occupied
    span of rows) when something changed since the last call and O(1) otherwise. No allocation after
    construction.

    Source: the value area of the CBOT Market Profile (J. P. Steidlmayer); the single-row walk is common in
    charting.
    """

    def __cinit__(
        self,
        *,
        int64_t tick,
        int64_t window_ns,
        int64_t ready_ns,
        int64_t bucket_ns=60_000_000_000,
        double row_bps=1.0,
        int64_t rows=16_384,
        int64_t cells=131_072,
        double value_area=0.70,
        bint two_row=False,
    ):
        if tick < 1:
            raise ValueError(f"tick must be at least 1 price unit, found {tick}")
        if bucket_ns < 1 or bucket_ns > DAY_NS:
            raise ValueError(f"bucket_ns must be 1 to {DAY_NS}, found {bucket_ns}")
        if window_ns != 0 and window_ns < bucket_ns:
            raise ValueError(f"window_ns must be 0 or at least bucket_ns ({bucket_ns}), found {window_ns}")
        if ready_ns < 0:
            raise ValueError(f"ready_ns must not be negative, found {ready_ns}")
        if not 1e-6 <= row_bps <= 10_000.0:
            raise ValueError(f"row_bps must be 0.000001 to 10000, found {row_bps}")
        if rows < 16 or rows > MAX_ROWS:
            raise ValueError(f"rows must be 16 to {MAX_ROWS}, found {rows}")
        # A bucket has at most one cell a row: with this bound a full ring always holds an older bucket.
        if window_ns != 0 and (cells < rows or cells > MAX_CELLS):
            raise ValueError(f"cells must be rows ({rows}) to {MAX_CELLS}, found {cells}")
        if not 1e-6 <= value_area <= 1.0 - 1e-6:
            raise ValueError(f"value_area must lie strictly between 0 and 1, found {value_area}")
        self.tick = tick
        self.window_ns = window_ns
        self.ready_ns = ready_ns
        self.bucket_ns = bucket_ns
        self.row_share = round(row_bps * 1e6)
        self.area_share = round(value_area * 1e6)
        self.is_two_row = two_row
        self.n_rows = rows
        self.volumes = <int128_t*>calloc(rows, sizeof(int128_t))
        if self.volumes == NULL:
            raise MemoryError
        if window_ns != 0:
            self.cell_capacity = cells
            self.cells = <ProfileCell*>calloc(cells, sizeof(ProfileCell))
            self.cell_of_row = <int32_t*>malloc(rows * sizeof(int32_t))
            if self.cells == NULL or self.cell_of_row == NULL:
                raise MemoryError
        self.reset()

    def __dealloc__(self):
        free(self.volumes)
        free(self.cells)
        free(self.cell_of_row)

    cdef void apply_trade(self, int64_t price, int64_t quantity, int64_t now_ns) noexcept nogil:
        cdef int64_t index
        self.advance(now_ns)
        if price <= 0 or quantity <= 0:
            self.outside += 1
            return
        if self.units == 0:
            self.place(price)
        index = price // self.units - self.base_row
        if index < 0 or index >= self.n_rows:
            self.outside += 1
            return
        if self.window_ns != 0:
            self.keep_cell(index, quantity)
        if self.total == 0:
            self.first_ns = self.now
            self.low = index
            self.high = index
        elif index < self.low:
            self.low = index
        elif index > self.high:
            self.high = index
        self.volumes[index] += quantity
        self.total += quantity
        self.last_ns = self.now
        self.taught += 1
        self.is_dirty = 1

    cdef void apply_late(self, int64_t price, int64_t quantity, int64_t at_ns) noexcept nogil:
        # A trade that was missing, as if it had come at `at_ns`; a window that has forgotten that time is not told.
        cdef int64_t index
        if at_ns >= self.now or self.units == 0:
            self.apply_trade(price, quantity, at_ns)
            return
        index = price // self.units - self.base_row
        if price <= 0 or quantity <= 0 or index < 0 or index >= self.n_rows:
            self.outside += 1
            return
        self.taught += 1
        if self.window_ns != 0 and not self.keep_late_cell(index, quantity, at_ns):
            return
        if self.total == 0:
            self.first_ns = at_ns
            self.low = index
            self.high = index
        else:
            self.first_ns = min(self.first_ns, at_ns)
            self.low = min(self.low, index)
            self.high = max(self.high, index)
        self.volumes[index] += quantity
        self.total += quantity
        self.last_ns = max(self.last_ns, at_ns)
        self.is_dirty = 1

    cdef bint keep_late_cell(self, int64_t index, int64_t quantity, int64_t at_ns) noexcept nogil:
        # Cells are in the order of their buckets: the newer ones make room. False: the time is out of the window.
        cdef int64_t bucket = at_ns // self.bucket_ns
        cdef int64_t n, position, previous
        cdef bint is_newest = True
        if (bucket + 1) * self.bucket_ns <= self.now - self.window_ns:
            return False
        n = self.n_cells
        while n > 0:
            position = (self.oldest_cell + n - 1) % self.cell_capacity
            if self.cells[position].bucket < bucket:
                break
            if self.cells[position].index == index:
                if self.cells[position].bucket == bucket:
                    self.cells[position].volume += quantity
                    return True
                is_newest = False
            n -= 1
        if self.n_cells == self.cell_capacity:
            self.evicted_early += 1
            if self.cells[self.oldest_cell].bucket >= bucket:
                return False
            self.evict_oldest()
            n -= self.cell_capacity - self.n_cells
        # `n` cells are older than the bucket; behind them those of the bucket, then the newer ones.
        while n < self.n_cells and self.cells[(self.oldest_cell + n) % self.cell_capacity].bucket == bucket:
            n += 1
        position = (self.oldest_cell + self.n_cells) % self.cell_capacity
        while position != (self.oldest_cell + n) % self.cell_capacity:
            previous = (position + self.cell_capacity - 1) % self.cell_capacity
            self.cells[position] = self.cells[previous]
            if self.cell_of_row[self.cells[position].index] == previous:
                self.cell_of_row[self.cells[position].index] = <int32_t>position
            position = previous
        self.cells[position].volume = quantity
        self.cells[position].bucket = bucket
        self.cells[position].index = index
        if is_newest:
            self.cell_of_row[index] = <int32_t>position
        self.n_cells += 1
        return True

    cdef void advance(self, int64_t now_ns) noexcept nogil:
        if now_ns > self.now:
            self.now = now_ns
        while self.n_cells != 0:
            if (self.cells[self.oldest_cell].bucket + 1) * self.bucket_ns > self.now - self.window_ns:
                return
            self.evict_oldest()

    cdef int levels(self, ProfileLevels* out, int64_t now_ns) noexcept nogil:
        self.advance(now_ns)
        if self.is_dirty:
            self.refresh()
        out.poc_row = self.base_row + self.poc
        out.vah_row = self.base_row + self.vah
        out.val_row = self.base_row + self.val
        out.row_units = self.units
        out.first_ns = self.first_ns
        out.last_ns = self.last_ns
        out.total = self.total
        out.is_ready = self.total != 0 and self.now - self.first_ns >= self.ready_ns
        return out.is_ready

    cdef int nodes(self, int64_t* out_rows, int capacity, double share) noexcept nogil:
        cdef:
            int64_t index, near, near_low, near_high
            int64_t share_millionths
            int128_t floor_volume, volume
            int n = 0
        if self.is_dirty:
            self.refresh()
        if self.total == 0:
            return 0
        # The negated comparison also sends NaN here.
        if not share > 0.0:
            share_millionths = 0
        elif share >= 1.0:
            share_millionths = MILLION
        else:
            share_millionths = <int64_t>(share * 1e6 + 0.5)
        floor_volume = self.volumes[self.poc] * share_millionths
        for index in range(self.low, self.high + 1):
            volume = self.volumes[index]
            if volume == 0 or index == self.poc or volume * MILLION < floor_volume:
                continue
            near_low = index - NODE_REACH if index - NODE_REACH > self.low else self.low
            near_high = index + NODE_REACH if index + NODE_REACH < self.high else self.high
            for near in range(near_low, near_high + 1):
                if self.volumes[near] > volume:
                    break
            else:
                if n < capacity:
                    out_rows[n] = self.base_row + index
                    n += 1
                else:
                    self.nodes_left_out += 1
        return n

    cdef void reset(self) noexcept nogil:
        memset(self.volumes, 0, self.n_rows * sizeof(int128_t))
        if self.cell_of_row != NULL:
            memset(self.cell_of_row, 0xFF, self.n_rows * sizeof(int32_t))
        self.oldest_cell = 0
        self.n_cells = 0
        self.units = 0
        self.base_row = 0
        self.low = 0
        self.high = -1
        self.total = 0
        self.first_ns = 0
        self.last_ns = 0
        self.taught = 0
        self.poc = 0
        self.vah = 0
        self.val = 0
        self.is_dirty = 0

    cdef void place(self, int64_t price) noexcept nogil:
        # In whole numbers: as doubles, 0.7 bps of 2,700,000 falls just below its 189.
        cdef int64_t ticks = <int64_t>(
            <int128_t>price * self.row_share // (<int128_t>self.tick * TEN_BILLION)
        )
        self.units = (ticks if ticks > 1 else 1) * self.tick
        self.base_row = price // self.units - self.n_rows // 2

    cdef void keep_cell(self, int64_t index, int64_t quantity) noexcept nogil:
        cdef int64_t position = self.cell_of_row[index]
        if self.now >= self.bucket_end_ns:
            self.bucket = self.now // self.bucket_ns
            self.bucket_end_ns = (self.bucket + 1) * self.bucket_ns
        # A cell evicted since belongs to an older bucket, a cell taken over to another bucket or row.
        if (
            position >= 0
            and self.cells[position].bucket == self.bucket
            and self.cells[position].index == index
        ):
            self.cells[position].volume += quantity
            return
        if self.n_cells == self.cell_capacity:
            self.evicted_early += 1
            self.evict_oldest()
        position = self.oldest_cell + self.n_cells
        if position >= self.cell_capacity:
            position -= self.cell_capacity
        self.cells[position].volume = quantity
        self.cells[position].bucket = self.bucket
        self.cells[position].index = index
        self.cell_of_row[index] = <int32_t>position
        self.n_cells += 1

    cdef void evict_oldest(self) noexcept nogil:
        cdef int64_t bucket = self.cells[self.oldest_cell].bucket
        cdef ProfileCell* cell
        while self.n_cells != 0:
            cell = &self.cells[self.oldest_cell]
            if cell.bucket != bucket:
                break
            self.volumes[cell.index] -= cell.volume
            self.total -= cell.volume
            assert self.volumes[cell.index] >= 0
            self.oldest_cell += 1
            if self.oldest_cell == self.cell_capacity:
                self.oldest_cell = 0
            self.n_cells -= 1
        if self.total == 0:
            self.first_ns = 0
        self.is_dirty = 1

    cdef void refresh(self) noexcept nogil:
        cdef:
            int64_t index, poc, distance, nearest, middle
            int128_t volume, most
        self.is_dirty = 0
        if self.total == 0:
            self.low = 0
            self.high = -1
            self.poc = 0
            self.vah = 0
            self.val = 0
            return
        while self.volumes[self.low] == 0:
            self.low += 1
        while self.volumes[self.high] == 0:
            self.high -= 1
        # Twice the middle, so that it is whole.
        middle = self.low + self.high
        poc = self.low
        most = 0
        nearest = 0
        for index in range(self.low, self.high + 1):
            volume = self.volumes[index]
            if volume < most:
                continue
            distance = 2 * index - middle
            if distance < 0:
                distance = -distance
            if volume > most or distance < nearest:
                most = volume
                poc = index
                nearest = distance
        self.poc = poc
        self.walk_area(poc)

    cdef void walk_area(self, int64_t poc) noexcept nogil:
        cdef:
            int64_t step = 2 if self.is_two_row else 1
            int64_t top = poc
            int64_t bottom = poc
            int64_t n_up, n_down
            int128_t up, down
            int128_t held = self.volumes[poc]
            int128_t wanted = self.total * self.area_share
        # The share is below 1, so a side with rows is left as long as the walk goes on.
        while held * MILLION <= wanted:
            n_up = self.high - top if self.high - top < step else step
            n_down = bottom - self.low if bottom - self.low < step else step
            assert n_up + n_down > 0
            up = 0
            down = 0
            if n_up > 0:
                up = self.volumes[top + 1]
            if n_up > 1:
                up += self.volumes[top + 2]
            if n_down > 0:
                down = self.volumes[bottom - 1]
            if n_down > 1:
                down += self.volumes[bottom - 2]
            if n_up == 0 or (n_down != 0 and down > up):
                bottom -= n_down
                held += down
            else:
                top += n_up
                held += up
        self.vah = top
        self.val = bottom

    def apply(self, int64_t price, int64_t quantity, int64_t now_ns) -> None:
        """Take in one trade: price units, quantity units, corridor time."""
        self.apply_trade(price, quantity, now_ns)

    def advance_to(self, int64_t now_ns) -> None:
        """Let time pass: buckets that end at or before ``now_ns - window_ns`` are forgotten."""
        self.advance(now_ns)

    def clear(self) -> None:
        """Forget all volume and the row height; the counts of what was left out or given up run on."""
        self.reset()

    def value_area(self, int64_t now_ns) -> ValueArea | None:
        """Return the levels at corridor time `now_ns`, or None if the profile holds no volume."""
        cdef ProfileLevels out
        self.levels(&out, now_ns)
        if out.total == 0:
            return None
        return ValueArea(
            bool(out.is_ready),
            out.poc_row,
            out.vah_row,
            out.val_row,
            out.row_units,
            out.first_ns,
            out.last_ns,
            int128_to_object(out.total),
        )

    def high_volume_nodes(self, double share=0.70, int capacity=64) -> list[int]:
        """Return the rows that none within 5 exceeds and that hold `share` of the POC's volume; POC excluded.

        Ascending. Rows beyond `capacity` (1 to 64), the highest, are left out and counted in `dropped_nodes`.
        """
        cdef int64_t[64] rows
        cdef int n, i
        if capacity < 1 or capacity > 64:
            raise ValueError(f"capacity must be 1 to 64, found {capacity}")
        n = self.nodes(rows, capacity, share)
        return [rows[i] for i in range(n)]

    def snapshot(self) -> tuple[int, list[int]]:
        """Return the lowest occupied row and the volumes from there to the highest; ``(0, [])`` if empty."""
        cdef int64_t index
        if self.is_dirty:
            self.refresh()
        if self.total == 0:
            return 0, []
        return self.base_row + self.low, [
            int128_to_object(self.volumes[index]) for index in range(self.low, self.high + 1)
        ]

    @property
    def row_units(self) -> int:
        """Price units per row; 0 before the first trade."""
        return self.units

    @property
    def n_trades(self) -> int:
        """Trades taken in since construction or the last reset, evicted ones included."""
        return self.taught

    @property
    def outside_trades(self) -> int:
        """Trades left out since construction: outside the rows, or price or quantity not positive."""
        return self.outside

    @property
    def early_evictions(self) -> int:
        """Buckets given up before their time since construction, for want of cells."""
        return self.evicted_early

    @property
    def dropped_nodes(self) -> int:
        """High-volume nodes left out since construction, for want of capacity in the answer."""
        return self.nodes_left_out
