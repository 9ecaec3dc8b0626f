from typing import Self, final

from native.events import MessageKind, ParseStatus

@final
class BinanceJson:
    def __new__(
        cls, *, symbol: str, price_digits: int, quantity_digits: int, is_spot: bool, max_levels: int = 16_384
    ) -> Self: ...
    def read(
        self, frame: bytes
    ) -> tuple[ParseStatus, MessageKind, dict[str, int | list[tuple[int, int]]]]: ...
    def read_snapshot(
        self, body: bytes
    ) -> tuple[ParseStatus, MessageKind, dict[str, int | list[tuple[int, int]]]]: ...
