"""Commands that start an engine and steer a running one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.ending import BAD_INPUT, FINE, leave, say, told

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings in TOML, over the preset.", show_default=False),
]
SymbolName = Annotated[
    str,
    typer.Argument(metavar="[SYMBOL]", help="One instrument; without it all.", show_default=False),
]


class PresetName(StrEnum):
    """Sets of defaults a configuration starts from."""

    LIVE = "live"
    CAPTURE = "capture"


class OnStopName(StrEnum):
    """What becomes of a position when the engine is stopped."""

    FLATTEN = "flatten"
    PROTECT = "protect"


def add_commands(app: typer.Typer) -> None:
    """Give `app` the commands of this room."""
    app.command()(run)
    for command in (status, halt, resume, pause, flatten, side, size):
        app.command()(command)


def run(
    *,
    config: Config = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            "--preset",
            help="Defaults to start from; without a configuration 'capture', which is ready after minutes.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Trade this long: 90, 60s, 5m, 8h. Without it and without a configuration 60s; with a "
            "configuration until it is stopped.",
            show_default=False,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="DIR",
            help="Record everything that enters and every decision; 'remora replay' makes them again.",
            show_default=False,
        ),
    ] = None,
    on_stop: Annotated[
        OnStopName,
        typer.Option(
            "--on-stop",
            help="At the end, on Ctrl-C and on SIGTERM: close what is held, or leave it behind its stop at "
            "the venue.",
        ),
    ] = OnStopName.FLATTEN,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object, the last line of stdout.")
    ] = False,
) -> None:
    """Trade on the embedded exchange in real time, with paper money.

    The market is synthetic: a crowd trades on an exchange inside this process, orders travel to it and back
    with latency, fees are charged. Nothing leaves this machine. It warms up from two days of history of its
    own, then trades, then closes what it holds and reports.

    On a terminal it shows price, book, tape, signals, position, P&L and latencies; keys: F flatten, P pause,
    K K kill. Ctrl-C closes what is held and ends; a second Ctrl-C leaves it behind its stop at the venue and
    ends with code 3.

    \b
    Examples:
      remora run
      remora run --for 10m --on-stop protect
      remora run --record session && remora replay session/btcusdt.txt --decisions again.jsonl

    \b
    Exit codes: 0 done, 2 bad input or configuration, 3 internal failure, or a position was left behind its
    stop.
    """
    with told():
        import os
        import sys
        import time

        from engine.app import RunJob
        from engine.config import load_config
        from engine.runreport import encode_report, render_report
        from engine.shell import run as run_engine

        is_demo = config is None
        name = preset.value if preset is not None else "capture" if is_demo else "live"
        wanted = seconds if seconds is not None else "60s" if is_demo else None
        job = RunJob(
            config=load_config(config, name, os.environ),
            seconds=None if wanted is None else seconds_of(wanted),
            record=record,
            on_stop="protect" if on_stop is OnStopName.PROTECT else "flatten",
            wall_ns=time.time_ns(),
        )
        has_view = sys.stdout.isatty() and not as_json and _is_foreground(sys.stdout.fileno())
        report = run_engine(job, say if as_json else typer.echo, has_view=has_view)
        typer.echo(encode_report(report) if as_json else render_report(report))
        leave(report.exit_code)


def status(
    *,
    config: Config = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole state as one JSON object.")
    ] = False,
) -> None:
    """Say what a running engine does."""
    with told():
        import msgspec

        from engine.runreport import progress_line
        from engine.runstate import ViewState

        answer = _tell(config, ["status"])
        if as_json:
            typer.echo(answer.decode())
        else:
            typer.echo(progress_line(msgspec.json.decode(answer, type=ViewState)))
        leave(FINE)


def halt(symbol: SymbolName = "", *, config: Config = None) -> None:
    """Stop entering: entries are withdrawn, only orders that reduce are sent, until 'resume'."""
    _command(config, ["halt", symbol])


def resume(symbol: SymbolName = "", *, config: Config = None) -> None:
    """Enter again, after 'halt' or 'pause'."""
    _command(config, ["resume", symbol])


def pause(symbol: SymbolName = "", *, config: Config = None) -> None:
    """Enter nothing new; what works and what is held goes on."""
    _command(config, ["pause", symbol])


def flatten(symbol: SymbolName = "", *, config: Config = None) -> None:
    """Withdraw entries and close what is held."""
    _command(config, ["flatten", symbol])


def side(
    sides: Annotated[str, typer.Argument(metavar="SIDES", help="both, long-only or short-only.")],
    symbol: SymbolName = "",
    *,
    config: Config = None,
) -> None:
    """Choose the sides that may be entered."""
    _command(config, ["side", sides, symbol])


def size(
    factor: Annotated[str, typer.Argument(metavar="FACTOR", help="0 to 1, of the configured size.")],
    symbol: SymbolName = "",
    *,
    config: Config = None,
) -> None:
    """Scale new entries."""
    _command(config, ["size", factor, symbol])


def _is_foreground(terminal: int) -> bool:
    """Whether a terminal is ours to draw on, and not that of the shell that put us into the background."""
    import os

    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # not the terminal of this session: nobody else's job control is in the way
        return True


def _command(config: Path | None, words: list[str]) -> None:
    with told():
        answer = _tell(config, [word for word in words if word])
        typer.echo(answer.decode())
        leave(BAD_INPUT if answer.startswith(b'{"error"') else FINE)


def _tell(config: Path | None, words: list[str]) -> bytes:
    import os

    from engine.commands import parse_command
    from engine.commandsocket import send_command
    from engine.config import load_config
    from engine.rundir import socket_path

    command = parse_command(words)
    settings = load_config(config, "live", os.environ).engine
    return send_command(socket_path(settings.instance, settings.run_dir), command, 2.0)


def seconds_of(text: str) -> float:
    """Return the time of ``--for`` in seconds; a sentence if it is none."""
    from engine.errors import InputError

    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        found = float(number) * unit
    except ValueError:
        found = -1.0
    if not 0.0 < found <= 31 * 86_400.0:
        raise InputError(
            f"--for expects a time above 0 and up to 31 days like 90, 60s, 5m or 8h, found {text}."
        )
    return found
