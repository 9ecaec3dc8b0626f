"""Shared files appear whole or not at all, through the ring that is made of one."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.rings import make, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "facts.ring"


def test_ring_when_one_is_at_the_path_then_it_is_never_overwritten(path: Path) -> None:
    writer = make(path)
    writer.append(1, b"kept", 0)
    with pytest.raises(FileExistsError):
        make(path)
    assert opened(path).read(9) == [(1, 1, 0, b"kept")]
    assert list(path.parent.iterdir()) == [path]


def test_ring_when_the_folder_is_absent_then_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        make(tmp_path / "absent" / "ring")
    assert failure.value.filename == str(tmp_path / "absent" / "ring")


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[Path]:
    """A shared-memory filesystem of 1 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "remora", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small filesystem, and not everywhere")
    yield place
    # Lazily: a failed test may still hold a ring in it.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_filesystem_when_too_small_then_one_sentence_and_nothing_left(small_filesystem: Path) -> None:
    with pytest.raises(OSError, match=r"room for 2,101,248 bytes, found 1,048,576") as failure:
        make(small_filesystem / "ring", 1 << 21)
    assert failure.value.errno == errno.ENOSPC
    assert failure.value.filename == str(small_filesystem / "ring")
    assert list(small_filesystem.iterdir()) == []
    # What is promised is there: a ring that was made can be filled, whoever takes the rest.
    writer = make(small_filesystem / "ring", 1 << 19)
    with pytest.raises(OSError, match="too small"):
        make(small_filesystem / "other", 1 << 19)
    for _ in range(40):
        writer.append(0, bytes(1 << 16), 0)
    assert writer.n_records == 40


def test_file_when_it_may_not_grow_so_far_then_nothing_is_left(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            make(path, 1 << 21)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(path.parent.iterdir()) == []
