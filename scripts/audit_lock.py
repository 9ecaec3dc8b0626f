"""Ask the vulnerability service about every pinned package, and say plainly how many it answered for.

Exit code 1: a known vulnerability was found; 2: the audit itself is broken. A service that is out of reach,
or that does not know the packages, is told and is no failure of the project.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
PATIENCE_S = 180
OUT_OF_REACH = ("requests.exceptions.", "ConnectionError", "ServiceError")


class Vulnerability(msgspec.Struct, frozen=True):
    """One entry of the service."""

    id: str
    fix_versions: list[str]


class Package(msgspec.Struct, frozen=True):
    """What the service said about one pinned package; `skip_reason` stands where it said nothing."""

    name: str
    version: str = ""
    skip_reason: str = ""
    vulns: list[Vulnerability] = []


class Report(msgspec.Struct, frozen=True):
    """The answer of pip-audit."""

    dependencies: list[Package]


def verdict(report: Report) -> tuple[int, list[str]]:
    """Return exit code and lines to print for an answer."""
    audited = [package for package in report.dependencies if not package.skip_reason]
    lines = [
        f"{package.name} {package.version}: {entry.id}, fixed in {entry.fix_versions}"
        for package in audited
        for entry in package.vulns
    ]
    if lines:
        return 1, lines
    total = len(report.dependencies)
    if not audited:
        return 0, [f"NOT audited: the vulnerability service answered for none of {total} packages."]
    return 0, [f"No known vulnerability; the service answered for {len(audited)} of {total} packages."]


def main() -> int:
    """Run pip-audit on the lock, bounded in time."""
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(LOCK),
            "--require-hashes",
            "--disable-pip",
        ]
        command += [
            "--progress-spinner",
            "off",
            "--timeout",
            "15",
            "--format",
            "json",
            "--output",
            str(answer),
        ]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            print(f"NOT audited: the vulnerability service did not answer within {PATIENCE_S} s.")
            return 0
        if not answer.exists():
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            if any(name in run.stderr for name in OUT_OF_REACH):
                print(f"NOT audited: the vulnerability service is out of reach: {reason}")
                return 0
            print(f"The audit could not run: {reason}")
            return 2
        code, lines = verdict(msgspec.json.decode(answer.read_bytes(), type=Report))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
