"""The Binance reader on cut, changed and random text: a status or the twin's event, never another one.

Under the sanitizer build every read past the end of a frame ends the run: the reader gets its text in a block
of exactly that length.
"""

import json
import os
import random
from collections import Counter

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from native.events import MessageKind, ParseStatus
from native.wire.binance_json import BinanceJson
from tests.native.wire.messages import SAMPLES, Sample, airy, with_unknown_keys
from tests.oracles.wire import SlowReader

OK = ParseStatus.PARSE_OK
NONE = MessageKind.MESSAGE_NONE
SEED = 20_240_808
SHORT = 4_000

samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


class Pair:
    """A reader and its twin, and what they said so far."""

    def __init__(self, sample: Sample, max_levels: int = 16_384) -> None:
        rules = sample.rules
        self.sample = sample
        self.reader = BinanceJson(
            symbol=rules.symbol,
            price_digits=rules.price_digits,
            quantity_digits=rules.quantity_digits,
            is_spot=rules.is_spot,
            max_levels=max_levels,
        )
        self.twin = SlowReader(
            rules.symbol, rules.price_digits, rules.quantity_digits, rules.is_spot, max_levels
        )
        self.said: Counter[str] = Counter()

    def hold(self, text: bytes) -> None:
        """Read `text` as a frame and as a REST answer; both must refuse it or agree with the twin."""
        for found, expected in (
            (self.reader.read(text), self.twin.read(text)),
            (self.reader.read_snapshot(text), self.twin.read_snapshot(text)),
        ):
            status, kind, fields = found
            if status != OK:
                assert (kind, fields) == (NONE, {}), text
                self.said[status.name] += 1
            elif expected is None:
                # Not JSON, but well formed where we look: skipped values are not checked.
                self.said["not JSON"] += 1
            else:
                assert found == expected, text
                self.said[kind.name] += 1


def forms(sample: Sample) -> list[bytes]:
    return [sample.frame, with_unknown_keys(sample.frame), airy(sample.frame)]


@samples
def test_cut_frame_gives_a_status_and_never_an_event(sample: Sample) -> None:
    reader = sample.rules.reader()
    read = reader.read_snapshot if sample.is_answer else reader.read
    for text in forms(sample):
        whole = len(text.rstrip())
        for length in range(whole):
            status, kind, fields = read(text[:length])
            assert status == ParseStatus.PARSE_TRUNCATED, text[:length]
            assert (kind, fields) == (NONE, {})
        for length in range(whole, len(text) + 1):
            assert read(text[:length])[:2] == (OK, sample.kind)


@samples
def test_frame_without_its_head_gives_no_event(sample: Sample) -> None:
    pair = Pair(sample)
    for start in range(1, len(sample.frame)):
        pair.hold(sample.frame[start:])
    assert pair.said["MESSAGE_SNAPSHOT"] <= 1
    reader = sample.rules.reader()
    for tail in (b"}", b"\x00", b"{}", b"1", b",", sample.frame):
        assert reader.read(sample.frame + tail)[0] == ParseStatus.PARSE_SYNTAX
        assert reader.read_snapshot(sample.frame + tail)[0] != OK


def rotations(value: object) -> list[object]:
    """Return the document once for every key that can stand last in the object that stands last."""
    if not isinstance(value, dict):
        return [value]
    members = list(value.items())
    return [
        dict([*members[n + 1 :], *members[:n], (members[n][0], last)])
        for n in range(len(members))
        for last in rotations(members[n][1])
    ]


@samples
def test_frame_that_ends_with_any_of_its_values_is_read_like_the_twin(sample: Sample) -> None:
    pair = Pair(sample)
    for document in rotations(orjson.loads(sample.frame)):
        text = orjson.dumps(document)
        assert sample.read(text) == sample.read()
        pair.hold(text)


@samples
def test_frame_with_one_byte_changed_is_refused_or_read_like_the_twin(sample: Sample) -> None:
    pair = Pair(sample)
    for place in range(len(sample.frame)):
        for byte in b'\x00"\\{}[],:. -19etE\x80\xff':
            pair.hold(sample.frame[:place] + bytes([byte]) + sample.frame[place + 1 :])
        pair.hold(sample.frame[:place] + sample.frame[place + 1 :])
        pair.hold(sample.frame[:place] + sample.frame[place : place + 1] + sample.frame[place:])
    assert pair.said["PARSE_SYNTAX"] > 0


TOKENS = (
    b" ",
    b"\n",
    b"\x00",
    b"9" * 19,
    *rb"""{ } [ ] , : " \ \u0065 true false null 1e5 -1 0 1.5 "1.5" "0.00000000" [[[[ }}}} {" "} "1\"
    "e": "s": "b": "a": "u": "U": "pu": "data": "stream": "k":{ "bids":[ "asks":[ "lastUpdateId": [["1","2"]]
    ["1","2"], "X":"MARKET", "m":true "depthUpdate" "trade" "BTCUSDT" """.split(),
)


def mutant(chance: random.Random, text: bytes, other: bytes) -> bytes:
    """Change `text` in one to four places; `other` gives its parts."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(text) + 1)
        stop = min(len(text), start + chance.choice((0, 1, 1, 2, 8, 40)))
        match chance.randrange(7):
            case 0:
                middle = b""
            case 1:
                middle = bytes([chance.randrange(256)])
            case 2 | 3:
                middle = chance.choice(TOKENS)
            case 4:
                middle = text[start:stop] * 2
            case 5:
                begin = chance.randrange(len(other))
                middle = other[begin : begin + chance.randint(1, 60)]
            case _:
                middle = bytes(byte ^ (1 << chance.randrange(8)) for byte in text[start:stop])
        text = text[:start] + middle + text[stop:]
        if chance.randrange(8) == 0:
            text = text[: chance.randrange(len(text) + 1)]
    return text


def drill(count: int, seed: int) -> Counter[str]:
    chance = random.Random(seed)
    pairs = [Pair(sample, max_levels=chance.choice((16, 16_384))) for sample in SAMPLES]
    for number in range(count):
        pair = pairs[number % len(pairs)]
        text = chance.choice(forms(pair.sample))
        pair.hold(mutant(chance, text, chance.choice(SAMPLES).frame))
    return sum((pair.said for pair in pairs), Counter())


@pytest.mark.slow
def test_mutants_are_refused_or_read_like_the_twin() -> None:
    said = drill(SHORT, SEED)
    # The mutants are worth their name: many are refused, many live.
    assert said["PARSE_TRUNCATED"] > SHORT // 20
    assert said["PARSE_SYNTAX"] > SHORT // 20
    assert sum(count for name, count in said.items() if name.startswith("MESSAGE_")) > SHORT // 20


@pytest.mark.slow
@pytest.mark.drill
def test_long_drill_of_mutants_is_refused_or_read_like_the_twin() -> None:
    count = int(os.environ.get("REMORA_FUZZ_COUNT", "0"))
    if not count:
        pytest.skip("set REMORA_FUZZ_COUNT to the number of mutants to read")
    said = drill(count, int(os.environ.get("REMORA_FUZZ_SEED", str(SEED))))
    print(dict(sorted(said.items())))


@given(text=st.binary(max_size=300))
@example(text=b"")
@example(text=b"\xef\xbb\xbf{}")
def test_random_bytes_are_no_event(text: bytes) -> None:
    pair = Pair(SAMPLES[0])
    pair.hold(text)
    assert not any(name.startswith("MESSAGE_") for name in pair.said if name != "MESSAGE_NONE")


@pytest.mark.slow
@given(parts=st.lists(st.sampled_from([*TOKENS, *(sample.frame for sample in SAMPLES)]), max_size=12))
def test_random_tokens_are_refused_or_read_like_the_twin(parts: list[bytes]) -> None:
    Pair(SAMPLES[0]).hold(b"".join(parts))


ODD = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "1", "1.50", "-1", "1e5", "0.000001", "9" * 30, "true", "BTCUSDT", "depthUpdate", "1m"]
    )
    | st.text(max_size=3)
)
NESTED = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


def ways(value: object, way: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """List the ways to every value inside a document."""
    found = [way]
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        found += ways(inner, (*way, key))
    return found


def replaced(value: object, way: tuple[object, ...], odd: object) -> object:
    """Return the document with the value at the end of the way replaced."""
    if not way:
        return odd
    if isinstance(value, dict):
        return value | {way[0]: replaced(value[way[0]], way[1:], odd)}
    assert isinstance(value, list)
    return [replaced(inner, way[1:], odd) if n == way[0] else inner for n, inner in enumerate(value)]


@pytest.mark.slow
@samples
@settings(max_examples=40)
@given(data=st.data())
def test_odd_value_anywhere_is_refused_or_read_like_the_twin(sample: Sample, data: st.DataObject) -> None:
    document = orjson.loads(sample.frame)
    way = data.draw(st.sampled_from(ways(document)))
    Pair(sample).hold(json.dumps(replaced(document, way, data.draw(NESTED))).encode())


@pytest.mark.slow
@samples
@settings(max_examples=40)
@given(data=st.data())
def test_key_that_stands_twice_is_refused_or_read_like_the_twin(sample: Sample, data: st.DataObject) -> None:
    document = orjson.loads(sample.frame)
    objects = [way for way in ways(document) if isinstance(found_at(document, way), dict)]
    way = data.draw(st.sampled_from(objects))
    members = list(found_at(document, way).items())
    key = data.draw(st.sampled_from([key for key, _ in members] + ["e", "b", "bids", "data", "stream"]))
    members.insert(data.draw(st.integers(0, len(members))), (key, data.draw(NESTED)))
    text = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members)
    mark = "here stands the object"
    whole = json.dumps(replaced(document, way, mark)).replace(json.dumps(mark), "{" + text + "}")
    Pair(sample).hold(whole.encode())


def found_at(value: object, way: tuple[object, ...]) -> object:
    for key in way:
        value = value[key]
    return value


@pytest.mark.parametrize("bracket", [b"[", b'{"a":', b"[[[{", b'{"b":[', b'{"data":{'])
def test_deep_nesting_costs_no_stack(bracket: bytes) -> None:
    deep = bracket * 200_000
    reader = SAMPLES[0].rules.reader()
    for text in (deep, b'{"e":"trade","zz":' + deep, b'{"stream":"x","data":{"zz":' + deep):
        assert reader.read(text)[0] in (ParseStatus.PARSE_TRUNCATED, ParseStatus.PARSE_SYNTAX)
    closed = b"[" * 100_000 + b"]" * 100_000
    frame = SAMPLES[0].frame[:-1] + b',"zz":' + closed + b"}"
    assert SAMPLES[0].read(frame) == SAMPLES[0].read()
