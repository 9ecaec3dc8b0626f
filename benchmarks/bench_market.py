"""How long does one message take, from its bytes to a mask, and to the top of the book?

Input: recorded USD-M and spot sessions (``../shared/data``; a synthetic minute when absent), one
instrument alone and ten interleaved (five books of each of two symbols, shifted in time: caches are cold).

Rows
----
book       bytes -> levels -> book -> top-20 imbalance, depth messages only: work that peers do as well
orjson     the same with orjson.loads and a dict per side, heapq for the top 20
sorted     the same with orjson.loads and a SortedDict per side
market     ``Market.on_frame``, everything: bytes -> mask, per message kind, one clock pair inside

The peers run in turns within each round, on one pinned core, garbage collector off; figures are medians over
rounds of each round's percentile. Results are checked: the three books agree on the top-20 imbalance after
every message.
Timings are of this machine at this moment; compare only figures of one run.
"""

import argparse
import gc
import heapq
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy
import numpy.typing
import orjson
from sortedcontainers import SortedDict

from benchmarks.corridor import BookCorridor, run_interleaved
from engine.replay.store import Line, Tally, open_recording, read_lines
from native.market import Market

DATA: Final = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
PERCENTILES: Final = (50.0, 99.0, 99.9)
TOP: Final = 20
SNAPSHOT: Final = b'{"lastUpdateId"'

Nanoseconds = numpy.typing.NDArray[numpy.int64]


@dataclass(frozen=True, slots=True)
class Stream:
    """One recorded instrument: its snapshot, and the lines that came after it."""

    symbol: str
    is_spot: bool
    price_digits: int
    quantity_digits: int
    snapshot: Line
    lines: list[Line]

    def depth_frames(self) -> list[bytes]:
        """Return the frames of the diff chain that follow the snapshot."""
        last = orjson.loads(self.snapshot.payload)["lastUpdateId"]
        frames = [line.payload for line in self.lines if b'"depthUpdate"' in line.payload]
        return [frame for frame in frames if orjson.loads(frame)["data"]["u"] > last]


def load(paths: list[Path], symbol: str, is_spot: bool, digits: tuple[int, int]) -> Stream:
    lines = list(read_lines(open_recording(paths), Tally()))
    at = next(i for i, line in enumerate(lines) if line.payload.startswith(SNAPSHOT))
    rest = lines[:at] + lines[at + 1 :]
    return Stream(symbol, is_spot, *digits, lines[at], rest)


def recorded(scratch: Path) -> tuple[dict[str, list[Stream]], str]:
    """Return BTC and ETH streams per market, and where they come from."""
    if (DATA / "binance_usdm_20240808").is_dir():
        usdm, spot = DATA / "binance_usdm_20240808", DATA / "binance_spot_20240808"
        return {
            "usdm": [
                load([usdm / "usdm_btcusdt_20240808.gz"], "BTCUSDT", False, (1, 3)),
                load([usdm / "usdm_ethusdt_20240808.gz"], "ETHUSDT", False, (2, 3)),
            ],
            "spot": [
                load([spot / "spot_btcusdt_20240808.gz"], "BTCUSDT", True, (2, 8)),
                load([spot / "spot_ethusdt_20240808.gz"], "ETHUSDT", True, (2, 8)),
            ],
        }, "recorded sessions of 2024-08-08"
    from engine.sim.tape import synthesise

    streams = {}
    for market in ("usdm", "spot"):
        found = []
        for seed in (1, 2):
            path = scratch / f"{market}{seed}.gz"
            synthesise(60.0, seed, "spot" if market == "spot" else "usdm", path, None)
            found.append(load([path], "BTCUSDT", market == "spot", (2, 8) if market == "spot" else (1, 3)))
        streams[market] = found
    return streams, "synthetic minutes (no recorded data found)"


class DictBook:
    """What most Python engines do: orjson, floats, a dict per side, the top by a heap."""

    def __init__(self, snapshot: bytes) -> None:
        document = orjson.loads(snapshot)
        self.bids = {float(price): float(quantity) for price, quantity in document["bids"]}
        self.asks = {float(price): float(quantity) for price, quantity in document["asks"]}
        self.ratio = 0.0

    def apply(self, frame: bytes) -> None:
        data = orjson.loads(frame)["data"]
        for side, changes in ((self.bids, data["b"]), (self.asks, data["a"])):
            for price, quantity in changes:
                level = float(quantity)
                if level == 0.0:
                    side.pop(float(price), None)
                else:
                    side[float(price)] = level
        bids = sum(self.bids[price] for price in heapq.nlargest(TOP, self.bids))
        asks = sum(self.asks[price] for price in heapq.nsmallest(TOP, self.asks))
        self.ratio = (bids - asks) / (bids + asks)


class SortedBook:
    """The better-informed one: orjson, floats, sortedcontainers."""

    def __init__(self, snapshot: bytes) -> None:
        document = orjson.loads(snapshot)
        self.bids = SortedDict({-float(price): float(quantity) for price, quantity in document["bids"]})
        self.asks = SortedDict({float(price): float(quantity) for price, quantity in document["asks"]})
        self.ratio = 0.0

    def apply(self, frame: bytes) -> None:
        data = orjson.loads(frame)["data"]
        for side, sign, changes in ((self.bids, -1.0, data["b"]), (self.asks, 1.0, data["a"])):
            for price, quantity in changes:
                level = float(quantity)
                if level == 0.0:
                    side.pop(sign * float(price), None)
                else:
                    side[sign * float(price)] = level
        bids = sum(islice(self.bids.values(), TOP))
        asks = sum(islice(self.asks.values(), TOP))
        self.ratio = (bids - asks) / (bids + asks)


def corridor(stream: Stream) -> BookCorridor:
    made = BookCorridor(
        symbol=stream.symbol,
        price_digits=stream.price_digits,
        quantity_digits=stream.quantity_digits,
        is_spot=stream.is_spot,
    )
    made.load(stream.snapshot.payload)
    return made


def check_equal(stream: Stream, frames: list[bytes]) -> int:
    """Hold the three books against each other after every frame; returns the number of comparisons."""
    ours, plain, ordered = (
        corridor(stream),
        DictBook(stream.snapshot.payload),
        SortedBook(stream.snapshot.payload),
    )
    for frame in frames:
        ours.apply(frame)
        plain.apply(frame)
        ordered.apply(frame)
        if not (abs(ours.ratio - plain.ratio) < 1e-9 and abs(ours.ratio - ordered.ratio) < 1e-9):
            raise SystemExit(f"the books differ: {ours.ratio}, {plain.ratio}, {ordered.ratio}")
    return len(frames)


def time_python(book: DictBook | SortedBook, frames: list[bytes]) -> Nanoseconds:
    clock = time.perf_counter_ns
    out = numpy.empty(len(frames), numpy.int64)
    for i, frame in enumerate(frames):
        begin = clock()
        book.apply(frame)
        out[i] = clock() - begin
    return out


def interleave(streams: list[Stream], count: int) -> list[tuple[int, bytes]]:
    """Deal the frames of `count` instruments in turns, each from another place of its stream."""
    queues = []
    for i in range(count):
        frames = streams[i % len(streams)].depth_frames()
        # Skipping the first frames leaves levels unset, never wrong: the work per frame stays what it is.
        queues.append(frames[i * len(frames) // (10 * count) :])
    shortest = min(map(len, queues))
    return [(i, queue[k]) for k in range(shortest) for i, queue in enumerate(queues)]


def summary(rounds: list[Nanoseconds]) -> dict[str, float]:
    """Return medians over rounds of each round's percentiles, microseconds."""
    row = {
        f"p{q:g}": statistics.median(float(numpy.percentile(one, q)) for one in rounds) / 1e3
        for q in PERCENTILES
    }
    row["max"] = max(float(one.max()) for one in rounds) / 1e3
    row["messages"] = float(len(rounds[0]))
    return row


def time_market(stream: Stream, count: int) -> dict[str, dict[str, float]]:
    """Run whole markets, `count` interleaved by line, and read their own histograms."""
    markets = [
        Market(
            symbol=stream.symbol,
            kind=0 if stream.is_spot else 1,
            price_digits=stream.price_digits,
            quantity_digits=stream.quantity_digits,
            tick=1,
            whale_floor_quote=100_000.0,
            whale_adaptive_floor=False,
        )
        for _ in range(count)
    ]
    for market in markets:
        market.on_snapshot(stream.snapshot.payload, stream.lines[0].recv_ns)
    for line in stream.lines:
        for market in markets:
            while market.advance(line.recv_ns):
                pass
            market.on_frame(line.payload, line.recv_ns)
    rows = {}
    for kind in ("depth", "trade", "ticker"):
        merged = markets[0].frame_to_mask(kind)
        for market in markets[1:]:
            merged.merge(market.frame_to_mask(kind))
        rows[kind] = {f"p{q:g}": merged.percentile(q) / 1e3 for q in PERCENTILES}
        rows[kind]["max"] = merged.max / 1e3
        rows[kind]["messages"] = float(merged.count)
    return rows


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = found[0] if found else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def show(name: str, row: dict[str, float]) -> None:
    figures = "".join(f"{row[key]:>11.2f}" for key in (*(f"p{q:g}" for q in PERCENTILES), "max"))
    print(f"{name:<34}{int(row['messages']):>9}{figures}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=0, help="cut every stream to so many depth messages")
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        streams, source = recorded(Path(scratch))
    print(f"machine: {machine()}\ninput: {source}, one pinned core, {asked.rounds} rounds, peers in turns")
    print(f"{'microseconds a message':<34}{'messages':>9}{'p50':>11}{'p99':>11}{'p99.9':>11}{'max':>11}")
    for market, found in streams.items():
        stream = found[0]
        frames = stream.depth_frames()[: asked.messages or None]
        compared = check_equal(stream, frames)
        ours, plain, ordered, ten = [], [], [], []
        order = interleave(found, 10)[: asked.messages * 10 or None]
        gc.collect()
        gc.disable()
        for _ in range(asked.rounds):
            ours.append(run_interleaved([corridor(stream)], [(0, frame) for frame in frames]))
            plain.append(time_python(DictBook(stream.snapshot.payload), frames))
            ordered.append(time_python(SortedBook(stream.snapshot.payload), frames))
            ten.append(run_interleaved([corridor(found[i % len(found)]) for i in range(10)], order))
        whole, whole_ten = time_market(stream, 1), time_market(stream, 10)
        gc.enable()
        rows = {
            f"{market} book, one instrument": summary(ours),
            f"{market} book, ten interleaved": summary(ten),
            f"{market} orjson + dict": summary(plain),
            f"{market} orjson + SortedDict": summary(ordered),
            **{f"{market} market {kind}": row for kind, row in whole.items()},
            **{f"{market} market {kind}, ten": row for kind, row in whole_ten.items()},
        }
        for name, row in rows.items():
            show(name, row)
        one = rows[f"{market} book, one instrument"]["p50"]
        for peer in ("orjson + dict", "orjson + SortedDict"):
            print(f"  {peer} / book, p50: {rows[f'{market} {peer}']['p50'] / one:.0f}x")
        print(f"  {compared} top-{TOP} imbalances equal in all three books")
        results |= rows
    if asked.json:
        asked.json.write_text(
            json.dumps({"machine": machine(), "source": source, "rows": results}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
