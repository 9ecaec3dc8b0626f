"""Slow twin of native.profile: one dict of volumes by bucket and row, every answer computed from nothing."""

from collections import Counter
from fractions import Fraction
from math import floor


class SlowProfile:
    def __init__(
        self,
        *,
        tick: int,
        window_ns: int,
        ready_ns: int,
        bucket_ns: int = 60_000_000_000,
        row_bps: str = "1",
        rows: int = 16_384,
        cells: int = 131_072,
        value_area: str = "0.7",
        two_row: bool = False,
    ) -> None:
        self.tick, self.window_ns, self.ready_ns, self.bucket_ns = tick, window_ns, ready_ns, bucket_ns
        self.row_bps, self.rows, self.cells = Fraction(row_bps), rows, cells
        self.value_area_share, self.two_row = Fraction(value_area), two_row
        self.now = 0
        self.outside_trades = 0
        self.early_evictions = 0
        self.clear()

    def clear(self) -> None:
        self.volume: dict[tuple[int, int], int] = {}
        self.row_units = 0
        self.first_row = 0
        self.first_ns = 0
        self.last_ns = 0
        self.n_trades = 0

    def apply(self, price: int, quantity: int, now_ns: int) -> None:
        self.advance_to(now_ns)
        if price <= 0 or quantity <= 0:
            self.outside_trades += 1
            return
        if self.row_units == 0:
            self.row_units = max(1, floor(price * self.row_bps / 10_000 / self.tick)) * self.tick
            self.first_row = price // self.row_units - self.rows // 2
        row = price // self.row_units
        if not self.first_row <= row < self.first_row + self.rows:
            self.outside_trades += 1
            return
        bucket = self.now // self.bucket_ns if self.window_ns else 0
        if self.window_ns and (bucket, row) not in self.volume and len(self.volume) == self.cells:
            self.early_evictions += 1
            self.forget(min(self.volume)[0])
        if not self.volume:
            self.first_ns = self.now
        self.volume[bucket, row] = self.volume.get((bucket, row), 0) + quantity
        self.last_ns = self.now
        self.n_trades += 1

    def advance_to(self, now_ns: int) -> None:
        self.now = max(self.now, now_ns)
        if self.window_ns:
            for bucket in {bucket for bucket, _ in self.volume}:
                if (bucket + 1) * self.bucket_ns <= self.now - self.window_ns:
                    self.forget(bucket)

    def forget(self, bucket: int) -> None:
        self.volume = {key: volume for key, volume in self.volume.items() if key[0] != bucket}
        if not self.volume:
            self.first_ns = 0

    def by_row(self) -> Counter[int]:
        sums: Counter[int] = Counter()
        for (_, row), volume in self.volume.items():
            sums[row] += volume
        return sums

    def snapshot(self) -> tuple[int, list[int]]:
        sums = self.by_row()
        if not sums:
            return 0, []
        return min(sums), [sums[row] for row in range(min(sums), max(sums) + 1)]

    def point_of_control(self) -> int:
        sums = self.by_row()
        middle = Fraction(min(sums) + max(sums), 2)
        return min(sums, key=lambda row: (-sums[row], abs(row - middle), row))

    def value_area(self, now_ns: int) -> tuple[bool, int, int, int, int, int, int, int] | None:
        self.advance_to(now_ns)
        sums = self.by_row()
        if not sums:
            return None
        poc = top = bottom = self.point_of_control()
        total = sums.total()
        step = 2 if self.two_row else 1
        while sum(sums[row] for row in range(bottom, top + 1)) <= self.value_area_share * total:
            above = [row for row in range(top + 1, top + 1 + step) if row <= max(sums)]
            below = [row for row in range(bottom - step, bottom) if row >= min(sums)]
            up, down = sum(sums[row] for row in above), sum(sums[row] for row in below)
            if not above or (below and down > up):
                bottom = min(below)
            else:
                top = max(above)
        is_ready = self.now - self.first_ns >= self.ready_ns
        return is_ready, poc, top, bottom, self.row_units, self.first_ns, self.last_ns, total

    def high_volume_nodes(self, share: str = "0.7") -> list[int]:
        sums = self.by_row()
        if not sums:
            return []
        poc = self.point_of_control()
        return [
            row
            for row in sorted(sums)
            if row != poc
            and sums[row] == max(sums[near] for near in range(row - 5, row + 6))
            and sums[row] >= Fraction(share) * sums[poc]
        ]
