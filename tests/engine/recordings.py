"""Small recordings for tests, in the shapes the venue sends."""

import gzip
from pathlib import Path

import orjson
import zstandard

START_NS = 1_700_000_000_000_000_000

Levels = list[list[str]]


def depth(
    symbol: str, first_id: int, final_id: int, bids: Levels, asks: Levels, *, previous_id: int | None = None
) -> dict[str, object]:
    data: dict[str, object] = {
        "e": "depthUpdate",
        "E": 1_700_000_000_000,
        "s": symbol,
        "U": first_id,
        "u": final_id,
    }
    if previous_id is not None:
        data |= {"T": 1_700_000_000_000, "pu": previous_id}
    return {"stream": f"{symbol.lower()}@depth@100ms", "data": data | {"b": bids, "a": asks}}


def trade(
    symbol: str, trade_id: int, price: str, quantity: str, *, is_buyer_maker: bool = False
) -> dict[str, object]:
    data = {
        "e": "trade",
        "E": 1_700_000_000_000,
        "s": symbol,
        "t": trade_id,
        "p": price,
        "q": quantity,
        "T": 1_700_000_000_000,
        "m": is_buyer_maker,
        "M": True,
    }
    return {"stream": f"{symbol.lower()}@trade", "data": data}


def ticker(
    symbol: str, update_id: int, bid: str, ask: str, quantity: str = "1.00000000"
) -> dict[str, object]:
    data = {"u": update_id, "s": symbol, "b": bid, "B": quantity, "a": ask, "A": quantity}
    return {"stream": f"{symbol.lower()}@bookTicker", "data": data}


def snapshot(last_id: int, bids: Levels, asks: Levels) -> dict[str, object]:
    return {"lastUpdateId": last_id, "bids": bids, "asks": asks}


def spot_session(symbol: str = "BTCUSDT", base: int = 100, price: int = 60_000) -> list[dict[str, object]]:
    """Return a snapshot bridged by the second of five updates, two trades, two tickers."""

    def at(offset: float) -> str:
        return f"{price + offset:.8f}"

    one = "1.00000000"
    return [
        depth(symbol, base - 5, base - 1, [[at(-1), one]], []),
        snapshot(base, [[at(-0.01), one], [at(-1), one]], [[at(0.01), one], [at(1), one]]),
        ticker(symbol, base + 1, at(-0.01), at(0.01)),
        depth(symbol, base, base + 2, [[at(-0.02), "2.50000000"]], []),
        trade(symbol, 1, at(0.01), "0.50000000"),
        ticker(symbol, base + 4, at(-0.01), at(0.01)),
        depth(symbol, base + 3, base + 4, [], [[at(0.01), "0.50000000"]]),
        trade(symbol, 2, at(-0.01), "0.25000000", is_buyer_maker=True),
        depth(symbol, base + 5, base + 9, [[at(-0.01), "0.75000000"]], []),
        depth(symbol, base + 10, base + 12, [[at(-0.02), "0.00000000"]], [[at(2), one]]),
    ]


def usdm_session(symbol: str = "BTCUSDT", base: int = 100) -> list[dict[str, object]]:
    return [
        depth(symbol, base - 5, base - 1, [["59999.0", "1.000"]], [], previous_id=base - 6),
        snapshot(base, [["59999.9", "1.000"]], [["60000.1", "1.000"]]),
        depth(symbol, base, base + 2, [["59999.8", "2.500"]], [], previous_id=base - 1),
        trade(symbol, 1, "60000.1", "0.500"),
        depth(symbol, base + 4, base + 6, [], [["60000.1", "0.500"]], previous_id=base + 2),
    ]


def text(messages: list[dict[str, object]], start_ns: int = START_NS, step_ns: int = 10_000_000) -> bytes:
    """Return messages as lines of receive time and JSON."""
    lines = [
        b"%d %s\n" % (start_ns + i * step_ns, orjson.dumps(message)) for i, message in enumerate(messages)
    ]
    return b"".join(lines)


def write(path: Path, content: bytes) -> Path:
    """Write a recording, compressed as its name says."""
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".zst":
        content = zstandard.compress(content)
    path.write_bytes(content)
    return path
