"""Slow twin of native.bars: keeps every trade, groups them by interval and sums from nothing."""

from dataclasses import dataclass

MINUTE = 60_000_000_000
WIDTHS = {
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": 60 * MINUTE,
    "4h": 240 * MINUTE,
    "1d": 1_440 * MINUTE,
}


@dataclass(frozen=True, slots=True)
class Print:
    trade_id: int
    price: int
    quantity: int
    venue_ns: int
    aggressor: int
    first_id: int
    last_id: int


Row = tuple[int, int, int, int, int, int, int, int, int, int, int, int, bool, bool]


def sum_up(prints: list[Print], open_ns: int, close_ns: int, has_gap: bool, is_closed: bool) -> Row:
    prices = [one.price for one in prints]
    return (
        open_ns,
        close_ns,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(one.quantity for one in prints),
        sum(one.quantity for one in prints if one.aggressor == 1),
        sum(one.price * one.quantity for one in prints),
        sum(max(one.last_id - one.first_id, 0) + 1 for one in prints),
        prints[0].first_id,
        prints[-1].last_id,
        has_gap,
        is_closed,
    )


class SlowBars:
    """Bars from the list of all trades taken in; a gap is remembered by its place in that list.

    With `is_corrected`, as in a market, a trade of a closed minute belongs to its bars; else it is left out.
    """

    def __init__(
        self,
        *,
        tick: int,
        volume_bar_quantity: int = 0,
        grace_ns: int = 1_000_000_000,
        is_corrected: bool = False,
    ) -> None:
        self.is_corrected = is_corrected
        self.tick, self.volume_bar_quantity, self.grace_ns = tick, volume_bar_quantity, grace_ns
        self.late_trades = 0
        self.skipped_trades = 0
        self.clear()

    def clear(self) -> None:
        self.prints: list[Print] = []
        # (number of trades before the gap, venue time up to which bars were closed then)
        self.gaps: list[tuple[int, int]] = [(0, 0)]
        # (venue time before, venue time behind) of trades known to be missing
        self.spans: list[tuple[int, int]] = []
        self.closed_until = 0

    def apply(self, one: Print, teaches: bool = True) -> None:
        if not teaches or one.price <= 0 or one.quantity <= 0:
            self.skipped_trades += 1
        elif one.venue_ns < self.closed_until and not self.is_corrected:
            self.late_trades += 1
        else:
            self.closed_until = max(self.closed_until, one.venue_ns // MINUTE * MINUTE)
            self.prints.append(one)

    def advance_to(self, venue_ns: int) -> None:
        boundary = (venue_ns - self.grace_ns) // MINUTE * MINUTE
        if boundary > 0:
            self.closed_until = max(self.closed_until, boundary)

    def note_gap(self, span: tuple[int, int] | None = None) -> None:
        self.gaps.append((len(self.prints), self.closed_until))
        if span:
            self.spans.append(span)

    def lacks_some(self, open_ns: int, close_ns: int) -> bool:
        return any(open_ns <= before and after < close_ns for after, before in self.spans)

    def has_gap(self, places: list[int], close_ns: int) -> bool:
        """Tell if a gap lies before one of these trades, or behind one while the bar was open."""
        members = set(places)
        return any(
            place in members or (places[0] < place and closed_until < close_ns)
            for place, closed_until in self.gaps
        )

    def all_bars(self, interval: str) -> list[Row]:
        width = WIDTHS[interval]
        groups: dict[int, list[int]] = {}
        for place, one in enumerate(self.prints):
            groups.setdefault(one.venue_ns // width * width, []).append(place)
        return [
            sum_up(
                [self.prints[place] for place in places],
                open_ns,
                open_ns + width,
                self.has_gap(places, open_ns + width) or self.lacks_some(open_ns, open_ns + width),
                open_ns + width <= self.closed_until,
            )
            for open_ns, places in sorted(groups.items())
        ]

    def bars(self, interval: str) -> list[Row]:
        return [bar for bar in self.all_bars(interval) if bar[-1]]

    def open_bar(self, interval: str) -> Row | None:
        still = [bar for bar in self.all_bars(interval) if not bar[-1]]
        return still[0] if still else None

    def all_volume_bars(self) -> list[Row]:
        rows: list[Row] = []
        held: list[int] = []
        for place, one in enumerate(self.prints):
            held.append(place)
            is_full = sum(self.prints[k].quantity for k in held) >= self.volume_bar_quantity
            is_last = place == len(self.prints) - 1
            if is_full or is_last:
                end = place if is_full else place + 1
                has_gap = any(held[0] <= gap <= end for gap, _ in self.gaps)
                members = [self.prints[k] for k in held]
                close_ns = one.venue_ns + 1 if is_full else 0
                rows.append(sum_up(members, members[0].venue_ns, close_ns, has_gap, is_full))
                held = []
        return rows

    def footprint(self, closed: bool = True) -> list[tuple[int, int, int]]:
        if not self.prints:
            return []
        units = max(1, self.prints[0].price // 10_000 // self.tick) * self.tick
        minutes = [bar for bar in self.all_bars("1m") if bar[-1] is closed]
        if not minutes:
            return []
        sides: dict[int, list[int]] = {}
        for one in self.prints:
            if one.venue_ns // MINUTE * MINUTE == minutes[-1][0] and one.aggressor != 0:
                buy_sell = sides.setdefault(one.price // units * units, [0, 0])
                buy_sell[0 if one.aggressor == 1 else 1] += one.quantity
        return [(price, sides[price][0], sides[price][1]) for price in sorted(sides)]
