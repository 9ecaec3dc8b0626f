"""What the connections say of a market, and the last picture that is kept of it."""

from dataclasses import replace

from engine.ingest.status import ConnectionStatus, FeedStatus, LaneStatus, StreamStatus
from engine.inputs import EventInput
from engine.watchside import STATUS_NS, Side, connection_states, connection_trouble
from tests.engine.played_markets import PlayedMarkets
from tests.engine.recordings import START_NS, spot_session
from tests.engine.test_scan import BTC, lines

S = 1_000_000_000
SINCE_NS = 1_700_000_000 * S  # 22:13:20


def stream(role: str, state: str = "speaking", age_ns: int = 5) -> StreamStatus:
    return StreamStatus(f"btcusdt@{role}", role, state, int(state != "waiting"), age_ns, 1, 0)


def status(
    *streams: StreamStatus, connection: int = 1, failures: int = 0, banned_ns: int = 0, unanswered: int = 0
) -> FeedStatus:
    lane = LaneStatus(0, "BTCUSDT", "TRADING", "live", 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, streams)
    state = "open" if connection else "waiting"
    one = ConnectionStatus(connection, "spot", len(streams), state, SINCE_NS, 0, 0, failures, "")
    return FeedStatus(SINCE_NS, True, (lane,), (one,), 0, -1, 321, banned_ns, unanswered, "")


def test_silent_stream_of_book_or_trades_makes_its_market_silent_and_no_other_does() -> None:
    assert connection_states(status(stream("depth"), stream("trades"))) == {}
    assert connection_states(status(stream("depth"), stream("trades", "silent"))) == {"BTCUSDT": "silent"}
    assert connection_states(status(stream("depth"), stream("ticker", "silent"))) == {}


def test_stream_that_lost_its_socket_is_told_from_one_that_was_never_asked_for() -> None:
    waiting = stream("depth", "waiting", age_ns=-1)
    assert connection_states(status(waiting, connection=0)) == {}
    assert connection_states(status(waiting, connection=0, failures=1)) == {"BTCUSDT": "no socket"}
    lost = stream("depth", "waiting", age_ns=3 * S)
    assert connection_states(status(lost, connection=0)) == {"BTCUSDT": "no socket"}


def test_trouble_is_said_with_since_when() -> None:
    assert connection_trouble(status()) == ""
    assert connection_trouble(status(connection=0, failures=2)) == "no socket since 22:13:20"
    assert connection_trouble(status(connection=0)) == "history is read first, weight used 321"
    assert connection_trouble(status(connection=0, unanswered=2)) == "requests are not answered"
    assert connection_trouble(status(banned_ns=SINCE_NS + 60 * S)) == "banned until 22:14:20"
    assert connection_trouble(status(banned_ns=SINCE_NS)) == ""
    both = status(connection=0, failures=1)
    one_left = replace(both.connections[0], connection=3, category="market", failures=0)
    half = replace(both, connections=(one_left, *both.connections))
    assert connection_trouble(half) == "spot no socket since 22:13:20"


def test_last_picture_is_kept_for_the_eye_and_unknown_for_everybody_else() -> None:
    class Losing(PlayedMarkets):
        is_lost = False

        def status(self) -> FeedStatus:
            return status(stream("depth", "waiting" if self.is_lost else "speaking"))

    played = Losing([(BTC, lines(spot_session()))])
    side = Side(played)
    now_ns = START_NS + S // 5
    played.play_until(now_ns)
    side.scan.sample(now_ns)
    (before,) = side.rows(now_ns)
    assert before.state == "live"
    assert side.held([before]) == [before]
    played.is_lost = True
    (at_once,) = side.rows(now_ns + STATUS_NS - 1)
    assert at_once.state == "live"
    (after,) = side.rows(now_ns + STATUS_NS)
    (held,) = side.held([after])
    assert (after.state, after.mid) == ("no socket", None)
    assert (held.state, held.mid, held.age_s) == ("no socket", before.mid, after.age_s)


def test_last_event_is_the_newest_that_is_no_routine() -> None:
    played = PlayedMarkets([(BTC, lines(spot_session()))])
    side = Side(played)
    assert side.last_event() is None
    for event in ("clock", "silent", "clock", "subscribed"):
        played.events.append(EventInput(at_ns=1, symbol="BTCUSDT", event=event, detail=""))
    last = side.last_event()
    assert last is not None
    assert last.event == "silent"
