"""The venue's filters: which orders it refuses by their numbers alone, with its codes and in its words.

Rules, by number in the code:

1. PRICE_FILTER: a price is a positive multiple of the tick.
2. LOT_SIZE: a quantity is a positive multiple of the step.
3. NOTIONAL and MIN_NOTIONAL: an order is worth a least amount; reduce-only is exempt on USD-M.

Source: Binance, "Filters" of the spot documentation, "Error codes" of the USD-M documentation. Not looked at:
largest price and quantity, the percent-price filters, counts of open orders.
"""

from dataclasses import dataclass

from engine.instruments import Instrument
from engine.orders import OrderKind, PlaceOrder
from engine.signals import MarketKind


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the venue does not do what it was asked."""

    code: int
    text: str

    @property
    def reason(self) -> str:
        """Code and text as one line."""
        return f"{self.code} {self.text}"


def refused_by_filters(instrument: Instrument, order: PlaceOrder, mark: int) -> Rejection | None:
    """
    Return the first filter an order fails, or None.

    Parameters
    ----------
    instrument
    order
        In units of the instrument.
    mark
        Price units; what a market order is valued at.
    """
    is_spot = instrument.kind is MarketKind.SPOT
    has_price = order.kind is not OrderKind.MARKET
    if has_price and (order.price <= 0 or order.price % instrument.tick):  # rule 1
        if is_spot:
            return Rejection(-1013, "Filter failure: PRICE_FILTER")
        if order.price <= 0:
            return Rejection(-4001, "Price less than 0.")
        return Rejection(-4014, "Price not increased by tick size.")
    if order.quantity <= 0 or order.quantity % instrument.step:  # rule 2
        if is_spot:
            return Rejection(-1013, "Filter failure: LOT_SIZE")
        if order.quantity <= 0:
            return Rejection(-4003, "Quantity less than or equal to zero.")
        return Rejection(-4023, "Qty not increased by step size.")
    value = (order.price if has_price else mark) * order.quantity
    least = instrument.min_notional
    if value < least.scaleb(instrument.price_digits + instrument.quantity_digits):  # rule 3
        if is_spot:
            return Rejection(-1013, "Filter failure: NOTIONAL")
        if not order.is_reducing:
            text = f"Order's notional must be no smaller than {least:f} (unless you choose reduce only)."
            return Rejection(-4164, text)
    return None
