"""The two main recordings as plain frames, read once a process; and a market as one of them needs it."""

import gzip
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engine.config import MarketSettings, load_config, market_settings
from engine.signals import MarketKind
from native.market import Market
from tests.oracles.market import SlowMarket
from tests.oracles.wire import Reading, SlowReader


class Frame(NamedTuple):
    """One recorded line."""

    recv_ns: int
    payload: bytes
    is_snapshot: bool


@dataclass(frozen=True)
class Session:
    """A recording and what its provenance says of it."""

    files: tuple[str, ...]
    kind: MarketKind
    symbol: str
    price_digits: int
    quantity_digits: int
    depth_updates: int
    depth_applied: int
    trades: int
    tickers: int
    least_equal: float

    def __str__(self) -> str:
        return f"{self.kind.name}-{self.symbol}".lower()


def _files(kind: str, symbol: str, *days: str) -> tuple[str, ...]:
    return tuple(f"binance_{kind}_20240808/{kind}_{symbol}_{day}.gz" for day in days)


SPOT_BTC = Session(
    _files("spot", "btcusdt", "20240808", "20240809"),
    MarketKind.SPOT, "BTCUSDT", 2, 8, 6_495, 6_493, 19_904, 73_174, 0.999,
)  # fmt: skip
SPOT_ETH = Session(
    _files("spot", "ethusdt", "20240808", "20240809"),
    MarketKind.SPOT, "ETHUSDT", 2, 8, 6_470, 6_468, 14_515, 58_758, 0.999,
)  # fmt: skip
USDM_BTC = Session(
    _files("usdm", "btcusdt", "20240808"),
    MarketKind.USDM, "BTCUSDT", 1, 3, 6_551, 6_547, 21_313, 66_089, 0.99,
)  # fmt: skip
USDM_ETH = Session(
    _files("usdm", "ethusdt", "20240808"),
    MarketKind.USDM, "ETHUSDT", 2, 3, 6_586, 6_581, 14_076, 53_992, 0.99,
)  # fmt: skip
SESSIONS = (SPOT_BTC, SPOT_ETH, USDM_BTC, USDM_ETH)

# So many whales, episodes and imbalances that every kind of event and nearly every reason comes about.
BUSY: dict[str, object] = {
    "whale_floor_quote": 1_000.0,
    "whale_adaptive_floor": False,
    "whale_depth_share": 0.02,
    "whale_quantile": 0.95,
    "whale_min_sweeps": 100,
    "whale_window_ns": 120 * 10**9,
    "rho_enter": 0.3,
    "rho_floor": 0.1,
    "rho_pre_min": 0.0,
    "pulled_share_max": 0.5,
    "profile_window_ns": 180 * 10**9,
    "profile_ready_ns": 60 * 10**9,
    "session_enabled": True,
    "session_ready_ns": 100 * 10**9,
}


def _read(path: Path) -> list[Frame]:
    frames = []
    with gzip.open(path) as lines:
        for line in lines:
            when, _, payload = line.rstrip(b"\n").partition(b" ")
            frames.append(Frame(int(when), payload, payload.startswith(b'{"lastUpdateId"')))
    return frames


@cache
def read_frames(captures: Path, session: Session) -> tuple[Frame, ...]:
    """Return every line of a session, its files one after the other."""
    return tuple(frame for name in session.files for frame in _read(captures / name))


def market_for(session: Session, **changed: object) -> Market:
    """Return a market with the settings of the preset for captures, some of them changed."""
    return market_of(session.kind, session.symbol, session.price_digits, session.quantity_digits, **changed)


def market_of(
    kind: MarketKind, symbol: str, price_digits: int, quantity_digits: int, **changed: object
) -> Market:
    """Return a market whose tick is one price unit, set as the preset for captures with some changes."""
    settings = asdict(market_settings(load_config(None, "capture", {}), symbol, kind)) | changed
    return Market(
        symbol=symbol,
        kind=int(kind),
        price_digits=price_digits,
        quantity_digits=quantity_digits,
        tick=1,
        **settings,
    )


def feed(market: Market, frame: Frame) -> int:
    """Give one line to a market and return its mask."""
    if frame.is_snapshot:
        return market.on_snapshot(frame.payload, frame.recv_ns)
    return market.on_frame(frame.payload, frame.recv_ns)


def reads_of(frames: tuple[Frame, ...] | list[Frame]) -> list[list[Frame]]:
    """Group lines into reads: neighbours of equal receive time."""
    reads: list[list[Frame]] = []
    for frame in frames:
        if reads and reads[-1][0].recv_ns == frame.recv_ns:
            reads[-1].append(frame)
        else:
            reads.append([frame])
    return reads


def play(market: Market, frames: tuple[Frame, ...] | list[Frame]) -> list[tuple[int, int]]:
    """Play lines by the rule of reads; return (market time, mask) of everything there was to decide."""
    masks = []
    for read in reads_of(frames):
        recv_ns = read[0].recv_ns
        while mask := market.advance(recv_ns):
            masks.append((market.now_ns, mask))
        for frame in read:
            mask |= feed(market, frame)
        if mask:
            masks.append((market.now_ns, mask))
    return masks


def settings_for(session: Session, **changed: object) -> MarketSettings:
    return replace(market_settings(load_config(None, "capture", {}), session.symbol, session.kind), **changed)


def slow_market_for(session: Session, settings: MarketSettings, *, contract_size: float = 0.0) -> SlowMarket:
    """Return the slow twin of a market of this session."""
    return SlowMarket(
        settings,
        kind=session.kind,
        price_digits=session.price_digits,
        quantity_digits=session.quantity_digits,
        contract_size=contract_size,
    )


def slow_reader_for(session: Session) -> SlowReader:
    is_spot = session.kind is MarketKind.SPOT
    return SlowReader(session.symbol, session.price_digits, session.quantity_digits, is_spot)


def read_slow_frame(reader: SlowReader, frame: Frame) -> Reading | None:
    return reader.read_snapshot(frame.payload) if frame.is_snapshot else reader.read(frame.payload)


@cache
def read_slowly(captures: Path, session: Session) -> tuple[Reading | None, ...]:
    """Return every line of a session as the slow reader reads it."""
    reader = slow_reader_for(session)
    return tuple(read_slow_frame(reader, frame) for frame in read_frames(captures, session))
