"""Scripts of faults: files that say something, files that are refused, and storms."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.sim.faultscript import Fault, Kind, complaint, read_script, storm, write_script

TOML = """
[[fault]]
at = 12.5
kind = "drop"
stream = "*@depth*"
count = 3

[[fault]]
at = 3
kind = "status"
symbol = "BTCUSDT"
value = "HALT"
lasts = 20.0
"""


def test_toml_is_read_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "bad day.toml"
    path.write_text(TOML)
    assert read_script(path) == (
        Fault(at=3.0, kind=Kind.STATUS, symbol="BTCUSDT", value="HALT", lasts=20.0),
        Fault(at=12.5, kind=Kind.DROP, stream="*@depth*", count=3),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[fault]]\nat = 1\nkind = 'drop'\nsteam = 'x'", "unknown field `steam`"),
        ("[[fault]]\nat = 1\nkind = 'explode'", "Invalid enum value 'explode'"),
        ("[[fault]]\nkind = 'drop'", "missing required field `at`"),
        ("[[fault]]\nat = -1\nkind = 'drop'", ">= 0"),
        ("[[fault]]\nat = 1\nkind = 'drop'\nshare = 0.0", "> 0"),
        ("[[fault]]\nat = 1\nkind = 'refuse'\nstatus = 6000", "<= 599"),
        ("[[fault]]\nat = 1\nkind = 'delay'", r"fault 1 \(delay\): expected `delay` above 0, found none"),
        ("[[fault]]\nat = 1\nkind = 'silence'", "expected `lasts` above 0"),
        ("[[fault]]\nat = 1\nkind = 'stall'", "expected `lasts` above 0"),
        ("[[fault]]\nat = 1\nkind = 'status'\nvalue = 'SHUT'", "found 'SHUT'"),
        ("[[fault]]\nat = 1\nkind = 'funding'\nvalue = '9'", "1 to 8 hours"),
        ("[[fault]]\nat = 1\nkind = 'filters'", "`tick`, `step` or `min_notional`"),
        ("[[fault]]\nat = 1\nkind = 'delist'\ncount = 2", "expected it once"),
        ("[[fault]", "expected a script of faults"),
        ("fault = 3", "expected a script of faults"),
    ],
)
def test_script_that_says_nothing_sensible_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_script(path)


def test_absent_and_undecodable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_script(tmp_path / "none.toml")
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="expected a script"):
        read_script(path)


@given(seed=st.integers(0, 10**9), intensity=st.floats(0.1, 10), seconds=st.floats(1, 300))
def test_storm_is_repeated_by_its_seed_means_something_and_ends_in_time(
    seed: int, intensity: float, seconds: float
) -> None:
    drawn = storm(seed, intensity=intensity, start=5.0, seconds=seconds)
    assert drawn == storm(seed, intensity=intensity, start=5.0, seconds=seconds)
    for fault in drawn:
        assert complaint(fault) == ""
        assert 5.0 <= fault.at < 5.0 + seconds
        assert fault.at + fault.lasts <= 5.0 + seconds + 1e-5
        # What counts by messages alone would be in force after the end.
        assert fault.lasts or fault.kind in (Kind.CUT, Kind.CLOSE, Kind.SHUTDOWN, Kind.CLOCK)
    times = [fault.at for fault in drawn]
    assert times == sorted(times)


def test_storms_bring_everything_at_the_rate_they_say() -> None:
    drawn = [fault for seed in range(200) for fault in storm(seed, seconds=60)]
    assert 200 * 60 * 0.5 * 0.9 < len(drawn) < 200 * 60 * 0.5 * 1.1
    counts = Counter(fault.kind for fault in drawn)
    never = {Kind.STATUS, Kind.FILTERS, Kind.FUNDING, Kind.DELIST, Kind.VENUE_CLOCK}
    assert set(counts) == set(Kind) - never
    assert min(counts.values()) > 30
    twice = [fault for seed in range(200) for fault in storm(seed, seconds=60, intensity=2.0)]
    assert 1.8 < len(twice) / len(drawn) < 2.2


def test_storm_written_as_json_is_read_as_the_same(tmp_path: Path) -> None:
    path = tmp_path / "storm.json"
    path.write_bytes(write_script(storm(17)))
    assert read_script(path) == storm(17)
