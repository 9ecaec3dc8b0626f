"""What a recording says about itself: symbols, owners of snapshots, units; the same as the slow twin."""

from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.replay.store import Tally, open_recording, read_lines
from engine.replay.units import Survey, survey, symbol_of
from tests.engine.recordings import depth, snapshot, spot_session, text, ticker, trade, usdm_session, write
from tests.oracles import recording_units


def survey_of(tmp_path: Path, messages: list[dict[str, object]]) -> Survey:
    return survey(open_recording([write(tmp_path / "a", text(messages))]))


def test_units_are_the_finest_price_and_the_written_decimals_of_quantities(tmp_path: Path) -> None:
    facts = survey_of(tmp_path, spot_session()).facts("BTCUSDT")
    assert (facts.price_digits, facts.quantity_digits) == (2, 8)
    assert (facts.messages, facts.snapshots) == (10, 1)
    assert facts.has_previous_ids is False
    facts = survey_of(tmp_path, usdm_session()).facts("BTCUSDT")
    assert (facts.price_digits, facts.quantity_digits) == (1, 3)
    assert facts.has_previous_ids is True


def test_finest_price_anywhere_counts_and_averages_do_not(tmp_path: Path) -> None:
    def kline(close: str) -> dict[str, object]:
        bar = {"o": "1.0", "h": "2.0", "l": "1.0", "c": close, "v": "1.0", "q": "1.123456789"}
        return {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "s": "BTCUSDT", "k": bar}}

    day = {"data": {"e": "24hrTicker", "s": "BTCUSDT", "w": "1.123456", "p": "1.1234567", "c": "1.0"}}
    mark = {"data": {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "1.12345678"}}
    session = [*spot_session(), day, mark]
    assert survey_of(tmp_path, session).facts("BTCUSDT").price_digits == 2
    for finer in (
        trade("BTCUSDT", 9, "60000.125", "1.0"),
        ticker("BTCUSDT", 9, "60000.00000000", "60000.12500000"),
        depth("BTCUSDT", 90, 91, [], [["60000.125", "0"], ["60001.0", "1"]]),
        snapshot(90, [["59999.125", "1.0"]], []),
        kline("60000.125"),
    ):
        facts = survey_of(tmp_path, [*session, finer]).facts("BTCUSDT")
        assert (facts.price_digits, facts.quantity_digits) == (3, 8)


DECIMALS = st.decimals(min_value="0.00000001", max_value="99999", places=8).map(lambda value: f"{value:f}")
PAIRS = st.lists(st.tuples(DECIMALS, DECIMALS).map(list), max_size=4)
MESSAGES = st.one_of(
    st.builds(lambda bids, asks: depth("AUSDT", 1, 2, bids, asks), PAIRS, PAIRS),
    st.builds(lambda price, quantity: trade("AUSDT", 1, price, quantity), DECIMALS, DECIMALS),
    st.builds(lambda bid, ask: ticker("AUSDT", 1, bid, ask), DECIMALS, DECIMALS),
    st.builds(lambda bids, asks: snapshot(1, bids, asks), PAIRS, PAIRS),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(MESSAGES, max_size=6),
    first=DECIMALS,
    places=st.integers(min_value=0, max_value=8),
    indent=st.booleans(),
)
def test_units_equal_the_slow_twin_on_any_messages(
    tmp_path: Path, messages: list[dict[str, object]], first: str, places: int, *, indent: bool
) -> None:
    price = f"{Decimal(first).quantize(Decimal(1).scaleb(-places)):f}"
    session = [trade("AUSDT", 1, price, price), *messages]
    content = text(session)
    if indent:  # white space between tokens is allowed in JSON
        content = content.replace(b'":', b'" : ').replace(b'","', b'" , "').replace(b'["', b'[ "')
    recording = open_recording([write(tmp_path / "a", content)])
    found = survey(recording)
    facts = found.facts("AUSDT")
    payloads = [line.payload for line in read_lines(recording, Tally())]
    expected = recording_units.units(payloads, "AUSDT", found.snapshot_owners)
    assert (facts.price_digits, facts.quantity_digits) == expected


def test_bare_snapshots_of_a_mixed_recording_find_their_symbols(tmp_path: Path) -> None:
    btc, eth = spot_session(), spot_session("ETHUSDT", base=5_000_000, price=2_600)
    mixed = [message for pair in zip(btc, eth, strict=True) for message in pair]
    found = survey_of(tmp_path, mixed)
    assert found.names() == "BTCUSDT, ETHUSDT"
    assert found.snapshot_owners == ("BTCUSDT", "ETHUSDT")
    assert [facts.snapshots for facts in found.symbols] == [1, 1]


def test_snapshots_of_symbols_with_one_price_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    one, two = spot_session("AUSDT", price=10), spot_session("AUSDC", base=9_000_000, price=10)
    found = survey_of(tmp_path, [*two, *one])
    assert found.snapshot_owners == ("AUSDC", "AUSDT")


def test_price_tells_symbols_apart_where_update_ids_are_shared(tmp_path: Path) -> None:
    btc, eth = spot_session(), spot_session("ETHUSDT", base=190, price=2_600)
    later = snapshot(195, [["60000.00000000", "1.00000000"]], [])
    assert survey_of(tmp_path, [*btc, *eth, later]).snapshot_owners == ("BTCUSDT", "ETHUSDT", "BTCUSDT")


def test_snapshot_that_names_its_symbol_is_believed(tmp_path: Path) -> None:
    named = snapshot(1, [["1.0", "1"]], []) | {"symbol": "ETHUSD_PERP"}
    session = [*usdm_session("BTCUSD_PERP"), *usdm_session("ETHUSD_PERP"), named]
    found = survey_of(tmp_path, session)
    assert found.snapshot_owners[-1] == "ETHUSD_PERP"
    assert all(facts.is_coin_margined for facts in found.symbols)


def test_margin_flag_of_a_message_beats_the_shape_of_the_symbol(tmp_path: Path) -> None:
    first = depth("BTCUSDT", 1, 2, [], [], previous_id=0)
    data = first["data"]
    assert isinstance(data, dict)
    for flag in (1, 2):
        data["st"] = flag
        assert survey_of(tmp_path, [first]).facts("BTCUSDT").is_coin_margined is (flag == 2)


def test_symbol_is_found_in_the_message_or_in_its_stream() -> None:
    assert symbol_of(orjson.dumps(trade("BTCUSDT", 1, "1", "1"))) == "BTCUSDT"
    assert symbol_of(b'{"stream":"btcusd_perp@depth5","data":{"lastUpdateId":1}}') == "BTCUSD_PERP"
    assert symbol_of(b'{"result":null,"id":1}') == ""


def test_step_back_in_time_is_measured(tmp_path: Path) -> None:
    content = text(spot_session()[:5]) + text(spot_session()[5:])
    found = survey(open_recording([write(tmp_path / "a", content)]))
    assert found.facts("BTCUSDT").backward_ns == 40_000_000


def test_unknown_symbol_is_told_with_those_present(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="XRPUSDT is not in this recording, which holds BTCUSDT"):
        survey_of(tmp_path, spot_session()).facts("XRPUSDT")


def test_messages_of_other_venues_are_not_taken_for_ours(tmp_path: Path) -> None:
    gate = {
        "channel": "spot.order_book_update",
        "result": {"e": "depthUpdate", "s": "HAI_ETH", "U": 1, "u": 2},
    }
    bybit = {"topic": "orderbook.1.RADUSDT", "data": {"s": "RADUSDT", "b": [["1.0", "1"]], "u": 1}}
    with pytest.raises(InputError, match="no Binance depth, trade or bookTicker"):
        survey_of(tmp_path, [gate, bybit])


@pytest.mark.captures
def test_captures_of_other_venues_are_refused(captures: Path) -> None:
    files = sorted((captures / "cryptofeed_multivenue").glob("*.*z*"))
    files += sorted((captures / "hyperliquid_btc_20250126").glob("*.gz"))
    assert files
    for path in files:
        with pytest.raises(InputError):
            survey(open_recording([path]))


@pytest.mark.captures
@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "symbol", "messages", "units"),
    [
        (("binance_spot_20240808/spot_btcusdt_20240808.gz",), "BTCUSDT", 41249, (2, 8)),
        (("binance_usdm_20240808/usdm_ethusdt_20240808.gz",), "ETHUSDT", 74655, (2, 3)),
        (("cryptofeed_binance_2021/BINANCE_20210405_10symbols.raw.gz",), "DENTUSDT", None, (7, 8)),
    ],
)
def test_units_of_captures_equal_the_slow_twin(
    captures: Path, names: tuple[str, ...], symbol: str, messages: int | None, units: tuple[int, int]
) -> None:
    recording = open_recording([captures / name for name in names])
    found = survey(recording)
    facts = found.facts(symbol)
    assert (facts.price_digits, facts.quantity_digits) == units
    assert messages in (None, facts.messages)
    payloads = (line.payload for line in read_lines(recording, Tally()))
    assert recording_units.units(payloads, symbol, found.snapshot_owners) == units


@pytest.mark.captures
@pytest.mark.slow
def test_snapshots_of_two_captures_merged_into_one_file_find_their_symbols(
    captures: Path, tmp_path: Path
) -> None:
    folder = captures / "binance_usdm_20240808"
    lines = []
    for name in ("usdm_btcusdt_20240808.gz", "usdm_ethusdt_20240808.gz"):
        for number, line in enumerate(read_lines(open_recording([folder / name]), Tally())):
            if number == 2000:
                break
            lines.append(line)
    lines.sort(key=lambda line: line.recv_ns)
    content = b"".join(b"%d %s\n" % (line.recv_ns, line.payload) for line in lines)
    found = survey(open_recording([write(tmp_path / "a", content)]))
    assert [facts.snapshots for facts in found.symbols] == [1, 1]
