"""One instrument's corridor in virtual time, fed from a recording."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from engine.config import ScalperSettings, scalper_settings
from engine.corridor import Corridor, Watch
from engine.inputs import Input, ReportInput
from engine.instruments import Instrument
from engine.orchestrator import Trading
from engine.orders import Report
from engine.records import Record, encode_line
from engine.replay.outputs import OutputFile
from engine.replay.store import Line
from engine.settings import Config
from engine.sim.paper import PaperExchange
from native.market import Market
from native.playback import run_events
from strategies.volume_scalper import VolumeScalper

BBO_DECIMALS: Final = 8
BBO_DRAIN_LINES: Final = 4096

OnRead = Callable[[int], None]


class Session:
    """The corridor of one instrument, and what is written down of it.

    Parameters
    ----------
    instrument : units and market rules.
    config : settings.
    scalper : settings of the strategy; from `config` if not given.
    signals : receives every flow event, signal and veto as a JSON line.
    bbo : receives the best prices after every applied depth update.
    watch : called with every record, for a view.
    trading : desk and executor, if orders are sent.

    Attributes
    ----------
    messages, snapshots : lines played, and those of them that were REST depth answers.
    first_recv_ns, last_recv_ns : of the lines played.

    Notes
    -----
    Lines with equal receive times are one read. Before a read the timers due by then run, each decided at its
    own time; the masks of a read are decided once, at its end. Time is the recording's: nothing here depends
    on the clock of the machine.
    """

    def __init__(
        self,
        instrument: Instrument,
        config: Config,
        *,
        scalper: ScalperSettings | None = None,
        signals: OutputFile | None = None,
        bbo: OutputFile | None = None,
        watch: Watch | None = None,
        trading: Trading | None = None,
    ) -> None:
        is_written = signals is not None or watch is not None
        self.corridor = Corridor(
            (instrument,),
            config,
            (scalper_settings(config, instrument.kind) if scalper is None else scalper,),
            trading=trading,
            watch=self._write if is_written else None,
        )
        self._lane = self.corridor.lanes[0]
        if bbo is not None:
            self.market.enable_bbo_log()
        self.messages = 0
        self.snapshots = 0
        self.first_recv_ns = 0
        self.last_recv_ns = 0
        self._instrument = instrument
        self._signals = signals
        self._bbo = bbo
        self._watch = watch
        self._exchange: PaperExchange | None = None

    @property
    def market(self) -> Market:
        """The market as it stands; read it, do not feed it."""
        return self._lane.market

    @property
    def strategy(self) -> VolumeScalper:
        """The strategy as it stands."""
        return self._lane.strategy

    @property
    def kinds(self) -> Mapping[str, int]:
        """Count of records by kind, those with a count of 0 included."""
        return self._lane.kinds

    @property
    def refusals(self) -> Mapping[str, int]:
        """Whale episodes that the imbalance after them did not confirm, by reason."""
        return self._lane.refusals

    def connect(self, exchange: PaperExchange) -> None:
        """Trade on a paper exchange that stands on this session's market."""
        self._exchange = exchange

    def play_lines(
        self, lines: Iterable[Line], on_read: OnRead | None = None, inputs: Iterable[Input] = ()
    ) -> None:
        """Feed recorded messages.

        Parameters
        ----------
        lines : in the order of their receive times.
        on_read : called after every read with its time.
        inputs : what else entered the corridor, in the order of their times.
        """
        pending = iter(inputs)
        entry = next(pending, None)
        read_ns = -1
        read: list[bytes] = []
        for recv_ns, payload, _ in lines:
            if recv_ns != read_ns:
                if read:
                    self._take(read_ns, read)
                    if on_read is not None:
                        on_read(read_ns)
                    read = []
                else:
                    self.first_recv_ns = recv_ns
                while entry is not None and entry.at_ns <= recv_ns:
                    self.corridor.apply(entry)
                    entry = next(pending, None)
                read_ns = recv_ns
            read.append(payload)
        if read:
            self._take(read_ns, read)
            if on_read is not None:
                on_read(read_ns)
        while entry is not None:
            self.corridor.apply(entry)
            entry = next(pending, None)
        self.finish()

    def play_events(self, events: memoryview, on_stop: OnRead | None = None) -> None:
        """Feed a converted recording; orders need the recording itself.

        Parameters
        ----------
        events : whole content of its event file.
        on_stop : called with the offset reached whenever the native loop has something to decide.
        """
        offset, end = 0, len(events)
        while offset < end:
            offset, mask = run_events(self.market, events, offset, end)
            if mask:
                self.corridor.decide(self._lane, mask)
            if self._bbo is not None:
                self._drain_bbo()
            if on_stop is not None:
                on_stop(offset)
        self.finish()

    def finish(self) -> None:
        """Write down what is not written yet."""
        self.corridor.drain()
        if self._bbo is not None:
            self._drain_bbo()

    def _take(self, recv_ns: int, payloads: list[bytes]) -> None:
        if self._exchange is not None:
            self._trade_until(self._exchange, recv_ns)
        self.corridor.on_read(self._lane, recv_ns, payloads)
        if self._exchange is not None:
            self._exchange.on_read(payloads, recv_ns)
        n_before = self.messages
        self.messages += len(payloads)
        self.last_recv_ns = recv_ns
        self.snapshots = self.market.snapshots
        if self._bbo is not None and n_before // BBO_DRAIN_LINES != self.messages // BBO_DRAIN_LINES:
            self._drain_bbo()

    def _trade_until(self, exchange: PaperExchange, recv_ns: int) -> None:
        # Requests arrive and reports come back between two reads, timers in their order with them.
        corridor = self.corridor
        while (due_ns := min(exchange.next_ns, corridor.next_due_ns)) < recv_ns:
            corridor.advance(due_ns)
            corridor.clock.advance_to(max(due_ns, corridor.clock.now_ns()))
            exchange.advance(due_ns)
            for delivery in exchange.take(due_ns):
                if isinstance(delivery.payload, Report):
                    corridor.apply(ReportInput(at_ns=due_ns, report=delivery.payload))

    def _write(self, record: Record) -> None:
        if self._signals is not None:
            self._signals.write(encode_line(record))
        if self._watch is not None:
            self._watch(record)

    def _drain_bbo(self) -> None:
        if self._bbo is None:
            return
        digits = self._instrument.price_digits
        decimals = max(BBO_DECIMALS, digits)
        scale, unit = 10 ** (decimals - digits), 10**decimals
        lines = []
        for update_id, bid, ask in self.market.take_bbo().tolist():
            bid_whole, bid_part = divmod(bid * scale, unit)
            ask_whole, ask_part = divmod(ask * scale, unit)
            lines.append(
                f"{update_id},{bid_whole}.{bid_part:0{decimals}d},{ask_whole}.{ask_part:0{decimals}d}\n"
            )
        if lines:
            self._bbo.write("".join(lines).encode())
