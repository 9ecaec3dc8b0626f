"""The simulated exchange: the public's market, our orders in it, and what is told of them when."""

import io
import itertools

import msgspec
import pytest

from engine.clock import VirtualClock
from engine.errors import StateError
from engine.instruments import Instrument, from_exchange_info
from engine.signals import MarketKind
from engine.sim.account import Account
from engine.sim.crowd import Crowd
from engine.sim.exchange import (
    MAX_UNARRIVED,
    DeliveryKind,
    Exchange,
    Latency,
    instrument_of,
)
from engine.sim.markets import Market, btcusdt
from engine.sim.tape import FIRST_TRADE_IDS, SNAPSHOT_AFTER_NS, START_NS, Tape
from engine.venues.venue import SendStatus
from tests.engine.sim_trader import (
    BOTH,
    FEES,
    FOK,
    GTX,
    IOC,
    LATENCY,
    SECOND,
    STOP,
    K,
    Trader,
    messages,
    reports,
)


@BOTH
@pytest.mark.slow
def test_exchange_nobody_trades_on_sends_what_a_recording_of_its_seed_holds(market: Market) -> None:
    spec = btcusdt(market)
    recorded = io.BytesIO()
    crowd = Crowd(spec, 5, START_NS, first_trade_id=FIRST_TRADE_IDS[market])
    Tape(crowd, 5, recorded).run(START_NS + 3 * SECOND)
    trader = Trader(market, 5, latency=Latency(1_600_000, 0, 0))
    trader.clock.advance_to(START_NS + SNAPSHOT_AFTER_NS)
    trader.exchange.request_snapshot()
    trader.exchange.advance(START_NS + 3 * SECOND)
    found = trader.exchange.take(START_NS + 4 * SECOND)
    assert b"".join(b"%d %s\n" % (one.deliver_ns, one.payload) for one in found) == recorded.getvalue()
    snapshots = [one.payload for one in found if one.kind is DeliveryKind.SNAPSHOT]
    assert len(snapshots) == 1
    assert b"lastUpdateId" in snapshots[0]


@pytest.mark.parametrize(
    ("market", "kind", "digits", "grid"),
    [("usdm", MarketKind.USDM, (1, 3), (1, 1, 100)), ("spot", MarketKind.SPOT, (2, 8), (1, 1000, 5))],
)
def test_exchange_info_describes_the_instrument_traded(
    market: Market, kind: MarketKind, digits: tuple, grid: tuple
) -> None:
    trader = Trader(market)
    found: Instrument = from_exchange_info(trader.exchange.exchange_info(), "BTCUSDT", kind)
    assert found == trader.exchange.instrument
    assert (found.price_digits, found.quantity_digits) == digits
    assert (found.tick, found.step, found.min_notional) == grid
    assert (found.base, found.quote, found.status) == ("BTC", "USDT", "TRADING")


def test_account_of_another_instrument_is_refused() -> None:
    spec = btcusdt("usdm")
    account = Account(instrument_of(btcusdt("spot")), FEES, {})
    with pytest.raises(StateError, match="Expected an account on"):
        Exchange(spec=spec, seed=1, start_ns=0, account=account, latency=LATENCY, clock=VirtualClock())


def test_nothing_of_an_order_is_seen_before_it_arrived_and_the_answer_came_back() -> None:
    trader = Trader()
    trader.go(100)
    sent_ns = trader.clock.now_ns()
    trader.place(1, lots=5)
    assert not reports(trader.exchange.take(sent_ns + SECOND))
    told = trader.go(30)
    assert [report.kind for report in told[:2]] == [K.ACCEPTED, K.FILL]
    arrival_ns = sent_ns + LATENCY.order_ns
    for report in told:
        assert report.venue_ns >= arrival_ns
        assert report.recv_ns >= report.venue_ns + LATENCY.response_ns
    for one in trader.deliveries:
        if one.kind is DeliveryKind.FRAME and f'"t":{told[1].trade_id},'.encode() in one.payload:
            assert one.deliver_ns >= told[1].venue_ns + LATENCY.feed_ns
            break
    else:
        pytest.fail("the public never saw our trade")


@BOTH
def test_own_trades_and_depth_are_public_like_anyones(market: Market) -> None:
    trader = Trader(market)
    trader.go(50)
    price = trader.touch(1) - 700 * trader.instrument.tick
    trader.place(1, price, lots=1234)
    trader.place(-1, lots=3)
    told = [report for report in trader.go(120) if report.kind is K.FILL]
    public = {data["t"]: data for data in messages(trader.deliveries, "trade")}
    for fill in told:
        data = public[fill.trade_id]
        assert trader.instrument.price_units(data["p"]) == fill.price
        assert trader.instrument.quantity_units(data["q"]) == fill.quantity
        assert data["m"] is True
    shown = [level for data in messages(trader.deliveries, "depthUpdate") for level in data["b"]]
    ours = [q for p, q in shown if trader.instrument.price_units(p) == price]
    assert trader.instrument.quantity_units(ours[0]) >= 1234 * trader.lot


def test_requests_arrive_in_the_order_they_were_sent() -> None:
    trader = Trader()
    trader.go(20)
    names = []
    for _ in range(20):
        names.append(trader.place(1, trader.touch(1) - 5_000, lots=2))
        trader.cancel(names[-1])
    told = trader.go(50)
    expected = list(itertools.chain.from_iterable(((n, K.ACCEPTED), (n, K.CANCELLED)) for n in names))
    assert [(report.client_order_id, report.kind) for report in told] == expected
    times = [report.venue_ns for report in told]
    assert times == sorted(times)


def test_too_many_requests_under_way_back_up() -> None:
    trader = Trader()
    trader.exchange._arrivals.extend([(START_NS, b"{}")] * MAX_UNARRIVED)
    assert trader.exchange.send(b"{}") is SendStatus.SOCKET_BACKED_UP


@BOTH
@pytest.mark.slow
def test_resting_order_fills_only_after_all_that_stood_before_it(market: Market) -> None:
    fills = 0
    for seed in range(1, 4):
        trader = Trader(market, seed)
        book = trader.exchange.book
        trader.go(50)
        for i in range(12):
            name = trader.place(1, trader.touch(1), lots=1 + i, life=GTX)
            trader.go(12)
            known = trader.exchange._ours.get(name)
            if known is None:
                continue
            price = known.order.price // trader.instrument.tick
            queue = book.queue(1, price)
            found = {order_id: book.order(order_id) for order_id in queue[: queue.index(known.book_id)]}
            # An iceberg's hidden part queues again behind us.
            ahead = {order_id for order_id, one in found.items() if one is not None and one[2] == one[3]}
            for _ in range(120):
                got = [r for r in trader.go(5) if r.kind is K.FILL and r.client_order_id == name]
                assert all(r.is_maker and r.price == known.order.price for r in got)
                assert not got or not ahead.intersection(book.queue(1, price))
                fills += len(got) if ahead else 0
            trader.cancel(name)
            trader.go(5)
    assert fills > 5


def test_post_only_that_would_take_is_rejected_and_never_known() -> None:
    for market, code in (("usdm", "-5022"), ("spot", "-2010")):
        trader = Trader(market)
        trader.go(20)
        name = trader.place(1, trader.touch(-1) + 500 * trader.instrument.tick, life=GTX)
        told = trader.go()
        assert [report.kind for report in told] == [K.REJECTED]
        assert told[0].reason.startswith(code)
        trader.query(name)
        assert trader.kinds() == [K.ABSENT]
        assert not trader.account.open_orders


@BOTH
def test_remainder_of_ioc_expires_and_fok_is_all_or_nothing(market: Market) -> None:
    trader = Trader(market)
    trader.go(20)
    trader.place(1, trader.touch(-1), life=FOK, lots=1500)
    assert trader.kinds() == [K.ACCEPTED, K.EXPIRED]
    trader.place(1, trader.touch(-1) + 20_000 * trader.instrument.tick, life=FOK, lots=5)
    told = trader.go()
    assert {report.kind for report in told[1:]} == {K.FILL}
    assert told[-1].filled == 5 * trader.lot
    price = trader.touch(-1)
    trader.place(1, price, life=IOC, lots=1500)
    told = trader.go()
    assert told[-1].kind is K.EXPIRED
    assert told[-1].filled == sum(report.quantity for report in told if report.kind is K.FILL)
    assert not trader.account.open_orders
    assert trader.account.locked("USDT") == 0


def test_cancel_and_question_are_answered_by_where_the_order_stands() -> None:
    trader = Trader()
    trader.go(20)
    name = trader.place(1, trader.touch(1) - 5_000, lots=3)
    trader.query(name)
    trader.cancel(name)
    trader.cancel(name)
    trader.query(name)
    trader.query("r999")
    told = trader.go()
    kinds = [K.ACCEPTED, K.STATUS, K.CANCELLED, K.CANCEL_REJECTED, K.CANCELLED, K.ABSENT]
    assert [report.kind for report in told] == kinds
    assert told[3].reason == "-2011 Unknown order sent."
    assert told[5].reason == "-2013 Order does not exist."
    assert told[0].venue_order_id == told[1].venue_order_id == told[2].venue_order_id > 0


def test_question_about_a_filled_order_tells_its_fills_again() -> None:
    trader = Trader()
    trader.go(20)
    name = trader.place(1, lots=300)
    first = [report for report in trader.go() if report.kind is K.FILL]
    assert first[-1].filled == 300 * trader.lot
    trader.query(name)
    again = trader.go()
    assert [msgspec.structs.replace(r, recv_ns=0) for r in again] == [
        msgspec.structs.replace(r, recv_ns=0) for r in first
    ]
    assert again[0].recv_ns > first[-1].recv_ns


def test_request_that_cannot_be_read_is_refused_for_what_it_was() -> None:
    trader = Trader()
    for body in (
        b'{"method":"order.place","params":{"newClientOrderId":"r7"}}',
        b'{"method":"order.cancel","params":{"origClientOrderId":"r7"}}',
        b"{",
    ):
        trader.exchange.send(body)
    told = trader.go()
    assert [(r.kind, r.client_order_id, r.reason[:5]) for r in told] == [
        (K.REJECTED, "r7", "-1102"),
        (K.CANCEL_REJECTED, "r7", "-1102"),
        (K.REJECTED, "", "-1135"),
    ]


def test_spot_order_beyond_the_balance_is_refused_and_locks_nothing() -> None:
    trader = Trader("spot")
    trader.go(20)
    trader.place(1, trader.touch(1) - 100, lots=1700)
    trader.place(-1, lots=2001)
    told = trader.go()
    assert [report.reason[:5] for report in told] == ["-2010", "-2010"]
    assert trader.account.locked("USDT") == trader.account.locked("BTC") == 0


def test_own_resting_order_expires_rather_than_trade_with_us() -> None:
    trader = Trader()
    trader.go(20)
    name = trader.place(
        -1, trader.touch(-1) - 1 if trader.touch(-1) - trader.touch(1) > 1 else trader.touch(-1)
    )
    trader.go()
    trader.place(1, lots=3000)
    told = trader.go()
    ended = [report for report in told if report.client_order_id == name]
    assert [report.kind for report in ended] == [K.EXPIRED]
    assert ended[0].reason == "EXPIRED_IN_MATCH"
    assert trader.account.position == sum(r.quantity for r in told if r.kind is K.FILL)


@BOTH
def test_stop_waits_until_a_trade_reaches_it_and_sells_at_market(market: Market) -> None:
    trader = Trader(market)
    trader.go(20)
    trader.place(1, lots=10)
    trader.go()
    trigger = trader.exchange.last_price - 900 * trader.instrument.tick
    name = trader.place(-1, trigger, lots=10, kind=STOP, is_reducing=market == "usdm")
    assert trader.kinds() == [K.ACCEPTED]
    trader.fall(trigger)
    told = [report for report in trader.go() if report.client_order_id == name]
    assert {report.kind for report in told} == {K.FILL}
    assert told[-1].filled == 10 * trader.lot
    assert all(report.price <= trigger and not report.is_maker for report in told)
    assert not trader.account.open_orders
    if market == "usdm":
        assert trader.account.position == 0


def test_stop_that_would_trigger_on_arrival_is_refused() -> None:
    for market, code in (("usdm", "-2021"), ("spot", "-2010")):
        trader = Trader(market)
        trader.go(20)
        trader.place(-1, trader.exchange.last_price + 900, lots=10, kind=STOP)
        trader.place(1, trader.exchange.last_price - 900, lots=10, kind=STOP)
        assert [report.reason[:5] for report in trader.go()] == [code, code]


def test_stop_is_not_triggered_by_what_was_traded_before_it() -> None:
    trader = Trader()
    trader.go(20)
    trader.fall(trader.exchange.last_price - 900)
    low = trader.exchange.last_price
    trader.exchange._matching.apply_order(1, trader.touch(-1), 10, life=int(IOC))
    trader.exchange._settle()
    assert trader.exchange.last_price > low + 100
    trader.place(-1, low + 20, lots=10, kind=STOP)
    assert trader.kinds() == [K.ACCEPTED]
    assert list(trader.account.open_orders) == ["r1"]


def test_all_stops_a_sweep_passes_trigger_though_the_first_finds_no_position() -> None:
    trader = Trader()
    trader.go(20)
    trigger = trader.exchange.last_price - 900
    first = trader.place(-1, trigger, lots=10, kind=STOP, is_reducing=True)
    second = trader.place(-1, trigger - 5, lots=10, kind=STOP)
    trader.go()
    trader.fall(trigger - 5)
    told = trader.go()
    assert (told[0].client_order_id, told[0].kind) == (first, K.EXPIRED)
    assert told[0].reason.startswith("-2022")
    assert {(r.client_order_id, r.kind) for r in told[1:]} == {(second, K.FILL)}


def test_reduce_only_orders_end_when_the_position_does() -> None:
    trader = Trader()
    trader.go(20)
    trader.place(1, lots=10)
    trader.go()
    target = trader.place(-1, trader.touch(-1) + 5_000, lots=10, is_reducing=True)
    assert trader.kinds() == [K.ACCEPTED]
    trader.place(-1, lots=4, is_reducing=True)
    trader.go()
    assert trader.account.open_orders[target].leaves == 6 * trader.lot
    assert trader.exchange.book.order(trader.exchange._ours[target].book_id)[2] == 6 * trader.lot
    name = trader.place(-1, lots=20, is_reducing=True)
    told = trader.go()
    ends = [(report.client_order_id, report.kind) for report in told if report.kind is not K.FILL]
    assert ends == [(name, K.ACCEPTED), (name, K.EXPIRED), (target, K.EXPIRED)]
    assert trader.account.position == 0
    assert next(r for r in told if r.kind is K.EXPIRED).filled == 6 * trader.lot


def test_waiting_stop_outlives_the_exchange() -> None:
    trader = Trader()
    trader.go(20)
    trader.place(1, lots=10)
    trader.go()
    trigger = trader.exchange.last_price - 900
    name = trader.place(-1, trigger, lots=10, kind=STOP, is_reducing=True)
    trader.place(1, trader.touch(1) - 5_000, lots=2)
    trader.go()
    again = Trader(seed=9, state=trader.account.dump())
    again.query(name)
    again.query("r3")
    assert again.kinds() == [K.STATUS, K.ABSENT]
    again.fall(min(trigger, again.exchange.last_price - 1))
    assert {report.kind for report in again.go()} == {K.FILL}
    assert again.account.position == 0


@BOTH
def test_one_long_advance_is_the_same_as_many_short_ones(market: Market) -> None:
    short, long = Trader(market), Trader(market)
    for trader in (short, long):
        for offset in range(20):
            trader.place(1 - 2 * (offset % 2), trader.touch(1) + offset, lots=offset + 1)
    short.go(300)
    long.exchange.advance(short.clock.now_ns())
    assert long.exchange.take(short.clock.now_ns()) == short.deliveries


def test_trade_ids_of_a_venue_started_later_are_new() -> None:
    def first(start_ns: int) -> int:
        spec = btcusdt("usdm")
        account = Account(instrument_of(spec), FEES, {})
        clock = VirtualClock(start_ns)
        exchange = Exchange(
            spec=spec, seed=1, start_ns=start_ns, account=account, latency=LATENCY, clock=clock
        )
        return exchange.first_trade_id

    assert first(START_NS) == FIRST_TRADE_IDS["usdm"]
    assert first(START_NS + 60 * SECOND) - first(START_NS) == 60_000
