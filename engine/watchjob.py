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
from typing import Final, TextIO

import msgspec
import uvloop
from rich.console import Console

from engine.alerts import Alert, Alerts, Rule
from engine.clock import Clock, LiveClock
from engine.interrupts import Interrupts
from engine.ladder import Ladder
from engine.pair import ALONE, Partners, encode_pairs, partners
from engine.records import Record
from engine.runview import Keyboard
from engine.scan import Row, encode_scan
from engine.watchkeys import WatchKeys
from engine.watchside import Live, Side
from engine.watchview import (
    ALERT_ROWS,
    COLUMNS,
    Notice,
    WatchScreen,
    alert_text,
    ladder_lines,
    ladder_room,
    line_of,
    opening_lines,
    plain_table,
    table_lines,
    time_text,
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
        self._sides: list[Side] = []
        self._ladder: Ladder | None = None
        self._ladder_side: Side | None = None
        self._alerts: Alerts | None = None
        self._told: deque[Alert] = deque(maxlen=ALERT_ROWS)
        self._next_out_ns = 0
        self._is_over = False

    def on_record(self, record: Record, side: int = 0) -> None:
        """Take a record of the markets; the sink of `engine.live.LiveMarkets`.

        Parameters
        ----------
        side : whose it is, as they are given to `run`.
        """
        if side >= len(self._sides):
            return
        self._sides[side].scan.watch(record)
        if self._ladder is not None and self._ladder_side is self._sides[side]:
            self._ladder.watch(record)

    def begin(self) -> None:
        """Say on the screen that the markets are being opened."""
        if self._screen is not None:
            self._screen.draw(opening_lines(self._options.venue))

    def stop(self) -> None:
        """End at the next sample."""
        self._is_over = True

    async def run(self, *lives: Live) -> None:
        """Watch until the time is over, the user ends it, or the markets break.

        Parameters
        ----------
        lives : one venue's markets, or those of USD-M and of spot.

        Raises
        ------
        InputError
            A rule names a symbol that is not watched.
        """
        symbols = {lane.instrument.symbol for live in lives for lane in live.lanes}
        self._alerts = Alerts(self._options.rules, sorted(symbols))
        self._sides = [Side(live) for live in lives]
        feeding = asyncio.create_task(_fed(lives))
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
                if is_late or all(_is_whole(row) for row in rows):
                    self._print_once(rows, now_ns)
                    return
            elif is_late:
                return
            await self._sleep(SAMPLE_S)

    def step(self, now_ns: int) -> Sequence[Row]:
        """Take over what happened, obey the keys, tell alerts, and draw if it is time; return the rows."""
        for side in self._sides:
            side.scan.sample(now_ns)
        self._read_keys()
        self._follow_ladder(now_ns)
        rows = [row for side in self._sides for row in side.rows(now_ns)]
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
            self._ladder = self._ladder_side = None
            return
        side = self._sides[-1 if keys.is_spot else 0]
        if self._ladder is None or self._ladder_side is not side or self._ladder.symbol != keys.symbol:
            lane = next(lane for lane in side.lanes if lane.instrument.symbol == keys.symbol)
            self._ladder, self._ladder_side = Ladder(lane), side
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
        arranged, beside = self._arranged(rows)
        if self._options.is_json:
            self._next_out_ns = now_ns + JSON_NS
            self._write_json(arranged, beside, now_ns)
        else:
            self._next_out_ns = now_ns + LINE_NS
            notice = self._notice()
            self._write(line_of(arranged, now_ns) + (f"; {notice.text}" if notice.is_bad else ""))

    def _arranged(self, rows: Sequence[Row]) -> tuple[list[Row], Partners]:
        """Return the rows in the order wanted; of pairs those of USD-M, and what stands beside each."""
        if len(self._sides) < 2:
            return self.keys.arrange(rows), ALONE
        n_perp = len(self._sides[0].lanes)
        return self.keys.arrange(rows[:n_perp]), partners(rows[n_perp:], rows[:n_perp])

    def _notice(self) -> Notice:
        """Return what is wrong with the connections, and what happened to them last."""
        found, newest_ns, is_paired = "", 0, len(self._sides) > 1
        troubles = []
        for side in self._sides:
            name = f"{side.market}: " if is_paired else ""
            if side.trouble:
                troubles.append(f"{name}{side.trouble}")
            event = side.last_event()
            if event is not None and event.at_ns > newest_ns:
                newest_ns = event.at_ns
                about = f"{event.symbol} {event.event}".strip()
                found = f"{time_text(event.at_ns)}  {name}{about}: {event.detail}"
        return Notice("; ".join([*troubles, *([found] if found else [])]), is_bad=bool(troubles))

    def _draw(self, screen: WatchScreen, rows: Sequence[Row], now_ns: int) -> None:
        width, height = screen.size
        ladder, side = self._ladder, self._ladder_side
        n_perp = len(self._sides[0].lanes)
        parts = (rows[:n_perp], rows[n_perp:])
        shown = [row for one, part in zip(self._sides, parts, strict=False) for row in one.held(part)]
        arranged, beside = self._arranged(shown)
        lines = too_small(width, height)
        if not lines and ladder is not None and side is not None:
            lane = (ladder.symbol, side.market)
            lines = ladder_lines(
                ladder.picture(now_ns, ladder_room(height)),
                next((row for row in shown if (row.symbol, row.market) == lane), None),
                tuple(self._told),
                width=width,
                height=height,
                bar=screen.bar,
                is_paired=len(self._sides) > 1,
                notice=self._notice(),
            )
        elif not lines:
            lines = table_lines(
                arranged,
                self.keys,
                tuple(self._told),
                venue=self._options.venue,
                now_ns=now_ns,
                width=width,
                height=height,
                beside=beside,
                notice=self._notice(),
            )
        screen.draw(lines)

    def _print_once(self, rows: Sequence[Row], now_ns: int) -> None:
        arranged, beside = self._arranged(rows)
        if self._options.is_json:
            self._write_json(arranged, beside, now_ns)
            return
        for line in plain_table(arranged, beside):
            self._write(line)

    def _write_json(self, rows: Sequence[Row], beside: Partners, now_ns: int) -> None:
        line = encode_pairs(rows, beside, now_ns) if beside.spot else encode_scan(rows, now_ns)
        self._write(line.decode())

    def _write(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except BrokenPipeError:  # whoever read has enough
            self._is_over = True


async def _fed(lives: Sequence[Live]) -> None:
    if len(lives) == 1:
        await lives[0].run()
        return
    async with asyncio.TaskGroup() as group:
        for live in lives:
            group.create_task(live.run())


def _is_whole(row: Row) -> bool:
    """Whether all is there that comes within seconds: book, 24 h ticker, mark price."""
    has_mark = row.market == "spot" or row.premium_bps is not None
    return row.state == "live" and row.change_pct is not None and has_mark


OpenLive = Callable[[Watch], AbstractAsyncContextManager[Sequence[Live]]]


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
        watch.begin()
        async with open_live(watch) as lives:
            await watch.run(*lives)
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
