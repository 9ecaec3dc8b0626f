"""What the venue tells of a market beside its book and its tape: mark price, liquidations, the day, its own candles.

Nothing here decides. The one-minute bars are held against the venue's closed klines, which it makes independently.
"""

from typing import NamedTuple

from cython cimport final
from libc.math cimport NAN
from libc.stdint cimport INT64_MAX
from libc.string cimport memmove, memset

from native.answers cimport nanoseconds_of, object_of, signed_units_of, units_of
from native.bars cimport BAR_1M
from native.events cimport CONTEXT_DIGITS, MESSAGE_DAY, MESSAGE_FORCE, MESSAGE_KLINE, MESSAGE_MARK
from native.latebars cimport bar_at


cdef int64_t MINUTE_NS = 60000000000

DIFFERENCES = ("n_trades", "open", "high", "low", "close", "volume", "taker_buy_volume")


class ForceRecord(NamedTuple):
    """A liquidation order: aggressor side, prices in 1e-8 quote, quantity units, venue time."""

    side: int
    price: int
    average_price: int
    quantity: int
    last_quantity: int
    filled_quantity: int
    is_filled: bool
    venue_ns: int


class DayRecord(NamedTuple):
    """The last 24 hours: price units; volumes in 1e-4 of base and quote (inverse: contracts and base)."""

    last: int
    open: int
    high: int
    low: int
    volume: int
    quote_volume: int
    n_trades: int
    venue_ns: int


class KlineDifference(NamedTuple):
    """The first field in which a bar of a minute is not the venue's kline."""

    open_ns: int
    field: str
    ours: int
    theirs: int


@final
cdef class Context:
    """What the venue tells of one market.

    Parameters
    ----------
    bars : Bars
        Its one-minute bars are held against the venue's.

    Notes
    -----
    * Mark, index and settle price and the funding rate are whole numbers of 1e-8.
    * Of liquidations the venue sends at most the last one of a second: a sample. Their count and sizes say that there
      are some, never how many; nobody may sum them.
    * A closed kline waits until the bar of its minute is closed and whole, at most while 15 newer ones wait as well.
      The venue may count prints that are no market trade, which bars leave out: such a minute differs.
    * An older mark, day or open interest than the last one is not taken.

    Cost: constant a message; a closed kline O(minutes between it and the newest bar).
    """

    def __cinit__(self, Bars bars not None):
        self._bars = bars
        self._open_interest = -1
        self._kline_ns = -1

    cdef bint take(self, const Message* message) noexcept nogil:
        # False: a message of another kind.
        if message.kind == MESSAGE_MARK:
            self.marks += 1
            if message.mark.venue_ns >= self._mark.venue_ns:
                self._mark = message.mark
        elif message.kind == MESSAGE_KLINE:
            self.on_kline(&message.kline)
        elif message.kind == MESSAGE_FORCE:
            self.force_orders += 1
            if message.force.venue_ns >= self._force.venue_ns:
                self._force = message.force
        elif message.kind == MESSAGE_DAY:
            self.days += 1
            if message.day.venue_ns >= self._day.venue_ns:
                self._day = message.day
        else:
            return False
        return True

    cdef void on_kline(self, const Kline* kline) noexcept nogil:
        if not kline.is_closed or kline.interval_ns != MINUTE_NS or kline.open_ns <= self._kline_ns:
            return
        self._kline_ns = kline.open_ns
        if self._n_waiting == WAITING:
            self.klines_left += 1
            self._n_waiting -= 1
            memmove(&self._waiting[0], &self._waiting[1], self._n_waiting * sizeof(Kline))
        self._waiting[self._n_waiting] = kline[0]
        self._n_waiting += 1
        self.check()

    cdef void check(self) noexcept nogil:
        # Once a second, and with every closed kline.
        cdef int64_t i, n = 0
        cdef const Bar* bar
        cdef Bar empty
        memset(&empty, 0, sizeof(Bar))
        for i in range(self._n_waiting):
            if self._waiting[i].open_ns + MINUTE_NS <= self._bars.closed_until_ns:
                bar = bar_at(self._bars, BAR_1M, self._waiting[i].open_ns)
                if bar is NULL and self._waiting[i].n_trades == 0:
                    bar = &empty
                # All trades of a minute may be missing: then it has no bar yet.
                if bar is not NULL and bar.has_gap == 0:
                    self._compare(&self._waiting[i], bar)
                    continue
            self._waiting[n] = self._waiting[i]
            n += 1
        self._n_waiting = n

    cdef void _compare(self, const Kline* kline, const Bar* bar) noexcept nogil:
        self.klines_compared += 1
        if bar.n_trades != kline.n_trades:
            self._differ(kline, 0, bar.n_trades, kline.n_trades)
        elif bar.n_trades and bar.open != kline.open:
            self._differ(kline, 1, bar.open, kline.open)
        elif bar.n_trades and bar.high != kline.high:
            self._differ(kline, 2, bar.high, kline.high)
        elif bar.n_trades and bar.low != kline.low:
            self._differ(kline, 3, bar.low, kline.low)
        elif bar.n_trades and bar.close != kline.close:
            self._differ(kline, 4, bar.close, kline.close)
        elif bar.volume != kline.volume:
            self._differ(kline, 5, <int64_t>min(bar.volume, INT64_MAX), kline.volume)
        elif bar.taker_buy_volume != kline.taker_buy_volume:
            self._differ(kline, 6, <int64_t>min(bar.taker_buy_volume, INT64_MAX), kline.taker_buy_volume)
        else:
            self.klines_equal += 1

    cdef void _differ(self, const Kline* kline, int place, int64_t ours, int64_t theirs) noexcept nogil:
        self._difference_ns = kline.open_ns
        self._difference = place
        self._ours = ours
        self._theirs = theirs

    cdef int take_answer(self, str what, bytes body, str symbol, int quantity_digits) except -1:
        # A REST answer: "open_interest" or "premium_index". 1: taken, 0: it could not be read, or is another symbol's.
        if what not in ("open_interest", "premium_index"):
            raise ValueError(f"an answer is expected to be open_interest or premium_index, found {what!r}")
        try:
            row = object_of(body, what)
            if row.get("symbol") != symbol:
                raise ValueError(f"{what} is expected of {symbol}, found {row.get('symbol')!r}")
            venue_ns = nanoseconds_of(row.get("time"), f"the time of {what}")
            if what == "open_interest":
                self.set_open_interest(
                    units_of(row.get("openInterest"), quantity_digits, True, "the open interest"), venue_ns
                )
                return 1
            rate = row.get("lastFundingRate") or None
            if rate is not None:
                rate = signed_units_of(rate, CONTEXT_DIGITS, "the funding rate")
            self.set_mark(
                units_of(row.get("markPrice"), CONTEXT_DIGITS, True, "the mark price"),
                units_of(row.get("indexPrice"), CONTEXT_DIGITS, True, "the index price"),
                rate, nanoseconds_of(row.get("nextFundingTime", 0), "the time of the next funding"), venue_ns,
            )
            return 1
        except ValueError:
            self.refused += 1
            return 0

    def set_open_interest(self, quantity: int, venue_ns: int) -> None:
        """Take the open interest as the REST endpoint tells it: quantity units and venue time."""
        if quantity < 0:
            raise ValueError(f"open interest is expected not to be negative, found {quantity}")
        if venue_ns >= self.open_interest_ns:
            self._open_interest = quantity
            self.open_interest_ns = venue_ns

    def set_mark(
        self, mark_price: int, index_price: int, funding_rate: int | None, next_funding_ns: int, venue_ns: int
    ) -> None:
        """Take what the REST premium index tells, in 1e-8 as from the stream; `funding_rate` None: there is none."""
        if venue_ns < self._mark.venue_ns:
            return
        memset(&self._mark, 0, sizeof(MarkPrice))
        self._mark.mark = mark_price
        self._mark.index = index_price
        self._mark.funding_rate = funding_rate or 0
        self._mark.has_funding = funding_rate is not None
        self._mark.next_funding_ns = next_funding_ns
        self._mark.venue_ns = venue_ns

    @property
    def mark_price(self) -> int:
        """Mark price in 1e-8 quote; 0 before the first."""
        return self._mark.mark

    @property
    def average_mark_price(self) -> int:
        """The venue's moving average of the mark price in 1e-8 quote; 0 if it tells none."""
        return self._mark.average

    @property
    def index_price(self) -> int:
        """Index price in 1e-8 quote; 0 if it is not told."""
        return self._mark.index

    @property
    def settle_price(self) -> int:
        """Estimated settle price in 1e-8 quote; 0 if it is not told. Of use in the last hour of a contract only."""
        return self._mark.settle

    @property
    def funding_rate(self) -> int | None:
        """Funding rate of the next payment in 1e-8; None if there is none."""
        return self._mark.funding_rate if self._mark.has_funding else None

    @property
    def next_funding_ns(self) -> int:
        """Venue time of the next funding; 0 if there is none."""
        return self._mark.next_funding_ns

    @property
    def mark_venue_ns(self) -> int:
        """Venue time of the mark price; 0 before the first."""
        return self._mark.venue_ns

    @property
    def premium_bps(self) -> float:
        """(mark - index) / index in bps; NaN while either is unknown."""
        if self._mark.mark <= 0 or self._mark.index <= 0:
            return NAN
        return 1e4 * <double>(self._mark.mark - self._mark.index) / <double>self._mark.index

    @property
    def last_force(self) -> ForceRecord | None:
        """The newest liquidation told; None before the first."""
        force = self._force
        if force.venue_ns == 0:
            return None
        return ForceRecord(
            force.side, force.price, force.average_price, force.quantity, force.last_quantity, force.filled_quantity,
            bool(force.is_filled), force.venue_ns,
        )

    @property
    def day(self) -> DayRecord | None:
        """The last 24 hours as last told; None before the first."""
        day = self._day
        if self.days == 0:
            return None
        return DayRecord(
            day.last, day.open, day.high, day.low, day.volume, day.quote_volume, day.n_trades, day.venue_ns
        )

    @property
    def open_interest(self) -> int | None:
        """Open interest in quantity units; None before it is told."""
        return None if self._open_interest < 0 else self._open_interest

    @property
    def klines_waiting(self) -> int:
        """Closed klines that are not compared yet."""
        return self._n_waiting

    @property
    def last_difference(self) -> KlineDifference | None:
        """The last minute that differed; None if none has."""
        if self._difference_ns == 0:
            return None
        return KlineDifference(self._difference_ns, DIFFERENCES[self._difference], self._ours, self._theirs)
