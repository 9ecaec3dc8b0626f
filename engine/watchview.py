"""What `remora watch` draws: the scanner's table and the ladder of one market."""

import atexit
import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.alerts import Alert
from engine.ladder import LadderRow, LadderState, Print
from engine.pair import AGAINST, ALONE, Pair, Partners
from engine.runreport import clock_text, price_text
from engine.scan import FIVE_MINUTES_S, HOUR_S, MINUTE_S, Row, column_named
from engine.watchkeys import WatchKeys

LEAST_COLUMNS: Final = 60
LEAST_ROWS: Final = 10
ALERT_ROWS: Final = 3
LADDER_COLUMNS: Final = 56
BAR_WIDTH: Final = 6
UNKNOWN: Final = "?"
PARTIAL: Final = "~"
TABLE_KEYS: Final = "keys: up down choose   enter ladder   s sort by   S turn   q end"
LADDER_KEYS: Final = "keys: esc back   up down other market   + - height of a row   q end"
PAIR_LADDER_KEYS: Final = "keys: esc back   up down other symbol   m spot or usdm   + - height   q end"
PAIR_ROWS: Final = 3  # of the terminal for a symbol: both markets and what differs
PAIR_COLUMNS: Final = 140
BAD_STATES: Final = ("gap", "stuck", "no socket")

_DAY_S: Final = 86_400
_SIDES: Final = {1: "green", -1: "red", 0: "dim"}


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is drawn; the first in `COLUMNS` stay longest when the terminal is narrow."""

    name: str
    head: str
    width: int
    form: str  # text, price, short, signed, bps, signed_bps, distance (bps), percent, rho, seconds, clock
    window_s: int = 0  # of a sum; 0 is none


COLUMNS: Final = (
    Column("symbol", "symbol", 12, "text"),
    Column("state", "state", 9, "text"),
    Column("mid", "mid", 11, "price"),
    Column("whale_5m", "whale 5m", 8, "signed", FIVE_MINUTES_S),
    Column("delta_1m", "delta 1m", 8, "signed", MINUTE_S),
    Column("quote_s", "quote/s", 8, "short"),
    Column("spread_bps", "spread", 7, "bps"),
    Column("delta_5m", "delta 5m", 9, "signed", FIVE_MINUTES_S),
    Column("whale_1h", "whale 1h", 9, "signed", HOUR_S),
    Column("change_pct", "24h %", 7, "percent"),
    Column("funding_bps", "funding", 8, "signed_bps"),
    Column("open_interest", "open int", 8, "short"),
    Column("trades_s", "trades/s", 8, "short"),
    Column("sigma_60_bps", "sigma60", 7, "bps"),
    Column("rho", "rho", 6, "rho"),
    Column("poc_bps", "to POC", 7, "distance"),
    Column("vah_bps", "to VAH", 7, "distance"),
    Column("val_bps", "to VAL", 7, "distance"),
    Column("bid_depth", "bids", 8, "short"),
    Column("ask_depth", "asks", 8, "short"),
    Column("premium_bps", "premium", 8, "signed_bps"),
    Column("threshold", "whale at", 8, "short"),
    Column("age_s", "age", 6, "seconds"),
    Column("gap_s", "gap ago", 8, "clock"),
    Column("covered_s", "watched", 8, "clock"),
    Column("profile", "profile", 8, "text"),
)


MARKET_COLUMN: Final = Column("market", "market", 6, "text")


@dataclass(frozen=True, slots=True)
class Notice:
    """One line at the foot: how the connections stand, or what happened to them last."""

    text: str
    is_bad: bool = False


NO_NOTICE: Final = Notice("")


class WatchScreen:
    """A terminal that is drawn on; what stood on it before comes back when it is closed."""

    def __init__(self, console: Console) -> None:
        self.bar = "█" if console.encoding.lower().startswith("utf") else "#"
        self._console = console
        self._is_open = True
        self._live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        atexit.register(self.close)
        self._live.start()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        width, height = self._console.size
        return width, height

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, the rest of the terminal empty."""
        _, height = self.size
        shown = Text("\n").join(list(lines)[:height])
        shown.no_wrap, shown.overflow = True, "crop"
        self._live.update(shown, refresh=True)

    def ring(self) -> None:
        """Ring the bell of the terminal."""
        self._console.bell()

    def close(self) -> None:
        """Give the terminal back."""
        if not self._is_open:
            return
        self._is_open = False
        atexit.unregister(self.close)
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            self._live.stop()


def too_small(width: int, height: int) -> list[Text]:
    """Return what is shown where nothing fits; nothing where it does."""
    if width >= LEAST_COLUMNS and height >= LEAST_ROWS:
        return []
    return [
        Text("remora watch"),
        Text(f"this terminal has {width} x {height}"),
        Text(f"{LEAST_COLUMNS} x {LEAST_ROWS} are needed"),
        Text("q ends"),
    ]


def opening_lines(venue: str) -> list[Text]:
    """Return what is shown before the markets are there."""
    return [Text(f"{venue}  asking for instruments", "bold"), Text("Ctrl-C ends", "dim")]


def table_lines(
    rows: Sequence[Row],
    keys: WatchKeys,
    alerts: Sequence[Alert],
    *,
    venue: str,
    now_ns: int,
    width: int,
    height: int,
    beside: Partners = ALONE,
    notice: Notice = NO_NOTICE,
) -> list[Text]:
    """Return the scanner's table as lines of a terminal.

    Parameters
    ----------
    rows : arranged by the keys.
    alerts : newest last.
    beside : what stands under each row, where both markets of a symbol are watched.
    notice : stands above the keys.
    """
    is_paired = bool(beside.spot)
    columns = _columns(width, keys.sort, is_paired=is_paired)
    foot = [
        *(_alert_line(alert, width) for alert in reversed(alerts[-ALERT_ROWS:])),
        *_notice_lines(notice, width),
        Text(TABLE_KEYS, "dim"),
    ]
    block = PAIR_ROWS if is_paired else 1
    room = max((height - 2 - len(foot)) // block, 1)
    symbols = [row.symbol for row in rows]
    chosen = symbols.index(keys.symbol) if keys.symbol in symbols else 0
    first = min(max(chosen - room // 2, 0), max(len(rows) - room, 0))
    lines = [
        _head(rows, beside, keys, (first, min(first + room, len(rows))), venue=venue, now_ns=now_ns),
        _column_heads(columns, keys),
    ]
    for row in rows[first : first + room]:
        lines.extend(_block(row, columns, beside, width, is_chosen=row.symbol == keys.symbol))
    del lines[max(height - len(foot), 0) :]
    lines.extend([Text("")] * (height - len(lines) - len(foot)))
    return [*lines, *foot]


def plain_table(rows: Sequence[Row], beside: Partners = ALONE) -> list[str]:
    """Return the whole table as lines of plain text; under each row what stands beside it."""
    columns = _with_market(COLUMNS) if beside.spot else COLUMNS
    told = [one for row in rows for one in (row, beside.spot.get(row.symbol)) if one is not None]
    cells = [[column.head for column in columns], *([cell_text(row, one) for one in columns] for row in told)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "  ".join(
            f"{text:<{width}}" if column.form == "text" else f"{text:>{width}}"
            for text, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in cells
    ]
    found = [lines[0]]
    for row in rows:
        found.append(lines.pop(1))
        spot = beside.spot.get(row.symbol)
        if spot is not None:
            found.append(lines.pop(1))
            covered_s = min(row.covered_s, spot.covered_s)
            found.append(pair_text(beside.pairs[row.symbol], covered_s, PAIR_COLUMNS).rstrip())
    return found


def pair_text(pair: Pair, covered_s: float, width: int) -> str:
    """Return what both markets of a symbol say as one line; five minutes only where there is room.

    Parameters
    ----------
    covered_s : how long both have been watched.
    """

    def money(value: float | None, window_s: int) -> str:
        mark = PARTIAL if covered_s < window_s else ""
        return UNKNOWN if value is None else short(value, "+") + mark

    def lean(value: float | None, window_s: int) -> str:
        mark = PARTIAL if covered_s < window_s else ""
        if value is None:
            return UNKNOWN
        return ("against" if value == AGAINST else f"spot {value:.0%}") + mark

    basis = UNKNOWN if pair.basis_bps is None else f"{pair.basis_bps:+.2f}"
    text = f"  basis {basis:>7} bps"
    for name, seconds, spot, perp, share in (
        ("1m", MINUTE_S, pair.spot_delta_1m, pair.perp_delta_1m, pair.lean_1m),
        ("5m", FIVE_MINUTES_S, pair.spot_delta_5m, pair.perp_delta_5m, pair.lean_5m),
    ):
        sums = f"usdm {money(perp, seconds):>7} spot {money(spot, seconds):>7}"
        part = f"  {name} delta {sums}, {lean(share, seconds):<10}"
        if len(text) + len(part.rstrip()) <= width:
            text += part
    return text


def ladder_lines(
    state: LadderState,
    row: Row | None,
    alerts: Sequence[Alert],
    *,
    width: int,
    height: int,
    bar: str = "█",
    is_paired: bool = False,
    notice: Notice = NO_NOTICE,
) -> list[Text]:
    """Return the ladder as lines of a terminal; `row` is the scanner's of the same market."""
    last = [_alert_line(alert, width) for alert in reversed(alerts[-1:])]
    if notice.is_bad or not last:
        last = _notice_lines(notice, width)
    foot = [*last, Text(PAIR_LADDER_KEYS if is_paired else LADDER_KEYS, "dim")]
    left = [_ladder_line(one, state, bar) for one in state.rows] or [Text("no whole book yet", "bold yellow")]
    what = f"prints from {short(state.big_quote)}, W whale"
    if math.isnan(state.big_quote):
        what = "no whale threshold yet"
    right = [Text(what, "dim")]
    right.extend(_print_line(one, state, width - LADDER_COLUMNS - 1) for one in state.prints)
    heads = ("price", "size", "+now", "-now", "+5s", "-5s", "volume")
    widths = (10, 6, 6, 6, 6, 6, BAR_WIDTH)
    left.insert(0, Text(" ".join(f"{head:>{size}}" for head, size in zip(heads, widths, strict=True)), "dim"))
    lines = _ladder_head(state, row, width)
    room = ladder_room(height) + 1
    for i in range(room):
        line = left[i] if i < len(left) else Text("")
        if width > LADDER_COLUMNS + 20 and i < len(right):
            line = line.copy()
            line.pad_right(max(LADDER_COLUMNS + 1 - line.cell_len, 1))
            line.append_text(right[i])
        lines.append(line)
    lines.extend([Text("")] * (height - len(lines) - len(foot)))
    return [*lines[: height - len(foot)], *foot]


def ladder_room(height: int) -> int:
    """Return how many rows of prices a ladder of this height has."""
    return max(height - 5, 1)


def line_of(rows: Sequence[Row], now_ns: int, n_named: int = 3) -> str:
    """Return one short line, for where no picture can be drawn; the first rows are named."""
    told = []
    for row in rows[:n_named]:
        cells = [f"{column.head} {cell_text(row, column)}" for column in COLUMNS[3:6]]
        told.append(f"{row.symbol} {row.market} {cell_text(row, COLUMNS[2])} {row.state}, {', '.join(cells)}")
    return f"{time_text(now_ns)}  {_states(rows)}  {'; '.join(told)}"


def alert_text(alert: Alert) -> str:
    """Return an alert as one line."""
    named = f"{alert.symbol} {alert.market}".rstrip()
    return (
        f"{time_text(alert.at_ns)}  ALERT  {named}  {alert.column} "
        f"{short(alert.value, '+')}  ({alert.rule}; watched {clock_text(alert.covered_s)})"
    )


def cell_text(row: Row, column: Column) -> str:
    """Return a figure as it is drawn: `?` is unknown, `~` a window that is not watched to its begin yet."""
    value: str | float | None = getattr(row, column.name)
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value
    mark = PARTIAL if row.covered_s < column.window_s else ""
    if column.form == "signed":
        return short(value, "+") + mark
    if column.form == "short":
        return short(value)
    if column.form == "price":
        return _price(value)
    if column.form == "clock":
        return clock_text(value)
    if column.form == "seconds":
        return f"{value:.1f}"
    sign = "+" if column.form in ("signed_bps", "distance", "percent", "rho") else ""
    return f"{value:{sign}.2f}" if abs(value) < 1e4 else short(value, sign)


def short(value: float, sign: str = "") -> str:
    """Return a number in at most three significant digits and a unit: k, M, B, T."""
    if math.isnan(value):
        return UNKNOWN
    size = abs(value)
    for unit, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if size >= 0.9995 * factor:
            return f"{value / factor:{sign}.{_decimals(size / factor)}f}{unit}"
    if 0 < size < 0.001:
        return f"{value:{sign}.0e}".replace("e-0", "e-")
    if 0 < size < 0.9995:
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.{_decimals(size)}f}" if size else "0"


def time_text(at_ns: int) -> str:
    """Return the time of day, UTC."""
    seconds = at_ns // 1_000_000_000 % _DAY_S
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _decimals(size: float) -> int:
    return 0 if size >= 99.95 else 1 if size >= 9.995 else 2


def _price(value: float) -> str:
    return f"{value:,.2f}" if value >= 1_000 else f"{value:.4f}" if value >= 1 else f"{value:.8f}"


def _with_market(columns: Sequence[Column]) -> tuple[Column, ...]:
    return (columns[0], MARKET_COLUMN, *columns[1:])


def _columns(width: int, sort: str, *, is_paired: bool) -> list[Column]:
    """Return the columns that fit, in their order; the one sorted by is always among them."""
    known = _with_market(COLUMNS) if is_paired else COLUMNS
    wanted = [one for one in known if one.name == sort]
    taken = {known[0].name, *(one.name for one in wanted)}
    used = known[0].width + sum(one.width + 1 for one in wanted if one.name != known[0].name)
    for column in known:
        if column.name not in taken:
            if used + column.width + 1 > width:
                break
            taken.add(column.name)
            used += column.width + 1
    return [one for one in known if one.name in taken]


def _fitted(text: str, column: Column) -> str:
    if column.form == "text":
        return f"{text[: column.width]:<{column.width}}"
    # A figure cut short would be another figure.
    return f"{text:>{column.width}}" if len(text) <= column.width else "#" * column.width


def _head(
    rows: Sequence[Row], beside: Partners, keys: WatchKeys, seen: tuple[int, int], *, venue: str, now_ns: int
) -> Text:
    arrow = "rising" if keys.is_rising else "falling"
    first, last = seen
    part = f"  {first + 1}-{last}/{len(rows)}" if last - first < len(rows) else ""
    return Text.assemble(
        (f"{venue}  ", "bold"),
        f"{_states([*rows, *beside.spot.values()])}  ",
        (f"{time_text(now_ns)} UTC", "cyan"),
        f"  {keys.sort} {arrow}{part}",
    )


def _states(rows: Sequence[Row]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    others = [f"{count} {state}" for state, count in sorted(counts.items()) if state != "live"]
    return ", ".join([f"{counts.get('live', 0)}/{len(rows)} live", *others])


def _column_heads(columns: Iterable[Column], keys: WatchKeys) -> Text:
    line = Text()
    for column in columns:
        style = "bold reverse" if column.name == keys.sort else "bold"
        line.append(_fitted(column.head, column), style)
        line.append(" ")
    return line


def _block(
    row: Row, columns: Sequence[Column], beside: Partners, width: int, *, is_chosen: bool
) -> list[Text]:
    lines = [_row_line(row, columns, is_chosen=is_chosen)]
    spot = beside.spot.get(row.symbol)
    if spot is not None:
        lines.append(_row_line(spot, columns, is_chosen=is_chosen))
        covered_s = min(row.covered_s, spot.covered_s)
        lines.append(Text(pair_text(beside.pairs[row.symbol], covered_s, width), "cyan"))
    return lines


def _notice_lines(notice: Notice, width: int) -> list[Text]:
    return [Text(_clipped(notice.text, width), "bold red" if notice.is_bad else "dim")] if notice.text else []


def _row_line(row: Row, columns: Iterable[Column], *, is_chosen: bool) -> Text:
    line = Text(style="reverse" if is_chosen else "" if row.state == "live" else "dim")
    for column in columns:
        text = cell_text(row, column)
        line.append(_fitted(text, column), _style(row, column, text))
        line.append(" ")
    return line


def _style(row: Row, column: Column, text: str) -> str:
    if text == UNKNOWN:
        return "dim"
    if column.name == "state":
        return "green" if row.state == "live" else "bold red" if row.state in BAD_STATES else "bold yellow"
    if column.form in ("signed", "percent", "rho", "signed_bps"):
        return "green" if text.startswith("+") else "red" if text.startswith("-") else ""
    return ""


def _clipped(text: str, width: int) -> str:
    # Cut without a mark a figure at the end would be another one.
    return text if len(text) <= width else f"{text[: width - 2]} >"


def _alert_line(alert: Alert, width: int) -> Text:
    return Text(_clipped(alert_text(alert), width), "bold yellow")


def _ladder_head(state: LadderState, row: Row | None, width: int) -> list[Text]:
    bid, ask = (price_text(price, state.price_digits) for price in (state.best_bid, state.best_ask))
    told = state.state if row is None else row.state  # the row knows of the connections too
    style = "green" if told == "live" else "bold red"
    market = "" if row is None else f" {row.market}"
    first = Text.assemble(
        (f"{state.symbol}{market}  ", "bold"), (f"{bid} / {ask}  ", "bold cyan"), (told, style)
    )
    if row is not None:
        for column in COLUMNS[3:8]:
            cell = f"  {column.head} {cell_text(row, column)}"
            if first.cell_len + len(cell) > width:
                break
            first.append(cell)
    height = price_text(state.row_units, state.price_digits)
    profile = f"volume: {state.profile} profile" if state.profile else "no volume profile yet"
    unseen = f"  {state.unseen_trades:,} trades came too fast to be told apart" if state.unseen_trades else ""
    forced = "  L liquidation: a sample" if any(one.is_liquidation for one in state.prints) else ""
    return [first, Text(f"row {height}  {profile}{forced}{unseen}", "dim")]


def _ladder_line(row: LadderRow, state: LadderState, bar: str) -> Text:
    scale = 10**state.quantity_digits
    most = max((one.volume for one in state.rows), default=0) or 1
    side = _SIDES[row.side]
    is_touch = row.price <= state.best_bid < row.price + state.row_units or (
        row.price <= state.best_ask < row.price + state.row_units
    )

    def change(quantity: int, sign: str) -> str:
        return f"{sign}{short(quantity / scale)}" if quantity else ""

    size = UNKNOWN if row.size is None else short(row.size / scale) if row.size else ""
    return Text.assemble(
        (f"{price_text(row.price, state.price_digits):>10} ", f"bold {side}" if is_touch else side),
        (f"{size:>6} ", side if row.size is not None else "dim"),
        (f"{change(row.added, '+'):>6} ", "bold green"),
        (f"{change(row.pulled, '-'):>6} ", "bold red"),
        (f"{change(row.added_5s, '+'):>6} ", "green"),
        (f"{change(row.pulled_5s, '-'):>6} ", "red"),
        (f"{bar * round(BAR_WIDTH * row.volume / most):<{BAR_WIDTH}}", "bold yellow" if row.mark else "cyan"),
        (row.mark, "bold yellow"),
    )


def _print_line(one: Print, state: LadderState, width: int) -> Text:
    side, mark = "B" if one.side > 0 else "S", "W" if one.is_whale else "L" if one.is_liquidation else " "
    text = f"{time_text(one.at_ns)} {side} {short(one.notional):>6} {mark}"
    price = price_text(one.price, state.price_digits)
    if len(text) + 1 + len(price) <= width:
        text = f"{text} {price}"
    style = "bold reverse " if one.is_whale else "underline " if one.is_liquidation else ""
    return Text(text, f"{style}{_SIDES[one.side]}")


def column_to_sort(name: str) -> str | None:
    """Return the column that a user means, None if the table has no such one."""
    return column_named(name, [column.name for column in COLUMNS])
