"""Client order ids."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, StateError
from engine.execution.ids import MAX_LENGTH, OrderIds, parse_id

INSTANCES = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
EPOCHS = st.integers(0, 10**9)


def test_ids_count_from_one_within_their_epoch():
    ids = OrderIds("main", 12)
    assert [ids.next(), ids.next()] == ["rmain12-1", "rmain12-2"]
    assert ids.n_given == 2


@given(starts=st.lists(st.tuples(INSTANCES, EPOCHS), min_size=2, max_size=8, unique=True))
def test_no_id_is_given_twice_over_instances_and_epochs(starts):
    given_ids = [
        name
        for instance, epoch in starts
        for ids in (OrderIds(instance, epoch),)
        for name in (ids.next(), ids.next())
    ]
    assert len(set(given_ids)) == len(given_ids)


@given(instance=INSTANCES, epoch=EPOCHS, n=st.integers(1, 30))
def test_id_tells_whose_it_is_and_suits_the_venue(instance, epoch, n):
    ids = OrderIds(instance, epoch)
    text = [ids.next() for _ in range(n)][-1]
    assert parse_id(text) == (instance, epoch, n)
    assert re.fullmatch(r"[\.A-Z\:/a-z0-9_-]{1,36}", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "r",
        "rmain",
        "rmain1",
        "rmain1-",
        "rmain-1",
        "r1-1",
        "rMain1-1",
        "rmain01-1",
        "rmain1-0",
        "rmain1-01",
        "rmain1-1\n",
        " rmain1-1",
        "rmain١-1",
        "rabcdefghi1-1",
        "web_4f9a",
        "autoclose-1",
        "rmain1-" + "1" * 36,
    ],
)
def test_foreign_id_is_not_read_as_ours(text):
    assert parse_id(text) is None


@given(text=st.text(max_size=40))
def test_what_is_read_is_what_would_be_given(text):
    name = parse_id(text)
    if name is not None:
        assert text == f"r{name.instance}{name.epoch}-{name.sequence}"


@pytest.mark.parametrize("instance", ["", "Main", "a1", "abcdefghi", "a b", "ä", "main\n"])
def test_instance_that_is_no_name_is_refused(instance):
    with pytest.raises(ConfigError, match="1 to 8 letters"):
        OrderIds(instance, 1)


def test_negative_epoch_is_refused():
    with pytest.raises(StateError, match="from 0 up"):
        OrderIds("main", -1)


def test_id_longer_than_the_venue_takes_is_refused_and_not_counted():
    ids = OrderIds("abcdefgh", 10**24)
    assert len(ids.next()) == MAX_LENGTH
    for _ in range(8):
        ids.next()
    for _ in range(2):
        with pytest.raises(StateError, match="at most 36"):
            ids.next()
    assert ids.n_given == 9
