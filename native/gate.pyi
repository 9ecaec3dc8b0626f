from enum import IntEnum
from typing import Self, final

class GateReason(IntEnum):
    GATE_FINE = 0
    GATE_HALTED = 1
    GATE_REDUCING = 2
    GATE_BOOK_INVALID = 3
    GATE_OLD_EPOCH = 4
    GATE_BAD_QUANTITY = 5
    GATE_BAD_PRICE = 6
    GATE_PRICE_BAND = 7
    GATE_TOO_SMALL = 8
    GATE_ORDER_NOTIONAL = 9
    GATE_POSITION_NOTIONAL = 10
    GATE_GROSS_NOTIONAL = 11
    GATE_ORDER_RATE = 12
    GATE_OVER_REDUCE = 13

@final
class Gate:
    def __new__(cls, *, instruments: int, max_orders_per_s: int, max_gross_money: int) -> Self: ...
    @property
    def instruments(self) -> int: ...
    @property
    def wanted(self) -> int: ...
    @property
    def gross_money(self) -> int: ...
    def set_instrument(
        self,
        index: int,
        *,
        epoch: int,
        tick: int,
        step: int,
        price_digits: int,
        quantity_digits: int,
        min_notional_money: int,
        max_order_money: int,
        max_position_money: int,
        price_band_bps: float,
        is_futures: bool,
    ) -> None: ...
    def set_wanted(self, state: int) -> None: ...
    def review(
        self,
        index: int,
        epoch: int,
        side: int,
        kind: int,
        price: int,
        quantity: int,
        is_reducing: bool,
        now_ns: int,
        best_bid: int,
        best_ask: int,
        is_valid: bool,
    ) -> int: ...
    def note_order(self, now_ns: int) -> None: ...
    def reserve(self, index: int, side: int, quantity: int, is_reducing: bool) -> None: ...
    def release(self, index: int, side: int, quantity: int, is_reducing: bool) -> None: ...
    def set_position(self, index: int, position: int) -> None: ...
    def mark(self, index: int, price: int) -> None: ...
    def position(self, index: int) -> int: ...
    def entering_leaves(self, index: int, side: int) -> int: ...
    def reducing_leaves(self, index: int, side: int) -> int: ...
    def worst_long(self, index: int) -> int: ...
    def worst_short(self, index: int) -> int: ...
    def worst_money(self, index: int) -> int: ...
