"""The venue's REST endpoints of public market data: what each is given, costs and answers."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from engine.sim.restrules import (
    LIMITS,
    NUMBER,
    Endpoint,
    Parameters,
    RefusedError,
    Venue,
    by_limit,
    by_symbols,
    each_symbol,
    fixed,
)
from engine.sim.venuemarket import Row, VenueMarket

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
SYMBOL: Final = r"^[A-Z0-9-_.]{1,20}$"
SYMBOLS: Final = r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$'
SPOT_INTERVALS: Final = frozenset(
    ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
)
USDM_INTERVALS: Final = SPOT_INTERVALS - {"1s"}
WINDOW: Final = re.compile(r"([1-9]\d?)([mhd])")


def _number(parameters: Parameters, name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if re.fullmatch(NUMBER[1:-1], text, re.ASCII) is None:
        raise RefusedError(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '{NUMBER}'."
        )
    return int(text)


def _limit(parameters: Parameters, usual: int, most: int, *, is_cut: bool) -> int:
    wanted = _number(parameters, "limit")
    if wanted is None:
        return usual
    if wanted == 0 or (wanted > most and not is_cut):
        raise RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(wanted, most)


def _known(venue: Venue, symbol: str) -> VenueMarket:
    if re.fullmatch(SYMBOL[1:-1], symbol, re.ASCII) is None:
        raise RefusedError(
            -1100, f"Illegal characters found in parameter 'symbol'; legal range is '{SYMBOL}'."
        )
    market = venue.symbols.get(symbol)
    if market is None:
        raise RefusedError(-1121, "Invalid symbol.")
    return market


def _one(venue: Venue, parameters: Parameters) -> VenueMarket:
    return _known(venue, parameters["symbol"])


def _named(venue: Venue, parameters: Parameters) -> tuple[list[VenueMarket], bool]:
    """Return the symbols that a request is about, and whether it named a single one."""
    if "symbol" in parameters:
        if "symbols" in parameters:
            raise RefusedError(-1128, "Combination of optional parameters invalid.")
        return [_known(venue, parameters["symbol"])], True
    if "symbols" not in parameters:
        return list(venue.symbols.values()), False
    text = parameters["symbols"]
    if re.fullmatch(SYMBOLS[1:-1], text, re.ASCII) is None:
        raise RefusedError(
            -1100, f"Illegal characters found in parameter 'symbols'; legal range is '{SYMBOLS}'."
        )
    names = msgspec.json.decode(text, type=list[str])
    if len(set(names)) != len(names):
        raise RefusedError(-1151, "Symbol is present multiple times in the list.")
    return [_known(venue, name) for name in names], False


def _each(ask: Callable[[VenueMarket], object]) -> Callable[[Venue, Parameters], object]:
    def answer(venue: Venue, parameters: Parameters) -> object:
        markets, is_single = _named(venue, parameters)
        return ask(markets[0]) if is_single else [ask(market) for market in markets]

    return answer


def _nothing(_venue: Venue, _parameters: Parameters) -> object:
    return {}


def _time(venue: Venue, _parameters: Parameters) -> object:
    return {"serverTime": venue.now_ms}


def _exchange_info(venue: Venue, parameters: Parameters) -> object:
    markets, _ = _named(venue, parameters)
    infos = [market.info() for market in markets]
    if "permissions" in parameters:
        text = parameters["permissions"]
        wanted = set(re.findall(r"\w+", text))
        infos = [info for info in infos if wanted & _permissions(info)]
    if "symbolStatus" in parameters:
        infos = [info for info in infos if info["status"] == parameters["symbolStatus"]]
    limit = LIMITS[venue.market]
    rate_limits: list[Row] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}
    ]
    if venue.is_spot:
        rate_limits += [
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
        ]
    else:
        rate_limits += [
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        ]
    head: Row = {"timezone": "UTC", "serverTime": venue.now_ms}
    if not venue.is_spot:
        quotes = sorted({str(info["quoteAsset"]) for info in infos})
        head["futuresType"] = "U_MARGINED"
        head["assets"] = [
            {"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"} for quote in quotes
        ]
    return head | {"rateLimits": rate_limits, "exchangeFilters": [], "symbols": infos}


def _permissions(info: Row) -> set[str]:
    sets = info.get("permissionSets")
    return {str(name) for each in sets for name in each} if isinstance(sets, list) else set()


def _depth(venue: Venue, parameters: Parameters) -> object:
    market = _one(venue, parameters)
    if venue.is_spot:
        return market.depth(_limit(parameters, 100, 5_000, is_cut=True))
    limit = _limit(parameters, 500, 1_000, is_cut=False)
    if limit not in (5, 10, 20, 50, 100, 500, 1_000):
        raise RefusedError(-4021, f"{limit} is not valid depth limit")
    return market.depth(limit)


def _trades(venue: Venue, parameters: Parameters) -> object:
    return _one(venue, parameters).trades(_limit(parameters, 500, 1_000, is_cut=venue.is_spot))


def _historical_trades(venue: Venue, parameters: Parameters) -> object:
    most = 1_000 if venue.is_spot else 500
    limit = _limit(parameters, min(500, most), most, is_cut=venue.is_spot)
    return _one(venue, parameters).historical_trades(_number(parameters, "fromId"), limit)


def _agg_trades(venue: Venue, parameters: Parameters) -> object:
    market = _one(venue, parameters)
    from_id, start_ms, end_ms = (_number(parameters, name) for name in ("fromId", "startTime", "endTime"))
    if from_id is not None and (start_ms is not None or end_ms is not None):
        raise RefusedError(-1128, "Combination of optional parameters invalid.")
    if not venue.is_spot and start_ms is not None and end_ms is not None and end_ms - start_ms > HOUR_MS:
        raise RefusedError(-1127, "More than 1 hours between startTime and endTime.")
    return market.agg_trades(from_id, start_ms, end_ms, _limit(parameters, 500, 1_000, is_cut=venue.is_spot))


def _klines(venue: Venue, parameters: Parameters) -> object:
    market = _one(venue, parameters)
    if parameters["interval"] not in (SPOT_INTERVALS if venue.is_spot else USDM_INTERVALS):
        raise RefusedError(-1120, "Invalid interval.")
    most = 1_000 if venue.is_spot else 1_500
    limit = _limit(parameters, 500, most, is_cut=venue.is_spot)
    start_ms, end_ms = _number(parameters, "startTime"), _number(parameters, "endTime")
    return market.klines(parameters["interval"], start_ms, end_ms, limit)


def _continuous_klines(venue: Venue, parameters: Parameters) -> object:
    if parameters["contractType"] != "PERPETUAL":
        raise RefusedError(-1130, "Data sent for parameter 'contractType' is not valid.")
    others = {name: value for name, value in parameters.items() if name not in ("pair", "contractType")}
    return _klines(venue, {**others, "symbol": parameters["pair"]})


def _average_price(venue: Venue, parameters: Parameters) -> object:
    market = _one(venue, parameters)
    minutes = market.klines("1m", None, None, 5)
    base = sum(Decimal(str(minute[5])) for minute in minutes)
    quote = sum(Decimal(str(minute[7])) for minute in minutes)
    price = quote / base if base else Decimal(str(market.price()["price"]))
    return {"mins": 5, "price": f"{price:.8f}", "closeTime": venue.now_ms}


def _rolling(venue: Venue, parameters: Parameters) -> object:
    if "symbol" not in parameters and "symbols" not in parameters:
        raise RefusedError(-1102, "Param 'symbol' or 'symbols' must be sent, but both were empty/null!")
    window = WINDOW.fullmatch(parameters.get("windowSize", "1d"))
    units = {"m": (MINUTE_MS, 59), "h": (HOUR_MS, 23), "d": (24 * HOUR_MS, 7)}
    if window is None or int(window[1]) > units[window[2]][1]:
        raise RefusedError(-1130, "Data sent for parameter 'windowSize' is not valid.")
    length_ms = int(window[1]) * units[window[2]][0]
    first_ms = (venue.now_ms - length_ms) // MINUTE_MS * MINUTE_MS
    markets, is_single = _named(venue, parameters)
    is_mini = _is_mini(parameters)
    rows = [_window(market, first_ms, venue.now_ms, is_mini=is_mini) for market in markets]
    return rows[0] if is_single else rows


def _window(market: VenueMarket, first_ms: int, now_ms: int, *, is_mini: bool) -> Row:
    minutes: list[list[object]] = []
    start_ms = first_ms
    while found := market.klines("1m", start_ms, now_ms, 1_000):
        minutes += found
        start_ms = int(str(found[-1][0])) + MINUTE_MS
    traded = [minute for minute in minutes if int(str(minute[8])) > 0]
    day = market.ticker_24h()
    if not traded:
        price = str(market.price()["price"])
        traded = [[first_ms, price, price, price, price, "0", now_ms, "0", 0, "0", "0", "0"]]
    opened, closed = Decimal(str(traded[0][1])), Decimal(str(traded[-1][4]))
    base = sum((Decimal(str(minute[5])) for minute in traded), Decimal(0))
    quote = sum((Decimal(str(minute[7])) for minute in traded), Decimal(0))
    n_trades = sum(int(str(minute[8])) for minute in traded)
    last_id = int(str(day["lastId"]))
    row: Row = {"symbol": market.symbol}
    if not is_mini:
        average = quote / base if base else closed
        row |= {
            "priceChange": f"{closed - opened:.8f}",
            "priceChangePercent": f"{(closed - opened) / opened * 100:.3f}",
            "weightedAvgPrice": f"{average:.8f}",
        }
    return row | {
        "openPrice": f"{opened:.8f}",
        "highPrice": f"{max(Decimal(str(minute[2])) for minute in traded):.8f}",
        "lowPrice": f"{min(Decimal(str(minute[3])) for minute in traded):.8f}",
        "lastPrice": f"{closed:.8f}",
        "volume": f"{base:.8f}",
        "quoteVolume": f"{quote:.8f}",
        "openTime": first_ms,
        "closeTime": now_ms,
        "firstId": last_id - n_trades + 1 if n_trades else -1,
        "lastId": last_id if n_trades else -1,
        "count": n_trades,
    }


_MINI: Final = (
    "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime",
    "closeTime", "firstId", "lastId", "count",
)  # fmt: skip


def _is_mini(parameters: Parameters) -> bool:
    wanted = parameters.get("type", "FULL")
    if wanted not in ("FULL", "MINI"):
        raise RefusedError(-1139, "Invalid ticker type.")
    return wanted == "MINI"


def _day(venue: Venue, parameters: Parameters) -> object:
    is_mini = _is_mini(parameters)

    def ask(market: VenueMarket) -> object:
        row = market.ticker_24h()
        return {name: row[name] for name in _MINI} if is_mini else row

    return _each(ask)(venue, parameters)


def _funding_rate(venue: Venue, parameters: Parameters) -> object:
    markets, _ = _named(venue, parameters)
    start_ms, end_ms = _number(parameters, "startTime"), _number(parameters, "endTime")
    rows = [
        row
        for market in markets
        for row in market.funding_history()
        if (start_ms is None or int(str(row["fundingTime"])) >= start_ms)
        and (end_ms is None or int(str(row["fundingTime"])) <= end_ms)
    ]
    rows.sort(key=lambda row: int(str(row["fundingTime"])))
    limit = _limit(parameters, 100, 1_000, is_cut=False)
    return rows[:limit] if start_ms is not None else rows[-limit:]


def _funding_info(venue: Venue, _parameters: Parameters) -> object:
    return [
        {
            "symbol": market.symbol,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": market.funding_hours,
            "disclaimer": False,
        }
        for market in venue.symbols.values()
    ]


_SPOT_DEPTH: Final = by_limit(((100, 5), (500, 25), (1_000, 50), (5_000, 250)), 100)
_USDM_DEPTH: Final = by_limit(((50, 2), (100, 5), (500, 10), (1_000, 20)), 500)
_USDM_KLINES: Final = by_limit(((99, 1), (499, 2), (1_000, 5), (1_500, 10)), 500)
_BARS: Final = ("startTime", "endTime", "limit")
_SPANS: Final = ("fromId", *_BARS)
_WHICH: Final = ("symbol", "symbols")

# Weights of the spot side: rest-api.md of the venue, since 2023-08-25; of USD-M: its pages of each endpoint.
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/api/v3/ping": Endpoint("spot", _nothing, fixed(1)),
    "/api/v3/time": Endpoint("spot", _time, fixed(1)),
    "/api/v3/exchangeInfo": Endpoint(
        "spot", _exchange_info, fixed(20), (), (*_WHICH, "permissions", "showPermissionSets", "symbolStatus")
    ),
    "/api/v3/depth": Endpoint("spot", _depth, _SPOT_DEPTH, ("symbol",), ("limit", "symbolStatus")),
    "/api/v3/trades": Endpoint("spot", _trades, fixed(25), ("symbol",), ("limit",)),
    "/api/v3/historicalTrades": Endpoint(
        "spot", _historical_trades, fixed(25), ("symbol",), ("limit", "fromId")
    ),
    "/api/v3/aggTrades": Endpoint("spot", _agg_trades, fixed(4), ("symbol",), _SPANS),
    "/api/v3/klines": Endpoint("spot", _klines, fixed(2), ("symbol", "interval"), (*_BARS, "timeZone")),
    "/api/v3/uiKlines": Endpoint("spot", _klines, fixed(2), ("symbol", "interval"), (*_BARS, "timeZone")),
    "/api/v3/avgPrice": Endpoint("spot", _average_price, fixed(2), ("symbol",)),
    "/api/v3/ticker/24hr": Endpoint(
        "spot", _day, by_symbols(2, 80, ((20, 2), (100, 40))), (), (*_WHICH, "type")
    ),
    "/api/v3/ticker/price": Endpoint(
        "spot", _each(lambda market: market.price()), by_symbols(2, 4), (), _WHICH
    ),
    "/api/v3/ticker/bookTicker": Endpoint(
        "spot", _each(lambda market: market.book_ticker()), by_symbols(2, 4), (), _WHICH
    ),
    "/api/v3/ticker": Endpoint("spot", _rolling, each_symbol, (), (*_WHICH, "windowSize", "type")),
    "/fapi/v1/ping": Endpoint("usdm", _nothing, fixed(1)),
    "/fapi/v1/time": Endpoint("usdm", _time, fixed(1)),
    "/fapi/v1/exchangeInfo": Endpoint("usdm", _exchange_info, fixed(1)),
    "/fapi/v1/depth": Endpoint("usdm", _depth, _USDM_DEPTH, ("symbol",), ("limit",)),
    "/fapi/v1/trades": Endpoint("usdm", _trades, fixed(5), ("symbol",), ("limit",)),
    "/fapi/v1/historicalTrades": Endpoint(
        "usdm", _historical_trades, fixed(20), ("symbol",), ("limit", "fromId"), needs_key=True
    ),
    "/fapi/v1/aggTrades": Endpoint("usdm", _agg_trades, fixed(20), ("symbol",), _SPANS),
    "/fapi/v1/klines": Endpoint("usdm", _klines, _USDM_KLINES, ("symbol", "interval"), _BARS),
    "/fapi/v1/continuousKlines": Endpoint(
        "usdm", _continuous_klines, _USDM_KLINES, ("pair", "contractType", "interval"), _BARS
    ),
    "/fapi/v1/premiumIndex": Endpoint(
        "usdm", _each(lambda market: market.premium_index()), by_symbols(1, 10), (), ("symbol",)
    ),
    "/fapi/v1/fundingRate": Endpoint("usdm", _funding_rate, fixed(1), (), ("symbol", *_BARS)),
    "/fapi/v1/fundingInfo": Endpoint("usdm", _funding_info, fixed(1)),
    "/fapi/v1/ticker/24hr": Endpoint("usdm", _day, by_symbols(1, 40), (), ("symbol",)),
    "/fapi/v1/ticker/price": Endpoint(
        "usdm", _each(lambda market: market.price()), by_symbols(1, 2), (), ("symbol",)
    ),
    "/fapi/v2/ticker/price": Endpoint(
        "usdm", _each(lambda market: market.price()), by_symbols(1, 2), (), ("symbol",)
    ),
    "/fapi/v1/ticker/bookTicker": Endpoint(
        "usdm", _each(lambda market: market.book_ticker()), by_symbols(2, 5), (), ("symbol",)
    ),
    "/fapi/v1/openInterest": Endpoint(
        "usdm", lambda venue, parameters: _one(venue, parameters).open_interest(), fixed(1), ("symbol",)
    ),
}
