"""What is drawn: it fits, it says what is unknown, and it never cuts a figure into another one."""

import io
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from engine.alerts import Alert
from engine.ladder import LadderRow, LadderState, Print
from engine.pair import Pair, partners
from engine.scan import FIGURES, Row
from engine.watchkeys import WatchKeys
from engine.watchview import (
    COLUMNS,
    LEAST_COLUMNS,
    LEAST_ROWS,
    NO_NOTICE,
    Notice,
    WatchScreen,
    alert_text,
    cell_text,
    ladder_lines,
    ladder_room,
    line_of,
    pair_text,
    plain_table,
    short,
    table_lines,
    too_small,
)

NOW_NS = 1_700_000_003_000_000_000
NAMES = [column.name for column in COLUMNS]
KNOWN = Row(
    symbol="BTCUSDT",
    market="usdm",
    state="live",
    age_s=0.05,
    covered_s=200.0,
    mid=61_659.75,
    change_pct=-1.234,
    whale_5m=1_646_942.4,
    whale_1h=-2_265_104.6,
    delta_1m=-299_480.1,
    delta_5m=712.0,
    trades_s=42.44,
    quote_s=216_300.0,
    spread_bps=0.016,
    rho=0.33,
    poc_bps=-3.61,
    threshold=531_000.0,
    profile="rolling",
)
BARE = Row(symbol="NEWUSDT", market="usdm", state="waiting")
ALERT = Alert(
    at_ns=NOW_NS,
    symbol="BTCUSDT",
    rule="* whale_5m > 500000",
    column="whale_5m",
    value=1.2e6,
    threshold=5e5,
    covered_s=68.0,
)


def text_of(lines: list[Text]) -> list[str]:
    return [line.plain for line in lines]


def table(
    rows: list[Row], width: int = 80, height: int = 24, sort: str = "whale_5m", typed: bytes = b""
) -> list[str]:
    keys = WatchKeys(sort, NAMES)
    keys.arrange(rows)
    keys.take(typed, 1.0)
    arranged = keys.arrange(rows)
    return text_of(
        table_lines(arranged, keys, [ALERT], venue="binance-usdm", now_ns=NOW_NS, width=width, height=height)
    )


def named(row: Row, name: str) -> str:
    return cell_text(row, next(column for column in COLUMNS if column.name == name))


def test_every_figure_of_a_row_has_a_column() -> None:
    assert {*NAMES, "market"} == {*FIGURES, "symbol", "market", "state", "profile"}


def test_table_at_80_by_24_shows_the_head_the_rows_an_alert_and_the_keys() -> None:
    lines = table([KNOWN, BARE])
    assert len(lines) == 24
    assert lines[0].startswith("binance-usdm  1/2 live, 1 waiting  22:13:23 UTC  whale_5m falling")
    assert " ".join(lines[1].split()) == "symbol state mid whale 5m delta 1m quote/s spread delta 5m"
    assert lines[2].split() == ["BTCUSDT", "live", "61,659.75", "+1.65M~", "-299k", "216k", "0.02", "+712~"]
    assert lines[3].split() == ["NEWUSDT", "waiting", *"??????"]
    assert "ALERT  BTCUSDT  whale_5m +1.20M" in lines[-2]
    assert "q end" in lines[-1]


def test_column_sorted_by_is_there_however_narrow_the_terminal_is() -> None:
    for name in NAMES:
        head = table([KNOWN], width=LEAST_COLUMNS, sort=name)[1]
        column = next(one for one in COLUMNS if one.name == name)
        assert column.head in head
        assert len(head.rstrip()) <= LEAST_COLUMNS


def test_window_not_watched_to_its_begin_is_marked_and_the_unknown_is_a_question_mark() -> None:
    assert named(KNOWN, "whale_5m") == "+1.65M~"
    assert named(KNOWN, "delta_1m") == "-299k"
    assert named(msgspec.structs.replace(KNOWN, covered_s=300.0), "whale_5m") == "+1.65M"
    assert named(KNOWN, "val_bps") == "?"
    assert named(msgspec.structs.replace(KNOWN, delta_1m=0.0), "delta_1m") == "0"


def test_many_markets_scroll_with_the_chosen_one() -> None:
    rows = [msgspec.structs.replace(KNOWN, symbol=f"C{i:02d}", whale_5m=-float(i)) for i in range(50)]
    top = table(rows)
    assert top[2].startswith("C00")
    assert "1-20/50" in top[0]
    end = table(rows, typed=b"\x1b[B" * 5)
    assert end[2].startswith("C00")
    keys = WatchKeys("whale_5m", NAMES)
    keys.arrange(rows)
    keys.symbol = "C49"
    lines = text_of(table_lines(rows, keys, [], venue="v", now_ns=NOW_NS, width=80, height=24))
    assert lines[-2].startswith("C49")
    assert "30-50/50" in lines[0]


@given(st.floats(allow_nan=True, allow_infinity=False), st.sampled_from(["", "+"]))
def test_short_number_is_near_the_number_and_fits(value: float, sign: str) -> None:
    text = short(value, sign)
    if math.isnan(value):
        assert text == "?"
        return
    if value == 0 or 1e-9 < abs(value) < 1e15:
        assert len(text) <= 6
        units = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
        number = float(text[:-1]) * units[text[-1]] if text[-1] in units else float(text)
        assert number == pytest.approx(value, rel=0.006 if abs(value) >= 0.1 else 0.5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (-12_345.0, "-12.3k"),
        (999_960.0, "1.00M"),
        (0.002, "0.002"),
    ],
)
def test_short_number_changes_its_unit_where_it_must(value: float, expected: str) -> None:
    assert short(value) == expected


def test_figure_too_wide_for_its_column_is_never_cut() -> None:
    row = msgspec.structs.replace(KNOWN, mid=123_456_789_012.25)
    assert "###########" in table([row])[2]


@pytest.mark.parametrize("size", [(80, 24), (60, 10), (132, 50), (300, 80), (59, 24), (80, 9), (1, 1)])
def test_picture_fits_the_terminal_or_says_that_it_is_too_small(size: tuple[int, int]) -> None:
    width, height = size
    small = too_small(width, height)
    assert bool(small) == (width < LEAST_COLUMNS or height < LEAST_ROWS)
    if small:
        assert any(f"{LEAST_COLUMNS} x {LEAST_ROWS} are needed" in line.plain for line in small)
        return
    for state in (LADDER, msgspec_free(LADDER)):
        lines = ladder_lines(state, KNOWN, [ALERT], width=width, height=height)
        assert len(lines) == height
    assert len(table([KNOWN, BARE] * 40, width=width, height=height)) == height


LADDER = LadderState(
    symbol="BTCUSDT",
    state="live",
    price_digits=1,
    quantity_digits=3,
    row_units=10,
    best_bid=616_999,
    best_ask=617_000,
    rows=(
        LadderRow(617_000, -1, 2_220, 1_000, 0, 3_000, 500, 40, ""),
        LadderRow(616_990, 1, None, 0, 2, 0, 2, 80, "POC"),
        LadderRow(616_980, 1, 0, 0, 0, 0, 0, 0, ""),
    ),
    prints=(
        Print(NOW_NS, 1, 617_034, 17_840, 1_100_483.3, 45, is_whale=True),
        Print(NOW_NS - 4_000_000_000, -1, 616_970, 2_000, 123_319.4, 7, is_whale=False),
    ),
    profile="rolling, not ready",
    big_quote=53_100.0,
    unseen_trades=7,
)


def msgspec_free(state: LadderState) -> LadderState:
    """Return a ladder without anything in it."""
    from dataclasses import replace

    return replace(
        state, state="syncing", best_bid=0, best_ask=0, rows=(), prints=(), profile="", big_quote=math.nan
    )


def test_ladder_shows_sizes_changes_volume_and_whales() -> None:
    lines = text_of(ladder_lines(LADDER, KNOWN, [ALERT], width=80, height=24))
    assert lines[0].startswith("BTCUSDT usdm  61,699.9 / 61,700.0  live  whale 5m +1.65M~")
    assert "volume: rolling, not ready profile  7 trades came too fast" in lines[1]
    assert lines[3].split() == [
        "61,700.0",
        "2.22",
        "+1.00",
        "+3.00",
        "-0.500",
        "███",
        "22:13:23",
        "B",
        "1.10M",
        "W",
    ]
    assert lines[4].split() == ["61,699.0", "?", "-0.002", "-0.002", "██████POC", "22:13:19", "S", "123k"]
    assert lines[5].split() == ["61,698.0"]
    assert "esc back" in lines[-1]
    wide = text_of(ladder_lines(LADDER, None, [], width=120, height=24))
    assert wide[3].endswith("B  1.10M W 61,703.4")


@pytest.mark.parametrize("width", range(LEAST_COLUMNS, 130))
def test_no_figure_of_the_head_or_of_an_alert_is_cut(width: int) -> None:
    lines = text_of(ladder_lines(LADDER, KNOWN, [ALERT], width=width, height=24))
    assert len(lines[0]) <= width
    assert lines[0].endswith(("live", "+1.65M~", "-299k", "216k", "0.02", "+712~"))
    assert lines[-2] == alert_text(ALERT) if len(alert_text(ALERT)) <= width else lines[-2].endswith(" >")
    assert len(lines[-2]) <= width


def test_ladder_without_a_book_says_so() -> None:
    lines = text_of(ladder_lines(msgspec_free(LADDER), None, [], width=80, height=24))
    assert lines[0].startswith("BTCUSDT  - / -  syncing")
    assert "no whole book yet" in "\n".join(lines)
    assert ladder_room(24) == 19


def test_liquidation_is_marked_and_called_a_sample() -> None:
    from dataclasses import replace

    forced = Print(NOW_NS, -1, 616_900, 1_000, 61_690.0, 1, is_whale=False, is_liquidation=True)
    lines = text_of(ladder_lines(replace(LADDER, prints=(forced,)), KNOWN, [], width=120, height=24))
    assert lines[3].endswith("S  61.7k L 61,690.0")
    assert "L liquidation: a sample" in lines[1]


SPOT = msgspec.structs.replace(KNOWN, market="spot", mid=61_598.15, delta_1m=-700_000.0, covered_s=100.0)


def paired(width: int, height: int, notice: Notice = NO_NOTICE) -> list[str]:
    others = [msgspec.structs.replace(KNOWN, symbol=f"C{i}", whale_5m=float(-i)) for i in range(9)]
    perp = [KNOWN, *others]
    beside = partners([SPOT, *(msgspec.structs.replace(one, market="spot") for one in others)], perp)
    keys = WatchKeys("whale_5m", NAMES)
    lines = table_lines(
        keys.arrange(perp),
        keys,
        [],
        venue="binance pairs",
        now_ns=NOW_NS,
        width=width,
        height=height,
        beside=beside,
        notice=notice,
    )
    return text_of(lines)


def test_pair_stands_as_two_rows_and_a_line_of_what_differs() -> None:
    lines = paired(140, 24)
    assert len(lines) == 24
    assert lines[0].startswith("binance pairs  20/20 live")
    assert lines[1].split()[:3] == ["symbol", "market", "state"]
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["BTCUSDT", "usdm", "live", "61,659.75"],
        ["BTCUSDT", "spot", "live", "61,598.15"],
    ]
    assert lines[4].startswith("  basis  +10.00 bps  1m delta usdm   -299k spot   -700k, spot 70%  ")
    assert "5m delta usdm   +712~ spot   +712~, spot 50%~" in lines[4]


@pytest.mark.parametrize("height", range(LEAST_ROWS, 40))
def test_pairs_never_overflow_the_terminal_and_the_keys_stay(height: int) -> None:
    lines = paired(80, height, Notice("no socket since 22:13:23", is_bad=True))
    assert len(lines) == height
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert lines[-2] == "no socket since 22:13:23"
    assert "q end" in lines[-1]


def test_plain_pairs_have_their_line_under_both_rows() -> None:
    lines = plain_table([KNOWN], partners([SPOT], [KNOWN]))
    assert [line.split()[1] for line in lines[:3]] == ["market", "usdm", "spot"]
    assert lines[3].startswith("  basis  +10.00 bps")
    assert len(lines) == 4


def test_pair_that_disagrees_or_is_unknown_says_so() -> None:
    assert "usdm +2.00~ spot -1.00~, against~" in " ".join(
        pair_text(Pair(symbol="A", spot_delta_1m=-1.0, perp_delta_1m=2.0, lean_1m=-1.0), 5.0, 80).split()
    )
    assert pair_text(Pair(symbol="A"), 500.0, 140).count("?") == 7


def test_line_names_the_first_markets() -> None:
    line = line_of([KNOWN, BARE], NOW_NS)
    assert line.startswith("22:13:23  1/2 live, 1 waiting  BTCUSDT usdm 61,659.75 live, whale 5m +1.65M~")
    assert "NEWUSDT usdm ? waiting" in line
    assert "\n" not in line


def test_alert_is_one_line_with_its_rule_and_what_it_rests_on() -> None:
    assert alert_text(ALERT) == (
        "22:13:23  ALERT  BTCUSDT  whale_5m +1.20M  (* whale_5m > 500000; watched 1:08)"
    )


def test_plain_table_has_every_column_and_no_control_characters() -> None:
    lines = plain_table([KNOWN, BARE])
    assert len(lines) == 3
    assert all(column.head in lines[0] for column in COLUMNS)
    assert all(line.isprintable() for line in lines)


def test_screen_takes_the_terminal_and_gives_it_back_once() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=40, height=5, _environ={"TERM": "xterm"})
    screen = WatchScreen(console)
    assert "\x1b[?1049h" in out.getvalue()
    screen.draw([Text(f"line {i} " + "x" * 60) for i in range(9)])
    screen.close()
    screen.close()
    drawn = out.getvalue()
    assert drawn.count("\x1b[?1049l") == 1
    assert drawn.endswith("\x1b[?25h\x1b[?1049l")
    assert "line 4" in drawn
    assert "line 5" not in drawn
