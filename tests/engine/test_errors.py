import pickle

import pytest

from engine.errors import ConfigError, FeedError, InputError, RemoraError, StateError, VenueError


@pytest.mark.parametrize(
    ("kind", "is_terminal", "exit_code"),
    [
        (RemoraError, True, 1),
        (ConfigError, True, 2),
        (InputError, True, 2),
        (FeedError, False, 1),
        (VenueError, False, 1),
        (StateError, True, 1),
    ],
)
def test_each_error_is_a_remora_error_with_its_usual_fate(kind, is_terminal, exit_code):
    error = kind("Expected this, found that.")
    assert isinstance(error, RemoraError)
    assert error.terminal is is_terminal
    assert error.exit_code == exit_code
    assert str(error) == "Expected this, found that."


def test_terminal_given_overrides_what_is_usual():
    assert VenueError("The key is not known there.", terminal=True).terminal


def test_facts_are_carried_beside_the_sentence_and_survive_a_pipe():
    error = pickle.loads(
        pickle.dumps(FeedError("Silent for 3 s.", terminal=True, stream="btcusdt@trade", silent_s=3))
    )
    assert (type(error), str(error), error.terminal) == (FeedError, "Silent for 3 s.", True)
    assert error.facts == {"stream": "btcusdt@trade", "silent_s": 3}
