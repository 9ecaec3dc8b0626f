"""The simulated venue as functions of time: requests and connections come in, answers and messages go out."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote

from engine.errors import InputError
from engine.sim.answers import (
    Answer,
    Out,
    OutClose,
    OutCut,
    OutPing,
    OutPong,
    OutText,
    error_answer,
)
from engine.sim.hubs import NEVER, Streams
from engine.sim.limits import AttemptLimit, WeightLimit
from engine.sim.restapi import ENDPOINTS
from engine.sim.restrules import (
    LIMITS,
    Endpoint,
    not_found,
    respond,
    too_much,
    used_weight_headers,
    weight_of,
)
from engine.sim.session import MAX_STREAMS, Category, Meddler, Session
from engine.sim.venuemarket import MarketName, VenueMarket

__all__ = ["Answer", "House", "Out", "OutClose", "OutCut", "OutPing", "OutPong", "OutText", "Session"]

MS: Final = 1_000_000

# Path prefix of a stream connection -> market and what it serves. `/stream/ws` is for clients that tell the
# spot side by "/stream" in the address.
_DOORS: Final[dict[str, tuple[MarketName, Category]]] = {
    "": ("spot", "spot"),
    "/public": ("usdm", "public"),
    "/market": ("usdm", "market"),
    "/private": ("usdm", "private"),
    "/legacy": ("usdm", "legacy"),
}


class FaultScript(Meddler, Protocol):
    """What may go wrong on purpose."""

    @property
    def next_ns(self) -> int: ...

    def advance(self, now_ns: int, house: "House") -> None:
        """Do what is due: close, cut, silence, announce, change a symbol, set the venue's clock."""
        ...

    def on_request(self, path: str, query: str, now_ns: int) -> Answer | int | None:
        """Return an answer instead, a delay in ns, or None."""
        ...

    def on_open(self, path: str, now_ns: int) -> Answer | None:
        """Return a refusal of the handshake, or None."""
        ...


class House:
    """
    The venue: its markets, its REST side, its stream connections.

    Parameters
    ----------
    markets : sequence of VenueMarket
        A symbol stands in it once for each market.
    api_key : str
    api_secret : str, optional
    ed25519_public : bytes, optional
        PEM. Both are kept for requests that must be signed.
    faults : FaultScript, optional

    Raises
    ------
    InputError
        A symbol stands twice in one market.

    Notes
    -----
    Nothing here waits, and nothing reads a clock: whoever drives the house advances it. At one moment faults
    come first, then the markets in their order, then all-market streams, then what sessions do by themselves.

    Cost: some microseconds a message and session that hears it, over the cost of the markets.
    """

    def __init__(
        self,
        markets: Sequence[VenueMarket],
        *,
        api_key: str = "",
        api_secret: str = "",
        ed25519_public: bytes = b"",
        faults: FaultScript | None = None,
    ) -> None:
        self.markets = tuple(markets)
        self.api_key = api_key
        self.api_secret = api_secret
        self.ed25519_public = ed25519_public
        self.faults = faults
        self.sessions: dict[int, Session] = {}
        self.clock_offset_ns = 0  # of the time that the venue's answers show; a fault script may set it
        self._now_ns = 0
        self._n_sessions = 0
        self._due: list[tuple[int, int]] = []
        self._weights: dict[MarketName, WeightLimit] = {
            name: WeightLimit(limit) for name, limit in LIMITS.items()
        }
        self._attempts: dict[MarketName, AttemptLimit] = {name: AttemptLimit() for name in LIMITS}
        self._symbols: dict[MarketName, dict[str, VenueMarket]] = {name: {} for name in LIMITS}
        for market in markets:
            symbols = self._symbols[market.market]
            if market.symbol in symbols:
                raise InputError(
                    f"Expected each symbol once, found {market.symbol} twice on {market.market}.",
                    symbol=market.symbol,
                )
            symbols[market.symbol] = market
        self._streams: dict[MarketName, Streams] = {
            name: Streams(name, tuple(symbols.values()), self._time)
            for name, symbols in self._symbols.items()
        }

    @property
    def now_ns(self) -> int:
        """Venue time that the house has been advanced to."""
        return self._now_ns

    @property
    def next_ns(self) -> int:
        """The earliest moment at which anything happens by itself."""
        due = min((market.next_ns for market in self.markets), default=NEVER)
        for streams in self._streams.values():
            due = min(due, streams.next_ns)
        if self.faults is not None:
            due = min(due, self.faults.next_ns)
        if self._due:
            due = min(due, self._due[0][0])
        return due

    def symbols(self, market: MarketName) -> Mapping[str, VenueMarket]:
        """Return the symbols of a market by name."""
        return self._symbols[market]

    def delist(self, market: MarketName, symbol: str) -> None:
        """Let a symbol be gone: nobody hears of it again, requests and exchangeInfo do not know it."""
        gone = self._symbols[market].pop(symbol, None)
        self.markets = tuple(one for one in self.markets if one is not gone)

    def advance(self, now_ns: int) -> None:
        """Let everything happen that happens up to and including `now_ns`."""
        while (moment := self.next_ns) <= now_ns:
            self._now_ns = max(self._now_ns, moment)
            if self.faults is not None and self.faults.next_ns <= moment:
                self.faults.advance(moment, self)
            for market in self.markets:
                if market.next_ns <= moment:
                    market.advance(moment)
            for streams in self._streams.values():
                if streams.next_ns <= moment:
                    streams.advance(moment)
            while self._due and self._due[0][0] <= moment:
                session = self.sessions.get(heapq.heappop(self._due)[1])
                if session is not None:
                    session.advance(moment)
                    self._on_due(session)
        self._now_ns = max(self._now_ns, now_ns)

    def get(self, path: str, query: str, headers: Mapping[str, str], *, address: str, now_ns: int) -> Answer:
        """Answer a GET request that arrives at `now_ns`."""
        self.advance(now_ns)
        now_ns = self._now_ns
        delay_ns = 0
        if self.faults is not None:
            instead = self.faults.on_request(path, query, now_ns)
            if isinstance(instead, Answer):
                return instead
            delay_ns = instead or 0
        endpoint = ENDPOINTS.get(path)
        if endpoint is None:
            return not_found(path, "GET")
        market = endpoint.market
        charge = self._weights[market].charge(address, weight_of(endpoint, query), now_ns)
        if charge.status == 200:
            answer = self._answer(endpoint, query, {name.lower(): text for name, text in headers.items()})
        else:
            answer = too_much(market, charge.status, charge.retry_after_s, charge.banned_until_ns // MS)
        return Answer(
            answer.status,
            {**answer.headers, **used_weight_headers(market, charge.used)},
            answer.body,
            answer.delay_ns + delay_ns,
        )

    def open(
        self, path: str, query: str, *, address: str, now_ns: int, deliver: Callable[[int, Out], None]
    ) -> Session | Answer:
        """
        Take a stream connection, or refuse its handshake.

        Parameters
        ----------
        path, query : str
            As in the request line.
        address : str
            Of the client; connection attempts are counted by it.
        now_ns : int
        deliver : callable
            Called with venue time, never decreasing, and what goes out. May be called inside any other call
            of the house. Whoever is behind it must not wait.
        """
        self.advance(now_ns)
        now_ns = self._now_ns
        door = _door(unquote(path))
        if door is None:
            return Answer(404)
        market, category, names, is_combined = door
        if self.faults is not None:
            refusal = self.faults.on_open(path, now_ns)
            if refusal is not None:
                return refusal
        retry_after_s = self._attempts[market].take(address, now_ns)
        if retry_after_s:
            return Answer(429, {"Retry-After": str(retry_after_s)})
        parameters = parse_qs(query, keep_blank_values=True)
        names = [*names, *(name for text in parameters.get("streams", []) for name in text.split("/"))]
        names = [name for name in dict.fromkeys(names) if name]
        if len(names) > MAX_STREAMS:
            return Answer(400)
        unit = parameters.get("timeUnit", ["MILLISECOND"])[0].upper()
        if market == "spot" and unit not in ("MICROSECOND", "MILLISECOND"):
            return error_answer(
                400, -1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
            )
        self._n_sessions += 1
        session = Session(
            self._n_sessions,
            market,
            category,
            self._streams[market],
            names,
            is_combined=is_combined,
            is_micro=market == "spot" and unit == "MICROSECOND",
            address=address,
            now_ns=now_ns,
            deliver=deliver,
            on_due=self._on_due,
            on_end=self._on_end,
            meddler=self.faults,
        )
        self.sessions[session.session_id] = session
        self._on_due(session)
        return session

    def _answer(self, endpoint: Endpoint, query: str, headers: Mapping[str, str]) -> Answer:
        if endpoint.needs_key:
            key = headers.get("x-mbx-apikey", "")
            if not key:
                return error_answer(401, -2014, "API-key format invalid.")
            if key != self.api_key:
                return error_answer(401, -2015, "Invalid API-key, IP, or permissions for action.")
        unit = headers.get("x-mbx-time-unit", "MILLISECOND").upper()
        if endpoint.market == "spot" and unit not in ("MICROSECOND", "MILLISECOND"):
            return error_answer(
                400, -1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
            )
        is_micro = endpoint.market == "spot" and unit == "MICROSECOND"
        shown_ns = self._now_ns + self.clock_offset_ns
        symbols = self._symbols[endpoint.market]
        return respond(endpoint, symbols, query, shown_ns // MS, is_micro=is_micro)

    def _time(self) -> int:
        return self._now_ns

    def _on_due(self, session: Session) -> None:
        if session.is_open:
            heapq.heappush(self._due, (session.next_ns, session.session_id))

    def _on_end(self, session: Session) -> None:
        self.sessions.pop(session.session_id, None)


def _door(path: str) -> tuple[MarketName, Category, list[str], bool] | None:
    """Return market, category, stream names of the path, and whether payloads are wrapped."""
    for prefix, (market, category) in _DOORS.items():
        if prefix and not path.startswith(prefix + "/"):
            continue
        rest = path[len(prefix) :]
        if rest.startswith("/stream/ws"):
            rest = rest.removeprefix("/stream")
        if rest == "/ws" or rest.startswith("/ws/"):
            return market, category, [name for name in rest.split("/")[2:] if name], False
        if rest in ("/stream", "/stream/"):
            return market, category, [], True
    return None
