"""The corridor: every input of one engine enters here in one order, every decision is taken here.

Live, paper, replay and test run this room; they differ in where inputs come from and where orders go.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

from engine.clock import VirtualClock
from engine.config import ScalperSettings, market_settings
from engine.errors import InputError, StateError
from engine.facts import SessionFact
from engine.inputs import (
    CommandInput,
    ContextInput,
    EndInput,
    EventInput,
    Input,
    InstrumentInput,
    LagInput,
    ReportInput,
    RestoreInput,
    SessionInput,
    TradesInput,
    TradingInput,
    WantedInput,
    WarmUpInput,
    is_snapshot,
)
from engine.instruments import Instrument
from engine.orchestrator import Orchestrator, Outcome, Trading
from engine.orders import Change, Wish
from engine.records import Record, flow_records, signal_record
from engine.restart import LEFT, restore
from engine.settings import Config
from engine.signals import EntryReason, FlowKind, MarketKind, Veto
from native.histogram import Histogram
from native.market import Market
from native.triggers import Timer
from native.warmup import warm_up
from strategies.volume_scalper import VolumeScalper

Watch = Callable[[Record], None]

NEVER_NS: Final = 2**63 - 1
_COMBINED_STREAM: Final = b'{"stream"'


class Lane:
    """One instrument in the corridor: its market, its strategy, and what is counted of it.

    Attributes
    ----------
    kinds : count of records by kind, those with a count of 0 included.
    refusals : whale episodes that the imbalance after them did not confirm, by reason.
    """

    __slots__ = (
        "_clock",
        "_config",
        "_outcomes",
        "_watch",
        "instrument",
        "kinds",
        "market",
        "orchestrator",
        "refusals",
        "strategy",
    )

    def __init__(
        self,
        instrument: Instrument,
        config: Config,
        scalper: ScalperSettings,
        *,
        clock: VirtualClock,
        trading: Trading | None,
        watch: Watch | None,
    ) -> None:
        self.instrument = instrument
        self.market = _market_of(instrument, config)
        self._config = config
        self.strategy = VolumeScalper(scalper)
        self.kinds = {kind.name.lower(): 0 for kind in FlowKind} | {"entry": 0, "veto": 0}
        self.refusals = {
            reason.name.lower(): 0 for reason in EntryReason if reason is not EntryReason.CONFIRMED
        }
        self._clock = clock
        self._outcomes: list[Outcome] = []
        self._watch = watch
        self.orchestrator = Orchestrator((self.strategy,), clock, self._outcomes.append, trading)

    def renew(self, instrument: Instrument) -> None:
        """Take over what the venue now says; another epoch begins with an empty market in its own units."""
        is_same = instrument.epoch == self.instrument.epoch
        self.instrument = instrument
        if not is_same:
            self.drain()
            self.market = _market_of(instrument, self._config)

    def decide(self, mask: int) -> None:
        """Decide what the market has to decide, at the market's own time."""
        self._clock.advance_to(self.market.now_ns)
        self.orchestrator.on_trigger(self.market, mask)
        # What is written down waits until the orders have left.
        self.drain()

    def drain(self) -> None:
        """Write down what is not written yet: what the market saw, then what was concluded from it."""
        events = self.market.take_events()
        if len(events):
            for kind, reason in zip(events["kind"].tolist(), events["reason"].tolist(), strict=True):
                self.kinds[FlowKind(kind).name.lower()] += 1
                if kind == FlowKind.ENTRY_REFUSED:
                    self.refusals[EntryReason(reason).name.lower()] += 1
            if self._watch is not None:
                for record in flow_records(events, (self.instrument,)):
                    self._watch(record)
        for outcome in self._outcomes:
            self.kinds["veto" if isinstance(outcome, Veto) else "entry"] += 1
            if self._watch is not None:
                self._watch(signal_record(outcome))
        self._outcomes.clear()


def _market_of(instrument: Instrument, config: Config) -> Market:
    return Market(
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


class Corridor:
    """All instruments of one engine, and the one order in which inputs reach them.

    Parameters
    ----------
    instruments : by their dense index.
    config : settings.
    scalper : settings of the strategy, by instrument.
    trading : desk and executor; None gives signals only.
    clock : corridor time; moved here and nowhere else. Desk and executor must be given the same.
    watch : called with every record, after the orders of its decision have left.

    Attributes
    ----------
    clock : corridor time of what is being decided.
    mask_to_order_ns : from a mask to the bytes of its first order.

    Notes
    -----
    Time is that of the inputs. Before each input the timers due by then run, over all instruments in the
    order of their due times, each decided at its own; so the decisions depend on the inputs alone.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: Config,
        scalper: Sequence[ScalperSettings],
        *,
        clock: VirtualClock | None = None,
        trading: Trading | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.clock = VirtualClock() if clock is None else clock
        self.trading = trading
        self.lanes = tuple(
            Lane(instrument, config, settings, clock=self.clock, trading=trading, watch=watch)
            for instrument, settings in zip(instruments, scalper, strict=True)
        )
        self._by_symbol = {lane.instrument.symbol: lane for lane in self.lanes}
        self.mask_to_order_ns = Histogram()
        self._began_ns = 0
        self._session: SessionInput | None = None

    @property
    def next_due_ns(self) -> int:
        """Due time of the earliest timer."""
        return min(lane.market.triggers.next_due_ns for lane in self.lanes)

    def advance(self, now_ns: int) -> None:
        """Run every timer that is due by `now_ns`."""
        if len(self.lanes) == 1:
            lane = self.lanes[0]
            while mask := lane.market.advance(now_ns):
                self._decide(lane, mask)
            return
        while (due_ns := self.next_due_ns) <= now_ns:
            lane = next(lane for lane in self.lanes if lane.market.triggers.next_due_ns == due_ns)
            mask = lane.market.advance(due_ns)
            if mask:
                self._decide(lane, mask)
        for lane in self.lanes:
            lane.market.advance(now_ns)

    def on_read(self, lane: Lane, recv_ns: int, payloads: Sequence[bytes]) -> None:
        """Take what one read of a market-data socket brought: one decision at its end.

        Parameters
        ----------
        lane : whose messages these are.
        recv_ns : when it was read; later than every input before.
        payloads : stream frames, and answers of the REST depth endpoint among them.
        """
        self.advance(recv_ns)
        market = lane.market
        mask = 0
        for payload in payloads:
            if payload.startswith(_COMBINED_STREAM) or not is_snapshot(payload):
                mask |= market.on_frame(payload, recv_ns)
            else:
                mask |= market.on_snapshot(payload, recv_ns)
        if mask:
            self._decide(lane, mask)

    def decide(self, lane: Lane, mask: int) -> None:
        """Decide a mask that the market gave by another way than `on_read`."""
        self._decide(lane, mask)

    def on_masks(self, _recv_ns: int, masks: Sequence[tuple[int, int]]) -> None:
        """Decide what one read of a socket with streams of several instruments brought, in this order.

        Parameters
        ----------
        masks : pairs of an instrument's index and its mask; the timers due by the read have run.
        """
        for index, mask in masks:
            self._decide(self.lanes[index], mask)

    def apply(self, entry: Input) -> Change | None:
        """Take an input that is no frame; timers due by its time run before.

        Returns
        -------
        Change or None
            Of a report: what it changed of one of our orders.

        Raises
        ------
        InputError
            A history of another shape than the venue's endpoints give.
        """
        self.advance(entry.at_ns)
        self.clock.advance_to(entry.at_ns)
        change = None
        if isinstance(entry, WarmUpInput):
            self._warm_up(entry)
        elif isinstance(entry, TradesInput):
            self._by_symbol[entry.symbol].market.on_trades(bytes(entry.body), entry.at_ns)
        elif isinstance(entry, ContextInput):
            self._by_symbol[entry.symbol].market.on_context(entry.what, bytes(entry.body))
        elif isinstance(entry, InstrumentInput):
            self._renew(entry.instrument)
        elif isinstance(entry, EventInput):
            self._note(entry)
        elif self.trading is not None:
            change = self._apply_to(self.trading, entry)
            self._rearm()
        self.drain()
        return change

    def stamp_order(self) -> None:
        """Note that bytes of an order leave now; the first of a decision counts."""
        if self._began_ns:
            self.mask_to_order_ns.record_value(time.monotonic_ns() - self._began_ns)
            self._began_ns = 0

    def drain(self) -> None:
        """Write down what is not written yet."""
        for lane in self.lanes:
            lane.drain()

    def _perform(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            lane = self.lanes[wish.instrument]
            lane.orchestrator.perform((wish,), lane.market)

    def _warm_up(self, entry: WarmUpInput) -> None:
        market = self._by_symbol[entry.symbol].market
        try:
            warm_up(market, bytes(entry.klines), bytes(entry.agg_trades))
        except ValueError as problem:
            raise InputError(f"The history of {entry.symbol} cannot be used: {problem}") from problem

    def _note(self, entry: EventInput) -> None:
        if (entry.event, entry.detail) == ("refresh", "begin"):
            self._by_symbol[entry.symbol].market.begin_refresh()
        elif entry.event == "gap_left":
            self._by_symbol[entry.symbol].market.close_gaps()

    def _renew(self, instrument: Instrument) -> None:
        lane = self._by_symbol[instrument.symbol]
        if self.trading is not None and instrument.epoch != lane.instrument.epoch:
            raise StateError(
                f"The filters of {instrument.symbol} changed while it is traded: end the engine and start it "
                "again with the new ones.",
                symbol=instrument.symbol,
            )
        lane.renew(instrument)

    def _apply_to(self, trading: Trading, entry: Input) -> Change | None:
        desk, at_ns = trading.desk, entry.at_ns
        if isinstance(entry, ReportInput):
            change = trading.executor.on_report(entry.report, at_ns)
            if change is not None:
                self._apply_change(change)
            return change
        if isinstance(entry, CommandInput):
            markets = tuple(lane.market for lane in self.lanes)
            self._perform(desk.on_command(entry.command, markets, at_ns))
        elif isinstance(entry, WantedInput):
            self._perform(desk.set_wanted(entry.state, entry.reason, at_ns))
        elif isinstance(entry, LagInput):
            self._perform(desk.set_facts_lag(entry.share, at_ns))
        elif isinstance(entry, TradingInput):
            desk.is_warming_up = False
        elif isinstance(entry, SessionInput):
            self._session = entry
            self._tell(trading, "begin", LEFT if entry.has_left else "", at_ns)
        elif isinstance(entry, EndInput):
            self._tell(trading, "end", entry.reason, at_ns)
        elif isinstance(entry, RestoreInput):
            self._tell(trading, "restoring", f"{len(entry.facts)} facts", at_ns)
            instruments = tuple(lane.instrument for lane in self.lanes)
            markets = tuple(lane.market for lane in self.lanes)
            wishes = restore(trading, entry.facts, instruments, markets, at_ns)
            # From here on these facts are whole; what is sent next must be found in them.
            self._tell(trading, "restored", "", at_ns)
            self._perform(wishes)
        return None

    def _tell(self, trading: Trading, event: str, reason: str, at_ns: int) -> None:
        session = self._session
        if session is not None:
            trading.facts(
                SessionFact(
                    event=event,
                    instance=session.instance,
                    epoch=session.epoch,
                    venue=session.venue,
                    preset=session.config.preset,
                    at_ns=at_ns,
                    reason=reason,
                )
            )

    def _decide(self, lane: Lane, mask: int) -> None:
        self._began_ns = time.monotonic_ns()
        if self.trading is not None:
            now_ns = lane.market.now_ns
            if self.trading.executor.next_due_ns <= now_ns:
                self.clock.advance_to(now_ns)
                for change in self.trading.executor.on_due(now_ns):
                    self._apply_change(change)
        lane.decide(mask)
        self._began_ns = 0
        self._rearm()

    def _apply_change(self, change: Change) -> None:
        lane = self.lanes[change.order.intent.instrument]
        lane.orchestrator.on_change(change, lane.market)

    def _rearm(self) -> None:
        if self.trading is None:
            return
        desk, executor = self.trading.desk, self.trading.executor
        for lane in self.lanes:
            due_ns = min(desk.next_due_ns(lane.instrument.index), executor.next_due_ns)
            if due_ns < NEVER_NS:
                lane.market.triggers.arm_timer(Timer.TIMER_DESK, due_ns)
            else:
                lane.market.triggers.disarm_timer(Timer.TIMER_DESK)
