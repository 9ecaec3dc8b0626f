"""Where the feed stands, for whoever has to know at three in the morning."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream of one instrument."""

    name: str
    role: str
    state: str  # waiting, asked, speaking, silent, rejected, dropped
    connection: int  # whose messages count; 0 = nobody's
    age_ns: int  # since its last message; -1 = never
    messages: int
    times_silent: int


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One instrument."""

    index: int
    symbol: str
    listing: str  # as the venue says it; UNLISTED: it lists it no more
    book: str  # buffering, bridging, live, gap
    book_since_ns: int  # our clock: live since, or without a book since; 0 = nothing came yet
    update_id: int
    gaps: int  # breaks of the depth chain
    resyncs: int
    last_resync_ns: int  # how long it took
    snapshots_failed: int
    snapshots_too_old: int
    refreshes: int
    missing_trades: int  # ids not filled yet
    filled_trades: int
    left_trades: int  # ids that never came
    skew_ns: int  # receive time less venue time of the newest message, our clock's offset taken out
    streams: tuple[StreamStatus, ...]


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One socket, or the place of one that is being waited for."""

    connection: int  # 0 = none is open
    category: str
    streams: int
    state: str  # waiting, connecting, open, replacing
    since_ns: int  # our clock: open since, or without a socket since
    rotates_ns: int  # when it is replaced at the latest
    reconnects: int
    failures: int  # in a row
    last_error: str


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """The whole feed."""

    now_ns: int
    is_live: bool  # every listed book is, on an open socket that spoke within the deadline of silence
    lanes: tuple[LaneStatus, ...]
    connections: tuple[ConnectionStatus, ...]
    offset_ns: int  # the venue's clock less ours
    offset_error_ns: int  # at most so wrong; -1 = not measured yet
    used_weight: int  # request weight of the running minute, as far as known; -1 = not known
    banned_until_ns: int  # our clock; 0 = not banned
    unanswered: int  # REST requests without a usable answer, in a row
    last_error: str
