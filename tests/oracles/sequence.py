"""Slow twin of the update-id rules, and a venue whose truth at every id is known."""

from dataclasses import dataclass

from native.events import SequenceState
from native.sequence import SequenceAction

KEYS = 5


@dataclass(frozen=True, slots=True)
class Update:
    """A depth update: the last value of each key that its ids changed."""

    first_id: int
    final_id: int
    previous_id: int
    changes: dict[int, int]


class SlowVenue:
    """One change an id: key `id % KEYS` becomes `id`. On futures other symbols use ids in between."""

    def __init__(self, *, is_spot: bool) -> None:
        self.is_spot = is_spot
        self.ids = [1]
        self.final_id = 1

    def next_update(self, n: int, stride: int) -> Update:
        step = 1 if self.is_spot else stride
        new = [self.ids[-1] + step * i for i in range(1, n + 1)]
        self.ids += new
        previous_id, self.final_id = self.final_id, new[-1]
        changes = {i % KEYS: i for i in new}
        return Update(new[0], new[-1], -1 if self.is_spot else previous_id, changes)

    def truth(self, at: int) -> dict[int, int]:
        return {i % KEYS: i for i in self.ids if i <= at}


class SlowSequence:
    """The venue's steps in the venue's words; the same faces as `native.sequence.Sequence`."""

    def __init__(self, *, is_spot: bool) -> None:
        self.is_spot = is_spot
        self.state = SequenceState.SEQUENCE_BUFFERING
        self.last_id = -1
        self.gaps = self.duplicates = self.stale_snapshots = 0

    def apply(self, first_id: int, final_id: int, previous_id: int = -1) -> SequenceAction:
        if self.state in (SequenceState.SEQUENCE_BUFFERING, SequenceState.SEQUENCE_GAP):
            return SequenceAction.ACTION_BUFFER
        if self.state == SequenceState.SEQUENCE_LIVE:
            if final_id <= self.last_id:
                self.duplicates += 1
                return SequenceAction.ACTION_IGNORE
            follows = first_id <= self.last_id + 1 if self.is_spot else previous_id == self.last_id
            if not follows:
                self.gaps += 1
                self.state = SequenceState.SEQUENCE_GAP
                return SequenceAction.ACTION_BREAK
        else:
            is_held = final_id <= self.last_id if self.is_spot else final_id < self.last_id
            if is_held:
                return SequenceAction.ACTION_IGNORE
            # What stands before the update is in the snapshot: ids up to U - 1 on spot, up to pu on futures.
            before = first_id - 1 if self.is_spot else previous_id
            if before > self.last_id:
                self.stale_snapshots += 1
                self.state = SequenceState.SEQUENCE_BUFFERING
                return SequenceAction.ACTION_STALE
        self.state = SequenceState.SEQUENCE_LIVE
        self.last_id = final_id
        return SequenceAction.ACTION_APPLY

    def apply_snapshot(self, last_update_id: int) -> bool:
        if self.state == SequenceState.SEQUENCE_LIVE:
            return False
        self.state = SequenceState.SEQUENCE_BRIDGING
        self.last_id = last_update_id
        return True

    def apply_break(self) -> None:
        if self.state != SequenceState.SEQUENCE_BUFFERING:
            self.state = SequenceState.SEQUENCE_GAP
