"""What really happened in a live market, by slow exact sums: what others are held to."""

from collections.abc import Callable

from engine.instruments import Instrument
from engine.sim.messages import Deal

Candle = tuple[int, int, int, int, int, int, int]


class MarketTruth:
    """
    Book and trades of one market in units of its instrument, as integers.

    Parameters
    ----------
    instrument : Instrument
        As it was at the start; changed filters change no units here.
    levels : callable
        Returns a side of the book, 1 the bids and -1 the asks: price to quantity, in units.
    deals : callable
        Returns the trades since the market began, as many as are kept, in units.

    Notes
    -----
    Only what happened live; the past before the start is no part of it.
    """

    def __init__(
        self,
        instrument: Instrument,
        levels: Callable[[int], dict[int, int]],
        deals: Callable[[], list[Deal]],
    ) -> None:
        self.instrument = instrument
        self._levels = levels
        self._deals = deals

    def book(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return bids and asks: price units to quantity units."""
        return self._levels(1), self._levels(-1)

    def trades(self, start_ns: int = 0, end_ns: int = 1 << 62) -> list[Deal]:
        """Return the trades from `start_ns` up to before `end_ns`, in units."""
        return [deal for deal in self._deals() if start_ns <= deal.venue_ns < end_ns]

    def cvd(self, start_ns: int = 0, end_ns: int = 1 << 62, *, is_regular: bool = False) -> int:
        """Return what takers bought minus what they sold; `is_regular` leaves price improvement out."""
        return sum(
            deal.quantity if deal.is_buy else -deal.quantity
            for deal in self.trades(start_ns, end_ns)
            if not (is_regular and deal.is_rpi)
        )

    def profile(self, start_ns: int = 0, end_ns: int = 1 << 62) -> dict[int, tuple[int, int]]:
        """Return volume at price: what takers bought and sold at each."""
        found: dict[int, tuple[int, int]] = {}
        for deal in self.trades(start_ns, end_ns):
            bought, sold = found.get(deal.price, (0, 0))
            found[deal.price] = (
                (bought + deal.quantity, sold) if deal.is_buy else (bought, sold + deal.quantity)
            )
        return found

    def bars(self, interval_ns: int, start_ns: int = 0, end_ns: int = 1 << 62) -> dict[int, Candle]:
        """Return candles by the time they begin: open, high, low, close, volume, taker volume, trades."""
        found: dict[int, Candle] = {}
        for deal in self.trades(start_ns, end_ns):
            at = deal.venue_ns - deal.venue_ns % interval_ns
            taken = deal.quantity if deal.is_buy else 0
            bar = found.get(at)
            if bar is None:
                found[at] = (deal.price, deal.price, deal.price, deal.price, deal.quantity, taken, 1)
            else:
                first, high, low, _, volume, taker_volume, count = bar
                found[at] = (
                    first,
                    max(high, deal.price),
                    min(low, deal.price),
                    deal.price,
                    volume + deal.quantity,
                    taker_volume + taken,
                    count + 1,
                )
        return found
