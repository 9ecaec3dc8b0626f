"""The vocabulary of events: the dtype is the struct, and the stub and the contents page say the same."""

import ast
import enum
import re
from pathlib import Path

import numpy
import pytest

from native import events
from native.events import FLOW_EVENT, MessageKind, ParseStatus, Side, TriggerMask, sizeof_flow_event

NATIVE = Path(__file__).resolve().parent.parent.parent / "native"
CONTENTS = (NATIVE / "events.pxd").read_text()

WIDTHS = {"int64_t": "<i8", "int32_t": "<i4", "double": "<f8"}


def struct_fields(name: str) -> list[tuple[str, str]]:
    """Read the fields of a struct from the contents page, as NumPy would write them."""
    body = re.search(rf"^cdef struct {name}:\n((?:    .*\n|\n)+)", CONTENTS, re.MULTILINE)
    assert body is not None
    found = re.findall(r"^    (\w+) (\w+)\s*(?:#.*)?$", body[1], re.MULTILINE)
    return [(field, WIDTHS[kind]) for kind, field in found]


def declared_enums() -> dict[str, dict[str, int]]:
    blocks = re.findall(r"^cpdef enum (\w+):\n((?:    .*\n)+)", CONTENTS, re.MULTILINE)
    return {
        name: {
            member: int(value) for member, value in re.findall(r"^    (\w+) = (-?\d+)", body, re.MULTILINE)
        }
        for name, body in blocks
    }


def stubbed_enums() -> dict[str, dict[str, int]]:
    tree = ast.parse((NATIVE / "events.pyi").read_text())
    return {
        node.name: {
            ast.unparse(line.targets[0]): ast.literal_eval(line.value)
            for line in node.body
            if isinstance(line, ast.Assign)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def test_dtype_has_the_size_of_the_struct() -> None:
    assert FLOW_EVENT.itemsize == sizeof_flow_event() == 208


def test_dtype_has_the_fields_of_the_struct_in_order_without_holes() -> None:
    assert [(name, FLOW_EVENT[name].str) for name in FLOW_EVENT.names or ()] == struct_fields("FlowEvent")
    offset = 0
    for name in FLOW_EVENT.names or ():
        field, found = FLOW_EVENT.fields[name][:2]
        assert found == offset
        assert found % field.itemsize == 0, f"{name} is not aligned"
        offset += field.itemsize
    assert offset == FLOW_EVENT.itemsize
    assert offset % 8 == 0


def test_dtype_written_by_c_rules_is_the_same() -> None:
    aligned = numpy.dtype(struct_fields("FlowEvent"), align=True)
    assert aligned == FLOW_EVENT


@pytest.mark.parametrize("name", declared_enums())
def test_enum_of_the_contents_page_stands_in_module_and_stub(name: str) -> None:
    members = declared_enums()[name]
    found = getattr(events, name)
    assert issubclass(found, enum.IntEnum)
    assert {member.name: member.value for member in found} == members
    assert stubbed_enums()[name] == members


def test_stub_names_nothing_else() -> None:
    assert stubbed_enums().keys() == declared_enums().keys()


def test_values_that_other_rooms_lean_on() -> None:
    assert ParseStatus.PARSE_OK == 0
    assert MessageKind.MESSAGE_NONE == 0
    assert Side.SELL == -Side.BUY


def test_every_trigger_is_a_bit_of_its_own() -> None:
    assert [mask.value for mask in TriggerMask] == [1 << n for n in range(len(TriggerMask))]
