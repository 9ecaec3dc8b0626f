"""unicorn-binance-websocket-api hears the simulated venue, with both of its WebSocket libraries."""

import itertools

import pytest

from tests.clients.conformance import Seen, contiguous, see

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.xdist_group("unicorn")]

LIBRARIES = ("websockets", "picows")


@pytest.fixture(scope="module")
def seen() -> Seen:
    return see("unicorn", "see_unicorn.py")


def heard(seen: Seen, library: str, market: str, stream: str) -> list[dict[str, object]]:
    """Return the data of one stream in the order it came; which of a manager's sockets it came by is lost."""
    return [
        message["data"]
        for message in seen.said["heard"][f"{library} {market}"]
        if message.get("stream") == stream
    ]


def test_every_request_was_taken(seen: Seen) -> None:
    assert seen.said["failed"] == []
    for name, messages in seen.said["heard"].items():
        replies = [message for message in messages if "result" in message]
        assert [reply["result"] for reply in replies] == [None] * len(replies), name
        assert len(replies) == (3 if name.endswith("spot") else 2)


@pytest.mark.parametrize("library", LIBRARIES)
def test_trades_are_those_of_the_house(seen: Seen, library: str) -> None:
    trades = heard(seen, library, "spot", "btcusdt@trade")
    ids = [trade["t"] for trade in trades]
    assert contiguous(ids)
    rows = seen.ask("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=ids[0], limit=100)
    assert [(t["t"], t["p"], t["q"]) for t in trades[:100]] == [(r["id"], r["price"], r["qty"]) for r in rows]
    assert contiguous([trade["a"] for trade in heard(seen, library, "futures", "btcusdt@aggTrade")])


@pytest.mark.parametrize("library", LIBRARIES)
def test_depth_updates_follow_one_another(seen: Seen, library: str) -> None:
    spot = heard(seen, library, "spot", "btcusdt@depth@100ms")
    assert len(spot) > 5
    assert [b["U"] - a["u"] for a, b in itertools.pairwise(spot)] == [1] * (len(spot) - 1)
    futures = heard(seen, library, "futures", "btcusdt@depth@100ms")
    assert [b["pu"] - a["u"] for a, b in itertools.pairwise(futures)] == [0] * (len(futures) - 1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_stream_added_while_running_is_heard(seen: Seen, library: str) -> None:
    assert len(heard(seen, library, "spot", "ethusdt@bookTicker")) > 0
    last = heard(seen, library, "spot", "btcusdt@bookTicker")[-1]
    quote = seen.ask("/api/v3/ticker/bookTicker", symbol="BTCUSDT")
    assert (last["b"], last["a"]) == (quote["bidPrice"], quote["askPrice"])
