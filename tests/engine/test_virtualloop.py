"""The virtual loop, beside asyncio's own loop where the two must agree."""

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StateError
from engine.sim.virtualloop import NS, LoopClock, VirtualLoop, run, run_on

START_NS = 1_767_614_400 * NS + 1


def current() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def test_sleep_of_a_day_takes_a_day_to_the_nanosecond_and_no_time() -> None:
    async def main() -> int:
        await asyncio.sleep(86_400)
        await asyncio.sleep(0.000_000_001)
        return current().clock.now_ns()

    assert run(main(), START_NS) == START_NS + 86_400 * NS + 1


@pytest.mark.parametrize("days", [0, 1, 10])
def test_deadlines_by_seconds_keep_their_nanosecond(days: int) -> None:
    loop = VirtualLoop(START_NS)
    seen: list[int] = []

    async def main() -> None:
        await asyncio.sleep(days * 86_400)
        for delay_ns in delays:
            base = loop.now_ns
            done = asyncio.Event()
            loop.call_at(loop.time() + delay_ns / NS, done.set)
            await done.wait()
            seen.append(loop.now_ns - base)
            base = loop.now_ns
            await asyncio.sleep(delay_ns / NS)
            seen.append(loop.now_ns - base)

    dice = random.Random(days)
    delays = [1, 3, 7, 60 * NS + 1] + [dice.randrange(1, 10 ** dice.randint(1, 11)) for _ in range(500)]
    run_on(loop, main())
    assert seen == [delay_ns for delay_ns in delays for _ in range(2)]


def test_timers_of_one_instant_run_in_the_order_they_were_set() -> None:
    loop = VirtualLoop()
    seen: list[int] = []
    numbers = list(range(200))
    random.Random(5).shuffle(numbers)

    async def main() -> None:
        for number in numbers:
            loop.call_at_ns(5, seen.append, number)
        await asyncio.sleep(1)

    run_on(loop, main())
    assert seen == numbers


def test_past_moment_runs_at_once_and_time_never_steps_back() -> None:
    loop = VirtualLoop(1000)

    async def main() -> int:
        done = asyncio.Event()
        loop.call_at_ns(3, done.set)
        await done.wait()
        return loop.now_ns

    assert run_on(loop, main()) == 1000


def test_cancelled_timer_does_not_run_and_does_not_move_time() -> None:
    loop = VirtualLoop()

    async def main() -> int:
        handle = loop.call_later(5, pytest.fail, "a cancelled timer ran")
        late = loop.call_later(100, pytest.fail, "a cancelled timer ran")
        late.cancel()
        loop.call_later(1, handle.cancel)
        await asyncio.sleep(7)
        return loop.now_ns

    assert run_on(loop, main()) == 7 * NS


def test_cancelled_timer_alone_does_not_move_time() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        loop.call_later(5, pytest.fail).cancel()
        await asyncio.Event().wait()

    with pytest.raises(StateError, match="neither at 0 ns"):
        run_on(loop, main())


def test_deadline_set_again_and_again_does_not_fill_the_heap() -> None:
    loop = VirtualLoop()

    async def main() -> int:
        most = 0
        for _ in range(20_000):
            loop.call_later(60, pytest.fail).cancel()
            most = max(most, len(loop._timers))
        await asyncio.sleep(100)
        return most

    assert run_on(loop, main()) < 200


def test_waiting_for_what_nobody_does_is_told_with_the_names() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait(), name="watchdog")

    with pytest.raises(
        StateError, match=r"found neither at 17 ns: 2 tasks wait for ever \(task-1, watchdog\)"
    ):
        run(main(), 17)


def test_circle_without_time_is_told() -> None:
    loop = VirtualLoop(max_steps=1000)

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(StateError, match="Expected time to pass within 1000 callbacks"):
        run_on(loop, main())


def test_many_steps_over_time_are_no_circle() -> None:
    loop = VirtualLoop(max_steps=50)

    async def main() -> int:
        for _ in range(1000):
            await asyncio.sleep(1e-9)
        return loop.n_steps

    assert run_on(loop, main()) > 1000


def test_timeout_gives_up_after_exactly_its_time() -> None:
    async def main() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(9), 1.25)
        return current().now_ns

    assert run(main()) == 3_750_000_000


def test_failed_task_ends_its_group_and_cancels_the_others() -> None:
    ends: list[str] = []

    async def wait_long() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError("broke")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_long())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup, match="unhandled"):
        run(main())
    assert ends == ["cancelled"]


def test_tasks_left_over_are_cancelled_and_end_properly() -> None:
    ends: list[int] = []
    kept: list[asyncio.Task[None]] = []

    async def left() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(2)
            ends.append(current().now_ns)

    async def main() -> None:
        kept.append(asyncio.create_task(left()))
        await asyncio.sleep(1)

    run(main())
    assert ends == [3 * NS]
    assert kept[0].cancelled()


def test_generator_left_open_is_closed() -> None:
    ends: list[str] = []

    async def count() -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(1)
            ends.append("closed")

    kept: list[AsyncGenerator[int, None]] = []

    async def main() -> int:
        kept.append(count())
        return await anext(kept[0])

    assert run(main()) == 0
    assert ends == ["closed"]


def test_what_a_callback_raises_is_not_lost() -> None:
    def broken() -> None:
        raise KeyError("lost")

    async def main() -> None:
        current().call_later(1, broken)
        await asyncio.sleep(2)

    with pytest.raises(StateError, match="found 1") as caught:
        run(main())
    assert isinstance(caught.value.__cause__, KeyError)


def test_handler_takes_what_a_callback_raises() -> None:
    loop = VirtualLoop()
    heard: list[object] = []
    loop.set_exception_handler(lambda _loop, context: heard.append(context["exception"]))

    async def main() -> None:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    run_on(loop, main())
    assert [type(one) for one in heard] == [ZeroDivisionError]
    assert loop.failures == []


def test_no_sockets_no_threads_no_second_loop() -> None:
    async def main() -> None:
        loop = current()
        with pytest.raises(NotImplementedError):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(NotImplementedError):
            await asyncio.to_thread(int)
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="runs alone"):
            VirtualLoop().run_until_complete(inner)
        inner.close()
        assert loop.is_running()

    run(main())


def test_closed_loop_takes_nothing_more() -> None:
    loop = VirtualLoop()
    run_on(loop, asyncio.sleep(1))
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


def test_stopped_before_the_end_is_told() -> None:
    loop = VirtualLoop()
    loop.call_later(1, loop.stop)
    with pytest.raises(StateError, match="stopped before"):
        run_on(loop, asyncio.sleep(5))
    assert loop.is_closed()


Journal = list[tuple[int, str]]


async def workshop(seed: int, unit_s: float, note: Callable[[str], None]) -> None:
    """Let workers pass items through a queue, an event, a lock and timeouts, by dice."""
    dice = random.Random(seed)
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=3)
    lock = asyncio.Lock()
    ready = asyncio.Event()

    async def produce(name: str, waits: list[float]) -> None:
        await ready.wait()
        for number, wait in enumerate(waits):
            await asyncio.sleep(wait * unit_s)
            await queue.put(number)
            note(f"{name} put {number}")

    async def consume(name: str, patience: int) -> None:
        try:
            while True:
                async with asyncio.timeout(patience * unit_s):
                    number = await queue.get()
                async with lock:
                    note(f"{name} got {number}")
                    await asyncio.sleep(2 * unit_s)
        except TimeoutError:
            note(f"{name} gave up")

    async with asyncio.TaskGroup() as group:
        for worker in range(3):
            # Drawn from so many that no two are due in one instant: asyncio leaves the order of those open.
            waits = [dice.uniform(20, 60) for _ in range(4)]
            group.create_task(produce(f"p{worker}", waits))
        for worker in range(2):
            group.create_task(consume(f"c{worker}", 150 + 37 * worker))
        asyncio.get_running_loop().call_later(3 * unit_s, ready.set)


def watched(main: Callable[[Callable[[str], None]], Awaitable[None]]) -> Journal:
    async def body() -> Journal:
        journal: Journal = []
        loop = current()
        await main(lambda text: journal.append((loop.now_ns, text)))
        return journal

    return run(body())


@given(st.integers(0, 2**32))
def test_same_seed_runs_in_the_same_order_at_the_same_nanoseconds(seed: int) -> None:
    first = watched(lambda note: workshop(seed, 0.37, note))
    assert first == watched(lambda note: workshop(seed, 0.37, note))
    assert sum(" put " in text for _, text in first) == 12


class PatientSelector(selectors.DefaultSelector):
    """Waits in no time: what the loop would have slept is added to a number."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "asyncio's own loop would wait for ever"
        self.now_s += timeout
        return super().select(0)


class AsynciosOwnLoop(asyncio.SelectorEventLoop):
    """Asyncio's own scheduler on a time in floating seconds: the twin."""

    def __init__(self) -> None:
        self.patience = PatientSelector()
        super().__init__(self.patience)

    def time(self) -> float:
        return self.patience.now_s


@given(st.integers(0, 2**32), st.sampled_from([1.0, 0.25, 2.0]))
def test_order_is_that_of_asyncios_own_loop(seed: int, unit_s: float) -> None:
    theirs: list[tuple[float, str]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await workshop(seed, unit_s, lambda text: theirs.append((loop.time(), text)))

    with asyncio.Runner(loop_factory=AsynciosOwnLoop) as runner:
        runner.run(main())
    ours = watched(lambda note: workshop(seed, unit_s, note))
    assert [text for _, text in ours] == [text for _, text in theirs]
    assert [at_ns / NS for at_ns, _ in ours] == [pytest.approx(at_s, abs=1e-6) for at_s, _ in theirs]


def test_clock_ahead_and_drifting_shows_what_it_says() -> None:
    loop = VirtualLoop(START_NS)
    clock = LoopClock(loop, ahead_ns=1_200_000_000, drift_ppm=50)

    async def main() -> None:
        assert clock.ahead_ns == 1_200_000_000
        await asyncio.sleep(3600)
        assert clock.ahead_ns == 1_200_000_000 + 3600 * 50_000
        clock.drift(-100)
        await asyncio.sleep(10)
        assert clock.ahead_ns == 1_200_000_000 + 3600 * 50_000 - 10 * 100_000
        assert loop.clock.now_ns() == START_NS + 3610 * NS

    run_on(loop, main())


def test_clock_put_back_stands_still_until_it_is_right() -> None:
    loop = VirtualLoop(0)
    clock = LoopClock(loop)

    async def main() -> list[int]:
        await asyncio.sleep(10)
        shown = [clock.now_ns()]
        clock.shift(-2 * NS)
        for _ in range(4):
            await asyncio.sleep(0.75)
            shown.append(clock.now_ns())
        return shown

    assert run_on(loop, main()) == [10 * NS, 10 * NS, 10 * NS, 10_250_000_000, 11 * NS]
