import json
import math

import pytest

from engine.pair import Pair, encode_pairs, pairs, partners
from engine.scan import Row


def row(market: str, symbol: str = "BTCUSDT", **values: float | None) -> Row:
    return Row(symbol=symbol, market=market, state="live", **values)  # type: ignore[arg-type]


def only(spot: Row, perp: Row) -> Pair:
    (found,) = pairs([spot], [perp])
    return found


def test_symbols_on_both_sides_are_paired_in_the_order_of_the_perpetuals() -> None:
    spot = [row("spot", name) for name in ("BTCUSDT", "ETHUSDT", "XRPUSDT")]
    perp = [row("usdm", name) for name in ("SOLUSDT", "XRPUSDT", "BTCUSDT")]
    assert [pair.symbol for pair in pairs(spot, perp)] == ["XRPUSDT", "BTCUSDT"]


def test_basis_is_of_the_spot_mid_and_positive_when_the_perpetual_is_dearer() -> None:
    assert only(row("spot", mid=10_000.0), row("usdm", mid=10_005.0)).basis_bps == pytest.approx(5.0)
    assert only(row("spot", mid=10_000.0), row("usdm", mid=9_990.0)).basis_bps == pytest.approx(-10.0)


@pytest.mark.parametrize(("spot", "perp"), [(None, 1.0), (1.0, None), (None, None)])
def test_unknown_stays_unknown(spot: float | None, perp: float | None) -> None:
    found = only(row("spot", mid=spot, delta_1m=spot), row("usdm", mid=perp, delta_1m=perp))
    assert (found.basis_bps, found.lean_1m) == (None, None)
    assert (found.spot_delta_1m, found.perp_delta_1m) == (spot, perp)


@pytest.mark.parametrize(
    ("spot", "perp", "lean"),
    [
        (3.0, 1.0, 0.75),
        (-1.0, -3.0, 0.25),
        (2.0, -1.0, -1.0),
        (-2.0, 1.0, -1.0),
        (0.0, 5.0, 0.0),
        (0.0, 0.0, None),
    ],
)
def test_lean_is_the_share_of_spot_or_says_that_they_disagree(
    spot: float, perp: float, lean: float | None
) -> None:
    assert only(row("spot", delta_5m=spot), row("usdm", delta_5m=perp)).lean_5m == lean


def test_line_has_both_rows_of_each_symbol_and_its_pair_in_the_order_given() -> None:
    spot = [row("spot", "BTCUSDT", mid=100.0), row("spot", "ETHUSDT", mid=50.0)]
    perp = [row("usdm", "ETHUSDT", mid=51.0), row("usdm", "BTCUSDT")]
    found = json.loads(encode_pairs(perp, partners(spot, perp), 7))
    assert (found["record"], found["v"], found["at_ns"]) == ("scan", 1, 7)
    told = [(one["symbol"], one["market"]) for one in found["rows"]]
    assert told == [("ETHUSDT", "usdm"), ("ETHUSDT", "spot"), ("BTCUSDT", "usdm"), ("BTCUSDT", "spot")]
    assert [(one["symbol"], one["basis_bps"]) for one in found["pairs"]] == [
        ("ETHUSDT", pytest.approx(200.0)),
        ("BTCUSDT", None),
    ]


def test_lean_of_spot_that_did_nothing_has_no_sign() -> None:
    found = only(row("spot", delta_1m=0.0), row("usdm", delta_1m=-5.0)).lean_1m
    assert found is not None
    assert math.copysign(1.0, found) == 1.0
