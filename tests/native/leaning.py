"""The imbalance and its slow twin, told the same and held to each other after every message."""

import math
from dataclasses import asdict

from native.book import Book
from native.imbalance import Imbalance
from tests.oracles.imbalance import Rules, SlowImbalance

MS = 10**6
SECOND = 10**9
BUY, SELL = 1, -1
Confirmation = tuple[int, float, float, float, int, float]


def same(first: object, second: object) -> bool:
    """Compare bit for bit; NaN equals NaN."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return first == second or (math.isnan(first) and math.isnan(second))
    return first == second


class Pair:
    """The room and its twin, told the same."""

    def __init__(self, rules: Rules, tick: int, window_bits: int = 16) -> None:
        self.book = Book(tick=tick, window_bits=window_bits)
        self.fast = Imbalance(self.book, **asdict(rules))  # type: ignore[arg-type]
        self.slow = SlowImbalance(rules, tick)

    def level(self, side: int, price: int, quantity: int, now_ns: int) -> None:
        self.fast.apply_level(side, price, quantity, now_ns)
        self.slow.set_level(side, price, quantity, now_ns)

    def trade(self, aggressor: int, price: int, quantity: int, now_ns: int) -> None:
        self.fast.apply_trade(aggressor, price, quantity, now_ns)
        self.slow.trade(aggressor, price, quantity, now_ns)

    def settle(self, now_ns: int) -> None:
        assert self.fast.apply_settle(now_ns) == self.slow.settle(now_ns)
        self.check()

    def hold(self) -> None:
        self.fast.apply_hold()
        self.slow.hold()
        self.check()

    def sample(self) -> None:
        self.fast.apply_sample()
        self.slow.sample()
        assert same(self.fast.medians(), self.slow.medians())

    def check(self) -> None:
        fast, slow = self.fast, self.slow
        if slow.band is not None:
            assert fast.band == slow.band
            assert fast.band_sums == slow.sums
        assert same(fast.rho, slow.rho)
        assert fast.order_flow == slow.order_flow
        assert same(fast.ofi, slow.ofi)
        assert fast.signal_side == (slow.heavy_side if slow.is_on else 0)
        assert fast.hold_due == slow.hold_due_ns

    def window(self, side: int, begin_ns: int, end_ns: int) -> tuple[float, float, int]:
        found = self.fast.window_rho(side, begin_ns, end_ns)
        assert same(found, self.slow.window(side, begin_ns, end_ns))
        return found

    def pulled(self, side: int, now_ns: int) -> float:
        found = self.fast.pulled(side, now_ns)
        assert same(found, self.slow.pulled(side, now_ns))
        return found

    def confirmation(self, side: int, first_ns: int, end_ns: int, now_ns: int) -> Confirmation:
        found = self.fast.confirmation(side, first_ns, end_ns, now_ns)
        assert same(found, self.slow.confirmation(side, first_ns, end_ns, now_ns))
        return found


def touch(pair: Pair, bids: int, asks: int, now_ns: int, middle: int = 100_000) -> None:
    """End a message with one level a side, so that rho = (bids - asks) / (bids + asks)."""
    pair.level(BUY, middle - 1, bids, now_ns)
    pair.level(SELL, middle + 1, asks, now_ns)
    pair.settle(now_ns)


# 15 bids against these asks make these imbalances, exact in binary.
ASKS = {0.5: 5, 0.25: 9, 0.0: 15, -0.5: 45, -0.75: 105}
EXACT = Rules(rho_enter=0.5, rho_floor=0.25, rho_pre_min=-0.5, pulled_max=0.5)


def rho(pair: Pair, value: float, at_ms: int, side: int = BUY) -> None:
    quantities = (15, ASKS[value])[::side]
    touch(pair, quantities[0], quantities[1], at_ms * MS)
