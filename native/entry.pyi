from typing import NamedTuple, final

from native.imbalance import Imbalance
from native.triggers import Triggers

class Candidate(NamedTuple):
    episode: int
    side: int
    notional: float
    threshold: float
    rho_pre: float
    rho_post: float
    rho_post_min: float
    pulled_share: float
    n_updates: int
    last_whale_ns: int
    expires_ns: int

@final
class Entry:
    def __new__(cls, imbalance: Imbalance, triggers: Triggers, *, window_ns: int) -> Entry: ...
    @property
    def n_confirmed(self) -> int: ...
    def armed(self) -> Candidate | None: ...
