"""One typed tree of settings: a preset, a TOML file and the environment, each overriding the one before.

The environment names a setting ``REMORA_<SECTION>__<KEY>`` (``REMORA_ENTRY__RHO_ENTER=0.65``). Every number
that steers a decision stands here with its default and meaning. Nothing reads this tree while deciding:
`market_settings` and `scalper_settings` copy plain values out of it, in the units of the corridor.
"""

import difflib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_type_hints

import msgspec

from engine.errors import ConfigError, InputError
from engine.signals import MarketKind

Value = bool | int | float | str
Key = tuple[str, str]

ENVIRONMENT_PREFIX = "REMORA_"
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_MIN = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting means and which values it may have."""

    meaning: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """When the book agrees with a whale."""

    band_min_bps: Annotated[float, Rule("least half-width of the entry band around mid", 0.01, 1000)] = 2.0
    band_spread_multiple: Annotated[float, Rule("half-width in 5-minute median spreads", 0, 100)] = 1.5
    band_min_ticks: Annotated[int, Rule("least half-width in ticks", 0, 100_000)] = 5
    rho_enter: Annotated[float, Rule("imbalance after the whale that confirms it", 0.01, 0.99)] = 0.60
    rho_floor: Annotated[float, Rule("no update after the whale may show less", 0, 0.99)] = 0.45
    rho_pre_min: Annotated[float, Rule("least imbalance before the whale", -1, 1)] = -0.20
    pulled_share_max: Annotated[
        float, Rule("of the added support, less than this was pulled again", 0, 1)
    ] = 0.5
    rho_pre_ms: Annotated[int, Rule("window before the first fill", 1, 60_000)] = 500
    rho_post_ms: Annotated[int, Rule("window after the last fill", 1, 60_000)] = 400
    min_updates: Annotated[int, Rule("least depth updates in the window after", 1, 512)] = 3
    imbalance_hold_ms: Annotated[int, Rule("an imbalance is a signal once it held this long", 0, 60_000)] = (
        500
    )
    pulled_window_ms: Annotated[int, Rule("window of added and pulled support", 1, 60_000)] = 2000
    episode_window_ms: Annotated[int, Rule("entry this soon after an episode's last whale", 1, 60_000)] = 2000


@dataclass(frozen=True, slots=True)
class Whale:
    """Which sweeps are whales: the threshold is the largest of floor, depth share and quantile."""

    floor_btc_quote: Annotated[float, Rule("floor of BTC against dollars", 0, 1e12)] = 100_000.0
    floor_eth_quote: Annotated[float, Rule("floor of ETH against dollars", 0, 1e12)] = 50_000.0
    floor_quote: Annotated[float, Rule("floor of all others, raised to 20 median sweeps", 0, 1e12)] = 10_000.0
    depth_share: Annotated[float, Rule("share of the 5-minute median one-side band depth", 0, 100)] = 0.5
    quantile: Annotated[float, Rule("quantile of sweep notional", 0.5, 0.99999)] = 0.995
    window_min: Annotated[float, Rule("minutes of sweeps behind the quantile", 0.1, 1440)] = 60.0
    min_sweeps: Annotated[int, Rule("sweeps before there is a threshold", 1, 1_000_000)] = 500
    sweep_timeout_ms: Annotated[int, Rule("a sweep without a further trade is closed", 1, 1000)] = 10
    episode_gap_ms: Annotated[int, Rule("same-side whales this close are one episode", 1, 60_000)] = 2000


@dataclass(frozen=True, slots=True)
class Profile:
    """Volume at price, and which prices are aligned with it."""

    rolling_min: Annotated[float, Rule("minutes of the rolling profile", 0.1, 1440)] = 240.0
    rolling_ready_share: Annotated[float, Rule("share of them before it is ready", 0, 1)] = 0.25
    session: Annotated[bool, Rule("keep profiles of this UTC day and of the one before")] = True
    session_ready_min: Annotated[float, Rule("minutes before the session profile is ready", 0, 1440)] = 60.0
    value_area: Annotated[float, Rule("share of the volume inside the value area", 0.05, 1)] = 0.70
    two_row: Annotated[bool, Rule("grow the value area by two rows at a time")] = False
    row_bps: Annotated[float, Rule("least height of a row", 0.01, 100)] = 1.0
    node_share: Annotated[float, Rule("volume of a high-volume node in volumes of the POC", 0.01, 1)] = 0.70
    edge_bps: Annotated[float, Rule("this close to an edge of the value area is at the edge", 0, 1000)] = 3.0
    edge_share: Annotated[float, Rule("the same in widths of the area; the larger rules", 0, 1)] = 0.05
    breakout_min_bps: Annotated[float, Rule("a breakout is at least this far out", 0, 1000)] = 1.0
    breakout_max_bps: Annotated[float, Rule("a breakout is at most this far out", 0, 1000)] = 15.0
    inside_min: Annotated[float, Rule("a breakout was inside within these minutes", 0, 1440)] = 5.0


@dataclass(frozen=True, slots=True)
class Volatility:
    """The volatility of one minute."""

    span: Annotated[int, Rule("span of the exponential mean over 1-minute mid returns", 1, 10_000)] = 20
    ready_after: Annotated[int, Rule("returns before it is ready", 1, 10_000)] = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round trip costs, and whether cost may forbid it; fees of accounts without discounts."""

    gate: Annotated[str, Rule("veto a target below twice the cost", choices=("on", "off"))] = "on"
    spot_taker_bps: Annotated[float, Rule("taker fee on spot", -10, 100)] = 10.0
    spot_maker_bps: Annotated[float, Rule("maker fee on spot", -10, 100)] = 10.0
    usdm_taker_bps: Annotated[float, Rule("taker fee on USD-M", -10, 100)] = 5.0
    usdm_maker_bps: Annotated[float, Rule("maker fee on USD-M", -10, 100)] = 2.0
    coinm_taker_bps: Annotated[float, Rule("taker fee on COIN-M", -10, 100)] = 5.0
    coinm_maker_bps: Annotated[float, Rule("maker fee on COIN-M", -10, 100)] = 2.0


@dataclass(frozen=True, slots=True)
class VolumeScalper:
    """The volume scalper's own numbers."""

    min_confidence: Annotated[float, Rule("least confidence of an entry", 0.5, 1)] = 0.60
    cooldown_s: Annotated[float, Rule("seconds between entries on one instrument", 0, 86_400)] = 30.0
    entry_notional_quote: Annotated[float, Rule("size of an entry", 0.01, 1e9)] = 1000.0


@dataclass(frozen=True, slots=True)
class Market:
    """The book of one instrument."""

    stale_ms: Annotated[int, Rule("a book without an update for this long is stale", 1, 3_600_000)] = 1000
    overflow_levels: Annotated[int, Rule("far levels kept a side", 16, 1_048_576)] = 32_768
    buffer_levels: Annotated[int, Rule("levels kept while a snapshot is awaited", 16, 8_388_608)] = 262_144


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree, and the name of the preset it started from, which every output carries."""

    preset: str = "live"
    entry: Entry = Entry()
    whale: Whale = Whale()
    profile: Profile = Profile()
    volatility: Volatility = Volatility()
    cost: Cost = Cost()
    volume_scalper: VolumeScalper = VolumeScalper()
    market: Market = Market()


PRESETS: dict[str, dict[Key, Value]] = {
    "live": {},
    "capture": {("profile", "rolling_min"): 15.0, ("profile", "session"): False},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, read from the annotations of the tree; `presets` are the values of those that differ."""

    section: str
    key: str
    type: type[bool] | type[int] | type[float] | type[str]
    rule: Rule
    default: Value
    presets: dict[str, Value]

    @property
    def expected(self) -> str:
        if self.rule.choices:
            return "one of " + ", ".join(f'"{name}"' for name in self.rule.choices)
        if self.type is bool:
            return "true or false"
        kind = "an integer" if self.type is int else "a number"
        return f"{kind} from {self.rule.low:g} to {self.rule.high:g}"

    def accept(self, found: object) -> Value | None:
        """Return the value in its own type, or None if it may not be that."""
        if self.type is bool or isinstance(found, bool):
            return found if self.type is bool and isinstance(found, bool) else None
        if self.type is str:
            return found if isinstance(found, str) and found in self.rule.choices else None
        if not isinstance(found, int if self.type is int else (int, float)):
            return None
        if not self.rule.low <= found <= self.rule.high:
            return None
        return self.type(found)

    def read(self, text: str) -> object:
        """Read a value as the environment writes it; what cannot be read stays text and is refused later."""
        text = text.strip()
        if self.type is bool:
            return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}.get(
                text.lower(), text
            )
        if self.type is str:
            return text
        try:
            return int(text) if self.type is int else float(text)
        except ValueError:
            return text


def describe() -> tuple[Setting, ...]:
    """List every setting with its type, rule, meaning and defaults, in the order of the tree."""
    settings = []
    for section in (one.name for one in fields(Config) if one.name != "preset"):
        part = getattr(Config(), section)
        for key, hint in get_type_hints(type(part), include_extras=True).items():
            presets = {name: new[section, key] for name, new in PRESETS.items() if (section, key) in new}
            (rule,) = hint.__metadata__
            settings.append(Setting(section, key, hint.__origin__, rule, getattr(part, key), presets))
    return tuple(settings)


def load_config(path: Path | None, preset: str, environ: Mapping[str, str]) -> Config:
    """Read the settings.

    Parameters
    ----------
    path
        TOML file, or None for none. It may hold any section and key of `describe`.
    preset
        "live" or "capture": what file and environment start from.
    environ
        The environment; only names of the form ``REMORA_<SECTION>__<KEY>`` are read.

    Raises
    ------
    ConfigError
        A wrong key or value, with file, section, key, what was expected and what was found.
    InputError
        The file cannot be read.
    """
    if preset not in PRESETS:
        raise ConfigError(
            f'Expected one of the presets {", ".join(PRESETS)}, found "{preset}".'
            + _did_you_mean(preset, PRESETS),
            key="preset",
            found=preset,
        )
    settings = {(one.section, one.key): one for one in describe()}
    values: dict[Key, Value] = {key: one.default for key, one in settings.items()} | PRESETS[preset]
    origins: dict[Key, str] = {}
    for given in (*_from_file(path), *_from_environment(environ)):
        setting = _find(settings, given)
        if setting is None:
            continue
        accepted = setting.accept(setting.read(str(given.found)) if given.is_text else given.found)
        if accepted is None:
            raise given.refused(
                f"[{given.section}] {given.key} expects {setting.expected}, found {given.found!r}."
            )
        values[given.section, given.key] = accepted
        origins[given.section, given.key] = given.origin
    _check_ordered(values, origins)
    tree: dict[str, str | dict[str, Value]] = {"preset": preset}
    for section in dict.fromkeys(section for section, _ in settings):
        tree[section] = {key: value for (owner, key), value in values.items() if owner == section}
    return msgspec.convert(tree, Config)


@dataclass(frozen=True, slots=True)
class _Given:
    """A value somebody set."""

    origin: str
    section: str
    key: str
    found: object
    is_text: bool = False  # the environment knows nothing else

    def refused(self, sentence: str) -> ConfigError:
        return ConfigError(
            f"{self.origin}: {sentence}",
            origin=self.origin,
            section=self.section,
            key=self.key,
            found=repr(self.found),
        )


def _from_file(path: Path | None) -> Iterator[_Given]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "unknown error"
        raise InputError(
            f"Expected a readable TOML file at {path}, found: {reason}.", path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, found other bytes.", origin=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, found: {error}.", origin=str(path)) from error
    for section, content in document.items():
        if not isinstance(content, dict):
            given = _Given(str(path), "", section, content)
            raise given.refused(f"expected sections such as [entry], found {section} outside of any.")
        if not content:
            yield _Given(str(path), section, "", None)
        for key, value in content.items():
            yield _Given(str(path), section, key, value)


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            yield _Given(f"environment {name}", section, key, environ[name], is_text=True)


def _find(settings: Mapping[Key, Setting], given: _Given) -> Setting | None:
    """Return the setting that was given, None for the header of an empty section."""
    keys = [key for section, key in settings if section == given.section]
    if not keys:
        sections = list(dict.fromkeys(section for section, _ in settings))
        raise given.refused(
            f"expected one of the sections {', '.join(sections)}, found [{given.section}]."
            + _did_you_mean(given.section, sections)
        )
    if given.key and given.key not in keys:
        raise given.refused(
            f"expected in [{given.section}] one of {', '.join(keys)}, found {given.key}."
            + _did_you_mean(given.key, keys)
        )
    return settings.get((given.section, given.key))


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


# What one value cannot say of itself: (section, the smaller, the larger).
_ORDERED = (
    ("entry", "rho_floor", "rho_enter"),
    ("entry", "rho_post_ms", "episode_window_ms"),
    ("profile", "breakout_min_bps", "breakout_max_bps"),
)


def _check_ordered(values: Mapping[Key, Value], origins: Mapping[Key, str]) -> None:
    for section, small, large in _ORDERED:
        low, high = values[section, small], values[section, large]
        if low > high:  # type: ignore[operator]
            origin = origins.get((section, small)) or origins[section, large]
            sentence = f"[{section}] {small} expects at most {large} = {high}, found {low}."
            raise _Given(origin, section, small, low).refused(sentence)


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """The numbers of one instrument as the compiled `Market` takes them: its keyword arguments."""

    band_min_bps: float
    band_spread_multiple: float
    band_min_ticks: int
    rho_enter: float
    rho_floor: float
    rho_pre_min: float
    pulled_share_max: float
    rho_pre_ns: int
    rho_post_ns: int
    pulled_window_ns: int
    episode_window_ns: int
    min_updates: int
    imbalance_hold_ns: int
    whale_floor_quote: float
    whale_adaptive_floor: bool
    whale_depth_share: float
    whale_quantile: float
    whale_window_ns: int
    whale_min_sweeps: int
    sweep_timeout_ns: int
    episode_gap_ns: int
    profile_window_ns: int
    profile_ready_ns: int
    session_ready_ns: int
    session_enabled: bool
    value_area: float
    two_row: bool
    row_bps: float
    node_share: float
    volatility_span: int
    volatility_ready_after: int
    stale_ns: int
    overflow_levels: int
    buffer_levels: int


# The floors of BTC and ETH are dollars: they hold only where the quote is one, and only for the coin itself
# (BTCDOMUSDT and ETHFIUSDT are other assets).
_DOLLARS = {
    MarketKind.SPOT: ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD"),
    MarketKind.USDM: ("USDT", "USDC", "BUSD"),
    MarketKind.COINM: ("USD",),
}


def market_settings(config: Config, symbol: str, kind: MarketKind) -> MarketSettings:
    """Resolve the settings of one instrument into plain numbers, times in nanoseconds."""
    pair = symbol.upper().partition("_")[0]
    entry, whale, profile = config.entry, config.whale, config.profile
    floor, is_adaptive = whale.floor_quote, True
    if pair in {"BTC" + quote for quote in _DOLLARS[kind]}:
        floor, is_adaptive = whale.floor_btc_quote, False
    elif pair in {"ETH" + quote for quote in _DOLLARS[kind]}:
        floor, is_adaptive = whale.floor_eth_quote, False
    return MarketSettings(
        band_min_bps=entry.band_min_bps,
        band_spread_multiple=entry.band_spread_multiple,
        band_min_ticks=entry.band_min_ticks,
        rho_enter=entry.rho_enter,
        rho_floor=entry.rho_floor,
        rho_pre_min=entry.rho_pre_min,
        pulled_share_max=entry.pulled_share_max,
        rho_pre_ns=entry.rho_pre_ms * NS_PER_MS,
        rho_post_ns=entry.rho_post_ms * NS_PER_MS,
        pulled_window_ns=entry.pulled_window_ms * NS_PER_MS,
        episode_window_ns=entry.episode_window_ms * NS_PER_MS,
        min_updates=entry.min_updates,
        imbalance_hold_ns=entry.imbalance_hold_ms * NS_PER_MS,
        whale_floor_quote=floor,
        whale_adaptive_floor=is_adaptive,
        whale_depth_share=whale.depth_share,
        whale_quantile=whale.quantile,
        whale_window_ns=round(whale.window_min * NS_PER_MIN),
        whale_min_sweeps=whale.min_sweeps,
        sweep_timeout_ns=whale.sweep_timeout_ms * NS_PER_MS,
        episode_gap_ns=whale.episode_gap_ms * NS_PER_MS,
        profile_window_ns=round(profile.rolling_min * NS_PER_MIN),
        profile_ready_ns=round(profile.rolling_min * profile.rolling_ready_share * NS_PER_MIN),
        session_ready_ns=round(profile.session_ready_min * NS_PER_MIN),
        session_enabled=profile.session,
        value_area=profile.value_area,
        two_row=profile.two_row,
        row_bps=profile.row_bps,
        node_share=profile.node_share,
        volatility_span=config.volatility.span,
        volatility_ready_after=config.volatility.ready_after,
        stale_ns=config.market.stale_ms * NS_PER_MS,
        overflow_levels=config.market.overflow_levels,
        buffer_levels=config.market.buffer_levels,
    )


@dataclass(frozen=True, slots=True)
class ScalperSettings:
    """The numbers of the volume scalper on one kind of market."""

    taker_bps: float
    maker_bps: float
    is_cost_gated: bool
    entry_notional_quote: float
    min_confidence: float
    cooldown_ns: int
    rho_enter: float
    edge_bps: float
    edge_share: float
    breakout_min_bps: float
    breakout_max_bps: float
    inside_ns: int


def scalper_settings(config: Config, kind: MarketKind) -> ScalperSettings:
    """Resolve the settings of the volume scalper, with the fees of this kind of market."""
    cost, scalper, profile = config.cost, config.volume_scalper, config.profile
    taker_bps, maker_bps = {
        MarketKind.SPOT: (cost.spot_taker_bps, cost.spot_maker_bps),
        MarketKind.USDM: (cost.usdm_taker_bps, cost.usdm_maker_bps),
        MarketKind.COINM: (cost.coinm_taker_bps, cost.coinm_maker_bps),
    }[kind]
    return ScalperSettings(
        taker_bps=taker_bps,
        maker_bps=maker_bps,
        is_cost_gated=cost.gate == "on",
        entry_notional_quote=scalper.entry_notional_quote,
        min_confidence=scalper.min_confidence,
        cooldown_ns=round(scalper.cooldown_s * NS_PER_S),
        rho_enter=config.entry.rho_enter,
        edge_bps=profile.edge_bps,
        edge_share=profile.edge_share,
        breakout_min_bps=profile.breakout_min_bps,
        breakout_max_bps=profile.breakout_max_bps,
        inside_ns=round(profile.inside_min * NS_PER_MIN),
    )
