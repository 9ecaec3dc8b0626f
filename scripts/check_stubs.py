"""Hold every stub (`.pyi`) against the compiled room it describes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def stubbed_rooms(root: Path) -> list[str]:
    """Return the dotted names of all compiled rooms that have a stub, sorted."""
    stubs = (path for top in ("native", "benchmarks") for path in (root / top).rglob("*.pyi"))
    rooms = (path.relative_to(root).with_suffix("") for path in stubs if path.stem != "__init__")
    return sorted(".".join(room.parts) for room in rooms)


def main() -> int:
    """Run stubtest over all rooms at once; names that Cython itself adds to a module are allowed."""
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--ignore-unused-allowlist"]
    command += ["--mypy-config-file", "pyproject.toml", "--allowlist", "scripts/stubtest_allowlist.txt"]
    return subprocess.run([*command, *stubbed_rooms(ROOT)], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
