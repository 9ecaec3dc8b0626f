"""Stop, target, time stop and scratch fire at the first frame or due time that satisfies them, never earlier.

A slow reader walks a recording on its own: frames with a general JSON reader into a book of dicts, plans and
fills from the decisions, whales and imbalances from the signals. For each plan it finds the first moment at
which anything should have ended it, and what. The engine must have begun to close then, for that reason.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from engine.observers.recorder import DECISIONS_NAME, SIGNALS_NAME
from tests.journeys.engines import NS, WALL_NS, Session, differences, replay, run_session

# What is held is held for long: scratches are rare, so that levels and time stops are reached.
PATIENT = {
    "REMORA_WHALE__QUANTILE": "0.97",
    "REMORA_ENTRY__IMBALANCE_HOLD_MS": "4000",
    "REMORA_ENTRY__RHO_ENTER": "0.3",
    "REMORA_VOLUME_SCALPER__ENTRY_NOTIONAL_QUOTE": "1500",
}
FORCED = ("flatten", "hard_stop")

Fact = dict[str, object]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Moment:
    """One read with a depth update: its time, and the best prices after each of its updates."""

    at_ns: int
    quotes: tuple[tuple[Decimal, Decimal], ...]


class Book:
    """Levels in two dicts, joined by the venue's update ids."""

    def __init__(self) -> None:
        self.sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
        self.final_id = 0

    def apply(self, document: dict[str, list[list[str]]], names: tuple[str, str]) -> None:
        for side, name in zip(self.sides, names, strict=True):
            for price, quantity in document[name]:
                if Decimal(quantity):
                    side[Decimal(price)] = Decimal(quantity)
                else:
                    side.pop(Decimal(price), None)

    @property
    def quote(self) -> tuple[Decimal, Decimal]:
        return max(self.sides[0]), min(self.sides[1])


def moments_of(recording: Path) -> list[Moment]:
    """Return every read that changed the book, once there is one."""
    book, waiting, found = Book(), [], list[Moment]()
    for line in (recording / "btcusdt.txt").read_bytes().splitlines():
        stamp, _, payload = line.partition(b" ")
        document = orjson.loads(payload)
        if "lastUpdateId" in document:
            book.final_id = document["lastUpdateId"]
            book.apply(document, ("bids", "asks"))
            updates = waiting
        elif str(document.get("stream", "")).partition("@")[2].startswith("depth"):
            updates = [document["data"]]
        else:
            continue
        if not book.final_id:
            waiting += updates
            continue
        quotes = []
        for update in updates:
            if update["u"] > book.final_id:
                book.apply(update, ("b", "a"))
                book.final_id = update["u"]
                quotes.append(book.quote)
        if found and found[-1].at_ns == int(stamp):
            found[-1] = Moment(int(stamp), (*found[-1].quotes, *quotes))
        elif quotes:
            found.append(Moment(int(stamp), tuple(quotes)))
    return found


def lines_of(path: Path) -> Iterator[Fact]:
    yield from map(orjson.loads, path.read_bytes().splitlines())


class Reader:
    """One recording, and what should have ended each of its plans."""

    def __init__(self, recording: Path) -> None:
        self.moments = moments_of(recording)
        self.times = [moment.at_ns for moment in self.moments]
        decisions = list(lines_of(recording / DECISIONS_NAME))
        signals = [record for record in lines_of(recording / SIGNALS_NAME) if record["record"] == "flow"]
        self.fills = [fact for fact in decisions if fact["fact"] == "fill"]
        self.plans = [fact for fact in decisions if fact["fact"] == "plan"]
        self.closing = [
            fact
            for fact in decisions
            if fact["fact"] == "decision" and fact["is_reducing"] and fact["purpose"] != "hard_stop"
        ]
        opened = [record for record in signals if record["kind"] == "whale_open"]
        # Of several whales in one read the last one counts: the read is decided at its end.
        self.whales = {int(str(record["decide_ns"])): str(record["side"]) for record in opened}
        self.imbalances = [
            (int(str(record["decide_ns"])), str(record["side"]) if record["kind"] == "imbalance_on" else "")
            for record in signals
            if str(record["kind"]).startswith("imbalance")
        ]

    def first_end(self, number: int, until_ns: int) -> tuple[int, str] | None:
        """Return when and why a plan had to end, looking no further than a moment."""
        facts = [fact for fact in self.plans if fact["plan"] == number and fact["target"] != "0"]
        # The last of one moment counts; a plan without a position has no levels.
        course = {int(str(fact["at_ns"])): fact for fact in facts if fact["stage"] != "over"}
        starts = sorted(course)
        fills = {int(str(fact["at_ns"])) for fact in self.fills if fact["plan"] == number}
        begin_ns = max(min(fills), self.times[0])  # a fill of before a restart has no frames here
        times = fills | set(starts) | set(self.times) | set(self.whales)
        times |= {at_ns for at_ns, _ in self.imbalances} | {int(str(f["deadline_ns"])) for f in facts}
        for at_ns in sorted(moment for moment in times if begin_ns <= moment <= until_ns):
            fact = course[starts[bisect_right(starts, at_ns) - 1]]
            reason = self.reason(fact, at_ns, is_report=at_ns in fills)
            if reason:
                return at_ns, reason
        return None

    def reason(self, fact: Fact, at_ns: int, *, is_report: bool) -> str:
        """Return why a plan as it stands must end at a moment; the first in the desk's order."""
        is_long = fact["side"] == "buy"
        stop, target = Decimal(str(fact["stop"])), Decimal(str(fact["target"]))
        moment = self.moments[bisect_right(self.times, at_ns) - 1]
        # Quotes of a read count one by one in it; at another moment the last stands.
        quotes = moment.quotes if moment.at_ns == at_ns and not is_report else moment.quotes[-1:]
        prices = [bid if is_long else ask for bid, ask in quotes]
        sign = 1 if is_long else -1
        if any(sign * (price - stop) <= 0 for price in prices):
            return "stop"
        if any(sign * (price - target) >= 0 for price in prices):
            return "target"
        if at_ns >= int(str(fact["deadline_ns"])):
            return "time"
        opposite = "sell" if is_long else "buy"
        sides = [side for event_ns, side in self.imbalances if event_ns <= at_ns]
        if self.whales.get(at_ns) == opposite or (sides and sides[-1] == opposite):
            return "scratch"
        return ""

    def verdicts(self) -> Iterator[tuple[int, str]]:
        """Check every plan that was filled and is over; yield its number and why it ended."""
        filled = {fact["plan"] for fact in self.fills}
        for over in self.plans:
            number = int(str(over["plan"]))
            if over["stage"] != "over" or number not in filled:
                continue
            begun = next(
                fact for fact in self.plans if fact["plan"] == number and fact["stage"] in ("exiting", "over")
            )
            begun_ns, outcome = int(str(begun["at_ns"])), str(over["outcome"])
            expected = self.first_end(number, begun_ns)
            if outcome in FORCED:
                assert expected is None, (number, outcome, expected)
            else:
                assert expected == (begun_ns, outcome), number
                first = next(fact for fact in self.closing if fact["plan"] == number)
                assert first["purpose"] == outcome
                assert int(str(first["decide_ns"])) >= begun_ns
            yield number, outcome


def checked(folder: Path, seed: int, market: str, seconds: float) -> Counter[str]:
    extra = {**PATIENT, "REMORA_SIMULATOR__MARKET": market}
    recording, report = run_session(folder, seed, seconds=seconds, extra=extra)
    live = list(Reader(recording).verdicts())
    assert len(live) == report.round_trips
    replay(recording, folder / "again")
    assert differences(recording, folder / "again") == []
    return Counter(outcome for _, outcome in live)


def test_every_exit_stands_at_the_first_moment_that_satisfies_it(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for seed, market, seconds in ((4, "usdm", 25.0), (7, "usdm", 25.0), (5, "spot", 60.0), (2, "spot", 60.0)):
        folder = tmp_path / f"{market}{seed}"
        folder.mkdir()
        found += checked(folder, seed, market, seconds)
    assert {"stop", "target", "scratch"} <= found.keys()


@pytest.mark.parametrize("market", ["usdm", "spot"])
def test_time_stop_fires_at_its_due_time(tmp_path: Path, market: str) -> None:
    # Minutes after the entry: the engine is killed there, and started again shortly before.
    extra = {"REMORA_ENTRY__IMBALANCE_HOLD_MS": "60000", "REMORA_SIMULATOR__MARKET": market}
    first = Session.open(tmp_path, 7, name="first", extra=extra)
    first.begin()
    engine = first.engine
    while not (engine.trading.desk.positions[0].quantity and engine._has_stop()):
        assert not engine.is_over
        engine.run_virtually(engine.next_ns)
    plan = engine.trading.desk.plans[0]
    assert plan is not None
    first.kill()
    wall_ns = WALL_NS + plan.deadline_ns - engine.start_ns - NS // 2
    second = Session.open(tmp_path, 7, wall_ns=wall_ns, seconds=1.0, extra=extra)
    second.begin()
    second.run()
    second.end()
    reader = Reader(second.recording)
    assert (plan.number, "time") in list(reader.verdicts())
    begun = next(fact for fact in reader.plans if fact["plan"] == plan.number and fact["stage"] == "exiting")
    assert begun["at_ns"] == plan.deadline_ns
    replay(second.recording, tmp_path / "again")
    assert differences(second.recording, tmp_path / "again") == []


def test_reader_notices_an_exit_at_another_moment(tmp_path: Path) -> None:
    recording, _ = run_session(tmp_path, 7, seconds=20.0, extra=PATIENT)
    reader = Reader(recording)
    numbers = [number for number, outcome in reader.verdicts() if outcome not in FORCED]
    begun = next(fact for fact in reader.plans if fact["plan"] == numbers[0] and fact["stage"] == "exiting")
    for shift_ns in (-1, 1, 2_000_000_000):
        at_ns = begun["at_ns"]
        begun["at_ns"] = int(str(at_ns)) + shift_ns
        with pytest.raises(AssertionError):
            list(reader.verdicts())
        begun["at_ns"] = at_ns
    list(reader.verdicts())
