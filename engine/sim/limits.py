"""The venue's limits by address and by connection, in venue time."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
ATTEMPTS: Final = 300
ATTEMPTS_WINDOW_NS: Final = 5 * MINUTE
PATIENCE: Final = 10  # requests after the first 429 of a minute that the venue bears before it bans
FIRST_BAN_NS: Final = 2 * MINUTE
LONGEST_BAN_NS: Final = 3 * 24 * 60 * MINUTE
MAX_ADDRESSES: Final = 10_000


@dataclass(slots=True)
class _Use:
    minute: int = -1
    used: int = 0
    n_refused: int = 0
    n_bans: int = 0
    banned_until_ns: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request cost: status 200, 429 or 418; `used` counts this minute, with this request."""

    status: int
    used: int
    retry_after_s: int = 0
    banned_until_ns: int = 0


@dataclass(slots=True)
class WeightLimit:
    """
    Request weight by address, counted in whole minutes of venue time.

    Notes
    -----
    How many requests after a 429 the venue bears before it bans is not documented: here ten within the
    minute. A ban lasts two minutes, each further one twice as long, up to three days.
    """

    per_minute: int
    _by_address: dict[str, _Use] = field(default_factory=dict)

    def charge(self, address: str, weight: int, now_ns: int) -> Charge:
        """Count a request and say whether it may be answered."""
        use = self._by_address.get(address)
        if use is None:
            if len(self._by_address) >= MAX_ADDRESSES:
                del self._by_address[next(iter(self._by_address))]
            use = self._by_address[address] = _Use()
        if now_ns < use.banned_until_ns:
            return Charge(418, use.used, _seconds(use.banned_until_ns - now_ns), use.banned_until_ns)
        minute = now_ns // MINUTE
        if minute != use.minute:
            use.minute, use.used, use.n_refused = minute, 0, 0
        use.used += weight
        if use.used <= self.per_minute:
            return Charge(200, use.used)
        use.n_refused += 1
        if use.n_refused > PATIENCE:
            length = min(LONGEST_BAN_NS, FIRST_BAN_NS << min(use.n_bans, 16))
            use.n_bans += 1
            use.banned_until_ns = now_ns + length
            return Charge(418, use.used, _seconds(length), use.banned_until_ns)
        return Charge(429, use.used, _seconds((minute + 1) * MINUTE - now_ns))


def _seconds(length_ns: int) -> int:
    return -(-length_ns // SECOND)


@dataclass(slots=True)
class AttemptLimit:
    """Connection attempts by address: 300 within any five minutes; a refused one counts too."""

    _by_address: dict[str, deque[int]] = field(default_factory=dict)

    def take(self, address: str, now_ns: int) -> int:
        """Return 0, or the seconds after which an attempt may succeed again."""
        times = self._by_address.get(address)
        if times is None:
            if len(self._by_address) >= MAX_ADDRESSES:
                del self._by_address[next(iter(self._by_address))]
            times = self._by_address[address] = deque(maxlen=ATTEMPTS + 1)
        while times and times[0] <= now_ns - ATTEMPTS_WINDOW_NS:
            times.popleft()
        times.append(now_ns)
        if len(times) <= ATTEMPTS:
            return 0
        return _seconds(times[1] + ATTEMPTS_WINDOW_NS - now_ns)


@dataclass(slots=True)
class IncomingLimit:
    """Messages of one connection within any second."""

    per_second: int
    _times: deque[int] = field(default_factory=deque)

    def take(self, now_ns: int) -> bool:
        """Count a message; False: one too many."""
        times = self._times
        while times and times[0] <= now_ns - SECOND:
            times.popleft()
        if len(times) >= self.per_second:
            return False
        times.append(now_ns)
        return True
