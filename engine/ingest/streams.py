"""What the feed keeps of each instrument and of each of its streams."""

from dataclasses import dataclass, field

from engine.ingest.book_sync import BookSync
from engine.ingest.deadlines import Proof, Watch
from engine.ingest.trade_sync import TradeSync
from engine.instruments import Instrument
from native.market import Market

TRADING = "TRADING"


@dataclass(slots=True)
class FeedLane:
    """One instrument as the feed is given it; another market put here is fed from then on."""

    instrument: Instrument
    market: Market


@dataclass(slots=True, eq=False)
class Stream:
    """One stream of one instrument.

    Attributes
    ----------
    slot : its place in the router.
    rejected_ns : when the venue refused it; 0: it did not.
    is_dropped : the venue lists its instrument no more.
    """

    name: str
    role: str
    category: str
    lane: "LaneState"
    slot: int
    watch: Watch
    rejected_ns: int = 0
    is_dropped: bool = False
    is_silent: bool = False
    times_silent: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether its messages are waited for."""
        return not self.is_dropped and not self.rejected_ns


@dataclass(slots=True, eq=False)
class LaneState:
    """One instrument: its streams by role, and what its book and its trades lack.

    Attributes
    ----------
    lane : as given.
    market : the one that its slots feed.
    is_dropped : the venue lists it no more, and nothing of it is asked for.
    """

    index: int
    lane: FeedLane
    market: Market
    book: BookSync
    trades: TradeSync
    streams: dict[str, Stream] = field(default_factory=dict)
    proof: Proof = field(default_factory=Proof)
    is_dropped: bool = False

    @property
    def symbol(self) -> str:
        """As the venue writes it."""
        return self.lane.instrument.symbol

    @property
    def is_trading(self) -> bool:
        """Whether its streams have anything to say; an unknown status counts as yes."""
        return self.lane.instrument.status in (TRADING, "")

    def traded_ns(self, now_ns: int) -> int:
        """Return when the venue's statistics of the day last showed a trade; 0 = never."""
        day = self.market.context.day
        if day is not None:
            self.proof.see(now_ns, day.last, day.n_trades)
        return self.proof.shown_ns
