"""Slow twin of the Binance reader: a general JSON reader and `Decimal`, message by message."""

import re
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

import orjson

from native.events import MessageKind, ParseStatus

Fields = dict[str, int | list[tuple[int, int]]]
Reading = tuple[ParseStatus, MessageKind, Fields]

NOT_OURS: Reading = (ParseStatus.PARSE_OK, MessageKind.MESSAGE_NONE, {})
LARGEST = 2**63 - 1
PLAIN_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
INTERVAL = re.compile(r"([0-9]{1,2})([smhdwM])")
DIFF_STREAM = re.compile(r"[^@]*@depth(@.*)?", re.DOTALL)
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "M": 0}
EXACT = Context(prec=2_000, Emax=MAX_EMAX, Emin=MIN_EMIN)


class RefusalError(Exception):
    """The document cannot become an event; `status` says why."""

    def __init__(self, status: ParseStatus) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(frozen=True, slots=True)
class SlowReader:
    """Reads the frames of one instrument; the same constructor arguments as `BinanceJson`."""

    symbol: str
    price_digits: int
    quantity_digits: int
    is_spot: bool
    max_levels: int = 16_384

    def read(self, frame: bytes) -> Reading | None:
        """Return status, kind and fields of a stream message, or None if it is not JSON."""
        try:
            document = orjson.loads(frame)
        except orjson.JSONDecodeError:
            return None
        try:
            return self._frame(document)
        except RefusalError as refused:
            return refused.status, MessageKind.MESSAGE_NONE, {}

    def read_snapshot(self, body: bytes) -> Reading | None:
        """Return status, kind and fields of a REST depth answer, or None if it is not JSON."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(document, dict) or "stream" in document or "data" in document:
            return ParseStatus.PARSE_SYNTAX, MessageKind.MESSAGE_NONE, {}
        try:
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_SNAPSHOT, self._book(document, None)
        except RefusalError as refused:
            return refused.status, MessageKind.MESSAGE_NONE, {}

    def _frame(self, document: object) -> Reading:
        if not isinstance(document, dict):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        if "stream" not in document and "data" not in document:
            return self._event(document, None)
        if "stream" not in document or "data" not in document:
            raise RefusalError(ParseStatus.PARSE_MISSING)
        if not isinstance(document["stream"], str):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        if not isinstance(document["data"], dict):
            return NOT_OURS
        return self._event(document["data"], document["stream"])

    def _event(self, event: dict[str, object], stream: str | None) -> Reading:
        name = event.get("e")
        if name == "depthUpdate":
            is_diff = stream is None or DIFF_STREAM.fullmatch(stream)
            kind = MessageKind.MESSAGE_DEPTH if is_diff else MessageKind.MESSAGE_PARTIAL
            return ParseStatus.PARSE_OK, kind, self._depth(event)
        if name in ("trade", "aggTrade"):
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_TRADE, self._trade(event, name == "aggTrade")
        is_nameless_ticker = (
            "e" not in event and isinstance(event.get("b"), str) and {*"uBaA"} <= event.keys()
        )
        if name == "bookTicker" or is_nameless_ticker:
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_TICKER, self._ticker(event)
        if name == "kline":
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_KLINE, self._kline(event)
        if name == "markPriceUpdate":
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_MARK, self._mark(event)
        if name == "forceOrder":
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_FORCE, self._force(event)
        if name == "24hrTicker":
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_DAY, self._day(event)
        if "e" not in event and "lastUpdateId" in event and stream is not None:
            return ParseStatus.PARSE_OK, MessageKind.MESSAGE_PARTIAL, self._book(event, stream)
        return NOT_OURS

    def _depth(self, event: dict[str, object]) -> Fields:
        self._check_symbol(event, "s")
        bids, asks = self._levels(event, "b"), self._levels(event, "a")
        return {
            "first_id": integer(event, "U"),
            "final_id": integer(event, "u"),
            "previous_id": -1 if self.is_spot else integer(event, "pu"),
            "venue_ns": nanoseconds(event, "E") if "E" in event else 0,
            "floored": bids[1] + asks[1],
            "bids": bids[0],
            "asks": asks[0],
        }

    def _book(self, event: dict[str, object], stream: str | None) -> Fields:
        if "symbol" in event:
            self._check_symbol(event, "symbol")
        elif stream is not None and stream.partition("@")[0].upper() != self.symbol:
            raise RefusalError(ParseStatus.PARSE_FOREIGN)
        bids, asks = self._levels(event, "bids"), self._levels(event, "asks")
        final_id = integer(event, "lastUpdateId")
        return {
            "first_id": final_id,
            "final_id": final_id,
            "previous_id": -1,
            "venue_ns": nanoseconds(event, "E") if "E" in event else 0,
            "floored": bids[1] + asks[1],
            "bids": bids[0],
            "asks": asks[0],
        }

    def _trade(self, event: dict[str, object], is_aggregate: bool) -> Fields:
        self._check_symbol(event, "s")
        number = integer(event, "a" if is_aggregate else "t")
        quantity, floored = self._quantity(needed(event, "q"))
        print_kind = event.get("X", "MARKET")
        if not isinstance(print_kind, str):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        price = self._price(needed(event, "p"))
        return {
            "trade_id": number,
            "price": price,
            "quantity": quantity,
            "venue_ns": nanoseconds(event, "T"),
            "event_ns": nanoseconds(event, "E") if "E" in event else 0,
            "first_id": integer(event, "f") if is_aggregate else number,
            "last_id": integer(event, "l") if is_aggregate else number,
            "regular_quantity": self._quantity(event["nq"])[0] if "nq" in event else quantity,
            # The buyer is the maker: the seller crossed the spread.
            "aggressor": -1 if boolean(event, "m") else 1,
            "is_aggregate": int(is_aggregate),
            "teaches": int(print_kind == "MARKET" and price > 0 and quantity > 0),
            "floored": floored,
        }

    def _ticker(self, event: dict[str, object]) -> Fields:
        self._check_symbol(event, "s")
        return {
            "update_id": integer(event, "u"),
            "bid_price": self._price(needed(event, "b")),
            "bid_quantity": self._quantity(needed(event, "B"))[0],
            "ask_price": self._price(needed(event, "a")),
            "ask_quantity": self._quantity(needed(event, "A"))[0],
            "venue_ns": nanoseconds(event, "E") if "E" in event else 0,
        }

    def _kline(self, event: dict[str, object]) -> Fields:
        self._check_symbol(event, "s")
        bar = needed(event, "k")
        if not isinstance(bar, dict):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        interval = INTERVAL.fullmatch(str(needed(bar, "i")))
        if not interval or not isinstance(bar["i"], str):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        return {
            "open_ns": nanoseconds(bar, "t"),
            "close_ns": nanoseconds(bar, "T"),
            "venue_ns": nanoseconds(event, "E") if "E" in event else 0,
            "open": self._price(needed(bar, "o")),
            "high": self._price(needed(bar, "h")),
            "low": self._price(needed(bar, "l")),
            "close": self._price(needed(bar, "c")),
            "volume": self._quantity(needed(bar, "v"))[0],
            "taker_buy_volume": self._quantity(needed(bar, "V"))[0],
            "n_trades": integer(bar, "n"),
            "interval_ns": int(interval[1]) * SECONDS[interval[2]] * 1_000_000_000,
            "is_closed": int(boolean(bar, "x")),
        }

    def _mark(self, event: dict[str, object]) -> Fields:
        self._check_symbol(event, "s")
        has_funding = event.get("r", "") != ""
        return {
            "mark": signed(needed(event, "p"), 8),
            "average": signed(event.get("ap", "0"), 8),
            "index": signed(event.get("i", "0"), 8),
            "settle": signed(event.get("P", "0"), 8),
            "funding_rate": signed(event["r"], 8) if has_funding else 0,
            "next_funding_ns": nanoseconds(event, "T") if "T" in event else 0,
            "venue_ns": nanoseconds(event, "E") if "E" in event else 0,
            "has_funding": int(has_funding),
        }

    def _force(self, event: dict[str, object]) -> Fields:
        order = needed(event, "o")
        if not isinstance(order, dict):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        self._check_symbol(order, "s")
        side, state = needed(order, "S"), order.get("X", "")
        if side not in ("BUY", "SELL") or not isinstance(state, str):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        digits = self.quantity_digits
        return {
            "price": unsigned(needed(order, "p"), 8),
            "average_price": unsigned(order.get("ap", "0"), 8),
            "quantity": unsigned(needed(order, "q"), digits),
            "last_quantity": unsigned(order.get("l", "0"), digits),
            "filled_quantity": unsigned(order.get("z", "0"), digits),
            "venue_ns": nanoseconds(order, "T"),
            "event_ns": nanoseconds(event, "E") if "E" in event else 0,
            "side": 1 if side == "BUY" else -1,
            "is_filled": int(state == "FILLED"),
        }

    def _day(self, event: dict[str, object]) -> Fields:
        self._check_symbol(event, "s")
        digits = self.price_digits
        return {
            "last": unsigned(needed(event, "c"), digits),
            "open": unsigned(needed(event, "o"), digits),
            "high": unsigned(needed(event, "h"), digits),
            "low": unsigned(needed(event, "l"), digits),
            "volume": unsigned(needed(event, "v"), 4),
            "quote_volume": unsigned(needed(event, "q"), 4),
            "n_trades": integer(event, "n"),
            "open_ns": nanoseconds(event, "O") if "O" in event else 0,
            "close_ns": nanoseconds(event, "C") if "C" in event else 0,
            "venue_ns": nanoseconds(event, "E") if "E" in event else 0,
        }

    def _check_symbol(self, event: dict[str, object], key: str) -> None:
        symbol = needed(event, key)
        if not isinstance(symbol, str):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        if symbol != self.symbol:
            raise RefusalError(ParseStatus.PARSE_FOREIGN)

    def _levels(self, event: dict[str, object], key: str) -> tuple[list[tuple[int, int]], int]:
        rows = needed(event, key)
        if not isinstance(rows, list):
            raise RefusalError(ParseStatus.PARSE_SYNTAX)
        found: list[tuple[int, int]] = []
        n_floored = 0
        for row in rows:
            if len(found) == self.max_levels:
                raise RefusalError(ParseStatus.PARSE_CAPACITY)
            if not isinstance(row, list) or len(row) < 2:
                raise RefusalError(ParseStatus.PARSE_SYNTAX)
            price = self._price(row[0])
            quantity, floored = self._quantity(row[1])
            found.append((price, quantity))
            n_floored += floored
        return found, n_floored

    def _price(self, text: object) -> int:
        value, floored = scaled(text, self.price_digits)
        if floored:
            raise RefusalError(ParseStatus.PARSE_EXCESS_DIGITS)
        return value

    def _quantity(self, text: object) -> tuple[int, int]:
        return scaled(text, self.quantity_digits)


def scaled(text: object, digits: int) -> tuple[int, int]:
    """Return a decimal in units of 10^-digits, and 1 if finer digits were cut off."""
    if not isinstance(text, str) or not PLAIN_DECIMAL.fullmatch(text):
        raise RefusalError(ParseStatus.PARSE_SYNTAX)
    exact = EXACT.scaleb(Decimal(text), digits)
    value = int(exact)
    if value > LARGEST:
        raise RefusalError(ParseStatus.PARSE_OVERFLOW)
    return value, int(value != exact)


def signed(text: object, digits: int) -> int:
    """Return a decimal, perhaps negative, in units of 10^-digits, cut toward zero."""
    if isinstance(text, str) and text.startswith("-"):
        return -scaled(text[1:], digits)[0]
    return scaled(text, digits)[0]


def unsigned(text: object, digits: int) -> int:
    """Return a decimal in units of 10^-digits, cut toward zero; `-0` is 0."""
    value = signed(text, digits)
    if value < 0:
        raise RefusalError(ParseStatus.PARSE_SYNTAX)
    return value


def needed(event: dict[str, object], key: str) -> object:
    if key not in event:
        raise RefusalError(ParseStatus.PARSE_MISSING)
    return event[key]


def integer(event: dict[str, object], key: str) -> int:
    value = needed(event, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RefusalError(ParseStatus.PARSE_SYNTAX)
    if value > LARGEST:
        raise RefusalError(ParseStatus.PARSE_OVERFLOW)
    return value


def boolean(event: dict[str, object], key: str) -> bool:
    value = needed(event, key)
    if not isinstance(value, bool):
        raise RefusalError(ParseStatus.PARSE_SYNTAX)
    return value


def nanoseconds(event: dict[str, object], key: str) -> int:
    """Milliseconds, or from 10^14 on microseconds, as nanoseconds."""
    value = integer(event, key)
    value *= 1_000 if value >= 10**14 else 1_000_000
    if value > LARGEST:
        raise RefusalError(ParseStatus.PARSE_OVERFLOW)
    return value
