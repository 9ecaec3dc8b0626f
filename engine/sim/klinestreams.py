"""The candles and the day's figures as streams and answers."""

from collections.abc import Callable
from functools import partial
from typing import Final

from engine.instruments import decimal_text
from engine.sim.alltrades import AllTrades
from engine.sim.klinebook import KlineBook
from engine.sim.klines import INTERVALS, SECOND_NS, Bar, close_of, open_of
from engine.sim.listeners import Pulse, Schedule, Stream
from engine.sim.messages import Messages
from engine.sim.told import Told

MS: Final = 1_000_000
Row = dict[str, object]


class KlineStreams:
    """
    Candles of one market, as the public sees them.

    Parameters
    ----------
    book : KlineBook
    messages : Messages
    phase_ns : int
        Moves the moments of the updates, so that not all symbols speak at once.
    now, schedule : callable
        Venue time, and to be called at a later one.

    Notes
    -----
    An update comes at the venue's speed when something was traded since the last one; the end of a candle at
    its time, whether anything was traded or not.
    """

    def __init__(
        self,
        book: KlineBook,
        messages: Messages,
        phase_ns: int,
        now: Callable[[], int],
        schedule: Schedule,
    ) -> None:
        self._book = book
        self._messages = messages
        self._now = now
        self._schedule = schedule
        self._told: dict[str, tuple[int, int]] = {}
        self._ending: set[str] = set()
        self.intervals: Final = (() if messages.is_usdm else ("1s",)) + tuple(INTERVALS)
        self.streams: Final[dict[str, Stream]] = {}
        for interval in self.intervals:
            period = 250 * MS if messages.is_usdm else SECOND_NS if interval == "1s" else 2 * SECOND_NS
            name = f"{messages.name}@kline_{interval}"
            # Never on a whole millisecond: an update is not due at the moment a candle ends.
            self.streams[name] = Pulse(
                name,
                (period, phase_ns % period | 1),
                now,
                schedule,
                beat=partial(self._update, name, interval),
                begin=partial(self._begin, name, interval),
            )

    def rows(self, interval: str, start_ms: int | None, end_ms: int | None, limit: int) -> list[list[object]]:
        """Return candles as the klines endpoint answers; those that begin between both times.

        Raises
        ------
        ValueError
            When there is no such interval.
        """
        if interval not in self.intervals:
            raise ValueError(f"Expected an interval of {', '.join(self.intervals)}, found {interval!r}.")
        now = self._now()
        last_ns = open_of(interval, now if end_ms is None else min(now, end_ms * MS))
        first_ns = self._book.first_open(interval)
        opens: list[int] = []
        if start_ms is not None:
            open_ns = open_of(interval, max(first_ns, start_ms * MS))
            if open_ns < start_ms * MS:
                open_ns = close_of(interval, open_ns)
            while open_ns <= last_ns and len(opens) < limit:
                opens.append(open_ns)
                open_ns = close_of(interval, open_ns)
        else:
            open_ns = last_ns
            while open_ns >= first_ns and len(opens) < limit:
                opens.append(open_ns)
                open_ns = open_of(interval, open_ns - 1)
            opens.reverse()
        return [self._row(interval, open_ns, self._book.bar(interval, open_ns, now)) for open_ns in opens]

    def _row(self, interval: str, open_ns: int, bar: Bar) -> list[object]:
        price, quantity, money = self._messages.price, self._messages.quantity, self._messages.money
        return [
            open_ns // MS,
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            quantity(bar.volume),
            close_of(interval, open_ns) // MS - 1,
            money(bar.notional),
            bar.count,
            quantity(bar.taker_volume),
            money(bar.taker_notional),
            "0",
        ]

    def _begin(self, name: str, interval: str) -> None:
        self._told.pop(name, None)
        if name not in self._ending:
            self._ending.add(name)
            end_ns = close_of(interval, open_of(interval, self._now()))
            self._schedule(end_ns, partial(self._end, name, interval))

    def _update(self, name: str, interval: str, now: int) -> None:
        open_ns = open_of(interval, now)
        bar = self._book.bar(interval, open_ns, now)
        state = (open_ns, bar.last_id)
        if self._told.get(name) != state:
            self._told[name] = state
            self.streams[name].tell(self._kline(name, interval, now, (open_ns, bar), is_closed=False))

    def _end(self, name: str, interval: str, now: int) -> None:
        stream = self.streams[name]
        if not stream.sinks:
            self._ending.discard(name)
            return
        self._schedule(close_of(interval, now), partial(self._end, name, interval))
        open_ns = open_of(interval, now - 1)
        bar = self._book.bar(interval, open_ns, now - 1)
        stream.tell(self._kline(name, interval, now, (open_ns, bar), is_closed=True))

    def _kline(self, name: str, interval: str, now: int, candle: tuple[int, Bar], *, is_closed: bool) -> Told:
        open_ns, bar = candle
        text = self._messages
        end_ns = close_of(interval, open_ns)

        def write(unit: int) -> str:
            return (
                f'{{"e":"kline","E":{now // unit},"s":"{text.symbol}","k":{{"t":{open_ns // unit},'
                f'"T":{end_ns // unit - 1},"s":"{text.symbol}","i":"{interval}","f":{bar.first_id},'
                f'"L":{bar.last_id},"o":"{text.price(bar.open)}","c":"{text.price(bar.close)}",'
                f'"h":"{text.price(bar.high)}","l":"{text.price(bar.low)}","v":"{text.quantity(bar.volume)}",'
                f'"n":{bar.count},"x":{"true" if is_closed else "false"},"q":"{text.money(bar.notional)}",'
                f'"V":"{text.quantity(bar.taker_volume)}","Q":"{text.money(bar.taker_notional)}","B":"0"}}}}'
            )

        # The candle of a closed minute is nobody's to change; a running one was summed anew for this message.
        if not is_closed and interval in ("1s", "1m"):
            frozen = Bar(0, 0, 0, 0)
            frozen.absorb(bar)
            bar = frozen if bar.count else bar
        return text.told(name, now, write)


class DayStreams:
    """
    The figures of the last 24 hours, of whole minutes and the running one, as streams and answers.

    Parameters
    ----------
    book : KlineBook
    trades : AllTrades
    best : callable
        Returns best bid and ask with their quantities, ticks and lots.
    messages, phase_ns, now, schedule : as of `KlineStreams`.
    """

    def __init__(
        self,
        book: KlineBook,
        trades: AllTrades,
        best: Callable[[], tuple[tuple[int, int], tuple[int, int]]],
        messages: Messages,
        phase_ns: int,
        *,
        now: Callable[[], int],
        schedule: Schedule,
    ) -> None:
        self._book = book
        self._trades = trades
        self._best = best
        self._messages = messages
        self._now = now
        self._heard: dict[str, int] = {}
        period = (2 if messages.is_usdm else 1) * SECOND_NS
        self.streams: Final[dict[str, Stream]] = {}
        for kind, tell in (("ticker", self._ticker), ("miniTicker", self._mini)):
            name = f"{messages.name}@{kind}"
            self.streams[name] = Pulse(
                name,
                (period, phase_ns % period | 1),
                now,
                schedule,
                beat=partial(self._beat, name, tell),
            )

    def answer(self) -> Row:
        """Return the figures as the 24hr ticker endpoint answers."""
        now = self._now()
        begin_ns, day = self._book.day(now)
        price, quantity = self._messages.price, self._messages.quantity
        last = self._trades.last()
        row: Row = {
            "symbol": self._messages.symbol,
            "priceChange": price(day.close - day.open),
            "priceChangePercent": _percent(day),
            "weightedAvgPrice": self._average(day),
            "lastPrice": price(day.close),
            "lastQty": quantity(last.quantity),
            "openPrice": price(day.open),
            "highPrice": price(day.high),
            "lowPrice": price(day.low),
            "volume": quantity(day.volume),
            "quoteVolume": self._money(day),
            "openTime": begin_ns // MS,
            "closeTime": now // MS,
            "firstId": day.first_id,
            "lastId": day.last_id,
            "count": day.count,
        }
        if not self._messages.is_usdm:
            bid, ask = self._best()
            row |= {
                "prevClosePrice": price(self._book.close_before(begin_ns)),
                "bidPrice": price(bid[0]),
                "bidQty": quantity(bid[1]),
                "askPrice": price(ask[0]),
                "askQty": quantity(ask[1]),
            }
        return row

    def _beat(self, name: str, tell: Callable[[str, int, int, Bar], Told], now: int) -> None:
        begin_ns, day = self._book.day(now)
        if self._heard.get(name) != day.last_id:
            self._heard[name] = day.last_id
            self.streams[name].tell(tell(name, now, begin_ns, day))

    def _ticker(self, name: str, now: int, begin_ns: int, day: Bar) -> Told:
        text = self._messages
        last = text.quantity(self._trades.last().quantity)
        book, before, pair, tail = "", "", f',"ps":"{text.symbol}"', ',"st":1}'
        if not text.is_usdm:
            bid, ask = self._best()
            book = (
                f'"b":"{text.price(bid[0])}","B":"{text.quantity(bid[1])}",'
                f'"a":"{text.price(ask[0])}","A":"{text.quantity(ask[1])}",'
            )
            before = f'"x":"{text.price(self._book.close_before(begin_ns))}",'
            pair, tail = "", "}"

        def write(unit: int) -> str:
            return (
                f'{{"e":"24hrTicker","E":{now // unit},"s":"{text.symbol}"{pair},'
                f'"p":"{text.price(day.close - day.open)}","P":"{_percent(day)}",'
                f'"w":"{self._average(day)}",{before}"c":"{text.price(day.close)}","Q":"{last}",{book}'
                f'"o":"{text.price(day.open)}","h":"{text.price(day.high)}","l":"{text.price(day.low)}",'
                f'"v":"{text.quantity(day.volume)}","q":"{self._money(day)}","O":{begin_ns // unit},'
                f'"C":{now // unit},"F":{day.first_id},"L":{day.last_id},"n":{day.count}{tail}'
            )

        return text.told(name, now, write)

    def _mini(self, name: str, now: int, _begin_ns: int, day: Bar) -> Told:
        text = self._messages
        pair, tail = (f',"ps":"{text.symbol}"', ',"st":1}') if text.is_usdm else ("", "}")

        def write(unit: int) -> str:
            return (
                f'{{"e":"24hrMiniTicker","E":{now // unit},"s":"{text.symbol}"{pair},'
                f'"c":"{text.price(day.close)}","o":"{text.price(day.open)}","h":"{text.price(day.high)}",'
                f'"l":"{text.price(day.low)}","v":"{text.quantity(day.volume)}","q":"{self._money(day)}"{tail}'
            )

        return text.told(name, now, write)

    def _money(self, day: Bar) -> str:
        # USD-M gives the day's turnover with two decimals.
        text = self._messages.money(day.notional)
        return text[: text.index(".") + 3] if self._messages.is_usdm and "." in text else text

    def _average(self, day: Bar) -> str:
        if day.volume == 0:
            return self._messages.price(day.close)
        digits = self._messages.price_digits
        shift: int = 10 ** (digits - self._messages.tick_decimals)
        return decimal_text((2 * day.notional * shift + day.volume) // (2 * day.volume), digits)


def _percent(day: Bar) -> str:
    """Return the change of the day in per cent, three decimals."""
    change = 100_000 * (day.close - day.open)
    return decimal_text((2 * change + day.open) // (2 * day.open), 3)
