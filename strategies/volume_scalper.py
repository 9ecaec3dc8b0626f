"""Volume scalper: ride along with a whale that the book confirmed, at the edge of value or out of it."""

import math
from math import isfinite, log2
from typing import Final, Protocol

from engine.signals import Action, Alignment, MarketKind, ProfileSource, Side, Signal, Veto, VetoReason
from engine.strategy import AlignmentRule, CandidateView, Funnel, MarketView, Stage

NS_PER_S = 1_000_000_000
MIN_TIME_STOP_S: Final = 30.0
MAX_TIME_STOP_S: Final = 900.0
BREAKOUT_SCORE = 0.7

# What is read at every decision has a name of its own: a member of an enum by its class, or an enum by its
# value, costs more than most of the arithmetic here.
SIDES: Final = {int(side): side for side in Side}
KINDS: Final = {int(kind): kind for kind in MarketKind}
SOURCES: Final = {source.value: source for source in ProfileSource} | {"": None}
ALIGNMENTS: Final = {alignment.value: alignment for alignment in Alignment} | {"": None}
NOWHERE: Final = "", "", math.nan
BUY: Final = Side.BUY
SPOT: Final = MarketKind.SPOT
EDGE: Final = Alignment.EDGE
ENTRY: Final = Action.ENTRY
IMBALANCE: Final = Stage.IMBALANCE
ALIGNED: Final = Stage.ALIGNED
COST: Final = Stage.COST
ENTRIES: Final = Stage.ENTRIES


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
    * *not aligned*: the price is neither at the near edge of value nor breaks out of the far one with a free
      way to its target; see `native.alignment`.
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

    __slots__ = ("_cooldown_until_ns", "_entered", "_funnel", "_reached", "_rule", "_settings")

    name = "volume_scalper"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rule = AlignmentRule(
            settings.edge_bps,
            settings.edge_share,
            settings.breakout_min_bps,
            settings.breakout_max_bps,
            settings.inside_ns,
        )
        self._cooldown_until_ns = 0
        # By side, as only episodes of one side follow each other: the episode entered last and its last
        # whale.
        self._entered: dict[int, tuple[int, int]] = {}
        self._funnel = Funnel(settings.is_cost_gated)
        # The episode entered just now: counted later, its order leaves first. 0 = none.
        self._reached = 0

    @property
    def funnel(self) -> Funnel:
        """What became of the episodes, counted up to now."""
        if self._reached:
            self._funnel.reach(self._reached, ENTRIES)
            self._reached = 0
        return self._funnel

    def propose(self, view: MarketView) -> Signal | Veto | None:
        candidate = view.candidate()
        if candidate is None:
            return None
        episode, last_whale_ns = self._entered.get(candidate.side, (0, 0))
        is_duplicate = candidate.episode == episode
        if is_duplicate and candidate.last_whale_ns <= last_whale_ns:
            return None
        signal = self._draft(view, candidate)
        reason, stage = self._judge(signal, is_duplicate)
        if reason is not None:
            funnel = self.funnel
            funnel.reach(candidate.episode, stage)
            is_new = funnel.veto(candidate.episode, reason)
            return Veto(reason=reason, signal=signal) if is_new else None
        self._reached = signal.episode
        self._entered[candidate.side] = signal.episode, candidate.last_whale_ns
        self._cooldown_until_ns = signal.decide_ns + self._settings.cooldown_ns
        return signal

    def on_expired(self, view: MarketView) -> None:
        candidate = view.candidate()
        self.funnel.expire(None if candidate is None else candidate.episode)

    def _judge(self, signal: Signal, is_duplicate: bool) -> tuple[VetoReason | None, Stage]:
        """Return why it is no entry, or None, and how far it came."""
        if not signal.is_valid:
            return VetoReason.BOOK_INVALID, IMBALANCE
        if is_duplicate:
            return VetoReason.DUPLICATE_EPISODE, IMBALANCE
        if signal.alignment is None:
            # Only a price that is known is ever aligned.
            is_known = _is_known(signal.sigma_60_bps, signal.cost_bps, signal.mid, signal.spread_bps)
            return VetoReason.NOT_ALIGNED if is_known else VetoReason.NOT_READY, IMBALANCE
        supported_bps = min(signal.target_bps, 2.0 * signal.sigma_60_bps)
        if signal.is_cost_gated and supported_bps < 2.0 * signal.cost_bps:
            return VetoReason.COST, ALIGNED
        if not signal.confidence >= self._settings.min_confidence:
            return VetoReason.CONFIDENCE, COST
        if signal.kind is SPOT and signal.side is not BUY:
            return VetoReason.NO_SHORT, COST
        if signal.decide_ns < self._cooldown_until_ns:
            return VetoReason.COOLDOWN, COST
        return None, ENTRIES

    def _draft(self, view: MarketView, candidate: CandidateView) -> Signal:
        settings = self._settings
        side, kind = SIDES[candidate.side], KINDS[view.kind]
        sigma_bps, spread_bps = view.sigma_60_bps, view.spread_bps
        cost_bps = self._cost_bps(view, side, kind)
        now_ns, mid, is_valid = view.now_ns, view.mid, view.is_valid
        place = NOWHERE
        if is_valid and _is_known(sigma_bps, cost_bps, mid, spread_bps):
            place = view.align(side, max(2.0 * cost_bps, 2.0 * sigma_bps), self._rule)
        alignment, target_bps = ALIGNMENTS[place[0]], place[2]
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
            view.price_digits,
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
            SOURCES[place[1]],
        )

    def _cost_bps(self, view: MarketView, side: Side, kind: MarketKind) -> float:
        settings = self._settings
        exit_bps = settings.taker_bps + view.walk_bps(-side, settings.entry_notional_quote)
        if kind is SPOT:
            entry_bps = settings.taker_bps + view.walk_bps(side, settings.entry_notional_quote)
            return entry_bps + exit_bps + view.spread_bps
        return settings.maker_bps + exit_bps + 0.5 * view.spread_bps


def _confidence(candidate: CandidateView, alignment: Alignment | None, rho_enter: float) -> float:
    if alignment is None or candidate.threshold <= 0.0:
        return math.nan
    ratio, rho_post = candidate.notional / candidate.threshold, candidate.rho_post
    # Comparisons where `min` and `max` would read better: they take a third of the time.
    whale = (1.0 if ratio >= 8.0 else log2(ratio) / 3.0) if ratio > 1.0 else 0.0
    imbalance = ((rho_post if rho_post >= 0.0 else -rho_post) - rho_enter) / (1.0 - rho_enter)
    if imbalance < 0.0:
        imbalance = 0.0
    elif imbalance > 1.0:
        imbalance = 1.0
    return 0.5 + (whale + imbalance + (1.0 if alignment is EDGE else BREAKOUT_SCORE)) / 6.0


def _time_stop_ns(target_bps: float, sigma_bps: float) -> int:
    if not (isfinite(target_bps) and isfinite(sigma_bps)):
        return 0
    ratio = target_bps / sigma_bps if sigma_bps > 0.0 else math.inf
    seconds = MIN_TIME_STOP_S * ratio * ratio
    if seconds < MIN_TIME_STOP_S:
        seconds = MIN_TIME_STOP_S
    elif seconds > MAX_TIME_STOP_S:
        seconds = MAX_TIME_STOP_S
    return round(seconds * NS_PER_S)


def _is_known(sigma_bps: float, cost_bps: float, mid: float, spread_bps: float) -> bool:
    return isfinite(sigma_bps) and isfinite(cost_bps) and isfinite(mid) and isfinite(spread_bps)
