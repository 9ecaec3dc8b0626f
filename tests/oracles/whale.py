"""Slow twin of whales: keep every sweep, and take each quantile from the whole window by numpy."""

import bisect
import math

import numpy

from tests.oracles.flow import SWEEP

EDGES = [0.01 * math.pow(1.01, i) for i in range(3240)]


def lower_edge(quote: float) -> float:
    """Greatest edge of the 1 % buckets that does not exceed the value; the first one if all do."""
    return EDGES[max(0, bisect.bisect_right(EDGES, quote) - 1)]


class SlowWhale:
    """Judge sweeps with nothing remembered but lists."""

    def __init__(
        self,
        *,
        floor_quote: float,
        notional_scale: float,
        adaptive_floor: bool,
        depth_share: float,
        quantile: float,
        window_ns: int,
        min_sweeps: int,
        episode_gap_ns: int,
    ) -> None:
        self.floor_quote = floor_quote
        self.notional_scale = notional_scale
        self.adaptive_floor = adaptive_floor
        self.depth_share = depth_share
        self.quantile = quantile
        self.window_ns = window_ns
        self.min_sweeps = min_sweeps
        self.episode_gap_ns = episode_gap_ns
        self.depth_median = math.nan
        self.closed: list[tuple[int, float]] = []
        self.thresholds: dict[int, float] = {}
        self.whales: dict[int, tuple[SWEEP, int]] = {}

    def quote(self, sweep: SWEEP) -> float:
        return float(sweep[8]) * self.notional_scale

    def window(self, now_ns: int) -> list[float]:
        return [quote for closed_ns, quote in self.closed if now_ns - closed_ns < self.window_ns]

    def window_quantile(self, now_ns: int, q: float) -> float:
        window = self.window(now_ns)
        return lower_edge(float(numpy.quantile(window, q, method="lower"))) if window else math.nan

    def threshold(self, now_ns: int) -> float:
        if len(self.window(now_ns)) < self.min_sweeps or not self.depth_median > 0:
            return math.nan
        floor = self.floor_quote
        if self.adaptive_floor:
            floor = max(floor, 20 * self.window_quantile(now_ns, 0.5))
        return max(floor, self.depth_share * self.depth_median, self.window_quantile(now_ns, self.quantile))

    def running(self, sweep: SWEEP, now_ns: int) -> bool:
        """Judge the sweep that is open; its threshold is the one of its first trade."""
        threshold = self.thresholds.setdefault(sweep[0], self.threshold(now_ns))
        if sweep[0] in self.whales or not self.quote(sweep) >= threshold:
            return False
        episodes = [episode for whale, episode in self.whales.values() if whale[9] == sweep[9]]
        same_side = [whale for whale, _ in self.whales.values() if whale[9] == sweep[9]]
        if same_side and sweep[5] - same_side[-1][6] <= self.episode_gap_ns:
            episode = episodes[-1]
        else:
            episode = 1 + max((number for _, number in self.whales.values()), default=0)
        self.whales[sweep[0]] = (sweep, episode)
        return True

    def close(self, sweep: SWEEP, now_ns: int) -> bool:
        self.closed.append((now_ns, self.quote(sweep)))
        if sweep[0] not in self.whales:
            return False
        self.whales[sweep[0]] = (sweep, self.whales[sweep[0]][1])
        return True
