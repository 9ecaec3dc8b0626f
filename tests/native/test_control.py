"""The control page, and that `engine.control` knows the same one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine import control
from engine.control import ControlFile, ControlStatus, Raised, Slot
from native.control import ControlError, ControlPage, ControlSlot, Wanted

BOOT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
LATEST = 2**62 - 1


def make(path: Path, *, epoch: int = 7, now_ns: int = 1_000) -> ControlPage:
    return ControlPage.create(str(path), instance="btc", epoch=epoch, boot_id=BOOT_ID, now_ns=now_ns)


def status_of(page: ControlPage) -> ControlStatus:
    """Read every field through the native room into the value of the other."""
    return ControlStatus(
        instance=page.instance,
        epoch=page.epoch,
        pid=page.pid,
        start_ns=page.start_ns,
        boot_id=page.boot_id,
        heartbeat_count=page.heartbeat_count,
        heartbeat_ns=page.heartbeat_ns,
        breaker=page.breaker,
        size_factor=page.size_factor,
        sides=page.sides,
        is_paused=page.is_paused,
        raised=tuple(
            Raised(control.Wanted(state), at_ns) for state, at_ns in (page.slot(slot) for slot in ControlSlot)
        ),
    )


def test_both_rooms_have_the_same_states_and_slots() -> None:
    assert {one.name.removeprefix("WANTED_"): one.value for one in Wanted} == {
        one.name: one.value for one in control.Wanted
    }
    assert {one.name.removeprefix("SLOT_"): one.value for one in ControlSlot} == {
        one.name: one.value for one in Slot
    }


def test_gate_counts_the_states_as_the_page_does() -> None:
    source = (Path(__file__).parents[2] / "native" / "gate.pyx").read_text()
    told = {name: int(value) for name, value in re.findall(r"^    (REDUCING|HALTED) = (\d)", source, re.M)}
    assert told == {"REDUCING": Wanted.WANTED_REDUCING, "HALTED": Wanted.WANTED_HALTED}


WRITES: tuple[tuple[str, Callable[[ControlPage], None]], ...] = (
    ("heartbeat", lambda page: page.beat(LATEST)),
    ("breaker", lambda page: page.set_breaker(-(2**63))),
    ("size_factor", lambda page: page.set_size_factor(250_001)),
    ("sides", lambda page: page.set_sides(2)),
    ("is_paused", lambda page: page.set_paused(True)),
    *(
        (slot.name, lambda page, slot=slot: page.raise_wanted(slot, Wanted.WANTED_REDUCING, LATEST - slot))
        for slot in ControlSlot
    ),
)


@pytest.mark.parametrize(("name", "write"), WRITES, ids=[name for name, _ in WRITES])
def test_field_when_written_by_one_room_then_the_other_reads_it_and_no_other_field_moves(
    tmp_path: Path, name: str, write: Callable[[ControlPage], None]
) -> None:
    page = make(tmp_path / "control")
    with ControlFile(page.path) as file:
        before = file.read()
        assert before == status_of(page)
        write(page)
        after = file.read()
        assert after == status_of(page)
        changed = {field for field in before.__slots__ if getattr(before, field) != getattr(after, field)}
        expected = {"heartbeat": {"heartbeat_count", "heartbeat_ns"}}.get(name, {name})
        assert changed == ({"raised"} if name.startswith("SLOT_") else expected)


@pytest.mark.parametrize("slot", Slot)
def test_slot_when_raised_through_the_standard_library_then_the_native_room_reads_it(
    tmp_path: Path, slot: Slot
) -> None:
    page = make(tmp_path / "control")
    with ControlFile(page.path) as file:
        file.raise_wanted(slot, control.Wanted.HALTED, LATEST)
        assert page.wanted() == Wanted.WANTED_HALTED
        assert page.slot(ControlSlot(slot)) == (2, LATEST)
        assert [page.slot(other) for other in ControlSlot if other != slot] == [(0, 0)] * 3
        assert file.read() == status_of(page)


def test_page_when_made_then_it_says_who_made_it(tmp_path: Path) -> None:
    page = make(tmp_path / "control")
    found = (page.instance, page.epoch, page.boot_id, page.start_ns, page.size_factor, page.was_damaged)
    assert found == ("btc", 7, BOOT_ID, 1_000, 1_000_000, False)
    assert page.wanted() == page.heartbeat_count == page.heartbeat_ns == 0
    assert (tmp_path / "control").stat().st_size == 4096
    assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["control"], "no draft is left"


def test_page_when_a_second_engine_makes_it_anew_then_what_was_raised_stays_and_readers_stay_attached(
    tmp_path: Path,
) -> None:
    page = make(tmp_path / "control")
    page.raise_wanted(ControlSlot.SLOT_KILL, Wanted.WANTED_HALTED, 5)
    page.raise_wanted(ControlSlot.SLOT_ENGINE, Wanted.WANTED_REDUCING, 6)
    page.beat(9)
    page.set_paused(True)
    with ControlFile(page.path) as reader:
        second = make(tmp_path / "control", epoch=8)
        assert not second.was_damaged
        assert second.wanted() == Wanted.WANTED_HALTED
        assert second.slot(ControlSlot.SLOT_ENGINE) == (1, 6)
        assert (second.heartbeat_ns, second.is_paused) == (0, False)
        assert reader.read() == status_of(second)
        assert second.clear() == Wanted.WANTED_ACTIVE
        assert page.wanted() == reader.wanted() == 0


def flip(place: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda page: page[:place] + bytes([page[place] ^ 1 << bit]) + page[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda page: page[:-1],
    "long": lambda page: page + b"\0",
    "zeros": lambda page: bytes(len(page)),
    "magic": flip(0, 0),
    "layout": flip(8, 1),
    "size": flip(13, 4),
    "instance": flip(16, 2),
    "epoch": flip(39, 7),
    "boot id": flip(94, 0),
    "checksum": flip(96, 3),
    "state": lambda page: page[:448] + b"\3" + page[449:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_page_when_damaged_then_open_tells_and_an_engine_starts_halted(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "control"
    make(path).close()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ControlError, match=r"control: (a|expected a whole) control page"):
        ControlPage.open(str(path))
    page = make(path)
    assert page.was_damaged
    assert page.slot(ControlSlot.SLOT_ENGINE) == (2, 1_000)
    assert page.wanted() == Wanted.WANTED_HALTED
    with ControlFile(str(path)) as file:
        assert file.read() == status_of(page)
    assert page.clear() == Wanted.WANTED_ACTIVE


@pytest.mark.parametrize("damage", ["zeros", "magic", "layout", "size", "state"])
def test_page_when_damaged_while_it_is_mapped_then_it_reads_as_halted(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "control"
    page = make(path)
    whole = path.read_bytes()
    with ControlFile(str(path)) as file:
        assert page.wanted() == file.wanted() == Wanted.WANTED_ACTIVE
        with path.open("r+b") as raw:
            raw.write(DAMAGES[damage](whole))
        assert page.wanted() == file.wanted() == Wanted.WANTED_HALTED
        with path.open("r+b") as raw:
            raw.write(whole)
        assert page.wanted() == file.wanted() == Wanted.WANTED_ACTIVE


def test_page_when_closed_then_it_reads_as_halted_and_takes_nothing(tmp_path: Path) -> None:
    page = make(tmp_path / "control")
    page.close()
    page.close()
    page.beat(5)
    assert page.wanted() == Wanted.WANTED_HALTED
    for use in (
        lambda: page.epoch,
        page.clear,
        lambda: page.raise_wanted(ControlSlot.SLOT_KILL, Wanted.WANTED_HALTED, 1),
    ):
        with pytest.raises(ControlError, match="closed"):
            use()
    assert ControlPage().wanted() == Wanted.WANTED_HALTED, "never opened"
    assert ControlPage.open(page.path).heartbeat_count == 0


def test_page_when_there_is_none_then_open_tells(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ControlPage.open(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "none" / "control")


def test_arguments_when_out_of_bounds_then_it_says_what_was_found(tmp_path: Path) -> None:
    page = make(tmp_path / "control")
    wrong: tuple[Callable[[], object], ...] = (
        lambda: page.raise_wanted(4, 1, 0),  # type: ignore[arg-type]
        lambda: page.raise_wanted(-1, 1, 0),  # type: ignore[arg-type]
        lambda: page.raise_wanted(ControlSlot.SLOT_KILL, 3, 0),  # type: ignore[arg-type]
        lambda: page.raise_wanted(ControlSlot.SLOT_KILL, Wanted.WANTED_HALTED, 2**62),
        lambda: page.raise_wanted(ControlSlot.SLOT_KILL, Wanted.WANTED_HALTED, -1),
        lambda: page.slot(4),  # type: ignore[arg-type]
        lambda: page.set_size_factor(1_000_001),
        lambda: page.set_sides(3),
        lambda: make(tmp_path / "other", epoch=-1),
        lambda: make(tmp_path / "other", now_ns=2**62),
        lambda: ControlPage.create(
            str(tmp_path / "other"), instance="x" * 17, epoch=1, boot_id=BOOT_ID, now_ns=0
        ),
    )
    for call in wrong:
        with pytest.raises(ValueError, match="found"):
            call()
    assert page.wanted() == Wanted.WANTED_ACTIVE
    assert not (tmp_path / "other").exists()


class RandomControl(RuleBasedStateMachine):
    """Raise by both rooms, clear, restart; a dict of slots is the twin."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "control"
        self.page, self.file = make(self.path), ControlFile(str(self.path))
        self.slots = dict.fromkeys(Slot, (0, 0))
        self.now_ns = self.beats = 0

    @rule(slot=st.sampled_from(Slot), state=st.sampled_from(control.Wanted), by_file=st.booleans())
    def raise_it(self, slot: Slot, state: control.Wanted, by_file: bool) -> None:
        self.now_ns += 1
        if by_file:
            self.file.raise_wanted(slot, state, self.now_ns)
        else:
            self.page.raise_wanted(ControlSlot(slot), Wanted(state), self.now_ns)
        self.slots[slot] = max(self.slots[slot][0], state), self.now_ns

    @rule()
    def clear(self) -> None:
        assert self.page.clear() == 0
        self.slots = {slot: old if not old[0] else (0, 0) for slot, old in self.slots.items()}

    @rule()
    def beat(self) -> None:
        self.beats += 1
        self.page.beat(self.now_ns)

    @rule()
    def restart(self) -> None:
        self.page = make(self.path)
        self.beats = 0

    @invariant()
    def both_rooms_tell_the_twin(self) -> None:
        found = self.file.read()
        assert found == status_of(self.page)
        assert [(one.state, one.time_ns) for one in found.raised] == list(self.slots.values())
        wanted = max(state for state, _ in self.slots.values())
        assert found.wanted == self.page.wanted() == self.file.wanted() == wanted
        assert found.heartbeat_count == self.beats

    def teardown(self) -> None:
        self.file.close()
        self.page.close()
        self.folder.cleanup()


RandomControl.TestCase.settings = settings(max_examples=40, stateful_step_count=30)


@pytest.mark.slow
class TestRandomControl(RandomControl.TestCase):  # type: ignore[misc]
    """Any order of raising, clearing and starting anew gives what the twin gives."""
