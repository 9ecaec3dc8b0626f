"""Each thing that goes wrong on a market-data feed, alone: the book is never wrong, and it comes back.

The whole live engine against the simulated venue; `tests/journeys/livefeeds.py` says what is compared after
every read. Times are virtual. Bounds are those of the settings there: 3 s until a depth stream counts as
silent, 5 s for an answer.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.sim.faults import Faults
from engine.sim.faultscript import Fault, Kind
from engine.sim.told import Told
from tests.journeys.livefeeds import FEED, START_NS, SYMBOL, Journey
from tests.journeys.test_chaos import signed, taken_deals

pytestmark = pytest.mark.slow

AT_S = 5.0
NS = 1_000_000_000
BOTH = pytest.mark.parametrize("market", ["spot", "usdm"])
DEPTH = "*@depth*"


def trades_of(market: str) -> str:
    return "*@trade" if market == "spot" else "*@aggTrade"


def suffer(
    script: Sequence[Fault],
    market: str,
    *,
    within_s: float,
    begin_s: float = AT_S,
    seed: int = 1,
    calm_s: float = 3.0,
    **more: object,
) -> Journey:
    """Let a script happen to a whole market, and wait until it is whole again; then watch a while."""
    journey = Journey(script, market=market, seed=seed, **more)  # type: ignore[arg-type]
    end_s = max(fault.at + (fault.lasts if fault.kind is not Kind.STALL else 0.0) for fault in script)
    took = [0.0]

    async def story(journey: Journey) -> None:
        if begin_s:
            await journey.until(lambda: journey.is_whole, begin_s, "a whole market before the fault")
        await journey.until_at(end_s + 0.3)
        took[0] = await journey.until(lambda: journey.is_whole, within_s, "a whole market after the fault")
        await journey.until_at(journey.now_s + calm_s)
        await journey.until(lambda: journey.is_whole, within_s, "a market that stays whole")

    seen = journey.play(story)
    kinds = ", ".join(dict.fromkeys(fault.kind.value for fault in script))
    print(
        f"\n{market}: {kinds}: without a book {seen.blind_s(START_NS + round(begin_s * NS)):.2f} s, whole "
        f"{took[0] + 0.3:.2f} s after its end, {journey.engine.gaps} gaps, {journey.filled} trades filled"
    )
    # The last message of a journey may be a depth update whose read was compared: most were.
    assert seen.n_compared > 10
    assert journey.engine.cvd == signed(taken_deals(journey))
    assert not journey.left_ranges
    return journey


def blind_s(journey: Journey) -> float:
    """Return the longest time without a book after the start."""
    return journey.seen.blind_s(START_NS + round(AT_S * NS))


def is_never_blind(journey: Journey) -> bool:
    """Tell whether the book was valid from its first moment to the end."""
    return [is_valid for _, is_valid in journey.seen.spans] in ([True], [False, True])


# Messages of the depth stream.


@BOTH
@pytest.mark.parametrize("count", [1, 5])
def test_lost_depth_updates_are_a_gap_and_a_new_book(market: str, count: int) -> None:
    journey = suffer([Fault(at=AT_S, kind=Kind.DROP, stream=DEPTH, count=count)], market, within_s=3)
    assert journey.faults.happened[Kind.DROP] == count
    assert (journey.engine.gaps, journey.seen.count("resync")) == (1, 1)
    assert 0 < blind_s(journey) < 3


@BOTH
def test_doubled_depth_updates_change_nothing(market: str) -> None:
    journey = suffer([Fault(at=AT_S, kind=Kind.DUPLICATE, stream=DEPTH, count=20)], market, within_s=3)
    assert is_never_blind(journey)
    assert journey.engine.gaps == 0
    # The first of them ends the wait for the one before on neither side.
    assert journey.engine.sequence.duplicates >= 20


@BOTH
def test_swapped_depth_updates_are_a_gap_and_never_a_wrong_book(market: str) -> None:
    journey = suffer([Fault(at=AT_S, kind=Kind.REORDER, stream=DEPTH, count=3)], market, within_s=4)
    assert journey.engine.gaps >= 1
    assert 0 < blind_s(journey) < 4


@BOTH
def test_late_depth_is_the_true_book_of_an_earlier_moment(market: str) -> None:
    journey = suffer(
        [Fault(at=AT_S, kind=Kind.DELAY, stream=DEPTH, delay=1.5, lasts=3.0)], market, within_s=3
    )
    assert journey.engine.gaps == 0
    assert journey.engine.stale_periods >= 1
    assert is_never_blind(journey)


@BOTH
@pytest.mark.parametrize("kind", [Kind.TRUNCATE, Kind.DAMAGE])
@pytest.mark.parametrize("seed", range(4))
def test_broken_depth_updates_are_refused_and_then_a_gap(market: str, kind: Kind, seed: int) -> None:
    journey = suffer([Fault(at=AT_S, kind=kind, stream=DEPTH, count=1)], market, within_s=3, seed=seed)
    assert journey.faults.happened[kind] == 1
    # A byte that fell on a name nobody needs costs nothing: the book was true, or it would have been told.
    assert journey.engine.gaps == 1 or (kind is Kind.DAMAGE and is_never_blind(journey))
    assert blind_s(journey) < 3


def test_most_broken_depth_updates_are_refused() -> None:
    script = [Fault(at=AT_S, kind=Kind.DAMAGE, stream=DEPTH, lasts=10.0, share=0.2)]
    journey = suffer(script, "spot", within_s=10)
    n_broken = journey.faults.happened[Kind.DAMAGE]
    assert n_broken > 10
    assert journey.engine.refused > 0.7 * n_broken


@BOTH
@pytest.mark.parametrize("kind", [Kind.TRUNCATE, Kind.DAMAGE])
def test_broken_tickers_cost_nothing_but_themselves(market: str, kind: Kind) -> None:
    journey = suffer([Fault(at=AT_S, kind=kind, stream="*@bookTicker", count=10)], market, within_s=3)
    assert journey.engine.gaps == 0
    assert is_never_blind(journey)


@BOTH
@pytest.mark.parametrize("kind", [Kind.UNKNOWN_FIELDS, Kind.UNKNOWN_EVENT, Kind.FOREIGN])
def test_what_is_not_known_and_what_is_not_ours_change_nothing(market: str, kind: Kind) -> None:
    journey = suffer([Fault(at=AT_S, kind=kind, lasts=5.0)], market, within_s=3)
    assert journey.faults.happened[kind] > 50
    assert journey.engine.gaps == 0
    assert is_never_blind(journey)
    if kind is Kind.FOREIGN:
        assert journey.engine.foreign_messages > 50
    assert journey.live.router.n_errors == 0


# Trades.


@BOTH
def test_lost_trades_are_filled_in_by_request(market: str) -> None:
    fault = Fault(at=AT_S, kind=Kind.DROP, stream=trades_of(market), count=5)
    journey = suffer([fault], market, within_s=8, calm_s=8)
    assert journey.filled >= 5
    assert journey.seen.count("gap_filled") >= 1
    assert is_never_blind(journey)


@BOTH
@pytest.mark.parametrize("kind", [Kind.DUPLICATE, Kind.REORDER])
def test_doubled_and_swapped_trades_count_once_each(market: str, kind: Kind) -> None:
    fault = Fault(at=AT_S, kind=kind, stream=trades_of(market), lasts=6.0)
    journey = suffer([fault], market, within_s=8)
    assert journey.faults.happened[kind] >= 3
    assert is_never_blind(journey)


@BOTH
def test_late_trades_are_counted_when_they_come(market: str) -> None:
    journey = suffer(
        [Fault(at=AT_S, kind=Kind.DELAY, stream=trades_of(market), delay=0.8, lasts=5.0)], market, within_s=5
    )
    assert journey.filled == 0
    assert is_never_blind(journey)


@BOTH
def test_broken_trades_are_filled_in(market: str) -> None:
    fault = Fault(at=AT_S, kind=Kind.TRUNCATE, stream=trades_of(market), count=3)
    journey = suffer([fault], market, within_s=8, calm_s=8)
    assert journey.filled >= 3
    assert is_never_blind(journey)


# Snapshots.


@BOTH
def test_first_event_that_straddles_the_snapshot_is_applied(market: str) -> None:
    n_straddled = 0
    for seed in range(8):
        journey = Journey(market=market, seed=seed, sweep_rate=20.0)

        async def story(journey: Journey) -> None:
            await journey.until(lambda: journey.is_whole, 3, "a whole market")
            await journey.until_at(journey.now_s + 1)

        journey.play(story)
        assert (journey.engine.gaps, journey.engine.snapshots) == (0, 1)
        # The book was read between two events: the one around that moment begins before and ends after.
        told = journey.market.told_ids
        snapshots = set(journey.market.books) - {final for _, _, final, _ in told}
        n_straddled += any(first <= at < final for at in snapshots for _, first, final, _ in told)
    assert n_straddled >= 2


@BOTH
def test_snapshot_older_than_what_is_buffered_is_refused_until_a_new_one_comes(market: str) -> None:
    script = [
        Fault(at=AT_S, kind=Kind.STALE, lasts=3.0),
        Fault(at=AT_S + 0.5, kind=Kind.DROP, stream=DEPTH, count=1),
    ]
    journey = suffer(script, market, within_s=5)
    status = journey.live.status().lanes[0]
    assert journey.faults.happened[Kind.STALE] == status.snapshots_too_old >= 2
    assert journey.engine.gaps == 1
    # Never put in place of the old book: it stays readable until a new one can follow it.
    assert (journey.engine.snapshots, status.resyncs) == (2, 1)


@BOTH
def test_slow_snapshot_joins_what_was_buffered_meanwhile(market: str) -> None:
    fault = Fault(at=0.0, kind=Kind.SLOW, path="*/depth", delay=4.0)
    journey = suffer([fault], market, within_s=6, begin_s=0)
    live_ns = next(at_ns for at_ns, is_valid in journey.seen.spans if is_valid)
    assert 4 * NS < live_ns - START_NS < 5 * NS
    assert (journey.engine.gaps, journey.engine.snapshots) == (0, 1)


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        Fault(at=0.0, kind=Kind.SLOW, path="*/depth", delay=60.0),
        Fault(at=0.0, kind=Kind.REFUSE, path="*/depth", status=0),
        Fault(at=0.0, kind=Kind.REFUSE, path="*/depth", status=500),
        Fault(at=0.0, kind=Kind.REFUSE, path="*/depth", status=503),
        Fault(at=0.0, kind=Kind.HTML, path="*/depth", status=502),
        Fault(at=0.0, kind=Kind.HTML, path="*/depth", status=200),
    ],
    ids=["timeout", "reset", "500", "503", "html-502", "html-200"],
)
def test_snapshot_that_does_not_come_is_asked_for_again(market: str, fault: Fault) -> None:
    journey = suffer([fault], market, within_s=10, begin_s=0)
    assert journey.live.status().lanes[0].snapshots_failed == 1
    assert journey.engine.gaps == 0


def test_429_then_418_are_obeyed_by_every_request() -> None:
    script = [
        Fault(at=AT_S, kind=Kind.DROP, stream=DEPTH, count=1),
        Fault(at=AT_S, kind=Kind.REFUSE, path="*/depth", status=429, retry_after=2),
        Fault(at=AT_S, kind=Kind.REFUSE, path="*/depth", status=418, retry_after=7),
    ]
    asked: list[float] = []
    journey = Journey(script)
    get = journey.house.get
    refused: list[float] = []

    def noted(path: str, query: str, headers, *, address: str, now_ns: int):  # type: ignore[no-untyped-def]
        answer = get(path, query, headers, address=address, now_ns=now_ns)
        at_s = (now_ns - START_NS) / NS
        asked.append(at_s)
        if answer.status in (418, 429):
            refused.append(at_s)
        return answer

    journey.house.get = noted  # type: ignore[method-assign]

    async def story(journey: Journey) -> None:
        await journey.until_at(AT_S + 0.5)
        assert not journey.is_whole
        await journey.until(lambda: journey.is_whole, 15, "a whole market after both bans")

    journey.play(story)
    assert len(refused) == 2
    # Nobody asks anything within what the venue said, the clock and the filters included.
    for at_s, length_s in zip(refused, (2.0, 7.0), strict=True):
        assert [one for one in asked if at_s + 0.01 < one < at_s + length_s] == []
    print(f"\nrefused at {refused} s, whole at {journey.now_s:.2f} s")


# Connections.


@BOTH
@pytest.mark.parametrize("kind", [Kind.CUT, Kind.CLOSE])
def test_lost_connection_is_opened_again_and_its_trades_filled(market: str, kind: Kind) -> None:
    journey = suffer([Fault(at=AT_S, kind=kind)], market, within_s=10)
    assert journey.seen.count("disconnected") >= 1
    assert journey.engine.gaps <= 1
    assert blind_s(journey) < 3


@BOTH
@pytest.mark.parametrize("delay", [0.0, 0.3, 2.0])
def test_announced_end_is_met_with_a_new_connection(market: str, delay: float) -> None:
    journey = suffer([Fault(at=AT_S, kind=Kind.SHUTDOWN, delay=delay)], market, within_s=10)
    if delay == 2.0:
        # Time enough: nothing is lost, nobody is blind.
        assert is_never_blind(journey)
        assert (journey.engine.gaps, journey.filled) == (0, 0)
    assert blind_s(journey) < 3


@BOTH
def test_rotation_before_24_hours_loses_nothing(market: str) -> None:
    journey = Journey(market=market, feed=replace(FEED, rotate_h=0.005), seed=3)

    async def story(journey: Journey) -> None:
        await journey.until_at(29)
        assert journey.is_whole

    journey.play(story)
    assert journey.seen.count("rotate") >= 1
    assert journey.seen.count("disconnected") == 0
    assert is_never_blind(journey)
    assert (journey.engine.gaps, journey.filled) == (0, 0)
    assert journey.engine.cvd == signed(taken_deals(journey))


@BOTH
def test_stream_that_is_silent_after_its_acknowledgement_is_found_and_replaced(market: str) -> None:
    journey = suffer([Fault(at=0.0, kind=Kind.SILENCE, lasts=10.0)], market, within_s=15, begin_s=0)
    assert journey.seen.count("subscribed") >= 1
    assert journey.seen.count("silent") >= 1
    assert max(stream.times_silent for stream in journey.live.status().lanes[0].streams) >= 1
    first_ns = next(at_ns for at_ns, is_valid in journey.seen.spans if is_valid)
    assert first_ns - START_NS > 10 * NS


@BOTH
@pytest.mark.parametrize("stream", ["*@depth*", "*"])
def test_stream_that_falls_silent_is_found_and_replaced(market: str, stream: str) -> None:
    fault = Fault(at=AT_S, kind=Kind.SILENCE, stream=stream, lasts=8.0)
    journey = suffer([fault], market, within_s=10)
    found_ns = next(at_ns for at_ns, _, event, _ in journey.seen.events if event == "silent")
    assert found_ns - START_NS < (AT_S + 3.0 + 1.5) * NS
    assert journey.engine.stale_periods >= 1


@BOTH
@pytest.mark.parametrize("count", [1, 2])
def test_refused_subscription_does_not_cost_the_other_streams(market: str, count: int) -> None:
    fault = Fault(at=0.0, kind=Kind.REFUSE_SUBSCRIPTION, stream="*@bookTicker", count=count)
    journey = Journey([fault], market=market)

    async def story(journey: Journey) -> None:
        await journey.until(lambda: bool(journey.engine.is_valid), 5, "a book")
        await journey.until_at(journey.now_s + 3)

    journey.play(story)
    assert journey.faults.happened[Kind.REFUSE_SUBSCRIPTION] == count
    states = {stream.role: stream.state for stream in journey.live.status().lanes[0].streams}
    assert states["depth"] == "speaking"
    assert states["ticker"] == ("speaking" if count == 1 else "rejected")
    assert journey.seen.count("rejected") == count - 1


@BOTH
def test_reader_that_stalls_catches_up_in_one_read(market: str) -> None:
    journey = suffer([Fault(at=AT_S, kind=Kind.STALL, lasts=1.8)], market, within_s=5)
    assert is_never_blind(journey)
    assert (journey.engine.gaps, journey.filled) == (0, 0)


@pytest.mark.parametrize(
    ("status", "least_s", "most_s"), [(0, 0.01, 5), (503, 0.01, 5), (429, 60, 70), (403, 300, 310)]
)
def test_refused_handshake_is_tried_again_as_late_as_it_should_be(
    status: int, least_s: float, most_s: float
) -> None:
    script = [
        Fault(at=AT_S, kind=Kind.CUT),
        Fault(at=AT_S, kind=Kind.REFUSE_HANDSHAKE, status=status, count=1),
    ]
    journey = suffer(script, "spot", within_s=most_s)
    failed_ns = next(at_ns for at_ns, _, event, _ in journey.seen.events if event == "connect_failed")
    again_ns = next(
        at_ns for at_ns, _, event, _ in journey.seen.events if event == "connected" and at_ns > failed_ns
    )
    assert least_s * NS <= again_ns - failed_ns <= most_s * NS
    assert journey.frames.n_opened == 3


# Clocks.


@BOTH
@pytest.mark.parametrize("ahead_s", [1.2, -1.2])
def test_clock_that_is_wrong_from_the_start_is_measured_and_changes_no_decision(
    market: str, ahead_s: float
) -> None:
    journey = Journey(market=market, ahead_s=ahead_s)

    async def story(journey: Journey) -> None:
        await journey.until(lambda: journey.is_whole, 3, "a whole market")
        await journey.until_at(25)

    journey.play(story)
    status = journey.live.status()
    assert abs(status.offset_ns + round(ahead_s * NS)) < 10_000_000
    assert 0 <= status.offset_error_ns < 10_000_000
    assert is_never_blind(journey)
    assert journey.engine.gaps == 0


@BOTH
def test_clock_that_jumps_and_drifts_is_followed(market: str) -> None:
    fault = Fault(at=AT_S, kind=Kind.CLOCK, ahead=1.2, ppm=200)
    journey = suffer([fault], market, within_s=5, calm_s=18)
    assert is_never_blind(journey)
    assert journey.engine.gaps == 0
    assert journey.clock.ahead_ns > 1_200_000_000


# What the venue says of the symbol.


@BOTH
@pytest.mark.parametrize("status", ["HALT", "BREAK", "CANCEL_ONLY", "SETTLING"])
def test_halted_symbol_is_waited_for_without_a_storm_of_connections(market: str, status: str) -> None:
    journey = suffer(
        [Fault(at=AT_S, kind=Kind.STATUS, value=status, lasts=11.0)], market, within_s=8, calm_s=6.0
    )
    changes = [detail.split()[-1] for _, _, event, detail in journey.seen.events if event == "status"]
    assert changes == [status, "TRADING"]
    assert journey.frames.n_opened <= len(journey.live.status().connections) + 3


@BOTH
@pytest.mark.parametrize("change", ["tick", "step", "min_notional"])
def test_changed_filters_begin_another_epoch_with_a_true_book(market: str, change: str) -> None:
    old = Journey(market=market).instrument
    values = {"tick": f"{10.0 ** -(old.price_digits + 1):.9f}", "step": "0.1", "min_notional": "9"}
    fault = Fault(at=AT_S, kind=Kind.FILTERS, **{change: values[change]})  # type: ignore[arg-type]
    journey = Journey([fault], market=market)

    async def story(journey: Journey) -> None:
        await journey.until_at(AT_S)
        assert journey.is_whole
        await journey.until(lambda: journey.live.lanes[0].instrument.epoch == 2, 8, "the second epoch")
        await journey.until(lambda: journey.is_whole, 5, "a whole market of the second epoch")
        await journey.until_at(journey.now_s + 2)

    journey.play(story)
    assert journey.seen.count("filters") == 1
    assert journey.engine.instrument_epoch == 2
    if change == "tick":
        assert journey.engine.price_digits == old.price_digits + 1


def test_changed_funding_interval_leaves_book_and_trades_alone() -> None:
    fault = Fault(at=AT_S, kind=Kind.FUNDING, value="4")
    journey = suffer([fault], "usdm", within_s=5, calm_s=8)
    assert journey.market.funding_hours == 4
    assert is_never_blind(journey)


@BOTH
def test_delisted_symbol_is_told_and_its_streams_are_given_up(market: str) -> None:
    script = [Fault(at=AT_S, kind=Kind.DELIST, symbol=SYMBOL)]
    journey = Journey(script, market=market, neighbours=("ZEDUSDT",))

    async def story(journey: Journey) -> None:
        await journey.until_at(AT_S - 0.5)
        assert journey.is_whole
        await journey.until_at(26)

    journey.play(story)
    gone, other = journey.live.status().lanes
    assert (gone.listing, other.listing) == ("UNLISTED", "TRADING")
    assert {stream.state for stream in gone.streams} == {"dropped"}
    assert {stream.state for stream in other.streams if stream.role != "force"} == {"speaking"}
    assert [detail for _, _, event, detail in journey.seen.events if event == "status"] == [
        "TRADING, now UNLISTED"
    ]
    # Nobody connects again and again for a stream that will never speak.
    assert journey.frames.n_opened <= len(journey.live.status().connections) + 3


@BOTH
def test_answer_that_lists_nothing_of_ours_ends_nothing(market: str) -> None:
    journey = Journey([Fault(at=AT_S, kind=Kind.DELIST)], market=market)

    async def story(journey: Journey) -> None:
        await journey.until_at(26)

    journey.play(story)
    assert journey.seen.count("listing_failed") >= 3
    assert journey.seen.count("silent") >= 1
    assert journey.engine.stale_periods >= 1
    # Each time it is silent it is given longer: three times in these 21 s.
    assert journey.frames.n_opened <= 4 * len(journey.live.status().connections)


# The watch itself.


def test_watch_tells_a_book_that_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that became another is what no reader can tell from the truth; the watch must."""

    def lie(_self: Faults, _kind: Kind, message: Told) -> tuple[Told, ...]:
        text = message.encode(True).decode()
        place = text.index('","', text.index(':[["')) + 3
        changed = text[:place] + ("9" if text[place] != "9" else "8") + text[place + 1 :]
        return (Told(message.stream, message.venue_ns, lambda _unit: changed),)

    monkeypatch.setattr(Faults, "_alter", lie)
    fault = Fault(at=AT_S, kind=Kind.DAMAGE, stream=DEPTH, count=5)
    with pytest.raises(AssertionError, match="the venue had"):
        suffer([fault], "spot", within_s=3)
