"""What really happened in a live market, by slow exact sums: what others are held to."""

from engine.instruments import Instrument
from engine.sim.aggregates import TradeLog
from engine.sim.messages import Deal
from native.resting import RestingOrders

Candle = tuple[int, int, int, int, int, int, int]


class MarketTruth:
    """
    Book and trades of one market in units of its instrument, as integers.

    Parameters
    ----------
    instrument : Instrument
        As it was at the start; changed filters change no units here.
    book : RestingOrders
    log : TradeLog
        The trades since the market began, as many as it keeps.

    Notes
    -----
    Only what happened live; the past before the start is no part of it.
    """

    def __init__(self, instrument: Instrument, book: RestingOrders, log: TradeLog) -> None:
        self.instrument = instrument
        self._book = book
        self._log = log

    def book(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return bids and asks: price units to quantity units."""
        tick, step = self.instrument.tick, self.instrument.step
        bids, asks = (
            {price * tick: lots * step for price, lots in self._book.depth(side)} for side in (1, -1)
        )
        return bids, asks

    def trades(self, start_ns: int = 0, end_ns: int = 1 << 62) -> list[Deal]:
        """Return the trades from `start_ns` up to before `end_ns`, in units."""
        tick, step = self.instrument.tick, self.instrument.step
        return [
            Deal(
                deal.trade_id,
                deal.venue_ns,
                deal.price * tick,
                deal.quantity * step,
                is_buy=deal.is_buy,
                is_rpi=deal.is_rpi,
            )
            for deal in self._log.deals(0, 1 << 62)
            if start_ns <= deal.venue_ns < end_ns
        ]

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
