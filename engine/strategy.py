"""The socket for plug-ins: what a strategy must offer, and what it may see of a market."""

from typing import Protocol

from engine.signals import Signal, Veto


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
    def price_scale(self) -> float: ...  # quote per price unit, a power of ten
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
