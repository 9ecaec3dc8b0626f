"""Volume at price against a slow twin, against MarketProfile, and on a real capture."""

import gzip
import itertools
import random
from decimal import Decimal
from pathlib import Path

import orjson
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_profile import MarketProfile

from native.profile import Profile
from tests.oracles.profile import SlowProfile

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
LARGEST = 2**63 - 1


def session(**changes: int) -> Profile:
    settings = {"tick": 1, "window_ns": 0, "ready_ns": 0} | changes
    return Profile(**settings)


def fill(profile: Profile | SlowProfile, volumes: list[int], row_units: int = 100, start: int = 0) -> None:
    """Fill rows 10,000, 10,001, ... of `row_units` each; the first trade fixes that height at 1 bps."""
    middle = len(volumes) // 2
    order = [middle, *(row for row in range(len(volumes)) if row != middle)]
    for row in order:
        if volumes[row]:
            profile.apply((10_000 + row) * row_units, volumes[row], start)


def area(profile: Profile, now_ns: int = 0) -> tuple[int, int, int]:
    found = profile.value_area(now_ns)
    assert found is not None
    return found.val_row, found.poc_row, found.vah_row


# Construction


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tick": 0}, "tick must be at least 1 price unit, found 0"),
        ({"bucket_ns": 0}, "bucket_ns must be 1 to 86400000000000, found 0"),
        ({"window_ns": 1, "bucket_ns": 2}, r"window_ns must be 0 or at least bucket_ns \(2\), found 1"),
        ({"window_ns": -1}, "window_ns must be 0 or at least"),
        ({"ready_ns": -1}, "ready_ns must not be negative, found -1"),
        ({"row_bps": 0.0}, "row_bps must be 0.000001 to 10000, found 0.0"),
        ({"row_bps": float("nan")}, "row_bps must be 0.000001 to 10000, found nan"),
        ({"rows": 15}, "rows must be 16 to 1048576, found 15"),
        ({"rows": 32, "cells": 31, "window_ns": HOUR}, r"cells must be rows \(32\) to 16777216, found 31"),
        ({"value_area": 1.0}, "value_area must lie strictly between 0 and 1, found 1.0"),
        ({"value_area": 0.0}, "value_area must lie strictly between 0 and 1, found 0.0"),
    ],
)
def test_parameter_out_of_bounds_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        session(**changes)


# Rows


@pytest.mark.parametrize(
    ("price", "tick", "row_bps", "row_units"),
    [
        (6_183_763, 1, 1.0, 618),
        (6_183_763, 10, 1.0, 610),
        (6_183_763, 1_000, 1.0, 1_000),
        (6_183_763, 7, 1.0, 616),
        (9_999, 1, 1.0, 1),
        (10_000, 1, 1.0, 1),
        (20_000, 1, 1.0, 2),
        (2_700_000, 1, 0.7, 189),
        (LARGEST, 1, 10_000.0, LARGEST),
        (1, LARGEST, 1.0, LARGEST),
    ],
)
def test_row_height_is_whole_ticks_of_the_first_price(price, tick, row_bps, row_units):
    profile = session(tick=tick, row_bps=row_bps)
    profile.apply(price, 1, 0)
    profile.apply(price // 2 + 1, 1, 0)
    assert profile.row_units == row_units


def test_price_on_a_row_edge_belongs_to_the_row_above():
    profile = session()
    for price in (1_000_000, 1_000_099, 1_000_100):
        profile.apply(price, 1, 0)
    assert profile.snapshot() == (10_000, [2, 1])


def test_price_outside_the_rows_is_counted_and_does_not_teach():
    profile = session(rows=16)
    profile.apply(1_000_000, 5, 0)
    profile.apply(1_000_799, 5, 1)
    profile.apply(999_200, 5, 2)
    before = profile.snapshot()
    assert before == (9_992, [5, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 5])
    for price in (1_000_800, 999_199, 1, LARGEST):
        profile.apply(price, 5, 3)
    assert (profile.snapshot(), profile.n_trades, profile.outside_trades) == (before, 3, 4)
    assert profile.value_area(3).last_ns == 2


@pytest.mark.parametrize(("price", "quantity"), [(0, 1), (-1, 1), (1, 0), (1, -1)])
def test_trade_that_is_not_positive_counts_as_outside_and_fixes_no_row(price, quantity):
    profile = session()
    profile.apply(price, quantity, 0)
    assert (profile.row_units, profile.n_trades, profile.outside_trades) == (0, 0, 1)
    assert profile.value_area(0) is None


def test_volumes_beyond_64_bits_stay_exact():
    profile = session()
    for _ in range(5):
        profile.apply(1_000_000, LARGEST, 0)
        profile.apply(1_000_100, LARGEST - 1, 0)
    assert profile.snapshot() == (10_000, [5 * LARGEST, 5 * LARGEST - 5])
    assert profile.value_area(0).total == 10 * LARGEST - 5
    assert area(profile) == (10_000, 10_000, 10_001)


# Point of control and value area


def test_empty_profile_has_no_levels():
    profile = session()
    assert (profile.value_area(0), profile.snapshot(), profile.high_volume_nodes()) == (None, (0, []), [])


@pytest.mark.parametrize(
    ("volumes", "poc"),
    [
        ([9, 1, 9, 1, 1, 1], 2),  # the middle is 2.5
        ([9, 1, 1, 1, 9], 0),  # equally far: the lower
        ([1, 9, 9, 1], 1),
        ([9, 9, 1, 0, 0, 1], 1),
        ([1, 1, 1, 9], 3),
    ],
)
def test_tied_rows_of_most_volume_then_the_one_nearest_the_middle(volumes, poc):
    profile = session()
    fill(profile, volumes)
    assert profile.value_area(0).poc_row == 10_000 + poc


def test_value_area_goes_on_while_it_holds_exactly_the_share():
    profile = session()
    fill(profile, [30, 70])
    assert area(profile) == (10_000, 10_001, 10_001)
    profile = session()
    fill(profile, [29, 71])
    assert area(profile) == (10_001, 10_001, 10_001)


def test_value_area_of_equal_neighbours_grows_upward():
    profile = session()
    fill(profile, [10, 20, 50, 20, 0])
    assert area(profile) == (10_001, 10_002, 10_003)
    profile = session(value_area=0.6)
    fill(profile, [10, 20, 50, 20, 0])
    assert area(profile) == (10_002, 10_002, 10_003)


def test_two_row_walk_compares_pairs_and_takes_both():
    single, double = session(), session(two_row=True)
    for profile in (single, double):
        fill(profile, [5, 18, 2, 60, 10, 1, 4])
    assert area(single) == (10_002, 10_003, 10_004)
    assert area(double) == (10_001, 10_003, 10_003)


def test_two_row_walk_takes_the_one_row_left_at_the_end():
    profile = session(two_row=True)
    fill(profile, [10, 50, 5, 25])
    assert area(profile) == (10_001, 10_001, 10_003)
    profile = session(two_row=True, value_area=0.95)
    fill(profile, [10, 50, 5, 25])
    assert area(profile) == (10_000, 10_001, 10_003)


def test_share_is_compared_without_rounding():
    # 70 % of this total is held to the last unit, which no double can tell from one more or less.
    unit = 10**17
    profile = session()
    fill(profile, [3 * unit, 7 * unit])
    assert area(profile)[0] == 10_000
    profile = session()
    fill(profile, [3 * unit - 1, 7 * unit])
    assert area(profile)[0] == 10_001


# Nodes


def test_nodes_are_local_maxima_near_the_volume_of_the_point_of_control():
    volumes = [0] * 40
    volumes[3], volumes[4], volumes[14], volumes[20], volumes[26], volumes[39] = 75, 80, 70, 100, 69, 99
    profile = session()
    fill(profile, volumes)
    assert profile.high_volume_nodes() == [10_004, 10_014, 10_039]
    assert profile.high_volume_nodes(0.69) == [10_004, 10_014, 10_026, 10_039]
    assert profile.high_volume_nodes(1.0) == []


def test_nodes_beyond_capacity_are_left_out_and_counted():
    volumes = [0] * 40
    volumes[0], volumes[10], volumes[20], volumes[30] = 80, 80, 100, 80
    profile = session()
    fill(profile, volumes)
    assert profile.high_volume_nodes(0.7, 2) == [10_000, 10_010]
    assert profile.dropped_nodes == 1
    with pytest.raises(ValueError, match="capacity must be 1 to 64, found 65"):
        profile.high_volume_nodes(0.7, 65)


# Time


def test_session_profile_is_ready_at_its_age_and_young_again_after_reset():
    profile = session(ready_ns=HOUR)
    profile.apply(1_000_000, 1, 10 * HOUR)
    assert not profile.value_area(11 * HOUR - 1).is_ready
    assert profile.value_area(11 * HOUR).is_ready
    profile.clear()
    assert profile.value_area(11 * HOUR) is None
    profile.apply(2_000_000, 1, 12 * HOUR)
    found = profile.value_area(12 * HOUR)
    assert (found.is_ready, found.first_ns, found.row_units) == (False, 12 * HOUR, 200)


def test_rolling_window_forgets_whole_buckets_when_their_end_leaves_it():
    profile = Profile(tick=1, window_ns=5 * MINUTE, ready_ns=0)
    profile.apply(1_000_000, 1, 0)
    profile.apply(1_000_000, 2, MINUTE - 1)
    profile.apply(1_000_000, 4, MINUTE)
    profile.advance_to(6 * MINUTE - 1)
    assert profile.snapshot() == (10_000, [7])
    profile.advance_to(6 * MINUTE)
    assert profile.snapshot() == (10_000, [4])


def test_rolling_age_survives_the_eviction_of_its_first_trade():
    profile = Profile(tick=1, window_ns=5 * MINUTE, ready_ns=10 * MINUTE)
    for minute in range(10):
        profile.apply(1_000_000, 1, minute * MINUTE)
    found = profile.value_area(10 * MINUTE)
    assert (found.is_ready, found.first_ns, found.total) == (True, 0, 5)


def test_rolling_window_emptied_by_eviction_begins_its_age_anew():
    profile = Profile(tick=1, window_ns=5 * MINUTE, ready_ns=MINUTE)
    profile.apply(1_000_000, 1, 0)
    profile.apply(1_000_000, 1, HOUR)
    assert not profile.value_area(HOUR + MINUTE - 1).is_ready
    assert profile.value_area(HOUR + MINUTE).is_ready


def test_full_cells_give_up_the_oldest_bucket_and_count_it():
    profile = Profile(tick=1, window_ns=HOUR, ready_ns=0, rows=16, cells=16)
    for row in range(10):
        profile.apply(1_000_000 + 50 * row, 1, row * MINUTE // 10)
    for row in range(11):
        profile.apply(1_000_000 + 50 * row, 100, MINUTE)
    assert profile.snapshot() == (10_000, [202, 202, 202, 202, 202, 100])
    for minute in range(2, 12):
        profile.apply(1_000_000, 1, minute * MINUTE)
    assert profile.early_evictions == 1
    assert profile.snapshot() == (10_000, [210, 200, 200, 200, 200, 100])


def test_time_that_runs_back_is_read_as_the_latest():
    profile = Profile(tick=1, window_ns=5 * MINUTE, ready_ns=0)
    profile.apply(1_000_000, 1, 10 * MINUTE)
    profile.apply(1_000_000, 1, 2 * MINUTE)
    assert profile.value_area(0).last_ns == 10 * MINUTE
    assert profile.snapshot() == (10_000, [2])


# Twin

STEP = st.one_of(
    st.tuples(st.just("trade"), st.integers(-12, 12), st.integers(0, 60) | st.just(LARGEST)),
    st.tuples(st.just("wait"), st.integers(0, 400), st.just(0)),
    st.tuples(st.just("jump"), st.integers(-400, 400), st.just(0)),
    st.tuples(st.just("reset"), st.just(0), st.just(0)),
)


@pytest.mark.slow
@given(
    steps=st.lists(STEP, max_size=120),
    tick=st.sampled_from([1, 7, 100]),
    window_s=st.sampled_from([0, 60, 90, 300]),
    ready_s=st.sampled_from([0, 100]),
    row_bps=st.sampled_from(["1", "0.7", "25"]),
    cells=st.sampled_from([32, 40, 1_000]),
    value_area=st.sampled_from(["0.7", "0.5", "0.333333"]),
    two_row=st.booleans(),
)
def test_profile_equals_its_twin_at_every_step(
    *, steps, tick, window_s, ready_s, row_bps, cells, value_area, two_row
):
    shape = {
        "tick": tick,
        "window_ns": window_s * SECOND,
        "ready_ns": ready_s * SECOND,
        "bucket_ns": 30 * SECOND,
        "rows": 32,
        "cells": cells,
        "two_row": two_row,
    }
    fast = Profile(**shape, row_bps=float(row_bps), value_area=float(value_area))
    slow = SlowProfile(**shape, row_bps=row_bps, value_area=value_area)
    price, now = 1_000_000, 1_723_161_600 * SECOND
    for kind, value, quantity in steps:
        if kind == "trade":
            now += SECOND
            fast.apply(price + value * 40, quantity, now)
            slow.apply(price + value * 40, quantity, now)
        elif kind == "wait":
            now += value * SECOND
            fast.advance_to(now)
            slow.advance_to(now)
        elif kind == "jump":
            price += value * 100
        else:
            fast.clear()
            slow.clear()
        assert fast.snapshot() == slow.snapshot()
        assert fast.value_area(now) == slow.value_area(now)
        assert fast.high_volume_nodes() == slow.high_volume_nodes()
        assert (fast.row_units, fast.n_trades, fast.outside_trades, fast.early_evictions) == (
            slow.row_units,
            slow.n_trades,
            slow.outside_trades,
            slow.early_evictions,
        )


@pytest.mark.slow
@pytest.mark.parametrize("cells", [16, 19, 96])
def test_ring_of_cells_used_many_times_over_equals_its_twin(cells):
    source = random.Random(cells)
    shape = {"tick": 1, "window_ns": 5 * MINUTE, "ready_ns": 0, "rows": 16, "cells": cells}
    fast, slow = Profile(**shape), SlowProfile(**shape)
    now = 0
    for step in range(3_000):
        now += source.choice([0, 5, 20, 200 if step % 50 == 0 else 1]) * SECOND
        trade = (1_000_000 + 100 * source.randint(-9, 8), source.randint(1, 9), now)
        fast.apply(*trade)
        slow.apply(*trade)
        if step % 700 == 699:
            fast.clear()
            slow.clear()
        assert fast.snapshot() == slow.snapshot()
    assert fast.early_evictions == slow.early_evictions
    assert (fast.early_evictions > 0) == (cells < 96)
    assert fast.outside_trades == slow.outside_trades > 0


@given(
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 50), st.integers(0, 90)), min_size=2),
    cut=st.integers(1, 50),
)
def test_levels_never_depend_on_later_trades(steps, cut):
    def run(part):
        profile = Profile(tick=1, window_ns=5 * MINUTE, ready_ns=MINUTE)
        now, seen = 0, []
        for offset, quantity, wait_s in part:
            now += wait_s * SECOND
            profile.apply(1_000_000 + 60 * offset, quantity, now)
            seen.append(profile.value_area(now))
        return seen

    assert run(steps)[:cut] == run(steps[:cut])


# MarketProfile


@pytest.mark.slow
def test_single_row_value_area_equals_market_profile_on_random_profiles():
    source = random.Random(20240808)
    compared = 0
    index = pandas.date_range("2024-08-08", periods=60, freq="1min")
    while compared < 320:
        # No empty rows, which it drops; one row of most volume, for its middle lies half a row higher.
        volumes = [source.randint(1, source.choice([3, 20, 1_000])) for _ in range(source.randint(2, 60))]
        if volumes.count(max(volumes)) > 1:
            continue
        profile = session()
        fill(profile, volumes)
        # It rounds prices up to rows and books a bar at its close: one on a row's edge keeps its row.
        closes = [float((10_000 + row) * 100) for row in range(len(volumes))]
        frame = pandas.DataFrame({"Close": closes, "Volume": volumes}, index=index[: len(volumes)])
        frame["High"] = frame["Low"] = frame["Open"] = frame["Close"]
        theirs = MarketProfile(frame, row_size=100)[index[0] : index[-1]]
        low, high = (round(edge / 100) for edge in theirs.value_area)
        assert area(profile) == (low, round(theirs.poc_price / 100), high), volumes
        compared += 1


# Real trades


def capture_trades(path: Path, n_lines: int) -> list[tuple[int, int, int]]:
    """Return (price, quantity, receive ns) of the trades among the first lines; 0.01 and 1e-8 units."""
    trades = []
    with gzip.open(path) as lines:
        for line in itertools.islice(lines, n_lines):
            received, _, body = line.partition(b" ")
            if b"@trade" in body:
                data = orjson.loads(body)["data"]
                trades.append((int(Decimal(data["p"]) * 100), int(Decimal(data["q"]) * 10**8), int(received)))
    return trades


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize("window_ns", [0, 90 * SECOND])
@pytest.mark.parametrize("market", ["btcusdt", "ethusdt"])
def test_profile_of_real_trades_equals_its_twin(captures, market, window_ns):
    trades = [
        trade
        for day in ("20240808", "20240809")
        for trade in capture_trades(captures / "binance_spot_20240808" / f"spot_{market}_{day}.gz", 60_000)
    ]
    shape = {"tick": 1, "window_ns": window_ns, "ready_ns": MINUTE, "bucket_ns": 10 * SECOND}
    fast, slow = Profile(**shape), SlowProfile(**shape)
    assert len(trades) > 10_000
    for n, (price, quantity, received) in enumerate(trades):
        fast.apply(price, quantity, received)
        slow.apply(price, quantity, received)
        if n % 200 == 0:
            assert fast.value_area(received) == slow.value_area(received)
            assert fast.high_volume_nodes() == slow.high_volume_nodes()
    assert fast.snapshot() == slow.snapshot()
    assert fast.outside_trades == fast.early_evictions == 0
    assert fast.value_area(trades[-1][2]).is_ready
