"""Update-id state machine of a local book: BUFFERING -> BRIDGING -> LIVE, and GAP.

Spot, "How to manage a local order book correctly" (binance-spot-api-docs, web-socket-streams.md, 2025-11-12):

1. open the depth stream; 2. buffer its events and note the first `U`; 3. get a depth snapshot;
4. if the snapshot's `lastUpdateId` is less than that first `U`, go back to 3;
5. in the buffer, discard events with `u` <= `lastUpdateId`; the first one left has `lastUpdateId` within [U; u];
6. the local book is the snapshot and its id is `lastUpdateId`; 7. apply every event, buffered and following:
   `u` below the book's id: ignore; `U` above the book's id + 1: something was missed, discard the book and start anew;
   else set the levels and let the book's id be `u`.

USD-M and COIN-M, "How to manage a local order book correctly" (derivatives documentation, 2026-09-15):

a. open the stream; b. buffer; c. get a depth snapshot; d. drop events with `u` < `lastUpdateId`;
e. the first processed event has `U` <= `lastUpdateId` and `u` >= `lastUpdateId`;
f. each new event's `pu` equals the previous event's `u`, otherwise start over from c.

Ids on futures are shared by all symbols, so a snapshot id may lie between two updates of one symbol: then no event
has it within [U, u], and the one that joins has `pu` <= `lastUpdateId` <= `u`, which (e) implies as well. That is the
rule here. A venue that began anew counts from lower ids: after `OLD_IN_A_ROW` updates in a row that are all older than
the book, the chain is given up. No document says so; without it such a book stays as it was for ever. The wordings of
spot step 5 and step 7 differ by one; `U` <= `lastUpdateId` + 1 <= `u` is what step 7 needs.
"""

from cython cimport final

from native.events cimport (
    SEQUENCE_BRIDGING, SEQUENCE_BUFFERING, SEQUENCE_GAP, SEQUENCE_LIVE,
)


cdef enum:
    OLD_IN_A_ROW = 100   # 10 s of the usual stream; an overlap of two connections or a late snapshot brings fewer


cdef inline bint skips(int64_t first_id, int64_t last_id) noexcept nogil:
    # first_id > last_id + 1, for every pair of 64-bit ids.
    return first_id > last_id and first_id - 1 > last_id


@final
cdef class Sequence:
    """Judges depth updates by their ids.

    Parameters
    ----------
    is_spot : bool
        Spot rules (contiguous ids), else the futures rules (`pu` chain).

    Notes
    -----
    Cost: a few comparisons an update; no allocation.
    """

    def __cinit__(self, *, is_spot: bool):
        self._is_spot = is_spot
        self.state = SEQUENCE_BUFFERING
        self.last_id = -1

    cdef int judge(self, const DepthUpdate* update) noexcept nogil:
        if self.state == SEQUENCE_LIVE:
            if update.final_id <= self.last_id:
                self.duplicates += 1
                return ACTION_IGNORE
            if self._is_spot:
                if skips(update.first_id, self.last_id):  # step 7
                    self.gaps += 1
                    self.state = SEQUENCE_GAP
                    return ACTION_BREAK
            elif update.previous_id != self.last_id:  # step f
                self.gaps += 1
                self.state = SEQUENCE_GAP
                return ACTION_BREAK
            self.last_id = update.final_id
            self._n_old = 0
            return ACTION_APPLY
        if self.state == SEQUENCE_BRIDGING:
            if self._is_spot:
                if update.final_id <= self.last_id:  # step 5
                    return ACTION_IGNORE
                if skips(update.first_id, self.last_id):  # step 4
                    self.stale_snapshots += 1
                    self.state = SEQUENCE_BUFFERING
                    return ACTION_STALE
            else:
                if update.final_id < self.last_id:  # step d
                    return ACTION_IGNORE
                if update.previous_id > self.last_id:  # step e
                    self.stale_snapshots += 1
                    self.state = SEQUENCE_BUFFERING
                    return ACTION_STALE
            self.state = SEQUENCE_LIVE
            self.last_id = update.final_id
            self._n_old = 0
            return ACTION_APPLY
        return ACTION_BUFFER

    cdef bint is_lost(self) noexcept nogil:
        self._n_old += 1
        if self._n_old < OLD_IN_A_ROW:
            return False
        self._n_old = 0
        self.gaps += self.state == SEQUENCE_LIVE
        self.state = SEQUENCE_GAP
        return True

    cdef bint start(self, int64_t snapshot_id) noexcept nogil:
        # Step 6. A snapshot while LIVE is not taken: the chain we have is newer or equal.
        if self.state == SEQUENCE_LIVE:
            return False
        self.last_id = snapshot_id
        self.state = SEQUENCE_BRIDGING
        self._n_old = 0
        return True

    cdef void break_chain(self) noexcept nogil:
        # The book was found wrong by other means (crossed, refused frame): only a snapshot helps.
        if self.state == SEQUENCE_LIVE or self.state == SEQUENCE_BRIDGING:
            self.state = SEQUENCE_GAP

    def apply(self, first_id: int, final_id: int, previous_id: int = -1) -> SequenceAction:
        """Judge an update given by its ids (U, u, pu): the Python face of the hot method."""
        cdef DepthUpdate update
        update.first_id = first_id
        update.final_id = final_id
        update.previous_id = previous_id
        return SequenceAction(self.judge(&update))

    def apply_snapshot(self, last_update_id: int) -> bool:
        """Take a snapshot's id; False if the chain is LIVE and needs none."""
        return bool(self.start(last_update_id))

    def apply_break(self) -> None:
        """Declare the chain broken: the book was found wrong by other means, and only a snapshot helps."""
        self.break_chain()
