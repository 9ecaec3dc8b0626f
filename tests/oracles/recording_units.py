"""Slow twin of the units inferred from a recording: every message decoded, every number looked at."""

import json
from collections.abc import Iterable
from decimal import Decimal


def _decimals(text: str) -> int:
    return max(0, -int(Decimal(text).normalize().as_tuple().exponent))


def _written(text: str) -> int:
    return len(text.partition(".")[2])


def units(messages: Iterable[bytes], symbol: str, owners: Iterable[str]) -> tuple[int, int]:
    """Return decimals of the finest price and of the quantities as written."""
    prices: list[str] = []
    quantities: list[str] = []
    owner = iter(owners)
    for message in messages:
        document = json.loads(message)
        if "lastUpdateId" in document:
            levels = document["bids"] + document["asks"] if next(owner) == symbol else []
        else:
            data = document.get("data", document)
            if data.get("s") != symbol:
                continue
            kind = data.get("e", "bookTicker")
            levels = data["b"] + data["a"] if kind == "depthUpdate" else []
            if kind == "bookTicker":
                levels = [[data["b"], data["B"]], [data["a"], data["A"]]]
            elif kind in ("trade", "aggTrade"):
                levels = [[data["p"], data["q"]]]
            elif kind == "kline":
                prices += [data["k"][key] for key in "ohlc"]
        prices += [price for price, _ in levels]
        quantities += [quantity for _, quantity in levels]
    return max(map(_decimals, prices), default=0), max(map(_written, quantities), default=0)
