"""Commands that listen to a venue's public data, without keys: `remora watch` and `remora record`."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import typer

from engine.ending import FINE, leave, say, told
from engine.operate import Config, PresetName, seconds_of

if TYPE_CHECKING:
    from engine.recordjob import Recorded
    from engine.watchjob import Watch
    from engine.watchside import Live
    from native.ring import RingWriter

MAX_SYMBOLS: Final = 200
DEPTHS: Final = {"spot": (1, 5_000), "usdm": (5, 1_000)}
_SYMBOL: Final = re.compile(r"[A-Z0-9]{2,30}(_[0-9]{6})?")


class VenueName(StrEnum):
    """Markets that can be listened to."""

    SPOT = "binance-spot"
    USDM = "binance-usdm"


MARKETS: Final = {VenueName.SPOT: "spot", VenueName.USDM: "usdm"}
PAIR: Final = "pair"


class CompressionName(StrEnum):
    """How recorded lines are compressed."""

    GZ = "gz"
    ZST = "zst"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Listening:
    """Which markets are to be opened, and where.

    Attributes
    ----------
    market : "spot", "usdm", or "pair" for both of each symbol.
    symbols : as the venue writes them; empty when `top` says.
    top : the so many of the largest quote volume of 24 h.
    origin : address of a simulated venue; "" is the real one.
    depth : levels a side of the snapshots; None as configured.
    config, preset : settings.
    """

    market: str
    symbols: tuple[str, ...]
    top: int
    origin: str
    depth: int | None
    config: Path | None
    preset: str


class Opening(Protocol):
    """Opens markets of a venue; both stay open for as long as the context."""

    def watched(self, what: Listening, watch: "Watch") -> "AbstractAsyncContextManager[Sequence[Live]]":
        """Open markets whose records go to ``watch.on_record``; of a pair USD-M, then spot as side 1."""
        ...

    def recorded(self, what: Listening, ring: "RingWriter") -> "AbstractAsyncContextManager[Recorded]":
        """Open markets whose frames, snapshots and inputs go to the ring."""
        ...


Symbols = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SYMBOL...]", help="Symbols as the venue writes them.", show_default=False),
]
Origin = Annotated[
    str,
    typer.Option(
        "--origin",
        metavar="URL",
        help="A simulated venue such as http://127.0.0.1:8001 in place of the real one.",
        show_default=False,
    ),
]
Top = Annotated[
    int,
    typer.Option(
        "--top",
        min=0,
        max=MAX_SYMBOLS,
        help="In place of symbols: so many of the largest 24 h volume.",
        show_default=False,
    ),
]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="End after this long: 90, 60s, 5m, 8h.", show_default=False),
]
Preset = Annotated[PresetName, typer.Option("--preset", help="Defaults to start from.")]


def add_commands(app: typer.Typer, opening: Callable[[], Opening]) -> None:
    """Give `app` the commands of this room.

    Parameters
    ----------
    opening : makes what opens markets; called when a command runs, so that ``--help`` stays instant.
    """

    @app.command()
    def watch(
        symbols: Symbols = None,
        *,
        top: Top = 0,
        venue: Annotated[
            VenueName | None,
            typer.Option("--venue", help="Market to watch, binance-spot unless --pair.", show_default=False),
        ] = None,
        pair: Annotated[
            bool,
            typer.Option("--pair", help="Both markets of each symbol, spot under USD-M, and what differs."),
        ] = False,
        origin: Origin = "",
        sort: Annotated[
            str, typer.Option("--sort", metavar="COLUMN", help="Column the table is sorted by.")
        ] = "whale_5m",
        alert: Annotated[
            list[str] | None,
            typer.Option(
                "--alert",
                metavar="RULE",
                help="Such as 'BTCUSDT whale > 500000' or '* spread_bps > 5'; may be given again.",
                show_default=False,
            ),
        ] = None,
        sound: Annotated[bool, typer.Option("--sound", help="Ring the bell with every alert.")] = False,
        once: Annotated[
            bool, typer.Option("--once", help="Print one table when all are live, after 30 s at the latest.")
        ] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="A JSON line a second, and one for every alert.")
        ] = False,
        seconds: For = None,
        config: Config = None,
        preset: Preset = PresetName.LIVE,
    ) -> None:
        """Watch markets: whales, flow, spread, depth, profile; alerts; public data, no keys.

        On a terminal a table: arrows choose, Enter shows the ladder of a market, Esc goes back, s sorts by
        the next column, S turns the order, q ends. Elsewhere a line every ten seconds.

        ? is unknown. ~ marks a sum whose window is not watched to its begin yet.

        \b
        Examples:
          remora watch BTCUSDT ETHUSDT --venue binance-usdm
          remora watch --top 50 --sort delta_1m --alert '* whale > 500000' --sound
          remora watch --pair --top 10 --sort funding_bps
          remora watch BTCUSDT --json --for 60s

        \b
        Exit codes: 0 ended, 1 the venue did not answer or refused, 2 bad input or configuration,
        3 internal failure.
        """
        with told():
            from engine.alerts import parse_rule
            from engine.errors import InputError
            from engine.watchjob import WatchOptions, run_watch
            from engine.watchview import COLUMNS, column_to_sort

            column = column_to_sort(sort)
            if column is None:
                known = ", ".join(one.name for one in COLUMNS)
                raise InputError(f"--sort expects one of {known}, found {sort!r}.")
            if pair and venue is not None:
                raise InputError(f"--pair watches spot and USD-M: leave --venue out, found {venue.value}.")
            market = PAIR if pair else MARKETS[venue or VenueName.SPOT]
            what = _listening(symbols, top, market, origin, config=config, preset=preset)
            options = WatchOptions(
                venue="binance pairs" if pair else (venue or VenueName.SPOT).value,
                sort=column,
                rules=tuple(parse_rule(text) for text in alert or ()),
                has_sound=sound,
                is_once=once,
                is_json=as_json,
                seconds=None if seconds is None else seconds_of(seconds),
            )
            run_watch(options, lambda watch: opening().watched(what, watch))
            leave(FINE)

    @app.command()
    def record(
        symbols: Symbols = None,
        *,
        top: Top = 0,
        venue: Annotated[VenueName, typer.Option("--venue", help="Market to record.", show_default=False)],
        out: Annotated[
            Path,
            typer.Option("--out", metavar="DIR", help="Directory of the files.", show_default=False),
        ],
        origin: Origin = "",
        compress: Annotated[
            CompressionName, typer.Option("--compress", help="gz is what other tools read.")
        ] = CompressionName.GZ,
        rotate: Annotated[
            str | None,
            typer.Option(
                "--rotate",
                metavar="TIME|SIZE",
                help="Begin new files at each full 1h, 30m, 1d (UTC), or at 512MiB.",
                show_default=False,
            ),
        ] = None,
        depth: Annotated[
            int | None,
            typer.Option(
                "--depth", metavar="LEVELS", help="Levels a side of each snapshot.", show_default=False
            ),
        ] = None,
        seconds: For = None,
        config: Config = None,
        preset: Preset = PresetName.LIVE,
    ) -> None:
        """Record markets into files that replay, and other tools, can read; public data, no keys.

        A file for each symbol: lines of '<receive time in ns> <message>', the snapshot of the book among
        them. A file has its name when it is whole; before, and after a kill, it ends in .part.
        Nothing that stands in DIR is ever overwritten. Ctrl-C ends it in order; --for counts from the first
        line, since history is read before, which may take a minute and a half.

        \b
        Examples:
          remora record BTCUSDT ETHUSDT --venue binance-usdm --out tapes --rotate 1h
          remora record --top 20 --venue binance-spot --out tapes --compress zst --for 8h
          remora replay tapes/btcusdt.usdm.20261120T030000Z.txt.gz --market usdm

        \b
        Exit codes: 0 ended, 1 the venue did not answer or refused, 2 bad input, or the disk refused,
        3 internal failure.
        """
        with told():
            from engine.observers.tapewriter import Rotation, parse_rotation
            from engine.recordjob import RecordOptions, run_record

            market = MARKETS[venue]
            what = _listening(symbols, top, market, origin, config=config, preset=preset, depth=depth)
            options = RecordOptions(
                venue=venue.value,
                market=what.market,
                out=out,
                compression=compress.value,
                rotation=Rotation() if rotate is None else parse_rotation(rotate),
                seconds=None if seconds is None else seconds_of(seconds),
            )
            run_record(options, lambda ring: opening().recorded(what, ring), say)
            leave(FINE)


def _listening(
    symbols: list[str] | None,
    top: int,
    market: str,
    origin: str,
    *,
    config: Path | None,
    preset: PresetName,
    depth: int | None = None,
) -> Listening:
    from engine.errors import InputError

    names = tuple(dict.fromkeys(name.upper() for name in symbols or ()))
    if bool(names) == bool(top):
        raise InputError("Expected symbols like BTCUSDT or --top N, one of the two.")
    if len(names) > MAX_SYMBOLS:
        raise InputError(f"Expected at most {MAX_SYMBOLS} symbols, found {len(names)}.")
    for name in names:
        if not _SYMBOL.fullmatch(name):
            raise InputError(f"Expected a symbol like BTCUSDT, found {name!r}.")
    low, high = DEPTHS.get(market, (1, 1))
    if depth is not None and not low <= depth <= high:
        raise InputError(f"--depth of {market} is expected from {low} to {high} levels, found {depth}.")
    if origin and not re.fullmatch(r"https?://[^/\s]+", origin):
        raise InputError(f"--origin is expected as http://HOST:PORT, found {origin!r}.")
    return Listening(market, names, top, origin, depth, config, preset.value)
