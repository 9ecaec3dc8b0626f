"""Requests on orders as Binance's WebSocket API takes them, read into integer units or refused in its words.

Read are `order.place`, `order.cancel` and `order.status` of spot and USD-M. What a logged-on session or a
signature adds beside the order is let through unread.

Source: Binance, "WebSocket API" and "Error codes" of the spot and USD-M documentation. Two things are not as
there: the client order id is mandatory, since an order of ours without one could not be found again; and a
method we do not serve is refused with -1000.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import msgspec

from engine.instruments import INT64_MAX, Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder, Report
from engine.signals import MarketKind, Side
from engine.sim.filters import Rejection

PLACE: Final = "order.place"
CANCEL: Final = "order.cancel"
QUERY: Final = "order.status"

_SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
_LIVES: Final = {"GTC": OrderLife.GTC, "IOC": OrderLife.IOC, "FOK": OrderLife.FOK, "GTX": OrderLife.GTX}
_SPOT_TYPES: Final = frozenset({"LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS"})
_USDM_TYPES: Final = frozenset({"LIMIT", "MARKET", "STOP_MARKET"})
# Spot refuses what it does not know; of what it knows, these are of our concern or none of it.
_SPOT_PARAMETERS: Final = frozenset(
    {
        "symbol", "side", "type", "timeInForce", "price", "quantity", "stopPrice", "newClientOrderId",
        "origClientOrderId", "newOrderRespType", "selfTradePreventionMode", "apiKey", "signature",
        "timestamp", "recvWindow",
    }
)  # fmt: skip
_SPOT_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,36}", re.ASCII)
_USDM_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}", re.ASCII)
_NUMBER: Final = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?", re.ASCII)
_SPOT_DIGITS: Final = 8  # finer text is too precise; coarser but off the grid fails a filter


@dataclass(frozen=True, slots=True)
class Place:
    """Place an order, in units of the instrument; filters and means are not looked at yet."""

    request_id: str
    order: PlaceOrder


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel an order."""

    request_id: str
    client_order_id: str


@dataclass(frozen=True, slots=True)
class Query:
    """Tell where an order stands."""

    request_id: str
    client_order_id: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A request the venue refuses before it looks at the market; what is not known of it is empty."""

    request_id: str
    method: str
    client_order_id: str
    rejection: Rejection


Request = Place | Cancel | Query | Malformed


class DeliveryKind(IntEnum):
    """What reaches us."""

    FRAME = 0  # of the combined stream
    SNAPSHOT = 1  # answer of the depth endpoint
    REPORT = 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that reaches us: bytes of a frame or snapshot, or a report whose `recv_ns` is the same."""

    deliver_ns: int
    kind: DeliveryKind
    payload: bytes | Report


@dataclass(frozen=True, slots=True)
class Latency:
    """Shortest times of travel in ns, none negative; the mean of each is 7/16 longer."""

    feed_ns: int
    order_ns: int
    response_ns: int


class _Envelope(msgspec.Struct):
    method: str
    params: dict[str, msgspec.Raw] = {}
    id: str | int | None = None


class _RefusedError(Exception):
    # Only inside this room: the way out of reading a parameter.
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.rejection = Rejection(code, text)


def decode_request(request: bytes, instrument: Instrument) -> Request:
    """
    Read one request.

    Parameters
    ----------
    request
        JSON text.
    instrument
        The one instrument there is; prices and quantities come in its units.

    Returns
    -------
    Place, Cancel, Query or Malformed
        Never raises: whatever bytes come, the venue has an answer.

    Cost
    ----
    Some microseconds.
    """
    try:
        envelope = _DECODER.decode(request)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Malformed("", "", "", Rejection(-1135, "Invalid JSON Request."))
    request_id = "" if envelope.id is None else str(envelope.id)
    reader = _Reader(envelope, instrument)
    try:
        if envelope.method == PLACE:
            return Place(request_id, reader.order())
        if envelope.method in (CANCEL, QUERY):
            reader.check()
            name = reader.client_order_id("origClientOrderId")
            return Cancel(request_id, name) if envelope.method == CANCEL else Query(request_id, name)
        raise _RefusedError(-1000, f"Unknown method '{envelope.method}'.")
    except _RefusedError as refused:
        return Malformed(request_id, envelope.method, reader.known_id(), refused.rejection)


_DECODER: Final = msgspec.json.Decoder(_Envelope)


class _Reader:
    """The parameters of one request, one by one."""

    __slots__ = ("_instrument", "_is_spot", "_params")

    def __init__(self, envelope: _Envelope, instrument: Instrument) -> None:
        self._params = envelope.params
        self._instrument = instrument
        self._is_spot = instrument.kind is MarketKind.SPOT

    def check(self) -> None:
        """Refuse what spot does not know, and any other symbol."""
        if self._is_spot and not _SPOT_PARAMETERS.issuperset(self._params):
            sent = len(self._params)
            known = len(_SPOT_PARAMETERS.intersection(self._params))
            text = f"Not all sent parameters were read; read '{known}' parameter(s) but was sent '{sent}'."
            raise _RefusedError(-1104, text)
        if self._text("symbol") != self._instrument.symbol:
            raise _RefusedError(-1121, "Invalid symbol.")

    def order(self) -> PlaceOrder:
        self.check()
        side = _SIDES.get(self._text("side"))
        if side is None:
            raise _RefusedError(-1117, "Invalid side.")
        kind_text = self._text("type")
        if kind_text not in (_SPOT_TYPES if self._is_spot else _USDM_TYPES):
            raise _RefusedError(-1116, "Invalid orderType.")
        kind, life, price = OrderKind.LIMIT, OrderLife.GTX, 0
        if kind_text == "MARKET":
            kind, life = OrderKind.MARKET, OrderLife.IOC
        elif kind_text in ("STOP_MARKET", "STOP_LOSS"):
            kind, life = OrderKind.STOP_MARKET, OrderLife.GTC
            price = self._units("stopPrice", self._instrument.price_digits, -4014, "PRICE_FILTER")
        else:
            if kind_text == "LIMIT":
                life = self._life()
            price = self._units("price", self._instrument.price_digits, -4014, "PRICE_FILTER")
        return PlaceOrder(
            client_order_id=self.client_order_id("newClientOrderId"),
            symbol=self._instrument.symbol,
            side=side,
            kind=kind,
            life=life,
            price=price,
            quantity=self._units("quantity", self._instrument.quantity_digits, -1111, "LOT_SIZE"),
            is_reducing=not self._is_spot and self._truth("reduceOnly"),
        )

    def client_order_id(self, name: str) -> str:
        text = self._text(name)
        if not (_SPOT_ID if self._is_spot else _USDM_ID).fullmatch(text):
            if self._is_spot:
                raise _RefusedError(
                    -1100,
                    f"Illegal characters found in parameter '{name}'; legal range is '{_SPOT_ID.pattern}'.",
                )
            raise _RefusedError(-4015, "Client order id is not valid.")
        return text

    def known_id(self) -> str:
        """Return the client order id if one can be read, else nothing."""
        for name in ("newClientOrderId", "origClientOrderId"):
            if name in self._params:
                try:
                    return self._text(name)
                except _RefusedError:
                    return ""
        return ""

    def _life(self) -> OrderLife:
        life = _LIVES.get(self._text("timeInForce"))
        if life is None or (self._is_spot and life is OrderLife.GTX):
            raise _RefusedError(-1115, "Invalid timeInForce.")
        return life

    def _truth(self, name: str) -> bool:
        if name not in self._params:
            return False
        text = self._text(name).lower()
        if text not in ("true", "false"):
            raise _missing(name)
        return text == "true"

    def _text(self, name: str) -> str:
        raw = self._params.get(name)
        if raw is None:
            raise _missing(name)
        body = bytes(raw)
        try:
            # A number or a truth value as it was written: floats lose digits.
            text = msgspec.json.decode(body, type=str) if body[:1] == b'"' else body.decode()
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _missing(name) from None
        if not text or text == "null":
            raise _missing(name)
        return text

    def _units(self, name: str, digits: int, usdm_code: int, spot_filter: str) -> int:
        text = self._text(name)
        found = _NUMBER.fullmatch(text)
        if found is None:
            raise _RefusedError(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '{_NUMBER.pattern}'."
            )
        fraction = (found[2] or "").rstrip("0")
        if len(fraction) > digits:
            if not self._is_spot:
                tick = "Price not increased by tick size."
                precision = "Precision is over the maximum defined for this asset."
                raise _RefusedError(usdm_code, tick if usdm_code == -4014 else precision)
            if len(fraction) > _SPOT_DIGITS:
                raise _RefusedError(-1111, f"Parameter '{name}' has too much precision.")
            raise _RefusedError(-1013, f"Filter failure: {spot_filter}")
        units = int(found[1]) * int(10**digits) + int(fraction.ljust(digits, "0") or "0")
        if units > INT64_MAX:
            raise _missing(name)
        return units


def _missing(name: str) -> _RefusedError:
    text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    return _RefusedError(-1102, text)
