"""A synthetic market: makers around a moving fair value, clustered takers, whales that work parent orders.

Everything follows from the specification and the seed. The crowd trades on a `Matching` in ticks and lots;
others may put their orders into the same book. It reads only the book and its own draws, so it answers to
what others do.
"""

import heapq
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.sim.markets import CrowdSpec
from engine.sim.truth import FairValue, ParentOrder, ParentSweep, PlantedIceberg, RegimeChange, Truth
from native.matching import Matching, OrderLife

NS = 1_000_000_000
FAIR_STEP_NS = 50_000_000
FAIR_STEP_S = FAIR_STEP_NS / NS
BRANCHING = 0.6  # sweeps that one sweep brings about
GTX = int(OrderLife.LIFE_GTX)
IOC = int(OrderLife.LIFE_IOC)


REGIMES: tuple[tuple[Literal["CALM", "NORMAL", "WILD"], float, float], ...] = (
    ("CALM", 0.75, 0.6),
    ("NORMAL", 1.0, 1.0),
    ("WILD", 1.5, 1.6),
)


SIDE_NAMES: dict[int, Literal["BUY", "SELL"]] = {1: "BUY", -1: "SELL"}


def forget(_told: Truth) -> None:
    """Keep no truth log."""


def endless(draw: Callable[[int], NDArray[np.float64] | NDArray[np.int64]]) -> Iterator[float]:
    """Yield draws one by one, taken from the generator in blocks."""
    while True:
        yield from draw(4096).tolist()


@dataclass(slots=True)
class Parent:
    side: int
    weights: list[float]
    quote: float
    is_supported: bool
    start_ns: int
    sweeps: list[ParentSweep] = field(default_factory=list)
    notional: float = 0.0


class Crowd:
    """
    The synthetic traders of one instrument.

    Parameters
    ----------
    spec : CrowdSpec
    seed : int
    start_ns : int
        Venue time of the first moment.
    matching : Matching, optional
        The book to trade on, empty; a new one if not given. Prices are ticks, quantities lots. After each
        `act` the caller must drain the events; the orders of the crowd have owner 0.
    first_trade_id : int
        Id of the first trade in the truth log: fill n of the matching is trade `first_trade_id + n - 1`.
    on_truth : callable, optional
        Receives what really happened: parent orders, icebergs, fair value, regimes.
    """

    def __init__(
        self,
        spec: CrowdSpec,
        seed: int,
        start_ns: int,
        *,
        matching: Matching | None = None,
        first_trade_id: int = 1,
        on_truth: Callable[[Truth], None] | None = None,
    ) -> None:
        self.spec = spec
        self.matching = Matching(65_536, 16_384) if matching is None else matching
        self.book = self.matching.resting
        self.now_ns = start_ns
        self.first_trade_id = first_trade_id
        self.n_sweeps = 0
        self.n_parents = 0
        self._tell = forget if on_truth is None else on_truth
        salt = zlib.crc32(f"{spec.symbol} {spec.market}".encode())
        roots = [
            np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence([seed, salt]).spawn(4)
        ]
        self._uniform = endless(roots[0].random).__next__
        self._normal = endless(roots[1].standard_normal).__next__
        self._exponential = endless(roots[2].standard_exponential).__next__
        self._children = endless(lambda n: roots[3].poisson(BRANCHING, n)).__next__
        self._ticks_per_bps = spec.start_price * 1e-4 / spec.tick
        self._lots_per_quote = 1.0 / (spec.start_price * spec.lot)
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._n_scheduled = 0
        self._walk_bps = 0.0
        self._pull_bps = 0.0
        self._log_sigma = 0.0
        self._regime = 1
        self._lean = 0.0
        self._tolerance = 0.5
        self._is_closing = False
        self._next_told_ns = start_ns
        self._plant_book()
        self._after(self._gap_s(2 * spec.maker_rate), self._on_maker)
        self._after(self._gap_s(spec.touch_rate), self._on_touch)
        self._after(self._gap_s((1.0 - BRANCHING) * spec.sweep_rate), self._on_taker_arrival)
        self._after(30 / spec.whales_per_minute, self._on_parent)
        self._after(self._gap_s(0.05), self._on_iceberg)
        self._after(FAIR_STEP_S, self._on_fair)

    @property
    def next_ns(self) -> int:
        """Venue time of the next action."""
        return self._heap[0][0]

    @property
    def fair(self) -> float:
        """Fair value in ticks."""
        spec = self.spec
        return spec.start_price / spec.tick * math.exp((self._walk_bps + self._pull_bps) * 1e-4)

    def act(self) -> None:
        """Do the next action; its orders are on the book and its events in the matching when it returns."""
        self.now_ns, _, action = heapq.heappop(self._heap)
        action()
        if not self._is_closing and self.book.best_ask - self.book.best_bid != 1:
            self._is_closing = True
            self._after(0.0001 + 0.0006 * self._exponential(), self._on_close)

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        self._n_scheduled += 1
        when = self.now_ns + max(1_000, int(seconds * 1e9))
        heapq.heappush(self._heap, (when, self._n_scheduled, action))

    def _gap_s(self, rate: float) -> float:
        return self._exponential() / (rate * REGIMES[self._regime][1])

    def _life_s(self, distance_bps: float) -> float:
        # Arrivals fall with distance as (1 + x/s)^-2; lifetimes rise as its inverse, so density is flat out
        # to 30 bps and falls as a power law behind.
        spec = self.spec
        at_touch = spec.orders_per_bps * spec.reach_bps / spec.maker_rate
        return at_touch * (1.0 + min(distance_bps, 30.0) / spec.reach_bps) ** 2

    def _lots(self, quote: float) -> int:
        return max(1, int(quote * self._lots_per_quote))

    def _order_lots(self, distance_bps: float) -> int:
        quote = self.spec.order_quote * min(1.0, self.spec.near_share + 0.15 * distance_bps)
        return self._lots(quote * math.exp(1.4 * self._normal() - 0.98))

    def _touch(self, side: int) -> int:
        return self.book.best_bid if side > 0 else self.book.best_ask

    def _middle(self) -> float:
        return 0.5 * (self.book.best_bid + self.book.best_ask)

    def _side(self, probability_of_buy: float) -> int:
        return 1 if self._uniform() < probability_of_buy else -1

    def _place(self, side: int, price: int, lots: int, life_s: float, display: int = 0) -> int:
        if price <= 0:
            return 0
        order_id = self.matching.apply_order(side, price, lots, life=GTX, display=display)
        if order_id > 0:
            self._after(life_s, partial(self.matching.apply_cancel, order_id))
        return order_id

    def _plant_book(self) -> None:
        middle = int(self.fair)
        for side, best in ((1, middle), (-1, middle + 1)):
            for _ in range(12):
                self._join(side, best)
            for _ in range(int(self.spec.orders_per_bps * 60)):
                # Flat to 30 bps, power law behind: each holds half.
                u = self._uniform()
                distance = 60.0 * u if u < 0.5 else 15.0 / (1.0 - u)
                price = best - side * int(distance * self._ticks_per_bps)
                life = self._exponential() * self._life_s(distance)
                self._place(side, price, self._order_lots(distance), life)
        self.matching.drain_events()
        self.book.drain_changes()

    def _on_maker(self) -> None:
        self._after(self._gap_s(2 * self.spec.maker_rate), self._on_maker)
        u = self._uniform()
        distance = self.spec.reach_bps * u / (1.0 - u)
        lean = self._lean if distance < 3.0 else 0.0
        side = self._side(0.5 + 0.5 * math.tanh(0.6 * lean))
        best = self._touch(side)
        if best > 0:
            price = best - side * int(distance * self._ticks_per_bps)
            life = self._exponential() * self._life_s(distance) * math.exp(0.3 * side * lean)
            self._place(side, price, self._order_lots(distance), life)

    def _join(self, side: int, price: int) -> None:
        # Most orders at the touch are dust; the size there comes from the few.
        if self._uniform() < 0.7:
            quote = 70.0 * math.exp(1.3 * self._normal())
        else:
            quote = 0.35 * self.spec.touch_quote * math.exp(0.8 * self._normal() - 0.3)
        self._place(side, price, self._lots(quote), 1.2 * self._exponential())

    def _on_touch(self) -> None:
        self._after(self._gap_s(self.spec.touch_rate), self._on_touch)
        self._tend_touch()

    def _tend_touch(self) -> None:
        side = self._side(0.5)
        best = self._touch(side)
        if best == 0:
            return
        target = self._lots(self.spec.touch_quote * math.exp(0.6 * side * self._lean))
        if self.book.displayed(side, best) < target:
            self._join(side, best)
        else:
            self._withdraw(side, best, 1)

    def _withdraw(self, side: int, price: int, limit: int) -> None:
        for order_id in reversed(self.book.queue(side, price)):
            order = self.book.order(order_id)
            if order is not None and order[4] == 0:
                self.matching.apply_cancel(order_id)
                limit -= 1
                if limit == 0:
                    return

    def _on_close(self) -> None:
        # Makers close a spread wider than a tick on the side where the fair value is not.
        self._is_closing = False
        fair = int(self.fair)
        bid = self.book.best_bid or min(fair, self.book.best_ask or fair) - 1
        ask = self.book.best_ask or max(fair, bid) + 2
        new_bid = min(max(fair, bid), ask - 1)
        for _ in range(3):
            if new_bid > bid or self.book.best_bid == 0:
                self._join(1, new_bid)
            if new_bid + 1 < ask or self.book.best_ask == 0:
                self._join(-1, new_bid + 1)

    def _on_fair(self) -> None:
        self._after(FAIR_STEP_S, self._on_fair)
        step = math.sqrt(FAIR_STEP_S)
        self._log_sigma += (
            0.5 * math.sqrt(FAIR_STEP_S / 10) * self._normal() - self._log_sigma * FAIR_STEP_S / 20
        )
        sigma = self.spec.sigma_bps * REGIMES[self._regime][2] * math.exp(self._log_sigma - 0.12)
        self._walk_bps += 0.75 * sigma * step * self._normal()
        self._pull_bps += 0.6 * sigma * step * self._normal() - self._pull_bps * FAIR_STEP_S / 8
        if self._uniform() < 0.015 * FAIR_STEP_S:
            self._walk_bps += 3.0 * self._normal()
        self._lean += 0.35 * math.sqrt(FAIR_STEP_S / 1.5) * self._normal() - self._lean * FAIR_STEP_S / 3
        if self._uniform() < FAIR_STEP_S / 12:
            self._regime = (0, 1, 1, 2)[int(4 * self._uniform())]
            name, activity, _ = REGIMES[self._regime]
            self._tell(RegimeChange(self.now_ns, name, activity))
        if self.now_ns >= self._next_told_ns:
            self._next_told_ns += NS
            price = round(self.fair * self.spec.tick, 4)
            self._tell(FairValue(self.now_ns, price, round(sigma, 4), round(self._lean, 4)))
        self._follow()

    def _follow(self) -> None:
        # The price stands until the fair value is further off than the tolerance; then it is taken
        # or withdrawn.
        if self.book.best_bid == 0 or self.book.best_ask == 0:
            return
        fair = self.fair
        distance = (fair - self._middle()) / self._ticks_per_bps
        if abs(distance) < self._tolerance:
            return
        self._tolerance = 0.2 + 0.5 * self._exponential()
        side = 1 if distance > 0 else -1
        if self._uniform() < 0.5:
            self._sweep(side, 0.5 * self.spec.touch_quote * self._exponential(), int(fair))
            return
        for price, _ in self.book.depth(-side, 64):
            if (price - fair) * side > 0:
                break
            self._withdraw(-side, price, 1_000_000)

    def _sweep(self, side: int, quote: float, limit: int) -> int:
        before = self.matching.n_fills
        self.matching.apply_order(side, limit, self._lots(quote), life=IOC)
        if self.matching.n_fills > before:
            self.n_sweeps += 1
            for _ in range(2 * int(self._children())):
                self._after(0.0005 + 0.008 * self._exponential(), self._tend_touch)
        return self.matching.last_filled

    def _on_taker_arrival(self) -> None:
        self._after(self._gap_s((1.0 - BRANCHING) * self.spec.sweep_rate), self._on_taker_arrival)
        distance = (self.fair - self._middle()) / self._ticks_per_bps
        self._on_taker(self._side(0.5 + 0.5 * math.tanh(1.5 * distance)))

    def _on_taker(self, side: int) -> None:
        # A Hawkes process as a tree: each sweep has Poisson children, soon or late, mostly of its own side.
        spec = self.spec
        for _ in range(int(self._children())):
            delay = 0.04 if self._uniform() < 0.6 else 1.2
            child = side * self._side(0.85)
            self._after(0.001 + delay * self._exponential(), partial(self._on_taker, child))
        if self._uniform() < 0.1:
            quote = spec.tail_quote * math.exp(self._exponential() / 1.25)
        else:
            quote = spec.sweep_quote * math.exp(spec.sweep_sigma * self._normal())
        best = self._touch(-side)
        if best > 0:
            self._sweep(side, min(spec.tail_cap, quote), best + side * int(3 * self._ticks_per_bps))

    def _on_parent(self) -> None:
        spec = self.spec
        self._after((0.5 + 0.5 * self._exponential()) * 60 / spec.whales_per_minute, self._on_parent)
        lead = min(spec.whale_high, spec.whale_low * math.exp(self._exponential() / 1.6))
        u = self._uniform()
        if u < 0.65:
            weights = [1.0]
        elif u < 0.85:
            weights = [1.0] + [0.1 + 0.3 * self._uniform() for _ in range(1 + int(3 * self._uniform()))]
        else:
            n = 6 + int(10 * self._uniform())
            weights = [(0.6 + 0.8 * self._uniform()) / n for _ in range(n)]
        side = self._side(0.5 + 0.5 * math.tanh(2.0 * self._imbalance()))
        is_supported = self._uniform() < spec.supported_share
        parent = Parent(side, weights, lead, is_supported, self.now_ns)
        self.n_parents += 1
        self._on_parent_sweep(parent)

    def _on_parent_sweep(self, parent: Parent) -> None:
        spec = self.spec
        side = parent.side
        best = self._touch(-side)
        weight = parent.weights.pop(0)
        if best > 0:
            before = self.matching.n_fills
            filled = self._sweep(side, parent.quote * weight, best + side * int(8 * self._ticks_per_bps))
            if filled > 0:
                parent.notional += filled * spec.lot * best * spec.tick
                parent.sweeps.append(
                    ParentSweep(
                        self.now_ns,
                        self.first_trade_id + before,
                        self.first_trade_id + self.matching.n_fills - 1,
                        round(filled * spec.lot, spec.lot_decimals),
                        round(best * spec.tick, spec.tick_decimals),
                    )
                )
                moved = abs((self._touch(-side) or best) - best) / self._ticks_per_bps
                self._walk_bps += side * moved * (0.55 if parent.is_supported else 0.15)
                if weight >= 0.3:
                    self._answer(side, parent.is_supported)
        if parent.weights:
            self._after(0.03 + 0.35 * self._exponential(), partial(self._on_parent_sweep, parent))
        elif parent.sweeps:
            quantity = round(sum(sweep.quantity for sweep in parent.sweeps), spec.lot_decimals)
            self._tell(
                ParentOrder(
                    SIDE_NAMES[side],
                    quantity,
                    round(parent.notional, 2),
                    parent.start_ns,
                    self.now_ns,
                    parent.is_supported,
                    parent.sweeps,
                )
            )

    def _imbalance(self) -> float:
        sums = []
        for side in (1, -1):
            reach = self._touch(side) - side * 2.0 * self._ticks_per_bps
            sums.append(sum(lots for price, lots in self.book.depth(side, 200) if (price - reach) * side > 0))
        return (sums[0] - sums[1]) / max(1, sums[0] + sums[1])

    def _answer(self, side: int, is_supported: bool) -> None:
        # Makers who believe the whale add on its side and step back from the other, and lean for seconds;
        # makers who do not, fill what it took.
        if is_supported:
            self._lean += 1.0 * side
            for delay in (0.002, 0.05, 0.15):
                self._after(delay + 0.008 * self._exponential(), partial(self._on_retreat, -side))
        else:
            self._lean -= 0.4 * side
        supported = side if is_supported else -side
        for _ in range(12):
            self._after(0.004 + 0.04 * self._exponential(), partial(self._on_support, supported))

    def _on_retreat(self, side: int) -> None:
        best = self._touch(side)
        for price, _ in self.book.depth(side, 200):
            if (best - price) * side > 2.5 * self._ticks_per_bps:
                return
            if self._uniform() < 0.5:
                self._withdraw(side, price, 1_000_000)

    def _on_support(self, side: int) -> None:
        best = self._touch(side)
        if best > 0:
            price = best - side * int(1.5 * self._uniform() * self._ticks_per_bps)
            lots = self._lots(0.2 * self.spec.support * self.spec.touch_quote * self._exponential())
            self._place(side, price, lots, 0.8 + 2.0 * self._exponential())

    def _on_iceberg(self) -> None:
        self._after(self._gap_s(0.05), self._on_iceberg)
        spec = self.spec
        side = self._side(0.5)
        best = self._touch(side)
        price = best - side * int(0.4 * self._uniform() * self._ticks_per_bps)
        display = self._lots(0.08 * spec.touch_quote * (0.5 + self._uniform()))
        lots = display * (5 + int(15 * self._uniform()))
        life = 8.0 + 20.0 * self._exponential()
        order_id = self._place(side, price, lots, life, display) if best > 0 else 0
        if order_id > 0:
            self._tell(
                PlantedIceberg(
                    order_id,
                    SIDE_NAMES[side],
                    round(price * spec.tick, spec.tick_decimals),
                    round(display * spec.lot, spec.lot_decimals),
                    round(lots * spec.lot, spec.lot_decimals),
                    self.now_ns,
                    self.now_ns + int(life * 1e9),
                )
            )
