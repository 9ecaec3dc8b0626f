"""Read the tree of settings: a preset, a TOML file and the environment, each overriding the one before.

The environment names a setting ``REMORA_<SECTION>__<KEY>`` (``REMORA_ENTRY__RHO_ENTER=0.65``). Every number
that steers a decision stands here with its default and meaning. Nothing reads this tree while deciding:
`market_settings` and `scalper_settings` copy plain values out of it, in the units of the corridor.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

import msgspec

from engine.errors import ConfigError, InputError
from engine.settings import Config, Rule
from engine.signals import MarketKind

Value = bool | int | float | str
Key = tuple[str, str]

ENVIRONMENT_PREFIX = "REMORA_"
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_MIN = 60 * NS_PER_S
MONEY_PER_QUOTE = 10**8

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
        if self.type is str:
            return "a text" if self.rule.pattern == ".*" else f"a text of the form {self.rule.pattern}"
        if self.type is bool:
            return "true or false"
        kind = "an integer" if self.type is int else "a number"
        return f"{kind} from {self.rule.low:g} to {self.rule.high:g}"

    def accept(self, found: object) -> Value | None:
        """Return the value in its own type, or None if it may not be that."""
        if self.type is bool or isinstance(found, bool):
            return found if self.type is bool and isinstance(found, bool) else None
        if self.type is str:
            if not isinstance(found, str):
                return None
            if self.rule.choices:
                return found if found in self.rule.choices else None
            return found if re.fullmatch(self.rule.pattern, found) else None
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
    _check_together(values, origins)
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
    ("feed", "backoff_first_s", "backoff_max_s"),
)


# Where the venue takes a few numbers only.
_TAKEN = {("feed", "depth_limit_usdm"): (5, 10, 20, 50, 100, 500, 1000)}


def _check_together(values: Mapping[Key, Value], origins: Mapping[Key, str]) -> None:
    for section, small, large in _ORDERED:
        low, high = values[section, small], values[section, large]
        if low > high:  # type: ignore[operator]
            origin = origins.get((section, small)) or origins[section, large]
            sentence = f"[{section}] {small} expects at most {large} = {high}, found {low}."
            raise _Given(origin, section, small, low).refused(sentence)
    for (section, key), allowed in _TAKEN.items():
        found = values[section, key]
        if found not in allowed:
            sentence = f"[{section}] {key} expects one of {', '.join(map(str, allowed))}, found {found}."
            raise _Given(origins[section, key], section, key, found).refused(sentence)


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


@dataclass(frozen=True, slots=True)
class Fees:
    """What the account pays on one kind of market."""

    taker_bps: float
    maker_bps: float


def configured_fees(config: Config, kind: MarketKind) -> Fees:
    """Return the configured fees of a kind of market, for an account that has not told its own."""
    scalper = scalper_settings(config, kind)
    return Fees(taker_bps=scalper.taker_bps, maker_bps=scalper.maker_bps)


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """The numbers of the risk desk; money in 10^-8 quote."""

    max_position_money: int
    max_gross_money: int
    max_order_money: int
    max_orders_per_s: int
    price_band_bps: float
    signal_age_ns: int
    hard_stop_multiple: float
    hard_stop_min_bps: float
    rest_ns: int
    exit_band_bps: float
    taker_bps: float


def desk_settings(config: Config, kind: MarketKind, fees: Fees | None = None) -> DeskSettings:
    """Resolve the settings of the desk; without the account's own fees the configured ones count."""
    risk, execution = config.risk, config.execution
    return DeskSettings(
        max_position_money=round(risk.max_position_quote * MONEY_PER_QUOTE),
        max_gross_money=round(risk.max_gross_quote * MONEY_PER_QUOTE),
        max_order_money=round(risk.max_order_quote * MONEY_PER_QUOTE),
        max_orders_per_s=risk.max_orders_per_s,
        price_band_bps=risk.price_band_bps,
        signal_age_ns=risk.signal_age_ms * NS_PER_MS,
        hard_stop_multiple=risk.hard_stop_multiple,
        hard_stop_min_bps=risk.hard_stop_min_bps,
        rest_ns=execution.rest_ms * NS_PER_MS,
        exit_band_bps=execution.exit_band_bps,
        taker_bps=(fees or configured_fees(config, kind)).taker_bps,
    )
