"""What unicorn-binance-websocket-api sees of a venue: streams of both markets, changed while they run.

Run with the interpreter of its own environment: origin of REST, origin of streams, key, secret. It says
"ready" when it has heard enough. When a line comes on stdin the market stands still: the rest of the messages
is read, all is printed.
"""

import json
import os
import sys
import threading
import time

from unicorn_binance_websocket_api import BinanceWebSocketApiManager

REST, STREAMS, KEY, SECRET = sys.argv[1:]
QUIET_S = 2.5  # longer than any stream that still has something to tell needs


def manager_of(exchange: str, library: str) -> BinanceWebSocketApiManager:
    return BinanceWebSocketApiManager(
        exchange=exchange,
        restful_base_uri=f"{REST}/",
        websocket_base_uri=f"{STREAMS}/",
        websocket_api_base_uri=f"{STREAMS}/",
        warn_on_update=False,
        output_default="dict",
        websocket_library=library,
    )


def read(manager: BinanceWebSocketApiManager, heard: list, ending: threading.Event) -> None:
    while not ending.is_set():
        message = manager.pop_stream_data_from_stream_buffer()
        if message:
            heard.append(message)
        else:
            time.sleep(0.01)


def main() -> None:
    heard: dict = {}
    failed: list = []
    ending = threading.Event()
    readers = []
    managers = []
    for library in ("websockets", "picows"):
        spot, futures = manager_of("binance.com", library), manager_of("binance.com-futures", library)
        managers += [spot, futures]
        stream = spot.create_stream(["trade", "depth@100ms"], ["btcusdt"])
        futures.create_stream(["aggTrade", "markPrice@1s"], ["btcusdt"])
        futures.create_stream(["depth@100ms", "bookTicker"], ["btcusdt"])
        try:
            futures.create_stream(["aggTrade", "depth"], ["btcusdt"])
            failed.append("mixed categories were taken")
        except ValueError:
            pass
        for name, manager in (("spot", spot), ("futures", futures)):
            rows = heard.setdefault(f"{library} {name}", [])
            readers.append(threading.Thread(target=read, args=(manager, rows, ending), daemon=True))
            readers[-1].start()
        time.sleep(2.0)
        if not spot.subscribe_to_stream(stream, channels=["bookTicker"], markets=["ethusdt"]):
            failed.append(f"{library}: subscribe_to_stream")
        time.sleep(1.0)
        if not spot.unsubscribe_from_stream(stream, channels=["depth@100ms"]):
            failed.append(f"{library}: unsubscribe_from_stream")
    while any(len(rows) < 200 for rows in heard.values()):
        time.sleep(0.05)
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(QUIET_S)
    print(json.dumps({"heard": heard, "failed": failed}))
    sys.stdout.flush()
    os._exit(0)


main()
