"""Candles: what they are made of, and when those of each interval begin and end."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
WEEK_NS: Final = 7 * DAY_NS
MONDAY_NS: Final = 4 * DAY_NS  # 1970-01-05

INTERVALS: Final[dict[str, int]] = {
    **{f"{n}m": n * MINUTE_NS for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * HOUR_NS for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY_NS,
    "3d": 3 * DAY_NS,
    "1w": WEEK_NS,
    "1M": 0,
}


@dataclass(slots=True)
class Bar:
    """A candle: prices in ticks, quantities in lots, notionals in ticks times lots; ids -1 where empty."""

    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    notional: int = 0
    count: int = 0
    taker_volume: int = 0  # what takers bought
    taker_notional: int = 0
    first_id: int = -1
    last_id: int = -1

    def add(self, trade_id: int, price: int, quantity: int, *, is_buy: bool) -> None:
        """Count a trade in."""
        if self.count == 0:
            self.open = self.high = self.low = price
            self.first_id = trade_id
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.last_id = trade_id
        self.count += 1
        self.volume += quantity
        notional = price * quantity
        self.notional += notional
        if is_buy:
            self.taker_volume += quantity
            self.taker_notional += notional

    def absorb(self, later: "Bar") -> None:
        """Count in a candle that follows in time."""
        if later.count == 0:
            return
        if self.count == 0:
            self.open, self.high, self.low, self.first_id = later.open, later.high, later.low, later.first_id
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.last_id = later.last_id
        self.count += later.count
        self.volume += later.volume
        self.notional += later.notional
        self.taker_volume += later.taker_volume
        self.taker_notional += later.taker_notional


def open_of(interval: str, venue_ns: int) -> int:
    """Return when the candle of an interval begins that holds a venue time: `1s` or one of `INTERVALS`.

    Weeks begin on Monday, months on the first, all by UTC.
    """
    if interval == "1M":
        day = datetime.fromtimestamp(venue_ns // SECOND_NS, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * SECOND_NS
    if interval == "1w":
        return venue_ns - (venue_ns - MONDAY_NS) % WEEK_NS
    return venue_ns - venue_ns % (SECOND_NS if interval == "1s" else INTERVALS[interval])


def close_of(interval: str, open_ns: int) -> int:
    """Return when the candle that begins at `open_ns` ends: the beginning of the next."""
    if interval == "1M":
        return open_of(interval, open_ns + 32 * DAY_NS)
    return open_ns + (SECOND_NS if interval == "1s" else INTERVALS[interval])
