"""One session through the release and the debug build: the same signals, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBUG = ROOT / "build" / "debug" / "tree"


def signals(tree: Path, arguments: list[str], out: Path) -> bytes:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "REMORA_TREE")
    }
    command = [sys.executable, "-P", "-m", "engine.cli", "replay", *arguments, "--preset", "capture"]
    command += ["--signals", str(out)]
    done = subprocess.run(
        command,
        cwd=tree,
        env=environment | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_debug_and_release_build_give_the_same_signals(market: str, captures: Path, tmp_path: Path) -> None:
    if not DEBUG.is_dir():
        pytest.skip("needs the debug build: make debug")
    folder = captures / f"binance_{market}_20240808"
    arguments = [str(path) for path in sorted(folder.glob("*btcusdt*.gz"))] + ["--market", market]
    release = signals(ROOT, arguments, tmp_path / "release.jsonl")
    assert release.count(b"whale_open") > 0
    assert signals(DEBUG, arguments, tmp_path / "debug.jsonl") == release
