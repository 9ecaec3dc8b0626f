"""A venue of one instrument, by hand: says messages in the venue's shapes, keeps ids and time in order."""

import orjson

from engine.signals import MarketKind
from native.market import Market

START_NS = 1_700_000_000 * 10**9
MS = 10**6
SECOND = 10**9

Levels = dict[int, int]

# Everything but the market's own warm-up is switched to the plainest value: a whale is 1,000 quote or more.
PLAIN: dict[str, object] = {
    "whale_floor_quote": 1_000.0,
    "whale_adaptive_floor": False,
    "whale_depth_share": 0.0,
    "whale_quantile": 0.0,
    "whale_min_sweeps": 2,
    "stale_ns": 3_600 * SECOND,
}
SYMBOLS = {MarketKind.SPOT: "AAAUSDT", MarketKind.USDM: "AAAUSDT", MarketKind.COINM: "AAAUSD_PERP"}


def text(value: int, digits: int) -> str:
    """Write a whole number of units as the venue writes decimals."""
    whole, part = divmod(value, 10**digits)
    return f"{whole}.{part:0{digits}d}"


class Venue:
    """Prices have one decimal, quantities three: a price unit is 0.1, and 10_000 units are 1,000 quote."""

    def __init__(self, kind: MarketKind = MarketKind.SPOT, **settings: object) -> None:
        self.kind, self.symbol = kind, SYMBOLS[kind]
        self.market = Market(
            symbol=self.symbol,
            kind=int(kind),
            index=7,
            epoch=3,
            price_digits=1,
            quantity_digits=3,
            tick=1,
            **(PLAIN | settings),
        )
        self.market.enable_bbo_log()
        self.now_ns = START_NS
        self.venue_lead_ns = 0
        self.book_id = 100
        self.trade_id = 1
        assert self.market.advance(self.now_ns) == 0

    # Time.

    def wait(self, elapsed_ns: int) -> list[tuple[int, int]]:
        """Let time pass; return (moment since the start, mask) of every timer that had something to say."""
        self.now_ns += elapsed_ns
        masks = []
        while mask := self.market.advance(self.now_ns):
            masks.append((self.market.now_ns - START_NS, mask))
        return masks

    @property
    def elapsed_ns(self) -> int:
        return self.now_ns - START_NS

    # Messages.

    def say(self, data: dict[str, object], stream: str = "depth@100ms") -> int:
        frame = orjson.dumps({"stream": f"{self.symbol.lower()}@{stream}", "data": data})
        return self.market.on_frame(frame, self.now_ns)

    def stamp(self, event: str) -> dict[str, object]:
        return {"e": event, "E": (self.now_ns + self.venue_lead_ns) // MS, "s": self.symbol}

    def levels(self, levels: Levels) -> list[list[str]]:
        return [[text(price, 1), text(quantity, 3)] for price, quantity in levels.items()]

    def snapshot(self, bids: Levels, asks: Levels, *, at_id: int | None = None) -> int:
        body = {
            "lastUpdateId": self.book_id if at_id is None else at_id,
            "bids": self.levels(bids),
            "asks": self.levels(asks),
        }
        return self.market.on_snapshot(orjson.dumps(body), self.now_ns)

    def depth_data(self, bids: Levels | None = None, asks: Levels | None = None) -> dict[str, object]:
        """Make the next update of the chain, of three ids."""
        data = self.stamp("depthUpdate") | {"U": self.book_id + 1, "u": self.book_id + 3}
        if self.kind is not MarketKind.SPOT:
            data |= {"T": data["E"], "pu": self.book_id}
        self.book_id += 3
        return data | {"b": self.levels(bids or {}), "a": self.levels(asks or {})}

    def depth(self, bids: Levels | None = None, asks: Levels | None = None) -> int:
        return self.say(self.depth_data(bids, asks))

    def lose_depth(self, bids: Levels | None = None, asks: Levels | None = None) -> None:
        """Make an update that never arrives."""
        self.depth_data(bids, asks)

    def trade_data(
        self, side: int, price: int, quantity: int, *, venue_ns: int | None = None, **more: object
    ) -> dict[str, object]:
        data = self.stamp("trade")
        when = data["E"] if venue_ns is None else venue_ns // MS
        data |= {"t": self.trade_id, "p": text(price, 1), "q": text(quantity, 3), "T": when, "m": side < 0}
        self.trade_id += 1
        return data | more

    def trade(
        self, side: int, price: int, quantity: int, *, venue_ns: int | None = None, **more: object
    ) -> int:
        return self.say(self.trade_data(side, price, quantity, venue_ns=venue_ns, **more), "trade")

    def ticker(self, bid: int, ask: int, *, at_id: int) -> int:
        data = {
            "u": at_id,
            "s": self.symbol,
            "b": text(bid, 1),
            "B": "1.000",
            "a": text(ask, 1),
            "A": "1.000",
        }
        return self.say(data, "bookTicker")

    # Ready situations.

    def open(self, bids: Levels | None = None, asks: Levels | None = None) -> int:
        """Make the book live: a snapshot, and the update that joins it."""
        self.snapshot(bids or {9_999: 5_000}, asks or {10_001: 5_000})
        return self.depth()

    def warm_up(self) -> None:
        """Live book, depth median known, and enough sweeps for a threshold."""
        self.open()
        for side in (1, -1):
            self.trade(side, 10_000, 10)
            self.wait(20 * MS)
        self.wait(31 * SECOND)
        self.take_events()

    def take_events(self) -> list[dict[str, int | float]]:
        events = self.market.take_events()
        return [dict(zip(events.dtype.names or (), event, strict=True)) for event in events.tolist()]
