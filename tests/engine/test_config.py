import math
import tomllib
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import (
    Fees,
    MarketSettings,
    configured_fees,
    describe,
    desk_settings,
    load_config,
    market_settings,
    scalper_settings,
)
from engine.errors import ConfigError, InputError
from engine.settings import Config
from engine.signals import MarketKind

# The numbers of the trading definitions, written down a second time on purpose.
DEFINED = """
[entry]
band_min_bps = 2
band_spread_multiple = 1.5
band_min_ticks = 5
rho_enter = 0.60
rho_floor = 0.45
rho_pre_min = -0.20
pulled_share_max = 0.5
rho_pre_ms = 500
rho_post_ms = 400
min_updates = 3
imbalance_hold_ms = 500
pulled_window_ms = 2000
episode_window_ms = 2000
[whale]
floor_btc_quote = 100000
floor_eth_quote = 50000
floor_quote = 10000
depth_share = 0.5
quantile = 0.995
window_min = 60
min_sweeps = 500
sweep_timeout_ms = 10
episode_gap_ms = 2000
[profile]
rolling_min = 240
rolling_ready_share = 0.25
session = true
session_ready_min = 60
value_area = 0.70
two_row = false
row_bps = 1
node_share = 0.70
edge_bps = 3
edge_share = 0.05
breakout_min_bps = 1
breakout_max_bps = 15
inside_min = 5
[volatility]
span = 20
ready_after = 5
[cost]
gate = "on"
spot_taker_bps = 10
spot_maker_bps = 10
usdm_taker_bps = 5
usdm_maker_bps = 2
coinm_taker_bps = 5
coinm_maker_bps = 2
[volume_scalper]
min_confidence = 0.60
cooldown_s = 30
entry_notional_quote = 1000
[market]
stale_ms = 1000
overflow_levels = 32768
buffer_levels = 262144
[feed]
environment = "live"
origin = ""
depth_limit_spot = 5000
depth_limit_usdm = 1000
has_trade_stream = false
first_message_s = 15
depth_silence_s = 5
trade_silence_s = 60
reply_s = 5
rotate_h = 23.5
handover_s = 5
backoff_first_s = 0.25
backoff_max_s = 30
refresh_min = 30
listing_s = 60
clock_s = 30
streams_per_connection = 200
reserved_share = 0.2
history_minutes = 75
klines = 1440
[engine]
instance = "a"
run_dir = ""
state_dir = ""
facts_mib = 16
market_mib = 32
[risk]
max_position_quote = 5000
max_gross_quote = 10000
max_order_quote = 2000
max_orders_per_s = 10
price_band_bps = 30
signal_age_ms = 250
hard_stop_multiple = 3
hard_stop_min_bps = 60
[execution]
rest_ms = 2000
answer_ms = 1000
exit_band_bps = 30
flatten_s = 10
[simulator]
market = "usdm"
seed = 36
whales_per_minute = 18
supported_share = 0.9
support = 2
paper_quote = 10000
maker_bps = 0
taker_bps = 1.7
feed_us = 1500
order_us = 1500
response_us = 1500
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "remora.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults_are_the_defined_numbers(written):
    assert load_config(None, "live", {}) == Config() == load_config(written(DEFINED), "live", {})
    defined = tomllib.loads(DEFINED)
    assert {(one.section, one.key) for one in describe()} == {
        (section, key) for section, keys in defined.items() for key in keys
    }


def test_capture_preset_changes_the_profile_and_its_name_only():
    capture = load_config(None, "capture", {})
    assert capture.preset == "capture"
    assert (capture.profile.rolling_min, capture.profile.session) == (15.0, False)
    assert capture.entry == Config().entry
    settings = market_settings(capture, "BTCUSDT", MarketKind.SPOT)
    assert settings.profile_ready_ns == 225 * 10**9
    assert not settings.session_enabled


def test_environment_beats_file_beats_preset(written):
    path = written("[profile]\nrolling_min = 30\nrow_bps = 2\n")
    environ = {
        "REMORA_PROFILE__ROLLING_MIN": " 45 ",
        "REMORA_PROFILE__TWO_ROW": "on",
        "REMORA_COST__GATE": "off",
    }
    config = load_config(path, "capture", environ)
    assert (config.profile.rolling_min, config.profile.row_bps, config.profile.session) == (45.0, 2.0, False)
    assert config.profile.two_row
    assert config.cost.gate == "off"


def test_empty_section_changes_nothing(written):
    assert load_config(written("[entry]\n"), "live", {}) == Config()


def test_other_environment_is_left_alone():
    assert load_config(None, "live", {"REMORA_DEBUG": "1", "PATH": "/bin", "X__Y": "1"}) == Config()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[entri]\nrho_enter = 0.7\n", ("found [entri]", "Did you mean entry?")),
        ("[entri]\n", ("found [entri]", "Did you mean entry?")),
        ("[[entry]]\nrho_enter = 0.7\n", ("found entry outside of any",)),
        ("[entry]\nrho_enter = {value = 0.7}\n", ("[entry] rho_enter", "found {'value': 0.7}")),
        ("[entry]\nrho_entr = 0.7\n", ("[entry]", "found rho_entr", "Did you mean rho_enter?")),
        ("[entry]\nrho_enter = 1.5\n", ("[entry] rho_enter", "a number from 0.01 to 0.99", "found 1.5")),
        ("[entry]\nrho_enter = nan\n", ("[entry] rho_enter", "found nan")),
        ('[entry]\nrho_enter = "0.7"\n', ("[entry] rho_enter", "a number", "found '0.7'")),
        ("[entry]\nmin_updates = 3.0\n", ("[entry] min_updates", "an integer from 1", "found 3.0")),
        ("[entry]\nmin_updates = true\n", ("[entry] min_updates", "an integer", "found True")),
        ("[profile]\nsession = 1\n", ("[profile] session", "true or false", "found 1")),
        ('[cost]\ngate = "maybe"\n', ("[cost] gate", 'one of "on", "off"', "found 'maybe'")),
        ("[entry]\nrho_floor = 0.7\n", ("[entry] rho_floor", "at most rho_enter = 0.6", "found 0.7")),
        ("[entry]\nrho_enter = 0.4\n", ("[entry] rho_floor", "at most rho_enter = 0.4", "found 0.45")),
        ("[feed]\nbackoff_max_s = 0.1\n", ("[feed] backoff_first_s", "at most backoff_max_s = 0.1")),
        ("[feed]\ndepth_limit_usdm = 700\n", ("[feed] depth_limit_usdm", "500, 1000, found 700")),
        ('[feed]\nenvironment = "prod"\n', ("[feed] environment", '"live", "testnet", "demo"')),
        ('[feed]\norigin = "127.0.0.1:8001"\n', ("[feed] origin", "a text of the form (https?://")),
        ("rho_enter = 0.7\n", ("outside of any", "rho_enter")),
        ("[entry\n", ("expected TOML",)),
    ],
)
def test_wrong_file_is_refused_with_where_and_what(written, text, parts):
    path = written(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, "live", {})
    for part in (str(path), *parts):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        (
            "REMORA_ENTRY__RHO_ENTER",
            "high",
            ("[entry] rho_enter", "a number from 0.01 to 0.99", "found 'high'"),
        ),
        ("REMORA_ENTRY__MIN_UPDATES", "3.5", ("an integer", "found '3.5'")),
        ("REMORA_PROFILE__SESSION", "yes", ("true or false", "found 'yes'")),
        ("REMORA_COST__GATES", "off", ("found gates", "Did you mean gate?")),
        ("REMORA_COSTS__GATE", "off", ("found [costs]", "Did you mean cost?")),
    ],
)
def test_wrong_environment_is_refused_with_its_name(name, value, parts):
    with pytest.raises(ConfigError) as caught:
        load_config(None, "live", {name: value})
    for part in (name, *parts):
        assert part in str(caught.value)


def test_unreadable_file_is_an_error_of_input(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml, found: No such file"):
        load_config(tmp_path / "none.toml", "live", {})
    with pytest.raises(InputError, match="Is a directory"):
        load_config(tmp_path, "live", {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        load_config(tmp_path / "bytes.toml", "live", {})


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match=r'live, capture, found "captured"\. Did you mean capture\?'):
        load_config(None, "captured", {})


def test_tree_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Config().entry.rho_enter = 0.5


def test_every_setting_is_described_and_its_default_is_allowed():
    settings = describe()
    assert len({(one.section, one.key) for one in settings}) == len(settings)
    for one in settings:
        assert one.rule.meaning
        assert one.expected
        name = f"REMORA_{one.section}__{one.key}".upper()
        assert load_config(None, "live", {name: str(one.default)}) == Config()
    changed = {(one.section, one.key): one.presets for one in settings if one.presets}
    assert changed == {
        ("profile", "rolling_min"): {"capture": 15.0},
        ("profile", "session"): {"capture": False},
    }


@given(value=st.floats(0.46, 0.99))
def test_number_in_the_environment_is_read_to_the_last_bit(value):
    config = load_config(None, "live", {"REMORA_ENTRY__RHO_ENTER": repr(value)})
    assert config.entry.rho_enter == value


@pytest.mark.parametrize(
    ("symbol", "kind", "floor", "is_adaptive"),
    [
        ("BTCUSDT", MarketKind.SPOT, 100_000.0, False),
        ("btcusdt", MarketKind.USDM, 100_000.0, False),
        ("BTCUSDT_240927", MarketKind.USDM, 100_000.0, False),
        ("BTCUSD_PERP", MarketKind.COINM, 100_000.0, False),
        ("ETHFDUSD", MarketKind.SPOT, 50_000.0, False),
        ("ETHUSDC", MarketKind.USDM, 50_000.0, False),
        ("ETHBTC", MarketKind.SPOT, 10_000.0, True),
        ("ETHFIUSDT", MarketKind.SPOT, 10_000.0, True),
        ("BTCDOMUSDT", MarketKind.USDM, 10_000.0, True),
        ("SOLUSDT", MarketKind.SPOT, 10_000.0, True),
    ],
)
def test_whale_floor_follows_the_coin_against_dollars(symbol, kind, floor, is_adaptive):
    settings = market_settings(Config(), symbol, kind)
    assert (settings.whale_floor_quote, settings.whale_adaptive_floor) == (floor, is_adaptive)


def test_market_settings_are_plain_numbers_in_nanoseconds():
    settings = market_settings(Config(), "BTCUSDT", MarketKind.SPOT)
    for field in fields(MarketSettings):
        value = getattr(settings, field.name)
        assert type(value) is field.type
        assert math.isfinite(value)
    assert (settings.rho_pre_ns, settings.rho_post_ns) == (500_000_000, 400_000_000)
    assert (settings.profile_window_ns, settings.profile_ready_ns) == (14_400 * 10**9, 3_600 * 10**9)
    assert (settings.session_ready_ns, settings.whale_window_ns) == (3_600 * 10**9, 3_600 * 10**9)
    assert (settings.imbalance_hold_ns, settings.sweep_timeout_ns, settings.stale_ns) == (
        5 * 10**8,
        10**7,
        10**9,
    )


@pytest.mark.parametrize(
    ("kind", "taker_bps", "maker_bps"),
    [(MarketKind.SPOT, 10.0, 10.0), (MarketKind.USDM, 5.0, 2.0), (MarketKind.COINM, 5.0, 2.0)],
)
def test_scalper_settings_take_the_fees_of_their_market(kind, taker_bps, maker_bps):
    settings = scalper_settings(Config(), kind)
    assert (settings.taker_bps, settings.maker_bps) == (taker_bps, maker_bps)
    assert settings.is_cost_gated
    assert (settings.cooldown_ns, settings.inside_ns) == (30 * 10**9, 300 * 10**9)


def test_desk_settings_are_money_in_integers_and_times_in_nanoseconds():
    settings = desk_settings(Config(), MarketKind.USDM)
    assert (settings.max_position_money, settings.max_gross_money, settings.max_order_money) == (
        5_000 * 10**8,
        10_000 * 10**8,
        2_000 * 10**8,
    )
    assert (settings.rest_ns, settings.signal_age_ns) == (2 * 10**9, 250 * 10**6)
    assert (settings.hard_stop_multiple, settings.hard_stop_min_bps) == (3.0, 60.0)
    assert (settings.exit_band_bps, settings.price_band_bps, settings.max_orders_per_s) == (30.0, 30.0, 10)


def test_desk_takes_the_fees_of_the_account_where_it_has_told_them():
    assert configured_fees(Config(), MarketKind.SPOT) == Fees(taker_bps=10.0, maker_bps=10.0)
    assert desk_settings(Config(), MarketKind.SPOT).taker_bps == 10.0
    assert desk_settings(Config(), MarketKind.SPOT, Fees(taker_bps=7.5, maker_bps=7.5)).taker_bps == 7.5
