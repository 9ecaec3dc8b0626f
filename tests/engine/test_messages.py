"""The venue's messages: names, types and digits as documented, in milliseconds and microseconds."""

from dataclasses import replace

import orjson
import pytest

from engine.sim.aggregates import TradeLog
from engine.sim.markets import Market, btcusdt, spec_of
from engine.sim.messages import Deal, Messages
from engine.sim.publicmarket import PublicMarket
from engine.sim.told import Told
from tests.engine.public_reading import SECOND, START_NS, Ear

MS = 1_000_000

KEYS: dict[Market, dict[str, str]] = {
    "spot": {
        "depth": "e E s U u b a",
        "depth5": "lastUpdateId bids asks",
        "trade": "e E s t p q T m M",
        "aggTrade": "e E s a p q f l T m M",
        "bookTicker": "u s b B a A",
        "kline_1m": "e E s k",
        "ticker": "e E s p P w x c Q b B a A o h l v q O C F L n",
        "miniTicker": "e E s c o h l v q",
    },
    "usdm": {
        "depth": "e E T s ps U u pu b a st",
        "depth5": "e E T s ps U u pu b a st",
        "trade": "e E T s t p q X m st",
        "aggTrade": "e E a s p q nq f l T m st",
        "bookTicker": "e u s ps b B a A T E st",
        "kline_1m": "e E s k",
        "ticker": "e E s ps p P w c Q o h l v q O C F L n st",
        "miniTicker": "e E s ps c o h l v q st",
        "markPrice": "e E s p ap P i r T st",
        "forceOrder": "e E o",
    },
}
INNER = {
    "kline_1m": ("k", "t T s i f L o c h l v n x q V Q B"),
    "forceOrder": ("o", "s S o f q p ap X l z T ps st"),
}
NUMBERS = {"E", "T", "t", "U", "u", "pu", "a", "f", "l", "L", "n", "O", "C", "F", "lastUpdateId", "st"}


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_messages_have_the_names_of_2026_and_their_types(market: Market) -> None:
    public = PublicMarket(spec_of("SOLUSDT", market), 5, START_NS)
    ear = Ear()
    for kind in KEYS[market]:
        assert public.listen(f"solusdt@{kind}", ear)
    public.advance(START_NS + 60 * SECOND)
    for kind, names in KEYS[market].items():
        rows = ear.rows(f"solusdt@{kind}")
        assert rows, kind
        for row in rows:
            assert list(row) == names.split()
            assert row.get("s", "SOLUSDT") == row.get("ps", "SOLUSDT") == "SOLUSDT"
            for key, value in row.items():
                if kind in ("trade", "aggTrade", "depth", "ticker") and key in NUMBERS:
                    is_side = (kind, key) in (("depth", "a"), ("ticker", "a"), ("ticker", "l"))
                    assert isinstance(value, int) != is_side, (kind, key)
            if kind in INNER:
                key, inner = INNER[kind]
                assert list(row[key]) == inner.split()


def test_time_is_told_in_the_unit_that_is_asked_for_and_usdm_has_milliseconds_only() -> None:
    deal = Deal(7, START_NS, 6_180_050, 12, is_buy=True)
    told = Messages(btcusdt("spot")).trade("btcusdt@trade", deal)
    assert (told.stream, told.venue_ns) == ("btcusdt@trade", START_NS)
    milli, micro = orjson.loads(told.encode()), orjson.loads(told.encode(True))
    assert (milli["T"], micro["T"]) == (START_NS // MS, START_NS // 1_000)
    assert milli | {"T": 0, "E": 0} == micro | {"T": 0, "E": 0}
    assert told.encode() is told.encode(False)
    usdm = Messages(btcusdt("usdm")).trade("btcusdt@trade", deal)
    assert usdm.encode(True) == usdm.encode()
    assert "btcusdt@trade" in repr(told)


def test_message_is_written_once_for_each_unit() -> None:
    calls: list[int] = []

    def write(unit: int) -> str:
        calls.append(unit)
        return f"{{{unit}}}"

    told = Told("x@trade", 1, write, has_micro=True)
    assert [told.encode(), told.encode(True), told.encode(), told.encode(True)] == [
        b"{1000000}",
        b"{1000}",
    ] * 2
    assert calls == [1_000_000, 1_000]


def test_numbers_have_the_digits_of_the_venue() -> None:
    spot, usdm = Messages(btcusdt("spot")), Messages(btcusdt("usdm"))
    assert (spot.price(6_180_001), spot.quantity(7)) == ("61800.01000000", "0.00007000")
    assert (usdm.price(618_001), usdm.quantity(7)) == ("61800.10", "0.007")
    assert spot.money(6_180_001 * 7) == "4.32600070"
    assert usdm.money(618_001 * 7) == "432.60070"
    whole = replace(btcusdt("spot"), lot_decimals=0, quantity_zeros=8)
    assert Messages(whole).quantity(12) == "12.00000000"
    assert Messages(replace(whole, quantity_zeros=0)).quantity(12) == "12"
    assert spot.levels([(1, 2)]) == '[["0.01000000","0.00002000"]]'
    assert spot.pairs([(1, 2)]) == [["0.01000000", "0.00002000"]]


@pytest.mark.parametrize("is_usdm", [False, True])
def test_trade_log_forgets_the_oldest_half_and_answers_the_rest_as_before(is_usdm: bool) -> None:
    small = TradeLog(100, 50, is_usdm=is_usdm, capacity=40)
    large = TradeLog(100, 50, is_usdm=is_usdm)
    deals = [
        Deal(
            100 + n,
            START_NS + n * 30 * MS,
            500 + n // 4 % 3,
            1 + n % 5,
            is_buy=n // 8 % 2 == 0,
            is_rpi=n % 7 == 0,
        )
        for n in range(331)
    ]
    for deal in deals:
        for log in (small, large):
            log.add(deal, taker=deal.trade_id // 3)
    assert (large.forgotten, large.first_id) == (0, 100)
    assert small.first_id == 100 + small.forgotten
    assert 40 <= small.next_id - small.first_id <= 81
    assert small.deals(0, 1_000) == deals[small.forgotten :]
    assert small.next_aggregate_id == large.next_aggregate_id
    n_small = small.next_aggregate_id - small.first_aggregate_id
    assert [small.aggregate(n) for n in range(n_small)] == [
        large.aggregate(n) for n in range(small.first_aggregate_id - 50, large.next_aggregate_id - 50)
    ]
    assert small.volume == sum(deal.quantity for deal in deals)
    with pytest.raises(ValueError, match="Expected trade 431, found 99"):
        small.add(replace(deals[0], trade_id=99), taker=1)
