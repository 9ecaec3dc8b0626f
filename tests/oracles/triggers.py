"""Slow twin of triggers: timers in a dict, levels in a dict, every question answered from all of them."""

TIMERS = 7
BID_AT_OR_BELOW, BID_AT_OR_ABOVE, ASK_AT_OR_BELOW, ASK_AT_OR_ABOVE = range(4)


class SlowTriggers:
    """What is armed and what fired."""

    def __init__(self) -> None:
        self.due: dict[int, int] = {}
        self.levels: dict[int, tuple[int, int]] = {}
        self.fired: set[int] = set()

    def take_due(self, now_ns: int) -> int:
        waiting = sorted((due_ns, timer) for timer, due_ns in self.due.items() if due_ns <= now_ns)
        if not waiting:
            return -1
        timer = waiting[0][1]
        del self.due[timer]
        return timer

    def arm_level(self, slot: int, side: int, price: int) -> None:
        self.levels[slot] = side, price
        self.fired.discard(slot)

    def disarm_level(self, slot: int) -> None:
        self.levels.pop(slot, None)
        self.fired.discard(slot)

    def check(self, bid: int | None, ask: int | None) -> int:
        """Fire what a bid and an ask reach; None is an empty side."""
        hit = {slot for slot, (side, price) in self.levels.items() if reached(side, price, bid, ask)}
        for slot in hit:
            del self.levels[slot]
        self.fired |= hit
        return mask_of(hit)

    def take_fired(self) -> int:
        mask = mask_of(self.fired)
        self.fired.clear()
        return mask


def reached(side: int, price: int, bid: int | None, ask: int | None) -> bool:
    quote = bid if side in (BID_AT_OR_BELOW, BID_AT_OR_ABOVE) else ask
    if quote is None:
        return False
    return quote <= price if side in (BID_AT_OR_BELOW, ASK_AT_OR_BELOW) else quote >= price


def mask_of(slots: set[int]) -> int:
    return sum(1 << slot for slot in slots)
