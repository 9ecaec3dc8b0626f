"""Whales against the slow twin, numpy's quantile and recorded trades."""

import math
from dataclasses import astuple
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.flow import Flow
from native.whale import Whale
from tests.oracles.flow import SWEEP, Print, read_capture
from tests.oracles.whale import EDGES, SlowWhale, lower_edge

SECOND = 10**9
BUY, SELL = 1, -1


def sweep_of(
    trade_id: int, notional: int, aggressor: int = BUY, first_ns: int = 0, last_ns: int | None = None
) -> SWEEP:
    last_ns = first_ns if last_ns is None else last_ns
    return (trade_id, trade_id, 1, 1, 0, first_ns, last_ns, notional, notional, aggressor, 1, 1, False)


def fed(whale: Whale, notionals: list[int], now_ns: int = 0) -> Whale:
    for i, notional in enumerate(notionals):
        whale.apply_closed(sweep_of(-1 - i, notional), now_ns)
    return whale


def ready(**changes: float) -> Whale:
    """Return a whale room with a threshold of 100, read from the floor."""
    settings = {"floor_quote": 100.0, "notional_scale": 1.0, "min_sweeps": 1, **changes}
    whale = fed(Whale(adaptive_floor=False, **settings), [1])  # type: ignore[arg-type]
    whale.apply_depth_median(2.0)
    return whale


def same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


@pytest.mark.slow
@given(
    st.lists(st.one_of(st.integers(0, 10**16), st.integers(0, 300)), min_size=1, max_size=80),
    st.floats(0.0, 1.0),
)
def test_quantile_when_compared_with_numpy_then_within_one_bucket(notionals: list[int], q: float) -> None:
    whale = Whale(floor_quote=0.0, notional_scale=1e-3, adaptive_floor=False, quantile=q)
    fed(whale, notionals)
    exact = float(numpy.quantile(numpy.array(notionals) * 1e-3, q, method="lower"))
    assert whale.sweep_quantile == lower_edge(exact)
    if 0.01 <= exact < 1e12:
        assert exact / 1.0101 < whale.sweep_quantile <= exact


@pytest.mark.parametrize("place", range(0, 3240, 81))
def test_bucket_when_a_value_stands_on_an_edge_then_it_belongs_above(place: int) -> None:
    edge = EDGES[place]
    for quote, expected in [
        (edge, edge),
        (math.nextafter(edge, math.inf), edge),
        (math.nextafter(edge, 0.0), EDGES[max(0, place - 1)]),
    ]:
        whale = Whale(floor_quote=0.0, notional_scale=quote, adaptive_floor=False)
        assert fed(whale, [1]).sweep_quantile == expected


@pytest.mark.parametrize(("notional", "expected"), [(0, EDGES[0]), (-5, EDGES[0]), (2**120, EDGES[-1])])
def test_notional_when_outside_the_buckets_then_it_goes_to_the_end(notional: int, expected: float) -> None:
    whale = fed(Whale(floor_quote=0.0, notional_scale=1.0, adaptive_floor=False), [notional])
    assert whale.sweep_quantile == expected


@st.composite
def tapes(draw: st.DrawFn) -> list[Print]:
    """Sweeps of one to four trades of both sides, of sizes over four decades, with pauses between."""
    tape: list[Print] = []
    now_ns = venue_ns = 0
    for _ in range(draw(st.integers(0, 30))):
        aggressor = draw(st.sampled_from([BUY, SELL]))
        venue_ns += 10**6
        now_ns += draw(st.sampled_from([1, 10**6, SECOND, 2 * SECOND, 5 * SECOND]))
        for _ in range(draw(st.integers(1, 4))):
            quantity = draw(st.sampled_from([1, 3, 10, 100, 1_000, 10_000]))
            tape.append(Print(len(tape), 10, quantity, aggressor, venue_ns, now_ns))
            now_ns += draw(st.sampled_from([0, 0, 10**6]))
    return tape


SETTINGS = st.fixed_dictionaries(
    {
        "floor_quote": st.sampled_from([0.0, 50.0, 5_000.0]),
        "notional_scale": st.sampled_from([1.0, 0.37]),
        "adaptive_floor": st.booleans(),
        "depth_share": st.sampled_from([0.0, 0.5]),
        "quantile": st.sampled_from([0.5, 0.9, 0.995, 1.0]),
        "window_ns": st.sampled_from([3 * SECOND, 20 * SECOND, 3_600 * SECOND]),
        "min_sweeps": st.integers(1, 4),
        "episode_gap_ns": st.sampled_from([0, 2 * SECOND]),
    }
)
DEPTHS = st.lists(st.sampled_from([math.nan, 0.0, -1.0, 10.0, 900.0]), min_size=1, max_size=4)
Step = tuple[bool, bool, float, float, int, int, int, int, int]


def play(whale: Whale, tape: list[Print], depths: list[float]) -> list[Step]:
    """Apply trades as the corridor does; return all that can be seen after each."""
    flow = Flow()
    seen: list[Step] = []
    for i, trade in enumerate(tape):
        whale.apply_depth_median(depths[i // 5 % len(depths)])
        whale.apply_time(trade.now_ns)
        closed = flow.apply(*astuple(trade))
        was_whale = closed is not None and whale.apply_closed(closed, trade.now_ns)
        running = flow.running
        is_whale = running is not None and whale.apply_running(running)
        seen.append(
            (
                was_whale,
                is_whale,
                whale.threshold_quote,
                whale.whale_threshold,
                whale.episode,
                whale.episode_side,
                whale.episode_last_ns,
                whale.n_episodes,
                whale.n_whales,
            )
        )
    return seen


@pytest.mark.slow
@given(tapes(), SETTINGS, DEPTHS)
def test_whale_when_a_tape_is_played_then_all_is_equal_to_the_twin(
    tape: list[Print], settings: dict[str, float], depths: list[float]
) -> None:
    seen = play(Whale(**settings), tape, depths)  # type: ignore[arg-type]
    twin, flow = SlowWhale(**settings), Flow()  # type: ignore[arg-type]
    for i, (trade, found) in enumerate(zip(tape, seen, strict=True)):
        twin.depth_median = depths[i // 5 % len(depths)]
        closed = flow.apply(*astuple(trade))
        was_whale = closed is not None and twin.close(closed, trade.now_ns)
        assert flow.running is not None
        is_whale = twin.running(flow.running, trade.now_ns)
        assert found[:2] == (was_whale, is_whale)
        assert same(found[2], twin.threshold(trade.now_ns))
        assert found[8] == len(twin.whales)
        if twin.whales:
            sweep, episode = list(twin.whales.values())[-1]
            assert found[3] == twin.thresholds[sweep[0]]
            assert found[4:7] == (episode, sweep[9], sweep[6])
            assert found[7] == max(number for _, number in twin.whales.values())


@pytest.mark.slow
@given(tapes(), SETTINGS, DEPTHS, st.integers(0, 60))
def test_whale_when_the_tape_is_cut_then_the_first_steps_are_the_same(
    tape: list[Print], settings: dict[str, float], depths: list[float], cut: int
) -> None:
    first = play(Whale(**settings), tape[:cut], depths)  # type: ignore[arg-type]
    whole = play(Whale(**settings), tape, depths)  # type: ignore[arg-type]
    assert repr(whole[:cut]) == repr(first)


def test_threshold_when_warming_up_then_nan_and_nothing_is_a_whale() -> None:
    whale = Whale(floor_quote=1.0, notional_scale=1.0, adaptive_floor=False, min_sweeps=3)
    whale.apply_depth_median(10.0)
    fed(whale, [5, 5])
    assert math.isnan(whale.threshold_quote)
    assert not whale.apply_running(sweep_of(1, 10**9))
    fed(whale, [5])
    assert whale.threshold_quote == pytest.approx(5.0, rel=0.01)
    for not_ready in (math.nan, 0.0, -3.0):
        whale.apply_depth_median(not_ready)
        assert math.isnan(whale.threshold_quote)
        assert math.isnan(whale.depth_median)


def test_threshold_when_each_part_is_greatest_then_that_part() -> None:
    whale = Whale(floor_quote=100.0, notional_scale=1.0, adaptive_floor=True, min_sweeps=1)
    whale.apply_depth_median(100.0)
    fed(whale, [1])
    assert whale.threshold_quote == 100.0
    whale.apply_depth_median(300.0)
    assert whale.threshold_quote == 150.0
    fed(whale, [10, 10])
    assert whale.threshold_quote == 20 * lower_edge(10.0)
    fed(whale, [10**6] * 2)
    whale_of_quantile = Whale(
        floor_quote=1.0, notional_scale=1.0, adaptive_floor=False, min_sweeps=1, quantile=1.0
    )
    whale_of_quantile.apply_depth_median(1.0)
    assert fed(whale_of_quantile, [10**6]).threshold_quote == lower_edge(1e6)


def test_threshold_when_a_sweep_is_judged_then_it_does_not_contain_that_sweep() -> None:
    whale = ready(quantile=1.0)
    giant = sweep_of(1, 10**9)
    assert whale.apply_running(giant)
    assert whale.whale_threshold == 100.0
    assert whale.threshold_quote == 100.0
    assert whale.apply_closed(giant, 0)
    assert whale.threshold_quote == lower_edge(1e9)


def test_threshold_when_it_changes_during_a_sweep_then_the_first_one_holds() -> None:
    whale = ready()
    assert not whale.apply_running(sweep_of(1, 50))
    whale.apply_depth_median(1e6)
    assert whale.threshold_quote == 5e5
    assert whale.apply_running(sweep_of(1, 100))
    assert whale.whale_threshold == 100.0
    whale = ready()
    whale.apply_depth_median(math.nan)
    assert not whale.apply_running(sweep_of(1, 50))
    whale.apply_depth_median(2.0)
    assert not whale.apply_running(sweep_of(1, 10**6))


def test_whale_when_its_sweep_grows_then_it_opens_once() -> None:
    whale = ready()
    opened = [whale.apply_running(sweep_of(1, notional)) for notional in (40, 99, 100, 150, 900)]
    assert opened == [False, False, True, False, False]
    assert (whale.n_whales, whale.whale_first_trade_id) == (1, 1)
    assert whale.apply_closed(sweep_of(1, 900), 0)
    assert not whale.apply_closed(sweep_of(2, 10**6), 0)


def test_whale_when_ids_start_anew_after_a_reconnect_then_the_same_id_is_another_sweep() -> None:
    whale = ready()
    assert whale.apply_running(sweep_of(7, 100))
    assert whale.apply_closed(sweep_of(7, 100), 0)
    assert not whale.apply_closed(sweep_of(7, 100), 0)
    assert whale.apply_running(sweep_of(7, 100))
    assert whale.n_whales == 2


def test_episode_when_the_gap_is_measured_then_from_the_end_of_the_last_whale() -> None:
    whale = ready()
    first = sweep_of(1, 100, first_ns=0)
    assert whale.apply_running(first)
    whale.apply_closed(sweep_of(1, 200, first_ns=0, last_ns=SECOND), SECOND)
    assert whale.episode_last_ns == SECOND
    assert whale.apply_running(sweep_of(2, 100, first_ns=3 * SECOND))
    assert (whale.episode, whale.n_episodes, whale.n_whales) == (1, 1, 2)
    whale.apply_closed(sweep_of(2, 100, first_ns=3 * SECOND), 3 * SECOND)
    assert whale.apply_running(sweep_of(3, 100, first_ns=5 * SECOND + 1))
    assert (whale.episode, whale.n_episodes, whale.n_whales) == (2, 2, 3)


def test_episode_when_the_other_side_comes_between_then_each_side_keeps_its_own() -> None:
    whale = ready()
    episodes = []
    for i, side in enumerate((BUY, SELL, BUY, SELL)):
        sweep = sweep_of(i, 100, side, first_ns=i * SECOND)
        assert whale.apply_running(sweep)
        assert whale.apply_closed(sweep, i * SECOND)
        episodes.append((whale.episode, whale.episode_side))
    assert episodes == [(1, BUY), (2, SELL), (1, BUY), (2, SELL)]
    assert whale.n_episodes == 2


def test_window_when_time_passes_then_old_sweeps_leave_at_its_length() -> None:
    whale = Whale(floor_quote=0.0, notional_scale=1.0, adaptive_floor=False, window_ns=10, quantile=1.0)
    fed(whale, [1000], now_ns=0)
    fed(whale, [10], now_ns=5)
    whale.apply_time(9)
    assert (whale.n_window, whale.sweep_quantile) == (2, lower_edge(1000.0))
    whale.apply_time(10)
    assert (whale.n_window, whale.sweep_quantile) == (1, lower_edge(10.0))
    whale.apply_time(15)
    assert whale.n_window == 0
    assert math.isnan(whale.sweep_quantile)
    assert whale.early_evictions == 0


def test_window_when_full_then_the_oldest_goes_early_and_is_counted() -> None:
    whale = Whale(
        floor_quote=0.0, notional_scale=1.0, adaptive_floor=False, capacity=3, min_sweeps=1, quantile=0.0
    )
    fed(whale, [10, 20, 30, 40, 50])
    assert (whale.n_window, whale.early_evictions, whale.sweep_quantile) == (3, 2, lower_edge(30.0))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 4)), max_size=40), st.integers(1, 4))
def test_window_when_it_wraps_then_it_holds_the_last_ones_of_its_length(
    arrivals: list[tuple[int, int]], capacity: int
) -> None:
    whale = Whale(
        floor_quote=0.0,
        notional_scale=1.0,
        adaptive_floor=False,
        capacity=capacity,
        min_sweeps=1,
        quantile=0.5,
        window_ns=10,
    )
    now_ns = n_early = 0
    window: list[tuple[int, int]] = []
    for notional, pause_ns in arrivals:
        now_ns += pause_ns
        fed(whale, [notional], now_ns)
        window = [entry for entry in window if now_ns - entry[0] < 10]
        n_early += len(window) == capacity
        window = [*window, (now_ns, notional)][-capacity:]
        exact = numpy.quantile([float(quote) for _, quote in window], 0.5, method="lower")
        assert whale.sweep_quantile == lower_edge(float(exact))
        assert (whale.n_window, whale.early_evictions) == (len(window), n_early)


@pytest.mark.parametrize(
    "wrong",
    [
        {"floor_quote": -1.0},
        {"floor_quote": math.nan},
        {"notional_scale": 0.0},
        {"notional_scale": math.inf},
        {"depth_share": -0.1},
        {"quantile": 1.1},
        {"quantile": math.nan},
        {"window_ns": 0},
        {"capacity": 0},
        {"capacity": 2**24 + 1},
        {"min_sweeps": 0},
        {"min_sweeps": 131_073},
        {"episode_gap_ns": -1},
    ],
    ids=str,
)
def test_parameter_when_out_of_range_then_refused(wrong: dict[str, float]) -> None:
    settings = {"floor_quote": 1.0, "notional_scale": 1.0, **wrong}
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))} is expected .* found "):
        Whale(adaptive_floor=False, **settings)  # type: ignore[arg-type]


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "digits", "window_ns"),
    [
        ("binance_spot_20240808/spot_btcusdt_20240808.gz", (2, 8), 3_600 * SECOND),
        ("binance_usdm_20240808/usdm_btcusdt_20240808.gz", (1, 3), 60 * SECOND),
    ],
)
def test_whale_when_a_recording_is_played_then_quantile_and_whales_are_those_of_numpy(
    captures: Path, name: str, digits: tuple[int, int], window_ns: int
) -> None:
    tape = read_capture(captures / name, *digits, most_lines=40_000)
    scale = 10.0 ** -sum(digits)
    flow = Flow()
    whale = Whale(
        floor_quote=20_000.0, notional_scale=scale, adaptive_floor=False, window_ns=window_ns, quantile=0.99
    )
    whale.apply_depth_median(1.0)
    closed_ns = numpy.zeros(len(tape), dtype=numpy.int64)
    quotes = numpy.zeros(len(tape))
    n_closed = n_opened = n_was = 0
    threshold, running_id = math.nan, -1
    for trade in tape:
        whale.apply_time(trade.now_ns)
        closed = flow.apply(*astuple(trade))
        if closed is not None:
            n_was += whale.apply_closed(closed, trade.now_ns)
            closed_ns[n_closed], quotes[n_closed] = trade.now_ns, float(closed[8]) * scale
            n_closed += 1
        running = flow.running
        assert running is not None
        if running[0] != running_id:
            inside = quotes[:n_closed][trade.now_ns - closed_ns[:n_closed] < window_ns]
            exact = float(numpy.quantile(inside, 0.99, method="lower")) if inside.size else math.nan
            threshold = max(20_000.0, lower_edge(exact)) if inside.size >= 500 else math.nan
            running_id, is_whale = running[0], False
            assert whale.n_window == inside.size
            assert not inside.size or exact / 1.0101 < whale.sweep_quantile <= exact
        expected = not is_whale and float(running[8]) * scale >= threshold
        assert whale.apply_running(running) == expected
        is_whale = is_whale or expected
        n_opened += expected
    assert whale.n_whales == n_opened > 10
    assert n_opened - n_was in (0, 1)
    assert 0 < whale.n_episodes <= whale.n_whales
    assert whale.early_evictions == 0
