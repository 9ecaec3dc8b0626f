"""One open stream socket, and the requests on it: few messages, at the venue's pace, answers awaited."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from engine.ingest.deadlines import Pace
from engine.ingest.streams import Stream
from engine.venues.binance_streams import Reply, subscribe_text, unsubscribe_text
from engine.venues.transport import Link

ASK_AT_ONCE: Final = 100  # streams in one message, some 4 KB


class Connection:
    """One open socket: what is still to be asked on it, and what was not answered yet.

    Attributes
    ----------
    closed : why it ended; None: it is open.
    is_leaving : the venue said that it is about to end it.
    answered : answers that were not worked on yet, and the streams that were asked for.
    """

    __slots__ = (
        "answered", "closed", "is_leaving", "link", "number", "opened_ns", "outbox", "pace", "pending",
        "rotates_ns", "serial",
    )  # fmt: skip

    def __init__(self, number: int, link: Link, now_ns: int, rotates_ns: int, pace: Pace) -> None:
        self.number = number
        self.link = link
        self.opened_ns = now_ns
        self.rotates_ns = rotates_ns
        self.pace = pace
        self.closed: str | None = None
        self.is_leaving = False  # the venue said that it is about to end it
        self.serial = 0
        self.outbox: deque[tuple[bool, tuple[Stream, ...]]] = deque()  # subscribe or unsubscribe, streams
        self.pending: dict[int, tuple[int, tuple[Stream, ...]]] = {}  # by request: deadline, streams
        self.answered: deque[tuple[Reply, tuple[Stream, ...]]] = deque()

    def ask(self, streams: Sequence[Stream]) -> None:
        """Put requests for streams into the outbox."""
        for first in range(0, len(streams), ASK_AT_ONCE):
            self.outbox.append((True, tuple(streams[first : first + ASK_AT_ONCE])))

    def forget(self, streams: Sequence[Stream]) -> None:
        """Put a request to have streams no longer into the outbox."""
        self.outbox.append((False, tuple(streams)))

    def pump(self, now_ns: int, reply_ns: int) -> None:
        """Send the next request if the pace allows it."""
        if not self.outbox or self.closed is not None or not self.pace.take(now_ns):
            return
        is_subscribe, streams = self.outbox.popleft()
        self.serial += 1
        names = [stream.name for stream in streams]
        text = subscribe_text(self.serial, names) if is_subscribe else unsubscribe_text(self.serial, names)
        if self.link.send(text):
            self.pending[self.serial] = (now_ns + reply_ns, streams if is_subscribe else ())
        else:
            self.link.close()

    def on_reply(self, reply: Reply) -> None:
        """Note an answer; it is worked on outside of the read that brought it."""
        if reply.id in self.pending:
            self.answered.append((reply, self.pending.pop(reply.id)[1]))

    def is_overdue(self, now_ns: int) -> bool:
        """Tell, once, whether an answer did not come in time."""
        if all(now_ns < deadline_ns for deadline_ns, _ in self.pending.values()):
            return False
        self.pending.clear()
        return True

    @property
    def is_asked(self) -> bool:
        """Whether everything was asked for and answered."""
        return not self.outbox and not self.pending and not self.answered
