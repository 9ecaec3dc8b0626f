"""Event-file records: every kind there and back, and nothing unsound is taken or read past."""

import ctypes
import gzip
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native.eventfile import first_record, record_sizes
from native.events import MarketKind, MessageKind, ParseStatus
from native.market import Market
from native.playback import encode_frame, encode_snapshot, run_events
from tests.native.wire.messages import COINM, SAMPLES, SPOT, USDM, Rules, Sample
from tests.oracles.eventfile import DEPTH, HEADER, SIZES, decode

NOW = 1_723_161_342_000_000_000
KINDS = {SPOT: MarketKind.SPOT, USDM: MarketKind.USDM, COINM: MarketKind.COINM}
COUNTERS = (
    *("messages", "depth_updates", "depth_applied", "snapshots", "trades", "tickers", "klines"),
    *("partial_books", "other_messages", "refused", "crossed", "gaps", "floored_quantities", "book_epoch"),
    *("best_bid", "best_ask", "cvd", "last_trade_id", "now_ns", "update_id", "is_valid"),
)


def market_of(rules: Rules) -> Market:
    return Market(
        symbol=rules.symbol,
        kind=KINDS[rules],
        price_digits=rules.price_digits,
        quantity_digits=rules.quantity_digits,
        tick=1,
    )


def record_of(sample: Sample, recv_ns: int = NOW) -> bytes:
    encode = encode_snapshot if sample.is_answer else encode_frame
    return encode(market_of(sample.rules), sample.frame, recv_ns)


def exact(data: bytes) -> memoryview:
    """Copy into memory that ends with the last byte, so that a memory checker sees a read past it."""
    return memoryview((ctypes.c_ubyte * len(data)).from_buffer_copy(data)).cast("B")


def run(market: Market, data: bytes) -> list[int]:
    """Run all records from memory of just their size; return the masks."""
    block, at, masks = exact(data), 0, []
    while at < len(data):
        at, mask = run_events(market, block, at, len(data))
        masks.append(mask)
    return [mask for mask in masks if mask]


def refuses(data: bytes) -> bool:
    """Whether both readers refuse the record that stands at the head."""
    market = market_of(SPOT)
    with pytest.raises(ValueError, match="record at 0 is not whole or not sound"):
        run_events(market, exact(data), 0, len(data))
    return first_record(data)[0] == 0 and market.messages == 0


def state_of(market: Market) -> dict[str, object]:
    levels = tuple(tuple(market.book.levels(side, 1000)) for side in (1, -1))
    return {name: getattr(market, name) for name in COUNTERS} | {"levels": levels}


NOTHING = Sample("nothing", SPOT, MessageKind.MESSAGE_NONE, b'{"result":null,"id":1}')
EVERY = (*SAMPLES, NOTHING)
ONE_OF_EACH = {sample.kind: sample for sample in EVERY}


def test_layout_when_the_vocabulary_changes_then_this_fails_and_the_version_must_grow() -> None:
    assert record_sizes() == SIZES
    assert list(SIZES.values()) == [24, 48, 16, 72, 48, 96, 64, 64, 80]


@pytest.mark.parametrize("sample", EVERY, ids=lambda sample: sample.name)
def test_message_when_made_a_record_then_every_field_is_in_it(sample: Sample) -> None:
    status, kind, fields = sample.read()
    record = record_of(sample)
    found = decode(record)
    assert (found.recv_ns, found.kind, found.status, found.fields) == (NOW, kind, status, fields)
    assert first_record(record) == (len(record), NOW, kind, status)


@pytest.mark.parametrize("sample", EVERY, ids=lambda sample: sample.name)
def test_record_when_run_then_the_market_is_as_after_the_message_itself(sample: Sample) -> None:
    told, replayed = market_of(sample.rules), market_of(sample.rules)
    told.advance(NOW)
    mask = (told.on_snapshot if sample.is_answer else told.on_frame)(sample.frame, NOW)
    assert run(replayed, record_of(sample)) == ([mask] if mask else [])
    assert state_of(replayed) == state_of(told)
    assert replayed.messages == 1


@pytest.mark.parametrize("frame", [b"", b"{", SAMPLES[0].frame[:-3], b'{"e":"trade","s":"BTCUSDT"}'])
def test_frame_when_it_cannot_be_read_then_its_record_says_so(frame: bytes) -> None:
    record = encode_frame(market_of(SPOT), frame, NOW)
    found = decode(record)
    assert (found.recv_ns, found.kind, found.fields) == (NOW, MessageKind.MESSAGE_NONE, {})
    assert found.status == SPOT.reader().read(frame)[0] != ParseStatus.PARSE_OK
    market = market_of(SPOT)
    run(market, record)
    assert (market.messages, market.refused) == (1, 1)


def test_frame_when_another_instruments_then_it_has_no_record() -> None:
    frame = next(sample.frame for sample in SAMPLES if sample.rules == SPOT)
    assert encode_frame(market_of(SPOT), frame.replace(b"BTCUSDT", b"ETHUSDT"), NOW) == b""


def changed(record: bytes, **fields: int) -> bytes:
    """Change fields of the record's header."""
    names = ("recv_ns", "kind", "status", "size")
    values = dict(zip(names, HEADER.unpack_from(record), strict=True)) | fields
    return HEADER.pack(*(values[name] for name in names)) + record[HEADER.size :]


@pytest.mark.parametrize("sample", ONE_OF_EACH.values(), ids=lambda sample: sample.name)
def test_record_when_cut_anywhere_then_it_is_refused(sample: Sample) -> None:
    record = record_of(sample)
    for length in range(1, len(record)):
        assert refuses(record[:length])
    # Even if its size says that it is whole.
    for length in range(HEADER.size, len(record), 8):
        assert refuses(changed(record[:length], size=length))


@pytest.mark.parametrize("sample", ONE_OF_EACH.values(), ids=lambda sample: sample.name)
def test_record_when_its_header_is_not_of_a_message_then_it_is_refused(sample: Sample) -> None:
    record = record_of(sample)
    size = len(record)
    for wrong in (0, 8, size - 8, size + 8, size + 16, size - 1, size + 1, -size, 2**63 - 8, -(2**63)):
        assert refuses(changed(record + bytes(64), size=wrong))
    for kind in (-1, 10, 2**31 - 1, -(2**31)):
        assert refuses(changed(record, kind=kind))
    for status in (-1, 8, 2**31 - 1):
        assert refuses(changed(record, status=status))
    if sample is not NOTHING:
        assert refuses(changed(record, status=ParseStatus.PARSE_SYNTAX)), "what was not read has no event"


def test_record_when_its_levels_do_not_fill_it_then_it_is_refused() -> None:
    record = record_of(ONE_OF_EACH[MessageKind.MESSAGE_DEPTH])
    fields = list(DEPTH.unpack_from(record, HEADER.size))
    n_bids, n_asks = fields[4:6]
    levels = record[HEADER.size + DEPTH.size :]
    for bids, asks in [
        (n_bids + 1, n_asks),
        (n_bids, n_asks - 1),
        (-1, n_bids + n_asks + 1),
        (n_bids + n_asks + 1, -1),
        (2**31 - 1, 2**31 - 1),
        (-(2**31), -(2**31)),
    ]:
        fields[4:6] = bids, asks
        assert refuses(record[: HEADER.size] + DEPTH.pack(*fields) + levels)


def test_trade_when_no_wire_room_would_make_it_then_it_is_refused() -> None:
    record = record_of(ONE_OF_EACH[MessageKind.MESSAGE_TRADE])
    for offset, layout, wrong in [
        (8, "<q", -1),
        (16, "<q", -1),
        (56, "<q", -1),
        (64, "<i", 0),
        (64, "<i", 2),
        (64, "<i", -2),
    ]:
        bad = bytearray(record)
        struct.pack_into(layout, bad, HEADER.size + offset, wrong)
        assert refuses(bytes(bad))


def test_record_when_off_the_grid_of_eight_bytes_then_it_is_refused() -> None:
    record = record_of(ONE_OF_EACH[MessageKind.MESSAGE_DEPTH])
    for shift in range(1, 8):
        with pytest.raises(ValueError, match=f"record at {shift} is not whole"):
            run_events(market_of(SPOT), exact(bytes(shift) + record), shift, shift + len(record))


def test_records_when_a_later_one_is_broken_then_those_before_are_taken_and_its_place_is_told() -> None:
    good = record_of(ONE_OF_EACH[MessageKind.MESSAGE_TICKER])
    market = market_of(SPOT)
    with pytest.raises(ValueError, match=f"record at {2 * len(good)} is not whole"):
        run(market, good + good + good[:-8])
    assert market.tickers == 2


@pytest.mark.parametrize(("offset", "end"), [(-1, 0), (1, 0), (0, 9), (9, 9)])
def test_run_when_its_bounds_are_not_of_the_buffer_then_it_says_what_was_found(offset: int, end: int) -> None:
    with pytest.raises(ValueError, match=f"found {offset}, {end}"):
        run_events(market_of(SPOT), exact(bytes(8)), offset, end)


def test_run_when_there_is_nothing_then_the_end_is_reached() -> None:
    assert run_events(market_of(SPOT), b"", 0, 0) == (0, 0)
    assert run_events(market_of(SPOT), bytes(8), 8, 8) == (8, 0)


SESSION = [record_of(ONE_OF_EACH[kind]) for kind in (5, 1, 2, 3, 4, 6, 0, 1)]
WHOLE = b"".join(SESSION)


@example(places=[(24 + 16, 255)], cut=len(WHOLE))
@given(
    places=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, len(WHOLE)),
)
def test_records_when_any_bytes_are_changed_then_they_are_taken_or_refused(
    places: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(WHOLE)
    starts = [sum(map(len, SESSION[:i])) for i in range(len(SESSION))]
    for place, value in places:
        # Not the receive time: a jump of years makes the market run each second of them.
        if all(not start <= place < start + 8 for start in starts):
            data[place] = value
    market = market_of(SPOT)
    try:
        run(market, bytes(data[:cut]))
    except ValueError:
        assert market.messages < len(SESSION)
    else:
        assert market.messages <= len(SESSION)


def read_recorded(path: Path, most: int) -> Iterator[tuple[int, bytes]]:
    with gzip.open(path, "rb") as lines:
        for _, line in zip(range(most), lines, strict=False):
            now, _, frame = line.strip().partition(b" ")
            yield int(now), frame


@pytest.mark.slow
@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "rules"),
    [("binance_spot_20240808/spot", SPOT), ("binance_usdm_20240808/usdm", USDM)],
    ids=["spot", "usdm"],
)
def test_recorded_frames_when_made_records_then_fields_and_markets_are_the_same(
    captures: Path, name: str, rules: Rules
) -> None:
    told, replayed, reader = market_of(rules), market_of(rules), rules.reader()
    data, masks = [], []
    for now_ns, frame in read_recorded(captures / f"{name}_btcusdt_20240808.gz", 8000):
        is_answer = frame.startswith(b'{"last')
        record = (encode_snapshot if is_answer else encode_frame)(told, frame, now_ns)
        status, kind, fields = (reader.read_snapshot if is_answer else reader.read)(frame)
        found = decode(record)
        assert (found.recv_ns, found.kind, found.status, found.fields) == (now_ns, kind, status, fields)
        data.append(record)
        while mask := told.advance(now_ns):
            masks.append(mask)
        masks.append((told.on_snapshot if is_answer else told.on_frame)(frame, now_ns))
    assert run(replayed, b"".join(data)) == [mask for mask in masks if mask]
    assert state_of(replayed) == state_of(told)
    assert told.depth_applied > 300
    assert told.trades > 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_records_when_damaged_by_the_hundred_then_nothing_is_read_past_the_end(seed: int) -> None:
    dice = random.Random(seed)
    records = [record_of(sample) for sample in SAMPLES if sample.rules == SPOT]
    n_refused = 0
    for _ in range(400):
        record = bytearray(dice.choice(records))
        for _ in range(dice.randint(1, 3)):
            # Headers and counts are hit more often than levels.
            place = dice.randrange(8, min(len(record), dice.choice((24, 72, 10_000))))
            record[place] = dice.choice((0, 1, 8, 127, 128, 255, dice.randrange(256)))
        data = bytes(record)[: dice.choice((len(record), len(record), dice.randrange(len(record) + 1)))]
        try:
            run(market_of(SPOT), data)
        except ValueError:
            n_refused += 1
            assert first_record(data)[0] == 0
    assert 100 < n_refused < 400
