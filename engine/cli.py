"""The `remora` command. What a command needs is imported when it runs, so that ``--help`` is instant."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine import listen, operate
from engine.ending import EXIT_CODES, FINE, INTERRUPTED, leave, say, told
from engine.operate import PresetName

app = typer.Typer(
    name="remora",
    help=f"""Remora, a low-latency order-flow scalping engine.

\b
Start here:
  remora run                               trade a minute on the embedded exchange, with paper money
  remora status                            what a running engine does; halt, pause, flatten ... steer it
  remora tour                              a guided replay in the terminal
  remora synth --seconds 60 --seed 1 --market spot --out day.txt --truth truth.jsonl
  remora replay day.txt --market spot --signals signals.jsonl
  remora replay --help

{EXIT_CODES}""",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class MarketName(StrEnum):
    """Markets by the name the command line uses."""

    SPOT = "spot"
    USDM = "usdm"
    COINM = "coinm"


class SynthMarketName(StrEnum):
    """Markets that synthetic order flow can be made for."""

    SPOT = "spot"
    USDM = "usdm"


class OrdersName(StrEnum):
    """Which orders a replay sends."""

    NONE = "none"
    RECORDED = "recorded"
    PAPER = "paper"


Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Recorded files of one session in the order of time (plain, gzip or Zstandard), "
        "or one directory made by 'remora convert'.",
        show_default=False,
    ),
]
RecordedFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Recorded files of one session in the order of time (plain, gzip or Zstandard).",
        show_default=False,
    ),
]
Market = Annotated[
    MarketName | None,
    typer.Option("--market", help="Market the recording was made on.", show_default=False),
]
SymbolName = Annotated[
    str | None,
    typer.Option(
        "--symbol", help="Symbol to take; needed when the recording holds several.", show_default=False
    ),
]
ExchangeInfo = Annotated[
    Path | None,
    typer.Option(
        "--exchange-info",
        metavar="FILE",
        help="The venue's exchangeInfo answer (plain, gzip or Zstandard): units and tick are taken from it. "
        "Without it they are inferred from the recording.",
        show_default=False,
    ),
]


@app.command()
def replay(
    files: Files,
    *,
    market: Market = None,
    symbol: SymbolName = None,
    exchange_info: ExchangeInfo = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Settings in TOML, over the preset.", show_default=False
        ),
    ] = None,
    preset: Annotated[
        PresetName,
        typer.Option(
            "--preset", help="Defaults to start from; 'capture' is for recordings of a few minutes."
        ),
    ] = PresetName.LIVE,
    signals: Annotated[
        Path | None,
        typer.Option(
            "--signals", metavar="FILE", help="Write every signal as a JSON line.", show_default=False
        ),
    ] = None,
    bbo: Annotated[
        Path | None,
        typer.Option(
            "--bbo",
            metavar="FILE",
            help="Write update_id,best_bid,best_ask after every applied depth update, 8 decimals.",
            show_default=False,
        ),
    ] = None,
    orders: Annotated[
        OrdersName | None,
        typer.Option(
            "--orders",
            help="'recorded' makes the decisions of a session that 'remora run' recorded again and is the "
            "default there; 'paper' sends new orders to a paper exchange that stands on the recording; "
            "'none' gives signals only.",
            show_default=False,
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            metavar="FILE",
            help="Write every decision, order, fill and plan as a JSON line.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object, the last line of stdout.")
    ] = False,
) -> None:
    """Replay recorded market data through the engine.

    The engine runs in virtual time: the output never depends on the clock of the machine.
    The same files and settings give the same signals, byte for byte.

    \b
    Examples:
      remora replay btcusdt.gz --market spot --preset capture
      remora replay monday.gz tuesday.gz --market usdm --symbol ETHUSDT --signals signals.jsonl
      remora replay BINANCE.ws.1.0 BINANCE.http.0.0 --market spot --symbol NKNUSDT
      remora replay day.gz --market spot --exchange-info exchangeInfo.json --json | tail -1
      remora replay converted/ --signals signals.jsonl
      remora replay btcusdt.gz --market usdm --orders paper --decisions decisions.jsonl
      remora replay session/btcusdt.txt --decisions again.jsonl

    \b
    Formats, recognised by content:
      lines of '<receive time in ns> <JSON>', the REST depth answer as a bare document among them
      raw captures of cryptofeed; give the ws and the http file of a capture together
      a directory made by 'remora convert', which knows its market and units

    \b
    Exit codes: 0 done (a cut last line is left out and said), 2 bad input or configuration,
    3 internal failure, 130 stopped by Ctrl-C (what was written stays in .partial files).
    """
    with told():
        from engine.replay.jobs import ReplayJob, run_replay
        from engine.replay.report import encode, render
        from engine.view import progress

        job = ReplayJob(
            paths=tuple(files),
            market=market.value if market is not None else None,
            symbol=symbol,
            exchange_info=exchange_info,
            config=config,
            preset=preset.value,
            signals=signals,
            bbo=bbo,
            orders=None if orders is None else orders.value,
            decisions=decisions,
        )
        report = run_replay(job, progress())
        if as_json:
            for note in report.notes:
                say(note)
            typer.echo(encode(report))
        else:
            typer.echo(render(report))
        leave(INTERRUPTED if report.interrupted else FINE)


@app.command()
def convert(
    files: RecordedFiles,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Directory to make; new or empty.", show_default=False),
    ],
    market: Market = None,
    symbol: SymbolName = None,
    exchange_info: ExchangeInfo = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an older conversion in DIR.")] = False,
) -> None:
    """Make a memory-mapped event file, which replays faster.

    The events of one instrument are read once and stored in the layout the engine works on.

    The signals of the conversion are those of the recording, byte for byte.

    \b
    Examples:
      remora convert btcusdt.gz --out btcusdt.events --market spot
      remora replay btcusdt.events --signals signals.jsonl

    \b
    DIR holds events.bin (the events in the layout of this build) and meta.json (symbol, market, units,
    counts). Exit codes: 0 done, 2 bad input, 3 internal failure, 130 stopped by Ctrl-C.
    """
    with told():
        from engine.replay.jobs import ConvertJob, run_convert
        from engine.view import progress

        job = ConvertJob(
            paths=tuple(files),
            out=out,
            market=market.value if market is not None else None,
            symbol=symbol,
            exchange_info=exchange_info,
            force=force,
        )
        meta = run_convert(job, progress())
        typer.echo(
            f"{out}: {meta.symbol} {meta.market}, {meta.records:,} events of {meta.messages:,} messages, "
            f"{meta.events_bytes:,} bytes"
        )
        if meta.broken_lines:
            say(f"{meta.broken_lines} lines have no frame of their format or no possible time; left out")
        if meta.truncated:
            say("a file ends too early: converted to its last whole line")


@app.command()
def synth(
    *,
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, help="Length of the session.", show_default=False)
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.", show_default=False)],
    market: Annotated[
        SynthMarketName, typer.Option("--market", help="Message shapes to write.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Recording to write.", show_default=False)
    ],
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE",
            help="Write what really happened (every whale and iceberg) as JSON lines.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a recording in which the whales are known.

    The order flow is synthetic: a crowd trades on the engine's own matching.

    The same arguments give the same bytes.

    \b
    Example:
      remora synth --seconds 60 --seed 7 --market spot --out minute.txt --truth truth.jsonl
      remora replay minute.txt --market spot --preset capture

    \b
    Exit codes: 0 done, 2 bad input, 3 internal failure, 130 stopped by Ctrl-C.
    """
    with told():
        from engine.replay.jobs import run_synth

        summary = run_synth(seconds, seed, "spot" if market is SynthMarketName.SPOT else "usdm", out, truth)
        typer.echo(
            f"{out}: {summary.symbol} {summary.market}, {summary.lines:,} lines: "
            f"{summary.depth_updates:,} depth updates, {summary.trades:,} trades, "
            f"{summary.tickers:,} tickers; {summary.parents} whales"
        )


@app.command()
def tour(
    *,
    speed: Annotated[
        float, typer.Option("--speed", min=0.1, max=10_000, help="Recorded seconds shown per second.")
    ] = 60.0,
) -> None:
    """Show a replay live in the terminal.

    It shows price, book, tape, profile, signals and latencies, then the report of the session.
    The recorded BTCUSDT spot session of ../shared/data is played if it is there, else a synthetic minute.
    Without a terminal plain progress lines are printed.

    \b
    Examples:
      remora tour
      remora tour --speed 20

    \b
    Exit codes: 0 done, 2 bad input, 3 internal failure, 130 stopped by Ctrl-C.
    """
    with told():
        from engine.replay.jobs import run_replay, tour_job
        from engine.replay.report import render
        from engine.view import LiveView, SilentProgress

        with tour_job() as job:
            view = LiveView(speed)
            try:
                report = run_replay(job, SilentProgress(), view)
            finally:
                view.close()
        typer.echo(render(report))
        leave(INTERRUPTED if report.interrupted else FINE)


@app.command()
def sim(
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Port; 0 lets the system choose.")
    ] = 8001,
    market: Annotated[
        str,
        typer.Option(
            "--market",
            metavar="crowd|FILE[,FILE...]",
            help="Synthetic order flow, or recordings, each of one market.",
        ),
    ] = "crowd",
    symbols: Annotated[
        str,
        typer.Option(
            "--symbols",
            metavar="NAME[,NAME...]",
            help="Symbols of the crowd's markets; each trades on spot and USD-M.",
        ),
    ] = "BTCUSDT",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same market.")] = 1,
    speed: Annotated[
        float, typer.Option("--speed", min=0.01, max=1_000, help="Venue seconds in a second.")
    ] = 1.0,
    faults: Annotated[
        Path | None,
        typer.Option(
            "--faults", metavar="FILE", help="What goes wrong on purpose, and when.", show_default=False
        ),
    ] = None,
    api_key: Annotated[
        str, typer.Option("--api-key", metavar="KEY", help="Key of the one account.", show_default=False)
    ],
    api_secret: Annotated[
        str, typer.Option("--api-secret", metavar="SECRET", help="Its secret.", show_default=False)
    ],
    ed25519_public: Annotated[
        Path | None,
        typer.Option(
            "--ed25519-public", metavar="PEM", help="Its public key for signed sessions.", show_default=False
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="Serve https and wss with it.", show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Key of the certificate.", show_default=False),
    ] = None,
) -> None:
    """Serve a simulated Binance: spot and USD-M market data, REST and streams, on one origin.

    Its paths, messages, limits and refusals are the venue's, so that any client of the venue works with it
    when its addresses are changed. When it takes connections it prints them as one JSON line.

    \b
    Examples:
      remora sim --api-key k --api-secret s
      remora sim --port 0 --symbols BTCUSDT,ETHUSDT,SOLUSDT --seed 7 --api-key k --api-secret s

    \b
    Exit codes: 0 ended by SIGTERM or Ctrl-C, 2 bad input or configuration, 3 internal failure.
    """
    with told():
        from engine.simjob import SimJob, run_sim

        job = SimJob(
            host=host,
            port=port,
            market=market,
            symbols=symbols,
            seed=seed,
            speed=speed,
            faults=faults,
            api_key=api_key,
            api_secret=api_secret,
            ed25519_public=ed25519_public,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
        run_sim(job, typer.echo)


def _opening() -> listen.Opening:
    from engine.opening import LiveOpening

    return LiveOpening()


operate.add_commands(app)
listen.add_commands(app, _opening)


def _show_version(wanted: bool) -> None:
    if wanted:
        from engine.replay.report import version

        typer.echo(f"remora {version()}")
        raise typer.Exit(FINE)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


def main() -> None:
    """Run the command of the process's arguments."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
