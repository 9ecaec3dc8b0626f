"""Requests as the venue reads them: our adapter's bytes come back as they went; all else has an answer."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.instruments import INT64_MAX, Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder
from engine.signals import Side
from engine.sim.exchange import instrument_of
from engine.sim.markets import btcusdt
from engine.sim.requests import Cancel, Malformed, Place, Query, decode_request
from engine.venues.binance_orders import BinanceOrders
from engine.venues.venue import SendStatus

USDM = instrument_of(btcusdt("usdm"))
SPOT = instrument_of(btcusdt("spot"))
BOTH = pytest.mark.parametrize("instrument", [USDM, SPOT], ids=["usdm", "spot"])
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "price": "61800.1",
    "quantity": "0.010",
    "newClientOrderId": "r1",
}
WHICH = {"symbol": "BTCUSDT", "origClientOrderId": "r1"}


class Wire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, request: bytes) -> SendStatus:
        self.sent.append(request)
        return SendStatus.SENT


def read(params: object, method: object = "order.place", instrument: Instrument = USDM) -> object:
    return decode_request(json.dumps({"id": "x", "method": method, "params": params}).encode(), instrument)


def placed(instrument: Instrument = USDM, **changes: object) -> PlaceOrder:
    found = read(LIMIT | changes, instrument=instrument)
    assert isinstance(found, Place)
    return found.order


def refused(params: object, method: object = "order.place", instrument: Instrument = USDM) -> Malformed:
    found = read(params, method, instrument)
    assert isinstance(found, Malformed)
    return found


@pytest.mark.slow
@BOTH
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_our_adapter_writes_is_read_as_it_was_meant(instrument: Instrument, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(OrderKind))
    life = data.draw(st.sampled_from(OrderLife)) if kind is OrderKind.LIMIT else OrderLife.IOC
    order = PlaceOrder(
        client_order_id=data.draw(st.from_regex(r"\Ar[a-zA-Z0-9_-]{0,35}\Z")),
        symbol="BTCUSDT",
        side=data.draw(st.sampled_from((Side.BUY, Side.SELL))),
        kind=kind,
        life=OrderLife.GTC if kind is OrderKind.STOP_MARKET else life,
        price=0 if kind is OrderKind.MARKET else data.draw(st.integers(0, INT64_MAX)),
        quantity=data.draw(st.integers(0, INT64_MAX)),
        is_reducing=instrument is USDM and data.draw(st.booleans()),
    )
    wire = Wire()
    orders = BinanceOrders([instrument], wire)
    orders.place(order)
    orders.cancel("BTCUSDT", order.client_order_id)
    orders.query("BTCUSDT", order.client_order_id)
    place, cancel, query = (decode_request(sent, instrument) for sent in wire.sent)
    assert isinstance(place, Place)
    assert place.order == order
    assert cancel == Cancel("c" + order.client_order_id[1:], order.client_order_id)
    assert query == Query("q" + order.client_order_id[1:], order.client_order_id)


@settings(max_examples=150, deadline=None)
@given(value=st.decimals(0, 10**9, allow_nan=False, places=8), as_number=st.booleans())
def test_number_is_read_exactly_or_refused_however_it_is_written(value: Decimal, as_number: bool) -> None:
    text = f"{value:f}"
    body = json.dumps(LIMIT | {"price": "PRICE"}).replace('"PRICE"', text if as_number else f'"{text}"')
    found = decode_request(b'{"method":"order.place","params":%s}' % body.encode(), SPOT)
    units = value * 100
    if units == int(units):
        assert isinstance(found, Place)
        assert found.order.price == int(units)
    else:
        assert isinstance(found, Malformed)
        assert found.rejection.reason == "-1013 Filter failure: PRICE_FILTER"


def test_reduce_only_is_a_truth_value_or_its_text() -> None:
    assert placed(reduceOnly=True).is_reducing
    assert placed(reduceOnly="true").is_reducing
    assert not placed(reduceOnly="false").is_reducing
    assert not placed().is_reducing


def test_zeros_behind_the_unit_are_no_excess_precision() -> None:
    assert placed(price="61800.1000000", quantity="0.01000").price == 618_001
    assert placed(SPOT, price="61800.10000000", quantity="0.01000000").quantity == 1_000_000


@BOTH
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"side": "LONG"}, -1117),
        ({"type": "TRAILING"}, -1116),
        ({"timeInForce": "GTD"}, -1115),
        ({"symbol": "ETHUSDT"}, -1121),
        ({"price": ""}, -1102),
        ({"price": None}, -1102),
        ({"quantity": "1e3"}, -1100),
        ({"quantity": "-1"}, -1100),
        ({"price": "NaN"}, -1100),
        ({"price": [1]}, -1100),
        ({"price": "1" * 21}, -1100),
        ({"quantity": "9" * 20}, -1102),
        ({"side": 7}, -1117),
    ],
)
def test_wrong_parameter_is_refused_with_the_venues_code(
    instrument: Instrument, changes: dict, code: int
) -> None:
    found = refused(LIMIT | changes, instrument=instrument)
    assert found.rejection.code == code
    assert (found.request_id, found.method, found.client_order_id) == ("x", "order.place", "r1")


@BOTH
@pytest.mark.parametrize("name", sorted(LIMIT))
def test_parameter_that_is_missing_is_named(instrument: Instrument, name: str) -> None:
    found = refused({key: value for key, value in LIMIT.items() if key != name}, instrument=instrument)
    assert found.rejection.code == -1102
    assert f"'{name}'" in found.rejection.text


@pytest.mark.parametrize(
    ("instrument", "changes", "code"),
    [
        (USDM, {"price": "61800.15"}, -4014),
        (USDM, {"quantity": "0.0105"}, -1111),
        (USDM, {"newClientOrderId": "no blanks"}, -4015),
        (USDM, {"newClientOrderId": "x" * 37}, -4015),
        (USDM, {"type": "LIMIT_MAKER"}, -1116),
        (USDM, {"type": "STOP_LOSS", "stopPrice": "1"}, -1116),
        (USDM, {"type": "STOP_MARKET"}, -1102),
        (USDM, {"reduceOnly": "maybe"}, -1102),
        (SPOT, {"price": "61800.155"}, -1013),
        (SPOT, {"price": "61800.123456789"}, -1111),
        (SPOT, {"quantity": "0.010000005"}, -1111),
        (SPOT, {"newClientOrderId": "a.b"}, -1100),
        (SPOT, {"type": "STOP_MARKET", "stopPrice": "1"}, -1116),
        (SPOT, {"timeInForce": "GTX"}, -1115),
        (SPOT, {"reduceOnly": "true"}, -1104),
        (SPOT, {"workingType": "MARK_PRICE"}, -1104),
    ],
)
def test_each_market_refuses_what_only_the_other_takes(
    instrument: Instrument, changes: dict, code: int
) -> None:
    assert refused(LIMIT | changes, instrument=instrument).rejection.code == code


def test_parameters_of_session_and_signature_are_let_through() -> None:
    added = {"timestamp": 1_767_614_400_000, "recvWindow": "5000", "apiKey": "k", "signature": "s"}
    assert placed(SPOT, **added) == placed(SPOT)
    assert placed(USDM, **added, positionSide="BOTH") == placed(USDM)


@pytest.mark.parametrize("method", ["order.cancel", "order.status"])
def test_question_about_an_order_needs_its_client_order_id(method: str) -> None:
    found = refused({"symbol": "BTCUSDT"}, method)
    assert (found.method, found.client_order_id, found.rejection.code) == (method, "", -1102)
    assert refused(WHICH | {"symbol": "X"}, method).client_order_id == "r1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -1135),
        (b"{", -1135),
        (b"[]", -1135),
        (b'{"method":7,"params":{}}', -1135),
        (b'{"method":"order.place","params":[]}', -1135),
        (b'{"method":"order.place"}', -1102),
        (b'{"method":"order.place","params":{"symbol":"\xff"}}', -1102),
        (b'{"method":"order.amend","params":{}}', -1000),
    ],
)
def test_body_that_is_no_request_has_an_answer(body: bytes, code: int) -> None:
    found = decode_request(body, USDM)
    assert isinstance(found, Malformed)
    assert found.rejection.code in (code, -1135)


@BOTH
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_bytes_raise(instrument: Instrument, data: st.DataObject) -> None:
    body = bytearray(msgspec.json.encode({"id": 1, "method": "order.place", "params": LIMIT}))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for text in (bytes(body), bytes(body[:cut]), data.draw(st.binary(max_size=60))):
        assert isinstance(decode_request(text, instrument), Place | Cancel | Query | Malformed)
