"""An asyncio event loop in which time is virtual: when nothing is ready, it jumps to the next timer.

It has no sockets and no threads, so a program on it depends on its inputs alone: the same program with the
same seeds runs its callbacks in the same order at the same nanoseconds, however fast the machine is.
"""

import asyncio
import contextvars
import heapq
import sys
import weakref
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, TypeVarTuple

from engine.errors import StateError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

if TYPE_CHECKING:
    # To the type checker the abstract loop is one that cannot be made without its sockets.
    Loop = asyncio.BaseEventLoop
else:
    Loop = asyncio.AbstractEventLoop

NS: Final = 1_000_000_000
MAX_STEPS: Final = 1_000_000
_LEAST_TO_SWEEP: Final = 64

Context = dict[str, object]
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, Context], object]


class TaskFactory(Protocol):
    """Makes the tasks of a loop."""

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Coroutine[object, object, T] | Generator[object, None, T],
        /,
    ) -> asyncio.Future[T]:
        """Return a task that runs the coroutine on the loop."""
        ...


class LoopClock:
    """The time of a loop, as the clock of one machine shows it: exact, or ahead and drifting.

    Parameters
    ----------
    loop
        Whose time it is.
    ahead_ns
        How far this clock is ahead of the loop's time at the start; negative when behind.
    drift_ppm
        How many microseconds it gains in each second of the loop's time.

    Notes
    -----
    Like every `engine.clock.Clock` it never steps back: put back, it stands still until it is right again.
    """

    __slots__ = ("_ahead_ns", "_drift_ppm", "_last_ns", "_loop", "_since_ns")

    def __init__(self, loop: "VirtualLoop", ahead_ns: int = 0, drift_ppm: int = 0) -> None:
        self._loop = loop
        self._ahead_ns = ahead_ns
        self._drift_ppm = drift_ppm
        self._since_ns = loop.now_ns
        self._last_ns = -(2**63)

    def now_ns(self) -> int:
        now_ns = self._loop.now_ns
        shown_ns = now_ns + self._ahead_ns + (now_ns - self._since_ns) * self._drift_ppm // 1_000_000
        self._last_ns = max(self._last_ns, shown_ns)
        return self._last_ns

    @property
    def ahead_ns(self) -> int:
        """How far it is ahead of the loop's time now."""
        return self.now_ns() - self._loop.now_ns

    def shift(self, by_ns: int) -> None:
        """Put the clock forward, or hold it back, from this moment on."""
        self._ahead_ns += by_ns

    def drift(self, ppm: int) -> None:
        """Let it gain another amount per second from this moment on."""
        now_ns = self._loop.now_ns
        self._ahead_ns += (now_ns - self._since_ns) * self._drift_ppm // 1_000_000
        self._since_ns = now_ns
        self._drift_ppm = ppm


class VirtualLoop(Loop):
    """An event loop whose time passes only between callbacks, in jumps to the next timer.

    Parameters
    ----------
    start_ns
        Time at the start, in nanoseconds since the Unix epoch.
    max_steps
        So many callbacks may run without time passing; more are taken for a circle.

    Attributes
    ----------
    n_steps : callbacks run so far.
    failures : what callbacks raised and nobody took, while no exception handler is set.

    Notes
    -----
    Time is an integer count of nanoseconds. `time` gives seconds since the start as asyncio wants them, exact
    to the nanosecond for the first ten days. Timers of one instant run in the order they were set in.
    Sockets, threads, signals and processes raise NotImplementedError.
    """

    def __init__(self, start_ns: int = 0, *, max_steps: int = MAX_STEPS) -> None:
        self._start_ns = start_ns
        self._now_ns = start_ns
        self._max_steps = max_steps
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._n_timers = 0
        self._n_cancelled = 0
        self._n_tasks = 0
        self._steps_at_instant = 0
        self._is_running = False
        self._is_stopping = False
        self._is_closed = False
        self._exception_handler: ExceptionHandler | None = None
        self._task_factory: TaskFactory | None = None
        self._generators: weakref.WeakSet[AsyncGenerator[object, object]] = weakref.WeakSet()
        self.n_steps = 0
        self.failures: list[Context] = []
        self.clock = LoopClock(self)

    # Time.

    @property
    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, now."""
        return self._now_ns

    @property
    def start_ns(self) -> int:
        """When this loop began."""
        return self._start_ns

    def time(self) -> float:
        """Return seconds since the start."""
        return (self._now_ns - self._start_ns) / NS

    # What is to run.

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Run a callback in this instant, after all that is ready already."""
        self._check_open()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Do as `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback so many seconds from now, to the nanosecond."""
        return self.call_at_ns(self._now_ns + round(delay * NS), callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a `time` of this loop."""
        return self.call_at_ns(self._start_ns + round(when * NS), callback, *args, context=context)

    def call_at_ns(
        self,
        when_ns: int,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a nanosecond since the Unix epoch; at once if that is past."""
        self._check_open()
        handle = asyncio.TimerHandle((when_ns - self._start_ns) / NS, callback, args, self, context)
        self._n_timers += 1
        heapq.heappush(self._timers, (when_ns, self._n_timers, handle))
        return handle

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        # Called by TimerHandle.cancel before it is marked. Cancelled timers must not hold memory until they
        # are due: a deadline that is set again with every message would fill the heap.
        self._n_cancelled += 1
        if self._n_cancelled > _LEAST_TO_SWEEP and 2 * self._n_cancelled > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            # The one that is being cancelled right now is not marked yet and stays for another round.
            self._n_cancelled = 1

    def create_future(self) -> asyncio.Future[object]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[object, object, T] | Generator[object, None, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Run a coroutine; without a name it is called after its place among all tasks of this loop."""
        self._check_open()
        self._n_tasks += 1
        if self._task_factory is not None:
            made = self._task_factory(self, coro)
            if not isinstance(made, asyncio.Task):
                raise StateError(f"Expected a task of the task factory, found {type(made).__name__}.")
            return made
        title = f"task-{self._n_tasks}" if name is None else str(name)
        return asyncio.Task(coro, loop=self, name=title, context=context)  # type: ignore[arg-type]

    def set_task_factory(self, factory: TaskFactory | None) -> None:
        """Have another function make the tasks; None goes back to this loop's own way."""
        self._task_factory = factory

    def get_task_factory(self) -> TaskFactory | None:
        """Return what was set."""
        return self._task_factory

    # Running.

    def run_forever(self) -> None:
        """Run until `stop`.

        Raises
        ------
        StateError
            Nothing is ready, no timer is set and nothing can come: whoever waits, waits for ever. Or time
            does not pass: `max_steps` callbacks have run within one nanosecond.
        """
        self._check_idle()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._on_generator, finalizer=self._on_generator_lost)
        self._is_running = True
        events._set_running_loop(self)
        try:
            while True:
                self._step()
                if self._is_stopping:
                    return
        finally:
            self._is_stopping = False
            self._is_running = False
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _step(self) -> None:
        timers = self._timers
        while timers:
            if timers[0][2].cancelled():
                heapq.heappop(timers)
                self._n_cancelled -= 1
            elif timers[0][0] <= self._now_ns:
                self._ready.append(heapq.heappop(timers)[2])
            elif self._ready or self._is_stopping:
                break
            else:
                self._now_ns = timers[0][0]
                self._steps_at_instant = 0
        if not self._ready and not self._is_stopping:
            raise StateError(self._deadlock(), now_ns=self._now_ns)
        for _ in range(len(self._ready)):
            if self._steps_at_instant >= self._max_steps:
                self._steps_at_instant = 0
                raise StateError(
                    f"Expected time to pass within {self._max_steps} callbacks, found none at "
                    f"{self._now_ns} ns; the next is {self._ready[0]!r}.",
                    now_ns=self._now_ns,
                )
            handle = self._ready.popleft()
            if not handle.cancelled():
                self.n_steps += 1
                self._steps_at_instant += 1
                handle._run()

    def _deadlock(self) -> str:
        waiting = sorted(task.get_name() for task in asyncio.all_tasks(self) if not task.done())
        return (
            f"Expected a ready callback or a timer, found neither at {self._now_ns} ns: "
            f"{len(waiting)} tasks wait for ever ({', '.join(waiting[:8])})."
        )

    def run_until_complete(self, future: Awaitable[T] | Generator[object, None, T]) -> T:
        """Run until a future or a coroutine is done, and return its result.

        Raises
        ------
        StateError
            As `run_forever`, or the loop was stopped before.
        """
        self._check_idle()
        task: asyncio.Future[T] = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]
        task.add_done_callback(self._on_complete)
        try:
            self.run_forever()
        except BaseException:
            if task.done() and not task.cancelled():
                # Both broke: what is raised here is the one to look at, the other is not to be complained of.
                task.exception()
            raise
        finally:
            task.remove_done_callback(self._on_complete)
        if not task.done():
            raise StateError("Expected the loop to run until its future is done, found it stopped before.")
        return task.result()

    def _on_complete(self, _task: "asyncio.Future[T]") -> None:
        self.stop()

    def stop(self) -> None:
        """Let `run_forever` return when what is ready now has run."""
        self._is_stopping = True

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed

    def close(self) -> None:
        """Forget all that is still to run; closing again is harmless."""
        if self._is_running:
            raise RuntimeError("Expected a loop that is stopped, found it running.")
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("Event loop is closed")  # asyncio's own words: tasks look for none other

    def _check_idle(self) -> None:
        self._check_open()
        if self._is_running or events._get_running_loop() is not None:
            raise RuntimeError("Expected no running event loop, found one: a virtual loop runs alone.")

    # Generators, failures, and what asyncio asks besides.

    def _on_generator(self, generator: AsyncGenerator[object, object]) -> None:
        self._generators.add(generator)

    def _on_generator_lost(self, generator: AsyncGenerator[object, object]) -> None:
        self._generators.discard(generator)
        if not self._is_closed:
            self.call_soon(self.create_task, generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that is still open."""
        # By name: the set itself has the order of addresses.
        left = sorted(self._generators, key=lambda generator: generator.ag_code.co_qualname)  # type: ignore[attr-defined]
        self._generators.clear()
        for generator in left:
            await generator.aclose()

    async def shutdown_default_executor(self) -> None:
        """Do nothing: there are no threads."""

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Have a function told of what callbacks raise and nobody takes."""
        self._exception_handler = handler

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Return what was set."""
        return self._exception_handler

    def default_exception_handler(self, context: Context) -> None:
        """Keep what happened in `failures`."""
        self.failures.append(context)

    def call_exception_handler(self, context: Context) -> None:
        """Tell the handler, or keep it in `failures`."""
        if self._exception_handler is None:
            self.default_exception_handler(context)
        else:
            self._exception_handler(self, context)

    def get_debug(self) -> bool:
        """Return False: asyncio's debug mode measures real time."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Refuse to be in debug mode."""
        if enabled:
            raise RuntimeError("A virtual loop has no debug mode: that measures real time.")


def run(main: Coroutine[object, object, T], start_ns: int = 0) -> T:
    """Run a coroutine on a new virtual loop, then cancel what it left and close the loop.

    Raises
    ------
    StateError
        As `VirtualLoop.run_forever`; or callbacks raised what nobody took.
    """
    loop = VirtualLoop(start_ns)
    return run_on(loop, main)


def run_on(loop: VirtualLoop, main: Coroutine[object, object, T]) -> T:
    """Do as `run`, on a loop that was made before, which is closed then."""
    try:
        result = loop.run_until_complete(main)
    finally:
        _wind_up(loop)
    if loop.failures:
        found = loop.failures[0]
        problem = found.get("exception")
        error = StateError(
            f"Expected no failed callback, found {len(loop.failures)}: {found.get('message')}."
        )
        raise error from (problem if isinstance(problem, BaseException) else None)
    return result


def _wind_up(loop: VirtualLoop) -> None:
    left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in left:
        task.cancel()
    try:
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
