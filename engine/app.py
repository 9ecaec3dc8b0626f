"""The engine: what is put together at its start, the loop body that feeds the corridor, and its end.

Shutdown, in this order: entries are stopped and withdrawn; the position is closed, or its stop at the venue
is verified; the last input is written; observers are drained; rings are closed; the lock is given back.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from engine.clock import CatchUpClock
from engine.commands import Command, Verb
from engine.config import scalper_settings
from engine.corridor import Corridor
from engine.errors import InputError
from engine.execution.ids import OrderIds
from engine.execution.lastlook import LiveLook
from engine.facts import Fact, InFlight, encode_fact, encode_in_flight
from engine.inputs import (
    CommandInput,
    EndInput,
    Input,
    LagInput,
    LookInput,
    ReportInput,
    RestoreInput,
    RingKind,
    SendInput,
    SessionInput,
    TradingInput,
    WantedInput,
    WarmUpInput,
    encode_input,
)
from engine.observers.recorder import Recorder
from engine.orders import OrderState, Purpose, RefusalReason, Report
from engine.records import Record, SignalRecord, encode_line
from engine.restart import left_by
from engine.risk.desk import WANTED_NAMES
from engine.rundir import RunDir
from engine.settings import Config
from engine.sim.embedded import EmbeddedMarket, opening_ns
from engine.tally import Tally
from engine.trading import OrderLine, open_trading
from engine.venues.venue import SendStatus
from native.control import ControlPage, ControlSlot, Wanted
from native.ring import RingReader, RingWriter

NS: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
# The book must stand for half a minute before its medians are known.
CATCH_UP_NS: Final = 45 * NS
POLL_NS: Final = 10_000_000
NEVER_NS: Final = 2**63 - 1
RECORDS: Final = 24
LEAST_MINUTES: Final = 15.0
# Kinds of records so many that they would push all others out of a view.
COMMON: Final = frozenset({"imbalance_on", "imbalance_off"})
VENUE: Final = "embedded"
VENUE_NAME: Final = "venue.json"
NOT_FLAT: Final = 3
FAILED: Final = 3
# Of what the payloads of the rings mean; raised with the versions of facts, records and inputs.
SCHEMA: Final = 0x52454D4F52410001

OnStop = Literal["flatten", "protect"]


@dataclass(frozen=True, slots=True)
class RunJob:
    """What `remora run` was asked for.

    Attributes
    ----------
    seconds : of trading; None runs until it is told to stop.
    record : directory to record into.
    wall_ns : wall time at the start.
    """

    config: Config
    seconds: float | None
    record: Path | None
    on_stop: OnStop
    wall_ns: int


class Engine:
    """One engine in one process: corridor, embedded venue, rings, and the order in which inputs enter.

    Parameters
    ----------
    job : what was asked for.
    run_dir : locked by this process.

    Notes
    -----
    `step` is the whole loop body: commands, then what the venue delivers, then timers that are due. It is
    called with real time when the engine is live, with virtual time while it catches up and in tests.
    """

    def __init__(self, job: RunJob, run_dir: RunDir) -> None:
        config = job.config
        self.job = job
        self.run_dir = run_dir
        self.epoch = run_dir.next_epoch()
        self.tally = Tally()
        self._left = left_by([path for _, path in run_dir.older_facts(self.epoch)], SCHEMA)
        state_path, is_restored = run_dir.path / VENUE_NAME, bool(self._left)
        self.start_ns = opening_ns(state_path, wall_ns=job.wall_ns, is_restored=is_restored)
        self.clock = CatchUpClock(self.start_ns)
        self.venue = EmbeddedMarket(
            config.simulator, self.clock, state_path, wall_ns=job.wall_ns, is_restored=is_restored
        )
        self.instrument = self.venue.instrument
        self._page = ControlPage.create(
            str(run_dir.control_path),
            instance=config.engine.instance,
            epoch=self.epoch,
            now_ns=self.start_ns,
            boot_id=run_dir.boot_id,
        )
        facts_path, market_path = run_dir.facts_path(self.epoch), run_dir.market_path(self.epoch)
        try:
            self._facts_ring = self._make_ring(facts_path, config.engine.facts_mib)
            self._market_ring = self._make_ring(market_path, config.engine.market_mib)
            self._recorder = self._make_recorder()
        except InputError:
            # Shared memory is small: what never began leaves nothing there.
            facts_path.unlink(missing_ok=True)
            market_path.unlink(missing_ok=True)
            raise
        line = OrderLine()
        look = LiveLook(self.clock, config.risk.signal_age_ms * NS_PER_MS, self._page.wanted, self._on_late)
        self.trading = open_trading(
            (self.instrument,),
            config,
            fees=self.venue.fees,
            line=line,
            ids=OrderIds(config.engine.instance, self.epoch),
            last_look=look,
            facts=self._on_fact,
            in_flight=self._on_in_flight,
        )
        self.corridor = Corridor(
            (self.instrument,),
            config,
            (
                replace(
                    scalper_settings(config, self.instrument.kind),
                    taker_bps=self.venue.fees.taker_bps,
                    maker_bps=self.venue.fees.maker_bps,
                ),
            ),
            trading=self.trading,
            watch=self._on_record,
        )
        self.trading.desk.is_warming_up = True
        self.lane = self.corridor.lanes[0]
        line.target = self.venue.exchange
        line.stamp = self.corridor.stamp_order
        line.on_refused = self._on_unsent
        self.records: deque[Record] = deque(maxlen=RECORDS)
        self.trading_ns = 0  # when trading began
        self.end = ""
        self.exit_code = 0
        self.is_over = False
        self.note = ""
        self._commands: deque[tuple[Command, Callable[[bytes], None]]] = deque()
        self._last_ns = self.start_ns
        self._next_poll_ns = 0
        self._stop: OnStop | None = None
        self._code_if_held = 0
        self._failure = ""
        self._stop_deadline_ns = NEVER_NS
        self._wanted = 0
        self._lag_grade = 0

    def begin(self) -> None:
        """Write the first inputs: who this is, what was left, and the history to warm up from."""
        config, venue = self.job.config, self.venue
        self._enter(
            SessionInput(
                at_ns=self._stamp(),
                instance=config.engine.instance,
                epoch=self.epoch,
                venue=VENUE,
                market=config.simulator.market,
                symbol=self.instrument.symbol,
                maker_bps=venue.fees.maker_bps,
                taker_bps=venue.fees.taker_bps,
                has_left=bool(self._left),
                config=config,
            )
        )
        profile = config.profile
        klines, agg_trades = venue.history(
            max(
                min(profile.rolling_min, LEAST_MINUTES),
                profile.rolling_min * profile.rolling_ready_share + 1.0,
            )
        )
        self._enter(
            WarmUpInput(
                at_ns=self._stamp(),
                symbol=self.instrument.symbol,
                klines=msgspec.Raw(klines),
                agg_trades=msgspec.Raw(agg_trades),
            )
        )
        self._read([venue.exchange.exchange_info()])
        if self._left:
            self._enter(RestoreInput(at_ns=self._stamp(), facts=self._left))
        for _, path in (*self.run_dir.older_facts(self.epoch), *self.run_dir.older_market(self.epoch)):
            path.unlink()
        venue.save(())
        venue.exchange.request_snapshot()

    def run_virtually(self, until_ns: int) -> None:
        """Do everything that is due up to `until_ns`, each thing at its own time."""
        while not self.is_over and (due_ns := self.next_ns) <= until_ns:
            self.clock.advance_to(max(due_ns, self.clock.now_ns()))
            self.step()
        if not self.is_over:
            self.clock.advance_to(max(until_ns, self.clock.now_ns()))

    def begin_trading(self) -> None:
        """Allow entries from here on; the session's time counts from here."""
        self._enter(TradingInput(at_ns=self._stamp()))
        self.trading_ns = self.clock.now_ns()

    @property
    def next_ns(self) -> int:
        """When there is something to do next: a delivery, a timer, the end."""
        return min(self.venue.exchange.next_ns, self.corridor.next_due_ns, self._end_ns)

    @property
    def mark(self) -> int:
        """The price that open positions are valued at, price units: the mid, rounded down."""
        market = self.lane.market
        bid: int = market.best_bid
        return (bid + market.best_ask) // 2

    @property
    def n_lost(self) -> int:
        """Records that the recorder came too late for."""
        return 0 if self._recorder is None else self._recorder.n_lost

    def notes(self) -> list[str]:
        """Return the sentences that the operator should see at the end."""
        found = [sentence for sentence in (self._failure, self.note) if sentence]
        if self._wanted:
            found.append("The control page says that nothing may be entered; 'remora resume' lowers it.")
        return found

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held and no order may fill."""
        return (
            self.trading.desk.positions[0].quantity == 0 and not self.trading.executor.blotter.open_orders()
        )

    def step(self) -> None:
        """Do everything that is due now."""
        now_ns = self.clock.now_ns()
        if now_ns >= self._next_poll_ns:
            self._next_poll_ns = now_ns + POLL_NS
            self._poll(now_ns)
        while self._commands:
            command, answer = self._commands.popleft()
            self._operate(command)
            answer(self.state_line())
        exchange = self.venue.exchange
        exchange.advance(now_ns)
        deliveries = exchange.take(now_ns)
        reports = [one.payload for one in deliveries if isinstance(one.payload, Report)]
        if reports:
            # First: a fill that the venue counts must be found by the next start, in our facts or there.
            self.venue.save(reports)
        read: list[bytes] = []
        for delivery in deliveries:
            payload = delivery.payload
            if isinstance(payload, bytes):
                read.append(payload)
                continue
            self._read(read)
            read = []
            self._enter(ReportInput(at_ns=self._stamp(), report=payload))
        self._read(read)
        self.corridor.advance(self.clock.now_ns())
        self._last_ns = max(self._last_ns, self.corridor.clock.now_ns())
        self._judge_end()

    def command(self, command: Command, answer: Callable[[bytes], None]) -> None:
        """Queue a command for the next step; `answer` is told the state after it."""
        self._commands.append((command, answer))

    def request_stop(self, mode: OnStop, reason: str, code_if_held: int = 0) -> None:
        """Begin to end: `flatten` closes what is held, `protect` leaves it behind its stop at the venue.

        What is asked for again changes nothing; `protect` ends a flatten, never the other way round.

        Parameters
        ----------
        code_if_held : exit code if a position is left.
        """
        if self._stop in (mode, "protect") or self.is_over:
            return
        self._stop, self.end, self._code_if_held = mode, reason, code_if_held
        self._stop_deadline_ns = self.clock.now_ns() + int(self.job.config.execution.flatten_s * NS)
        if mode == "flatten":
            self._command(Command(verb=Verb.PAUSE))
            self._command(Command(verb=Verb.FLATTEN))
        else:
            self._command(Command(verb=Verb.HALT))

    def finish(self) -> None:
        """Write the last input and fact, drain what observes, and close the rings."""
        self._enter(EndInput(at_ns=self._stamp(), reason=self.end))
        self.venue.save(())
        self._record()
        if self._recorder is not None:
            self._recorder.close()
        self._facts_ring.close()
        self._market_ring.close()
        self._page.close()

    def state_line(self) -> bytes:
        """Return what the engine allows itself now, as JSON."""
        desk = self.trading.desk
        return msgspec.json.encode(
            {
                "state": WANTED_NAMES[desk.wanted],
                "paused": desk.is_paused,
                "sides": desk.sides,
                "size": desk.size,
                "position": self.instrument.quantity_text(desk.positions[0].quantity),
                "orders": len(self.trading.executor.blotter.open_orders()),
                "epoch": self.epoch,
            }
        )

    @property
    def _end_ns(self) -> int:
        if self._stop is not None:
            return self._stop_deadline_ns
        if self.job.seconds is None or not self.trading_ns:
            return NEVER_NS
        return self.trading_ns + int(self.job.seconds * NS)

    def _judge_end(self) -> None:
        is_late = self.clock.now_ns() >= self._end_ns
        if is_late and self._stop is None:
            self.request_stop(self.job.on_stop, f"{self.job.seconds:g} s of trading are over")
            is_late = False
        if (self._stop == "flatten" and self.is_flat) or (self._stop == "protect" and self._is_protected()):
            self.is_over = True
            if self.trading.desk.positions[0].quantity:
                self.exit_code = max(self.exit_code, self._code_if_held)
        elif is_late:
            self.is_over = True
            self.exit_code = NOT_FLAT
            self.note = (
                "The position could not be closed in time; the stop at the venue stands."
                if self._has_stop()
                else "The position or its orders could not be ended in time, and no stop at the venue stands."
            )

    def _is_protected(self) -> bool:
        """Whether nothing is on its way any more and what is held stands behind a stop at the venue."""
        orders = self.trading.executor.blotter.open_orders()
        if any(order.intent.purpose is not Purpose.HARD_STOP for order in orders):
            return False
        return self._has_stop() if self.trading.desk.positions[0].quantity else not orders

    def _has_stop(self) -> bool:
        return any(
            order.intent.purpose is Purpose.HARD_STOP and order.state is OrderState.OPEN
            for order in self.trading.executor.blotter.open_orders()
        )

    def _poll(self, now_ns: int) -> None:
        self._page.beat(now_ns)
        wanted = self._page.wanted()
        if wanted > self.trading.desk.wanted:
            self._enter(WantedInput(at_ns=self._stamp(), state=wanted, reason="control page"))
        self._wanted = wanted
        lag = self._facts_ring.durable_lag
        grade = 2 if lag >= 0.9 else 1 if lag >= 0.5 else 0
        if grade != self._lag_grade:
            self._lag_grade = grade
            self._enter(LagInput(at_ns=self._stamp(), share=round(lag, 6)))
        self._record()

    def _record(self, line: bytes = b"") -> None:
        """Write down what the rings hold, then `line`; if it cannot be written, begin to end."""
        if self._recorder is None:
            return
        try:
            self._recorder.drain()
            if line:
                self._recorder.write_input(line)
        except InputError as problem:
            self._recorder, self._failure = None, str(problem)
            self.request_stop(self.job.on_stop, "the recording failed")
            self.exit_code = FAILED

    def _operate(self, command: Command) -> None:
        """Do what the operator says; a halt stays on the control page until it is lowered, whoever starts."""
        if command.verb is Verb.STOP:
            self.request_stop("protect" if command.argument == "protect" else "flatten", "told to stop")
            return
        if command.verb is Verb.STATUS or (command.verb is Verb.RESUME and self._stop is not None):
            return
        if command.verb is Verb.RESUME:
            self._page.clear()
        self._command(command)
        if command.verb is Verb.HALT:
            self._page.raise_wanted(ControlSlot.SLOT_ENGINE, Wanted.WANTED_HALTED, self.clock.now_ns())

    def _command(self, command: Command) -> None:
        self._enter(CommandInput(at_ns=self._stamp(), command=command))

    def _read(self, payloads: list[bytes]) -> None:
        if not payloads:
            return
        at_ns = self._stamp()
        for payload in payloads:
            self._market_ring.append(RingKind.FRAME, payload, at_ns)
        self.corridor.on_read(self.lane, at_ns, payloads)

    def _enter(self, entry: Input) -> None:
        self._log(entry)
        self.corridor.apply(entry)

    def _log(self, entry: Input) -> None:
        line = encode_input(entry)
        if len(line) <= self._market_ring.max_payload:
            self._market_ring.append(RingKind.INPUT, line, entry.at_ns)
        elif self._recorder is not None:  # hours of history, before anything else is to be recorded
            self._record(line)

    def _stamp(self) -> int:
        # One moment for each input, later than all before: their order is that of their times.
        self._last_ns = max(self.clock.now_ns(), self._last_ns + 1)
        return self._last_ns

    def _on_fact(self, fact: Fact) -> None:
        self._facts_ring.append(RingKind.FACT, encode_fact(fact), self._last_ns)
        self.tally.take(fact)

    def _on_in_flight(self, order: InFlight) -> None:
        self._facts_ring.append(RingKind.IN_FLIGHT, encode_in_flight(order), self._last_ns)

    def _on_record(self, record: Record) -> None:
        line = encode_line(record)
        if isinstance(record, SignalRecord):
            self._facts_ring.append(RingKind.OUTCOME, line, self._last_ns)
            self._market_ring.append(RingKind.OUTCOME, line, self._last_ns)
        else:
            self._market_ring.append(RingKind.FLOW, line, self._last_ns)
            if record.kind in COMMON:
                return
        self.records.append(record)

    def _on_late(self, serial: int, reason: RefusalReason) -> None:
        self._log(LookInput(at_ns=self._last_ns, serial=serial, reason=reason))

    def _on_unsent(self, number: int, status: SendStatus) -> None:
        self._log(SendInput(at_ns=self._last_ns, number=number, status=int(status)))

    def _make_ring(self, path: Path, mebibytes: int) -> RingWriter:
        try:
            return RingWriter.create(
                str(path),
                capacity=mebibytes << 20,
                instance=self.job.config.engine.instance,
                epoch=self.epoch,
                schema=SCHEMA,
                boot_id=self.run_dir.boot_id,
            )
        except OSError as problem:
            raise InputError(
                f"The ring {path} of {mebibytes} MiB cannot be made: {problem.strerror or problem}; give a "
                "larger [engine] run_dir or smaller rings."
            ) from problem

    def _make_recorder(self) -> Recorder | None:
        if self.job.record is None:
            return None
        market, facts = (
            RingReader(str(path), name="recorder", from_start=True)
            for path in (self.run_dir.market_path(self.epoch), self.run_dir.facts_path(self.epoch))
        )
        return Recorder(self.job.record, self.instrument.symbol, market=market, facts=facts)
