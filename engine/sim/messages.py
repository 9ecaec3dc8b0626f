"""The venue's public messages of one instrument, in the shapes of 2026.

Prices come as ticks and quantities as lots, times as nanoseconds; `unit` is the nanoseconds a time is divided
by. Sources: Binance, "WebSocket Streams" of the spot documentation (2026-07-21); USD-M market streams with
`st`, `ps`, `nq` and `ap` as the venue sent them between August and October 2026. USD-M has milliseconds only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engine.instruments import decimal_text
from engine.sim.markets import CrowdSpec
from engine.sim.told import Told

Levels = list[tuple[int, int]]
MONEY_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Deal:
    """One trade: price in ticks, quantity in lots."""

    trade_id: int
    venue_ns: int
    price: int
    quantity: int
    is_buy: bool  # side of the taker
    is_rpi: bool = False  # filled by an order that the public book never shows


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Neighbouring trades told as one; `regular` is the quantity without retail price improvement."""

    aggregate_id: int
    venue_ns: int
    price: int
    quantity: int
    regular: int
    first_id: int
    last_id: int
    is_buy: bool


class Messages:
    """Write the messages and numbers of one instrument."""

    def __init__(self, spec: CrowdSpec) -> None:
        self.symbol: Final = spec.symbol
        self.name: Final = spec.symbol.lower()
        self.is_usdm: Final = spec.market == "usdm"
        self.price_digits: Final = spec.tick_decimals + spec.price_zeros
        self.tick_decimals: Final = spec.tick_decimals
        self._lot_decimals = spec.lot_decimals
        self._price_zeros = _zeros(spec.tick_decimals, spec.price_zeros)
        self._quantity_zeros = _zeros(spec.lot_decimals, spec.quantity_zeros)
        digits = spec.tick_decimals + spec.lot_decimals
        least = spec.tick_decimals + spec.price_zeros + spec.lot_decimals if self.is_usdm else MONEY_DIGITS
        self._money_digits = max(least, digits)
        self._money_factor: int = 10 ** (self._money_digits - digits)
        self._has_micro = not self.is_usdm
        self._pair = f',"ps":"{spec.symbol}"' if self.is_usdm else ""
        self._tail = ',"st":1}' if self.is_usdm else "}"

    def price(self, ticks: int) -> str:
        """Return a price as the venue writes it."""
        return decimal_text(ticks, self.tick_decimals) + self._price_zeros

    def quantity(self, lots: int) -> str:
        """Return a quantity as the venue writes it."""
        return decimal_text(lots, self._lot_decimals) + self._quantity_zeros

    def money(self, notional: int) -> str:
        """Return an amount of quote, from ticks times lots, exactly."""
        return decimal_text(notional * self._money_factor, self._money_digits)

    def pairs(self, levels: Levels) -> list[list[str]]:
        """Return levels as a REST answer has them."""
        price, quantity = self.price, self.quantity
        return [[price(p), quantity(q)] for p, q in levels]

    def levels(self, levels: Levels) -> str:
        """Return levels as JSON."""
        price, quantity = self.price, self.quantity
        return "[" + ",".join([f'["{price(p)}","{quantity(q)}"]' for p, q in levels]) + "]"

    def told(self, stream: str, venue_ns: int, write: Callable[[int], str]) -> Told:
        """Return a message that `write` writes when it is asked for."""
        return Told(stream, venue_ns, write, has_micro=self._has_micro)

    def depth(
        self, stream: str, ids: tuple[int, int, int], times_ns: tuple[int, int], bids: Levels, asks: Levels
    ) -> Told:
        """Return a depth update with `ids` = (U, u, pu) and `times_ns` = (E, T); spot has no pu and no T."""
        first, final, previous = ids
        now, changed_ns = times_ns

        def write(unit: int) -> str:
            times = f'"E":{now // unit}' + (f',"T":{changed_ns // unit}' if self.is_usdm else "")
            chain = f'"U":{first},"u":{final}' + (f',"pu":{previous}' if self.is_usdm else "")
            return (
                f'{{"e":"depthUpdate",{times},"s":"{self.symbol}"{self._pair},{chain},'
                f'"b":{self.levels(bids)},"a":{self.levels(asks)}{self._tail}'
            )

        return self.told(stream, now, write)

    def top(self, stream: str, update_id: int, now: int, sides: tuple[Levels, Levels]) -> Told:
        """Return a partial book of spot: bids and asks."""

        def write(_unit: int) -> str:
            bids, asks = self.levels(sides[0]), self.levels(sides[1])
            return f'{{"lastUpdateId":{update_id},"bids":{bids},"asks":{asks}}}'

        return self.told(stream, now, write)

    def ticker(
        self, stream: str, update_id: int, now: int, best: tuple[tuple[int, int], tuple[int, int]]
    ) -> Told:
        """Return the best bid and ask; spot has no times in it."""
        bid, ask = best
        kind = '"e":"bookTicker",' if self.is_usdm else ""

        def write(unit: int) -> str:
            times = f',"T":{now // unit},"E":{now // unit}' if self.is_usdm else ""
            return (
                f'{{{kind}"u":{update_id},"s":"{self.symbol}"{self._pair},'
                f'"b":"{self.price(bid[0])}","B":"{self.quantity(bid[1])}",'
                f'"a":"{self.price(ask[0])}","A":"{self.quantity(ask[1])}"{times}{self._tail}'
            )

        return self.told(stream, now, write)

    def trade(self, stream: str, deal: Deal) -> Told:
        """Return a trade; spot without ids of orders."""
        maker = "false" if deal.is_buy else "true"

        def write(unit: int) -> str:
            time = deal.venue_ns // unit
            what = f'"t":{deal.trade_id},"p":"{self.price(deal.price)}","q":"{self.quantity(deal.quantity)}"'
            if self.is_usdm:
                kind = "RPI" if deal.is_rpi else "MARKET"
                return (
                    f'{{"e":"trade","E":{time},"T":{time},"s":"{self.symbol}",{what},'
                    f'"X":"{kind}","m":{maker},"st":1}}'
                )
            return f'{{"e":"trade","E":{time},"s":"{self.symbol}",{what},"T":{time},"m":{maker},"M":true}}'

        return self.told(stream, deal.venue_ns, write)

    def aggregate(self, stream: str, now: int, found: Aggregate) -> Told:
        """Return an aggregate trade, sent at `now`."""
        maker = "false" if found.is_buy else "true"

        def write(unit: int) -> str:
            what = f'"p":"{self.price(found.price)}","q":"{self.quantity(found.quantity)}"'
            ids = f'"f":{found.first_id},"l":{found.last_id},"T":{found.venue_ns // unit},"m":{maker}'
            if self.is_usdm:
                return (
                    f'{{"e":"aggTrade","E":{now // unit},"a":{found.aggregate_id},"s":"{self.symbol}",{what},'
                    f'"nq":"{self.quantity(found.regular)}",{ids},"st":1}}'
                )
            return (
                f'{{"e":"aggTrade","E":{now // unit},"s":"{self.symbol}","a":{found.aggregate_id},{what},'
                f'{ids},"M":true}}'
            )

        return self.told(stream, now, write)

    def trade_row(self, deal: Deal) -> dict[str, object]:
        """Return a trade as the REST answers have it."""
        row: dict[str, object] = {
            "id": deal.trade_id,
            "price": self.price(deal.price),
            "qty": self.quantity(deal.quantity),
            "quoteQty": self.money(deal.price * deal.quantity),
            "time": deal.venue_ns // 1_000_000,
            "isBuyerMaker": not deal.is_buy,
        }
        if self.is_usdm:
            row["isRPITrade"] = deal.is_rpi
        else:
            row["isBestMatch"] = True
        return row

    def aggregate_row(self, found: Aggregate) -> dict[str, object]:
        """Return an aggregate trade as the REST answer has it."""
        row: dict[str, object] = {
            "a": found.aggregate_id,
            "p": self.price(found.price),
            "q": self.quantity(found.quantity),
        }
        if self.is_usdm:
            row["nq"] = self.quantity(found.regular)
        row |= {
            "f": found.first_id,
            "l": found.last_id,
            "T": found.venue_ns // 1_000_000,
            "m": not found.is_buy,
        }
        if not self.is_usdm:
            row["M"] = True
        return row


def _zeros(decimals: int, zeros: int) -> str:
    return "" if not zeros else "0" * zeros if decimals else "." + "0" * zeros
