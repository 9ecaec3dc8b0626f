"""Which build is under test, where the recorded market data is, and how Hypothesis searches."""

import importlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
CAPTURES = ROOT.parent / "shared" / "data"


def choose_tree() -> Path:
    """Put the build under test first on the import path, here and for every child process.

    ``REMORA_TREE`` names a complete copy of native, engine and strategies, such as ``build/debug/tree``;
    without it the source tree with its in-place extensions is tested. Pytest itself puts the source tree
    first (`pythonpath`), so this must run before anything of the project is imported: the head of the
    outermost conftest is that place.
    """
    tree = (ROOT / os.environ["REMORA_TREE"]).resolve() if os.environ.get("REMORA_TREE") else ROOT
    early = sorted(name for name in sys.modules if name.split(".")[0] in ("native", "engine", "strategies"))
    if early:
        raise pytest.UsageError(f"The build under test can be chosen no more: {early} are imported already.")
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry != str(tree))]
    if tree != ROOT:
        # A child started with `python -m` would look into the working directory before PYTHONPATH.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(tree), str(ROOT)])
        os.environ["PYTHONSAFEPATH"] = "1"
    return tree


def compiled_variant(extension: Path) -> str:
    """Tell from the bytes of a compiled room how it was built: release, debug or sanitize."""
    code = extension.read_bytes()
    return "sanitize" if b"__asan_init" in code else "debug" if b".debug_info" in code else "release"


def describe_build(tree: Path) -> str:
    """Name the variant under test; prove that its rooms come from that tree and are all of one kind."""
    wanted = os.environ.get("REMORA_TREE") or "release"
    try:
        events = Path(importlib.import_module("native.events").__file__ or "")
    except ModuleNotFoundError as error:
        raise pytest.UsageError(
            f"The native rooms are not compiled under {tree}: run `make build`."
        ) from error
    if not events.is_relative_to(tree):
        raise pytest.UsageError(f"The build under test is {tree}, but native.events came from {events}.")
    variants = {path.name: compiled_variant(path) for path in (tree / "native").rglob("*.so")}
    variant = variants[events.name]
    others = sorted(name for name, found in variants.items() if found != variant)
    if others or variant not in wanted:
        raise pytest.UsageError(f"Expected one build for {wanted!r}, found {variant} and other: {others}.")
    return f"remora: {variant} build, {len(variants)} rooms from {tree}"


BUILD = describe_build(choose_tree())

# The same examples in every run: what fails here fails everywhere.
for profile in ("default", "ci"):
    settings.register_profile(profile, deadline=None, derandomize=True, database=None)
settings.load_profile("default")


def pytest_report_header() -> str:
    """Say in the header of a run which build it tests."""
    return BUILD


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a value of bytes by its length: content makes names unreadable, and may differ between workers."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def captures() -> Path:
    """Return the folder of recorded market data, or skip the test where it is absent."""
    if not CAPTURES.is_dir():
        pytest.skip(f"recorded market data is not there: {CAPTURES}")
    return CAPTURES
