"""Mark prices, liquidations, day tickers and `nq` of aggregates: by hand and held to the twin."""

import re
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.events import MessageKind, ParseStatus
from tests.native.wire.messages import (
    COINM,
    DELIVERY_MARK,
    FORCE,
    MARK,
    SPOT,
    SPOT_DAY,
    USDM,
    USDM_AGGREGATE,
    USDM_DAY,
    USDM_TRADE,
    Rules,
)
from tests.oracles.wire import Reading

OK = ParseStatus.PARSE_OK


def both(rules: Rules, frame: bytes) -> Reading:
    """Read with the reader and with the twin; they agree."""
    found = rules.reader().read(frame)
    assert found == rules.twin().read(frame), frame
    return found


def test_mark_price_when_documented_then_every_field_is_read_in_hundred_millionths() -> None:
    status, kind, fields = both(USDM, MARK)
    assert (status, kind) == (OK, MessageKind.MESSAGE_MARK)
    assert fields == {
        "mark": 6_179_415_000_001,
        "average": 6_179_000_000_000,
        "index": 6_178_462_659_091,
        "settle": 6_178_425_641_265,
        "funding_rate": -38_167,
        "next_funding_ns": 1_792_000_800_000_000_000,
        "venue_ns": 1_791_979_200_000_000_000,
        "has_funding": 1,
    }


def test_mark_price_when_a_delivery_contract_then_it_has_no_funding() -> None:
    fields = both(COINM, DELIVERY_MARK)[2]
    assert (fields["has_funding"], fields["funding_rate"], fields["next_funding_ns"], fields["index"]) == (
        0,
        0,
        0,
        0,
    )


def test_liquidation_when_documented_then_side_and_quantities_are_of_the_order() -> None:
    status, kind, fields = both(USDM, FORCE)
    assert (status, kind) == (OK, MessageKind.MESSAGE_FORCE)
    assert (fields["side"], fields["price"], fields["average_price"]) == (
        -1,
        6_171_004_000_000,
        6_173_312_345_678,
    )
    assert (fields["quantity"], fields["last_quantity"], fields["filled_quantity"]) == (14, 6, 14)
    assert (fields["is_filled"], fields["venue_ns"]) == (1, 1_791_979_201_890_000_000)


def test_liquidation_of_another_symbol_when_read_then_it_is_foreign() -> None:
    frame = FORCE.replace(b'"s":"BTCUSDT"', b'"s":"ETHUSDT"')
    assert both(USDM, frame)[0] == ParseStatus.PARSE_FOREIGN


@pytest.mark.parametrize("value", [b'"LONG"', b"1", b"null", b'"buy"', b'""'])
def test_liquidation_when_its_side_is_neither_then_it_is_refused(value: bytes) -> None:
    assert both(USDM, FORCE.replace(b'"S":"SELL"', b'"S":' + value))[0] == ParseStatus.PARSE_SYNTAX


def test_day_ticker_when_spot_or_futures_then_the_same_fields_are_read() -> None:
    _, kind, fields = both(SPOT, SPOT_DAY)
    assert kind == MessageKind.MESSAGE_DAY
    assert (fields["last"], fields["open"], fields["high"], fields["low"]) == (
        6_183_762,
        6_185_263,
        6_230_000,
        6_090_001,
    )
    assert (fields["volume"], fields["quote_volume"], fields["n_trades"]) == (
        432_101_234,
        26_661_234_567_890,
        683_260,
    )
    fields = both(USDM, USDM_DAY)[2]
    assert (fields["last"], fields["n_trades"]) == (6_180_030, 1_000_001)


def test_aggregate_when_it_tells_its_regular_quantity_then_both_are_kept() -> None:
    fields = both(USDM, USDM_AGGREGATE)[2]
    assert (fields["quantity"], fields["regular_quantity"]) == (1_206, 1_106)
    plain = both(USDM, USDM_AGGREGATE.replace(b'"nq":"1.106",', b""))[2]
    assert plain["regular_quantity"] == 1_206
    assert both(USDM, USDM_TRADE)[2]["regular_quantity"] == 6
    assert both(USDM, USDM_AGGREGATE.replace(b'"nq":"1.106"', b'"nq":1.106'))[0] == ParseStatus.PARSE_SYNTAX


@pytest.mark.parametrize("frame", [MARK, FORCE, USDM_DAY])
def test_number_when_it_does_not_fit_or_is_none_then_the_message_is_refused(frame: bytes) -> None:
    number = re.search(rb'"(?:p|c)":"([0-9.]+)"', frame)
    assert number
    for wrong, status in (
        (b"9" * 20, ParseStatus.PARSE_OVERFLOW),
        (b"--1", ParseStatus.PARSE_SYNTAX),
        (b"-", ParseStatus.PARSE_SYNTAX),
        (b"", ParseStatus.PARSE_SYNTAX),
        (b"1e5", ParseStatus.PARSE_SYNTAX),
    ):
        if frame is USDM_DAY:
            changed = re.sub(rb'"c":"[0-9.]+"', b'"c":"' + wrong + b'"', frame)
        else:
            changed = frame.replace(number[0], b'"p":"' + wrong + b'"')
        assert both(USDM, changed)[0] == status, changed


DECIMALS = st.decimals(0, Decimal(10) ** 9, places=8, allow_nan=False).map(lambda value: f"{value:f}")
PRICES = st.decimals(0, Decimal(10) ** 9, places=2, allow_nan=False).map(lambda value: f"{value:f}")
RATES = st.decimals(-1, 1, places=8, allow_nan=False).map(lambda value: f"{value:f}") | st.just("")
TIMES = st.integers(0, 9 * 10**12) | st.integers(10**14, 9 * 10**15)
EXTRA = st.dictionaries(
    st.sampled_from(["st", "ps", "zz", "M", "nnq", "app"]), st.integers(0, 3) | st.just("x")
)


def some(
    keys: dict[str, st.SearchStrategy[object]], *, optional: tuple[str, ...] = ()
) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {key: value for key, value in keys.items() if key not in optional},
        optional={key: keys[key] for key in optional},
    )


MARKS = some(
    {"p": DECIMALS, "ap": DECIMALS, "i": DECIMALS, "P": DECIMALS, "r": RATES, "T": TIMES, "E": TIMES},
    optional=("ap", "i", "P", "r", "T", "E"),
)
DAYS = some(
    {
        "c": PRICES,
        "o": PRICES,
        "h": DECIMALS,
        "l": PRICES,
        "v": DECIMALS,
        "q": DECIMALS,
        "n": st.integers(0, 10**9),
    }
    | {"E": TIMES, "O": TIMES, "C": TIMES, "P": RATES, "p": RATES, "x": PRICES, "b": PRICES},
    optional=("E", "O", "C", "P", "p", "x", "b"),
)
ORDERS = some(
    {"S": st.sampled_from(["BUY", "SELL"]), "q": DECIMALS, "p": DECIMALS, "ap": DECIMALS, "T": TIMES}
    | {
        "X": st.sampled_from(["FILLED", "NEW"]),
        "l": DECIMALS,
        "z": DECIMALS,
        "f": st.just("IOC"),
        "o": st.just("LIMIT"),
    },
    optional=("ap", "X", "l", "z", "f", "o"),
)
AGGREGATES = some(
    {
        "a": st.integers(0, 2**62),
        "f": st.integers(0, 2**62),
        "l": st.integers(0, 2**62),
        "p": PRICES,
        "q": DECIMALS,
    }
    | {"nq": DECIMALS, "T": TIMES, "m": st.booleans()},
    optional=("nq",),
)
BUILT = st.one_of(
    MARKS.map(lambda one: one | {"e": "markPriceUpdate", "s": "BTCUSDT"}),
    DAYS.map(lambda one: one | {"e": "24hrTicker", "s": "BTCUSDT"}),
    ORDERS.map(lambda one: {"e": "forceOrder", "E": 1, "o": one | {"s": "BTCUSDT"}}),
    AGGREGATES.map(lambda one: one | {"e": "aggTrade", "s": "BTCUSDT"}),
)


@settings(max_examples=400)
@given(message=BUILT, extra=EXTRA, order=st.randoms(use_true_random=False))
def test_built_message_with_unknown_keys_in_any_order_is_read_like_the_twin(
    message: dict[str, object], extra: dict[str, object], order: object
) -> None:
    members = list((extra | message).items())
    order.shuffle(members)  # type: ignore[attr-defined]
    assert both(USDM, orjson.dumps(dict(members)))[0] == OK
