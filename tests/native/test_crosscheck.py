"""Best prices of the rebuilt book against tickers: by example, and against a twin that keeps everything."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from native.crosscheck import Crosscheck
from native.events import MarketKind
from native.market import Market
from tests.oracles.crosscheck import SlowCrosscheck

PENDING = 4096
PRICES = st.integers(1, 2)
STEPS = st.integers(0, 4)


def counts(check: Crosscheck | SlowCrosscheck) -> tuple[int, int, int]:
    return check.compared, check.equal, check.late


class RandomCrosscheck(RuleBasedStateMachine):
    """Two streams of rising ids, one behind the other by any distance."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = Crosscheck(), SlowCrosscheck()
        self.ticker_id, self.book_id = 10, 10

    @rule(step=STEPS, bid=PRICES, ask=PRICES)
    def ticker(self, step: int, bid: int, ask: int) -> None:
        self.ticker_id += step
        self.fast.apply_ticker(self.ticker_id, bid, ask)
        self.slow.ticker(self.ticker_id, bid, ask)

    @rule(step=STEPS, bid=PRICES, ask=PRICES)
    def book(self, step: int, bid: int, ask: int) -> None:
        self.book_id += step
        self.fast.apply_book(self.book_id, bid, ask)
        self.slow.book(self.book_id, bid, ask)

    @rule(ahead=st.integers(-3, 9))
    def reset(self, ahead: int) -> None:
        self.fast.apply_reset()
        self.slow.reset()
        self.book_id = max(self.book_id + ahead, 0)

    @invariant()
    def counts_are_the_same(self) -> None:
        assert counts(self.fast) == counts(self.slow)
        assert self.fast.overwritten == 0


RandomCrosscheck.TestCase.settings = settings(max_examples=100, stateful_step_count=60)


@pytest.mark.slow
class TestRandomCrosscheck(RandomCrosscheck.TestCase):  # type: ignore[misc]
    """Any order of tickers and updates gives what the twin gives."""


@pytest.mark.parametrize(
    ("tickers", "expected"),
    [
        ([], (0, 0, 0)),
        ([(20, 1, 2)], (1, 1, 0)),
        ([(11, 1, 2)], (1, 1, 0)),
        ([(20, 1, 3)], (1, 0, 0)),
        ([(20, 0, 2)], (1, 0, 0)),
        ([(10, 1, 2)], (0, 0, 1)),
        ([(21, 1, 2)], (0, 0, 0)),
        ([(12, 9, 9), (19, 1, 2)], (1, 1, 0)),
        ([(12, 1, 2), (19, 9, 9)], (1, 0, 0)),
        ([(19, 1, 2), (21, 9, 9)], (1, 1, 0)),
    ],
)
def test_update_when_it_goes_from_10_to_20_then_the_last_ticker_of_11_to_20_counts(
    tickers: list[tuple[int, int, int]], expected: tuple[int, int, int]
) -> None:
    check = Crosscheck()
    check.apply_book(10, 7, 8)
    for ticker in tickers:
        check.apply_ticker(*ticker)
    check.apply_book(20, 1, 2)
    assert counts(check) == expected


def test_ticker_when_ahead_of_the_book_then_it_waits_for_its_update() -> None:
    check = Crosscheck()
    check.apply_book(10, 7, 8)
    check.apply_ticker(25, 1, 2)
    check.apply_book(20, 9, 9)
    assert counts(check) == (0, 0, 0)
    check.apply_book(30, 1, 2)
    assert counts(check) == (1, 1, 0)


def test_first_update_when_there_was_no_book_then_nothing_is_compared() -> None:
    check = Crosscheck()
    check.apply_ticker(15, 9, 9)
    check.apply_ticker(25, 1, 2)
    check.apply_book(20, 1, 2)
    assert counts(check) == (0, 0, 0)
    check.apply_book(30, 1, 2)
    assert counts(check) == (1, 1, 0)


def test_book_when_anew_then_tickers_of_the_old_one_are_not_compared() -> None:
    check = Crosscheck()
    check.apply_book(10, 7, 8)
    check.apply_ticker(15, 9, 9)
    check.apply_reset()
    check.apply_ticker(5, 9, 9)
    check.apply_book(20, 1, 2)
    assert counts(check) == (0, 0, 0)


def test_ticker_when_its_id_comes_after_a_later_one_then_it_is_not_compared() -> None:
    check = Crosscheck()
    check.apply_book(10, 7, 8)
    check.apply_ticker(25, 1, 2)
    check.apply_ticker(12, 9, 9)
    check.apply_book(20, 1, 2)
    check.apply_book(30, 1, 2)
    assert counts(check) == (0, 0, 0)


def test_tickers_when_more_wait_than_are_kept_then_the_oldest_are_overwritten_and_counted() -> None:
    check = Crosscheck()
    check.apply_book(0, 7, 8)
    for update_id in range(1, PENDING + 3):
        check.apply_ticker(update_id, update_id, update_id + 1)
    assert check.overwritten == 2
    check.apply_book(2, 2, 3)
    assert counts(check) == (0, 0, 0), "both tickers of this update are lost"
    check.apply_book(3, 3, 4)
    assert counts(check) == (1, 1, 0)
    check.apply_book(PENDING + 2, PENDING + 2, PENDING + 3)
    assert counts(check) == (2, 2, 0), "the newest of those kept"
    check.apply_ticker(PENDING + 9, 1, 2)
    assert check.overwritten == 2


def test_market_when_a_new_snapshot_is_loaded_then_the_check_begins_anew() -> None:
    market = Market(symbol="BTCUSDT", kind=MarketKind.SPOT, price_digits=0, quantity_digits=0, tick=1)

    def depth(first_id: int, final_id: int) -> None:
        market.on_frame(
            b'{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":%d,"u":%d,"b":[["7","1"]],"a":[["9","1"]]}'
            % (first_id, final_id),
            1,
        )

    def ticker(update_id: int, bid: bytes) -> None:
        market.on_frame(
            b'{"u":%d,"s":"BTCUSDT","b":"%b","B":"1","a":"9","A":"1"}' % (update_id, bid),
            1,
        )

    snapshot = b'{"lastUpdateId":%d,"bids":[["6","1"]],"asks":[["9","1"]]}'
    market.on_snapshot(snapshot % 10, 1)
    depth(11, 20)
    ticker(25, b"7")
    depth(21, 30)
    assert (market.ticker_compared, market.ticker_equal) == (1, 1)
    ticker(35, b"8")
    depth(32, 40)
    assert market.gaps == 1
    market.on_snapshot(snapshot % 50, 1)
    depth(51, 60)
    assert (market.ticker_compared, market.ticker_equal) == (1, 1)
    ticker(61, b"7")
    depth(61, 61)
    assert (market.ticker_compared, market.ticker_equal) == (2, 2)
