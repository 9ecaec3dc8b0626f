"""The report of a session: every amount exact to its last digit, and one line of JSON with the same."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runreport import (
    clock_text,
    encode_report,
    grouped_text,
    number_text,
    price_text,
    progress_line,
    render_report,
    state_words,
)
from engine.runstate import RunReport, ViewState
from tests.engine.viewstates import EMPTY, STATE, STRANGE

REPORT = RunReport(
    remora="0.2.0",
    symbol="BTCUSDT",
    market="usdm",
    venue="embedded",
    preset="capture",
    cost_gate="on",
    instance="a",
    epoch=3,
    maker_bps=0.0,
    taker_bps=1.7,
    seconds=60.0,
    end="60 s of trading are over",
    exit_code=0,
    position="0.000",
    whales=12,
    entries=3,
    round_trips=3,
    wins=2,
    pnl=123_456_789,
    realised=150_000_001,
    fees=26_543_212,
    exchange_pnl=123_456_789,
    is_equal=True,
    orders=1_012,
    fills=8,
    funnel=STATE.funnel,
    confirm_refusals={"few_updates": 2, "rho_post": 0},
    vetoes={"cost": 1, "not_aligned": 3},
    desk_refusals={"position_open": 4},
    stages=STATE.stages,
    gc_collections=0,
    facts=4_321,
    market_records_lost=0,
    recording="",
    notes=("a note", "another"),
)


def rendered(**fields: object) -> str:
    return render_report(msgspec.structs.replace(REPORT, **fields))


def test_text_tells_the_session_in_aligned_lines() -> None:
    assert render_report(REPORT).splitlines() == [
        "BTCUSDT usdm   embedded   preset capture",
        "  session    60.0 s of trading, instance a, epoch 3, Remora 0.2.0",
        "  end        60 s of trading are over (exit code 0)",
        "  fees       maker 0 bps, taker 1.7 bps",
        "  funnel     sweeps 1,234 > whales 12 > episodes 9 > imbalance 5 > aligned 4 > cost 3 > entries 3 > "
        "approved 2 > filled 2 > closed 1",
        "             per hour: 74,040 sweeps, 720 whales, 540 episodes, 180.0 entries, 60.0 round trips",
        "  refused    few_updates 2 (episodes the imbalance after them did not confirm)",
        "  vetoes     cost 1, not_aligned 3 (confirmed episodes not entered)",
        "  desk       position_open 4 (intents that the desk refused)",
        "  orders     1,012 sent, 8 fills",
        "  trades     3 round trips, 2 with a gain after fees (66.7 %)",
        "  position   0.000 at the end",
        "  P&L        realised  +1.50000001 quote  before fees",
        "             fees      -0.26543212 quote  paid",
        "             net       +1.23456789 quote  by our own fills",
        "             exchange  +1.23456789 quote  by the account at the exchange: EQUAL to the last unit",
        "  latency    depth to mask   p50 1.50 us, p99 12.00 us, p99.9 45.00 us, max 100.00 us (12,345)",
        "             ticker to mask  none",
        "             mask to order   p50 21.00 us, p99 33.00 us, p99.9 33.00 us, max 33.00 us (3)",
        "  engine     4,321 facts, 0 garbage collections while trading, 0 market records lost",
        "  note       a note",
        "  note       another",
    ]


def test_account_of_the_exchange_that_differs_by_one_unit_is_told() -> None:
    text = rendered(exchange_pnl=123_456_790, is_equal=False)
    assert "+1.23456790 quote  by the account at the exchange: NOT EQUAL, ours is off by -0.00000001" in text
    assert "EQUAL to the last unit" not in text


def test_amounts_no_float_can_hold_are_exact() -> None:
    text = rendered(pnl=9_007_199_254_740_993, exchange_pnl=-9_007_199_254_740_993, is_equal=False)
    assert "+90,071,992.54740993 quote  by our own fills" in text
    assert "-90,071,992.54740993 quote  by the account" in text


def test_position_that_is_left_makes_the_rows_add_up() -> None:
    text = rendered(pnl=123_456_790, position="0.016")
    assert "open      +0.00000001 quote  position 0.016 at the mark" in text
    assert "  open  " not in render_report(REPORT)


def test_fees_that_were_rebates_are_received() -> None:
    text = rendered(fees=-5, pnl=150_000_006)
    assert "fees      +0.00000005 quote  received" in text


def test_session_without_trading_divides_by_nothing() -> None:
    text = rendered(
        seconds=0.0,
        round_trips=0,
        wins=0,
        stages=(),
        vetoes={},
        confirm_refusals={},
        desk_refusals={},
        notes=(),
    )
    assert "per hour" not in text
    assert "no round trips" in text
    assert "vetoes     none" in text
    assert "latency" not in text


def test_zero_entries_because_of_cost_are_called_a_valid_result() -> None:
    assert "valid result" in rendered(entries=0)
    assert "valid result" not in render_report(REPORT)
    assert "valid result" not in rendered(entries=0, vetoes={"not_aligned": 3})


def test_cost_gate_off_is_stamped_and_recording_is_named() -> None:
    assert "COST GATE OFF" in rendered(cost_gate="off").splitlines()[0]
    assert "COST GATE OFF" not in render_report(REPORT)
    assert "  recording  session/btcusdt.txt" in rendered(recording="session/btcusdt.txt")


def test_json_is_one_line_with_money_as_integers() -> None:
    text = encode_report(msgspec.structs.replace(REPORT, notes=("two\nlines",)))
    assert "\n" not in text
    found = json.loads(text)
    assert found["pnl"] == 123_456_789
    assert found["funnel"]["closed"] == 1
    assert found["stages"][0]["p999"] == 45_000
    assert msgspec.json.decode(text, type=RunReport).notes == ("two\nlines",)


def test_line_while_it_runs_is_short_and_whole() -> None:
    assert progress_line(STATE) == (
        "   1:23  BTCUSDT 60,000.00 / 60,000.10  active  position 0.016  P&L +1.2345  orders 2  whales 12  "
        "entries 3  filled 2  closed 1"
    )
    assert "BTCUSDT - / -  no valid book  warming up  position 0.000" in progress_line(EMPTY)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "active"),
        ({"is_paused": True}, "paused"),
        ({"wanted": "reducing", "is_warming_up": True}, "reducing, warming up"),
        ({"wanted": "halted", "is_paused": True}, "halted, paused"),
    ],
)
def test_everything_that_keeps_from_entering_is_named(fields: dict[str, object], words: str) -> None:
    assert state_words(msgspec.structs.replace(STATE, **fields)) == words


@given(units=st.integers(-(10**40), 10**40), digits=st.integers(0, 18))
def test_amounts_read_back_are_the_same(units: int, digits: int) -> None:
    text = grouped_text(units, digits)
    assert int(text.replace(",", "").replace(".", "")) == units
    assert len(text.partition(".")[2]) == digits


def test_durations_prices_and_numbers_that_are_not_known_are_a_dash() -> None:
    assert [clock_text(value) for value in (0.0, 59.9, 60.0, 3_599.0, 3_600.0, -1.0, float("nan"))] == [
        "0:00",
        "0:59",
        "1:00",
        "59:59",
        "1:00:00",
        "-",
        "-",
    ]
    assert [price_text(value, 2) for value in (1, 0, -5, 2**63 - 1)] == ["0.01", "-", "-", "-"]
    assert [number_text(value, ".1f") for value in (1.25, None, float("inf"), -2e15)] == [
        "1.2",
        "-",
        "-",
        "-2e+15",
    ]


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(state=STRANGE)
def test_whatever_the_state_the_line_is_told(state: ViewState) -> None:
    assert state.position.quantity in progress_line(state)
