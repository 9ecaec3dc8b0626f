"""What a terminal shows of a running job: a progress bar, and the live view of one market."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from engine.records import FlowRecord, Record, SignalRecord
from native.market import Market

REFRESHES_PER_S: Final = 8
LINE_EVERY_NS: Final = 30_000_000_000
BOOK_LEVELS: Final = 10
TAPE_ROWS: Final = 20
SIGNAL_ROWS: Final = 8
PROFILE_ROWS: Final = 10
BAR_WIDTH: Final = 14

_SIDE_STYLE: Final = {1: "green", -1: "red", 0: "white"}


class SilentProgress:
    """Progress that is shown nowhere."""

    def start(self, label: str, total: int) -> None:
        """Do nothing."""

    def update(self, done: int) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class BarProgress:
    """A progress bar on the terminal behind stderr."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def start(self, label: str, total: int) -> None:
        """Show the next stage from its beginning."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(label, total=max(total, 1))
        self._progress.start()

    def update(self, done: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def stop(self) -> None:
        """Take the bar off the terminal."""
        self._progress.stop()


def progress() -> SilentProgress | BarProgress:
    """Return a progress bar if stderr is a terminal."""
    console = Console(stderr=True)
    return BarProgress(console) if console.is_terminal else SilentProgress()


class LiveView:
    """A replay at a readable speed: a picture on a terminal, else a line every half minute of the recording.

    Parameters
    ----------
    speed : recorded seconds per second; when the machine is slower, as fast as it can.
    console : where to draw; stdout by default.
    """

    def __init__(self, speed: float, console: Console | None = None) -> None:
        self._speed = speed
        self._console = Console() if console is None else console
        # Imbalances come by the minute and whales by the hour: apart, or one would push out the other.
        self._whales: deque[Record] = deque(maxlen=SIGNAL_ROWS)
        self._imbalances: deque[Record] = deque(maxlen=SIGNAL_ROWS)
        self._live: Live | None = None
        self._market: Market | None = None
        self._kinds: Mapping[str, int] = {}
        self._price_digits = 0
        self._first_ns = 0
        self._last_ns = 0
        self._next_ns = 0
        self._started_s = 0.0

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        if self._live is None:
            return
        if self._market is not None and self._last_ns:
            self._live.update(self._picture(self._market, self._last_ns), refresh=True)
        self._live.stop()
        self._live = None

    def begin(self, market: Market, kinds: Mapping[str, int]) -> None:
        """Take the market to show, before its first message."""
        self._market = market
        self._kinds = kinds
        self._price_digits = market.price_digits
        self._started_s = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()

    def watch(self, record: Record) -> None:
        """Take a record to show; without a terminal whales and entries are printed as they come."""
        if isinstance(record, FlowRecord) and record.kind.startswith("imbalance"):
            self._imbalances.append(record)
            return
        self._whales.append(record)
        if self._live is None:
            self._console.print(told(record, self._at(record)), highlight=False, soft_wrap=True)

    def on_read(self, recv_ns: int) -> None:
        """Wait until it is time to show `recv_ns`, and draw if a picture is due."""
        self._last_ns = recv_ns
        if recv_ns < self._next_ns or self._market is None:
            return
        if not self._first_ns:
            self._first_ns = recv_ns
        if self._live is None:
            self._next_ns = recv_ns + LINE_EVERY_NS
            self._print_line(self._market, recv_ns)
            return
        due_s = (recv_ns - self._first_ns) / 1e9 / self._speed
        wait_s = due_s - (time.monotonic() - self._started_s)
        if wait_s > 0:
            time.sleep(wait_s)
        # Behind schedule the picture is drawn less often in recorded time, never more often in real time.
        late_ns = int(max(-wait_s, 0.0) * self._speed * 1e9)
        self._next_ns = recv_ns + int(self._speed * 1e9 / REFRESHES_PER_S) + min(late_ns, 10_000_000_000)
        self._live.update(self._picture(self._market, recv_ns), refresh=True)

    def _print_line(self, market: Market, recv_ns: int) -> None:
        self._console.print(
            f"{(recv_ns - self._first_ns) / 1e9:6.0f} s  {self._price(market.best_bid)} / "
            f"{self._price(market.best_ask)}  messages {market.messages:,}  sweeps {market.flow.n_sweeps}  "
            f"whales {market.whale.n_whales}  episodes {market.whale.n_episodes}  "
            f"entries {self._kinds['entry']}  vetoes {self._kinds['veto']}",
            highlight=False,
            soft_wrap=True,
        )

    def _at(self, record: Record) -> str:
        return f"{(record.recv_ns - self._first_ns) / 1e9:8.2f} s"

    def _price(self, units: int) -> str:
        digits = self._price_digits
        return f"{units / 10**digits:,.{digits}f}"

    def _picture(self, market: Market, recv_ns: int) -> Layout:
        layout = Layout()
        layout.split_column(
            Layout(self._head(market, recv_ns), size=3),
            Layout(name="middle", minimum_size=BOOK_LEVELS * 2 + 4),
            Layout(name="signals", size=SIGNAL_ROWS + 2),
        )
        layout["signals"].split_row(
            Layout(self._signal_panel("whales and entries, newest first", self._whales), ratio=2),
            Layout(self._signal_panel("imbalance", self._imbalances)),
        )
        layout["middle"].split_row(
            Layout(self._book_panel(market)),
            Layout(self._tape_panel(market)),
            Layout(Group(self._profile_panel(market), self._latency_panel(market))),
        )
        return layout

    def _head(self, market: Market, recv_ns: int) -> Panel:
        state = Text("live", "green") if market.is_valid else Text("no valid book", "red")
        text = Text.assemble(
            (f"{market.symbol}  ", "bold"),
            (f"{self._price(market.best_bid)} / {self._price(market.best_ask)}  ", "bold cyan"),
            f"spread {market.spread_bps:.2f} bps  sigma60 {market.sigma_60_bps:.2f} bps  ",
            f"at {(recv_ns - self._first_ns) / 1e9:,.0f} s of the recording  ",
            state,
        )
        return Panel(text, title="Remora", title_align="left")

    def _book_panel(self, market: Market) -> Panel:
        asks, bids = market.book.levels(-1, BOOK_LEVELS), market.book.levels(1, BOOK_LEVELS)
        largest = max((quantity for _, quantity in [*asks, *bids]), default=1)
        table = Table.grid(expand=True, padding=(0, 1))
        for justify in ("right", "right", "left"):
            table.add_column(justify=justify, no_wrap=True)
        for side, levels in ((-1, list(reversed(asks))), (1, bids)):
            for price, quantity in levels:
                bar = "█" * max(1, round(BAR_WIDTH * quantity / largest))
                amount = f"{quantity / 10**market.quantity_digits:,.5f}"
                table.add_row(*(Text(cell, _SIDE_STYLE[side]) for cell in (self._price(price), amount, bar)))
        return Panel(table, title="book")

    def _tape_panel(self, market: Market) -> Panel:
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(justify="right")
        table.add_column(justify="right")
        digits = market.quantity_digits
        for _, price, quantity, side, _ in market.tape.last(TAPE_ROWS):
            style, amount = _SIDE_STYLE[side], f"{quantity / 10**digits:,.{digits}f}"
            table.add_row(Text(self._price(price), style), Text(amount, style))
        return Panel(table, title="tape")

    def _profile_panel(self, market: Market) -> Panel:
        table = Table.grid(expand=True, padding=(0, 1))
        for name in ("profile", "VAL", "POC", "VAH"):
            table.add_column(justify="left" if name == "profile" else "right")
        table.add_row("", "VAL", "POC", "VAH", style="dim")
        for profile in market.profiles():
            style = "" if profile.is_ready else "dim"
            values = (f"{value:,.{self._price_digits}f}" for value in (profile.val, profile.poc, profile.vah))
            table.add_row(profile.source, *values, style=style)
        cvd = Text(f"CVD {market.cvd / 10**market.quantity_digits:+,.3f}")
        return Panel(Group(table, self._histogram(market), cvd), title="volume profile")

    def _histogram(self, market: Market) -> Table:
        """Draw the rolling profile from the highest price down; the row with the mid is bright."""
        first, volumes = market.areas.rolling.snapshot()
        units = market.areas.rolling.row_units
        height = -(-len(volumes) // PROFILE_ROWS) or 1
        sums = [sum(volumes[i : i + height]) for i in range(0, len(volumes), height)]
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(justify="right")
        table.add_column(justify="left", no_wrap=True)
        for i in reversed(range(len(sums))):
            low, high = (first + i * height) * units, (first + (i + 1) * height) * units
            style = "bold yellow" if 2 * low <= market.best_bid + market.best_ask < 2 * high else "cyan"
            bar = "█" * round(2 * BAR_WIDTH * sums[i] / max(sums))
            table.add_row(Text(self._price(low), style), Text(bar, style))
        return table

    def _latency_panel(self, market: Market) -> Panel:
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_row("frame to mask, us", "p50", "p99", "p99.9", style="dim")
        for kind in ("depth", "trade", "ticker"):
            row = market.frame_to_mask(kind)
            if row.count:
                table.add_row(kind, *(f"{row.percentile(q) / 1e3:.2f}" for q in (50, 99, 99.9)))
        counts = Text(
            f"sweeps {market.flow.n_sweeps:,}  whales {market.whale.n_whales:,}  "
            f"episodes {market.whale.n_episodes:,}\n"
            f"entries {self._kinds['entry']:,}  vetoes {self._kinds['veto']:,}"
        )
        return Panel(Group(table, counts), title="engine")

    def _signal_panel(self, title: str, records: Iterable[Record]) -> Panel:
        lines = [told(record, self._at(record)) for record in records]
        return Panel(Text("\n").join(reversed(lines)), title=title)


def told(record: Record, at: str) -> Text:
    """Return one record as one line; `at` says when it was."""
    style = {"buy": "green", "sell": "red"}.get(record.side, "white")
    if isinstance(record, SignalRecord):
        what = "ENTRY" if record.veto is None else f"no entry: {record.veto}"
        rest = f"  episode {record.episode}  target {_bps(record.target_bps)}  cost {_bps(record.cost_bps)}"
        return Text(f"{at}  {what:<28}{record.side:<5}{rest}", style)
    rho = "" if record.rho is None else f"  rho {record.rho:+.2f}"
    what = record.kind.replace("_", " ")
    if record.notional is None:
        return Text(f"{at}  {what.removeprefix('imbalance '):<4}{record.side:<5}{rho}", style)
    reason = "" if record.reason is None else f": {record.reason}"
    return Text(f"{at}  {what + reason:<28}{record.side:<5}{rho}  {record.notional:,.0f} quote", style)


def _bps(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} bps"
