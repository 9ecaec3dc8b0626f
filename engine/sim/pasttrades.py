"""The trades of the two days before the crowd, minute by minute: as trades, as aggregates, as candles."""

from bisect import bisect_right
from functools import lru_cache
from typing import Final

import numpy as np
import orjson

from engine.sim.history import MINUTE_NS, History
from engine.sim.klines import SECOND_NS, Bar
from engine.sim.messages import Aggregate, Deal

MS: Final = 1_000_000


class PastTrades:
    """
    What a history says, in the terms of the live market.

    Cost: about 1 ms for a minute that was not asked for lately, some more for its aggregates. Candles of
    minutes are kept once drawn.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self.start_ns: Final = history.start_ns
        self.end_ns: Final = history.end_ns
        self.last_trade_id: Final = history.last_trade_id
        self.last_aggregate_id: Final = history.last_aggregate_id
        self.n_minutes: Final = history.n_minutes
        self._bars: dict[int, Bar] = {}
        self._aggregates = lru_cache(16)(self._read_aggregates)

    def bar(self, minute_ns: int) -> Bar | None:
        """Return the candle of the minute that begins at a venue time; None outside the two days."""
        index = (minute_ns - self.start_ns) // MINUTE_NS
        if not 0 <= index < self.n_minutes:
            return None
        found = self._bars.get(index)
        if found is None:
            found = self._bars[index] = self._bar(index, 0, -1)
        return found

    def second(self, second_ns: int) -> Bar | None:
        """Return the candle of a second; None where nothing was traded."""
        index = (second_ns - self.start_ns) // MINUTE_NS
        if not 0 <= index < self.n_minutes:
            return None
        times = self._history.minute(index).venue_ms
        begin, end = np.searchsorted(times, [second_ns // MS, (second_ns + SECOND_NS) // MS]).tolist()
        return self._bar(index, begin, end) if end > begin else None

    def deals(self, first_id: int, limit: int) -> list[Deal]:
        """Return trades from an id on, at most `limit`, oldest first; nothing before the two days."""
        found: list[Deal] = []
        for index in range(self._minute_of(first_id), self.n_minutes):
            if len(found) >= limit:
                break
            minute = self._history.minute(index)
            begin = max(0, first_id - minute.first_trade_id)
            found += [
                Deal(minute.first_trade_id + place, int(ms) * MS, int(price), int(lots), is_buy=bool(is_buy))
                for place, (ms, price, lots, is_buy) in enumerate(
                    zip(
                        minute.venue_ms[begin:].tolist(),
                        minute.price[begin:].tolist(),
                        minute.quantity[begin:].tolist(),
                        minute.is_buy[begin:].tolist(),
                        strict=True,
                    ),
                    begin,
                )
            ]
        return found[:limit]

    def aggregates(self, first_id: int, limit: int) -> list[Aggregate]:
        """Return aggregate trades from an id on, at most `limit`, oldest first."""
        index = bisect_right(
            range(self.n_minutes), first_id, key=lambda i: self._aggregates(i)[0].aggregate_id
        )
        found: list[Aggregate] = []
        for place in range(max(0, index - 1), self.n_minutes):
            if len(found) >= limit:
                break
            found += [row for row in self._aggregates(place) if row.aggregate_id >= first_id]
        return found[:limit]

    def aggregate_at(self, venue_ns: int) -> int:
        """Return the id of the first aggregate at or after a venue time; one after the last if none is."""
        index = max(0, (venue_ns - self.start_ns) // MINUTE_NS)
        if index < self.n_minutes:
            rows = self._aggregates(index)
            place = bisect_right(rows, venue_ns - 1, key=lambda row: row.venue_ns)
            return rows[0].aggregate_id + place
        return self.last_aggregate_id + 1

    def _minute_of(self, trade_id: int) -> int:
        index = bisect_right(
            range(self.n_minutes), trade_id, key=lambda i: self._history.minute(i).first_trade_id
        )
        return max(0, index - 1)

    def _bar(self, index: int, begin: int, end: int) -> Bar:
        minute = self._history.minute(index)
        part = slice(begin, None if end < 0 else end)
        price, lots, is_buy = minute.price[part], minute.quantity[part], minute.is_buy[part]
        notional = price * lots
        return Bar(
            int(price[0]),
            int(price.max()),
            int(price.min()),
            int(price[-1]),
            int(lots.sum()),
            int(notional.sum()),
            len(price),
            int(lots[is_buy].sum()),
            int(notional[is_buy].sum()),
            minute.first_trade_id + begin,
            minute.first_trade_id + begin + len(price) - 1,
        )

    def _read_aggregates(self, index: int) -> list[Aggregate]:
        begin_ns = self.start_ns + index * MINUTE_NS
        rows = orjson.loads(self._history.agg_trades(begin_ns, min(begin_ns + MINUTE_NS, self.end_ns)))
        minute = self._history.minute(index)
        found = []
        for row in rows:
            begin, end = row["f"] - minute.first_trade_id, row["l"] - minute.first_trade_id + 1
            quantity = int(minute.quantity[begin:end].sum())
            found.append(
                Aggregate(
                    row["a"],
                    row["T"] * MS,
                    int(minute.price[begin]),
                    quantity,
                    quantity,
                    row["f"],
                    row["l"],
                    is_buy=not row["m"],
                )
            )
        return found
