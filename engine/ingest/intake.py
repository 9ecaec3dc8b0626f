"""The side of the corridor that the feed speaks to."""

from typing import Protocol

from engine.instruments import Instrument


class Intake(Protocol):
    """Takes what the feed brings beside frames.

    Each call is one input at a stamp of its own, later than all before; it is logged and applied at once, so
    that the market shows its effect when the call returns. `index` is the dense index of an instrument.
    """

    def on_snapshot(self, index: int, body: bytes) -> None:
        """Take a REST depth answer: for a book that waits for one, or for the refresh of one that is live."""
        ...

    def on_trades(self, index: int, body: bytes) -> None:
        """Take trades that the stream did not bring; rows outside of known gaps are to be ignored."""
        ...

    def on_context(self, index: int, what: str, body: bytes) -> None:
        """Take a REST answer of `what`: open_interest or premium_index."""
        ...

    def on_event(self, index: int, event: str, detail: str) -> None:
        """Take what happened to the connection; index -1 is all instruments.

        Two events change a market: `refresh` with the detail `begin` calls its `begin_refresh`, `gap_left`
        its `close_gaps`.
        """
        ...

    def on_instrument(self, found: Instrument) -> None:
        """Take filters or a status that are others than before."""
        ...

    def on_history(self, index: int, klines: bytes, agg_trades: bytes) -> None:
        """Take one-minute klines and aggregate trades from before the first frame, each oldest first.

        Raises
        ------
        ValueError
            They are not what the venue's endpoints give; nothing was learned.
        """
        ...
