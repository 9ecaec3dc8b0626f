"""Read a public market as a client does: by strings, dicts and the venue's rules only."""

from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from engine.sim.publicmarket import PublicMarket
from engine.sim.recordedmarket import RecordedMarket
from engine.sim.told import Told

# A moment inside a minute, a second and a millisecond.
START_NS = 1_795_000_000_123_456_789
SECOND = 1_000_000_000
Row = dict[str, object]
Sides = dict[str, dict[Decimal, Decimal]]


@dataclass(slots=True)
class Ear:
    """Everything that was told, by stream."""

    told: dict[str, list[Told]] = field(default_factory=dict)

    def __call__(self, message: Told) -> None:
        self.told.setdefault(message.stream, []).append(message)

    def rows(self, stream: str) -> list[dict]:
        return [orjson.loads(message.encode()) for message in self.told.get(stream, [])]


def book_of(snapshot: Row) -> Sides:
    return {
        side: {Decimal(price): Decimal(quantity) for price, quantity in snapshot[side]}
        for side in ("bids", "asks")
    }


def follow(snapshot: Row, diffs: list[dict]) -> tuple[Sides, int]:
    """Return the book after all diffs that are newer than the snapshot, by the venue's rules."""
    book, last = book_of(snapshot), int(str(snapshot["lastUpdateId"]))
    is_usdm, is_first = "T" in snapshot, True
    for diff in diffs:
        if diff["u"] < last or (diff["u"] == last and not is_usdm):
            continue
        if is_usdm:
            if is_first:
                assert diff["U"] <= last <= diff["u"] or diff["pu"] <= last < diff["U"]
            else:
                assert diff["pu"] == last
        else:
            assert diff["U"] <= last + 1 <= diff["u"]
        is_first = False
        for side, key in (("bids", "b"), ("asks", "a")):
            for price, quantity in diff[key]:
                if Decimal(quantity) == 0:
                    book[side].pop(Decimal(price), None)
                else:
                    book[side][Decimal(price)] = Decimal(quantity)
        last = diff["u"]
    return book, last


def true_book(market: PublicMarket | RecordedMarket) -> Sides:
    """Return the book as the truth has it."""
    units = market.truth.instrument
    return {
        name: {
            Decimal(units.price_text(price)): Decimal(units.quantity_text(quantity))
            for price, quantity in side.items()
        }
        for name, side in zip(("bids", "asks"), market.truth.book(), strict=True)
    }
