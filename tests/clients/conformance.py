"""Let a client that others wrote see the simulated venue until it stands still, then say what it saw."""

import asyncio
import itertools
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest

from engine.sim.house import House
from tests.engine.served import crowd_house, serving

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent.parent / ".venvs"
QUESTIONS = itertools.count()
READY_S = 180.0
END_S = 120.0
Levels = dict[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw, and the house as it stood still meanwhile."""

    said: dict[str, object]
    house: House

    def ask(self, path: str, **parameters: object) -> object:
        """Return what the house answers now; each question comes from an address of its own."""
        address = f"question {next(QUESTIONS)}"
        answer = self.house.get(
            path, urlencode(parameters), {"X-MBX-APIKEY": "k"}, address=address, now_ns=self.house.now_ns
        )
        assert answer.status == 200, answer
        return json.loads(answer.body)


def interpreter(name: str) -> Path:
    """Return the interpreter of a client's own environment."""
    found = ENVIRONMENTS / name / "bin" / "python"
    if not found.exists():
        pytest.skip(f"'make clients' installs {name}")
    return found


def see(name: str, script: str) -> Seen:
    """
    Run a client against a crowd's market that stands still once the client is ready.

    Its environment has no way out of the machine but loopback: the script sets every address.
    """
    python = interpreter(name)

    async def body() -> Seen:
        house = crowd_house("BTCUSDT", "ETHUSDT")
        for market in house.markets:
            market.prepare()  # type: ignore[attr-defined]
        async with serving(house) as (_, place):
            client = await asyncio.create_subprocess_exec(
                python, "-W", "ignore", HERE / script, f"http://{place}", f"ws://{place}", "k", "s",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                limit=1 << 28,
            )  # fmt: skip
            try:
                assert client.stdin is not None
                assert client.stdout is not None
                async with asyncio.timeout(READY_S):
                    line = await client.stdout.readline()
                if line != b"ready\n":
                    _, complaint = await client.communicate()
                    raise AssertionError(f"{script} said {line!r}: {complaint.decode()[-3000:]}")
                for market in house.markets:
                    market.set_status("BREAK")  # type: ignore[attr-defined]
                client.stdin.write(b"quiet\n")
                async with asyncio.timeout(END_S):
                    said, complaint = await client.communicate()
                assert said, complaint.decode()[-3000:]
                return Seen(json.loads(said.splitlines()[-1]), house)
            finally:
                if client.returncode is None:
                    client.kill()
                    await client.wait()

    return asyncio.run(body())


def levels(rows: object) -> Levels:
    """Return price levels by value, whatever they were written as."""
    assert isinstance(rows, list)
    return {Decimal(str(row[0])): Decimal(str(row[1])) for row in rows}


def best(side: str, rows: object, n: int) -> list[tuple[Decimal, Decimal]]:
    """Return the best levels of a side."""
    return sorted(levels(rows).items(), reverse=side == "bids")[:n]


def contiguous(ids: list[int]) -> bool:
    """Whether ids follow one another without a hole."""
    return len(ids) > 0 and ids == list(range(ids[0], ids[0] + len(ids)))
