from typing import Self, final

from native.book import Book
from native.imbalance import Imbalance

@final
class Refresh:
    def __new__(
        cls, book: Book, imbalance: Imbalance, *, tick: int, far_capacity: int, capacity_levels: int
    ) -> Self: ...
    @property
    def is_running(self) -> bool: ...
    @property
    def refreshes(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def abandoned(self) -> int: ...
