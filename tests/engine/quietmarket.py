"""A market that says what a test tells it to say, and nothing else."""

from collections.abc import Callable

from engine.sim.told import Told
from engine.sim.venuemarket import MarketName, Row

NEVER = 1 << 62
STREAMS = (
    "trade",
    "bookTicker",
    "depth@100ms",
    "ticker",
    "miniTicker",
    "aggTrade",
    "markPrice@1s",
    "forceOrder",
)


class QuietMarket:
    """The seam `VenueMarket`, by hand: messages are said at planned moments."""

    def __init__(self, symbol: str = "BTCUSDT", market: MarketName = "spot") -> None:
        self.symbol = symbol
        self.market = market
        self.sinks: dict[str, list[Callable[[Told], object]]] = {}
        self.plan: list[tuple[int, str, str]] = []
        self.funding_hours = 8

    @property
    def next_ns(self) -> int:
        return self.plan[0][0] if self.plan else NEVER

    def say(self, at_ns: int, stream: str, word: str) -> None:
        self.plan.append((at_ns, f"{self.symbol.lower()}@{stream}", word))
        self.plan.sort()

    def advance(self, now_ns: int) -> None:
        while self.plan and self.plan[0][0] <= now_ns:
            at_ns, stream, word = self.plan.pop(0)
            told = Told(stream, at_ns, _writer(word, at_ns), has_micro=self.market == "spot")
            for sink in tuple(self.sinks.get(stream, ())):
                sink(told)

    def listen(self, stream: str, sink: Callable[[Told], object]) -> bool:
        if stream.partition("@")[2] not in STREAMS:
            return False
        self.sinks.setdefault(stream, []).append(sink)
        return True

    def unlisten(self, stream: str, sink: Callable[[Told], object]) -> None:
        self.sinks[stream].remove(sink)

    def info(self) -> Row:
        return {
            "symbol": self.symbol,
            "status": "TRADING",
            "quoteAsset": "USDT",
            "permissionSets": [["SPOT"]],
        }

    def depth(self, limit: int) -> Row:
        return {"lastUpdateId": limit, "bids": [], "asks": []}

    def trades(self, limit: int) -> list[Row]:
        return [{"id": limit, "time": 5}]

    def historical_trades(self, from_id: int | None, limit: int) -> list[Row]:
        return [{"id": from_id, "limit": limit}]

    def agg_trades(
        self, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Row]:
        return [{"a": from_id, "start": start_ms, "end": end_ms, "limit": limit}]

    def klines(
        self, interval: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[list[object]]:
        del interval, limit
        if start_ms is not None and end_ms is not None and start_ms > end_ms - 60_000:
            return []
        start = 60_000 if start_ms is None else start_ms
        return [[start, "1", "3", "1", "2", "4", start + 59_999, "8", 2, "1", "2", "0"]]

    def ticker_24h(self) -> Row:
        return {"symbol": self.symbol, "lastId": 9, "openTime": 1, "closeTime": 2}

    def book_ticker(self) -> Row:
        return {"symbol": self.symbol, "bidPrice": "1"}

    def price(self) -> Row:
        return {"symbol": self.symbol, "price": "2"}

    def premium_index(self) -> Row:
        return {"symbol": self.symbol, "markPrice": "2"}

    def open_interest(self) -> Row:
        return {"symbol": self.symbol, "openInterest": "7", "time": 5}

    def funding_history(self) -> list[Row]:
        return [{"symbol": self.symbol, "fundingTime": hour * 3_600_000} for hour in (0, 8, 16)]


def _writer(word: str, at_ns: int) -> Callable[[int], str]:
    return lambda unit: f'{{"word":"{word}","E":{at_ns // unit}}}'
