"""The slow twin of the broadcast ring: every record is kept, with its place in the file."""

from dataclasses import dataclass, field

RECORD = 24
PARTS = 16


@dataclass
class SlowRing:
    """What a ring of this capacity holds, by arithmetic on whole records."""

    capacity: int
    records: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    end: int = 0

    def append(self, kind: int, payload: bytes, time_ns: int) -> int:
        """Place a record: 8-byte aligned, at the next lap if it would not fit before the end of this one."""
        span = (RECORD + len(payload) + 7) // 8 * 8
        left = self.capacity - self.end % self.capacity
        start = self.end if span <= left else self.end + left
        self.records.append((len(self.records) + 1, kind, time_ns, payload))
        self.starts.append(start)
        self.end = start + span
        return len(self.records)

    def position(self, n_read: int) -> int:
        """Return where a reader stands that has just read record `n_read` (0: none)."""
        return (
            self.starts[n_read - 1] + (RECORD + len(self.records[n_read - 1][3]) + 7) // 8 * 8
            if n_read
            else 0
        )

    def is_overrun(self, position: int) -> bool:
        """Say whether what lies at a position has been written over."""
        return self.end - position > self.capacity

    def resume(self) -> int:
        """Return the number of records before the one where an overrun reader goes on.

        That is the oldest whole one among the sixteen marks. A mark is the first record to begin in its
        sixteenth of the ring; the first of the next lap takes its place.
        """
        part = self.capacity // PARTS
        marks: dict[int, int] = {}
        for i, start in enumerate(self.starts):
            if i == 0 or self.starts[i - 1] // part < start // part:
                marks[start // part % PARTS] = i
        return min(
            (i for i in marks.values() if not self.is_overrun(self.starts[i])), default=len(self.records)
        )
