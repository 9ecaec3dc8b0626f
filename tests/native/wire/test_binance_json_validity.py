"""Damaged frames against a general JSON reader: what an event is made of is JSON, or it is refused."""

import re
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.events import MessageKind, ParseStatus
from tests.native.wire.messages import SAMPLES, SPOT_DEPTH, SPOT_TRADE, USDM_DEPTH, Sample

OK = ParseStatus.PARSE_OK
SPACE = b" \t\r\n"
LEVELS = {"b", "a", "bids", "asks"}
WRAPPER = {"stream", "data"}
# The members that an event is made of, by the name of the event; "" is an object without a name.
READ: dict[str, set[str]] = {
    "": {"lastUpdateId", "symbol", "bids", "asks", "E", "s", "u", "b", "B", "a", "A"},
    "depthUpdate": {"s", "b", "a", "U", "u", "pu", "E"},
    "trade": {"s", "t", "p", "q", "nq", "T", "E", "m", "X"},
    "aggTrade": {"s", "a", "p", "q", "nq", "T", "E", "m", "X", "f", "l"},
    "bookTicker": {"s", "u", "b", "B", "a", "A", "E"},
    "kline": {"s", "E", "k"},
    "markPriceUpdate": {"s", "E", "p", "ap", "i", "P", "r", "T"},
    "24hrTicker": {"s", "E", "c", "o", "h", "l", "v", "q", "n", "O", "C"},
    "forceOrder": {"E", "o"},
}
INNER = {
    "k": {"t", "T", "i", "n", "o", "h", "l", "c", "v", "V", "x"},
    "o": {"s", "S", "T", "p", "ap", "q", "l", "z", "X"},
}

samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def is_read(kind: MessageKind, fields: object) -> bool:
    return kind != MessageKind.MESSAGE_NONE and bool(fields)


def after_value(text: bytes, at: int) -> int:
    """Step over one value by quotes and brackets, as the reader says that it does; `at` is its first byte."""
    depth = 0
    while True:
        while text[at] in SPACE or (depth and text[at] in b",:"):
            at += 1
        if text[at] in b"{[":
            depth, at = depth + 1, at + 1
            continue
        if text[at] in b"}]":
            depth, at = depth - 1, at + 1
        elif text[at] == ord('"'):
            found = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL).match(text, at)
            assert found, text
            at = found.end()
        else:
            while at < len(text) and text[at] not in b' \t\r\n,:"]}':
                at += 1
        if depth == 0:
            return at


def members(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Give key, begin and end of every value of the object that `text` begins with."""
    at = text.index(b"{") + 1
    while True:
        opened = text.find(b'"', at)
        if opened < 0 or text[at:opened].strip(SPACE + b","):
            return
        closed = text.index(b'"', opened + 1)
        begin = text.index(b":", closed) + 1
        while text[begin] in SPACE:
            begin += 1
        end = after_value(text, begin)
        yield text[opened + 1 : closed].decode("latin-1"), begin, end
        at = end
        while text[at] in SPACE:
            at += 1
        if text[at] != ord(","):
            return


def blanked_levels(text: bytes) -> bytes:
    """Put null in the place of what a level holds behind its quantity."""
    level = re.compile(rb'(\[[ \t\r\n]*"[^"]*"[ \t\r\n]*,[ \t\r\n]*"[^"]*"[ \t\r\n]*)(,)?')
    out, at = b"", 0
    while found := level.search(text, at):
        out += text[at : found.end(1)]
        at = found.end(1)
        while text[at] == ord(","):
            begin = at + 1
            while text[begin] in SPACE:
                begin += 1
            at = after_value(text, begin)
            out += b",null"
            while text[at] in SPACE:
                at += 1
    return out + text[at:]


def blanked(text: bytes, *, is_outermost: bool = True, inner: str = "") -> bytes:
    """Put null in the place of every value that nothing is read of."""
    found = list(members(text))
    keys = {key for key, _, _ in found}
    name = next(
        (text[begin:end].strip(b'"').decode("latin-1") for key, begin, end in found if key == "e"), ""
    )
    if inner:
        read = INNER[inner]
    elif is_outermost and keys & WRAPPER:
        read = WRAPPER
    else:
        read = READ.get(name, set()) | {"e"}
    out, last = b"", 0
    for key, begin, end in found:
        value = text[begin:end]
        if key not in read:
            value = b"null"
        elif value[:1] == b"[" and key in LEVELS:
            value = blanked_levels(value)
        elif value[:1] == b"{" and key == "data":
            value = blanked(value, is_outermost=False)
        elif value[:1] == b"{" and key in INNER:
            value = blanked(value, inner=key)
        out += text[last:begin] + value
        last = end
    return out + text[last:]


def is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def hold(sample: Sample, text: bytes) -> bool:
    """Check one text; True: it was taken although a general reader refuses it."""
    status, kind, fields = sample.read(text)
    if status != OK or not is_read(kind, fields) or is_json(text):
        return False
    assert is_json(blanked(text)), text
    return True


def wrapped(sample: Sample) -> bytes:
    stream = sample.rules.symbol.lower().encode() + b"@depth@100ms"
    return sample.frame if sample.is_answer else b'{"stream":"' + stream + b'","data":' + sample.frame + b"}"


@samples
def test_every_byte_set_to_one_that_utf8_does_not_have_is_refused_where_it_is_read(sample: Sample) -> None:
    n_taken = 0
    for text in (sample.frame, wrapped(sample)):
        for place in range(len(text)):
            for byte in (0x00, 0x1F, 0x80, 0xC3, 0xFF):
                n_taken += hold(sample, text[:place] + bytes([byte]) + text[place + 1 :])
    # Some values of most messages are stepped over: the check is not one of nothing.
    assert n_taken < 5 * len(sample.frame)


DAMAGE = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 3),
        st.binary(min_size=0, max_size=3)
        | st.sampled_from([b"0", b'"', b",", b"]", b"}", b"-", b"\\", b"\xff", b"1e"]),
    ),
    min_size=1,
    max_size=3,
)


@samples
@settings(max_examples=60)
@given(damage=DAMAGE, is_wrapped=st.booleans())
def test_whatever_orjson_refuses_of_what_is_read_is_refused(
    sample: Sample, damage: list[tuple[float, int, bytes]], is_wrapped: bool
) -> None:
    text = wrapped(sample) if is_wrapped else sample.frame
    for where, n_cut, put in damage:
        place = int(where * len(text))
        text = text[:place] + put + text[place + n_cut :]
    hold(sample, text)


@samples
def test_whole_messages_lose_nothing_that_is_read_when_the_rest_is_blanked(sample: Sample) -> None:
    # Of the check itself: what it blanks is what the reader does not look at.
    for text in (sample.frame, wrapped(sample)):
        rest = blanked(text)
        assert is_json(rest)
        assert sample.read(rest) == sample.read(text)


@pytest.mark.parametrize(
    ("frame", "damaged"),
    [
        (SPOT_DEPTH, SPOT_DEPTH.replace(b'"E"', b'"\xff"')),
        (SPOT_DEPTH, SPOT_DEPTH.replace(b'"E"', b'"E\xff"')),
        (SPOT_DEPTH, SPOT_DEPTH.replace(b'"E"', '"Ё"'.encode())),
        (USDM_DEPTH, USDM_DEPTH.replace(b'"pu"', b'"p\xf5"')),
        (USDM_DEPTH, USDM_DEPTH.replace(b"BTCUSDT", b"BTCUSD\xd4", 1)),
        (SPOT_TRADE, SPOT_TRADE.replace(b'"trade"', b'"tr\xe1de"')),
        (SPOT_TRADE, SPOT_TRADE.replace(b'"t":3', b'"t":03')),
        (SPOT_TRADE, SPOT_TRADE.replace(b'"E":1', b'"E":0')),
    ],
)
def test_damaged_key_name_or_number_is_a_refused_message(frame: bytes, damaged: bytes) -> None:
    sample = next(one for one in SAMPLES if one.frame == frame)
    assert damaged != frame
    assert sample.read(frame)[0] == OK
    assert sample.read(damaged) == (ParseStatus.PARSE_SYNTAX, MessageKind.MESSAGE_NONE, {})
