"""When to wait and when to give up: functions of time, without a loop."""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final

NS_PER_S: Final = 1_000_000_000
HEALTHY_NS: Final = 60 * NS_PER_S
GRACE_NS: Final = 10 * NS_PER_S
MAX_PATIENCE: Final = 16


class Backoff:
    """The wait before the next attempt: exponential with full jitter, until a healthy period resets it.

    Parameters
    ----------
    first_ns, max_ns
        Longest wait after the first failure, and after any.
    random
        Source of the jitter.
    """

    __slots__ = ("_first_ns", "_max_ns", "_random", "failures")

    def __init__(self, first_ns: int, max_ns: int, random: Random) -> None:
        self._first_ns = first_ns
        self._max_ns = max_ns
        self._random = random
        self.failures = 0

    def fail(self, healthy_ns: int = 0) -> int:
        """Return how long to wait after a failure that came after `healthy_ns` of health."""
        if healthy_ns >= HEALTHY_NS:
            self.failures = 0
        # Beyond 2^40 the ceiling rules anyway; an unbounded power would grow for ever on a dead venue.
        longest = min(self._max_ns, self._first_ns << min(self.failures, 40))
        self.failures += 1
        return self._random.randint(0, longest)


class Attempts:
    """Keeps attempts to connect within what the venue allows.

    Parameters
    ----------
    limit
        Attempts in any window.
    window_ns
        Its length.

    Notes
    -----
    Source: binance-spot-api-docs, web-socket-streams.md, "Websocket Limits" (2026-07-21): 300 connections per
    attempt every 5 minutes per IP. Half of it is ours: other processes and a restart share the address.
    """

    __slots__ = ("_limit", "_made_ns", "_window_ns")

    def __init__(self, limit: int = 150, window_ns: int = 300 * NS_PER_S) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._made_ns: deque[int] = deque(maxlen=limit)

    def take(self, now_ns: int) -> int:
        """Count an attempt now and return 0, or return how long to wait first; then nothing is counted."""
        if len(self._made_ns) == self._limit:
            wait_ns = self._made_ns[0] + self._window_ns - now_ns
            if wait_ns > 0:
                return wait_ns
        self._made_ns.append(now_ns)
        return 0


class Pace:
    """Spaces out control messages of one connection.

    Parameters
    ----------
    per_second
        What the venue allows; half of it is used, because its own pings and our pongs count too.
    """

    __slots__ = ("_interval_ns", "_next_ns")

    def __init__(self, per_second: int) -> None:
        self._interval_ns = 2 * NS_PER_S // per_second
        self._next_ns = 0

    def take(self, now_ns: int) -> bool:
        """Tell whether a message may be sent now; if so, it counts."""
        if now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + self._interval_ns
        return True


@dataclass(slots=True, frozen=True)
class Silence:
    """How long a stream of one role may say nothing.

    Attributes
    ----------
    first_ns : from the request for it to its first message.
    then_ns : from one message to the next.
    needs_proof : without proof that there was something to say, silence is no fault.
    """

    first_ns: int
    then_ns: int
    needs_proof: bool


def silences(first_message_s: float, depth_silence_s: float, trade_silence_s: float) -> dict[str, Silence]:
    """Return the rule of each role.

    Depth and mark price speak by themselves, so their silence alone is a fault. All others are silent on a
    quiet market: only trading that another stream shows makes their silence a fault. Liquidations may be
    absent for days and have no rule.
    """
    first, depth, trade = (
        int(seconds * NS_PER_S) for seconds in (first_message_s, depth_silence_s, trade_silence_s)
    )
    quiet = Silence(max(first, trade), trade, needs_proof=True)
    return {
        "depth": Silence(first, depth, needs_proof=False),
        "mark": Silence(first, max(first, depth), needs_proof=False),
        **dict.fromkeys(("trades", "ticker", "kline", "day"), quiet),
    }


class Watch:
    """Tells when one stream is silent.

    Parameters
    ----------
    silence
        The rule; None is never silent.

    Notes
    -----
    Each time it is found silent without having spoken since, it is given twice as long, up to 16 times: a
    market so thin that its book rests is not connected to again and again.
    """

    __slots__ = ("_patience", "_proven_ns", "_since_ns", "_spoken_ns", "silence")

    def __init__(self, silence: Silence | None) -> None:
        self.silence = silence
        self._patience = 1
        self._proven_ns = 0
        self._since_ns = 0
        self._spoken_ns = 0

    @property
    def patience(self) -> int:
        """How many times as long as usual it is waited for."""
        return self._patience

    def ask(self, now_ns: int) -> None:
        """Start to wait: the stream was asked for now, or its market is open again."""
        self._since_ns = now_ns
        self._proven_ns = 0

    def is_silent(self, now_ns: int, last_ns: int, proof_ns: int) -> bool:
        """Judge now.

        Parameters
        ----------
        now_ns
            The present.
        last_ns
            When its last message came; 0 = never.
        proof_ns
            When another stream showed what this one should have said; 0 = never.
        """
        if last_ns > self._spoken_ns:
            self._spoken_ns = last_ns
            self._proven_ns = 0
            self._patience = 1
        if self.silence is None or not self._since_ns:
            return False
        has_spoken = last_ns > self._since_ns
        since_ns = max(last_ns, self._since_ns)
        allowed_ns = self.silence.then_ns if has_spoken else self.silence.first_ns
        if self.silence.needs_proof:
            if proof_ns > since_ns and not self._proven_ns:
                self._proven_ns = now_ns
            # The message itself may be a moment behind the other stream that proves it.
            if not self._proven_ns or now_ns - self._proven_ns <= GRACE_NS:
                return False
        return now_ns - since_ns > allowed_ns * self._patience

    def give_longer(self) -> None:
        """Be more patient from now on: it was found silent, and is asked for again."""
        self._patience = min(2 * self._patience, MAX_PATIENCE)


class Proof:
    """When the venue's statistics of a day showed a trade: what a silent trade stream should have brought.

    Attributes
    ----------
    shown_ns : when the newest one was seen; 0 = never.

    Notes
    -----
    The count of a rolling day falls as trades leave it and rises with a new one only; so does no other price
    become the last one without a trade.
    """

    __slots__ = ("_known", "shown_ns")

    def __init__(self) -> None:
        self._known: tuple[int, int] | None = None
        self.shown_ns = 0

    def see(self, now_ns: int, last: int, n_trades: int) -> None:
        """Take last price and count of trades as told now."""
        if self._known is not None and (last != self._known[0] or n_trades > self._known[1]):
            self.shown_ns = now_ns
        self._known = (last, n_trades)
