"""Orders in a replay: those of a recorded engine decided again, or new ones against a paper exchange."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from engine.config import Fees, configured_fees
from engine.errors import InputError
from engine.execution.ids import OrderIds
from engine.execution.lastlook import RecordedLook
from engine.facts import Fact, InFlight, encode_fact
from engine.inputs import Input, ListenInput, LookInput, SendInput, SessionInput, inputs_path, read_inputs
from engine.instruments import Instrument
from engine.replay.outputs import OutputFile
from engine.replay.report import Orders
from engine.replay.session import Session
from engine.settings import Config
from engine.signals import MarketKind
from engine.sim import fees as venue_fees
from engine.sim.account import Account
from engine.sim.paper import PaperExchange
from engine.sim.requests import Latency
from engine.tally import Tally
from engine.trading import OrderLine, RecordedLine, open_trading
from engine.venues.venue import SendStatus

Mode = Literal["none", "recorded", "paper"]

NS_PER_US: Final = 1000
PAPER_EPOCH: Final = 1


def recorded_inputs(paths: Sequence[Path]) -> list[Input]:
    """Return the inputs that stand beside a recording; empty if there are none.

    Raises
    ------
    InputError
        They are damaged, or do not begin with who recorded them.
    """
    path = inputs_path(paths[0])
    if len(paths) != 1 or not path.is_file():
        return []
    inputs = list(read_inputs(path))
    if not inputs or not isinstance(inputs[0], SessionInput | ListenInput):
        raise InputError(f"{path} does not begin with the line of its session.")
    return inputs


class Trades:
    """Desk, executor and venue of one replay, and what they are worth at its end.

    Parameters
    ----------
    mode : "recorded" or "paper".
    instrument : of the replay.
    config : settings.
    inputs : of the recording; needed for "recorded". Those of markets that were listened to are played with
        paper orders too: no order made them.
    decisions : receives every fact as a JSON line.
    """

    def __init__(
        self,
        mode: Mode,
        instrument: Instrument,
        config: Config,
        inputs: Sequence[Input],
        decisions: OutputFile | None,
    ) -> None:
        self.mode = mode
        is_heard = bool(inputs) and isinstance(inputs[0], ListenInput)
        self.inputs = inputs if is_heard or mode == "recorded" else ()
        self.tally = Tally()
        self._instrument = instrument
        self._config = config
        self._decisions = decisions
        self._line = OrderLine()
        self._account: Account | None = None
        session = inputs[0] if mode == "recorded" and inputs else None
        if isinstance(session, SessionInput):
            self.fees = Fees(taker_bps=session.taker_bps, maker_bps=session.maker_bps)
            ids = OrderIds(session.instance, session.epoch)
            look = {entry.serial: entry.reason for entry in inputs if isinstance(entry, LookInput)}
        else:
            self.fees = configured_fees(config, instrument.kind)
            ids = OrderIds(config.engine.instance, PAPER_EPOCH)
            look = {}
        self.trading = open_trading(
            (instrument,),
            config,
            fees=self.fees,
            line=self._line,
            ids=ids,
            last_look=RecordedLook(look),
            facts=self._on_fact,
            in_flight=_written_by_none,
        )
        self.trading.desk.is_warming_up = mode == "recorded"

    def connect(self, session: Session) -> None:
        """Connect the orders of a session: to nothing that answers, or to a paper exchange on its market."""
        self._line.stamp = session.corridor.stamp_order
        if self.mode == "recorded":
            refused = {e.number: SendStatus(e.status) for e in self.inputs if isinstance(e, SendInput)}
            self._line.target = RecordedLine(refused)
            return
        settings = self._config.simulator
        self._account = Account(
            self._instrument,
            venue_fees.Fees(maker_bps=self.fees.maker_bps, taker_bps=self.fees.taker_bps),
            {self._instrument.quote: round(settings.paper_quote * 10**8)},
        )
        exchange = PaperExchange(
            instrument=self._instrument,
            account=self._account,
            latency=Latency(
                settings.feed_us * NS_PER_US, settings.order_us * NS_PER_US, settings.response_us * NS_PER_US
            ),
            clock=session.corridor.clock,
            market=session.market,
        )
        self._line.target = exchange
        session.connect(exchange)

    def report(self, session: Session) -> Orders:
        """Return what the orders came to, open positions valued at the last mid."""
        market, position = session.market, self.trading.desk.positions[0]
        mark = (market.best_bid + market.best_ask) // 2
        tally = self.tally
        paper_money = round(self._config.simulator.paper_quote * 10**8)
        return Orders(
            mode=self.mode,
            maker_bps=self.fees.maker_bps,
            taker_bps=self.fees.taker_bps,
            decisions=tally.facts,
            approved=tally.approved,
            orders=tally.orders,
            fills=tally.fills,
            round_trips=tally.round_trips,
            wins=tally.wins,
            position=self._instrument.quantity_text(position.quantity),
            realised=position.realised_money,
            fees=position.fees_money,
            pnl=position.equity_money(mark),
            exchange_pnl=None if self._account is None else self._account.equity(mark) - paper_money,
            refusals=dict(tally.refusals),
        )

    def _on_fact(self, fact: Fact) -> None:
        self.tally.take(fact)
        if self._decisions is not None:
            self._decisions.write(encode_fact(fact))


def _written_by_none(_order: InFlight) -> None:
    """A replay is not taken up again where it died."""


def tradable(instrument: Instrument) -> Instrument:
    """Return the instrument as paper orders need it.

    Raises
    ------
    InputError
        It is an inverse contract, or its assets are unknown.
    """
    if instrument.kind is MarketKind.COINM:
        raise InputError(f"{instrument.symbol} is an inverse contract: it is analysed, but not traded.")
    if not instrument.base or not instrument.quote:
        raise InputError(f"The assets of {instrument.symbol} are unknown; give --exchange-info.")
    return instrument if instrument.status else replace(instrument, status="TRADING")
