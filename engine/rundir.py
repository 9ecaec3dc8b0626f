"""Where an engine keeps its files, who may be that engine, and which start of it this is.

The run directory lies in shared memory and may be lost with a reboot: rings, control page, command socket.
The state directory survives: the counter of epochs. Both belong to one user alone.
"""

import fcntl
import os
import re
import stat
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from engine.errors import InputError, StateError

INSTANCE: Final = re.compile(r"[a-z]{1,8}")
COUNTER: Final = re.compile(rb"(\d{1,15})( [0-9a-f]{8})?\n")  # without checksum: mended by hand
SHARED_MEMORY: Final = Path("/dev/shm")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
SOCKET_NAME: Final = "command.sock"
LOCK_NAME: Final = "lock"
COUNTER_NAME: Final = "epoch"
SOCKET_PATH_BYTES: Final = 107  # of sockaddr_un, without the zero at its end


class RunDir:
    """The directories of one running engine, locked; made by `RunDir.open`.

    Attributes
    ----------
    instance : name of the engine.
    path : the run directory.
    state_path : the state directory.
    boot_id : of the running kernel; empty where the system has none.

    Notes
    -----
    The locks are of open files: the kernel drops them with the process, however it ends, and no file has to
    be removed. They lie in both directories, since either can be shared by a mistake in the settings.
    """

    def __init__(self, instance: str, path: Path, state_path: Path, locks: list[int]) -> None:
        self.instance = instance
        self.path = path
        self.state_path = state_path
        self.boot_id = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        self._locks = locks

    @classmethod
    def open(cls, instance: str, run_dir: str, state_dir: str) -> Self:
        """Make the directories of an engine where they are missing, and lock them until `release`.

        Parameters
        ----------
        instance : 1 to 8 letters a to z.
        run_dir : directory of all engines' run directories; empty: shared memory, by user.
        state_dir : directory of all engines' state directories; empty: ``$XDG_STATE_HOME/remora``.

        Raises
        ------
        InputError
            A directory cannot be made, or others could write there; its path is too long for a socket; or an
            engine of this instance runs.
        """
        path = socket_path(instance, run_dir).parent
        state_path = (_given(state_dir) or _state_base()) / instance
        locks: list[int] = []
        try:
            for folder in (path, state_path):
                # In shared memory anybody may have made the directory of our name before us.
                _claim(folder.parent, is_ours=folder is path and not run_dir)
                _claim(folder, is_ours=True)
                locks.append(_lock(folder / LOCK_NAME, instance))
        except BaseException:
            _unlock(locks)
            raise
        return cls(instance, path, state_path, locks)

    @property
    def control_path(self) -> Path:
        """The control page."""
        return self.path / "control"

    @property
    def socket_path(self) -> Path:
        """The command socket."""
        return self.path / SOCKET_NAME

    def facts_path(self, epoch: int) -> Path:
        """Return the ring of facts of one epoch."""
        return self.path / f"facts.{epoch}"

    def market_path(self, epoch: int) -> Path:
        """Return the ring of market data of one epoch."""
        return self.path / f"market.{epoch}"

    def older_facts(self, epoch: int) -> list[tuple[int, Path]]:
        """Return the rings of facts of earlier epochs that are still there, oldest first."""
        return _rings(self.path, "facts", epoch)

    def older_market(self, epoch: int) -> list[tuple[int, Path]]:
        """Return the rings of market data of earlier epochs that are still there, oldest first."""
        return _rings(self.path, "market", epoch)

    def next_epoch(self) -> int:
        """Count one start of the engine, durably, and return its number, from 1.

        Raises
        ------
        InputError
            The counter is damaged, or cannot be written. It never begins again by itself: a number that was
            used before would give two orders the same client order id.

        Notes
        -----
        A number that was handed out is never handed out again, wherever the process or the machine dies;
        numbers may be skipped. A lost counter goes on above the epochs of the rings that are left.
        """
        if not self._locks:
            raise StateError(f"An epoch is counted under the lock of {self.path}, which was released.")
        counter = self.state_path / COUNTER_NAME
        rings = _rings(self.path, "facts", None) + _rings(self.path, "market", None)
        epoch = max([_read_counter(counter), *(epoch for epoch, _ in rings)]) + 1
        try:
            _write_durably(counter, _counter_line(epoch))
        except OSError as error:
            raise InputError(
                f"The counter of epochs {counter} cannot be written: {error.strerror}.", path=str(counter)
            ) from error
        return epoch

    def release(self) -> None:
        """Let another engine of this instance start; the files stay."""
        _unlock(self._locks)


def socket_path(instance: str, run_dir: str) -> Path:
    """Return where the command socket of an engine is, running or not.

    Raises
    ------
    InputError
        The instance is no name, or the path is longer than the address of a socket may be.
    """
    if not INSTANCE.fullmatch(instance):
        raise InputError(f"[engine] instance expects 1 to 8 letters a to z, found {instance!r}.")
    path = (_given(run_dir) or _run_base()) / instance / SOCKET_NAME
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES:
        raise InputError(
            f"The path of the command socket may have {SOCKET_PATH_BYTES} bytes, found {length} of {path}: "
            "give a shorter [engine] run_dir.",
            path=str(path),
        )
    return path


def _given(directory: str) -> Path | None:
    return Path(directory).expanduser().absolute() if directory else None


def shared_dir(run_dir: str) -> Path:
    """Return the directory of what all engines of this user share, such as the budget of request weight.

    Parameters
    ----------
    run_dir : as configured; empty: in shared memory.

    Raises
    ------
    InputError
        It cannot be made, or others could write there.
    """
    path = _given(run_dir) or _run_base()
    _claim(path, is_ours=not run_dir)
    return path


def _run_base() -> Path:
    usable = SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
    return (SHARED_MEMORY if usable else Path(tempfile.gettempdir())) / f"remora-{os.getuid()}"


def _state_base() -> Path:
    # The XDG rules: what is not absolute is as if it were not set.
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".local" / "state") / "remora"


def _claim(folder: Path, *, is_ours: bool) -> None:
    """Make a directory for its user alone, or make sure that it is one.

    The directory around ours may be root's, and may be open to all if only owners can rename in it (as /tmp).
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        # Of the name itself: another user's link to a directory of ours is refused, too.
        found = folder.lstat() if is_ours else folder.stat()
    except OSError as error:
        raise InputError(
            f"The directory {folder} cannot be made: {error.strerror}.", path=str(folder)
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(f"Expected a directory at {folder}, found another kind of file.", path=str(folder))
    uid = os.geteuid()
    if found.st_uid != uid and (is_ours or found.st_uid != 0):
        raise InputError(
            f"The directory {folder} must belong to the user {uid}, found the user {found.st_uid}.",
            path=str(folder),
        )
    is_open = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if is_open and (is_ours or not found.st_mode & stat.S_ISVTX):
        raise InputError(
            f"Nobody else may write into the directory {folder}, found mode {stat.S_IMODE(found.st_mode):o}: "
            "run `chmod go-w` on it.",
            path=str(folder),
        )


def _lock(path: Path, instance: str) -> int:
    """Lock a file, write our process id into it, and return its descriptor."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(f"The lock {path} cannot be opened: {error.strerror}.", path=str(path)) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "of unknown id"
        os.close(file)
        if not isinstance(error, BlockingIOError):
            raise InputError(
                f"The file {path} cannot be locked: {error.strerror}.", path=str(path)
            ) from error
        raise InputError(
            f"An engine of the instance {instance} runs already: process {pid}, which holds {path}.",
            path=str(path),
            pid=pid,
        ) from error
    with suppress(OSError):  # the number is only for the sentence above
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def _unlock(locks: list[int]) -> None:
    while locks:
        os.close(locks.pop())


def _rings(folder: Path, kind: str, before: int | None) -> list[tuple[int, Path]]:
    """Return the rings of a kind by rising epoch, of all epochs or of those before one."""
    pattern = re.compile(rf"{kind}\.(\d{{1,15}})")
    found = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    rings = sorted((int(match[1]), path) for match, path in found if match)
    return [ring for ring in rings if before is None or ring[0] < before]


def _counter_line(epoch: int) -> bytes:
    number = str(epoch).encode()
    return b"%s %08x\n" % (number, zlib.crc32(number))


def _read_counter(path: Path) -> int:
    try:
        line = path.read_bytes()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise InputError(
            f"The counter of epochs {path} cannot be read: {error.strerror}.", path=str(path)
        ) from error
    match = COUNTER.fullmatch(line)
    if not match or (match[2] and _counter_line(int(match[1])) != line):
        raise InputError(
            f"The counter of epochs {path} is damaged, found {line[:40]!r}: write a whole number into it "
            "that was never used before.",
            path=str(path),
        )
    return int(match[1])


def _write_durably(path: Path, content: bytes) -> None:
    """Replace a file: a crash leaves the old or the new one, and after the return it is the new one."""
    draft = path.with_name(f"{path.name}.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
