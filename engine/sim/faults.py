"""Faults of the simulated venue, as a script says: what the house asks before it speaks, answers or opens."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Final, Protocol, TypeVar, runtime_checkable
from urllib.parse import parse_qs

from engine.sim.answers import Answer, error_answer, json_answer
from engine.sim.faultscript import (
    REQUEST_KINDS,
    STREAM_KINDS,
    SYMBOL_KINDS,
    Fault,
    Kind,
    in_order,
)
from engine.sim.house import House
from engine.sim.session import Session
from engine.sim.told import Told
from engine.sim.venuemarket import MarketName, Row

NS: Final = 1_000_000_000
NEVER_NS: Final = 1 << 62
MAX_HELD: Final = 4096
MAX_DEPTH: Final[dict[MarketName, int]] = {"spot": 5000, "usdm": 1000}
DEPTH_PATHS: Final[dict[str, MarketName]] = {"/api/v3/depth": "spot", "/fapi/v1/depth": "usdm"}
PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b"<body><h1>Please wait</h1></body></html>"
)
UNKNOWN_FIELDS: Final = b',"zz":{"U":1,"u":[2,{"pu":null}],"b":[["1","2"]],"\\"a":"]}"},"y":-1.5e-3'
Key = tuple[int, str]
T = TypeVar("T")


@runtime_checkable
class Changeable(Protocol):
    """A market that a script can change; one from a recording is as it was recorded."""

    def set_status(self, status: str) -> None: ...

    def set_filters(
        self, *, tick: str | None = None, step: str | None = None, min_notional: str | None = None
    ) -> None: ...

    def set_funding_interval(self, hours: int) -> None: ...


class Altered(Told):
    """A message whose bytes are not those of the market."""

    __slots__ = ("_change", "_told")

    def __init__(self, told: Told, change: Callable[[bytes], bytes]) -> None:
        super().__init__(told.stream, told.venue_ns, str)
        self._told = told
        self._change = change

    def encode(self, is_micro: bool = False) -> bytes:
        """Return the changed bytes."""
        return self._change(self._told.encode(is_micro))


@dataclass(slots=True, eq=False)
class _Running:
    fault: Fault
    until_ns: int
    left: int  # times it may still happen
    depth: dict[tuple[MarketName, str], Row]  # of STALE

    def take(self, dice: random.Random) -> bool:
        """Decide whether it happens now, and count that."""
        if not self.left or (self.fault.share < 1.0 and dice.random() >= self.fault.share):
            return False
        self.left -= 1
        return True


class Faults:
    """A script of faults in force.

    Parameters
    ----------
    script : faults, in any order.
    start_ns : venue time that the script's seconds count from.
    seed : of shares and of what is damaged.
    on_clock : puts our clock: by how many nanoseconds it is ahead from now on, and how many ppm it drifts.
    on_stall : lets our side read nothing for so many nanoseconds.

    Attributes
    ----------
    happened : how often each kind really happened.

    Notes
    -----
    The house asks; nothing here happens by itself but at `advance`. Of several faults on one message each
    works on what the one before left. Cost: proportional to the faults in force.
    """

    def __init__(
        self,
        script: Sequence[Fault],
        *,
        start_ns: int,
        seed: int = 0,
        on_clock: Callable[[int, int], None] | None = None,
        on_stall: Callable[[int], None] | None = None,
    ) -> None:
        self.happened: Counter[Kind] = Counter()
        self._script = in_order(script)
        self._next = 0
        self._start_ns = start_ns
        self._dice = random.Random(f"faults {seed}")
        self._on_clock = on_clock
        self._on_stall = on_stall
        self._running: list[_Running] = []
        self._later: list[tuple[int, int, Callable[[int, House], None]]] = []
        self._n_later = 0
        self._held: dict[Key, Told] = {}
        self._released_ns: dict[Key, int] = {}

    @property
    def next_ns(self) -> int:
        """When something of the script is due."""
        due_ns = self._later[0][0] if self._later else NEVER_NS
        if self._next < len(self._script):
            due_ns = min(due_ns, self._start_ns + round(self._script[self._next].at * NS))
        return due_ns

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is still to come; what counts by messages may still be in force."""
        return self._next == len(self._script) and not self._later

    def advance(self, now_ns: int, house: House) -> None:
        """Let everything begin and end that is due."""
        while self.next_ns <= now_ns:
            if self._later and self._later[0][0] <= self.next_ns:
                at_ns, _, action = heapq.heappop(self._later)
                action(max(at_ns, now_ns), house)
            else:
                fault = self._script[self._next]
                self._next += 1
                self._begin(fault, now_ns, house)
        self._running = [one for one in self._running if one.left and one.until_ns > now_ns]

    # What the house asks

    def on_told(self, session_id: int, told: Told, now_ns: int) -> list[tuple[int, Told]]:
        """Return what a session is sent instead of a message: delays in ns and messages."""
        key = (session_id, told.stream)
        out: list[Told] = [told]
        held = self._held.pop(key, None)
        delay_ns = 0
        for one in self._running:
            fault = one.fault
            if (
                fault.kind not in STREAM_KINDS
                or one.until_ns <= now_ns
                or not fnmatchcase(told.stream, fault.stream)
                or (fault.kind is Kind.REORDER and held is not None)
                or not one.take(self._dice)
            ):
                continue
            self.happened[fault.kind] += 1
            if fault.kind is Kind.DELAY:
                delay_ns = max(delay_ns, round(fault.delay * NS))
            elif fault.kind is Kind.REORDER:
                _keep(self._held, key, told)
                out = []
            else:
                out = [changed for message in out for changed in self._alter(fault.kind, message)]
        if held is not None:
            out.append(held)
        return [(wait_ns, message) for message, wait_ns in self._release(key, out, now_ns, delay_ns)]

    def on_subscribe(self, _session_id: int, names: Sequence[str], now_ns: int) -> tuple[int, str] | None:
        """Return code and message of an error instead of the subscription, or None."""
        for one in self._of((Kind.REFUSE_SUBSCRIPTION,), now_ns):
            if any(fnmatchcase(name, one.fault.stream) for name in names) and one.take(self._dice):
                self.happened[Kind.REFUSE_SUBSCRIPTION] += 1
                return one.fault.code or 2, "Invalid request: refused by a fault script"
        return None

    def on_request(self, path: str, query: str, now_ns: int) -> Answer | int | None:
        """Return an answer instead of the venue's, a delay of it in ns, or None."""
        market: MarketName = "usdm" if path.startswith(("/fapi", "/futures")) else "spot"
        delay_ns = 0
        for one in self._of(REQUEST_KINDS, now_ns):
            fault = one.fault
            if fault.market not in ("", market) or not fnmatchcase(path, fault.path):
                continue
            stale = self._stale(one, path, query) if fault.kind is Kind.STALE else None
            if (fault.kind is Kind.STALE and stale is None) or not one.take(self._dice):
                continue
            self.happened[fault.kind] += 1
            if fault.kind is Kind.SLOW:
                delay_ns = max(delay_ns, round(fault.delay * NS))
            else:
                return stale or _refusal(fault, now_ns)
        return delay_ns or None

    def on_open(self, path: str, now_ns: int) -> Answer | None:
        """Return a refusal of a handshake, or None."""
        for one in self._of((Kind.REFUSE_HANDSHAKE,), now_ns):
            if fnmatchcase(path, one.fault.path) and one.take(self._dice):
                self.happened[Kind.REFUSE_HANDSHAKE] += 1
                return _refusal(one.fault, now_ns)
        return None

    # What happens by itself

    def _begin(self, fault: Fault, now_ns: int, house: House) -> None:
        kind = fault.kind
        lasts_ns = round(fault.lasts * NS)
        if kind in STREAM_KINDS or kind in REQUEST_KINDS or kind in _ASKED:
            times = fault.count or (NEVER_NS if fault.lasts else 1)
            until_ns = now_ns + lasts_ns if lasts_ns else NEVER_NS
            depth = self._depth_now(fault, house) if kind is Kind.STALE else {}
            self._running.append(_Running(fault, until_ns, times, depth))
            return
        if kind in SYMBOL_KINDS:
            self._change_symbols(fault, now_ns, house)
        elif kind is Kind.CLOCK and self._on_clock is not None:
            self._on_clock(round(fault.ahead * NS), fault.ppm)
        elif kind is Kind.STALL and self._on_stall is not None:
            self._on_stall(lasts_ns)
        elif kind is Kind.VENUE_CLOCK:
            house.clock_offset_ns = round(fault.ahead * NS)
        elif kind in (Kind.CUT, Kind.CLOSE, Kind.SHUTDOWN):
            sessions = list(_sessions(fault, house))
            if not sessions:
                return
            for session in sessions:
                self._end(fault, session, now_ns)
        else:
            return
        self.happened[kind] += 1

    def _end(self, fault: Fault, session: Session, now_ns: int) -> None:
        if fault.kind is Kind.CUT:
            session.cut(now_ns)
        elif fault.kind is Kind.CLOSE:
            session.close(now_ns, fault.code or 1001, fault.value)
        else:
            session.announce_shutdown(now_ns)
            self._do_later(
                now_ns + round(fault.delay * NS), lambda at_ns, _house: session.close(at_ns, 1001, "")
            )

    def _change_symbols(self, fault: Fault, now_ns: int, house: House) -> None:
        for market in house.markets:
            if not isinstance(market, Changeable) or not _is_meant(fault, market.market, market.symbol):
                continue
            if fault.kind is Kind.STATUS:
                market.set_status(fault.value)
                if fault.lasts:
                    self._do_later(now_ns + round(fault.lasts * NS), partial(_reopen, market))
            elif fault.kind is Kind.FILTERS:
                market.set_filters(
                    tick=fault.tick or None, step=fault.step or None, min_notional=fault.min_notional or None
                )
            elif fault.kind is Kind.FUNDING and market.market == "usdm":
                market.set_funding_interval(int(fault.value))
            elif fault.kind is Kind.DELIST:
                house.delist(market.market, market.symbol)

    def _do_later(self, at_ns: int, action: Callable[[int, House], None]) -> None:
        self._n_later += 1
        heapq.heappush(self._later, (at_ns, self._n_later, action))

    # Messages

    def _alter(self, kind: Kind, message: Told) -> tuple[Told, ...]:
        dice = self._dice
        if kind in (Kind.DROP, Kind.SILENCE):
            return ()
        if kind is Kind.DUPLICATE:
            return message, message
        if kind is Kind.TRUNCATE:
            share = dice.random()
            return (Altered(message, lambda data: data[: int(share * len(data))]),)
        if kind is Kind.DAMAGE:
            # A byte that JSON cannot have: what passes for another number no reader can tell.
            share, byte = dice.random(), bytes((dice.choice((0, 1, 7, 10, 31, 255)),))
            return (Altered(message, lambda data: _replaced(data, int(share * len(data)), byte)),)
        if kind is Kind.UNKNOWN_FIELDS:
            is_first = dice.random() < 0.5
            return (Altered(message, lambda data: _widened(data, is_first)),)
        if kind is Kind.UNKNOWN_EVENT:
            event = Altered(message, lambda _data: b'{"e":"bookPulse","E":1,"s":"X","b":[["1","1"]],"u":1}')
            return (message, event) if dice.random() < 0.5 else (event, message)
        return message, Altered(message, _of_another_universe)

    def _release(
        self, key: Key, messages: list[Told], now_ns: int, delay_ns: int
    ) -> Iterator[tuple[Told, int]]:
        # What is late stays in order: nothing of the stream overtakes what is under way already.
        released_ns = self._released_ns.get(key, -1)
        if delay_ns or released_ns >= now_ns:
            at_ns = max(now_ns + delay_ns, released_ns, now_ns + 1)
            _keep(self._released_ns, key, at_ns)
            delay_ns = at_ns - now_ns
        for message in messages:
            yield message, delay_ns

    # Requests

    def _of(self, kinds: frozenset[Kind] | tuple[Kind, ...], now_ns: int) -> list[_Running]:
        return [
            one for one in self._running if one.fault.kind in kinds and one.left and one.until_ns > now_ns
        ]

    def _depth_now(self, fault: Fault, house: House) -> dict[tuple[MarketName, str], Row]:
        return {
            (market.market, market.symbol): market.depth(MAX_DEPTH[market.market])
            for market in house.markets
            if _is_meant(fault, market.market, market.symbol)
        }

    def _stale(self, one: _Running, path: str, query: str) -> Answer | None:
        market = DEPTH_PATHS.get(path)
        asked = parse_qs(query)
        row = None if market is None else one.depth.get((market, asked.get("symbol", [""])[0]))
        if row is None:
            return None
        limit = int(asked.get("limit", ["100"])[0])
        sides = {side: levels[:limit] for side in ("bids", "asks") if isinstance(levels := row[side], list)}
        return json_answer(row | sides)


_ASKED: Final = frozenset({Kind.REFUSE_HANDSHAKE, Kind.REFUSE_SUBSCRIPTION})


def _keep(table: dict[Key, T], key: Key, value: T) -> None:
    if key not in table and len(table) >= MAX_HELD:
        del table[next(iter(table))]
    table[key] = value


def _is_meant(fault: Fault, market: str, symbol: str) -> bool:
    return fault.market in ("", market) and fault.symbol in ("", symbol)


def _sessions(fault: Fault, house: House) -> Iterator[Session]:
    for session in list(house.sessions.values()):
        if fault.market not in ("", session.market):
            continue
        if fault.stream == "*" or any(fnmatchcase(name, fault.stream) for name in session.names):
            yield session


def _reopen(market: Changeable, _at_ns: int, _house: House) -> None:
    market.set_status("TRADING")


def _refusal(fault: Fault, now_ns: int) -> Answer:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
    if fault.kind is Kind.HTML:
        return Answer(fault.status or 200, {"Content-Type": "text/html", **headers}, PAGE)
    code, text = fault.code, fault.value
    if fault.status in (418, 429) and not code:
        code = -1003
        until_ms = now_ns // 1_000_000 + 1000 * fault.retry_after
        text = (
            f"Way too many requests; IP banned until {until_ms}. Please use the websocket for live updates."
            if fault.status == 418
            else "Too many requests; current limit of IP is 6000 requests per minute."
        )
    if not code:
        return Answer(fault.status, headers)
    answer = error_answer(fault.status, code, text)
    return Answer(answer.status, {**answer.headers, **headers}, answer.body)


def _replaced(data: bytes, place: int, byte: bytes) -> bytes:
    return data[:place] + byte + data[place + 1 :]


def _widened(data: bytes, is_first: bool) -> bytes:
    if not data.startswith(b"{") or len(data) < 3:
        return data
    if is_first:
        return b"{" + UNKNOWN_FIELDS[1:] + b"," + data[1:]
    return data[:-1] + UNKNOWN_FIELDS + b"}"


def _of_another_universe(data: bytes) -> bytes:
    at = data.find(b'"s":"')
    if at < 0:
        return b'{"e":"bookPulse","s":"BTCUSD_PERP","st":2}'
    end = data.find(b'"', at + 5)
    copy = data[: at + 5] + b"BTCUSD_PERP" + data[end:]
    if b'"st":1' in copy:
        return copy.replace(b'"st":1', b'"st":2')
    return copy[:-1] + b',"st":2}'
