"""Timers with due times, and price levels that fire once: why the corridor is entered."""

from cython cimport final


@final
cdef class Triggers:
    """Timers and armed levels of one instrument.

    Notes
    -----
    Cost: asking costs one comparison while nothing is due; arming and firing walk 7 timers; checking walks the armed
    levels only. An armed level fires at the first quote that satisfies it and is disarmed by firing.
    """

    def __cinit__(self):
        cdef int i
        for i in range(N_TIMERS):
            self.due[i] = INT64_MAX
        self.next_due = INT64_MAX

    cdef void _find_next(self) noexcept nogil:
        cdef int i
        self.next_due = INT64_MAX
        for i in range(N_TIMERS):
            if self.due[i] < self.next_due:
                self.next_due = self.due[i]

    cdef void arm(self, int timer, int64_t due_ns) noexcept nogil:
        cdef int64_t old = self.due[timer]
        self.due[timer] = due_ns
        if due_ns <= self.next_due:
            self.next_due = due_ns
        elif old == self.next_due:
            self._find_next()

    cdef void disarm(self, int timer) noexcept nogil:
        cdef int64_t old = self.due[timer]
        self.due[timer] = INT64_MAX
        if old == self.next_due and old != INT64_MAX:
            self._find_next()

    cdef int pop(self, int64_t now_ns) noexcept nogil:
        # The timer with the earliest due time that has come, disarmed; -1 if none.
        cdef int i
        if self.next_due > now_ns or self.next_due == INT64_MAX:
            return -1
        for i in range(N_TIMERS):
            if self.due[i] == self.next_due:
                self.due[i] = INT64_MAX
                self._find_next()
                return i
        return -1

    cdef uint32_t check_levels(self, int64_t best_bid, int64_t best_ask) noexcept nogil:
        # An empty side (bid 0; ask INT64_MAX, or 0 from Python) reaches nothing.
        cdef uint32_t left = self._armed, hit = 0
        cdef int i = 0
        cdef ArmedLevel* level
        while left:
            if left & 1:
                level = &self._levels[i]
                if level.side == LEVEL_BID_AT_OR_BELOW:
                    hit |= (<uint32_t>(0 < best_bid <= level.price)) << i
                elif level.side == LEVEL_BID_AT_OR_ABOVE:
                    hit |= (<uint32_t>(best_bid >= level.price)) << i
                elif level.side == LEVEL_ASK_AT_OR_BELOW:
                    hit |= (<uint32_t>(0 < best_ask <= level.price)) << i
                else:
                    hit |= (<uint32_t>(level.price <= best_ask < INT64_MAX)) << i
            left >>= 1
            i += 1
        self._armed &= ~hit
        self.fired |= hit
        return hit

    def arm_timer(self, timer: Timer, due_ns: int) -> None:
        """Arm or move a timer."""
        if not 0 <= timer < N_TIMERS:
            raise ValueError(f"timer must be 0 to {N_TIMERS - 1}, found {timer}")
        self.arm(timer, due_ns)

    def disarm_timer(self, timer: Timer) -> None:
        """Disarm a timer; it need not be armed."""
        if not 0 <= timer < N_TIMERS:
            raise ValueError(f"timer must be 0 to {N_TIMERS - 1}, found {timer}")
        self.disarm(timer)

    @property
    def next_due_ns(self) -> int:
        """Due time of the earliest timer; 2^63 - 1 if none is armed."""
        return self.next_due

    def take_due(self, now_ns: int) -> int:
        """Return and disarm the timer with the earliest due time that has come, -1 if none."""
        return self.pop(now_ns)

    def arm_level(self, slot: int, side: LevelSide, price: int) -> None:
        """Arm a price level.

        Parameters
        ----------
        slot : int
            0 to 15; an armed slot is overwritten.
        side : LevelSide
            Which quote must reach it, from where.
        price : int
            Price units, 1 to 2^62 - 1.

        Notes
        -----
        A firing of the slot that nobody has taken is forgotten: it was of the level before.
        """
        if not 0 <= slot < N_LEVELS:
            raise ValueError(f"slot must be 0 to {N_LEVELS - 1}, found {slot}")
        if not 0 <= side <= 3:
            raise ValueError(f"side must be a LevelSide, found {side}")
        if not 1 <= price < 1 << 62:
            raise ValueError(f"price must be 1 to 2^62 - 1, found {price}")
        cdef int i = slot
        self._levels[i].price = price
        self._levels[i].side = side
        self._armed |= <uint32_t>1 << i
        self.fired &= ~(<uint32_t>1 << i)

    def disarm_level(self, slot: int) -> None:
        """Disarm a level and forget its firing; it need not be armed."""
        if not 0 <= slot < N_LEVELS:
            raise ValueError(f"slot must be 0 to {N_LEVELS - 1}, found {slot}")
        cdef int i = slot
        self._armed &= ~(<uint32_t>1 << i)
        self.fired &= ~(<uint32_t>1 << i)

    def check(self, best_bid: int, best_ask: int) -> int:
        """Fire the armed levels that these quotes satisfy; returns the bit mask of their slots."""
        return self.check_levels(best_bid, best_ask)

    def take_fired(self) -> int:
        """Return the slots fired since the last call as a bit mask."""
        fired = self.fired
        self.fired = 0
        return fired
