"""One picture of a running engine in the columns and rows that a terminal has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engine.records import SignalRecord
from engine.runreport import clock_text, grouped_text, number_text, price_text, state_words
from engine.runstate import Funnel, OrderRow, Stage, ViewState
from engine.view import told

WIDE_COLUMNS: Final = 110
WIDE_ROWS: Final = 38
NARROW_COLUMNS: Final = 76
BOXED_ROWS: Final = 14  # with fewer the head goes without its frame
BAR_WIDTH: Final = 10
BOOK_COLUMNS: Final = 36
TAPE_COLUMNS: Final = 30
POSITION_ROWS: Final = 7

_SIDE_STYLES: Final = {1: "green", -1: "red", "buy": "green", "sell": "red"}
_SIDE_NAMES: Final = {1: "buy", -1: "sell"}
_STATE_STYLES: Final = {"halted": "bold white on red", "reducing": "bold magenta"}


def picture(
    state: ViewState, footer: Sequence[Text], *, width: int, height: int, bar: str = "█"
) -> RenderableType:
    """Return the picture of one state.

    Head, position with P&L, working orders and book stay whatever the size; the rest where there is room.

    Parameters
    ----------
    footer : lines under the panels; the first stay longest.
    width, height : of the terminal; one row is left free, so that the last picture stays whole above a
        prompt.
    bar : character of the bars of the book.
    """
    rows = max(height - 1, 1)
    is_boxed = rows >= BOXED_ROWS and width >= 20
    head = _head(state)
    if not is_boxed:
        lines = [*head, *_position_lines(state), *(_order_line(order) for order in state.orders), *footer]
        return _OfHeight(_cropped(_joined(lines[:rows])), rows)
    parts = [Layout(Panel(_cropped(_joined(head)), title="Remora", title_align="left"), size=4)]
    body_rows = rows - 4 - len(footer)
    if width >= WIDE_COLUMNS and rows >= WIDE_ROWS:
        parts.extend(_wide(state, body_rows, bar))
    else:
        parts.append(_compact(state, width, body_rows, bar))
    parts.append(Layout(_cropped(_joined(footer)), size=len(footer)))
    root = Layout()
    root.split_column(*parts)
    return _OfHeight(root, rows)


def plain(text: str) -> str:
    """Return text from outside without what a terminal would obey."""
    return "".join(one if one.isprintable() else " " for one in text)


@dataclass(frozen=True, slots=True)
class _OfHeight:
    """A picture in fewer rows than the terminal has."""

    inner: Layout | Text
    rows: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.inner, options.update(height=self.rows))


@dataclass(frozen=True, slots=True)
class _Slot:
    """A panel that may stand in a column: the rows it needs, frame included, and those it can use."""

    panel: Panel
    least: int
    most: int


def _wide(state: ViewState, rows: int, bar: str) -> list[Layout]:
    """Return everything, for a terminal that has room for it."""
    spare = rows - 33
    upper_rows = 14 + spare - 2 * (spare // 4)
    upper = Layout(size=upper_rows)
    right = Layout()
    right.split_column(
        Layout(_profile_panel(state), size=3 + max(len(state.profiles), 1)), Layout(_latency_panel(state))
    )
    upper.split_row(
        Layout(_book_panel(state, upper_rows, BOOK_COLUMNS, bar), size=BOOK_COLUMNS),
        Layout(_tape_panel(state, upper_rows), size=TAPE_COLUMNS),
        right,
    )
    middle = Layout(size=POSITION_ROWS)
    middle.split_row(
        Layout(_position_panel(state), ratio=1), Layout(_orders_panel(state, POSITION_ROWS), ratio=1)
    )
    signal_rows = 5 + spare // 4
    return [
        Layout(_cropped(_funnel_line(state.funnel)), size=1),
        upper,
        middle,
        Layout(_signals_panel(state, signal_rows), size=signal_rows),
        Layout(_events_panel(state, rows), size=rows - 1 - upper_rows - POSITION_ROWS - signal_rows),
    ]


def _compact(state: ViewState, width: int, rows: int, bar: str) -> Layout:
    """Return what fits, the most important first."""
    n_orders = len(state.orders)
    slots = [
        _Slot(_position_panel(state), POSITION_ROWS, POSITION_ROWS),
        _Slot(_orders_panel(state, rows), 5, 3 + max(n_orders, 2)),
        _Slot(_events_panel(state, rows), 4, 6),
        _Slot(_signals_panel(state, rows), 4, 8),
        _Slot(_latency_panel(state), 3 + len(state.stages), 3 + len(state.stages)),
        _Slot(Panel(_funnel_line(state.funnel), title="funnel"), 4, 5),
        _Slot(_profile_panel(state), 3 + len(state.profiles), 3 + len(state.profiles)),
        _Slot(_tape_panel(state, rows), 5, rows),
    ]
    body = Layout()
    if width < NARROW_COLUMNS:
        book_rows = min(max(rows - POSITION_ROWS - 5, 5), 9)
        slots.insert(2, _Slot(_book_panel(state, book_rows, width, bar), book_rows, book_rows))
        body.split_column(*_stacked(slots, rows))
        return body
    book_columns = min(BOOK_COLUMNS, width * 2 // 5)
    right = Layout()
    right.split_column(*_stacked(slots, rows))
    body.split_row(Layout(_book_panel(state, rows, book_columns, bar), size=book_columns), right)
    return body


def _stacked(slots: Sequence[_Slot], rows: int) -> list[Layout]:
    """Return as many panels as the rows carry, the first first; they also get the rows to spare."""
    taken: list[tuple[_Slot, int]] = []
    left = rows
    for slot in slots:
        if taken and slot.least > left:
            break
        taken.append((slot, min(slot.least, left)))
        left -= taken[-1][1]
    for i, (slot, size) in enumerate(taken):
        more = min(left, max(slot.most - size, 0))
        taken[i] = (slot, size + more)
        left -= more
    last, size = taken[-1]
    taken[-1] = (last, size + left)
    return [Layout(slot.panel, size=max(size, 1)) for slot, size in taken]


def _head(state: ViewState) -> list[Text]:
    words = plain(state_words(state)).upper()
    style = _STATE_STYLES.get(state.wanted, "bold green" if words == "ACTIVE" else "bold yellow")
    left = "no end" if state.seconds_left < 0 else f"{clock_text(state.seconds_left)} left"
    book = Text("") if state.is_valid else Text("  NO VALID BOOK", "bold red")
    size = "" if state.size == 1.0 else f"  size x {number_text(state.size, 'g')}"
    sides = "" if state.sides == "both" else f"  {plain(state.sides)}"
    bid, ask = (price_text(price, state.price_digits) for price in (state.best_bid, state.best_ask))
    first = Text.assemble(
        (f"{plain(state.symbol)}  ", "bold"),
        (f"{bid} / {ask}", "bold cyan"),
        f"  spread {number_text(state.spread_bps, '.2f')} bps",
        f"  sigma60 {number_text(state.sigma_60_bps, '.2f')} bps",
    )
    second = Text.assemble(
        (words, style),
        book,
        f"{sides}{size}  {clock_text(state.elapsed_s)} traded, {left}  "
        f"{plain(state.market)} {plain(state.venue)}, preset {plain(state.preset)}  "
        f"whale from {number_text(state.threshold_quote, ',.0f')} quote",
    )
    return [first, second]


def _book_panel(state: ViewState, rows: int, columns: int, bar: str) -> Panel:
    each = max((rows - 3) // 2, 1)
    asks, bids = state.asks[:each], state.bids[:each]
    largest = max((quantity for _, quantity in (*asks, *bids)), default=1) or 1
    texts = {
        level: (grouped_text(level[0], state.price_digits), grouped_text(level[1], state.quantity_digits))
        for level in (*asks, *bids)
    }
    # A bar gives way to digits: a price cut short would be another price.
    room = columns - 6 - max((len(price) + len(amount) for price, amount in texts.values()), default=0)
    bar_width = max(0, min(BAR_WIDTH, room))
    table = _grid("right", "right", "left")
    for side, levels in ((-1, tuple(reversed(asks))), (1, bids)):
        for level in levels:
            share = min(max(level[1] / largest, 0.0), 1.0)
            cells = (*texts[level], bar * round(bar_width * share))
            table.add_row(*(Text(cell, _SIDE_STYLES[side]) for cell in cells))
        if side < 0:
            table.add_row(Text("spread", "dim"), Text(f"{number_text(state.spread_bps, '.2f')} bps", "dim"))
    return Panel(table, title="asks / bids")


def _tape_panel(state: ViewState, rows: int) -> Panel:
    table = _grid("right", "right", "left")
    for price, quantity, side in state.tape[: max(rows - 2, 0)]:
        cells = (
            grouped_text(price, state.price_digits),
            grouped_text(quantity, state.quantity_digits),
            _SIDE_NAMES.get(side, "-"),
        )
        table.add_row(*(Text(cell, _SIDE_STYLES.get(side, "")) for cell in cells))
    cvd = grouped_text(state.cvd, state.quantity_digits)
    return Panel(table, title=Text(f"tape, CVD {'+' if state.cvd > 0 else ''}{cvd}"))


def _profile_panel(state: ViewState) -> Panel:
    table = _grid("left", "right", "right", "right")
    table.add_row(*(Text(name, "dim") for name in ("", "VAL", "POC", "VAH")))
    for row in state.profiles:
        name = plain(row.source) if row.is_ready else f"{plain(row.source)}?"
        values = (number_text(value, f",.{state.price_digits}f") for value in (row.val, row.poc, row.vah))
        table.add_row(*(Text(cell, "" if row.is_ready else "dim") for cell in (name, *values)))
    return Panel(table, title="volume profile (? not ready)")


def _latency_panel(state: ViewState) -> Panel:
    table = _grid("left", "right", "right", "right", "right")
    table.add_row(*(Text(name, "dim") for name in ("us", "p50", "p99", "p99.9", "count")))
    for stage in state.stages:
        table.add_row(*(Text(cell) for cell in _stage_cells(stage)))
    return Panel(table, title="latency")


def _stage_cells(stage: Stage) -> tuple[str, ...]:
    values = (stage.p50, stage.p99, stage.p999)
    figures = (f"{value / 1e3:,.2f}" if stage.count else "-" for value in values)
    return (plain(stage.name), *figures, f"{stage.count:,}")


def _funnel_line(funnel: Funnel) -> Text:
    steps = (f"{name} {getattr(funnel, name):,}" for name in Funnel.__struct_fields__)
    return Text(" > ".join(steps))


def _position_lines(state: ViewState) -> list[Text]:
    """Return position and P&L in two columns, the figures that matter most on top."""
    row = state.position
    quantity = plain(row.quantity)
    side = "red" if quantity.startswith("-") else "green" if quantity.strip("0.") else ""
    timer = f"{number_text(row.seconds_left, ',.1f')} s" if row.seconds_left > 0 else "-"
    left = (
        ("position", quantity, f"bold {side}".strip()),
        ("entry", plain(row.entry_price) or "-", ""),
        ("stop", plain(row.stop) or "-", ""),
        ("target", plain(row.target) or "-", ""),
        ("hard stop", plain(row.hard_stop) or "-", ""),
    )
    gain = "green" if state.pnl_quote > 0 else "red" if state.pnl_quote < 0 else ""
    right = (
        ("P&L", number_text(state.pnl_quote, "+,.4f"), f"bold {gain}".strip()),
        ("realised", number_text(state.realised_quote, "+,.4f"), ""),
        ("fees", number_text(state.fees_quote, ",.4f"), ""),
        ("equity", number_text(state.equity_quote, ",.2f"), ""),
        ("time left", timer, ""),
    )
    return [
        Text.assemble(f"{name:<10}", (f"{value:<12} ", style), f"{label:<9} ", (figure, tint))
        for (name, value, style), (label, figure, tint) in zip(left, right, strict=True)
    ]


def _position_panel(state: ViewState) -> Panel:
    stage = plain(state.position.stage)
    title = f"position ({stage}) and P&L" if stage else "position and P&L"
    return Panel(_cropped(_joined(_position_lines(state))), title=Text(title))


def _orders_panel(state: ViewState, rows: int) -> Panel:
    room = max(rows - 2, 1)
    if not state.orders:
        lines = [Text("none", "dim")]
    else:
        shown = state.orders if len(state.orders) <= room else state.orders[: room - 1]
        lines = [_order_line(order) for order in shown]
        if hidden := len(state.orders) - len(shown):
            lines.append(Text(f"and {hidden} more", "dim"))
    return Panel(_cropped(_joined(lines)), title=f"working orders: {len(state.orders)}")


def _order_line(order: OrderRow) -> Text:
    text = (
        f"{plain(order.side):<4} {plain(order.leaves)} at {plain(order.price)}  {plain(order.purpose)}  "
        f"{plain(order.state)}  {plain(order.kind)}  {plain(order.client_order_id)}"
    )
    return Text(text, _SIDE_STYLES.get(order.side, ""))


def _signals_panel(state: ViewState, rows: int) -> Panel:
    lines: list[Text] = []
    for record in reversed(state.records):
        # Imbalances come by the minute and whales by the hour: these would not be seen among those.
        if not isinstance(record, SignalRecord) and record.kind.startswith("imbalance"):
            continue
        if len(lines) == max(rows - 2, 1):
            break
        line = told(record, _time_of_day(record.recv_ns))
        lines.append(Text(plain(line.plain), line.style))
    return Panel(_cropped(_joined(lines)), title="whales, entries and vetoes, newest first")


def _events_panel(state: ViewState, rows: int) -> Panel:
    newest = list(reversed(state.lines))[: max(rows - 2, 1)]
    return Panel(
        _cropped(_joined([Text(plain(line)) for line in newest])), title="orders and fills, newest first"
    )


def _time_of_day(at_ns: int) -> str:
    seconds = at_ns // 1_000_000_000 % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _grid(*columns: str) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    for justify in columns:
        is_left = justify == "left"
        table.add_column(justify="left" if is_left else "right", no_wrap=True, overflow="crop")
    return table


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n").join(lines)


def _cropped(text: Text) -> Text:
    """Return the text with what does not fit in a line cut off, not wrapped into the next."""
    text.no_wrap, text.overflow = True, "crop"
    return text
