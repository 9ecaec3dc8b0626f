"""Slow twin of imbalance: two dicts of levels, every sum made anew, every update and change kept."""

import math
from dataclasses import dataclass

from tests.oracles.pulled import Change, pulled_share

HISTORY = 2048
MEDIAN_SAMPLES, MEDIAN_READY = 300, 30

CONFIRMED, NOT_READY, FEW_UPDATES, RHO_POST, RHO_POST_MIN, RHO_PRE, PULLED = 0, 2, 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of the room, under its own names."""

    band_min_bps: float = 2.0
    band_spread_multiple: float = 1.5
    band_min_ticks: int = 5
    rho_enter: float = 0.60
    rho_floor: float = 0.45
    hold_ns: int = 500_000_000
    pulled_window_ns: int = 2_000_000_000
    rho_pre_min: float = -0.20
    rho_pre_ns: int = 500_000_000
    rho_post_ns: int = 400_000_000
    min_updates: int = 3
    pulled_max: float = 0.5


def lower_median(samples: list[float]) -> float:
    last = sorted(samples[-MEDIAN_SAMPLES:])
    return last[(len(last) - 1) // 2] if last else math.nan


class SlowImbalance:
    """The book and what it leans to, with nothing remembered but lists."""

    def __init__(self, rules: Rules, tick: int) -> None:
        self.rules, self.tick = rules, tick
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.spreads: list[float] = []
        self.depths: list[float] = []
        self.reset()

    def reset(self) -> None:
        self.band: tuple[int, int] | None = None
        self.band_since_ns = 0
        self.sums = (0, 0)
        self.rho = math.nan
        self.updates: list[tuple[int, float]] = []
        self.changes: list[Change] = []
        self.heavy_side = 0
        self.is_on = False
        self.hold_due_ns = 0
        self.touch: tuple[int, int, int, int] | None = None
        self.touch_ns = 0
        self.order_flow = 0
        self.ofi = 0.0

    def clear_book(self) -> None:
        self.bids.clear()
        self.asks.clear()

    def set_level(self, side: int, price: int, quantity: int, now_ns: int) -> None:
        levels = self.bids if side > 0 else self.asks
        change = quantity - levels.pop(price, 0)
        if quantity:
            levels[price] = quantity
        if (
            change
            and self.band is not None
            and (price >= self.band[0] if side > 0 else price <= self.band[1])
        ):
            self.changes.append(Change(now_ns, side, price, change, False))

    def trade(self, aggressor: int, price: int, quantity: int, now_ns: int) -> None:
        self.changes.append(Change(now_ns, -aggressor, price, quantity, True))

    def place_band(self) -> tuple[int, int]:
        mid_x2 = max(self.bids) + min(self.asks)
        half = max(self.rules.band_min_ticks * self.tick, int(mid_x2 * (self.rules.band_min_bps * 0.5e-4)))
        if self.spreads:
            half = max(half, int(self.rules.band_spread_multiple * lower_median(self.spreads)))
        return -((2 * half - mid_x2) // 2), (mid_x2 + 2 * half) // 2

    def follow_touch(self, now_ns: int) -> None:
        """Add what joined and left the touch, in the form of three cases a side; bids positive."""
        bid, ask = max(self.bids), min(self.asks)
        now = bid, self.bids[bid], ask, self.asks[ask]
        if self.touch is not None:
            was_bid, was_bid_quantity, was_ask, was_ask_quantity = self.touch
            if bid > was_bid:
                bids = now[1]
            elif bid == was_bid:
                bids = now[1] - was_bid_quantity
            else:
                bids = -was_bid_quantity
            if ask < was_ask:
                asks = now[3]
            elif ask == was_ask:
                asks = now[3] - was_ask_quantity
            else:
                asks = -was_ask_quantity
            self.order_flow += bids - asks
            self.ofi = self.ofi * math.exp((self.touch_ns - now_ns) * 1e-9) + float(bids - asks)
        self.touch, self.touch_ns = now, now_ns

    def settle(self, now_ns: int) -> bool:
        """End a message; True if an imbalance signal ended with it."""
        if not self.bids or not self.asks or max(self.bids) >= min(self.asks):
            self.band, self.touch, self.rho = None, None, math.nan
        else:
            if self.band is None:
                self.band_since_ns = now_ns
            low, high = self.band = self.place_band()
            bids = sum(quantity for price, quantity in self.bids.items() if price >= low)
            asks = sum(quantity for price, quantity in self.asks.items() if price <= high)
            self.sums = bids, asks
            self.rho = (float(bids) - asks) / (float(bids) + asks) if bids and asks else math.nan
            self.follow_touch(now_ns)
        self.updates.append((now_ns, self.rho))
        has_ended = False
        if self.heavy_side and not self.heavy_side * self.rho >= self.rules.rho_floor:
            has_ended = self.is_on
            self.heavy_side, self.is_on, self.hold_due_ns = 0, False, 0
        if not self.heavy_side and abs(self.rho) >= self.rules.rho_enter:
            self.heavy_side = int(math.copysign(1, self.rho))
            self.hold_due_ns = now_ns + self.rules.hold_ns
        return has_ended

    def hold(self) -> None:
        self.is_on, self.hold_due_ns = self.heavy_side != 0, 0

    def sample(self) -> None:
        if self.band is not None and self.bids and self.asks:
            bid, ask = max(self.bids), min(self.asks)
            self.spreads.append(float(ask - bid))
            self.depths.append(0.5 * (float(self.sums[0]) + float(self.sums[1])) * (0.5 * (bid + ask)))

    def medians(self) -> tuple[float, float]:
        if len(self.spreads) < MEDIAN_READY:
            return math.nan, math.nan
        return lower_median(self.spreads), lower_median(self.depths)

    def window(self, side: int, begin_ns: int, end_ns: int) -> tuple[float, float, int]:
        """Mean of rho over (begin, end], lowest side x rho inside, updates inside; summed from the newest."""
        kept = self.updates[-HISTORY:]
        inside = [update for update in kept if begin_ns < update[0] <= end_ns]
        before = [update for update in kept if update[0] <= begin_ns]
        seen = [side * rho for _, rho in inside]
        has_hole = any(math.isnan(rho) for rho in seen)
        lowest = math.nan if has_hole else min(seen, default=math.inf)
        if not before or has_hole:
            return math.nan, lowest, len(inside)
        total, until = 0.0, end_ns
        for when, rho in [*reversed(inside), (begin_ns, before[-1][1])]:
            if until > when:
                total += rho * float(until - when)
                until = when
        return total / float(end_ns - begin_ns), lowest, len(inside)

    def pulled(self, side: int, now_ns: int) -> float:
        begin_ns = now_ns - self.rules.pulled_window_ns
        if self.band is None or self.band_since_ns > begin_ns:
            return math.nan
        return pulled_share(self.changes, side, begin_ns, now_ns)

    def confirmation(
        self, side: int, first_ns: int, end_ns: int, now_ns: int
    ) -> tuple[int, float, float, float, int, float]:
        rules = self.rules
        rho_pre = self.window(side, first_ns - rules.rho_pre_ns, first_ns)[0]
        rho_post, lowest, n_updates = self.window(side, end_ns, end_ns + rules.rho_post_ns)
        lowest = lowest if n_updates else math.nan
        pulled = self.pulled(side, now_ns)
        if math.isnan(rho_pre) or math.isnan(rho_post) or math.isnan(pulled):
            reason = NOT_READY
        elif n_updates < rules.min_updates:
            reason = FEW_UPDATES
        elif side * rho_post < rules.rho_enter:
            reason = RHO_POST
        elif lowest < rules.rho_floor:
            reason = RHO_POST_MIN
        elif side * rho_pre < rules.rho_pre_min:
            reason = RHO_PRE
        elif pulled >= rules.pulled_max:
            reason = PULLED
        else:
            reason = CONFIRMED
        return reason, rho_pre, rho_post, lowest, n_updates, pulled
