"""The plan of the house as data, and the checks that hold the sources to it.

Each check takes a root folder and returns one sentence per offence, so that it can be tried on small broken
houses as well as on the real one.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house import (
    FLOORS,
    PXD_ONLY,
    SIM_SEEN_BY,
    STDLIB_NEVER,
    STRATEGIES_SEE,
    STRATEGIES_SEEN_BY,
    THIRD_PARTIES,
    VOCABULARY,
)

ROOT = Path(__file__).resolve().parent.parent

BANNED_NAMES = frozenset({"utils", "core", "common", "base", "manager", "service", "helpers"})
TAKEN_NAMES = frozenset({"binance", "redis", "ccxt", "signal", "queue"})
LINES_TO_THINK, LINES_TO_FAIL = 500, 600

DIRECTIVES = (
    "language_level|binding|embedsignature|cdivision|boundscheck|wraparound|initializedcheck|nonecheck|"
    "overflowcheck|infer_types|profile|linetrace|optimize|always_allow_keywords"
)
DIRECTIVE = re.compile(rf"^\s*#\s*(cython|distutils)\s*:|^\s*(@|with\s+)(cython\.)?({DIRECTIVES})\b")
CIMPORT_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+(.+)$")
CIMPORT = re.compile(r"^\s*c?import\s+(.+)$")
INCLUDE = re.compile(r"^\s*include\s+[\"']")


@dataclass(frozen=True, slots=True)
class Arrow:
    """One import: who, where, and the dotted name that it reaches for."""

    importer: str
    path: Path
    line: int
    target: str


def dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(root: Path, tops: tuple[str, ...], suffixes: tuple[str, ...]) -> list[Path]:
    found = (path for top in tops for path in (root / top).rglob("*") if path.suffix in suffixes)
    return sorted(path for path in found if "__pycache__" not in path.parts)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of Cython lines without strings in triple quotes, with brackets joined."""
    text = re.sub(r'("""|\'\'\').*?\1', lambda quoted: "\n" * quoted[0].count("\n"), text, flags=re.DOTALL)
    held, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        code = line if line.lstrip().startswith("#") else line.split("#")[0]
        if held and line.lstrip().startswith("#"):
            continue
        start = start if held else number
        held = f"{held} {code.strip()}" if held else code.rstrip()
        if held.count("(") > held.count(")") or held.endswith("\\"):
            continue
        yield start, held
        held = ""


def arrows_of_cython(path: Path, root: Path) -> Iterator[Arrow]:
    importer = dotted(path, root)
    for number, line in logical_lines(path.read_text()):
        if match := CIMPORT_FROM.match(line):
            for name in match[2].strip("() ").split(","):
                if name.strip():
                    yield Arrow(importer, path, number, f"{match[1]}.{name.split()[0]}")
        elif match := CIMPORT.match(line):
            for name in match[1].split(","):
                yield Arrow(importer, path, number, name.split()[0])
        elif INCLUDE.match(line):
            yield Arrow(importer, path, number, "an included file")


def arrows_of_python(path: Path, root: Path) -> Iterator[Arrow]:
    importer = dotted(path, root)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Arrow(importer, path, node.lineno, name.name)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                target = f"{'.' * node.level}{node.module or ''}.{name.name}"
                yield Arrow(importer, path, node.lineno, target)


def arrows(root: Path) -> Iterator[Arrow]:
    for path in files(root, ("native",), (".pyx", ".pxd")):
        yield from arrows_of_cython(path, root)
    for path in files(root, ("native", "engine", "strategies"), (".py", ".pyi")):
        yield from arrows_of_python(path, root)


def room_of(name: str) -> str | None:
    """Return the room of the table that a dotted name lies in, with its top-level package."""
    top, *parts = name.split(".")
    known = FLOORS.get(top, {})
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in known:
            return ".".join([top, *parts[:length]])
    return None


def listed(table: dict[str, frozenset[str]], name: str) -> frozenset[str]:
    """Return the entry of the room itself, or of the nearest package around it."""
    while name:
        if name in table:
            return table[name]
        name = name.rpartition(".")[0]
    return frozenset()


def may_import(importer: str, target: str) -> bool:
    """Decide about two rooms of one table by floor, package and order."""
    if importer == target:
        return True
    top, _, room = importer.partition(".")
    wanted = target.partition(".")[2]
    floors = FLOORS[top]
    if floors[wanted] != floors[room]:
        return floors[wanted] < floors[room]
    package = room.rpartition(".")[0]
    order = list(floors)
    return bool(package) and package == wanted.rpartition(".")[0] and order.index(wanted) < order.index(room)


def refusal(arrow: Arrow) -> str:
    """Say why an import is forbidden; an empty string means that it is allowed."""
    importer, target = arrow.importer, arrow.target
    top, room = importer.partition(".")[::2]
    aim = target.split(".")[0]
    if aim in ("", "an included file"):
        return "only absolute imports of modules are allowed"
    if aim not in ("native", "engine", "strategies"):
        if aim in sys.stdlib_module_names:
            return "the room must not touch it" if aim in listed(STDLIB_NEVER, importer) else ""
        # A stub is read by the type checker only, which brings this module itself.
        in_stub = aim == "typing_extensions" and arrow.path.suffix == ".pyi"
        known = in_stub or aim in listed(THIRD_PARTIES, importer)
        return "" if known else "the room is not listed with this third party"
    if aim == "strategies":
        return "" if top == "engine" and room.startswith(STRATEGIES_SEEN_BY) else "strategies are plug-ins"
    wanted = room_of(target)
    if top == "strategies":
        return "" if wanted in STRATEGIES_SEE else "strategies see engine.strategy and engine.signals only"
    if top == "native" and aim != "native":
        return "native imports nothing above itself"
    if wanted is None:
        return "that is no room of the table"
    if room not in FLOORS[top]:
        return ""  # told by unknown_rooms
    if aim == top:
        if wanted.startswith("engine.sim.") and not room.startswith(SIM_SEEN_BY):
            return "the simulation is for replay and the command line"
        return "" if may_import(importer, wanted) else "only lower floors are allowed"
    return "vocabulary never imports native" if room in VOCABULARY else ""


def forbidden_imports(root: Path) -> list[str]:
    told = ((arrow, refusal(arrow)) for arrow in arrows(root))
    return [
        f"{arrow.path.relative_to(root)}:{arrow.line}: {arrow.importer} imports {arrow.target}: {reason}"
        for arrow, reason in told
        if reason
    ]


def unknown_rooms(root: Path) -> list[str]:
    paths = files(root, ("native", "engine"), (".py", ".pyx", ".pxd", ".pyi"))
    rooms = {dotted(path, root) for path in paths if path.stem != "__init__"}
    return [f"{name} is not in the table: give it a floor" for name in sorted(rooms) if room_of(name) != name]


def busy_packages(root: Path) -> list[str]:
    paths = files(root, ("native", "engine", "strategies"), (".py",))
    return [
        f"{path.relative_to(root)}: a package's __init__ imports nothing"
        for path in paths
        if path.stem == "__init__" and any(arrows_of_python(path, root))
    ]


def incomplete_rooms(root: Path) -> list[str]:
    """A native room is `.pyx` + `.pxd` + `.pyi`, unless it is listed as inline only."""
    offences = []
    paths = [path for path in files(root, ("native",), (".pyx", ".pxd", ".pyi")) if path.stem != "__init__"]
    for room in sorted({path.with_suffix("") for path in paths}):
        name = dotted(room, root).partition(".")[2]
        wanted = (".pxd",) if name in PXD_ONLY else (".pyx", ".pxd", ".pyi")
        missing = [suffix for suffix in wanted if not room.with_suffix(suffix).exists()]
        offences += [f"native.{name} has no {suffix}" for suffix in missing]
    stubs = files(root, ("native",), (".pyi",))
    return offences + [
        f"{path.relative_to(root)}: a stub says no Any"
        for path in stubs
        if re.search(r"\bAny\b", path.read_text())
    ]


def stray_directives(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{number}: compiler directives stand in setup.py only"
        for path in files(root, ("native", "engine", "strategies"), (".py", ".pyx", ".pxd"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if DIRECTIVE.match(line)
    ]


def loose_functions(root: Path) -> list[str]:
    """Find functions of a `.pxd` that are hot and may raise or need the interpreter.

    Hot is what stands under `# hot`, and every `cdef inline` that does not stand under `# cold`. A method of
    a `cdef class` must stand under one of the two, so that none is hot without saying so.
    """
    offences = []
    for path in files(root, ("native",), (".pxd",)):
        marks: dict[int, str] = {}  # indentation -> the mark that rules there
        blocks: list[tuple[int, str]] = []  # open blocks: indentation of the head, and the head
        for number, line in logical_lines(path.read_text()):
            text = line.strip()
            indent = len(line) - len(line.lstrip())
            if not text:
                continue
            marks = {place: mark for place, mark in marks.items() if place <= indent}
            blocks = [block for block in blocks if block[0] < indent]
            if match := re.match(r"#\s*(hot|cold)\b", text):
                marks[indent] = match[1]
                continue
            if text.startswith("#"):
                continue
            where = [head for _, head in blocks]
            if text.endswith(":"):
                blocks.append((indent, text))
            if any(not re.match(r"cdef\s*:|cdef class\b", head) for head in where):
                continue  # inside a struct, an enum, an extern block or a function's body
            if not re.match(r"(cdef|cpdef)\b", text) and "cdef:" not in where:
                continue
            if "(" not in text or re.match(r"cdef (class|extern|enum|struct|union)\b|cpdef enum\b", text):
                continue
            mark = marks.get(max(marks, default=0), "")
            place = f"{path.relative_to(root)}:{number}"
            if not mark and any(head.startswith("cdef class") for head in where):
                offences.append(f"{place}: a method stands under `# hot` or `# cold`: {text}")
            hot = mark == "hot" or (not mark and re.match(r"c?p?def inline\b", text))
            if hot and not re.search(r"\)\s*noexcept nogil\s*:?$", text):
                offences.append(f"{place}: a hot function ends `noexcept nogil`: {text}")
    return offences


def ill_named_modules(root: Path) -> list[str]:
    tops = ("native", "engine", "strategies", "scripts", "benchmarks")
    paths = files(root, tops, (".py", ".pyx", ".pxd", ".pyi"))
    names = {part for path in paths for part in path.relative_to(root).with_suffix("").parts[1:]}
    return [
        f"`{name}` says nothing or is somebody else's"
        for name in sorted(names & (BANNED_NAMES | TAKEN_NAMES))
    ]


def long_files(root: Path) -> list[str]:
    """List files over 500 lines, if one of them is over 600."""
    tops = ("native", "engine", "strategies", "scripts", "benchmarks", "tests")
    paths = files(root, tops, (".py", ".pyx", ".pxd", ".pyi"))
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    if max(lengths.values(), default=0) <= LINES_TO_FAIL:
        return []
    return [
        f"{path.relative_to(root)}: {lines} lines; {LINES_TO_THINK} is time to think, {LINES_TO_FAIL} the end"
        for path, lines in lengths.items()
        if lines > LINES_TO_THINK
    ]


Check = Callable[[Path], list[str]]
CHECKS: tuple[Check, ...] = (
    unknown_rooms,
    forbidden_imports,
    busy_packages,
    incomplete_rooms,
    stray_directives,
    loose_functions,
    ill_named_modules,
    long_files,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_house_as_it_stands_has_no_offence(check: Check) -> None:
    offences = check(ROOT)
    assert not offences, "\n".join(offences)


def build_house(root: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


SOUND_PXD = """\
from libc.stdint cimport int64_t

from native.events cimport (
    Level,
    Trade,
)


cdef inline int64_t twice(int64_t value) noexcept nogil:
    return 2 * value


cdef class Book:
    cdef int64_t best

    # hot
    cdef void apply(self, int64_t price,
                    int64_t quantity) noexcept nogil
    # cold
    cdef int grow(self) except -1
"""


def test_sound_house_has_no_offence(tmp_path: Path) -> None:
    house = build_house(
        tmp_path,
        {
            "native/__init__.py": '"""The core."""\n',
            "native/book.pxd": SOUND_PXD,
            "native/book.pyx": '"""Reads like\nimport engine.cli\n"""\nimport numpy\n',
            "native/book.pyi": "import numpy\n",
            "engine/replay/units.py": "import engine.replay.store\nfrom native.market import Market\n",
            "engine/cli.py": "def tour():\n    from engine.sim.crowd import Crowd\n    import typer\n",
            "strategies/rider.py": "import math\n\nfrom engine.signals import Signal\n",
        },
    )
    assert [offence for check in CHECKS for offence in check(house)] == []


BROKEN: tuple[tuple[Check, str, str, str], ...] = (
    (unknown_rooms, "native/door.pyx", "", "native.door is not in the table: give it a floor"),
    (unknown_rooms, "engine/replay/study.py", "", "engine.replay.study is not in the table: give it a floor"),
    (forbidden_imports, "native/book.pyx", "from native.market cimport Market", "only lower floors"),
    (forbidden_imports, "native/book.pxd", "from native cimport profile", "only lower floors"),
    (forbidden_imports, "native/book.pyx", "cimport native.whale as whale", "only lower floors"),
    (forbidden_imports, "native/book.pyx", "from engine.errors import StateError", "nothing above itself"),
    (forbidden_imports, "native/book.pyx", "from native.nowhere cimport x", "no room of the table"),
    (forbidden_imports, "native/book.pyx", "import picows", "not listed with"),
    (forbidden_imports, "native/book.pyx", "    import os, time", "must not touch it"),
    (forbidden_imports, "native/book.pyx", 'include "levels.pxi"', "only absolute imports"),
    (forbidden_imports, "native/book.pyi", "from engine.signals import Side", "nothing above itself"),
    (forbidden_imports, "engine/signals.py", "import engine.config", "only lower floors"),
    (forbidden_imports, "engine/signals.py", "from engine.clock import Clock", "only lower floors"),
    (forbidden_imports, "engine/signals.py", "import native.events", "vocabulary never imports native"),
    (forbidden_imports, "engine/config.py", "from . import errors", "only absolute imports"),
    (forbidden_imports, "engine/config.py", "import yaml", "not listed with"),
    (forbidden_imports, "engine/signals.py", "def now():\n    import time", "must not touch it"),
    (
        forbidden_imports,
        "engine/replay/store.py",
        "from engine.replay.session import run",
        "only lower floors",
    ),
    (
        forbidden_imports,
        "engine/orchestrator.py",
        "from engine.sim import crowd",
        "for replay and the command",
    ),
    (forbidden_imports, "engine/view.py", "import pandas", "not listed with"),
    (forbidden_imports, "strategies/rider.py", "from engine.config import Config", "strategies see"),
    (forbidden_imports, "strategies/rider.py", "from native.events import Side", "strategies see"),
    (forbidden_imports, "strategies/rider.py", "from strategies.other import x", "strategies are plug-ins"),
    (forbidden_imports, "engine/orchestrator.py", "from strategies.rider import Rider", "are plug-ins"),
    (busy_packages, "engine/sim/__init__.py", "from engine.sim.crowd import Crowd", "imports nothing"),
    (incomplete_rooms, "native/book.pyx", "", "native.book has no .pxd"),
    (incomplete_rooms, "native/book.pyx", "", "native.book has no .pyi"),
    (incomplete_rooms, "native/book.pxd", "", "native.book has no .pyx"),
    (incomplete_rooms, "native/book.pyi", "from typing import Any", "a stub says no Any"),
    (stray_directives, "native/book.pyx", "# cython: boundscheck=False", "setup.py only"),
    (stray_directives, "native/book.pyx", "@cython.wraparound(False)", "setup.py only"),
    (stray_directives, "native/book.pyx", "    with cython.cdivision(True):", "setup.py only"),
    (loose_functions, "native/book.pxd", "# hot\ncdef int best(int side) nogil", "ends `noexcept nogil`"),
    (loose_functions, "native/book.pxd", "cdef inline int best(int side):\n    return 1", "ends `noexcept"),
    (loose_functions, "native/book.pxd", SOUND_PXD.replace("    # hot\n", ""), "under `# hot` or `# cold`"),
    (
        loose_functions,
        "native/book.pxd",
        SOUND_PXD.replace("y) noexcept nogil", "y) noexcept"),
        "ends `noexcept",
    ),
    (loose_functions, "native/book.pxd", SOUND_PXD.replace("# cold", "# hot, too"), "ends `noexcept nogil`"),
    (
        loose_functions,
        "native/book.pxd",
        "cdef class Book:\n    # hot\n    cdef:\n        int best(self) except -1",
        "ends `noexcept nogil`",
    ),
    (ill_named_modules, "engine/utils.py", "", "`utils` says nothing"),
    (ill_named_modules, "engine/common/tape.py", "", "`common` says nothing"),
    (ill_named_modules, "engine/redis.py", "", "`redis` says nothing or is somebody else's"),
    (long_files, "engine/cli.py", "x = 1\n" * 601, "engine/cli.py: 601 lines"),
)


IDS = [f"{check.__name__}-{number}" for number, (check, *_) in enumerate(BROKEN)]


@pytest.mark.parametrize(("check", "name", "text", "expected"), BROKEN, ids=IDS)
def test_broken_house_is_told(tmp_path: Path, check: Check, name: str, text: str, expected: str) -> None:
    offences = check(build_house(tmp_path, {name: text}))
    assert any(expected in offence for offence in offences), offences


def test_file_of_600_lines_is_let_pass(tmp_path: Path) -> None:
    assert long_files(build_house(tmp_path, {"engine/cli.py": "x = 1\n" * 600})) == []
