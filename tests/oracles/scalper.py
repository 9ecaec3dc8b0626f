"""Slow obvious twin of the volume scalper's arithmetic, in exact fractions."""

from fractions import Fraction

from engine.config import ScalperSettings
from engine.signals import MarketKind, Side
from tests.strategies.views import FakeMarket, FakeProfile

Levels = list[tuple[str, Fraction]]


def cost_bps(market: FakeMarket, side: int, settings: ScalperSettings) -> Fraction:
    walk = {key: Fraction(value) for key, value in market.walk.items()}
    taker, maker, spread = map(Fraction, (settings.taker_bps, settings.maker_bps, market.spread_bps))
    if market.kind == MarketKind.SPOT:
        return taker + taker + spread + walk[Side.BUY] + walk[Side.SELL]
    return maker + taker + spread / 2 + walk[Side.SELL if side == Side.BUY else Side.BUY]


def primary_of(market: FakeMarket) -> FakeProfile | None:
    for source in ("session", "rolling", "previous"):
        for profile in market.known:
            if profile.source == source and (profile.is_ready or source == "previous"):
                return profile
    return None


def levels_of(market: FakeMarket, primary: FakeProfile, side: int) -> Levels:
    """Return every opposing level, as (what, price)."""
    levels: Levels = [("node", Fraction(node)) for node in primary.nodes]
    for profile in market.known:
        if profile is primary or (profile.source in ("session", "rolling") and profile.is_ready):
            levels.append(("poc", Fraction(profile.poc)))
            levels.append(("edge", Fraction(profile.vah if side == Side.BUY else profile.val)))
        elif profile.source == "previous" and profile.is_poc_naked:
            levels.append(("poc", Fraction(profile.poc)))
    return levels


def place(market: FakeMarket, side: int, settings: ScalperSettings) -> tuple[str, Fraction] | None:
    """Return (alignment, target in bps), or None where the price is not aligned."""
    primary = primary_of(market)
    if primary is None:
        return None
    mid, bps = Fraction(market.mid), Fraction(market.mid) / 10_000
    target = max(2 * cost_bps(market, side, settings), 2 * Fraction(market.sigma_60_bps))
    vah, val = Fraction(primary.vah), Fraction(primary.val)
    levels = levels_of(market, primary, side)
    if side == Side.BUY:
        at_edge = abs(mid - val) <= max(
            Fraction(settings.edge_bps) * bps, Fraction(settings.edge_share) * (vah - val)
        )
        out = (mid - vah) / bps
        ahead = [(what, (price - mid) / bps) for what, price in levels if price > mid]
    else:
        at_edge = abs(mid - vah) <= max(
            Fraction(settings.edge_bps) * bps, Fraction(settings.edge_share) * (vah - val)
        )
        out = (val - mid) / bps
        ahead = [(what, (mid - price) / bps) for what, price in levels if price < mid]
    if at_edge:
        target = min([target, *[distance for what, distance in ahead if what == "poc"]])
        is_free = all(distance >= target for what, distance in ahead if what != "poc")
        return ("edge", target) if is_free else None
    was_inside = primary.last_inside_ns > 0 and market.now_ns - primary.last_inside_ns <= settings.inside_ns
    if not (settings.breakout_min_bps <= out <= settings.breakout_max_bps and was_inside):
        return None
    return ("breakout", target) if all(distance >= target for _, distance in ahead) else None
