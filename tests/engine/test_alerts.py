"""Rules of alerts: what they may say, when they fire, and that they fire once."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.alerts import COOLDOWN_NS, Alerts, Rule, parse_rule
from engine.errors import InputError
from engine.scan import Row

S = 1_000_000_000


def row(value: float | None, symbol: str = "BTCUSDT") -> Row:
    return Row(symbol=symbol, market="spot", state="live", whale_5m=value, covered_s=12.0)


def fired(rule: str, values: list[float | None], step_ns: int = COOLDOWN_NS) -> list[int]:
    """Return at which of the values the rule fires."""
    alerts = Alerts([parse_rule(rule)], ["BTCUSDT"])
    return [i for i, value in enumerate(values) if alerts.check([row(value)], i * step_ns)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("BTCUSDT whale > 500000", Rule("BTCUSDT", "whale_5m", ">", 500_000)),
        ("* spread_bps >= 5", Rule("*", "spread_bps", ">=", 5)),
        ("ethusdt  DELTA_1M < -2e6", Rule("ETHUSDT", "delta_1m", "<", -2_000_000)),
        ("BTCUSDT_261225 age_s <= 0.5", Rule("BTCUSDT_261225", "age_s", "<=", 0.5)),
    ],
)
def test_rule_is_read(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule
    assert parse_rule(rule.text) == rule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "0 words"),
        ("BTCUSDT whale >", "3 words"),
        ("BTCUSDT whale>500", "2 words"),
        ("BTC/USDT whale > 5", "begin with a symbol"),
        ("BTCUSDT wale > 5", "names the column 'wale'; expected one of whale"),
        ("BTCUSDT state > 5", "names the column 'state'"),
        ("BTCUSDT whale == 5", "has the operator '=='"),
        ("BTCUSDT whale > much", "end with a number, found 'much'"),
        ("BTCUSDT whale > nan", "end with a number"),
        ("BTCUSDT whale > inf", "end with a number"),
    ],
)
def test_rule_of_another_form_is_refused_in_one_sentence(text: str, expected: str) -> None:
    with pytest.raises(InputError) as found:
        parse_rule(text)
    assert expected in str(found.value)
    assert "\n" not in str(found.value)


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_a_sentence(text: str) -> None:
    with contextlib.suppress(InputError):
        assert math.isfinite(parse_rule(text).threshold)


def test_alert_says_what_where_and_on_how_much_it_rests() -> None:
    alerts = Alerts([parse_rule("* whale > 100")], ["BTCUSDT", "ETHUSDT"])
    found = alerts.check([row(50.0), row(150.0, "ETHUSDT")], 7)
    assert len(found) == 1
    alert = found[0]
    assert (alert.symbol, alert.rule, alert.column) == ("ETHUSDT", "* whale_5m > 100", "whale_5m")
    assert (alert.value, alert.threshold, alert.covered_s, alert.at_ns) == (150.0, 100.0, 12.0, 7)


def test_rule_fires_when_it_begins_to_hold_and_not_while_it_holds() -> None:
    assert fired("* whale > 100", [0.0, 101.0, 500.0, 101.0]) == [1]
    assert fired("* whale < -100", [0.0, -101.0, -500.0, -101.0]) == [1]
    assert fired("* whale > 100", [101.0, 102.0]) == [0]


def test_figure_at_the_threshold_counts_for_the_operators_that_say_so() -> None:
    assert fired("* whale > 100", [100.0]) == []
    assert fired("* whale >= 100", [100.0]) == [0]
    assert fired("* whale <= 100", [100.0]) == [0]
    assert fired("* whale < 100", [100.0]) == []


def test_figure_that_trembles_around_the_threshold_fires_once() -> None:
    assert fired("* whale > 100", [101.0, 99.0, 101.0, 91.0, 101.0]) == [0]
    assert fired("* whale > 100", [101.0, 90.0, 101.0]) == [0, 2]
    assert fired("* whale < -100", [-101.0, -91.0, -101.0, -90.0, -101.0]) == [0, 4]
    assert fired("* whale > -100", [-99.0, -105.0, -99.0, -110.0, -99.0]) == [0, 4]
    assert fired("* whale > 0", [1.0, 0.0, 1.0]) == [0, 2]


def test_edge_inside_the_cooldown_is_told_at_its_end_if_it_still_holds() -> None:
    values: list[float | None] = [101.0, 0.0, 101.0, 101.0, 101.0, 101.0, 101.0, 101.0]
    assert fired("* whale > 100", values, step_ns=10 * S) == [0, 6]
    assert fired("* whale > 100", [*values[:5], 0.0, 0.0], step_ns=10 * S) == [0]


def test_unknown_neither_fires_nor_arms_again() -> None:
    assert fired("* whale > 100", [None, 101.0, None, 101.0]) == [1]
    assert fired("* whale < 100", [None]) == []


def test_each_symbol_and_each_rule_is_judged_apart() -> None:
    alerts = Alerts([parse_rule("* whale > 100"), parse_rule("BTCUSDT whale > 200")], ["BTCUSDT", "ETHUSDT"])
    first = alerts.check([row(300.0), row(0.0, "ETHUSDT")], 0)
    assert [(one.symbol, one.threshold) for one in first] == [("BTCUSDT", 100.0), ("BTCUSDT", 200.0)]
    second = alerts.check([row(300.0), row(300.0, "ETHUSDT")], S)
    assert [(one.symbol, one.threshold) for one in second] == [("ETHUSDT", 100.0)]


def test_rule_that_could_never_fire_is_refused() -> None:
    with pytest.raises(InputError, match="can never fire: SOLUSDT is not watched"):
        Alerts([parse_rule("SOLUSDT whale > 1")], ["BTCUSDT"])
