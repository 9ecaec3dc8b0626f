"""How far the venue's clock is ahead of ours, from requests that tell its time.

The venue reads its clock at some unknown moment between our asking and our having the answer. So one answer
gives an interval that surely holds the offset, as wide as the round trip; the narrowest of the last minutes
is followed, and followed slowly.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

NS_PER_MS: Final = 1_000_000
PPM: Final = 1_000_000
UNKNOWN_NS: Final = 2**63 - 1
MAX_SAMPLES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Sample:
    """At some moment from `sent_ns` to `received_ns` the offset was from `low_ns` to `high_ns`."""

    low_ns: int
    high_ns: int
    sent_ns: int
    received_ns: int


class ClockOffset:
    """Follow the offset of the venue's clock: its time is ours plus the offset.

    Parameters
    ----------
    window_ns
        Answers older than this are forgotten.
    slew_ppm
        The offset told moves by at most so many millionths of the time that passes, so that our time plus the
        offset never runs backwards and intervals stay true within it.
    drift_ppm
        How far the rates of the two clocks may differ. 100 is twice what a quartz is allowed; a host whose
        clock is being corrected may exceed it, which shows in `contradictions`.
    resolution_ns
        The venue cuts its time to this: it may be later by almost as much.

    Raises
    ------
    ValueError
        A parameter is out of bounds; the slew must be faster than the drift, or it would never catch up.

    Notes
    -----
    Source: D. L. Mills, "Improved algorithms for synchronizing computer network clocks" (1995): of several
    round trips the shortest has the least error; here its whole interval is kept, so that asymmetric ways are
    inside the bound and not beside it. Blind to what the two bounds above do not hold for: a venue whose
    servers' clocks differ is seen as contradictions.
    """

    __slots__ = (
        "_base_ns",
        "_drift_ppm",
        "_resolution_ns",
        "_samples",
        "_slew_ppm",
        "_told_ns",
        "_window_ns",
        "contradictions",
        "observations",
    )

    def __init__(
        self,
        *,
        window_ns: int = 300_000_000_000,
        slew_ppm: int = 500,
        drift_ppm: int = 100,
        resolution_ns: int = NS_PER_MS,
    ) -> None:
        if window_ns < 1 or resolution_ns < 1 or not 0 <= drift_ppm < slew_ppm < PPM:
            raise ValueError(
                "Expected a window and a resolution of at least 1 ns and 0 <= drift < slew < 1000000 ppm, "
                f"found {window_ns}, {resolution_ns}, {drift_ppm}, {slew_ppm}."
            )
        self._window_ns = window_ns
        self._slew_ppm = slew_ppm
        self._drift_ppm = drift_ppm
        self._resolution_ns = resolution_ns
        self._samples: deque[_Sample] = deque()  # narrowest first, so oldest first
        self._told_ns = 0  # at _base_ns
        self._base_ns = 0
        self.observations = 0
        self.contradictions = 0  # answers that no clock within the bounds could give after the ones before

    @property
    def is_ready(self) -> bool:
        """Whether anything was observed; before, the offset is 0 and its error unknown."""
        return bool(self._samples)

    def observe(self, server_ns: int, sent_ns: int, received_ns: int) -> None:
        """Take one answer.

        Parameters
        ----------
        server_ns
            The venue's time in it, cut to the resolution.
        sent_ns, received_ns
            Our clock when the request left and when the answer was there.

        Raises
        ------
        ValueError
            It was received before it was sent.
        """
        if received_ns < sent_ns:
            raise ValueError(f"Expected an answer after its request at {sent_ns}, found it at {received_ns}.")
        told_ns = self.offset_ns(received_ns)
        found = _Sample(
            low_ns=server_ns - received_ns,
            high_ns=server_ns + self._resolution_ns - sent_ns,
            sent_ns=sent_ns,
            received_ns=received_ns,
        )
        at_ns = max(received_ns, self._base_ns)
        low, high = self._bounds(found, at_ns)
        kept = [one for one in self._samples if received_ns - one.received_ns <= self._window_ns]
        agreeing = [one for one in kept if self._agree(one, low, high, at_ns)]
        if len(agreeing) < len(kept):
            self.contradictions += 1  # one of the clocks was set: what was known before is of no use
        width = high - low
        while agreeing and self._width(agreeing[-1], at_ns) >= width:
            agreeing.pop()
        agreeing.append(found)
        self._samples = deque(agreeing[-MAX_SAMPLES:])
        self._told_ns = told_ns if self.observations else self._middle(self._samples[0])
        self._base_ns = at_ns
        self.observations += 1

    def offset_ns(self, now_ns: int) -> int:
        """Return what to add to our time to have the venue's; 0 before anything was observed."""
        if not self._samples:
            return self._told_ns
        wanted = self._middle(self._samples[0]) - self._told_ns
        most = max(0, now_ns - self._base_ns) * self._slew_ppm // PPM
        return self._told_ns + max(-most, min(most, wanted))

    def error_ns(self, now_ns: int) -> int:
        """Return by how much the offset told may be wrong at most; 2^63 - 1 before anything was observed."""
        if not self._samples:
            return UNKNOWN_NS
        low, high = self._bounds(self._samples[0], max(now_ns, self._base_ns))
        told_ns = self.offset_ns(now_ns)
        return max(high - told_ns, told_ns - low)

    def _middle(self, sample: _Sample) -> int:
        return (sample.low_ns + sample.high_ns) // 2

    def _bounds(self, sample: _Sample, now_ns: int) -> tuple[int, int]:
        """Return least and greatest offset at `now_ns`: the clocks drifted apart since, by what they may."""
        drift_ns = -(-(now_ns - sample.sent_ns) * self._drift_ppm // PPM)
        return sample.low_ns - drift_ns, sample.high_ns + drift_ns

    def _width(self, sample: _Sample, now_ns: int) -> int:
        low, high = self._bounds(sample, now_ns)
        return high - low

    def _agree(self, sample: _Sample, low: int, high: int, now_ns: int) -> bool:
        other_low, other_high = self._bounds(sample, now_ns)
        return other_low <= high and low <= other_high
