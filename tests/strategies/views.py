"""Markets made by hand: what a strategy sees, every value chosen by the test."""

import math
from dataclasses import dataclass, field

from engine.signals import MarketKind, Side
from engine.strategy import AlignmentRule
from native.alignment import align_profiles

NS_PER_S = 1_000_000_000


@dataclass
class FakeCandidate:
    episode: int = 1
    side: int = Side.BUY
    notional: float = 400_000.0
    threshold: float = 100_000.0
    rho_pre: float = 0.1
    rho_post: float = 0.8
    rho_post_min: float = 0.7
    pulled_share: float = 0.2
    n_updates: int = 4
    last_whale_ns: int = 1000 * NS_PER_S
    expires_ns: int = 1002 * NS_PER_S


@dataclass
class FakeProfile:
    source: str = "rolling"
    is_ready: bool = True
    poc: float = math.nan
    vah: float = math.nan
    val: float = math.nan
    nodes: tuple[float, ...] = ()
    is_poc_naked: bool = False
    last_inside_ns: int = 0
    age_ns: int = 0


@dataclass
class FakeMarket:
    symbol: str = "BTCUSDT"
    kind: int = MarketKind.USDM
    now_ns: int = 1001 * NS_PER_S
    is_valid: bool = True
    instrument_epoch: int = 1
    book_epoch: int = 2
    update_id: int = 77
    last_trade_id: int = 88
    last_venue_ns: int = 1001 * NS_PER_S - 5_000_000
    last_recv_ns: int = 1001 * NS_PER_S
    best_bid: int = 999_995
    best_ask: int = 1_000_005
    price_digits: int = 2
    spread_bps: float = 0.1
    mid: float = 10_000.0
    sigma_60_bps: float = 20.0
    walk: dict[int, float] = field(default_factory=lambda: {Side.BUY: 0.0, Side.SELL: 0.0})
    waiting: FakeCandidate | None = field(default_factory=FakeCandidate)
    known: tuple[FakeProfile, ...] = ()

    def candidate(self) -> FakeCandidate | None:
        return self.waiting

    def profiles(self) -> tuple[FakeProfile, ...]:
        return self.known

    def align(self, side: int, reach_bps: float, rule: AlignmentRule) -> tuple[str, str, float]:
        return align_profiles(
            self.known, side=side, mid=self.mid, reach_bps=reach_bps, now_ns=self.now_ns, rule=rule
        )

    def walk_bps(self, side: int, notional_quote: float) -> float:
        assert notional_quote > 0
        return self.walk[side]
