"""The Binance reader: documented examples by hand, the slow twin, the edges of what it takes."""

import re
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.events import MessageKind, ParseStatus
from native.wire.binance_json import BinanceJson
from tests.native.wire.messages import (
    FUND_TRADE,
    PARTIAL,
    SAMPLES,
    SPOT,
    SPOT_AGGREGATE,
    SPOT_ANSWER,
    SPOT_DEPTH,
    SPOT_TICKER,
    SPOT_TRADE,
    USDM,
    USDM_DEPTH,
    USDM_TICKER,
    USDM_TRADE,
    Rules,
    Sample,
    airy,
    data_first,
    with_unknown_keys,
    wrapped,
)
from tests.oracles.wire import Reading

OK = ParseStatus.PARSE_OK
NONE = MessageKind.MESSAGE_NONE

samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def refused(status: ParseStatus) -> Reading:
    return status, NONE, {}


# Examples by hand


def test_documented_trade_whose_buyer_is_maker_has_a_selling_aggressor() -> None:
    # The example of the venue's page on trade streams, character by character but for the blanks.
    frame = (
        b'{\n  "e": "trade",\n  "E": 1672515782136,\n  "s": "BNBBTC",\n  "t": 12345,\n  "p": "0.001",\n'
        b'  "q": "100",\n  "T": 1672515782136,\n  "m": true,\n  "M": true\n}'
    )
    assert Rules("BNBBTC", 7, 3, True).reader().read(frame) == (
        OK,
        MessageKind.MESSAGE_TRADE,
        {
            "trade_id": 12345,
            "price": 10_000,
            "quantity": 100_000,
            "venue_ns": 1_672_515_782_136_000_000,
            "event_ns": 1_672_515_782_136_000_000,
            "first_id": 12345,
            "last_id": 12345,
            "regular_quantity": 100_000,
            "aggressor": -1,
            "is_aggregate": 0,
            "teaches": 1,
            "floored": 0,
        },
    )


def test_documented_futures_depth_update_carries_its_predecessor() -> None:
    frame = (
        b'{"e":"depthUpdate","E":123456789,"T":123456788,"s":"BTCUSDT","U":157,"u":160,"pu":149,'
        b'"b":[["0.0024","10"]],"a":[["0.0026","100"]]}'
    )
    expected = {
        "first_id": 157,
        "final_id": 160,
        "previous_id": 149,
        "venue_ns": 123_456_789_000_000,
        "floored": 0,
        "bids": [(24, 10)],
        "asks": [(26, 100)],
    }
    assert Rules("BTCUSDT", 4, 0, False).reader().read(frame) == (OK, MessageKind.MESSAGE_DEPTH, expected)


def test_aggregate_trade_whose_buyer_is_taker_has_a_buying_aggressor_and_its_range() -> None:
    status, kind, fields = SPOT.reader().read(SPOT_AGGREGATE)
    assert (status, kind) == (OK, MessageKind.MESSAGE_TRADE)
    assert (fields["aggressor"], fields["is_aggregate"], fields["trade_id"]) == (1, 1, 3_000_000_001)
    assert (fields["first_id"], fields["last_id"]) == (3_735_683_259, 3_735_683_262)


def test_kline_of_a_closed_hour_is_read_whole() -> None:
    frame = (
        b'{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC",'
        b'"i":"1h","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,'
        b'"x":true,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}'
    )
    assert Rules("BNBBTC", 4, 0, True).reader().read(frame) == (
        OK,
        MessageKind.MESSAGE_KLINE,
        {
            "open_ns": 1_672_515_780_000_000_000,
            "close_ns": 1_672_515_839_999_000_000,
            "venue_ns": 1_672_515_782_136_000_000,
            "open": 10,
            "high": 25,
            "low": 15,
            "close": 20,
            "volume": 1000,
            "taker_buy_volume": 500,
            "n_trades": 100,
            "interval_ns": 3_600_000_000_000,
            "is_closed": 1,
        },
    )


@samples
def test_every_kind_is_read_like_the_twin(sample: Sample) -> None:
    found = sample.read()
    assert found[:2] == (OK, sample.kind)
    assert found == sample.twin()


@samples
def test_white_space_and_unknown_keys_change_nothing(sample: Sample) -> None:
    expected = sample.read()
    for frame in (
        airy(sample.frame),
        with_unknown_keys(sample.frame),
        b"\n " + sample.frame + b"\r\n",
    ):
        assert sample.read(frame) == expected == sample.twin(frame)


# Which book a depth message belongs to


@pytest.mark.parametrize("order", [wrapped, data_first])
@pytest.mark.parametrize("channel", [b"@depth5", b"@depth20", b"@depth10@100ms", b"@rpiDepth@500ms"])
def test_partial_books_never_pass_for_diffs_in_either_key_order(
    channel: bytes, order: Callable[[bytes, bytes], bytes]
) -> None:
    for body, rules in ((USDM_DEPTH, USDM), (PARTIAL, SPOT)):
        status, kind, _ = rules.reader().read(order(b"btcusdt" + channel, body))
        assert (status, kind) == (OK, MessageKind.MESSAGE_PARTIAL)


@pytest.mark.parametrize("order", [wrapped, data_first])
@pytest.mark.parametrize("channel", [b"@depth", b"@depth@0ms", b"@depth@100ms", b"@depth@500ms"])
def test_diff_streams_give_diffs_in_either_key_order(
    channel: bytes, order: Callable[[bytes, bytes], bytes]
) -> None:
    status, kind, _ = USDM.reader().read(order(b"btcusdt" + channel, USDM_DEPTH))
    assert (status, kind) == (OK, MessageKind.MESSAGE_DEPTH)


def test_partial_book_without_symbol_is_known_by_its_stream() -> None:
    frame = wrapped(b"ethusdt@depth5", PARTIAL)
    assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_FOREIGN)


def test_answer_of_the_rest_endpoint_in_a_stream_is_no_event() -> None:
    assert SPOT.reader().read(SPOT_ANSWER) == refused(OK)


def test_spot_reader_has_no_predecessor_even_if_one_is_sent() -> None:
    frame = SPOT_DEPTH.replace(b'"b":', b'"pu":5,"b":')
    assert SPOT.reader().read(frame)[2]["previous_id"] == -1


def test_futures_depth_without_predecessor_is_refused() -> None:
    assert USDM.reader().read(SPOT_DEPTH) == refused(ParseStatus.PARSE_MISSING)


# What is not for us


@pytest.mark.parametrize(
    "frame",
    [
        b"{}",
        b'{"result":null,"id":1}',
        b'{"error":{"code":2,"msg":"Invalid request"},"id":7}',
        b'{"e":"serverShutdown","E":1770123456789}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        b'{"stream":"btcusdt@whatever","data":[1,2,{"e":"trade"}]}',
        b'{"e":"contractInfo","s":"BTCUSDT","p":"1.5","b":[1],"a":{"b":2}}',
        b'{"e":5,"u":1,"b":"1","B":"1","a":"1","A":"1"}',
    ],
)
def test_documents_of_other_kinds_are_no_event(frame: bytes) -> None:
    assert SPOT.reader().read(frame) == refused(OK) == SPOT.twin().read(frame)


@pytest.mark.parametrize(
    "sample",
    [sample for sample in SAMPLES if b'"s":' in sample.frame or b'"symbol":' in sample.frame],
    ids=lambda sample: sample.name,
)
def test_another_instruments_message_is_foreign_whatever_else_is_wrong_with_it(sample: Sample) -> None:
    coarse = Rules("ETHUSDT", 0, 0, sample.rules.is_spot, max_levels=16)
    other = Sample("other", coarse, sample.kind, sample.frame, sample.is_answer)
    assert other.read() == refused(ParseStatus.PARSE_FOREIGN) == other.twin()


def test_event_without_symbol_is_refused() -> None:
    for whole in (SPOT_TRADE, SPOT_DEPTH, SPOT_TICKER, SPOT_AGGREGATE):
        frame = whole.replace(b'"s":"BTCUSDT",', b"")
        assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_MISSING) == SPOT.twin().read(frame)


def test_print_of_another_kind_than_market_teaches_nothing() -> None:
    for name, teaches in ((b"MARKET", 1), (b"INSURANCE_FUND", 0), (b"NA", 0), (b"MARKETS", 0), (b"", 0)):
        frame = USDM_TRADE.replace(b'"MARKET"', b'"' + name + b'"')
        assert USDM.reader().read(frame)[2]["teaches"] == teaches
    assert USDM.reader().read(FUND_TRADE.replace(b"MARKET", b"X"))[2]["teaches"] == 0


def test_print_of_nothing_or_at_nothing_teaches_nothing() -> None:
    for old, new in ((b'"p":"61837.63000000"', b'"p":"0"'), (b'"q":"0.52000000"', b'"q":"0.00000000"')):
        frame = SPOT_AGGREGATE.replace(old, new)
        assert frame != SPOT_AGGREGATE
        assert SPOT.reader().read(frame)[2]["teaches"] == 0
        assert SPOT.reader().read(frame) == SPOT.twin().read(frame)


# Numbers


@pytest.mark.parametrize(
    ("sent", "nanoseconds"),
    [
        (b"1723161255343", 1_723_161_255_343_000_000),
        (b"1723161255343123", 1_723_161_255_343_123_000),
        (b"0", 0),
        (b"9223372036854", 9_223_372_036_854_000_000),
        (b"9223372036854775", 9_223_372_036_854_775_000),
    ],
)
def test_venue_times_in_milliseconds_and_microseconds_become_nanoseconds(
    sent: bytes, nanoseconds: int
) -> None:
    frame = re.sub(rb'"([ET])":[0-9]+', rb'"\1":' + sent, SPOT_TRADE)
    fields = SPOT.reader().read(frame)[2]
    assert (fields["venue_ns"], fields["event_ns"]) == (nanoseconds, nanoseconds)
    assert SPOT.reader().read(frame) == SPOT.twin().read(frame)


@pytest.mark.parametrize("sent", [b"9223372036855", b"9223372036854776", b"99999999999999", b"9" * 18])
def test_venue_time_beyond_64_bits_of_nanoseconds_is_refused(sent: bytes) -> None:
    frame = SPOT_TRADE.replace(b"1723161255342", sent)
    assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_OVERFLOW) == SPOT.twin().read(frame)


def test_price_finer_than_its_unit_is_refused() -> None:
    for good, bad in (
        (SPOT_TRADE, b"61837.63000001"),
        (SPOT_DEPTH, b"61837.641"),
        (SPOT_TICKER, b"61837.631"),
    ):
        frame = good.replace(b"61837.63000000", bad).replace(b"61837.64000000", bad)
        assert (
            SPOT.reader().read(frame) == refused(ParseStatus.PARSE_EXCESS_DIGITS) == SPOT.twin().read(frame)
        )


def test_quantities_finer_than_their_unit_are_floored_and_counted() -> None:
    frame = SPOT_DEPTH.replace(b"1.50000000", b"1.50000999").replace(b"2.25000000", b"2.25000001")
    status, kind, fields = SPOT.reader().read(frame)
    assert (status, kind, fields["floored"]) == (OK, MessageKind.MESSAGE_DEPTH, 2)
    assert fields["bids"] == [(6_173_763, 0), (6_173_017, 150_000)]
    assert fields["asks"] == [(6_183_764, 225_000)]
    trade = SPOT.reader().read(SPOT_TRADE.replace(b"0.02000000", b"0.02000999"))[2]
    assert (trade["quantity"], trade["floored"]) == (2_000, 1)


def test_count_of_floored_quantities_starts_anew_with_every_message() -> None:
    reader = SPOT.reader()
    reader.read(SPOT_DEPTH.replace(b"1.50000000", b"1.50000999"))
    assert reader.read(SPOT_DEPTH)[2]["floored"] == 0
    reader.read(SPOT_TICKER.replace(b"3.78826000", b"3.78826001"))
    assert reader.read_snapshot(SPOT_ANSWER)[2]["floored"] == 0


def test_only_the_trades_own_quantity_counts_as_floored() -> None:
    frame = SPOT_TRADE[:-1] + b',"bids":[["1","0.0000001"]]}'
    assert SPOT.reader().read(frame) == SPOT.reader().read(SPOT_TRADE) == SPOT.twin().read(frame)


@pytest.mark.parametrize("number", [b"92233720368547758.08", b"100000000000000000", b"9" * 40])
def test_price_beyond_64_bits_is_refused(number: bytes) -> None:
    for good in (SPOT_TRADE, SPOT_TICKER):
        frame = good.replace(b"61837.63000000", number)
        assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_OVERFLOW) == SPOT.twin().read(frame)
    frame = SPOT_DEPTH.replace(b"61837.64000000", number)
    assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_OVERFLOW)


def test_largest_price_that_fits_is_read_exactly() -> None:
    frame = SPOT_TRADE.replace(b"61837.63000000", b"92233720368547758.07000")
    assert SPOT.reader().read(frame)[2]["price"] == 2**63 - 1


@pytest.mark.parametrize("number", [2**63 - 1, 10**18, 10**18 - 1, 0])
def test_update_id_up_to_63_bits_is_read_exactly(number: int) -> None:
    frame = SPOT_DEPTH.replace(b"50093239202", str(number).encode())
    assert SPOT.reader().read(frame)[2]["final_id"] == number
    body = SPOT_ANSWER.replace(b"50093239218", str(number).encode())
    assert SPOT.reader().read_snapshot(body)[2]["final_id"] == number


@pytest.mark.parametrize("number", [2**63, 10**19, 10**40])
def test_update_id_beyond_63_bits_is_refused(number: int) -> None:
    frame = SPOT_DEPTH.replace(b"50093239202", str(number).encode())
    assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_OVERFLOW)
    body = SPOT_ANSWER.replace(b"50093239218", str(number).encode())
    assert SPOT.reader().read_snapshot(body) == refused(ParseStatus.PARSE_OVERFLOW)


@pytest.mark.parametrize(
    "value", [b"-1", b"1.0", b"1e5", b"1E5", b"null", b"true", b'"7"', b"[]", b"{}", b"-0"]
)
def test_update_id_that_is_no_plain_integer_is_refused(value: bytes) -> None:
    assert SPOT.reader().read(SPOT_DEPTH.replace(b"50093239202", value)) == refused(ParseStatus.PARSE_SYNTAX)


@pytest.mark.parametrize(
    "value",
    [
        b"61837.63",
        b"null",
        b"[]",
        b'""',
        b'"."',
        b'"1."',
        b'".5"',
        b'"-1"',
        b'"+1"',
        b'"1e5"',
        b'" 1"',
        b'"1 "',
        b'"1_0"',
        b'"NaN"',
        b'"Infinity"',
        b'"0x10"',
        b'"1.2.3"',
        b'"\\u0031"',
        b'"\xd9\xa1"',
        b'"1\x00"',
    ],
)
def test_price_that_is_no_plain_decimal_in_quotes_is_refused(value: bytes) -> None:
    for whole in (SPOT_TRADE, USDM_TICKER.replace(b"61800.20", b"61837.63000000")):
        frame = whole.replace(b'"61837.63000000"', value)
        assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_SYNTAX)
    depth = SPOT_DEPTH.replace(b'"61837.64000000"', value)
    assert SPOT.reader().read(depth) == refused(ParseStatus.PARSE_SYNTAX)


@pytest.mark.parametrize("value", [b"1", b"null", b'"true"', b"truth", b"t", b"falsey", b"[true]"])
def test_flag_that_is_neither_true_nor_false_is_refused(value: bytes) -> None:
    assert SPOT.reader().read(SPOT_TRADE.replace(b"true", value)) == refused(ParseStatus.PARSE_SYNTAX)


# Ambiguity is refused


@pytest.mark.parametrize(
    "extra", [b'"p":"1",', b'"m":false,', b'"e":"aggTrade",', b'"s":"ETHUSDT",', b'"t":1,']
)
def test_key_that_stands_twice_is_refused(extra: bytes) -> None:
    assert SPOT.reader().read(b"{" + extra + SPOT_TRADE[1:]) == refused(ParseStatus.PARSE_SYNTAX)


def test_levels_that_stand_twice_are_refused() -> None:
    for extra in (b'"b":[],', b'"b":"1",', b'"bids":[],', b'"asks":[["1","1"]],'):
        assert SPOT.reader().read(b"{" + extra + SPOT_DEPTH[1:]) == refused(ParseStatus.PARSE_SYNTAX)
    for extra in (b'"bids":[],', b'"lastUpdateId":1,', b'"b":[],'):
        assert SPOT.reader().read_snapshot(b"{" + extra + SPOT_ANSWER[1:]) == refused(
            ParseStatus.PARSE_SYNTAX
        )


def test_wrapper_whose_stream_or_data_stands_twice_or_not_at_all_is_refused() -> None:
    frame = wrapped(b"btcusdt@trade", SPOT_TRADE)
    for extra in (b'"stream":"btcusdt@depth5",', b'"data":{},'):
        assert SPOT.reader().read(b"{" + extra + frame[1:]) == refused(ParseStatus.PARSE_SYNTAX)
    for frame in (b'{"data":' + SPOT_TRADE + b"}", b'{"stream":"btcusdt@trade"}'):
        assert SPOT.reader().read(frame) == refused(ParseStatus.PARSE_MISSING) == SPOT.twin().read(frame)


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        (b'"e":', b'"\\u0065":'),
        (b'"depthUpdate"', b'"\\u0064epthUpdate"'),
        (b'"btcusdt@depth"', b'"btcusdt\\u0040depth5"'),
        (b'"stream"', b'"strea\\u006d"'),
        (b'"BTCUSDT"', b'"BTCUSD\\u0054"'),
    ],
)
def test_escapes_where_names_are_read_are_refused(plain: bytes, escaped: bytes) -> None:
    frame = wrapped(b"btcusdt@depth", SPOT_DEPTH)
    assert plain in frame
    assert SPOT.reader().read(frame.replace(plain, escaped)) == refused(ParseStatus.PARSE_SYNTAX)


# Capacity


def book(n_bids: int, n_asks: int) -> bytes:
    bids = ",".join(f'["{n + 1}","1"]' for n in range(n_bids))
    asks = ",".join(f'["{n + 1}","2"]' for n in range(n_asks))
    return f'{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[{bids}],"a":[{asks}]}}'.encode()


def test_frame_with_as_many_levels_as_the_capacity_is_read() -> None:
    rules = Rules("BTCUSDT", 0, 0, True, max_levels=16)
    found = rules.reader().read(book(16, 16))
    assert found == rules.twin().read(book(16, 16))
    assert len(found[2]["asks"]) == 16


@pytest.mark.parametrize(("n_bids", "n_asks"), [(17, 0), (0, 17), (17, 17), (1000, 3)])
def test_frame_with_more_levels_than_the_capacity_is_refused(n_bids: int, n_asks: int) -> None:
    reader = Rules("BTCUSDT", 0, 0, True, max_levels=16).reader()
    assert reader.read(book(n_bids, n_asks)) == refused(ParseStatus.PARSE_CAPACITY)
    answer = book(n_bids, n_asks).replace(b'"b"', b'"bids"').replace(b'"a"', b'"asks"')
    answer = answer.replace(b'"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u"', b'"lastUpdateId"')
    assert reader.read_snapshot(answer) == refused(ParseStatus.PARSE_CAPACITY)
    assert reader.read(book(1, 1))[0] == OK


def test_levels_with_further_elements_keep_price_and_quantity() -> None:
    frame = SPOT_DEPTH.replace(b'"2.25000000"]', b'"2.25000000",[],{"x":[1]}]')
    assert SPOT.reader().read(frame) == SPOT.reader().read(SPOT_DEPTH) == SPOT.twin().read(frame)


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": ""},
        {"symbol": "X" * 32},
        {"symbol": "btcusdt"},
        {"price_digits": 19},
        {"price_digits": -1},
        {"quantity_digits": 19},
        {"max_levels": 15},
        {"max_levels": 65_537},
    ],
)
def test_arguments_out_of_bounds_are_refused_in_a_sentence(change: dict[str, int | str]) -> None:
    settings = {
        "symbol": "BTCUSDT",
        "price_digits": 2,
        "quantity_digits": 3,
        "is_spot": True,
        "max_levels": 16,
    }
    with pytest.raises(ValueError, match=f"{next(iter(change))} must .*found"):
        BinanceJson(**(settings | change))


def test_symbol_beyond_ascii_is_read() -> None:
    frame = USDM_TRADE.replace(b"BTCUSDT", "币安人生USDT".encode())
    reader = BinanceJson(symbol="币安人生USDT", price_digits=2, quantity_digits=3, is_spot=False)
    assert reader.read(frame)[:2] == (OK, MessageKind.MESSAGE_TRADE)
    assert USDM.reader().read(frame) == refused(ParseStatus.PARSE_FOREIGN)


# Key order


def shuffled(draw: st.DrawFn, value: object) -> object:
    if isinstance(value, dict):
        items = draw(st.permutations(list(value.items())))
        return {key: shuffled(draw, inner) for key, inner in items}
    return value


@samples
@given(data=st.data())
def test_order_of_keys_never_matters(sample: Sample, data: st.DataObject) -> None:
    document = shuffled(data.draw, orjson.loads(sample.frame))
    found = sample.read(orjson.dumps(document))
    assert found == sample.read()
