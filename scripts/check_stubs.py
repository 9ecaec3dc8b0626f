"""Hold every native stub (`.pyi`) against the compiled room it describes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def stubbed_rooms(root: Path) -> list[str]:
    """Return the dotted names of all native rooms that have a stub, sorted."""
    stubs = (path.relative_to(root) for path in (root / "native").rglob("*.pyi") if path.stem != "__init__")
    return sorted(".".join(path.with_suffix("").parts) for path in stubs)


def main() -> int:
    """Run stubtest over all rooms at once; names that Cython itself adds to a module are allowed."""
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--ignore-unused-allowlist"]
    command += ["--mypy-config-file", "pyproject.toml", "--allowlist", "scripts/stubtest_allowlist.txt"]
    return subprocess.run([*command, *stubbed_rooms(ROOT)], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
