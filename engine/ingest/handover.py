"""Who speaks for a stream while an old and a new connection overlap.

The venue ends every connection after 24 h, and says `serverShutdown` before it ends one early. Both sockets
then bring the same messages for a while; the new one takes a stream over with the first message that leaves
no hole behind what was taken from the old one.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from engine.signals import MarketKind
from native.events import SequenceState

LIVE: Final = int(SequenceState.SEQUENCE_LIVE)


class _Depth(msgspec.Struct):
    U: int
    u: int
    pu: int = -1


class _DepthMessage(msgspec.Struct):
    data: _Depth


class _Trade(msgspec.Struct):
    t: int


class _TradeMessage(msgspec.Struct):
    data: _Trade


class _AggTrade(msgspec.Struct):
    a: int


class _AggTradeMessage(msgspec.Struct):
    data: _AggTrade


def continues_depth(kind: MarketKind, state: int, last_id: int, payload: bytes) -> bool:
    """Tell whether a depth message of the new connection may follow the last one taken.

    Parameters
    ----------
    kind
        Whose rules.
    state
        SequenceState of the book.
    last_id
        `u` of the last update applied.
    payload
        The message in its combined wrapper; one that cannot be read continues nothing.

    Notes
    -----
    A book that is not LIVE has no chain to continue, so that the sooner taken the better. Otherwise the same
    message (`u` == last: a duplicate, the next one follows it), or the next: on spot `U` <= last + 1 <= `u`,
    on futures `pu` == last (`native.sequence` quotes the rules, steps 7 and f).
    """
    if state != LIVE:
        return True
    try:
        data = msgspec.json.decode(payload, type=_DepthMessage).data
    except msgspec.MsgspecError:
        return False
    if data.u == last_id:
        return True
    if kind is MarketKind.SPOT:
        return data.U <= last_id + 1 <= data.u
    return data.pu == last_id


def continues_trades(stream: str, last_id: int, payload: bytes) -> bool:
    """Tell whether a trade of the new connection leaves no id out after `last_id` (-1: there was none)."""
    if last_id < 0:
        return True
    try:
        if stream.endswith("@aggTrade"):
            found = msgspec.json.decode(payload, type=_AggTradeMessage).data.a
        else:
            found = msgspec.json.decode(payload, type=_TradeMessage).data.t
    except msgspec.MsgspecError:
        return False
    return found <= last_id + 1


class Handover:
    """The slots that a new connection still has to take, and until when it may wait for them.

    Parameters
    ----------
    slots
        All that are to be handed over.
    """

    __slots__ = ("_deadline_ns", "pending")

    def __init__(self, slots: Iterable[int]) -> None:
        self.pending = set(slots)
        self._deadline_ns = 0

    def start(self, now_ns: int, handover_ns: int) -> None:
        """Let the time run: every stream was asked for on the new connection."""
        if not self._deadline_ns:
            self._deadline_ns = now_ns + handover_ns

    def take(self, slot: int) -> bool:
        """Note that a slot was taken over; False if it was not waited for."""
        if slot not in self.pending:
            return False
        self.pending.remove(slot)
        return True

    def is_over(self, now_ns: int) -> bool:
        """Tell whether nothing is pending any more, or waiting longer is no use."""
        return not self.pending or 0 < self._deadline_ns <= now_ns
