"""Slow twin of the gate: exact fractions, sums made anew for every question, all orders kept."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

BUY, SELL = 1, -1
LIMIT, MARKET, STOP_MARKET = range(3)
MONEY_MAX = 2**110
MAX_UNITS = 2**62 - 1
SECOND_NS = 10**9


@dataclass
class SlowInstrument:
    """Limits, position and leaves of one instrument."""

    epoch: int
    tick: int
    step: int
    price_digits: int
    quantity_digits: int
    min_notional_money: int
    max_order_money: int
    max_position_money: int
    price_band_bps: Fraction
    is_futures: bool
    position: int = 0
    mark: int = 0
    entering: dict[int, int] = field(default_factory=lambda: {BUY: 0, SELL: 0})
    reducing: dict[int, int] = field(default_factory=lambda: {BUY: 0, SELL: 0})

    def money(self, price: int, quantity: int) -> Fraction:
        return Fraction(price * quantity * 10**8, 10 ** (self.price_digits + self.quantity_digits))

    def exposure(self, price: int, extra_buy: int = 0, extra_sell: int = 0) -> int:
        worst_long = self.position + self.entering[BUY] + extra_buy
        worst_short = self.position - self.entering[SELL] - extra_sell
        size = max(abs(worst_long), abs(worst_short))
        if not price:
            return MONEY_MAX if size else 0
        return min(MONEY_MAX, ceil(self.money(price, size)))

    def is_in_band(self, price: int, bid: int, ask: int) -> bool:
        mid = Fraction(bid + ask, 2)
        return abs(price - mid) / mid * 10_000 <= self.price_band_bps


class SlowGate:
    """The gate as one would tell it."""

    def __init__(self, max_orders_per_s: int, max_gross_money: int) -> None:
        self.max_orders_per_s, self.max_gross_money = max_orders_per_s, max_gross_money
        self.instruments: dict[int, SlowInstrument] = {}
        self.noted: list[int] = []
        self.wanted = 0

    @property
    def gross_money(self) -> int:
        return sum(one.exposure(one.mark) for one in self.instruments.values())

    def review(
        self,
        *,
        index: int,
        epoch: int,
        side: int,
        kind: int,
        price: int,
        quantity: int,
        is_reducing: bool,
        now_ns: int,
        best_bid: int,
        best_ask: int,
        is_valid: bool,
    ) -> str:
        one = self.instruments.get(index)
        has_book = is_valid and 0 < best_bid < best_ask <= MAX_UNITS
        if not is_reducing and self.wanted:
            return "halted" if self.wanted == 2 else "reducing"
        if not is_reducing and not has_book:
            return "book_invalid"
        if one is None or epoch != one.epoch:
            return "old_epoch"
        if quantity <= 0 or quantity > MAX_UNITS or quantity % one.step:
            return "bad_quantity"
        if kind == MARKET and price != 0:
            return "bad_price"
        if kind != MARKET and (price <= 0 or price > MAX_UNITS or price % one.tick):
            return "bad_price"
        if kind == LIMIT and has_book and not one.is_in_band(price, best_bid, best_ask):
            return "price_band"
        own = price
        if kind == MARKET:
            own = 0 if not has_book else best_ask if side == BUY else best_bid
        notional = one.money(own, quantity)
        if is_reducing:
            if not one.is_futures and own and floor(notional) < one.min_notional_money:
                return "too_small"
            is_hard_stop = one.is_futures and kind == STOP_MARKET
            free = abs(one.position) - (0 if is_hard_stop else one.reducing[side])
            return "over_reduce" if one.position * side >= 0 or quantity > free else "fine"
        if notional < one.min_notional_money:
            return "too_small"
        if notional > one.max_order_money:
            return "order_notional"
        at = max(price, best_ask)
        exposure = one.exposure(at, quantity if side == BUY else 0, quantity if side == SELL else 0)
        if exposure > one.max_position_money:
            return "position_notional"
        if self.gross_money - one.exposure(one.mark) + exposure > self.max_gross_money:
            return "gross_notional"
        if sum(now_ns - at_ns < SECOND_NS for at_ns in self.noted) >= self.max_orders_per_s:
            return "order_rate"
        return "fine"
