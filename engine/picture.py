"""What a running engine looks like from outside: its state for a view, and the report of its session."""

import math
from importlib import metadata

from engine.app import VENUE, Engine
from engine.instruments import MONEY_DIGITS
from engine.orders import OrderKind
from engine.risk.desk import WANTED_NAMES
from engine.runstate import (
    Funnel,
    OrderRow,
    PositionRow,
    ProfileRow,
    RunReport,
    Stage,
    ViewState,
)
from native.histogram import Histogram

BOOK_LEVELS = 10
TAPE_ROWS = 20
MONEY = 10**MONEY_DIGITS


def view_state(engine: Engine) -> ViewState:
    """Return a picture of the engine as it stands now. Cost: some hundred microseconds; not per message."""
    market, desk, config = engine.lane.market, engine.trading.desk, engine.job.config
    now_ns = engine.clock.now_ns()
    elapsed_s = (now_ns - engine.trading_ns) / 1e9 if engine.trading_ns else 0.0
    position = desk.positions[0]
    realised, fees, pnl = position.realised_money, position.fees_money, position.equity_money(engine.mark)
    return ViewState(
        symbol=engine.instrument.symbol,
        market=config.simulator.market,
        preset=config.preset,
        venue=VENUE,
        wanted=WANTED_NAMES[desk.wanted],
        is_paused=desk.is_paused,
        is_warming_up=desk.is_warming_up,
        sides=desk.sides,
        size=desk.size,
        elapsed_s=elapsed_s,
        seconds_left=-1.0 if engine.job.seconds is None else max(0.0, engine.job.seconds - elapsed_s),
        is_valid=market.is_valid,
        price_digits=engine.instrument.price_digits,
        quantity_digits=engine.instrument.quantity_digits,
        best_bid=market.best_bid,
        best_ask=market.best_ask,
        spread_bps=_finite(market.spread_bps) or 0.0,
        sigma_60_bps=_finite(market.sigma_60_bps),
        cvd=market.cvd,
        threshold_quote=_finite(market.whale.threshold_quote),
        bids=tuple(market.book.levels(1, BOOK_LEVELS)),
        asks=tuple(market.book.levels(-1, BOOK_LEVELS)),
        tape=tuple((price, quantity, side) for _, price, quantity, side, _ in market.tape.last(TAPE_ROWS)),
        profiles=tuple(
            ProfileRow(source=one.source, is_ready=one.is_ready, val=one.val, poc=one.poc, vah=one.vah)
            for one in market.profiles()
        ),
        records=tuple(engine.records),
        lines=tuple(engine.tally.lines),
        position=_position(engine, now_ns),
        orders=_orders(engine),
        pnl_quote=pnl / MONEY,
        realised_quote=realised / MONEY,
        fees_quote=fees / MONEY,
        equity_quote=config.simulator.paper_quote + pnl / MONEY,
        funnel=_funnel(engine),
        stages=_stages(engine),
        note=engine.note,
    )


def run_report(engine: Engine, gc_collections: int) -> RunReport:
    """Return the report of a session that is over."""
    config, tally = engine.job.config, engine.tally
    position, mark = engine.trading.desk.positions[0], engine.mark
    pnl, exchange_pnl = position.equity_money(mark), engine.venue.pnl_money(mark)
    counts = engine.lane.strategy.funnel.counts()
    return RunReport(
        remora=metadata.version("remora"),
        symbol=engine.instrument.symbol,
        market=config.simulator.market,
        venue=VENUE,
        preset=config.preset,
        cost_gate=config.cost.gate,
        instance=config.engine.instance,
        epoch=engine.epoch,
        maker_bps=engine.venue.fees.maker_bps,
        taker_bps=engine.venue.fees.taker_bps,
        seconds=round((engine.clock.now_ns() - engine.trading_ns) / 1e9, 3) if engine.trading_ns else 0.0,
        end=engine.end,
        exit_code=engine.exit_code,
        position=engine.instrument.quantity_text(position.quantity),
        whales=engine.lane.kinds["whale_close"],
        entries=engine.lane.kinds["entry"],
        round_trips=tally.round_trips,
        wins=tally.wins,
        pnl=pnl,
        realised=position.realised_money,
        fees=position.fees_money,
        exchange_pnl=exchange_pnl,
        is_equal=pnl == exchange_pnl,
        orders=tally.orders,
        fills=tally.fills,
        funnel=_funnel(engine),
        confirm_refusals={name: count for name, count in engine.lane.refusals.items() if count},
        vetoes={reason.value: count for reason, count in counts.vetoes if count},
        desk_refusals=dict(tally.refusals),
        stages=_stages(engine),
        gc_collections=gc_collections,
        facts=tally.facts,
        market_records_lost=engine.n_lost,
        recording="" if engine.job.record is None else str(engine.job.record),
        notes=tuple(engine.notes()),
    )


def _funnel(engine: Engine) -> Funnel:
    market, counts, tally = engine.lane.market, engine.lane.strategy.funnel.counts(), engine.tally
    return Funnel(
        sweeps=market.flow.n_sweeps,
        whales=market.whale.n_whales,
        episodes=market.whale.n_episodes,
        imbalance=counts.imbalance,
        aligned=counts.aligned,
        cost=counts.cost,
        entries=counts.entries,
        approved=tally.approved,
        filled=len(tally.filled_plans),
        closed=tally.round_trips,
    )


def _stages(engine: Engine) -> tuple[Stage, ...]:
    market = engine.lane.market
    found = [(f"{kind} to mask", market.frame_to_mask(kind)) for kind in ("depth", "trade", "ticker")]
    found.append(("mask to order", engine.corridor.mask_to_order_ns))
    return tuple(_stage(name, histogram) for name, histogram in found)


def _stage(name: str, histogram: Histogram) -> Stage:
    if histogram.count == 0:
        return Stage(name=name, count=0, p50=0, p99=0, p999=0, max=0)
    return Stage(
        name=name,
        count=histogram.count,
        p50=histogram.percentile(50),
        p99=histogram.percentile(99),
        p999=histogram.percentile(99.9),
        max=histogram.max,
    )


def _position(engine: Engine, now_ns: int) -> PositionRow:
    instrument, desk = engine.instrument, engine.trading.desk
    position, plan = desk.positions[0], desk.plans[0]
    if plan is None or plan.is_over:
        return PositionRow(
            quantity=instrument.quantity_text(position.quantity),
            entry_price="",
            stage="",
            stop="",
            target="",
            hard_stop="",
            seconds_left=0.0,
        )

    def price(units: int) -> str:
        return instrument.price_text(units) if units else ""

    return PositionRow(
        quantity=instrument.quantity_text(position.quantity),
        entry_price=position.average_text if position.quantity else "",
        stage=plan.stage.value,
        stop=price(plan.stop_price),
        target=price(plan.target_price),
        hard_stop=price(plan.hard_stop_price),
        seconds_left=max(0.0, (plan.deadline_ns - now_ns) / 1e9) if plan.deadline_ns else 0.0,
    )


def _orders(engine: Engine) -> tuple[OrderRow, ...]:
    instrument = engine.instrument
    return tuple(
        OrderRow(
            client_order_id=order.client_order_id,
            purpose=order.intent.purpose.value,
            side=order.intent.side.name.lower(),
            kind=OrderKind(order.intent.kind).name.lower(),
            price=instrument.price_text(order.intent.price),
            leaves=instrument.quantity_text(order.leaves),
            state=order.state.name.lower(),
        )
        for order in engine.trading.executor.blotter.open_orders()
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
