"""Volume scalper: ride along with a whale that the book confirmed, at the edge of value or out of it."""

import math
from math import isfinite
from typing import Final, NamedTuple, Protocol

from engine.signals import Action, Alignment, MarketKind, ProfileSource, Side, Signal, Veto, VetoReason
from engine.strategy import CandidateView, Funnel, MarketView, ProfileView, Stage

NS_PER_S = 1_000_000_000
TIME_STOP_S = (30.0, 900.0)
BREAKOUT_SCORE = 0.7

# What is read at every decision has a name of its own: a member of an enum by its class, or an enum by its
# value, costs more than most of the arithmetic here.
SIDES: Final = {int(side): side for side in Side}
KINDS: Final = {int(kind): kind for kind in MarketKind}
SOURCES: Final = {source.value: source for source in ProfileSource}
BUY: Final = Side.BUY
SPOT: Final = MarketKind.SPOT
EDGE: Final = Alignment.EDGE
BREAKOUT: Final = Alignment.BREAKOUT
ENTRY: Final = Action.ENTRY
SESSION: Final = ProfileSource.SESSION.value
ROLLING: Final = ProfileSource.ROLLING.value
PREVIOUS: Final = ProfileSource.PREVIOUS.value


class Settings(Protocol):
    """What the scalper must be told; `engine.config.ScalperSettings` is one."""

    @property
    def taker_bps(self) -> float: ...
    @property
    def maker_bps(self) -> float: ...
    @property
    def is_cost_gated(self) -> bool: ...
    @property
    def entry_notional_quote(self) -> float: ...
    @property
    def min_confidence(self) -> float: ...
    @property
    def cooldown_ns(self) -> int: ...
    @property
    def rho_enter(self) -> float: ...
    @property
    def edge_bps(self) -> float: ...
    @property
    def edge_share(self) -> float: ...
    @property
    def breakout_min_bps(self) -> float: ...
    @property
    def breakout_max_bps(self) -> float: ...
    @property
    def inside_ns(self) -> int: ...


class _Place(NamedTuple):
    """Where the price stands to value, and how far it may run."""

    alignment: Alignment | None = None
    source: ProfileSource | None = None
    target_bps: float = math.nan


NOWHERE: Final = _Place()


class VolumeScalper:
    """Propose an entry on the side of a confirmed whale episode if price is aligned and cost allows it.

    One instance serves one instrument. The whale and the imbalance around it are judged before: `propose`
    sees the candidate that came through, and is asked again on every change of the best prices until it
    expires.

    Parameters
    ----------
    settings
        Resolved for this kind of market.

    Notes
    -----
    The checks, in the order of `VetoReason`; the first that fails is the veto:

    * *not ready*: volatility, mid, spread or the cost of this size is unknown.
    * *not aligned*: see `align`.
    * *cost*: the target that volatility supports, 2 σ₆₀ or the nearer POC of an edge trade, is below twice
      the round trip. The target itself is max(2 cost, 2 σ₆₀): held against that one the check could never
      fail, so it is held against what the market can be expected to travel. With the gate off the entry is
      proposed all the same, its target the larger of both, and says so in `is_cost_gated`.
    * *confidence* = 0.5 + (w + i + a) / 6 with w = clip(log₂(notional / threshold) / 3, 0, 1),
      i = (|ρ_post| - ρ_enter) / (1 - ρ_enter), a = 1 at the edge, 0.7 on a breakout.
    * *no short*: nothing opens short on spot.
    * *cooldown* since the last entry.

    Cost = fees + spread crossed + walk of the book. On spot both ways take: both fees, the whole spread, both
    walks. On futures the entry rests and the exit takes: maker and taker fee, half the spread, the exit's
    walk. 1 R = max(half the target, σ₆₀ + spread). Time stop = 30 s x (target / σ₆₀)², within 30 to 900 s.

    A veto is returned the first time an episode meets its reason, after that None. One entry per episode.

    Blind to: regime, funding, position and account; whether a resting entry would be filled; hidden quantity;
    who stands behind the whale and why it traded.
    """

    __slots__ = ("_cooldown_until_ns", "_entered", "_settings", "funnel")

    name = "volume_scalper"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cooldown_until_ns = 0
        # By side, as only episodes of one side follow each other: the episode entered last and its last
        # whale.
        self._entered: dict[int, tuple[int, int]] = {}
        self.funnel = Funnel(settings.is_cost_gated)

    def propose(self, view: MarketView) -> Signal | Veto | None:
        candidate = view.candidate()
        if candidate is None:
            return None
        episode, last_whale_ns = self._entered.get(candidate.side, (0, 0))
        is_duplicate = candidate.episode == episode
        if is_duplicate and candidate.last_whale_ns <= last_whale_ns:
            return None
        self.funnel.reach(candidate.episode, Stage.IMBALANCE)
        signal = self._draft(view, candidate)
        reason = self._judge(signal, view.now_ns, is_duplicate)
        if reason is not None:
            is_new = self.funnel.veto(candidate.episode, reason)
            return Veto(reason=reason, signal=signal) if is_new else None
        self.funnel.reach(candidate.episode, Stage.ENTRIES)
        self._entered[candidate.side] = candidate.episode, candidate.last_whale_ns
        self._cooldown_until_ns = view.now_ns + self._settings.cooldown_ns
        return signal

    def on_expired(self, view: MarketView) -> None:
        candidate = view.candidate()
        self.funnel.expire(None if candidate is None else candidate.episode)

    def _judge(self, signal: Signal, now_ns: int, is_duplicate: bool) -> VetoReason | None:
        if not signal.is_valid:
            return VetoReason.BOOK_INVALID
        if is_duplicate:
            return VetoReason.DUPLICATE_EPISODE
        if not _is_known(signal.sigma_60_bps, signal.cost_bps, signal.mid, signal.spread_bps):
            return VetoReason.NOT_READY
        if signal.alignment is None:
            return VetoReason.NOT_ALIGNED
        self.funnel.reach(signal.episode, Stage.ALIGNED)
        supported_bps = min(signal.target_bps, 2.0 * signal.sigma_60_bps)
        if signal.is_cost_gated and supported_bps < 2.0 * signal.cost_bps:
            return VetoReason.COST
        self.funnel.reach(signal.episode, Stage.COST)
        if not signal.confidence >= self._settings.min_confidence:
            return VetoReason.CONFIDENCE
        if signal.kind is SPOT and signal.side is not BUY:
            return VetoReason.NO_SHORT
        if now_ns < self._cooldown_until_ns:
            return VetoReason.COOLDOWN
        return None

    def _draft(self, view: MarketView, candidate: CandidateView) -> Signal:
        settings = self._settings
        side, kind = SIDES[candidate.side], KINDS[view.kind]
        sigma_bps, spread_bps = view.sigma_60_bps, view.spread_bps
        cost_bps = self._cost_bps(view, side, kind)
        now_ns, mid, is_valid = view.now_ns, view.mid, view.is_valid
        place = NOWHERE
        if is_valid and _is_known(sigma_bps, cost_bps, mid, spread_bps):
            place = align(view, side, max(2.0 * cost_bps, 2.0 * sigma_bps), settings)
        alignment, source, target_bps = place
        is_entry_taking = kind is SPOT
        # In the order of the fields: by keyword it takes eight times as long.
        return Signal(
            self.name,
            ENTRY,
            view.symbol,
            kind,
            view.instrument_epoch,
            view.book_epoch,
            view.update_id,
            view.last_trade_id,
            view.last_venue_ns,
            view.last_recv_ns,
            now_ns,
            is_valid,
            side,
            view.best_ask if (side is BUY) == is_entry_taking else view.best_bid,
            round(-math.log10(view.price_scale)),
            mid,
            spread_bps,
            settings.entry_notional_quote,
            _confidence(candidate, alignment, settings.rho_enter),
            target_bps,
            max(0.5 * target_bps, sigma_bps + spread_bps) if alignment else math.nan,
            _time_stop_ns(target_bps, sigma_bps),
            cost_bps,
            sigma_bps,
            settings.is_cost_gated,
            candidate.episode,
            candidate.notional,
            candidate.threshold,
            candidate.rho_pre,
            candidate.rho_post,
            candidate.rho_post_min,
            candidate.pulled_share,
            candidate.n_updates,
            alignment,
            source,
        )

    def _cost_bps(self, view: MarketView, side: Side, kind: MarketKind) -> float:
        settings = self._settings
        exit_bps = settings.taker_bps + view.walk_bps(-side, settings.entry_notional_quote)
        if kind is SPOT:
            entry_bps = settings.taker_bps + view.walk_bps(side, settings.entry_notional_quote)
            return entry_bps + exit_bps + view.spread_bps
        return settings.maker_bps + exit_bps + 0.5 * view.spread_bps


def align(view: MarketView, side: Side, reach_bps: float, settings: Settings) -> _Place:
    """Say where the price stands to value on this side, and whether the way to the target is free.

    Notes
    -----
    The primary profile is the session's if ready, else the rolling one if ready, else the previous session's.
    Distances are in bps of mid, counted in the direction of the trade. The near edge of the value area is
    where the trade leaves from (VAL for a long), the far edge is the other.

    * *edge*: mid within max(`edge_bps`, `edge_share` of the area's width) of the near edge.
    * *breakout*: mid beyond the far edge by `breakout_min_bps` to `breakout_max_bps`, and inside the area
      within `inside_ns`.

    The way is free if no POC and no far edge of a ready profile, no naked POC of the previous session and no
    high-volume node of the primary profile lies ahead nearer than the target. An edge trade stops at the
    nearest of those POCs instead of being refused by it: it becomes the target.
    """
    profiles = view.profiles()
    primary = _primary(profiles)
    if primary is None:
        return NOWHERE
    source = SOURCES[primary.source]
    mid = view.mid

    # Distances are counted in the direction of the trade.
    is_long = side is BUY
    sign = 1.0 if is_long else -1.0
    val_bps, vah_bps = sign * (primary.val - mid) / mid * 1e4, sign * (primary.vah - mid) / mid * 1e4
    near_bps, far_bps = (val_bps, vah_bps) if is_long else (vah_bps, val_bps)
    if abs(near_bps) <= max(settings.edge_bps, settings.edge_share * (far_bps - near_bps)):
        alignment = EDGE
    elif (
        settings.breakout_min_bps <= -far_bps <= settings.breakout_max_bps
        and primary.last_inside_ns > 0
        and view.now_ns - primary.last_inside_ns <= settings.inside_ns
    ):
        alignment = BREAKOUT
    else:
        return _Place(None, source)

    target_bps = reach_bps
    barriers = [sign * (level - mid) / mid * 1e4 for level in primary.nodes]
    for profile in profiles:
        # Of the previous session only the naked POC speaks, unless it has to stand in for the others.
        is_speaking = profile is primary or (profile.is_ready and profile.source != PREVIOUS)
        if is_speaking:
            barriers.append(sign * ((profile.vah if is_long else profile.val) - mid) / mid * 1e4)
        if is_speaking or profile.is_poc_naked:
            poc_bps = sign * (profile.poc - mid) / mid * 1e4
            if alignment is BREAKOUT:
                barriers.append(poc_bps)
            elif 0.0 < poc_bps < target_bps:
                target_bps = poc_bps
    for distance_bps in barriers:
        if 0.0 < distance_bps < target_bps:
            return _Place(None, source)
    return _Place(alignment, source, target_bps)


def _primary(profiles: tuple[ProfileView, ...]) -> ProfileView | None:
    rolling = previous = None
    for profile in profiles:
        source = profile.source
        if source == SESSION:
            if profile.is_ready:
                return profile
        elif source == ROLLING:
            if profile.is_ready:
                rolling = profile
        else:
            previous = profile
    return previous if rolling is None else rolling


def _confidence(candidate: CandidateView, alignment: Alignment | None, rho_enter: float) -> float:
    if alignment is None or candidate.threshold <= 0.0:
        return math.nan
    ratio = candidate.notional / candidate.threshold
    whale = min(math.log2(ratio) / 3.0, 1.0) if ratio > 1.0 else 0.0
    imbalance = min(max((abs(candidate.rho_post) - rho_enter) / (1.0 - rho_enter), 0.0), 1.0)
    return 0.5 + (whale + imbalance + (1.0 if alignment is EDGE else BREAKOUT_SCORE)) / 6.0


def _time_stop_ns(target_bps: float, sigma_bps: float) -> int:
    if not (isfinite(target_bps) and isfinite(sigma_bps)):
        return 0
    low_s, high_s = TIME_STOP_S
    ratio = target_bps / sigma_bps if sigma_bps > 0.0 else math.inf
    return round(min(max(low_s * ratio * ratio, low_s), high_s) * NS_PER_S)


def _is_known(sigma_bps: float, cost_bps: float, mid: float, spread_bps: float) -> bool:
    return isfinite(sigma_bps) and isfinite(cost_bps) and isfinite(mid) and isfinite(spread_bps)
