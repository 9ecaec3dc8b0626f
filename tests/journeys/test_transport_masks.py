"""From a socket to masks: both transports decide the same; picows reads on before an entry is decided."""

import asyncio
import os

import orjson
import pytest

from engine.ingest.picows_transport import PicowsTransport
from engine.ingest.websockets_transport import WebsocketsTransport
from engine.signals import Trigger
from native.router import Router
from tests.engine.rude_server import CLOSE, PING, PONG, TEXT, Peer, frame, serving
from tests.native.test_market_entries import armed
from tests.native.venue import Venue

DEPTH, TRADE = "aaausdt@depth@100ms", "aaausdt@trade"
Decision = tuple[int, int, int]


def wrapped(stream: str, data: object) -> bytes:
    return orjson.dumps({"stream": stream, "data": data})


class Station:
    """A router on the market of a venue that waits with an armed candidate."""

    def __init__(self) -> None:
        self.venue, _ = armed()
        self.decisions: list[Decision] = []
        self.on_reply = bool
        market = self.venue.market
        self.router = Router(
            on_due=lambda _: None,
            on_masks=lambda recv_ns, masks: self.decisions.append(
                (recv_ns - self.venue.now_ns, masks[0][1], market.update_id)
            ),
            on_control=lambda *_: self.on_reply() and None,
            on_heir=lambda *_: False,
            now_ns=lambda: self.venue.now_ns,
        )
        for name in (DEPTH, TRADE):
            self.router.own(self.router.add_stream(name, market), 7)


def reads(venue: Venue) -> list[list[bytes]]:
    """Say a few reads: a move, nothing, a whale with a move, something that cannot be read, a lost update."""
    found = [
        [wrapped(DEPTH, venue.depth_data({9_998: 5_000}))],
        [wrapped(DEPTH, venue.depth_data({9_999: 0})), wrapped(DEPTH, venue.depth_data({9_999: 7}))],
        [wrapped(TRADE, venue.trade_data(1, 10_001, 3_000)), wrapped(DEPTH, venue.depth_data({10_000: 1}))],
        [wrapped(TRADE, {"e": "trade", "s": "AAAUSDT", "t": "many"})],
    ]
    venue.lose_depth({9_000: 1})
    return [*found, [wrapped(DEPTH, venue.depth_data({9_001: 1}))]]


@pytest.mark.parametrize("transport", [PicowsTransport, WebsocketsTransport])
def test_transport_gives_the_masks_of_calls_by_hand(
    transport: type[PicowsTransport] | type[WebsocketsTransport],
) -> None:
    by_hand, _ = armed()
    wanted: list[Decision] = []
    for i, read in enumerate(reads(by_hand)):
        mask = 0
        for payload in read:
            mask |= by_hand.market.on_frame(payload, by_hand.now_ns + i)
        if mask:
            wanted.append((i, mask, by_hand.market.update_id))
    assert len({mask for _, mask, _ in wanted}) > 3

    station = Station()

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        for read in reads(station.venue):
            peer.writer.write(b"".join(frame(TEXT, payload) for payload in read) + frame(PING, b"!"))
            assert await peer.read_frame() == (PONG, b"!")
        peer.writer.write(frame(CLOSE, b""))
        await peer.read_end()

    async def run() -> None:
        async with asyncio.timeout(8), serving(script) as port:
            link = await transport().open(f"ws://127.0.0.1:{port}/", 7, station.router, timeout_s=5)
            await link.wait_closed()

    # The clock of the last advance is one nanosecond behind the first read of either.
    asyncio.run(run())
    first = station.decisions[0][0] - wanted[0][0]
    assert [(at - first, mask, update) for at, mask, update in station.decisions] == wanted
    assert station.router.last_error is None


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0], ids=["whole", "half", "nothing"])
def test_what_waits_in_the_socket_is_read_before_an_entry_is_decided(share: float) -> None:
    station = Station()
    venue = station.venue
    first = frame(TEXT, wrapped(DEPTH, venue.depth_data({10_000: 1})))
    first_id = venue.book_id
    second = frame(TEXT, wrapped(DEPTH, venue.depth_data({10_000: 0})))
    cut = int(len(second) * share)

    async def script(peer: Peer) -> None:
        await peer.shake_hands()
        number = peer.writer.transport.get_extra_info("socket").fileno()
        # In the middle of the read the rest arrives; a socket of the loopback has it at once.
        station.on_reply = lambda: os.write(number, second[:cut]) > 0 if cut else False
        peer.writer.write(first + frame(TEXT, b'{"id":1}') + frame(PING, b"!"))
        assert await peer.read_frame() == (PONG, b"!")
        station.on_reply = bool
        peer.writer.write(second[cut:] + frame(PING, b"?"))
        assert await peer.read_frame() == (PONG, b"?")
        peer.writer.write(frame(CLOSE, b""))
        await peer.read_end()

    async def run() -> None:
        async with asyncio.timeout(8), serving(script) as port:
            link = await PicowsTransport().open(f"ws://127.0.0.1:{port}/", 7, station.router, timeout_s=5)
            await link.wait_closed()

    asyncio.run(run())
    assert all(mask & Trigger.ENTRY for _, mask, _ in station.decisions)
    updates = [update for *_, update in station.decisions]
    assert updates == ([first_id + 3] if share == 1.0 else [first_id, first_id + 3])
