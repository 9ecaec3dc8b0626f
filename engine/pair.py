"""One asset on spot and as a perpetual, side by side: who leads, and what the difference costs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from engine.scan import SCAN_VERSION, Row

AGAINST: Final = -1.0  # a lean that is no share


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What two markets of one symbol say at one moment; None is unknown, never 0.

    Attributes
    ----------
    basis_bps : mid of the perpetual over that of spot; positive when the perpetual is dearer.
    spot_delta_1m ... perp_delta_5m : takers bought minus sold, quote, each on its own market.
    lean_1m, lean_5m : share of both markets' net taking that spot did, 0 to 1, if both took to one side; -1
        if they took to opposite sides.

    Notes
    -----
    Blind to: quantity on other venues; funding that is paid between; the two markets' clocks, whose messages
    travel on two connections (the mids are those known here at this moment).
    """

    symbol: str
    basis_bps: float | None = None
    spot_delta_1m: float | None = None
    perp_delta_1m: float | None = None
    spot_delta_5m: float | None = None
    perp_delta_5m: float | None = None
    lean_1m: float | None = None
    lean_5m: float | None = None


class PairLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="scan"):
    """One picture of all markets as a JSON line, of both markets of each symbol."""

    v: int = SCAN_VERSION
    at_ns: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]


class Partners(msgspec.Struct, frozen=True):
    """What stands under the perpetuals' rows, by symbol: rows of spot, and what both say."""

    spot: Mapping[str, Row]
    pairs: Mapping[str, Pair]


ALONE: Final = Partners(MappingProxyType({}), MappingProxyType({}))


def partners(spot: Sequence[Row], perp: Sequence[Row]) -> Partners:
    """Return what stands under each perpetual's row; parameters as `pairs` takes them."""
    return Partners({row.symbol: row for row in spot}, {pair.symbol: pair for pair in pairs(spot, perp)})


def encode_pairs(perp: Sequence[Row], beside: Partners, at_ns: int) -> bytes:
    """Return one JSON line without its line feed: of each symbol the perpetual's row, then that of spot."""
    rows = [one for row in perp for one in (row, beside.spot.get(row.symbol)) if one is not None]
    found = [beside.pairs[row.symbol] for row in perp if row.symbol in beside.pairs]
    return msgspec.json.encode(PairLine(at_ns=at_ns, rows=tuple(rows), pairs=tuple(found)))


def pairs(spot: Sequence[Row], perp: Sequence[Row]) -> tuple[Pair, ...]:
    """Return a pair of each symbol that stands on both sides, in the order of `perp`.

    Parameters
    ----------
    spot, perp : rows of one moment, each symbol once.
    """
    by_symbol = {row.symbol: row for row in spot}
    return tuple(_pair(by_symbol[row.symbol], row) for row in perp if row.symbol in by_symbol)


def _pair(spot: Row, perp: Row) -> Pair:
    basis_bps = None
    if spot.mid is not None and perp.mid is not None:
        basis_bps = (perp.mid - spot.mid) / spot.mid * 1e4
    return Pair(
        symbol=perp.symbol,
        basis_bps=basis_bps,
        spot_delta_1m=spot.delta_1m,
        perp_delta_1m=perp.delta_1m,
        spot_delta_5m=spot.delta_5m,
        perp_delta_5m=perp.delta_5m,
        lean_1m=_lean(spot.delta_1m, perp.delta_1m),
        lean_5m=_lean(spot.delta_5m, perp.delta_5m),
    )


def _lean(spot: float | None, perp: float | None) -> float | None:
    if spot is None or perp is None or spot == perp == 0.0:
        return None
    if spot * perp < 0.0:
        return AGAINST
    return abs(spot) / abs(spot + perp)
