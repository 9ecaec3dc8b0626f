"""The slow twin of the router: dictionaries, `json`, and the public calls of markets."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from native.events import TriggerMask
from native.market import Market

FIRST = TriggerMask.MASK_GAP | TriggerMask.MASK_STALE | TriggerMask.MASK_LEVEL | TriggerMask.MASK_WHALE_OPEN


@dataclass
class SlowStream:
    """One stream as the twin knows it."""

    name: str
    market: Market | None
    owner: int = 0
    heir: int = 0
    n_messages: int = 0
    last_recv_ns: int = 0


class SlowRouter:
    """Does what the router's contract says, one obvious step after the other."""

    def __init__(
        self,
        *,
        on_due: Callable[[int], None],
        on_masks: Callable[[int, tuple[tuple[int, int], ...]], None],
        on_control: Callable[[int, bytes, int], None],
        on_heir: Callable[[int, int, bytes, int], bool],
        now_ns: Callable[[], int],
        max_streams: int,
    ) -> None:
        self._on_due, self._on_masks, self._on_control, self._on_heir = on_due, on_masks, on_control, on_heir
        self._now_ns, self._max_streams = now_ns, max_streams
        self.streams: dict[int, SlowStream] = {}
        self.last_stamp_ns = 0
        self.records: list[tuple[int, bytes]] = []
        self.n_read = self.n_messages_total = self.n_unowned = self.n_unknown = self.n_errors = 0
        self._recv_ns: int | None = None
        self._is_due_checked = self._has_messages = False
        self._masks: dict[Market, int] = {}

    def add_stream(self, name: str, market: Market | None) -> int:
        if any(stream.name == name for stream in self.streams.values()):
            raise ValueError(name)
        if len(self.streams) == self._max_streams:
            raise ValueError(name)
        slot = min(set(range(self._max_streams)) - set(self.streams))
        self.streams[slot] = SlowStream(name, market)
        return slot

    def remove_stream(self, slot: int) -> None:
        market = self.streams[slot].market
        if market is not None:
            self._decide()
        self.streams.pop(slot, None)
        if market is not None and all(stream.market is not market for stream in self.streams.values()):
            self._recv_ns = None
            self._masks = {}

    def own(self, slot: int, connection: int) -> None:
        stream = self.streams[slot]
        stream.owner = connection
        if stream.heir == connection:
            stream.heir = 0

    def owner(self, slot: int) -> int:
        return self.streams[slot].owner

    def inherit(self, slot: int, connection: int) -> None:
        self.streams[slot].heir = connection

    def stamp(self) -> int:
        self._decide()
        self._recv_ns, self._masks = None, {}
        return self._next_ns()

    def feed(self, connection: int, payload: bytes) -> None:
        self.n_messages_total += 1
        self._has_messages = True
        recv_ns = self._moment()
        found = json.loads(payload)
        slot = next(
            (slot for slot, stream in self.streams.items() if stream.name == found.get("stream")), None
        )
        if slot is None:
            is_reply = bool({"id", "result", "error"} & set(found)) or found.get("e") == "serverShutdown"
            self.n_unknown += not (is_reply or found.get("stream") == "!serverShutdown")
            self._try(lambda: self._on_control(connection, payload, recv_ns))
            return
        stream = self.streams[slot]
        if (
            stream.owner != connection
            and stream.heir == connection
            and self._try(lambda: self._on_heir(slot, connection, payload, recv_ns))
        ):
            stream.owner, stream.heir = connection, 0
        if stream.owner != connection:
            self.n_unowned += 1
            return
        if stream.market is not None:
            self._run_due()
        recv_ns = self._moment()
        stream.n_messages += 1
        stream.last_recv_ns = recv_ns
        if stream.market is None:
            return
        self.records.append((recv_ns, payload))
        mask = 0
        if stream.market not in self._masks:
            while more := stream.market.advance(recv_ns):
                mask |= more
        mask |= stream.market.on_frame(payload, recv_ns)
        self._masks[stream.market] = self._masks.get(stream.market, 0) | mask

    def end_read(self) -> None:
        if self._has_messages:
            self._has_messages = False
            self.n_read += 1
            self._decide()
            self._recv_ns, self._masks = None, {}

    def _run_due(self) -> None:
        for _ in range(8):
            recv_ns = self._moment()
            if self._is_due_checked:
                return
            self._is_due_checked = True
            markets = {stream.market for stream in self.streams.values()} - {None}
            if all(market is None or market.triggers.next_due_ns > recv_ns for market in markets):
                return
            self._try(lambda at=recv_ns: self._on_due(at))

    def _decide(self) -> None:
        masks = [(market.index, mask) for market, mask in self._masks.items() if mask]
        if not masks:
            return
        recv_ns = self._recv_ns
        assert recv_ns is not None
        self._recv_ns, self._masks = None, {}
        ordered = sorted(masks, key=lambda entry: not entry[1] & FIRST)
        self._try(lambda: self._on_masks(recv_ns, tuple(ordered)))

    def _moment(self) -> int:
        if self._recv_ns is None:
            self._recv_ns = self._next_ns()
            self._is_due_checked = False
        return self._recv_ns

    def _next_ns(self) -> int:
        self.last_stamp_ns = max(self._now_ns(), self.last_stamp_ns + 1)
        return self.last_stamp_ns

    def _try(self, call: Callable[[], bool | None]) -> bool:
        try:
            return bool(call())
        except RuntimeError:
            self.n_errors += 1
            return False
