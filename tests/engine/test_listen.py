"""The commands that listen: what they ask for, and the one sentence for what cannot be."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.listen import MAX_SYMBOLS, Listening, add_commands
from engine.recordjob import Recorded
from engine.replay.store import Tally, open_recording, read_lines
from engine.watchjob import Watch
from engine.watchside import Live
from native.ring import RingWriter
from tests.engine.played_markets import PlayedMarkets
from tests.engine.recordings import spot_session
from tests.engine.test_scan import BTC, lines
from tests.engine.watching_process import Paced

RUNNER = CliRunner()


class Playing:
    """Opens markets that are played at once, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Listening] = []

    def watched(self, what: Listening, watch: Watch) -> AbstractAsyncContextManager[Sequence[Live]]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Sequence[Live]]:
            self.asked.append(what)
            yield (Paced(watch, "runs"),)

        return opened()

    def recorded(self, what: Listening, ring: RingWriter) -> AbstractAsyncContextManager[Recorded]:
        class Played(PlayedMarkets):
            async def run(self) -> None:
                self.play_until(self.last_ns)
                await asyncio.Event().wait()

        @asynccontextmanager
        async def opened() -> AsyncIterator[Recorded]:
            self.asked.append(what)
            yield Played([(BTC, lines(spot_session()))], ring=ring)

        return opened()


def run(*arguments: object) -> tuple[int, str, str, list[Listening]]:
    app, playing = typer.Typer(), Playing()
    add_commands(app, lambda: playing)
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr, playing.asked


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("watch",), "Expected symbols like BTCUSDT or --top N"),
        (("watch", "BTCUSDT", "--top", "5"), "one of the two"),
        (("watch", "BTC/USDT"), "Expected a symbol like BTCUSDT, found 'BTC/USDT'"),
        (("watch", "BTCUSDT", "--sort", "moon"), "--sort expects one of symbol, state, mid"),
        (("watch", "BTCUSDT", "--alert", "whale > 5"), "An alert is expected as"),
        (("watch", "BTCUSDT", "--alert", "ETHUSDT whale > 5", "--once"), "ETHUSDT is not watched"),
        (("watch", "BTCUSDT", "--origin", "127.0.0.1"), "--origin is expected as http://HOST:PORT"),
        (("watch", "BTCUSDT", "--for", "soon"), "--for expects a time"),
        (("watch", *(f"C{i}USDT" for i in range(MAX_SYMBOLS + 1))), "at most 200 symbols"),
        (
            ("record", "BTCUSDT", "--venue", "binance-usdm", "--out", "x", "--rotate", "soon"),
            "--rotate expects",
        ),
        (("record", "BTCUSDT", "--venue", "binance-usdm", "--out", "x", "--depth", "5000"), "from 5 to 1000"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: tuple[str, ...], expected: str) -> None:
    code, out, err, _ = run(*arguments)
    assert (code, out) == (2, "")
    assert expected in err
    assert err.startswith("remora: ")
    assert err.count("\n") == 1


def test_symbols_venue_and_settings_reach_whoever_opens_the_markets() -> None:
    *_, asked = run(
        *(
            "watch",
            "btcusdt",
            "BTCUSDT",
            "--venue",
            "binance-usdm",
            "--origin",
            "http://127.0.0.1:1",
            "--for",
            1,
        ),
        *("--preset", "capture", "--json"),
    )
    assert asked == [Listening("usdm", ("BTCUSDT",), 0, "http://127.0.0.1:1", None, None, "capture")]


@pytest.mark.slow
def test_watch_once_prints_one_table_or_one_line_of_json() -> None:
    code, out, err, _ = run("watch", "BTCUSDT", "--once", "--sort", "delta")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["BTCUSDT", "live"]]
    code, out, _, _ = run("watch", "BTCUSDT", "--once", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["spread_bps"] == pytest.approx(0.02 / 60_000 * 1e4)


@pytest.mark.slow
def test_record_writes_whole_files_and_says_what(tmp_path: Path) -> None:
    code, out, err, asked = run(
        *("record", "BTCUSDT", "--venue", "binance-spot", "--out", tmp_path / "tapes", "--for", "1s"),
        *("--depth", 500, "--compress", "zst"),
    )
    assert (code, out) == (0, "")
    assert asked[0].depth == 500
    (path,) = (tmp_path / "tapes").iterdir()
    assert path.name.endswith(".txt.zst")
    assert len(list(read_lines(open_recording([path]), Tally()))) == len(spot_session())
    assert f"{len(spot_session())} lines in 1 files, 0 records lost" in err


def test_help_says_what_the_marks_mean_and_how_it_ends() -> None:
    app = typer.Typer()
    add_commands(app, Playing)
    for command in ("watch", "record"):
        found = RUNNER.invoke(app, [command, "--help"])
        assert found.exit_code == 0
        assert "Example" in found.stdout
        assert "Exit codes" in found.stdout
