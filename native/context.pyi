from typing import NamedTuple, Self, final

from native.bars import Bars

DIFFERENCES: tuple[str, ...]

class ForceRecord(NamedTuple):
    side: int
    price: int
    average_price: int
    quantity: int
    last_quantity: int
    filled_quantity: int
    is_filled: bool
    venue_ns: int

class DayRecord(NamedTuple):
    last: int
    open: int
    high: int
    low: int
    volume: int
    quote_volume: int
    n_trades: int
    venue_ns: int

class KlineDifference(NamedTuple):
    open_ns: int
    field: str
    ours: int
    theirs: int

@final
class Context:
    def __new__(cls, bars: Bars) -> Self: ...
    @property
    def mark_price(self) -> int: ...
    @property
    def average_mark_price(self) -> int: ...
    @property
    def index_price(self) -> int: ...
    @property
    def settle_price(self) -> int: ...
    @property
    def funding_rate(self) -> int | None: ...
    @property
    def next_funding_ns(self) -> int: ...
    @property
    def mark_venue_ns(self) -> int: ...
    @property
    def premium_bps(self) -> float: ...
    @property
    def last_force(self) -> ForceRecord | None: ...
    @property
    def day(self) -> DayRecord | None: ...
    @property
    def open_interest(self) -> int | None: ...
    @property
    def open_interest_ns(self) -> int: ...
    @property
    def marks(self) -> int: ...
    @property
    def force_orders(self) -> int: ...
    @property
    def days(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def klines_compared(self) -> int: ...
    @property
    def klines_equal(self) -> int: ...
    @property
    def klines_left(self) -> int: ...
    @property
    def klines_waiting(self) -> int: ...
    @property
    def last_difference(self) -> KlineDifference | None: ...
    def set_open_interest(self, quantity: int, venue_ns: int) -> None: ...
    def set_mark(
        self, mark_price: int, index_price: int, funding_rate: int | None, next_funding_ns: int, venue_ns: int
    ) -> None: ...
