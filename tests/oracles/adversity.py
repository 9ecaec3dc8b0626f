"""A recording as a bad day delivers it: losses, repetitions, cuts, pauses, crossed books, late snapshots."""

import random

import orjson

from tests.oracles.sessions import Frame, Session

Sides = tuple[dict[str, str], dict[str, str]]


def _apply(sides: Sides, bids: list[list[str]], asks: list[list[str]]) -> None:
    for levels, side in ((bids, sides[0]), (asks, sides[1])):
        for price, quantity in levels:
            if float(quantity):
                side[price] = quantity
            else:
                side.pop(price, None)


def _snapshot(recv_ns: int, last_id: int, sides: Sides) -> Frame:
    bids, asks = ([list(level) for level in side.items()] for side in sides)
    return Frame(recv_ns, orjson.dumps({"lastUpdateId": last_id, "bids": bids, "asks": asks}), True)


def _crossing(payload: bytes, sides: Sides) -> bytes:
    """Add a bid at the price of the best ask."""
    message = orjson.loads(payload)
    message["data"]["b"].append([min(sides[1], key=float), "1.000"])
    return orjson.dumps(message)


def _not_market(payload: bytes) -> bytes:
    message = orjson.loads(payload)
    message["data"]["X"] = "INSURANCE_FUND"
    return orjson.dumps(message)


def bad_day(frames: tuple[Frame, ...], session: Session, seed: int) -> list[Frame]:
    """Return the frames damaged by chance of a seed; every loss of depth is followed by snapshots."""
    chance = random.Random(seed)
    sides: Sides = ({}, {})
    last_id, delay_ns = 0, 0
    out: list[Frame] = []
    asked: list[tuple[int, int, Sides]] = []
    seen: list[dict] = []

    def ask(number: int, wait: int) -> None:
        """Ask for a snapshot: it tells the book of now, and arrives some lines later."""
        asked.append((number + wait, last_id, (dict(sides[0]), dict(sides[1]))))

    for number, (at_ns, payload, is_snapshot) in enumerate(frames):
        for due in [one for one in asked if one[0] <= number]:
            asked.remove(due)
            out.append(_snapshot(at_ns + delay_ns, due[1], due[2]))
        if chance.random() < 1 / 4_000:
            delay_ns += chance.choice([700, 1_500, 4_000]) * 10**6
        recv_ns = at_ns + delay_ns
        dice, is_harmed = chance.random(), False
        if b'"depthUpdate"' in payload:
            is_harmed = dice < 0.022
            if is_harmed and dice < 0.003:
                # Told without the lost update: too old to join what follows.
                ask(number, chance.randint(3, 10))
            if 0.010 <= dice < 0.016 and sides[1]:
                out.append(Frame(recv_ns, _crossing(payload, sides), False))
            elif 0.016 <= dice < 0.022:
                out.append(Frame(recv_ns, payload[: chance.randrange(len(payload))], False))
            elif dice < 0.030:
                out += [Frame(recv_ns, payload, False)] * 2
            elif not is_harmed:
                out.append(Frame(recv_ns, payload, False))
            data = orjson.loads(payload)["data"]
            seen.append(data)
            _apply(sides, data["b"], data["a"])
            last_id = data["u"]
            if is_harmed:
                ask(number, chance.randint(5, 120))
                ask(number, chance.randint(120, 200))
        elif is_snapshot:
            answer = orjson.loads(payload)
            out.append(Frame(recv_ns, payload, True))
            sides = (dict(answer["bids"]), dict(answer["asks"]))
            for data in seen:
                if data["u"] > answer["lastUpdateId"]:
                    _apply(sides, data["b"], data["a"])
        elif b'"e":"trade"' in payload and dice < 0.04:
            if dice < 0.01:
                continue
            if dice < 0.02:
                out += [Frame(recv_ns, payload, False)] * 2
            elif dice < 0.03:
                out.append(Frame(recv_ns, _not_market(payload), False))
            else:
                foreign = payload.replace(f'"s":"{session.symbol}"'.encode(), b'"s":"OTHERUSDT"')
                out.append(Frame(recv_ns, foreign, False))
        else:
            out.append(Frame(recv_ns, payload, False))
    return out
