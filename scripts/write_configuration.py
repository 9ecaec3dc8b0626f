"""Write docs/configuration.md from the settings themselves, so that it cannot say anything else."""

import sys
from itertools import groupby
from pathlib import Path

from engine.config import PRESETS, describe

TARGET = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration

Settings come from a preset (`--preset live` or `capture`), over it a TOML file (`--config FILE`), over it the
environment (`REMORA_<SECTION>__<KEY>`, as in `REMORA_WHALE__QUANTILE=0.99`). A wrong key or value is one
sentence with its place, what was expected and what was found, exit code 2. Written by
`scripts/write_configuration.py`; a test holds it equal to the code.

```toml
[whale]
floor_btc_quote = 250_000
[cost]
gate = "on"
```
"""


def text() -> str:
    """Return the page."""
    lines = [HEAD]
    for section, settings in groupby(describe(), key=lambda one: one.section):
        lines += [f"## [{section}]\n", "| key | meaning | allowed | default |", "|---|---|---|---|"]
        for one in settings:
            special = "".join(f"; {name}: {value!r}" for name, value in one.presets.items())
            allowed = (
                " or ".join(one.rule.choices)
                if one.rule.choices
                else "true or false"
                if one.type is bool
                else "a text"
                if one.type is str
                else f"{one.rule.low:g} to {one.rule.high:g}"
            )
            lines.append(f"| `{one.key}` | {one.rule.meaning} | {allowed} | `{one.default!r}`{special} |")
        lines.append("")
    lines.append(f"Presets: {', '.join(PRESETS)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
    sys.stdout.write(f"{TARGET} written\n")
