"""Slow twin of pulled additions: keep every change, and go through the window price by price."""

import math
from collections import defaultdict
from dataclasses import dataclass

CHANGES = 16_384
PRICES = 3_072


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a level, or what traded at a price; side is of the book."""

    recv_ns: int
    side: int
    price: int
    quantity: int
    is_trade: bool


def pulled_share(changes: list[Change], side: int, begin_ns: int, end_ns: int) -> float:
    kept = changes[-CHANGES:]
    if len(changes) > CHANGES and kept[0].recv_ns > begin_ns:
        return math.nan
    by_price: defaultdict[int, list[Change]] = defaultdict(list)
    for change in kept:
        if begin_ns < change.recv_ns <= end_ns and change.side == side:
            by_price[change.price].append(change)
    if len(by_price) > PRICES:
        return math.nan
    added = pulled = 0
    for at_price in by_price.values():
        standing = tape = 0
        for change in at_price:
            if change.is_trade:
                tape += change.quantity
            elif change.quantity > 0:
                standing += change.quantity
                added += change.quantity
            else:
                taken = min(tape, -change.quantity)
                tape -= taken
                gone = min(standing, -change.quantity - taken)
                standing -= gone
                pulled += gone
    return float(pulled) / float(added) if added else 0.0
