"""The socket for plug-ins: what a strategy must offer, what it may see, and how its verdicts are counted."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from engine.signals import Signal, Veto, VetoReason


class CandidateView(Protocol):
    """A whale episode whose imbalance afterwards confirmed it; all values were known when it was armed."""

    @property
    def episode(self) -> int: ...  # from 1, per instrument
    @property
    def side(self) -> int: ...  # signals.Side of the whale
    @property
    def notional(self) -> float: ...  # quote
    @property
    def threshold(self) -> float: ...  # quote
    @property
    def rho_pre(self) -> float: ...
    @property
    def rho_post(self) -> float: ...
    @property
    def rho_post_min(self) -> float: ...
    @property
    def pulled_share(self) -> float: ...
    @property
    def n_updates(self) -> int: ...
    @property
    def last_whale_ns(self) -> int: ...
    @property
    def expires_ns(self) -> int: ...


class ProfileView(Protocol):
    """One volume profile: the POC is the middle of its row, VAH and VAL are the outer edges of theirs."""

    @property
    def source(self) -> str: ...  # signals.ProfileSource
    @property
    def is_ready(self) -> bool: ...
    @property
    def poc(self) -> float: ...  # quote
    @property
    def vah(self) -> float: ...  # quote
    @property
    def val(self) -> float: ...  # quote
    @property
    def nodes(self) -> tuple[float, ...]: ...  # high-volume nodes, quote
    @property
    def is_poc_naked(self) -> bool: ...  # previous session only: not traded since
    @property
    def last_inside_ns(self) -> int: ...  # last second with VAL <= mid <= VAH; 0 = never
    @property
    def age_ns(self) -> int: ...


class AlignmentRule(NamedTuple):
    """When a price is aligned; the rules are those of `native.alignment`."""

    edge_bps: float
    edge_share: float
    breakout_min_bps: float
    breakout_max_bps: float
    inside_ns: int


class MarketView(Protocol):
    """All a strategy may see of one instrument at one moment.

    Lifetime: valid during the call it is given to. Keep values, never the view.
    """

    @property
    def symbol(self) -> str: ...
    @property
    def kind(self) -> int: ...  # signals.MarketKind
    @property
    def now_ns(self) -> int: ...
    @property
    def is_valid(self) -> bool: ...  # the book is LIVE and not crossed
    @property
    def instrument_epoch(self) -> int: ...
    @property
    def book_epoch(self) -> int: ...
    @property
    def update_id(self) -> int: ...
    @property
    def last_trade_id(self) -> int: ...
    @property
    def last_venue_ns(self) -> int: ...
    @property
    def last_recv_ns(self) -> int: ...
    @property
    def best_bid(self) -> int: ...  # price units
    @property
    def best_ask(self) -> int: ...  # price units
    @property
    def price_digits(self) -> int: ...  # a price unit is 10^-price_digits quote
    @property
    def spread_bps(self) -> float: ...
    @property
    def mid(self) -> float: ...  # quote
    @property
    def sigma_60_bps(self) -> float: ...  # NaN until ready

    def candidate(self) -> CandidateView | None:
        """Return the confirmed whale episode that waits for an entry, if there is one."""
        ...

    def profiles(self) -> tuple[ProfileView, ...]:
        """Return the profiles that exist, each source at most once."""
        ...

    def align(self, side: int, reach_bps: float, rule: AlignmentRule) -> tuple[str, str, float]:
        """Return where mid, which must be known, stands to value in the direction of `side`.

        An `Alignment` or "", the `ProfileSource` it is measured on or "", and the target in bps, at most
        `reach_bps`, NaN without an alignment.
        """
        ...

    def walk_bps(self, side: int, notional_quote: float) -> float:
        """Return the slippage beyond the best price of taking this notional as aggressor `side`.

        NaN if the known book is too thin.
        """
        ...


class Strategy(Protocol):
    """A plug-in. One instance serves one instrument; calls are synchronous and must not block."""

    @property
    def name(self) -> str: ...

    def propose(self, view: MarketView) -> Signal | Veto | None:
        """Judge the market; None means that there is nothing new to say."""
        ...

    def on_expired(self, view: MarketView) -> None:
        """Learn that the entry candidate is over."""
        ...


class Stage(IntEnum):
    """How far an episode came on its way to an entry; each stage implies those before it."""

    IMBALANCE = 1  # the book after the whale confirmed it: the strategy saw a candidate
    ALIGNED = 2
    COST = 3
    ENTRIES = 4


_IMBALANCE: Final = Stage.IMBALANCE


@dataclass(frozen=True, slots=True)
class FunnelCounts:
    """Episodes that reached each stage.

    ``imbalance == entries + sum of vetoes + n_open`` always. With `is_cost_gated` false the cost stage counts
    every aligned episode: nothing was held back there.
    """

    imbalance: int
    aligned: int
    cost: int
    entries: int
    n_open: int  # neither entered nor over yet
    is_cost_gated: bool
    vetoes: tuple[
        tuple[VetoReason, int], ...
    ]  # of episodes that are over, by their last reason; zeros included


@dataclass(slots=True)
class _Progress:
    stage: Stage
    reason: VetoReason | None = None
    given: frozenset[VetoReason] = frozenset()
    is_over: bool = False


class Funnel:
    """Count each episode once per stage it reached, and its last veto when it is over without an entry.

    An episode may be judged many times, end, and come back with a further whale of its own: it stays one. The
    newest `MEMORY` episodes are remembered for that; older ones are final.
    """

    MEMORY = 8

    __slots__ = ("_counts", "_is_cost_gated", "_recent", "_vetoes")

    def __init__(self, is_cost_gated: bool) -> None:
        self._is_cost_gated = is_cost_gated
        self._counts = [0] * (max(Stage) + 1)
        self._vetoes = dict.fromkeys(VetoReason, 0)
        self._recent: dict[int, _Progress] = {}

    def reach(self, episode: int, stage: Stage) -> None:
        """Count the episode in `stage` and all before it, where it is not counted yet."""
        progress = self._recent.get(episode)
        if progress is None:
            if len(self._recent) == self.MEMORY:
                self._forget(min(self._recent))
            progress = self._recent[episode] = _Progress(_IMBALANCE)
            self._counts[_IMBALANCE] += 1
        progress.is_over = False
        before = progress.stage
        if stage > before:
            counts = self._counts
            for further in range(before + 1, stage + 1):
                counts[further] += 1
            progress.stage = stage

    def veto(self, episode: int, reason: VetoReason) -> bool:
        """Note why the episode is not entered now; True the first time it gets this reason."""
        self.reach(episode, Stage.IMBALANCE)
        progress = self._recent[episode]
        is_new = reason not in progress.given
        progress.reason = reason
        progress.given |= {reason}
        return is_new

    def expire(self, alive: int | None) -> None:
        """Close every episode but `alive`."""
        for episode, progress in self._recent.items():
            if episode != alive:
                progress.is_over = True

    def counts(self) -> FunnelCounts:
        """Return the counts now."""
        vetoes = dict(self._vetoes)
        n_open = 0
        for progress in self._recent.values():
            if progress.stage is Stage.ENTRIES:
                continue
            if progress.is_over and progress.reason is not None:
                vetoes[progress.reason] += 1
            else:
                n_open += 1
        return FunnelCounts(
            imbalance=self._counts[Stage.IMBALANCE],
            aligned=self._counts[Stage.ALIGNED],
            cost=self._counts[Stage.COST],
            entries=self._counts[Stage.ENTRIES],
            n_open=n_open,
            is_cost_gated=self._is_cost_gated,
            vetoes=tuple(vetoes.items()),
        )

    def _forget(self, episode: int) -> None:
        progress = self._recent.pop(episode)
        if progress.stage is not Stage.ENTRIES:
            self._vetoes[progress.reason or VetoReason.NOT_READY] += 1
