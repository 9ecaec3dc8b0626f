"""A synthetic market: makers around a moving fair value, clustered takers, whales that work parent orders.

Everything follows from the specification and the seed. The crowd trades on a `Matching` in ticks and lots; others may
put their orders into the same book. It reads only the book and its own draws, so it answers to what others do.
"""

import heapq
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from native.matching import Matching, OrderLife

Market = Literal["spot", "usdm"]

NS = 1_000_000_000
FAIR_STEP_NS = 50_000_000
FAIR_STEP_S = FAIR_STEP_NS / NS
GTX = int(OrderLife.LIFE_GTX)
IOC = int(OrderLife.LIFE_IOC)


@dataclass(frozen=True, slots=True)
class CrowdSpec:
    """
    What one synthetic market is like.

    Rates are means in the regime NORMAL. `quote` amounts are in the quote asset, distances in basis points of the
    price, times in seconds.
    """

    symbol: str
    market: Market
    start_price: float
    tick_decimals: int
    price_zeros: int  # zeros the venue's text adds behind the tick
    lot_decimals: int
    quantity_zeros: int
    orders_per_bps: float  # resting orders per side near the touch
    order_quote: float  # mean size of one of them
    touch_quote: float  # size the best price tends to
    maker_rate: float  # new orders away from the touch, per second and side
    reach_bps: float  # median distance of new orders
    touch_rate: float  # actions at the best price, per second
    sweep_rate: float
    sweep_quote: float  # median
    sweep_sigma: float
    tail_quote: float  # start of the Pareto tail
    tail_cap: float
    whale_low: float
    whale_high: float
    whales_per_minute: float = 9.0
    sigma_bps: float = 0.8  # of the fair value, per square root of a second

    @property
    def tick(self) -> float:
        return 10.0**-self.tick_decimals

    @property
    def lot(self) -> float:
        return 10.0**-self.lot_decimals


def btcusdt(market: Market) -> CrowdSpec:
    """Return the specification that resembles BTCUSDT of August 2024."""
    if market == "spot":
        return CrowdSpec(
            symbol="BTCUSDT",
            market="spot",
            start_price=61_800.0,
            tick_decimals=2,
            price_zeros=6,
            lot_decimals=5,
            quantity_zeros=3,
            orders_per_bps=30.0,
            order_quote=8_500.0,
            touch_quote=150_000.0,
            maker_rate=75.0,
            reach_bps=3.2,
            touch_rate=26.0,
            sweep_rate=20.0,
            sweep_quote=200.0,
            sweep_sigma=2.0,
            tail_quote=4_500.0,
            tail_cap=90_000.0,
            whale_low=270_000.0,
            whale_high=900_000.0,
        )
    return CrowdSpec(
        symbol="BTCUSDT",
        market="usdm",
        start_price=61_800.0,
        tick_decimals=1,
        price_zeros=1,
        lot_decimals=3,
        quantity_zeros=0,
        orders_per_bps=60.0,
        order_quote=10_000.0,
        touch_quote=215_000.0,
        maker_rate=330.0,
        reach_bps=5.9,
        touch_rate=85.0,
        sweep_rate=20.0,
        sweep_quote=1_100.0,
        sweep_sigma=1.9,
        tail_quote=25_000.0,
        tail_cap=300_000.0,
        whale_low=480_000.0,
        whale_high=1_200_000.0,
    )


class ParentSweep(msgspec.Struct, frozen=True):
    """One sweep of a parent order."""

    venue_ns: int
    first_trade_id: int
    last_trade_id: int
    quantity: float
    first_price: float


class ParentOrder(msgspec.Struct, frozen=True, tag="parent"):
    """A whale: an order worked as one to many sweeps; told when its last sweep is done."""

    side: Literal["BUY", "SELL"]
    quantity: float
    notional: float
    start_ns: int
    end_ns: int
    is_supported: bool
    sweeps: list[ParentSweep]


class PlantedIceberg(msgspec.Struct, frozen=True, tag="iceberg"):
    """A hidden order; told when it is planted."""

    order_id: int
    side: Literal["BUY", "SELL"]
    price: float
    display: float
    quantity: float
    start_ns: int
    end_ns: int


class FairValue(msgspec.Struct, frozen=True, tag="fair"):
    """The value the makers quote around, each second."""

    venue_ns: int
    price: float
    sigma_bps: float
    lean: float


class RegimeChange(msgspec.Struct, frozen=True, tag="regime"):
    """Activity and volatility change together."""

    venue_ns: int
    regime: Literal["CALM", "NORMAL", "WILD"]
    activity: float


Truth = ParentOrder | PlantedIceberg | FairValue | RegimeChange

REGIMES: tuple[tuple[Literal["CALM", "NORMAL", "WILD"], float, float], ...] = (
    ("CALM", 0.65, 0.6),
    ("NORMAL", 1.0, 1.0),
    ("WILD", 1.8, 1.7),
)


def endless(draw: Callable[[int], np.ndarray]) -> Iterator[float]:
    """Yield draws one by one, taken from the generator in blocks."""
    while True:
        yield from draw(4096).tolist()


@dataclass(slots=True)
class Parent:
    side: int
    weights: list[float]
    quote: float
    supported: bool
    start_ns: int
    sweeps: list[ParentSweep]
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
        The book to trade on, empty; a new one if not given. Prices are ticks, quantities lots. After each `act`
        the caller must drain the events; the orders of the crowd have owner 0.
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
        self.now_ns = start_ns
        self.first_trade_id = first_trade_id
        self.n_sweeps = 0
        self.n_parents = 0
        self._tell = on_truth
        salt = zlib.crc32(f"{spec.symbol} {spec.market}".encode())
        roots = [
            np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence([seed, salt]).spawn(4)
        ]
        self._uniform = endless(roots[0].random).__next__
        self._normal = endless(roots[1].standard_normal).__next__
        self._exponential = endless(roots[2].standard_exponential).__next__
        self._children = endless(lambda n: roots[3].poisson(0.6, n)).__next__
        self._ticks_per_bps = spec.start_price * 1e-4 / spec.tick
        self._lots_per_quote = 1.0 / (spec.start_price * spec.lot)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
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
        self._after(self._gap_s(0.4 * spec.sweep_rate), self._on_taker_arrival)
        self._after(self._gap_s(spec.whales_per_minute / 60), self._on_parent)
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
        self.now_ns, _, action, arguments = heapq.heappop(self._heap)
        action(*arguments)
        matching = self.matching
        if not self._is_closing and matching.best_ask - matching.best_bid != 1:
            self._is_closing = True
            self._after(0.0003 + 0.002 * self._exponential(), self._on_close)

    def _after(self, seconds: float, action: Callable[..., None], *arguments: object) -> None:
        self._n_scheduled += 1
        when = self.now_ns + max(1_000, int(seconds * 1e9))
        heapq.heappush(self._heap, (when, self._n_scheduled, action, arguments))

    def _gap_s(self, rate: float) -> float:
        return self._exponential() / (rate * REGIMES[self._regime][1])

    # -- makers

    def _life_s(self, distance_bps: float) -> float:
        # Arrivals fall with distance as (1 + x/s)^-2; lifetimes rise as its inverse, so density is flat out to
        # 30 bps and falls as a power law behind.
        spec = self.spec
        at_touch = spec.orders_per_bps * spec.reach_bps / spec.maker_rate
        return at_touch * (1.0 + min(distance_bps, 30.0) / spec.reach_bps) ** 2

    def _order_lots(self) -> int:
        quote = self.spec.order_quote * math.exp(1.4 * self._normal() - 0.98)
        return max(1, int(quote * self._lots_per_quote))

    def _place(self, side: int, price: int, lots: int, life_s: float, display: int = 0) -> int:
        order_id = self.matching.apply_order(side, price, lots, life=GTX, display=display)
        if order_id > 0:
            self._after(life_s, self._on_cancel, order_id)
        return order_id

    def _on_cancel(self, order_id: int) -> None:
        self.matching.apply_cancel(order_id)

    def _plant_book(self) -> None:
        spec = self.spec
        middle = int(self.fair)
        for side, best in ((1, middle), (-1, middle + 1)):
            for _ in range(8):
                self._place_touch(side, best, 0.2)
            for _ in range(int(spec.orders_per_bps * 60)):
                # Flat to 30 bps, power law behind: each holds half.
                u = self._uniform()
                distance = 60.0 * u if u < 0.5 else 15.0 / (1.0 - u)
                price = best - side * int(distance * self._ticks_per_bps)
                if price > 0:
                    self._place(side, price, self._order_lots(), self._exponential() * self._life_s(distance))
        self.matching.drain_events()
        self.matching.drain_changes()

    def _on_maker(self) -> None:
        self._after(self._gap_s(2 * self.spec.maker_rate), self._on_maker)
        u = self._uniform()
        distance = self.spec.reach_bps * u / (1.0 - u)
        lean = self._lean if distance < 3.0 else 0.0
        side = 1 if self._uniform() < 0.5 + 0.5 * math.tanh(lean) else -1
        best = self.matching.best_bid if side > 0 else self.matching.best_ask
        if best == 0:
            return
        price = best - side * int(distance * self._ticks_per_bps)
        if price > 0:
            life = self._exponential() * self._life_s(distance) * math.exp(side * lean)
            self._place(side, price, self._order_lots(), life)

    def _place_touch(self, side: int, price: int, share: float) -> None:
        quote = self.spec.touch_quote * share * math.exp(0.9 * self._normal() - 0.4)
        if self._uniform() < 0.4:
            quote *= 0.01
        self._place(side, price, max(1, int(quote * self._lots_per_quote)), 3.0 * self._exponential())

    def _on_touch(self) -> None:
        self._after(self._gap_s(self.spec.touch_rate), self._on_touch)
        self._join_touch()

    def _join_touch(self) -> None:
        matching = self.matching
        side = 1 if self._uniform() < 0.5 + 0.3 * math.tanh(self._lean) else -1
        best = matching.best_bid if side > 0 else matching.best_ask
        if best == 0:
            return
        target = self.spec.touch_quote * self._lots_per_quote * math.exp(0.5 * side * self._lean)
        shown = matching.displayed(side, best)
        if shown < target:
            self._place_touch(side, best, 0.25)
        else:
            self._withdraw(side, best, 1)

    def _withdraw(self, side: int, price: int, limit: int) -> None:
        for order_id in reversed(self.matching.queue(side, price)):
            found = self.matching.order(order_id)
            if found is not None and found[4] == 0:
                self.matching.apply_cancel(order_id)
                limit -= 1
                if limit == 0:
                    return

    def _on_close(self) -> None:
        self._is_closing = False
        matching = self.matching
        bid = matching.best_bid
        ask = matching.best_ask
        fair = int(self.fair)
        if bid == 0 and ask == 0:
            bid, ask = fair - 1, fair + 2
        elif bid == 0:
            bid = min(fair, ask) - 2
        elif ask == 0:
            ask = max(fair, bid) + 2
        new_bid = min(max(fair, bid), ask - 1)
        if new_bid > bid:
            self._place_touch(1, new_bid, 0.4)
        if new_bid + 1 < ask:
            self._place_touch(-1, new_bid + 1, 0.4)

    # -- fair value

    def _on_fair(self) -> None:
        self._after(FAIR_STEP_S, self._on_fair)
        spec = self.spec
        step = math.sqrt(FAIR_STEP_S)
        self._log_sigma += (
            -self._log_sigma * FAIR_STEP_S / 20 + 0.5 * math.sqrt(FAIR_STEP_S / 10) * self._normal()
        )
        sigma = spec.sigma_bps * REGIMES[self._regime][2] * math.exp(self._log_sigma - 0.12)
        self._walk_bps += 0.7 * sigma * step * self._normal()
        self._pull_bps += -self._pull_bps * FAIR_STEP_S / 8 + 0.7 * sigma * step * self._normal()
        if self._uniform() < 0.015 * FAIR_STEP_S:
            self._walk_bps += 3.0 * self._normal()
        self._lean += -self._lean * FAIR_STEP_S / 4 + 0.45 * math.sqrt(FAIR_STEP_S / 2) * self._normal()
        if self._uniform() < FAIR_STEP_S / 12:
            self._regime = (0, 1, 1, 2)[int(4 * self._uniform())]
            if self._tell is not None:
                name, activity, _ = REGIMES[self._regime]
                self._tell(RegimeChange(self.now_ns, name, activity))
        if self._tell is not None and self.now_ns >= self._next_told_ns:
            self._next_told_ns += NS
            self._tell(
                FairValue(self.now_ns, round(self.fair * spec.tick, 4), round(sigma, 4), round(self._lean, 4))
            )
        self._follow()

    def _follow(self) -> None:
        # The price stands until the fair value is further away than the tolerance; then it is taken or withdrawn.
        matching = self.matching
        bid, ask = matching.best_bid, matching.best_ask
        if bid == 0 or ask == 0:
            return
        fair = self.fair
        distance = (fair - 0.5 * (bid + ask)) / self._ticks_per_bps
        if abs(distance) < self._tolerance:
            return
        self._tolerance = 0.2 + 0.5 * self._exponential()
        side = 1 if distance > 0 else -1
        best = ask if side > 0 else bid
        if self._uniform() < 0.5:
            quote = self.spec.touch_quote * 0.5 * self._exponential()
            self._sweep(side, quote, int(fair))
            return
        for price, _ in matching.depth(-side, 64):
            if (price - fair) * side > 0:
                break
            self._withdraw(-side, price, 1_000_000)

    # -- takers

    def _sweep(self, side: int, quote: float, limit: int) -> int:
        lots = max(1, int(quote * self._lots_per_quote))
        before = self.matching.n_fills
        self.matching.apply_order(side, limit, lots, life=IOC)
        if self.matching.n_fills > before:
            self.n_sweeps += 1
            for _ in range(int(self._children())):
                self._after(0.0005 + 0.01 * self._exponential(), self._join_touch)
        return self.matching.last_filled

    def _on_taker_arrival(self) -> None:
        self._after(self._gap_s(0.4 * self.spec.sweep_rate), self._on_taker_arrival)
        matching = self.matching
        distance = (self.fair - 0.5 * (matching.best_bid + matching.best_ask)) / self._ticks_per_bps
        self._on_taker(1 if self._uniform() < 0.5 + 0.5 * math.tanh(1.5 * distance) else -1)

    def _on_taker(self, side: int) -> None:
        # A Hawkes process as a tree: each sweep has Poisson(0.6) children, soon or late, mostly of its own side.
        spec = self.spec
        for _ in range(int(self._children())):
            delay = 0.04 if self._uniform() < 0.6 else 1.2
            child = side if self._uniform() < 0.85 else -side
            self._after(0.001 + delay * self._exponential(), self._on_taker, child)
        if self._uniform() < 0.1:
            quote = min(spec.tail_cap, spec.tail_quote * math.exp(self._exponential() / 1.25))
        else:
            quote = min(spec.tail_cap, spec.sweep_quote * math.exp(spec.sweep_sigma * self._normal()))
        best = self.matching.best_ask if side > 0 else self.matching.best_bid
        if best > 0:
            self._sweep(side, quote, best + side * int(3 * self._ticks_per_bps))

    # -- whales

    def _on_parent(self) -> None:
        spec = self.spec
        self._after(self._gap_s(spec.whales_per_minute / 60), self._on_parent)
        lead = spec.whale_low * min(spec.whale_high / spec.whale_low, math.exp(self._exponential() / 1.8))
        u = self._uniform()
        if u < 0.55:
            weights = [1.0]
        elif u < 0.85:
            weights = [1.0] + [0.3 + 0.5 * self._uniform() for _ in range(1 + int(3 * self._uniform()))]
        else:
            n = 6 + int(10 * self._uniform())
            weights = [(0.6 + 0.8 * self._uniform()) / n for _ in range(n)]
        side = 1 if self._uniform() < 0.5 else -1
        parent = Parent(side, weights, lead, self._uniform() < 0.5, self.now_ns, [])
        self.n_parents += 1
        self._on_parent_sweep(parent)

    def _on_parent_sweep(self, parent: Parent) -> None:
        matching = self.matching
        spec = self.spec
        side = parent.side
        best = matching.best_ask if side > 0 else matching.best_bid
        weight = parent.weights.pop(0)
        if best > 0:
            before = matching.n_fills
            filled = self._sweep(side, parent.quote * weight, best + side * int(8 * self._ticks_per_bps))
            if matching.n_fills > before:
                after = matching.best_ask if side > 0 else matching.best_bid
                moved = abs(after - best) / self._ticks_per_bps if after else 0.0
                kept = 0.55 if parent.supported else 0.15
                self._walk_bps += side * moved * kept
                parent.notional += filled * spec.lot * best * spec.tick
                parent.sweeps.append(
                    ParentSweep(
                        self.now_ns,
                        self.first_trade_id + before,
                        self.first_trade_id + matching.n_fills - 1,
                        round(filled * spec.lot, spec.lot_decimals),
                        round(best * spec.tick, spec.tick_decimals),
                    )
                )
                if weight >= 0.3:
                    self._answer(side if parent.supported else -side)
        if parent.weights:
            self._after(0.03 + 0.35 * self._exponential(), self._on_parent_sweep, parent)
        elif self._tell is not None and parent.sweeps:
            quantity = sum(sweep.quantity for sweep in parent.sweeps)
            self._tell(
                ParentOrder(
                    "BUY" if side > 0 else "SELL",
                    round(quantity, spec.lot_decimals),
                    round(parent.notional, 2),
                    parent.start_ns,
                    self.now_ns,
                    parent.supported,
                    parent.sweeps,
                )
            )

    def _answer(self, side: int) -> None:
        # Makers take the side they believe in: fresh orders close to the touch, and a lean that lasts seconds.
        self._lean += 0.9 * side
        for _ in range(10):
            self._after(0.004 + 0.12 * self._exponential(), self._on_support, side)

    def _on_support(self, side: int) -> None:
        best = self.matching.best_bid if side > 0 else self.matching.best_ask
        if best > 0:
            price = best - side * int(1.5 * self._uniform() * self._ticks_per_bps)
            lots = max(1, int(0.3 * self.spec.touch_quote * self._exponential() * self._lots_per_quote))
            self._place(side, price, lots, 1.5 + 4.0 * self._exponential())

    def _on_iceberg(self) -> None:
        self._after(self._gap_s(0.05), self._on_iceberg)
        spec = self.spec
        side = 1 if self._uniform() < 0.5 else -1
        best = self.matching.best_bid if side > 0 else self.matching.best_ask
        if best == 0:
            return
        price = best - side * int(0.4 * self._uniform() * self._ticks_per_bps)
        display = max(1, int(0.12 * spec.touch_quote * (0.5 + self._uniform()) * self._lots_per_quote))
        lots = display * (5 + int(15 * self._uniform()))
        life = 8.0 + 20.0 * self._exponential()
        order_id = self._place(side, price, lots, life, display)
        if order_id > 0 and self._tell is not None:
            self._tell(
                PlantedIceberg(
                    order_id,
                    "BUY" if side > 0 else "SELL",
                    round(price * spec.tick, spec.tick_decimals),
                    round(display * spec.lot, spec.lot_decimals),
                    round(lots * spec.lot, spec.lot_decimals),
                    self.now_ns,
                    self.now_ns + int(life * 1e9),
                )
            )
