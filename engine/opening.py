"""Opens a venue's markets for the commands that listen: addresses, budget, sockets, instruments, feed."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, cast

import msgspec

from engine.clock import LiveClock
from engine.config import load_config
from engine.corridor import Watch as RecordSink
from engine.errors import InputError
from engine.ingest.aiohttp_http import AiohttpTransport
from engine.ingest.listing import instruments_of
from engine.ingest.picows_transport import PicowsTransport
from engine.instruments import Instrument
from engine.listen import PAIR, Listening
from engine.live import LiveMarkets
from engine.rundir import shared_dir
from engine.settings import Config
from engine.signals import MarketKind
from engine.venues.binance_rest import LIMIT_PER_MINUTE, BinanceRest
from engine.venues.binance_streams import Addresses, Environment, addresses
from engine.venues.budget import Budget, budget_path
from engine.watchjob import Watch
from native.ring import RingWriter

KINDS: Final = {"spot": MarketKind.SPOT, "usdm": MarketKind.USDM}
TRADING: Final = "TRADING"


class _DayTicker(msgspec.Struct, rename="camel"):
    symbol: str
    quote_volume: str


class _Listed(msgspec.Struct):
    symbol: str
    status: str = ""


class _Listing(msgspec.Struct):
    symbols: list[_Listed]


@dataclass(frozen=True, slots=True)
class _Door:
    """One market of the venue, ready to be asked."""

    market: str
    config: Config
    where: Addresses
    clock: LiveClock
    rest: BinanceRest

    def markets(
        self, instruments: Sequence[Instrument], ring: RingWriter | None, watch: RecordSink | None
    ) -> LiveMarkets:
        return LiveMarkets(
            instruments=instruments,
            config=self.config,
            clock=self.clock,
            frames=PicowsTransport(),
            rest=self.rest,
            addresses=self.where,
            ring=ring,
            watch=watch,
            # Jitter is to differ between processes that begin together.
            seed=self.clock.now_ns(),
        )


class LiveOpening:
    """Opens public market data over real sockets; no keys."""

    @asynccontextmanager
    async def watched(self, what: Listening, watch: Watch) -> AsyncIterator[Sequence[LiveMarkets]]:
        """Open markets whose records go to the watch; of a pair USD-M first, then spot.

        Raises
        ------
        InputError, VenueError
            The venue does not list a symbol, or does not answer.
        """
        if what.market != PAIR:
            async with _door(what, what.market) as door:
                yield (door.markets(await _asked_for(door, what), None, watch.on_record),)
            return
        async with _door(what, "usdm") as perp, _door(what, "spot") as spot:
            found = await _paired(perp, spot, what)
            yield tuple(
                door.markets(instruments, None, partial(watch.on_record, side=side))
                for side, (door, instruments) in enumerate(zip((perp, spot), found, strict=True))
            )

    @asynccontextmanager
    async def recorded(self, what: Listening, ring: RingWriter) -> AsyncIterator[LiveMarkets]:
        """Open markets whose frames, snapshots and inputs go to the ring; raises as `watched`."""
        async with _door(what, what.market) as door:
            yield door.markets(await _asked_for(door, what), ring, None)


@asynccontextmanager
async def _door(what: Listening, market: str) -> AsyncIterator[_Door]:
    kind = KINDS[market]
    config = _configured(what, kind)
    feed = config.feed
    where = addresses(kind, origin=feed.origin or None, environment=cast("Environment", feed.environment))
    path = budget_path(shared_dir(config.engine.run_dir), where.rest)
    if feed.origin:
        # A simulated venue has both markets at one address, and counts the weight of each apart.
        path = path.with_name(f"{path.name}-{market}")
    clock = LiveClock()
    budget = Budget.open(path, limit_per_minute=LIMIT_PER_MINUTE[kind], reserved_share=feed.reserved_share)
    http = AiohttpTransport(where.rest, clock=clock)
    try:
        rest = BinanceRest(kind, http, budget, clock, reply_s=feed.reply_s)
        yield _Door(market, config, where, clock, rest)
    finally:
        await http.close()
        budget.close()


def _configured(what: Listening, kind: MarketKind) -> Config:
    config = load_config(what.config, what.preset, os.environ)
    feed = config.feed
    if what.origin:
        feed = replace(feed, origin=what.origin)
    if what.depth is not None and kind is MarketKind.SPOT:
        feed = replace(feed, depth_limit_spot=what.depth)
    elif what.depth is not None:
        feed = replace(feed, depth_limit_usdm=what.depth)
    return replace(config, feed=feed)


async def _asked_for(door: _Door, what: Listening) -> tuple[Instrument, ...]:
    if what.symbols:
        return await _listed(door, what.symbols)
    # Some of the largest of yesterday may rest today: twice as many are looked at.
    names = (await _by_volume(door))[: 2 * what.top]
    found = instruments_of(await door.rest.exchange_info(), names, KINDS[door.market])
    traded = [one for one in found if one.status == TRADING][: what.top]
    if not traded:
        raise InputError(f"The venue trades none of {', '.join(names)} now.")
    return tuple(replace(one, index=index) for index, one in enumerate(traded))


async def _listed(door: _Door, names: Sequence[str]) -> tuple[Instrument, ...]:
    """Return the instruments of these names.

    Raises
    ------
    InputError
        The market does not list one.
    """
    body = await door.rest.exchange_info(names)
    known = {one.symbol for one in _listing(body)}
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"binance-{door.market} does not list {', '.join(missing)}.")
    return instruments_of(body, names, KINDS[door.market])


async def _paired(perp: _Door, spot: _Door, what: Listening) -> tuple[tuple[Instrument, ...], ...]:
    """Return the instruments of USD-M and those of spot, in one order.

    Raises
    ------
    InputError
        A market does not list a symbol, or none is traded on both.
    """
    doors = (perp, spot)
    if what.symbols:
        return tuple([await _listed(door, what.symbols) for door in doors])
    ranked = await _by_volume(perp)
    bodies = [await door.rest.exchange_info() for door in doors]
    traded = [{one.symbol for one in _listing(body) if one.status == TRADING} for body in bodies]
    names = [name for name in ranked if all(name in some for some in traded)][: what.top]
    if not names:
        raise InputError("The venue trades no symbol on both spot and USD-M now.")
    return tuple(
        instruments_of(body, names, KINDS[door.market]) for body, door in zip(bodies, doors, strict=True)
    )


def _listing(body: bytes) -> list[_Listed]:
    try:
        return msgspec.json.decode(body, type=_Listing).symbols
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise InputError(f"Expected an exchangeInfo answer, found another shape: {problem}.") from problem


async def _by_volume(door: _Door) -> tuple[str, ...]:
    """Return all symbols against dollars, those of the largest quote volume of 24 h first.

    Raises
    ------
    InputError
        The venue has none.
    """
    try:
        rows = msgspec.json.decode(await door.rest.day_tickers(), type=list[_DayTicker])
    except msgspec.MsgspecError as problem:
        raise InputError(f"The venue's 24 h tickers cannot be read: {problem}.") from problem
    # Volumes compare within one quote asset alone.
    volumes = {row.symbol: float(row.quote_volume) for row in rows if row.symbol.endswith("USDT")}
    if not volumes:
        raise InputError("The venue's 24 h tickers name no symbol against USDT.")
    return tuple(sorted(volumes, key=lambda name: (-volumes[name], name)))
