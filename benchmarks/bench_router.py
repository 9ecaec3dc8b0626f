"""What does the way of a message through the router cost beside the market itself?

Input: the recorded USD-M BTC session (``../shared/data``; a synthetic minute when absent), every frame a read
of its own, as a quiet market brings it.

Rows
----
market          ``Market.on_frame``, timers run before each message
router          ``Router.feed`` and ``end_read``: slot found by the stream's name, stamp, market, masks
router + ring   the same, and every message as it came into a ring in shared memory before it is applied

The rows run in turns within each round, on one pinned core, garbage collector off; figures are medians over
rounds of each round's percentile, clock pair of Python included in all. The router asks a clock in Python,
that of the recording; live it reads its own in C. The market's timers run inside both ways. Results are
checked: all markets end with the same ids, best prices, CVD and counts, and nothing is lost on the way.
Timings are of this machine at this moment; compare only figures of one run.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy

from benchmarks.bench_market import Nanoseconds, Stream, machine, recorded, show, summary
from native.market import Market
from native.ring import RingWriter
from native.router import Router

SHARED: Final = Path("/dev/shm")
RING_BYTES: Final = 64 << 20
ROLES: Final = ("depth@100ms", "depth@0ms", "trade", "aggTrade", "bookTicker")

State = tuple[int, ...]


def market_of(stream: Stream) -> Market:
    market = Market(
        symbol=stream.symbol,
        kind=0 if stream.is_spot else 1,
        price_digits=stream.price_digits,
        quantity_digits=stream.quantity_digits,
        tick=1,
        whale_floor_quote=100_000.0,
        whale_adaptive_floor=False,
    )
    market.on_snapshot(stream.snapshot.payload, stream.lines[0].recv_ns)
    return market


def state_of(market: Market) -> State:
    return (
        *(market.messages, market.depth_applied, market.trades, market.tickers, market.gaps, market.cvd),
        *(market.update_id, market.best_bid, market.best_ask, market.last_trade_id, market.flow.n_sweeps),
    )


def timed(payloads: list[tuple[int, bytes]], take: Callable[[int, bytes], None]) -> Nanoseconds:
    clock = time.perf_counter_ns
    out = numpy.empty(len(payloads), numpy.int64)
    for i, (recv_ns, payload) in enumerate(payloads):
        begin = clock()
        take(recv_ns, payload)
        out[i] = clock() - begin
    return out


def time_market(stream: Stream, payloads: list[tuple[int, bytes]]) -> tuple[Nanoseconds, State]:
    market = market_of(stream)

    def take(recv_ns: int, payload: bytes) -> None:
        while market.advance(recv_ns):
            pass
        market.on_frame(payload, recv_ns)

    return timed(payloads, take), state_of(market)


def time_router(
    stream: Stream, payloads: list[tuple[int, bytes]], ring: RingWriter | None
) -> tuple[Nanoseconds, State]:
    market = market_of(stream)
    now = [0]

    def run_timers(now_ns: int) -> None:
        while market.advance(now_ns):
            pass

    router = Router(
        on_due=run_timers,
        on_masks=lambda _recv_ns, _masks: None,
        on_control=lambda _connection, _payload, _recv_ns: None,
        on_heir=lambda _slot, _connection, _payload, _recv_ns: False,
        now_ns=lambda: now[0],
        ring=ring,
    )
    for role in ROLES:
        router.own(router.add_stream(f"{stream.symbol.lower()}@{role}", market), 1)
    feed, end_read = router.feed, router.end_read

    def take(recv_ns: int, payload: bytes) -> None:
        now[0] = recv_ns
        feed(1, payload)
        end_read()

    times = timed(payloads, take)
    if router.last_error is not None or router.n_messages_total != len(payloads):
        raise SystemExit(
            f"the router took {router.n_messages_total} of {len(payloads)}: {router.last_error!r}"
        )
    if ring is not None and ring.n_records != len(payloads):
        raise SystemExit(f"the ring holds {ring.n_records} records, expected {len(payloads)}")
    return times, state_of(market)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=0, help="cut the stream to so many messages")
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        streams, source = recorded(Path(scratch))
    stream = streams["usdm"][0]
    payloads = [(line.recv_ns, line.payload) for line in stream.lines[: asked.messages or None]]
    print(f"machine: {machine()}\ninput: {source}, one pinned core, {asked.rounds} rounds, rows in turns")
    print(f"{'microseconds a message':<34}{'messages':>9}{'p50':>11}{'p99':>11}{'p99.9':>11}{'max':>11}")
    rounds: dict[str, list[Nanoseconds]] = {"market": [], "router": [], "router + ring": []}
    states: set[State] = set()
    shared = SHARED if SHARED.is_dir() else None
    gc.collect()
    gc.disable()
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        for number in range(asked.rounds):
            ring = RingWriter.create(
                str(Path(folder) / f"ring{number}"),
                capacity=RING_BYTES,
                instance="bench",
                epoch=1,
                schema=1,
                boot_id="bench",
            )
            for name, (times, state) in {
                "market": time_market(stream, payloads),
                "router": time_router(stream, payloads, None),
                "router + ring": time_router(stream, payloads, ring),
            }.items():
                rounds[name].append(times)
                states.add(state)
            ring.close()
            Path(ring.path).unlink()
    gc.enable()
    if len(states) != 1:
        raise SystemExit(f"the markets differ: {sorted(states)}")
    rows = {name: summary(found) for name, found in rounds.items()}
    for name, row in rows.items():
        show(name, row)
    for name in ("router", "router + ring"):
        print(f"  {name} beyond market, p50: {1e3 * (rows[name]['p50'] - rows['market']['p50']):.0f} ns")
    print(f"  {len(rounds['market']) * 3} markets ended alike: {len(payloads)} messages each")
    if asked.json:
        asked.json.write_text(
            json.dumps({"machine": machine(), "source": source, "rows": rows}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
