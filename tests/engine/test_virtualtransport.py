"""Both seams on a venue of a few lines: latency, order, reads, handshakes, ends."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

import pytest

from engine.sim.answers import Answer, Out, OutClose, OutCut, OutPing, OutText
from engine.sim.virtualloop import NS, LoopClock, VirtualLoop, run_on
from engine.sim.virtualtransport import ADDRESS, HouseFrames, HouseHttp, Latency, VenueOnLoop
from engine.venues.transport import TransportError

MS = 1_000_000
EXACT = Latency(shortest_ns=2 * MS, jitter_ns=0, rare=0, bytes_per_s=10**15)


@dataclass
class Teller:
    """The venue's end of one connection, which writes down what reaches it."""

    deliver: Callable[[int, Out], None]
    heard: list[tuple[int, str, bytes]] = field(default_factory=list)
    next_ns: int = 1 << 62

    def advance(self, now_ns: int) -> None: ...

    def on_text(self, text: bytes, now_ns: int) -> None:
        self.heard.append((now_ns, "text", text))
        self.deliver(now_ns, OutText(b"re " + text))

    def on_pong(self, payload: bytes, now_ns: int) -> None:
        self.heard.append((now_ns, "pong", payload))

    def on_close(self, now_ns: int) -> None:
        self.heard.append((now_ns, "close", b""))


class PlannedVenue:
    """Sends what it was given, at the venue times it was given, to every connection that is open then."""

    def __init__(self, plan: list[tuple[int, Out]] | None = None, refusal: Answer | None = None) -> None:
        self.plan = sorted(plan or [], key=lambda entry: entry[0])
        self.refusal = refusal
        self.tellers: list[Teller] = []
        self.opened: list[tuple[str, str, int]] = []
        self.advanced: list[int] = []
        self.answers: dict[str, Answer] = {}

    @property
    def next_ns(self) -> int:
        return self.plan[0][0] if self.plan else 1 << 62

    def advance(self, now_ns: int) -> None:
        self.advanced.append(now_ns)
        while self.plan and self.plan[0][0] <= now_ns:
            at_ns, out = self.plan.pop(0)
            for teller in self.tellers:
                teller.deliver(at_ns, out)

    def get(self, path: str, query: str, headers: Mapping[str, str], *, address: str, now_ns: int) -> Answer:
        assert (query, headers, address) == ("", {}, ADDRESS)
        assert now_ns == self.advanced[-1]
        return self.answers[path]

    def open(
        self, path: str, query: str, *, address: str, now_ns: int, deliver: Callable[[int, Out], None]
    ) -> Teller | Answer:
        assert address == ADDRESS
        self.opened.append((path, query, now_ns))
        if self.refusal is not None:
            return self.refusal
        self.tellers.append(Teller(deliver))
        return self.tellers[-1]


@dataclass
class Reads:
    """Where messages go: reads with their moments."""

    loop: VirtualLoop
    reads: list[tuple[int, list[bytes]]] = field(default_factory=list)
    now: list[bytes] = field(default_factory=list)

    def feed(self, connection: int, payload: bytes) -> None:
        assert connection == 7
        self.now.append(payload)

    def end_read(self) -> None:
        assert self.now, "a read without a message"
        self.reads.append((self.loop.now_ns, self.now))
        self.now = []


Story = Callable[[HouseFrames, Reads], Coroutine[object, object, None]]


def play(venue: PlannedVenue, story: Story, latency: Latency = EXACT, seed: int = 0) -> Reads:
    loop = VirtualLoop()
    reads = Reads(loop)
    frames = HouseFrames(VenueOnLoop(loop, venue), latency, seed=seed)
    run_on(loop, story(frames, reads))
    return reads


def test_handshake_takes_three_round_trips_and_names_path_and_query() -> None:
    venue = PlannedVenue()

    async def story(frames: HouseFrames, reads: Reads) -> None:
        link = await frames.open("ws://127.0.0.1:9/public/stream?streams=a@b/c@d", 7, reads, timeout_s=1)
        assert link.connection == 7
        assert reads.loop.now_ns == 12 * MS

    play(venue, story)
    assert venue.opened == [("/public/stream", "streams=a@b/c@d", 10 * MS)]


def test_messages_of_one_instant_are_one_read_and_later_ones_another() -> None:
    plan = [(20 * MS, OutText(b"1")), (20 * MS, OutText(b"2")), (21 * MS, OutText(b"3"))]

    async def story(frames: HouseFrames, reads: Reads) -> None:
        await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        await asyncio.sleep(1)

    reads = play(PlannedVenue(plan), story)
    assert reads.reads == [(22 * MS, [b"1", b"2"]), (23 * MS, [b"3"])]


def test_nothing_arrives_before_the_answer_to_the_handshake() -> None:
    async def story(frames: HouseFrames, reads: Reads) -> None:
        await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        await asyncio.sleep(1)

    reads = play(PlannedVenue([(10 * MS + 1, OutText(b"early"))]), story)
    assert reads.reads == [(12 * MS + 1, [b"early"])]


@pytest.mark.parametrize("seed", range(8))
def test_fast_message_waits_for_a_slow_answer_to_the_handshake(seed: int) -> None:
    class Eager(PlannedVenue):
        def open(
            self, path: str, query: str, *, address: str, now_ns: int, deliver: Callable[[int, Out], None]
        ) -> Teller | Answer:
            teller = super().open(path, query, address=address, now_ns=now_ns, deliver=deliver)
            deliver(now_ns, OutText(b"early"))
            return teller

    latency = Latency(shortest_ns=MS, jitter_ns=9 * MS)
    loop = VirtualLoop()
    reads = Reads(loop)
    frames = HouseFrames(VenueOnLoop(loop, Eager()), latency, seed=seed)

    async def main() -> int:
        await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        opened_ns = loop.now_ns
        await asyncio.sleep(1)
        return opened_ns

    opened_ns = run_on(loop, main())
    assert reads.reads[0][0] >= opened_ns


def test_control_messages_do_not_overtake_each_other() -> None:
    venue = PlannedVenue()
    texts = [str(n).encode() for n in range(50)]

    async def story(frames: HouseFrames, reads: Reads) -> None:
        link = await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        for text in texts:
            link.send(text)
            await asyncio.sleep(0.0005)
        link.close()
        await asyncio.sleep(1)

    play(venue, story, Latency(shortest_ns=MS, jitter_ns=9 * MS))
    assert [text for _, what, text in venue.tellers[0].heard if what == "text"] == texts
    assert venue.tellers[0].heard[-1][1] == "close"


@pytest.mark.parametrize("seed", range(5))
def test_nothing_overtakes_on_one_connection_whatever_the_jitter(seed: int) -> None:
    plan: list[tuple[int, Out]] = [(30 * MS + n * 100_000, OutText(str(n).encode())) for n in range(2000)]
    latency = Latency(shortest_ns=MS, jitter_ns=3 * MS, rare=50, rare_ns=90 * MS)

    async def story(frames: HouseFrames, reads: Reads) -> None:
        await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        await asyncio.sleep(5)

    reads = play(PlannedVenue(list(plan)), story, latency, seed)
    assert [text for _, texts in reads.reads for text in texts] == [str(n).encode() for n in range(2000)]
    moments = [at_ns for at_ns, _ in reads.reads]
    assert moments == sorted(set(moments))
    # Jitter gathers messages into reads, as a socket does.
    assert max(len(texts) for _, texts in reads.reads) > 3
    again = play(PlannedVenue(list(plan)), story, latency, seed)
    assert again.reads == reads.reads
    assert play(PlannedVenue(list(plan)), story, latency, seed + 100).reads != reads.reads


def test_what_is_sent_reaches_the_venue_later_in_order_and_is_answered() -> None:
    venue = PlannedVenue()

    async def story(frames: HouseFrames, reads: Reads) -> None:
        link = await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        assert link.send(b"one")
        assert link.send(b"two")
        await asyncio.sleep(1)
        link.close()
        assert not link.send(b"three")
        link.close()
        assert await link.wait_closed() == "closed here"
        assert await link.wait_closed() == "closed here"
        await asyncio.sleep(1)

    reads = play(venue, story)
    assert venue.tellers[0].heard == [
        (14 * MS, "text", b"one"),
        (14 * MS, "text", b"two"),
        (NS + 14 * MS, "close", b""),
    ]
    assert reads.reads == [(16 * MS, [b"re one", b"re two"])]


def test_ping_is_answered_with_its_payload_by_the_transport() -> None:
    venue = PlannedVenue([(20 * MS, OutPing(b"17"))])

    async def story(frames: HouseFrames, reads: Reads) -> None:
        await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        await asyncio.sleep(1)

    assert play(venue, story).reads == []
    assert venue.tellers[0].heard == [(24 * MS, "pong", b"17")]


@pytest.mark.parametrize(
    ("out", "why"),
    [(OutClose(1001, "away"), "closed by the venue: 1001 away"), (OutCut(), "reset by the venue")],
)
def test_end_of_the_venue_ends_the_read_and_nothing_comes_after(out: Out, why: str) -> None:
    plan = [(20 * MS, OutText(b"last")), (20 * MS, out), (20 * MS, OutText(b"ghost"))]
    plan.append((30 * MS, OutText(b"ghost")))

    async def story(frames: HouseFrames, reads: Reads) -> None:
        link = await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        assert await link.wait_closed() == why
        assert reads.loop.now_ns == 22 * MS
        assert not link.send(b"anything")
        await asyncio.sleep(1)

    assert play(PlannedVenue(plan), story).reads == [(22 * MS, [b"last"])]


def test_refused_handshake_tells_status_and_when_to_come_again() -> None:
    venue = PlannedVenue(refusal=Answer(429, {"Retry-After": "17"}, b"{}"))

    async def story(frames: HouseFrames, reads: Reads) -> None:
        with pytest.raises(TransportError, match="with 101, found 429") as caught:
            await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        assert caught.value.facts == {"status": 429, "retry_after_s": 17}

    play(venue, story)


@pytest.mark.parametrize(
    ("refusal", "timeout_s", "text"),
    [
        (Answer(503, delay_ns=60 * NS), 2.0, "within 2.0 s, found no answer"),
        (Answer(0), 2.0, "reset in the handshake"),
        (None, 0.011, "within 0.011 s"),
    ],
)
def test_handshake_that_does_not_come_is_told(refusal: Answer | None, timeout_s: float, text: str) -> None:
    venue = PlannedVenue([(30 * MS, OutText(b"ghost"))], refusal)

    async def story(frames: HouseFrames, reads: Reads) -> None:
        with pytest.raises(TransportError, match=text):
            await frames.open("ws://h/ws", 7, reads, timeout_s=timeout_s)
        await asyncio.sleep(5)

    assert play(venue, story).reads == []
    if venue.tellers:
        # The venue had accepted it meanwhile: it is told that nobody is there.
        assert [what for _, what, _ in venue.tellers[0].heard] == ["close"]


def test_stalled_reader_gets_all_at_once_and_still_in_order() -> None:
    plan: list[tuple[int, Out]] = [(20 * MS + n * 10 * MS, OutText(str(n).encode())) for n in range(100)]

    async def story(frames: HouseFrames, reads: Reads) -> None:
        await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        await asyncio.sleep(0.030)
        frames.stall(500 * MS)
        await asyncio.sleep(2)

    reads = play(PlannedVenue(plan), story).reads
    assert [text for _, texts in reads for text in texts] == [str(n).encode() for n in range(100)]
    assert max(len(texts) for _, texts in reads) == 50
    at_ns = next(at_ns for at_ns, texts in reads if len(texts) > 1)
    assert at_ns == 542 * MS


def test_reader_too_slow_is_reset_and_holds_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.sim.virtualtransport.MAX_UNDER_WAY", 50)
    plan: list[tuple[int, Out]] = [(20 * MS + n * MS, OutText(b"x")) for n in range(100)]

    async def story(frames: HouseFrames, reads: Reads) -> None:
        link = await frames.open("ws://h/ws", 7, reads, timeout_s=1)
        frames.stall(5 * NS)
        assert await link.wait_closed() == "reset by the venue: read too slowly"
        await asyncio.sleep(10)

    assert play(PlannedVenue(plan), story).reads == []


def test_venue_is_advanced_when_something_of_it_is_due_and_not_between() -> None:
    venue = PlannedVenue([(NS, OutText(b"1")), (3 * NS, OutText(b"2"))])

    async def story(_frames: HouseFrames, _reads: Reads) -> None:
        await asyncio.sleep(10)

    play(venue, story)
    assert venue.advanced == [NS, 3 * NS]


def ask(
    venue: PlannedVenue, path: str, *, timeout_s: float = 1.0, ahead_ns: int = 0
) -> tuple[int, dict[str, str], bytes, int, int]:
    loop = VirtualLoop(NS)
    http = HouseHttp(VenueOnLoop(loop, venue), LoopClock(loop, ahead_ns), EXACT)

    async def main() -> tuple[int, dict[str, str], bytes, int, int]:
        found = await http.get(path, timeout_s=timeout_s)
        await http.close()
        return found.status, dict(found.headers), found.body, found.sent_ns, found.received_ns

    return run_on(loop, main())


def test_answer_carries_our_clocks_times_and_lower_case_names() -> None:
    venue = PlannedVenue()
    venue.answers["/x"] = Answer(418, {"Retry-After": "5"}, b"no", delay_ns=6 * MS)
    ahead_ns = 1_200 * MS
    assert ask(venue, "/x", ahead_ns=ahead_ns) == (
        418,
        {"retry-after": "5"},
        b"no",
        NS + ahead_ns,
        NS + ahead_ns + 10 * MS,
    )


def test_answer_too_late_and_reset_are_no_answers() -> None:
    venue = PlannedVenue()
    venue.answers["/late"] = Answer(200, delay_ns=60 * NS)
    venue.answers["/cut"] = Answer(0)
    with pytest.raises(TransportError, match="found none"):
        ask(venue, "/late")
    with pytest.raises(TransportError, match="reset before the answer"):
        ask(venue, "/cut")
