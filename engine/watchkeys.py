"""The keys of `remora watch`: which market is chosen, how the table is sorted, and table or ladder."""

from collections.abc import Sequence
from typing import Final

from engine.scan import TEXTS, Row, sorted_rows

ESCAPE_S: Final = 0.1
PASTE_BYTES: Final = 16  # more than this at once was not typed
ZOOM: Final = 9
_ARROWS: Final = {"A": "up", "B": "down"}


class WatchKeys:
    """What is looked at, as the keys change it.

    Parameters
    ----------
    sort : column to begin with.
    columns : those that can be sorted by, in the order of the key.

    Attributes
    ----------
    symbol : the chosen market; "" before the first picture.
    is_ladder : its ladder is shown instead of the table.
    zoom : how much higher the rows of the ladder are than chosen.
    is_spot : where both markets of a symbol are watched, the ladder is that of spot.
    is_over : the user wants to end.
    """

    def __init__(self, sort: str, columns: Sequence[str]) -> None:
        self.sort = sort
        self.is_rising = sort in TEXTS
        self._columns = tuple(columns)
        self.symbol = ""
        self.is_ladder = False
        self.zoom = 0
        self.is_spot = False
        self.is_over = False
        self._order: tuple[str, ...] = ()
        self._sequence = ""  # "", "escape", "csi" (up to a final byte)
        self._typed_s = 0.0

    def arrange(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows in the order wanted; the chosen market stays chosen while it is there."""
        found = sorted_rows(rows, self.sort, is_rising=self.is_rising)
        self._order = tuple(row.symbol for row in found)
        if self.symbol not in self._order and found:
            self.symbol = found[0].symbol
        return found

    def take(self, typed: bytes, now_s: float) -> None:
        """Do what was typed.

        Parameters
        ----------
        now_s : monotonic time.
        """
        self.settle(now_s)
        self._typed_s = now_s
        if len(typed) > PASTE_BYTES:
            self._sequence = ""
            return
        for byte in typed:
            self._take(chr(byte))

    def settle(self, now_s: float) -> None:
        """Take an escape that nothing followed for what it is: the Escape key."""
        if self._sequence and now_s - self._typed_s >= ESCAPE_S:
            is_key = self._sequence == "escape"
            self._sequence = ""
            if is_key:
                self.is_ladder = False

    def _take(self, key: str) -> None:
        before, self._sequence = self._sequence, ""
        if before == "escape" and key in "[O":
            self._sequence = "csi"
        elif before == "csi":
            if "\x40" <= key <= "\x7e":
                self._press(_ARROWS.get(key, ""))
            else:
                self._sequence = "csi"
        elif key == "\x1b":
            if before == "escape":  # pressed twice
                self.is_ladder = False
            self._sequence = "escape"
        else:
            self._press({"\r": "enter", "\n": "enter"}.get(key, key))

    def _press(self, key: str) -> None:
        if key in ("q", "Q"):
            self.is_over = True
        elif key in ("up", "down") and self._order:
            place = self._order.index(self.symbol) if self.symbol in self._order else 0
            place += 1 if key == "down" else -1
            self.symbol = self._order[min(max(place, 0), len(self._order) - 1)]
        elif self.is_ladder and key == "m":
            self.is_spot = not self.is_spot
        elif self.is_ladder:
            self.zoom += {"+": 1, "=": 1, "-": -1}.get(key, 0)
            self.zoom = min(max(self.zoom, -ZOOM), ZOOM)
        elif key == "enter":
            self.is_ladder = bool(self.symbol)
        elif key == "s":
            place = self._columns.index(self.sort) + 1 if self.sort in self._columns else 0
            self.sort = self._columns[place % len(self._columns)]
        elif key == "S":
            self.is_rising = not self.is_rising
