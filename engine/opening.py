"""Opens a venue's markets for the commands that listen: addresses, budget, sockets, instruments, feed."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, cast

import msgspec

from engine.clock import LiveClock
from engine.config import load_config
from engine.errors import InputError
from engine.ingest.aiohttp_http import AiohttpTransport
from engine.ingest.listing import instruments_of
from engine.ingest.picows_transport import PicowsTransport
from engine.instruments import Instrument
from engine.listen import Listening
from engine.live import LiveMarkets
from engine.rundir import shared_dir
from engine.settings import Config
from engine.signals import MarketKind
from engine.venues.binance_rest import LIMIT_PER_MINUTE, BinanceRest
from engine.venues.binance_streams import Environment, addresses
from engine.venues.budget import Budget, budget_path
from engine.watchjob import Watch
from native.ring import RingWriter

KINDS: Final = {"spot": MarketKind.SPOT, "usdm": MarketKind.USDM}
TRADING: Final = "TRADING"


class _DayTicker(msgspec.Struct, rename="camel"):
    symbol: str
    quote_volume: str


class LiveOpening:
    """Opens public market data over real sockets; no keys."""

    @asynccontextmanager
    async def watched(self, what: Listening, watch: Watch) -> AsyncIterator[LiveMarkets]:
        """Open markets whose records go to the watch.

        Raises
        ------
        InputError, VenueError
            The venue does not list a symbol, or does not answer.
        """
        async with _opened(what, watch, None) as live:
            yield live

    @asynccontextmanager
    async def recorded(self, what: Listening, ring: RingWriter) -> AsyncIterator[LiveMarkets]:
        """Open markets whose frames, snapshots and inputs go to the ring; raises as `watched`."""
        async with _opened(what, None, ring) as live:
            yield live


@asynccontextmanager
async def _opened(
    what: Listening, watch: Watch | None, ring: RingWriter | None
) -> AsyncIterator[LiveMarkets]:
    kind = KINDS[what.market]
    config = _configured(what, kind)
    feed = config.feed
    where = addresses(kind, origin=feed.origin or None, environment=cast("Environment", feed.environment))
    clock = LiveClock()
    budget = Budget.open(
        budget_path(shared_dir(config.engine.run_dir), where.rest),
        limit_per_minute=LIMIT_PER_MINUTE[kind],
        reserved_share=feed.reserved_share,
    )
    http = AiohttpTransport(where.rest, clock=clock)
    try:
        rest = BinanceRest(kind, http, budget, clock, reply_s=feed.reply_s)
        instruments = await _asked_for(rest, what, kind)
        yield LiveMarkets(
            instruments=instruments,
            config=config,
            clock=clock,
            frames=PicowsTransport(),
            rest=rest,
            addresses=where,
            ring=ring,
            watch=None if watch is None else watch.on_record,
            # Jitter is to differ between processes that begin together.
            seed=clock.now_ns(),
        )
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


async def _asked_for(rest: BinanceRest, what: Listening, kind: MarketKind) -> tuple[Instrument, ...]:
    if what.symbols:
        return instruments_of(await rest.exchange_info(what.symbols), what.symbols, kind)
    # Some of the largest of yesterday may rest today: twice as many are looked at.
    names = await _largest(rest, 2 * what.top)
    found = instruments_of(await rest.exchange_info(), names, kind)
    traded = [one for one in found if one.status == TRADING][: what.top]
    if not traded:
        raise InputError(f"The venue trades none of {', '.join(names)} now.")
    return tuple(replace(one, index=index) for index, one in enumerate(traded))


async def _largest(rest: BinanceRest, n: int) -> tuple[str, ...]:
    """Return the symbols of the largest quote volume against dollars, largest first.

    Raises
    ------
    InputError
        The venue has none that is traded.
    """
    try:
        rows = msgspec.json.decode(await rest.day_tickers(), type=list[_DayTicker])
    except msgspec.MsgspecError as problem:
        raise InputError(f"The venue's 24 h tickers cannot be read: {problem}.") from problem
    # Volumes compare within one quote asset alone.
    volumes = {row.symbol: float(row.quote_volume) for row in rows if row.symbol.endswith("USDT")}
    names = sorted(volumes, key=lambda name: (-volumes[name], name))[:n]
    if not names:
        raise InputError("The venue's 24 h tickers name no symbol against USDT.")
    return tuple(names)
