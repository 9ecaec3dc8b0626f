"""Slow twin of the paper account: fractions, every sum made anew from all that ever happened."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

BUY, SELL = 1, -1


@dataclass
class SlowOrder:
    """What was asked and what came of it; amounts in whole quote and base."""

    side: int
    price: Fraction
    left: Fraction
    is_reducing: bool
    is_waiting: bool
    fees: list[Fraction] = field(default_factory=list)
    proceeds: list[Fraction] = field(default_factory=list)
    charged: int = 0  # 10^-8


@dataclass
class SlowAccount:
    """The account as one would tell it: cash flows and averages, nothing kept that can be derived."""

    is_spot: bool
    in_base: bool
    maker: Fraction
    taker: Fraction
    leverage: int
    quote: Fraction
    base: Fraction
    position: Fraction = Fraction(0)
    average: Fraction = Fraction(0)
    flows: list[Fraction] = field(default_factory=list)  # of quote by trades, without fees
    fees_in_quote: int = 0
    fees_in_base: int = 0
    orders: dict[str, SlowOrder] = field(default_factory=dict)

    def need(self, order: SlowOrder) -> Fraction:
        if not self.is_spot:
            return Fraction(0)
        if order.side == SELL:
            return order.left
        value = order.price * order.left
        if self.in_base:
            return value
        dearest = max(Fraction(0), self.maker, self.taker)
        whole = ceil((sum(order.fees) + value * dearest) * 10**8)
        return value + Fraction(max(0, whole - order.charged), 10**8)

    def locked(self, side: int) -> Fraction:
        return sum((self.need(order) for order in self.orders.values() if order.side == side), Fraction(0))

    @property
    def quote_now(self) -> Fraction:
        return self.quote + sum(self.flows) - Fraction(self.fees_in_quote, 10**8)

    @property
    def base_now(self) -> Fraction:
        return self.base + self.position - Fraction(self.fees_in_base, 10**8)

    def equity(self, mark: Fraction) -> Fraction:
        base = self.base_now if self.is_spot else self.position
        return self.quote_now + base * mark

    def allowed(self, order: SlowOrder, mark: Fraction, *, is_immediate: bool) -> Fraction:
        """Return how much may be placed; 0 = refused."""
        if self.is_spot:
            there = self.quote_now if order.side == BUY else self.base_now
            return order.left if self.need(order) <= there - self.locked(order.side) else Fraction(0)
        if order.is_waiting:
            return order.left
        if order.is_reducing:
            if order.side * self.position >= 0:
                return Fraction(0)
            resting = (o.left for o in self.orders.values() if o.is_reducing and not o.is_waiting)
            room = abs(self.position) - (0 if is_immediate else sum(resting))
            return max(Fraction(0), min(order.left, room))
        before, after = self.margin(mark, None), self.margin(mark, order)
        means = self.wallet() + min(Fraction(0), self.position * (mark - self.average))
        return Fraction(0) if after > before and after > means else order.left

    def wallet(self) -> Fraction:
        # What the open position cost has left in cash, but is still ours.
        return self.quote_now + self.position * self.average

    def margin(self, mark: Fraction, extra: SlowOrder | None) -> Fraction:
        orders = [o for o in self.orders.values() if not o.is_waiting and not o.is_reducing]
        if extra is not None:
            orders.append(extra)
        buys = sum(o.left * o.price for o in orders if o.side == BUY)
        sells = sum(o.left * max(o.price, mark) for o in orders if o.side == SELL)
        held = self.position * mark
        return max(abs(held), held + buys, sells - held) / self.leverage

    def fill(self, name: str, price: Fraction, quantity: Fraction, *, is_maker: bool) -> int:
        order = self.orders[name]
        is_base = self.is_spot and self.in_base and order.side == BUY
        order.left -= quantity
        order.fees.append(
            (quantity if is_base else quantity * price) * (self.maker if is_maker else self.taker)
        )
        order.proceeds.append(quantity if order.side == BUY else quantity * price)
        due = ceil(sum(order.fees) * 10**8)
        if self.is_spot and (is_base or order.side == SELL):
            due = min(due, floor(sum(order.proceeds) * 10**8))
        told, order.charged = due - order.charged, due
        if is_base:
            self.fees_in_base += told
        else:
            self.fees_in_quote += told
        self.flows.append(-order.side * price * quantity)
        self._average(order.side * quantity, price)
        if order.left == 0:
            del self.orders[name]
        return told

    def _average(self, signed: Fraction, price: Fraction) -> None:
        before, after = self.position, self.position + signed
        if before * signed >= 0:
            self.average = (before * self.average + signed * price) / after
        elif before * after < 0:
            self.average = price
        elif after == 0:
            self.average = Fraction(0)
        self.position = after
