from typing import final

import numpy
import numpy.typing

from native.book import Book

@final
class BookCorridor:
    def __new__(
        cls, *, symbol: str, price_digits: int, quantity_digits: int, is_spot: bool
    ) -> BookCorridor: ...
    @property
    def book(self) -> Book: ...
    @property
    def ratio(self) -> float: ...
    def load(self, body: bytes) -> None: ...
    def apply(self, frame: bytes) -> int: ...

def run_interleaved(
    corridors: list[BookCorridor], order: list[tuple[int, bytes]]
) -> numpy.typing.NDArray[numpy.int64]: ...
