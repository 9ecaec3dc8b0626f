"""What the front of the simulated venue needs of a market behind it."""

from collections.abc import Callable
from typing import Literal, Protocol

from engine.sim.told import Told

MarketName = Literal["spot", "usdm"]
Row = dict[str, object]


Sink = Callable[[Told], object]


class VenueMarket(Protocol):
    """One symbol of one market; every answer is JSON-ready and as of the venue time it was advanced to."""

    @property
    def symbol(self) -> str: ...

    @property
    def market(self) -> MarketName: ...

    @property
    def next_ns(self) -> int: ...

    @property
    def funding_hours(self) -> int: ...

    def advance(self, now_ns: int) -> None: ...

    def listen(self, stream: str, sink: Sink) -> bool:
        """Send every message of the stream to `sink` from now on; False: there is no such stream."""
        ...

    def unlisten(self, stream: str, sink: Sink) -> None: ...

    def info(self) -> Row: ...

    def depth(self, limit: int) -> Row: ...

    def trades(self, limit: int) -> list[Row]: ...

    def historical_trades(self, from_id: int | None, limit: int) -> list[Row]: ...

    def agg_trades(
        self, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Row]: ...

    def klines(
        self, interval: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[list[object]]: ...

    def ticker_24h(self) -> Row: ...

    def book_ticker(self) -> Row: ...

    def price(self) -> Row: ...

    def premium_index(self) -> Row: ...

    def open_interest(self) -> Row: ...

    def funding_history(self) -> list[Row]: ...
