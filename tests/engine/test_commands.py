import msgspec
import pytest

from engine.commands import Command, Verb, parse_command
from engine.errors import InputError


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["halt"], Command(verb=Verb.HALT)),
        (["flatten", "btcusdt"], Command(verb=Verb.FLATTEN, symbol="BTCUSDT")),
        (["side", "long-only"], Command(verb=Verb.SIDE, argument="long-only")),
        (["size", "0.50", "ETHUSDT"], Command(verb=Verb.SIZE, argument="0.5", symbol="ETHUSDT")),
        (["stop", "protect"], Command(verb=Verb.STOP, argument="protect")),
    ],
)
def test_command_as_typed_is_read_and_survives_its_encoding(words, command):
    assert parse_command(words) == command
    assert msgspec.json.decode(msgspec.json.encode(command), type=Command) == command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "found nothing"),
        (["stopp"], "found stopp"),
        (["side"], "one of both, long-only, short-only, found nothing"),
        (["side", "up"], "found up"),
        (["size"], "from 0 to 1, found nothing"),
        (["size", "1.5"], "found 1.5"),
        (["size", "nan"], "found nan"),
        (["size", "-0.1"], "found -0.1"),
        (["halt", "BTCUSDT", "now"], "no more words, found now"),
        (["stop", "sell"], "flatten, protect, found sell"),
    ],
)
def test_command_that_cannot_be_read_is_one_sentence(words, told):
    with pytest.raises(InputError, match=told):
        parse_command(words)
