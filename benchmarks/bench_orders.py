"""How long does a decision take, from a trigger mask to the bytes of its order, and how many orders a second?

Input: a synthetic USD-M session, played at its own times through the corridor, under settings that make
decisions frequent, with a paper exchange on its own market; and the simulated exchange in a closed loop.

Rows
----
entries     mask -> bytes of an entering order handed to the transport: market, strategy, desk, gate,
            executor, the in-flight record on a ring in shared memory, adapter; every order counts
exits       the same of what a trigger makes the desk send besides: stops, closes, withdrawals
all         both
reports     a fill, as the adapter has read it -> levels armed, the stop at the venue sent, all of it written
loop        intents -> desk -> executor -> adapter -> simulated exchange -> reports -> desk, in virtual time,
            each next intent as soon as the plan before is over: orders and requests a second of wall time

The caches are those of a market that was fed between two decisions. On one pinned core, garbage collector
off; figures are medians over rounds of each round's percentile. Results are checked: every round sends the
same requests and ends in the same place, the ring gives back as many facts as were written, nothing was
collected and nothing is left that only a collection would free.
Timings are of this machine at this moment; compare only figures of one run.
"""

import argparse
import gc
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from msgspec import Raw

from benchmarks.bench_market import machine
from engine.clock import VirtualClock
from engine.config import configured_fees, load_config, scalper_settings
from engine.corridor import Corridor
from engine.execution.ids import OrderIds
from engine.execution.lastlook import RecordedLook
from engine.facts import Fact, InFlight, encode_fact, encode_in_flight
from engine.inputs import ReportInput, RingKind, WarmUpInput
from engine.instruments import Instrument
from engine.orchestrator import Trading
from engine.orders import Approved, Intent, Order, Report, ReportKind
from engine.replay.session import Session
from engine.replay.store import Line, Tally, open_recording, read_lines
from engine.settings import Config
from engine.signals import Action, Alignment, MarketKind, ProfileSource, Side, Signal
from engine.sim import fees as venue_fees
from engine.sim.account import Account
from engine.sim.embedded import KLINES
from engine.sim.exchange import Exchange, instrument_of
from engine.sim.history import History
from engine.sim.markets import btcusdt
from engine.sim.paper import PaperExchange
from engine.sim.requests import Latency
from engine.sim.tape import FIRST_TRADE_IDS, START_NS, synthesise
from engine.trading import open_trading
from engine.venues.venue import SendStatus, Transport
from native.histogram import Histogram
from native.ring import RingReader, RingWriter

SHARED: Final = Path("/dev/shm")
PERCENTILES: Final = (50.0, 99.0, 99.9)
SEED: Final = 1
NS_PER_US: Final = 1000
NS_PER_S: Final = 10**9
AGG_TRADES_NS: Final = 75 * 60 * NS_PER_S  # the profiles are ready after an hour
RING_BYTES: Final = 1 << 26
GOAL_P50_US: Final = 25.0
GOAL_P99_US: Final = 100.0
GOAL_ORDERS: Final = 1000.0
MARKET_LATENCY: Final = Latency(1500 * NS_PER_US, 1500 * NS_PER_US, 1500 * NS_PER_US)
LOOP_LATENCY: Final = Latency(100 * NS_PER_US, 100 * NS_PER_US, 100 * NS_PER_US)
# Any sweep is a whale, any imbalance confirms it, any price is at an edge: several decisions a second.
FREQUENT: Final = {
    "REMORA_VOLUME_SCALPER__COOLDOWN_S": "0",
    "REMORA_VOLUME_SCALPER__MIN_CONFIDENCE": "0.5",
    "REMORA_COST__GATE": "off",
    "REMORA_RISK__MAX_ORDERS_PER_S": "60000",
    "REMORA_WHALE__FLOOR_BTC_QUOTE": "0",
    "REMORA_WHALE__QUANTILE": "0.5",
    "REMORA_WHALE__DEPTH_SHARE": "0",
    "REMORA_WHALE__MIN_SWEEPS": "1",
    "REMORA_WHALE__EPISODE_GAP_MS": "1",
    "REMORA_ENTRY__RHO_ENTER": "0.02",
    "REMORA_ENTRY__RHO_FLOOR": "0",
    "REMORA_ENTRY__RHO_PRE_MIN": "-1",
    "REMORA_ENTRY__RHO_POST_MS": "50",
    "REMORA_ENTRY__PULLED_SHARE_MAX": "1",
    "REMORA_ENTRY__MIN_UPDATES": "1",
    "REMORA_ENTRY__EPISODE_WINDOW_MS": "300",
    "REMORA_PROFILE__EDGE_BPS": "1000",
    "REMORA_VOLATILITY__READY_AFTER": "1",
}
# A plan of the loop lives a few milliseconds: it rests, takes, is protected, and is closed by its time.
LOOPED: Final = FREQUENT | {"REMORA_EXECUTION__REST_MS": "1"}
LOOP_TIME_STOP_NS: Final = 1_000_000


@dataclass(slots=True)
class FactRing:
    """The ring that facts are written to, as in an engine."""

    path: Path
    writer: RingWriter = field(init=False)
    n_facts: int = 0

    def __post_init__(self) -> None:
        self.path.unlink(missing_ok=True)
        self.writer = RingWriter.create(
            str(self.path), capacity=RING_BYTES, instance="bench", epoch=1, schema=1, boot_id="bench"
        )

    def take(self, fact: Fact) -> None:
        self.n_facts += 1
        self.writer.append(RingKind.FACT, encode_fact(fact), self.n_facts)

    def take_in_flight(self, order: InFlight) -> None:
        self.n_facts += 1
        self.writer.append(RingKind.IN_FLIGHT, encode_in_flight(order), self.n_facts)

    def check(self) -> None:
        """Read the facts back and count them."""
        reader = RingReader(str(self.path), from_start=True)
        n_read = reader.n_lost
        while found := reader.read(1024):
            n_read += len(found)
        if n_read != self.n_facts:
            raise SystemExit(f"{self.n_facts} facts written, {n_read} read")


class Wire:
    """The transport: stamps the first bytes of a decision, keeps a digest, hands on to a venue."""

    def __init__(self) -> None:
        self.corridor: Corridor | None = None
        self.target: Transport | None = None
        self.entries = Histogram()
        self.exits = Histogram()
        self.n_orders = 0
        self.n_requests = 0
        self.digest = hashlib.blake2b()

    def send(self, request: bytes) -> SendStatus:
        is_order = b'"order.place"' in request
        if self.corridor is not None:
            is_entry = is_order and b'"reduceOnly"' not in request
            self.corridor.mask_to_order_ns = self.entries if is_entry else self.exits
            self.corridor.stamp_order()
        self.n_requests += 1
        self.n_orders += is_order
        self.digest.update(request)
        return SendStatus.SENT if self.target is None else self.target.send(request)


def trading_of(instrument: Instrument, config: Config, wire: Wire, ring: FactRing) -> Trading:
    return open_trading(
        (instrument,),
        config,
        fees=configured_fees(config, instrument.kind),
        line=wire,
        ids=OrderIds("bench", 1),
        last_look=RecordedLook({}),
        facts=ring.take,
        in_flight=ring.take_in_flight,
    )


def account_of(instrument: Instrument, config: Config) -> Account:
    fees = configured_fees(config, instrument.kind)
    return Account(
        instrument,
        venue_fees.Fees(maker_bps=fees.maker_bps, taker_bps=fees.taker_bps),
        {instrument.quote: 10**15},
    )


@dataclass(slots=True)
class Played:
    """One session."""

    wire: Wire
    ring: FactRing
    realised: int


def history_of(start_ns: int) -> tuple[bytes, bytes]:
    """Return candles and aggregate trades of the hours before, as the venue's REST endpoints answer."""
    history = History(btcusdt("usdm"), SEED, start_ns, FIRST_TRADE_IDS["usdm"] - 1)
    return history.klines(KLINES), history.agg_trades(start_ns - AGG_TRADES_NS, start_ns)


def play(
    lines: list[Line], history: tuple[bytes, bytes], instrument: Instrument, config: Config, path: Path
) -> Played:
    """Take every decision of a session, as its replay does, in a market that knows the hours before."""
    wire, ring = Wire(), FactRing(path)
    trading = trading_of(instrument, config, wire, ring)
    fees = configured_fees(config, instrument.kind)
    scalper = replace(
        scalper_settings(config, instrument.kind), taker_bps=fees.taker_bps, maker_bps=fees.maker_bps
    )
    session = Session(instrument, config, scalper=scalper, trading=trading)
    wire.corridor = session.corridor
    exchange = PaperExchange(
        instrument=instrument,
        account=account_of(instrument, config),
        latency=MARKET_LATENCY,
        clock=session.corridor.clock,
        market=session.market,
    )
    wire.target = exchange
    session.connect(exchange)
    klines, agg_trades = history
    session.corridor.apply(
        WarmUpInput(
            at_ns=lines[0].recv_ns, symbol=instrument.symbol, klines=Raw(klines), agg_trades=Raw(agg_trades)
        )
    )
    session.play_lines(lines)
    return Played(wire, ring, trading.desk.positions[0].realised_money)


def signal_of(corridor: Corridor, number: int) -> Signal:
    """Return a signal that any desk would take; sides alternate."""
    lane = corridor.lanes[0]
    market, side = lane.market, Side.BUY if number % 2 else Side.SELL
    return Signal(
        strategy="bench",
        action=Action.ENTRY,
        symbol=market.symbol,
        kind=MarketKind(market.kind),
        instrument_epoch=market.instrument_epoch,
        book_epoch=market.book_epoch,
        update_id=market.update_id,
        trade_id=market.last_trade_id,
        venue_ns=market.last_venue_ns,
        recv_ns=corridor.clock.now_ns(),
        decide_ns=corridor.clock.now_ns(),
        is_valid=market.is_valid,
        side=side,
        price=market.best_bid if side is Side.BUY else market.best_ask,
        price_digits=market.price_digits,
        mid=market.mid,
        spread_bps=market.spread_bps,
        notional_quote=1000.0,
        confidence=0.8,
        target_bps=40.0,
        stop_bps=20.0,
        time_stop_ns=LOOP_TIME_STOP_NS,
        cost_bps=7.0,
        sigma_60_bps=20.0,
        is_cost_gated=False,
        episode=number,
        whale_notional=400_000.0,
        threshold=100_000.0,
        rho_pre=0.1,
        rho_post=0.8,
        rho_post_min=0.7,
        pulled_share=0.2,
        n_updates=4,
        alignment=Alignment.EDGE,
        profile_source=ProfileSource.ROLLING,
    )


class Loop:
    """Desk, executor and simulated venue, each waiting for the other in virtual time."""

    def __init__(self, config: Config, path: Path) -> None:
        spec = btcusdt("usdm")
        self.instrument = instrument_of(spec)
        self.wire, self.ring = Wire(), FactRing(path)
        self.clock = VirtualClock(START_NS)
        self.trading = trading_of(self.instrument, config, self.wire, self.ring)
        self.corridor = Corridor(
            (self.instrument,),
            config,
            (scalper_settings(config, self.instrument.kind),),
            clock=self.clock,
            trading=self.trading,
        )
        self.exchange = Exchange(
            spec=spec,
            seed=SEED,
            start_ns=START_NS,
            account=account_of(self.instrument, config),
            latency=LOOP_LATENCY,
            clock=self.clock,
        )
        self.wire.target = self.exchange
        self.exchange.request_snapshot()
        self.n_plans = 0
        self.fill_ns = Histogram()
        while not self.corridor.lanes[0].market.is_valid:
            self._step()

    def run(self, n_plans: int) -> float:
        """Lead so many plans from their signal to their end; returns the seconds it took."""
        desk = self.trading.desk
        self.wire.n_orders = self.wire.n_requests = 0
        begin = time.perf_counter_ns()
        end = self.n_plans + n_plans
        while True:
            plan = desk.plans[0]
            if plan is None or plan.is_over:
                if self.n_plans == end:
                    return (time.perf_counter_ns() - begin) / NS_PER_S
                self._enter()
            self._step()

    def _enter(self) -> None:
        lane, desk = self.corridor.lanes[0], self.trading.desk
        self.n_plans += 1
        intent = desk.intend(signal_of(self.corridor, self.n_plans), lane.market)
        verdict = desk.review(intent, lane.market) if isinstance(intent, Intent) else intent
        if not isinstance(verdict, Approved):
            raise SystemExit(f"an intent of the loop was refused: {verdict.reason}")
        sent = self.trading.executor.submit(verdict, self.clock.now_ns())
        if not isinstance(sent, Order):
            raise SystemExit(f"an approval of the loop was refused: {sent.reason}")
        desk.on_sent(sent)

    def _step(self) -> None:
        # The corridor's timers and what happens at the venue, in the order of their times.
        corridor, exchange = self.corridor, self.exchange
        due_ns = min(exchange.next_ns, corridor.next_due_ns)
        corridor.advance(due_ns)
        self.clock.advance_to(max(due_ns, self.clock.now_ns()))
        exchange.advance(due_ns)
        for delivery in exchange.take(due_ns):
            if isinstance(delivery.payload, Report):
                self._take(delivery.payload, due_ns)
            else:
                corridor.on_read(corridor.lanes[0], due_ns, (delivery.payload,))

    def _take(self, report: Report, now_ns: int) -> None:
        entry = ReportInput(at_ns=now_ns, report=report)
        if report.kind is not ReportKind.FILL:
            self.corridor.apply(entry)
            return
        begin = time.monotonic_ns()
        self.corridor.apply(entry)
        self.fill_ns.record_value(time.monotonic_ns() - begin)


Row = dict[str, float]


def row_of(histogram: Histogram) -> Row:
    """Return percentiles in microseconds."""
    row = {f"p{q:g}": histogram.percentile(q) / 1e3 for q in PERCENTILES}
    return row | {"max": histogram.max / 1e3, "count": float(histogram.count)}


def merged(rounds: list[Row]) -> Row:
    """Return the median of each figure over the rounds, of the largest the largest."""
    row = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return row | {name: max(one[name] for one in rounds) for name in row if name == "max"}


def show(name: str, row: Row) -> None:
    figures = "".join(f"{row[key]:>11.2f}" for key in (*(f"p{q:g}" for q in PERCENTILES), "max"))
    print(f"{name:<34}{int(row['count']):>9}{figures}")


def n_collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def hold_equal(what: str, one: object, other: object) -> None:
    if one != other:
        raise SystemExit(f"two rounds differ in {what}: {one} and {other}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the session")
    parser.add_argument("--messages", type=int, default=0, help="cut the session to so many messages")
    parser.add_argument("--plans", type=int, default=500, help="plans of the loop, each several orders")
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    config, looped = load_config(None, "live", FREQUENT), load_config(None, "live", LOOPED)
    instrument = instrument_of(btcusdt("usdm"))
    rows: dict[str, list[Row]] = {}
    rates: list[Row] = []
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as scratch:
        folder = Path(scratch)
        synthesise(asked.seconds, SEED, "usdm", folder / "session.gz", None)
        lines = list(read_lines(open_recording([folder / "session.gz"]), Tally()))[: asked.messages or None]
        history = history_of(lines[0].recv_ns)
        print(f"machine: {machine()}; load {os.getloadavg()[0]:.1f}")
        print(
            f"input: synthetic USD-M BTCUSDT, {asked.seconds:g} s, {len(lines):,} messages, settings of "
            f"frequent decisions; loop of {asked.plans} plans\n"
            f"one pinned core, {asked.rounds} rounds after a warm-up"
        )
        seen: tuple[bytes, int, int] | None = None
        for number in range(asked.rounds + 1):
            gc.collect()
            gc.freeze()
            gc.disable()
            n_before = n_collections()
            played = play(lines, history, instrument, config, folder / "facts")
            loop = Loop(looped, folder / "loop")
            loop.run(max(1, asked.plans // 10))
            elapsed_s = loop.run(asked.plans)
            if n_collections() != n_before:
                raise SystemExit(f"expected no garbage collection, found {n_collections() - n_before}")
            if left := gc.collect():
                raise SystemExit(f"expected nothing that only a collection frees, found {left} objects")
            gc.enable()
            gc.unfreeze()
            played.ring.check()
            loop.ring.check()
            found = (
                played.wire.digest.digest() + loop.wire.digest.digest(),
                played.ring.n_facts,
                played.realised,
            )
            if seen is not None:
                hold_equal("requests, facts or profit", seen, found)
            seen = found
            if not number:
                continue
            both = Histogram()
            both.merge(played.wire.entries)
            both.merge(played.wire.exits)
            histograms = {
                "entries": played.wire.entries,
                "exits": played.wire.exits,
                "all": both,
                "reports": loop.fill_ns,
            }
            for name, histogram in histograms.items():
                rows.setdefault(name, []).append(row_of(histogram))
            rates.append(
                {
                    "orders/s": loop.wire.n_orders / elapsed_s,
                    "requests/s": loop.wire.n_requests / elapsed_s,
                    "orders": float(loop.wire.n_orders),
                }
            )
    figures = {name: merged(rounds) for name, rounds in rows.items()}
    rate = merged(rates)
    print(f"{'microseconds':<34}{'count':>9}{'p50':>11}{'p99':>11}{'p99.9':>11}{'max':>11}")
    for name, row in figures.items():
        show(name, row)
    print(
        f"loop: {rate['orders/s']:,.0f} orders/s, {rate['requests/s']:,.0f} requests/s "
        f"({rate['orders']:.0f} orders of {asked.plans} plans)"
    )
    both_row = figures["all"]
    print(f"  goal mask -> order p50 {GOAL_P50_US:g} us, p99 {GOAL_P99_US:g} us: ", end="")
    print(f"{both_row['p50']:.1f}, {both_row['p99']:.1f}" if both_row["count"] else "nothing was decided")
    print(f"  goal {GOAL_ORDERS:,.0f} orders/s: {rate['orders/s']:,.0f}; 0 collections")
    print(f"  {len(rates) + 1} rounds sent the same requests and wrote the same number of facts")
    if asked.json:
        asked.json.write_text(
            json.dumps({"machine": machine(), "rows": figures, "loop": rate}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
