"""Where Binance's public streams are, what they are called, and the control messages on their sockets.

USD-M serves its streams in categories, each on sockets of its own. A subscription on the socket of another
category is acknowledged and then stays silent for ever, so the category of a stream is checked here, before
anything is sent.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from engine.errors import InputError
from engine.signals import MarketKind

Environment = Literal["live", "testnet", "demo"]

SPOT: Final = "spot"
PUBLIC: Final = "public"  # what the matching engine says at every change
MARKET: Final = "market"  # what is computed from it
PRIVATE: Final = "private"  # the account, by listen key


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where one market of the venue is; no address ends with a slash."""

    rest: str
    streams: Mapping[str, str]  # category -> base, to which `/stream` or `/ws` is added
    private: str = ""  # the account's category where streams have categories


# (kind, environment) -> origin of requests, origin of streams.
# Source: binance-spot-api-docs, `web-socket-streams.md`, `testnet/general-info.md`,
# `demo-mode/general-info.md` (2026-07-21); USD-M "Websocket Market Streams" and the connectors of the venue
# (2026-09). For practice on USD-M the requests have one origin and the streams two, whose difference is
# nowhere explained: the one of the venue's connectors is "testnet" here, the other "demo".
_ORIGINS: Final[Mapping[tuple[MarketKind, str], tuple[str, str]]] = {
    (MarketKind.SPOT, "live"): ("https://api.binance.com", "wss://stream.binance.com:9443"),
    (MarketKind.SPOT, "testnet"): ("https://testnet.binance.vision", "wss://stream.testnet.binance.vision"),
    (MarketKind.SPOT, "demo"): ("https://demo-api.binance.com", "wss://demo-stream.binance.com"),
    (MarketKind.USDM, "live"): ("https://fapi.binance.com", "wss://fstream.binance.com"),
    (MarketKind.USDM, "testnet"): ("https://demo-fapi.binance.com", "wss://fstream.binancefuture.com"),
    (MarketKind.USDM, "demo"): ("https://demo-fapi.binance.com", "wss://demo-fstream.binance.com"),
}


def addresses(kind: MarketKind, *, origin: str | None = None, environment: Environment = "live") -> Addresses:
    """Return where a market is.

    Parameters
    ----------
    kind
        Spot or USD-M.
    origin
        Of a simulated venue that serves the paths of all hosts, as ``http://127.0.0.1:8001``; its streams are
        at the same place. It takes precedence over `environment`.
    environment
        Which of the venue's own hosts.

    Raises
    ------
    InputError
        There are no addresses for that kind or environment, or the origin is none.
    """
    if origin:
        rest, streams = origin.rstrip("/"), _stream_origin(origin)
    else:
        found = _ORIGINS.get((kind, environment))
        if found is None:
            raise InputError(
                f"Expected spot or USD-M, live, testnet or demo, found {kind.name}, {environment}.",
                kind=kind.name,
                environment=environment,
            )
        rest, streams = found
    if kind is MarketKind.SPOT:
        return Addresses(rest=rest, streams={SPOT: streams})
    if kind is MarketKind.USDM:
        by_category = {name: f"{streams}/{name}" for name in (PUBLIC, MARKET)}
        return Addresses(rest=rest, streams=by_category, private=f"{streams}/{PRIVATE}")
    raise InputError(f"Expected spot or USD-M, found {kind.name}.", kind=kind.name)


def _stream_origin(origin: str) -> str:
    parts = urlsplit(origin)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InputError(
            f"Expected an origin such as http://127.0.0.1:8001, found {origin!r}.", origin=origin
        )
    return f"{scheme}://{parts.netloc}"


def stream_names(symbol: str, kind: MarketKind, *, has_trade_stream: bool = False) -> dict[str, str]:
    """Return the streams of one instrument by what they are for.

    Parameters
    ----------
    symbol
        As the venue writes it.
    kind
        Spot or USD-M; spot has neither "mark" nor "force".
    has_trade_stream
        On USD-M take `@trade`, which is real-time and in no document of the venue, in place of `@aggTrade`,
        which is documented and comes every 100 ms. Spot has `@trade` always: it is documented there.

    Returns
    -------
    dict
        "depth", "trades", "ticker" (best bid and ask), "kline" (1 minute), "day" (24 hours); on USD-M also
        "mark" and "force" (liquidations: the latest of each second only).
    """
    _require_known(kind)
    name = symbol.lower()
    is_single = kind is MarketKind.SPOT or has_trade_stream
    names = {
        "depth": f"{name}@depth@100ms",
        "trades": f"{name}@trade" if is_single else f"{name}@aggTrade",
        "ticker": f"{name}@bookTicker",
        "kline": f"{name}@kline_1m",
        "day": f"{name}@ticker",
    }
    if kind is MarketKind.USDM:
        names |= {"mark": f"{name}@markPrice@1s", "force": f"{name}@forceOrder"}
    return names


# A stream's name begins with its symbol in lower case, or has none and begins with `!`.
_OF_SYMBOL: Final = r"[^@!/?&\s]+@"
_BAR: Final = r"(1s|[1-9]\d?[mhdw]|1M)"
_CATEGORIES: Final[Mapping[MarketKind, tuple[tuple[str, re.Pattern[str]], ...]]] = {
    # Source: binance-spot-api-docs, `web-socket-streams.md` (2026-07-21).
    MarketKind.SPOT: (
        (
            SPOT,
            re.compile(
                rf"{_OF_SYMBOL}(depth(5|10|20)?(@100ms|@1000ms)?|trade|aggTrade|bookTicker|avgPrice|miniTicker|"
                rf"referencePrice|ticker(_(1h|4h|1d))?|kline_{_BAR}(@\+08:00)?)"
                r"|!(miniTicker|ticker|ticker_(1h|4h|1d))@arr"
            ),
        ),
    ),
    # Source: USD-M "Websocket Market Streams", change log 2026-04; `@trade` is in no document, seen on the
    # public sockets by others in 2026-07.
    MarketKind.USDM: (
        (
            PUBLIC,
            re.compile(
                rf"{_OF_SYMBOL}(depth(5|10|20)?(@(0|100|250|500)ms)?|rpiDepth@500ms|bookTicker|trade)"
                r"|!bookTicker"
            ),
        ),
        (
            MARKET,
            re.compile(
                rf"{_OF_SYMBOL}(aggTrade|markPrice(@1s)?|kline_{_BAR}|continuousKline_{_BAR}|miniTicker|ticker|"
                r"forceOrder|compositeIndex|assetIndex|contractInfo)"
                r"|!(markPrice@arr(@1s)?|miniTicker@arr|ticker@arr|forceOrder@arr|contractInfo|assetIndex@arr)"
            ),
        ),
    ),
}


def category(stream: str, kind: MarketKind) -> str:
    """Return the category of sockets that serves a stream.

    Raises
    ------
    ValueError
        None does: the venue would acknowledge it and never send anything.
    """
    _require_known(kind)
    for name, pattern in _CATEGORIES[kind]:
        if pattern.fullmatch(stream):
            return name
    known = ", ".join(name for name, _ in _CATEGORIES[kind])
    raise ValueError(f"Expected a stream that {kind.name} serves as {known}, found {stream!r}.")


def by_category(streams: Iterable[str], kind: MarketKind) -> dict[str, tuple[str, ...]]:
    """Sort streams by the category of sockets that serves them, in their order; ValueError as `category`."""
    found: dict[str, list[str]] = {}
    for stream in streams:
        found.setdefault(category(stream, kind), []).append(stream)
    return {name: tuple(names) for name, names in found.items()}


def stream_url(places: Addresses, kind: MarketKind, wanted: str, streams: Iterable[str] = ()) -> str:
    """Return the URL of a socket of combined streams.

    Parameters
    ----------
    places
        Of `addresses`.
    kind
        The market they are of.
    wanted
        The category of the socket.
    streams
        Those that speak from the start, without a subscription.

    Raises
    ------
    ValueError
        There is no such category, or one of the streams is of another.

    Notes
    -----
    Spot is asked for times in microseconds; USD-M has no such choice. `native.wire` tells the two by size.
    """
    base = places.streams.get(wanted)
    if base is None:
        raise ValueError(f"Expected one of the categories {', '.join(places.streams)}, found {wanted!r}.")
    names = tuple(streams)
    for stream in names:
        found = category(stream, kind)
        if found != wanted:
            raise ValueError(f"Expected streams of the category {wanted}, found {stream} of {found}.")
    query = [f"streams={'/'.join(quote(name, safe='@!') for name in names)}"] if names else []
    if kind is MarketKind.SPOT:
        query.append("timeUnit=MICROSECOND")
    return f"{base}/stream" + (f"?{'&'.join(query)}" if query else "")


def _require_known(kind: MarketKind) -> None:
    if kind not in _CATEGORIES:
        raise ValueError(f"Expected spot or USD-M, found {kind.name}.")


class _Request(msgspec.Struct, frozen=True):
    method: str
    params: tuple[str, ...]
    id: int


def subscribe_text(request_id: int, streams: Iterable[str]) -> bytes:
    """Return the control message that asks for streams."""
    return msgspec.json.encode(_Request("SUBSCRIBE", tuple(streams), request_id))


def unsubscribe_text(request_id: int, streams: Iterable[str]) -> bytes:
    """Return the control message that asks for streams no longer."""
    return msgspec.json.encode(_Request("UNSUBSCRIBE", tuple(streams), request_id))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the venue answered to a control message; that it accepted one does not prove that data follows."""

    id: int | None  # None: it answers no request that it could read
    is_ok: bool
    code: int = 0
    message: str = ""


class _Fault(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Answer(msgspec.Struct):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Fault | msgspec.UnsetType | None = msgspec.UNSET
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    code: int | msgspec.UnsetType = msgspec.UNSET
    msg: str = ""
    stream: str | msgspec.UnsetType = msgspec.UNSET
    e: str | msgspec.UnsetType = msgspec.UNSET


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def reply_of(payload: bytes) -> Reply | None:
    """Read a reply to a control message; None for what is none: an event, a notice, or no JSON at all.

    Source
    ------
    binance-spot-api-docs, `web-socket-streams.md`, "Live Subscribing/Unsubscribing to streams": a result with
    the id of the request, or code and message, at the top or under "error".
    """
    try:
        found = _ANSWER.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if found.stream is not msgspec.UNSET or found.e is not msgspec.UNSET:
        return None
    number = found.id if isinstance(found.id, int) else None
    if isinstance(found.error, _Fault):
        return Reply(id=number, is_ok=False, code=found.error.code, message=found.error.msg)
    if found.code is not msgspec.UNSET:
        return Reply(id=number, is_ok=False, code=found.code, message=found.msg)
    if found.result is not msgspec.UNSET and found.id is not msgspec.UNSET:
        return Reply(id=number, is_ok=True)
    return None
