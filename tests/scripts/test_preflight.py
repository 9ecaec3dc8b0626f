"""The preflight names the first thing that is missing in one sentence."""

import sys

import pytest

from scripts.preflight import missing


def test_machine_that_built_the_project_lacks_nothing() -> None:
    assert missing() == ""


def test_old_python_is_refused_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(sys, "version", "3.10.4 (main)")
    assert missing().startswith("Remora needs Python 3.11 or newer, found 3.10.4;")


def test_absent_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    assert missing().startswith("Remora needs a C compiler, found none as 'no-such-compiler';")
