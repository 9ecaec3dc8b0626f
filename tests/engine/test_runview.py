"""The terminal of a running engine: keys become commands, the newest picture is drawn, all is given back."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.commands import Command, Verb
from engine.commandsocket import CommandServer, Request
from engine.runstate import ViewState
from engine.runview import (
    CONFIRM_S,
    HELP,
    LINE_LIMIT,
    NO_KEYS,
    Keyboard,
    Keys,
    Pictures,
    Screen,
    answer_text,
    watch,
)
from tests.engine.viewstates import EMPTY, STATE, STRANGE

PAUSED = msgspec.structs.replace(STATE, is_paused=True)
HALTED = msgspec.structs.replace(STATE, wanted="halted")
EMPTY_FINITE = msgspec.structs.replace(EMPTY, spread_bps=0.0)  # JSON has no NaN


def line(state: ViewState) -> bytes:
    return msgspec.json.encode(state) + b"\n"


class Engine:
    """Takes commands, and answers as it is told to."""

    def __init__(self) -> None:
        self.verbs: list[str] = []
        self.outcome: Callable[[Command], str] = lambda command: f"did {command.verb}"

    def send(self, command: Command) -> str:
        self.verbs.append(command.verb.value)
        return self.outcome(command)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def keys(engine: Engine) -> Keys:
    return Keys(engine.send)


# keys


@pytest.mark.parametrize("typed", [b"f", b"F"])
def test_f_flattens_at_once_even_before_the_first_picture(keys: Keys, engine: Engine, typed: bytes) -> None:
    keys.take(typed, 10.0, None)
    assert engine.verbs == ["flatten"]
    assert keys.message(10.1) == "flatten: did flatten"
    assert keys.message(60.0) == ""


@pytest.mark.parametrize(("state", "verb"), [(STATE, "pause"), (PAUSED, "resume")])
def test_p_pauses_an_engine_that_enters_and_resumes_one_that_is_paused(
    keys: Keys, engine: Engine, state: ViewState, verb: str
) -> None:
    keys.take(b"p", 10.0, state)
    assert engine.verbs == [verb]


def test_p_without_a_picture_does_nothing_and_says_so(keys: Keys, engine: Engine) -> None:
    keys.take(b"p", 10.0, None)
    assert engine.verbs == []
    assert "no picture" in keys.message(10.0)


def test_p_lifts_a_halt_only_when_pressed_twice(keys: Keys, engine: Engine) -> None:
    keys.take(b"p", 10.0, HALTED)
    assert engine.verbs == []
    assert "halted: press P again" in keys.message(10.0)
    keys.take(b"p", 12.0, HALTED)
    assert engine.verbs == ["resume"]


def test_k_halts_and_flattens_only_when_pressed_twice(keys: Keys, engine: Engine) -> None:
    keys.take(b"k", 10.0, STATE)
    assert engine.verbs == []
    assert "press K again" in keys.message(10.0)
    keys.take(b"k", 10.0 + CONFIRM_S - 0.1, STATE)
    assert engine.verbs == ["halt", "flatten"]
    assert keys.message(13.0) == "kill: did halt; did flatten"
    keys.take(b"k", 13.0, STATE)
    assert engine.verbs == ["halt", "flatten"]


def test_two_k_in_one_read_kill(keys: Keys, engine: Engine) -> None:
    keys.take(b"kK", 10.0, None)
    assert engine.verbs == ["halt", "flatten"]


def test_second_k_that_comes_late_asks_again(keys: Keys, engine: Engine) -> None:
    keys.take(b"k", 10.0, STATE)
    assert keys.message(10.0 + CONFIRM_S) == ""
    keys.take(b"k", 10.0 + CONFIRM_S, STATE)
    assert engine.verbs == []
    assert "press K again" in keys.message(10.0 + CONFIRM_S)


def test_another_key_between_two_k_takes_the_first_back(keys: Keys, engine: Engine) -> None:
    keys.take(b"kxk", 10.0, STATE)
    assert engine.verbs == []
    keys.take(b"p", 10.1, HALTED)
    keys.take(b"k", 10.2, HALTED)
    assert engine.verbs == []


def test_kill_flattens_even_if_the_halt_was_not_delivered(keys: Keys, engine: Engine) -> None:
    engine.outcome = lambda command: f"{command.verb} NOT CONFIRMED: no engine"
    keys.take(b"kk", 10.0, STATE)
    assert engine.verbs == ["halt", "flatten"]
    assert keys.message(10.0) == "kill: halt NOT CONFIRMED: no engine; flatten NOT CONFIRMED: no engine"


@pytest.mark.parametrize(
    "sequence",
    [b"\x1b[F", b"\x1bOF", b"\x1bOP", b"\x1bf", b"\x1b[1;5F", b"\x1b[15~", b"\x1b[A", b"\x1b\x1bOF"],
)
def test_special_keys_that_end_in_a_letter_are_not_that_letter(
    keys: Keys, engine: Engine, sequence: bytes
) -> None:
    keys.take(sequence, 10.0, STATE)
    for i in range(len(sequence)):
        keys.take(sequence[i : i + 1], 20.0 + i / 100, STATE)
    assert engine.verbs == []
    keys.take(b"f", 30.0, STATE)
    assert engine.verbs == ["flatten"]


def test_escape_pressed_alone_does_not_swallow_the_next_key(keys: Keys, engine: Engine) -> None:
    keys.take(b"\x1b", 10.0, STATE)
    keys.take(b"f", 11.0, STATE)
    assert engine.verbs == ["flatten"]


def test_pasted_text_is_no_key(keys: Keys, engine: Engine) -> None:
    keys.take(b"flatten kk", 10.0, STATE)
    assert engine.verbs == []
    assert "10 characters at once" in keys.message(10.0)


@pytest.mark.slow
@given(st.lists(st.tuples(st.binary(max_size=8), st.floats(0.0, 5.0))))
def test_whatever_is_typed_nothing_halts_without_two_k(typed: list[tuple[bytes, float]]) -> None:
    engine = Engine()
    keys = Keys(engine.send)
    now_s = 0.0
    for some, after_s in typed:
        now_s += after_s
        keys.take(some, now_s, STATE)
    n_kills = sum(some.lower().count(b"k") for some, _ in typed) // 2
    assert engine.verbs.count("halt") <= n_kills
    assert engine.verbs.count("flatten") <= n_kills + sum(some.lower().count(b"f") for some, _ in typed)
    assert "resume" not in engine.verbs


# pictures


def test_only_the_newest_picture_is_read() -> None:
    pictures = Pictures()
    pictures.take(b"not a picture\n" + line(STATE) + line(PAUSED))
    assert pictures.newest() == PAUSED
    assert pictures.newest() is None
    assert pictures.unreadable == 0


@given(cuts=st.lists(st.integers(1, 400), max_size=20))
def test_pictures_cut_anywhere_are_put_together(cuts: list[int]) -> None:
    pictures, data = Pictures(), line(EMPTY_FINITE) + line(STATE)
    seen: list[ViewState] = []
    for cut in (*cuts, len(data)):
        pictures.take(data[:cut])
        data = data[cut:]
        if (found := pictures.newest()) is not None:
            seen.append(found)
    assert seen[-1] == STATE
    assert seen[:-1] in ([], [EMPTY_FINITE])


def test_line_that_is_no_picture_is_counted_and_the_next_one_is_read() -> None:
    pictures = Pictures()
    pictures.take(b'{"symbol": 1}\n')
    assert pictures.newest() is None
    assert pictures.unreadable == 1
    pictures.take(b"\n" + line(STATE))
    assert pictures.newest() == STATE
    assert pictures.unreadable == 1


def test_line_without_an_end_is_dropped_and_does_not_grow() -> None:
    pictures = Pictures()
    for _ in range(3):
        pictures.take(b"x" * (LINE_LIMIT + 1))
        assert pictures.newest() is None
    pictures.take(b"rest of it\n")
    assert pictures.newest() is None
    assert pictures.unreadable == 0
    pictures.take(line(STATE))
    assert pictures.newest() == STATE


def test_profile_without_volume_is_a_picture_too() -> None:
    nothing = msgspec.structs.replace(STATE.profiles[0], val=float("nan"), poc=float("nan"), vah=float("nan"))
    pictures = Pictures()
    pictures.take(line(msgspec.structs.replace(STATE, profiles=(nothing,))))
    found = pictures.newest()
    assert found is not None
    assert found.profiles[0].val is None


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(state=STRANGE)
def test_whatever_the_state_its_line_is_one_line_that_reads_or_is_counted(state: ViewState) -> None:
    pictures = Pictures()
    data = line(state)
    assert data.count(b"\n") == 1
    pictures.take(data)
    found = pictures.newest()
    assert (found is None) == (pictures.unreadable == 1)


# answers


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b'{"state":"halted","paused":true,"sides":"both","size":1.0,"position":"0.016","orders":2,"epoch":3}',
            "done, now halted, paused, position 0.016, working orders 2",
        ),
        (b'{"error":"no such symbol"}', "refused: no such symbol"),
        (b"\xff", "unreadable answer \ufffd"),
    ],
)
def test_answer_is_told_in_words(answer: bytes, text: str) -> None:
    assert answer_text(answer) == text


# the loop


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The far and the near end of a pseudo-terminal."""
    far, near = pty.openpty()
    yield far, near
    for fd in (far, near):
        os.close(fd)


def piped(data: bytes) -> int:
    """Return a pipe that holds the data and then ends."""
    out, into = os.pipe()
    os.write(into, data)
    os.close(into)
    return out


def screen(text: io.StringIO, *, is_terminal: bool = True) -> Screen:
    console = Console(file=text, force_terminal=is_terminal, width=120, height=40, _environ={"TERM": "xterm"})
    return Screen(console, lambda: 0.0)


def test_pipe_that_ends_leaves_the_last_picture(engine: Engine) -> None:
    text = io.StringIO()
    view = screen(text)
    pipe = piped(line(STATE) + line(HALTED))
    try:
        watch(pipe, None, Keys(engine.send), view)
    finally:
        os.close(pipe)
        view.close()
    assert "HALTED" in text.getvalue()
    assert "ended" in text.getvalue()
    assert text.getvalue().endswith("\x1b[?25h")


def test_keys_typed_become_commands_and_their_outcome_is_drawn(
    engine: Engine, terminal: tuple[int, int]
) -> None:
    far, near = terminal
    text = io.StringIO()
    view, keyboard, pipe = screen(text), Keyboard(near), piped(line(STATE))
    os.write(far, b"f")
    try:
        watch(pipe, keyboard, Keys(engine.send), view)
    finally:
        keyboard.restore()
        os.close(pipe)
        view.close()
    assert engine.verbs == ["flatten"]
    assert "flatten: did flatten" in text.getvalue()


def test_engine_that_sends_more_pictures_than_can_be_drawn_is_shown_the_newest(engine: Engine) -> None:
    text = io.StringIO()
    view = screen(text)
    pipe, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 1 << 20)
    for i in range(50):
        os.write(into, line(msgspec.structs.replace(STATE, symbol=f"COIN{i}")))
    os.close(into)
    try:
        watch(pipe, None, Keys(engine.send), view, lambda: 0.0)  # no time passes: one picture, then the last
    finally:
        os.close(pipe)
        view.close()
    symbols = dict.fromkeys(re.findall(r"COIN\d+", text.getvalue()))
    assert len(symbols) == 2
    assert list(symbols)[-1] == "COIN49"


def test_engine_that_sends_no_more_pictures_is_said_to_be_silent(
    engine: Engine, terminal: tuple[int, int]
) -> None:
    far, near = terminal
    text = io.StringIO()
    view, keyboard = screen(text), Keyboard(near)
    pipe, into = os.pipe()
    os.write(into, line(STATE))
    done: list[str] = []

    def once(name: str, act: Callable[[], object]) -> None:
        if name not in done:
            done.append(name)
            act()

    def now_s() -> float:
        if "is silent" in text.getvalue():
            once("end", lambda: os.close(into))
            return 200.0
        if "ACTIVE" in text.getvalue():
            once("key", lambda: os.write(far, b"x"))
            return 100.0
        return 0.0

    try:
        watch(pipe, keyboard, Keys(engine.send), view, now_s)
    finally:
        keyboard.restore()
        os.close(pipe)
        view.close()
    assert done == ["key", "end"]
    assert "no picture for 100 s: the engine is silent" in text.getvalue()
    assert "silent" not in text.getvalue().rpartition("BTCUSDT")[2]


def test_terminal_without_unicode_gets_letters_that_it_has() -> None:
    out = io.BytesIO()
    file = io.TextIOWrapper(out, encoding="ascii", errors="replace")
    environ = {"TERM": "xterm", "NO_COLOR": "1"}
    console = Console(file=file, force_terminal=True, width=120, height=40, _environ=environ)
    view = Screen(console, lambda: 0.0)
    view.draw(STATE, ("", HELP))
    view.close()
    file.flush()
    written = out.getvalue().decode("ascii")
    text = written.rpartition("Remora")[2].partition("\x1b[?25h")[0]
    assert "##########" in text
    assert "+-" in text
    assert text.count("?") == 3  # those of the profiles that are not ready
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", written)


def test_view_without_a_keyboard_says_so() -> None:
    text = io.StringIO()
    view = screen(text)
    view.draw(STATE, ("", NO_KEYS))
    view.close()
    assert "no keys" in text.getvalue()
    assert HELP not in text.getvalue()


def test_without_a_terminal_there_are_lines_without_control_characters(engine: Engine) -> None:
    text = io.StringIO()
    view = screen(text, is_terminal=False)
    pipe = piped(line(STATE) + line(msgspec.structs.replace(HALTED, note="halted by \x1b[2Jguard")))
    try:
        watch(pipe, None, Keys(engine.send), view)
    finally:
        os.close(pipe)
        view.close()
    assert "\x1b" not in text.getvalue()
    assert "halted by" in text.getvalue()
    assert "halted  position 0.016" in text.getvalue()


def test_dumb_terminal_gets_lines() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80, height=24, _environ={"TERM": "dumb"})
    view = Screen(console, lambda: 0.0)
    view.draw(STATE, ("", HELP), is_last=True)
    view.close()
    assert "\x1b" not in text.getvalue()
    assert "active  position 0.016" in text.getvalue()


def test_keyboard_gives_keys_at_once_and_the_terminal_back_as_it_was(terminal: tuple[int, int]) -> None:
    far, near = terminal
    before = termios.tcgetattr(near)
    keyboard = Keyboard(near)
    during = termios.tcgetattr(near)
    assert not during[3] & (termios.ICANON | termios.ECHO)
    assert during[3] & termios.ISIG  # Ctrl-C stays a signal
    os.write(far, b"f")
    assert keyboard.read() == b"f"
    os.write(far, b"unread")
    assert select.select([near], [], [], 5)[0]
    keyboard.restore()
    keyboard.restore()
    assert termios.tcgetattr(near) == before
    assert not select.select([near], [], [], 0)[0]


def test_keyboard_whose_terminal_is_gone_reads_nothing() -> None:
    far, near = pty.openpty()
    keyboard = Keyboard(near)
    os.close(far)
    assert keyboard.read() == b""
    keyboard.restore()
    os.close(near)


# the process

START = (
    "import os, runpy, sys; os.open(sys.argv[1], os.O_RDWR); "
    "sys.argv = ['runview', '--socket', sys.argv[2]]; "
    "runpy.run_module('engine.runview', run_name='__main__')"
)


class Process:
    """The view as a process of its own on a pseudo-terminal that is its controlling one."""

    def __init__(self, near: int, far: int, stdout: int, socket: Path) -> None:
        self.far = far
        self.seen = b""
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", START, os.ttyname(near), str(socket)],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environ,
            cwd=Path(__file__).resolve().parents[2],
        )

    def show(self, state: ViewState) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line(state))
        self.child.stdin.flush()

    def until(self, expected: bytes) -> None:
        while expected not in self.seen:
            assert select.select([self.far], [], [], 20)[0], self.seen[-2000:]
            self.seen += os.read(self.far, 65_536)


@pytest.fixture
def start(terminal: tuple[int, int], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    far, near = terminal
    started: list[Process] = []

    def begin(stdout: int = near) -> Process:
        started.append(Process(near, far, stdout, tmp_path / "socket"))
        return started[-1]

    yield begin
    for one in started:
        with one.child as child:  # closes its pipes and waits for its end
            child.kill()


@pytest.mark.slow
def test_process_draws_obeys_survives_ctrl_c_and_ends_with_the_pipe(
    start: Callable[..., Process], terminal: tuple[int, int], tmp_path: Path
) -> None:
    far, near = terminal
    before = termios.tcgetattr(near)
    view = start()
    view.show(STATE)
    view.until(b"ACTIVE")
    assert not termios.tcgetattr(near)[3] & termios.ECHO
    os.write(far, b"\x03")  # Ctrl-C reaches it as SIGINT
    os.write(far, b"f")
    view.until(b"NOT CONFIRMED")
    server = CommandServer(tmp_path / "socket")
    os.write(far, b"p")
    requests: list[Request] = []
    while not requests:
        assert select.select([server], [], [], 20)[0]
        requests = server.poll()
    assert [one.command for one in requests] == [Command(verb=Verb.PAUSE)]
    requests[0].answer(b'{"state":"active","paused":true,"position":"0.016","orders":2}')
    view.until(b"pause: done, now active, paused, position 0.016")
    server.close()
    view.show(HALTED)
    view.until(b"HALTED")
    assert view.child.stdin is not None
    view.child.stdin.close()
    view.until(b"ended")
    view.until(b"\x1b[?25h")
    assert view.child.wait(20) == 0
    assert termios.tcgetattr(near) == before


@pytest.mark.slow
def test_process_told_to_end_gives_the_terminal_back(
    start: Callable[..., Process], terminal: tuple[int, int]
) -> None:
    before = termios.tcgetattr(terminal[1])
    view = start()
    view.show(STATE)
    view.until(b"ACTIVE")
    view.child.send_signal(signal.SIGTERM)
    view.until(b"\x1b[?25h")
    assert view.child.wait(20) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal[1]) == before


@pytest.mark.slow
def test_process_that_fails_to_draw_gives_the_terminal_back(
    start: Callable[..., Process], terminal: tuple[int, int]
) -> None:
    before = termios.tcgetattr(terminal[1])
    with Path("/dev/full").open("wb") as full:
        view = start(full.fileno())
        view.show(STATE)
        assert view.child.wait(20) == 1
    assert termios.tcgetattr(terminal[1]) == before


def test_keys_send_whole_commands() -> None:
    sent: list[Command] = []
    everything = Keys(lambda command: (sent.append(command), "done")[1])
    everything.take(b"f", 1.0, STATE)
    everything.take(b"kk", 2.0, STATE)
    everything.take(b"p", 3.0, STATE)
    assert sent == [Command(verb=verb) for verb in (Verb.FLATTEN, Verb.HALT, Verb.FLATTEN, Verb.PAUSE)]
