"""The terminal of a running engine, in a process of its own: pictures come in, keys go out as commands.

The engine never draws. It writes one `ViewState` as a JSON line per picture on the pipe behind stdin, and
none while the pipe is full; a view that is slow, stopped or dead costs it nothing.
"""

import argparse
import atexit
import contextlib
import io
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.commands import Command, Verb
from engine.commandsocket import send_command
from engine.errors import RemoraError
from engine.panels import picture, plain
from engine.runreport import progress_line
from engine.runstate import ViewState

PICTURE_S: Final = 1 / 8
IDLE_S: Final = 1.0
SILENT_S: Final = 2.5  # without a picture for this long the engine is said to be silent
LINE_S: Final = 10.0
CONFIRM_S: Final = 3.0
OUTCOME_S: Final = 15.0
ANSWER_S: Final = 2.0
ESCAPE_S: Final = 0.1
PASTE_BYTES: Final = 8  # more than this at once was not typed
LINE_LIMIT: Final = 4 << 20
READ_BYTES: Final = 1 << 16
HELP: Final = "keys: F flatten   P pause, resume   K K kill (halt and flatten)   Ctrl-C end"
NO_KEYS: Final = "no keys: no terminal to read them from; 'remora flatten' and its like do the same"
ENDED: Final = "ended"

Send = Callable[[Command], str]
MonotonicSeconds = Callable[[], float]


class Answer(msgspec.Struct, frozen=True):
    """What the engine answers to a command, as far as it is shown."""

    error: str = ""
    state: str = ""
    paused: bool = False
    position: str = ""
    orders: int = 0


class Pictures:
    """The newest whole picture of those that came in; all before it are dropped unread.

    Attributes
    ----------
    unreadable : newest lines that were no picture.
    """

    def __init__(self) -> None:
        self.unreadable = 0
        self._decoder = msgspec.json.Decoder(ViewState)
        self._line: bytes | None = None
        self._rest = b""
        self._is_skipping = False

    def take(self, data: bytes) -> None:
        """Take bytes of the pipe as they come, lines cut anywhere."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and self._is_skipping:
            self._is_skipping = False
            del lines[0]
        if lines:
            self._line = lines[-1]
        if len(self._rest) > LINE_LIMIT:
            self._rest, self._is_skipping = b"", True

    def newest(self) -> ViewState | None:
        """Return the newest picture not returned yet, None if there is none."""
        line, self._line = self._line, None
        if not line:
            return None
        try:
            return self._decoder.decode(line)
        except msgspec.DecodeError:
            self.unreadable += 1
            return None


class Keys:
    """What keys do: F at once, K after a second K, P at once unless it would lift a halt.

    Parameters
    ----------
    send : delivers a command and says how it ended; it may take seconds and never raises.

    Notes
    -----
    Arrow, function and Alt keys arrive as sequences that end in a letter (End is `ESC [ F`): they are read to
    their end and mean nothing here.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sequence = ""  # "", "escape", "csi" (up to a final byte), "ss3" (one more byte)
        self._typed_s = 0.0
        self._asked = ""
        self._asked_until_s = 0.0
        self._message = ""
        self._message_until_s = 0.0

    def take(self, typed: bytes, now_s: float, state: ViewState | None) -> None:
        """Do what was typed.

        Parameters
        ----------
        now_s : monotonic time.
        state : the newest picture, from before these keys.
        """
        if len(typed) > PASTE_BYTES:
            self._asked = self._sequence = ""
            self._say(f"{len(typed)} characters at once are no keys: ignored", now_s, OUTCOME_S)
            return
        if now_s - self._typed_s > ESCAPE_S:
            self._sequence = ""  # what looked like the begin of a sequence was the Escape key alone
        self._typed_s = now_s
        for byte in typed:
            if self._is_letter(byte):
                self._press(chr(byte).upper(), now_s, state)

    def message(self, now_s: float) -> str:
        """Return the outcome of the last key, or what it asks for; empty once that is old."""
        return self._message if now_s < self._message_until_s else ""

    def _is_letter(self, byte: int) -> bool:
        """Return whether the byte is a key of its own, not part of a sequence."""
        before, self._sequence = self._sequence, ""
        if byte == 0x1B:
            self._sequence = "escape"
        elif before == "escape" and byte in b"[O":
            self._sequence = "csi" if byte == ord("[") else "ss3"
        elif before == "csi":
            self._sequence = "" if 0x40 <= byte <= 0x7E else "csi"
        elif not before:
            return True
        return False

    def _press(self, key: str, now_s: float, state: ViewState | None) -> None:
        is_second = self._asked == key and now_s < self._asked_until_s
        self._asked = ""
        if key == "F":
            self._do("flatten", (Verb.FLATTEN,), now_s)
        elif key == "K":
            if is_second:
                self._do("kill", (Verb.HALT, Verb.FLATTEN), now_s)
            else:
                self._ask(key, "press K again within 3 s to halt and flatten", now_s)
        elif key == "P":
            if state is None:
                self._say("no picture of the engine yet: nothing to pause or resume", now_s, OUTCOME_S)
            elif state.wanted != "active" and not is_second:
                # Someone halted it for a reason, and `resume` would lift that too.
                self._ask(
                    key, f"the engine is {plain(state.wanted)}: press P again within 3 s to resume", now_s
                )
            else:
                resumes = state.is_paused or state.wanted != "active"
                verb = Verb.RESUME if resumes else Verb.PAUSE
                self._do(verb.value, (verb,), now_s)

    def _do(self, name: str, verbs: Sequence[Verb], now_s: float) -> None:
        # Each is sent even if one before it failed: closing matters more when halting did not arrive.
        outcomes = dict.fromkeys(self._send(Command(verb=verb)) for verb in verbs)
        self._say(f"{name}: {'; '.join(outcomes)}", now_s, OUTCOME_S + ANSWER_S * len(verbs))

    def _ask(self, key: str, sentence: str, now_s: float) -> None:
        self._asked, self._asked_until_s = key, now_s + CONFIRM_S
        self._say(sentence, now_s, CONFIRM_S)

    def _say(self, message: str, now_s: float, for_s: float) -> None:
        self._message, self._message_until_s = message, now_s + for_s


class Screen:
    """Where pictures go: drawn in place on a terminal, else a short line now and then."""

    def __init__(self, console: Console, now_s: MonotonicSeconds) -> None:
        self._console = console
        self._now_s = now_s
        self._next_line_s = 0.0
        self._said = ""
        self._size = console.size
        self._bar = "█" if console.encoding.lower().startswith("utf") else "#"
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=False,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()

    def draw(self, state: ViewState | None, lines: Sequence[str], *, is_last: bool = False) -> None:
        """Show a picture with lines under it; the first line is what was just done or asked."""
        if self._live is None:
            self._print(state, lines[0] if lines else "", is_last=is_last)
            return
        if self._console.size != self._size:
            # What was drawn is wrapped anew by the terminal: nothing of it can be drawn over.
            self._size = self._console.size
            self._console.clear()
        footer = [Text(plain(line), "bold yellow" if i == 0 else "dim") for i, line in enumerate(lines)]
        if state is None:
            self._live.update(
                Text("\n").join([Text("Remora: waiting for the engine"), *footer]), refresh=True
            )
            return
        width, height = self._size
        shown = picture(state, footer, width=width, height=height, bar=self._bar)
        self._live.update(shown, refresh=True)

    def close(self) -> None:
        """Leave the last picture where it is, with the cursor under it."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, state: ViewState | None, said: str, *, is_last: bool) -> None:
        if said and said != self._said:
            self._console.print(Text(plain(said)), soft_wrap=True)
        self._said = said
        if state is not None and (is_last or self._now_s() >= self._next_line_s):
            self._next_line_s = self._now_s() + LINE_S
            self._console.print(Text(plain(progress_line(state))), soft_wrap=True)


class Keyboard:
    """A terminal that hands over each key at once, unechoed, until it is restored."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._before = termios.tcgetattr(fd)
        self._is_restored = False
        atexit.register(self.restore)
        tty.setcbreak(fd, termios.TCSANOW)

    def read(self) -> bytes:
        """Return what was typed; empty when the terminal is gone or belongs to another job."""
        try:
            return os.read(self.fd, READ_BYTES)
        except OSError:
            return b""

    def restore(self) -> None:
        """Give the terminal back as it was found; keys not read yet do not reach what runs next."""
        if self._is_restored:
            return
        self._is_restored = True
        atexit.unregister(self.restore)
        with contextlib.suppress(termios.error, OSError):
            termios.tcflush(self.fd, termios.TCIFLUSH)
            # Not after the output has drained: a terminal stopped by Ctrl-S would hold us here.
            termios.tcsetattr(self.fd, termios.TCSANOW, self._before)


def watch(
    pipe: int, keyboard: Keyboard | None, keys: Keys, screen: Screen, now_s: MonotonicSeconds = time.monotonic
) -> None:
    """Draw pictures from the pipe and obey keys until the pipe ends; then draw the last picture once more."""
    pictures = Pictures()
    state: ViewState | None = None
    came_s, next_draw_s = now_s(), 0.0
    shown: tuple[str, ...] = ()
    is_new = True
    while True:
        fds = [pipe] if keyboard is None else [pipe, keyboard.fd]
        until_draw_s = max(next_draw_s - now_s(), 0.0)
        ready, _, _ = select.select(fds, [], [], until_draw_s if is_new else IDLE_S)
        # Keys first: what they mean was decided by the picture that was seen.
        if keyboard is not None and keyboard.fd in ready:
            typed = keyboard.read()
            keys.take(typed, now_s(), state)
            if not typed:
                keyboard = None
            is_new = True
        is_over = False
        if pipe in ready:
            data = os.read(pipe, READ_BYTES)
            is_over = not data
            pictures.take(data)
            is_new = True
        now = now_s()
        if not is_over and now < next_draw_s:
            continue
        if (newest := pictures.newest()) is not None:
            state, came_s = newest, now
        silent_s = 0.0 if is_over else now - came_s
        lines = _lines(keys.message(now), silent_s, pictures.unreadable, state, keyboard)
        if is_over:
            screen.draw(state, (lines[0], ENDED), is_last=True)
            return
        if is_new or lines != shown:
            screen.draw(state, lines)
            next_draw_s, shown, is_new = now + PICTURE_S, lines, False


def _lines(
    message: str, silent_s: float, unreadable: int, state: ViewState | None, keyboard: Keyboard | None
) -> tuple[str, ...]:
    notes = [message] if message else []
    if state is not None and silent_s > SILENT_S:
        notes.append(f"no picture for {silent_s:.0f} s: the engine is silent")
    if unreadable:
        notes.append(f"{unreadable} pictures were unreadable")
    if state is not None and state.note:
        notes.append(state.note)
    return ("   ".join(notes), NO_KEYS if keyboard is None else HELP)


def answer_text(answer: bytes) -> str:
    """Return the engine's answer to a command as a human reads it."""
    try:
        found = msgspec.json.decode(answer, type=Answer)
    except msgspec.DecodeError:
        return f"unreadable answer {answer[:60].decode(errors='replace')}"
    if found.error:
        return f"refused: {found.error}"
    paused = ", paused" if found.paused else ""
    return f"done, now {found.state}{paused}, position {found.position}, working orders {found.orders}"


def _sender(path: str) -> Send:
    def send(command: Command) -> str:
        try:
            return answer_text(send_command(path, command, ANSWER_S))
        except (RemoraError, OSError) as problem:
            return f"{command.verb} NOT CONFIRMED: {problem}"

    return send


@contextlib.contextmanager
def _keyboard(path: str = "/dev/tty") -> Iterator[Keyboard | None]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        # In the background the terminal is another job's, whose modes are not ours to change.
        keyboard = Keyboard(fd) if os.tcgetpgrp(fd) == os.getpgrp() else None
        try:
            yield keyboard
        finally:
            if keyboard is not None:
                keyboard.restore()
    finally:
        os.close(fd)


def _leave(number: int, _frame: FrameType | None) -> None:
    # Once: a second one must not interrupt the giving back of the terminal.
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the view until stdin ends.

    Parameters
    ----------
    arguments : command line without the program's name; that of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m engine.runview", description="Draw a running engine.")
    parser.add_argument("--socket", required=True, metavar="PATH", help="command socket of the engine")
    path: str = parser.parse_args(arguments).socket
    # Ctrl-C goes to the whole foreground group and is the engine's to handle: the pipe ends when it has.
    # Once in the background, reading the terminal fails instead of stopping this process.
    # Ctrl-Z would stop this process alone, the engine does not hear it.
    for number in (signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    screen: Screen | None = None
    with _keyboard() as keyboard:
        try:
            screen = Screen(Console(highlight=False), time.monotonic)
            watch(sys.stdin.fileno(), keyboard, Keys(_sender(path)), screen)
        finally:
            # The modes first: drawing may block for as long as the terminal is stopped.
            if keyboard is not None:
                keyboard.restore()
            if screen is not None:
                screen.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
