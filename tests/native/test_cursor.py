"""The cursor over JSON text: it steps over whole values and never past the end."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native.cursor import name_length, skip

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, indent=st.sampled_from([None, 1]), is_ascii=st.booleans())
def test_any_value_is_stepped_over_whole(value: object, indent: int | None, is_ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    for tail in (b"", b",1", b"}", b"]", b" : 5", b"\n"):
        assert skip(text + tail) == len(text)
        assert skip(b" \r\n\t" + text + tail) == 4 + len(text)


@given(value=VALUES)
def test_cut_value_does_not_end_unless_it_is_a_bare_word_or_number(value: object) -> None:
    text = json.dumps(value).encode()
    if text[:1] not in b'"[{':
        return
    for length in range(len(text)):
        assert skip(text[:length]) == -1


@pytest.mark.parametrize(
    "text", [b"", b" ", b"}", b"]", b",", b":", b'"', b'"\\', b'"\\"', b'["a"', b"[,,", b"{{}"]
)
def test_what_is_no_value_is_refused(text: bytes) -> None:
    assert skip(text) == -1


@pytest.mark.parametrize(
    "text", [rb'"\""', rb'"\\"', rb'"\\\""', rb'"a\u0022b"', b'"{[}]"', rb'{"}":"]","\"":["{"]}', b'"\x00"']
)
def test_brackets_and_escapes_inside_strings_do_not_count(text: bytes) -> None:
    assert skip(text + b'"]}') == len(text)


def test_nesting_of_any_depth_is_stepped_over() -> None:
    deep = b"[" * 500_000 + b"]" * 500_000
    assert skip(deep) == len(deep)
    assert skip(deep[:-1]) == -1


def is_plain(content: bytes) -> bool:
    """Tell whether this is UTF-8 without control characters, escapes and quotes."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return not any(letter < " " or letter in '\\"' for letter in text)


@given(
    content=st.binary(max_size=12)
    | st.text(max_size=6).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@example(content=b"\xff")
@example(content="币安".encode())
@example(content=b"a\xe5\xb8")
@example(content=b"\xc0\xaf")
@example(content=b"\xe0\x80\xaf")
@example(content=b"\xed\xa0\x80")
@example(content=b"\xf0\x80\x80\xaf")
@example(content=b"\xf4\x90\x80\x80")
def test_name_is_utf8_as_python_reads_it_or_it_is_refused(content: bytes) -> None:
    end = content.find(b'"')
    inside = content if end < 0 else content[:end]
    expected = len(inside) if is_plain(inside) else -1
    assert name_length(b'"' + content + b'"') == expected


def test_every_character_beyond_ascii_of_two_bytes_and_a_sample_of_the_others() -> None:
    for first in range(128, 256):
        for second in range(0x60, 256):
            for tail in (b"", b"\x80", b"\xbf\xbf", b"\x7f\x80", b"\x80\xc0"):
                content = bytes((first, second)) + tail
                assert name_length(b'"' + content + b'"') == (len(content) if is_plain(content) else -1)
