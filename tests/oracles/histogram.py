"""Slow twin of the latency histogram: keep every value, sort, and round up to the bucket's edge."""

import math


def bucket_edges(value_ns: int) -> tuple[int, int]:
    """Return least and greatest value of the bucket of a value: 32 buckets in each power of two."""
    if value_ns < 64:
        return value_ns, value_ns
    octave = 1
    while octave * 2 <= value_ns:
        octave *= 2
    width = octave // 32
    lower = octave + (value_ns - octave) // width * width
    return lower, lower + width - 1


class SlowHistogram:
    """Every value in a list."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def percentile(self, q: float) -> int:
        if not self.values:
            return 0
        rank = max(1, math.ceil(q * len(self.values) / 100.0))
        if rank >= len(self.values):
            return max(self.values)
        clamped = sorted(min(max(value, 0), 2**42 - 1) for value in self.values)
        return min(bucket_edges(clamped[rank - 1])[1], max(self.values))
