"""All that can be seen of a market at one moment, by name: of the native one, and of its slow twin."""

import math

from native.market import Market
from tests.oracles.bars import WIDTHS
from tests.oracles.flow import SWEEP, cvd, missing_ids, rates, session_cvd
from tests.oracles.market import SlowMarket

WINDOWS_NS = (10**9, 10 * 10**9, 60 * 10**9)
N_LEVELS = 25
NO_BAND = 2**63 - 1, 0

Features = dict[str, object]


def known(value: float) -> float | None:
    """Return None for NaN, so that unknown equals unknown."""
    return None if math.isnan(value) else value


def features_of(market: Market) -> Features:
    """Return what the slow twin knows as well, exact to the bit."""
    flow, depth, areas, candidate = market.flow, market.imbalance, market.areas, market.candidate()
    return {
        "now_ns": market.now_ns,
        "is_valid": market.is_valid,
        "ids": (market.update_id, market.book_epoch, market.last_trade_id),
        "counts": (market.depth_applied, market.gaps, market.crossed, market.venue_time.outliers),
        "venue_ns": market.last_venue_ns,
        "best": (market.best_bid, market.best_ask),
        "levels": (market.book.levels(1, N_LEVELS), market.book.levels(-1, N_LEVELS)),
        "n_levels": market.book.n_levels,
        "ticker": (market.ticker_compared, market.ticker_equal),
        "band": (depth.band, depth.band_sums),
        "rho": known(depth.rho),
        "order_flow": depth.order_flow,
        "imbalance": (depth.signal_side, depth.hold_due),
        "medians": tuple(known(value) for value in depth.medians()),
        "threshold": known(market.whale.threshold_quote),
        "whales": (market.whale.n_whales, market.whale.n_episodes, market.entry.n_confirmed),
        "cvd": (flow.cvd, flow.session_cvd, flow.missing_ids),
        "sweeps": (market.flow.n_sweeps, flow.running),
        "rates": [flow.rates(window_ns) for window_ns in WINDOWS_NS],
        "volume": (areas.rolling.snapshot(), areas.session.snapshot()),
        "profiles": tuple(tuple(state) for state in market.profiles()),
        "bars": {interval: market.bars.bars(interval) for interval in WIDTHS},
        "open_bars": {interval: market.bars.open_bar(interval) for interval in WIDTHS},
        "footprints": (market.bars.footprint(True), market.bars.footprint(False)),
        "candidate": candidate and (*candidate[:4], *candidate[8:]),
        "tape": market.tape.last(3),
    }


def slow_features(twin: SlowMarket, price_scale: float) -> Features:
    """Return the same of the twin."""
    depth, kept, now_ns = twin.depth, twin.kept, twin.now_ns
    return {
        "now_ns": now_ns,
        "is_valid": twin.is_valid,
        "ids": (twin.update_id, twin.book_epoch, twin.last_trade_id),
        "counts": (twin.depth_applied, twin.gaps, twin.crossed, twin.outliers),
        "venue_ns": twin.venue_ns,
        "best": (depth.best_bid, depth.best_ask),
        "levels": (depth.levels(1, N_LEVELS), depth.levels(-1, N_LEVELS)),
        "n_levels": (len(depth.bids), len(depth.asks)),
        "ticker": (twin.compared, twin.equal),
        "band": (depth.band or NO_BAND, (depth.bid_sum, depth.ask_sum)),
        "rho": known(depth.rho),
        "order_flow": depth.order_flow,
        "imbalance": (depth.heavy_side if depth.is_on else 0, depth.hold_due_ns or 0),
        "medians": tuple(known(value) for value in depth.medians()),
        "threshold": known(twin.whale.threshold(twin.whale_ns)),
        "whales": (
            len(twin.whale.whales),
            max((episode for _, episode in twin.whale.whales.values()), default=0),
            len(twin.confirmed_episodes),
        ),
        "cvd": (cvd(kept), session_cvd(kept), missing_ids(kept)),
        "sweeps": (len(twin.closed), twin.running),
        "rates": [rates(kept, twin.rates_ns, window_ns) for window_ns in WINDOWS_NS],
        "volume": (twin.areas.rolling.snapshot(), twin.areas.session.snapshot()),
        "profiles": twin.areas.states(now_ns, price_scale),
        "bars": {interval: twin.bars.bars(interval) for interval in WIDTHS},
        "open_bars": {interval: twin.bars.open_bar(interval) for interval in WIDTHS},
        "footprints": (twin.bars.footprint(True), twin.bars.footprint(False)),
        "candidate": slow_candidate(twin),
        "tape": [
            (one.trade_id, one.price, one.quantity, one.aggressor, one.venue_ns)
            for one in reversed(kept[-3:])
        ],
    }


def slow_candidate(twin: SlowMarket) -> tuple[object, ...] | None:
    """Episode, side, notional, threshold, updates behind it, last whale and end; None if none waits."""
    if twin.armed is None or twin.candidate is None:
        return None
    sweep: SWEEP = twin.candidate[0]
    return (
        twin.whale.episode_of(sweep),
        sweep[9],
        twin.whale.quote(sweep),
        twin.whale.threshold_of(sweep),
        twin.candidate[1].n_updates,
        sweep[6],
        sweep[6] + twin.settings.episode_window_ns,
    )
