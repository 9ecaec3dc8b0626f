"""Slow twin of depth and its imbalance: two ordered dicts, every sum made anew, every update remembered."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, takewhile

from sortedcontainers import SortedDict

from engine.config import MarketSettings
from engine.signals import EntryReason

Levels = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Change:
    """What changed at a price of the band, or traded there; side is of the book."""

    recv_ns: int
    side: int
    price: int
    quantity: int
    is_trade: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    reason: int
    rho_pre: float
    rho_post: float
    rho_post_min: float
    pulled_share: float
    n_updates: int


def lower_median(samples: list[float]) -> float:
    last = sorted(samples[-300:])
    return last[(len(last) - 1) // 2] if last else math.nan


class SlowDepth:
    """The book of one instrument, and what it leans to."""

    def __init__(self, settings: MarketSettings, tick: int) -> None:
        self.settings, self.tick = settings, tick
        self.bids: SortedDict[int, int] = SortedDict()
        self.asks: SortedDict[int, int] = SortedDict()
        self.spreads: list[float] = []
        self.depths: list[float] = []
        self.forget()

    def forget(self) -> None:
        """Begin a new chain: its past is not comparable."""
        self.rho = math.nan
        self.bid_sum = self.ask_sum = 0
        self.band: tuple[int, int] | None = None
        self.band_since_ns = 0
        self.updates: list[tuple[int, float]] = []
        self.changes: list[Change] = []
        self.heavy_side = 0
        self.is_on = False
        self.hold_due_ns: int | None = None
        self.touch: tuple[int, int, int, int] | None = None
        self.order_flow = 0

    def load(self, bids: Levels, asks: Levels) -> None:
        self.bids, self.asks = SortedDict(), SortedDict()
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            side.update({price: quantity for price, quantity in levels if quantity})

    def set_level(self, side: int, price: int, quantity: int, now_ns: int) -> None:
        levels = self.bids if side > 0 else self.asks
        change = quantity - levels.get(price, 0)
        if quantity:
            levels[price] = quantity
        else:
            levels.pop(price, None)
        is_inside = self.band is not None and (price >= self.band[0] if side > 0 else price <= self.band[1])
        if change and is_inside:
            self.changes.append(Change(now_ns, side, price, change, False))

    def trade(self, aggressor: int, price: int, quantity: int, now_ns: int) -> None:
        self.changes.append(Change(now_ns, -aggressor, price, quantity, True))

    @property
    def best_bid(self) -> int:
        return self.bids.keys()[-1] if self.bids else 0

    @property
    def best_ask(self) -> int:
        return self.asks.keys()[0] if self.asks else 0

    @property
    def has_mid(self) -> bool:
        return bool(self.bids and self.asks)

    @property
    def is_crossed(self) -> bool:
        return self.has_mid and self.best_bid >= self.best_ask

    def levels(self, side: int, n: int) -> Levels:
        if side > 0:
            return list(reversed(self.bids.items()[-n:]))
        return list(self.asks.items()[:n])

    def place_band(self) -> None:
        mid_x2 = self.best_bid + self.best_ask
        half = math.floor(Fraction(mid_x2) * Fraction(str(self.settings.band_min_bps)) / 20_000)
        if self.spreads:
            spread = Fraction(lower_median(self.spreads))
            half = max(half, math.floor(Fraction(str(self.settings.band_spread_multiple)) * spread))
        half = max(half, self.settings.band_min_ticks * self.tick)
        self.band = -((2 * half - mid_x2) // 2), (mid_x2 + 2 * half) // 2
        self.bid_sum = sum(self.bids[price] for price in self.bids.irange(self.band[0], None))
        self.ask_sum = sum(self.asks[price] for price in self.asks.irange(None, self.band[1]))

    def follow_touch(self) -> None:
        bid, ask = self.best_bid, self.best_ask
        now = bid, self.bids[bid], ask, self.asks[ask]
        if self.touch is not None:
            was_bid, was_bid_quantity, was_ask, was_ask_quantity = self.touch
            self.order_flow += (now[1] if bid >= was_bid else 0) - (was_bid_quantity if bid <= was_bid else 0)
            self.order_flow -= (now[3] if ask <= was_ask else 0) - (was_ask_quantity if ask >= was_ask else 0)
        self.touch = now

    def settle(self, now_ns: int) -> bool:
        """End an update; True if an imbalance signal ended with it."""
        if self.has_mid:
            if self.band is None:
                self.band_since_ns = now_ns
            self.place_band()
            self.follow_touch()
            bids, asks = float(self.bid_sum), float(self.ask_sum)
            self.rho = (bids - asks) / (bids + asks) if bids and asks else math.nan
        else:
            self.band, self.touch, self.rho = None, None, math.nan
        self.updates.append((now_ns, self.rho))
        has_ended = False
        if self.heavy_side and not self.heavy_side * self.rho >= self.settings.rho_floor:
            has_ended = self.is_on
            self.heavy_side, self.is_on, self.hold_due_ns = 0, False, None
        if not self.heavy_side and abs(self.rho) >= self.settings.rho_enter:
            self.heavy_side = 1 if self.rho > 0 else -1
            self.hold_due_ns = now_ns + self.settings.imbalance_hold_ns
        return has_ended

    def hold(self) -> None:
        self.is_on = self.heavy_side != 0
        self.hold_due_ns = None

    def sample(self) -> None:
        if self.has_mid and self.band is not None:
            mid = 0.5 * float(self.best_bid + self.best_ask)
            self.spreads.append(float(self.best_ask - self.best_bid))
            self.depths.append(0.5 * (float(self.bid_sum) + float(self.ask_sum)) * mid)

    def medians(self) -> tuple[float, float]:
        if len(self.spreads) < 30:
            return math.nan, math.nan
        return lower_median(self.spreads), lower_median(self.depths)

    def mean_rho(self, begin_ns: int, end_ns: int) -> float:
        """Time-weighted over (begin, end]; NaN with no update up to the beginning, or one not ready."""
        times = [when for when, _ in self.updates]
        first = bisect_right(times, begin_ns) - 1
        if first < 0:
            return math.nan
        inside = self.updates[first : bisect_right(times, end_ns)]
        marks = [(max(when, begin_ns), rho) for when, rho in inside] + [(end_ns, math.nan)]
        if any(math.isnan(rho) for _, rho in inside):
            return math.nan
        parts = [rho * (after - when) for (when, rho), (after, _) in pairwise(marks) if after > when]
        return math.fsum(parts) / (end_ns - begin_ns)

    def pulled_share(self, side: int, now_ns: int) -> float:
        begin_ns = now_ns - self.settings.pulled_window_ns
        if self.band is None or self.band_since_ns > begin_ns:
            return math.nan
        window = takewhile(lambda one: one.recv_ns > begin_ns, reversed(self.changes))
        by_price: dict[int, list[Change]] = {}
        for one in reversed(list(window)):
            if one.side == side:
                by_price.setdefault(one.price, []).append(one)
        added = pulled = 0
        for changes in by_price.values():
            standing = explained = 0
            for one in changes:
                if one.is_trade:
                    explained += one.quantity
                elif one.quantity > 0:
                    standing += one.quantity
                    added += one.quantity
                else:
                    unexplained = max(-one.quantity - explained, 0)
                    explained = max(explained + one.quantity, 0)
                    gone = min(unexplained, standing)
                    standing -= gone
                    pulled += gone
        return float(pulled) / float(added) if added else 0.0

    def judge(self, side: int, first_ns: int, last_ns: int, now_ns: int) -> Judgement:
        rules = self.settings
        end_ns = last_ns + rules.rho_post_ns
        before = self.mean_rho(first_ns - rules.rho_pre_ns, first_ns)
        after = self.mean_rho(last_ns, end_ns)
        seen = [side * rho for when, rho in self.updates if last_ns < when <= end_ns]
        lowest = math.nan if any(map(math.isnan, seen)) else min(seen, default=math.nan)
        pulled = self.pulled_share(side, now_ns)
        if math.isnan(before) or math.isnan(after) or math.isnan(pulled):
            reason = EntryReason.NOT_READY
        elif len(seen) < rules.min_updates:
            reason = EntryReason.FEW_UPDATES
        elif side * after < rules.rho_enter:
            reason = EntryReason.RHO_POST
        elif lowest < rules.rho_floor:
            reason = EntryReason.RHO_POST_MIN
        elif side * before < rules.rho_pre_min:
            reason = EntryReason.RHO_PRE
        elif pulled >= rules.pulled_share_max:
            reason = EntryReason.PULLED
        else:
            reason = EntryReason.CONFIRMED
        return Judgement(int(reason), before, after, lowest, pulled, len(seen))
