"""Converted records run through a market as frames would; broken ones are refused."""

import pytest

from native.market import Market
from native.playback import encode_frame, encode_snapshot, run_events

START = 1_700_000_000_000_000_000
SNAPSHOT = b'{"lastUpdateId":0,"bids":[["99.00","1"]],"asks":[["101.00","1"]]}'


def market() -> Market:
    return Market(symbol="BTCUSDT", kind=0, price_digits=2, quantity_digits=8, tick=1, stale_ns=10**15)


def depth(number: int, symbol: str = "BTCUSDT") -> bytes:
    return (
        f'{{"e":"depthUpdate","E":{START // 1_000_000},"s":"{symbol}","U":{number},"u":{number},'
        f'"b":[["99.00","{1 + number % 7}"]],"a":[]}}'
    ).encode()


def records(count: int) -> bytes:
    encoder = market()
    parts = [encode_snapshot(encoder, SNAPSHOT, START)]
    parts += [encode_frame(encoder, depth(number), START + number) for number in range(1, count + 1)]
    return b"".join(parts)


def test_encoding_leaves_the_market_alone_and_skips_foreign_frames() -> None:
    encoder = market()
    assert encode_frame(encoder, depth(1, "ETHUSDT"), START) == b""
    assert len(encode_frame(encoder, depth(1), START)) % 8 == 0
    assert (encoder.messages, encoder.foreign_messages) == (0, 0)


def test_run_stops_at_the_mask_and_resumes_behind_it() -> None:
    data, room = records(3), market()
    offset, mask = run_events(room, data, 0, len(data))
    assert mask == 64  # the first joining update makes the book live
    assert room.depth_applied == 1
    assert run_events(room, data, offset, len(data)) == (len(data), 0)
    assert room.depth_applied == 3
    assert run_events(room, data, len(data), len(data)) == (len(data), 0)


def test_log_of_best_prices_is_never_outrun() -> None:
    count = 70_000
    data, room = records(count), market()
    room.enable_bbo_log()
    offset, rows = 0, 0
    while offset < len(data):
        offset, _ = run_events(room, data, offset, len(data))
        rows += len(room.take_bbo())
    assert (rows, room.bbo.lost) == (count, 0)


@pytest.mark.parametrize("cut", [1, 8, 24, 40])
def test_a_record_that_is_not_whole_is_refused_with_its_place(cut: int) -> None:
    data, room = records(2), market()
    offset, _ = run_events(room, data, 0, len(data))
    with pytest.raises(ValueError, match=f"the record at {offset} is not whole or not sound"):
        run_events(room, data[:-cut], offset, len(data) - cut)


def test_offsets_outside_the_buffer_are_refused() -> None:
    data = records(1)
    for offset, end in ((-1, 5), (5, 4), (0, len(data) + 1)):
        with pytest.raises(ValueError, match="is needed, found"):
            run_events(market(), data, offset, end)
