from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ingest.clocksync import UNKNOWN_NS, ClockOffset

MS = 10**6
SECOND = 10**9
START = 1_760_000_000 * SECOND


def observe(clock, at_ns, offset_ns, there_ns, back_ns):
    """Ask a venue whose clock is ahead by `offset_ns` at `at_ns`; return when the answer is there."""
    server_ns = (at_ns + there_ns + offset_ns) // MS * MS
    clock.observe(server_ns, at_ns, at_ns + there_ns + back_ns)
    return at_ns + there_ns + back_ns


def test_nothing_is_known_before_the_first_answer():
    clock = ClockOffset()
    assert not clock.is_ready
    assert (clock.offset_ns(START), clock.error_ns(START)) == (0, UNKNOWN_NS)


def test_first_answer_is_taken_at_once_with_half_its_round_trip_as_error():
    clock = ClockOffset(drift_ppm=0)
    clock.observe(START + 500 * MS, START, START + 40 * MS)
    assert clock.is_ready
    # Read between 0 and 40 ms, and cut by up to 1 ms: 460 to 501 ms ahead.
    assert clock.offset_ns(START + 40 * MS) == 480_500_000
    assert clock.error_ns(START + 40 * MS) == 20_500_000


def test_shortest_round_trip_of_the_window_rules_until_it_is_forgotten():
    clock = ClockOffset(drift_ppm=0, window_ns=100 * SECOND, resolution_ns=1)
    clock.observe(START, START, START + 2 * MS)
    error_ns = clock.error_ns(START + 2 * MS)
    for second in (30, 60, 90):
        at = START + second * SECOND
        clock.observe(at + 20 * MS, at, at + 42 * MS)
        assert clock.offset_ns(at + 42 * MS) == -MS
        assert clock.error_ns(at + 42 * MS) == error_ns
    at = START + 101 * SECOND
    clock.observe(at + 20 * MS, at, at + 40 * MS)
    assert clock.offset_ns(at + 10 * SECOND) == 0
    assert clock.error_ns(at + 10 * SECOND) == 20 * MS + 1


def test_old_answer_loses_to_a_slower_one_by_what_the_clocks_may_have_drifted():
    clock = ClockOffset(drift_ppm=100, resolution_ns=1, slew_ppm=900_000)
    clock.observe(START, START, START + 2 * MS)
    for second, rules in ((60, False), (120, True)):  # 6 and 12 ms a side
        at = START + second * SECOND
        clock.observe(at + 11 * MS, at, at + 22 * MS)
        assert (clock.offset_ns(at + SECOND) == 0) is rules


def test_clock_that_was_set_is_followed_slowly_and_the_error_says_so():
    clock = ClockOffset(slew_ppm=500)
    at = observe(clock, START, 0, 5 * MS, 5 * MS)
    for step in range(1, 40):
        at = observe(clock, START + step * 30 * SECOND, 60 * MS, 5 * MS, 5 * MS)
        assert clock.contradictions == 1
        offset_ns, error_ns = clock.offset_ns(at), clock.error_ns(at)
        assert abs(60 * MS - offset_ns) <= error_ns
        assert offset_ns <= (step - 1) * 15 * MS + MS
    assert abs(clock.offset_ns(at) - 60 * MS) <= MS


def test_question_about_the_past_is_answered_as_of_the_last_answer():
    clock = ClockOffset()
    observe(clock, START, 0, MS, MS)
    now = observe(clock, START + SECOND, 3 * MS, MS, MS)
    assert clock.offset_ns(now - SECOND) == clock.offset_ns(now)
    assert clock.error_ns(now - SECOND) == clock.error_ns(now)


@pytest.mark.slow
def test_answers_are_bounded_in_number():
    clock = ClockOffset(window_ns=10**18, drift_ppm=0)
    for number in range(1100):
        observe(clock, START + number * SECOND, 0, MS + number, MS + number)
    assert len(clock._samples) <= 1024


@pytest.mark.parametrize(
    "given_",
    [{"window_ns": 0}, {"resolution_ns": 0}, {"drift_ppm": 500}, {"slew_ppm": 10**6}, {"drift_ppm": -1}],
)
def test_bounds_of_the_parameters(given_):
    with pytest.raises(ValueError, match="0 <= drift < slew"):
        ClockOffset(**given_)


def test_answer_before_its_request_is_an_error():
    with pytest.raises(ValueError, match="Expected an answer after its request"):
        ClockOffset().observe(START, START, START - 1)


class Wandering:
    """A venue's clock that is ahead by an offset of piecewise constant drift, exactly."""

    def __init__(self, offset_ns, drifts):
        self.offset_ns = offset_ns
        self.drifts = drifts  # ppm, each for 7 s, then again from the first

    def ahead(self, now_ns):
        found, left_ns, number = Fraction(self.offset_ns), now_ns - START, 0
        whole, left_ns = divmod(left_ns, 7 * SECOND * len(self.drifts))
        found += Fraction(whole * 7 * SECOND * sum(self.drifts), 10**6)
        while left_ns > 0:
            part_ns = min(left_ns, 7 * SECOND)
            found += Fraction(part_ns * self.drifts[number], 10**6)
            left_ns, number = left_ns - part_ns, number + 1
        return found


DELAY = st.one_of(st.integers(0, 5 * MS), st.integers(0, 2 * SECOND))
ASKED = st.lists(
    st.tuples(st.integers(0, 90 * SECOND), DELAY, DELAY, st.integers(0, 60 * SECOND)), max_size=40
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    offset_ns=st.integers(-(10**11), 10**11),
    drifts=st.lists(st.integers(-100, 100), min_size=1, max_size=8),
    asked=ASKED,
    window_s=st.sampled_from([1, 60, 300]),
)
def test_true_offset_is_always_within_the_error_and_the_slew_is_bounded(offset_ns, drifts, asked, window_s):
    venue = Wandering(offset_ns, drifts)
    clock = ClockOffset(window_ns=window_s * SECOND, slew_ppm=500, drift_ppm=100)
    now_ns, last, answers = START, None, []
    for pause_ns, there_ns, back_ns, look_ns in asked:
        sent_ns = now_ns + pause_ns
        read_ns = sent_ns + there_ns
        received_ns = read_ns + back_ns
        server_ns = int((read_ns + venue.ahead(read_ns)) // MS) * MS
        clock.observe(server_ns, sent_ns, received_ns)
        answers = [one for one in answers if received_ns - one[1] <= window_s * SECOND]
        answers.append((sent_ns, received_ns, server_ns))
        for now_ns in (received_ns, received_ns + look_ns // 2, received_ns + look_ns):
            told_ns, error_ns = clock.offset_ns(now_ns), clock.error_ns(now_ns)
            assert abs(venue.ahead(now_ns) - told_ns) <= error_ns
            if last is not None:
                moved_ns, passed_ns = abs(told_ns - last[1]), now_ns - last[0]
                assert moved_ns * 10**6 <= passed_ns * 500 + 10**6  # and a rounding
                assert now_ns + told_ns >= last[0] + last[1]
            last = (now_ns, told_ns)
        # The slow twin: of all answers in the window the one that says most, looked for from the start.
        settled_ns = received_ns + 10**15
        widths = [
            received - sent + MS + 2 * ((settled_ns - sent) * 100 // 10**6) for sent, received, _ in answers
        ]
        assert abs(2 * clock.error_ns(settled_ns) - min(widths)) <= 6
    assert clock.contradictions == 0
    assert clock.observations == len(asked)
