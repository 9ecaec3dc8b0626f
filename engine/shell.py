"""What surrounds the engine in its process: event loop, signals, terminal and command socket."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from typing import Final

import msgspec
import uvloop

from engine.app import CATCH_UP_NS, NOT_FLAT, Engine, RunJob
from engine.commands import Verb
from engine.commandsocket import CommandServer
from engine.picture import run_report, view_state
from engine.rundir import RunDir
from engine.runreport import progress_line
from engine.runstate import RunReport

COMMANDS_S: Final = 0.01
PICTURE_S: Final = 0.2
LINE_S: Final = 10.0
MAX_WAIT_S: Final = 0.01
SLICE_NS: Final = 1_000_000_000  # of catching up between two looks at commands
VIEW_END_S: Final = 3.0

Say = Callable[[str], None]


def run(job: RunJob, say: Say, *, has_view: bool) -> RunReport:
    """Run an engine from its start to its end.

    Parameters
    ----------
    job : what was asked for.
    say : prints one line; for what happens when there is no view.
    has_view : draw on the terminal.

    Raises
    ------
    InputError
        The directories, the rings or the recording cannot be had, or the instance runs already.
    """
    settings = job.config.engine
    run_dir = RunDir.open(settings.instance, settings.run_dir, settings.state_dir)
    try:
        engine = Engine(job, run_dir)
        server = CommandServer(run_dir.socket_path)
        try:
            return uvloop.run(_Shell(engine, server, say, has_view=has_view).run())
        finally:
            server.close()
    finally:
        run_dir.release()


class _Shell:
    def __init__(self, engine: Engine, server: CommandServer, say: Say, *, has_view: bool) -> None:
        self._engine = engine
        self._server = server
        self._say = say
        self._has_view = has_view
        self._wake = asyncio.Event()
        self._n_interrupts = 0
        self._view: asyncio.subprocess.Process | None = None
        self._next_command_s = self._next_picture_s = self._next_line_s = 0.0

    async def run(self) -> RunReport:
        engine = self._engine
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            loop.add_signal_handler(signal.SIGHUP, self._on_signal, signal.SIGHUP)
        # A slip of the finger must not stop the clock of what is held.
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        n_before = n_after = 0
        try:
            if self._has_view:
                await self._start_view()
            await self._warm_up(loop)
            gc.collect()
            gc.freeze()
            gc.disable()
            n_before = _collections()
            if not engine.is_over:
                engine.clock.go_live()
                engine.begin_trading()
            await self._feed(loop)
        finally:
            n_after = _collections()
            gc.enable()
            gc.unfreeze()
            try:
                engine.finish()
            finally:
                await self._end_view()
        return run_report(engine, n_after - n_before)

    async def _warm_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Learn from history and catch up, with an ear for commands and signals."""
        engine = self._engine
        engine.begin()
        end_ns = engine.start_ns + CATCH_UP_NS
        for until_ns in range(engine.start_ns, end_ns, SLICE_NS):
            await asyncio.sleep(0)
            self._serve(loop.time())
            engine.run_virtually(min(until_ns + SLICE_NS, end_ns))

    async def _feed(self, loop: asyncio.AbstractEventLoop) -> None:
        engine = self._engine
        while not engine.is_over:
            self._serve(loop.time())
            engine.step()
            wait_s = min((engine.next_ns - engine.clock.now_ns()) / 1e9, MAX_WAIT_S)
            if wait_s <= 0.0:
                await asyncio.sleep(0)
                continue
            handle = loop.call_later(wait_s, self._wake.set)
            await self._wake.wait()
            handle.cancel()
            self._wake.clear()

    def _serve(self, now_s: float) -> None:
        if now_s >= self._next_command_s:
            self._next_command_s = now_s + COMMANDS_S
            for request in self._server.poll():
                if request.command.verb is Verb.STATUS:
                    request.answer(msgspec.json.encode(view_state(self._engine)))
                else:
                    self._engine.command(request.command, request.answer)
        if self._view is not None and now_s >= self._next_picture_s:
            self._next_picture_s = now_s + PICTURE_S
            self._draw(self._view)
        elif self._view is None and now_s >= self._next_line_s:
            self._next_line_s = now_s + LINE_S
            self._say(progress_line(view_state(self._engine)))

    def _on_signal(self, number: int) -> None:
        engine = self._engine
        self._wake.set()
        if number == signal.SIGINT:
            self._n_interrupts += 1
        if self._n_interrupts >= 2:
            engine.request_stop("protect", "a second Ctrl-C", NOT_FLAT)
            return
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        engine.request_stop(engine.job.on_stop, f"stopped by {name}")

    async def _start_view(self) -> None:
        path = str(self._engine.run_dir.socket_path)
        self._view = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.runview", "--socket", path, stdin=asyncio.subprocess.PIPE
        )

    def _draw(self, view: asyncio.subprocess.Process) -> None:
        pipe = view.stdin
        if pipe is None or pipe.is_closing() or view.returncode is not None:
            self._view = None
            return
        # A view that does not keep up misses pictures; nothing waits for it.
        if pipe.transport.get_write_buffer_size() == 0:
            pipe.write(msgspec.json.encode(view_state(self._engine)) + b"\n")

    async def _end_view(self) -> None:
        view = self._view
        if view is None or view.stdin is None:
            return
        try:
            async with asyncio.timeout(VIEW_END_S):
                view.stdin.write(msgspec.json.encode(view_state(self._engine)) + b"\n")
                view.stdin.close()
                await view.wait()
        except (TimeoutError, OSError):
            view.kill()


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())
