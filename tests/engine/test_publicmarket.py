"""The public side of a crowd's market: every stream and answer against slow sums and the venue's rules."""

import itertools
from decimal import Decimal

import orjson
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from engine.instruments import from_exchange_info
from engine.signals import MarketKind
from engine.sim.bookstreams import BookStreams
from engine.sim.markets import Market, btcusdt, spec_of
from engine.sim.messages import Messages
from engine.sim.publicmarket import PublicMarket
from native.matching import Matching
from tests.engine.public_reading import SECOND, START_NS, Ear, Row, book_of, follow, true_book

MS = 1_000_000
# An example takes a market's minutes: a failing one is told as it was found.
QUICK = (Phase.explicit, Phase.generate)
MARKETS: tuple[Market, ...] = ("spot", "usdm")
BOTH = pytest.mark.parametrize("market", MARKETS)
DIFFS: dict[Market, tuple[str, ...]] = {
    "spot": ("@depth", "@depth@100ms"),
    "usdm": ("@depth", "@depth@500ms", "@depth@100ms", "@depth@0ms"),
}


def market_of(market: Market, symbol: str = "THINUSDT", seed: int = 3) -> PublicMarket:
    return PublicMarket(spec_of(symbol, market), seed, START_NS)


def heard(public: PublicMarket, seconds: float, *streams: str) -> Ear:
    """Listen to everything, or to some streams, for a while."""
    ear = Ear()
    for stream in streams or public.streams:
        assert public.listen(stream, ear)
    public.advance(public.now_ns + int(seconds * SECOND))
    return ear


def all_trades(public: PublicMarket, first_id: int) -> list[Row]:
    rows: list[Row] = []
    while page := public.historical_trades(first_id + len(rows), 1_000):
        rows += page
    return rows


@pytest.mark.slow
@given(
    market=st.sampled_from(MARKETS),
    symbol=st.sampled_from(["THINUSDT", "SOLUSDT", "BTCUSDT"]),
    seed=st.integers(0, 2**40),
    pauses=st.lists(st.integers(0, 700 * MS), min_size=4, max_size=4),
)
@example(market="usdm", symbol="THINUSDT", seed=0, pauses=[0, 0, 0, 0])
@settings(max_examples=20, deadline=None, phases=QUICK)
def test_snapshot_and_any_chain_of_updates_give_the_crowds_book(
    market: Market, symbol: str, seed: int, pauses: list[int]
) -> None:
    public = market_of(market, symbol, seed)
    ear = Ear()
    for suffix, pause in zip(DIFFS[market], pauses, strict=False):
        public.advance(public.now_ns + pause)
        assert public.listen(f"{symbol.lower()}{suffix}", ear)
    # A snapshot is not older than what is buffered of the slowest stream.
    public.advance(public.now_ns + 1_300 * MS + pauses[-1])
    snapshots = [public.depth(5_000)]
    public.advance(public.now_ns + 2 * SECOND)
    for stream in (f"{symbol.lower()}{suffix}" for suffix in DIFFS[market]):
        rows = ear.rows(stream)
        assert len(rows) > 1
        for before, after in itertools.pairwise(rows):
            assert after["E"] >= before["E"]
            # Each level it tells has changed since the message before.
            assert len(after["b"]) + len(after["a"]) <= after["u"] - after["U"] + 1
            if market == "spot":
                assert after["U"] == before["u"] + 1
            else:
                assert after["pu"] == before["u"] < after["U"]
                assert after["T"] <= after["E"]
        for snapshot in snapshots:
            _, last = follow(snapshot, rows)
            assert last == rows[-1]["u"]
    # At the moment of a message its stream's book is the crowd's.
    fast = f"{symbol.lower()}{DIFFS[market][-1]}"
    seen = len(ear.told[fast])
    while len(ear.told[fast]) == seen:
        public.advance(public.next_ns)
    for stream in (f"{symbol.lower()}{suffix}" for suffix in DIFFS[market]):
        book, last = follow(snapshots[0], ear.rows(stream))
        if last == public.depth(5)["lastUpdateId"]:
            assert book == true_book(public)
    assert follow(snapshots[0], ear.rows(fast))[0] == true_book(public)
    assert book_of(public.depth(5_000)) == true_book(public)


@BOTH
def test_partial_books_and_best_prices_are_those_of_the_book_at_their_moment(market: Market) -> None:
    public = market_of(market, "SOLUSDT")
    name, checked = "solusdt", {"top": 0, "best": 0}

    def check_top(told: object) -> None:
        row = orjson.loads(told.encode())  # type: ignore[attr-defined]
        limit = int(told.stream.split("@")[1].removeprefix("depth"))  # type: ignore[attr-defined]
        answer = public.depth(limit)
        assert row[("bids", "b")[market == "usdm"]] == answer["bids"]
        assert row[("asks", "a")[market == "usdm"]] == answer["asks"]
        assert len(row[("bids", "b")[market == "usdm"]]) == limit
        assert row[("lastUpdateId", "u")[market == "usdm"]] == answer["lastUpdateId"]
        checked["top"] += 1

    told_best: list[list[str]] = []

    def check_best(told: object) -> None:
        row = orjson.loads(told.encode())  # type: ignore[attr-defined]
        best = [row["b"], row["B"], row["a"], row["A"]]
        answer = public.book_ticker()
        assert best == [answer[key] for key in ("bidPrice", "bidQty", "askPrice", "askQty")]
        assert not told_best or told_best[-1] != best
        told_best.append(best)
        checked["best"] += 1

    for limit in (5, 10, 20):
        assert public.listen(f"{name}@depth{limit}", check_top)
        assert public.listen(f"{name}@depth{limit}@100ms", check_top)
    assert public.listen(f"{name}@bookTicker", check_best)
    # All best prices there were, seen after every single thing that happened.
    seen: list[list[str]] = []
    for _ in range(1_500):
        public.advance(public.next_ns)
        answer = public.book_ticker()
        best = [str(answer[key]) for key in ("bidPrice", "bidQty", "askPrice", "askQty")]
        if told_best and not seen:
            seen.append(told_best[-1])
        if seen and best != seen[-1] and not {best[0], best[2]} & {public._messages.price(0)}:
            seen.append(best)
    assert checked["top"] > 20
    assert seen == told_best[-len(seen) :]
    assert len(seen) > 50


@BOTH
def test_trades_run_on_over_the_start_and_stream_and_answers_agree(market: Market) -> None:
    public = market_of(market, "BTCUSDT")
    first_id = public.crowd.first_trade_id
    ear = heard(public, 6, "btcusdt@trade")
    rows = all_trades(public, first_id - 50)
    assert [row["id"] for row in rows] == list(range(first_id - 50, first_id - 50 + len(rows)))
    assert all(int(before["time"]) <= int(after["time"]) for before, after in itertools.pairwise(rows))
    assert int(str(rows[49]["time"])) * MS < START_NS <= (int(str(rows[50]["time"])) + 1) * MS
    live = rows[50:]
    told = ear.rows("btcusdt@trade")
    assert len(live) > 50
    assert [(t["t"], t["p"], t["q"], t["T"], t["m"]) for t in told] == [
        (row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in live
    ]
    assert public.trades(7) == rows[-7:]
    assert public.historical_trades(None, 7) == rows[-7:]
    assert public.trades(len(live) + 3) == rows[47:]
    assert public.historical_trades(first_id - 3, 5) == rows[47:52]
    units = public.truth.instrument
    assert [
        (deal.trade_id, units.price_text(deal.price), units.quantity_text(deal.quantity), not deal.is_buy)
        for deal in public.truth.trades()
    ] == [(row["id"], *_texts(units, row), row["isBuyerMaker"]) for row in live]
    signed = [Decimal(str(row["qty"])) * (-1 if row["isBuyerMaker"] else 1) for row in live]
    assert Decimal(units.quantity_text(public.truth.cvd())) == sum(signed)
    profile = public.truth.profile()
    assert sum(bought - sold for bought, sold in profile.values()) == public.truth.cvd()
    bars = public.truth.bars(SECOND)
    assert sum(bar[6] for bar in bars.values()) == len(live)
    assert sum(2 * bar[5] - bar[4] for bar in bars.values()) == public.truth.cvd()
    assert public.price()["price"] == live[-1]["price"]
    for row in live:
        assert Decimal(str(row["quoteQty"])) == Decimal(str(row["price"])) * Decimal(str(row["qty"]))


def _texts(units: object, row: Row) -> tuple[str, str]:
    price, quantity = str(row["price"]), str(row["qty"])
    return (
        units.price_text(units.price_units(price)),  # type: ignore[attr-defined]
        units.quantity_text(units.quantity_units(quantity)),  # type: ignore[attr-defined]
    )


def aggregated(trades: list[Row], takers: list[int] | None) -> list[dict]:
    """Aggregate trades by the venue's rule, slowly; with `takers` by order, else by 100 ms."""
    found: list[dict] = []
    began = 0
    for place, row in enumerate(trades):
        last = found[-1] if found else None
        same = last is not None and (last["p"], last["m"]) == (row["price"], row["isBuyerMaker"])
        if takers is not None:
            same = same and takers[place] == takers[place - 1]
        else:
            same = same and int(str(row["ns"])) - began < 100 * MS
        if last is None or not same:
            began = int(str(row["ns"]))
            found.append(
                {
                    "p": row["price"],
                    "m": row["isBuyerMaker"],
                    "f": row["id"],
                    "T": row["time"],
                    "q": Decimal(0),
                }
                | {"nq": Decimal(0)}
            )
        found[-1]["l"] = row["id"]
        found[-1]["q"] += Decimal(str(row["qty"]))
        found[-1]["nq"] += 0 if row.get("isRPITrade") else Decimal(str(row["qty"]))
    return found


@pytest.mark.slow
@given(
    market=st.sampled_from(MARKETS),
    symbol=st.sampled_from(["SOLUSDT", "BTCUSDT"]),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=8, deadline=None, phases=QUICK)
def test_aggregates_are_the_trades_merged_by_the_venues_rule(market: Market, symbol: str, seed: int) -> None:
    public = market_of(market, symbol, seed)
    takers: list[int] = []
    add = public._told.add
    public._told.add = lambda deal, taker: (takers.append(taker), add(deal, taker))  # type: ignore[method-assign]
    first_id = public.crowd.first_trade_id
    ear = heard(public, 5, f"{symbol.lower()}@aggTrade")
    trades = all_trades(public, first_id)
    for row, deal in zip(trades, public.truth.trades(), strict=True):
        row["ns"] = deal.venue_ns
    rows = public.agg_trades(None, START_NS // MS, None, 1_000_000)
    while rows and int(str(rows[0]["f"])) < first_id:
        rows.pop(0)
    expected = aggregated(trades, takers if market == "spot" else None)[: len(rows)]
    assert len(rows) > 5
    assert [
        {
            "p": row["p"],
            "m": row["m"],
            "f": row["f"],
            "T": row["T"],
            "q": Decimal(str(row["q"])),
            "nq": Decimal(str(row.get("nq", row["q"]))),
            "l": row["l"],
        }
        for row in rows
    ] == expected
    told = ear.rows(f"{symbol.lower()}@aggTrade")
    keys = ("a", "p", "q", "f", "l", "T", "m")
    assert [[t[key] for key in keys] for t in told] == [
        [row[key] for key in keys] for row in rows[: len(told)]
    ]
    assert len(told) == len(rows)
    if market == "usdm":
        assert all(t["E"] - t["T"] == 100 for t in told)
        assert [t["nq"] for t in told] == [row["nq"] for row in rows]
        untold = len(trades) - sum(int(str(row["l"])) - int(str(row["f"])) + 1 for row in rows)
        assert untold == sum(deal.venue_ns > public.now_ns - 100 * MS for deal in public.truth.trades())


@BOTH
def test_aggregates_are_found_by_id_and_time_on_both_sides_of_the_start(market: Market) -> None:
    public = market_of(market)
    public.advance(public.now_ns + 60 * SECOND)
    whole = public.agg_trades(None, (START_NS - 130 * SECOND) // MS, None, 100_000)
    ids = [int(str(row["a"])) for row in whole]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    border = next(
        place
        for place, row in enumerate(whole)
        if int(str(row["f"])) >= market_of(market).crowd.first_trade_id
    )
    assert 0 < border < len(whole) - 1
    for before, after in itertools.pairwise(whole):
        assert int(str(after["f"])) == int(str(before["l"])) + 1
    for place in (0, border - 3, border - 1, border, border + 2):
        assert public.agg_trades(ids[place], None, None, 6) == whole[place : place + 6]
        at_ms = int(str(whole[place]["T"]))
        after = [row for row in whole if int(str(row["T"])) >= at_ms]
        assert public.agg_trades(None, at_ms, None, 6) == after[:6]
        before_it = [row for row in whole if int(str(row["T"])) <= at_ms]
        assert public.agg_trades(None, None, at_ms, 1) == before_it[-1:]
        assert public.agg_trades(None, at_ms, at_ms + 2_000, 500) == [
            row for row in after if int(str(row["T"])) <= at_ms + 2_000
        ]
    assert public.agg_trades(None, None, None, 5) == whole[-5:]
    assert public.agg_trades(ids[-1] + 1, None, None, 5) == []
    assert public.agg_trades(None, None, None, len(whole)) == whole


@pytest.mark.slow
@BOTH
def test_listening_changes_nothing_of_what_happens(market: Market) -> None:
    alone, busy = market_of(market, "SOLUSDT"), market_of(market, "SOLUSDT")
    ear = heard(busy, 3)
    for stream in busy.streams:
        busy.unlisten(stream, ear)
    busy.advance(busy.now_ns + 3 * SECOND)
    count = sum(len(told) for told in ear.told.values())
    alone.advance(busy.now_ns)
    assert alone.depth(100) == busy.depth(100)
    assert alone.trades(500) == busy.trades(500)
    assert alone.premium_index() == busy.premium_index()
    assert alone.open_interest() == busy.open_interest()
    busy.advance(busy.now_ns + 3 * SECOND)
    assert sum(len(told) for told in ear.told.values()) == count


@pytest.mark.slow
@BOTH
def test_status_other_than_trading_stills_the_crowd_but_not_klines_and_mark_price(market: Market) -> None:
    public, twin = market_of(market), market_of(market)
    public.advance(public.now_ns + 5 * SECOND)
    public.set_status("SETTLING" if market == "usdm" else "HALT")
    assert public.info()["status"] in ("SETTLING", "HALT")
    before = public.depth(1_000)
    ear = heard(public, 90)
    after = public.depth(1_000)
    assert [before[key] for key in ("bids", "asks", "lastUpdateId")] == [
        after[key] for key in ("bids", "asks", "lastUpdateId")
    ]
    loud = {stream.split("@")[1].split("_")[0] for stream in ear.told}
    assert loud <= {"kline", "markPrice", "ticker", "miniTicker"}
    closed = [row["k"] for row in ear.rows("thinusdt@kline_1m") if row["k"]["x"]]
    assert [k["n"] for k in closed][1:] == [0]
    assert (closed[1]["f"], closed[1]["L"], closed[1]["o"]) == (-1, -1, closed[1]["c"])
    if market == "usdm":
        assert len(ear.rows("thinusdt@markPrice@1s")) == 90
        assert len(ear.rows("thinusdt@markPrice")) == 30
    public.set_status("TRADING")
    public.advance(public.now_ns + 5 * SECOND)
    twin.advance(START_NS + 10 * SECOND)
    assert true_book(public) == true_book(twin)


@BOTH
def test_exchange_info_makes_the_instrument_and_says_what_was_set(market: Market) -> None:
    kind = MarketKind.SPOT if market == "spot" else MarketKind.USDM
    public = market_of(market)

    def instrument() -> object:
        return from_exchange_info(orjson.dumps({"symbols": [public.info()]}), "THINUSDT", kind)

    first = instrument()
    assert first == public.truth.instrument
    public.set_filters(tick="0.5", step=Decimal("0.25"), min_notional="7.5")
    changed = instrument()
    assert (changed.tick, changed.price_digits) == (5, 1)  # type: ignore[attr-defined]
    assert changed.min_notional == Decimal("7.5")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="Expected a tick above zero, found 0"):
        public.set_filters(tick="0")


@pytest.mark.slow
@given(
    symbol=st.from_regex(r"[A-Z0-9]{1,8}(USDT|USDC|BTC)", fullmatch=True),
    market=st.sampled_from(MARKETS),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=15, deadline=None, phases=QUICK)
def test_any_symbol_has_a_market_that_lives(symbol: str, market: Market, seed: int) -> None:
    public = market_of(market, symbol, seed)
    public.advance(public.now_ns + 30 * SECOND)
    bids, asks = public.truth.book()
    assert max(bids) < min(asks)
    assert len(public.truth.trades()) > 3
    assert public.crowd.book.n_changes_lost == 0
    answer = public.depth(5_000)
    tick = Decimal(str(public.info()["filters"][0]["tickSize"]))  # type: ignore[index]
    step = Decimal(str(public.info()["filters"][1]["stepSize"]))  # type: ignore[index]
    for price, quantity in answer["bids"]:  # type: ignore[attr-defined]
        assert Decimal(price) % tick == 0
        assert Decimal(quantity) % step == 0
        if market == "spot":
            assert len(price.split(".")[1]) == len(quantity.split(".")[1]) == 8


def test_what_is_no_symbol_or_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a symbol in capital letters and figures, found 'btcusdt'"):
        spec_of("btcusdt", "spot")
    public = market_of("spot")
    for stream in ("thinusdt@depth@0ms", "thinusdt@markPrice", "btcusdt@trade", "thinusdt@kline_7m", ""):
        assert not public.listen(stream, print)
        public.unlisten(stream, print)
    usdm = market_of("usdm")
    assert not usdm.listen("thinusdt@kline_1s", print)
    assert (public.premium_index(), public.open_interest(), public.funding_history()) == ({}, {}, [])
    with pytest.raises(ValueError, match="Expected a USD-M market, found THINUSDT on spot"):
        public.set_funding_interval(4)


@BOTH
def test_more_changes_than_a_book_remembers_are_moved_on_in_time(market: Market) -> None:
    matching = Matching(1_024, 1_024, 4_096, 32_768)
    streams = BookStreams(
        matching.resting, Messages(btcusdt(market)), 3, lambda: START_NS, lambda _at, _action: None
    )
    assert matching.apply_order(1, 10, 5) > 0
    for price in range(100_000, 140_000):
        order = matching.apply_order(-1, price, 1)
        streams.changed(START_NS)
        matching.apply_cancel(order)
        matching.drain_events()
        streams.changed(START_NS)
    assert matching.resting.n_changes_lost == 0


@BOTH
def test_silent_market_loses_no_change_however_long_nobody_listens(market: Market) -> None:
    public = market_of(market, "SOLUSDT")
    public.advance(public.now_ns + 120 * SECOND)
    assert public.crowd.book.n_changes_lost == 0
    ear = Ear()
    stream = f"solusdt{DIFFS[market][-1]}"
    public.listen(stream, ear)
    snapshot = public.depth(5_000)
    while not ear.told:
        public.advance(public.next_ns)
    assert follow(snapshot, ear.rows(stream))[0] == true_book(public)
