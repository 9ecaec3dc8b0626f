"""Mark price, funding, open interest and liquidations of a USD-M market."""

from decimal import Decimal

import pytest

from engine.sim.markets import spec_of
from engine.sim.messages import Deal
from engine.sim.publicmarket import PublicMarket
from tests.engine.public_reading import SECOND, START_NS, Ear

MS = 1_000_000
HOUR_MS = 3_600_000


def market_of(symbol: str = "SOLUSDT", start_ns: int = START_NS, seed: int = 5) -> PublicMarket:
    return PublicMarket(spec_of(symbol, "usdm"), seed, start_ns)


def test_mark_price_comes_each_second_near_the_book_and_the_answer_says_the_same() -> None:
    public = market_of()
    ear = Ear()
    for stream in ("solusdt@markPrice", "solusdt@markPrice@1s"):
        assert public.listen(stream, ear)
    for _ in range(20):
        public.advance(public.now_ns - public.now_ns % SECOND + SECOND)
        told = ear.rows("solusdt@markPrice@1s")[-1]
        answer = public.premium_index()
        assert told["E"] == answer["time"] == public.now_ns // MS
        assert [told[key] for key in ("p", "i", "P", "r", "T")] == [
            answer[key]
            for key in (
                "markPrice",
                "indexPrice",
                "estimatedSettlePrice",
                "lastFundingRate",
                "nextFundingTime",
            )
        ]
        best = public.book_ticker()
        middle = (Decimal(str(best["bidPrice"])) + Decimal(str(best["askPrice"]))) / 2
        for key in ("p", "i", "ap"):
            assert abs(Decimal(told[key]) / middle - 1) < Decimal("0.002")
        assert told["T"] % (8 * HOUR_MS) == 0
        assert 0 < told["T"] - told["E"] <= 8 * HOUR_MS
        assert abs(Decimal(told["r"])) <= Decimal("0.003")
    slow = ear.rows("solusdt@markPrice")
    assert 6 <= len(slow) <= 7
    assert all(row["E"] % 3_000 == 0 for row in slow)


def test_funding_happens_at_its_hour_with_the_rate_told_before_and_another_interval_moves_it() -> None:
    start_ns = START_NS - START_NS % (8 * HOUR_MS * MS) + (8 * HOUR_MS - 5_000) * MS
    public = market_of("THINUSDT", start_ns)
    past = public.funding_history()
    assert [int(str(row["fundingTime"])) % (8 * HOUR_MS) for row in past] == [0] * len(past)
    assert len(past) == 6
    closes = {int(str(row[0])): row[4] for row in public.klines("1m", None, None, 5_000)}
    for row in past[1:]:
        before = closes[int(str(row["fundingTime"])) - 60_000]
        assert Decimal(str(row["markPrice"])) == Decimal(str(before))
    due_ms = int(str(public.premium_index()["nextFundingTime"]))
    public.advance(due_ms * MS - 1)
    rate = Decimal(str(public.premium_index()["lastFundingRate"]))
    public.advance(due_ms * MS)
    row = public.funding_history()[-1]
    assert row["fundingTime"] == due_ms
    assert abs(Decimal(str(row["fundingRate"])) - rate) < Decimal("0.0003")
    assert len(public.funding_history()) == 7
    assert public.premium_index()["nextFundingTime"] == due_ms + 8 * HOUR_MS
    public.set_funding_interval(4)
    assert public.funding_hours == 4
    assert public.premium_index()["nextFundingTime"] == due_ms + 4 * HOUR_MS
    with pytest.raises(ValueError, match="Expected a funding interval of 1, 2, 4 or 8 hours, found 3"):
        public.set_funding_interval(3)


@pytest.mark.slow
def test_liquidations_are_sweeps_that_happened_at_most_one_a_second_with_the_move() -> None:
    public = market_of("BTCUSDT")
    ear = Ear()
    public.listen("btcusdt@forceOrder", ear)
    public.advance(START_NS + 90 * SECOND)
    rows = ear.rows("btcusdt@forceOrder")
    assert 2 <= len(rows) <= 60
    assert len({row["E"] // 1_000 for row in rows}) == len(rows)
    deals = public.truth.trades()
    units = public.truth.instrument
    for row in rows:
        order = row["o"]
        assert 0 <= row["E"] - order["T"] <= 1_000
        is_buy = order["S"] == "BUY"
        sweeps: dict[int, list[Deal]] = {}
        for deal in deals:
            if deal.venue_ns // MS == order["T"] and deal.is_buy == is_buy:
                sweeps.setdefault(deal.venue_ns, []).append(deal)
        quantity = units.quantity_units(order["q"])
        same = next(sweep for sweep in sweeps.values() if sum(deal.quantity for deal in sweep) == quantity)
        assert order["z"] == order["q"]
        average, limit = Decimal(order["ap"]), Decimal(order["p"])
        paid = sum(Decimal(units.price_text(deal.price)) * deal.quantity for deal in same)
        assert 0 <= paid / quantity - average < Decimal("0.0001")
        assert same[-1].quantity == units.quantity_units(order["l"])
        assert (limit > average) == (order["S"] == "BUY")


def test_open_interest_moves_with_the_trades_and_stays_above_zero() -> None:
    public = market_of()
    seen = set()
    for _ in range(20):
        public.advance(public.now_ns + SECOND)
        answer = public.open_interest()
        seen.add(answer["openInterest"])
        assert Decimal(str(answer["openInterest"])) > 0
        assert answer["time"] == public.now_ns // SECOND * 1_000
    assert len(seen) > 5
