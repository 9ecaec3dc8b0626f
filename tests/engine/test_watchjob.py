"""The job of watching: lines, JSON, alerts and keys over played markets, and the terminal given back."""

import asyncio
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.alerts import parse_rule
from engine.errors import InputError
from engine.records import FlowRecord, Record
from engine.watchjob import Watch, WatchOptions
from engine.watchside import Live
from tests.engine.played_markets import CAPTURED, PlayedMarkets, recorded

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 20.0

RULES = ("* whale > 400000", "ETHUSDT delta_1m < -100", "* age_s > 1000")


@pytest.fixture(scope="module")
def watched_usdm(captures: Path) -> Callable[[WatchOptions], tuple[str, int]]:
    found = [
        recorded([captures / path], market, 90)
        for path, market in (CAPTURED["usdm_btc"], CAPTURED["usdm_eth"])
    ]

    def watched(options: WatchOptions) -> tuple[str, int]:
        """Return what was written, and how often the bell rang."""
        out, rings = io.StringIO(), []
        records: list[Record] = []
        watch: Watch | None = None

        def on_record(record: Record) -> None:
            assert watch is not None
            watch.on_record(record)
            records.append(record)

        played = PlayedMarkets(found, watch=on_record)

        async def sleep(seconds: float) -> None:
            await played.sleep(seconds)
            if played.is_over and watch is not None:
                watch.stop()

        watch = Watch(
            options,
            clock=played.clock,
            sleep=sleep,
            out=out,
            ring=lambda: rings.append(1),
            monotonic_s=lambda: 0.0,
        )
        asyncio.run(watch.run(played))
        return out.getvalue(), len(rings)

    return watched


Watched = Callable[[WatchOptions], tuple[str, int]]
pytestmark = pytest.mark.captures


@pytest.mark.slow
def test_without_a_terminal_a_line_is_written_every_ten_seconds(watched_usdm: Watched) -> None:
    text, rings = watched_usdm(WatchOptions(venue="binance-usdm"))
    lines = text.splitlines()
    assert 9 <= len(lines) <= 10
    assert rings == 0
    assert all("\x1b" not in line for line in lines)
    assert "2/2 live" in lines[-1]
    assert "BTCUSDT" in lines[-1]


@pytest.mark.slow
def test_json_is_a_row_of_each_market_a_second_and_alerts_between(watched_usdm: Watched) -> None:
    rules = tuple(parse_rule(text) for text in RULES)
    text, rings = watched_usdm(
        WatchOptions(
            venue="binance-usdm", is_json=True, rules=rules, has_sound=True, sort="symbol", seconds=60
        )
    )
    found = [json.loads(line) for line in text.splitlines()]
    scans = [one for one in found if one["record"] == "scan"]
    alerts = [one for one in found if one["record"] == "alert"]
    assert 59 <= len(scans) <= 61
    assert {one["v"] for one in found} == {1}
    assert [row["symbol"] for row in scans[-1]["rows"]] == ["BTCUSDT", "ETHUSDT"]
    assert scans[-1]["rows"][0]["funding_bps"] is None
    assert scans[0]["at_ns"] < scans[-1]["at_ns"]
    # Every alert is justified by a row of the same second, and none was told twice.
    assert len(alerts) == rings > 0
    for alert in alerts:
        assert alert["value"] > 400_000 if alert["column"] == "whale_5m" else alert["value"] < -100
        assert alert["column"] != "age_s"
    told = [(one["symbol"], one["rule"], one["at_ns"] // 60_000_000_000) for one in alerts]
    assert len(told) == len(set(told))


@pytest.mark.slow
def test_once_waits_until_all_are_live_and_prints_one_table(watched_usdm: Watched) -> None:
    text, _ = watched_usdm(WatchOptions(venue="binance-usdm", is_once=True))
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("symbol")
    assert all(line.split()[1] == "live" for line in lines[1:])
    text, _ = watched_usdm(WatchOptions(venue="binance-usdm", is_once=True, is_json=True))
    assert [row["state"] for row in json.loads(text)["rows"]] == ["live", "live"]


def test_rule_for_a_market_that_is_not_watched_is_refused(watched_usdm: Watched) -> None:
    with pytest.raises(InputError, match="SOLUSDT is not watched"):
        watched_usdm(WatchOptions(venue="binance-usdm", rules=(parse_rule("SOLUSDT whale > 1"),)))


def test_reader_that_has_enough_ends_the_watch(captures: Path) -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    played = PlayedMarkets([recorded([captures / CAPTURED["spot_btc"][0]], "spot", 5)])
    watch = Watch(WatchOptions(venue="v", is_json=True), clock=played.clock, sleep=played.sleep, out=Closed())
    asyncio.run(watch.run(played))
    assert not played.is_over


def test_markets_that_break_are_told_and_end_the_watch(captures: Path) -> None:
    class Breaking(PlayedMarkets):
        async def run(self) -> None:
            raise RuntimeError("the feed broke")

    played: Live = Breaking([recorded([captures / CAPTURED["spot_btc"][0]], "spot", 5)])
    assert isinstance(played, PlayedMarkets)
    watch = Watch(WatchOptions(venue="v"), clock=played.clock, sleep=played.sleep, out=io.StringIO())
    with pytest.raises(RuntimeError, match="the feed broke"):
        asyncio.run(watch.run(played))


def test_pairs_are_written_with_both_rows_and_whales_reach_the_side_they_are_of(captures: Path) -> None:
    out = io.StringIO()
    watch: Watch | None = None
    whales: list[list[float]] = [[], []]
    sides: list[PlayedMarkets] = []
    for number, name in enumerate(("usdm_btc", "spot_btc")):
        path, market = CAPTURED[name]

        def on_record(record: Record, number: int = number) -> None:
            assert watch is not None
            watch.on_record(record, number)
            if not isinstance(record, FlowRecord) or record.kind != "whale_close" or record.notional is None:
                return
            signed = record.notional if record.side == "buy" else -record.notional
            whales[number].append(signed)
            if number == 0:  # spot has none in that minute: it gets some of its own
                watch.on_record(msgspec.structs.replace(record, notional=2 * record.notional), 1)
                whales[1].append(2 * signed)

        sides.append(PlayedMarkets([recorded([captures / path], market, 60)], watch=on_record))
    perp, spot = sides
    end_ns = perp.clock.now_ns() + 50 * 1_000_000_000

    async def sleep(seconds: float) -> None:
        await perp.sleep(seconds)
        spot.play_until(max(perp.clock.now_ns(), spot.clock.now_ns()))
        if perp.clock.now_ns() >= end_ns and watch is not None:
            watch.stop()

    watch = Watch(
        WatchOptions(venue="v", is_json=True), clock=perp.clock, sleep=sleep, out=out, monotonic_s=lambda: 0.0
    )
    asyncio.run(watch.run(perp, spot))
    found = json.loads(out.getvalue().splitlines()[-1])
    rows = found["rows"]
    assert [(row["symbol"], row["market"]) for row in rows] == [("BTCUSDT", "usdm"), ("BTCUSDT", "spot")]
    (pair,) = found["pairs"]
    assert pair["basis_bps"] == pytest.approx((rows[0]["mid"] / rows[1]["mid"] - 1) * 1e4)
    assert (pair["perp_delta_1m"], pair["spot_delta_1m"]) == (rows[0]["delta_1m"], rows[1]["delta_1m"])
    assert whales[0]
    assert [row["whale_5m"] for row in rows] == [pytest.approx(sum(some)) for some in whales]


# on a terminal

# The terminal is made that of the session, so that Ctrl-C reaches the process.
TAKES_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from tests.engine.watching_process import main
main(sys.argv[1], sys.argv[2:])
"""


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (80, 24)) -> None:
        self.parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(child)
        self.child = child
        self.text = ""
        # A size in the environment, as a parallel test run leaves it, would rule over the terminal's own.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment["TERM"] = "xterm-256color"
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKES_TERMINAL, *arguments],
            stdin=child,
            stdout=child,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )

    def until(self, pattern: str) -> None:
        """Read what is drawn until it matches; the bound only ends a test that fails."""
        end_s = time.monotonic() + WAIT_S
        while not re.search(pattern, self.text):
            left_s = end_s - time.monotonic()
            assert left_s > 0, (pattern, self.text[-2_000:])
            if select.select([self.parent], [], [], left_s)[0]:
                self.text += os.read(self.parent, 65_536).decode(errors="replace")

    def type(self, keys: bytes) -> None:
        os.write(self.parent, keys)

    def ended(self) -> tuple[int, str]:
        """Return exit code and stderr, everything drawn being read."""
        end_s = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < end_s, self.text[-2_000:]
            if select.select([self.parent], [], [], 0.05)[0]:
                self.text += os.read(self.parent, 65_536).decode(errors="replace")
        while select.select([self.parent], [], [], 0.05)[0]:
            self.text += os.read(self.parent, 65_536).decode(errors="replace")
        assert self.process.stderr is not None
        with self.process.stderr as errors:
            return self.process.returncode, errors.read().decode()

    def is_given_back(self) -> bool:
        """Whether modes are as found, the cursor is shown and the first screen is back."""
        now = termios.tcgetattr(self.child)
        return (
            now == self.before
            and self.text.rfind("\x1b[?25h") > self.text.rfind("\x1b[?25l")
            and self.text.rfind("\x1b[?1049l") > self.text.rfind("\x1b[?1049h")
        )

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        os.close(self.parent)
        os.close(self.child)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, size: tuple[int, int] = (80, 24)) -> Terminal:
        opened.append(Terminal(*arguments, size=size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.slow
def test_keys_lead_from_table_to_ladder_and_back_and_q_ends(terminal: Callable[..., Terminal]) -> None:
    one = terminal("runs")
    one.until(r"BTCUSDT +.*live.*60,000\.00")
    one.type(b"s")
    one.until("delta_1m falling")
    one.type(b"S")
    one.until("delta_1m rising")
    one.type(b"\r")
    one.until("esc back")
    one.until(r"59,999\.99.*live")
    one.text = ""
    one.type(b"\x1b")
    one.until("enter ladder")
    one.type(b"q")
    assert one.ended() == (0, "")
    assert one.is_given_back()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_given_back_when_a_signal_ends_it(
    terminal: Callable[..., Terminal], number: signal.Signals
) -> None:
    one = terminal("runs")
    one.until("live")
    assert termios.tcgetattr(one.child) != one.before
    one.process.send_signal(number)
    assert one.ended() == (0, "")
    assert one.is_given_back()


@pytest.mark.slow
def test_terminal_is_given_back_when_the_feed_breaks_and_the_fault_is_told(
    terminal: Callable[..., Terminal],
) -> None:
    one = terminal("breaks")
    code, errors = one.ended()
    assert code == 1
    assert "RuntimeError: the feed broke" in errors
    assert one.is_given_back()


@pytest.mark.slow
def test_ctrl_c_ends_it_while_it_still_opens(terminal: Callable[..., Terminal]) -> None:
    one = terminal("never opens")
    one.until(re.escape("\x1b[?1049h"))
    one.type(b"\x03")
    assert one.ended() == (0, "")
    assert one.is_given_back()


@pytest.mark.slow
def test_terminal_that_is_too_small_says_so_and_still_ends(terminal: Callable[..., Terminal]) -> None:
    one = terminal("runs", size=(40, 8))
    one.until("60 x 10 are needed")
    one.type(b"q")
    assert one.ended()[0] == 0
