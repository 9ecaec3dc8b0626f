"""Build of the compiled core: every compiler directive and flag of the project stands here.

Switches (environment):

* ``REMORA_DEBUG=1``      every Cython check and every ``assert`` on, ``-O1 -g``
* ``REMORA_SANITIZE=1``   AddressSanitizer and UndefinedBehaviorSanitizer on top of the debug checks
* ``REMORA_NATIVE_ARCH=1``  ``-march=native``; never for a build that leaves this host
* ``REMORA_ANNOTATE=1``   Cython's annotated HTML beside the generated C
* ``REMORA_ONLY=native.book,native.fixed``  build only these rooms; ``none`` builds no room, for a step that
  only links the packages
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


SANITIZE = switch("REMORA_SANITIZE")
DEBUG = switch("REMORA_DEBUG") or SANITIZE
VARIANT = "sanitize" if SANITIZE else "debug" if DEBUG else "release"

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "embedsignature": True,
    "cdivision": True,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    # Off in every variant: with it Cython refuses `self.count += 1` in a nogil function. Rooms therefore take
    # their collaborators as `not None` in the constructor.
    "nonecheck": False,
    "overflowcheck": False,
    "infer_types": None,
    "warn.undeclared": False,
    "warn.unreachable": True,
}

# No fast-math: NaN and infinities carry meaning. Contraction off: one build, one result, bit for bit.
COMPILE = ["-O1", "-g"] if DEBUG else ["-O3", "-g0"]
COMPILE += [
    "-std=gnu11",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-Wall",
    "-Werror",
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-unused-but-set-variable",
    "-Wno-maybe-uninitialized",
    "-Wno-unreachable-code",
]
LINK: list[str] = []
if SANITIZE:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    COMPILE += flags
    LINK += flags
if switch("REMORA_NATIVE_ARCH"):
    COMPILE += ["-march=native"]

MACROS: list[tuple[str, str | None]] = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
if not DEBUG:
    MACROS.append(("CYTHON_WITHOUT_ASSERTIONS", "1"))

ONLY = {name for name in os.environ.get("REMORA_ONLY", "").split(",") if name}


def rooms() -> list[Extension]:
    found = []
    for path in sorted([*Path("native").rglob("*.pyx"), *Path("benchmarks").glob("*.pyx")]):
        name = ".".join(path.with_suffix("").parts)
        if ONLY and name not in ONLY:
            continue
        found.append(
            Extension(
                name,
                [str(path)],
                extra_compile_args=COMPILE,
                extra_link_args=LINK,
                define_macros=MACROS,
            )
        )
    return found


setup(
    ext_modules=cythonize(
        rooms(),
        build_dir=f"build/cython-{VARIANT}",
        compiler_directives=DIRECTIVES,
        annotate=switch("REMORA_ANNOTATE"),
        quiet=True,
    ),
    options={"build": {"build_base": f"build/{VARIANT}"}, "build_ext": {"parallel": 2}},
)
