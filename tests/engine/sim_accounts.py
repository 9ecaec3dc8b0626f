"""Instruments, orders and paper accounts for tests."""

from dataclasses import replace
from decimal import Decimal

import msgspec

from engine.instruments import Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder
from engine.signals import MarketKind, Side
from engine.sim.account import Account
from engine.sim.fees import Charge, Fees
from engine.sim.filters import Rejection

USDM = Instrument(
    symbol="BTCUSDT",
    kind=MarketKind.USDM,
    base="BTC",
    quote="USDT",
    price_digits=1,
    quantity_digits=3,
    tick=1,
    step=1,
    min_notional=Decimal(100),
    contract_size=1,
    status="TRADING",
)
SPOT = replace(
    USDM, kind=MarketKind.SPOT, price_digits=2, quantity_digits=8, step=1000, min_notional=Decimal(5)
)
# Price times quantity is finer than 10^-8 of the quote asset.
FINE = replace(
    SPOT,
    symbol="ETHBTC",
    base="ETH",
    quote="BTC",
    price_digits=5,
    step=10_000,
    min_notional=Decimal("0.0001"),
)
MONEY = 10**8
MARK = 600_000  # USDM: 60,000.0
FEES = Fees(2, 5)


def order(
    name: str = "a", side: int = 1, price: int = MARK, quantity: int = 10, **changes: object
) -> PlaceOrder:
    plain = PlaceOrder(
        client_order_id=name,
        symbol="BTCUSDT",
        side=Side(side),
        kind=OrderKind.LIMIT,
        life=OrderLife.GTC,
        price=price,
        quantity=quantity,
        is_reducing=False,
    )
    return msgspec.structs.replace(plain, **changes)


def stop(name: str, side: int, price: int, quantity: int = 10, **changes: object) -> PlaceOrder:
    return order(name, side, price, quantity, kind=OrderKind.STOP_MARKET, **changes)


def usdm(quote: int = 10_000, fees: Fees = FEES) -> Account:
    return Account(USDM, fees, {"USDT": quote * MONEY})


def spot(quote: int = 10_000, base: int = 1, fees: Fees = FEES) -> Account:
    return Account(SPOT, fees, {"USDT": quote * MONEY, "BTC": base * MONEY})


def take_on(account: Account, wanted: PlaceOrder, mark: int = MARK) -> int:
    quantity = account.review(wanted, mark=mark, worst=mark)
    assert isinstance(quantity, int)
    account.open(wanted, quantity, worst=mark)
    return quantity


def trade(account: Account, name: str, side: int, price: int, quantity: int, **changes: object) -> Charge:
    take_on(account, order(name, side, price, quantity, **changes))
    return account.fill(name, price, quantity, is_maker=False)


def refusal(account: Account, wanted: PlaceOrder) -> Rejection:
    found = account.review(wanted, mark=MARK, worst=MARK)
    assert isinstance(found, Rejection)
    return found
