"""The trades of a market, its past and its present as one list: what the venue's REST answers are made of."""

from engine.sim.aggregates import TradeLog
from engine.sim.messages import Aggregate, Deal
from engine.sim.pasttrades import PastTrades

MS = 1_000_000


class AllTrades:
    """
    Trades and aggregate trades by id and by time.

    Parameters
    ----------
    past : PastTrades
    log : TradeLog
        Its ids follow on the past's.
    """

    def __init__(self, past: PastTrades, log: TradeLog) -> None:
        self._past = past
        self._log = log
        self._live_id = log.first_id
        self._live_aggregate_id = log.first_aggregate_id

    def recent(self, limit: int) -> list[Deal]:
        """Return the last trades, at most `limit`, oldest first."""
        return self.since(self._log.next_id - limit, limit)

    def since(self, first_id: int, limit: int) -> list[Deal]:
        """Return trades from an id on, at most `limit`, oldest first."""
        found = self._past.deals(first_id, limit) if first_id < self._live_id else []
        if len(found) < limit:
            found += self._log.deals(max(first_id, self._live_id), limit - len(found))
        return found

    def last(self) -> Deal:
        """Return the last trade."""
        return self.recent(1)[0]

    def aggregates(
        self, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int, now_ns: int
    ) -> list[Aggregate]:
        """
        Return aggregate trades, oldest first.

        Parameters
        ----------
        from_id : int or None
            From this id on.
        start_ms, end_ms : int or None
            Venue times, both included. With an end alone the last before it, with neither nor an id the last.
        limit : int
        now_ns : int
            What is not told by then is not answered.
        """
        log = self._log
        end_id = log.first_aggregate_id + log.told_by(now_ns)
        if end_ms is not None:
            end_id = min(end_id, self._id_at((end_ms + 1) * MS))
        if from_id is None and start_ms is None:
            first_id = end_id - limit
        else:
            first_id = max(from_id or 0, self._id_at(start_ms * MS) if start_ms is not None else 0)
        count = min(limit, end_id - first_id) if first_id < end_id else 0
        if count <= 0:
            return []
        found = self._past.aggregates(first_id, count) if first_id < self._live_aggregate_id else []
        begin = max(first_id, self._live_aggregate_id, log.first_aggregate_id) - log.first_aggregate_id
        end = min(log.told_by(now_ns), begin + count - len(found), end_id - log.first_aggregate_id)
        found = [row for row in found if row.aggregate_id < end_id]
        return [*found, *(log.aggregate(number) for number in range(begin, end))]

    def _id_at(self, venue_ns: int) -> int:
        if venue_ns < self._past.end_ns:
            found = self._past.aggregate_at(venue_ns)
            if found <= self._past.last_aggregate_id:
                return found
        return self._log.first_aggregate_id + self._log.number_at(venue_ns)
