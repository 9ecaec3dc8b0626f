"""What an operator may tell a running engine, as values and as text."""

from enum import StrEnum

import msgspec

from engine.errors import InputError


class Verb(StrEnum):
    """The commands."""

    STATUS = "status"
    HALT = "halt"  # HALTED: entries withdrawn, nothing but reducing orders until `resume`
    RESUME = "resume"  # ACTIVE again, and not paused
    PAUSE = "pause"  # no new entries; what works and what is held goes on
    FLATTEN = "flatten"  # withdraw entries and close what is held
    SIDE = "side"  # both, long-only, short-only
    SIZE = "size"  # entries are scaled by this, 0 to 1
    STOP = "stop"  # end the engine: flatten or protect


SIDES = ("both", "long-only", "short-only")
STOPS = ("flatten", "protect")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command, checked; `symbol` empty means all."""

    verb: Verb
    argument: str = ""
    symbol: str = ""


def parse_command(words: list[str]) -> Command:
    """Read a command as it is typed.

    Raises
    ------
    InputError
        No such command, or an argument that it does not take.
    """
    names = ", ".join(Verb)
    if not words or words[0] not in tuple(Verb):
        raise InputError(f"Expected one of the commands {names}, found {' '.join(words) or 'nothing'}.")
    verb, rest = Verb(words[0]), words[1:]
    argument = ""
    if verb in (Verb.SIDE, Verb.STOP):
        choices = SIDES if verb is Verb.SIDE else STOPS
        if not rest or rest[0] not in choices:
            raise InputError(
                f"{verb} expects one of {', '.join(choices)}, found {' '.join(rest) or 'nothing'}."
            )
        argument = rest.pop(0)
    elif verb is Verb.SIZE:
        found = rest.pop(0) if rest else "nothing"
        try:
            size = float(found)
        except ValueError:
            size = -1.0
        if not 0.0 <= size <= 1.0:
            raise InputError(f"size expects a number from 0 to 1, found {found}.")
        argument = f"{size:g}"
    symbol = rest.pop(0).upper() if rest else ""
    if rest:
        raise InputError(f"{verb} takes no more words, found {' '.join(rest)}.")
    return Command(verb=verb, argument=argument, symbol=symbol)
