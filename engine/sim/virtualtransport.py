"""Both seams to the outside on a simulated venue in virtual time: no sockets, but latency and order.

What the engine sends arrives at the venue later, what the venue sends arrives here later, nothing overtakes
on one connection, and what arrives in one instant is one read.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from engine.clock import Clock
from engine.sim.answers import Answer, Out, OutClose, OutCut, OutPing, OutText
from engine.sim.virtualloop import NS, VirtualLoop
from engine.venues.transport import Frames, HttpAnswer, TransportError

NEVER_NS: Final = 1 << 62
MAX_UNDER_WAY: Final = 100_000
HANDSHAKE_TRIPS: Final = 2  # TCP and TLS, each there and back, before the request itself
ADDRESS: Final = "203.0.113.7"  # from the range for documents


class OpenSession(Protocol):
    """One stream connection as the venue holds it."""

    @property
    def next_ns(self) -> int: ...

    def advance(self, now_ns: int) -> None: ...

    def on_text(self, text: bytes, now_ns: int) -> None: ...

    def on_pong(self, payload: bytes, now_ns: int) -> None: ...

    def on_close(self, now_ns: int) -> None: ...


class Venue(Protocol):
    """A venue as functions of time; `engine.sim.house.House` is one."""

    @property
    def next_ns(self) -> int: ...

    def advance(self, now_ns: int) -> None: ...

    def get(
        self, path: str, query: str, headers: Mapping[str, str], *, address: str, now_ns: int
    ) -> Answer: ...

    def open(
        self, path: str, query: str, *, address: str, now_ns: int, deliver: Callable[[int, Out], None]
    ) -> OpenSession | Answer: ...


class VenueOnLoop:
    """Keeps a venue at the time of a loop.

    Parameters
    ----------
    loop : whose time is the venue's.
    venue : advanced whenever something of it is due, and before everything that reaches it.
    """

    def __init__(self, loop: VirtualLoop, venue: Venue) -> None:
        self.loop = loop
        self.venue = venue
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = NEVER_NS
        self._rearm()

    def catch_up(self) -> int:
        """Bring the venue to now and return that; whoever asks it then calls `settle`."""
        now_ns = self.loop.now_ns
        self.venue.advance(now_ns)
        return now_ns

    def settle(self) -> None:
        """Look again when the venue has something to do next."""
        self._rearm()

    def _on_due(self) -> None:
        self._due_ns = NEVER_NS
        self.catch_up()
        self._rearm()

    def _rearm(self) -> None:
        due_ns = max(self.venue.next_ns, self.loop.now_ns)
        if due_ns == self._due_ns or due_ns >= NEVER_NS:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_ns = due_ns
        self._timer = self.loop.call_at_ns(due_ns, self._on_due)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long things are under way.

    A trip takes `shortest_ns` and an exponential time of mean `jitter_ns` on top; one in `rare` takes
    `rare_ns` more, as a lost packet that is sent again.
    """

    shortest_ns: int = 1_500_000
    jitter_ns: int = 400_000
    rare: int = 2_000
    rare_ns: int = 40_000_000
    bytes_per_s: int = 25_000_000


class Trips:
    """Draws how long each trip of one direction takes."""

    def __init__(self, latency: Latency, seed: str) -> None:
        self._latency = latency
        self._dice = random.Random(seed)
        self._rate = 1.0 / latency.jitter_ns if latency.jitter_ns else 0.0

    def take(self, n_bytes: int = 0) -> int:
        """Return the nanoseconds of the next trip."""
        latency, dice = self._latency, self._dice
        trip_ns = latency.shortest_ns + n_bytes * NS // latency.bytes_per_s
        if self._rate:
            trip_ns += int(dice.expovariate(self._rate))
        if latency.rare and dice.randrange(latency.rare) == 0:
            trip_ns += latency.rare_ns
        return trip_ns


class HouseLink:
    """One stream connection; made by `HouseFrames.open`."""

    def __init__(self, owner: "HouseFrames", connection: int, frames: Frames) -> None:
        self._owner = owner
        self._connection = connection
        self._frames = frames
        self._under_way: deque[tuple[int, Out]] = deque()
        self._arrival_ns = 0
        self._sent_ns = 0
        self._session: OpenSession | None = None
        self._closed: asyncio.Future[object] = owner.world.loop.create_future()

    @property
    def connection(self) -> int:
        return self._connection

    def send(self, text: bytes) -> bool:
        if self._closed.done():
            return False
        self._up(lambda session, now_ns: session.on_text(text, now_ns))
        return True

    def close(self) -> None:
        if not self._closed.done():
            self._end("closed here")
            self._up(lambda session, now_ns: session.on_close(now_ns))

    async def wait_closed(self) -> str:
        return str(await asyncio.shield(self._closed))

    def attach(self, session: OpenSession) -> None:
        """Take the venue's end of this connection."""
        self._session = session

    def hold_until(self, arrival_ns: int) -> None:
        """Let nothing arrive before this: the answer to the handshake is under way."""
        self._arrival_ns = max(self._arrival_ns, arrival_ns)

    def on_out(self, at_ns: int, out: Out) -> None:
        """Take what the venue sends at `at_ns`."""
        if self._closed.done():
            return
        if len(self._under_way) >= MAX_UNDER_WAY:
            self._end("reset by the venue: read too slowly")
            return
        n_bytes = len(out.payload) if isinstance(out, OutText) else 0
        self._arrival_ns = max(self._arrival_ns, at_ns + self._owner.down.take(n_bytes))
        self._under_way.append((self._arrival_ns, out))
        if len(self._under_way) == 1:
            self._owner.world.loop.call_at_ns(self._arrival_ns, self._read)

    def _read(self) -> None:
        loop = self._owner.world.loop
        now_ns = loop.now_ns
        if now_ns < self._owner.stalled_until_ns:
            loop.call_at_ns(self._owner.stalled_until_ns, self._read)
            return
        n_texts = 0
        while self._under_way and self._under_way[0][0] <= now_ns and not self._closed.done():
            out = self._under_way.popleft()[1]
            if isinstance(out, OutText):
                n_texts += 1
                self._frames.feed(self._connection, out.payload)
            elif isinstance(out, OutPing):
                self._answer_ping(out.payload)
            elif isinstance(out, OutClose):
                self._end(f"closed by the venue: {out.code} {out.reason}".rstrip())
            elif isinstance(out, OutCut):
                self._end("reset by the venue")
        if n_texts:
            self._frames.end_read()
        if self._under_way and not self._closed.done():
            loop.call_at_ns(self._under_way[0][0], self._read)

    def _answer_ping(self, payload: bytes) -> None:
        self._up(lambda session, now_ns: session.on_pong(payload, now_ns))

    def _up(self, tell: Callable[[OpenSession, int], None]) -> None:
        owner = self._owner
        self._sent_ns = max(self._sent_ns, owner.world.loop.now_ns + owner.up.take())
        owner.world.loop.call_at_ns(self._sent_ns, self._arrive, tell)

    def _arrive(self, tell: Callable[[OpenSession, int], None]) -> None:
        if self._session is not None:
            now_ns = self._owner.world.catch_up()
            tell(self._session, now_ns)
            self._owner.world.settle()

    def _end(self, why: str) -> None:
        self._under_way.clear()
        self._closed.set_result(why)


class HouseFrames:
    """Opens stream connections to a venue on a loop; a `FrameTransport`.

    Parameters
    ----------
    world : the venue.
    latency : of both directions; each has draws of its own.
    seed : of the latency.

    Attributes
    ----------
    stalled_until_ns : nothing is read before this; see `stall`.
    n_opened : handshakes that were begun.
    """

    def __init__(self, world: VenueOnLoop, latency: Latency | None = None, *, seed: int = 0) -> None:
        latency = Latency() if latency is None else latency
        self.world = world
        self.up = Trips(latency, f"stream up {seed}")
        self.down = Trips(latency, f"stream down {seed}")
        self.stalled_until_ns = 0
        self.n_opened = 0

    def stall(self, for_ns: int) -> None:
        """Read nothing for a time, as an engine that does not come to it; then all of it is one read."""
        self.stalled_until_ns = max(self.stalled_until_ns, self.world.loop.now_ns + for_ns)

    async def open(self, url: str, connection: int, frames: Frames, *, timeout_s: float) -> HouseLink:
        """Connect and shake hands; see `engine.venues.transport.FrameTransport`."""
        self.n_opened += 1
        parts = urlsplit(url)
        link = HouseLink(self, connection, frames)
        try:
            async with asyncio.timeout(timeout_s):
                await self._shake_hands(parts.path, parts.query, link)
        except TimeoutError:
            link.close()
            raise TransportError(
                f"Expected {url} to shake hands within {timeout_s} s, found no answer."
            ) from None
        except BaseException:
            link.close()
            raise
        return link

    async def _shake_hands(self, path: str, query: str, link: HouseLink) -> None:
        world, up, down = self.world, self.up, self.down
        wait_ns = up.take() + sum(up.take() + down.take() for _ in range(HANDSHAKE_TRIPS))
        await asyncio.sleep(wait_ns / NS)
        back_ns = down.take()
        now_ns = world.catch_up()
        link.hold_until(now_ns + back_ns)
        answer = world.venue.open(path, query, address=ADDRESS, now_ns=now_ns, deliver=link.on_out)
        if not isinstance(answer, Answer):
            link.attach(answer)
        world.settle()
        if isinstance(answer, Answer):
            await asyncio.sleep((back_ns + answer.delay_ns) / NS)
            if not answer.status:
                raise TransportError(f"{path}: the connection was reset in the handshake.")
            raise TransportError(
                f"{path}: expected the handshake to be answered with 101, found {answer.status}.",
                status=answer.status,
                retry_after_s=_retry_after_s(answer),
            )
        await asyncio.sleep(back_ns / NS)


class HouseHttp:
    """Asks a venue on a loop; an `HttpTransport`. An answer of status 0 is a connection that was reset.

    Parameters
    ----------
    world : the venue.
    clock : what the engine's own clock shows; it stamps the answers.
    latency, seed : as of `HouseFrames`.
    """

    def __init__(
        self, world: VenueOnLoop, clock: Clock, latency: Latency | None = None, *, seed: int = 0
    ) -> None:
        latency = Latency() if latency is None else latency
        self._world = world
        self._clock = clock
        self._up = Trips(latency, f"requests up {seed}")
        self._down = Trips(latency, f"requests down {seed}")
        self.n_requests = 0

    async def get(
        self, path: str, query: str = "", *, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> HttpAnswer:
        """Ask for a path; see `engine.venues.transport.HttpTransport`."""
        self.n_requests += 1
        sent_ns = self._clock.now_ns()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(self._up.take() / NS)
                now_ns = self._world.catch_up()
                answer = self._world.venue.get(path, query, headers or {}, address=ADDRESS, now_ns=now_ns)
                self._world.settle()
                await asyncio.sleep((answer.delay_ns + self._down.take(len(answer.body))) / NS)
        except TimeoutError:
            raise TransportError(f"{path}: expected an answer within {timeout_s} s, found none.") from None
        if not answer.status:
            raise TransportError(f"{path}: the connection was reset before the answer.")
        return HttpAnswer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=answer.body,
            sent_ns=sent_ns,
            received_ns=self._clock.now_ns(),
        )

    async def close(self) -> None:
        """Do nothing: there is no socket."""


def _retry_after_s(answer: Answer) -> int:
    for name, value in answer.headers.items():
        if name.lower() == "retry-after" and value.isdigit():
            return int(value)
    return 0
