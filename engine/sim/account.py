"""A paper account at one venue: what an order may do, what a fill costs, what is left. Integers only.

Inside, money is counted in parts of 10^-16 of its asset: fine enough that price times quantity is never
rounded. Outside it is 10^-8. Only commissions, the average entry of a part that is closed and what is told
outside are ever rounded, always in the venue's favour.

Rules of the venue that reviews follow, beside the filters:

1. A client order id is used once at a time (-2010 on spot, -4116 on USD-M).
2. Reduce-only needs a position on the other side, and never does more than close it (-2022).
3. Spot locks what an order could cost (-2010); USD-M wants the margin of the worst side (-2019).

Source: Binance, "Error codes" of the spot and USD-M documentation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.errors import InputError, StateError
from engine.instruments import Instrument, decimal_text
from engine.orders import OrderKind, OrderLife, PlaceOrder
from engine.signals import MarketKind
from engine.sim.fees import RATE_UNIT, Charge, Fees
from engine.sim.filters import Rejection, refused_by_filters

PART_DIGITS: Final = 16
PARTS_PER_MONEY: Final = 10**8
# A commission is exact in parts times the rate's unit; so many of those are 10^-8 of the asset.
EXACT_PER_MONEY: Final = PARTS_PER_MONEY * RATE_UNIT


@dataclass(slots=True)
class OpenOrder:
    """One order the account answers for. Only the account changes it.

    Attributes
    ----------
    price : the worst it can trade at, or where a waiting stop triggers; price units.
    leaves : quantity that may still fill.
    is_waiting : a stop that is not triggered.
    held : what it locks of its asset, in parts.
    """

    order: PlaceOrder
    price: int
    leaves: int
    is_waiting: bool
    held: int = 0
    received: int = 0  # parts of what it bought or sold for
    exact: int = 0  # commission so far, in parts x 10^-8
    charged: int = 0  # of that, told and taken; 10^-8


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives the venue's process. Amounts are decimal text: they exceed 64 bits in parts."""

    symbol: str
    market: int  # MarketKind
    price_digits: int
    quantity_digits: int
    balances: dict[str, str]
    position: str = "0"  # USD-M, in base
    cost: str = "0"  # of the position, signed as it, in quote
    stops: tuple[PlaceOrder, ...] = ()  # waiting, in units of the digits above


class Account:
    """
    Balances, position and open orders of one paper account in one instrument.

    Parameters
    ----------
    instrument
        Spot or USD-M, of this epoch.
    fees
    balances
        Asset to 10^-8 of it, none negative.
    leverage
        USD-M: notional that one unit of margin carries.

    Raises
    ------
    InputError
        The instrument is inverse or its units are finer than 10^-16 together, or a balance is negative.

    Notes
    -----
    USD-M is one-way, linear, with the wallet in quote. Margin = max(|position| at mark, worst buys, worst
    sells) / leverage, where worst counts all open orders that may enlarge; it must be covered by the wallet
    less unrealised loss. An order that does not raise it always passes. Reduce-only stops are looked at when
    they trigger. Nothing is liquidated and no funding is paid: the account is blind to both.

    A commission is rounded up over all fills of an order together, not each fill, so that the whole is exact
    to 10^-8; what is paid out of proceeds never exceeds them. A partly closed position gives up its share
    of the cost rounded up: the rest follows when it is flat, where the realised profit is exact.

    Cost: some microseconds a call; a review is linear in the open orders.
    """

    __slots__ = (
        "_cost",
        "_leverage",
        "_locked",
        "_open",
        "_per_product",
        "_per_quantity",
        "_position",
        "_total",
        "fees",
        "instrument",
        "is_spot",
    )

    def __init__(
        self, instrument: Instrument, fees: Fees, balances: Mapping[str, int], *, leverage: int = 5
    ) -> None:
        digits = instrument.price_digits + instrument.quantity_digits
        if instrument.kind is MarketKind.COINM or digits > PART_DIGITS:
            raise InputError(
                f"A paper account trades spot and linear contracts with units down to 10^-{PART_DIGITS}, "
                f"found {instrument.symbol}, {instrument.kind.name}, 10^-{digits}.",
                symbol=instrument.symbol,
            )
        if leverage < 1 or min(balances.values(), default=0) < 0:
            raise InputError(
                f"Expected balances and leverage that are not negative, found {dict(balances)}, {leverage}."
            )
        self.instrument = instrument
        self.fees = fees
        self.is_spot = instrument.kind is MarketKind.SPOT
        self._leverage = leverage
        self._per_product = int(10 ** (PART_DIGITS - digits))
        self._per_quantity = int(10 ** (PART_DIGITS - instrument.quantity_digits))
        self._total = {instrument.quote: 0}
        if self.is_spot:
            self._total[instrument.base] = 0
        self._total.update({asset: amount * PARTS_PER_MONEY for asset, amount in balances.items()})
        self._locked = dict.fromkeys(self._total, 0)
        self._position = 0
        self._cost = 0
        self._open: dict[str, OpenOrder] = {}

    @property
    def position(self) -> int:
        """Quantity units: signed on USD-M; on spot all there is of the base asset, locked included."""
        if self.is_spot:
            return self._total[self.instrument.base] // self._per_quantity
        return self._position

    @property
    def entry(self) -> int:
        """Average entry price in price units, rounded down; 0 when flat, and on spot: it keeps none."""
        if self._position == 0:
            return 0
        return self._cost // (self._position * self._per_product)

    @property
    def open_orders(self) -> Mapping[str, OpenOrder]:
        """Open orders by client order id, oldest first; not to be changed."""
        return self._open

    def balances(self) -> dict[str, int]:
        """Return all that is there of each asset, locked included, in 10^-8 rounded down."""
        return {asset: parts // PARTS_PER_MONEY for asset, parts in self._total.items()}

    def locked(self, asset: str) -> int:
        """Return what open orders lock of an asset, in 10^-8 rounded up."""
        return -(-self._locked.get(asset, 0) // PARTS_PER_MONEY)

    def free(self, asset: str) -> int:
        """Return what may be spent of an asset, in 10^-8 rounded down."""
        return (self._total.get(asset, 0) - self._locked.get(asset, 0)) // PARTS_PER_MONEY

    def equity(self, mark: int) -> int:
        """Return what the account is worth at the price `mark`, in 10^-8 quote rounded down.

        On spot: quote and base; other assets are not counted.
        """
        quote = self._total[self.instrument.quote]
        if self.is_spot:
            units, rest = divmod(self._total[self.instrument.base], self._per_quantity)
            worth = mark * units * self._per_product
            # A commission in base may leave less than a unit.
            worth += mark * rest // int(10**self.instrument.price_digits)
            return (quote + worth) // PARTS_PER_MONEY
        return (quote + self._unrealised(mark)) // PARTS_PER_MONEY

    def review(self, order: PlaceOrder, *, mark: int, worst: int) -> int | Rejection:
        """
        Say how much of an order may be placed now; nothing changes.

        Parameters
        ----------
        order
            In units of the instrument.
        mark
            Price the position and a market order's size are valued at.
        worst
            The worst price a market order could trade at now; it is locked and margined there.

        Returns
        -------
        int or Rejection
            Quantity units; less than asked only for reduce-only.
        """
        found = refused_by_filters(self.instrument, order, mark)
        if found is not None:
            return found
        if order.client_order_id in self._open:  # rule 1
            if self.is_spot:
                return Rejection(-2010, "Duplicate order sent.")
            return Rejection(-4116, "ClientOrderId is duplicated.")
        return self._means(order, mark, worst)

    def open(self, order: PlaceOrder, quantity: int, *, worst: int = 0) -> None:
        """
        Take on an order that was reviewed, and lock what it needs.

        Parameters
        ----------
        order
        quantity
            As the review allowed.
        worst
            As in the review; for market orders.

        Raises
        ------
        StateError
            The id is open already.
        """
        if order.client_order_id in self._open:
            raise StateError(f"Expected a new client order id, {order.client_order_id} is open.")
        price = worst if order.kind is OrderKind.MARKET else order.price
        entry = OpenOrder(order, price, quantity, is_waiting=order.kind is OrderKind.STOP_MARKET)
        self._open[order.client_order_id] = entry
        self._hold(entry)

    def trigger(self, client_order_id: str, *, mark: int, worst: int) -> int | Rejection:
        """
        Turn a waiting stop into the market order it stands for.

        Returns what a review would; after a rejection the order is closed. Filters are not asked again.
        """
        waiting = self._at(client_order_id)
        self.close(client_order_id)
        order = msgspec.structs.replace(waiting.order, kind=OrderKind.MARKET, life=OrderLife.IOC, price=0)
        quantity = self._means(order, mark, worst)
        if isinstance(quantity, int):
            self.open(order, quantity, worst=worst)
        return quantity

    def fill(self, client_order_id: str, price: int, quantity: int, *, is_maker: bool) -> Charge:
        """
        Book one execution. The order is closed when nothing is left of it.

        Parameters
        ----------
        client_order_id
        price
            Price units, not worse than the order's.
        quantity
            Quantity units, at most the leaves.
        is_maker

        Returns
        -------
        Charge

        Raises
        ------
        StateError
            No such order is open, or the fill is more than it allows.
        """
        entry = self._at(client_order_id)
        order = entry.order
        side = int(order.side)
        if entry.is_waiting or not 0 < quantity <= entry.leaves or (price - entry.price) * side > 0:
            raise StateError(
                f"Expected a fill within {entry.leaves} at {entry.price}, found {quantity} at {price}.",
                client_order_id=client_order_id,
            )
        value = price * quantity * self._per_product
        entry.leaves -= quantity
        if self.is_spot:
            amount = quantity * self._per_quantity
            self._total[self.instrument.quote] -= side * value
            self._total[self.instrument.base] += side * amount
            entry.received += amount if side > 0 else value
        else:
            self._book(side * quantity, price)
            amount = 0
        charge = self._charge(entry, value, amount, is_maker=is_maker)
        self._hold(entry)
        if entry.leaves == 0:
            del self._open[client_order_id]
        return charge

    def close(self, client_order_id: str) -> None:
        """Release what an order that is over still locks; StateError if it is not open."""
        self.cut(client_order_id, 0)

    def cut(self, client_order_id: str, leaves: int) -> None:
        """Make an order smaller, to `leaves`; at 0 it is closed. StateError if it is not open."""
        entry = self._at(client_order_id)
        entry.leaves = min(leaves, entry.leaves)
        self._hold(entry)
        if entry.leaves <= 0:
            del self._open[client_order_id]

    def excess(self) -> list[tuple[str, int]]:
        """Return reduce-only orders to cut, with what may stay: together they never exceed the position.

        The oldest stay; empty on spot.
        """
        room = abs(self._position)
        found: list[tuple[str, int]] = []
        for name, entry in self._open.items():
            if entry.is_waiting or not entry.order.is_reducing or self.is_spot:
                continue
            stays = min(entry.leaves, room) if int(entry.order.side) * self._position < 0 else 0
            room -= stays
            if stays < entry.leaves:
                found.append((name, stays))
        return found

    def dump(self) -> AccountState:
        """Return what outlives the process: no resting order does, and what it locked is free again."""
        stops = [entry.order for entry in self._open.values() if entry.is_waiting]
        return AccountState(
            symbol=self.instrument.symbol,
            market=int(self.instrument.kind),
            price_digits=self.instrument.price_digits,
            quantity_digits=self.instrument.quantity_digits,
            balances={asset: decimal_text(parts, PART_DIGITS) for asset, parts in self._total.items()},
            position=decimal_text(self._position, self.instrument.quantity_digits),
            cost=decimal_text(self._cost, PART_DIGITS),
            stops=tuple(stops),
        )

    @classmethod
    def restore(
        cls, instrument: Instrument, fees: Fees, state: AccountState, *, leverage: int = 5
    ) -> "Account":
        """
        Return the account that was dumped.

        Raises
        ------
        StateError
            The state is of another instrument, of finer units, or unreadable.
        """
        account = cls(instrument, fees, {}, leverage=leverage)
        if (state.symbol, state.market) != (instrument.symbol, int(instrument.kind)):
            raise StateError(
                f"Expected the account of {instrument.symbol}, {instrument.kind.name}, found one of "
                f"{state.symbol}, market {state.market}.",
                symbol=state.symbol,
            )
        account._total.update({asset: _parts(text, PART_DIGITS) for asset, text in state.balances.items()})
        account._locked = dict.fromkeys(account._total, 0)
        account._position = _parts(state.position, instrument.quantity_digits)
        account._cost = _parts(state.cost, PART_DIGITS)
        finer = (
            instrument.price_digits - state.price_digits,
            instrument.quantity_digits - state.quantity_digits,
        )
        if min(finer) < 0:
            raise StateError(
                f"Expected units at most as fine as those of {instrument.symbol} now, found finer."
            )
        for stop in state.stops:
            moved = msgspec.structs.replace(
                stop, price=stop.price * int(10 ** finer[0]), quantity=stop.quantity * int(10 ** finer[1])
            )
            account.open(moved, moved.quantity)
        return account

    def _means(self, order: PlaceOrder, mark: int, worst: int) -> int | Rejection:
        price = worst if order.kind is OrderKind.MARKET else order.price
        if self.is_spot:  # rule 3
            asset = self.instrument.quote if order.side > 0 else self.instrument.base
            need = self._need(OpenOrder(order, price, order.quantity, is_waiting=False))
            if need > self._total[asset] - self._locked[asset]:
                return Rejection(-2010, "Account has insufficient balance for requested action.")
            return order.quantity
        if order.kind is OrderKind.STOP_MARKET:
            return order.quantity
        if order.is_reducing:  # rule 2
            quantity = min(order.quantity, self._reducible(order))
            return quantity if quantity > 0 else Rejection(-2022, "ReduceOnly Order is rejected.")
        before = self._exposure(mark, 0, 0)
        value = order.quantity * (max(price, mark) if order.side < 0 else price)
        after = self._exposure(mark, int(order.side), value)
        means = self._total[self.instrument.quote] + min(0, self._unrealised(mark))
        if after > before and after * self._per_product > means * self._leverage:  # rule 3
            return Rejection(-2019, "Margin is insufficient.")
        return order.quantity

    def _reducible(self, order: PlaceOrder) -> int:
        if int(order.side) * self._position >= 0:
            return 0
        room = abs(self._position)
        if order.kind is OrderKind.MARKET or order.life in (OrderLife.IOC, OrderLife.FOK):
            return room  # done before anything that rests: `excess` cuts that afterwards
        resting = (e for e in self._open.values() if e.order.is_reducing and not e.is_waiting)
        return room - sum(entry.leaves for entry in resting if entry.order.side == order.side)

    def _exposure(self, mark: int, side: int, value: int) -> int:
        # Worst side in price units x quantity units.
        buys = sells = 0
        for entry in self._open.values():
            if entry.is_waiting or entry.order.is_reducing:
                continue
            if entry.order.side > 0:
                buys += entry.leaves * entry.price
            else:
                sells += entry.leaves * max(entry.price, mark)
        if side > 0:
            buys += value
        elif side < 0:
            sells += value
        held = self._position * mark
        return max(abs(held), held + buys, sells - held)

    def _unrealised(self, mark: int) -> int:
        return self._position * mark * self._per_product - self._cost

    def _book(self, signed: int, price: int) -> None:
        before = self._position
        if before * signed < 0:
            closing = min(abs(signed), abs(before))
            released = -(-self._cost * closing // abs(before))
            side = 1 if signed > 0 else -1
            self._total[self.instrument.quote] -= side * closing * price * self._per_product + released
            self._cost -= released
            self._position += side * closing
            signed -= side * closing
        self._position += signed
        self._cost += signed * price * self._per_product

    def _charge(self, entry: OpenOrder, value: int, amount: int, *, is_maker: bool) -> Charge:
        is_base = self.is_spot and self.fees.in_base and entry.order.side > 0
        asset = self.instrument.base if is_base else self.instrument.quote
        entry.exact += (amount if is_base else value) * self.fees.rate(is_maker=is_maker)
        charged = -(-entry.exact // EXACT_PER_MONEY)
        if self.is_spot and (is_base or entry.order.side < 0):
            charged = min(charged, entry.received // PARTS_PER_MONEY)
        told = charged - entry.charged
        entry.charged = charged
        self._total[asset] -= told * PARTS_PER_MONEY
        return Charge(told, asset)

    def _need(self, entry: OpenOrder) -> int:
        if not self.is_spot:
            return 0
        if entry.order.side < 0:
            return entry.leaves * self._per_quantity
        value = entry.price * entry.leaves * self._per_product
        if self.fees.in_base:
            return value
        rate = max(0, self.fees.rate(is_maker=True), self.fees.rate(is_maker=False))
        fee = -(-(entry.exact + value * rate) // EXACT_PER_MONEY) - entry.charged
        return value + max(0, fee) * PARTS_PER_MONEY

    def _hold(self, entry: OpenOrder) -> None:
        asset = self.instrument.quote if entry.order.side > 0 else self.instrument.base
        if self.is_spot:
            need = self._need(entry) if entry.leaves > 0 else 0
            self._locked[asset] += need - entry.held
            entry.held = need

    def _at(self, client_order_id: str) -> OpenOrder:
        entry = self._open.get(client_order_id)
        if entry is None:
            raise StateError(
                f"Expected an open order, {client_order_id} is none.", client_order_id=client_order_id
            )
        return entry


def _parts(text: str, digits: int) -> int:
    # Not by Decimal, which rounds to 28 digits.
    found = re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?", text, re.ASCII)
    fraction = (found[3] or "") if found else ""
    if found is None or fraction[digits:].strip("0"):
        raise StateError(f"Expected an amount with at most {digits} decimals, found {text!r}.", text=text)
    return int(found[1] + found[2] + fraction[:digits].ljust(digits, "0"))
