"""The page of settings is the settings."""

from pathlib import Path

from scripts.write_configuration import TARGET, text


def test_configuration_page_equals_the_settings() -> None:
    assert Path(__file__).resolve().parents[2] / "docs" / "configuration.md" == TARGET
    assert TARGET.read_text() == text(), "run `python -m scripts.write_configuration`"
