from pathlib import Path

import pytest

from engine.errors import InputError
from engine.inputs import RingKind
from engine.observers.recorder import Recorder
from native.ring import RingReader, RingWriter


def ring(folder: Path, name: str) -> tuple[RingWriter, RingReader]:
    path = str(folder / name)
    writer = RingWriter.create(path, capacity=65_536, instance="a", epoch=1, schema=1, boot_id="")
    return writer, RingReader(path, name="recorder", from_start=True)


def test_every_kind_of_record_lands_in_its_file_in_the_order_of_the_rings(tmp_path):
    market, market_reader = ring(tmp_path, "market")
    facts, facts_reader = ring(tmp_path, "facts")
    recorder = Recorder(tmp_path / "session", "BTCUSDT", market=market_reader, facts=facts_reader)
    market.append(RingKind.INPUT, b"begin\n", 5)
    market.append(RingKind.FRAME, b'{"stream":1}', 10)
    market.append(RingKind.FLOW, b"flow\n", 10)
    facts.append(RingKind.FACT, b"fact\n", 10)
    facts.append(RingKind.OUTCOME, b"signal\n", 10)
    facts.append(RingKind.IN_FLIGHT, b"an order that the facts tell too", 10)
    market.append(RingKind.OUTCOME, b"signal\n", 10)
    recorder.drain()
    recorder.write_input(b"history\n")
    market.append(RingKind.FRAME, b'{"stream":2}', 12)
    recorder.drain()
    recorder.close()
    found = {path.name: path.read_bytes() for path in (tmp_path / "session").iterdir()}
    assert found == {
        "btcusdt.txt": b'10 {"stream":1}\n12 {"stream":2}\n',
        "btcusdt.inputs.jsonl": b"begin\nhistory\n",
        "signals.jsonl": b"flow\nsignal\n",
        "decisions.jsonl": b"fact\n",
    }
    assert recorder.n_lost == 0


def test_loss_in_a_ring_is_counted(tmp_path):
    market, market_reader = ring(tmp_path, "market")
    _, facts_reader = ring(tmp_path, "facts")
    recorder = Recorder(tmp_path / "session", "BTCUSDT", market=market_reader, facts=facts_reader)
    for number in range(200):
        market.append(RingKind.FRAME, b"x" * 1_000, number)
    recorder.drain()
    recorder.close()
    kept = (tmp_path / "session" / "btcusdt.txt").read_bytes().count(b"\n")
    assert 0 < kept < 200
    assert recorder.n_lost == 200 - kept


def test_directory_with_a_recording_is_refused_and_untouched(tmp_path):
    _, market_reader = ring(tmp_path, "market")
    _, facts_reader = ring(tmp_path, "facts")
    used = tmp_path / "session"
    used.mkdir()
    (used / "btcusdt.txt").write_text("kept")
    with pytest.raises(InputError, match="holds a recording already"):
        Recorder(used, "BTCUSDT", market=market_reader, facts=facts_reader)
    assert (used / "btcusdt.txt").read_text() == "kept"


def test_place_that_cannot_be_written_is_one_sentence(tmp_path):
    _, market_reader = ring(tmp_path, "market")
    _, facts_reader = ring(tmp_path, "facts")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Recorder(tmp_path / "file" / "session", "BTCUSDT", market=market_reader, facts=facts_reader)
