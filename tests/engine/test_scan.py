"""The scanner's rows: exact sums, known edges, and unknown where nothing is known."""

import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.records import FlowRecord, Record
from engine.replay.store import Line
from engine.scan import (
    FIGURES,
    SHORT_NAMES,
    Row,
    Scan,
    Window,
    column_named,
    encode_scan,
    sorted_rows,
)
from engine.signals import MarketKind
from tests.engine.order_values import instrument
from tests.engine.played_markets import CAPTURED, PlayedMarkets, recorded
from tests.engine.recordings import START_NS, depth, spot_session, trade, usdm_session

S = 1_000_000_000


def lines(messages: Sequence[dict[str, object]], step_ns: int = 10_000_000) -> list[Line]:
    return [Line(START_NS + i * step_ns, orjson.dumps(one), "") for i, one in enumerate(messages)]


def at(message: dict[str, object], recv_ns: int) -> Line:
    """Return a message received at a time, with that as the venue's own."""
    data = message["data"]
    assert isinstance(data, dict)
    data |= {"E": recv_ns // 1_000_000} | ({"T": recv_ns // 1_000_000} if "T" in data else {})
    return Line(recv_ns, orjson.dumps(message), "")


def day_ticker(opened: str, ms: int = START_NS // 1_000_000) -> dict[str, object]:
    """Return a 24 h ticker of a symbol that began the day at a price."""
    head = {
        "e": "24hrTicker",
        "E": ms,
        "s": "BTCUSDT",
        "p": "1",
        "P": "1",
        "w": "1",
        "c": "60000.0",
        "Q": "1",
    }
    day = {"o": opened, "h": "61000.0", "l": "49000.0", "v": "1.000", "q": "1.0", "O": 1, "C": ms}
    return {"stream": "btcusdt@ticker", "data": {**head, **day, "F": 1, "L": 2, "n": 2}}


BTC = instrument(kind=MarketKind.SPOT, price_digits=2, quantity_digits=8, tick=1)


def scan_of(messages: Sequence[Line]) -> tuple[PlayedMarkets, Scan]:
    played = PlayedMarkets([(BTC, messages)])
    return played, Scan(played.lanes)


def test_market_without_a_message_is_waiting_and_all_is_unknown() -> None:
    _, scan = scan_of(lines(spot_session()))
    scan.sample(START_NS)
    (row,) = scan.rows(START_NS)
    assert row == Row(symbol="BTCUSDT", market="spot", state="waiting")
    assert json.loads(encode_scan([row], 5))["rows"][0]["delta_1m"] is None


def test_state_follows_the_book_from_syncing_to_live_gap_and_silent() -> None:
    messages = lines(spot_session())
    broken = depth("BTCUSDT", 500, 510, [], [])
    played, scan = scan_of([*messages, Line(START_NS + 20 * S, orjson.dumps(broken), "")])
    states = {}
    for now_ns in (START_NS, START_NS + 200_000_000, START_NS + 10 * S, START_NS + 21 * S):
        played.play_until(now_ns)
        scan.sample(now_ns)
        row = scan.rows(now_ns)[0]
        states[(now_ns - START_NS) / S] = row.state
        assert (row.mid is not None) == (row.state == "live")
        assert (row.spread_bps is not None) == (row.state == "live")
    assert states == {0.0: "syncing", 0.2: "live", 10.0: "silent", 21.0: "gap"}


def test_book_whose_updates_are_all_older_is_stuck_and_is_not_now() -> None:
    # A venue that began its numbers anew: the chain takes none of them and sees no gap.
    behind = [at(depth("BTCUSDT", 20 + i, 20 + i, [], []), START_NS + S + i * S // 10) for i in range(80)]
    ahead = at(depth("BTCUSDT", 113, 113, [], []), START_NS + 10 * S)
    played, scan = scan_of([*lines(spot_session()), *behind, ahead])
    states = {}
    for tenth in range(120):
        now_ns = START_NS + tenth * S // 10 + 1
        played.play_until(now_ns)
        scan.sample(now_ns)
        row = scan.rows(now_ns)[0]
        states[tenth] = row.state
        assert (row.mid is None) == (row.state != "live")
    assert played.lanes[0].market.is_valid
    assert (states[40], states[60], states[85], states[101]) == ("live", "stuck", "stuck", "live")


def test_state_that_the_connections_tell_overrules_that_of_the_market() -> None:
    played, scan = scan_of(lines(spot_session()))
    now_ns = START_NS + S // 5
    played.play_until(now_ns)
    scan.sample(now_ns)
    row = scan.rows(now_ns, {"BTCUSDT": "no socket"})[0]
    assert (row.state, row.mid, row.spread_bps) == ("no socket", None, None)
    assert row.age_s is not None
    assert scan.rows(now_ns, {"ETHUSDT": "no socket"})[0].state == "live"


def test_delta_is_exact_in_base_and_at_mid_in_quote_and_slides_out() -> None:
    book = lines(spot_session())
    start = START_NS + S
    trades = [
        at(trade("BTCUSDT", 10, "60000.01", "1.5"), start),  # the first one seen is where the sums begin
        at(trade("BTCUSDT", 11, "60000.01", "2.0"), start + S),
        at(trade("BTCUSDT", 12, "59999.99", "0.5", is_buyer_maker=True), start + 2 * S),
        at(trade("BTCUSDT", 13, "59999.99", "0.25", is_buyer_maker=True), start + 100 * S),
    ]
    quiet = [at(depth("BTCUSDT", 113 + i, 113 + i, [], []), start + i * S) for i in range(400)]
    played, scan = scan_of([*book, *sorted([*trades, *quiet])])
    found = {}
    for second in range(400):
        now_ns = start + second * S + 1
        played.play_until(now_ns)
        scan.sample(now_ns)
        row = scan.rows(now_ns)[0]
        found[second] = (row.delta_1m, row.delta_5m)
    # Two trades of the session itself are before the first sample.
    mid = 60_000
    assert found[0] == (0.0, 0.0)
    assert found[1] == (2 * mid, 2 * mid)
    assert found[2] == (1.5 * mid, 1.5 * mid)
    assert found[60] == (1.5 * mid, 1.5 * mid)
    assert found[61] == (-0.5 * mid, 1.5 * mid)
    assert found[62] == (0.0, 1.5 * mid)
    assert found[100] == (-0.25 * mid, 1.25 * mid)
    assert found[301] == (0.0, -0.75 * mid)
    assert found[399] == (0.0, -0.25 * mid)


def test_trades_missed_are_told_and_covered_time_grows() -> None:
    book = lines(spot_session())
    start = START_NS + S
    trades = [at(trade("BTCUSDT", 10 + i + 5 * (i > 2), "60000.01", "1"), start + i * S) for i in range(5)]
    played, scan = scan_of([*book, *trades])
    rows = []
    for second in range(5):
        now_ns = start + second * S + 1
        played.play_until(now_ns)
        scan.sample(now_ns)
        rows.append(scan.rows(now_ns)[0])
    assert [row.covered_s for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert {row.trades_s for row in rows} == {None}
    assert {row.quote_s for row in scan.rows(start + 10 * S)} == {None}
    assert scan.rows(start + 10 * S + 1)[0].trades_s is not None
    assert [row.gap_s for row in rows] == [None, None, None, 0.0, 1.0]


def test_whales_are_summed_by_side_and_window() -> None:
    def whale(side: str, notional: float, decide_ns: int, kind: str = "whale_close") -> Record:
        fields = {name: 0 for name in FlowRecord.__struct_fields__ if name != "v"}
        texts = {"kind": kind, "side": side, "symbol": "BTCUSDT", "best_bid": "1", "best_ask": "2"}
        empty = {"first_price": None, "last_price": None, "reason": None, "is_valid": True}
        return msgspec.convert(
            {
                "record": "flow",
                "v": 1,
                **fields,
                **texts,
                **empty,
                "notional": notional,
                "decide_ns": decide_ns,
            },
            FlowRecord,
        )

    played, scan = scan_of(lines(spot_session()))
    played.play_until(START_NS + S)
    scan.sample(START_NS + S)
    scan.watch(whale("buy", 100_000.25, START_NS + S))
    scan.watch(whale("buy", 7.0, START_NS + S, "whale_open"))
    scan.watch(whale("sell", 300_000.5, START_NS + 10 * S))
    row = scan.rows(START_NS + 20 * S)[0]
    assert (row.whale_5m, row.whale_1h) == (-200_000.25, -200_000.25)
    row = scan.rows(START_NS + 305 * S)[0]
    assert (row.whale_5m, row.whale_1h) == (-300_000.5, -200_000.25)
    row = scan.rows(START_NS + 3_605 * S)[0]
    assert (row.whale_5m, row.whale_1h) == (0.0, -300_000.5)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-(10**30), 10**30)), max_size=60),
    st.integers(1, 12),
    st.integers(0, 5),
)
def test_window_is_the_plain_sum_of_its_seconds(
    steps: list[tuple[int, int]], seconds: int, later: int
) -> None:
    window, now_s, all_of = Window(12), 1_000, []
    for step, money in steps:
        now_s += step
        window.add(now_s * S + 5, money)
        all_of.append((now_s, money))
    now_s += later
    expected = sum(money for second, money in all_of if now_s - seconds < second <= now_s)
    assert window.total(now_s * S, seconds) == expected


def test_window_holds_no_more_than_its_seconds() -> None:
    window = Window(60)
    for i in range(10_000):
        window.add(i * S // 7, 1)
    assert len(window._parts) <= 60


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize("name", ["usdm_btc", "spot_eth"])
def test_rows_of_a_capture_are_those_that_its_trades_give(captures: Path, name: str) -> None:
    path, market = CAPTURED[name]
    one, messages = recorded([captures / path], market, 90)
    whales: list[FlowRecord] = []
    scan: Scan | None = None

    def watch(record: Record) -> None:
        assert scan is not None
        scan.watch(record)
        if isinstance(record, FlowRecord) and record.kind == "whale_close":
            whales.append(record)

    played = PlayedMarkets([(one, messages)], watch=watch)
    scan = Scan(played.lanes)
    # The last nanosecond of a tenth: no sample then holds trades of two seconds.
    now_ns, first_ns = played.clock.now_ns() // 100_000_000 * 100_000_000 + 99_999_999, 0
    while now_ns < played.last_ns:
        now_ns += 100_000_000
        played.play_until(now_ns)
        scan.sample(now_ns)
        if not first_ns and played.lanes[0].market.tape.last(1):
            first_ns = now_ns
    (row,) = scan.rows(now_ns)
    # By hand, from the text: every trade with its own price.
    delta, volume, n_trades, traded = Fraction(0), Fraction(0), 0, Fraction(0)
    for recv_ns, payload, _ in messages:
        data = orjson.loads(payload).get("data", {})
        if data.get("e") != "trade" or data.get("X", "MARKET") != "MARKET" or recv_ns <= first_ns:
            continue
        quote = Fraction(Decimal(data["p"])) * Fraction(Decimal(data["q"]))
        if recv_ns // S > now_ns // S - 60:
            delta += -quote if data["m"] else quote
            volume += quote
        if recv_ns // 100_000_000 > now_ns // 100_000_000 - 100:
            n_trades += 1
            traded += quote
    assert row.delta_1m == pytest.approx(float(delta), abs=float(volume) * 2e-4)
    assert abs(float(delta)) > float(volume) * 2e-3
    assert row.trades_s == pytest.approx(n_trades / 10, abs=0.5)
    assert row.quote_s == pytest.approx(float(traded) / 10, rel=0.02)
    assert row.whale_5m == pytest.approx(
        sum((1 if one.side == "buy" else -1) * (one.notional or 0) for one in whales)
    )
    assert whales or market == "spot"
    bids, asks = played.lanes[0].market.book.levels(1, 1), played.lanes[0].market.book.levels(-1, 1)
    mid = (bids[0][0] + asks[0][0]) / 2
    assert row.spread_bps == pytest.approx((asks[0][0] - bids[0][0]) / mid * 1e4)
    rolling = next(one for one in played.lanes[0].market.profiles() if one.source == "rolling")
    assert row.profile is None
    assert not rolling.is_ready


@pytest.mark.captures
@pytest.mark.slow
def test_distances_are_from_mid_to_the_levels_of_a_ready_profile(captures: Path) -> None:
    path, market = CAPTURED["usdm_eth"]
    played = PlayedMarkets([recorded([captures / path], market)])
    scan = Scan(played.lanes)
    played.play_until(played.last_ns)
    scan.sample(played.last_ns)
    (row,) = scan.rows(played.last_ns)
    rolling = next(one for one in played.lanes[0].market.profiles() if one.source == "rolling")
    assert (row.profile, rolling.is_ready) == ("rolling", True)
    assert row.mid is not None
    assert row.vah_bps == pytest.approx((rolling.vah / row.mid - 1) * 1e4)
    assert row.val_bps == pytest.approx((rolling.val / row.mid - 1) * 1e4)
    assert row.poc_bps == pytest.approx((rolling.poc / row.mid - 1) * 1e4)
    assert rolling.val <= rolling.poc <= rolling.vah


def test_rows_are_sorted_with_unknown_ones_last_either_way() -> None:
    rows = [
        Row(symbol=symbol, market="spot", state="live", delta_1m=value)
        for symbol, value in (("B", 1.0), ("A", None), ("D", -3.0), ("C", 1.0))
    ]
    assert [row.symbol for row in sorted_rows(rows, "delta_1m")] == ["B", "C", "D", "A"]
    assert [row.symbol for row in sorted_rows(rows, "delta_1m", is_rising=True)] == ["D", "B", "C", "A"]
    assert [row.symbol for row in sorted_rows(rows, "symbol", is_rising=True)] == ["A", "B", "C", "D"]


def test_names_of_columns_are_known_by_short_names_and_nothing_else() -> None:
    assert column_named("whale") == "whale_5m"
    assert column_named("WHALE_1H") == "whale_1h"
    assert column_named("moon") is None
    assert column_named("symbol", FIGURES) is None
    assert set(SHORT_NAMES.values()) <= set(FIGURES)


def test_inverse_contract_is_refused() -> None:
    played = PlayedMarkets([(instrument(symbol="BTCUSD_PERP", kind=MarketKind.COINM), lines(spot_session()))])
    with pytest.raises(ValueError, match="COIN-M"):
        Scan(played.lanes)


def test_new_epoch_of_an_instrument_begins_its_sums_anew_in_its_own_units() -> None:
    book = lines(spot_session())
    played, scan = scan_of([*book, at(trade("BTCUSDT", 10, "60000.01", "1"), START_NS + S)])
    played.play_until(START_NS + 500_000_000)
    scan.sample(START_NS + 500_000_000)
    played.play_until(START_NS + S)
    scan.sample(START_NS + S)
    assert scan.rows(START_NS + S)[0].delta_1m == 60_000
    other, _ = scan_of([*book, at(trade("BTCUSDT", 10, "60000.01", "9"), START_NS + S)])
    other.play_until(START_NS + 2 * S)
    played.lanes[0].market = other.lanes[0].market
    scan.sample(START_NS + 2 * S)
    assert scan.rows(START_NS + 2 * S)[0].delta_1m == 60_000


def test_day_funding_and_premium_are_those_the_venue_tells() -> None:
    one = instrument(price_digits=1, quantity_digits=3, tick=1)
    start = START_NS + S
    ms = start // 1_000_000
    mark = {"e": "markPriceUpdate", "E": ms, "s": "BTCUSDT", "p": "60060.0", "i": "60000.0", "P": "60000.0"}
    told = [
        {"stream": "btcusdt@markPrice@1s", "data": mark | {"r": "0.00012500", "T": ms + 3_600_000}},
        day_ticker("50000.0", ms),
    ]
    played = PlayedMarkets(
        [(one, [*lines(usdm_session()), *(Line(start + i, orjson.dumps(m), "") for i, m in enumerate(told))])]
    )
    scan = Scan(played.lanes)
    played.play_until(START_NS + 500_000_000)
    before = scan.rows(START_NS + 500_000_000)[0]
    assert (before.change_pct, before.funding_bps, before.premium_bps) == (None, None, None)
    played.play_until(start + 5)
    row = scan.rows(start + 5)[0]
    assert row.state == "live", played.lanes[0].market.gaps
    assert row.funding_bps == pytest.approx(1.25)
    assert row.premium_bps == pytest.approx(10.0)
    assert row.mid is not None
    assert row.open_interest is None
    played.lanes[0].market.on_context(
        "open_interest", b'{"symbol":"BTCUSDT","openInterest":"12.500","time":5}'
    )
    assert scan.rows(start + 5)[0].open_interest == pytest.approx(12.5 * row.mid)
    assert row.change_pct == pytest.approx((row.mid / 50_000 - 1) * 100)


def test_trades_that_come_back_late_are_no_flow_of_now() -> None:
    start = START_NS + S
    ids = [10, 11, 15, 16]
    trades = [at(trade("BTCUSDT", number, "60000.01", "1"), start + i * S) for i, number in enumerate(ids)]
    played, scan = scan_of([*lines(spot_session()), *trades])
    for second in range(3):
        played.play_until(start + second * S)
        scan.sample(start + second * S)
    assert scan.rows(start + 2 * S)[0].delta_1m == 120_000  # two after the first
    body = [
        {
            "id": number,
            "price": "60000.01",
            "qty": "50",
            "time": (start + S) // 1_000_000,
            "isBuyerMaker": False,
        }
        for number in (12, 13, 14)
    ]
    market = played.lanes[0].market
    before = market.cvd
    assert market.on_trades(orjson.dumps(body), start + 2 * S + 1) == 3
    assert market.cvd > before
    scan.sample(start + 2 * S + 2)
    row = scan.rows(start + 2 * S + 2)[0]
    assert row.delta_1m == 120_000
    assert row.gap_s == 0.0
    played.play_until(start + 3 * S)
    scan.sample(start + 3 * S)
    assert scan.rows(start + 3 * S)[0].delta_1m == 180_000


def test_every_column_is_explained_where_a_user_looks() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "watch.md").read_text()
    assert [name for name in (*Row.__struct_fields__, *SHORT_NAMES) if f"`{name}`" not in text] == []
