"""Slow twin of the whole market: the twins of its rooms in one row, told of every message in plain Python."""

import math

from engine.config import MarketSettings
from engine.signals import EntryReason, FlowKind, MarketKind, Trigger
from native.events import MessageKind, ParseStatus
from tests.oracles import flow, volatility
from tests.oracles.bars import Print as BarPrint
from tests.oracles.bars import SlowBars
from tests.oracles.depth import Judgement, Levels, SlowDepth
from tests.oracles.flow import SWEEP, Print
from tests.oracles.memory import KeptWhale, SlowAreas
from tests.oracles.wire import Fields, Reading

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
# Equal due times run in this order.
TIMERS = ("sweep", "hold", "confirm", "expiry", "stale", "second")

Event = dict[str, int | float]


class SlowMarket:
    """One frame in, one mask out, as the market; nothing is forgotten, everything is summed anew."""

    def __init__(
        self,
        settings: MarketSettings,
        *,
        kind: MarketKind,
        price_digits: int,
        quantity_digits: int,
        contract_size: float = 0.0,
    ) -> None:
        self.settings, self.is_spot = settings, kind is MarketKind.SPOT
        self.contract_size = contract_size if kind is MarketKind.COINM else 0.0
        self.quantity_scale = 10.0**-quantity_digits
        self.notional_scale = 10.0 ** -(price_digits + quantity_digits)
        if self.contract_size:
            self.notional_scale = self.contract_size * self.quantity_scale
        self.depth = SlowDepth(settings, 1)
        self.whale = KeptWhale(settings, self.notional_scale, is_inverse=self.contract_size > 0)
        self.areas = SlowAreas(settings, 1)
        self.bars = SlowBars(tick=1, is_corrected=True)
        self.due: dict[str, int] = {}
        self.mids: list[tuple[float, int, bool]] = []
        self.kept: list[Print] = []
        self.places: list[int] = []
        self.closed: list[SWEEP] = []
        self.tickers: list[Fields] = []
        self.waiting: list[Fields] = []
        self.events: list[Event] = []
        self.bbo: list[list[int]] = []
        self.state, self.book_id, self.update_id, self.last_trade_id = "buffering", -1, -1, -1
        self.n_old = 0
        self.checked_id: int | None = None
        self.is_valid = False
        self.now_ns = self.last_recv_ns = self.venue_ns = self.whale_ns = self.rates_ns = 0
        self.offset_ns: int | None = None
        self.n_disbelieved = self.outliers = self.book_epoch = self.gaps = self.crossed = 0
        self.compared = self.equal = self.depth_applied = 0
        self.watched: SWEEP | None = None
        self.last_watched: SWEEP | None = None
        self.armed: SWEEP | None = None
        self.candidate: tuple[SWEEP, Judgement] | None = None
        self.confirmed_episodes: set[int] = set()

    # What arrives.

    def take(self, reading: Reading | None, recv_ns: int) -> int:
        """Take a message as the slow reader reads it; None is not JSON."""
        if reading is not None and reading[0] == ParseStatus.PARSE_FOREIGN:
            return 0
        self.now_ns = self.last_recv_ns = recv_ns
        if reading is None or reading[0] != ParseStatus.PARSE_OK:
            return Trigger.REFUSED
        _, kind, fields = reading
        if kind == MessageKind.MESSAGE_TICKER:
            self.tickers.append(fields)
        if kind == MessageKind.MESSAGE_TRADE:
            return self.on_trade(fields)
        if kind == MessageKind.MESSAGE_SNAPSHOT:
            return self.on_snapshot(fields)
        return self.on_depth(fields) if kind == MessageKind.MESSAGE_DEPTH else 0

    def believes(self, venue_ns: int) -> bool:
        offset = venue_ns - self.now_ns
        is_near = self.offset_ns is None or abs(offset - self.offset_ns) <= MINUTE_NS
        if not is_near and self.n_disbelieved < 32:
            self.n_disbelieved += 1
            self.outliers += 1
            return False
        self.offset_ns, self.n_disbelieved = offset, 0
        self.venue_ns = max(self.venue_ns, venue_ns)
        return True

    # Depth: numbers of the rules as in the text of `native.sequence`.

    def judge(self, update: Fields) -> str:
        if self.state in ("buffering", "gap"):
            return "keep"
        if self.is_spot:
            is_old, joins = update["final_id"] <= self.book_id, update["first_id"] <= self.book_id + 1
        elif self.state == "live":
            is_old, joins = update["final_id"] <= self.book_id, update["previous_id"] == self.book_id
        else:
            is_old, joins = update["final_id"] < self.book_id, update["previous_id"] <= self.book_id
        if is_old:
            return "old"
        if joins:
            self.state, self.book_id, self.n_old = "live", update["final_id"], 0
            return "apply"
        if self.state == "live":
            self.gaps += 1
            self.state = "gap"
            return "break"
        self.state = "buffering"
        return "keep"

    def on_depth(self, update: Fields) -> int:
        action = self.judge(update)
        if update["venue_ns"] and self.believes(update["venue_ns"]):
            self.bars.advance_to(update["venue_ns"])
        if action == "old":
            self.n_old += 1
            if self.n_old == 100:
                # The venue counts from lower ids: it began anew.
                self.gaps += self.state == "live"
                self.n_old, self.state, action = 0, "gap", "break"
        if action == "apply":
            return self.apply(update)
        if action in ("keep", "break"):
            self.waiting.append(update)
        return self.invalidate() if action == "break" else 0

    def on_snapshot(self, snapshot: Fields) -> int:
        if self.state == "live":
            return 0
        self.state, self.book_id, self.n_old = "bridging", snapshot["final_id"], 0
        self.depth.load(snapshot["bids"], snapshot["asks"])
        self.depth.forget()
        self.due.pop("hold", None)
        self.book_epoch += 1
        self.update_id, self.checked_id, self.is_valid = snapshot["final_id"], None, False
        mask = 0
        while self.waiting:
            action = self.judge(self.waiting[0])
            if action == "break":
                mask |= self.invalidate()
            if action in ("keep", "break"):
                break
            update = self.waiting.pop(0)
            if action == "apply":
                mask |= self.apply(update)
        return mask

    def apply(self, update: Fields) -> int:
        touch = self.depth.best_bid, self.depth.best_ask
        for side, key in ((1, "bids"), (-1, "asks")):
            levels: Levels = update[key]
            for price, quantity in levels:
                self.depth.set_level(side, price, quantity, self.now_ns)
        self.update_id = update["final_id"]
        self.bbo.append([self.update_id, self.depth.best_bid, self.depth.best_ask])
        self.depth_applied += 1
        if self.depth.is_crossed:
            self.crossed += 1
            self.state = "gap"
            return self.invalidate()
        mask = 0
        side = self.depth.heavy_side
        if self.depth.settle(self.now_ns):
            self.event(FlowKind.IMBALANCE_OFF, side)
            mask |= Trigger.IMBALANCE
        self.arm("hold", self.depth.hold_due_ns)
        self.compare_with_ticker()
        self.due["stale"] = self.now_ns + self.settings.stale_ns
        if not self.is_valid:
            self.is_valid = True
            mask |= Trigger.LIVE
        if self.armed and touch != (self.depth.best_bid, self.depth.best_ask):
            mask |= Trigger.ENTRY
        return mask

    def compare_with_ticker(self) -> None:
        reached = [one for one in self.tickers if one["update_id"] <= self.update_id]
        self.tickers = [one for one in self.tickers if one["update_id"] > self.update_id]
        if reached and self.checked_id is not None and reached[-1]["update_id"] > self.checked_id:
            told = reached[-1]["bid_price"], reached[-1]["ask_price"]
            self.compared += 1
            self.equal += told == (self.depth.best_bid, self.depth.best_ask)
        self.checked_id = self.update_id

    def invalidate(self) -> int:
        mask = int(Trigger.GAP)
        self.is_valid = False
        if self.depth.is_on:
            self.event(FlowKind.IMBALANCE_OFF, self.depth.heavy_side)
            mask |= Trigger.IMBALANCE
        self.depth.forget()
        self.due.pop("hold", None)
        self.due.pop("stale", None)
        if self.drop():
            mask |= Trigger.ENTRY_EXPIRED
        return mask

    # Trades.

    @property
    def running(self) -> SWEEP | None:
        return flow.describe([self.kept[place] for place in self.places]) if self.places else None

    def on_trade(self, fields: Fields) -> int:
        one = Print(
            trade_id=fields["trade_id"],
            price=fields["price"],
            quantity=fields["quantity"],
            aggressor=fields["aggressor"],
            venue_ns=fields["venue_ns"],
            now_ns=self.now_ns,
            teaches=bool(fields["teaches"]),
            is_aggregate=bool(fields["is_aggregate"]),
        )
        if not self.believes(one.venue_ns) or (self.kept and one.trade_id <= self.kept[-1].trade_id):
            return 0
        mask = 0
        is_missed = bool(self.kept) and one.trade_id > self.kept[-1].trade_id + 1
        newest_ns = max((kept.venue_ns for kept in self.kept), default=0) if is_missed else 0
        self.kept.append(one)
        place = len(self.kept) - 1
        if one.teaches and self.places and not self.goes_on(place):
            mask |= self.close_sweep()
        self.last_trade_id = one.trade_id
        if is_missed:
            self.bars.note_gap((min(newest_ns, one.venue_ns), one.venue_ns))
        if not one.teaches:
            return mask
        self.places.append(place)
        self.rates_ns = self.now_ns
        self.areas.trade(one)
        ids = fields["first_id"], fields["last_id"]
        self.bars.apply(BarPrint(one.trade_id, one.price, one.quantity, one.venue_ns, one.aggressor, *ids))
        self.depth.trade(one.aggressor, one.price, one.quantity, self.now_ns)
        self.due["sweep"] = self.now_ns + self.settings.sweep_timeout_ns
        sweep = self.running
        if sweep and self.whale.running(sweep, self.whale_ns):
            self.describe(self.event(FlowKind.WHALE_OPEN, sweep[9]), sweep)
            mask |= Trigger.WHALE_OPEN
        return mask

    def goes_on(self, place: int) -> bool:
        return flow.continues(self.kept, self.places[-1], place, self.settings.sweep_timeout_ns)

    def close_sweep(self) -> int:
        sweep = self.running
        assert sweep is not None
        self.places.clear()
        self.due.pop("sweep", None)
        self.closed.append(sweep)
        self.whale_ns = self.now_ns
        if not self.whale.close(sweep, self.now_ns):
            return 0
        self.describe(self.event(FlowKind.WHALE_CLOSE, sweep[9]), sweep)
        if self.watched and self.whale.episode_of(self.watched) != self.whale.episode_of(sweep):
            event = self.event(FlowKind.ENTRY_REFUSED, self.watched[9])
            self.describe(event, self.watched)
            event["reason"] = EntryReason.SUPERSEDED
        self.watched = self.last_watched = sweep
        self.due["confirm"] = sweep[6] + self.settings.rho_post_ns
        return Trigger.WHALE_CLOSE

    # Entry.

    def drop(self) -> bool:
        was_armed = self.armed is not None
        self.armed = None
        self.due.pop("expiry", None)
        return was_armed

    def confirm(self) -> int:
        sweep = self.last_watched
        assert sweep is not None
        episode = self.whale.episode_of(sweep)
        if self.armed and self.whale.episode_of(self.armed) != episode:
            self.drop()
            self.due["confirm"] = self.now_ns
            return Trigger.ENTRY_EXPIRED
        self.watched = None
        seen = self.depth.judge(sweep[9], sweep[5], sweep[6], self.now_ns)
        reason = seen.reason if self.is_valid else EntryReason.BOOK_INVALID
        is_confirmed = reason == EntryReason.CONFIRMED
        mask = 0
        if is_confirmed:
            self.confirmed_episodes.add(episode)
            self.armed = sweep
            self.candidate = sweep, seen
            self.due["expiry"] = sweep[6] + self.settings.episode_window_ns
            mask = int(Trigger.ENTRY)
        elif self.drop():
            mask = int(Trigger.ENTRY_EXPIRED)
        event = self.event(FlowKind.ENTRY_ARMED if is_confirmed else FlowKind.ENTRY_REFUSED, sweep[9])
        self.describe(event, sweep)
        self.describe_judgement(event, seen, reason)
        return mask

    # Time.

    def arm(self, timer: str, due_ns: int | None) -> None:
        if due_ns is None:
            self.due.pop(timer, None)
        else:
            self.due[timer] = due_ns

    def advance(self, now_ns: int) -> int:
        if "second" not in self.due:
            self.due["second"] = (now_ns // SECOND_NS + 1) * SECOND_NS
        while True:
            due_ns, place = min((self.due[timer], TIMERS.index(timer)) for timer in self.due)
            if due_ns > now_ns:
                self.now_ns = max(self.now_ns, now_ns)
                return 0
            timer = TIMERS[place]
            del self.due[timer]
            self.now_ns = max(self.now_ns, due_ns)
            if mask := self.on_timer(timer):
                return mask

    def on_timer(self, timer: str) -> int:
        if timer == "second":
            self.on_second()
            return 0
        if timer == "sweep":
            return self.close_sweep() if self.places else 0
        if timer == "hold":
            self.depth.hold()
            if self.depth.is_on:
                self.event(FlowKind.IMBALANCE_ON, self.depth.heavy_side)
                return Trigger.IMBALANCE
            return 0
        if timer == "confirm":
            return self.confirm()
        if timer == "expiry":
            self.drop()
            return Trigger.ENTRY_EXPIRED
        return Trigger.STALE

    def on_second(self) -> None:
        has_mid = self.is_valid and self.depth.has_mid
        mid = 0.5 * float(self.depth.best_bid + self.depth.best_ask) if has_mid else 0.0
        self.whale_ns = self.rates_ns = self.now_ns
        if has_mid:
            self.depth.sample()
            depth = self.depth.medians()[1]
            self.whale.depth_median = (depth / mid if self.contract_size else depth) * self.notional_scale
            self.areas.mark_inside(self.depth.best_bid + self.depth.best_ask, self.now_ns)
        second = self.now_ns // SECOND_NS
        if second % 60 == 0:
            self.mids.append((mid, second // 60, has_mid))
        self.due["second"] = (second + 1) * SECOND_NS

    # What is told.

    def event(self, kind: FlowKind, side: int) -> Event:
        event: Event = {
            "sequence": len(self.events) + 1,
            "kind": int(kind),
            "side": side,
            "instrument": 0,
            "instrument_epoch": 1,
            "book_epoch": self.book_epoch,
            "is_valid": int(self.is_valid),
            "update_id": self.update_id,
            "trade_id": self.last_trade_id,
            "venue_ns": self.venue_ns,
            "recv_ns": self.last_recv_ns,
            "decide_ns": self.now_ns,
            "best_bid": self.depth.best_bid,
            "best_ask": self.depth.best_ask,
            "depth_median": self.whale.depth_median,
            "flow_quantile": self.whale.window_quantile(self.whale_ns, self.settings.whale_quantile),
            "rho": self.depth.rho,
        }
        event |= dict.fromkeys(("threshold", "rho_pre", "rho_post", "rho_post_min", "pulled_share"), math.nan)
        event |= dict.fromkeys(("episode", "first_price", "last_price", "quantity", "notional"), 0)
        event |= dict.fromkeys(("n_trades", "n_prices", "n_updates", "reason"), 0)
        self.events.append(event)
        return event

    def describe(self, event: Event, sweep: SWEEP) -> None:
        event["episode"] = self.whale.episode_of(sweep)
        event["first_price"], event["last_price"] = sweep[2], sweep[3]
        event["quantity"] = float(sweep[7]) * self.quantity_scale
        event["notional"] = self.whale.quote(sweep)
        event["threshold"] = self.whale.threshold_of(sweep)
        event["n_trades"], event["n_prices"] = sweep[10], sweep[11]

    def describe_judgement(self, event: Event, seen: Judgement, reason: int) -> None:
        event["rho_pre"], event["rho_post"] = seen.rho_pre, seen.rho_post
        event["rho_post_min"], event["pulled_share"] = seen.rho_post_min, seen.pulled_share
        event["n_updates"], event["reason"] = seen.n_updates, int(reason)

    @property
    def sigma_60_bps(self) -> float:
        returns = volatility.returns_of(self.mids)
        return volatility.sigma_bps(
            returns, self.settings.volatility_span, self.settings.volatility_ready_after
        )
