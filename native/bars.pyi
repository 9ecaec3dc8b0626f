"""Stub of time bars, volume bars and the footprint."""

from enum import IntEnum
from typing import NamedTuple, Self, final

INTERVALS: tuple[str, ...]

class BarInterval(IntEnum):
    BAR_1M = 0
    BAR_3M = 1
    BAR_5M = 2
    BAR_15M = 3
    BAR_30M = 4
    BAR_1H = 5
    BAR_4H = 6
    BAR_1D = 7
    BAR_VOLUME = 8

class BarRecord(NamedTuple):
    open_ns: int
    close_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    taker_buy_volume: int
    notional: int
    n_trades: int
    first_trade_id: int
    last_trade_id: int
    has_gap: bool
    is_closed: bool

@final
class Bars:
    def __new__(
        cls,
        *,
        tick: int,
        row_units: int = ...,
        volume_bar_quantity: int = ...,
        grace_ns: int = ...,
        history: int = ...,
        footprint_rows: int = ...,
    ) -> Self: ...
    def apply(
        self,
        trade_id: int,
        price: int,
        quantity: int,
        venue_ns: int,
        aggressor: int,
        first_id: int | None = None,
        last_id: int | None = None,
        teaches: bool = ...,
    ) -> int: ...
    def advance_to(self, venue_ns: int) -> int: ...
    def note_gap(self) -> None: ...
    def clear(self) -> None: ...
    def bars(self, interval: str) -> list[BarRecord]: ...
    def volume_bars(self) -> list[BarRecord]: ...
    def n_closed_bars(self, interval: str) -> int: ...
    def open_bar(self, interval: str) -> BarRecord | None: ...
    def open_volume_bar(self) -> BarRecord | None: ...
    def footprint(self, closed: bool = ...) -> list[tuple[int, int, int]]: ...
    @property
    def footprint_row_units(self) -> int: ...
    @property
    def last_closed_mask(self) -> int: ...
    @property
    def closed_until(self) -> int: ...
    @property
    def late_trades(self) -> int: ...
    @property
    def overdue_trades(self) -> int: ...
    @property
    def skipped_trades(self) -> int: ...
    @property
    def outside_trades(self) -> int: ...
