from typing import NamedTuple

from native.market import Market

class WarmUp(NamedTuple):
    minutes: int
    trades: int
    sweeps: int
    first_ns: int
    last_ns: int

def warm_up(market: Market, klines: bytes, agg_trades: bytes) -> WarmUp: ...
