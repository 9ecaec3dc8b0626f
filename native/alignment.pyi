from typing import Protocol

PLACINGS: tuple[str, ...]
SOURCES: tuple[str, ...]

class _Profile(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def poc(self) -> float: ...
    @property
    def vah(self) -> float: ...
    @property
    def val(self) -> float: ...
    @property
    def nodes(self) -> tuple[float, ...]: ...
    @property
    def is_poc_naked(self) -> bool: ...
    @property
    def last_inside_ns(self) -> int: ...

def align_profiles(
    profiles: tuple[_Profile, ...],
    *,
    side: int,
    mid: float,
    reach_bps: float,
    now_ns: int,
    rule: tuple[float, float, float, float, int],
) -> tuple[str, str, float]: ...
