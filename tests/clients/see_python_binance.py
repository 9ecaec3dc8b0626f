"""What python-binance sees of a venue: books by its caches, first messages of its streams, REST answers.

Run with the interpreter of its own environment: origin of REST, origin of streams, key, secret. It says
"ready" when it has heard enough. When a line comes on stdin the market stands still: the rest of the messages
is read, REST is asked, all is printed.
"""

import asyncio
import json
import os
import sys
from decimal import Decimal

from binance import AsyncClient, BinanceSocketManager, Client, DepthCacheManager, FuturesDepthCacheManager

REST, STREAMS, KEY, SECRET = sys.argv[1:]
QUIET_S = 2.5  # longer than any stream that still has something to tell needs
SYMBOL = "BTCUSDT"

AsyncClient.API_URL = Client.API_URL = f"{REST}/api"
AsyncClient.FUTURES_URL = Client.FUTURES_URL = f"{REST}/fapi"
BinanceSocketManager.STREAM_URL = f"{STREAMS}/"
BinanceSocketManager.FSTREAM_URL = f"{STREAMS}/"

CALLS = {
    "get_server_time": {},
    "get_exchange_info": {},
    "get_symbol_info": {"symbol": SYMBOL},
    "get_order_book": {"symbol": SYMBOL, "limit": 1000},
    "get_recent_trades": {"symbol": SYMBOL, "limit": 50},
    "get_historical_trades": {"symbol": SYMBOL, "limit": 50},
    "get_aggregate_trades": {"symbol": SYMBOL, "limit": 50},
    "get_klines": {"symbol": SYMBOL, "interval": "1m", "limit": 30},
    "get_ui_klines": {"symbol": SYMBOL, "interval": "1h", "limit": 5},
    "get_avg_price": {"symbol": SYMBOL},
    "get_ticker": {"symbol": SYMBOL},
    "get_all_tickers": {},
    "get_symbol_ticker": {"symbol": SYMBOL},
    "get_orderbook_ticker": {"symbol": SYMBOL},
    "get_orderbook_tickers": {},
    "futures_ping": {},
    "futures_time": {},
    "futures_exchange_info": {},
    "futures_order_book": {"symbol": SYMBOL, "limit": 1000},
    "futures_recent_trades": {"symbol": SYMBOL, "limit": 50},
    "futures_historical_trades": {"symbol": SYMBOL, "limit": 50},
    "futures_aggregate_trades": {"symbol": SYMBOL, "limit": 50},
    "futures_klines": {"symbol": SYMBOL, "interval": "1m", "limit": 30},
    "futures_continuous_klines": {
        "pair": SYMBOL,
        "contractType": "PERPETUAL",
        "interval": "1m",
        "limit": 30,
    },
    "futures_mark_price": {"symbol": SYMBOL},
    "futures_funding_rate": {"symbol": SYMBOL},
    "futures_ticker": {"symbol": SYMBOL},
    "futures_symbol_ticker": {"symbol": SYMBOL},
    "futures_orderbook_ticker": {"symbol": SYMBOL},
    "futures_open_interest": {"symbol": SYMBOL},
}


async def keep(cache, book: dict, name: str) -> None:
    async with cache as manager:
        while True:
            found = await manager.recv()
            book[name] = {
                "bids": [[str(price), str(size)] for price, size in found.get_bids()],
                "asks": [[str(price), str(size)] for price, size in found.get_asks()],
            }


async def hear(socket, heard: dict, name: str) -> None:
    async with socket as stream:
        while True:
            message = await stream.recv()
            heard.setdefault(name, []).append(message)


async def main() -> None:
    client = await AsyncClient.create(KEY, SECRET)
    manager = BinanceSocketManager(client, max_queue_size=100_000)
    books: dict = {}
    heard: dict = {}
    sockets = {
        "trade": manager.trade_socket(SYMBOL),
        "aggTrade": manager.aggtrade_socket(SYMBOL),
        "depth": manager.depth_socket(SYMBOL, interval=100),
        "depth5": manager.depth_socket(SYMBOL, depth="5"),
        "kline": manager.kline_socket(SYMBOL),
        "ticker": manager.symbol_ticker_socket(SYMBOL),
        "miniTicker": manager.symbol_miniticker_socket(SYMBOL),
        "bookTicker": manager.symbol_book_ticker_socket(SYMBOL),
        "tickers": manager.ticker_socket(),
        "multiplex": manager.multiplex_socket(["btcusdt@trade", "ethusdt@trade"]),
        "futures aggTrade": manager.aggtrade_futures_socket(SYMBOL),
        "futures kline": manager.kline_futures_socket(SYMBOL),
        "futures markPrice": manager.symbol_mark_price_socket(SYMBOL),
        "futures markPrices": manager.all_mark_price_socket(),
        "futures ticker": manager.individual_symbol_ticker_futures_socket(SYMBOL),
        "futures bookTicker": manager.symbol_ticker_futures_socket(SYMBOL),
        "futures tickers": manager.futures_ticker_socket(),
        "futures depth": manager.futures_depth_socket(SYMBOL, depth="10"),
        "futures multiplex": manager.futures_multiplex_socket(["btcusdt@aggTrade", "ethusdt@aggTrade"]),
    }
    caches = {
        "spot": DepthCacheManager(
            client, SYMBOL, bm=BinanceSocketManager(client, max_queue_size=100_000), limit=5000,
            ws_interval=100, conv_type=Decimal,
        ),
        "usdm": FuturesDepthCacheManager(
            client, SYMBOL, bm=BinanceSocketManager(client, max_queue_size=100_000), conv_type=Decimal
        ),
    }  # fmt: skip
    tasks = [asyncio.ensure_future(keep(cache, books, name)) for name, cache in caches.items()]
    tasks += [asyncio.ensure_future(hear(socket, heard, name)) for name, socket in sockets.items()]
    while len(books) < len(caches) or len(heard) < len(sockets) or len(heard["depth"]) < 20:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.sleep(QUIET_S)
    failed = [repr(task.exception()) for task in tasks if task.done()]
    answers = {}
    for name, parameters in CALLS.items():
        try:
            answers[name] = await getattr(client, name)(**parameters)
        except Exception as problem:
            failed.append(f"{name}: {problem!r}")
    print(json.dumps({"books": books, "heard": heard, "answers": answers, "failed": failed}))
    sys.stdout.flush()
    await client.close_connection()


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
try:
    loop.run_until_complete(asyncio.wait_for(main(), 300))
finally:
    sys.stdout.flush()
    os._exit(0)  # its read loops do not end by themselves
