"""What the synthetic markets are like: figures taken from recordings of August 2024."""

import math
import zlib
from dataclasses import dataclass, replace
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
    supported_share: float = 0.65  # of the whales: makers believe them and step behind them
    support: float = 1.0  # how much they then add, in units of what the recordings suggest
    sigma_bps: float = 0.6  # of the fair value, per square root of a second

    @property
    def tick(self) -> float:
        return 10.0**-self.tick_decimals

    @property
    def lot(self) -> float:
        return 10.0**-self.lot_decimals


def btcusdt(market: Market) -> CrowdSpec:
    """
    Return the specification that resembles BTCUSDT of August 2024.

    Notes
    -----
    Five minutes of it (seed 4) beside the first five minutes of the recordings of 2024-08-08; depth is of one
    side within 2 bps, an episode is what the rules for whales with the preset `capture` find:

    ==============================  ===============  ===============  ===============  ===============
                                    spot, recorded   spot, crowd      usdm, recorded   usdm, crowd
    ==============================  ===============  ===============  ===============  ===============
    messages/s                      123              144              280              248
    changed levels/s                368              304              1,326            1,241
    tickers/s, trades/s             83, 30           91, 44           198, 63          157, 72
    sweeps/s, trades a sweep        9.6, 3.1         19.7, 2.2        16.0, 3.9        19.1, 3.8
    trade size p50, p90, p99        .0006 .05 .32    .005 .16 .79     .016 .26 1.1     .009 .29 1.1
    sweep quote p50, p90, p99       229 6.2k 71k     333 11k 138k     1.8k 41k 423k    1.7k 47k 300k
    spread mean, ticks              2.8              1.7              1.2              1.0
    depth p5, p50, p95, k quote     274 473 694      271 467 730      557 970 1,962    645 1,004 1,585
    prices within 1, 5, 20 bps      19 118 529       27 136 589       17 173 805       31 170 726
    mid move 1 s, 10 s, 60 s, bps   1.3 4.2 4.4      1.3 3.8 7.1      1.3 3.9 4.5      0.9 3.1 7.5
    imbalance beyond 0.6, share     0.17             0.20             0.12             0.26
    most messages in 1 s, 10 ms     1,362, 337       301, 163         2,453, 593       534, 189
    whale episodes a minute         0.7 (4)          6.6 (33)         3.9 (23)         5.8 (29)
    of them confirmed               0                9                3                11
    ==============================  ===============  ===============  ===============  ===============

    Busier in sweeps and whales on purpose, so that a minute shows some; milder in the largest bursts.
    """
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


def spec_of(symbol: str, market: Market) -> CrowdSpec:
    """
    Return a specification for any symbol.

    BTCUSDT as it was recorded; ETHUSDT and SOLUSDT the same market on a smaller scale; every other name a
    thin one, whose price follows from the name.

    Parameters
    ----------
    symbol : str
        Upper case.
    market : {"spot", "usdm"}

    Raises
    ------
    ValueError
        When the symbol is no name in capital letters and figures.
    """
    if not symbol.isalnum() or symbol != symbol.upper():
        raise ValueError(f"Expected a symbol in capital letters and figures, found {symbol!r}.")
    whole = btcusdt(market)
    if symbol == "BTCUSDT":
        return whole
    is_spot = market == "spot"
    if symbol == "ETHUSDT":
        return _scaled(whole, symbol, 0.45, price=2_680.0, decimals=(2, 4 if is_spot else 3))
    if symbol == "SOLUSDT":
        return _scaled(whole, symbol, 0.2, price=155.0, decimals=(2 if is_spot else 3, 3 if is_spot else 2))
    # Between 0.02 and 200 quote; a tick is a tenth of a basis point to one, a lot up to one quote.
    price = round(0.02 * 10 ** (4.0 * zlib.crc32(symbol.encode()) / 2**32), 5)
    tick_decimals = math.ceil(-math.log10(price * 1e-4))
    lot_decimals = max(0, math.ceil(math.log10(price)))
    thin = _scaled(whole, symbol, 0.02, price=price, decimals=(tick_decimals, lot_decimals))
    return replace(
        thin,
        orders_per_bps=3.0,
        order_quote=400.0,
        touch_quote=3_000.0,
        maker_rate=2.5,
        reach_bps=12.0,
        touch_rate=1.5,
        sweep_rate=0.4,
        sweep_quote=60.0,
        whales_per_minute=1.0,
        sigma_bps=0.9,
    )


def _scaled(
    whole: CrowdSpec, symbol: str, share: float, *, price: float, decimals: tuple[int, int]
) -> CrowdSpec:
    """Return the market with a share of its rates and amounts, at another price and with other steps."""
    tick_decimals, lot_decimals = decimals
    is_spot = whole.market == "spot"
    return replace(
        whole,
        symbol=symbol,
        start_price=price,
        tick_decimals=tick_decimals,
        price_zeros=max(0, 8 - tick_decimals) if is_spot else 0,
        lot_decimals=lot_decimals,
        quantity_zeros=8 - lot_decimals if is_spot else 0,
        orders_per_bps=whole.orders_per_bps * share**0.5,
        order_quote=whole.order_quote * share**0.5,
        touch_quote=whole.touch_quote * share,
        maker_rate=whole.maker_rate * share**0.5,
        touch_rate=whole.touch_rate * share,
        sweep_rate=whole.sweep_rate * share,
        sweep_quote=whole.sweep_quote * share**0.5,
        tail_quote=whole.tail_quote * share,
        tail_cap=whole.tail_cap * share,
        whale_low=whole.whale_low * share,
        whale_high=whole.whale_high * share,
    )
