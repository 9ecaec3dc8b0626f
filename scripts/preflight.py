"""Say in one sentence what this machine lacks to build Remora; runs on any Python 3, before any install."""

import os
import shutil
import sys
import sysconfig

# os.path and plain `+` instead of newer forms: an older Python must reach the sentence that refuses it.
# ruff: noqa: PTH110, PTH118, UP036


def missing() -> str:
    """Return one sentence on the first thing that is absent, or an empty string."""
    found = sys.version.split()[0]
    if sys.version_info < (3, 11):
        return "Remora needs Python 3.11 or newer, found " + found + "; choose: make PYTHON=python3.12"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return "Remora needs a C compiler, found none as '" + compiler + "'; install gcc or set CC."
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.exists(header):
        return "Remora needs the C headers of Python, found no " + header + "; install python3-dev."
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return "Remora needs Python's venv with pip, found no ensurepip; install python3-venv."
    return ""


if __name__ == "__main__":
    sentence = missing()
    if sentence:
        sys.exit(sentence)
