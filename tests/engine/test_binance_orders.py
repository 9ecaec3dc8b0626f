"""Requests of Binance's WebSocket API."""

from decimal import Decimal

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.execution.ids import OrderIds
from engine.instruments import INT64_MAX
from engine.orders import OrderKind, OrderLife, PlaceOrder
from engine.signals import MarketKind, Side
from engine.sim.requests import Cancel, Place, Query, decode_request
from engine.venues.binance_orders import BinanceOrders, request_order
from engine.venues.venue import SendStatus
from tests.engine.order_values import SYMBOL, instrument

USDM, SPOT = MarketKind.USDM, MarketKind.SPOT


class Line:
    """A transport that keeps what it was given."""

    def __init__(self, status: SendStatus = SendStatus.SENT) -> None:
        self.status = status
        self.requests: list[bytes] = []

    def send(self, request: bytes) -> SendStatus:
        self.requests.append(request)
        return self.status


def order(**changes) -> PlaceOrder:
    values = {
        "client_order_id": "rmain1-5",
        "symbol": SYMBOL,
        "side": Side.BUY,
        "kind": OrderKind.LIMIT,
        "life": OrderLife.GTC,
        "price": 6_500_010,
        "quantity": 15,
        "is_reducing": False,
    }
    return PlaceOrder(**(values | changes))


def expected(market: MarketKind, asked: PlaceOrder, price_text: str, quantity_text: str) -> dict[str, object]:
    """Say the request as the venue's documentation has it, key by key."""
    params = {"symbol": asked.symbol, "side": "BUY" if asked.side > 0 else "SELL"}
    if asked.kind is OrderKind.MARKET:
        params["type"] = "MARKET"
    elif asked.kind is OrderKind.STOP_MARKET:
        params["stopPrice"] = price_text
        params["type"] = "STOP_LOSS" if market is SPOT else "STOP_MARKET"
        if market is USDM:
            params["workingType"] = "MARK_PRICE"
    else:
        params["price"] = price_text
        if market is SPOT and asked.life is OrderLife.GTX:
            params["type"] = "LIMIT_MAKER"
        else:
            params |= {"type": "LIMIT", "timeInForce": asked.life.name}
    params["quantity"] = quantity_text
    if asked.is_reducing and market is USDM:
        params["reduceOnly"] = "true"
    params |= {"newClientOrderId": asked.client_order_id, "newOrderRespType": "ACK"}
    return {"id": asked.client_order_id, "method": "order.place", "params": params}


@pytest.mark.parametrize("market", [USDM, SPOT])
@pytest.mark.parametrize("kind", OrderKind)
@pytest.mark.parametrize("life", OrderLife)
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("is_reducing", [False, True])
def test_order_is_asked_for_as_the_documentation_says(market, kind, life, side, is_reducing):
    line = Line()
    asked = order(kind=kind, life=life, side=side, is_reducing=is_reducing)
    assert BinanceOrders([instrument(kind=market)], line).place(asked) is SendStatus.SENT
    (request,) = line.requests
    assert orjson.loads(request) == expected(market, asked, "65000.10", "0.015")
    assert orjson.dumps(orjson.loads(request)) == request  # compact, each key once


@pytest.mark.parametrize(
    ("verb", "method", "letter"), [("cancel", "order.cancel", "c"), ("query", "order.status", "q")]
)
def test_order_is_cancelled_and_queried_by_its_client_order_id(verb, method, letter):
    line = Line()
    getattr(BinanceOrders([instrument()], line), verb)(SYMBOL, "rmain1-5")
    assert [orjson.loads(request) for request in line.requests] == [
        {
            "id": f"{letter}main1-5",
            "method": method,
            "params": {"symbol": SYMBOL, "origClientOrderId": "rmain1-5"},
        }
    ]


@given(
    price=st.integers(1, INT64_MAX),
    quantity=st.integers(1, INT64_MAX),
    price_digits=st.integers(0, 12),
    quantity_digits=st.integers(0, 12),
)
def test_price_and_quantity_come_back_exactly(price, quantity, price_digits, quantity_digits):
    traded = instrument(price_digits=price_digits, quantity_digits=quantity_digits)
    request = BinanceOrders([traded], Line()).place_request(order(price=price, quantity=quantity))
    params = orjson.loads(request)["params"]
    assert traded.price_units(params["price"]) == price
    assert traded.quantity_units(params["quantity"]) == quantity
    assert Decimal(params["price"]) == Decimal(price).scaleb(-price_digits)
    assert Decimal(params["quantity"]) == Decimal(quantity).scaleb(-quantity_digits)


@given(
    market=st.sampled_from([USDM, SPOT]),
    kind=st.sampled_from(OrderKind),
    life=st.sampled_from(OrderLife),
    side=st.sampled_from([Side.BUY, Side.SELL]),
    price=st.integers(1, INT64_MAX),
    quantity=st.integers(1, INT64_MAX),
    is_reducing=st.booleans(),
)
def test_embedded_exchange_reads_what_was_meant(*, market, kind, life, side, price, quantity, is_reducing):
    line, traded = Line(), instrument(kind=market)
    venue = BinanceOrders([traded], line)
    asked = order(kind=kind, life=life, side=side, price=price, quantity=quantity, is_reducing=is_reducing)
    venue.place(asked)
    venue.cancel(SYMBOL, "rmain1-5")
    venue.query(SYMBOL, "rmain1-5")
    # What the venue is not told, as it has no meaning there: a life but of limits, a price of market orders.
    lives = {OrderKind.LIMIT: life, OrderKind.MARKET: OrderLife.IOC, OrderKind.STOP_MARKET: OrderLife.GTC}
    read = msgspec.structs.replace(
        asked,
        life=lives[kind],
        price=0 if kind is OrderKind.MARKET else price,
        is_reducing=is_reducing and market is USDM,
    )
    assert [decode_request(request, traded) for request in line.requests] == [
        Place("rmain1-5", read),
        Cancel("cmain1-5", "rmain1-5"),
        Query("qmain1-5", "rmain1-5"),
    ]


@given(symbol=st.text(min_size=1, max_size=20))
def test_symbol_of_any_characters_arrives_as_it_is(symbol):
    try:
        symbol.encode()
    except UnicodeEncodeError:
        return
    venue = BinanceOrders([instrument(symbol=symbol)], Line())
    assert orjson.loads(venue.place_request(order(symbol=symbol)))["params"]["symbol"] == symbol
    assert orjson.loads(venue.order_request("c", symbol, "ra1-1"))["params"]["symbol"] == symbol


@given(instance=st.text("abcq", min_size=1, max_size=8), epoch=st.integers(0, 999))
def test_id_of_a_request_tells_its_order_and_what_was_asked(instance, epoch):
    line = Line()
    venue = BinanceOrders([instrument()], line)
    name = OrderIds(instance, epoch).next()
    venue.place(order(client_order_id=name))
    venue.cancel(SYMBOL, name)
    venue.query(SYMBOL, name)
    requests = [orjson.loads(request) for request in line.requests]
    assert [request_order(request["id"]) for request in requests] == [
        (method, name) for method in ("order.place", "order.cancel", "order.status")
    ]
    assert [request["method"] for request in requests] == ["order.place", "order.cancel", "order.status"]
    assert all(len(request["id"]) <= 36 for request in requests)


@pytest.mark.parametrize("text", ["", "x", "7", "web_1"])
def test_id_of_a_foreign_request_tells_nothing(text):
    assert request_order(text) is None


@pytest.mark.parametrize("status", SendStatus)
def test_what_the_transport_says_is_handed_on(status):
    venue = BinanceOrders([instrument()], Line(status))
    assert venue.place(order()) is status
    assert venue.cancel(SYMBOL, "ra1-1") is status
    assert venue.query(SYMBOL, "ra1-1") is status


def test_inverse_contract_is_refused():
    with pytest.raises(InputError, match="BTCUSD_PERP"):
        BinanceOrders([instrument(symbol="BTCUSD_PERP", kind=MarketKind.COINM)], Line())


def test_instrument_that_was_not_given_is_an_error_and_sends_nothing():
    line = Line()
    venue = BinanceOrders([instrument()], line)
    with pytest.raises(KeyError):
        venue.place(order(symbol="ETHUSDT"))
    with pytest.raises(KeyError):
        venue.cancel("ETHUSDT", "ra1-1")
    assert line.requests == []
