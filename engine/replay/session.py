"""One instrument's corridor in virtual time: Market, strategy and orchestrator, fed from a recording."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Final

from engine.clock import VirtualClock
from engine.config import market_settings, scalper_settings
from engine.instruments import Instrument
from engine.orchestrator import Orchestrator, Outcome
from engine.records import Record, encode_line, flow_records, signal_record
from engine.replay.outputs import OutputFile
from engine.replay.store import Line
from engine.replay.units import is_snapshot
from engine.settings import Config
from engine.signals import EntryReason, FlowKind, MarketKind, Veto
from native.market import Market
from native.playback import run_events
from strategies.volume_scalper import VolumeScalper

BBO_DECIMALS: Final = 8
BBO_DRAIN_LINES: Final = 4096
_COMBINED_STREAM: Final = b'{"stream"'

Watch = Callable[[Record], None]
OnRead = Callable[[int], None]


class Session:
    """The corridor of one instrument, and what is written down of it.

    Parameters
    ----------
    instrument : units and market rules.
    config : settings.
    signals : receives every flow event, signal and veto as a JSON line.
    bbo : receives the best prices after every applied depth update.
    watch : called with every record, for a view.

    Attributes
    ----------
    market, strategy : as they stand; read them, do not feed them.
    messages, snapshots : lines played, and those of them that were REST depth answers.
    kinds : count of records by kind, those with a count of 0 included.
    refusals : whale episodes that the imbalance after them did not confirm, by reason.
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
        signals: OutputFile | None = None,
        bbo: OutputFile | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.market = Market(
            symbol=instrument.symbol,
            kind=int(instrument.kind),
            index=instrument.index,
            epoch=instrument.epoch,
            price_digits=instrument.price_digits,
            quantity_digits=instrument.quantity_digits,
            tick=instrument.tick,
            contract_size=float(instrument.contract_size) if instrument.kind is MarketKind.COINM else 0.0,
            **asdict(market_settings(config, instrument.symbol, instrument.kind)),
        )
        if bbo is not None:
            self.market.enable_bbo_log()
        self.strategy = VolumeScalper(scalper_settings(config, instrument.kind))
        self.messages = 0
        self.snapshots = 0
        self.first_recv_ns = 0
        self.last_recv_ns = 0
        self.kinds = {kind.name.lower(): 0 for kind in FlowKind} | {"entry": 0, "veto": 0}
        self.refusals = {
            reason.name.lower(): 0 for reason in EntryReason if reason is not EntryReason.CONFIRMED
        }
        self._instrument = instrument
        self._clock = VirtualClock()
        self._orchestrator = Orchestrator((self.strategy,), self._clock, self._on_outcome)
        self._signals = signals
        self._bbo = bbo
        self._watch = watch

    def play_lines(self, lines: Iterable[Line], on_read: OnRead | None = None) -> None:
        """Feed recorded messages.

        Parameters
        ----------
        lines : in the order of their receive times.
        on_read : called after every read with its time.
        """
        market = self.market
        read_ns = -1
        mask = 0
        for recv_ns, payload, _ in lines:
            if recv_ns != read_ns:
                if mask:
                    self._decide(mask)
                    mask = 0
                if read_ns < 0:
                    self.first_recv_ns = recv_ns
                elif on_read is not None:
                    on_read(read_ns)
                while due := market.advance(recv_ns):
                    self._decide(due)
                self.last_recv_ns = read_ns = recv_ns
            self.messages += 1
            if not payload.startswith(_COMBINED_STREAM) and is_snapshot(payload):
                self.snapshots += 1
                mask |= market.on_snapshot(payload, recv_ns)
            else:
                mask |= market.on_frame(payload, recv_ns)
            if self._bbo is not None and self.messages % BBO_DRAIN_LINES == 0:
                self._drain_bbo()
        if mask:
            self._decide(mask)
        if on_read is not None and read_ns >= 0:
            on_read(read_ns)
        self.finish()

    def play_events(self, events: memoryview, on_stop: OnRead | None = None) -> None:
        """Feed a converted recording.

        Parameters
        ----------
        events : whole content of its event file.
        on_stop : called with the offset reached whenever the native loop has something to decide.
        """
        offset, end = 0, len(events)
        while offset < end:
            offset, mask = run_events(self.market, events, offset, end)
            if mask:
                self._decide(mask)
            if self._bbo is not None:
                self._drain_bbo()
            if on_stop is not None:
                on_stop(offset)
        self.finish()

    def finish(self) -> None:
        """Write down what is not written yet."""
        self._drain_events()
        if self._bbo is not None:
            self._drain_bbo()

    def _decide(self, mask: int) -> None:
        # What the market saw is written before what is concluded from it.
        self._drain_events()
        self._clock.advance_to(self.market.now_ns)
        self._orchestrator.on_trigger(self.market, mask)

    def _drain_events(self) -> None:
        events = self.market.take_events()
        if not len(events):
            return
        for kind, reason in zip(events["kind"].tolist(), events["reason"].tolist(), strict=True):
            self.kinds[FlowKind(kind).name.lower()] += 1
            if kind == FlowKind.ENTRY_REFUSED:
                self.refusals[EntryReason(reason).name.lower()] += 1
        if self._signals is not None or self._watch is not None:
            for record in flow_records(events, (self._instrument,)):
                self._write(record)

    def _on_outcome(self, outcome: Outcome) -> None:
        self.kinds["veto" if isinstance(outcome, Veto) else "entry"] += 1
        if self._signals is not None or self._watch is not None:
            self._write(signal_record(outcome))

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
