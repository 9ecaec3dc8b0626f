"""What ccxt and ccxt.pro see of a venue, on spot and USD-M: its markets, REST answers and watched streams.

Run with the interpreter of its own environment: origin of REST, origin of streams, key, secret. It says
"ready" when it has seen enough. When a line comes on stdin the market stands still: the rest of the messages
is read, REST is asked, all is printed.
"""

import asyncio
import json
import os
import sys

import ccxt
import ccxt.pro

REST, STREAMS, KEY, SECRET = sys.argv[1:]
QUIET_S = 2.5  # longer than any stream that still has something to tell needs
FUTURES = {
    "fapiPublic": "v1",
    "fapiPublicV2": "v2",
    "fapiPublicV3": "v3",
    "fapiPrivate": "v1",
    "fapiPrivateV2": "v2",
}


def venue(name: str):
    exchange = getattr(ccxt.pro, name)(
        {"apiKey": KEY, "secret": SECRET, "enableRateLimit": False, "timeout": 60_000}
    )
    api = exchange.urls["api"]
    for key in [key for key in api if isinstance(api[key], str)]:
        api[key] = f"{REST}/not-simulated/{key}"  # nothing may leave the machine
    api["public"] = api["private"] = f"{REST}/api/v3"
    api |= {key: f"{REST}/fapi/{version}" for key, version in FUTURES.items()}
    api["ws"]["spot"] = f"{STREAMS}/stream/ws"
    api["ws"]["linear"] = f"{STREAMS}/ws"
    exchange.options["fetchCurrencies"] = exchange.options["fetchMargins"] = False
    exchange.options["fetchMarkets"] = {"types": ["spot"] if name == "binance" else ["linear"]}
    return exchange


async def watch(exchange, method: str, symbol: str, seen: dict, failed: list, *arguments) -> None:
    name = f"{exchange.id} {method}"
    try:
        while True:
            found = await getattr(exchange, method)(symbol, *arguments)
            if method == "watch_order_book":
                seen[name] = {
                    "bids": [list(row) for row in found["bids"]],
                    "asks": [list(row) for row in found["asks"]],
                }
            elif method == "watch_trades":
                seen.setdefault(name, []).extend(
                    {key: row[key] for key in ("id", "price", "amount", "side", "timestamp")} for row in found
                )
            else:
                seen[name] = found
    except Exception as problem:
        failed.append(f"{name}: {problem!r}"[:600])


async def main() -> None:
    exchanges = {"BTC/USDT": venue("binance"), "BTC/USDT:USDT": venue("binanceusdm")}
    seen: dict = {}
    answers: dict = {}
    failed: list = []
    tasks = []
    for symbol, exchange in exchanges.items():
        markets = await exchange.load_markets()
        kept = ("id", "symbol", "active", "type", "precision", "limits", "linear", "contractSize")
        answers[f"{exchange.id} load_markets"] = {
            name: {key: market[key] for key in kept} for name, market in markets.items()
        }
        tasks += [
            asyncio.ensure_future(watch(exchange, method, what, seen, failed, *more))
            for method, what, *more in (
                ("watch_order_book", symbol),
                ("watch_trades", symbol),
                ("watch_ticker", symbol),
                ("watch_ohlcv", symbol, "1m"),
                ("watch_bids_asks", [symbol]),
            )
        ]
    tasks.append(
        asyncio.ensure_future(
            watch(exchanges["BTC/USDT:USDT"], "watch_mark_price", "BTC/USDT:USDT", seen, failed)
        )
    )
    while (len(seen) < len(tasks) or len(seen["binance watch_trades"]) < 20) and not failed:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.sleep(QUIET_S)
    for symbol, exchange in exchanges.items():
        calls = {
            "fetch_time": (),
            "fetch_ticker": (symbol,),
            "fetch_tickers": ([symbol],),
            "fetch_bids_asks": ([symbol],),
            "fetch_order_book": (symbol, 1000),
            "fetch_trades": (symbol, None, 50),
            "fetch_ohlcv": (symbol, "1m", None, 30),
        }
        if exchange.id == "binanceusdm":
            calls |= {
                "fetch_funding_rate": (symbol,),
                "fetch_funding_rates": (),
                "fetch_funding_rate_history": (symbol,),
                "fetch_open_interest": (symbol,),
                "fetch_mark_price": (symbol,),
            }
        for method, arguments in calls.items():
            try:
                answers[f"{exchange.id} {method}"] = await getattr(exchange, method)(*arguments)
            except Exception as problem:
                failed.append(f"{exchange.id} {method}: {problem!r}")
        try:
            await exchange.fetch_order_book("NOSUCH/USDT")
        except ccxt.BadSymbol as problem:
            answers[f"{exchange.id} unknown symbol"] = type(problem).__name__
        try:
            call = exchange.publicGetDepth if exchange.id == "binance" else exchange.fapiPublicGetDepth
            await call({"symbol": "NOSUCHUSDT"})
        except ccxt.BaseError as problem:
            answers[f"{exchange.id} refusal"] = [type(problem).__name__, str(problem)]
    for task in tasks:
        task.cancel()
    print(json.dumps({"seen": seen, "answers": answers, "failed": failed}, default=str))
    sys.stdout.flush()
    os._exit(0)


asyncio.run(asyncio.wait_for(main(), 300))
