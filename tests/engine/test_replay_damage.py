"""Whatever happened to the bytes of a recording: a report or one sentence, never a crash."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.replay.jobs import ConvertJob, ReplayJob, run_convert, run_replay
from engine.view import SilentProgress
from tests.engine.recordings import spot_session, text, usdm_session

QUIET = SilentProgress()
SESSIONS = {"spot": text(spot_session()), "usdm": text(usdm_session())}
HARM = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=1500),
        st.integers(min_value=0, max_value=40),
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from(
                [b"\n", b"-", b"9" * 30, b'"', b"}", b"[[[[", b"\x00", b"1e400", b'"s":"', b"null"]
            ),
        ),
    ),
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(market=st.sampled_from(["spot", "usdm"]), harm=HARM)
def test_harmed_recording_gives_a_report_or_one_sentence_and_the_same_converted(
    tmp_path: Path, market: str, harm: list[tuple[int, int, bytes]]
) -> None:
    content = SESSIONS[market]
    for at, removed, put in harm:
        content = content[:at] + put + content[at + removed :]
    path, events = tmp_path / "a", tmp_path / "events"
    path.write_bytes(content)
    one, two = tmp_path / "one", tmp_path / "two"
    try:
        first = run_replay(ReplayJob((path,), market, symbol="BTCUSDT", bbo=one), QUIET)
    except InputError:
        return
    run_convert(ConvertJob((path,), events, market, symbol="BTCUSDT", force=True), QUIET)
    second = run_replay(ReplayJob((events,), None, bbo=two), QUIET)
    assert one.read_bytes() == two.read_bytes()
    for name in ("messages", "depth_updates", "trades", "refused", "gaps", "signals", "broken_lines"):
        assert getattr(first, name) == getattr(second, name), name
