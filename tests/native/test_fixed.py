"""Decimal text <-> int64 against `Decimal`, at every length and unit, and at the edges of 64 bits."""

import random
import re
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native.fixed import DecimalStatus, format_decimal, parse_decimal, parse_integer
from tests.oracles.wire import LARGEST, RefusalError, scaled

OK = DecimalStatus.DECIMAL_OK
FLOORED = DecimalStatus.DECIMAL_FLOORED
SYNTAX = DecimalStatus.DECIMAL_SYNTAX
OVERFLOW = DecimalStatus.DECIMAL_OVERFLOW
TRUNCATED = DecimalStatus.DECIMAL_TRUNCATED

# What stands behind a number decides between the fast way and the careful one, which needs no room.
TAILS = (b"", b'"', b'","0.00100000"],["61837.64000000","1.5"]')


def told(text: str, digits: int) -> tuple[DecimalStatus, int, int]:
    try:
        value, floored = scaled(text, digits)
    except RefusalError:
        return OVERFLOW, 0, 0
    return FLOORED if floored else OK, value, len(text)


@given(
    whole=st.text("0123456789", min_size=1, max_size=22),
    fraction=st.none() | st.text("0123456789", min_size=1, max_size=22),
    digits=st.integers(0, 18),
    tail=st.sampled_from(TAILS),
)
@example(whole="61837", fraction="63000000", digits=2, tail=TAILS[2])
@example(whole="9223372036854775807", fraction=None, digits=0, tail=TAILS[1])
@example(whole="9223372036854775808", fraction=None, digits=0, tail=TAILS[1])
@example(whole="0", fraction="0000000000000000009", digits=18, tail=TAILS[2])
def test_decimal_is_read_like_the_twin(whole: str, fraction: str | None, digits: int, tail: bytes) -> None:
    text = whole if fraction is None else f"{whole}.{fraction}"
    assert parse_decimal(text.encode() + tail, digits) == told(text, digits)


@pytest.mark.parametrize("tail", TAILS)
def test_every_length_before_and_behind_the_point_is_read_like_the_twin(tail: bytes) -> None:
    chance = random.Random(1)
    for n_whole in range(1, 13):
        for n_fraction in range(13):
            whole = "".join(chance.choices("0123456789", k=n_whole))
            fraction = "".join(chance.choices("0123456789", k=n_fraction))
            for text in {whole} if not fraction else {f"{whole}.{fraction}", f"{whole}.{'9' * n_fraction}"}:
                for digits in range(19):
                    assert parse_decimal(text.encode() + tail, digits) == told(text, digits), (text, digits)


@pytest.mark.parametrize("tail", TAILS)
def test_any_other_byte_ends_the_number(tail: bytes) -> None:
    for byte in set(range(256)) - set(b"0123456789."):
        for text in (b"7", b"61837", b"1.5", b"0.00010000", b"1234567.12345678"):
            assert parse_decimal(text + bytes([byte]) + tail, 8)[2] == len(text), byte


@pytest.mark.parametrize("tail", [b'"', TAILS[2]])
@pytest.mark.parametrize(
    "text", [b"", b".5", b"-1", b"+1", b"1.", b"1.x", b" 1", b"x", b"\x001", b"1234567.", b"\xb1"]
)
def test_text_that_is_no_plain_decimal_is_refused(text: bytes, tail: bytes) -> None:
    assert parse_decimal(text + tail, 2) == (SYNTAX, 0, 0)


@pytest.mark.parametrize("text", [b"", b"1.", b"1234567890."])
def test_text_that_ends_too_early_is_truncated(text: bytes) -> None:
    assert parse_decimal(text, 2) == (TRUNCATED, 0, 0)


def test_second_point_ends_the_number() -> None:
    assert parse_decimal(b"1.2.3", 1) == (OK, 12, 3)
    assert parse_decimal(b"1.20000000.3" + TAILS[2], 1) == (OK, 12, 10)


@pytest.mark.parametrize("digits", range(19))
def test_largest_value_is_read_and_the_next_is_refused(digits: int) -> None:
    for tail in TAILS:
        largest = format_decimal(LARGEST, digits)
        assert parse_decimal(largest.encode() + tail, digits) == (OK, LARGEST, len(largest))
        beyond = f"{Decimal(LARGEST + 1).scaleb(-digits):f}"
        assert parse_decimal(beyond.encode() + tail, digits) == (OVERFLOW, 0, 0)


@pytest.mark.parametrize("tail", [*TAILS, b",", b"}", b"123,", b'x"1234567890123456'])
def test_every_length_of_an_integer_is_read_to_the_last_that_fits(tail: bytes) -> None:
    chance = random.Random(2)
    for length in range(1, 24):
        for text in (
            "9" * length,
            "0" * length,
            "1" + "0" * (length - 1),
            "".join(chance.choices("0123456789", k=length)),
        ):
            whole = text + re.sub("[^0-9].*", "", tail.decode())
            expected = (OK, int(whole), len(whole)) if int(whole) <= LARGEST else (OVERFLOW, 0, 0)
            assert parse_integer(text.encode() + tail) == expected


@given(value=st.integers(0, 2**66), tail=st.sampled_from(TAILS))
@example(value=LARGEST, tail=TAILS[2])
@example(value=LARGEST + 1, tail=TAILS[2])
def test_integer_is_read_like_python_reads_it(value: int, tail: bytes) -> None:
    text = str(value).encode()
    expected = (OK, value, len(text)) if value <= LARGEST else (OVERFLOW, 0, 0)
    assert parse_integer(text + tail) == expected


@pytest.mark.parametrize("text", [b"-1", b"+1", b" 1", b"x", b".5", b'"1"', b"\x00", b"\xb1"])
def test_text_that_is_no_integer_is_refused(text: bytes) -> None:
    for tail in TAILS:
        assert parse_integer(text + tail) == (SYNTAX, 0, 0)
    assert parse_integer(b"") == (TRUNCATED, 0, 0)


@given(value=st.integers(-(2**63), LARGEST), digits=st.integers(0, 18))
@example(value=-(2**63), digits=18)
@example(value=0, digits=0)
@example(value=-1, digits=5)
def test_value_is_written_like_decimal_writes_it(value: int, digits: int) -> None:
    assert format_decimal(value, digits) == f"{Decimal(value).scaleb(-digits):.{digits}f}"


@given(value=st.integers(0, LARGEST), digits=st.integers(0, 18))
def test_written_value_is_read_back(value: int, digits: int) -> None:
    text = format_decimal(value, digits)
    assert parse_decimal(text.encode(), digits) == (OK, value, len(text))


@pytest.mark.parametrize("digits", [-1, 19])
def test_unit_out_of_bounds_is_refused_in_a_sentence(digits: int) -> None:
    with pytest.raises(ValueError, match=r"digits must be 0 to 18, found -?\d+"):
        parse_decimal(b"1", digits)
    with pytest.raises(ValueError, match=r"digits must be 0 to 18, found -?\d+"):
        format_decimal(1, digits)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_value_beyond_64_bits_cannot_be_written(value: int) -> None:
    with pytest.raises(OverflowError):
        format_decimal(value, 2)
