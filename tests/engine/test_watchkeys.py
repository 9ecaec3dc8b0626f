"""The keys of the scanner: what each changes, and that sequences are told from keys."""

from engine.scan import Row
from engine.watchkeys import ESCAPE_S, WatchKeys

NAMES = ("symbol", "delta_1m", "whale_5m")


def keys_over(n: int = 3, sort: str = "delta_1m") -> WatchKeys:
    keys = WatchKeys(sort, NAMES)
    keys.arrange(rows(n))
    return keys


def rows(n: int) -> list[Row]:
    return [Row(symbol=f"S{i}", market="spot", state="live", delta_1m=float(-i)) for i in range(n)]


def typed(keys: WatchKeys, text: str, now_s: float = 1.0) -> WatchKeys:
    keys.take(text.encode(), now_s)
    return keys


def test_first_row_is_chosen_and_arrows_move_the_choice_within_the_table() -> None:
    keys = keys_over()
    assert keys.symbol == "S0"
    assert typed(keys, "\x1b[B").symbol == "S1"
    assert typed(keys, "\x1bOB").symbol == "S2"
    assert typed(keys, "\x1b[B").symbol == "S2"
    assert typed(keys, "\x1b[A").symbol == "S1"
    assert typed(keys, "\x1b[A\x1b[A").symbol == "S0"


def test_choice_stays_with_the_market_when_the_order_turns() -> None:
    keys = typed(keys_over(), "\x1b[B\x1b[B")
    assert keys.symbol == "S2"
    typed(keys, "S")
    assert [row.symbol for row in keys.arrange(rows(3))] == ["S2", "S1", "S0"]
    assert keys.symbol == "S2"
    assert typed(keys, "\x1b[B").symbol == "S1"


def test_s_goes_through_the_columns_and_begins_again() -> None:
    keys = keys_over()
    found = []
    for _ in range(4):
        typed(keys, "s")
        found.append(keys.sort)
    assert found == ["whale_5m", "symbol", "delta_1m", "whale_5m"]


def test_texts_are_sorted_rising_to_begin_with() -> None:
    assert WatchKeys("symbol", NAMES).is_rising
    assert not WatchKeys("delta_1m", NAMES).is_rising


def test_enter_opens_the_ladder_and_escape_closes_it() -> None:
    keys = typed(keys_over(), "\r")
    assert keys.is_ladder
    typed(keys, "\x1b", 2.0)
    keys.settle(2.0 + ESCAPE_S / 2)
    assert keys.is_ladder
    keys.settle(2.0 + ESCAPE_S)
    assert not keys.is_ladder


def test_escape_pressed_twice_closes_at_once() -> None:
    assert not typed(keys_over(), "\r\x1b\x1b").is_ladder


def test_arrow_cut_in_two_reads_is_no_escape() -> None:
    keys = typed(keys_over(), "\r\x1b", 2.0)
    typed(keys, "[B", 2.01)
    keys.settle(9.0)
    assert (keys.is_ladder, keys.symbol) == (True, "S1")


def test_ladder_changes_market_and_zoom_but_not_the_order() -> None:
    keys = typed(keys_over(), "\r++-\x1b[BsS")
    assert (keys.symbol, keys.zoom, keys.sort, keys.is_rising) == ("S1", 1, "delta_1m", False)
    for _ in range(9):
        typed(keys, "+++++")
    assert keys.zoom == 9


def test_function_keys_and_pasted_text_mean_nothing() -> None:
    keys = keys_over()
    typed(keys, "\x1b[15~\x1b[1;5Q\x1b[H")
    typed(keys, "quit the market at once q")
    assert (keys.is_over, keys.symbol, keys.sort) == (False, "S0", "delta_1m")
    assert typed(keys, "q").is_over


def test_without_a_market_nothing_opens() -> None:
    keys = WatchKeys("delta_1m", NAMES)
    assert not typed(keys, "\r\x1b[B").is_ladder


def test_m_turns_the_ladder_to_the_other_market_and_does_nothing_in_the_table() -> None:
    keys = typed(keys_over(), "m")
    assert not keys.is_spot
    assert typed(keys, "\rm").is_spot
    assert not typed(keys, "m").is_spot
