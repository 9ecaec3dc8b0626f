"""Slow twin of a replay's book: JSON decoded, levels in dicts of Decimals, the venue's rules step by step."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass
class Replayed:
    """What the replay of one symbol must report."""

    bbo: list[tuple[int, str, str]] = field(default_factory=list)
    gaps: int = 0
    crossed: int = 0
    compared: int = 0
    equal: int = 0
    depth_updates: int = 0
    trades: int = 0


def _price(value: Decimal | None) -> str:
    return f"{value or Decimal(0):.8f}"


class _Book:
    def __init__(self) -> None:
        self.sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})

    def apply(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, quantity in levels:
                if Decimal(quantity):
                    side[Decimal(price)] = Decimal(quantity)
                else:
                    side.pop(Decimal(price), None)

    def best(self) -> tuple[Decimal | None, Decimal | None]:
        return max(self.sides[0], default=None), min(self.sides[1], default=None)


def replay(messages: Iterable[tuple[bytes, str]], symbol: str, *, is_spot: bool) -> Replayed:
    """Replay messages, each with the symbol its recording names ("" = none)."""
    found = Replayed()
    book: _Book | None = None
    book_id, is_bridged = 0, False
    waiting: list[dict] = []
    tickers: list[tuple[int, str, str]] = []

    def joins(update: dict) -> bool | None:
        """Say whether an update joins: None = old, False = gap."""
        if is_spot:
            if update["u"] <= book_id:
                return None
            return update["U"] <= book_id + 1
        if not is_bridged:
            return None if update["u"] < book_id else update["U"] <= book_id
        return update["pu"] == book_id

    for message, named in messages:
        document = json.loads(message)
        if "lastUpdateId" in document:
            if named not in ("", symbol):
                continue
            book, book_id, is_bridged = _Book(), document["lastUpdateId"], False
            book.apply(document["bids"], document["asks"])
            todo: Iterator[dict] = iter(list(waiting))
            waiting.clear()
        else:
            data = document["data"]
            if data.get("s") != symbol:
                continue
            kind = data.get("e", "bookTicker")
            if kind in ("trade", "aggTrade"):
                found.trades += 1
            elif kind == "bookTicker":
                tickers.append((data["u"], data["b"], data["a"]))
            if kind != "depthUpdate":
                continue
            found.depth_updates += 1
            if book is None:
                waiting.append(data)
                continue
            todo = iter([data])
        for update in todo:
            state = joins(update)
            if state is None:
                continue
            if not state:
                found.gaps += 1
                book = None
                waiting.append(update)
                break
            has_before, before, book_id, is_bridged = is_bridged, book_id, update["u"], True
            book.apply(update["b"], update["a"])
            bid, ask = book.best()
            found.bbo.append((book_id, _price(bid), _price(ask)))
            found.crossed += bid is not None and ask is not None and bid >= ask
            within = [ticker for ticker in tickers if before < ticker[0] <= book_id]
            tickers = [ticker for ticker in tickers if ticker[0] > book_id]
            if within and has_before:
                found.compared += 1
                found.equal += (Decimal(within[-1][1]), Decimal(within[-1][2])) == (bid, ask)
    return found
