"""What a replay plays: one symbol of a recording, or a converted recording, and its instrument."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from engine.errors import InputError
from engine.inputs import is_snapshot
from engine.instruments import Instrument, from_exchange_info
from engine.replay.converted import Meta, read_meta
from engine.replay.store import Line, Recording, Tally, open_recording, read_document, read_lines
from engine.replay.units import Survey, SymbolFacts, survey, symbol_of
from engine.signals import MarketKind

MARKETS: Final = {"spot": MarketKind.SPOT, "usdm": MarketKind.USDM, "coinm": MarketKind.COINM}
MAX_BACKWARD_NS: Final = 1_000_000_000

_QUOTES: Final = (
    *("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "USD", "EUR", "GBP", "TRY", "BRL", "AUD", "JPY"),
    *("BTC", "ETH", "BNB"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """One instrument's input, checked and ready to be played.

    Attributes
    ----------
    paths : what was given.
    instrument : with its units.
    units_from : where those came from, for a human.
    recording, survey : of a recording; None for a converted one.
    directory, meta : of a converted recording; None for a recorded one.
    notes : sentences the user should see.
    """

    paths: tuple[Path, ...]
    instrument: Instrument
    units_from: str
    recording: Recording | None = None
    survey: Survey | None = None
    directory: Path | None = None
    meta: Meta | None = None
    notes: tuple[str, ...] = ()

    @property
    def market(self) -> str:
        """The name of the market as the command line writes it."""
        return self.instrument.kind.name.lower()


def open_source(
    paths: tuple[Path, ...],
    *,
    market: str | None,
    symbol: str | None,
    exchange_info: Path | None,
    progress: Callable[[int], None] | None = None,
) -> Source:
    """Check what the user gave and learn its instrument.

    Parameters
    ----------
    paths : recorded files in order, or one converted directory.
    market : "spot", "usdm" or "coinm"; None only for a converted directory.
    symbol : None if there is only one.
    exchange_info : file with the venue's exchangeInfo answer.
    progress : called with the bytes read from disk while the recording is scanned.

    Raises
    ------
    InputError
        Anything that is missing, of another format, of another market, or ambiguous.
    """
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise InputError("A converted directory is replayed alone, found it among other files.")
        return _open_converted(paths[0], market, symbol, exchange_info)
    recording = open_recording(list(paths))
    found = survey(recording, progress)
    facts = _choose(found, symbol)
    kind = _check_market(facts, market)
    if len(paths) > 1 and facts.backward_ns > MAX_BACKWARD_NS:
        raise InputError(
            f"The files are not in the order of time: {facts.symbol} goes back by "
            f"{facts.backward_ns / 1e9:.1f} s; give the earliest first."
        )
    instrument, units_from, notes = _instrument(found, facts, kind, exchange_info)
    if facts.snapshots == 0:
        notes.append(
            f"No REST depth snapshot of {facts.symbol} is in these files: its book never becomes valid "
            "and no signal can come from it."
        )
    if facts.backward_ns:
        notes.append(
            f"Receive times go back by up to {facts.backward_ns / 1e6:.3f} ms; such lines are played at the "
            "latest time before them."
        )
    return Source(
        paths=paths,
        instrument=instrument,
        units_from=units_from,
        recording=recording,
        survey=found,
        notes=tuple(notes),
    )


def source_lines(source: Source, tally: Tally) -> Iterator[Line]:
    """Yield the lines of the source's symbol in their order, those that name no symbol included.

    Notes
    -----
    Receive times never go back: a line that does is given the latest time before it.
    """
    recording, found = source.recording, source.survey
    if recording is None or found is None:
        raise InputError("Expected a recording, found a converted directory; it can be replayed as it is.")
    symbol = source.instrument.symbol
    owners = iter(found.snapshot_owners)
    is_mixed = len(found.symbols) > 1
    latest_ns = 0
    for line in read_lines(recording, tally):
        if is_mixed:
            owner = next(owners) if is_snapshot(line.payload) else symbol_of(line.payload)
            if owner not in ("", symbol):
                continue
        if line.recv_ns < latest_ns:
            yield Line(latest_ns, line.payload, line.symbol)
            continue
        latest_ns = line.recv_ns
        yield line


def _choose(found: Survey, symbol: str | None) -> SymbolFacts:
    if symbol is not None:
        return found.facts(symbol.upper())
    if len(found.symbols) > 1:
        raise InputError(
            f"The recording holds {len(found.symbols)} symbols, choose one with --symbol: {found.names()}."
        )
    return found.symbols[0]


def _check_market(facts: SymbolFacts, market: str | None) -> MarketKind:
    has_previous_ids = facts.has_previous_ids
    looks = None
    if has_previous_ids is not None:
        looks = "coinm" if facts.is_coin_margined else "usdm" if has_previous_ids else "spot"
    if market is None:
        hint = f"; {facts.symbol} looks like {looks}" if looks is not None else ""
        raise InputError(f"--market is needed for a recording: spot, usdm or coinm{hint}.")
    if looks is not None and looks != market:
        if market == "spot":
            why = "its depth updates carry pu, the update chain of futures"
        elif looks == "spot":
            why = "its depth updates carry no pu, as on spot"
        else:
            why = "it is a coin-margined contract" if looks == "coinm" else "it is no coin-margined contract"
        raise InputError(f"{facts.symbol} was not recorded on {market}: {why}; expected --market {looks}.")
    return MARKETS[market]


def _instrument(
    found: Survey, facts: SymbolFacts, kind: MarketKind, exchange_info: Path | None
) -> tuple[Instrument, str, list[str]]:
    notes: list[str] = []
    if exchange_info is not None:
        if exchange_info.is_dir() or not exchange_info.exists():
            what = "a directory" if exchange_info.is_dir() else "nothing"
            raise InputError(f"Expected an exchangeInfo file at {exchange_info}, found {what}.")
        instrument = from_exchange_info(read_document(exchange_info), facts.symbol, kind)
        units_from = "exchangeInfo"
    elif found.exchange_info:
        try:
            instrument = from_exchange_info(found.exchange_info, facts.symbol, kind)
        except InputError as problem:
            notes.append(f"The exchangeInfo answer in the recording is not used: {problem}")
            return _inferred(facts, kind), "inferred from the recording", notes
        units_from = "exchangeInfo in the recording"
    else:
        return _inferred(facts, kind), "inferred from the recording", notes
    finer = facts.price_digits - instrument.price_digits
    if finer > 0:
        # A level finer than the unit could not be read; the unit may be finer than the tick, never coarser.
        instrument = replace(instrument, price_digits=facts.price_digits, tick=instrument.tick * 10**finer)
        notes.append(
            f"The recording has prices of {facts.price_digits} decimals, finer than the tick of "
            "exchangeInfo; the finer unit is used."
        )
    return instrument, units_from, notes


def _inferred(facts: SymbolFacts, kind: MarketKind) -> Instrument:
    pair = facts.symbol.partition("_")[0]
    quote = next((name for name in _QUOTES if pair.endswith(name) and pair != name), "")
    contract_size = 1
    if kind is MarketKind.COINM:
        # A COIN-M contract is 100 USD of BTC and 10 USD of everything else.
        contract_size = 100 if pair == "BTCUSD" else 10
    return Instrument(
        symbol=facts.symbol,
        kind=kind,
        base=pair.removesuffix(quote),
        quote=quote,
        price_digits=facts.price_digits,
        quantity_digits=facts.quantity_digits,
        tick=1,
        step=1,
        min_notional=Decimal(0),
        contract_size=contract_size,
        status="",
    )


def _open_converted(
    directory: Path, market: str | None, symbol: str | None, exchange_info: Path | None
) -> Source:
    meta = read_meta(directory)
    if market is not None and market != meta.market:
        raise InputError(f"{directory} was recorded on {meta.market}, found --market {market}.")
    if symbol is not None and symbol.upper() != meta.symbol:
        raise InputError(f"{symbol.upper()} is not in {directory}, which holds {meta.symbol}.")
    if exchange_info is not None:
        raise InputError(
            f"{directory} already carries its units, found --exchange-info; give that to 'remora convert'."
        )
    facts = SymbolFacts(
        symbol=meta.symbol,
        messages=meta.messages,
        snapshots=0,
        price_digits=meta.price_digits,
        quantity_digits=meta.quantity_digits,
        has_previous_ids=None,
        is_coin_margined=meta.market == "coinm",
        backward_ns=0,
    )
    instrument = replace(
        _inferred(facts, MARKETS[meta.market]), tick=meta.tick, contract_size=meta.contract_size
    )
    return Source(
        paths=(directory,),
        instrument=instrument,
        units_from=meta.units_from,
        directory=directory,
        meta=meta,
    )
