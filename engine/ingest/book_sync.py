"""Which book wants a snapshot, when it is asked for, and whether what came is new enough.

Spot, "How to manage a local order book correctly" (binance-spot-api-docs, web-socket-streams.md, 2025-11-12):

1. open the depth stream; 2. buffer its events and note the first `U`; 3. get a depth snapshot;
4. if its `lastUpdateId` is less than that `U`, go back to 3; 5. discard buffered events with `u` <=
   `lastUpdateId`; 6. the book is the snapshot; 7. apply all further events, and start anew at a gap.

USD-M (derivatives documentation, 2026-09-15): a. open the stream; b. buffer; c. get a snapshot; d. drop
events with `u` < `lastUpdateId`; e. the first processed has `U` <= `lastUpdateId` <= `u`; f. each `pu` equals
the `u` before, otherwise start over from c.

The market buffers, joins and finds gaps (`native.sequence`); this room decides about steps 3 and 4 (c), so
that a snapshot that cannot join never replaces an old book that is still readable.
"""

from collections.abc import Sequence
from enum import StrEnum
from random import Random
from typing import Final

from engine.signals import MarketKind
from native.events import SequenceState

NS_PER_S: Final = 1_000_000_000
NEVER_NS: Final = 2**63 - 1
LIVE: Final = int(SequenceState.SEQUENCE_LIVE)
BRIDGING: Final = int(SequenceState.SEQUENCE_BRIDGING)

JITTER_NS: Final = 50_000_000  # books that broke together do not ask together
AGAIN_FIRST_NS: Final = 200_000_000  # a snapshot of the same instant would be too old again
AGAIN_MAX_NS: Final = 20 * NS_PER_S
STEADY_NS: Final = 30 * NS_PER_S  # live for so long, the next gap is the first of a new row


class Want(StrEnum):
    """What a book asks of the venue."""

    SNAPSHOT = "snapshot"
    REFRESH = "refresh"


class BookChange(StrEnum):
    """What became of a book since it was last looked at."""

    NONE = ""
    RESYNC = "resync"
    LIVE = "live"


def is_too_old(kind: MarketKind, last_update_id: int, kept: Sequence[tuple[int, int, int]]) -> bool:
    """Tell whether a snapshot misses updates before the first kept one that follows it.

    Parameters
    ----------
    kind
        Whose rules.
    last_update_id
        Of the snapshot.
    kept
        (U, u, pu) of the buffered updates, oldest first.

    Notes
    -----
    Spot: steps 4 and 5; an event with `U` == `lastUpdateId` + 1 joins without a hole. Futures: steps d and e;
    ids are shared by all symbols, so that `pu` <= `lastUpdateId` is what joins. With nothing kept behind it a
    snapshot is new enough: the next event joins it.
    """
    if kind is MarketKind.SPOT:
        first = next((one for one in kept if one[1] > last_update_id), None)
        return first is not None and first[0] > last_update_id + 1
    first = next((one for one in kept if one[1] >= last_update_id), None)
    return first is not None and first[2] > last_update_id


class BookSync:
    """The snapshots of one book: wanted when, how often in vain, and how long the book was not live.

    Parameters
    ----------
    random
        Source of the jitter.
    refresh_ns
        A live book is refreshed so often; 0 = never.

    Attributes
    ----------
    in_flight : what is being asked for now; None: nothing.
    was_live : it was LIVE before; who never was comes first.
    resyncs : times it was LIVE and lost it.
    row : requests since it was last LIVE for half a minute.
    last_resync_ns : how long the last one took, from the gap to LIVE; 0 = none yet.
    failed, too_old, refreshed : requests without an answer; answers too old to join; refreshes taken.
    """

    __slots__ = (
        "_began_ns", "_due_ns", "_live_since_ns", "_random", "_refresh_due_ns", "_refresh_ns", "_state",
        "failed", "in_flight", "last_resync_ns", "refreshed", "resyncs", "row", "too_old", "was_live",
    )  # fmt: skip

    def __init__(self, random: Random, refresh_ns: int) -> None:
        self._random = random
        self._refresh_ns = refresh_ns
        self._state = -1
        self._due_ns = NEVER_NS
        self._refresh_due_ns = NEVER_NS
        self._began_ns = 0
        self._live_since_ns = 0
        self.in_flight: Want | None = None
        self.was_live = False
        self.resyncs = 0
        self.row = 0
        self.last_resync_ns = 0
        self.failed = 0
        self.too_old = 0
        self.refreshed = 0

    @property
    def due_ns(self) -> int:
        """When the wanted snapshot may be asked for; NEVER_NS: none is wanted."""
        return self._due_ns

    @property
    def live_since_ns(self) -> int:
        """Since when it is LIVE; 0: it is not."""
        return self._live_since_ns

    @property
    def resync_since_ns(self) -> int:
        """Since when it is being put together again; 0: it is not."""
        return 0 if self._live_since_ns else self._began_ns

    def observe(self, now_ns: int, state: int, n_kept: int) -> BookChange:
        """Look at the book: `state` is its SequenceState, `n_kept` how many updates it has buffered."""
        was, self._state = self._state, state
        if state == LIVE:
            self._due_ns = NEVER_NS
            if was == LIVE:
                if self.row and now_ns - self._live_since_ns >= STEADY_NS:
                    self.row = 0
                return BookChange.NONE
            self._live_since_ns = now_ns
            if self.was_live and self._began_ns:
                self.last_resync_ns = now_ns - self._began_ns
            self.was_live = True
            if self._refresh_ns:
                # Not all books at once: they became live together.
                self._refresh_due_ns = now_ns + self._random.randint(self._refresh_ns // 2, self._refresh_ns)
            return BookChange.LIVE
        change = BookChange.NONE
        if was == LIVE:
            self.resyncs += 1
            self._began_ns = now_ns
            self._live_since_ns = 0
            self._refresh_due_ns = NEVER_NS
            change = BookChange.RESYNC
        elif not self._began_ns and n_kept:
            self._began_ns = now_ns
        # Step 2: the first event is noted before the snapshot is asked for. A book that is BRIDGING has its
        # snapshot, and waits for the event that joins.
        if state == BRIDGING:
            self._due_ns = NEVER_NS
        elif n_kept and self._due_ns == NEVER_NS and self.in_flight is None:
            self._due_ns = now_ns + self._wait_ns()
        return change

    def wants(self, now_ns: int) -> Want | None:
        """Tell what to ask for now; None: nothing, or the answer of the last request is still awaited."""
        if self.in_flight is not None:
            return None
        if self._due_ns <= now_ns:
            return Want.SNAPSHOT
        if self._state == LIVE and self._refresh_due_ns <= now_ns:
            return Want.REFRESH
        return None

    def refresh_now(self) -> None:
        """Have it refreshed at its next turn; a book that is not LIVE gets its snapshot anyway."""
        self._refresh_due_ns = 0

    def begin(self, want: Want) -> None:
        """Note that the request leaves: there is never a second one beside it."""
        self.in_flight = want
        if want is Want.SNAPSHOT:
            self.row += 1
            self._due_ns = NEVER_NS

    def end(self, now_ns: int, *, is_taken: bool) -> None:
        """Note that an answer came, and whether it was new enough to be given to the market.

        Not taken, it is asked for again after a wait that grows from 0.2 to 20 s, with jitter; what was
        buffered is kept.
        """
        want, self.in_flight = self.in_flight, None
        if want is Want.REFRESH:
            self._refresh_due_ns = now_ns + self._refresh_ns if self._refresh_ns else NEVER_NS
            self.refreshed += is_taken
        elif not is_taken:
            self.too_old += 1
            self._due_ns = now_ns + self._wait_ns()

    def fail(self, now_ns: int, retry_ns: int = 0) -> None:
        """Note that no answer came; `retry_ns` is how long the venue wants to be left alone."""
        want, self.in_flight = self.in_flight, None
        self.failed += 1
        if want is Want.REFRESH:
            # One that was asked for by hand is tried again too.
            self._refresh_due_ns = now_ns + max(retry_ns, self._refresh_ns // 8, AGAIN_MAX_NS)
        else:
            self._due_ns = now_ns + max(retry_ns, self._wait_ns())

    def _wait_ns(self) -> int:
        if not self.row:
            return self._random.randint(0, JITTER_NS)
        longest = min(AGAIN_MAX_NS, AGAIN_FIRST_NS << min(self.row, 10))
        return self._random.randint(longest // 2, longest)


class Turns:
    """Whose turn it is: few requests at once, spaced out, those first who were never live.

    Parameters
    ----------
    max_flights
        Requests at the same time.
    spacing_ns
        Least time between two of them.
    """

    __slots__ = ("_max_flights", "_next_ns", "_spacing_ns")

    def __init__(self, max_flights: int = 2, spacing_ns: int = 50_000_000) -> None:
        self._max_flights = max_flights
        self._spacing_ns = spacing_ns
        self._next_ns = 0

    def choose(self, now_ns: int, books: Sequence[BookSync]) -> tuple[int, Want] | None:
        """Return the index of the book that may ask now, and for what; None: nobody.

        Order: books that were never live, books that were, refreshes; in each the longest due. A refresh goes
        alone, while no book wants a snapshot.
        """
        if now_ns < self._next_ns:
            return None
        n_flights = sum(1 for book in books if book.in_flight is not None)
        if n_flights >= self._max_flights:
            return None
        wanted = [
            (want is Want.REFRESH, book.was_live, book.due_ns, index, want)
            for index, book in enumerate(books)
            if (want := book.wants(now_ns)) is not None
        ]
        if not wanted:
            return None
        is_refresh, _, _, index, want = min(wanted)
        if is_refresh and n_flights:
            return None
        self._next_ns = now_ns + self._spacing_ns
        return index, want
