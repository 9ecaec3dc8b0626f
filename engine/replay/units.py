"""What a recording holds, learned in one pass: symbols, venue rules, units of price and quantity.

The price unit is as fine as the finest price seen (trailing zeros do not count); the quantity unit has as
many decimals as the quantities are written with. Both are read from the text, so nothing is rounded.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from engine.errors import InputError
from engine.inputs import is_snapshot
from engine.replay.store import Line, Recording, Tally, read_lines

MAX_DIGITS: Final = 18

_SYMBOL: Final = re.compile(rb'"s"\s*:\s*"([^"]+)"')
_STREAM: Final = re.compile(rb'"stream"\s*:\s*"([a-z0-9_]+)@')
_STREAM_HEAD: Final = b'{"stream":"'
_EVENT: Final = re.compile(rb'"e"\s*:\s*"([^"]+)"')
_FINAL_ID: Final = re.compile(rb'"u"\s*:\s*(\d+)')
_SNAPSHOT_ID: Final = re.compile(rb'"lastUpdateId"\s*:\s*(\d+)')
_SNAPSHOT_SYMBOL: Final = re.compile(rb'"symbol"\s*:\s*"([^"]+)"')
_PREVIOUS_ID: Final = re.compile(rb'"pu"\s*:\s*\d')
_MARGIN: Final = re.compile(rb'"st"\s*:\s*(\d)')
_COIN_MARGINED: Final = re.compile(r"[A-Z0-9]+USD_(?:PERP|\d{6})")
_ONE_PRICE: Final = re.compile(rb'"[bp]"\s*:\s*"(\d+(?:\.\d+)?)"')
_BEST_BID: Final = re.compile(rb'"bids"\s*:\s*\[\s*\[\s*"(\d+(?:\.\d+)?)"')
# Other venues wrap messages of a similar shape in envelopes with these keys.
_FOREIGN: Final = re.compile(rb'"(?:channel|topic|arg|table)"\s*:')

# Prices of these events are multiples of the tick; a mark price or a 24 h average is not.
_LEARNED_EVENTS: Final = frozenset({b"depthUpdate", b"trade", b"aggTrade", b"bookTicker", b"kline"})


def _deeper(digits: int) -> tuple[re.Pattern[bytes], ...]:
    """Patterns that match a price with more than `digits` decimals, trailing zeros not counted."""
    decimals = rb"\d+\.\d{%d}\d*?[1-9]" % digits
    return (re.compile(rb'\[\s*"' + decimals), re.compile(rb'"[bapohlc]"\s*:\s*"' + decimals))


def _longer(digits: int) -> tuple[re.Pattern[bytes], ...]:
    """Patterns that match a quantity written with more than `digits` decimals."""
    decimals = rb"\d+\.\d{%d}\d+" % digits
    return (re.compile(rb'"\s*,\s*"' + decimals), re.compile(rb'"[qBA]"\s*:\s*"' + decimals))


_DEEPER: Final = [_deeper(digits) for digits in range(MAX_DIGITS + 1)]
_LONGER: Final = [_longer(digits) for digits in range(MAX_DIGITS + 1)]


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What the recording says about one symbol.

    Attributes
    ----------
    messages : messages that name the symbol, its snapshots included.
    snapshots : REST depth answers that belong to it.
    price_digits : decimals of the finest price.
    quantity_digits : decimals the quantities are written with.
    has_previous_ids : whether its depth updates carry ``pu``; None without depth updates.
    is_coin_margined : whether it is a COIN-M contract.
    backward_ns : the largest step back in receive time between two of its messages.
    """

    symbol: str
    messages: int
    snapshots: int
    price_digits: int
    quantity_digits: int
    has_previous_ids: bool | None
    is_coin_margined: bool
    backward_ns: int


@dataclass(frozen=True, slots=True)
class Survey:
    """One pass over a recording.

    Attributes
    ----------
    symbols : by name.
    snapshot_owners : the symbol of each REST depth answer, in order of appearance.
    exchange_info : body of an exchangeInfo answer inside the recording, ``b""`` if none.
    """

    symbols: tuple[SymbolFacts, ...]
    snapshot_owners: tuple[str, ...]
    exchange_info: bytes

    def facts(self, symbol: str) -> SymbolFacts:
        """Return what is known of `symbol`.

        Raises
        ------
        InputError
            The recording does not hold it; the sentence lists what it holds.
        """
        for facts in self.symbols:
            if facts.symbol == symbol:
                return facts
        raise InputError(f"{symbol} is not in this recording, which holds {self.names()}")

    def names(self) -> str:
        """Return the symbols as one text, separated by commas."""
        return ", ".join(facts.symbol for facts in self.symbols)


class _Notes:
    """Running notes on one symbol; price and id ranges only serve to attribute bare snapshots."""

    __slots__ = (
        "backward_ns",
        "has_previous_ids",
        "high",
        "highest_id",
        "is_coin_margined",
        "last_recv_ns",
        "low",
        "lowest_id",
        "messages",
        "price_digits",
        "quantity_digits",
        "snapshots",
    )

    def __init__(self, symbol: str) -> None:
        self.messages = 0
        self.snapshots = 0
        self.price_digits = 0
        self.quantity_digits = 0
        self.has_previous_ids: bool | None = None
        self.is_coin_margined = _COIN_MARGINED.fullmatch(symbol) is not None
        self.low = math.inf
        self.high = 0.0
        self.lowest_id = -1
        self.highest_id = -1
        self.last_recv_ns = 0
        self.backward_ns = 0

    def learn(self, event: bytes, payload: bytes) -> None:
        if event == b"depthUpdate":
            if self.has_previous_ids is None:
                self.has_previous_ids = _PREVIOUS_ID.search(payload) is not None
                margin = _MARGIN.search(payload)
                if margin is not None:
                    self.is_coin_margined = margin[1] == b"2"
            self.learn_digits(payload, 0)
            found = _FINAL_ID.search(payload)
            if found is not None:
                self.highest_id = int(found[1])
                if self.lowest_id < 0:
                    self.lowest_id = self.highest_id
            return
        self.learn_digits(payload, 1, learns_quantities=event != b"kline")
        if self.high and self.messages % 16:  # a sample of the prices is enough to tell symbols apart
            return
        price = _ONE_PRICE.search(payload)
        if price is not None:
            value = float(price[1])
            self.low = min(self.low, value)
            self.high = max(self.high, value)

    def learn_digits(self, payload: bytes, shape: int, *, learns_quantities: bool = True) -> None:
        # The patterns match only what is finer than all before: one failed search when nothing is new.
        while self.price_digits < MAX_DIGITS and _DEEPER[self.price_digits][shape].search(payload):
            self.price_digits += 1
        if not learns_quantities:  # a kline writes quote volumes under the same keys
            return
        while self.quantity_digits < MAX_DIGITS and _LONGER[self.quantity_digits][shape].search(payload):
            self.quantity_digits += 1

    def price_distance(self, price: float) -> float:
        """Return how far `price` lies outside the prices seen, as a share of it."""
        if self.high == 0.0 or price <= 0.0:
            return math.inf
        return max(self.low / price - 1.0, price / self.high - 1.0, 0.0)

    def id_distance(self, final_id: int) -> float:
        """Return how far an update id lies outside the ids seen."""
        if self.lowest_id < 0:
            return math.inf
        return float(max(self.lowest_id - final_id, final_id - self.highest_id, 0))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    owner: str
    final_id: int
    best_bid: float
    price_digits: int
    quantity_digits: int


def symbol_of(payload: bytes) -> str:
    """Return the symbol a message names, in it or by its stream; "" if it names none."""
    found = _SYMBOL.search(payload)
    if found is None:
        found = _STREAM.search(payload)
        return found[1].decode("ascii", "replace").upper() if found is not None else ""
    return found[1].decode("ascii", "replace") if found is not None else ""


def survey(recording: Recording, progress: Callable[[int], None] | None = None) -> Survey:
    """Learn in one pass what a recording holds.

    Parameters
    ----------
    recording : the files of one session.
    progress : called from time to time with the bytes read from disk so far.

    Raises
    ------
    InputError
        No Binance depth, trade or bookTicker message is in it.

    Notes
    -----
    The REST depth answers of spot and USD-M do not name their symbol. In a recording of several symbols each
    is given to the symbol whose traded prices hold its best bid to within 2 %, among those to the one with
    the nearest update ids. This looks at the whole recording, as do the units: it decides what is read,
    never what is signalled.
    """
    tally = Tally()
    notes: dict[str, _Notes] = {}
    snapshots: list[_Snapshot] = []
    streams: dict[bytes, tuple[_Notes, bytes]] = {}
    n_lines = 0
    for line in read_lines(recording, tally):
        n_lines += 1
        if progress is not None and n_lines % 4096 == 0:
            progress(tally.bytes_read)
        stream = b""
        if line.payload.startswith(_STREAM_HEAD):
            stream = line.payload[len(_STREAM_HEAD) : line.payload.find(b'"', len(_STREAM_HEAD))]
        known = streams.get(stream)
        if known is None:
            if is_snapshot(line.payload):
                snapshots.append(_read_snapshot(line))
                continue
            if _is_exchange_info(line.payload):
                tally.exchange_info = line.payload
                continue
            known = _learned(line.payload, notes)
            if known is None:
                continue
            if b"@" in stream:  # one symbol and one kind of event by its name
                streams[stream] = known
        note, name = known
        note.messages += 1
        if line.recv_ns < note.last_recv_ns:
            note.backward_ns = max(note.backward_ns, note.last_recv_ns - line.recv_ns)
        note.last_recv_ns = line.recv_ns
        note.learn(name, line.payload)
    if not notes:
        raise InputError(
            f"{recording.paths[0]} holds no Binance depth, trade or bookTicker message; "
            "only Binance spot, USD-M and COIN-M recordings can be replayed"
        )
    owners = [snapshot.owner or _owner(snapshot, notes) for snapshot in snapshots]
    for owner, snapshot in zip(owners, snapshots, strict=True):
        if owner in notes:
            note = notes[owner]
            note.messages += 1
            note.snapshots += 1
            note.price_digits = max(note.price_digits, snapshot.price_digits)
            note.quantity_digits = max(note.quantity_digits, snapshot.quantity_digits)
    return Survey(tuple(_facts(notes)), tuple(owners), tally.exchange_info)


def _is_exchange_info(payload: bytes) -> bool:
    return b'"filters"' in payload and b'"symbols"' in payload and not payload.startswith(_STREAM_HEAD)


def _learned(payload: bytes, notes: dict[str, _Notes]) -> tuple[_Notes, bytes] | None:
    """Return the notes on a message's symbol and its event; None if nothing is to be learned from it."""
    symbol = symbol_of(payload)
    if not symbol:
        return None
    event = _EVENT.search(payload)
    name = event[1] if event is not None else b"bookTicker"
    if name not in _LEARNED_EVENTS:
        return None
    note = notes.get(symbol)
    if note is None:
        if _FOREIGN.search(payload) or (event is None and not _ONE_PRICE.search(payload)):
            return None
        note = notes[symbol] = _Notes(symbol)
    return note, name


def _read_snapshot(line: Line) -> _Snapshot:
    named = _SNAPSHOT_SYMBOL.search(line.payload)
    final_id = _SNAPSHOT_ID.search(line.payload)
    bid = _BEST_BID.search(line.payload)
    digits = _Notes("")
    digits.learn_digits(line.payload, 0)
    return _Snapshot(
        owner=line.symbol or (named[1].decode("ascii", "replace") if named is not None else ""),
        final_id=int(final_id[1]) if final_id is not None else 0,
        best_bid=float(bid[1]) if bid is not None else 0.0,
        price_digits=digits.price_digits,
        quantity_digits=digits.quantity_digits,
    )


def _owner(snapshot: _Snapshot, notes: dict[str, _Notes]) -> str:
    if len(notes) == 1:
        return next(iter(notes))
    near = [symbol for symbol, note in notes.items() if note.price_distance(snapshot.best_bid) <= 0.02]
    return min(
        near or list(notes),
        key=lambda symbol: (
            notes[symbol].id_distance(snapshot.final_id),
            notes[symbol].price_distance(snapshot.best_bid),
            symbol,
        ),
    )


def _facts(notes: dict[str, _Notes]) -> Iterator[SymbolFacts]:
    for symbol in sorted(notes):
        note = notes[symbol]
        yield SymbolFacts(
            symbol=symbol,
            messages=note.messages,
            snapshots=note.snapshots,
            price_digits=note.price_digits,
            quantity_digits=note.quantity_digits,
            has_previous_ids=note.has_previous_ids,
            is_coin_margined=note.is_coin_margined,
            backward_ns=note.backward_ns,
        )
