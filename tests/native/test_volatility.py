"""EWMA volatility against its slow twin and a month of candles."""

import csv
import gzip
import math
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.volatility import Volatility
from tests.oracles.volatility import returns_of, sigma_bps

MIDS = st.one_of(st.floats(1.0, 1e6), st.sampled_from([0.0, -1.0]))


@st.composite
def minutes_of_mids(draw: st.DrawFn) -> list[tuple[float, int, bool]]:
    samples = []
    minute = draw(st.integers(0, 30_000_000))
    for _ in range(draw(st.integers(0, 25))):
        minute += draw(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 30, 0, -1]))
        samples.append((draw(MIDS), minute, draw(st.sampled_from([True] * 9 + [False]))))
    return samples


def same(found: float, expected: float) -> bool:
    return (math.isnan(found) and math.isnan(expected)) or math.isclose(
        found, expected, rel_tol=1e-12, abs_tol=1e-12
    )


@pytest.mark.slow
@given(minutes_of_mids(), st.integers(1, 30), st.integers(1, 8))
def test_sigma_when_compared_with_the_twin_then_equal_at_every_minute(
    samples: list[tuple[float, int, bool]], span: int, ready_after: int
) -> None:
    volatility = Volatility(span=span, ready_after=ready_after)
    for i, (mid, minute, is_valid) in enumerate(samples):
        volatility.apply_mid(mid, minute, is_valid)
        returns = returns_of(samples[: i + 1])
        assert volatility.n_returns == len(returns)
        assert same(volatility.sigma_bps, sigma_bps(returns, span, ready_after))


def test_sigma_when_fewer_returns_than_ready_after_then_nan() -> None:
    volatility = Volatility()
    for minute in range(5):
        volatility.apply_mid(100.0 + minute, minute)
        assert math.isnan(volatility.sigma_bps)
    volatility.apply_mid(105.0, 5)
    assert volatility.n_returns == 5
    assert volatility.sigma_bps > 0.0


def test_sigma_when_every_return_has_one_size_then_that_size() -> None:
    volatility = Volatility()
    for minute in range(40):
        volatility.apply_mid(100.0 * math.exp(1e-3 * (minute % 2)), minute)
    assert volatility.sigma_bps == pytest.approx(10.0, rel=1e-9)


def test_sigma_when_the_mid_stands_still_then_zero() -> None:
    volatility = Volatility(ready_after=1)
    volatility.apply_mid(100.0, 0)
    volatility.apply_mid(100.0, 1)
    assert volatility.sigma_bps == 0.0


@pytest.mark.parametrize(
    "broken", [(200.0, 1, False), (0.0, 1, True), (math.nan, 1, True), (math.inf, 1, True)]
)
def test_chain_when_the_book_is_invalid_then_no_return_across_it(broken: tuple[float, int, bool]) -> None:
    volatility = Volatility(ready_after=1)
    volatility.apply_mid(100.0, 0)
    volatility.apply_mid(*broken)
    volatility.apply_mid(300.0, 2)
    assert (volatility.n_returns, volatility.n_breaks) == (0, 1)
    volatility.apply_mid(303.0, 3)
    assert volatility.sigma_bps == pytest.approx(1e4 * math.log(1.01))


@pytest.mark.parametrize("minute", [0, -1, 2])
def test_chain_when_the_minute_is_not_the_next_then_it_starts_anew(minute: int) -> None:
    volatility = Volatility(ready_after=1)
    volatility.apply_mid(100.0, 0)
    volatility.apply_mid(300.0, minute)
    assert (volatility.n_returns, volatility.n_breaks) == (0, 1)
    volatility.apply_mid(303.0, minute + 1)
    assert volatility.sigma_bps == pytest.approx(1e4 * math.log(1.01))


@pytest.mark.parametrize(
    ("span", "ready_after", "name"),
    [(0, 5, "span"), (527_041, 5, "span"), (20, 0, "ready_after"), (20, 527_041, "ready_after")],
)
def test_parameter_when_out_of_range_then_refused(span: int, ready_after: int, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is expected"):
        Volatility(span=span, ready_after=ready_after)


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize("symbol", ["BTCUSDT", "SOLUSDT"])
def test_sigma_when_fed_a_month_of_candles_then_equals_a_vectorised_recursion(
    captures: Path, symbol: str
) -> None:
    path = captures / "candles_binance_usdm_1m_202505" / f"{symbol}_1m.csv.gz"
    with gzip.open(path, "rt", newline="") as lines:
        rows = [(int(row["open_time_ms"]) // 60_000, float(row["close"])) for row in csv.DictReader(lines)]
    squared = numpy.diff(numpy.log([close for _, close in rows])) ** 2
    variance = float(squared[:5].mean())
    volatility = Volatility()
    volatility.apply_mid(rows[0][1], rows[0][0])
    for i, (minute, close) in enumerate(rows[1:]):
        volatility.apply_mid(close, minute)
        if i < 4:
            assert math.isnan(volatility.sigma_bps)
            continue
        if i > 4:
            variance += 2 / 21 * (float(squared[i]) - variance)
        assert volatility.sigma_bps == pytest.approx(1e4 * math.sqrt(variance), rel=1e-8)
    assert volatility.n_returns == len(rows) - 1 > 43_000
    assert volatility.n_breaks == 0
