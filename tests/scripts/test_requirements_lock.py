"""The lock pins every package by hash and names no place to fetch it from."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = (ROOT / "requirements.lock").read_text()


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_lock_names_no_host_and_no_index() -> None:
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|--trusted-host", LOCK)


def test_every_pinned_package_has_a_hash() -> None:
    entries = re.findall(r"^[\w.-]+==.*?(?=^[\w.-]+==|\Z)", LOCK, flags=re.DOTALL | re.MULTILINE)
    assert len(entries) > 20
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_requirement_of_the_project_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    wanted += project["build-system"]["requires"]
    pinned = {plain(name) for name in re.findall(r"^([\w.-]+)==", LOCK, flags=re.MULTILINE)}
    assert {plain(re.split(r"[<>=~!\[; ]", requirement)[0]) for requirement in wanted} - pinned == set()
