"""Trade flow against its slow twin, on made and on recorded trades."""

import itertools
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.flow import Flow
from tests.oracles.flow import (
    SWEEP,
    Print,
    accepted,
    cvd,
    missing_ids,
    rates,
    read_capture,
    session_cvd,
    sweeps,
)

SECOND = 10**9
MILLISECOND = 10**6
TIMEOUT = 10 * MILLISECOND
DAY = 86_400 * SECOND
WINDOWS = (SECOND, 10 * SECOND, 60 * SECOND)
BUY, SELL = 1, -1


@st.composite
def tapes(draw: st.DrawFn) -> list[Print]:
    """Trades that arrive in order of time, with every fault of a chain and sweeps of many trades."""
    trade_id = draw(st.integers(0, 5))
    now_ns = draw(st.integers(0, 200 * SECOND))
    venue_ns = draw(st.sampled_from([DAY - MILLISECOND, 5 * SECOND]))
    price, aggressor = 100, BUY
    tape = []
    for _ in range(draw(st.integers(0, 40))):
        trade_id += draw(st.sampled_from([1] * 12 + [0, -2, 2, 7]))
        now_ns += draw(
            st.sampled_from(
                [0, 1, TIMEOUT - 1, TIMEOUT, 90 * MILLISECOND, 100 * MILLISECOND, 950 * MILLISECOND]
                + [0] * 6
                + [9 * SECOND, 59_900 * MILLISECOND, 60 * SECOND, 3_600 * SECOND]
            )
        )
        venue_ns += draw(st.sampled_from([0] * 6 + [MILLISECOND, DAY, -MILLISECOND]))
        aggressor = draw(st.sampled_from([aggressor] * 6 + [-aggressor]))
        price = max(1, price + aggressor * draw(st.sampled_from([0, 0, 0, 1, 1, 5, -1])))
        tape.append(
            Print(
                trade_id=max(0, trade_id),
                price=price,
                quantity=draw(st.one_of(st.integers(1, 9), st.just(2**62))),
                aggressor=aggressor,
                venue_ns=max(0, venue_ns),
                now_ns=now_ns,
                teaches=draw(st.sampled_from([True] * 7 + [False])),
                is_aggregate=draw(st.sampled_from([False] * 5 + [True])),
            )
        )
    return tape


def play(flow: Flow, tape: list[Print]) -> list[SWEEP]:
    """Apply a tape; return the sweeps that it closed."""
    closed = (flow.apply(*astuple(trade)) for trade in tape)
    return [sweep for sweep in closed if sweep is not None]


def one(
    trade_id: int, price: int = 100, aggressor: int = BUY, venue_ns: int = 0, now_ns: int = 0, **more: bool
) -> Print:
    return Print(trade_id, price, 1, aggressor, venue_ns, now_ns, **more)


@pytest.mark.slow
@given(tapes())
def test_flow_when_a_tape_is_played_then_all_is_equal_to_the_twin(tape: list[Print]) -> None:
    flow = Flow(TIMEOUT)
    closed = play(flow, tape)
    kept = accepted(tape)
    cut = sweeps(kept, TIMEOUT)
    running = flow.running
    assert closed + ([running] if running else []) == cut
    assert flow.n_sweeps == len(closed)
    assert flow.last_trade_id == (kept[-1].trade_id if kept else -1)
    assert flow.duplicates == len(tape) - len(kept)
    assert flow.missing_ids == missing_ids(kept)
    assert flow.cvd == cvd(kept)
    assert flow.session_cvd == session_cvd(kept)


@pytest.mark.slow
@given(tapes(), st.integers(0, 70 * SECOND))
def test_rates_when_time_passes_then_equal_to_the_twin_after_every_trade(
    tape: list[Print], later_ns: int
) -> None:
    flow = Flow()
    now_ns = 0
    for i, trade in enumerate(tape):
        flow.apply(*astuple(trade))
        now_ns = trade.now_ns
        flow.apply_time(now_ns)
        kept = accepted(tape[: i + 1])
        assert [flow.rates(window) for window in WINDOWS] == [rates(kept, now_ns, w) for w in WINDOWS]
    flow.apply_time(now_ns + later_ns)
    kept = accepted(tape)
    assert [flow.rates(w) for w in WINDOWS] == [rates(kept, now_ns + later_ns, w) for w in WINDOWS]


@pytest.mark.slow
@given(tapes(), st.integers(0, 40))
def test_sweeps_when_the_tape_is_cut_then_the_first_ones_are_the_same(tape: list[Print], cut: int) -> None:
    first = play(Flow(), tape[:cut])
    assert play(Flow(), tape)[: len(first)] == first


def test_sweep_when_all_agrees_then_it_grows_and_tells_its_sums() -> None:
    flow = Flow()
    tape = [
        Print(7, 100, 3, BUY, 5 * MILLISECOND, 1_000),
        Print(8, 100, 4, BUY, 5 * MILLISECOND, 1_001),
        Print(9, 102, 5, BUY, 5 * MILLISECOND, 1_002),
    ]
    assert play(flow, tape) == []
    expected = (7, 9, 100, 102, 5 * MILLISECOND, 1_000, 1_002, 12, 1_210, BUY, 3, 2, False)
    grown = flow.running
    assert grown == expected
    assert flow.apply_time(1_002 + TIMEOUT - 1) is None
    assert flow.apply_time(1_002 + TIMEOUT) == expected
    assert flow.running is None
    assert flow.apply_time(1_002 + 2 * TIMEOUT) is None


@pytest.mark.parametrize(
    "second",
    [
        one(2, aggressor=SELL),
        one(2, venue_ns=1),
        one(3),
        one(2, price=99),
        one(2, now_ns=TIMEOUT),
    ],
    ids=["side", "venue time", "id", "price", "timer"],
)
def test_sweep_when_the_next_trade_does_not_continue_then_it_closes(second: Print) -> None:
    closed = play(Flow(), [one(1), second])
    assert [(sweep[0], sweep[1]) for sweep in closed] == [(1, 1)]


@pytest.mark.parametrize(("aggressor", "price", "n_closed"), [(BUY, 101, 0), (SELL, 99, 0), (SELL, 101, 1)])
def test_sweep_when_price_moves_then_only_away_from_the_aggressor_goes_on(
    aggressor: int, price: int, n_closed: int
) -> None:
    tape = [one(1, aggressor=aggressor), one(2, price=price, aggressor=aggressor)]
    assert len(play(Flow(), tape)) == n_closed


def test_sweep_when_one_trade_is_aggregate_then_it_says_so() -> None:
    flow = Flow()
    play(flow, [one(1, is_aggregate=True), one(2)])
    assert flow.running is not None
    assert flow.running[-1] is True


def test_print_that_does_not_teach_when_inside_a_sweep_then_only_the_chain_moves() -> None:
    flow = Flow()
    stray = Print(2, 1, 10**9, SELL, 99, 0, teaches=False)
    assert play(flow, [one(1), stray, one(3)]) == []
    assert flow.running is not None
    assert (flow.running[0], flow.running[1], flow.running[10]) == (1, 3, 2)
    assert (flow.cvd, flow.rates(SECOND), flow.last_trade_id) == (2, (2, 0, 2), 3)


def test_print_that_does_not_teach_when_ids_are_missing_before_it_then_the_sweep_still_ends() -> None:
    flow = Flow()
    closed = play(flow, [one(1), one(3, teaches=False), one(4)])
    assert len(closed) == 1
    assert flow.missing_ids == 1


def test_trade_when_its_id_is_not_higher_then_refused_and_counted() -> None:
    flow = Flow()
    play(flow, [one(5), one(5), one(4)])
    assert (flow.duplicates, flow.missing_ids, flow.last_trade_id, flow.cvd) == (2, 0, 5, 1)


def test_chain_when_reconnected_then_any_id_is_accepted_and_no_gap_is_counted() -> None:
    flow = Flow()
    play(flow, [one(5)])
    closed = flow.apply_reconnect()
    assert closed is not None
    assert closed[:2] == (5, 5)
    assert flow.last_trade_id == -1
    assert flow.apply_reconnect() is None
    assert play(flow, [one(2)]) == []
    assert (flow.duplicates, flow.missing_ids, flow.n_sweeps, flow.cvd) == (0, 0, 1, 2)


def test_session_cvd_when_the_venue_day_changes_then_it_starts_at_zero() -> None:
    flow = Flow()
    play(flow, [one(1, venue_ns=DAY - 1), one(2, venue_ns=DAY)])
    assert (flow.cvd, flow.session_cvd) == (2, 1)
    play(flow, [one(3, venue_ns=DAY - 1, aggressor=SELL)])
    assert (flow.cvd, flow.session_cvd) == (1, 1)


def test_cvd_when_sums_pass_64_bits_then_exact() -> None:
    flow = Flow()
    quantity = 2**63 - 1
    for i in range(5):
        flow.apply(i, 2**63 - 1, quantity, SELL, 0, 0)
    assert (flow.cvd, flow.session_cvd, flow.rates(SECOND)) == (
        -5 * quantity,
        -5 * quantity,
        (0, 5 * quantity, 5),
    )
    flow = Flow()
    flow.apply(0, 2**63 - 1, quantity, BUY, 0, 0)
    assert flow.running is not None
    assert flow.running[8] == quantity**2


def test_rates_when_a_trade_is_received_before_the_newest_bucket_then_it_counts_there() -> None:
    flow = Flow()
    flow.apply_time(100 * SECOND)
    play(flow, [one(1, now_ns=3 * SECOND)])
    assert [flow.rates(window)[0] for window in WINDOWS] == [1, 1, 1]
    flow.apply_time(101 * SECOND)
    assert [flow.rates(window)[0] for window in WINDOWS] == [0, 1, 1]


def test_time_when_negative_then_it_counts_as_the_beginning() -> None:
    flow = Flow()
    play(flow, [one(1, now_ns=-5 * SECOND)])
    assert flow.rates(SECOND) == (1, 0, 1)


def test_arguments_when_wrong_then_refused_with_what_was_found() -> None:
    for timeout_ns in (0, -1, 60 * SECOND + 1):
        with pytest.raises(ValueError, match=f"found {timeout_ns}$"):
            Flow(timeout_ns)
    with pytest.raises(ValueError, match=r"found 0$"):
        Flow().apply(1, 1, 1, 0, 0, 0)
    with pytest.raises(ValueError, match=r"found 5$"):
        Flow().rates(5)


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "price_digits", "quantity_digits", "most_lines"),
    [
        ("binance_spot_20240808/spot_btcusdt_20240808.gz", 2, 8, None),
        ("binance_spot_20240808/spot_btcusdt_20240809.gz", 2, 8, 40_000),
        ("binance_usdm_20240808/usdm_btcusdt_20240808.gz", 1, 3, 40_000),
    ],
)
def test_flow_when_a_recording_is_played_then_all_is_equal_to_the_twin(
    captures: Path, name: str, price_digits: int, quantity_digits: int, most_lines: int | None
) -> None:
    tape = read_capture(captures / name, price_digits, quantity_digits, most_lines)
    kept = accepted(tape)
    assert len(kept) > 4_000
    flow = Flow(TIMEOUT)
    closed: list[SWEEP] = []
    for i, trade in enumerate(tape):
        closed += play(flow, [trade])
        if i % 500 == 0:
            assert [flow.rates(w) for w in WINDOWS] == [
                rates(accepted(tape[: i + 1]), trade.now_ns, w) for w in WINDOWS
            ]
    assert [*closed, flow.running] == sweeps(kept, TIMEOUT)
    assert (flow.cvd, flow.session_cvd) == (cvd(kept), session_cvd(kept))
    assert (flow.duplicates, flow.missing_ids) == (len(tape) - len(kept), missing_ids(kept))
    assert all(first[1] < second[0] for first, second in itertools.pairwise(closed))
