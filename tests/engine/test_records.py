import json
import math

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import load_config, scalper_settings
from engine.errors import StateError
from engine.instruments import Instrument
from engine.records import (
    SCHEMA_VERSION,
    FlowRecord,
    SignalRecord,
    decode_line,
    encode_line,
    flow_records,
    signal_record,
)
from engine.signals import MarketKind, Signal, Veto, VetoReason
from native.events import FLOW_EVENT
from strategies.volume_scalper import VolumeScalper
from tests.strategies.views import FakeMarket, FakeProfile

PRICES = ("best_bid", "best_ask", "first_price", "last_price")


def instrument(epoch=1, digits=2):
    return Instrument(
        symbol="BTCUSDT",
        kind=MarketKind.SPOT,
        base="BTC",
        quote="USDT",
        price_digits=digits,
        quantity_digits=8,
        tick=1,
        step=1000,
        min_notional=5,
        contract_size=1,
        status="TRADING",
        epoch=epoch,
        index=4,
    )


def whale_open(n=1):
    events = numpy.zeros(n, FLOW_EVENT)
    events["sequence"] = numpy.arange(1, n + 1)
    events["kind"], events["side"], events["instrument"], events["instrument_epoch"] = 1, -1, 4, 1
    events["is_valid"], events["reason"] = 1, 5
    events["best_bid"], events["best_ask"], events["first_price"], events["last_price"] = (
        6500010,
        6500011,
        -5,
        7,
    )
    events["quantity"], events["rho"], events["rho_pre"] = 0.1, math.nan, math.inf
    events["recv_ns"] = 2**63 - 1
    return events


def signal_of(**changes):
    market = FakeMarket(known=(FakeProfile(poc=10_045.0, vah=10_080.0, val=9_999.0),), **changes)
    return VolumeScalper(scalper_settings(load_config(None, "live", {}), MarketKind.USDM)).propose(market)


def test_flow_event_is_typed_with_exact_prices_and_names():
    events = whale_open()
    events["kind"] = 6
    (record,) = flow_records(events, [instrument()])
    assert (record.kind, record.side, record.reason, record.symbol) == (
        "entry_refused",
        "sell",
        "rho_post_min",
        "BTCUSDT",
    )
    assert [getattr(record, name) for name in PRICES] == ["65000.10", "65000.11", "-0.05", "0.07"]
    assert (record.quantity, record.rho, record.rho_pre, record.recv_ns) == (0.1, None, None, 2**63 - 1)
    assert record.is_valid is True


def test_fields_that_a_kind_does_not_fill_are_null():
    events = whale_open(2)
    events["kind"] = 1, 3
    whale, imbalance = flow_records(events, [instrument()])
    assert whale.reason is None
    assert (whale.first_price, whale.quantity) == ("-0.05", 0.1)
    assert imbalance.reason is None
    assert [imbalance.first_price, imbalance.last_price, imbalance.quantity, imbalance.notional] == [None] * 4


def test_record_has_a_field_for_every_field_of_the_event():
    names = set(FLOW_EVENT.names)
    assert names - {"instrument"} == set(FlowRecord.__struct_fields__) - {"v", "symbol"}
    ours = set(Signal.__struct_fields__)
    assert ours - {"kind", "price_digits"} == set(SignalRecord.__struct_fields__) - {"v", "veto", "market"}


def test_line_starts_with_what_it_is_and_keeps_the_order_of_fields():
    line = encode_line(flow_records(whale_open(), [instrument()])[0])
    assert line.startswith(
        b'{"record":"flow","v":1,"sequence":1,"kind":"whale_open","side":"sell","symbol":"BTCUSDT",'
    )
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    keys = list(json.loads(line))
    assert keys == ["record", *FlowRecord.__struct_fields__]
    assert json.loads(line)["rho"] is None


def test_prices_are_read_in_the_units_of_their_epoch():
    events = whale_open(2)
    events["instrument_epoch"][1] = 2
    first, second = flow_records(events, [instrument(), instrument(epoch=2, digits=3)])
    assert (first.best_bid, second.best_bid) == ("65000.10", "6500.010")


def test_event_of_an_unknown_epoch_is_refused():
    with pytest.raises(StateError, match="instrument 4 in epoch 1"):
        flow_records(whale_open(), [instrument(epoch=2)])


def test_array_of_another_dtype_is_refused():
    with pytest.raises(ValueError, match="Expected an array of the dtype FLOW_EVENT, found float64"):
        flow_records(numpy.zeros(1, numpy.float64), [instrument()])
    assert flow_records(numpy.zeros(0, FLOW_EVENT), []) == []


@pytest.mark.slow
@given(
    price=st.integers(-(2**63), 2**63 - 1),
    number=st.floats(),
    kind=st.integers(1, 6),
    side=st.integers(-1, 1),
    reason=st.integers(0, 8),
)
def test_line_read_back_is_the_record(price, number, kind, side, reason):
    events = whale_open()
    events["best_bid"], events["rho"], events["kind"], events["side"], events["reason"] = (
        price,
        number,
        kind,
        side,
        reason,
    )
    (record,) = flow_records(events, [instrument()])
    line = encode_line(record)
    assert decode_line(line) == record
    assert encode_line(decode_line(line)) == line
    assert record.rho == (number if math.isfinite(number) else None)


def test_signal_line_carries_exact_price_and_no_veto():
    signal = signal_of()
    line = encode_line(signal)
    content = json.loads(line)
    assert line.startswith(
        b'{"record":"signal","v":1,"veto":null,"strategy":"volume_scalper","action":"entry",'
    )
    assert (content["price"], content["side"], content["market"]) == ("9999.95", "buy", "usdm")
    assert (content["alignment"], content["profile_source"]) == ("edge", "rolling")
    assert content["v"] == SCHEMA_VERSION
    assert decode_line(line) == signal_record(signal)
    assert encode_line(signal) == encode_line(signal_record(signal)) == line


def test_veto_line_carries_its_reason_and_what_is_unknown_as_null():
    veto = signal_of(sigma_60_bps=math.nan)
    assert isinstance(veto, Veto)
    content = json.loads(encode_line(veto))
    assert content["veto"] == VetoReason.NOT_READY
    assert (
        content["sigma_60_bps"]
        is content["target_bps"]
        is content["confidence"]
        is content["alignment"]
        is None
    )
    assert decode_line(encode_line(veto)) == signal_record(veto)


def test_line_of_another_shape_is_refused():
    for line in (b'{"record":"order"}', b"{}", b'{"record":"flow","v":1}'):
        with pytest.raises(msgspec.ValidationError):
            decode_line(line)
