"""Instruments, intents, approvals and reports as tests of orders need them."""

from decimal import Decimal

from engine.instruments import Instrument
from engine.orders import Approved, Intent, OrderKind, OrderLife, Purpose, Report, ReportKind
from engine.signals import MarketKind, Side

SYMBOL = "BTCUSDT"


def instrument(**changes: object) -> Instrument:
    """Return a USD-M instrument: prices in 0.01, quantities in 0.001."""
    values: dict[str, object] = {
        "symbol": SYMBOL,
        "kind": MarketKind.USDM,
        "base": "BTC",
        "quote": "USDT",
        "price_digits": 2,
        "quantity_digits": 3,
        "tick": 10,
        "step": 1,
        "min_notional": Decimal(5),
        "contract_size": 1,
        "status": "TRADING",
    }
    return Instrument(**(values | changes))


def intent(**changes: object) -> Intent:
    """Return the intent of a post-only entry: buy 0.010 at 65000.10."""
    values: dict[str, object] = {
        "purpose": Purpose.ENTRY,
        "strategy": "volume_scalper",
        "symbol": SYMBOL,
        "instrument": 0,
        "instrument_epoch": 1,
        "plan": 7,
        "side": Side.BUY,
        "kind": OrderKind.LIMIT,
        "life": OrderLife.GTX,
        "price": 6_500_010,
        "quantity": 10,
        "is_reducing": False,
        "is_valid": True,
        "book_epoch": 3,
        "update_id": 11,
        "trade_id": 12,
        "venue_ns": 900,
        "recv_ns": 1_000,
        "decide_ns": 1_000,
        "best_bid": 6_500_010,
        "best_ask": 6_500_020,
    }
    return Intent(**(values | changes))


def approved(serial: int = 1, quantity: int = 10, **changes: object) -> Approved:
    """Return an approval of an intent of that quantity."""
    return Approved(serial=serial, quantity=quantity, intent=intent(**({"quantity": quantity} | changes)))


def report(kind: ReportKind, client_order_id: str, **changes: object) -> Report:
    """Return a report; without changes it says nothing but its kind."""
    return Report(**({"kind": kind, "client_order_id": client_order_id, "symbol": SYMBOL} | changes))


def fill(client_order_id: str, trade_id: int, quantity: int, filled: int = 0, **changes: object) -> Report:
    """Return the report of a fill; `filled` is the venue's cumulative quantity."""
    return report(
        ReportKind.FILL,
        client_order_id,
        **({"trade_id": trade_id, "quantity": quantity, "filled": filled, "price": 6_500_010} | changes),
    )
