"""The candles of all intervals of one market, its past and its present as one."""

from typing import Final

from engine.sim.klines import DAY_NS, MINUTE_NS, SECOND_NS, Bar, close_of, open_of
from engine.sim.messages import Deal
from engine.sim.pasttrades import PastTrades

MAX_MINUTES: Final = 60 * 24 * 60
MAX_SECONDS: Final = 2 * 24 * 3600


class KlineBook:
    """
    Candles, summed from the trades.

    Parameters
    ----------
    past : PastTrades
        What was before the live trades; the candle in which the two meet holds both.
    has_seconds : bool
        Whether candles of a second are kept (spot).

    Notes
    -----
    Candles before the past are not known; one that began before it has what the past has of it. A candle
    without trades stands at the close before it. Kept are sixty days of minutes and two of seconds.
    """

    def __init__(self, past: PastTrades, *, has_seconds: bool) -> None:
        self._past = past
        self._has_seconds = has_seconds
        self._minutes: dict[int, Bar] = {}
        self._seconds: dict[int, Bar] = {}
        self._minute_ns = self._second_ns = -1
        self._minute = self._second = Bar(0, 0, 0, 0)
        # Per interval: begin, up to which minute it is summed, and the sum.
        self._sums: dict[str, tuple[int, int, Bar]] = {}

    def add(self, deal: Deal) -> None:
        """Count a trade in; times never go back."""
        minute_ns = deal.venue_ns - deal.venue_ns % MINUTE_NS
        if minute_ns != self._minute_ns:
            self._minute_ns, self._minute = minute_ns, _opened(self._minutes, minute_ns, MAX_MINUTES)
        self._minute.add(deal.trade_id, deal.price, deal.quantity, is_buy=deal.is_buy)
        if self._has_seconds:
            second_ns = deal.venue_ns - deal.venue_ns % SECOND_NS
            if second_ns != self._second_ns:
                self._second_ns, self._second = second_ns, _opened(self._seconds, second_ns, MAX_SECONDS)
            self._second.add(deal.trade_id, deal.price, deal.quantity, is_buy=deal.is_buy)

    def bar(self, interval: str, open_ns: int, until_ns: int) -> Bar:
        """Return the candle that begins at `open_ns`, with all trades before `until_ns`' minute and in it.

        Cost: a dozen microseconds while the same candle grows; else the minutes it has are summed.
        """
        if interval == "1s":
            found = self._piece(open_ns, is_second=True)
        elif interval == "1m":
            found = self._piece(open_ns, is_second=False)
        else:
            found = self._sum(interval, open_ns, min(until_ns, close_of(interval, open_ns) - 1))
        if found is None or found.count == 0:
            close = self.close_before(open_ns)
            return Bar(close, close, close, close)
        return found

    def close_before(self, venue_ns: int) -> int:
        """Return the price of the last trade before a whole second; 0 when none is known."""
        if self._has_seconds and venue_ns % MINUTE_NS:
            for second_ns in range(venue_ns - SECOND_NS, venue_ns - venue_ns % MINUTE_NS - 1, -SECOND_NS):
                found = self._piece(second_ns, is_second=True)
                if found is not None:
                    return found.close
        minute_ns = venue_ns - venue_ns % MINUTE_NS - MINUTE_NS
        if minute_ns > self._minute_ns >= 0 and self._minute_ns >= self._past.end_ns - MINUTE_NS:
            minute_ns = self._minute_ns
        while minute_ns >= self._past.start_ns:
            found = self._piece(minute_ns, is_second=False)
            if found is not None:
                return found.close
            minute_ns -= MINUTE_NS
        return 0

    def first_open(self, interval: str) -> int:
        """Return when the oldest candle begins."""
        return open_of(interval, self._past.start_ns)

    def day(self, now_ns: int) -> tuple[int, Bar]:
        """Return the beginning of the last 24 hours and their sum: whole minutes, and the running one."""
        this_ns = now_ns - now_ns % MINUTE_NS
        begin_ns = this_ns - DAY_NS
        before = self._sums.get("24h")
        if before is None or before[0] != begin_ns:
            total = Bar(0, 0, 0, 0)
            for minute_ns in range(begin_ns, this_ns, MINUTE_NS):
                found = self._piece(minute_ns, is_second=False)
                if found is not None:
                    total.absorb(found)
            before = self._sums["24h"] = (begin_ns, this_ns, total)
        return begin_ns, self._with_minute(before[2], this_ns)

    def prepare(self) -> None:
        """Draw the candles of all the past; else it happens when they are first needed. Cost: 1 to 3 s."""
        for minute_ns in range(self._past.start_ns, self._past.end_ns, MINUTE_NS):
            self._past.bar(minute_ns)

    def _sum(self, interval: str, open_ns: int, until_ns: int) -> Bar:
        last_ns = until_ns - until_ns % MINUTE_NS
        known = self._sums.get(interval)
        if known is None or known[0] != open_ns or known[1] > last_ns:
            known = (open_ns, max(open_ns, self._past.start_ns), Bar(0, 0, 0, 0))
        _, done_ns, total = known
        if done_ns < last_ns:
            for minute_ns in range(done_ns, last_ns, MINUTE_NS):
                found = self._piece(minute_ns, is_second=False)
                if found is not None:
                    total.absorb(found)
            done_ns = last_ns
        self._sums[interval] = (open_ns, done_ns, total)
        return self._with_minute(total, last_ns)

    def _with_minute(self, total: Bar, minute_ns: int) -> Bar:
        whole = Bar(0, 0, 0, 0)
        whole.absorb(total)
        last = self._piece(minute_ns, is_second=False)
        if last is not None:
            whole.absorb(last)
        return whole

    def _piece(self, open_ns: int, *, is_second: bool) -> Bar | None:
        live = (self._seconds if is_second else self._minutes).get(open_ns)
        if open_ns >= self._past.end_ns:
            return live
        before = self._past.second(open_ns) if is_second else self._past.bar(open_ns)
        if live is None or before is None:
            return live if before is None else before
        whole = Bar(0, 0, 0, 0)
        whole.absorb(before)
        whole.absorb(live)
        return whole


def _opened(kept: dict[int, Bar], open_ns: int, limit: int) -> Bar:
    if len(kept) >= limit:
        del kept[next(iter(kept))]
    bar = kept[open_ns] = Bar(0, 0, 0, 0)
    return bar
