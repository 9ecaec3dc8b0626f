"""The desk on a real market: frames in, exits at exactly the frame or due time that asks for them."""

import pytest

from engine.orders import OrderKind, OrderState
from engine.signals import MarketKind, Side, Trigger
from native.market import Market
from native.triggers import Timer
from tests.engine.desks import NS_PER_S, Rig, bitcoin
from tests.native.venue import MS, START_NS, Venue

BOTH_SIDES = pytest.mark.parametrize("side", [Side.BUY, Side.SELL])


class Floor:
    """A rig whose market is a real one; masks are decided at once, the desk's timer is armed after each."""

    def __init__(self, *, stale_ns: int = 3_600 * NS_PER_S) -> None:
        self.venue = Venue(MarketKind.USDM)
        self.market = Market(
            symbol=self.venue.symbol,
            kind=int(MarketKind.USDM),
            price_digits=1,
            quantity_digits=3,
            tick=1,
            stale_ns=stale_ns,
        )
        self.venue.market = self.market
        self.rig = Rig(instrument=bitcoin(symbol=self.venue.symbol))
        self.rig.market = self.market
        self.market.advance(START_NS)
        self.venue.open({999_999: 5_000}, {1_000_001: 5_000})

    def hold(self, side: Side) -> None:
        self.rig.hold(side)
        self.arm()

    def arm(self) -> None:
        self.market.triggers.arm_timer(Timer.TIMER_DESK, self.rig.desk.next_due_ns(0))

    def depth(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        self.decide(self.venue.depth(bids, asks))

    def decide(self, mask: int) -> None:
        if mask:
            self.rig.trigger(mask)
            self.arm()

    def wait(self, elapsed_ns: int) -> None:
        self.venue.now_ns += elapsed_ns
        while mask := self.market.advance(self.venue.now_ns):
            self.decide(mask)

    def move(self, bid: int, ask: int) -> None:
        """Let the touch go to these prices in one frame."""
        old_bid, old_ask = self.market.best_bid, self.market.best_ask
        self.depth({old_bid: 0, bid: 5_000}, {old_ask: 0, ask: 5_000})
        assert (self.market.best_bid, self.market.best_ask) == (bid, ask)

    @property
    def exits(self) -> list[tuple[str, int]]:
        return [
            (str(order.intent.purpose), order.intent.decide_ns - START_NS)
            for order in self.rig.orders
            if order.intent.purpose not in ("entry", "hard_stop")
        ]


@BOTH_SIDES
@pytest.mark.parametrize("name", ["stop", "target"])
def test_level_closes_with_the_first_frame_that_reaches_it(side, name) -> None:
    floor = Floor()
    floor.hold(side)
    level = getattr(floor.rig.plan, f"{name}_price")
    # Towards the level: the bid decides for a long, the ask for a short.
    towards = -side if name == "stop" else side
    near = level - towards
    floor.wait(5 * MS)
    floor.move(*((near, near + 2) if side > 0 else (near - 2, near)))
    assert floor.exits == []
    floor.wait(5 * MS)
    floor.move(*((level, level + 2) if side > 0 else (level - 2, level)))
    assert floor.exits == [(name, 10 * MS)]


def test_time_stop_is_decided_at_its_own_due_time_however_late_the_read_comes() -> None:
    floor = Floor()
    floor.hold(Side.BUY)
    floor.wait(60 * NS_PER_S - 1)
    assert floor.exits == []
    floor.wait(3 * NS_PER_S)
    assert floor.exits == [("time", 60 * NS_PER_S)]


def test_resting_entry_is_withdrawn_at_its_due_time() -> None:
    floor = Floor()
    order = floor.rig.enter()
    floor.rig.accept(order)
    floor.arm()
    floor.wait(5 * NS_PER_S)
    assert [wish.decide_ns - START_NS for wish in floor.rig.withdrawn] == [2 * NS_PER_S]


def test_gap_judges_no_price_and_a_book_that_is_live_beyond_the_stop_closes() -> None:
    floor = Floor()
    floor.hold(Side.BUY)
    floor.venue.lose_depth()
    floor.depth({999_999: 0, 900_000: 5_000}, {})
    assert not floor.market.is_valid
    assert floor.exits == []
    floor.decide(floor.venue.snapshot({990_000: 5_000}, {990_002: 5_000}))
    assert floor.market.is_valid
    assert [name for name, _ in floor.exits] == ["stop"]


def test_stale_book_withdraws_the_entry_and_closes_at_market() -> None:
    floor = Floor(stale_ns=NS_PER_S)
    order = floor.rig.enter()
    floor.rig.accept(order)
    floor.rig.fill(order, 4)
    floor.rig.accept(floor.rig.working("hard_stop")[0])
    floor.arm()
    floor.wait(NS_PER_S)
    assert order.state is OrderState.CANCEL_PENDING
    assert floor.exits == []
    floor.rig.command("flatten")
    assert floor.rig.working("flatten")[0].intent.kind is OrderKind.MARKET


def test_quiet_market_lets_an_ended_desk_sleep() -> None:
    floor = Floor()
    floor.decide(int(Trigger.DUE))
    assert floor.rig.desk.next_due_ns(0) == 2**63 - 1
