"""The volume profiles of one instrument: rolling, of the UTC session, and the final one of the session before.

A session starts at 00:00 UTC of venue time. A young session is not ready; the previous final profile and the rolling
one serve until it is.
"""

from typing import NamedTuple

from cython cimport final

from native.alignment import SOURCES


cdef int64_t DAY_NS = 86400000000000


class ProfileState(NamedTuple):
    """One volume profile in quote prices: POC is the middle of its row, VAH and VAL are outer edges."""

    source: str
    is_ready: bool
    poc: float
    vah: float
    val: float
    nodes: tuple
    is_poc_naked: bool
    last_inside_ns: int
    age_ns: int


cdef inline bint is_inside(const ProfileLevels* levels, int64_t mid_x2) noexcept nogil:
    return (levels.total > 0 and 2 * levels.val_row * levels.row_units <= mid_x2
            and mid_x2 <= 2 * (levels.vah_row + 1) * levels.row_units)


@final
cdef class Areas:
    """Value areas of one instrument.

    Parameters
    ----------
    tick : int
        Price units per tick.
    price_scale : float
        Quote per price unit.
    window_ns, rolling_ready_ns, session_ready_ns : int
        Window of the rolling profile, and the ages at which the two become ready.
    has_session : bool
        Keep a session profile as well.
    node_share : float
        A high-volume node holds at least this share of the POC row's volume.
    row_bps, value_area, two_row
        As in `native.profile.Profile`.

    Notes
    -----
    Cost: constant per trade; once a second O(occupied rows).
    """

    def __cinit__(
        self, *, tick: int, price_scale: float, window_ns: int, rolling_ready_ns: int, session_ready_ns: int,
        has_session: bool, node_share: float, row_bps: float, value_area: float, two_row: bool,
    ):
        if not 0.0 < node_share <= 1.0:
            raise ValueError(f"node_share must be above 0 and at most 1, found {node_share}")
        self.rolling = Profile(
            tick=tick, window_ns=window_ns, ready_ns=rolling_ready_ns, row_bps=row_bps, value_area=value_area,
            two_row=two_row,
        )
        self.session = Profile(
            tick=tick, window_ns=0, ready_ns=session_ready_ns, row_bps=row_bps, value_area=value_area,
            two_row=two_row,
        )
        self._has_session = has_session
        self._node_share = node_share
        self._price_scale = price_scale
        self._day = -1

    cdef void on_trade(self, const Trade* trade, int64_t now_ns) noexcept nogil:
        cdef int64_t day = trade.venue_ns // DAY_NS
        if day > self._day:
            if self._day >= 0:
                self.session.levels(&self._previous, now_ns)
                self._previous_is_naked = True
                self._inside_previous_ns = self._inside_session_ns
                self._inside_session_ns = 0
                self.session.reset()
            self._day = day
        self.rolling.apply_trade(trade.price, trade.quantity, now_ns)
        if self._has_session and day == self._day:
            self.session.apply_trade(trade.price, trade.quantity, now_ns)
        if (self._previous_is_naked and self._previous.total > 0
                and trade.price // self._previous.row_units == self._previous.poc_row):
            self._previous_is_naked = False

    cdef bint apply_late(self, const Trade* trade, int64_t at_ns) noexcept nogil:
        # A trade that was missing, as if it had come at `at_ns`; False: its session is over, only the levels are left.
        cdef int64_t day = trade.venue_ns // DAY_NS
        if day > self._day:
            self.on_trade(trade, at_ns)
            return True
        self.rolling.apply_late(trade.price, trade.quantity, at_ns)
        if not self._has_session:
            return True
        if day < self._day:
            return False
        self.session.apply_late(trade.price, trade.quantity, at_ns)
        if (self._previous_is_naked and self._previous.total > 0
                and trade.price // self._previous.row_units == self._previous.poc_row):
            self._previous_is_naked = False
        return True

    cdef void advance(self, int64_t now_ns) noexcept nogil:
        self.rolling.advance(now_ns)

    cdef void mark_inside(self, int64_t mid_x2, int64_t now_ns) noexcept nogil:
        # Once a second while there is a mid, given as best bid + best ask.
        cdef ProfileLevels levels
        self.rolling.levels(&levels, now_ns)
        if is_inside(&levels, mid_x2):
            self._inside_rolling_ns = now_ns
        if not self._has_session:
            return
        self.session.levels(&levels, now_ns)
        if is_inside(&levels, mid_x2):
            self._inside_session_ns = now_ns
        if is_inside(&self._previous, mid_x2):
            self._inside_previous_ns = now_ns

    cdef void _price(self, ValueLevels* value, const ProfileLevels* levels, int64_t now_ns) noexcept nogil:
        cdef double scale = self._price_scale
        cdef int64_t units = levels.row_units
        value.is_ready = levels.is_ready
        value.poc = (2 * levels.poc_row + 1) * units * 0.5 * scale
        value.vah = (levels.vah_row + 1) * units * scale
        value.val = levels.val_row * units * scale
        value.n_nodes = 0
        value.age_ns = now_ns - levels.first_ns

    cdef void _find_nodes(self, ValueLevels* value) noexcept nogil:
        cdef int64_t rows[NODES]
        cdef int64_t units = 0
        cdef int i
        if value.source == VALUE_SESSION:
            value.n_nodes = self.session.nodes(rows, NODES, self._node_share)
            units = self.session.units
        elif value.source == VALUE_ROLLING:
            value.n_nodes = self.rolling.nodes(rows, NODES, self._node_share)
            units = self.rolling.units
        for i in range(value.n_nodes):
            value.nodes[i] = (2 * rows[i] + 1) * units * 0.5 * self._price_scale

    cdef int values(self, ValueLevels* out, int64_t now_ns) noexcept nogil:
        cdef ProfileLevels levels
        cdef int n = 0
        if self._has_session:
            self.session.levels(&levels, now_ns)
            if levels.total > 0:
                self._price(&out[n], &levels, now_ns)
                out[n].source, out[n].is_poc_naked = VALUE_SESSION, 0
                out[n].last_inside_ns = self._inside_session_ns
                n += 1
        self.rolling.levels(&levels, now_ns)
        if levels.total > 0:
            self._price(&out[n], &levels, now_ns)
            out[n].source, out[n].is_poc_naked = VALUE_ROLLING, 0
            out[n].last_inside_ns = self._inside_rolling_ns
            n += 1
        if self._has_session and self._previous.total > 0:
            self._price(&out[n], &self._previous, now_ns)
            out[n].source, out[n].is_poc_naked = VALUE_PREVIOUS, self._previous_is_naked
            out[n].last_inside_ns = self._inside_previous_ns
            n += 1
        return n

    def states(self, now_ns: int) -> tuple:
        """Return the profiles that hold volume, in the order session, rolling, previous."""
        cdef ValueLevels found[VALUE_SOURCES]
        cdef int n = self.values(found, now_ns), i, j
        for i in range(n):
            self._find_nodes(&found[i])
        return tuple([
            ProfileState(
                SOURCES[found[i].source], bool(found[i].is_ready), found[i].poc, found[i].vah, found[i].val,
                tuple([found[i].nodes[j] for j in range(found[i].n_nodes)]), bool(found[i].is_poc_naked),
                found[i].last_inside_ns, found[i].age_ns,
            )
            for i in range(n)
        ])

    cdef Placed place(
        self, int side, double mid, double reach_bps, const AlignmentRule* rule, int64_t now_ns
    ) noexcept nogil:
        cdef ValueLevels found[VALUE_SOURCES]
        cdef int n = self.values(found, now_ns)
        cdef int primary = primary_of(found, n)
        if primary >= 0:
            self._find_nodes(&found[primary])  # of the others nobody asks: it costs a pass over the rows
        return align(found, n, side, mid, reach_bps, rule, now_ns)

    def apply_trade(self, price: int, quantity: int, venue_ns: int, now_ns: int) -> None:
        """Teach a trade."""
        cdef Trade trade
        trade.price = price
        trade.quantity = quantity
        trade.regular_quantity = quantity
        trade.venue_ns = venue_ns
        self.on_trade(&trade, now_ns)

    def apply_mid(self, mid_x2: int, now_ns: int) -> None:
        """Tell the mid (best bid + best ask) of a second."""
        self.mark_inside(mid_x2, now_ns)
