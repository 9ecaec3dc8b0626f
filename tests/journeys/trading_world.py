"""What the trading machine plays in: an account that lives on, engines that do not, and what must hold."""

from collections.abc import Callable
from decimal import Decimal

import orjson

from engine.commands import Command, Verb
from engine.facts import (
    DecisionFact,
    Fact,
    FillFact,
    InFlight,
    OrderFact,
    PlanFact,
    encode_in_flight,
    sent_fact,
)
from engine.orders import Report
from engine.restart import is_whole, unfinished
from engine.signals import MarketKind
from tests.engine.desks import START_NS, bitcoin
from tests.journeys.mortal_engine import Engine, Killed
from tests.oracles.venue import LIVE, SlowVenue, VenueOrder, read_order

ACTIVE, REDUCING, HALTED = range(3)


class TradingWorld:
    """Two instruments of one kind, one venue, engines that come and go, and the rules that none may break."""

    kind = MarketKind.USDM

    def __init__(self) -> None:
        spot = self.kind is MarketKind.SPOT
        self.instruments = (
            bitcoin(self.kind),
            bitcoin(self.kind, symbol="ETHUSDT", base="ETH", index=1, min_notional=Decimal(20)),
        )
        middle = 10_000_000 if spot else 1_000_000
        self.now_ns = START_NS
        self.venue = SlowVenue(
            self.instruments, {one.symbol: (middle - 1, middle + 1) for one in self.instruments}
        )
        self.venue.now_ns = self.now_ns
        self.fills: dict[tuple[str, int], FillFact] = {}  # all that were told, over all starts
        self.sent: dict[str, int] = {}  # client order ids that left, and how often
        self.rings: list[list[bytes]] = []
        self.wanted, self.is_paused, self.page = ACTIVE, False, ACTIVE
        self.kill_in = 0
        self.n_kills = 0
        self.epoch = 0
        self.results: dict[tuple[str, int], int] = {}
        self.start()

    # Starts and ends of the engine

    def start(self) -> None:
        """Start the engine anew, from the newest facts that are whole; again if that is killed too."""
        while True:
            self.epoch += 1
            self.wanted, self.is_paused = ACTIVE, False
            lines = next((unfinished(ring) for ring in reversed(self.rings) if is_whole(ring)), ())
            if not lines:
                # What is left is too small to sell, and nobody's any more; the account begins anew.
                self.begin_account()
            self.engine = Engine(self, self.epoch)
            self.approved_worst = [self.venue.worst(one.symbol) for one in self.instruments]
            self.rings.append(self.engine.lines)
            try:
                self.engine.begin(lines, self.epoch)
            except Killed:
                continue
            return

    def begin_account(self) -> None:
        venue = self.venue
        for one in self.instruments:
            symbol = one.symbol
            assert not venue.live(symbol)
            assert not venue.on_the_way(symbol)
            assert one.kind is MarketKind.SPOT or not venue.held[symbol]
        self.base = dict(venue.held), dict(venue.cash), dict(venue.fees)
        for prices in venue.prices.values():
            prices.clear()
        self.told = dict.fromkeys(venue.held, 0)
        self.results.clear()

    def count_down(self) -> None:
        if self.kill_in:
            self.kill_in -= 1
            if not self.kill_in:
                raise Killed

    def run(self, act: Callable[[], None]) -> None:
        """Let the engine do something; if it is killed over it, start the next."""
        try:
            act()
            self.engine.rearm()
        except Killed:
            self.restart(are_lost=False)

    def restart(self, *, are_lost: bool) -> None:
        # A new connection begins when nothing of the old one is on its way any more.
        self.n_kills += 1
        self.kill_in = 0
        while self.venue.requests:
            self.venue.take_request(is_lost=are_lost)
        self.start()

    # What is held to the rules as it leaves

    def on_fact(self, fact: Fact) -> None:
        if isinstance(fact, OrderFact) and fact.event == "sent" and not self.engine.is_restoring:
            # Its approval was written down just before, and it left just before that.
            decision, sent = self.engine.newest_decision, self.in_flight
            assert isinstance(decision, DecisionFact)
            assert (decision.refusal, decision.serial) == (None, self.engine.desk.newest_serial)
            asked = decision.symbol, decision.quantity, decision.purpose, decision.is_reducing
            assert asked == (fact.symbol, fact.quantity, fact.purpose, fact.is_reducing)
            assert fact == sent_fact(encode_in_flight(sent))
        if isinstance(fact, FillFact):
            key = fact.symbol, fact.trade_id
            assert key not in self.fills, "a fill was told twice"
            self.fills[key] = fact
            index = 0 if fact.symbol == self.instruments[0].symbol else 1
            instrument = self.instruments[index]
            quantity = instrument.quantity_units(fact.quantity)
            self.told[fact.symbol] += quantity if fact.side == "buy" else -quantity
            if fact.commission_asset == instrument.base:
                self.told[fact.symbol] -= fact.commission
        elif isinstance(fact, PlanFact) and fact.stage == "over":
            self.results[fact.symbol, fact.plan] = fact.pnl

    def on_bytes(self, request: bytes, engine: Engine) -> None:
        """Hold an order to every rule at the moment at which its bytes leave."""
        venue, desk = self.venue, engine.desk
        wish = orjson.loads(request)
        fact = engine.newest
        if wish["method"] == "order.cancel":
            assert isinstance(fact, OrderFact)
            assert (fact.event, fact.client_order_id) == ("cancel_sent", wish["params"]["origClientOrderId"])
        if wish["method"] != "order.place":
            return
        order = read_order(wish, venue.instruments)
        instrument, symbol = order.instrument, order.instrument.symbol
        assert order.name not in self.sent
        self.sent[order.name] = 1
        # The last thing written is that this order is in flight.
        assert isinstance(fact, InFlight)
        assert (fact.client_order_id, fact.symbol, fact.quantity) == (order.name, symbol, order.quantity)
        self.in_flight = fact
        assert order.is_reducing is fact.is_reducing is (fact.purpose != "entry")
        held = desk.positions[instrument.index].quantity
        if order.is_reducing:
            assert held * order.side < 0
            assert order.quantity + self.reducing(engine, order.name, instrument.index) <= abs(held)
            return
        assert (self.wanted, self.is_paused, self.page) == (ACTIVE, False, ACTIVE)
        assert engine.markets[instrument.index].is_valid
        limits = engine.settings
        worst = [venue.worst(one.symbol) for one in self.instruments]
        worst[instrument.index] = self.worst_with(order)
        price = max(order.price, engine.markets[instrument.index].best_ask)
        money = instrument.quote_money(price, worst[instrument.index])
        assert money <= limits.max_position_money
        assert instrument.quote_money(order.price, order.quantity) <= limits.max_order_money
        other = self.instruments[1 - instrument.index]
        mark = engine.markets[other.index].best_ask
        if engine.markets[other.index].is_valid:
            assert money + other.quote_money(mark, worst[other.index]) <= limits.max_gross_money
        index = instrument.index
        self.approved_worst[index] = max(self.approved_worst[index], worst[index], engine.worst(index))

    def worst_with(self, order: VenueOrder) -> int:
        symbol = order.instrument.symbol
        entering = [*self.venue.live(symbol), *self.venue.on_the_way(symbol), order]
        held = self.venue.held[symbol]
        return max(
            abs(held + side * sum(o.left for o in entering if o.side == side and not o.is_reducing))
            for side in (1, -1)
        )

    def reducing(self, engine: Engine, name: str, index: int) -> int:
        """Return the reducing leaves that count; a resting stop of futures locks nothing."""
        if self.kind is not MarketKind.SPOT and self.in_flight.purpose == "hard_stop":
            return 0
        return sum(
            order.leaves
            for order in engine.blotter.open_orders()
            if order.client_order_id != name
            and order.intent.instrument == index
            and order.intent.is_reducing
            and (self.kind is MarketKind.SPOT or order.intent.purpose != "hard_stop")
        )

    # How it happens

    def resting(self, kind: str) -> list[VenueOrder]:
        return [order for order in self.venue.orders.values() if order.state == LIVE and order.kind == kind]

    def order(self, verb: str, argument: str = "", symbol: str = "") -> None:
        if verb in ("halt", "stop"):
            self.wanted = HALTED
        command = Command(verb=Verb(verb), argument=argument, symbol=symbol)
        self.is_paused = verb == "pause" or (self.is_paused and verb != "resume")
        if verb == "resume":
            self.wanted = ACTIVE
        engine = self.engine
        engine.perform(engine.desk.on_command(command, engine.markets, self.now_ns))

    def take(self, report: Report) -> None:
        engine = self.engine
        change = engine.executor.on_report(report, self.now_ns)
        if change is not None:
            engine.apply(change)
        engine.rearm()

    def carry_all(self, percent: int = 100) -> None:
        """Let all requests and reports arrive in their order, and those that come of them."""
        for _ in range(5_000):
            if self.venue.requests:
                self.venue.take_request(percent=percent)
            elif self.venue.reports:
                self.take(self.venue.reports.pop(0))
            else:
                return
        raise AssertionError("requests and reports come to no end")

    def reconcile(self) -> None:
        """Let the venue say all of every order that the engine does not know to be over."""
        for order in self.venue.orders.values():
            known = self.engine.blotter.order(order.name)
            if known is not None and not known.is_final:
                self.venue.tell(order)

    # What holds after each

    def every_rule_is_kept(self) -> None:
        self.exposure_is_never_underestimated()
        self.position_is_the_sum_of_the_fills()
        self.nothing_that_may_fill_is_forgotten()
        self.gate_counts_what_the_blotter_holds()
        self.no_position_is_turned_and_no_coin_sold_twice()
        self.states_are_those_that_were_ordered()

    def exposure_is_never_underestimated(self) -> None:
        for one in self.instruments:
            true = self.venue.worst(one.symbol) - abs(self.forgotten(one.symbol))
            assert true <= self.engine.worst(one.index)
            assert true <= self.approved_worst[one.index]

    def forgotten(self, symbol: str) -> int:
        """Coins that are too small to sell and no plan's any more."""
        instrument = self.venue.instruments[symbol]
        position = self.engine.desk.positions[instrument.index]
        return self.base[0][symbol] + position.residue

    def position_is_the_sum_of_the_fills(self) -> None:
        for one in self.instruments:
            position = self.engine.desk.positions[one.index]
            assert position.quantity + position.residue == self.told[one.symbol]
            assert self.engine.gate.position(one.index) == position.quantity

    def nothing_that_may_fill_is_forgotten(self) -> None:
        for order in self.venue.orders.values():
            known = self.engine.blotter.order(order.name)
            if known is None:
                assert order.state != LIVE
                assert all((fill.symbol, fill.trade_id) in self.fills for fill in order.fills)
            else:
                assert known.filled + known.leaves >= order.filled + order.left
        for one in self.instruments:
            for order in self.venue.on_the_way(one.symbol):
                known = self.engine.blotter.order(order.name)
                assert known is not None
                assert known.leaves == order.quantity

    def gate_counts_what_the_blotter_holds(self) -> None:
        gate, spot = self.engine.gate, self.kind is MarketKind.SPOT
        for one in self.instruments:
            blotter = self.engine.blotter
            orders = [
                order
                for order in {
                    id(order): order for order in (*blotter.open_orders(), *blotter.unanswered)
                }.values()
                if order.intent.instrument == one.index and (spot or order.intent.purpose != "hard_stop")
            ]
            for side in (-1, 1):
                mine = [order for order in orders if order.intent.side == side]
                entering = sum(order.leaves for order in mine if not order.intent.is_reducing)
                assert gate.entering_leaves(one.index, side) == entering
                reducing = sum(order.leaves for order in mine if order.intent.is_reducing)
                assert gate.reducing_leaves(one.index, side) == reducing

    def no_position_is_turned_and_no_coin_sold_twice(self) -> None:
        assert self.venue.n_insufficient == 0
        if self.kind is MarketKind.SPOT:
            assert all(held >= 0 for held in self.venue.held.values())

    def states_are_those_that_were_ordered(self) -> None:
        assert self.engine.desk.wanted == self.engine.gate.wanted == self.wanted
        assert self.engine.desk.is_paused is self.is_paused

    def account_agrees(self, index: int) -> None:
        engine, venue, one = self.engine, self.venue, self.instruments[index]
        symbol, position = one.symbol, engine.desk.positions[index]
        assert not venue.live(symbol)
        assert position.quantity == position.remainder == 0
        account = venue.held, venue.cash, venue.fees
        held, cash, fees = (now[symbol] - then[symbol] for now, then in zip(account, self.base, strict=True))
        assert held == position.residue
        assert engine.worst(index) == 0
        # What is left over was bought at one of the prices of its fills, and is held at that.
        prices = venue.prices[symbol] or {0}
        low, high = (one.quote_money(1, cash + held * at) - fees for at in (min(prices), max(prices)))
        assert low <= position.closed_money <= high
        results = sum(pnl for (name, _), pnl in self.results.items() if name == symbol)
        assert abs(results - position.closed_money) <= len(self.results)
