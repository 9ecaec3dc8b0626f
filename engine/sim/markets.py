"""What the synthetic markets are like: figures taken from recordings of August 2024."""

from dataclasses import dataclass
from typing import Literal

Market = Literal["spot", "usdm"]


@dataclass(frozen=True, slots=True)
class CrowdSpec:
    """
    What one synthetic market is like.

    Rates are means in the regime NORMAL. `quote` amounts are in the quote asset, distances in basis points of
    the price, times in seconds.
    """

    symbol: str
    market: Market
    start_price: float
    tick_decimals: int
    price_zeros: int  # zeros the venue's text adds behind the tick
    lot_decimals: int
    quantity_zeros: int
    orders_per_bps: float  # resting orders per side near the touch
    order_quote: float  # mean size of one of them, further than some basis points away
    near_share: float  # of that size, at the touch
    touch_quote: float  # size the best price tends to
    maker_rate: float  # new orders away from the touch, per second and side
    reach_bps: float  # median distance of new orders
    touch_rate: float  # actions at the best price, per second
    sweep_rate: float
    sweep_quote: float  # median
    sweep_sigma: float
    tail_quote: float  # start of the Pareto tail
    tail_cap: float
    whale_low: float
    whale_high: float
    whales_per_minute: float = 9.0
    sigma_bps: float = 0.6  # of the fair value, per square root of a second

    @property
    def tick(self) -> float:
        return 10.0**-self.tick_decimals

    @property
    def lot(self) -> float:
        return 10.0**-self.lot_decimals


def btcusdt(market: Market) -> CrowdSpec:
    """Return the specification that resembles BTCUSDT of August 2024."""
    if market == "spot":
        return CrowdSpec(
            symbol="BTCUSDT",
            market="spot",
            start_price=61_800.0,
            tick_decimals=2,
            price_zeros=6,
            lot_decimals=5,
            quantity_zeros=3,
            orders_per_bps=32.0,
            order_quote=9_000.0,
            near_share=0.5,
            touch_quote=150_000.0,
            maker_rate=68.0,
            reach_bps=3.2,
            touch_rate=26.0,
            sweep_rate=18.5,
            sweep_quote=200.0,
            sweep_sigma=2.0,
            tail_quote=4_500.0,
            tail_cap=80_000.0,
            whale_low=270_000.0,
            whale_high=1_000_000.0,
        )
    return CrowdSpec(
        symbol="BTCUSDT",
        market="usdm",
        start_price=61_800.0,
        tick_decimals=1,
        price_zeros=1,
        lot_decimals=3,
        quantity_zeros=0,
        orders_per_bps=60.0,
        order_quote=16_000.0,
        near_share=0.3,
        touch_quote=215_000.0,
        maker_rate=330.0,
        reach_bps=5.9,
        touch_rate=85.0,
        sweep_rate=20.0,
        sweep_quote=1_100.0,
        sweep_sigma=1.9,
        tail_quote=25_000.0,
        tail_cap=300_000.0,
        whale_low=560_000.0,
        whale_high=1_200_000.0,
    )
