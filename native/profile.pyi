"""Stub of volume at price."""

from typing import NamedTuple, Self, final

class ValueArea(NamedTuple):
    is_ready: bool
    poc_row: int
    vah_row: int
    val_row: int
    row_units: int
    first_ns: int
    last_ns: int
    total: int

@final
class Profile:
    def __new__(
        cls,
        *,
        tick: int,
        window_ns: int,
        ready_ns: int,
        bucket_ns: int = ...,
        row_bps: float = ...,
        rows: int = ...,
        cells: int = ...,
        value_area: float = ...,
        two_row: bool = ...,
    ) -> Self: ...
    def apply(self, price: int, quantity: int, now_ns: int) -> None: ...
    def advance_to(self, now_ns: int) -> None: ...
    def clear(self) -> None: ...
    def value_area(self, now_ns: int) -> ValueArea | None: ...
    def high_volume_nodes(self, share: float = ..., capacity: int = ...) -> list[int]: ...
    def snapshot(self) -> tuple[int, list[int]]: ...
    @property
    def row_units(self) -> int: ...
    @property
    def n_trades(self) -> int: ...
    @property
    def outside_trades(self) -> int: ...
    @property
    def early_evictions(self) -> int: ...
    @property
    def dropped_nodes(self) -> int: ...
