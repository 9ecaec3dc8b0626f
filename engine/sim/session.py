"""One stream connection: subscriptions, ping rules and limits, in venue time, without a socket."""

import heapq
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

import msgspec

from engine.sim.answers import Out, OutClose, OutCut, OutPing, OutPong, OutText
from engine.sim.hubs import NEVER, Hub, Streams
from engine.sim.limits import IncomingLimit
from engine.sim.told import Told
from engine.sim.venuemarket import MarketName

SECOND: Final = 1_000_000_000
MAX_STREAMS: Final = 1024
MAX_TEXT: Final = 65_536
LIFE_NS: Final = 24 * 3600 * SECOND
METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
STREAM_NAME: Final = re.compile(r"[!\w][\w@.!\-]*")
PUBLIC_STREAM: Final = re.compile(r"[^@]+@(depth|rpiDepth|bookTicker|trade)")

Category = Literal["spot", "public", "market", "private", "legacy"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What one side of the venue asks of a connection."""

    ping_ns: int
    pong_ns: int
    incoming_per_second: int


RULES: Final[dict[MarketName, Rules]] = {
    "spot": Rules(20 * SECOND, 60 * SECOND, 5),
    "usdm": Rules(180 * SECOND, 600 * SECOND, 10),
}


class Meddler(Protocol):
    """The part of a fault script that stands between a stream and a session."""

    def on_told(self, session_id: int, told: Told, now_ns: int) -> list[tuple[int, Told]]:
        """Return what is sent instead, each with a delay; the same at delay 0 for no fault."""
        ...


@runtime_checkable
class Doorman(Protocol):
    """The part of a fault script that refuses subscriptions; a script need not have it."""

    def on_subscribe(self, session_id: int, names: Sequence[str], now_ns: int) -> tuple[int, str] | None:
        """Return code and message of an error instead of the subscription, or None."""
        ...


def category_of(stream: str) -> Category:
    """Return the USD-M path that serves a stream."""
    if stream == "!bookTicker" or PUBLIC_STREAM.match(stream):
        return "public"
    return "market"


class _WrongError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Session:
    """
    A connection that the venue has accepted.

    Parameters
    ----------
    session_id : int
    market : {"spot", "usdm"}
    category : str
        Which path it came by; on USD-M a stream of another one is acknowledged and stays silent.
    streams : Streams
    names : list of str
        Streams of the URL.
    is_combined, is_micro : bool
    address : str
    now_ns : int
    deliver : callable
        Takes the venue time, never decreasing, and what goes out.
    on_due, on_end : callable
        Told whenever `next_ns` moves nearer, and once at the end.
    meddler : Meddler, optional

    Notes
    -----
    A ping is answered at once. A pong counts as the answer to a ping only with that ping's payload; one that
    is not asked for does not prevent the end. After the end nothing is delivered any more.
    """

    def __init__(
        self,
        session_id: int,
        market: MarketName,
        category: Category,
        streams: Streams,
        names: list[str],
        *,
        is_combined: bool,
        is_micro: bool,
        address: str,
        now_ns: int,
        deliver: Callable[[int, Out], None],
        on_due: Callable[["Session"], None],
        on_end: Callable[["Session"], None],
        meddler: Meddler | None = None,
    ) -> None:
        self.session_id = session_id
        self.market = market
        self.category = category
        self.address = address
        self.is_combined = is_combined
        self.is_micro = is_micro
        self.is_open = True
        self.is_silenced = False  # a fault script may take a session's streams away without a word
        self.opened_ns = self._now_ns = now_ns
        self.names: dict[str, bool] = {}  # stream -> whether it is connected to anything
        self._streams = streams
        self._deliver = deliver
        self._on_due = on_due
        self._on_end = on_end
        self._meddler = meddler
        self._doorman: Doorman | None = meddler if isinstance(meddler, Doorman) else None
        self._rules = RULES[market]
        self._incoming = IncomingLimit(self._rules.incoming_per_second)
        self._next_ping_ns = now_ns + self._rules.ping_ns
        self._owed: list[tuple[int, bytes]] = []  # pings without a pong: when, payload
        self._held: list[tuple[int, int, OutText]] = []
        self._n_held = 0
        self._add(names)

    @property
    def next_ns(self) -> int:
        """When the session does something by itself."""
        if not self.is_open:
            return NEVER
        due = min(self._next_ping_ns, self.opened_ns + LIFE_NS)
        if self._owed:
            due = min(due, self._owed[0][0] + self._rules.pong_ns)
        if self._held:
            due = min(due, self._held[0][0])
        return due

    def advance(self, now_ns: int) -> None:
        """Let everything happen that is due up to and including `now_ns`."""
        while self.is_open and (moment := self.next_ns) <= now_ns:
            self._now_ns = max(self._now_ns, moment)
            if self._held and self._held[0][0] <= moment:
                self._send(heapq.heappop(self._held)[2])
            elif self.opened_ns + LIFE_NS <= moment:
                self.close(moment, 1001, "")
            elif self._owed and self._owed[0][0] + self._rules.pong_ns <= moment:
                self.close(moment, 1008, "Pong timeout")
            else:
                payload = str(moment // 1_000_000).encode()
                self._owed.append((moment, payload))
                self._next_ping_ns = moment + self._rules.ping_ns
                self._send(OutPing(payload))
        self._now_ns = max(self._now_ns, now_ns)

    def on_message(self, hub: Hub, message: Told) -> None:
        """Take a message of a stream, at the venue time of the house."""
        if self.is_silenced:
            return
        self.settle(self._streams.now_ns())
        if self._meddler is None:
            self._send(hub.text_of(message, self.is_combined, self.is_micro))
            return
        for delay_ns, instead in self._meddler.on_told(self.session_id, message, self._now_ns):
            text = hub.text_of(instead, self.is_combined, self.is_micro)
            if delay_ns <= 0:
                self._send(text)
            else:
                self._n_held += 1
                heapq.heappush(self._held, (self._now_ns + delay_ns, self._n_held, text))
                self._on_due(self)

    def settle(self, now_ns: int) -> None:
        """Set the session's time, before something of this moment reaches it."""
        self._now_ns = max(self._now_ns, now_ns)

    def on_ping(self, payload: bytes, now_ns: int) -> None:
        """Answer a ping of the client."""
        if self._take(now_ns):
            self._send(OutPong(payload))

    def on_pong(self, payload: bytes, now_ns: int) -> None:
        """Take a pong; every ping up to the one it answers is answered."""
        if not self._take(now_ns):
            return
        for place, (_, owed) in enumerate(self._owed):
            if owed == payload:
                del self._owed[: place + 1]
                return

    def on_close(self, now_ns: int) -> None:
        """Take the client's end of the connection."""
        self.settle(now_ns)
        self._end()

    def on_text(self, text: bytes, now_ns: int) -> None:
        """Take a control message and answer it."""
        if not self._take(now_ns):
            return
        found: object = None
        try:
            if len(text) > MAX_TEXT:
                raise _WrongError(2, "Invalid request: message too long")
            try:
                found = msgspec.json.decode(text)
            except msgspec.DecodeError:
                raise _WrongError(3, "Invalid JSON: expected value at line 1 column 1") from None
            self._reply({"result": self._obey(found), "id": _id_of(found)})
        except _WrongError as wrong:
            reply: dict[str, object] = {"error": {"code": wrong.code, "msg": str(wrong)}}
            if isinstance(found, dict) and "id" in found and not isinstance(found["id"], (dict, list)):
                reply["id"] = found["id"]
            self._reply(reply)

    def close(self, now_ns: int, code: int, reason: str) -> None:
        """End the connection with a close frame."""
        self.settle(now_ns)
        self._send(OutClose(code, reason))
        self._end()

    def cut(self, now_ns: int) -> None:
        """Reset the connection without a word."""
        self.settle(now_ns)
        self._send(OutCut())
        self._end()

    def announce_shutdown(self, now_ns: int) -> None:
        """Say that the venue is about to end the connection."""
        self.settle(now_ns)
        unit = 1_000 if self.is_micro else 1_000_000
        event = msgspec.json.encode({"e": "serverShutdown", "E": now_ns // unit})
        if self.is_combined:
            event = b'{"stream":"!serverShutdown","data":' + event + b"}"
        self._send(OutText(event))

    def _take(self, now_ns: int) -> bool:
        self.settle(now_ns)
        if self.is_open and not self._incoming.take(now_ns):
            self.close(now_ns, 1008, "Too many requests")
        return self.is_open

    def _obey(self, found: object) -> object:
        if not isinstance(found, dict):
            raise _WrongError(2, "Invalid request: expected an object at line 1 column 1")
        _id_of(found)
        method = found.get("method")
        if method is None:
            raise _WrongError(2, "Invalid request: missing field `method` at line 1 column 1")
        if method not in METHODS:
            known = ", ".join(f"`{name}`" for name in METHODS)
            raise _WrongError(2, f"Invalid request: unknown variant `{method}`, expected one of {known}")
        params = found.get("params", [])
        if params is None:
            params = []
        if not isinstance(params, list):
            raise _WrongError(2, "Invalid request: invalid type: expected a sequence")
        if method == "LIST_SUBSCRIPTIONS":
            if params:
                raise _WrongError(2, "Invalid request: too many parameters")
            return list(self.names)
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(params, is_set=method == "SET_PROPERTY")
        for name in params:
            if not isinstance(name, str) or STREAM_NAME.fullmatch(name) is None:
                raise _WrongError(2, "Invalid request: invalid stream")
        if method == "UNSUBSCRIBE":
            for name in params:
                if self.names.pop(name, False):
                    self._streams.part(name, self)
            return None
        if len(self.names.keys() | set(params)) > MAX_STREAMS:
            raise _WrongError(4, "Too many subscriptions")
        if self._doorman is not None:
            refusal = self._doorman.on_subscribe(self.session_id, params, self._now_ns)
            if refusal is not None:
                raise _WrongError(*refusal)
        self._add(params)
        return None

    def _property(self, params: list[object], *, is_set: bool) -> object:
        if not params or not isinstance(params[0], str):
            raise _WrongError(2, "Invalid request: property name must be a string")
        if len(params) > (2 if is_set else 1):
            raise _WrongError(2, "Invalid request: too many parameters")
        if params[0] != "combined":
            raise _WrongError(0, "Unknown property")
        if not is_set:
            return self.is_combined
        if len(params) < 2 or not isinstance(params[1], bool):
            raise _WrongError(1, "Invalid value type: expected Boolean")
        self.is_combined = params[1]
        return None

    def _add(self, names: list[str]) -> None:
        for name in names:
            if name not in self.names:
                is_ours = self.category in ("spot", category_of(name))
                self.names[name] = is_ours and self._streams.join(name, self)

    def _reply(self, reply: dict[str, object]) -> None:
        self._send(OutText(msgspec.json.encode(reply)))

    def _send(self, out: Out) -> None:
        if self.is_open:
            self._deliver(self._now_ns, out)

    def _end(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._held.clear()
        for name, is_connected in self.names.items():
            if is_connected:
                self._streams.part(name, self)
        self._on_end(self)


def _id_of(found: object) -> object:
    """Return the id of a request: a 64-bit integer, up to 36 letters and digits, or null."""
    if not isinstance(found, dict) or "id" not in found:
        raise _WrongError(2, "Invalid request: request ID must be an unsigned integer")
    value: object = found["id"]
    is_number = isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
    is_text = isinstance(value, str) and re.fullmatch(r"[\w\-]{1,36}", value, re.ASCII) is not None
    if value is not None and not is_number and not is_text:
        raise _WrongError(2, "Invalid request: request ID must be an unsigned integer")
    return value
