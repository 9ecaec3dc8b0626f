"""Slow twins of what a market remembers of its trades: the window of sweeps, three volume profiles."""

import math
from bisect import bisect_right
from operator import itemgetter

import numpy
import numpy.typing

from engine.config import MarketSettings
from tests.oracles.flow import DAY_NS, SWEEP, Print
from tests.oracles.profile import SlowProfile
from tests.oracles.whale import SlowWhale, lower_edge

Area = tuple[bool, int, int, int, int, int, int, int]


class KeptWhale(SlowWhale):
    """The window as a piece of one array, and a threshold kept while nothing that it depends on changes."""

    def __init__(self, settings: MarketSettings, notional_scale: float, *, is_inverse: bool) -> None:
        super().__init__(
            floor_quote=settings.whale_floor_quote,
            notional_scale=notional_scale,
            adaptive_floor=settings.whale_adaptive_floor,
            depth_share=settings.whale_depth_share,
            quantile=settings.whale_quantile,
            window_ns=settings.whale_window_ns,
            min_sweeps=settings.whale_min_sweeps,
            episode_gap_ns=settings.episode_gap_ns,
        )
        self.is_inverse = is_inverse
        self.quotes = numpy.zeros(65_536)
        self.last_known: tuple[tuple[int, int, float], float] | None = None

    def quote(self, sweep: SWEEP) -> float:
        return float(sweep[7] if self.is_inverse else sweep[8]) * self.notional_scale

    def close(self, sweep: SWEEP, now_ns: int) -> bool:
        self.quotes[len(self.closed)] = self.quote(sweep)
        return super().close(sweep, now_ns)

    def window(self, now_ns: int) -> numpy.typing.NDArray[numpy.float64]:
        first = bisect_right(self.closed, now_ns - self.window_ns, key=itemgetter(0))
        return self.quotes[first : len(self.closed)]

    def window_quantile(self, now_ns: int, q: float) -> float:
        window = self.window(now_ns)
        return lower_edge(float(numpy.quantile(window, q, method="lower"))) if len(window) else math.nan

    def threshold(self, now_ns: int) -> float:
        state = len(self.closed), now_ns, self.depth_median
        if self.last_known is None or self.last_known[0] != state:
            self.last_known = state, super().threshold(now_ns)
        return self.last_known[1]

    def threshold_of(self, sweep: SWEEP) -> float:
        return self.thresholds[sweep[0]]

    def episode_of(self, sweep: SWEEP) -> int:
        return self.whales[sweep[0]][1]


class SlowAreas:
    """Rolling, session and previous profile, and when mid was last inside the value area of each."""

    def __init__(self, settings: MarketSettings, tick: int) -> None:
        shape = {
            "tick": tick,
            "row_bps": str(settings.row_bps),
            "value_area": str(settings.value_area),
            "two_row": settings.two_row,
        }
        self.has_session = settings.session_enabled
        self.node_share = str(settings.node_share)
        self.rolling = SlowProfile(
            window_ns=settings.profile_window_ns, ready_ns=settings.profile_ready_ns, **shape
        )
        self.session = SlowProfile(window_ns=0, ready_ns=settings.session_ready_ns, **shape)
        self.day: int | None = None
        self.previous: Area | None = None
        self.is_naked = False
        self.inside = {"rolling": 0, "session": 0, "previous": 0}

    def trade(self, one: Print) -> None:
        day = one.venue_ns // DAY_NS
        if self.day is None or day > self.day:
            if self.day is not None:
                self.previous = self.session.value_area(one.now_ns)
                self.is_naked = True
                self.inside["previous"], self.inside["session"] = self.inside["session"], 0
                self.session.clear()
            self.day = day
        self.rolling.apply(one.price, one.quantity, one.now_ns)
        if self.has_session and day == self.day:
            self.session.apply(one.price, one.quantity, one.now_ns)
        if self.previous and one.price // self.previous[4] == self.previous[1]:
            self.is_naked = False

    def known(self, now_ns: int) -> dict[str, Area]:
        found = {"rolling": self.rolling.value_area(now_ns)}
        if self.has_session:
            found |= {"session": self.session.value_area(now_ns), "previous": self.previous}
        return {source: area for source, area in found.items() if area is not None}

    def mark_inside(self, mid_x2: int, now_ns: int) -> None:
        for source, (_, _, high, low, units, *_) in self.known(now_ns).items():
            if 2 * low * units <= mid_x2 <= 2 * (high + 1) * units:
                self.inside[source] = now_ns

    def states(self, now_ns: int, price_scale: float) -> tuple[tuple[object, ...], ...]:
        """Return the fields of `native.areas.ProfileState` of each profile that holds volume."""
        found = []
        known = self.known(now_ns)
        for source in ("session", "rolling", "previous"):
            if source not in known:
                continue
            is_ready, poc, high, low, units, first_ns, *_ = known[source]
            profile = {"session": self.session, "rolling": self.rolling}.get(source)
            nodes = profile.high_volume_nodes(self.node_share) if profile else []
            state = (
                source,
                is_ready,
                (2 * poc + 1) * units * 0.5 * price_scale,
                (high + 1) * units * price_scale,
                low * units * price_scale,
                tuple((2 * row + 1) * units * 0.5 * price_scale for row in nodes[:32]),
                source == "previous" and self.is_naked,
                self.inside[source],
                now_ns - first_ns,
            )
            found.append(state)
        return tuple(found)
