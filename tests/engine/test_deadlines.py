"""Waits and deadlines as functions of time."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ingest.deadlines import (
    GRACE_NS,
    HEALTHY_NS,
    MAX_PATIENCE,
    Attempts,
    Backoff,
    Pace,
    Silence,
    Watch,
    silences,
)

S = 1_000_000_000


class Longest(Random):
    """Draws the longest wait every time."""

    def randint(self, a: int, b: int) -> int:
        assert a == 0
        return b


def test_backoff_doubles_up_to_its_longest_and_stays_there() -> None:
    backoff = Backoff(S // 4, 30 * S, Longest())
    waits = [backoff.fail() for _ in range(200)]
    assert waits[:9] == [S // 4, S // 2, S, 2 * S, 4 * S, 8 * S, 16 * S, 30 * S, 30 * S]
    assert set(waits[9:]) == {30 * S}


def test_backoff_draws_from_nothing_to_its_ceiling() -> None:
    backoff = Backoff(S, S, Random(1))
    waits = [backoff.fail() for _ in range(2000)]
    assert min(waits) < S // 100
    assert max(waits) > S - S // 100
    assert abs(sum(waits) / 2000 - S / 2) < S / 25


def test_backoff_is_reset_by_a_healthy_minute_only() -> None:
    backoff = Backoff(S, 64 * S, Longest())
    assert [backoff.fail(), backoff.fail(), backoff.fail(HEALTHY_NS - 1)] == [S, 2 * S, 4 * S]
    assert backoff.fail(HEALTHY_NS) == S


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 6), st.integers(1, 100))
def test_attempts_never_exceed_the_limit_in_any_window(steps: list[int], limit: int, window: int) -> None:
    attempts, now, made = Attempts(limit, window), 0, []
    for step in steps:
        now += step
        wait = attempts.take(now)
        if wait:
            # Waiting exactly as told is enough, one less is not.
            assert sum(1 for at in made if at > now + wait - 1 - window) >= limit
            now += wait
            assert attempts.take(now) == 0
        made.append(now)
        assert sum(1 for at in made if at > now - window) <= limit


@pytest.mark.parametrize(("per_second", "interval_ns"), [(5, 400_000_000), (10, 200_000_000)])
def test_pace_keeps_to_half_of_what_the_venue_takes(per_second: int, interval_ns: int) -> None:
    pace = Pace(per_second)
    sent = [at for at in range(S, 4 * S, 10_000_000) if pace.take(at)]
    assert [after - before for before, after in pairwise(sent)] == [interval_ns] * (len(sent) - 1)


FIRM = Silence(15 * S, 5 * S, needs_proof=False)
QUIET = Silence(60 * S, 60 * S, needs_proof=True)


def test_stream_that_never_speaks_is_silent_after_its_first_deadline() -> None:
    watch = Watch(FIRM)
    assert not watch.is_silent(1000 * S, 0, 0)  # it was not asked for
    watch.ask(100 * S)
    assert not watch.is_silent(115 * S, 0, 0)
    assert watch.is_silent(115 * S + 1, 0, 0)


def test_stream_that_spoke_is_silent_after_its_shorter_deadline() -> None:
    watch = Watch(FIRM)
    watch.ask(100 * S)
    assert not watch.is_silent(116 * S, 111 * S, 0)
    assert watch.is_silent(116 * S + 1, 111 * S, 0)


def test_message_from_before_it_was_asked_for_again_does_not_count() -> None:
    watch = Watch(FIRM)
    watch.ask(100 * S)
    assert not watch.is_silent(114 * S, 99 * S, 0)
    assert watch.is_silent(116 * S, 99 * S, 0)


def test_silent_stream_is_given_longer_until_it_speaks() -> None:
    watch, waited = Watch(FIRM), []
    now = 100 * S
    for _ in range(7):
        watch.ask(now)
        began = now
        while not watch.is_silent(now, 0, 0):
            now += S
        waited.append((now - began) // S)
        watch.give_longer()
    assert waited == [16, 31, 61, 121, 241, 241, 241]
    assert watch.patience == MAX_PATIENCE
    watch.ask(now)
    assert not watch.is_silent(now + S, now + S, 0)
    assert watch.patience == 1
    assert watch.is_silent(now + 6 * S + 1, now + S, 0)


def test_quiet_market_is_no_fault_of_its_trade_stream() -> None:
    watch = Watch(QUIET)
    watch.ask(100 * S)
    assert not watch.is_silent(100_000 * S, 0, 0)
    assert not watch.is_silent(100_000 * S, 200 * S, 199 * S)  # the proof is older than its last message


def test_trades_that_another_stream_shows_make_silence_a_fault_after_a_grace() -> None:
    watch = Watch(QUIET)
    watch.ask(100 * S)
    assert not watch.is_silent(1000 * S, 200 * S, 999 * S)
    assert not watch.is_silent(1000 * S + GRACE_NS, 200 * S, 999 * S)
    assert watch.is_silent(1000 * S + GRACE_NS + 1, 200 * S, 999 * S)


def test_message_within_the_grace_forgets_the_proof() -> None:
    watch = Watch(QUIET)
    watch.ask(100 * S)
    assert not watch.is_silent(1000 * S, 200 * S, 999 * S)
    assert not watch.is_silent(1005 * S, 1001 * S, 999 * S)
    assert not watch.is_silent(5000 * S, 1001 * S, 999 * S)


def test_proof_within_the_allowed_time_is_not_enough() -> None:
    watch = Watch(QUIET)
    watch.ask(100 * S)
    assert not watch.is_silent(210 * S, 200 * S, 205 * S)
    assert not watch.is_silent(259 * S, 200 * S, 205 * S)
    assert watch.is_silent(261 * S, 200 * S, 205 * S)


def test_only_depth_and_mark_price_speak_by_themselves() -> None:
    rules = silences(15.0, 5.0, 60.0)
    assert {role for role, rule in rules.items() if not rule.needs_proof} == {"depth", "mark"}
    assert rules["depth"] == FIRM
    assert rules["trades"] == QUIET
    assert "force" not in rules
    assert not Watch(rules.get("force")).is_silent(10**18, 0, 10**18)
