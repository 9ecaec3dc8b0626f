"""What really happened in a synthetic market: the records of the truth log, one JSON object a line."""

from typing import Literal

import msgspec


class ParentSweep(msgspec.Struct, frozen=True):
    """One sweep of a parent order."""

    venue_ns: int
    first_trade_id: int
    last_trade_id: int
    quantity: float
    first_price: float


class ParentOrder(msgspec.Struct, frozen=True, tag="parent"):
    """A whale: an order worked as one to many sweeps; told when its last sweep is done."""

    side: Literal["BUY", "SELL"]
    quantity: float
    notional: float
    start_ns: int
    end_ns: int
    is_supported: bool
    sweeps: list[ParentSweep]


class PlantedIceberg(msgspec.Struct, frozen=True, tag="iceberg"):
    """A hidden order; told when it is planted."""

    order_id: int
    side: Literal["BUY", "SELL"]
    price: float
    display: float
    quantity: float
    start_ns: int
    end_ns: int


class FairValue(msgspec.Struct, frozen=True, tag="fair"):
    """The value the makers quote around, each second."""

    venue_ns: int
    price: float
    sigma_bps: float
    lean: float


class RegimeChange(msgspec.Struct, frozen=True, tag="regime"):
    """Activity and volatility change together."""

    venue_ns: int
    regime: Literal["CALM", "NORMAL", "WILD"]
    activity: float


Truth = ParentOrder | PlantedIceberg | FairValue | RegimeChange
