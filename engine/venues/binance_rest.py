"""Binance's public requests: what they weigh, how they are written, and what a refusal means.

Every request is charged to the budget before it leaves. All of them only read, so the caller may ask again;
nothing here does so by itself.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from engine.clock import Clock
from engine.errors import VenueError
from engine.signals import MarketKind
from engine.venues.budget import LONGEST_BAN_NS, NS_PER_MINUTE, Budget
from engine.venues.transport import HttpAnswer, HttpTransport, TransportError

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
# Waits where the venue names none. Of 418 the shortest ban that it documents; of 403, its firewall, nothing
# is documented: longer than the five minutes over which connections are counted.
WAIT_NS: Final = {429: 60 * NS_PER_S, 418: 120 * NS_PER_S, 403: 360 * NS_PER_S}
TOO_MANY_REQUESTS: Final = -1003
UNLISTED_CODES: Final = (-1121, -1100)  # a symbol that is none; or one in letters that are refused


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of request: `weights` are (largest limit, weight), ascending; (0, weight) takes no limit."""

    path: str
    weights: tuple[tuple[int, int], ...]
    opens_with: bytes  # the first byte of a good answer
    limits: tuple[int, ...] = ()  # where only these are taken

    def weight(self, limit: int = 0) -> int:
        """Return the weight of a request; ValueError if the venue does not take that limit."""
        most = self.weights[-1][0]
        if most == 0:
            return self.weights[0][1]
        if limit < 1 or limit > most or (self.limits and limit not in self.limits):
            taken = ", ".join(map(str, self.limits)) if self.limits else f"1 to {most}"
            raise ValueError(f"{self.path} expects a limit of {taken}, found {limit}.")
        return next(weight for largest, weight in self.weights if limit <= largest)


# Source, spot: binance-spot-api-docs, `rest-api.md` (2026-07-21). USD-M: "Market Data Endpoints" of the USD-M
# documentation (2026-09); its historicalTrades needs an API key, which is not sent here.
ENDPOINTS: Final[Mapping[MarketKind, Mapping[str, Endpoint]]] = {
    MarketKind.SPOT: {
        "ping": Endpoint("/api/v3/ping", ((0, 1),), b"{"),
        "time": Endpoint("/api/v3/time", ((0, 1),), b"{"),
        "exchange_info": Endpoint("/api/v3/exchangeInfo", ((0, 20),), b"{"),
        "depth": Endpoint("/api/v3/depth", ((100, 5), (500, 25), (1000, 50), (5000, 250)), b"{"),
        "historical_trades": Endpoint("/api/v3/historicalTrades", ((1000, 25),), b"["),
        "agg_trades": Endpoint("/api/v3/aggTrades", ((1000, 4),), b"["),
        "klines": Endpoint("/api/v3/klines", ((1000, 2),), b"["),
        "day_tickers": Endpoint("/api/v3/ticker/24hr", ((0, 80),), b"["),
    },
    MarketKind.USDM: {
        "ping": Endpoint("/fapi/v1/ping", ((0, 1),), b"{"),
        "time": Endpoint("/fapi/v1/time", ((0, 1),), b"{"),
        "exchange_info": Endpoint("/fapi/v1/exchangeInfo", ((0, 1),), b"{"),
        "depth": Endpoint(
            "/fapi/v1/depth",
            ((50, 2), (100, 5), (500, 10), (1000, 20)),
            b"{",
            limits=(5, 10, 20, 50, 100, 500, 1000),
        ),
        "historical_trades": Endpoint("/fapi/v1/historicalTrades", ((500, 20),), b"["),
        "agg_trades": Endpoint("/fapi/v1/aggTrades", ((1000, 20),), b"["),
        "klines": Endpoint("/fapi/v1/klines", ((99, 1), (499, 2), (1000, 5), (1500, 10)), b"["),
        "day_tickers": Endpoint("/fapi/v1/ticker/24hr", ((0, 40),), b"["),
        "open_interest": Endpoint("/fapi/v1/openInterest", ((0, 1),), b"{"),
        "premium_index": Endpoint("/fapi/v1/premiumIndex", ((0, 1),), b"{"),
    },
}

# REQUEST_WEIGHT of a minute, as exchangeInfo tells it under `rateLimits` (2026).
LIMIT_PER_MINUTE: Final[Mapping[MarketKind, int]] = {MarketKind.SPOT: 6000, MarketKind.USDM: 2400}


class RestError(VenueError):
    """A request without a good answer.

    Attributes
    ----------
    status : of HTTP; 0 = no answer came.
    code : of the venue's error body; 0 = it had none.
    retry_ns : nobody may ask before so many nanoseconds have passed; 0 = the venue said nothing of that.
    is_unknown : the venue may have done what was asked: 5xx, or no answer.
    """

    def __init__(
        self,
        sentence: str,
        *,
        status: int = 0,
        code: int = 0,
        retry_ns: int = 0,
        is_unknown: bool = False,
        terminal: bool = False,
    ) -> None:
        super().__init__(sentence, terminal=terminal, status=status, code=code, retry_ns=retry_ns)
        self.status = status
        self.code = code
        self.retry_ns = retry_ns
        self.is_unknown = is_unknown


class ServerTime(NamedTuple):
    """The venue's time, in whole milliseconds, and when we asked and had the answer by our clock."""

    server_ns: int
    sent_ns: int
    received_ns: int


class _Fault(msgspec.Struct):
    code: int
    msg: str = ""


class _Time(msgspec.Struct, rename="camel"):
    server_time: int


class BinanceRest:
    """Ask one market's public endpoints.

    Parameters
    ----------
    kind
        Spot or USD-M.
    http
        Of the market's origin.
    budget
        Charged before each request, and taught what the venue says of it.
    clock
        The corridor's.
    sleep
        How to wait for the budget, in seconds.
    reply_s
        An answer that takes longer is none.

    Raises
    ------
    ValueError
        There are no endpoints for that kind.

    Notes
    -----
    All methods wait for the budget, as long as a ban lasts; each may raise RestError, and ValueError for a
    limit that the venue does not take. Bodies come as they were sent: whole JSON of the expected shape.
    Times are asked in milliseconds everywhere.
    """

    def __init__(
        self,
        kind: MarketKind,
        http: HttpTransport,
        budget: Budget,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        reply_s: float = 5.0,
    ) -> None:
        if kind not in ENDPOINTS:
            raise ValueError(f"Expected spot or USD-M, found {kind.name}.")
        self.kind = kind
        self.budget = budget
        self._endpoints = ENDPOINTS[kind]
        self._http = http
        self._clock = clock
        self._sleep = sleep
        self._reply_s = reply_s

    async def depth(self, symbol: str, limit: int, *, is_urgent: bool = True) -> bytes:
        """Return a snapshot of the book, `limit` levels a side; urgent unless it is a mere refresh."""
        return await self._ask("depth", {"symbol": symbol}, limit=limit, is_urgent=is_urgent)

    async def agg_trades(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 1000,
    ) -> bytes:
        """Return aggregate trades, oldest first: from an id on, or of a time (both ends are included)."""
        given = {"symbol": symbol, "fromId": from_id, "startTime": start_ms, "endTime": end_ms}
        return await self._ask("agg_trades", given, limit=limit)

    async def historical_trades(self, symbol: str, from_id: int, limit: int = 1000) -> bytes:
        """Return single trades from an id on, oldest first; on USD-M at most 500, and not without a key."""
        return await self._ask("historical_trades", {"symbol": symbol, "fromId": from_id}, limit=limit)

    async def klines(self, symbol: str, interval: str, limit: int, *, end_ms: int | None = None) -> bytes:
        """Return the last klines that open at or before `end_ms`, oldest first; on spot at most 1000."""
        given = {"symbol": symbol, "interval": interval, "endTime": end_ms}
        return await self._ask("klines", given, limit=limit)

    async def exchange_info(self, symbols: Sequence[str] = ()) -> bytes:
        """Return rules and filters; of `symbols` alone where the venue can do that, which is on spot.

        Spot refuses the whole question if one of them is not listed: then it is asked for all of its own, so
        that the answer shows which.
        """
        if symbols and self.kind is MarketKind.SPOT:
            try:
                named = msgspec.json.encode(list(symbols)).decode()
                return await self._ask("exchange_info", {"symbols": named})
            except RestError as error:
                if error.code not in UNLISTED_CODES:
                    raise
        return await self._ask("exchange_info", {})

    async def day_tickers(self) -> bytes:
        """Return the figures of the last 24 hours of every symbol."""
        return await self._ask("day_tickers", {})

    async def open_interest(self, symbol: str) -> bytes:
        """Return the open interest of a USD-M contract."""
        return await self._ask("open_interest", {"symbol": symbol})

    async def premium_index(self, symbol: str) -> bytes:
        """Return mark price, index price and funding of a USD-M contract."""
        return await self._ask("premium_index", {"symbol": symbol})

    async def ping(self) -> None:
        """Ask whether the venue is there."""
        await self._ask("ping", {})

    async def server_time(self) -> ServerTime:
        """Return the venue's time with what a clock needs to use it."""
        answer = await self._answer("time", {}, is_urgent=True)
        try:
            server_ns = msgspec.json.decode(answer.body, type=_Time).server_time * NS_PER_MS
        except msgspec.MsgspecError as error:
            raise self._unreadable(answer, self._endpoints["time"]) from error
        return ServerTime(server_ns, answer.sent_ns, answer.received_ns)

    async def _ask(
        self,
        name: str,
        given: Mapping[str, str | int | None],
        *,
        limit: int | None = None,
        is_urgent: bool = False,
    ) -> bytes:
        return (await self._answer(name, given, limit=limit, is_urgent=is_urgent)).body

    async def _answer(
        self,
        name: str,
        given: Mapping[str, str | int | None],
        *,
        limit: int | None = None,
        is_urgent: bool = False,
    ) -> HttpAnswer:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise ValueError(f"{self.kind.name} has no {name.replace('_', ' ')}.")
        query = encode({**given, "limit": limit})
        weight = endpoint.weight(limit or 0)
        while wait_ns := self.budget.take(weight, self._clock.now_ns(), is_urgent=is_urgent):
            await self._sleep(wait_ns / NS_PER_S)
        try:
            answer = await self._http.get(endpoint.path, query, timeout_s=self._reply_s)
        except TransportError as error:
            raise RestError(f"{endpoint.path}: no answer: {error}", is_unknown=True) from error
        self._learn(answer)
        if answer.status != 200:
            raise self._refused(answer, endpoint)
        if not _is_whole(answer.body, endpoint.opens_with):
            raise self._unreadable(answer, endpoint)
        return answer

    def _learn(self, answer: HttpAnswer) -> None:
        used = answer.headers.get("x-mbx-used-weight-1m", "")
        # An answer that spans the turn of a minute may speak of either: it is of the earlier one for us.
        is_of_one = answer.sent_ns // NS_PER_MINUTE == answer.received_ns // NS_PER_MINUTE
        if re.fullmatch(r"[0-9]{1,12}", used):
            self.budget.learn(int(used), answer.received_ns if is_of_one else answer.sent_ns)

    def _refused(self, answer: HttpAnswer, endpoint: Endpoint) -> RestError:
        status, fault = answer.status, _fault_of(answer.body)
        code = 0 if fault is None else fault.code
        said = _shown(answer.body) if fault is None else f"{code} {fault.msg}"
        retry_ns = 0
        if status in WAIT_NS or code == TOO_MANY_REQUESTS:
            retry_ns = _wait_ns(answer, "" if fault is None else fault.msg)
            self.budget.ban(answer.received_ns + retry_ns)
        is_unknown = status >= 500 or status == 408
        is_final = 400 <= status < 500 and not is_unknown and not retry_ns
        return RestError(
            f"{endpoint.path} expected data, found the status {status}: {said}"
            + (f"; nobody asks for {retry_ns // NS_PER_S} s." if retry_ns else "."),
            status=status,
            code=code,
            retry_ns=retry_ns,
            is_unknown=is_unknown,
            terminal=is_final,
        )

    def _unreadable(self, answer: HttpAnswer, endpoint: Endpoint) -> RestError:
        fault = _fault_of(answer.body)
        if fault is not None and fault.code < 0:
            return self._refused(answer, endpoint)
        wanted, found = "an object" if endpoint.opens_with == b"{" else "an array", _shown(answer.body)
        return RestError(
            f"{endpoint.path} expected {wanted} in JSON, found {len(answer.body)} bytes: {found}.",
            status=answer.status,
        )


def encode(given: Mapping[str, str | int | None]) -> str:
    """Return parameters as a query in their order, those that are None left out, all else percent-encoded."""
    return "&".join(
        f"{quote(name, safe='')}={quote(str(value), safe='')}"
        for name, value in given.items()
        if value is not None
    )


def _is_whole(body: bytes, opens_with: bytes) -> bool:
    if body.lstrip()[:1] != opens_with:
        return False
    try:
        if not body.isascii():
            body.decode()  # the next line steps over strings without a look into them
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    # Errors come with a status of their own; one that says 200 is an error all the same.
    return len(body) > 1024 or _fault_of(body) is None


def _fault_of(body: bytes) -> _Fault | None:
    try:
        return msgspec.json.decode(body, type=_Fault)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _wait_ns(answer: HttpAnswer, message: str) -> int:
    """Return how long the venue wants us away: the longest of what it says, within what it documents."""
    found = []
    seconds = answer.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", seconds):
        found.append(max(1, int(seconds)) * NS_PER_S)
    if until := re.search(r"banned until ([0-9]{13})\b", message):
        found.append(int(until[1]) * NS_PER_MS - answer.received_ns)
    wait_ns = max(found, default=WAIT_NS.get(answer.status, WAIT_NS[429]))
    return min(max(wait_ns, NS_PER_S), LONGEST_BAN_NS)


def _shown(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return repr(text if len(text) <= 120 else text[:120] + "...")
