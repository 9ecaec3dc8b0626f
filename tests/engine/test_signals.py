import pytest

from engine import signals
from native import events


@pytest.mark.parametrize(
    ("ours", "native", "prefix"),
    [
        (signals.Side, events.Side, ""),
        (signals.MarketKind, events.MarketKind, ""),
        (signals.Trigger, events.TriggerMask, "MASK_"),
        (signals.FlowKind, events.FlowKind, "FLOW_"),
        (signals.EntryReason, events.EntryReason, "REASON_"),
    ],
)
def test_enum_says_the_same_as_the_compiled_one(ours, native, prefix):
    def members(enum, prefix):
        return {name.removeprefix(prefix): int(value) for name, value in enum.__members__.items()}

    assert all(name.startswith(prefix) for name in native.__members__)
    assert members(ours, "") == members(native, prefix)
