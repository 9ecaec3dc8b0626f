"""The report: one line of JSON with the agreed keys, and a text that says what the figures mean."""

import json

import msgspec

from engine.replay.jobs import percentiles
from engine.replay.report import (
    BookTickerCheck,
    FrameToMask,
    Funnel,
    Percentiles,
    Report,
    Units,
    encode,
    render,
)
from native.histogram import Histogram

NONE = Percentiles(count=0, p50=0, p99=0, p999=0, max=0)
REPORT = Report(
    remora="0.1.0",
    symbol="BTCUSDT",
    market="spot",
    preset="capture",
    cost_gate="on",
    files=("a.gz",),
    units=Units(price_digits=2, quantity_digits=8, tick=1, source="inferred from the recording"),
    messages=1000,
    depth_updates=10,
    trades=20,
    tickers=30,
    klines=0,
    snapshots=1,
    other_messages=0,
    refused=0,
    broken_lines=0,
    floored_quantities=0,
    gaps=0,
    crossed=0,
    book_ticker=BookTickerCheck(compared=3, equal=2),
    signals={"whale_open": 4, "entry": 0, "veto": 2},
    funnel=Funnel(sweeps=9, whales=4, episodes=3, imbalance=2, aligned=2, cost=0, entries=0, open=0),
    refusals={"rho_post": 1},
    vetoes={"not_aligned": 0, "cost": 2},
    first_recv_ns=0,
    last_recv_ns=3_600_000_000_000,
    scan_s=0.5,
    wall_s=2.0,
    messages_per_s=500.0,
    frame_to_mask_ns=FrameToMask(
        depth=Percentiles(count=10, p50=1500, p99=20_000, p999=30_000, max=40_000), trade=NONE, ticker=NONE
    ),
    truncated=False,
    interrupted=False,
    notes=("a note",),
)


def test_json_is_one_line_with_the_agreed_keys() -> None:
    text = encode(REPORT)
    assert b"\n" not in text
    found = json.loads(text)
    assert found["book_ticker"] == {"compared": 3, "equal": 2}
    assert found["frame_to_mask_ns"]["depth"]["p999"] == 30_000
    assert found["funnel"]["episodes"] == 3
    assert {"messages", "depth_updates", "trades", "gaps", "crossed", "signals", "vetoes", "wall_s"} <= set(
        found
    )
    assert {"messages_per_s", "preset", "symbol", "market", "units", "truncated"} <= set(found)


def test_zero_entries_because_of_cost_are_called_a_valid_result() -> None:
    assert "valid result" in render(REPORT)
    assert "valid result" not in render(msgspec.structs.replace(REPORT, vetoes={"cost": 0, "not_aligned": 2}))
    entered = msgspec.structs.replace(REPORT.funnel, entries=1)
    assert "valid result" not in render(msgspec.structs.replace(REPORT, funnel=entered))


def test_cost_gate_off_is_stamped() -> None:
    assert "COST GATE OFF" not in render(REPORT)
    assert "COST GATE OFF" in render(msgspec.structs.replace(REPORT, cost_gate="off"))


def test_text_shows_rule_units_funnel_and_notes() -> None:
    text = render(REPORT)
    for expected in (
        "preset capture",
        "inferred from the recording",
        "2 of 3 equal (66.67 %)",
        "previous u < id <= u",
        "sweeps 9 > whales 4 > episodes 3 > imbalance 2 > aligned 2 > cost 0 > entries 0",
        "per hour: 9 sweeps",
        "refused    rho_post 1",
        "vetoes     cost 2",
        "frame to mask p50 1.50 us",
        "trade      no messages",
        "note       a note",
    ):
        assert expected in text


def test_percentiles_are_those_of_the_histogram() -> None:
    histogram = Histogram()
    assert percentiles(histogram) == NONE
    for rank in range(1, 2001):
        histogram.record_value(1_000 if rank <= 1_900 else 50_000 if rank <= 1_997 else 900_000)
    found = percentiles(histogram)
    assert found.count == 2_000
    assert 1_000 <= found.p50 < 1_100
    assert 50_000 <= found.p99 < 55_000
    assert 900_000 <= found.p999 <= found.max == 900_000


def test_replay_of_nothing_divides_by_nothing() -> None:
    empty = msgspec.structs.replace(
        REPORT, first_recv_ns=0, last_recv_ns=0, book_ticker=BookTickerCheck(compared=0, equal=0), signals={}
    )
    text = render(empty)
    assert "nothing to compare" in text
    assert "signals    none" in text
