"""A market learns from the past before its first frame: candles and aggregate trades of the venue's REST endpoints.

It learns what the same trades would have taught it live, at their own venue times, and stays silent: no event, no
whale, no timer. Both bodies are read to their ends before anything is learned, so a refused one leaves no trace.
"""

from typing import NamedTuple

from libc.stdint cimport int32_t
from libc.string cimport memset

from native.answers cimport rows_of, units_of, whole_of
from native.events cimport BUY, SELL
from native.flow cimport RATE_BUCKETS, FlowRate


cdef int64_t MS_NS = 1000000
cdef int64_t MINUTE_MS = 60000
# Beyond it nanoseconds leave 64 bits; ids have one bit to spare.
cdef int64_t LAST_MS = 9000000000000
cdef int64_t LAST_ID = 4611686018427387904


class WarmUp(NamedTuple):
    """What a market learned from the past: candles, trades and sweeps; venue times of the first and last trade."""

    minutes: int
    trades: int
    sweeps: int
    first_ns: int
    last_ns: int


cdef void close_sweep(Market market, int64_t now_ns) noexcept nogil:
    market.flow.close_sweep()
    # Never shown to `opens`, so it is no whale: it only enters the window of sweeps.
    market.whale.closes(&market.flow.closed, now_ns)


cdef void learn_trade(Market market, Trade* trade, int64_t now_ns) noexcept nogil:
    cdef int64_t further = trade.last_id - trade.first_id
    cdef int64_t missing = market.flow.missing_ids
    cdef FlowRate* newest
    # An aggregate stands for the trades `f` to `l`: their ids are the chain, whatever ids the live feed will have.
    trade.trade_id = trade.first_id
    if market.flow.sweep_is_open and now_ns >= market.flow.sweep_due_ns:
        close_sweep(market, market.flow.sweep_due_ns)
    elif market.flow.ends_sweep(trade):
        close_sweep(market, now_ns)
    market.flow.apply_trade(trade, now_ns)
    market.flow.last_trade_id = trade.last_id
    if market.flow.missing_ids != missing:
        market.bars.mark_gap()
    if not trade.teaches:
        if market.flow.continuing_id == trade.first_id + 1:
            market.flow.continuing_id = trade.last_id + 1
        return
    market.flow.continuing_id = trade.last_id + 1
    market.flow.sweep.last_trade_id = trade.last_id
    market.flow.sweep.n_trades += <int32_t>further
    newest = &market.flow.rate_ring[market.flow.rate_head % RATE_BUCKETS]
    newest.n_trades += further
    market.flow.rate_1s.n_trades += further
    market.flow.rate_10s.n_trades += further
    market.flow.rate_60s.n_trades += further
    market.areas.on_trade(trade, now_ns)
    market.bars.apply_trade(trade)


cdef list closes_of(bytes body, int digits):
    """Read (end of the minute in ms, close in price units) of every candle, oldest first."""
    cdef int64_t open_ms, last_ms = -1
    found = []
    for row in rows_of(body, "klines"):
        if type(row) is not list or len(row) < 7:
            raise ValueError(f"a kline is expected as a list of at least 7 fields, found {row!r}")
        open_ms = whole_of(row[0], LAST_MS, "the open time of a kline")
        if open_ms % MINUTE_MS or row[6] != open_ms + MINUTE_MS - 1:
            raise ValueError(f"klines of one minute are expected, found one from {open_ms} to {row[6]!r} ms")
        if open_ms <= last_ms:
            raise ValueError(f"klines are expected in ascending order, found {open_ms} after {last_ms} ms")
        last_ms = open_ms
        units = units_of(row[4], digits, False, "the close of a kline")
        if units == 0:
            raise ValueError(f"the close of a kline is expected to be positive, found {row[4]!r}")
        found.append((open_ms + MINUTE_MS, units))
    return found


cdef list trades_of(bytes body, int price_digits, int quantity_digits):
    """Read (first id, last id, price, quantity, ms, buyer is maker) of every aggregate trade, oldest first."""
    cdef int64_t number, first, last, last_number = -1, last_id = -1
    found = []
    for row in rows_of(body, "aggregate trades"):
        if type(row) is not dict:
            raise ValueError(f"an aggregate trade is expected as an object, found {row!r}")
        missing = [key for key in ("a", "p", "q", "f", "l", "T", "m") if key not in row]
        if missing:
            raise ValueError(f"an aggregate trade is expected with {missing[0]!r}, found {row!r}")
        number = whole_of(row["a"], LAST_ID, "the id of an aggregate trade")
        first = whole_of(row["f"], LAST_ID, "the first trade id of an aggregate")
        last = whole_of(row["l"], LAST_ID, "the last trade id of an aggregate")
        if number <= last_number or first <= last_id or last < first:
            raise ValueError(
                f"ids of aggregate trades are expected to ascend, found {number} ({first} to {last}) after "
                f"{last_number} (to {last_id})"
            )
        if type(row["m"]) is not bool:
            raise ValueError(f"the maker flag of an aggregate trade is expected as true or false, found {row['m']!r}")
        last_number, last_id = number, last
        found.append((
            first, last, units_of(row["p"], price_digits, False, "the price of a trade"),
            units_of(row["q"], quantity_digits, True, "the quantity of a trade"),
            whole_of(row["T"], LAST_MS, "the time of a trade"), row["m"],
        ))
    return found


def warm_up(market: Market, klines: bytes, agg_trades: bytes) -> WarmUp:
    """Teach a market what happened before its first frame.

    Parameters
    ----------
    market : Market
        Has taken no frame and no warm-up yet; time may have passed for it.
    klines : bytes
        Body of the REST klines endpoint, one-minute candles, oldest first. Closes stand for mids, so that the
        volatility is ready at once.
    agg_trades : bytes
        Body of the REST aggTrades endpoint, oldest first; ids may have gaps. Trades teach flow, profiles, bars and the
        window of sweeps.

    Returns
    -------
    WarmUp
        What was learned.

    Raises
    ------
    ValueError
        If a body is not what the endpoint gives, or the market has learned something already; nothing is learned then.

    Notes
    -----
    * Nothing is learned at a time after `market.now_ns`, or after the last trade if no time has passed for the market;
      a candle counts only if it was over by then. So the first live minute continues the chain of mids if the candles
      reach to its beginning, and breaks it otherwise.
    * The live id chain starts with the first live trade, whether its feed counts trades or aggregates: nothing is
      missing or twice across. The first live bars carry the gap mark, for what lies between is not known.
    * The running sweep is closed at the end. Sweeps of the past count in the window, not in `Market.sweeps`.
    * Blind to: the book. Depth and spread medians and the times mid was inside a value area begin with live data.

    Cost: some microseconds per trade, for the start only; allocates.
    """
    cdef Trade trade
    cdef int64_t now_ns = 0, ceiling_ns, first_ns = 0, n_trades = 0, n_minutes = 0, end_ms, close
    cdef int64_t last_ns = 0, n_sweeps
    if market.messages or market.flow.day >= 0 or market.volatility.n_returns:
        raise ValueError("a market is warmed up once and before its first frame, found one that has learned already")
    closes = closes_of(klines, market.price_digits)
    trades = trades_of(agg_trades, market.price_digits, market.quantity_digits)
    ceiling_ns = market.now_ns
    if trades:
        last_ns = trades[len(trades) - 1][4] * MS_NS
    if ceiling_ns == 0:
        ceiling_ns = last_ns
    for end_ms, close in closes:
        if end_ms * MS_NS <= ceiling_ns:
            market.volatility.sample_mid(<double>close, end_ms // MINUTE_MS, True)
            n_minutes += 1
    # Seconds that passed without a trade moved these clocks; what comes now is older.
    market.areas.rolling.now = 0
    market.areas.session.now = 0
    market.flow.rate_head = 0
    memset(&trade, 0, sizeof(Trade))
    trade.is_aggregate = True
    for first_id, last_id, price, quantity, venue_ms, is_buyer_maker in trades:
        trade.first_id = first_id
        trade.last_id = last_id
        trade.price = price
        trade.quantity = quantity
        trade.regular_quantity = quantity
        trade.venue_ns = trade.event_ns = venue_ms * MS_NS
        trade.aggressor = SELL if is_buyer_maker else BUY
        trade.teaches = price > 0 and quantity > 0
        first_ns = first_ns or trade.venue_ns
        now_ns = max(now_ns, min(trade.venue_ns, ceiling_ns))
        learn_trade(market, &trade, now_ns)
        n_trades += trade.last_id - trade.first_id + 1
    if market.flow.sweep_is_open:
        close_sweep(market, max(now_ns, min(market.flow.sweep_due_ns, ceiling_ns)))
    # The seconds up to now had run before there was anything to forget.
    market.flow.advance(ceiling_ns)
    market.whale.advance(ceiling_ns)
    market.areas.advance(ceiling_ns)
    n_sweeps = market.flow.n_sweeps
    market.flow.n_sweeps = 0
    market.flow.missing_ids = 0
    market.flow.reset_chain()
    market.bars.mark_gap()
    return WarmUp(n_minutes, n_trades, n_sweeps, first_ns, last_ns)
