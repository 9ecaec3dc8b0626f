"""What a start reads from the ring that the engine before left."""

from pathlib import Path

import pytest

from engine.errors import InputError
from engine.facts import (
    FACTS_VERSION,
    InFlight,
    OrderFact,
    SessionFact,
    decode_fact,
    encode_fact,
    encode_in_flight,
)
from engine.inputs import RingKind
from engine.orders import OrderKind, OrderLife
from engine.restart import left_by
from engine.signals import Side
from native.ring import RingWriter

RECORD = InFlight(
    FACTS_VERSION, "ra1-1", "BTCUSDT", 1, "entry", "volume_scalper", Side.SELL, OrderKind.LIMIT,
    OrderLife.GTX, 6_500_010, 2, 10, 3, False, 100,
)  # fmt: skip
BEGIN = SessionFact(event="begin", instance="a", epoch=1, venue="embedded", preset="live", at_ns=1, reason="")


def ring(folder: Path) -> tuple[Path, RingWriter]:
    path = folder / "facts.1"
    writer = RingWriter.create(str(path), capacity=65_536, instance="a", epoch=1, schema=1, boot_id="")
    writer.append(RingKind.FACT, encode_fact(BEGIN), 1)
    return path, writer


def test_order_in_flight_without_a_fact_of_its_own_is_one_that_was_sent(tmp_path: Path) -> None:
    path, writer = ring(tmp_path)
    writer.append(RingKind.IN_FLIGHT, encode_in_flight(RECORD), 100)
    (line,) = left_by([path], 1)
    fact = decode_fact(line.encode())
    assert isinstance(fact, OrderFact)
    assert (fact.event, fact.state, fact.client_order_id) == ("sent", "in_flight", "ra1-1")
    assert (fact.side, fact.price, fact.quantity, fact.leaves) == ("sell", "65000.10", "0.010", "0.010")


def test_fact_after_the_record_counts(tmp_path: Path) -> None:
    path, writer = ring(tmp_path)
    writer.append(RingKind.IN_FLIGHT, encode_in_flight(RECORD), 100)
    writer.append(RingKind.OUTCOME, b"a signal", 100)
    writer.append(RingKind.IN_FLIGHT, encode_in_flight(RECORD), 100)
    (line,) = left_by([path], 1)
    sent = decode_fact(line.encode())
    assert isinstance(sent, OrderFact)
    ended = {name: getattr(sent, name) for name in sent.__struct_fields__} | {
        "event": "not_sent", "state": "rejected", "leaves": "0.000",
    }  # fmt: skip
    writer.append(RingKind.FACT, encode_fact(OrderFact(**ended)), 101)
    assert left_by([path], 1) == ()


def test_record_of_another_shape_is_one_sentence(tmp_path: Path) -> None:
    path, writer = ring(tmp_path)
    writer.append(RingKind.IN_FLIGHT, b"[1,2]", 100)
    with pytest.raises(InputError, match="cannot be read"):
        left_by([path], 1)
