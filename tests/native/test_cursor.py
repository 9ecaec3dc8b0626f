"""The cursor over JSON text: it steps over whole values and never past the end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.cursor import skip

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
