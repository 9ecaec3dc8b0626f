"""Fan-out of the simulated venue's streams: one hub for each stream, whatever the number of its listeners."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from engine.sim.answers import OutText
from engine.sim.told import US, Told
from engine.sim.venuemarket import MarketName, Sink, VenueMarket

NEVER: Final = 1 << 62
SECOND: Final = 1_000_000_000

# All-market streams: the stream of one symbol that feeds them, how often they speak (0: at once), and whether
# they speak in arrays. `!bookTicker` left the spot market at the end of 2022.
_ALL: Final[dict[MarketName, dict[str, tuple[str, int, bool]]]] = {
    "spot": {
        "!ticker@arr": ("ticker", SECOND, True),
        "!miniTicker@arr": ("miniTicker", SECOND, True),
    },
    "usdm": {
        "!ticker@arr": ("ticker", SECOND, True),
        "!miniTicker@arr": ("miniTicker", SECOND, True),
        "!bookTicker": ("bookTicker", 5 * SECOND, False),
        "!markPrice@arr": ("markPrice", 3 * SECOND, True),
        "!markPrice@arr@1s": ("markPrice@1s", SECOND, True),
        "!forceOrder@arr": ("forceOrder", 0, False),
    },
}

CONTINUOUS: Final = re.compile(r"([^@_]+)_perpetual@continuousKline_(\w+)")


class Listener(Protocol):
    """A session, as a hub sees it."""

    @property
    def session_id(self) -> int: ...

    def on_message(self, hub: "Hub", message: Told) -> None: ...


def gathered(name: str, now_ns: int, parts: Sequence[Told]) -> Told:
    """Return messages of several symbols as one array."""

    def write(unit: int) -> str:
        return "[" + ",".join(part.encode(unit == US).decode() for part in parts) + "]"

    return Told(name, now_ns, write, has_micro=True)


def continuous(name: str, kline: Told) -> Told:
    """Return a candle of a symbol as one of its pair's perpetual contract."""
    found = msgspec.json.decode(kline.encode(False))
    candle = {key: value for key, value in found["k"].items() if key != "s"}
    said = {"e": "continuous_kline", "E": found["E"], "ps": found["s"], "ct": "PERPETUAL", "k": candle}
    return Told(name, kline.venue_ns, lambda _unit: msgspec.json.encode(said).decode())


class Hub:
    """One stream of one market and the sessions that listen to it; each text is made once for all of them."""

    __slots__ = ("_last", "_prefix", "_texts", "listeners", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.listeners: dict[int, Listener] = {}
        self._prefix = b'{"stream":"' + name.encode() + b'","data":'
        self._last: Told | None = None
        self._texts: dict[tuple[bool, bool], OutText] = {}

    def on_message(self, message: Told) -> None:
        """Hand a message to everybody who listens."""
        for listener in tuple(self.listeners.values()):
            listener.on_message(self, message)

    def text_of(self, message: Told, is_combined: bool, is_micro: bool) -> OutText:
        """Return what goes over the wire; the same object for every session that wants the same."""
        if message is not self._last:
            self._last = message
            self._texts.clear()
        key = (is_combined, is_micro)
        text = self._texts.get(key)
        if text is None:
            data = message.encode(is_micro)
            text = self._texts[key] = OutText(self._prefix + data + b"}" if is_combined else data)
        return text


class _Gathering:
    """An all-market stream: the latest message of each symbol, told at multiples of its period."""

    def __init__(self, hub: Hub, period_ns: int, is_array: bool, now_ns: Callable[[], int]) -> None:
        self._hub = hub
        self._period_ns = period_ns
        self._is_array = is_array
        self._now_ns = now_ns
        self._latest: dict[str, Told] = {}
        self.next_ns = NEVER

    def on_message(self, message: Told) -> None:
        if self._period_ns == 0:
            self._hub.on_message(message)
            return
        self._latest.pop(message.stream, None)
        self._latest[message.stream] = message
        if self.next_ns == NEVER:
            self.next_ns = -(-self._now_ns() // self._period_ns) * self._period_ns

    def tell(self, now_ns: int) -> None:
        parts = tuple(self._latest.values())
        self._latest.clear()
        self.next_ns = NEVER
        if self._is_array:
            self._hub.on_message(gathered(self._hub.name, now_ns, parts))
        else:
            for part in parts:
                self._hub.on_message(part)


class Streams:
    """
    Every stream of one market's side of the venue.

    Parameters
    ----------
    market : {"spot", "usdm"}
    symbols : sequence of VenueMarket
        Of that market.
    now_ns : callable
        Venue time now.
    """

    def __init__(self, market: MarketName, symbols: Sequence[VenueMarket], now_ns: Callable[[], int]) -> None:
        self._market = market
        self._symbols = {symbol.symbol.lower(): symbol for symbol in symbols}
        self.now_ns = now_ns
        self._hubs: dict[str, Hub] = {}
        self._gatherings: dict[str, _Gathering] = {}
        self._sources: dict[str, list[tuple[VenueMarket, str, Sink]]] = {}

    @property
    def next_ns(self) -> int:
        """When an all-market stream speaks next."""
        return min((gathering.next_ns for gathering in self._gatherings.values()), default=NEVER)

    def advance(self, now_ns: int) -> None:
        """Let the all-market streams speak that are due."""
        for gathering in tuple(self._gatherings.values()):
            if gathering.next_ns <= now_ns:
                gathering.tell(now_ns)

    def join(self, name: str, listener: Listener) -> bool:
        """Let a session listen; False: nobody ever speaks on a stream of this name."""
        hub = self._hubs.get(name)
        if hub is None:
            hub = Hub(name)
            if not self._open(hub):
                return False
            self._hubs[name] = hub
        hub.listeners[listener.session_id] = listener
        return True

    def part(self, name: str, listener: Listener) -> None:
        """Let a session listen no more; a stream that nobody listens to is closed."""
        hub = self._hubs.get(name)
        if hub is None or hub.listeners.pop(listener.session_id, None) is None or hub.listeners:
            return
        del self._hubs[name]
        self._gatherings.pop(name, None)
        for market, stream, sink in self._sources.pop(name):
            market.unlisten(stream, sink)

    def _open(self, hub: Hub) -> bool:
        """Connect a new stream with what feeds it."""
        name = hub.name
        every = _ALL[self._market].get(name)
        sources: list[tuple[VenueMarket, str, Sink]] = []
        if every is not None:
            part, period_ns, is_array = every
            gathering = self._gatherings[name] = _Gathering(hub, period_ns, is_array, self.now_ns)
            sources += [
                (market, f"{symbol}@{part}", gathering.on_message) for symbol, market in self._symbols.items()
            ]
        else:
            pair = CONTINUOUS.fullmatch(name) if self._market == "usdm" else None
            market = self._symbols.get(pair[1] if pair else name.partition("@")[0])
            if market is None:
                return False
            if pair is None:
                sources.append((market, name, hub.on_message))
            else:
                sources.append(
                    (
                        market,
                        f"{pair[1]}@kline_{pair[2]}",
                        lambda told: hub.on_message(continuous(name, told)),
                    )
                )
        found = [source for source in sources if source[0].listen(source[1], source[2])]
        if found or every is not None:
            self._sources[name] = found
            return True
        return False
