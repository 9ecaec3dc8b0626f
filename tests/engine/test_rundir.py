"""Directories, locks and the counter of epochs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import rundir
from engine.errors import InputError, StateError
from engine.rundir import RunDir, socket_path


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(tmp_path / "run")


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def counted(instance: str, run: str, state: str) -> int:
    """One start and end of an engine."""
    opened = RunDir.open(instance, run, state)
    try:
        return opened.next_epoch()
    finally:
        opened.release()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_directories_when_missing_then_they_are_made_for_the_user_alone(run: str, state: str) -> None:
    umask = os.umask(0)
    try:
        opened = RunDir.open("btc", run, state)
        opened.next_epoch()
    finally:
        os.umask(umask)
    assert (opened.path, opened.state_path) == (Path(run, "btc"), Path(state, "btc"))
    assert [mode(folder) for folder in (opened.path, opened.state_path, Path(run), Path(state))] == [
        0o700
    ] * 4
    files = [path for folder in (opened.path, opened.state_path) for path in folder.iterdir()]
    assert sorted(path.name for path in files) == ["epoch", "lock", "lock"]
    assert {mode(path) for path in files} == {0o600}
    opened.release()


def test_paths_when_asked_then_they_lie_in_the_run_directory(run: str, state: str) -> None:
    opened = RunDir.open("btc", run, state)
    assert opened.control_path == opened.path / "control"
    assert opened.socket_path == opened.path / "command.sock" == socket_path("btc", run)
    assert opened.facts_path(12) == opened.path / "facts.12"
    assert opened.market_path(12) == opened.path / "market.12"
    assert opened.instance == "btc"
    assert opened.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    opened.release()


def test_defaults_when_nothing_is_given_then_shared_memory_and_the_users_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    monkeypatch.setattr(rundir, "SHARED_MEMORY", shm)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    opened = RunDir.open("a", "", "")
    assert opened.path == shm / f"remora-{os.getuid()}" / "a"
    assert opened.state_path == tmp_path / "xdg" / "remora" / "a"
    opened.release()
    for unusable in ("", "relative/state"):
        monkeypatch.setenv("XDG_STATE_HOME", unusable)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        opened = RunDir.open("a", "", "")
        assert opened.state_path == tmp_path / "home" / ".local" / "state" / "remora" / "a"
        opened.release()


def test_shared_memory_when_somebody_was_there_before_with_a_link_then_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / f"remora-{os.getuid()}").symlink_to(tmp_path / "mine")
    monkeypatch.setattr(rundir, "SHARED_MEMORY", tmp_path)
    with pytest.raises(InputError, match="found another kind of file"):
        RunDir.open("a", "", str(tmp_path / "state"))
    RunDir.open("a", str(tmp_path / f"remora-{os.getuid()}"), str(tmp_path / "state")).release()


def test_run_directory_when_there_is_no_shared_memory_then_it_lies_in_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert socket_path("a", "") == tmp_path / f"remora-{os.getuid()}" / "a" / "command.sock"


def test_second_engine_when_the_first_lives_then_it_is_refused_with_its_process_id(
    run: str, state: str
) -> None:
    first = RunDir.open("btc", run, state)
    with pytest.raises(InputError, match=rf"btc runs already: process {os.getpid()}, ") as told:
        RunDir.open("btc", run, state)
    assert told.value.exit_code == 2
    for other in ((run, state + "2"), (run + "2", state)):
        with pytest.raises(InputError, match="runs already"):
            RunDir.open("btc", *other)
    RunDir.open("eth", run, state).release()
    first.release()
    first.release()
    RunDir.open("btc", run, state).release()
    RunDir.open("btc", run + "2", state).release()


def test_engine_when_it_was_killed_then_the_next_one_starts(run: str, state: str) -> None:
    code = f"""
import os, signal
from engine.rundir import RunDir
print(RunDir.open("btc", {run!r}, {state!r}).next_epoch(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert (killed.returncode, killed.stdout) == (-9, b"1\n")
    assert counted("btc", run, state) == 2


def test_epochs_when_the_engine_restarts_then_they_rise_and_outlive_the_run_directory(
    tmp_path: Path, run: str, state: str
) -> None:
    opened = RunDir.open("btc", run, state)
    assert [opened.next_epoch(), opened.next_epoch()] == [1, 2]
    opened.release()
    assert counted("btc", run, state) == 3
    assert counted("btc", str(tmp_path / "other"), state) == 4, "the run directory is lost"
    assert counted("eth", run, state) == 1, "another engine counts for itself"


def test_epochs_when_the_counter_is_lost_then_they_go_on_above_the_rings_that_are_left(
    run: str, state: str
) -> None:
    opened = RunDir.open("btc", run, state)
    opened.facts_path(41).touch()
    opened.market_path(42).touch()
    opened.facts_path(7).touch()
    assert opened.next_epoch() == 43
    (opened.state_path / "epoch").unlink()
    assert opened.next_epoch() == 43
    opened.release()


def test_rings_of_older_epochs_when_there_are_some_then_they_are_listed_oldest_first(
    run: str, state: str
) -> None:
    opened = RunDir.open("btc", run, state)
    for name in (
        "facts.10",
        "facts.9",
        "facts.11",
        "market.2",
        "facts.x",
        "facts.",
        "facts.3.draft",
        "factsx5",
    ):
        (opened.path / name).touch()
    assert opened.older_facts(11) == [(9, opened.path / "facts.9"), (10, opened.path / "facts.10")]
    assert opened.older_market(11) == [(2, opened.path / "market.2")]
    opened.release()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"7",
        b"seven\n",
        b"-7 1ad5be0d\n",
        b"7 00000000\n",
        b"7\n7\n",
        b"7 1ad5be0d",
        bytes(11),
        b"1" * 16,
    ],
    ids=repr,
)
def test_counter_when_damaged_then_it_is_told_and_nothing_is_counted(
    run: str, state: str, damage: bytes
) -> None:
    opened = RunDir.open("btc", run, state)
    counter = opened.state_path / "epoch"
    counter.write_bytes(damage)
    with pytest.raises(InputError, match="damaged") as told:
        opened.next_epoch()
    assert str(counter) in str(told.value)
    assert counter.read_bytes() == damage
    opened.release()


def test_counter_when_mended_by_hand_then_it_goes_on_from_there(run: str, state: str) -> None:
    opened = RunDir.open("btc", run, state)
    (opened.state_path / "epoch").write_text("1000\n")
    assert [opened.next_epoch(), opened.next_epoch()] == [1001, 1002]
    opened.release()


@given(st.integers(1, 10**14), st.integers(0, 200), st.integers(0, 7))
@settings(max_examples=80)
def test_counter_when_one_bit_is_flipped_or_its_end_is_cut_off_then_no_smaller_number_is_read(
    tmp_path_factory: pytest.TempPathFactory, epoch: int, place: int, bit: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "counter"
    line = rundir._counter_line(epoch)
    path.write_bytes(line)
    assert rundir._read_counter(path) == epoch
    place %= len(line)
    for damaged in (line[:place], line[:place] + bytes([line[place] ^ 1 << bit]) + line[place + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            rundir._read_counter(path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_counter_when_the_machine_dies_while_it_is_written_then_the_old_number_stands(
    run: str, state: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class DiedError(Exception):
        pass

    def die(*_: object) -> None:
        raise DiedError

    opened = RunDir.open("btc", run, state)
    assert opened.next_epoch() == 1
    with monkeypatch.context() as dying:
        dying.setattr(rundir.os if call == "fsync" else rundir.Path, call, die)
        with pytest.raises(DiedError):
            opened.next_epoch()
    assert opened.next_epoch() == 2
    opened.release()


def test_counter_when_the_disk_is_full_then_one_sentence_says_so(
    run: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    opened = RunDir.open("btc", run, state)
    with monkeypatch.context() as filled:
        filled.setattr(rundir.os, "write", full)
        with pytest.raises(InputError, match=r"cannot be written: No space left on device\."):
            opened.next_epoch()
    assert opened.next_epoch() == 1
    opened.release()


def test_epoch_when_the_lock_was_released_then_it_is_not_counted(run: str, state: str) -> None:
    opened = RunDir.open("btc", run, state)
    opened.release()
    with pytest.raises(StateError, match="under the lock"):
        opened.next_epoch()


@pytest.mark.parametrize("which", ["run", "state"])
@pytest.mark.parametrize("depth", ["around", "own"])
@pytest.mark.parametrize("bits", [0o770, 0o702])
def test_directory_when_others_may_write_then_it_is_refused(
    *, tmp_path: Path, run: str, state: str, which: str, depth: str, bits: int
) -> None:
    folder = tmp_path / which / ("btc" if depth == "own" else "")
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(bits)
    with pytest.raises(InputError, match=f"found mode {bits:o}"):
        RunDir.open("btc", run, state)
    folder.chmod(0o700)
    RunDir.open("btc", run, state).release()


def test_directory_when_only_owners_can_rename_in_the_one_around_it_then_it_is_taken(
    run: str, state: str
) -> None:
    Path(run).mkdir()
    Path(run).chmod(0o1777)
    RunDir.open("btc", run, state).release()
    Path(run, "btc").chmod(0o1777)
    with pytest.raises(InputError, match="found mode 1777"):
        RunDir.open("btc", run, state)


def test_directory_when_it_belongs_to_another_user_then_it_is_refused(
    run: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunDir.open("btc", run, state).release()
    uid = os.geteuid()
    monkeypatch.setattr(rundir.os, "geteuid", lambda: uid + 1)
    with pytest.raises(InputError, match=f"must belong to the user {uid + 1}, found the user {uid}"):
        RunDir.open("btc", run, state)


def test_directory_when_it_is_a_link_or_a_file_then_it_is_refused(
    tmp_path: Path, run: str, state: str
) -> None:
    Path(run).mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    Path(run, "btc").symlink_to(tmp_path / "elsewhere")
    Path(run, "eth").touch()
    for instance in ("btc", "eth"):
        with pytest.raises(InputError, match="found another kind of file"):
            RunDir.open(instance, run, state)
    with pytest.raises(InputError, match="cannot be made"):
        RunDir.open("sol", f"{run}/eth/deeper", state)


def test_lock_when_it_is_a_link_then_it_is_not_followed(tmp_path: Path, run: str, state: str) -> None:
    RunDir.open("btc", run, state).release()
    lock = Path(run, "btc", "lock")
    lock.unlink()
    precious = tmp_path / "precious"
    precious.write_text("keep")
    lock.symlink_to(precious)
    with pytest.raises(InputError, match="lock cannot be opened"):
        RunDir.open("btc", run, state)
    assert precious.read_text() == "keep"
    lock.unlink()
    RunDir.open("btc", run, state).release()


def test_socket_path_when_one_byte_too_long_then_it_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    rest = len(os.fsencode(socket_path("btc", str(tmp_path)))) - len(os.fsencode(tmp_path))
    fitting = str(tmp_path / ("x" * (107 - rest - len(os.fsencode(tmp_path)) - 1)))
    assert len(os.fsencode(socket_path("btc", fitting))) == 107
    with pytest.raises(InputError, match=r"may have 107 bytes, found 108 of .*shorter \[engine\] run_dir"):
        RunDir.open("btc", fitting + "x", str(tmp_path / "state"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("instance", ["", "BTC", "../up", "ninechars", "a1"])
def test_instance_when_it_is_no_name_then_it_is_refused(run: str, state: str, instance: str) -> None:
    with pytest.raises(InputError, match="expects 1 to 8 letters a to z"):
        RunDir.open(instance, run, state)
