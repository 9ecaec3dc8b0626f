"""Which lost trades are asked for, page by page, and when they are given up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NS_PER_S: Final = 1_000_000_000

PAGE: Final = 1000  # the most that the venue's trade endpoints give at once
MAX_RANGE: Final = 200_000  # ids; beyond it the budget is worth more than the trades
MAX_TRIES: Final = 5
SETTLE_NS: Final = NS_PER_S  # what the stream shows now, the REST endpoints know a moment later

Range = tuple[int, int, int, int]  # first id, last id, venue ns of the trade before, of the one after


@dataclass(frozen=True, slots=True)
class Page:
    """One request: `limit` trades from the id on."""

    from_id: int
    limit: int
    last_id: int  # of the range it belongs to, which names it: ranges are filled from the front


class TradeSync:
    """The lost trades of one instrument.

    Attributes
    ----------
    in_flight : the page being asked for; None: nothing.
    filled, left : ids that came later, and ids that never will.
    """

    __slots__ = ("_due_ns", "_given_up", "_tries", "filled", "in_flight", "left")

    def __init__(self) -> None:
        self._due_ns: dict[int, int] = {}
        self._tries: dict[int, int] = {}
        self._given_up: set[int] = set()
        self.in_flight: Page | None = None
        self.filled = 0
        self.left = 0

    def wants(self, now_ns: int, gaps: Sequence[Range]) -> Page | None:
        """Return the page to ask for now; None: nothing is missing, or it is not time yet.

        The oldest range comes first that is not given up. One that grew no smaller in five answers is.
        """
        living = {last for _, last, _, _ in gaps}
        for known in (self._due_ns, self._tries):
            for last in [last for last in known if last not in living]:
                del known[last]
        self._given_up &= living
        if self.in_flight is not None:
            return None
        for first, last, _, _ in gaps:
            if last in self._given_up:
                continue
            if last - first >= MAX_RANGE:
                self._given_up.add(last)
                continue
            if self._due_ns.setdefault(last, now_ns + SETTLE_NS) <= now_ns:
                return Page(first, min(PAGE, last - first + 1), last)
        return None

    def begin(self, page: Page) -> None:
        """Note that the request leaves."""
        self.in_flight = page

    def end(self, now_ns: int, gaps: Sequence[Range]) -> int:
        """Note an answer that the market has taken; `gaps` is what is missing now. Returns ids filled."""
        page, self.in_flight = self.in_flight, None
        if page is None:
            return 0
        asked = range(page.from_id, page.from_id + page.limit)
        missing = sum(max(0, min(last, asked[-1]) - max(first, asked[0]) + 1) for first, last, _, _ in gaps)
        n_filled = page.limit - missing
        self.filled += n_filled
        if n_filled:
            self._tries.pop(page.last_id, None)
            self._due_ns[page.last_id] = now_ns
        else:
            self._retry(page.last_id, now_ns, 0)
        return n_filled

    def fail(self, now_ns: int, retry_ns: int = 0, *, is_refused: bool = False) -> None:
        """Note that no answer came; `is_refused`: the venue said no, and the same question is no use."""
        page, self.in_flight = self.in_flight, None
        if page is None:
            return
        if is_refused:
            self._given_up.add(page.last_id)
        else:
            self._retry(page.last_id, now_ns, retry_ns)

    def given_up(self, gaps: Sequence[Range]) -> list[Range]:
        """Return the ranges to be left, once nothing else is missing; otherwise none.

        The market gives up all at once, so that the others are filled first.
        """
        if self.in_flight is not None or not gaps or any(one[1] not in self._given_up for one in gaps):
            return []
        return list(gaps)

    def leave(self, ranges: Sequence[Range]) -> None:
        """Note that they are left for good."""
        self.left += sum(last - first + 1 for first, last, _, _ in ranges)
        self._given_up.clear()

    def _retry(self, last_id: int, now_ns: int, retry_ns: int) -> None:
        tries = self._tries.get(last_id, 0) + 1
        self._tries[last_id] = tries
        if tries >= MAX_TRIES:
            self._given_up.add(last_id)
        else:
            self._due_ns[last_id] = now_ns + max(retry_ns, NS_PER_S << tries)
