"""ccxt and ccxt.pro see the simulated venue as it is, on spot and USD-M."""

from decimal import Decimal

import pytest

from tests.clients.conformance import Seen, best, contiguous, see

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.xdist_group("ccxt")]

SIDES = {"binance": ("BTC/USDT", "/api/v3"), "binanceusdm": ("BTC/USDT:USDT", "/fapi/v1")}


@pytest.fixture(scope="module")
def seen() -> Seen:
    return see("ccxt", "see_ccxt.py")


def test_every_method_worked(seen: Seen) -> None:
    assert seen.said["failed"] == []


@pytest.mark.parametrize("exchange", SIDES)
def test_markets_are_loaded_with_the_steps_of_the_house(seen: Seen, exchange: str) -> None:
    symbol, path = SIDES[exchange]
    market = seen.said["answers"][f"{exchange} load_markets"][symbol]
    info = next(row for row in seen.ask(f"{path}/exchangeInfo")["symbols"] if row["symbol"] == "BTCUSDT")
    filters = {row["filterType"]: row for row in info["filters"]}
    assert market["active"] is True
    assert Decimal(str(market["precision"]["price"])) == Decimal(filters["PRICE_FILTER"]["tickSize"])
    assert Decimal(str(market["precision"]["amount"])) == Decimal(filters["LOT_SIZE"]["stepSize"])
    assert market["type"] == ("spot" if exchange == "binance" else "swap")


@pytest.mark.parametrize("exchange", SIDES)
def test_watched_book_is_the_book(seen: Seen, exchange: str) -> None:
    book = seen.ask(f"{SIDES[exchange][1]}/depth", symbol="BTCUSDT", limit=1000)
    for side in ("bids", "asks"):
        for found in (
            seen.said["seen"][f"{exchange} watch_order_book"],
            seen.said["answers"][f"{exchange} fetch_order_book"],
        ):
            assert best(side, found[side], 500) == best(side, book[side], 500)


@pytest.mark.parametrize("exchange", SIDES)
def test_watched_trades_are_the_trades_of_the_house(seen: Seen, exchange: str) -> None:
    watched = {int(row["id"]): row for row in seen.said["seen"][f"{exchange} watch_trades"]}
    ids = sorted(watched)
    assert contiguous(ids)
    rows = {}
    while len(rows) < len(ids):
        from_id = ids[0] + len(rows)
        path = f"{SIDES[exchange][1]}/historicalTrades"
        found = seen.ask(path, symbol="BTCUSDT", fromId=from_id, limit=500)
        rows |= {row["id"]: row for row in found}
        assert found
    for trade_id, trade in watched.items():
        row = rows[trade_id]
        assert Decimal(str(trade["price"])) == Decimal(row["price"])
        assert Decimal(str(trade["amount"])) == Decimal(row["qty"])
        assert trade["side"] == ("sell" if row["isBuyerMaker"] else "buy")


@pytest.mark.parametrize("exchange", SIDES)
def test_last_prices_and_candles_are_those_of_the_house(seen: Seen, exchange: str) -> None:
    symbol, path = SIDES[exchange]
    answers, watched = seen.said["answers"], seen.said["seen"]
    price = float(seen.ask(f"{path}/ticker/price", symbol="BTCUSDT")["price"])
    assert answers[f"{exchange} fetch_ticker"]["last"] == price
    assert answers[f"{exchange} fetch_tickers"][symbol]["last"] == price
    assert watched[f"{exchange} watch_ticker"]["last"] == price
    quote = seen.ask(f"{path}/ticker/bookTicker", symbol="BTCUSDT")
    for found in (watched[f"{exchange} watch_bids_asks"], answers[f"{exchange} fetch_bids_asks"]):
        assert (found[symbol]["bid"], found[symbol]["ask"]) == (
            float(quote["bidPrice"]),
            float(quote["askPrice"]),
        )
    rows = seen.ask(f"{path}/klines", symbol="BTCUSDT", interval="1m", limit=60)
    candles = {row[0]: [float(field) for field in row[1:6]] for row in rows}
    for name in (f"{exchange} fetch_ohlcv", f"{exchange} watch_ohlcv"):
        found = answers.get(name) or watched[name]
        assert [row for row in found if row[1:] != candles[row[0]]] == []


def test_figures_of_a_perpetual_are_those_of_the_house(seen: Seen) -> None:
    answers, symbol = seen.said["answers"], "BTC/USDT:USDT"
    funding = answers["binanceusdm fetch_funding_rate"]
    index = seen.ask("/fapi/v1/premiumIndex", symbol="BTCUSDT")
    assert funding["fundingTimestamp"] == index["nextFundingTime"]
    assert answers["binanceusdm fetch_funding_rates"][symbol]["symbol"] == symbol
    history = seen.ask("/fapi/v1/fundingRate", symbol="BTCUSDT")
    found = answers["binanceusdm fetch_funding_rate_history"]
    assert [(row["timestamp"], row["fundingRate"]) for row in found] == [
        (row["fundingTime"], float(row["fundingRate"])) for row in history
    ]
    assert answers["binanceusdm fetch_open_interest"]["openInterestAmount"] > 0
    assert abs(answers["binanceusdm fetch_mark_price"]["markPrice"] / funding["markPrice"] - 1) < 0.01
    assert seen.said["seen"]["binanceusdm watch_mark_price"]["markPrice"] > 0


@pytest.mark.parametrize("exchange", SIDES)
def test_refusal_is_understood(seen: Seen, exchange: str) -> None:
    name, text = seen.said["answers"][f"{exchange} refusal"]
    assert (name, "-1121" in text, "Invalid symbol." in text) == ("BadSymbol", True, True)
