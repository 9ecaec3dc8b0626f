"""The ladder of one market: price rows around the touch, what was added and pulled there, and the big prints.

What the venue tells is the size of a price after each batch of updates, never an order. Added and pulled are
therefore the changes between two samples, less what was traded at the price: an order that came and went
between two samples is not seen, and an addition and a cancellation at one price show as their difference.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from engine.instruments import MONEY_DIGITS
from engine.records import FlowRecord, Record
from engine.scan import Watched, state_of
from native.market import Market

LEVELS: Final = 400  # of a side, compared from sample to sample
TAPE_TRADES: Final = 64  # as many as a market keeps
RECENT_NS: Final = 5_000_000_000
CREDIT_NS: Final = 1_000_000_000  # a trade and the update that takes it off the book come this close
BIG_SHARE: Final = 0.1  # of the whale threshold: from here on a print is shown
PRINTS: Final = 60
ROW_BPS: Final = 0.1  # least height of a row as it is chosen
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class LadderRow:
    """Prices from `price` up to `price` + row height, exclusive; quantity units, None where it is not known.

    Attributes
    ----------
    side : 1 bids, -1 asks, 0 between them.
    size : what rests now.
    added, pulled : since the last picture.
    added_5s, pulled_5s : over 5 s.
    volume : traded at these prices inside the volume profile's window; a row lower than the profile's shows
        the volume of the profile's row around it.
    mark : "POC", "VAH", "VAL" or "".
    """

    price: int
    side: int
    size: int | None
    added: int
    pulled: int
    added_5s: int
    pulled_5s: int
    volume: int
    mark: str


@dataclass(frozen=True, slots=True)
class Print:
    """Consecutive trades of one moment and side, a sweep that the market called a whale, or a liquidation.

    Price is that of the last trade, quantity in quantity units, notional in quote. Of liquidations the venue
    tells the latest of each second alone: they are a sample, and their trades are among the others too.
    """

    at_ns: int
    side: int
    price: int
    quantity: int
    notional: float
    n_trades: int
    is_whale: bool
    is_liquidation: bool = False


@dataclass(frozen=True, slots=True)
class LadderState:
    """One picture of the ladder; rows from the highest price down, prints newest first.

    Attributes
    ----------
    profile : which volume profile the rows show; "" while there is none.
    unseen_trades : trades that came too fast between two samples to be told apart: they are missing in the
        prints, whales excepted, and what they took off the book counts as pulled.
    """

    symbol: str
    state: str
    price_digits: int
    quantity_digits: int
    row_units: int
    best_bid: int
    best_ask: int
    rows: tuple[LadderRow, ...]
    prints: tuple[Print, ...]
    profile: str
    big_quote: float
    unseen_trades: int


class _Change:
    """What changed at one price of one side in one sample."""

    __slots__ = ("added", "at_ns", "price", "pulled", "side")

    def __init__(self, at_ns: int, side: int, price: int, added: int, pulled: int) -> None:
        self.at_ns, self.side, self.price, self.added, self.pulled = at_ns, side, price, added, pulled


class Ladder:
    """Follow the book and the tape of one market.

    Parameters
    ----------
    lane : what is followed.

    Notes
    -----
    `sample` is called several times a second, `watch` with every record of the market. Cost of a sample: some
    hundred microseconds.
    """

    def __init__(self, lane: Watched) -> None:
        self._lane = lane
        self.symbol = lane.instrument.symbol
        self.zoom = 0  # rows this many steps of 1-2-5 higher than chosen, or lower
        self._market: Market | None = None
        self._book_epoch = -1
        self._levels: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self._edges = {1: 0, -1: 0}  # the last price known of a side; 0: all are
        self._changes: deque[_Change] = deque()
        self._sampled_ns = self._picture_ns = 0
        self._credits: deque[tuple[int, int, int, int]] = deque()  # at_ns, side of the book, price, quantity
        self._last_trade_id = -1
        self._n_trades = 0
        self._unseen = 0
        self._n_forced = 0
        self._open: Print | None = None
        self._open_ids = (0, -1)
        self._open_venue_ns = 0
        self._prints: deque[Print] = deque(maxlen=PRINTS)
        self._whales: deque[tuple[int, int]] = deque(maxlen=PRINTS)  # their first and last trade ids

    def watch(self, record: Record) -> None:
        """Take a record: a whale of this market is a print, whole and exact."""
        if not isinstance(record, FlowRecord) or record.symbol != self.symbol:
            return
        if record.kind != "whale_close" or record.last_price is None or record.notional is None:
            return
        # Its ids follow each other up to the last trade before it was closed.
        ids = (record.trade_id - record.n_trades + 1, record.trade_id)
        self._whales.append(ids)
        instrument = self._lane.instrument
        found = Print(
            at_ns=record.decide_ns,
            side=1 if record.side == "buy" else -1,
            price=instrument.price_units(record.last_price),
            quantity=round((record.quantity or 0.0) * 10**instrument.quantity_digits),
            notional=record.notional,
            n_trades=record.n_trades,
            is_whale=True,
        )
        self._prints.append(found)

    def sample(self, now_ns: int) -> None:
        """Compare book and tape with those of the last call.

        Parameters
        ----------
        now_ns : corridor time, never less than before.
        """
        market = self._lane.market
        if market is not self._market:
            self._begin(market)
        self._read_tape(market, now_ns)
        self._read_liquidation(market, now_ns)
        self._read_book(market, now_ns)
        while self._changes and self._changes[0].at_ns <= now_ns - RECENT_NS:
            self._changes.popleft()
        self._sampled_ns = now_ns

    def picture(self, now_ns: int, n_rows: int) -> LadderState:
        """Return the ladder in so many rows, and begin anew to count what is added and pulled.

        Parameters
        ----------
        now_ns : corridor time.
        n_rows : of prices, the touch in the middle.
        """
        market = self._lane.market
        row_units = self._row_units(market)
        profile, marks, volumes = _profile(market)
        state = LadderState(
            symbol=self.symbol,
            state=state_of(market, now_ns),
            price_digits=market.price_digits,
            quantity_digits=market.quantity_digits,
            row_units=row_units,
            best_bid=market.best_bid,
            best_ask=market.best_ask,
            rows=tuple(self._rows(market, row_units, n_rows, marks, volumes)),
            prints=tuple(reversed([*self._prints, *self._open_print()])),
            profile=profile,
            big_quote=BIG_SHARE * market.whale.threshold_quote,
            unseen_trades=self._unseen,
        )
        self._picture_ns = self._sampled_ns
        return state

    def _begin(self, market: Market) -> None:
        self._market = market
        self._book_epoch = -1
        self._last_trade_id, self._n_trades = market.last_trade_id, market.trades
        self._n_forced = market.context.force_orders
        self._changes.clear()
        self._credits.clear()
        self._prints.clear()  # of other units
        self._open = None

    def _read_tape(self, market: Market, now_ns: int) -> None:
        while self._credits and self._credits[0][0] <= now_ns - CREDIT_NS:
            self._credits.popleft()
        n_new, self._n_trades = market.trades - self._n_trades, market.trades
        if n_new <= 0:
            self._close_open(market, now_ns)
            return
        trades = [one for one in market.tape.last(min(n_new, TAPE_TRADES)) if one[0] > self._last_trade_id]
        self._unseen += max(0, n_new - TAPE_TRADES)
        self._last_trade_id = market.last_trade_id
        for trade_id, price, quantity, side, venue_ns in reversed(trades):
            self._credits.append((now_ns, -side, price, quantity))
            self._join(market, now_ns, (trade_id, price, quantity, side, venue_ns))

    def _read_liquidation(self, market: Market, now_ns: int) -> None:
        n_forced, self._n_forced = self._n_forced, market.context.force_orders
        force = market.context.last_force
        if force is None or self._n_forced == n_forced:
            return
        paid = force.average_price or force.price  # 10^-8 quote, finer than price units
        price = round(paid * 10.0 ** (market.price_digits - MONEY_DIGITS))
        quantity = force.filled_quantity or force.quantity
        notional = paid * quantity / 10 ** (MONEY_DIGITS + market.quantity_digits)
        self._prints.append(
            Print(now_ns, force.side, price, quantity, notional, 1, is_whale=False, is_liquidation=True)
        )

    def _join(self, market: Market, now_ns: int, trade: tuple[int, int, int, int, int]) -> None:
        trade_id, price, quantity, side, venue_ns = trade
        notional = price * quantity / 10 ** (market.price_digits + market.quantity_digits)
        first_id = trade_id
        held = self._open
        if held is not None and held.side == side and self._open_venue_ns == venue_ns:
            first_id = self._open_ids[0]
            quantity, notional = quantity + held.quantity, notional + held.notional
            n_trades = held.n_trades + 1
        else:
            self._close_open(market, now_ns, is_forced=True)
            n_trades = 1
        self._open_ids, self._open_venue_ns = (first_id, trade_id), venue_ns
        self._open = Print(now_ns, side, price, quantity, notional, n_trades, is_whale=False)

    def _close_open(self, market: Market, now_ns: int, *, is_forced: bool = False) -> None:
        held = self._open
        # A sweep is over at once when another begins, else once nothing can join it any more.
        if held is None or (not is_forced and now_ns - held.at_ns <= market.flow.sweep_timeout_ns):
            return
        self._prints.extend(self._open_print())
        self._open = None

    def _open_print(self) -> Iterable[Print]:
        """Return what is being put together, if it is large and no part of a whale."""
        held = self._open
        first, last = self._open_ids
        # Written so that without a threshold, which then is NaN, nothing is large.
        if held is None or not held.notional >= BIG_SHARE * self._lane.market.whale.threshold_quote:
            return ()
        is_told = any(first <= whale_last and whale_first <= last for whale_first, whale_last in self._whales)
        return () if is_told else (held,)

    def _read_book(self, market: Market, now_ns: int) -> None:
        is_known = market.is_valid and market.book_epoch == self._book_epoch
        self._book_epoch = market.book_epoch if market.is_valid else -1
        for side in (1, -1):
            found = market.book.levels(side, LEVELS) if market.is_valid else []
            edge = found[-1][0] if len(found) == LEVELS else 0
            levels = dict(found)
            if is_known:
                self._compare(side, levels, edge, now_ns)
            self._levels[side], self._edges[side] = levels, edge

    def _compare(self, side: int, levels: Mapping[int, int], edge: int, now_ns: int) -> None:
        before = self._levels[side]
        for price in before.keys() | levels.keys():
            # Beyond either edge a level is not gone, it is not looked at.
            if any(one and (price - one) * side < 0 for one in (edge, self._edges[side])):
                continue
            change = levels.get(price, 0) - before.get(price, 0)
            if change > 0:
                self._changes.append(_Change(now_ns, side, price, change, 0))
            elif change < 0:
                pulled = -change - self._traded(side, price, -change)
                if pulled:
                    self._changes.append(_Change(now_ns, side, price, 0, pulled))

    def _traded(self, side: int, price: int, most: int) -> int:
        """Take from the trades at a price what explains a decrease, up to `most`."""
        found = 0
        for i, (at_ns, one_side, one_price, quantity) in enumerate(self._credits):
            if one_side == side and one_price == price and quantity:
                part = min(quantity, most - found)
                self._credits[i] = (at_ns, side, price, quantity - part)
                found += part
        return found

    def _row_units(self, market: Market) -> int:
        """Return the height of a row: a 1-2-5 multiple of the tick, at least `ROW_BPS`, then the zoom."""
        tick = self._lane.instrument.tick
        wanted = (market.best_bid or tick) * ROW_BPS / 1e4
        number = 0
        while tick * _step(number) < wanted:
            number += 1
        return tick * _step(max(number + self.zoom, 0))

    def _rows(
        self, market: Market, units: int, n_rows: int, marks: Mapping[str, int], volumes: "_Volumes"
    ) -> Iterable[LadderRow]:
        bid, ask = market.best_bid, market.best_ask
        if not bid or not ask:
            return
        middle = (bid + ask) // 2 // units * units
        lowest = middle - n_rows // 2 * units
        sums = self._sums(units)
        bid_horizon, ask_horizon = market.book.horizons
        for number in reversed(range(n_rows)):
            low = lowest + number * units
            if low <= 0:
                return
            high = low + units - 1
            side = 1 if low <= bid else -1 if high >= ask else 0
            size: int | None = 0
            if side == 1:
                size = market.book.sum_between(1, low, high) if low >= bid_horizon else None
            elif side == -1:
                is_known = not ask_horizon or high <= ask_horizon
                size = market.book.sum_between(-1, low, high) if is_known else None
            added, pulled, added_5s, pulled_5s = sums.get((side, low), (0, 0, 0, 0))
            mark = next((name for name, price in marks.items() if low <= price <= high), "")
            volume = volumes.at(low, high)
            yield LadderRow(low, side, size, added, pulled, added_5s, pulled_5s, volume, mark)

    def _sums(self, units: int) -> dict[tuple[int, int], tuple[int, int, int, int]]:
        found: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        for one in self._changes:
            key = (one.side, one.price // units * units)
            added, pulled, added_5s, pulled_5s = found.get(key, (0, 0, 0, 0))
            if one.at_ns > self._picture_ns:
                added, pulled = added + one.added, pulled + one.pulled
            found[key] = (added, pulled, added_5s + one.added, pulled_5s + one.pulled)
        return found


class _Volumes:
    """The rows of a volume profile, by price."""

    def __init__(self, first: int, volumes: list[int], units: int) -> None:
        self._first, self._volumes, self._units = first, volumes, units

    def at(self, low: int, high: int) -> int:
        """Return the volume of the profile's rows that begin in `low` to `high`, or of the one around."""
        if not self._volumes:
            return 0
        end = high // self._units - self._first
        # None begins in a row lower than the profile's: then the one around it is meant.
        begin = min(-(-low // self._units) - self._first, end)
        return sum(self._volumes[max(begin, 0) : max(end + 1, 0)])


def _profile(market: Market) -> tuple[str, dict[str, int], _Volumes]:
    """Return the name of the profile shown, its marked prices in price units, and its volumes."""
    found = [one for one in market.profiles() if one.source != "previous"]
    chosen = next((one for one in found if one.is_ready), found[-1] if found else None)
    if chosen is None:
        return "", {}, _Volumes(0, [], 1)
    profile = market.areas.session if chosen.source == "session" else market.areas.rolling
    first, volumes = profile.snapshot()
    named = {"POC": chosen.poc, "VAH": chosen.vah, "VAL": chosen.val}
    marks = {name: round(price / market.price_scale) for name, price in named.items()}
    name = chosen.source if chosen.is_ready else f"{chosen.source}, not ready"
    return name, marks, _Volumes(first, volumes, profile.row_units)


def _step(number: int) -> int:
    return int(_STEPS[number % 3] * 10 ** (number // 3))
