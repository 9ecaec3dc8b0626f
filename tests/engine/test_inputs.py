from pathlib import Path

import pytest
from msgspec import Raw

from engine.commands import Command, Verb
from engine.errors import InputError
from engine.inputs import (
    CommandInput,
    EndInput,
    LagInput,
    LookInput,
    ReportInput,
    RestoreInput,
    SendInput,
    SessionInput,
    TradingInput,
    WantedInput,
    WarmUpInput,
    encode_input,
    inputs_path,
    is_snapshot,
    read_inputs,
)
from engine.orders import RefusalReason, Report, ReportKind
from engine.settings import Config, Risk

REPORT = Report(
    kind=ReportKind.FILL, client_order_id="ra1-1", symbol="BTCUSDT", trade_id=7, price=5, quantity=3
)
ALL = [
    SessionInput(
        at_ns=1,
        instance="a",
        epoch=3,
        venue="embedded",
        market="usdm",
        symbol="BTCUSDT",
        maker_bps=0.0,
        taker_bps=1.7,
        has_left=True,
        config=Config(preset="capture", risk=Risk(signal_age_ms=99)),
    ),
    WarmUpInput(at_ns=1, symbol="BTCUSDT", klines=Raw(b"[]"), agg_trades=Raw(b'[{"a":1}]')),
    RestoreInput(at_ns=2, facts=('{"fact":"fill"}',)),
    TradingInput(at_ns=3),
    ReportInput(at_ns=4, report=REPORT),
    CommandInput(at_ns=5, command=Command(verb=Verb.SIZE, argument="0.5")),
    WantedInput(at_ns=6, state=2, reason="control page"),
    LagInput(at_ns=7, share=0.5),
    LookInput(at_ns=8, serial=4, reason=RefusalReason.STALE_SIGNAL),
    SendInput(at_ns=9, number=2, status=1),
    EndInput(at_ns=10, reason="over"),
]


def written(folder: Path, lines: list[bytes]) -> Path:
    path = folder / "session.inputs.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_every_kind_of_input_is_read_as_it_was_written(tmp_path):
    assert list(read_inputs(written(tmp_path, [encode_input(one) for one in ALL]))) == ALL


def test_line_that_was_cut_is_left_out(tmp_path):
    lines = [encode_input(one) for one in ALL]
    lines[-1] = lines[-1][:-3]
    assert list(read_inputs(written(tmp_path, lines))) == ALL[:-1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{}\n", "line 2: expected an input of a session"),
        (b'{"input":"weather","at_ns":5}\n', "line 2: expected an input"),
        (b'{"input":"trading","at_ns":0}\n', "line 2: its time is before"),
        (encode_input(ALL[0]).replace(b'"v":1', b'"v":99'), "version 99, this Remora reads version 1"),
    ],
)
def test_damage_is_one_sentence_with_its_place(tmp_path, line, told):
    with pytest.raises(InputError, match=told):
        list(read_inputs(written(tmp_path, [encode_input(ALL[0]), line])))


def test_absent_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        list(read_inputs(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("name", ["btcusdt.txt", "btcusdt.txt.gz", "btcusdt.zst", "btcusdt"])
def test_inputs_stand_beside_the_recording_whatever_compresses_it(name):
    assert inputs_path(Path("day") / name) == Path("day/btcusdt.inputs.jsonl")


def test_answer_of_the_depth_endpoint_is_told_from_stream_frames():
    assert is_snapshot(b'{"lastUpdateId":5,"bids":[],"asks":[]}')
    assert is_snapshot(b'{"E":1,"bids":[],"asks":[],"lastUpdateId":5}')
    assert not is_snapshot(b'{"stream":"btcusdt@depth5","data":{"lastUpdateId":5}}')
    assert not is_snapshot(b'{"e":"trade","t":5}')
