"""What is known at a moment does not depend on what comes after it, whatever comes."""

import math
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy
import numpy.typing
import orjson
import pytest

from native.events import FLOW_EVENT
from native.market import Market
from native.playback import encode_frame, encode_snapshot, run_events
from tests.oracles.features import Features, features_of
from tests.oracles.sessions import BUSY, SESSIONS, Frame, Session, market_for, read_frames

pytestmark = [pytest.mark.captures, pytest.mark.slow]

Future = Callable[[tuple[Frame, ...], int, random.Random], list[Frame]]
FUTURE_LINES = 1_200


@cache
def records_of(captures: Path, session: Session) -> tuple[bytes, ...]:
    """Return each line of a session as its record."""
    return tuple(encoded(session, frame) for frame in read_frames(captures, session))


def encoded(session: Session, frame: Frame) -> bytes:
    encode = encode_snapshot if frame.is_snapshot else encode_frame
    return encode(_reader(session), frame.payload, frame.recv_ns)


@cache
def _reader(session: Session) -> Market:
    return market_for(session)


def run_to(market: Market, records: bytes, begin: int, end: int) -> None:
    """Run records up to `end`; what stands behind it in the buffer is not to be looked at."""
    while begin < end:
        begin, _ = run_events(market, records, begin, end)


def advance_to(market: Market, now_ns: int) -> None:
    while market.advance(now_ns):
        pass


def everything(market: Market) -> Features:
    """Return every feature and every value that a decision can read, exact, unknown ones by their name."""
    depth, whale = market.imbalance, market.whale
    numbers = {
        "mid": market.mid,
        "spread_bps": market.spread_bps,
        "sigma_60_bps": market.sigma_60_bps,
        "walk_buy": market.walk_bps(1, 250_000.0),
        "walk_sell": market.walk_bps(-1, 250_000.0),
        "ofi": depth.ofi,
        "depth_median": whale.depth_median,
        "sweep_quantile": whale.sweep_quantile,
        "pulled_bids": depth.pulled(1, market.now_ns),
        "pulled_asks": depth.pulled(-1, market.now_ns),
    }
    exact = {name: "nan" if math.isnan(value) else value.hex() for name, value in numbers.items()}
    return features_of(market) | exact | {"whole_candidate": repr(market.candidate())}


def decided_by(events: numpy.typing.NDArray[numpy.void], now_ns: int) -> numpy.typing.NDArray[numpy.void]:
    return events[events["decide_ns"] <= now_ns]


def prefix(
    captures: Path, session: Session, now_ns: int
) -> tuple[Features, numpy.typing.NDArray[numpy.void]]:
    """Run what was received up to a moment and let the timers run to it; return all that is known then."""
    frames = read_frames(captures, session)
    n = sum(frame.recv_ns <= now_ns for frame in frames)
    market = market_for(session, **BUSY)
    run_to(market, records := b"".join(records_of(captures, session)[:n]), 0, len(records))
    advance_to(market, now_ns)
    return everything(market), market.take_events()


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_events_up_to_a_moment_are_those_of_the_messages_up_to_it(captures: Path, session: Session) -> None:
    records = b"".join(records_of(captures, session))
    whole = market_for(session, **BUSY)
    run_to(whole, records, 0, len(records))
    events = whole.take_events()
    assert len(events) > 500
    frames = read_frames(captures, session)
    chance = random.Random(f"moments of {session}")
    moments = [chance.randint(frames[0].recv_ns, frames[-1].recv_ns) for _ in range(12)]
    # The moments at which something was decided by a timer, between two reads, are the telling ones.
    by_timer = events[events["decide_ns"] > events["recv_ns"]]
    assert len(by_timer) > 100
    chosen = chance.sample(range(len(by_timer)), 24)
    moments += [int(moment) - early for moment in by_timer["decide_ns"][chosen] for early in (0, 1)]
    for now_ns in moments:
        _, found = prefix(captures, session, now_ns)
        assert found.tobytes() == decided_by(events, now_ns).tobytes()


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_features_do_not_depend_on_being_observed(captures: Path, session: Session) -> None:
    frames = read_frames(captures, session)
    records = b"".join(records_of(captures, session))
    sizes = numpy.cumsum([0, *map(len, records_of(captures, session))])
    watched = market_for(session, **BUSY)
    done = 0
    for cut in sorted(random.Random(f"watch {session}").sample(range(1, len(frames)), 20)):
        run_to(watched, records, int(sizes[done]), int(sizes[cut]))
        advance_to(watched, now_ns := frames[cut - 1].recv_ns)
        features, _ = prefix(captures, session, now_ns)
        assert everything(watched) == features
        done = cut


# Other futures of the first `cut` lines; their receive times are set later.


def other_day(frames: tuple[Frame, ...], cut: int, chance: random.Random) -> list[Frame]:
    """Go on with lines from elsewhere in the session: of the other file where there are two."""
    far = (cut + len(frames) // 2 + chance.randrange(1_000)) % len(frames)
    return list(frames[far : far + 4 * FUTURE_LINES])


def shuffled(frames: tuple[Frame, ...], cut: int, chance: random.Random) -> list[Frame]:
    return chance.sample(future := frames[cut : cut + FUTURE_LINES], len(future))


def _moved(text: str, percent: int) -> str:
    whole, _, part = text.partition(".")
    units = int(whole + part) * (100 + percent) // 100
    return f"{units // 10 ** len(part)}.{units % 10 ** len(part):0{len(part)}d}" if part else str(units)


def _rewritten(frame: Frame, percent: int, factor: int) -> Frame:
    message = orjson.loads(frame.payload)
    data = message.get("data", message)
    for key in ("b", "a", "bids", "asks"):
        if isinstance(data.get(key), list):
            data[key] = [[_moved(price, percent), quantity] for price, quantity, *_ in data[key]]
    if data.get("e") == "trade":
        data["p"] = _moved(data["p"], percent)
        data["q"] = f"{float(data['q']) * factor:.3f}"
    return frame._replace(payload=orjson.dumps(message))


def _jumped(percent: int) -> Future:
    def jump(frames: tuple[Frame, ...], cut: int, _: random.Random) -> list[Frame]:
        return [_rewritten(frame, percent, 1) for frame in frames[cut : cut + FUTURE_LINES]]

    return jump


def thousandfold(frames: tuple[Frame, ...], cut: int, _: random.Random) -> list[Frame]:
    return [_rewritten(frame, 0, 1_000) for frame in frames[cut : cut + FUTURE_LINES]]


def unreadable(frames: tuple[Frame, ...], cut: int, chance: random.Random) -> list[Frame]:
    future = frames[cut : cut + FUTURE_LINES]
    return [one._replace(payload=one.payload[: chance.randrange(len(one.payload))]) for one in future]


FUTURES: dict[str, Future] = {
    "other_day": other_day,
    "shuffled": shuffled,
    "up_20_percent": _jumped(20),
    "down_20_percent": _jumped(-20),
    "thousandfold": thousandfold,
    "unreadable": unreadable,
}


@pytest.mark.parametrize("future", FUTURES)
@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_no_other_future_changes_what_was_known(captures: Path, session: Session, future: str) -> None:
    frames, records = read_frames(captures, session), records_of(captures, session)
    chance = random.Random(f"{future} of {session}")
    n_different = 0
    for cut in chance.sample(range(len(frames) // 20, len(frames)), 6):
        now_ns = frames[cut - 1].recv_ns
        features, events = prefix(captures, session, now_ns)
        lines = FUTURES[future](frames, cut, chance)
        later = [
            encoded(session, line._replace(recv_ns=now_ns + (number + 1) * 3_000_017))
            for number, line in enumerate(lines)
        ]
        buffer = b"".join([*records[:cut], *later])
        begin = len(buffer) - sum(map(len, later))
        market = market_for(session, **BUSY)
        run_to(market, buffer, 0, begin)
        assert everything(market) == features
        run_to(market, buffer, begin, len(buffer))
        final = market.take_events()
        # Not one byte of what was told before is another now, and what came after could have differed.
        assert final[: len(events)].tobytes() == events.tobytes()
        assert (final[len(events) :]["decide_ns"] > now_ns).all()
        n_different += everything(market) != features
    assert n_different == 6
    assert final.dtype == FLOW_EVENT


@pytest.mark.parametrize("session", SESSIONS[::2], ids=str)
def test_closed_bars_stay_as_they_closed(captures: Path, session: Session) -> None:
    records = b"".join(records_of(captures, session))
    whole = market_for(session, **BUSY)
    run_to(whole, records, 0, len(records))
    frames = read_frames(captures, session)
    for cut in random.Random(f"bars of {session}").sample(range(len(frames)), 6):
        features, _ = prefix(captures, session, frames[cut].recv_ns)
        bars = features["bars"]
        assert isinstance(bars, dict)
        for interval, closed in bars.items():
            assert whole.bars.bars(interval)[: len(closed)] == closed
