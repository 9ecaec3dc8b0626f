from typing import NamedTuple, final

from native.alignment import SOURCES as SOURCES
from native.profile import Profile

class ProfileState(NamedTuple):
    source: str
    is_ready: bool
    poc: float
    vah: float
    val: float
    nodes: tuple[float, ...]
    is_poc_naked: bool
    last_inside_ns: int
    age_ns: int

@final
class Areas:
    def __new__(
        cls,
        *,
        tick: int,
        price_scale: float,
        window_ns: int,
        rolling_ready_ns: int,
        session_ready_ns: int,
        has_session: bool,
        node_share: float,
        row_bps: float,
        value_area: float,
        two_row: bool,
    ) -> Areas: ...
    @property
    def rolling(self) -> Profile: ...
    @property
    def session(self) -> Profile: ...
    def states(self, now_ns: int) -> tuple[ProfileState, ...]: ...
    def apply_trade(self, price: int, quantity: int, venue_ns: int, now_ns: int) -> None: ...
    def apply_mid(self, mid_x2: int, now_ns: int) -> None: ...
