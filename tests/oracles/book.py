"""Slow twin of the book: a dict a side, sorted when somebody asks; and the depth messages of a recording."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from heapq import nlargest, nsmallest
from pathlib import Path

import orjson

Levels = list[tuple[int, int]]

BUY, SELL = 1, -1
LARGEST_PRICE = 2**62 - 1


class SlowBook:
    """The same constructor arguments and the same faces as `native.book.Book`.

    The window is known to it only to decide which levels count towards the bound of the far ones.
    """

    def __init__(self, *, tick: int = 1, window_bits: int = 16, far_capacity: int = 32_768) -> None:
        self.tick, self.window, self.far_capacity = tick, 1 << window_bits, far_capacity
        self.dropped_levels = self.bad_levels = self.recentres = 0
        self.apply_clear()

    def apply_clear(self) -> None:
        self.sides: dict[int, dict[int, int]] = {BUY: {}, SELL: {}}
        self.unknown_from: dict[int, int | None] = {BUY: None, SELL: None}
        self.far: dict[int, set[int]] = {BUY: set(), SELL: set()}
        self.middle: int | None = None

    def is_far(self, side: int, price: int) -> bool:
        if self.middle is None or price % self.tick:
            return True
        first = (side * self.middle - self.window // 2) // 64 * 64
        return not first <= side * (price // self.tick) < first + self.window

    def drop_excess(self, side: int) -> None:
        far = self.far[side]
        while len(far) > self.far_capacity:
            farthest = min(far) if side == BUY else max(far)
            far.remove(farthest)
            del self.sides[side][farthest]
            self.dropped_levels += 1
            self.know_up_to(side, farthest + side)

    def know_up_to(self, side: int, price: int) -> None:
        known = self.unknown_from[side]
        nearer = max if side == BUY else min
        self.unknown_from[side] = price if known is None else nearer(known, price)

    def apply_level(self, side: int, price: int, quantity: int) -> int:
        if not 1 <= price <= LARGEST_PRICE or quantity < 0:
            self.bad_levels += 1
            return 0
        levels = self.sides[side]
        old = levels.pop(price, 0)
        self.far[side].discard(price)
        if quantity:
            levels[price] = quantity
            if self.is_far(side, price):
                self.far[side].add(price)
                self.drop_excess(side)
        return levels.get(price, 0) - old

    def apply_settle(self) -> None:
        best = [price for price in (self.best_bid, self.best_ask) if price]
        if best:
            middle = sum(best) // len(best) // self.tick
            if self.middle is None or abs(middle - self.middle) > self.window // 4:
                self.centre(middle)

    def centre(self, middle: int) -> None:
        self.recentres += self.middle is not None
        self.middle = middle
        for side in (BUY, SELL):
            self.far[side] = {price for price in self.sides[side] if self.is_far(side, price)}
            self.drop_excess(side)

    def apply_snapshot(self, bids: Levels, asks: Levels, *, is_complete: bool) -> None:
        self.apply_clear()
        good = {
            side: [
                (price, quantity)
                for price, quantity in levels
                if 1 <= price <= LARGEST_PRICE and quantity > 0
            ]
            for side, levels in ((BUY, bids), (SELL, asks))
        }
        best = [max(good[BUY])[0]] if good[BUY] else []
        best += [min(good[SELL])[0]] if good[SELL] else []
        if best:
            self.centre(sum(best) // len(best) // self.tick)
        if good[BUY] and not is_complete:
            self.know_up_to(BUY, min(good[BUY])[0])
        if good[SELL] and not is_complete:
            self.know_up_to(SELL, max(good[SELL])[0])
        for side, levels in ((BUY, bids), (SELL, asks)):
            for price, quantity in levels:
                self.apply_level(side, price, quantity)

    @property
    def best_bid(self) -> int:
        return max(self.sides[BUY], default=0)

    @property
    def best_ask(self) -> int:
        return min(self.sides[SELL], default=0)

    @property
    def horizons(self) -> tuple[int, int]:
        return self.unknown_from[BUY] or 0, self.unknown_from[SELL] or 0

    @property
    def n_levels(self) -> tuple[int, int]:
        return len(self.sides[BUY]), len(self.sides[SELL])

    @property
    def n_far_levels(self) -> tuple[int, int]:
        return len(self.far[BUY]), len(self.far[SELL])

    def quantity(self, side: int, price: int) -> int:
        return self.sides[side].get(price, 0)

    def levels(self, side: int, n: int) -> Levels:
        best = nlargest if side == BUY else nsmallest
        return best(n, self.sides[side].items())

    def all_levels(self, side: int) -> Levels:
        return sorted(self.sides[side].items(), reverse=side == BUY)

    def top_sum(self, side: int, n: int) -> int:
        return sum(quantity for _, quantity in self.levels(side, n))

    def sum_between(self, side: int, low: int, high: int) -> int:
        return sum(quantity for price, quantity in self.sides[side].items() if low <= price <= high)


@dataclass(frozen=True, slots=True)
class DepthMessage:
    """A snapshot or an update, in units; `previous_id` is -1 on spot and of snapshots."""

    is_snapshot: bool
    first_id: int
    final_id: int
    previous_id: int
    bids: Levels
    asks: Levels


def read_depth(paths: list[Path], price_digits: int, quantity_digits: int) -> Iterator[DepthMessage]:
    """Read depth messages of recordings of one instrument: a general JSON reader and `Decimal`."""

    def units(levels: list[list[str]]) -> Levels:
        found = []
        for price, quantity in levels:
            scaled = Decimal(price).scaleb(price_digits), Decimal(quantity).scaleb(quantity_digits)
            assert scaled[0] == int(scaled[0])
            assert scaled[1] == int(scaled[1])
            found.append((int(scaled[0]), int(scaled[1])))
        return found

    for path in paths:
        with gzip.open(path) as lines:
            for line in lines:
                if b'"depthUpdate"' not in line and b'"lastUpdateId"' not in line:
                    continue
                message = orjson.loads(line.split(b" ", 1)[1])
                if "lastUpdateId" in message:
                    last_id = message["lastUpdateId"]
                    sides = units(message["bids"]), units(message["asks"])
                    yield DepthMessage(True, last_id, last_id, -1, *sides)
                else:
                    update = message["data"]
                    sides = units(update["b"]), units(update["a"])
                    yield DepthMessage(False, update["U"], update["u"], update.get("pu", -1), *sides)
