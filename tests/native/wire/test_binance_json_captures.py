"""Every recorded Binance message, held against a general JSON reader with `Decimal`."""

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from native.events import MessageKind, ParseStatus
from tests.native.wire.messages import Rules
from tests.oracles.cryptofeed import messages

pytestmark = [pytest.mark.slow, pytest.mark.captures]

Record = tuple[str, bool, bytes]

# Messages by kind (diffs, trades, tickers, klines, REST answers), as the captures' own pages count them.
SPOT = {
    "spot_btcusdt_20240808": (3451, 9757, 28040, 0, 1),
    "spot_btcusdt_20240809": (3044, 10147, 45134, 0, 0),
    "spot_ethusdt_20240808": (3434, 6106, 24077, 0, 1),
    "spot_ethusdt_20240809": (3036, 8409, 34681, 0, 0),
}
USDM = {
    "usdm_btcusdt_20240808": (6551, 21313, 66089, 0, 1),
    "usdm_ethusdt_20240808": (6586, 14076, 53992, 0, 1),
}
CRYPTOFEED = {
    "BINANCE_20210405_10symbols.raw": (4709, 1240, 5408, 0, 10),
    "BINANCE.ws.1.0": (177, 2, 84, 2, 0),
    "BINANCE.http.0.0": (0, 0, 0, 0, 4),
    "BINANCE_FUTURES.ws.1.0": (764, 91, 613, 67, 0),
    "BINANCE_FUTURES.http.0.0": (0, 0, 0, 0, 4),
    "BINANCE_US.ws.1.0": (336, 11, 128, 5, 0),
    "BINANCE_US.http.0.0": (0, 0, 0, 0, 4),
    "BINANCE_DELIVERY.ws.1.0": (2047, 51, 2240, 33, 0),
    "BINANCE_DELIVERY.http.0.0": (0, 0, 0, 0, 10),
}
COUNTED = (
    MessageKind.MESSAGE_DEPTH,
    MessageKind.MESSAGE_TRADE,
    MessageKind.MESSAGE_TICKER,
    MessageKind.MESSAGE_KLINE,
    MessageKind.MESSAGE_SNAPSHOT,
)


def plain_lines(path: Path, symbol: str) -> Iterator[Record]:
    with gzip.open(path) as lines:
        for line in lines:
            payload = line.split(b" ", 1)[1]
            yield symbol, not payload.startswith(b'{"stream"'), payload


def decimals(payload: bytes) -> tuple[set[str], set[str]]:
    """Collect the texts of all prices and of all quantities of one message."""
    event = orjson.loads(payload)
    event = event.get("data", event)
    prices, quantities = set(), set()
    for key in ("b", "a", "bids", "asks"):
        rows = event.get(key)
        if isinstance(rows, str):
            prices.add(rows)
        elif isinstance(rows, list):
            prices.update(row[0] for row in rows)
            quantities.update(row[1] for row in rows)
    prices.update(event[key] for key in "p" if key in event)
    quantities.update(event[key] for key in "qBA" if key in event)
    bar = event.get("k", {})
    prices.update(bar[key] for key in "ohlc" if key in bar)
    quantities.update(bar[key] for key in "vV" if key in bar)
    return prices, quantities


def digits(texts: set[str]) -> int:
    """Return the fewest decimal digits that hold all the texts without loss."""
    return max((len(text.rstrip("0").partition(".")[2]) for text in texts if "." in text), default=0)


def hold_against_twin(records: Iterator[Record], is_spot: bool) -> tuple[Counter[MessageKind], int]:
    """Read every message twice, once with quantities one digit too coarse; count kinds and floored ones."""
    by_symbol: dict[str, list[tuple[bool, bytes]]] = defaultdict(list)
    for symbol, is_answer, payload in records:
        by_symbol[symbol].append((is_answer, payload))
    kinds: Counter[MessageKind] = Counter()
    n_floored = 0
    for symbol, payloads in by_symbol.items():
        prices, quantities = set[str](), set[str]()
        for _, payload in payloads:
            found = decimals(payload)
            prices |= found[0]
            quantities |= found[1]
        finest = digits(quantities)
        for quantity_digits in {finest, max(finest - 1, 0)}:
            rules = Rules(symbol, digits(prices), quantity_digits, is_spot)
            reader, twin = rules.reader(), rules.twin()
            for is_answer, payload in payloads:
                if is_answer:
                    reading, expected = reader.read_snapshot(payload), twin.read_snapshot(payload)
                else:
                    reading, expected = reader.read(payload), twin.read(payload)
                assert reading == expected, payload
                assert reading[0] == ParseStatus.PARSE_OK, payload
                floored = reading[2].get("floored", 0)
                assert isinstance(floored, int)
                if quantity_digits == finest:
                    kinds[reading[1]] += 1
                    assert floored == 0, payload
                else:
                    n_floored += floored
    return kinds, n_floored


def assert_counted(kinds: Counter[MessageKind], expected: tuple[int, ...]) -> None:
    assert tuple(kinds[kind] for kind in COUNTED) == expected
    assert kinds.total() == sum(expected)


@pytest.mark.parametrize("name", SPOT)
def test_every_spot_message_of_2024_is_read_like_the_twin(captures: Path, name: str) -> None:
    path = captures / "binance_spot_20240808" / f"{name}.gz"
    kinds, n_floored = hold_against_twin(plain_lines(path, name.split("_")[1].upper()), is_spot=True)
    assert_counted(kinds, SPOT[name])
    assert n_floored > 0


@pytest.mark.parametrize("name", USDM)
def test_every_futures_message_of_2024_is_read_like_the_twin(captures: Path, name: str) -> None:
    path = captures / "binance_usdm_20240808" / f"{name}.gz"
    kinds, n_floored = hold_against_twin(plain_lines(path, name.split("_")[1].upper()), is_spot=False)
    assert_counted(kinds, USDM[name])
    assert n_floored > 0


@pytest.mark.parametrize("name", CRYPTOFEED)
def test_every_message_of_the_2021_sessions_is_read_like_the_twin(captures: Path, name: str) -> None:
    path = captures / "cryptofeed_binance_2021" / f"{name}.gz"
    is_spot = not name.startswith(("BINANCE_FUTURES", "BINANCE_DELIVERY"))
    kinds, _ = hold_against_twin(messages(path), is_spot)
    assert_counted(kinds, CRYPTOFEED[name])
