"""The router against its slow twin: any mixture of messages, owners, heirs, moments and rude callbacks."""

from collections.abc import Callable

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from native.market import Market
from native.router import Router
from tests.native.venue import MS, SECOND, START_NS, text
from tests.oracles.router import SlowRouter

pytestmark = pytest.mark.slow

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
NAMES = [f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in ("depth@100ms", "trade")]
CONNECTIONS = st.sampled_from((1, 1, 1, 1, 2, 2, 3))
MAX_STREAMS = 5

# Ways to write the same wrapped message: only the first is what the venue sends today.
SHAPES: tuple[Callable[[bytes, bytes], bytes], ...] = (
    lambda name, data: b'{"stream":"' + name + b'","data":' + data + b"}",
    lambda name, data: b'{"data":' + data + b',"stream":"' + name + b'"}',
    lambda name, data: b' { "stream" : "' + name + b'" , "data" : ' + data + b" } ",
    lambda name, data: b'{"n":[1,{"stream":"no"}],"stream":"' + name + b'","x":null,"data":' + data + b"}",
)
CONTROL = (
    b'{"result":null,"id":7}',
    b'{"error":{"code":2,"msg":"Invalid \\"id\\""},"id":8}',
    b'{"e":"serverShutdown","E":1770123456789}',
    b'{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}',
    b'{"stream":"zzzusdt@trade","data":{"id":4}}',
    b'{"stream":7,"e":["serverShutdown"]}',
    b'{"data":{"stream":"aaausdt@trade","id":1,"e":"serverShutdown"}}',
    b"{}",
)


class Side:
    """One router, its markets, and a log of everything that it said."""

    def __init__(self, machine: "Routing", make: type[Router] | type[SlowRouter]) -> None:
        self.machine = machine
        self.log: list[object] = []
        self.markets: list[Market] = []
        for index, symbol in enumerate(SYMBOLS):
            market = Market(
                symbol=symbol,
                kind=0,
                index=index,
                price_digits=1,
                quantity_digits=3,
                tick=1,
                whale_floor_quote=1_000.0,
                whale_adaptive_floor=False,
                whale_depth_share=0.0,
                whale_quantile=0.0,
                whale_min_sweeps=1,
                stale_ns=SECOND,
            )
            body = {"lastUpdateId": 100, "bids": [["999.9", "5.000"]], "asks": [["1000.1", "5.000"]]}
            market.advance(START_NS)
            market.on_snapshot(orjson.dumps(body), START_NS)
            self.markets.append(market)
        self.router = make(
            on_due=self.on_due,
            on_masks=self.on_masks,
            on_control=self.on_control,
            on_heir=self.on_heir,
            now_ns=lambda: machine.now_ns,
            max_streams=MAX_STREAMS,
        )

    def react(self, what: str, *values: object) -> None:
        self.log.append((what, *values))
        if what in self.machine.stamping:
            self.log.append(("stamp", self.router.stamp()))
        if what in self.machine.raising:
            raise RuntimeError(what)

    def on_due(self, recv_ns: int) -> None:
        for market in self.markets if "lazy" not in self.machine.stamping else self.markets[:1]:
            while mask := market.advance(recv_ns):
                self.log.append((market.index, market.now_ns, mask))
        self.react("due", recv_ns)

    def on_masks(self, recv_ns: int, masks: tuple[tuple[int, int], ...]) -> None:
        self.react("masks", recv_ns, masks)

    def on_control(self, connection: int, payload: bytes, recv_ns: int) -> None:
        self.react("control", connection, payload, recv_ns)

    def on_heir(self, slot: int, connection: int, payload: bytes, recv_ns: int) -> bool:
        self.react("heir", slot, connection, payload, recv_ns)
        return "heir" in self.machine.yielding


class Routing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ns = START_NS
        self.stamping: frozenset[str] = frozenset()
        self.raising: frozenset[str] = frozenset()
        self.yielding: frozenset[str] = frozenset()
        self.book_ids = dict.fromkeys(SYMBOLS, 100)
        self.trade_id = 0
        self.slots: dict[int, str] = {}
        self.fast, self.slow = Side(self, Router), Side(self, SlowRouter)

    def both(self, call: Callable[[Side], object]) -> None:
        answers = []
        for side in (self.fast, self.slow):
            try:
                answers.append(call(side))
            except ValueError:
                answers.append("refused")
        assert answers[0] == answers[1]

    @initialize()
    def begin(self) -> None:
        for name in NAMES[:3]:
            self.add(name, has_market=True)
            self.both(lambda side: side.router.own(len(self.slots) - 1, 1))

    @rule(name=st.sampled_from(NAMES), has_market=st.sampled_from((True, True, True, False)))
    def add(self, name: str, has_market: bool) -> None:
        index = SYMBOLS.index(name.partition("@")[0].upper())

        def call(side: Side) -> object:
            slot = side.router.add_stream(name, side.markets[index] if has_market else None)
            self.slots[slot] = name
            return slot

        self.both(call)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.slots)))
        self.both(lambda side: side.router.remove_stream(slot))
        del self.slots[slot]

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), connection=st.integers(0, 3), inherits=st.booleans())
    def hand_over(self, data: st.DataObject, connection: int, inherits: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.slots)))
        if inherits:
            self.both(lambda side: side.router.inherit(slot, connection))
        else:
            self.both(lambda side: side.router.own(slot, connection))

    @rule(elapsed_ns=st.sampled_from((0, 1, 3 * MS, 11 * MS, 400 * MS, 2 * SECOND)))
    def wait(self, elapsed_ns: int) -> None:
        self.now_ns += elapsed_ns

    @rule()
    def wall_goes_back(self) -> None:
        self.now_ns -= 1

    @rule(
        names=st.frozensets(st.sampled_from(("due", "masks", "control", "heir", "lazy")), max_size=2),
        raising=st.frozensets(st.sampled_from(("due", "masks", "control", "heir")), max_size=2),
        yielding=st.frozensets(st.just("heir")),
    )
    def change_manners(
        self, names: frozenset[str], raising: frozenset[str], yielding: frozenset[str]
    ) -> None:
        self.stamping, self.raising, self.yielding = names, raising, yielding

    @rule()
    def stamp(self) -> None:
        self.both(lambda side: side.router.stamp())

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        connection=CONNECTIONS,
        shape=st.sampled_from(SHAPES),
        lost=st.booleans(),
    )
    def depth(self, symbol: str, connection: int, shape: Callable[[bytes, bytes], bytes], lost: bool) -> None:
        first = self.book_ids[symbol] + 1 + 5 * lost
        self.book_ids[symbol] = first + 1
        book = {"U": first, "u": first + 1, "b": [["999.8", "1.000"]], "a": []}
        self.say(symbol, "depthUpdate", "depth@100ms", book, connection=connection, shape=shape)

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        connection=CONNECTIONS,
        shape=st.sampled_from(SHAPES),
        price=st.integers(9_000, 11_000),
        quantity=st.sampled_from((1, 10, 100_000)),
        is_maker=st.booleans(),
    )
    def trade(
        self,
        *,
        symbol: str,
        connection: int,
        shape: Callable[[bytes, bytes], bytes],
        price: int,
        quantity: int,
        is_maker: bool,
    ) -> None:
        self.trade_id += 1
        trade = {"t": self.trade_id, "p": text(price, 1), "q": text(quantity, 3), "m": is_maker}
        trade["T"] = self.now_ns // MS
        self.say(symbol, "trade", "trade", trade, connection=connection, shape=shape)

    @rule(symbol=st.sampled_from(SYMBOLS), connection=CONNECTIONS)
    def unreadable(self, symbol: str, connection: int) -> None:
        self.say(symbol, "trade", "trade", {"t": "many"}, connection=connection, shape=SHAPES[0])

    @rule(payload=st.sampled_from(CONTROL), connection=CONNECTIONS)
    def control(self, payload: bytes, connection: int) -> None:
        self.both(lambda side: side.router.feed(connection, payload))

    @rule()
    def end_read(self) -> None:
        self.both(lambda side: side.router.end_read())

    def say(
        self,
        symbol: str,
        event: str,
        stream: str,
        data: dict[str, object],
        *,
        connection: int,
        shape: Callable[[bytes, bytes], bytes],
    ) -> None:
        stamped = {"e": event, "E": self.now_ns // MS, "s": symbol} | data
        payload = shape(f"{symbol.lower()}@{stream}".encode(), orjson.dumps(stamped))
        self.both(lambda side: side.router.feed(connection, payload))

    @invariant()
    def both_are_alike(self) -> None:
        fast, slow = self.fast, self.slow
        assert fast.log == slow.log
        for name in ("n_read", "n_messages_total", "n_unowned", "n_unknown", "n_errors", "last_stamp_ns"):
            assert getattr(fast.router, name) == getattr(slow.router, name), name
        assert isinstance(slow.router, SlowRouter)
        assert isinstance(fast.router, Router)
        for slot, stream in slow.router.streams.items():
            assert fast.router.owner(slot) == stream.owner
            assert fast.router.n_messages(slot) == stream.n_messages
            assert fast.router.last_recv_ns(slot) == stream.last_recv_ns
        for one, other in zip(fast.markets, slow.markets, strict=True):
            for name in ("messages", "now_ns", "last_recv_ns", "cvd", "update_id", "gaps", "refused"):
                assert getattr(one, name) == getattr(other, name), name
            assert one.whale.n_whales == other.whale.n_whales


Routing.TestCase.settings = settings(max_examples=120, stateful_step_count=60)
test_router_agrees_with_its_twin = Routing.TestCase
