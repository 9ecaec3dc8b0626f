"""The public side of one symbol of the simulated venue: its streams and its answers, driven by a crowd."""

import heapq
import zlib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final

import numpy as np

from engine.sim.aggregates import TradeLog
from engine.sim.alltrades import AllTrades
from engine.sim.bookstreams import BookStreams
from engine.sim.crowd import Crowd, endless
from engine.sim.derivatives import Derivatives
from engine.sim.history import History
from engine.sim.klinebook import KlineBook
from engine.sim.klinestreams import DayStreams, KlineStreams
from engine.sim.listeners import Sink, Stream
from engine.sim.markets import CrowdSpec, Market
from engine.sim.markettruth import MarketTruth
from engine.sim.messages import Deal, Messages
from engine.sim.pasttrades import PastTrades
from engine.sim.symbolinfo import TRADING, SymbolInfo
from engine.sim.tape import FIRST_TRADE_IDS, NEVER, START_NS
from engine.sim.tradestreams import TradeStreams
from engine.sim.truth import Truth
from native.matching import MatchedEvent, Matching, MatchKind

MS: Final = 1_000_000
FILL: Final = int(MatchKind.MATCH_FILL)
THIN_RATE: Final = 20.0  # a market with fewer new orders a second gets a smaller book
RPI_SHARE: Final = 0.03  # of the sweeps on USD-M: they end with a trade the public book never showed

Row = dict[str, object]


class PublicMarket:
    """
    One symbol of one market, as the public sees it.

    Parameters
    ----------
    spec : CrowdSpec
    seed : int
        Not negative. Everything that happens follows from specification, seed and start; never from who
        listens.
    start_ns : int
        Venue time of the first moment, in the Unix epoch.
    on_truth : callable, optional
        Receives what the crowd really did; after a halt its times lie behind by the length of the halt.

    Attributes
    ----------
    symbol, market, spec
    crowd : the traders; their prices are ticks, their quantities lots.
    truth : what others are held to.

    Notes
    -----
    Two days of history and what happens live are one whole: ids, candles and lists run on over the start. On
    USD-M a few sweeps end with a trade of retail price improvement: it counts in every quantity but `nq`, and
    the book knows nothing of it.

    Cost: a second of BTCUSDT takes 1.6 ms of CPU on spot and 6 ms on USD-M, with all streams heard 4 and
    13 ms, a thin symbol 0.2 and 1 to 2 ms; encoding comes on top. Candles of the past are drawn when they are
    first needed, a day of BTCUSDT in about a second: see `prepare`.
    """

    def __init__(
        self,
        spec: CrowdSpec,
        seed: int,
        start_ns: int,
        *,
        on_truth: Callable[[Truth], None] | None = None,
    ) -> None:
        self.spec: Final = spec
        self.symbol: Final = spec.symbol
        self.market: Final[Market] = spec.market
        self._is_usdm = spec.market == "usdm"
        self._now_ns = start_ns
        self._timers: list[tuple[int, int, Callable[[int], None]]] = []
        self._n_timers = 0
        self._info = SymbolInfo(spec)
        self._is_trading = True
        self._behind_ns = 0  # how long the crowd has stood still
        first_id = FIRST_TRADE_IDS[spec.market] + max(0, start_ns - START_NS) // MS
        is_thin = spec.maker_rate < THIN_RATE
        self._matching = Matching(16_384, 8_192, 16_384, 32_768) if is_thin else Matching(65_536, 16_384)
        self.crowd: Final = Crowd(
            spec, seed, start_ns, matching=self._matching, first_trade_id=first_id, on_truth=on_truth
        )
        self._messages = messages = Messages(spec)
        past = PastTrades(History(spec, seed, start_ns, first_id - 1))
        self._log = TradeLog(first_id, past.last_aggregate_id + 1, is_usdm=self._is_usdm)
        self._trades = AllTrades(past, self._log)
        self._klines = KlineBook(past, has_seconds=not self._is_usdm)
        # Symbols of one seed speak at different moments.
        own = zlib.crc32(f"{spec.symbol} {spec.market} {seed}".encode())
        phase_ns = own * 1_000
        self._rpi = endless(np.random.default_rng([own, 41]).random).__next__
        clock = self._read_clock
        self._book = BookStreams(self._matching.resting, messages, own, clock, self._schedule)
        self._told = TradeStreams(self._log, messages, clock, self._schedule)
        self._kline_streams = KlineStreams(self._klines, messages, phase_ns, clock, self._schedule)
        self._day = DayStreams(
            self._klines, self._trades, self._best, messages, phase_ns, now=clock, schedule=self._schedule
        )
        self._streams: dict[str, Stream] = (
            self._book.streams | self._told.streams | self._kline_streams.streams | self._day.streams
        )
        self._derivatives: Derivatives | None = None
        if self._is_usdm:
            self._derivatives = Derivatives(
                spec,
                own,
                messages,
                self._middle,
                self._klines.close_before,
                now=clock,
                schedule=self._schedule,
            )
            self._streams |= self._derivatives.streams
        self._instrument = self._info.instrument()
        self.truth: Final = MarketTruth(self._instrument, self._levels, self._deals)

    @property
    def next_ns(self) -> int:
        """Venue time at which something happens next."""
        due = self._timers[0][0] if self._timers else NEVER
        return min(due, self.crowd.next_ns + self._behind_ns) if self._is_trading else due

    @property
    def now_ns(self) -> int:
        """Venue time up to which everything has happened."""
        return self._now_ns

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams."""
        return tuple(self._streams)

    def prepare(self) -> None:
        """Draw all candles of the past now; else the first who needs them waits for a second or two."""
        self._klines.prepare()

    def advance(self, now_ns: int) -> None:
        """Let everything happen up to and including `now_ns`; the listeners hear of it meanwhile."""
        crowd, timers = self.crowd, self._timers
        while True:
            due = timers[0][0] if timers else NEVER
            act = crowd.next_ns + self._behind_ns if self._is_trading else NEVER
            if due > now_ns and act > now_ns:
                break
            if due <= act:
                self._now_ns, _, action = heapq.heappop(timers)
                action(due)
            else:
                self._now_ns = act
                crowd.act()
                self._settle(act)
        self._now_ns = max(self._now_ns, now_ns)

    def listen(self, stream: str, sink: Sink) -> bool:
        """Let `sink` hear a stream from now on; False if there is no such stream."""
        found = self._streams.get(stream)
        if found is None:
            return False
        found.listen(sink)
        return True

    def unlisten(self, stream: str, sink: Sink) -> None:
        """Let `sink` hear a stream no more."""
        found = self._streams.get(stream)
        if found is not None:
            found.unlisten(sink)

    def set_filters(
        self,
        tick: str | Decimal | None = None,
        step: str | Decimal | None = None,
        min_notional: str | Decimal | None = None,
    ) -> None:
        """Let exchangeInfo say other filters from now on; the crowd goes on with its old steps."""
        self._info.set_filters(tick, step, min_notional)

    def set_status(self, status: str) -> None:
        """Let exchangeInfo say another status; with any but TRADING the crowd stands still."""
        is_trading = status == TRADING
        if self._is_trading and not is_trading:
            self._behind_ns -= self._now_ns
        elif is_trading and not self._is_trading:
            self._behind_ns += self._now_ns
        self._is_trading = is_trading
        self._info.status = status

    def set_funding_interval(self, hours: int) -> None:
        """Let funding happen every 1, 2, 4 or 8 hours from now on.

        Raises
        ------
        ValueError
            For other hours, and on spot.
        """
        if self._derivatives is None:
            raise ValueError(f"Expected a USD-M market, found {self.symbol} on spot.")
        self._derivatives.set_hours(hours)
        self._info.funding_hours = hours

    @property
    def funding_hours(self) -> int:
        """Hours between two fundings."""
        return self._info.funding_hours

    def info(self) -> Row:
        """Return the symbol's entry of exchangeInfo."""
        return self._info.entry()

    def depth(self, limit: int) -> Row:
        """Return so many levels of each side as the depth endpoint answers."""
        update_id, bids, asks = self._book.snapshot(limit)
        answer: Row = {"lastUpdateId": update_id}
        if self._is_usdm:
            answer |= {"E": self._now_ns // MS, "T": self._book.changed_ns // MS}
        pairs = self._messages.pairs
        return answer | {"bids": pairs(bids), "asks": pairs(asks)}

    def trades(self, limit: int) -> list[Row]:
        """Return the last trades as the trades endpoint answers, oldest first."""
        return [self._messages.trade_row(deal) for deal in self._trades.recent(limit)]

    def historical_trades(self, from_id: int | None, limit: int) -> list[Row]:
        """Return trades from an id on, or the last ones without it; two days before the start are there."""
        if from_id is None:
            return self.trades(limit)
        return [self._messages.trade_row(deal) for deal in self._trades.since(from_id, limit)]

    def agg_trades(
        self, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Row]:
        """Return aggregate trades from an id or between two times (both included), or the last ones."""
        found = self._trades.aggregates(from_id, start_ms, end_ms, limit, self._now_ns)
        return [self._messages.aggregate_row(row) for row in found]

    def klines(
        self, interval: str, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[list[object]]:
        """Return candles that begin between two times, or the last ones, the running one included.

        Raises
        ------
        ValueError
            When there is no such interval.
        """
        return self._kline_streams.rows(interval, start_ms, end_ms, limit)

    def ticker_24h(self) -> Row:
        """Return the figures of the last 24 hours."""
        return self._day.answer()

    def book_ticker(self) -> Row:
        """Return the best prices; zeros for an empty side."""
        bid, ask = self._best()
        price, quantity = self._messages.price, self._messages.quantity
        row: Row = {
            "symbol": self.symbol,
            "bidPrice": price(bid[0]),
            "bidQty": quantity(bid[1]),
            "askPrice": price(ask[0]),
            "askQty": quantity(ask[1]),
        }
        if self._is_usdm:
            row |= {"time": self._book.changed_ns // MS, "lastUpdateId": self._book.now_id}
        return row

    def price(self) -> Row:
        """Return the price of the last trade."""
        last = self._trades.last()
        row: Row = {"symbol": self.symbol, "price": self._messages.price(last.price)}
        if self._is_usdm:
            row["time"] = last.venue_ns // MS
        return row

    def premium_index(self) -> Row:
        """Return mark price, index price and funding rate; nothing on spot."""
        return {} if self._derivatives is None else self._derivatives.premium_index()

    def open_interest(self) -> Row:
        """Return the open interest; nothing on spot."""
        return {} if self._derivatives is None else self._derivatives.open_interest()

    def funding_history(self) -> list[Row]:
        """Return the fundings since two days before the start; none on spot."""
        return [] if self._derivatives is None else self._derivatives.funding_history()

    def _read_clock(self) -> int:
        return self._now_ns

    def _schedule(self, at_ns: int, action: Callable[[int], None]) -> None:
        self._n_timers += 1
        heapq.heappush(self._timers, (at_ns, self._n_timers, action))

    def _best(self) -> tuple[tuple[int, int], tuple[int, int]]:
        book = self._matching.resting
        bid, ask = book.best_bid, book.best_ask
        return (bid, book.displayed(1, bid) if bid else 0), (ask, book.displayed(-1, ask) if ask else 0)

    def _middle(self) -> float:
        book = self._matching.resting
        return 0.5 * (book.best_bid + book.best_ask) if book.best_bid and book.best_ask else 0.0

    def _levels(self, side: int) -> dict[int, int]:
        tick, step = self._instrument.tick, self._instrument.step
        return {price * tick: lots * step for price, lots in self._matching.resting.depth(side)}

    def _deals(self) -> list[Deal]:
        tick, step = self._instrument.tick, self._instrument.step
        return [
            replace(deal, price=deal.price * tick, quantity=deal.quantity * step)
            for deal in self._log.deals(0, 1 << 62)
        ]

    def _settle(self, now: int) -> None:
        filled = [event for event in self._matching.drain_events() if event.kind == FILL]
        if filled:
            self._trade_all(filled, now)
        self._book.changed(now)

    def _trade_all(self, filled: list[MatchedEvent], now: int) -> None:
        crowd = self.crowd
        for event in filled:
            trade_id = crowd.first_trade_id + event.trade - 1
            deal = Deal(trade_id, now, event.price, event.quantity, is_buy=event.side > 0)
            self._add(deal, event.taker_id)
        if self._is_usdm and self._rpi() < RPI_SHARE:
            # It has an id of its own, so the ids of the crowd's trades move on by one.
            last = filled[-1]
            crowd.first_trade_id += 1
            trade_id = crowd.first_trade_id + last.trade - 1
            quantity = 1 + int(self._rpi() * last.quantity)
            deal = Deal(trade_id, now, last.price, quantity, is_buy=last.side > 0, is_rpi=True)
            self._add(deal, last.taker_id)
        self._told.settle(now)

    def _add(self, deal: Deal, taker: int) -> None:
        self._told.add(deal, taker)
        self._klines.add(deal)
        if self._derivatives is not None:
            self._derivatives.add(deal, taker)
