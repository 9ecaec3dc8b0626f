"""The picture of a running engine: all of it where there is room, what matters most where there is little."""

import io
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from engine.panels import picture, plain
from engine.runstate import ViewState
from tests.engine.viewstates import EMPTY, STATE, STRANGE

FOOTER = ("what was just done", "keys: F flatten")


def drawn(state: ViewState, width: int, height: int, *, bar: str = "█", colours: bool = False) -> str:
    console = Console(
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        color_system="standard",
        _environ={},
    )
    footer = [Text(line) for line in FOOTER]
    console.print(picture(state, footer, width=width, height=height, bar=bar))
    return console.export_text(styles=colours)


def changed(**fields: object) -> ViewState:
    return msgspec.structs.replace(STATE, **fields)


def test_large_terminal_shows_every_panel_in_one_row_less_than_it_has() -> None:
    text = drawn(STATE, 120, 40)
    assert len(text.splitlines()) == 39
    squeezed = re.sub(r" +", " ", text)
    for expected in (
        "BTCUSDT  60,000.00 / 60,000.10  spread 0.17 bps  sigma60 3.21 bps",
        "ACTIVE  1:23 traded, 8:37 left",
        "sweeps 1,234 > whales 12 > episodes 9 > imbalance 5",
        "filled 2 > closed 1",
        "60,000.50     2.400",  # an ask
        "59,999.60     1.400",  # a bid
        "tape, CVD +12.345",
        "60,000.00   0.300 sell",
        "session?",
        "depth to mask         1.50   12.00  45.00  12,345",
        "position (holding) and P&L",
        "position  0.016        P&L       +1.2345",
        "entry     60000.100    realised  +1.5000",
        "stop      59960.00     fees      0.2655",
        "target    60060.10     equity    10,001.23",
        "hard stop 59640.00     time left 41.2 s",
        "working orders: 2",
        "sell 0.016 at 60060.10  target  open  limit  ra3-12",
        "22:13:25  no entry: cost              buy    episode 4  target 12.3 bps  cost 5.6 bps",
        "22:13:24  entry refused: rho_post_min sell   rho +0.62  123,456 quote",
        "22:13:23  ENTRY                       buy",
        "ra3-11 entry buy sent: in_flight 0.000/0.016 at 60000.10",
        *FOOTER,
    ):
        assert re.sub(r" +", " ", expected) in squeezed


def test_profiles_are_told_in_columns_and_marked_until_ready() -> None:
    text = re.sub(r"[\s│]+", " ", drawn(STATE, 120, 40))
    assert "rolling 59,990.12 60,000.00 60,010.50" in text
    assert "session? 59,991.00 60,001.00 60,011.00" in text
    assert "previous? - - -" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 24), (80, 50), (60, 24)])
def test_small_terminal_keeps_head_position_orders_and_book(width: int, height: int) -> None:
    text = drawn(STATE, width, height)
    lines = text.splitlines()
    assert len(lines) == height - 1
    assert all(len(line) <= width for line in lines)
    for expected in (
        "60,000.00 / 60,000.10",
        "ACTIVE",
        "position  0.016",
        "P&L       +1.23",
        "hard stop 59640.00",
        "sell 0.016 at 60060.10",
        "sell 0.016 at 59640.00",
        "asks / bids",
        "60,000.10",
        *FOOTER,
    ):
        assert expected in text


def test_narrow_terminal_stacks_position_orders_and_book() -> None:
    text = drawn(STATE, 50, 32)
    assert text.index("position  0.016") < text.index("working orders: 2") < text.index("asks / bids")


def test_tiny_terminal_keeps_head_position_and_orders_without_frames() -> None:
    lines = drawn(STATE, 40, 11).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("BTCUSDT  60,000.00 / 60,000.10")
    assert lines[1].startswith("ACTIVE")
    assert lines[2].startswith("position  0.016")
    assert lines[7].startswith("sell 0.016 at 60060.10")
    assert lines[9].startswith(FOOTER[0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "ACTIVE "),
        ({"is_paused": True}, "PAUSED "),
        ({"is_warming_up": True, "is_paused": True}, "WARMING UP, PAUSED "),
        ({"wanted": "reducing"}, "REDUCING "),
        ({"wanted": "halted", "is_paused": True}, "HALTED, PAUSED "),
        ({"is_valid": False}, "ACTIVE  NO VALID BOOK "),
        ({"sides": "long-only", "size": 0.25}, "ACTIVE  long-only  size x 0.25 "),
        ({"seconds_left": -1.0}, "1:23 traded, no end "),
        ({"seconds_left": 7_384.0}, "1:23 traded, 2:03:04 left "),
    ],
)
def test_state_is_told_in_words(fields: dict[str, object], words: str) -> None:
    assert words in drawn(changed(**fields), 120, 40)


def test_each_state_has_its_own_colour() -> None:
    codes = set()
    for fields in ({}, {"is_paused": True}, {"wanted": "reducing"}, {"wanted": "halted"}):
        text = drawn(changed(**fields), 120, 40, colours=True)
        found = re.search(r"\x1b\[([0-9;]+)m(ACTIVE|PAUSED|REDUCING|HALTED)\x1b", text)
        assert found is not None
        codes.add(found[1])
    assert len(codes) == 4


def test_more_orders_than_rows_are_counted() -> None:
    text = drawn(changed(orders=STATE.orders * 5), 120, 40)
    assert "working orders: 10" in text
    assert "and 6 more" in text


def test_flat_engine_without_a_book_shows_dashes() -> None:
    text = drawn(EMPTY, 120, 40)
    assert "BTCUSDT  - / -  spread - bps  sigma60 - bps" in text
    assert "WARMING UP  NO VALID BOOK" in text
    assert "entry     -" in text
    assert "time left -" in text
    assert "nan" not in text
    assert "9223372036854775807" not in text


def test_book_stands_from_the_highest_ask_down_to_the_lowest_bid() -> None:
    text = drawn(changed(asks=STATE.asks[:3], bids=STATE.bids[:3]), 80, 24)
    prices = re.findall(r"│ ([0-9,.]+|spread)? ", re.sub(r" +", " ", text))
    ladder = [price for price in prices if price.startswith(("60,000", "59,999", "spread"))]
    assert ladder == ["60,000.30", "60,000.20", "60,000.10", "spread", "60,000.00", "59,999.90", "59,999.80"]


def test_bars_give_way_to_digits() -> None:
    coin = changed(price_digits=8, quantity_digits=8, bids=((6_712_345_678, 1_234_567_890_123),), asks=())
    text = drawn(coin, 80, 24)
    assert "67.12345678 12,345.67890123" in text
    assert "█" not in text


def test_bars_need_no_block_characters() -> None:
    assert "█" not in drawn(STATE, 120, 40, bar="#")
    assert "##########" in drawn(STATE, 120, 40, bar="#")


def test_imbalances_do_not_push_out_whales() -> None:
    crowded = changed(records=(*STATE.records, *(STATE.records[-1],) * 30))
    assert "ENTRY" in drawn(crowded, 120, 40)


def test_text_from_outside_moves_no_cursor_and_is_no_markup() -> None:
    evil = changed(
        lines=("\x1b[2J\x1b[31mrejected\x07 [red]by[/red] the venue [/x]",),
        symbol="BTC\x1b]0;title\x07",
        wanted="\x9b2J",
    )
    text = drawn(evil, 120, 40)
    assert "[red]by[/red] the venue [/x]" in text
    assert not any(character in text for character in "\x1b\x07\x9b")
    assert plain("a\x1b\x00\n\u202eb") == "a    b"


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(state=STRANGE, width=st.integers(1, 200), height=st.integers(1, 80))
def test_whatever_the_state_and_the_size_it_is_drawn_within_the_terminal(
    state: ViewState, width: int, height: int
) -> None:
    assert len(drawn(state, width, height).splitlines()) <= max(height - 1, 1)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(state=STRANGE)
def test_whatever_the_state_it_is_drawn_at_the_usual_sizes(state: ViewState) -> None:
    for width, height in ((120, 40), (80, 24)):
        assert len(drawn(state, width, height).splitlines()) == height - 1
