"""Where a price stands to value on one side of the market, and whether the way to its target is free.

The primary profile is the session's if ready, else the rolling one if ready, else the previous session's. Distances
are in bps of mid, counted in the direction of the trade. The near edge of the value area is where the trade leaves
from (VAL for a long), the far edge is the other.

* *edge*: mid within max(`edge_bps`, `edge_share` of the area's width) of the near edge.
* *breakout*: mid beyond the far edge by `breakout_min_bps` to `breakout_max_bps`, and inside the area within
  `inside_ns`.

The way is free if no POC and no far edge of a ready profile, no naked POC of the previous session and no high-volume
node of the primary profile lies ahead nearer than the target. An edge trade stops at the nearest of those POCs instead
of being refused by it: it becomes the target.
"""

from libc.math cimport NAN, fabs, fmax
from libc.stdint cimport int64_t


PLACINGS = ("", "edge", "breakout")
SOURCES = ("session", "rolling", "previous")

cdef inline bint is_ahead(double distance_bps, double target_bps) noexcept nogil:
    return 0.0 < distance_bps and distance_bps < target_bps


cdef int primary_of(const ValueLevels* levels, int n) noexcept nogil:
    cdef int found = -1, i
    for i in range(n):
        # In the order of preference; the previous session stands in whether it was ready or not.
        if levels[i].is_ready or levels[i].source == VALUE_PREVIOUS:
            if found < 0 or levels[i].source < levels[found].source:
                found = i
    return found


cdef Placed align(
    const ValueLevels* levels, int n, int side, double mid, double reach_bps, const AlignmentRule* rule, int64_t now_ns
) noexcept nogil:
    cdef Placed placed
    cdef const ValueLevels* primary
    cdef double sign = 1.0 if side > 0 else -1.0
    cdef double val_bps, vah_bps, near_bps, far_bps, poc_bps, edge_bps, target_bps = reach_bps
    cdef int i, j, first = primary_of(levels, n)
    cdef bint is_speaking
    placed.placing = PLACED_NOWHERE
    placed.source = -1
    placed.target_bps = NAN
    if first < 0:
        return placed
    primary = &levels[first]
    placed.source = primary.source

    val_bps = sign * (primary.val - mid) / mid * 1e4
    vah_bps = sign * (primary.vah - mid) / mid * 1e4
    near_bps = val_bps if side > 0 else vah_bps
    far_bps = vah_bps if side > 0 else val_bps
    if fabs(near_bps) <= fmax(rule.edge_bps, rule.edge_share * (far_bps - near_bps)):
        placed.placing = PLACED_EDGE
    elif (
        rule.breakout_min_bps <= -far_bps and -far_bps <= rule.breakout_max_bps
        and primary.last_inside_ns > 0 and now_ns - primary.last_inside_ns <= rule.inside_ns
    ):
        placed.placing = PLACED_BREAKOUT
    else:
        return placed

    if placed.placing == PLACED_EDGE:
        for i in range(n):
            # Of the previous session only the naked POC speaks, unless it has to stand in for the others.
            is_speaking = &levels[i] == primary or (levels[i].is_ready and levels[i].source != VALUE_PREVIOUS)
            if is_speaking or levels[i].is_poc_naked:
                poc_bps = sign * (levels[i].poc - mid) / mid * 1e4
                if is_ahead(poc_bps, target_bps):
                    target_bps = poc_bps
    for i in range(n):
        is_speaking = &levels[i] == primary or (levels[i].is_ready and levels[i].source != VALUE_PREVIOUS)
        if is_speaking:
            edge_bps = sign * ((levels[i].vah if side > 0 else levels[i].val) - mid) / mid * 1e4
            if is_ahead(edge_bps, target_bps):
                placed.placing = PLACED_NOWHERE
        if placed.placing == PLACED_BREAKOUT and (is_speaking or levels[i].is_poc_naked):
            poc_bps = sign * (levels[i].poc - mid) / mid * 1e4
            if is_ahead(poc_bps, target_bps):
                placed.placing = PLACED_NOWHERE
    for j in range(primary.n_nodes):
        if is_ahead(sign * (primary.nodes[j] - mid) / mid * 1e4, target_bps):
            placed.placing = PLACED_NOWHERE
    if placed.placing != PLACED_NOWHERE:
        placed.target_bps = target_bps
    return placed


cdef object placed_object(Placed placed):
    return PLACINGS[placed.placing], "" if placed.source < 0 else SOURCES[placed.source], placed.target_bps


cdef AlignmentRule rule_of(object rule) except *:
    cdef AlignmentRule found
    (
        found.edge_bps, found.edge_share, found.breakout_min_bps, found.breakout_max_bps, found.inside_ns
    ) = rule
    return found


def align_profiles(
    profiles: tuple, *, side: int, mid: float, reach_bps: float, now_ns: int, rule
) -> tuple:
    """Return where a price stands to given profiles.

    Parameters
    ----------
    profiles : tuple
        At most one of each source; each with the fields of `native.areas.ProfileState`, at most 32 nodes.
    side : int
        BUY or SELL: the direction of the trade.
    mid : float
        Quote, positive.
    reach_bps : float
        The target, if nothing nearer takes its place.
    now_ns : int
        Corridor time.
    rule : tuple
        edge_bps, edge_share, breakout_min_bps, breakout_max_bps, inside_ns; see the module.

    Returns
    -------
    tuple
        "edge", "breakout" or "" for nowhere; source of the primary profile, "" if there is none; target in bps, NaN
        when nowhere.

    Raises
    ------
    ValueError
        If there are more profiles than sources, more nodes than fit, or an unknown source.
    """
    cdef ValueLevels levels[VALUE_SOURCES]
    cdef AlignmentRule wanted = rule_of(rule)
    cdef int n = 0, i
    if len(profiles) > VALUE_SOURCES:
        raise ValueError(f"Expected at most {VALUE_SOURCES} profiles, found {len(profiles)}.")
    for profile in profiles:
        if profile.source not in SOURCES or len(profile.nodes) > NODES:
            raise ValueError(f"Expected a profile of {SOURCES} with at most {NODES} nodes, found {profile}.")
        levels[n].source = SOURCES.index(profile.source)
        levels[n].is_ready = profile.is_ready
        levels[n].is_poc_naked = profile.is_poc_naked
        levels[n].poc, levels[n].vah, levels[n].val = profile.poc, profile.vah, profile.val
        levels[n].n_nodes = len(profile.nodes)
        for i in range(levels[n].n_nodes):
            levels[n].nodes[i] = profile.nodes[i]
        levels[n].last_inside_ns = profile.last_inside_ns
        levels[n].age_ns = 0
        n += 1
    return placed_object(align(levels, n, side, mid, reach_bps, &wanted, now_ns))
