"""Slow twin of the backlog: a list of what was kept, and how much of the room is used up."""

Levels = list[tuple[int, int]]
Update = tuple[int, int, Levels, Levels]


class SlowBacklog:
    """Keeps updates until they are taken; forgets all when one more does not fit."""

    def __init__(self, capacity_levels: int, capacity_updates: int) -> None:
        self.capacity_levels, self.capacity_updates = capacity_levels, capacity_updates
        self.since_empty: list[Update] = []
        self.kept: list[Update] = []
        self.forgotten = 0

    def keep(self, update: Update) -> None:
        room = [*self.since_empty, update]
        if len(room) > self.capacity_updates or sum(map(size, room)) > self.capacity_levels:
            self.forgotten += len(self.kept)
            self.since_empty, self.kept = [], []
        self.since_empty.append(update)
        self.kept.append(update)

    def take_front(self) -> Update | None:
        if not self.kept:
            return None
        taken = self.kept.pop(0)
        if not self.kept:
            self.since_empty.clear()
        return taken


def size(update: Update) -> int:
    return len(update[2]) + len(update[3])
