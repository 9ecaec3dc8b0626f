"""The paper-fill rule: what a market that never saw our orders would have given them.

Numbered as the code cites them:

1. A taker order takes what is displayed when it arrives, best price first, level by level to its limit.
2. What it took at a price is gone from what is displayed there: what is added later comes on top of it, what
   is withdrawn or traded later comes first out of what we left. It is forgotten as far as the venue displays
   less than that, and wholly when the price is empty.
3. A resting order stands behind all that is displayed at its price when it arrives, and behind our own older
   orders there. Only trades at that price against its side move it forward; cancels of others never do.
4. It fills by what a trade leaves after all that stood ahead, at its own price.
5. It fills wholly, at its own price, when a trade goes through it: prints at a worse price for its side. A
   print on what we took ourselves (2) is none: that quantity was gone.
6. While the book is not valid nothing is taken, and a resting order that arrives then has no place yet: it
   takes one when the book is valid again. Until then only trades through it count.

States are those at the end of a read: what came and went inside one read was never there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.signals import Side
from native.market import Market

LEVELS_AT_FIRST: Final = 32


class Print(NamedTuple):
    """One trade of the market: price units, quantity units, side of the aggressor."""

    price: int
    quantity: int
    aggressor: int


class Taken(NamedTuple):
    """A part of a taker order at one price."""

    price: int
    quantity: int


class Filled(NamedTuple):
    """What a read gave to one resting order, at the order's price."""

    name: str
    quantity: int


@dataclass(slots=True)
class RestingOrder:
    """One order of ours in the book. Its owner changes nothing of it.

    Attributes
    ----------
    ahead : displayed quantity that has yet to trade before it; None while it has no place (6).
    """

    name: str
    side: Side
    price: int
    leaves: int
    ahead: int | None


class PaperBook:
    """
    Our orders beside the book of one market.

    Parameters
    ----------
    market
        Fed by others; only read here.

    Notes
    -----
    Cost: a taker order is linear in the levels it takes, a read in our resting orders times its trades, plus
    the prices we took at. Nothing while there is none of ours.
    """

    __slots__ = ("_gone", "_market", "_resting")

    def __init__(self, market: Market) -> None:
        self._market = market
        self._gone: dict[tuple[int, int], int] = {}
        self._resting: dict[str, RestingOrder] = {}

    @property
    def resting(self) -> Mapping[str, RestingOrder]:
        """Our resting orders by name, oldest first; not to be changed."""
        return self._resting

    def would_take(self, side: Side, price: int) -> bool:
        """Return whether an order at `price` meets what is displayed on the other side."""
        best = self._market.best_ask if side > 0 else self._market.best_bid
        return best > 0 and (price - best) * int(side) >= 0

    def offers(self, side: Side, limit: int, quantity: int) -> list[Taken]:
        """
        Return what a taker order would get now (1); nothing changes.

        Parameters
        ----------
        side
            Of the taker.
        limit
            Worst price, 0 = any.
        quantity
            Most that is wanted.
        """
        market, opposite = self._market, -int(side)
        if not market.is_valid:
            return []
        n = LEVELS_AT_FIRST
        while True:
            found: list[Taken] = []
            wanted = quantity
            levels = market.book.levels(opposite, n)
            for price, displayed in levels:
                if wanted == 0 or (limit and (price - limit) * int(side) > 0):
                    return found
                part = min(wanted, displayed - self._gone.get((opposite, price), 0))
                if part > 0:
                    found.append(Taken(price, part))
                    wanted -= part
            if wanted == 0 or len(levels) < n:
                return found
            n *= 8

    def take(self, side: Side, limit: int, quantity: int) -> list[Taken]:
        """Take what `offers` says; it is gone then (2)."""
        found = self.offers(side, limit, quantity)
        for price, part in found:
            key = (-int(side), price)
            self._gone[key] = self._gone.get(key, 0) + part
        return found

    def rest(self, name: str, side: Side, price: int, quantity: int) -> None:
        """Put an order behind what is displayed at its price (3), or without a place for now (6)."""
        ahead = self._market.book.quantity(int(side), price) if self._market.is_valid else None
        self._resting[name] = RestingOrder(name, side, price, quantity, ahead)

    def cut(self, name: str, leaves: int) -> None:
        """Make an order smaller in its place; at 0, or if it does not rest, it is gone."""
        order = self._resting.get(name)
        if order is None:
            return
        order.leaves = min(order.leaves, leaves)
        if order.leaves <= 0:
            del self._resting[name]

    def on_read(self, prints: Iterable[Print]) -> list[Filled]:
        """Take the trades of one read, after the market has applied all of it; return fills in order."""
        found: list[Filled] = []
        if self._resting:
            for one in prints:
                self._meet(one, found)
            if self._market.is_valid:
                for order in self._resting.values():
                    if order.ahead is None:
                        order.ahead = self._market.book.quantity(int(order.side), order.price)
        self._settle()
        return found

    def _meet(self, one: Print, found: list[Filled]) -> None:
        left = one.quantity
        for order in list(self._resting.values()):
            side = int(order.side)
            beyond = (order.price - one.price) * side
            part = 0
            if beyond > 0 and not self._gone.get((-side, one.price)):
                part = order.leaves
            elif beyond == 0 and one.aggressor == -side and order.ahead is not None:
                passed = min(order.ahead, left)
                order.ahead -= passed
                part = min(order.leaves, left - passed)
                # Our younger orders at this price stand behind this one too: what it got they did not see.
                left -= part
            if part > 0:
                found.append(Filled(order.name, part))
                self.cut(order.name, order.leaves - part)

    def _settle(self) -> None:
        if not self._gone:
            return
        book = self._market.book
        for key, gone in list(self._gone.items()):
            displayed = book.quantity(*key)
            if displayed < gone:
                if displayed > 0:
                    self._gone[key] = displayed
                else:
                    del self._gone[key]
