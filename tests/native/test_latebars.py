"""Trades that the feed brings after their minute closed: the bars are those of a feed without delay."""

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from native.bars import BarRecord
from native.market import Market
from tests.native.test_tradegaps import MINUTE, MORNING, AggregateFeed, Feed, Trade, row_of
from tests.native.venue import MS, SECOND
from tests.oracles.bars import WIDTHS, Print, SlowBars

Said = tuple[int, int, int, int, int]

# side, price, quantity, ms since the trade before, ms of delay: a delay of a minute and more is not believed.
SAID = st.lists(
    st.tuples(
        st.sampled_from([1, -1]),
        st.integers(9_900, 10_100),
        st.integers(1, 50),
        st.sampled_from([0, 1, 400, 3_000, 20_000, 45_000, 130_000]),
        st.sampled_from([20, 20, 900, 2_500, 15_000, 40_000, 55_000]),
    ),
    min_size=2,
    max_size=30,
)


class OverdueFeed(Feed):
    """Tells a trade when it is given, whatever its time; depth goes on every second."""

    def tell_at(self, number: int, trade: Trade, at_ns: int) -> None:
        while self.now_ns + SECOND <= at_ns:
            self.wait(SECOND)
            self.depth()
        self.wait(max(0, at_ns - self.now_ns))
        # By now it is told at once: the time it would come is behind us.
        self.tell(number, trade)


class OverdueAggregates(OverdueFeed, AggregateFeed):
    """The same with aggregates."""


def timeline(drawn: Sequence[Said]) -> list[tuple[Trade, int]]:
    told, when, at_ns = [], MORNING, 0
    for side, price, quantity, step_ms, delay_ms in drawn:
        when += step_ms * MS
        # A stream keeps its order: what is behind a delayed trade waits with it.
        at_ns = max(at_ns, when + delay_ms * MS)
        told.append(((side, price, quantity, when), at_ns))
    return told


def bars_of(market: Market) -> dict[str, object]:
    bars = market.bars
    return {
        **{interval: (bars.bars(interval), bars.open_bar(interval)) for interval in WIDTHS},
        "footprints": (bars.footprint(True), bars.footprint(False)),
    }


@settings(max_examples=120)
@given(drawn=SAID, is_aggregate=st.booleans())
@example(
    drawn=[(1, 10_000, 1, 59_000, 20), (-1, 9_990, 3, 500, 2_500), (1, 10_010, 2, 61_000, 20)],
    is_aggregate=False,
)
@example(drawn=[(1, 10_000, 1, 59_000, 20), (1, 10_020, 4, 45_000, 40_000)], is_aggregate=True)
def test_trades_of_a_slow_feed_when_all_came_then_bars_are_those_of_a_prompt_one(
    drawn: list[Said], is_aggregate: bool
) -> None:
    kind = OverdueAggregates if is_aggregate else OverdueFeed
    slow, prompt = kind(), kind()
    told = timeline(drawn)
    for venue in (slow, prompt):
        venue.wait(MORNING - venue.now_ns)
        venue.open()
    for number, (trade, at_ns) in enumerate(told):
        slow.tell_at(number, trade, at_ns)
        prompt.tell_at(number, trade, trade[3] + 20 * MS)
    for venue in (slow, prompt):
        venue.tell_at(len(told), (1, 10_001, 1, told[-1][1] + 90 * SECOND), told[-1][1] + 91 * SECOND)
        venue.wait(2 * SECOND)
        venue.depth()
    assert slow.market.venue_time.outliers == 0
    assert (slow.market.trades, slow.market.flow.missing_ids) == (len(told) + 1, 0)
    assert (slow.market.bars.late_trades, prompt.market.bars.overdue_trades) == (0, 0)
    assert bars_of(slow.market) == bars_of(prompt.market)


@settings(max_examples=120)
@given(drawn=SAID, lost=st.sets(st.integers(1, 29)))
@example(drawn=[(1, 10_000, 1, 59_000, 20)] + [(-1, 9_990, 3, 400, 2_500)] * 3, lost={1, 2})
def test_trades_of_a_slow_feed_that_loses_some_when_told_then_bars_and_marks_are_the_twins(
    drawn: list[Said], lost: set[int]
) -> None:
    venue, twin = OverdueFeed(), SlowBars(tick=1, is_corrected=True)
    venue.wait(MORNING - venue.now_ns)
    venue.open()
    twin.advance_to(MORNING)
    last: tuple[int, int] | None = None
    for number, (trade, at_ns) in enumerate(timeline(drawn)):
        if number in lost:
            continue
        side, price, quantity, when = trade
        while venue.now_ns + SECOND <= at_ns:
            venue.wait(SECOND)
            twin.advance_to(venue.now_ns)
            venue.depth()
        venue.tell_at(number, trade, at_ns)
        if last is not None and number > last[0] + 1:
            twin.note_gap((last[1], when))
        twin.apply(Print(number, price, quantity, when, side, number, number))
        last = number, when
        for interval in WIDTHS:
            assert venue.market.bars.bars(interval) == twin.bars(interval)
            assert venue.market.bars.open_bar(interval) == twin.open_bar(interval)
    assert venue.market.venue_time.outliers == 0


def stalled() -> tuple[OverdueFeed, list[Trade]]:
    """Make a feed that told trades 0 to 2 of a minute, then closed the minute without the next ones."""
    venue = OverdueFeed()
    venue.wait(MORNING - venue.now_ns)
    venue.open()
    trades: list[Trade] = [(1, 10_000 + n, 1 + n, MORNING + n * 10 * SECOND) for n in range(14)]
    for number in range(3):
        venue.tell_at(number, trades[number], trades[number][3] + 20 * MS)
    venue.wait(45 * SECOND)
    venue.depth()
    assert [bar.n_trades for bar in venue.market.bars.bars("1m")] == [3]
    return venue, trades


def minute(venue: Feed, back: int = 1) -> BarRecord:
    return venue.market.bars.bars("1m")[-back]


def test_overdue_trade_then_its_closed_bar_has_it_and_nothing_is_counted_as_left_out() -> None:
    venue, trades = stalled()
    venue.tell(3, trades[3])
    bar = minute(venue)
    assert (bar.n_trades, bar.close, bar.high, bar.volume, bar.last_trade_id) == (4, 10_003, 10_003, 10, 3)
    assert (venue.market.bars.late_trades, venue.market.bars.overdue_trades) == (0, 1)
    assert venue.market.bars.open_bar("5m") is not None
    assert venue.market.bars.open_bar("5m").n_trades == 4  # type: ignore[union-attr]


def test_overdue_trade_behind_lost_ones_then_its_bar_is_marked_until_they_came() -> None:
    venue, trades = stalled()
    venue.tell(5, trades[5])
    bar = minute(venue)
    # The first bar is marked for its beginning; the second minute opens with a trade behind the gap's end.
    venue.tell(6, trades[6])
    assert (bar.n_trades, bar.has_gap) == (4, True)
    assert venue.answer([row_of(number, trades[number]) for number in (3, 4)]) == 2
    assert minute(venue).n_trades == 6
    assert venue.market.bars.open_bar("1m").has_gap is False  # type: ignore[union-attr]


def test_overdue_trade_of_a_minute_that_passed_empty_then_it_gets_its_bar() -> None:
    venue, trades = stalled()
    venue.wait(30 * SECOND)
    venue.depth()
    late: Trade = (-1, 9_000, 7, MORNING + MINUTE + 20 * SECOND)
    venue.wait(40 * SECOND)
    venue.depth()
    assert len(venue.market.bars.bars("1m")) == 1
    venue.tell(3, late)
    bar = minute(venue)
    assert (bar.open_ns, bar.open, bar.n_trades, bar.has_gap, bar.is_closed) == (
        MORNING + MINUTE, 9_000, 1, False, True,
    )  # fmt: skip
    assert len(trades) == 14


def test_overdue_trade_that_opens_a_bar_in_the_time_of_lost_ones_then_the_bar_is_marked() -> None:
    venue = OverdueFeed()
    venue.wait(MORNING - venue.now_ns)
    venue.open()
    trades: list[Trade] = [(1, 10_000, 1, MORNING + second * SECOND) for second in (0, 65, 130, 70)]
    for number in (0, 2, 3):
        venue.tell_at(number, trades[number], trades[number][3] + 20 * MS)
    bar = minute(venue)
    assert (bar.open_ns, bar.n_trades, bar.has_gap) == (MORNING + MINUTE, 1, True)
    assert venue.answer([row_of(1, trades[1])]) == 1
    assert (minute(venue).n_trades, minute(venue).has_gap) == (2, False)
