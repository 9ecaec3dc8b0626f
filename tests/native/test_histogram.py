"""The latency histogram against its slow twin and numpy."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.histogram import Histogram
from tests.oracles.histogram import SlowHistogram, bucket_edges

TOP = 2**42
DURATIONS = st.one_of(
    st.integers(0, 200),
    st.integers(0, TOP - 1),
    st.integers(0, 42).map(lambda power: 2**power - 1),
    st.integers(0, 41).map(lambda power: 2**power),
)
ANY_VALUES = st.one_of(DURATIONS, st.integers(-(2**63), 2**63 - 1))
PERCENTS = (0.0, 1.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 100.0)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record_value(value)
    return histogram


def test_percentile_when_empty_then_zero() -> None:
    histogram = Histogram()
    assert [histogram.percentile(q) for q in (0.0, 50.0, 100.0)] == [0, 0, 0]
    assert (histogram.count, histogram.min, histogram.max, histogram.mean) == (0, 0, 0, 0.0)


@given(st.lists(ANY_VALUES, max_size=60), st.floats(0.0, 100.0))
def test_percentile_when_compared_with_the_twin_then_equal(values: list[int], q: float) -> None:
    histogram, twin = filled(values), SlowHistogram()
    twin.values = values
    for percent in (*PERCENTS, q):
        assert histogram.percentile(percent) == twin.percentile(percent)


@given(st.lists(ANY_VALUES, min_size=1, max_size=60))
def test_moments_when_values_are_recorded_then_exact(values: list[int]) -> None:
    histogram = filled(values)
    assert histogram.count == len(values)
    assert histogram.min == min(values)
    assert histogram.max == max(values)
    assert histogram.mean == float(sum(values)) / len(values)
    assert histogram.n_clamped == sum(not 0 <= value < TOP for value in values)


@given(st.lists(DURATIONS, min_size=1, max_size=60), st.sampled_from([0.0, 25.0, 50.0, 75.0, 100.0]))
def test_percentile_when_compared_with_numpy_then_within_its_bucket(values: list[int], q: float) -> None:
    exact = int(numpy.quantile(numpy.array(values), q / 100, method="inverted_cdf"))
    lower, upper = bucket_edges(exact)
    assert lower <= exact <= filled(values).percentile(q) <= upper


@pytest.mark.parametrize("q", [50.0, 90.0, 99.0, 99.9])
def test_percentile_when_many_then_within_one_bucket_of_the_interpolated_quantile(q: float) -> None:
    values = numpy.random.default_rng(7).lognormal(9.0, 0.8, 10_000).astype(numpy.int64)
    found = filled(values.tolist()).percentile(q)
    assert found == pytest.approx(float(numpy.quantile(values, q / 100)), rel=0.032)


@given(st.integers(1, TOP - 1))
def test_bucket_when_a_value_is_alone_then_relative_error_is_at_most_3_2_percent(value: int) -> None:
    histogram = filled([value, TOP - 1])
    assert value <= histogram.percentile(50.0) <= value * 1.032


def test_value_when_out_of_range_then_it_goes_to_the_end_and_is_counted() -> None:
    histogram = filled([-1, TOP - 1, TOP, 2**63 - 1, 5])
    assert histogram.n_clamped == 3
    assert histogram.percentile(1.0) == 0
    assert histogram.percentile(80.0) == TOP - 1
    assert histogram.max == 2**63 - 1


@given(st.lists(ANY_VALUES, max_size=30), st.lists(ANY_VALUES, max_size=30))
def test_merge_when_done_then_as_if_one_had_recorded_all(first: list[int], second: list[int]) -> None:
    merged, other, whole = filled(first), filled(second), filled(first + second)
    merged.merge(other)
    assert other.count == len(second)
    for percent in PERCENTS:
        assert merged.percentile(percent) == whole.percentile(percent)
    assert (merged.count, merged.min, merged.max, merged.mean, merged.n_clamped) == (
        whole.count,
        whole.min,
        whole.max,
        whole.mean,
        whole.n_clamped,
    )


def test_merge_when_with_itself_then_counts_double() -> None:
    histogram = filled([1, 2, 3])
    histogram.merge(histogram)
    assert (histogram.count, histogram.percentile(50.0), histogram.mean) == (6, 2, 2.0)


def test_reset_when_done_then_like_new() -> None:
    histogram = filled([-3, 7, TOP])
    histogram.reset()
    assert (histogram.count, histogram.n_clamped, histogram.max, histogram.percentile(99.0)) == (0, 0, 0, 0)
    histogram.record_value(9)
    assert (histogram.min, histogram.max, histogram.percentile(0.0)) == (9, 9, 9)


@pytest.mark.parametrize("q", [-0.1, 100.1, float("nan"), float("inf")])
def test_percentile_when_not_a_percentage_then_refused(q: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        Histogram().percentile(q)
