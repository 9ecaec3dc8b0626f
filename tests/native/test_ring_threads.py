"""The protocol of the ring under the thread sanitizer: one process, no race, nothing torn."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.native.ring_driver import compile_driver, compiler, protocol

# The sanitizer knows no fences and says so; all
# shared words are atomic, so it needs none to see that no race is.
SANITIZED = ("-O1", "-g", "-fsanitize=thread", "-Wno-tsan")
ATOMIC_COPY = "ring->scratch[i] = atomic_load_explicit(word + i, memory_order_relaxed);"
PLAIN_COPY = "ring->scratch[i] = ((const uint64_t*)word)[i];"


@pytest.fixture(scope="module")
def sanitizer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where the compiler has no thread sanitizer, or the kernel does not let it run."""
    folder = tmp_path_factory.mktemp("ring_sanitizer")
    source, program = folder / "nothing.c", folder / "nothing"
    source.write_text("int main(void) { return 0; }\n")
    command = [compiler(), "-fsanitize=thread", str(source), "-o", str(program)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("the C compiler has no thread sanitizer")
    if run(program, ()).returncode != 0:
        pytest.skip("the thread sanitizer does not run on this kernel")


def run(program: Path, words: tuple[int, ...], mode: str = "threads") -> subprocess.CompletedProcess[str]:
    # Without what the run of the tests itself may be preloaded with: two sanitizers do not go together.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [str(program), mode, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.usefixtures("sanitizer")
def test_threads_when_they_share_a_ring_then_the_sanitizer_is_silent(tmp_path: Path) -> None:
    program = compile_driver(tmp_path, SANITIZED)
    for capacity, n_records in ((1 << 12, 40_000), (1 << 16, 20_000), (1 << 20, 1_500)):
        done = run(program, (capacity, n_records, 3))
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[:4000]
        counts = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
        assert len(counts) == 3
        assert all(0 < n_given <= n_records for n_given, _ in counts)
        if capacity == 1 << 12:
            assert sum(n_overruns for _, n_overruns in counts) > 0, "the small ring must be overrun"


@pytest.mark.slow
@pytest.mark.usefixtures("sanitizer")
def test_threads_when_the_copy_is_not_atomic_then_the_sanitizer_speaks(tmp_path: Path) -> None:
    text = protocol()
    assert ATOMIC_COPY in text
    program = compile_driver(tmp_path, SANITIZED, text.replace(ATOMIC_COPY, PLAIN_COPY))
    done = run(program, (1 << 12, 40_000, 3))
    assert "WARNING: ThreadSanitizer: data race" in done.stderr


@pytest.mark.slow
def test_threads_when_the_reader_trusts_its_copy_then_the_driver_sees_torn_records(tmp_path: Path) -> None:
    text = protocol()
    proof = "memory_order_relaxed) - cursor > ring->capacity)"
    assert text.count(proof) == 1
    program = compile_driver(tmp_path, ("-O2",), text.replace(proof, "memory_order_relaxed) < 0)"))
    assert any(run(program, (1 << 12, 2_000_000, 3)).returncode in (4, 5) for _ in range(5))


@pytest.mark.slow
def test_threads_when_at_full_speed_then_every_record_is_whole_and_counted(tmp_path: Path) -> None:
    program = compile_driver(tmp_path, ("-O2",))
    for capacity, n_records in ((1 << 12, 2_000_000), (1 << 20, 60_000)):
        done = run(program, (capacity, n_records, 2))
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_reader_when_it_skipped_to_the_newest_and_the_writer_rests_then_it_goes_back(tmp_path: Path) -> None:
    program = compile_driver(tmp_path, ("-O2",))
    given = set()
    for n_failures in range(1, 7):
        done = run(program, (1 << 16, 5_000, n_failures), "rest")
        assert (done.returncode, done.stderr) == (0, ""), "given and lost must be what was written"
        given.add(int(done.stdout) > 0)
    assert given == {True}
