"""What the user gave is checked and told in one sentence before anything is played."""

import gzip
from pathlib import Path

import msgspec
import orjson
import pytest

from engine.errors import InputError
from engine.replay.converted import (
    EVENTS_NAME,
    FORMAT_VERSION,
    META_NAME,
    Meta,
    map_events,
    prepare_directory,
    read_meta,
)
from engine.replay.outputs import OutputFile
from engine.replay.sources import Source, open_source, source_lines
from engine.replay.store import Tally
from engine.signals import MarketKind
from native.eventfile import record_sizes
from tests.engine.recordings import START_NS, spot_session, text, usdm_session, write

EXCHANGE_INFO = orjson.dumps(
    {
        "symbols": [
            {
                "symbol": "BTCUSDT",
                "status": "TRADING",
                "baseAsset": "BTC",
                "quoteAsset": "USDT",
                "baseAssetPrecision": 8,
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.05000000"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
                    {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
                ],
            }
        ]
    }
)


def opened(
    *paths: Path, market: str | None = "spot", symbol: str | None = None, exchange_info: Path | None = None
) -> Source:
    return open_source(paths, market=market, symbol=symbol, exchange_info=exchange_info)


@pytest.fixture
def spot(tmp_path: Path) -> Path:
    return write(tmp_path / "spot.gz", text(spot_session()))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    eth = spot_session("ETHUSDT", base=5_000_000, price=2_600)
    pairs = zip(spot_session(), eth, strict=True)
    return write(tmp_path / "mixed", text([message for pair in pairs for message in pair]))


def test_units_come_from_the_recording_when_there_is_no_exchange_info(spot: Path) -> None:
    source = opened(spot)
    instrument = source.instrument
    assert (instrument.symbol, instrument.kind, source.market) == ("BTCUSDT", MarketKind.SPOT, "spot")
    assert (instrument.price_digits, instrument.quantity_digits, instrument.tick) == (2, 8, 1)
    assert (instrument.base, instrument.quote) == ("BTC", "USDT")
    assert source.units_from == "inferred from the recording"
    assert source.notes == ()


@pytest.mark.parametrize("name", ["info.json", "info.json.gz"])
def test_units_come_from_exchange_info_when_it_is_given(tmp_path: Path, spot: Path, name: str) -> None:
    source = opened(spot, exchange_info=write(tmp_path / name, EXCHANGE_INFO))
    assert (source.instrument.price_digits, source.instrument.tick) == (2, 5)
    assert source.units_from == "exchangeInfo"


def test_recording_finer_than_exchange_info_gets_the_finer_unit_and_says_so(
    tmp_path: Path, spot: Path
) -> None:
    info = write(tmp_path / "info", EXCHANGE_INFO.replace(b"0.05000000", b"0.10000000"))
    source = opened(spot, exchange_info=info)
    assert (source.instrument.price_digits, source.instrument.tick) == (2, 10)
    assert "finer" in source.notes[0]


def test_exchange_info_inside_a_cryptofeed_capture_is_used(tmp_path: Path) -> None:
    lines = [b"https://api.binance.com/api/v3/exchangeInfo -> 1700000000.1: " + EXCHANGE_INFO]
    lines += [b"1700000000.%d: %s" % (i + 2, orjson.dumps(m)) for i, m in enumerate(spot_session()) if i != 1]
    content = b"\n".join(lines) + b"\n"
    source = opened(write(tmp_path / "a", content))
    assert (source.instrument.tick, source.units_from) == (5, "exchangeInfo in the recording")
    source = opened(write(tmp_path / "b", content.replace(b'"symbol":"BTC', b'"symbol":"XRP')))
    assert (source.instrument.tick, source.units_from) == (1, "inferred from the recording")
    assert "not used" in source.notes[0]


def test_exchange_info_among_the_lines_of_a_recording_is_used(tmp_path: Path) -> None:
    line = b"%d %s\n" % (START_NS, EXCHANGE_INFO)
    source = opened(write(tmp_path / "a", line + text(spot_session())))
    instrument = source.instrument
    assert (instrument.tick, instrument.step, source.units_from) == (5, 1000, "exchangeInfo in the recording")
    assert instrument.status == "TRADING"


def test_recording_without_snapshot_is_played_and_says_that_nothing_can_come_of_it(tmp_path: Path) -> None:
    messages = spot_session()
    del messages[1]
    source = opened(write(tmp_path / "a", text(messages)))
    assert "No REST depth snapshot of BTCUSDT" in source.notes[0]


def test_symbol_must_be_chosen_when_there_are_several(mixed: Path) -> None:
    with pytest.raises(InputError, match="holds 2 symbols, choose one with --symbol: BTCUSDT, ETHUSDT"):
        opened(mixed)
    with pytest.raises(InputError, match="XRPUSDT is not in this recording, which holds BTCUSDT, ETHUSDT"):
        opened(mixed, symbol="XRPUSDT")


def test_chosen_symbol_gets_its_own_lines_its_snapshot_and_what_names_none(
    tmp_path: Path, mixed: Path
) -> None:
    answer = b'%d {"result":null,"id":1}\n' % START_NS
    path = write(tmp_path / "a", answer + mixed.read_bytes())
    for symbol, other in (("BTCUSDT", b"ETHUSDT"), ("ethusdt", b"BTCUSDT")):
        source = opened(path, symbol=symbol)
        lines = list(source_lines(source, Tally()))
        assert len(lines) == 11
        assert sum(line.payload.startswith(b'{"lastUpdateId"') for line in lines) == 1
        assert not any(other in line.payload for line in lines)


@pytest.mark.parametrize(
    ("messages", "market", "expected"),
    [
        (usdm_session(), "spot", "carry pu, the update chain of futures; expected --market usdm"),
        (spot_session(), "usdm", "carry no pu, as on spot; expected --market spot"),
        (spot_session(), "coinm", "carry no pu, as on spot; expected --market spot"),
        (usdm_session(), "coinm", "no coin-margined contract; expected --market usdm"),
        (usdm_session("BTCUSD_PERP"), "usdm", "is a coin-margined contract; expected --market coinm"),
        (usdm_session(), None, "--market is needed .* BTCUSDT looks like usdm"),
    ],
)
def test_market_that_contradicts_the_recording_is_refused(
    tmp_path: Path, messages: list[dict[str, object]], market: str | None, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        opened(write(tmp_path / "a", text(messages)), market=market)


def test_files_out_of_order_are_refused_and_a_small_step_back_is_levelled(tmp_path: Path) -> None:
    early = write(tmp_path / "early", text(spot_session()))
    late = write(tmp_path / "late", text(spot_session(), start_ns=START_NS + 10**10))
    assert opened(early, late).notes == ()
    with pytest.raises(InputError, match=r"not in the order of time: BTCUSDT goes back by 10\.1 s"):
        opened(late, early)
    content = text(spot_session()[:5]) + text(spot_session()[5:], start_ns=START_NS + 20_000_000)
    source = opened(write(tmp_path / "back", content))
    times = [line.recv_ns for line in source_lines(source, Tally())]
    assert times == sorted(times)
    assert "go back by up to 20.000 ms" in source.notes[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "found nothing"), (b"[]", "another shape"), (b"\x00\xff", "another shape")],
)
def test_exchange_info_that_is_none_is_refused(
    tmp_path: Path, spot: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "info"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=expected):
        opened(spot, exchange_info=path)


META = Meta(
    format=FORMAT_VERSION,
    layout=record_sizes(),
    symbol="BTCUSDT",
    market="spot",
    price_digits=2,
    quantity_digits=8,
    tick=5,
    contract_size=1,
    units_from="exchangeInfo",
    messages=3,
    snapshots=1,
    broken_lines=0,
    truncated=False,
    records=2,
    events_bytes=16,
    first_recv_ns=1,
    last_recv_ns=2,
)


def conversion(directory: Path, meta: Meta = META, events: bytes = bytes(16)) -> Path:
    directory.mkdir()
    (directory / META_NAME).write_bytes(msgspec.json.encode(meta))
    (directory / EVENTS_NAME).write_bytes(events)
    return directory


def test_converted_directory_knows_its_instrument(tmp_path: Path) -> None:
    directory = conversion(tmp_path / "a")
    source = opened(directory, market=None)
    assert source.meta == META
    assert (source.instrument.tick, source.instrument.price_digits, source.market) == (5, 2, "spot")
    assert bytes(map_events(directory)) == bytes(16)
    assert opened(directory, symbol="btcusdt").instrument == source.instrument
    for arguments, expected in (
        ({"market": "usdm"}, "was recorded on spot, found --market usdm"),
        ({"symbol": "ETHUSDT"}, "ETHUSDT is not in .* which holds BTCUSDT"),
        ({"exchange_info": tmp_path}, "already carries its units"),
    ):
        with pytest.raises(InputError, match=expected):
            opened(directory, **arguments)
    with pytest.raises(InputError, match="replayed alone"):
        opened(directory, directory)
    with pytest.raises(InputError, match="can be replayed as it is"):
        list(source_lines(source, Tally()))


def test_directory_that_is_no_whole_conversion_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no meta.json: expected a recorded file or a directory"):
        read_meta(tmp_path / "empty")
    with pytest.raises(InputError, match="has 8 bytes, expected the 16 bytes"):
        read_meta(conversion(tmp_path / "short", events=bytes(8)))
    newer = msgspec.structs.replace(META, format=FORMAT_VERSION + 1)
    with pytest.raises(InputError, match=f"is of format {FORMAT_VERSION + 1}, expected {FORMAT_VERSION}"):
        read_meta(conversion(tmp_path / "newer", newer))
    other = msgspec.structs.replace(META, layout={"header": 8})
    with pytest.raises(InputError, match="a build with other records"):
        read_meta(conversion(tmp_path / "layout", other))
    for name, content in (("text", b"hello"), ("list", b"[1]"), ("half", b'{"format":2}')):
        directory = conversion(tmp_path / name)
        (directory / META_NAME).write_bytes(content)
        with pytest.raises(InputError, match="does not describe a converted recording"):
            read_meta(directory)
    (conversion(tmp_path / "gone") / EVENTS_NAME).unlink()
    with pytest.raises(InputError, match="is missing"):
        read_meta(tmp_path / "gone")


def test_conversion_of_before_trades_had_a_regular_quantity_is_refused_in_one_sentence(
    tmp_path: Path,
) -> None:
    layout = META.layout | {"trade": 64}
    assert META.layout["trade"] == 72
    directory = conversion(tmp_path / "old", msgspec.structs.replace(META, format=1, layout=layout))
    with pytest.raises(InputError) as refused:
        opened(directory, market=None)
    path = directory / META_NAME
    assert str(refused.value) == f"{path} is of format 1, expected 2; convert the recording again."


def test_version_stands_for_the_layout_of_its_records() -> None:
    # Whoever changes a record raises the version and writes the new sizes here.
    assert (FORMAT_VERSION, record_sizes()) == (
        2,
        {
            "header": 24, "depth": 48, "level": 16, "trade": 72, "ticker": 48, "kline": 96, "mark": 64,
            "force": 64, "day": 80,
        },
    )  # fmt: skip


def test_conversion_goes_into_a_new_empty_or_by_force_older_directory_only(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "new" / "deep", force=False)
    assert (tmp_path / "new" / "deep").is_dir()
    directory = conversion(tmp_path / "old")
    with pytest.raises(InputError, match="--force replaces it"):
        prepare_directory(directory, force=False)
    prepare_directory(directory, force=True)
    (directory / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds notes\.txt, which is no part of a conversion"):
        prepare_directory(directory, force=True)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="cannot be written"):
        prepare_directory(file, force=False)


def test_output_bears_its_name_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"older")
    with OutputFile(path) as output:
        output.write(b"new")
        assert path.read_bytes() == b"older"
        output.finish()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    with OutputFile(path) as output:
        output.write(b"half")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "out.partial").read_bytes() == b"half"


@pytest.mark.parametrize("name", ["absent/out", "."])
def test_output_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        OutputFile(tmp_path / name)


def test_full_device_is_told_in_one_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("the system has no /dev/full")
    (tmp_path / "out.partial").symlink_to(full)
    output = OutputFile(tmp_path / "out")
    with pytest.raises(InputError, match="No space left"):
        output.write(bytes(1 << 20))
    output.write(b"x")
    with pytest.raises(InputError, match="No space left"):
        output.keep()


def test_zero_padding_after_a_gzip_member_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(text(spot_session()), mtime=0) + bytes(512))
    tally = Tally()
    assert len(list(source_lines(opened(path), tally))) == 10
    assert tally.truncated == []
