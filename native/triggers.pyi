from enum import IntEnum
from typing import Self, final

class Timer(IntEnum):
    TIMER_SWEEP = 0
    TIMER_HOLD = 1
    TIMER_CONFIRM = 2
    TIMER_EXPIRY = 3
    TIMER_STALE = 4
    TIMER_SECOND = 5
    TIMER_DESK = 6

class LevelSide(IntEnum):
    LEVEL_BID_AT_OR_BELOW = 0
    LEVEL_BID_AT_OR_ABOVE = 1
    LEVEL_ASK_AT_OR_BELOW = 2
    LEVEL_ASK_AT_OR_ABOVE = 3

@final
class Triggers:
    def __new__(cls) -> Self: ...
    @property
    def next_due_ns(self) -> int: ...
    def arm_timer(self, timer: Timer, due_ns: int) -> None: ...
    def disarm_timer(self, timer: Timer) -> None: ...
    def take_due(self, now_ns: int) -> int: ...
    def arm_level(self, slot: int, side: LevelSide, price: int) -> None: ...
    def disarm_level(self, slot: int) -> None: ...
    def check(self, best_bid: int, best_ask: int) -> int: ...
    def take_fired(self) -> int: ...
