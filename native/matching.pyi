"""Stub of price-time matching."""

from enum import IntEnum
from typing import NamedTuple, Self, final

from native.resting import RestingOrders

class OrderKind(IntEnum):
    ORDER_LIMIT = 0
    ORDER_MARKET = 1

class OrderLife(IntEnum):
    LIFE_GTC = 0
    LIFE_IOC = 1
    LIFE_FOK = 2
    LIFE_GTX = 3

class SelfTrade(IntEnum):
    SELF_TRADE_NONE = 0
    SELF_TRADE_EXPIRE_MAKER = 1
    SELF_TRADE_EXPIRE_TAKER = 2
    SELF_TRADE_EXPIRE_BOTH = 3

class MatchKind(IntEnum):
    MATCH_ACCEPTED = 1
    MATCH_FILL = 2
    MATCH_REDUCED = 3
    MATCH_CANCELLED = 4
    MATCH_EXPIRED = 5
    MATCH_REJECTED = 6

class MatchReason(IntEnum):
    REASON_NONE = 0
    REASON_BAD_PRICE = 1
    REASON_BAD_QUANTITY = 2
    REASON_BAD_KIND = 3
    REASON_WOULD_TAKE = 4
    REASON_ORDERS_FULL = 5
    REASON_LEVELS_FULL = 6
    REASON_LEVEL_OVERFLOW = 7
    REASON_EVENTS_FULL = 8
    REASON_NO_LIQUIDITY = 9
    REASON_SELF_TRADE = 10
    REASON_UNKNOWN_ORDER = 11

class MatchedEvent(NamedTuple):
    kind: int
    reason: int
    side: int
    order_id: int
    owner: int
    taker_id: int
    taker_owner: int
    price: int
    quantity: int
    leaves: int
    taker_leaves: int
    trade: int
    sequence: int

@final
class Matching:
    def __new__(
        cls,
        capacity: int = 262_144,
        max_levels: int = 32_768,
        event_capacity: int = 65_536,
        change_capacity: int = 65_536,
    ) -> Self: ...
    @property
    def resting(self) -> RestingOrders: ...
    @property
    def n_fills(self) -> int: ...
    @property
    def last_filled(self) -> int: ...
    @property
    def n_refused(self) -> int: ...
    @property
    def n_events(self) -> int: ...
    def apply_order(
        self,
        side: int,
        price: int,
        quantity: int,
        *,
        kind: int = ...,
        life: int = ...,
        owner: int = 0,
        self_trade: int = ...,
        display: int = 0,
    ) -> int: ...
    def apply_cancel(self, order_id: int) -> int: ...
    def apply_reduce(self, order_id: int, leaves: int) -> int: ...
    def drain_events(self) -> list[MatchedEvent]: ...
