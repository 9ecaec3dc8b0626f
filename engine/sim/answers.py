"""What the simulated venue sends back: answers to requests, and what goes out on a stream connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `delay_ns` is venue time from the request to the answer's first byte."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class OutText:
    """A text message."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class OutPing:
    """A ping frame; a pong with the same payload is owed."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class OutPong:
    """A pong frame."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class OutClose:
    """A close frame, then the end of the connection."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OutCut:
    """The connection is reset without a close frame."""


Out = OutText | OutPing | OutPong | OutClose | OutCut


def json_answer(value: object, status: int = 200) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, {"Content-Type": "application/json;charset=UTF-8"}, msgspec.json.encode(value))


def error_answer(status: int, code: int, message: str) -> Answer:
    """Return an answer in the venue's shape of an error."""
    return json_answer({"code": code, "msg": message}, status)
