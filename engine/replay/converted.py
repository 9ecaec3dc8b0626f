"""Converted recordings: a directory with the events of one instrument as native records.

``events.bin`` holds the records one after the other in the layout of `native.market`, to be mapped into
memory; ``meta.json`` says which instrument, which units and how many records. ``meta.json`` is written last:
a directory without it is no conversion.
"""

import mmap
from pathlib import Path
from typing import Final, Literal

import msgspec

from engine.errors import InputError
from engine.replay.outputs import partial_path
from native.eventfile import record_sizes

FORMAT_VERSION: Final = 2  # 2: a trade has its regular quantity, 72 bytes
EVENTS_NAME: Final = "events.bin"
META_NAME: Final = "meta.json"

MarketName = Literal["spot", "usdm", "coinm"]


class Meta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a converted recording is.

    Attributes
    ----------
    format : version of the directory's layout.
    layout : sizes of what a record is made of, in the build that wrote it.
    price_digits, quantity_digits : units are 10^-digits quote and base.
    tick : price units.
    contract_size : COIN-M: quote per contract; 1 elsewhere.
    units_from : where the units came from.
    messages, snapshots, broken_lines : of the recording, those without a record included.
    truncated : whether a recorded file ended too early.
    records, events_bytes : what ``events.bin`` holds.
    """

    format: int
    layout: dict[str, int]
    symbol: str
    market: MarketName
    price_digits: int
    quantity_digits: int
    tick: int
    contract_size: int
    units_from: str
    messages: int
    snapshots: int
    broken_lines: int
    truncated: bool
    records: int
    events_bytes: int
    first_recv_ns: int
    last_recv_ns: int


def read_meta(directory: Path) -> Meta:
    """Read what a converted recording is and check that its events are all there.

    Raises
    ------
    InputError
        The directory holds no conversion, one of another version, or one that is not whole.
    """
    path = directory / META_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError as problem:
        raise InputError(
            f"{directory} holds no {META_NAME}: expected a recorded file or a directory made by "
            "'remora convert'."
        ) from problem
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    version = _version(path, text)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} is of format {version}, expected {FORMAT_VERSION}; convert the recording again."
        )
    try:
        meta = msgspec.json.decode(text, type=Meta)
    except msgspec.DecodeError as problem:
        raise InputError(f"{path} does not describe a converted recording: {problem}.") from problem
    if meta.layout != record_sizes():
        raise InputError(
            f"{directory} was written by a build with other records: expected {record_sizes()}, found "
            f"{meta.layout}; convert the recording again."
        )
    events = directory / EVENTS_NAME
    found = events.stat().st_size if events.is_file() else -1
    if found != meta.events_bytes:
        what = "is missing" if found < 0 else f"has {found} bytes"
        raise InputError(
            f"{events} {what}, expected the {meta.events_bytes} bytes that {META_NAME} names; "
            "convert the recording again."
        )
    return meta


class _Version(msgspec.Struct):
    format: int


def _version(path: Path, text: bytes) -> int:
    try:
        return msgspec.json.decode(text, type=_Version).format
    except msgspec.DecodeError as problem:
        raise InputError(f"{path} does not describe a converted recording: {problem}.") from problem


def map_events(directory: Path) -> mmap.mmap | bytes:
    """Map the records of a converted recording into memory, read only.

    Lifetime
    --------
    The mapping lives until it is dropped; the file must not be changed meanwhile.
    """
    path = directory / EVENTS_NAME
    if path.stat().st_size == 0:
        return b""  # an empty file cannot be mapped
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def prepare_directory(directory: Path, *, force: bool) -> None:
    """Make room for a conversion.

    Raises
    ------
    InputError
        The directory cannot be made, holds something else, or holds a conversion and `force` is not set.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in directory.iterdir()}
    except OSError as problem:
        raise InputError(f"{directory} cannot be written: {problem.strerror or problem}.") from problem
    ours = {EVENTS_NAME, META_NAME, partial_path(Path(EVENTS_NAME)).name, partial_path(Path(META_NAME)).name}
    foreign = sorted(names - ours)
    if foreign:
        raise InputError(
            f"{directory} is not empty and holds {foreign[0]}, which is no part of a conversion; "
            "give an empty or new directory."
        )
    if META_NAME in names and not force:
        raise InputError(f"{directory} already holds a conversion; --force replaces it.")
