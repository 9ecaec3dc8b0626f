"""What exchangeInfo says of one symbol, and what may change of it while the venue runs."""

from decimal import Decimal
from typing import Final

import msgspec

from engine.instruments import Instrument, decimal_text, from_exchange_info
from engine.signals import MarketKind
from engine.sim.markets import CrowdSpec

QUOTES: Final = ("USDT", "USDC", "FDUSD", "BTC")
TRADING: Final = "TRADING"
FOREVER_MS: Final = 4_133_404_800_000  # the delivery date of what is never delivered


class SymbolInfo:
    """
    Filters, status and funding interval of one symbol.

    Attributes
    ----------
    tick, step, min_notional : str
        As the venue writes them.
    status : str
    funding_hours : int
    """

    def __init__(self, spec: CrowdSpec) -> None:
        self._spec = spec
        self._is_spot = spec.market == "spot"
        self.tick = _step_text(spec.tick_decimals, spec.price_zeros)
        self.step = _step_text(spec.lot_decimals, spec.quantity_zeros)
        self.min_notional = "5.00000000" if self._is_spot else "100" if spec.symbol == "BTCUSDT" else "20"
        self.status = TRADING
        self.funding_hours = 8

    def set_filters(
        self,
        tick: str | Decimal | None = None,
        step: str | Decimal | None = None,
        min_notional: str | Decimal | None = None,
    ) -> None:
        """
        Say something else from now on; what is None stays.

        Raises
        ------
        ValueError
            When one of them is not above zero.
        """
        for name, value in (("tick", tick), ("step", step), ("min_notional", min_notional)):
            if value is None:
                continue
            if not Decimal(value) > 0:
                raise ValueError(f"Expected a {name} above zero, found {value}.")
            setattr(self, name, f"{Decimal(value):f}")

    def entry(self) -> dict[str, object]:
        """Return the symbol's entry of exchangeInfo."""
        spec = self._spec
        quote = next((name for name in QUOTES if spec.symbol.endswith(name)), "USDT")
        base = spec.symbol.removesuffix(quote)
        most = decimal_text(9_000_000 * 10**spec.lot_decimals, spec.lot_decimals)
        filters: list[dict[str, object]] = [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": self.tick,
                "maxPrice": "1000000",
                "tickSize": self.tick,
            },
            {"filterType": "LOT_SIZE", "minQty": self.step, "maxQty": most, "stepSize": self.step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": self.step, "maxQty": most, "stepSize": self.step},
        ]
        if self._is_spot:
            filters += [
                {
                    "filterType": "NOTIONAL",
                    "minNotional": self.min_notional,
                    "applyMinToMarket": True,
                    "maxNotional": "9000000.00000000",
                    "applyMaxToMarket": False,
                    "avgPriceMins": 5,
                },
                {"filterType": "ICEBERG_PARTS", "limit": 100},
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            ]
            return {
                "symbol": spec.symbol,
                "status": self.status,
                "baseAsset": base,
                "baseAssetPrecision": 8,
                "quoteAsset": quote,
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "baseCommissionPrecision": 8,
                "quoteCommissionPrecision": 8,
                "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT"],
                "icebergAllowed": True,
                "ocoAllowed": True,
                "otoAllowed": True,
                "quoteOrderQtyMarketAllowed": True,
                "allowTrailingStop": True,
                "cancelReplaceAllowed": True,
                "amendAllowed": True,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "filters": filters,
                "permissions": [],
                "permissionSets": [["SPOT"]],
                "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
                "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
            }
        filters += [
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": self.min_notional},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ]
        return {
            "symbol": spec.symbol,
            "pair": spec.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": FOREVER_MS,
            "onboardDate": 1_569_398_400_000,
            "status": self.status,
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": base,
            "quoteAsset": quote,
            "marginAsset": quote,
            "pricePrecision": spec.tick_decimals + spec.price_zeros,
            "quantityPrecision": spec.lot_decimals,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012500",
            "marketTakeBound": "0.05",
            "maxMoveOrderLimit": 10_000,
            "filters": filters,
            "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TRAILING_STOP_MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        }

    def instrument(self) -> Instrument:
        """Return the instrument that the entry describes."""
        kind = MarketKind.SPOT if self._is_spot else MarketKind.USDM
        body = msgspec.json.encode({"timezone": "UTC", "symbols": [self.entry()]})
        return from_exchange_info(body, self._spec.symbol, kind)


def _step_text(decimals: int, zeros: int) -> str:
    return decimal_text(10**zeros, decimals + zeros)
