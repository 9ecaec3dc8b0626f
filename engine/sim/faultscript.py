"""What shall go wrong and when: the file format of fault scripts, and storms drawn from a seed.

A script is TOML (`[[fault]]` tables) or JSON (`{"fault": [...]}`)::

    [[fault]]
    at = 12.5            # seconds from the venue's start
    kind = "drop"
    stream = "*@depth*"
    count = 3
"""

import random
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec

from engine.errors import InputError

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Kind(StrEnum):
    """What can go wrong."""

    # Messages of streams.
    DROP = "drop"  # never sent
    DUPLICATE = "duplicate"  # sent twice
    REORDER = "reorder"  # sent after the next one of the same stream
    DELAY = "delay"  # sent `delay` seconds late, in order
    TRUNCATE = "truncate"  # cut off somewhere
    DAMAGE = "damage"  # one byte is another
    UNKNOWN_FIELDS = "unknown_fields"  # more fields than documented
    UNKNOWN_EVENT = "unknown_event"  # an event of an unknown type beside it
    FOREIGN = "foreign"  # a copy under another symbol, of the universe st=2
    # Connections.
    SILENCE = "silence"  # acknowledged and open, but the streams do not speak
    REFUSE_SUBSCRIPTION = "refuse_subscription"  # SUBSCRIBE is answered with an error
    CLOSE = "close"  # close frame, as after 24 h
    SHUTDOWN = "shutdown"  # serverShutdown, then the close frame `delay` seconds later
    CUT = "cut"  # reset in the middle
    STALL = "stall"  # our side reads nothing
    REFUSE_HANDSHAKE = "refuse_handshake"  # with `status`; 0 resets
    # Requests.
    REFUSE = "refuse"  # with `status`; 0 resets
    SLOW = "slow"  # answered `delay` seconds late
    HTML = "html"  # a page instead of JSON, with `status`
    STALE = "stale"  # depth as it was when the fault began
    # Time and the symbols.
    CLOCK = "clock"  # our clock is `ahead` seconds off from now on, and drifts by `ppm`
    VENUE_CLOCK = "venue_clock"  # what the venue's answers show is `ahead` seconds off
    STATUS = "status"  # the symbol's status becomes `value`; TRADING again at the end of `lasts`
    FILTERS = "filters"  # `tick`, `step`, `min_notional` as far as given
    FUNDING = "funding"  # funding interval in hours, `value`
    DELIST = "delist"  # the symbol is gone


STREAM_KINDS: Final = frozenset(
    {
        Kind.DROP,
        Kind.DUPLICATE,
        Kind.REORDER,
        Kind.DELAY,
        Kind.TRUNCATE,
        Kind.DAMAGE,
        Kind.UNKNOWN_FIELDS,
        Kind.UNKNOWN_EVENT,
        Kind.FOREIGN,
        Kind.SILENCE,
    }
)
REQUEST_KINDS: Final = frozenset({Kind.REFUSE, Kind.SLOW, Kind.HTML, Kind.STALE})
SYMBOL_KINDS: Final = frozenset({Kind.STATUS, Kind.FILTERS, Kind.FUNDING, Kind.DELIST})
STATUSES: Final = ("TRADING", "HALT", "BREAK", "CANCEL_ONLY", "SETTLING")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    It is in force from `at` on for `lasts` seconds, or until it has happened `count` times, whichever comes
    first; with neither it happens once. `share` is the probability for each message or request.
    """

    at: Seconds
    kind: Kind
    lasts: Seconds = 0.0
    count: Count = 0
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    stream: str = "*"  # shell pattern of stream names; of a connection, of the path it was opened by
    path: str = "*"  # shell pattern of request or handshake paths
    market: Annotated[str, msgspec.Meta(pattern="^(spot|usdm|)$")] = ""  # empty: any
    symbol: str = ""  # of a symbol that changes; empty: all
    delay: Seconds = 0.0
    status: Annotated[int, msgspec.Meta(ge=0, le=599)] = 0
    retry_after: Count = 0  # header Retry-After, seconds
    code: int = 0  # in the body of a refused request; 0: an empty body
    value: str = ""
    ahead: float = 0.0
    ppm: int = 0
    tick: str = ""
    step: str = ""
    min_notional: str = ""


class _Script(msgspec.Struct, forbid_unknown_fields=True):
    fault: list[Fault] = []


def read_script(path: Path) -> tuple[Fault, ...]:
    """Read a script; `.json` is JSON, anything else TOML.

    Raises
    ------
    InputError
        It cannot be read, or says what no fault can mean.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".json":
            script = msgspec.json.decode(data, type=_Script)
        else:
            script = msgspec.convert(tomllib.loads(data.decode()), type=_Script)
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: expected a script of faults: {problem}.") from problem
    for number, fault in enumerate(script.fault, 1):
        problem_text = complaint(fault)
        if problem_text:
            raise InputError(f"{path}, fault {number} ({fault.kind}): {problem_text}.")
    return in_order(script.fault)


def in_order(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return faults by the time they begin; of one moment in the order given."""
    return tuple(sorted(faults, key=lambda fault: fault.at))


def write_script(faults: Sequence[Fault]) -> bytes:
    """Return a script as JSON that `read_script` reads to the same faults."""
    return msgspec.json.format(msgspec.json.encode(_Script(list(faults))), indent=1) + b"\n"


def complaint(fault: Fault) -> str:
    """Return what a fault lacks to mean anything; empty: nothing."""
    kind = fault.kind
    if kind in (Kind.DELAY, Kind.SLOW) and not fault.delay:
        return "expected `delay` above 0, found none"
    if kind is Kind.SILENCE and not fault.lasts:
        return "expected `lasts` above 0, found none"
    if kind is Kind.STALL and not fault.lasts:
        return "expected `lasts` above 0, found none"
    if kind is Kind.STATUS and fault.value not in STATUSES:
        return f"expected `value` to be one of {', '.join(STATUSES)}, found {fault.value!r}"
    if kind is Kind.FUNDING and not (fault.value.isdigit() and 1 <= int(fault.value) <= 8):
        return f"expected `value` to be 1 to 8 hours, found {fault.value!r}"
    if kind is Kind.FILTERS and not (fault.tick or fault.step or fault.min_notional):
        return "expected `tick`, `step` or `min_notional`, found none"
    if kind in SYMBOL_KINDS and fault.count > 1:
        return f"expected it once, found `count` {fault.count}"
    return ""


def storm(
    seed: int,
    *,
    intensity: float = 1.0,
    start: float = 0.0,
    seconds: float = 60.0,
) -> tuple[Fault, ...]:
    """Draw a storm of everything that may befall a connection at one time or another.

    Parameters
    ----------
    seed
        Not negative; the same gives the same.
    intensity
        1 is about one fault in two seconds: a bad day of a venue in a minute.
    start, seconds
        When it begins, and how long it lasts. Nothing of it is in force after its end.

    Notes
    -----
    Symbols keep their filters and stay listed: what those change is no matter of the weather.
    """
    dice = random.Random(f"storm {seed}")
    end = start + seconds
    faults: list[Fault] = []
    at = start
    while True:
        at += dice.expovariate(0.5 * intensity)
        if at >= end - 0.5:
            return in_order(faults)
        faults.append(_draw(dice, round(at, 6), end))


_STREAMS: Final = ("*@depth*", "*@depth*", "*@trade", "*@aggTrade", "*@bookTicker", "*")
_PATHS: Final = ("*/depth", "*/depth", "*rade*", "*")


def _draw(dice: random.Random, at: float, end: float) -> Fault:
    def span(mean: float) -> float:
        return round(min(dice.expovariate(1 / mean) + 0.05, end - at), 6)

    stream = dice.choice(_STREAMS)
    path = dice.choice(_PATHS)
    # (weight, fault): a cut is rarer than a lost message.
    pick = dice.choices(range(len(_WEIGHTS)), _WEIGHTS)[0]
    if pick == 0:
        return Fault(at=at, kind=Kind.DROP, stream=stream, count=dice.randint(1, 5), lasts=span(5))
    if pick == 1:
        return Fault(at=at, kind=Kind.DUPLICATE, stream=stream, count=dice.randint(1, 8), lasts=span(3))
    if pick == 2:
        return Fault(at=at, kind=Kind.REORDER, stream=stream, count=dice.randint(1, 4), lasts=span(3))
    if pick == 3:
        delay = round(dice.expovariate(2.5) + 0.01, 6)
        return Fault(at=at, kind=Kind.DELAY, stream=stream, lasts=span(1.5), delay=min(delay, end - at))
    if pick == 4:
        kind = dice.choice((Kind.TRUNCATE, Kind.DAMAGE))
        return Fault(at=at, kind=kind, stream=stream, count=dice.randint(1, 2), lasts=span(3))
    if pick == 5:
        kind = dice.choice((Kind.UNKNOWN_FIELDS, Kind.UNKNOWN_EVENT, Kind.FOREIGN))
        return Fault(at=at, kind=kind, stream=stream, count=dice.randint(1, 20), lasts=span(5))
    if pick == 6:
        return Fault(at=at, kind=Kind.SILENCE, stream=stream, lasts=span(4))
    if pick == 7:
        return Fault(at=at, kind=dice.choice((Kind.CUT, Kind.CUT, Kind.CLOSE)))
    if pick == 8:
        return Fault(at=at, kind=Kind.SHUTDOWN, delay=round(dice.uniform(0.05, 3), 6))
    if pick == 9:
        return Fault(at=at, kind=Kind.STALL, lasts=min(span(0.4), 2.0))
    if pick == 10:
        status = dice.choice((403, 429, 503, 0))
        return Fault(at=at, kind=Kind.REFUSE_HANDSHAKE, status=status, lasts=span(2), retry_after=1)
    if pick == 11:
        # 418 bans for as long as it says: short here, the storm is to be over at its end.
        status = dice.choice((429, 418, 500, 502, 503, 0))
        return Fault(
            at=at,
            kind=Kind.REFUSE,
            path=path,
            status=status,
            count=dice.randint(1, 3),
            lasts=span(3),
            retry_after=1 if status in (429, 418) else 0,
        )
    if pick == 12:
        return Fault(at=at, kind=Kind.SLOW, path=path, delay=round(dice.uniform(0.1, 8), 6), lasts=span(2))
    if pick == 13:
        return Fault(at=at, kind=Kind.HTML, path=path, status=dice.choice((200, 502)), lasts=span(1))
    if pick == 14:
        return Fault(at=at, kind=Kind.STALE, path="*/depth", lasts=span(2))
    if pick == 15:
        return Fault(at=at, kind=Kind.REFUSE_SUBSCRIPTION, count=1, lasts=span(3))
    ahead = round(dice.uniform(-0.05, 0.05), 6)
    return Fault(at=at, kind=Kind.CLOCK, ahead=ahead, ppm=dice.randint(-50, 50))


_WEIGHTS: Final = (8, 4, 4, 5, 4, 3, 2, 3, 1, 2, 2, 3, 2, 1, 2, 1, 1)
