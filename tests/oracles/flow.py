"""Slow twin of trade flow: keep every trade, and answer each question from the whole list."""

import gzip
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import orjson

SWEEP = tuple[int, int, int, int, int, int, int, int, int, int, int, int, bool]
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Print:
    """One trade as it arrived."""

    trade_id: int
    price: int
    quantity: int
    aggressor: int
    venue_ns: int
    now_ns: int
    teaches: bool = True
    is_aggregate: bool = False


def accepted(prints: list[Print]) -> list[Print]:
    """Leave out whatever does not raise the highest id so far."""
    kept: list[Print] = []
    for trade in prints:
        if not kept or trade.trade_id > kept[-1].trade_id:
            kept.append(trade)
    return kept


def missing_ids(kept: list[Print]) -> int:
    return kept[-1].trade_id - kept[0].trade_id + 1 - len(kept) if kept else 0


def continues(kept: list[Print], before: int, after: int, timeout_ns: int) -> bool:
    """Whether two neighbours among the teaching trades, given by their places, belong to one sweep."""
    first, second = kept[before], kept[after]
    return (
        second.aggressor == first.aggressor
        and second.venue_ns == first.venue_ns
        and second.trade_id - first.trade_id == after - before
        and (second.price - first.price) * second.aggressor >= 0
        and second.now_ns - first.now_ns < timeout_ns
    )


def sweeps(kept: list[Print], timeout_ns: int) -> list[SWEEP]:
    """Cut the teaching trades into sweeps; the last one may still be running."""
    places = [place for place, trade in enumerate(kept) if trade.teaches]
    groups: list[list[int]] = []
    for i, place in enumerate(places):
        if i and continues(kept, places[i - 1], place, timeout_ns):
            groups[-1].append(place)
        else:
            groups.append([place])
    return [describe([kept[place] for place in group]) for group in groups]


def describe(trades: list[Print]) -> SWEEP:
    first, last = trades[0], trades[-1]
    return (
        first.trade_id,
        last.trade_id,
        first.price,
        last.price,
        first.venue_ns,
        first.now_ns,
        last.now_ns,
        sum(trade.quantity for trade in trades),
        sum(trade.price * trade.quantity for trade in trades),
        first.aggressor,
        len(trades),
        len({trade.price for trade in trades}),
        any(trade.is_aggregate for trade in trades),
    )


def cvd(kept: list[Print]) -> int:
    return sum(trade.aggressor * trade.quantity for trade in kept if trade.teaches)


def session_cvd(kept: list[Print]) -> int:
    """Sum over the trades of the latest venue day seen, from the first trade of that day on."""
    taught = [trade for trade in kept if trade.teaches]
    day = max((trade.venue_ns // DAY_NS for trade in taught), default=0)
    return cvd([trade for trade in taught if trade.venue_ns // DAY_NS == day])


def rates(kept: list[Print], now_ns: int, window_ns: int) -> tuple[int, int, int]:
    """Sum over the teaching trades whose 100 ms bucket is one of the window's, counted back from now."""
    oldest = now_ns // 10**8 - window_ns // 10**8
    inside = [trade for trade in kept if trade.teaches and trade.now_ns // 10**8 > oldest]
    buys = sum(trade.quantity for trade in inside if trade.aggressor == 1)
    return buys, sum(trade.quantity for trade in inside) - buys, len(inside)


def read_capture(
    path: Path, price_digits: int, quantity_digits: int, most_lines: int | None = None
) -> list[Print]:
    """Read the trades of a recording in the order of arrival."""
    found = []
    price_scale, quantity_scale = Decimal(10) ** price_digits, Decimal(10) ** quantity_digits
    with gzip.open(path, "rb") as lines:
        for number, line in enumerate(lines):
            if number == most_lines:
                break
            if b'"e":"trade"' not in line:
                continue
            now_text, _, frame = line.partition(b" ")
            data = orjson.loads(frame)["data"]
            price, quantity = Decimal(data["p"]) * price_scale, Decimal(data["q"]) * quantity_scale
            assert price == int(price)
            assert quantity == int(quantity)
            found.append(
                Print(
                    trade_id=data["t"],
                    price=int(price),
                    quantity=int(quantity),
                    aggressor=-1 if data["m"] else 1,
                    venue_ns=data["T"] * 10**6,
                    now_ns=int(now_text),
                    teaches=data.get("X", "MARKET") == "MARKET",
                )
            )
    return found
