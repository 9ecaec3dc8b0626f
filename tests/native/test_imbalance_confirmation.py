"""Windows of imbalance and the judgement of a sweep: every reason, threshold and edge by example."""

import math
from dataclasses import asdict, replace

import pytest

from engine.signals import EntryReason
from native.book import Book
from native.imbalance import Imbalance
from tests.native.leaning import BUY, EXACT, MS, SECOND, SELL, Confirmation, Pair, rho, same, touch
from tests.oracles.imbalance import HISTORY, Rules


def judged(
    rules: Rules = EXACT,
    *,
    pre: float = 0.5,
    post: tuple[float, ...] = (0.5, 0.5, 0.5),
    side: int = BUY,
    start_ms: int = 0,
    pulled: tuple[int, int] = (0, 0),
    is_asked_again: bool = False,
) -> Confirmation:
    """Judge a sweep at 3,000 ms: `pre` before it, 0.5 with it, then `post` each 100 ms.

    The first of `pulled` is added behind the touch of the supporting side at 2,000 ms; by the second it
    falls at 2,010 ms, and the rest trades away at 2,020 ms.
    """
    pair = Pair(rules, 1)
    rho(pair, pre, start_ms, side)
    if pulled[0]:
        price, rest = 100_000 - 3 * side, pulled[0] - pulled[1]
        for at_ms, quantity in ((2000, pulled[0]), (2010, rest)):
            pair.level(side, price, quantity, at_ms * MS)
            pair.settle(at_ms * MS)
        pair.trade(-side, price, rest, 2020 * MS)
        pair.level(side, price, 0, 2020 * MS)
        pair.settle(2020 * MS)
    rho(pair, 0.5, 3000, side)
    for i, value in enumerate(post):
        rho(pair, value, 3100 + 100 * i, side)
    seen = pair.confirmation(side, 3000 * MS, 3000 * MS, 3400 * MS)
    if is_asked_again:
        rho(pair, -0.75, 3401, side)
        assert same(pair.confirmation(side, 3000 * MS, 3000 * MS, 3400 * MS), seen)
    return seen


@pytest.mark.parametrize("side", [BUY, SELL])
def test_whale_when_the_book_leans_its_way_before_and_after_then_it_is_confirmed(side: int) -> None:
    seen = judged(side=side, is_asked_again=True)
    assert seen == (EntryReason.CONFIRMED, side * 0.5, side * 0.5, 0.5, 3, 0.0)


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"post": (0.5, 0.5)}, EntryReason.FEW_UPDATES),
        ({"post": (0.5, 0.25, 0.5)}, EntryReason.RHO_POST),
        ({"pre": -0.75}, EntryReason.RHO_PRE),
        ({"pulled": (8, 4)}, EntryReason.PULLED),
        ({"start_ms": 1401}, EntryReason.NOT_READY),
        ({"start_ms": 2501, "rules": replace(EXACT, pulled_window_ns=1)}, EntryReason.NOT_READY),
    ],
)
def test_whale_when_one_condition_fails_then_that_is_the_reason(
    side: int, changes: dict[str, float], reason: EntryReason
) -> None:
    assert judged(side=side, **changes)[0] == reason  # type: ignore[arg-type]


def test_whale_when_the_book_is_known_just_long_enough_then_it_is_confirmed() -> None:
    assert judged(start_ms=1400)[0] == EntryReason.CONFIRMED
    assert judged(replace(EXACT, pulled_window_ns=1), start_ms=2500)[0] == EntryReason.CONFIRMED


def test_whale_when_one_update_after_it_falls_below_the_floor_then_that_is_the_reason() -> None:
    rules = Rules(rho_enter=0.25, rho_floor=0.25, rho_pre_min=-0.5)
    seen = judged(rules, post=(0.5, 0.5, 0.0))
    assert seen[0] == EntryReason.RHO_POST_MIN
    assert seen[2] > rules.rho_enter
    assert seen[3] == 0.0


AT_EQUALITY: list[tuple[str, float, float, dict[str, object], EntryReason]] = [
    ("rho_enter", 0.5, 1.0, {}, EntryReason.RHO_POST),
    ("rho_floor", 0.25, 1.0, {"post": (0.5, 0.25, 0.5)}, EntryReason.RHO_POST_MIN),
    ("rho_pre_min", -0.5, 1.0, {"pre": -0.5}, EntryReason.RHO_PRE),
    ("min_updates", 3, 4, {}, EntryReason.FEW_UPDATES),
]


@pytest.mark.parametrize(("name", "equal", "above", "changes", "reason"), AT_EQUALITY)
def test_threshold_when_met_exactly_then_it_is_met(
    name: str, equal: float, above: float, changes: dict[str, object], reason: EntryReason
) -> None:
    beyond = above if isinstance(equal, int) else math.nextafter(equal, above)
    rules = {**asdict(EXACT), "rho_enter": 0.25 if name == "rho_floor" else 0.5}
    assert judged(Rules(**{**rules, name: equal}), **changes)[0] == EntryReason.CONFIRMED  # type: ignore[arg-type]
    if name == "rho_floor":
        rules["rho_enter"] = beyond
    assert judged(Rules(**{**rules, name: beyond}), **changes)[0] == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gone", "reason"), [(3, EntryReason.CONFIRMED), (4, EntryReason.PULLED), (8, EntryReason.PULLED)]
)
def test_additions_when_half_of_them_are_pulled_then_it_is_too_much(gone: int, reason: EntryReason) -> None:
    seen = judged(pulled=(8, gone))
    assert (seen[0], seen[5]) == (reason, gone / 8)


def test_window_when_updates_stand_on_its_edges_then_only_the_end_is_inside() -> None:
    pair = Pair(EXACT, 1)
    for at_ms, value in ((0, -0.5), (100, 0.0), (200, 0.25), (300, 0.5)):
        rho(pair, value, at_ms)
    assert pair.window(BUY, 100 * MS, 300 * MS) == (0.125, 0.25, 2)
    assert pair.window(BUY, 99 * MS, 299 * MS) == ((0.0 * 100 - 0.5 * 1 + 0.25 * 99) / 200, 0.0, 2)
    assert pair.window(SELL, 100 * MS, 300 * MS) == (0.125, -0.5, 2)
    assert pair.window(BUY, 0, 1) == (-0.5, math.inf, 0)
    assert same(pair.window(BUY, -1, 100 * MS), (math.nan, -0.5, 2))


def test_window_when_updates_share_a_moment_then_the_last_of_them_counts() -> None:
    pair = Pair(EXACT, 1)
    for at_ms, value in ((0, -0.5), (0, 0.5), (100, -0.75), (100, 0.25)):
        rho(pair, value, at_ms)
    assert pair.window(BUY, 0, 200 * MS) == (0.375, -0.75, 2)


@pytest.mark.parametrize("is_at_once", [False, True], ids=["for_a_while", "for_no_time"])
def test_window_when_a_side_was_empty_inside_then_it_is_not_ready(is_at_once: bool) -> None:
    pair = Pair(EXACT, 1)
    rho(pair, 0.5, 0)
    touch(pair, 15, 0, 100 * MS)
    rho(pair, 0.5, 100 if is_at_once else 110)
    rho(pair, 0.5, 200)
    assert same(pair.window(BUY, 50 * MS, 250 * MS), (math.nan, math.nan, 3))
    assert pair.window(BUY, 110 * MS, 250 * MS) == (0.5, 0.5, 1)
    assert pair.confirmation(BUY, 10 * MS, 50 * MS, 450 * MS)[0] == EntryReason.NOT_READY


def test_window_when_the_kept_updates_do_not_reach_back_then_it_is_not_ready() -> None:
    pair = Pair(EXACT, 1)
    for at_ms in range(HISTORY + 1):
        rho(pair, 0.5, at_ms)
    last = HISTORY * MS
    assert pair.window(BUY, MS, last) == (0.5, 0.5, HISTORY - 1)
    assert same(pair.window(BUY, MS - 1, last), (math.nan, 0.5, HISTORY))


def test_pulled_share_when_the_band_was_not_followed_over_the_window_then_it_is_unknown() -> None:
    pair = Pair(Rules(), 1)
    touch(pair, 1, 1, SECOND)
    assert math.isnan(pair.pulled(BUY, 3 * SECOND - 1))
    assert pair.pulled(BUY, 3 * SECOND) == 0.0
    touch(pair, 1, 0, 4 * SECOND)
    assert math.isnan(pair.pulled(BUY, 4 * SECOND))
    touch(pair, 1, 1, 5 * SECOND)
    assert math.isnan(pair.pulled(BUY, 7 * SECOND - 1))
    assert pair.pulled(BUY, 7 * SECOND) == 0.0


def test_window_when_it_is_empty_then_refused() -> None:
    with pytest.raises(ValueError, match="after begin_ns"):
        Imbalance(Book()).window_rho(BUY, 5, 5)
