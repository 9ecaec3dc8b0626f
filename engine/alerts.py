"""Alerts of the scanner: rules like `BTCUSDT whale > 500000`, told once when they begin to hold.

A rule is `SYMBOL COLUMN OPERATOR NUMBER`; `*` is every symbol. It is told when it begins to hold, then not
again before the figure went back by a tenth of the threshold, nor before the cooldown is over. What is
unknown neither fires nor re-arms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.errors import InputError
from engine.scan import FIGURES, SHORT_NAMES, Row, column_named

OPERATORS: Final = (">", "<", ">=", "<=")
HYSTERESIS: Final = 0.1  # of the threshold
COOLDOWN_NS: Final = 60_000_000_000
ALERT_VERSION: Final = 1
EVERY: Final = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `text` is how it is told."""

    symbol: str
    column: str
    operator: str
    threshold: float

    @property
    def text(self) -> str:
        """The rule in its normal form."""
        return f"{self.symbol} {self.column} {self.operator} {self.threshold:.15g}"

    def holds(self, value: float) -> bool:
        """Whether a figure is what the rule looks for."""
        if self.operator == ">":
            return value > self.threshold
        if self.operator == "<":
            return value < self.threshold
        return value >= self.threshold if self.operator == ">=" else value <= self.threshold

    def is_over(self, value: float) -> bool:
        """Whether a figure went back so far that the rule may fire again."""
        margin = HYSTERESIS * abs(self.threshold)
        if self.holds(value):
            return False
        if self.operator in (">", ">="):
            return value <= self.threshold - margin
        return value >= self.threshold + margin


class Alert(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="alert"):
    """A rule that began to hold; `covered_s` says how much of its window the figure rests on."""

    v: int = ALERT_VERSION
    at_ns: int
    symbol: str
    market: str = ""
    rule: str
    column: str
    value: float
    threshold: float
    covered_s: float


def parse_rule(text: str) -> Rule:
    """Read one rule.

    Raises
    ------
    InputError
        It is of another form, or names no figure, no operator or no number.
    """
    words = text.split()
    form = "SYMBOL COLUMN OPERATOR NUMBER like 'BTCUSDT whale > 500000' or '* spread_bps > 5'"
    if len(words) != 4:
        raise InputError(f"An alert is expected as {form}, found {len(words)} words in {text!r}.")
    symbol, name, operator, number = words
    if symbol != EVERY and not (symbol.isascii() and symbol.replace("_", "").isalnum()):
        raise InputError(f"The alert {text!r} is expected to begin with a symbol or *, found {symbol!r}.")
    column = column_named(name, FIGURES)
    if column is None:
        known = ", ".join((*SHORT_NAMES, *FIGURES))
        raise InputError(f"The alert {text!r} names the column {name!r}; expected one of {known}.")
    if operator not in OPERATORS:
        raise InputError(f"The alert {text!r} has the operator {operator!r}; expected {' '.join(OPERATORS)}.")
    try:
        threshold = float(number)
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise InputError(f"The alert {text!r} is expected to end with a number, found {number!r}.")
    return Rule(symbol.upper(), column, operator, threshold)


class Alerts:
    """Judge rows by rules.

    Parameters
    ----------
    rules : each is judged for each symbol apart.
    symbols : that are watched.

    Raises
    ------
    InputError
        A rule names a symbol that is not watched: it could never fire.
    """

    def __init__(self, rules: Sequence[Rule], symbols: Sequence[str]) -> None:
        for rule in rules:
            if rule.symbol != EVERY and rule.symbol not in symbols:
                raise InputError(f"The alert '{rule.text}' can never fire: {rule.symbol} is not watched.")
        self._rules = tuple(rules)
        # Rule, symbol and market: waits for the figure to go back.
        self._told: set[tuple[int, str, str]] = set()
        self._told_ns: dict[tuple[int, str, str], int] = {}

    def check(self, rows: Sequence[Row], now_ns: int) -> list[Alert]:
        """Return what began to hold, in the order of the rules.

        An edge inside the cooldown is told at its end, if the rule still holds then.
        """
        found: list[Alert] = []
        for number, rule in enumerate(self._rules):
            for row in rows:
                if rule.symbol in (EVERY, row.symbol):
                    alert = self._check(number, rule, row, now_ns)
                    if alert is not None:
                        found.append(alert)
        return found

    def _check(self, number: int, rule: Rule, row: Row, now_ns: int) -> Alert | None:
        key = (number, row.symbol, row.market)
        value: float | None = getattr(row, rule.column)
        if value is None:
            return None
        if key in self._told:
            if rule.is_over(value):
                self._told.discard(key)
            return None
        told_ns = self._told_ns.get(key)
        if not rule.holds(value) or (told_ns is not None and now_ns - told_ns < COOLDOWN_NS):
            return None
        self._told.add(key)
        self._told_ns[key] = now_ns
        return Alert(
            at_ns=now_ns,
            symbol=row.symbol,
            market=row.market,
            rule=rule.text,
            column=rule.column,
            value=value,
            threshold=rule.threshold,
            covered_s=row.covered_s,
        )
