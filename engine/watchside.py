"""One venue's markets as they are watched: their rows, and how its connections stand."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from engine.ingest.status import FeedStatus
from engine.inputs import EventInput
from engine.scan import NOTHING_TOLD, Row, Scan, Watched
from engine.watchview import time_text

STATUS_NS: Final = 500_000_000
NEEDED: Final = ("depth", "trades")  # roles without which a market is not what it is now
NOTHING_COMES: Final = ("no socket", "silent")
ROUTINE: Final = ("clock", "subscribed", "refresh", "history")


class Live(Protocol):
    """Markets that are fed while `run` runs; `engine.live.LiveMarkets` is one."""

    @property
    def lanes(self) -> Sequence[Watched]: ...
    @property
    def events(self) -> Sequence[EventInput]:
        """What happened to the connections, newest last."""
        ...

    def status(self) -> FeedStatus | None:
        """Return where the streams stand; None where there are none."""
        ...

    async def run(self) -> None: ...


class Side:
    """One of the markets' venues: its markets, their scan, and what is known of its connections."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.lanes = live.lanes
        self.scan = Scan(live.lanes)
        self.market = live.lanes[0].instrument.kind.name.lower()
        self._told: Mapping[str, str] = NOTHING_TOLD
        self.trouble = ""
        self._last_rows: dict[str, Row] = {}
        self._looked_ns = -STATUS_NS

    def rows(self, now_ns: int) -> Sequence[Row]:
        """Return the rows now; what the connections tell is at most half a second old."""
        if now_ns - self._looked_ns >= STATUS_NS:
            self._looked_ns = now_ns
            status = self.live.status()
            if status is not None:
                self._told, self.trouble = connection_states(status), connection_trouble(status)
        rows = self.scan.rows(now_ns, self._told)
        self._last_rows.update({row.symbol: row for row in rows if row.state == "live"})
        return rows

    def held(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows; of markets where nothing comes any more the last picture that there was."""
        return [self._held(row) for row in rows]

    def _held(self, row: Row) -> Row:
        last = self._last_rows.get(row.symbol) if row.state in NOTHING_COMES else None
        if last is None:
            return row
        return msgspec.structs.replace(last, state=row.state, age_s=row.age_s, gap_s=row.gap_s)

    def last_event(self) -> EventInput | None:
        """Return the newest event that is no routine."""
        return next((one for one in reversed(self.live.events) if one.event not in ROUTINE), None)


def connection_states(status: FeedStatus) -> dict[str, str]:
    """Return states of symbols that the connections know better than their markets do.

    Without the socket of book or trades a market is "no socket", with a silent stream of either "silent".
    """
    is_refused = any(not one.connection and one.failures for one in status.connections)
    found = {}
    for lane in status.lanes:
        streams = [one for one in lane.streams if one.role in NEEDED]
        if any(one.state == "waiting" and (is_refused or one.age_ns >= 0) for one in streams):
            found[lane.symbol] = "no socket"
        elif any(one.state == "silent" for one in streams):
            found[lane.symbol] = "silent"
    return found


def connection_trouble(status: FeedStatus) -> str:
    """Return what is wrong with the connections in a few words, "" if nothing is."""
    told = []
    lost = [one for one in status.connections if not one.connection]
    if lost and any(one.failures for one in lost):
        which = "" if len(lost) == len(status.connections) else f"{lost[0].category} "
        since = f" since {time_text(lost[0].since_ns)}" if lost[0].since_ns else ""
        told.append(f"{which}no socket{since}")
    elif lost and status.unanswered:
        told.append("requests are not answered")
    elif lost and len(lost) == len(status.connections):
        told.append(f"history is read first, weight used {status.used_weight}")
    if status.banned_until_ns > status.now_ns:
        told.append(f"banned until {time_text(status.banned_until_ns)}")
    return ", ".join(told)
