"""Slow twin of EWMA volatility: collect the returns of unbroken minutes, then weigh all of them at once."""

import itertools
import math


def returns_of(samples: list[tuple[float, int, bool]]) -> list[float]:
    """Log returns between neighbours in the list that are both valid and one minute apart."""
    found = []
    for (mid_before, minute_before, was_valid), (mid, minute, is_valid) in itertools.pairwise(samples):
        if was_valid and is_valid and mid_before > 0 and mid > 0 and minute == minute_before + 1:
            found.append(math.log(mid / mid_before))
    return found


def sigma_bps(returns: list[float], span: int, ready_after: int) -> float:
    """Weighted mean with the weights written out; NaN until there are enough returns."""
    if len(returns) < ready_after:
        return math.nan
    alpha = 2.0 / (span + 1.0)
    squared = [value * value for value in returns]
    start = math.fsum(squared[:ready_after]) / ready_after
    later = squared[ready_after:]
    terms = [alpha * (1.0 - alpha) ** (len(later) - 1 - i) * value for i, value in enumerate(later)]
    return 1e4 * math.sqrt(math.fsum([(1.0 - alpha) ** len(later) * start, *terms]))
