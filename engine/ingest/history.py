"""What happened before the first frame: one-minute klines and aggregate trades, in pages, oldest first."""

from dataclasses import dataclass
from typing import Final

import msgspec

from engine.venues.binance_rest import BinanceRest

KLINE_PAGE: Final = 1000  # what both markets give at once
TRADE_PAGE: Final = 1000
MS_PER_MINUTE: Final = 60_000


class _AggTrade(msgspec.Struct):
    number: int = msgspec.field(name="a")
    ms: int = msgspec.field(name="T")


@dataclass(frozen=True, slots=True)
class History:
    """Two JSON lists as the venue gives them."""

    klines: bytes
    agg_trades: bytes
    n_trades: int
    is_whole: bool  # the trades reach back as far as was wanted


async def read_history(
    rest: BinanceRest, symbol: str, *, klines: int, minutes: int, max_pages: int
) -> History:
    """Ask for what one instrument learns from before it is live.

    Parameters
    ----------
    symbol
        As the venue writes it.
    klines
        How many one-minute klines.
    minutes
        How far back trades are read.
    max_pages
        Pages of trades at most; the newest are read first, so that what is left out is the oldest.

    Raises
    ------
    VenueError
        The venue did not answer.
    ValueError
        What it answered are no klines or trades.
    """
    return await _History(rest, symbol).read(klines, minutes, max_pages)


class _History:
    def __init__(self, rest: BinanceRest, symbol: str) -> None:
        self._rest = rest
        self._symbol = symbol

    async def read(self, klines: int, minutes: int, max_pages: int) -> History:
        found = await self._klines(klines)
        pages: list[list[msgspec.Raw]] = []
        is_whole, limit_ms, first_id = not minutes, 0, -1
        while not is_whole and len(pages) < max_pages:
            from_id = max(0, first_id - TRADE_PAGE) if pages else None
            body = await self._rest.agg_trades(self._symbol, from_id=from_id, limit=TRADE_PAGE)
            page = msgspec.json.decode(body, type=list[msgspec.Raw])
            if pages:
                # Asked for by id the page may run into the one that was read before.
                page = [raw for raw in page if msgspec.json.decode(raw, type=_AggTrade).number < first_id]
            if not page:
                is_whole = True
                break
            first = msgspec.json.decode(page[0], type=_AggTrade)
            if not pages:
                limit_ms = msgspec.json.decode(page[-1], type=_AggTrade).ms - minutes * MS_PER_MINUTE
            pages.append(page)
            first_id = first.number
            is_whole = first_id == 0 or from_id == 0 or first.ms <= limit_ms
        trades = [raw for page in reversed(pages) for raw in page]
        return History(found, msgspec.json.encode(trades), len(trades), is_whole)

    async def _klines(self, wanted: int) -> bytes:
        pages: list[list[msgspec.Raw]] = []
        end_ms = None
        while wanted > 0:
            limit = min(wanted, KLINE_PAGE)
            body = await self._rest.klines(self._symbol, "1m", limit, end_ms=end_ms)
            page = msgspec.json.decode(body, type=list[msgspec.Raw])
            if page:
                pages.append(page)
                first = msgspec.json.decode(page[0], type=list[msgspec.Raw])
                end_ms = msgspec.json.decode(first[0], type=int) - 1
            wanted -= limit
            if len(page) < limit:
                break
        return msgspec.json.encode([raw for page in reversed(pages) for raw in page])
