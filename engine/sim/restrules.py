"""How the venue's REST side reads requests: parameters, refusals in its words, weights, headers."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from engine.sim.answers import Answer, error_answer, json_answer
from engine.sim.venuemarket import MarketName, VenueMarket

NUMBER: Final = r"^[0-9]{1,20}$"
TIMES: Final = frozenset(
    ("time", "T", "E", "serverTime", "openTime", "closeTime", "fundingTime", "nextFundingTime")
)
LIMITS: Final[dict[MarketName, int]] = {"spot": 6000, "usdm": 2400}


class RefusedError(Exception):
    """A request the venue refuses, in its own words."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Venue:
    """What an endpoint may look at: the symbols of its market, and the time its clock shows."""

    market: MarketName
    symbols: Mapping[str, VenueMarket]
    now_ms: int

    @property
    def is_spot(self) -> bool:
        return self.market == "spot"


Parameters = Mapping[str, str]
Weigh = Callable[[Parameters], int]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path: what it needs, may be given and costs, and who answers."""

    market: MarketName
    answer: Callable[[Venue, Parameters], object]
    weight: Weigh
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    needs_key: bool = False


def used_weight_headers(market: MarketName, used: int) -> dict[str, str]:
    """Return the headers that every answer carries."""
    if market == "spot":
        return {"x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}
    return {"x-mbx-used-weight-1m": str(used)}


def not_found(path: str, method: str) -> Answer:
    """Return the answer to a path that is none; the spot side says nothing with it."""
    if path.startswith("/fapi/"):
        return error_answer(404, -5000, f"Path {path}, Method {method} is invalid")
    return Answer(404)


def too_much(market: MarketName, status: int, retry_after_s: int, banned_until_ms: int) -> Answer:
    """Return the refusal of a request that is over the weight limit, 429 or 418."""
    if status == 418:
        text = (
            f"Way too much request weight used; IP banned until {banned_until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
    else:
        text = (
            f"Too much request weight used; current limit is {LIMITS[market]} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
    refusal = error_answer(status, -1003, text)
    return Answer(status, {**refusal.headers, "Retry-After": str(retry_after_s)}, refusal.body)


def read_parameters(endpoint: Endpoint, query: str) -> dict[str, str]:
    """Return the parameters of a query.

    Raises
    ------
    RefusedError
        In the venue's order: one given twice, too many, one missing, an empty one, one that nobody reads.
        The USD-M side ignores what it does not know.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    known = endpoint.required + endpoint.optional
    if len(given) != len(pairs):
        raise RefusedError(-1101, "Duplicate values for a parameter detected.")
    is_strict = endpoint.market == "spot"
    if is_strict and len(given) > len(known):
        raise RefusedError(
            -1101, f"Too many parameters; expected '{len(known)}' and received '{len(given)}'."
        )
    for name in endpoint.required:
        if name not in given:
            raise RefusedError(
                -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
    for name in known:
        if given.get(name) == "":
            raise RefusedError(-1105, f"Parameter '{name}' was empty.")
    n_read = sum(name in known for name in given)
    if is_strict and n_read < len(given):
        raise RefusedError(
            -1104,
            f"Not all sent parameters were read; read '{n_read}' parameter(s) but was sent '{len(given)}'.",
        )
    return {name: value for name, value in given.items() if name in known}


def respond(
    endpoint: Endpoint, symbols: Mapping[str, VenueMarket], query: str, now_ms: int, *, is_micro: bool
) -> Answer:
    """Return the answer to a request, refusals among them."""
    try:
        parameters = read_parameters(endpoint, query)
        value = endpoint.answer(Venue(endpoint.market, symbols, now_ms), parameters)
    except RefusedError as refused:
        return error_answer(refused.status, refused.code, str(refused))
    return json_answer(_in_micro(value) if is_micro else value)


def weight_of(endpoint: Endpoint, query: str) -> int:
    """Return what a request costs; one that will be refused costs what its parameters say."""
    return endpoint.weight(dict(parse_qsl(query, keep_blank_values=True)))


def _in_micro(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: part * 1_000 + (999 if name == "closeTime" and part % 1_000 == 999 else 0)
            if name in TIMES and isinstance(part, int) and not isinstance(part, bool)
            else _in_micro(part)
            for name, part in value.items()
        }
    if isinstance(value, list):
        if len(value) == 12 and isinstance(value[0], int):  # a kline: open time first, close time seventh
            return [value[0] * 1_000, *value[1:6], value[6] * 1_000 + 999, *value[7:]]
        return [_in_micro(part) for part in value]
    return value


def fixed(weight: int) -> Weigh:
    return lambda _parameters: weight


def by_limit(steps: Sequence[tuple[int, int]], usual: int, name: str = "limit") -> Weigh:
    """Weigh by the limit: the first step that it does not exceed."""

    def weigh(parameters: Parameters) -> int:
        text = parameters.get(name, "")
        limit = int(text) if re.fullmatch(NUMBER[1:-1], text, re.ASCII) else usual
        return next((weight for most, weight in steps if limit <= most), steps[-1][1])

    return weigh


def by_symbols(single: int, every: int, steps: Sequence[tuple[int, int]] = ()) -> Weigh:
    """Weigh one symbol, a list of them in steps, or all."""

    def weigh(parameters: Parameters) -> int:
        if "symbol" in parameters:
            return single
        if "symbols" in parameters:
            n_symbols = parameters["symbols"].count(",") + 1
            return next((weight for most, weight in steps if n_symbols <= most), every)
        return every

    return weigh


def each_symbol(parameters: Parameters) -> int:
    return min(200, 4 * (parameters.get("symbols", "").count(",") + 1))
