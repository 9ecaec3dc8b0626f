"""Slow obvious twin of price-time matching: one Python list of orders in the order of their time."""

from dataclasses import dataclass

from native.matching import MatchedEvent, MatchKind, MatchReason, OrderKind, OrderLife, SelfTrade


@dataclass(slots=True)
class Order:
    order_id: int
    owner: int
    side: int
    price: int
    leaves: int
    displayed: int
    display: int


class TwinMatching:
    """Match by looking through all orders each time."""

    def __init__(self, capacity: int, max_levels: int) -> None:
        self.capacity = capacity
        self.max_levels = max_levels
        self.orders: list[Order] = []
        self.events: list[MatchedEvent] = []
        self.next_id = 1
        self.n_events = 0
        self.n_fills = 0

    def apply_order(
        self,
        side: int,
        price: int,
        quantity: int,
        *,
        kind: int,
        life: int,
        owner: int,
        self_trade: int,
        display: int,
    ) -> int:
        is_market = kind == OrderKind.ORDER_MARKET
        reason = self._reason(side, price, quantity, is_market=is_market, life=life, display=display)
        price = 0 if is_market else price
        if reason != MatchReason.REASON_NONE:
            self._tell(
                MatchKind.MATCH_REJECTED, side, reason=reason, owner=owner, price=price, quantity=quantity
            )
            return -reason
        order_id = self.next_id
        self.next_id += 1
        taker = Order(order_id, owner, side, price, quantity, quantity, display)
        self._tell_of(MatchKind.MATCH_ACCEPTED, taker, quantity, quantity)
        end = MatchReason.REASON_NONE
        if life != OrderLife.LIFE_FOK or self._fills_whole(taker, is_market, self_trade):
            end = self._take(taker, is_market, self_trade)
        if taker.leaves > 0:
            if life in (OrderLife.LIFE_GTC, OrderLife.LIFE_GTX) and end == MatchReason.REASON_NONE:
                taker.displayed = min(taker.leaves, display) if display > 0 else taker.leaves
                self.orders.append(taker)
            else:
                reason = end or MatchReason.REASON_NO_LIQUIDITY
                self._tell_of(MatchKind.MATCH_EXPIRED, taker, taker.leaves, 0, reason)
        return order_id

    def apply_cancel(self, order_id: int) -> int:
        for order in self.orders:
            if order.order_id == order_id:
                self.orders.remove(order)
                self._tell_of(MatchKind.MATCH_CANCELLED, order, order.leaves, 0)
                return MatchReason.REASON_NONE
        return MatchReason.REASON_UNKNOWN_ORDER

    def apply_reduce(self, order_id: int, leaves: int) -> int:
        for order in self.orders:
            if order.order_id == order_id:
                if not 0 < leaves < order.leaves:
                    return MatchReason.REASON_BAD_QUANTITY
                cut = order.leaves - leaves
                order.leaves = leaves
                order.displayed = min(order.displayed, leaves)
                self._tell_of(MatchKind.MATCH_REDUCED, order, cut, leaves)
                return MatchReason.REASON_NONE
        return MatchReason.REASON_UNKNOWN_ORDER

    def depth(self, side: int) -> list[tuple[int, int]]:
        shown: dict[int, int] = {}
        for order in self.orders:
            if order.side == side:
                shown[order.price] = shown.get(order.price, 0) + order.displayed
        return sorted(shown.items(), reverse=side > 0)

    def _reason(
        self, side: int, price: int, quantity: int, *, is_market: bool, life: int, display: int
    ) -> MatchReason:
        may_rest = life in (OrderLife.LIFE_GTC, OrderLife.LIFE_GTX)
        if is_market and may_rest:
            return MatchReason.REASON_BAD_KIND
        if quantity <= 0 or display < 0:
            return MatchReason.REASON_BAD_QUANTITY
        if not is_market and price <= 0:
            return MatchReason.REASON_BAD_PRICE
        if may_rest:
            if life == OrderLife.LIFE_GTX and self._makers(side, price, is_market=False):
                return MatchReason.REASON_WOULD_TAKE
            if len(self.orders) == self.capacity:
                return MatchReason.REASON_ORDERS_FULL
            prices = {order.price for order in self.orders if order.side == side}
            if price not in prices and len(prices) == self.max_levels:
                return MatchReason.REASON_LEVELS_FULL
        return MatchReason.REASON_NONE

    def _makers(self, side: int, price: int, *, is_market: bool) -> list[Order]:
        """Return the orders this price meets, best price first, then by time: sorting is stable."""
        meets = [o for o in self.orders if o.side == -side and (is_market or (price - o.price) * side >= 0)]
        return sorted(meets, key=lambda order: order.price * side)

    def _take(self, taker: Order, is_market: bool, self_trade: int) -> MatchReason:
        while taker.leaves > 0:
            makers = self._makers(taker.side, taker.price, is_market=is_market)
            if not makers:
                break
            maker = makers[0]
            if taker.owner != 0 and maker.owner == taker.owner and self_trade != SelfTrade.SELF_TRADE_NONE:
                if self_trade != SelfTrade.SELF_TRADE_EXPIRE_TAKER:
                    self.orders.remove(maker)
                    reason = MatchReason.REASON_SELF_TRADE
                    self._tell_of(MatchKind.MATCH_EXPIRED, maker, maker.leaves, 0, reason)
                if self_trade != SelfTrade.SELF_TRADE_EXPIRE_MAKER:
                    return MatchReason.REASON_SELF_TRADE
                continue
            fill = min(taker.leaves, maker.displayed)
            taker.leaves -= fill
            maker.leaves -= fill
            maker.displayed -= fill
            self.n_fills += 1
            self._tell(
                MatchKind.MATCH_FILL,
                taker.side,
                order_id=maker.order_id,
                owner=maker.owner,
                taker_id=taker.order_id,
                taker_owner=taker.owner,
                price=maker.price,
                quantity=fill,
                leaves=maker.leaves,
                taker_leaves=taker.leaves,
                trade=self.n_fills,
            )
            if maker.displayed == 0:
                self.orders.remove(maker)
                if maker.leaves > 0:
                    maker.displayed = min(maker.display, maker.leaves)
                    self.orders.append(maker)
        return MatchReason.REASON_NONE

    def _fills_whole(self, taker: Order, is_market: bool, self_trade: int) -> bool:
        """Try it on a copy of the house."""
        trial = TwinMatching(self.capacity, self.max_levels)
        trial.orders = [
            Order(o.order_id, o.owner, o.side, o.price, o.leaves, o.displayed, o.display) for o in self.orders
        ]
        copy = Order(taker.order_id, taker.owner, taker.side, taker.price, taker.leaves, 0, 0)
        trial._take(copy, is_market, self_trade)
        return copy.leaves == 0

    def _tell_of(
        self,
        kind: MatchKind,
        order: Order,
        quantity: int,
        leaves: int,
        reason: MatchReason = MatchReason.REASON_NONE,
    ) -> None:
        self._tell(
            kind,
            order.side,
            reason=reason,
            order_id=order.order_id,
            owner=order.owner,
            price=order.price,
            quantity=quantity,
            leaves=leaves,
        )

    def _tell(self, kind: MatchKind, side: int, *, reason: int = 0, **fields: int) -> None:
        self.n_events += 1
        rest = ("order_id", "owner", "taker_id", "taker_owner", "price", "quantity", "leaves", "taker_leaves")
        values = [fields.get(name, 0) for name in rest]
        self.events.append(
            MatchedEvent(int(kind), int(reason), side, *values, fields.get("trade", 0), self.n_events)
        )
