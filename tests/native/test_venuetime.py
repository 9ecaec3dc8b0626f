"""Which venue times are believed."""

from native.venuetime import VenueTime

MINUTE = 60_000_000_000
START = 1_700_000_000_000_000_000


def test_the_first_time_is_believed_whatever_the_offset() -> None:
    time = VenueTime()
    assert time.apply(START + 5 * MINUTE, START)
    assert (time.last_ns, time.outliers) == (START + 5 * MINUTE, 0)


def test_a_constant_offset_is_believed_and_time_does_not_go_back() -> None:
    time = VenueTime()
    for i in range(100):
        assert time.apply(START + i * 1_000_000 + 1_270_000_000, START + i * 1_000_000)
    assert time.apply(START, START + 100_000_000)
    assert time.last_ns == START + 99 * 1_000_000 + 1_270_000_000


def test_a_silence_of_an_hour_is_no_jump() -> None:
    time = VenueTime()
    time.apply(START, START)
    assert time.apply(START + 60 * MINUTE, START + 60 * MINUTE)


def test_a_jump_of_more_than_a_minute_is_not_believed_and_moves_nothing() -> None:
    time = VenueTime()
    time.apply(START, START)
    assert time.apply(START + MINUTE, START)
    assert not time.apply(START + 2 * MINUTE + 1, START)
    assert not time.apply(START - 1_000 * MINUTE, START)
    assert (time.last_ns, time.outliers) == (START + MINUTE, 2)
    assert time.apply(START + MINUTE + 5, START + 5)


def test_a_clock_that_did_move_is_believed_after_32_in_a_row() -> None:
    time = VenueTime()
    time.apply(START, START)
    believed = [time.apply(START + 1_000 * MINUTE + i, START + i) for i in range(34)]
    assert believed == [False] * 32 + [True] * 2
    assert time.last_ns == START + 1_000 * MINUTE + 33
