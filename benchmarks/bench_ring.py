"""How many records a second does the broadcast ring carry, and how long is a hop from process to process?

Input: records of 64 bytes through rings in shared memory; two processes, each pinned to a core of its own,
both spinning, without the interpreter in between.

Rows
----
push alone       the writer at full speed, nobody reads
relay            the writer at full speed, a reader in the other process; what it lost is told
relay, paced     the same with a record each 100 ns: nothing should be lost
round trip / 2   a record there and its answer back through two rings, halved: the hop on a quiet line
stamp to stamp   one way at the given rate, the reader's clock minus the writer's stamp (one clock for both)
python append, python read    the same ring through Python's methods, one process

Figures are medians over rounds of each round's percentile, and the best round beside them: on a shared
machine the median is the machine's, the best comes nearer to the ring's. Results are checked: every record
carries its sequence, and given plus lost is what was written.
Timings are of this machine at this moment; compare only figures of one run.
"""

import argparse
import gc
import json
import multiprocessing
import multiprocessing.synchronize
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy

from benchmarks import relay
from benchmarks.bench_market import machine
from native.ring import RingReader, RingWriter

SHARED: Final = Path("/dev/shm")
SIZE: Final = 64
PERCENTILES: Final = (50.0, 99.0, 99.9)
PACE_NS: Final = 100
GOAL_RECORDS: Final = 5e6
GOAL_HOP_NS: Final = 500.0

Row = dict[str, float]


def make(path: Path, capacity: int) -> RingWriter:
    return RingWriter.create(
        str(path), capacity=capacity, instance="bench", epoch=1, schema=1, boot_id="bench"
    )


def cores() -> tuple[int, int]:
    """Return two cores, the same twice where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]


def answer(
    there: Path, back: Path, n_records: int, core: int, ready: multiprocessing.synchronize.Event
) -> None:
    """Be the other process of a round trip."""
    os.sched_setaffinity(0, {core})
    writer, reader = make(back, 1 << 20), RingReader(str(there), from_start=True)
    ready.set()
    relay.pong(reader, writer, n_records)


def receive(
    path: Path,
    n_records: int,
    is_stamped: bool,
    core: int,
    ready: multiprocessing.synchronize.Event,
) -> None:
    """Be the reading process of a relay."""
    os.sched_setaffinity(0, {core})
    reader = RingReader(str(path), from_start=True)
    ready.set()
    given, elapsed_ns, hops = relay.read(reader, n_records, is_stamped)
    hops_ns = [float(numpy.percentile(hops, q)) for q in PERCENTILES if is_stamped]
    result = {"given": given, "lost": reader.n_lost, "elapsed_ns": elapsed_ns, **percentiles(hops_ns)}
    path.with_suffix(".json").write_text(json.dumps(result))


def percentiles(values: list[float]) -> Row:
    return {f"p{q:g}": value for q, value in zip(PERCENTILES, values, strict=False)}


def time_push(folder: Path, capacity: int, n_records: int) -> Row:
    writer = make(folder / "push", capacity)
    relay.write(writer, capacity // 64, SIZE, 0)
    elapsed_ns = relay.write(writer, n_records, SIZE, 0)
    (folder / "push").unlink()
    return {"records/s": n_records / elapsed_ns * 1e9, "lost": 0.0}


def time_relay(
    folder: Path, capacity: int, n_records: int, gap_ns: int, *, is_stamped: bool, core: int
) -> Row:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    path = folder / "relay"
    writer = make(path, capacity)
    reader = context.Process(target=receive, args=(path, n_records, is_stamped, core, ready))
    reader.start()
    ready.wait()
    written_ns = relay.write(writer, n_records, SIZE, gap_ns)
    reader.join()
    path.unlink()
    row: Row = json.loads(path.with_suffix(".json").read_text())
    given = row.pop("given")
    if given + row["lost"] != n_records:
        raise SystemExit(f"{n_records} records written, {given:.0f} given and {row['lost']:.0f} told as lost")
    return {"records/s": given / max(row.pop("elapsed_ns"), written_ns) * 1e9, **row}


def time_round_trips(folder: Path, n_records: int, core: int) -> Row:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    there, back = folder / "there", folder / "back"
    writer = make(there, 1 << 20)
    other = context.Process(target=answer, args=(there, back, n_records, core, ready))
    other.start()
    ready.wait()
    trips = relay.ping(writer, RingReader(str(back), from_start=True), n_records, SIZE)
    other.join()
    there.unlink()
    back.unlink()
    warm = trips[len(trips) // 10 :]
    return percentiles([float(numpy.percentile(warm, q)) / 2 for q in PERCENTILES])


def time_python(folder: Path, capacity: int, n_records: int) -> tuple[Row, Row]:
    writer = make(folder / "python", capacity)
    reader = RingReader(str(folder / "python"), from_start=True)
    payload = bytes(SIZE)
    n_records = min(n_records, capacity // 128)
    begin = time.perf_counter_ns()
    for i in range(n_records):
        writer.append(1, payload, i)
    middle = time.perf_counter_ns()
    given = 0
    while found := reader.read(1024):
        given += len(found)
    end = time.perf_counter_ns()
    (folder / "python").unlink()
    if given != n_records:
        raise SystemExit(f"{n_records} records appended, {given} read")
    return (
        {"records/s": n_records / (middle - begin) * 1e9},
        {"records/s": n_records / (end - middle) * 1e9},
    )


def merged(rounds: list[Row]) -> Row:
    """Return the median of each figure over the rounds, and the best as `best ...`."""
    row = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        row[name] = statistics.median(values)
        row[f"best {name}"] = max(values) if name == "records/s" else min(values)
    return row


def show(name: str, row: Row) -> None:
    keys = ("records/s", "best records/s", "p50", "p99", "p99.9", "best p50", "lost")
    figures = "".join(
        f"{row[key] / (1e6 if 'records' in key else 1):>12.2f}" if key in row else f"{'':>12}" for key in keys
    )
    print(f"{name:<30}{figures}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", "--messages", type=int, default=2_000_000, dest="records")
    parser.add_argument(
        "--capacity-mib", type=int, default=32, help="of the ring of the relay, a power of two"
    )
    parser.add_argument("--gap-ns", type=int, default=10_000, help="between two records of `stamp to stamp`")
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    capacity = asked.capacity_mib << 20
    found: dict[str, list[Row]] = {}
    writing, reading = cores()
    print(f"machine: {machine()}")
    print(f"input: records of {SIZE} bytes, ring of {asked.capacity_mib} MiB, {asked.rounds} rounds")
    print(f"writer on core {writing}, reader on core {reading}")
    if writing == reading:
        print("only one core: both processes share it, the hops are those of the scheduler")
    os.sched_setaffinity(0, {writing})
    kept = f"relay, paced at {1e3 / PACE_NS:.0f} M/s"
    paced = f"stamp to stamp, {1e6 / asked.gap_ns:,.0f} k/s"
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as scratch:
        folder = Path(scratch)
        gc.disable()
        for _ in range(asked.rounds):
            found.setdefault("push alone", []).append(time_push(folder, capacity, asked.records))
            found.setdefault("relay", []).append(
                time_relay(folder, capacity, asked.records, 0, is_stamped=False, core=reading)
            )
            found.setdefault(kept, []).append(
                time_relay(folder, capacity, asked.records, PACE_NS, is_stamped=False, core=reading)
            )
            found.setdefault("round trip / 2", []).append(
                time_round_trips(folder, asked.records // 10, reading)
            )
            found.setdefault(paced, []).append(
                time_relay(
                    folder, capacity, max(1, asked.records // 40), asked.gap_ns, is_stamped=True, core=reading
                )
            )
            append, read = time_python(folder, capacity, asked.records)
            found.setdefault("python append", []).append(append)
            found.setdefault("python read", []).append(read)
        gc.enable()
    titles = ("M rec/s", "best", "p50 ns", "p99 ns", "p99.9 ns", "best p50", "lost")
    print(f"{'':<30}" + "".join(f"{title:>12}" for title in titles))
    rows = {name: merged(rounds) for name, rounds in found.items()}
    for name, row in rows.items():
        show(name, row)
    relayed, hop = rows[kept]["best records/s"], rows["round trip / 2"]["best p50"]
    print(f"  goal {GOAL_RECORDS / 1e6:.0f} M records/s: best {relayed / 1e6:.1f} (as paced)")
    print(f"  goal hop p50 {GOAL_HOP_NS:.0f} ns: best {hop:.0f}")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
