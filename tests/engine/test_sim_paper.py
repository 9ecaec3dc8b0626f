"""The paper venue: requests meet the book of their arrival, reports come later, money adds up."""

from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clock import VirtualClock
from engine.instruments import Instrument
from engine.orders import OrderKind, OrderLife, PlaceOrder, Report, ReportKind
from engine.signals import MarketKind, Side
from engine.sim.account import Account
from engine.sim.fees import Fees
from engine.sim.paper import NEVER_NS, PaperExchange
from engine.sim.requests import Latency
from engine.venues.binance_orders import CANCEL, PLACE, QUERY, BinanceOrders
from engine.venues.venue import SendStatus
from tests.native.venue import MS, SECOND, Venue

BUY, SELL = Side.BUY, Side.SELL
THERE_AND_BACK_NS = 5 * MS + 1_000  # reports come one by one
ORDER_NS, RESPONSE_NS = 3 * MS, 2 * MS  # means; the latency is told by its shortest
MONEY = 10**8
K = ReportKind


class Desk:
    """A customer of a paper exchange behind a venue's market; an id is `r` and a number."""

    def __init__(self, kind: MarketKind = MarketKind.USDM, *, base: int = 0, quote: int = 1_000_000) -> None:
        self.venue = Venue(kind)
        self.instrument = Instrument(
            symbol="AAAUSDT",
            kind=kind,
            base="AAA",
            quote="USDT",
            price_digits=1,
            quantity_digits=3,
            tick=1,
            step=1,
            min_notional=Decimal(0),
            contract_size=1,
            status="TRADING",
        )
        self.clock = VirtualClock(self.venue.now_ns)
        self.account = Account(
            self.instrument,
            Fees(maker_bps=2.0, taker_bps=5.0),
            {"USDT": quote * MONEY, "AAA": base * MONEY},
        )
        self.exchange = PaperExchange(
            instrument=self.instrument,
            account=self.account,
            latency=Latency(0, -(-ORDER_NS * 16 // 23), -(-RESPONSE_NS * 16 // 23)),
            clock=self.clock,
            market=self.venue.market,
        )
        self.orders = BinanceOrders([self.instrument], self.exchange)
        self.payloads: list[bytes] = []
        self.n = 0

    def open(self) -> None:
        self.venue.open({9_990: 5_000, 9_980: 5_000}, {10_010: 3_000, 10_020: 4_000})

    # The market.

    def trade(self, side: int, price: int, quantity: int, **more: object) -> None:
        data = self.venue.trade_data(side, price, quantity, **more)
        frame = orjson.dumps({"stream": "aaausdt@trade", "data": data})
        self.venue.market.on_frame(frame, self.venue.now_ns)
        self.payloads.append(frame)

    def read(self) -> None:
        payloads, self.payloads = self.payloads, []
        self.exchange.on_read(payloads, self.venue.now_ns)

    def lose_book(self) -> None:
        self.venue.lose_depth()
        self.venue.depth()
        self.read()
        assert not self.venue.market.is_valid

    def find_book(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        self.venue.snapshot(bids, asks)
        self.venue.depth()
        self.read()
        assert self.venue.market.is_valid

    # The customer.

    def place(
        self,
        side: Side,
        quantity: int,
        price: int = 0,
        *,
        life: OrderLife = OrderLife.GTC,
        kind: OrderKind | None = None,
        is_reducing: bool = False,
    ) -> str:
        self.n += 1
        if kind is None:
            kind = OrderKind.LIMIT if price else OrderKind.MARKET
        order = PlaceOrder(
            client_order_id=f"r{self.n}",
            symbol="AAAUSDT",
            side=side,
            kind=kind,
            life=life,
            price=price,
            quantity=quantity,
            is_reducing=is_reducing,
        )
        assert self.orders.place(order) is SendStatus.SENT
        return order.client_order_id

    def wait(self, elapsed_ns: int = THERE_AND_BACK_NS) -> list[Report]:
        """Let time pass; return the reports received meanwhile."""
        self.venue.wait(elapsed_ns)
        self.clock.advance_to(self.venue.now_ns)
        self.exchange.advance(self.venue.now_ns)
        found = []
        for delivery in self.exchange.take(self.venue.now_ns):
            assert isinstance(delivery.payload, Report)
            assert delivery.payload.recv_ns == delivery.deliver_ns <= self.venue.now_ns
            found.append(delivery.payload)
        return found

    def short(self, elapsed_ns: int = THERE_AND_BACK_NS) -> list[tuple[ReportKind, int, int, bool]]:
        """Wait; return kind, price, quantity and maker of every report."""
        return [(r.kind, r.price, r.quantity, r.is_maker) for r in self.wait(elapsed_ns)]


@pytest.fixture
def desk() -> Desk:
    found = Desk()
    found.open()
    return found


# Time.


def test_request_meets_the_book_of_its_arrival_and_its_reports_come_later(desk: Desk) -> None:
    sent_ns = desk.clock.now_ns()
    desk.place(BUY, 1_000)
    assert desk.exchange.next_ns == sent_ns + ORDER_NS
    assert desk.wait(2 * MS) == []
    # The ask is withdrawn after the decision and before the arrival.
    desk.venue.depth(asks={10_010: 0})
    desk.read()
    assert desk.wait(1 * MS) == []
    assert desk.exchange.next_ns == sent_ns + ORDER_NS + RESPONSE_NS
    reports = desk.wait(RESPONSE_NS + 1)
    assert [(r.kind, r.price, r.venue_ns - sent_ns, r.recv_ns - sent_ns) for r in reports] == [
        (K.ACCEPTED, 0, ORDER_NS, ORDER_NS + RESPONSE_NS),
        (K.FILL, 10_020, ORDER_NS, ORDER_NS + RESPONSE_NS + 1),
    ]
    assert desk.exchange.next_ns == NEVER_NS


# Takers.


def test_market_order_walks_the_book_and_pays_the_taker_fee(desk: Desk) -> None:
    desk.place(BUY, 5_000)
    reports = desk.wait()
    assert [(r.kind, r.price, r.quantity, r.filled) for r in reports] == [
        (K.ACCEPTED, 0, 0, 0),
        (K.FILL, 10_010, 3_000, 3_000),
        (K.FILL, 10_020, 2_000, 5_000),
    ]
    # 3 x 1,001 and 2 x 1,002 quote at 5 bps.
    assert sum(r.commission for r in reports) == (3_003 + 2_004) * MONEY * 5 // 10_000
    assert {r.commission_asset for r in reports[1:]} == {"USDT"}
    assert desk.account.position == 5_000


def test_rest_of_an_immediate_order_expires(desk: Desk) -> None:
    desk.place(BUY, 5_000, 10_010, life=OrderLife.IOC)
    assert desk.short() == [
        (K.ACCEPTED, 0, 0, False),
        (K.FILL, 10_010, 3_000, False),
        (K.EXPIRED, 0, 0, False),
    ]
    desk.place(BUY, 9_000)
    assert [r[0] for r in desk.short()] == [K.ACCEPTED, K.FILL, K.EXPIRED]
    assert desk.account.position == 7_000
    assert desk.account.open_orders == {}


def test_fill_or_kill_takes_all_or_nothing(desk: Desk) -> None:
    desk.place(BUY, 3_001, 10_010, life=OrderLife.FOK)
    assert desk.short() == [(K.ACCEPTED, 0, 0, False), (K.EXPIRED, 0, 0, False)]
    desk.place(BUY, 3_000, 10_010, life=OrderLife.FOK)
    assert desk.short() == [(K.ACCEPTED, 0, 0, False), (K.FILL, 10_010, 3_000, False)]


def test_limit_order_takes_what_it_can_and_rests_with_the_remainder(desk: Desk) -> None:
    desk.place(BUY, 5_000, 10_010)
    assert desk.short() == [(K.ACCEPTED, 0, 0, False), (K.FILL, 10_010, 3_000, False)]
    desk.trade(-1, 10_005, 10)
    desk.read()
    assert desk.short() == [(K.FILL, 10_010, 2_000, True)]


@pytest.mark.parametrize("life", [OrderLife.IOC, OrderLife.FOK, None], ids=["ioc", "fok", "market"])
def test_taker_that_arrives_without_a_valid_book_is_rejected_with_a_reason(
    desk: Desk, life: OrderLife | None
) -> None:
    desk.place(BUY, 1_000) if life is None else desk.place(BUY, 1_000, 10_020, life=life)
    desk.lose_book()
    (report,) = desk.wait()
    assert (report.kind, report.reason) == (
        K.REJECTED,
        "-1008 The book is not valid now: a taker order has no price.",
    )
    assert desk.account.open_orders == {}


# Resting orders.


def test_maker_fills_behind_the_queue_and_pays_the_maker_fee(desk: Desk) -> None:
    desk.place(BUY, 1_000, 9_990, life=OrderLife.GTX)
    assert desk.short() == [(K.ACCEPTED, 0, 0, False)]
    desk.trade(-1, 9_990, 5_000)
    desk.read()
    assert desk.short() == []
    desk.trade(-1, 9_990, 400)
    desk.trade(-1, 9_990, 4_000)
    desk.read()
    reports = desk.wait()
    assert [(r.price, r.quantity, r.filled, r.is_maker) for r in reports] == [
        (9_990, 400, 400, True),
        (9_990, 600, 1_000, True),
    ]
    assert sum(r.commission for r in reports) == 999 * MONEY * 2 // 10_000
    assert len({r.trade_id for r in reports}) == 2


def test_trades_that_did_not_teach_the_market_fill_nothing(desk: Desk) -> None:
    desk.place(BUY, 1_000, 9_990, life=OrderLife.GTX)
    desk.wait()
    desk.trade(-1, 9_900, 10, X="INSURANCE_FUND")
    desk.read()
    desk.venue.trade_id -= 1
    desk.trade(-1, 9_900, 10)  # a duplicate
    desk.payloads += [b"", b"null", b'{"trade', b'{"e":"trade"}', b'{"data":[1],"stream":"x@trade"}']
    desk.read()
    foreign = orjson.dumps(desk.venue.trade_data(-1, 9_900, 10) | {"s": "BBBUSDT"})
    desk.venue.market.on_frame(foreign, desk.venue.now_ns)
    desk.payloads.append(foreign)
    desk.read()
    assert desk.wait() == []


def test_late_copy_of_a_trade_from_before_the_order_fills_nothing(desk: Desk) -> None:
    desk.trade(-1, 9_900, 10)
    desk.read()
    desk.place(BUY, 1_000, 9_990, life=OrderLife.GTX)
    desk.wait()
    desk.venue.trade_id -= 1
    desk.trade(-1, 9_900, 10)
    desk.read()
    assert desk.wait() == []


@pytest.mark.parametrize(("kind", "code"), [(MarketKind.USDM, "-5022"), (MarketKind.SPOT, "-2010")])
def test_post_only_order_that_would_take_is_refused(kind: MarketKind, code: str) -> None:
    desk = Desk(kind)
    desk.open()
    desk.place(BUY, 1_000, 10_010, life=OrderLife.GTX)
    (report,) = desk.wait()
    assert (report.kind, report.reason.split()[0]) == (K.REJECTED, code)


def test_post_only_order_waits_for_a_valid_book_and_ends_if_it_would_take_then(desk: Desk) -> None:
    desk.lose_book()
    kept = desk.place(BUY, 1_000, 9_950, life=OrderLife.GTX)
    crossing = desk.place(BUY, 1_000, 9_990, life=OrderLife.GTX)
    assert [r.kind for r in desk.wait()] == [K.ACCEPTED, K.ACCEPTED]
    desk.find_book({9_950: 500}, {9_980: 5_000})
    (report,) = desk.wait()
    assert (report.kind, report.client_order_id) == (K.EXPIRED, crossing)
    assert list(desk.account.open_orders) == [kept]
    desk.trade(-1, 9_950, 600)
    desk.read()
    assert desk.short() == [(K.FILL, 9_950, 100, True)]


# Cancels and queries.


def test_cancel_ends_an_order_once(desk: Desk) -> None:
    name = desk.place(BUY, 1_000, 9_990, life=OrderLife.GTX)
    desk.wait()
    for _ in range(2):
        desk.orders.cancel("AAAUSDT", name)
    reports = desk.wait()
    assert [(r.kind, r.reason) for r in reports] == [
        (K.CANCELLED, ""),
        (K.CANCEL_REJECTED, "-2011 Unknown order sent."),
    ]
    desk.trade(-1, 9_900, 10)
    desk.read()
    assert desk.wait() == []


def test_query_tells_where_an_order_stands_and_of_one_that_is_over_every_fill_again(desk: Desk) -> None:
    name = desk.place(BUY, 5_000, 10_010)
    first = desk.wait()
    desk.orders.query("AAAUSDT", name)
    assert [(r.kind, r.trade_id, r.filled) for r in desk.wait()] == [(K.STATUS, 0, 3_000)]
    desk.orders.cancel("AAAUSDT", name)
    desk.wait()
    desk.orders.query("AAAUSDT", name)
    again = desk.wait()
    assert [(r.kind, r.trade_id, r.filled) for r in again] == [(K.FILL, 1, 3_000), (K.CANCELLED, 0, 3_000)]
    assert again[0].venue_ns == first[1].venue_ns
    desk.orders.query("AAAUSDT", "r999")
    assert [r.kind for r in desk.wait()] == [K.ABSENT]


def test_malformed_request_is_refused_in_the_venues_words(desk: Desk) -> None:
    desk.exchange.send(b"{")
    order = desk.orders.place_request(
        PlaceOrder(
            client_order_id="r7",
            symbol="AAAUSDT",
            side=BUY,
            kind=OrderKind.LIMIT,
            life=OrderLife.GTC,
            price=9_990,
            quantity=1_000,
            is_reducing=False,
        )
    )
    desk.exchange.send(order.replace(b'"LIMIT"', b'"ICEBERG"'))
    (report,) = desk.wait()
    assert (report.kind, report.client_order_id, report.reason) == (
        K.REJECTED,
        "r7",
        "-1116 Invalid orderType.",
    )
    assert (PLACE, CANCEL, QUERY) == ("r", "c", "q")


# Stops and positions.


def test_stop_triggers_at_a_trade_and_takes_from_the_book_after_that_read(desk: Desk) -> None:
    desk.place(BUY, 2_000)
    desk.place(SELL, 2_000, 9_985, kind=OrderKind.STOP_MARKET, is_reducing=True)
    assert [r.kind for r in desk.wait()] == [K.ACCEPTED, K.FILL, K.ACCEPTED]
    desk.trade(-1, 9_986, 10)
    desk.read()
    assert desk.wait() == []
    desk.trade(-1, 9_985, 10)
    desk.venue.depth({9_990: 0, 9_980: 1_500, 9_970: 900})
    desk.read()
    assert desk.short() == [(K.FILL, 9_980, 1_500, False), (K.FILL, 9_970, 500, False)]
    assert desk.account.position == 0


def test_triggered_stop_waits_for_a_valid_book(desk: Desk) -> None:
    desk.place(BUY, 2_000)
    desk.place(SELL, 2_000, 9_985, kind=OrderKind.STOP_MARKET, is_reducing=True)
    desk.wait()
    desk.lose_book()
    desk.trade(-1, 9_900, 10)
    desk.read()
    assert desk.wait() == []
    desk.find_book({9_950: 5_000}, {9_960: 100})
    assert desk.short() == [(K.FILL, 9_950, 2_000, False)]


def test_stop_that_is_passed_already_is_refused(desk: Desk) -> None:
    desk.trade(-1, 9_985, 10)
    desk.read()
    desk.place(SELL, 2_000, 9_990, kind=OrderKind.STOP_MARKET, is_reducing=True)
    (report,) = desk.wait()
    assert (report.kind, report.reason.split()[0]) == (K.REJECTED, "-2021")


def test_reduce_only_orders_end_when_the_position_does_not_need_them(desk: Desk) -> None:
    desk.place(BUY, 2_000)
    target = desk.place(SELL, 2_000, 10_100, life=OrderLife.GTX, is_reducing=True)
    desk.wait()
    desk.place(SELL, 1_500, is_reducing=True)
    assert [r.kind for r in desk.wait()] == [K.ACCEPTED, K.FILL]
    assert desk.account.open_orders[target].leaves == 500
    desk.trade(1, 10_200, 10)
    desk.read()
    assert [(r.kind, r.quantity, r.filled) for r in desk.wait()] == [(K.FILL, 500, 500), (K.EXPIRED, 0, 500)]
    desk.place(SELL, 500, is_reducing=True)
    assert [r.kind for r in desk.wait()] == [K.REJECTED]


def test_spot_account_cannot_sell_what_it_does_not_hold() -> None:
    desk = Desk(MarketKind.SPOT, quote=1_500)
    desk.open()
    desk.place(SELL, 1_000)
    desk.place(BUY, 1_000)
    desk.place(BUY, 1_000)
    assert [r.kind for r in desk.wait()] == [K.REJECTED, K.ACCEPTED, K.FILL, K.REJECTED]


# Any story.

stories = st.lists(
    st.one_of(
        st.tuples(
            st.just("place"),
            st.sampled_from([BUY, SELL]),
            st.integers(1, 900),
            st.integers(9_994, 10_007),
            st.sampled_from([*OrderLife, None, "stop"]),
            st.booleans(),
        ),
        st.tuples(
            st.just("trade"), st.sampled_from([1, -1]), st.integers(9_995, 10_006), st.integers(1, 900)
        ),
        st.tuples(
            st.just("depth"), st.integers(0, 4), st.integers(0, 900), st.integers(0, 4), st.integers(0, 900)
        ),
        st.tuples(st.just("cancel"), st.integers(1, 12)),
        st.tuples(st.just("lose")),
        st.tuples(st.just("find")),
        st.tuples(st.just("wait"), st.sampled_from([MS, 2 * MS, 3 * MS, 20 * MS])),
    ),
    max_size=40,
)


def played(kind: MarketKind, story: list[tuple]) -> tuple[list[Report], Desk]:  # type: ignore[type-arg]
    desk = Desk(kind, base=2)
    desk.venue.open({10_000: 700}, {10_001: 700})
    reports: list[Report] = []
    for action in story:
        if action[0] == "place":
            _, side, quantity, price, life, is_reducing = action
            if life == "stop":
                desk.place(side, quantity, price, kind=OrderKind.STOP_MARKET, is_reducing=is_reducing)
            elif life is None:
                desk.place(side, quantity, is_reducing=is_reducing)
            else:
                desk.place(side, quantity, price, life=life, is_reducing=is_reducing)
        elif action[0] == "trade":
            desk.trade(*action[1:])
            desk.read()
        elif action[0] == "depth":
            desk.venue.depth({10_000 - action[1]: action[2]}, {10_001 + action[3]: action[4]})
            desk.read()
        elif action[0] == "cancel":
            desk.orders.cancel("AAAUSDT", f"r{action[1]}")
        elif action[0] == "lose":
            desk.venue.lose_depth()
            desk.venue.depth()
            desk.read()
        elif action[0] == "find":
            desk.find_book({9_999: 400}, {10_002: 400})
        else:
            reports += desk.wait(action[1])
    return reports + desk.wait(SECOND), desk


@given(story=stories, kind=st.sampled_from([MarketKind.SPOT, MarketKind.USDM]))
@settings(max_examples=120, deadline=None)
def test_any_story_keeps_limits_counts_and_money(story: list[tuple], kind: MarketKind) -> None:  # type: ignore[type-arg]
    reports, desk = played(kind, story)
    assert played(kind, story)[0] == reports
    quote, base = 1_000_000 * MONEY, 2_000 if kind is MarketKind.SPOT else 0
    filled: dict[str, int] = {}
    ended: set[str] = set()
    placed = {f"r{n}": action for n, action in enumerate((a for a in story if a[0] == "place"), 1)}
    for report in reports:
        name = report.client_order_id
        if report.kind in (K.EXPIRED, K.CANCELLED, K.REJECTED):
            assert name not in ended
            ended.add(name)
        if report.kind is not K.FILL:
            continue
        assert name not in ended
        _, side, quantity, price, life, _ = placed[name]
        filled[name] = filled.get(name, 0) + report.quantity
        assert report.filled == filled[name] <= quantity
        if life in tuple(OrderLife):
            assert (report.price - price) * int(side) <= 0
        if report.is_maker:
            assert report.price == price
        base += int(side) * report.quantity
        quote -= int(side) * report.price * report.quantity * 10**4 + report.commission
    assert desk.account.position == base
    if kind is MarketKind.SPOT:
        assert desk.account.balances()["USDT"] == quote
    else:
        mark = 10_000
        assert desk.account.equity(mark) == quote + base * mark * 10**4
    waiting = {name for name, entry in desk.account.open_orders.items() if entry.is_waiting}
    assert set(desk.account.open_orders) == set(desk.exchange.book.resting) | waiting
