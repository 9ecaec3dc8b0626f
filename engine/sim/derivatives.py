"""What a perpetual has beside its book: index and mark price, funding, open interest, liquidations.

Once a second the index follows the middle of the book, the mark price is the median of three, and the funding
rate grows out of the mean premium. A liquidation is the largest sweep of a second that moved the price far:
its fills are trades like any other. Source: Binance, "Mark price and price index", "Introduction to funding
rates". Everything follows from the seed and the trades, whoever listens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.instruments import decimal_text
from engine.sim.crowd import endless
from engine.sim.klines import HOUR_NS, SECOND_NS
from engine.sim.listeners import Schedule, Stream
from engine.sim.markets import CrowdSpec
from engine.sim.messages import Deal, Messages

MS: Final = 1_000_000
Row = dict[str, object]
INTEREST: Final = 1e-4  # of eight hours
DAMPING: Final = 5e-4
MOST: Final = 3e-3
FORCED_MOVE: Final = 0.5  # of the standard deviation of a second; most seconds move nothing
KEPT: Final = 1_000


@dataclass(slots=True)
class Sweep:
    """What one taker order took."""

    taker: int
    is_buy: bool
    venue_ns: int
    quantity: int = 0
    notional: int = 0
    last_quantity: int = 0


class Derivatives:
    """
    Mark price, funding, open interest and liquidations of one USD-M market.

    Parameters
    ----------
    spec : CrowdSpec
    seed : int
    messages : Messages
    middle : callable
        Returns the middle of the book in ticks; 0 while a side is empty.
    close_at : callable
        Returns the price in ticks of the last trade before a venue time, for the fundings of the past.
    now, schedule : callable
    """

    def __init__(
        self,
        spec: CrowdSpec,
        seed: int,
        messages: Messages,
        middle: Callable[[], float],
        close_at: Callable[[int], int],
        *,
        now: Callable[[], int],
        schedule: Schedule,
    ) -> None:
        self._spec = spec
        self._messages = messages
        self._middle = middle
        self._close_at = close_at
        self._now = now
        self._schedule = schedule
        self._seed = seed
        self._hours = 8
        self._start_ns = now()
        draw = np.random.default_rng([seed, 31])
        self._normal = endless(draw.standard_normal).__next__
        self._uniform = endless(np.random.default_rng([seed, 32]).random).__next__
        self._before = self._index = self._settle = middle() or spec.start_price / spec.tick
        self._last = self._mark = self._index
        self._basis_bps = 0.0
        self._lead = 0.0  # mean of middle minus index, ticks
        self._premium = 0.0
        self._n_premiums = 0
        self._updated_ns = self._start_ns
        self._next_ns = self._next_funding(self._start_ns)
        self._fundings: list[tuple[int, float, float]] = []
        self._open_lots = max(1, int(2_000 * spec.touch_quote / (spec.start_price * spec.lot)))
        self._second_lots = 0
        self._sweep = Sweep(-1, is_buy=True, venue_ns=0)
        self._largest: dict[bool, Sweep] = {}
        name = messages.name
        self._force = Stream(f"{name}@forceOrder")
        self.streams: Final[dict[str, Stream]] = {self._force.name: self._force}
        self._marks: list[tuple[Stream, int]] = []
        for suffix, seconds in (("", 3), ("@1s", 1)):
            stream = self.streams[f"{name}@markPrice{suffix}"] = Stream(f"{name}@markPrice{suffix}")
            self._marks.append((stream, seconds * SECOND_NS))
        schedule(self._start_ns - self._start_ns % SECOND_NS + SECOND_NS, self._on_second)

    def add(self, deal: Deal, taker: int) -> None:
        """Take a trade of the book."""
        sweep = self._sweep
        if sweep.taker != taker:
            sweep = self._sweep = Sweep(taker, deal.is_buy, deal.venue_ns)
        sweep.quantity += deal.quantity
        sweep.notional += deal.quantity * deal.price
        sweep.last_quantity = deal.quantity
        self._last = deal.price
        self._second_lots += deal.quantity
        largest = self._largest.get(deal.is_buy)
        if largest is None or sweep.quantity > largest.quantity:
            self._largest[deal.is_buy] = sweep

    def set_hours(self, hours: int) -> None:
        """Let funding happen every so many hours of the day from now on."""
        if hours not in (1, 2, 4, 8):
            raise ValueError(f"Expected a funding interval of 1, 2, 4 or 8 hours, found {hours}.")
        self._hours = hours
        self._next_ns = self._next_funding(self._now())

    def premium_index(self) -> Row:
        """Return the answer of the premiumIndex endpoint."""
        return {
            "symbol": self._messages.symbol,
            "markPrice": self._text(self._mark),
            "indexPrice": self._text(self._index),
            "estimatedSettlePrice": self._text(self._settle),
            "lastFundingRate": _rate_text(self._rate()),
            "interestRate": _rate_text(INTEREST * self._hours / 8),
            "nextFundingTime": self._next_ns // MS,
            "time": self._updated_ns // MS,
        }

    def open_interest(self) -> Row:
        """Return the answer of the openInterest endpoint."""
        return {
            "symbol": self._messages.symbol,
            "openInterest": self._messages.quantity(self._open_lots),
            "time": self._updated_ns // MS,
        }

    def funding_history(self) -> list[Row]:
        """Return the fundings of the two days before the start and of all the time since."""
        rows: list[tuple[int, float, float]] = []
        at_ns = self._start_ns - 48 * HOUR_NS
        at_ns += -at_ns % (8 * HOUR_NS)
        while at_ns <= self._start_ns:
            rate = INTEREST + 4e-5 * np.random.default_rng([self._seed, 33, at_ns // SECOND_NS]).normal()
            rows.append((at_ns, rate, float(self._close_at(at_ns))))
            at_ns += 8 * HOUR_NS
        return [
            {
                "symbol": self._messages.symbol,
                "fundingTime": at // MS,
                "fundingRate": _rate_text(rate),
                "markPrice": self._text(mark),
                "rateType": "Regular",
            }
            for at, rate, mark in rows + self._fundings
        ]

    def _next_funding(self, now: int) -> int:
        return now - now % (self._hours * HOUR_NS) + self._hours * HOUR_NS

    def _rate(self) -> float:
        interest = INTEREST * self._hours / 8
        rate = self._premium + max(-DAMPING, min(DAMPING, interest - self._premium))
        return max(-MOST, min(MOST, rate))

    def _on_second(self, now: int) -> None:
        self._schedule(now + SECOND_NS, self._on_second)
        self._updated_ns = now
        middle = self._middle() or self._before
        self._basis_bps += 0.12 * self._normal() - 0.02 * self._basis_bps
        self._index += 0.15 * (middle * math.exp(1e-4 * self._basis_bps) - self._index)
        self._settle += (self._index - self._settle) / 1_800
        self._lead += (middle - self._index - self._lead) / 30
        self._n_premiums += 1
        self._premium += ((middle - self._index) / self._index - self._premium) / self._n_premiums
        left = (self._next_ns - now) / (self._hours * HOUR_NS)
        prices = (self._index * (1.0 + self._rate() * left), self._index + self._lead, self._last)
        self._mark = sorted(prices)[1]
        traded, self._second_lots = self._second_lots, 0
        self._open_lots = max(1, self._open_lots + int(traded * (self._uniform() - 0.5)))
        if now >= self._next_ns:
            self._fundings.append((self._next_ns, self._rate(), self._mark))
            del self._fundings[:-KEPT]
            self._next_ns = self._next_funding(now)
            self._premium, self._n_premiums = 0.0, 0
        for stream, period_ns in self._marks:
            if stream.sinks and now % period_ns == 0:
                self._tell_mark(stream, now)
        self._force_order(now, middle)
        self._before = middle
        self._largest.clear()

    def _force_order(self, now: int, middle: float) -> None:
        moved_bps = (middle - self._before) / self._before * 1e4
        is_buy = moved_bps > 0
        sweep = self._largest.get(is_buy)
        draw = self._uniform()
        if sweep is None or abs(moved_bps) < FORCED_MOVE * self._spec.sigma_bps or draw < 0.4:
            return
        text, decimals = self._messages, self._spec.tick_decimals
        average = sweep.notional * 10_000 // sweep.quantity
        # The price at which the position would have been worth nothing lies beyond what was paid.
        limit = sweep.notional * (1_006 if is_buy else 994) // (1_000 * sweep.quantity)
        quantity = text.quantity(sweep.quantity)

        def write(unit: int) -> str:
            return (
                f'{{"e":"forceOrder","E":{now // unit},"o":{{"s":"{text.symbol}",'
                f'"S":"{"BUY" if is_buy else "SELL"}","o":"LIMIT","f":"IOC","q":"{quantity}",'
                f'"p":"{text.price(limit)}","ap":"{decimal_text(average, decimals + 4)}","X":"FILLED",'
                f'"l":"{text.quantity(sweep.last_quantity)}","z":"{quantity}","T":{sweep.venue_ns // unit},'
                f'"ps":"{text.symbol}","st":1}}}}'
            )

        if self._force.sinks:
            self._force.tell(text.told(self._force.name, now, write))

    def _tell_mark(self, stream: Stream, now: int) -> None:
        mark, settle, index = (self._text(price) for price in (self._mark, self._settle, self._index))
        rate, next_ns, symbol = _rate_text(self._rate()), self._next_ns, self._messages.symbol

        def write(unit: int) -> str:
            return (
                f'{{"e":"markPriceUpdate","E":{now // unit},"s":"{symbol}","p":"{mark}","ap":"{mark}",'
                f'"P":"{settle}","i":"{index}","r":"{rate}","T":{next_ns // unit},"st":1}}'
            )

        stream.tell(self._messages.told(stream.name, now, write))

    def _text(self, ticks: float) -> str:
        return decimal_text(round(ticks * 10 ** (8 - self._spec.tick_decimals)), 8)


def _rate_text(rate: float) -> str:
    return decimal_text(round(rate * 10**8), 8)
