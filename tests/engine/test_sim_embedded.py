"""The embedded venue: a calendar of its own, and what it owes its customer over the end of a process."""

from pathlib import Path

import pytest

from engine.clock import VirtualClock
from engine.errors import InputError
from engine.settings import Simulator
from engine.sim.embedded import EmbeddedMarket, opening_ns
from engine.sim.tape import START_NS

WALL_NS = 1_800_000_000 * 10**9
HOUR_NS = 3600 * 10**9


def opened(path: Path, *, wall_ns: int, is_restored: bool) -> tuple[EmbeddedMarket, VirtualClock]:
    clock = VirtualClock(opening_ns(path, wall_ns=wall_ns, is_restored=is_restored))
    return EmbeddedMarket(Simulator(), clock, path, wall_ns=wall_ns, is_restored=is_restored), clock


def test_venue_that_opens_anew_begins_at_its_fixed_moment_with_the_money_of_the_settings(tmp_path):
    venue, clock = opened(tmp_path / "venue.json", wall_ns=WALL_NS, is_restored=False)
    assert clock.now_ns() == START_NS
    assert venue.pnl_money(618_000) == 0
    assert venue.instrument.status == "TRADING"


def test_venue_that_is_opened_again_is_as_much_later_as_it_is_on_the_wall(tmp_path):
    path = tmp_path / "venue.json"
    venue, clock = opened(path, wall_ns=WALL_NS, is_restored=False)
    clock.advance_to(START_NS + 10**9)
    venue.exchange.advance(clock.now_ns())
    venue.save(())
    again, later = opened(path, wall_ns=WALL_NS + HOUR_NS, is_restored=True)
    assert later.now_ns() == START_NS + HOUR_NS
    last = venue.exchange.last_price
    assert abs(again.exchange.last_price - last) <= 2 * venue.instrument.tick
    assert again.exchange.first_trade_id > venue.exchange.first_trade_id


def test_wall_that_was_set_back_does_not_send_the_venue_back(tmp_path):
    path = tmp_path / "venue.json"
    venue, clock = opened(path, wall_ns=WALL_NS, is_restored=False)
    clock.advance_to(START_NS + 10**9)
    venue.exchange.advance(clock.now_ns())
    venue.save(())
    assert opening_ns(path, wall_ns=WALL_NS - HOUR_NS, is_restored=True) == START_NS + 10**9


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_state_that_cannot_be_read_is_one_sentence(tmp_path, content):
    path = tmp_path / "venue.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="the paper account is lost"):
        opening_ns(path, wall_ns=WALL_NS, is_restored=True)


def test_state_that_is_gone_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        opening_ns(tmp_path / "venue.json", wall_ns=WALL_NS, is_restored=True)
