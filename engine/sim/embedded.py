"""The embedded venue: a crowd's market with history, and a paper account that survives the engine.

The venue ends with its process. What it owes its customer does not: the account and the stops that wait at
the venue are written down before reports are handed over, with the fills that nobody may have heard of yet.
A venue that is opened again begins where the one before stood and tells those fills again. Orders that rested
in its book are gone then; asked for, they are absent.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from engine.clock import Clock
from engine.config import Fees
from engine.errors import InputError
from engine.orders import Report, ReportKind
from engine.settings import Simulator
from engine.sim import fees as venue_fees
from engine.sim.account import Account, AccountState
from engine.sim.exchange import Exchange, instrument_of
from engine.sim.history import History
from engine.sim.markets import btcusdt
from engine.sim.requests import Latency
from engine.sim.tape import START_NS

NS_PER_US: Final = 1000
MONEY_PER_QUOTE: Final = 10**8
MINUTE_NS: Final = 60 * 1_000_000_000
KLINES: Final = 240


class VenueState(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue that ends leaves behind."""

    account: AccountState
    last_price: float  # quote
    wall_offset_ns: int  # wall time minus the venue's own
    closed_ns: int  # the venue's own time when this was written
    paper_quote: float
    owed: tuple[Report, ...] = ()  # fills that the account counts and nobody may have heard of yet


class EmbeddedMarket:
    """The venue of an engine that trades without one.

    Parameters
    ----------
    settings : of the simulator.
    clock : of the engine; the venue's own time is the same.
    state_path : where the venue keeps its state.
    wall_ns : wall time now.
    is_restored : begin where the venue before stood, if it left a state; else anew.

    Attributes
    ----------
    exchange : takes requests, gives market data and reports.
    instrument : as its own exchangeInfo tells it.
    fees : of the account.
    """

    def __init__(
        self, settings: Simulator, clock: Clock, state_path: Path, *, wall_ns: int, is_restored: bool
    ) -> None:
        self._path = state_path
        self._clock = clock
        state = _read(state_path) if is_restored else None
        self._wall_offset_ns = wall_ns - clock.now_ns()
        spec = replace(
            btcusdt("spot" if settings.market == "spot" else "usdm"),
            whales_per_minute=settings.whales_per_minute,
            supported_share=settings.supported_share,
            support=settings.support,
        )
        if state is not None:
            spec = replace(spec, start_price=state.last_price)
        self.fees = Fees(taker_bps=settings.taker_bps, maker_bps=settings.maker_bps)
        fees = venue_fees.Fees(maker_bps=settings.maker_bps, taker_bps=settings.taker_bps)
        self.instrument = instrument_of(spec)
        self._paper_quote = settings.paper_quote if state is None else state.paper_quote
        if state is None:
            money = {self.instrument.quote: round(settings.paper_quote * MONEY_PER_QUOTE)}
            self._account = Account(self.instrument, fees, money)
        else:
            self._account = Account.restore(self.instrument, fees, state.account)
        self.exchange = Exchange(
            spec=spec,
            seed=settings.seed,
            start_ns=clock.now_ns(),
            account=self._account,
            latency=Latency(
                settings.feed_us * NS_PER_US, settings.order_us * NS_PER_US, settings.response_us * NS_PER_US
            ),
            clock=clock,
        )
        if state is not None:
            self.exchange.tell_again(state.owed)
        self._history = History(spec, settings.seed, clock.now_ns(), self.exchange.first_trade_id - 1)

    def history(self, minutes: float) -> tuple[bytes, bytes]:
        """Return candles of some hours, and aggregate trades of the last minutes, as REST answers."""
        start_ns = self._history.end_ns - int(minutes * MINUTE_NS)
        return self._history.klines(KLINES), self._history.agg_trades(start_ns, self._history.end_ns)

    def pnl_money(self, mark: int) -> int:
        """Return what the account has gained since its beginning, in 10^-8 quote; `mark` in price units."""
        return self._account.equity(mark) - round(self._paper_quote * MONEY_PER_QUOTE)

    def save(self, heard: Sequence[Report]) -> None:
        """Write down what must outlive the process; whole, or as it was before.

        Parameters
        ----------
        heard : reports that were taken from the venue and may be lost with the process; told again like those
            still under way. Told twice is no harm: a fill has its trade id.
        """
        under_way = (*heard, *self.exchange.reports_under_way)
        state = VenueState(
            account=self._account.dump(),
            wall_offset_ns=self._wall_offset_ns,
            closed_ns=self._clock.now_ns(),
            last_price=self.exchange.last_price * 10.0**-self.instrument.price_digits,
            paper_quote=self._paper_quote,
            owed=tuple(report for report in under_way if report.kind is ReportKind.FILL),
        )
        draft = self._path.with_name(self._path.name + ".new")
        draft.write_bytes(msgspec.json.encode(state))
        draft.replace(self._path)


def opening_ns(state_path: Path, *, wall_ns: int, is_restored: bool) -> int:
    """Return the venue's own time now.

    The venue has a calendar of its own: anew it opens at a fixed moment, so that a seed gives one market;
    opened again it is as much later as it is on the wall, and never earlier than it was.
    """
    if not is_restored:
        return START_NS
    state = _read(state_path)
    return max(wall_ns - state.wall_offset_ns, state.closed_ns)


def _read(path: Path) -> VenueState:
    try:
        return msgspec.json.decode(path.read_bytes(), type=VenueState)
    except (OSError, msgspec.MsgspecError) as problem:
        raise InputError(
            f"The embedded venue's state {path} cannot be read: {problem}; without it the paper account is "
            "lost."
        ) from problem
