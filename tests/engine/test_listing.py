import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.ingest.listing import UNLISTED, Comparison, Listing, instruments_of
from engine.instruments import from_exchange_info
from engine.signals import MarketKind

ANSWERS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "exchange_info"
SPOT, USDM = MarketKind.SPOT, MarketKind.USDM


def entry(symbol="BTCUSDT", tick="0.01", step="0.00001", status="TRADING", notional="5"):
    return {
        "symbol": symbol,
        "status": status,
        "baseAsset": symbol[:3],
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": tick},
            {"filterType": "LOT_SIZE", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": notional},
        ],
    }


def answer(*entries):
    return json.dumps({"timezone": "UTC", "symbols": list(entries)}).encode()


@pytest.fixture
def listing():
    body = answer(entry("ETHUSDT"), entry("BTCUSDT"), entry("SOLUSDT"))
    return Listing(instruments_of(body, ["BTCUSDT", "ETHUSDT"], SPOT))


def test_instruments_have_their_place_as_index(listing):
    assert [(one.symbol, one.index, one.epoch) for one in listing.instruments] == [
        ("BTCUSDT", 0, 1),
        ("ETHUSDT", 1, 1),
    ]


def test_same_answer_changes_nothing(listing):
    before = listing.instruments
    assert listing.compare(answer(entry("ETHUSDT"), entry("BTCUSDT"))) == Comparison()
    assert listing.instruments == before


def test_changed_filters_are_the_next_epoch_in_units_that_hold_the_old(listing):
    old = listing.instruments[1]
    (found,) = listing.compare(answer(entry("BTCUSDT"), entry("ETHUSDT", tick="0.10", notional="10"))).changed
    assert (found.symbol, found.index, found.epoch) == ("ETHUSDT", 1, 2)
    assert (found.price_digits, found.tick) == (old.price_digits, 10)
    assert listing.instruments[1] is found
    (finer,) = listing.compare(
        answer(entry("BTCUSDT"), entry("ETHUSDT", tick="0.001", notional="10"))
    ).changed
    assert (finer.epoch, finer.price_digits, finer.tick) == (3, 3, 1)


def test_changed_status_is_told_once_without_an_epoch(listing):
    halted = answer(entry("BTCUSDT", status="BREAK"), entry("ETHUSDT"))
    (found,) = listing.compare(halted).changed
    assert (found.symbol, found.status, found.epoch) == ("BTCUSDT", "BREAK", 1)
    assert listing.compare(halted) == Comparison()
    (back,) = listing.compare(answer(entry("BTCUSDT"), entry("ETHUSDT"))).changed
    assert back.status == "TRADING"


def test_instrument_that_is_named_no_more_is_unlisted_until_it_comes_back(listing):
    old = listing.instruments[0]
    (gone,) = listing.compare(answer(entry("ETHUSDT"))).changed
    assert gone == replace(old, status=UNLISTED)
    assert listing.compare(answer(entry("ETHUSDT"))) == Comparison()
    (back,) = listing.compare(answer(entry("ETHUSDT"), entry("BTCUSDT"))).changed
    assert back == old


def test_answer_without_any_of_them_is_a_wrong_one(listing):
    before = listing.instruments
    with pytest.raises(InputError, match="with BTCUSDT, ETHUSDT, found none of them"):
        listing.compare(answer(entry("SOLUSDT")))
    assert listing.instruments == before


def test_entry_that_cannot_be_read_is_told_and_leaves_the_others(listing):
    broken = entry("BTCUSDT") | {"filters": []}
    found = listing.compare(answer(broken, entry("ETHUSDT", status="BREAK")))
    assert [one.symbol for one in found.changed] == ["ETHUSDT"]
    (problem,) = found.problems
    assert "BTCUSDT expects PRICE_FILTER" in problem
    assert listing.instruments[0].status == "TRADING"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"symbols":1}', b'{"symbols":[1]}', b'{"symbols":[{"symbol":"\xff"}]}']
)
def test_answer_of_another_shape_is_refused(listing, body):
    with pytest.raises(InputError, match="another shape"):
        listing.compare(body)
    with pytest.raises(InputError, match="another shape"):
        instruments_of(body, ["BTCUSDT"], SPOT)


def test_symbols_must_be_listed_and_stand_once():
    with pytest.raises(InputError, match="Expected the symbol XRPUSDT"):
        instruments_of(answer(entry()), ["BTCUSDT", "XRPUSDT"], SPOT)
    with pytest.raises(InputError, match="each symbol once, found BTCUSDT, BTCUSDT"):
        instruments_of(answer(entry()), ["BTCUSDT", "BTCUSDT"], SPOT)
    assert Listing(()).compare(answer()) == Comparison()


@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("binance_spot_exchangeInfo_20211012.json.gz", SPOT),
        ("binance_usdm_exchangeInfo_20210722.json.gz", USDM),
    ],
)
def test_recorded_answers_are_read_as_one_by_one_and_compare_equal(name, kind):
    body = gzip.decompress((ANSWERS / name).read_bytes())
    document = json.loads(body)
    symbols = [one["symbol"] for one in document["symbols"]][:20]
    found = instruments_of(body, symbols, kind)
    assert found == tuple(
        from_exchange_info(document, symbol, kind, index) for index, symbol in enumerate(symbols)
    )
    listing = Listing(found)
    assert listing.compare(body) == Comparison()
    changed = document["symbols"][7]
    for one in changed["filters"]:
        if one["filterType"] == "PRICE_FILTER":
            one["tickSize"] = "1000"
    document["symbols"].pop(3)
    told = listing.compare(json.dumps(document).encode())
    assert [(one.index, one.epoch, one.status) for one in told.changed] == [
        (3, 1, UNLISTED),
        (7, 2, changed["status"]),
    ]
