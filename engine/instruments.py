"""What can be traded and in which units: filters of the venue turned into integers, and back.

A price is an integer count of price units. The unit is the coarsest of 1, 0.1, 0.01 ... that divides the
tick, so that levels off the tick grid but on the unit stay representable: tick 0.05 is 5 units of 0.01, tick
10 is 10 units of 1. A quantity unit is the venue's own precision: 10^-baseAssetPrecision on spot,
10^-quantityPrecision on futures. Text becomes an integer and an integer text exactly; no float is between.
"""

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

import msgspec

from engine.errors import InputError
from engine.signals import MarketKind

# Powers of ten beyond this are no price of anything; it also bounds the work on text such as 1E+999999.
MAX_EXPONENT = 24
INT64_MAX = 2**63 - 1
MONEY_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument in one epoch: from a change of its filters on it is another value with another epoch."""

    symbol: str
    kind: MarketKind
    base: str
    quote: str
    price_digits: int  # a price unit is 10^-price_digits quote
    quantity_digits: int  # a quantity unit is 10^-quantity_digits base, or contracts on COIN-M
    tick: int  # price units per tick
    step: int  # quantity units per lot step
    min_notional: Decimal  # quote; 0 = no such filter
    contract_size: int  # COIN-M: quote per contract; 1 elsewhere
    status: str  # as the venue says it
    epoch: int = 1
    index: int = 0  # dense, given by the engine

    def price_units(self, text: str | Decimal) -> int:
        """Return the price in units.

        Raises
        ------
        ValueError
            If it is no number, finer than the price unit, or beyond 64 bits.
        """
        units, rest = _units(text, self.price_digits)
        if rest:
            raise ValueError(f"Expected a price with at most {self.price_digits} decimals, found {text}.")
        return units

    def price_text(self, units: int) -> str:
        """Return a price in units as exact decimal text."""
        return decimal_text(units, self.price_digits)

    def quantity_units(self, text: str | Decimal) -> int:
        """Return the quantity in units, finer digits cut off.

        Raises
        ------
        ValueError
            If it is no number, or beyond 64 bits.
        """
        return _units(text, self.quantity_digits)[0]

    def quantity_text(self, units: int) -> str:
        """Return a quantity in units as exact decimal text."""
        return decimal_text(units, self.quantity_digits)

    def quote_money(self, price: int, quantity: int) -> int:
        """Return price times quantity in 10^-8 quote, towards zero where it is finer."""
        shift = MONEY_DIGITS - self.price_digits - self.quantity_digits
        product, factor = price * quantity, int(10 ** abs(shift))
        if shift >= 0:
            return product * factor
        return product // factor if product >= 0 else -(-product // factor)

    def round_price_down(self, units: int) -> int:
        """Return the highest price on the tick grid that is not above `units`."""
        return units - units % self.tick

    def round_quantity_down(self, units: int) -> int:
        """Return the largest quantity on the step grid that is not above `units`."""
        return units - units % self.step

    def with_filters(self, found: "Instrument") -> "Instrument":
        """Take over the filters of the same instrument as the venue tells them now.

        Returns this instrument, with the status of `found`, while the filters say the same. Otherwise the
        next epoch, in the finer of both units: levels that rest off the new grid stay representable, and
        integers of the old epoch convert exactly (by `10 ** (new.price_digits - old.price_digits)`).
        """
        digits = max(self.price_digits, found.price_digits)
        quantity_digits = max(self.quantity_digits, found.quantity_digits)
        changed = replace(
            self,
            price_digits=digits,
            quantity_digits=quantity_digits,
            tick=found.tick * 10 ** (digits - found.price_digits),
            step=found.step * 10 ** (quantity_digits - found.quantity_digits),
            min_notional=found.min_notional,
            contract_size=found.contract_size,
            status=found.status,
        )
        if changed == replace(self, status=found.status):
            return changed
        return replace(changed, epoch=self.epoch + 1)


def decimal_text(units: int, digits: int) -> str:
    """Return `units` x 10^-`digits` as text with exactly `digits` decimals."""
    if units < 0:
        return "-" + decimal_text(-units, digits)
    text = str(units)
    if not digits:
        return text
    if len(text) <= digits:
        text = text.zfill(digits + 1)
    return f"{text[:-digits]}.{text[-digits:]}"


def _units(text: str | Decimal, digits: int) -> tuple[int, bool]:
    """Return the number in units of 10^-digits towards zero, and whether anything was cut off."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"Expected a decimal number, found {text!r}.") from None
    if not value.is_finite() or abs(value.adjusted()) > MAX_EXPONENT:
        if value.is_zero():
            return 0, False
        raise ValueError(f"Expected a decimal number of a size that prices have, found {text!r}.")
    sign, figures, exponent = value.as_tuple()
    number = int("".join(map(str, figures)))
    shift = int(exponent) + digits
    units, rest = (number * 10**shift, 0) if shift >= 0 else divmod(number, 10**-shift)
    if units > INT64_MAX:
        raise ValueError(f"Expected a number within 64 bits in units of 10^-{digits}, found {text!r}.")
    return (-units if sign else units), rest != 0


class _Filter(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    min_notional: Decimal | None = None
    notional: Decimal | None = None


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    base_asset: str
    quote_asset: str
    base_asset_precision: int | None = None
    quantity_precision: int | None = None
    contract_size: int = 1
    status: str = ""
    contract_status: str = ""
    filters: list[_Filter] = []


class _Name(msgspec.Struct):
    symbol: str


class _Names(msgspec.Struct):
    symbols: list[msgspec.Raw]


def from_exchange_info(
    document: bytes | dict[str, object], symbol: str, market: MarketKind, index: int = 0
) -> Instrument:
    """Read one instrument from Binance's exchangeInfo answer of spot, USD-M or COIN-M.

    Parameters
    ----------
    document
        The body of the answer, or that already decoded.
    symbol
        As the venue writes it.
    market
        Which of the three the answer is of: precisions and filters are named differently.
    index
        The dense index the instrument shall have.

    Raises
    ------
    InputError
        The document is of another shape, does not name the symbol, or lacks a filter that units need.

    Cost
    ----
    Reads the whole document; some milliseconds for the 1.8 MB of spot. For start and polls off the corridor.

    Source
    ------
    Binance, "Filters" and "Exchange information" of the spot, USD-M and COIN-M documentation: PRICE_FILTER,
    LOT_SIZE; NOTIONAL (spot now) or MIN_NOTIONAL (spot before 2023, USD-M); none on COIN-M.
    """
    try:
        body = document if isinstance(document, bytes) else msgspec.json.encode(document)
        names = msgspec.json.decode(body, type=_Names).symbols
        found = next((raw for raw in names if msgspec.json.decode(raw, type=_Name).symbol == symbol), None)
        entry = None if found is None else msgspec.json.decode(found, type=_Symbol)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected an exchangeInfo answer with the symbol {symbol}, found another shape: {error}.",
            symbol=symbol,
        ) from error
    if entry is None:
        raise InputError(
            f"Expected the symbol {symbol} in the exchangeInfo answer, found {len(names)} others.",
            symbol=symbol,
        )
    return _instrument(entry, market, index)


def _instrument(entry: _Symbol, market: MarketKind, index: int) -> Instrument:
    tick_size = step_size = None
    min_notional = Decimal(0)
    for one in entry.filters:
        if one.filter_type == "PRICE_FILTER":
            tick_size = one.tick_size
        elif one.filter_type == "LOT_SIZE":
            step_size = one.step_size
        elif one.filter_type in ("NOTIONAL", "MIN_NOTIONAL"):
            min_notional = one.min_notional or one.notional or Decimal(0)
    precision = entry.base_asset_precision if market is MarketKind.SPOT else entry.quantity_precision
    # Binance writes 0 for a rule that is off; without a tick or a step there is no unit to count in.
    if not tick_size or not step_size or precision is None:
        names = ", ".join(sorted({one.filter_type for one in entry.filters})) or "none"
        needed = "baseAssetPrecision" if market is MarketKind.SPOT else "quantityPrecision"
        raise InputError(
            f"{entry.symbol} expects PRICE_FILTER with a tickSize, LOT_SIZE with a stepSize and {needed} "
            f"as Binance's {market.name} answer has them, found the filters {names}.",
            symbol=entry.symbol,
            market=market.name,
        )
    price_digits = _decimals(tick_size)
    quantity_digits = max(precision, _decimals(step_size))
    try:
        tick, step = _units(tick_size, price_digits)[0], _units(step_size, quantity_digits)[0]
    except ValueError as error:
        raise InputError(f"{entry.symbol}: {error}", symbol=entry.symbol) from error
    return Instrument(
        symbol=entry.symbol,
        kind=market,
        base=entry.base_asset,
        quote=entry.quote_asset,
        price_digits=price_digits,
        quantity_digits=quantity_digits,
        tick=tick,
        step=step,
        min_notional=min_notional,
        contract_size=entry.contract_size,
        status=entry.status or entry.contract_status,
        index=index,
    )


def _decimals(size: Decimal) -> int:
    """Return how many decimals a number has, trailing zeros apart."""
    exponent = size.normalize().as_tuple().exponent
    return max(0, -int(exponent))
