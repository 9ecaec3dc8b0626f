import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.instruments import INT64_MAX, Instrument, decimal_text, from_exchange_info
from engine.signals import MarketKind

ANSWERS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "exchange_info"


def spot_answer(tick="0.01", step="0.00001", **changes):
    symbol = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "icebergAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000.0", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
        ],
    } | changes
    return {"timezone": "UTC", "symbols": [symbol | {"symbol": "ETHUSDT"}, symbol]}


def inverse_answer():
    return {
        "symbols": [
            {
                "symbol": "BTCUSD_PERP",
                "contractStatus": "TRADING",
                "contractSize": 100,
                "baseAsset": "BTC",
                "quoteAsset": "USD",
                "pricePrecision": 1,
                "quantityPrecision": 0,
                "baseAssetPrecision": 8,
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.1"},
                    {"filterType": "LOT_SIZE", "stepSize": "1"},
                ],
            }
        ]
    }


def bitcoin(**changes) -> Instrument:
    return from_exchange_info(spot_answer(**changes), "BTCUSDT", MarketKind.SPOT)


@pytest.mark.parametrize(
    ("tick_size", "digits", "tick"),
    [
        ("0.05", 2, 5),
        ("10", 0, 10),
        ("0.1", 1, 1),
        ("0.01000000", 2, 1),
        ("1.00", 0, 1),
        ("0.25", 2, 25),
        ("1E+1", 0, 10),
    ],
)
def test_price_unit_is_the_power_of_ten_that_divides_the_tick(tick_size, digits, tick):
    instrument = bitcoin(tick=tick_size)
    assert (instrument.price_digits, instrument.tick) == (digits, tick)


def test_spot_answer_is_read_with_the_base_precision():
    instrument = from_exchange_info(json.dumps(spot_answer()).encode(), "BTCUSDT", MarketKind.SPOT, index=3)
    assert instrument == Instrument(
        symbol="BTCUSDT",
        kind=MarketKind.SPOT,
        base="BTC",
        quote="USDT",
        price_digits=2,
        quantity_digits=8,
        tick=1,
        step=1000,
        min_notional=Decimal(5),
        contract_size=1,
        status="TRADING",
        epoch=1,
        index=3,
    )


def test_inverse_answer_is_read_with_contracts_and_its_own_status():
    instrument = from_exchange_info(inverse_answer(), "BTCUSD_PERP", MarketKind.COINM)
    assert (instrument.contract_size, instrument.status, instrument.quantity_digits, instrument.step) == (
        100,
        "TRADING",
        0,
        1,
    )
    assert instrument.min_notional == 0


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "another shape"),
        (b"[]", "another shape"),
        (b'{"symbols": [1]}', "another shape"),
        (b'{"code": -1121, "msg": "Invalid symbol."}', "another shape"),
        (b'{"symbols": []}', "found 0 others"),
        (spot_answer(filters=[]), "found the filters none"),
        (
            spot_answer(filters=[{"filterType": "PERCENT_PRICE_BY_SIDE"}]),
            "found the filters PERCENT_PRICE_BY_SIDE",
        ),
        (spot_answer(tick="0.00000000"), "PRICE_FILTER with a tickSize"),
        (spot_answer(tick="1E-300"), "BTCUSDT: Expected a decimal number"),
        (spot_answer(tick="two"), "another shape"),
        (spot_answer(baseAssetPrecision=None), "baseAssetPrecision"),
        ({"symbols": [{"symbol": object()}]}, "another shape"),
    ],
)
def test_unusable_answer_is_refused_in_a_sentence(document, said):
    with pytest.raises(InputError, match="BTCUSDT") as caught:
        from_exchange_info(document, "BTCUSDT", MarketKind.SPOT)
    assert said in str(caught.value)


@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "market", "n_symbols"),
    [
        ("binance_spot_exchangeInfo_20211012", MarketKind.SPOT, 1695),
        ("binance_usdm_exchangeInfo_20210722", MarketKind.USDM, 122),
    ],
)
@pytest.mark.slow
def test_recorded_answer_gives_units_that_divide_every_filter(name, market, n_symbols):
    path = ANSWERS / f"{name}.json.gz"
    if not path.exists():
        pytest.skip(f"the recorded answer {path.name} is not beside the project")
    symbols = json.loads(gzip.decompress(path.read_bytes()))["symbols"]
    assert len(symbols) == n_symbols
    for symbol in symbols:
        filters = {one["filterType"]: one for one in symbol["filters"]}
        instrument = from_exchange_info({"symbols": [symbol]}, symbol["symbol"], market)
        tick, step = Decimal(filters["PRICE_FILTER"]["tickSize"]), Decimal(filters["LOT_SIZE"]["stepSize"])
        assert tick == instrument.tick * Decimal(10) ** -instrument.price_digits
        assert step == instrument.step * Decimal(10) ** -instrument.quantity_digits
        assert instrument.price_digits == 0 or tick * Decimal(10) ** (instrument.price_digits - 1) % 1 != 0
        assert instrument.min_notional > 0


@pytest.mark.captures
def test_recorded_answer_without_filters_is_refused():
    path = ANSWERS / "mexc_spot_exchangeInfo_20250921.json.gz"
    if not path.exists():
        pytest.skip(f"the recorded answer {path.name} is not beside the project")
    with pytest.raises(InputError, match="found the filters PERCENT_PRICE_BY_SIDE"):
        from_exchange_info(gzip.decompress(path.read_bytes()), "BTCUSDT", MarketKind.SPOT)


@pytest.mark.slow
@given(units=st.integers(-INT64_MAX, INT64_MAX), digits=st.integers(0, 18))
def test_price_text_and_units_are_inverse(units, digits):
    instrument = bitcoin(tick=f"1E-{digits}")
    text = instrument.price_text(units)
    assert instrument.price_units(text) == units
    assert Decimal(text) == Decimal((units < 0, tuple(map(int, str(abs(units)))), -digits))
    assert text == decimal_text(units, digits)


@pytest.mark.parametrize(
    ("text", "units"),
    [("65000.10", 6500010), ("65000.1000", 6500010), ("0", 0), ("-1.5", -150), ("7E+1", 7000)],
)
def test_price_is_counted_in_units_exactly(text, units):
    assert bitcoin().price_units(text) == units


@pytest.mark.parametrize(
    "text", ["65000.105", "NaN", "Infinity", "", "1,5", "1E+30", "1E-30", "92233720368547758.08", "1" * 50]
)
def test_price_that_no_unit_counts_is_refused(text):
    with pytest.raises(ValueError, match="Expected"):
        bitcoin().price_units(text)


def test_quantity_finer_than_its_unit_is_cut_off_towards_zero():
    instrument = bitcoin()
    assert instrument.quantity_units("0.000000019") == 1
    assert instrument.quantity_units("-0.000000019") == -1
    assert instrument.quantity_text(123456789) == "1.23456789"


@pytest.mark.slow
@given(units=st.integers(0, INT64_MAX), tick=st.integers(1, 5000), step=st.integers(1, 10**9))
def test_rounding_down_stays_below_on_the_grid(units, tick, step):
    instrument = bitcoin(tick=str(tick), step=f"{step}E-8")
    price, quantity = instrument.round_price_down(units), instrument.round_quantity_down(units)
    assert 0 <= units - price < instrument.tick
    assert price % instrument.tick == 0
    assert 0 <= units - quantity < instrument.step
    assert quantity % instrument.step == 0


def test_same_filters_stay_in_the_epoch_and_take_the_status():
    halted = bitcoin().with_filters(bitcoin(status="HALT"))
    assert (halted.epoch, halted.status) == (1, "HALT")
    assert halted.with_filters(halted) == halted


def test_finer_tick_is_a_new_epoch_in_the_finer_unit():
    finer = bitcoin(tick="0.1").with_filters(bitcoin(tick="0.05"))
    assert (finer.epoch, finer.price_digits, finer.tick) == (2, 2, 5)


def test_coarser_tick_keeps_the_finer_unit_so_that_old_levels_stay_representable():
    old = bitcoin(tick="0.01")
    coarser = old.with_filters(bitcoin(tick="1"))
    assert (coarser.epoch, coarser.price_digits, coarser.tick) == (2, 2, 100)
    assert coarser.price_units("65000.17") == old.price_units("65000.17")
    assert coarser.with_filters(bitcoin(tick="1")) == coarser


def test_new_step_or_least_notional_is_a_new_epoch():
    changed = bitcoin().with_filters(bitcoin(step="0.001"))
    assert (changed.epoch, changed.step, changed.quantity_digits) == (2, 100_000, 8)
    filters = [*spot_answer()["symbols"][0]["filters"][:2], {"filterType": "NOTIONAL", "minNotional": "10"}]
    assert bitcoin().with_filters(bitcoin(filters=filters)).epoch == 2
