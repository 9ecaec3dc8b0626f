"""The volume profiles of one instrument: rolling, of the UTC session, and the final one of the session before.

A session starts at 00:00 UTC of venue time. A young session is not ready; the previous final profile and the rolling
one serve until it is.
"""

from typing import NamedTuple

from cython cimport final


cdef enum:
    NODES = 32

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

    cdef object _state(
        self, str source, Profile profile, const ProfileLevels* levels, bint is_naked, int64_t inside_ns,
        int64_t now_ns
    ):
        cdef int64_t rows[NODES]
        cdef int n = 0, i
        cdef double scale = self._price_scale
        cdef int64_t units = levels.row_units
        if profile is not None:
            n = profile.nodes(rows, NODES, self._node_share)
        # Past the constructor of the named tuple, which is interpreted: this is read at every decision.
        return tuple.__new__(ProfileState, (
            source, bool(levels.is_ready), (2 * levels.poc_row + 1) * units * 0.5 * scale,
            (levels.vah_row + 1) * units * scale, levels.val_row * units * scale,
            tuple([(2 * rows[i] + 1) * units * 0.5 * scale for i in range(n)]), bool(is_naked), inside_ns,
            now_ns - levels.first_ns,
        ))

    def states(self, now_ns: int) -> tuple:
        """Return the profiles that hold volume, in the order session, rolling, previous."""
        cdef ProfileLevels levels
        found = []
        if self._has_session:
            self.session.levels(&levels, now_ns)
            if levels.total > 0:
                found.append(self._state("session", self.session, &levels, False, self._inside_session_ns, now_ns))
        self.rolling.levels(&levels, now_ns)
        if levels.total > 0:
            found.append(self._state("rolling", self.rolling, &levels, False, self._inside_rolling_ns, now_ns))
        if self._has_session and self._previous.total > 0:
            found.append(self._state(
                "previous", None, &self._previous, self._previous_is_naked, self._inside_previous_ns, now_ns
            ))
        return tuple(found)

    def apply_trade(self, price: int, quantity: int, venue_ns: int, now_ns: int) -> None:
        """Teach a trade."""
        cdef Trade trade
        trade.price = price
        trade.quantity = quantity
        trade.venue_ns = venue_ns
        self.on_trade(&trade, now_ns)

    def apply_mid(self, mid_x2: int, now_ns: int) -> None:
        """Tell the mid (best bid + best ask) of a second."""
        self.mark_inside(mid_x2, now_ns)
