"""The job of `remora watch`: markets in, a table, lines or JSON out, until it is told to end."""

import asyncio
import contextlib
import io
import os
import select
import signal
import sys
import termios
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TextIO

import msgspec
import uvloop
from rich.console import Console

from engine.alerts import Alert, Alerts, Rule
from engine.clock import Clock, LiveClock
from engine.interrupts import Interrupts
from engine.ladder import Ladder
from engine.records import Record
from engine.runview import Keyboard
from engine.scan import Row, Scan, Watched, encode_scan, sorted_rows
from engine.watchkeys import WatchKeys
from engine.watchview import (
    ALERT_ROWS,
    COLUMNS,
    WatchScreen,
    alert_text,
    ladder_lines,
    ladder_room,
    line_of,
    plain_table,
    table_lines,
    too_small,
)

SAMPLE_S: Final = 0.1
PICTURE_NS: Final = 250_000_000
JSON_NS: Final = 1_000_000_000
LINE_NS: Final = 10_000_000_000
ONCE_NS: Final = 30_000_000_000
NS_PER_S: Final = 1_000_000_000

Sleep = Callable[[float], Awaitable[None]]
Ring = Callable[[], None]


class Live(Protocol):
    """Markets that are fed while `run` runs; `engine.live.LiveMarkets` is one."""

    @property
    def lanes(self) -> Sequence[Watched]: ...
    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the user asked for.

    Attributes
    ----------
    venue : as it is shown.
    sort : column of the table.
    rules : alerts.
    has_sound : ring the bell of the terminal with each alert.
    is_once : show one table when all markets are live, at the latest after 30 s or `seconds`, and end.
    is_json : JSON lines instead of a picture.
    seconds : end after so long; None: when told.
    """

    venue: str
    sort: str = "whale_5m"
    rules: tuple[Rule, ...] = ()
    has_sound: bool = False
    is_once: bool = False
    is_json: bool = False
    seconds: float | None = None


class Watch:
    """Follow markets, draw them, and tell alerts.

    Parameters
    ----------
    options : what is wanted.
    clock : the corridor's time.
    sleep : lets time pass.
    out : takes lines and JSON.
    screen : is drawn on; None: lines or JSON are written.
    keyboard : of that terminal.
    ring : sounds where there is no screen.
    monotonic_s : tells keys apart.

    Notes
    -----
    One thread with the feed: a picture of 50 markets costs some milliseconds, which the sockets wait.
    """

    def __init__(
        self,
        options: WatchOptions,
        *,
        clock: Clock,
        sleep: Sleep,
        out: TextIO,
        screen: WatchScreen | None = None,
        keyboard: Keyboard | None = None,
        ring: Ring | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = WatchKeys(options.sort, [column.name for column in COLUMNS])
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._out = out
        self._screen = screen
        self._keyboard = keyboard
        self._ring = screen.ring if screen is not None else ring
        self._monotonic_s = monotonic_s
        self._scan: Scan | None = None
        self._ladder: Ladder | None = None
        self._lanes: Sequence[Watched] = ()
        self._alerts: Alerts | None = None
        self._told: deque[Alert] = deque(maxlen=ALERT_ROWS)
        self._next_out_ns = 0
        self._is_over = False

    def on_record(self, record: Record) -> None:
        """Take a record of the markets; the sink of `engine.live.LiveMarkets`."""
        if self._scan is not None:
            self._scan.watch(record)
        if self._ladder is not None:
            self._ladder.watch(record)

    def stop(self) -> None:
        """End at the next sample."""
        self._is_over = True

    async def run(self, live: Live) -> None:
        """Watch until the time is over, the user ends it, or the markets break.

        Raises
        ------
        InputError
            A rule names a symbol that is not watched.
        """
        self._lanes = live.lanes
        self._alerts = Alerts(self._options.rules, [lane.instrument.symbol for lane in live.lanes])
        self._scan = Scan(live.lanes)
        feeding = asyncio.create_task(live.run())
        try:
            await self._follow(feeding)
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding

    async def _follow(self, feeding: asyncio.Task[None]) -> None:
        options = self._options
        began_ns = self._clock.now_ns()
        seconds_ns = None if options.seconds is None else round(options.seconds * NS_PER_S)
        while not (feeding.done() or self._is_over or self.keys.is_over):
            now_ns = self._clock.now_ns()
            is_late = seconds_ns is not None and now_ns - began_ns >= seconds_ns
            rows = self.step(now_ns)
            if options.is_once:
                is_late = is_late or now_ns - began_ns >= ONCE_NS
                if is_late or all(row.state == "live" for row in rows):
                    self._print_once(rows, now_ns)
                    return
            elif is_late:
                return
            await self._sleep(SAMPLE_S)

    def step(self, now_ns: int) -> Sequence[Row]:
        """Take over what happened, obey the keys, tell alerts, and draw if it is time; return the rows."""
        scan = self._scan
        if scan is None:
            return ()
        scan.sample(now_ns)
        self._read_keys()
        self._follow_ladder(now_ns)
        rows = scan.rows(now_ns)
        self._tell_alerts(rows, now_ns)
        if not self._options.is_once and now_ns >= self._next_out_ns:
            self._show(rows, now_ns)
        return rows

    def _read_keys(self) -> None:
        keyboard, now_s = self._keyboard, self._monotonic_s()
        self.keys.settle(now_s)
        if keyboard is None or not select.select([keyboard.fd], [], [], 0)[0]:
            return
        typed = keyboard.read()
        if not typed:
            self._keyboard = None
            return
        self.keys.take(typed, now_s)
        self._next_out_ns = 0  # what was typed is seen at once

    def _follow_ladder(self, now_ns: int) -> None:
        keys = self.keys
        if not keys.is_ladder:
            self._ladder = None
            return
        if self._ladder is None or self._ladder.symbol != keys.symbol:
            lane = next(lane for lane in self._lanes if lane.instrument.symbol == keys.symbol)
            self._ladder = Ladder(lane)
        self._ladder.zoom = keys.zoom
        self._ladder.sample(now_ns)

    def _tell_alerts(self, rows: Sequence[Row], now_ns: int) -> None:
        found = [] if self._alerts is None else self._alerts.check(rows, now_ns)
        for alert in found:
            self._told.append(alert)
            if self._options.is_json:
                self._write(msgspec.json.encode(alert).decode())
            elif self._screen is None:
                self._write(alert_text(alert))
        if found:
            self._next_out_ns = self._next_out_ns if self._screen is None else 0
            if self._options.has_sound and self._ring is not None:
                self._ring()

    def _show(self, rows: Sequence[Row], now_ns: int) -> None:
        if self._screen is not None:
            self._next_out_ns = now_ns + PICTURE_NS
            self._draw(self._screen, rows, now_ns)
            return
        arranged = self.keys.arrange(rows)
        if self._options.is_json:
            self._next_out_ns = now_ns + JSON_NS
            self._write(encode_scan(arranged, now_ns).decode())
        else:
            self._next_out_ns = now_ns + LINE_NS
            self._write(line_of(arranged, now_ns))

    def _draw(self, screen: WatchScreen, rows: Sequence[Row], now_ns: int) -> None:
        width, height = screen.size
        arranged = self.keys.arrange(rows)
        lines = too_small(width, height)
        if not lines and self._ladder is not None:
            row = next((row for row in rows if row.symbol == self._ladder.symbol), None)
            state = self._ladder.picture(now_ns, ladder_room(height))
            lines = ladder_lines(state, row, tuple(self._told), width=width, height=height, bar=screen.bar)
        elif not lines:
            lines = table_lines(
                arranged,
                self.keys,
                tuple(self._told),
                venue=self._options.venue,
                now_ns=now_ns,
                width=width,
                height=height,
            )
        screen.draw(lines)

    def _print_once(self, rows: Sequence[Row], now_ns: int) -> None:
        arranged = sorted_rows(rows, self.keys.sort, is_rising=self.keys.is_rising)
        if self._options.is_json:
            self._write(encode_scan(arranged, now_ns).decode())
            return
        for line in plain_table(arranged):
            self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except BrokenPipeError:  # whoever read has enough
            self._is_over = True


OpenLive = Callable[[Watch], AbstractAsyncContextManager[Live]]


def run_watch(options: WatchOptions, open_live: OpenLive) -> None:
    """Watch on the terminal of this process, or on its output where there is none.

    Parameters
    ----------
    options : what is wanted.
    open_live : opens the markets, whose records go to `Watch.on_record`; they share this process and loop.

    Notes
    -----
    Ctrl-C, SIGTERM, SIGHUP and q end it; the terminal is given back on every way out but SIGKILL.
    """
    has_screen = not (options.is_json or options.is_once) and _has_terminal()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    interrupts = Interrupts()
    try:
        with _terminal(is_wanted=has_screen) as (screen, keyboard):
            watch = Watch(
                options,
                clock=LiveClock(),
                sleep=asyncio.sleep,
                out=sys.stdout,
                screen=screen,
                keyboard=keyboard,
                ring=_ring_stderr,
            )
            uvloop.run(_watched(watch, open_live, interrupts))
    finally:
        interrupts.restore()


async def _watched(watch: Watch, open_live: OpenLive, interrupts: Interrupts) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def end() -> None:
        watch.stop()
        if task is not None:
            # Opening may wait for a venue that is down: then nothing else would hear of it.
            loop.call_soon_threadsafe(task.cancel)

    interrupts.connect(end)
    try:
        async with open_live(watch) as live:
            await watch.run(live)
    except asyncio.CancelledError:
        if task is not None:
            task.uncancel()
    finally:
        interrupts.connect(None)


@contextlib.contextmanager
def _terminal(*, is_wanted: bool) -> Iterator[tuple[WatchScreen | None, Keyboard | None]]:
    """Draw on the terminal and read its keys; give it back as it was."""
    if not is_wanted:
        yield None, None
        return
    keyboard: Keyboard | None = None
    screen: WatchScreen | None = None
    # Stopped in the middle of a picture, the shell would be left with a terminal that does not echo.
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        with contextlib.suppress(termios.error, OSError):
            keyboard = Keyboard(sys.stdin.fileno())
        screen = WatchScreen(Console(highlight=False))
        yield screen, keyboard
    finally:
        # The modes first: drawing may block for as long as the terminal is stopped.
        if keyboard is not None:
            keyboard.restore()
        if screen is not None:
            screen.close()
        signal.signal(signal.SIGTSTP, before)


def _has_terminal() -> bool:
    """Whether there is a terminal to draw on, and it is ours and not that of another job."""
    try:
        fd = sys.stdout.fileno()
        is_ours = os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except (OSError, ValueError):
        return False
    return is_ours and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _ring_stderr() -> None:
    sys.stderr.write("\a")
    sys.stderr.flush()
