"""What the synthetic market did before the crowd began: candles and aggregate trades of two days.

Everything follows from the specification, the seed and the end. A skeleton of all minutes, laid backwards
from the price the crowd starts at, says where each minute ends and how many trades it has; a minute's trades
come from a generator of its own, so that any minute can be told alone, and its candle is nothing but their
sum.
"""

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.instruments import decimal_text
from engine.sim.crowd import BRANCHING, NS
from engine.sim.markets import CrowdSpec
from engine.sim.tape import MS, Shapes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTE_NS = 60 * NS
FULL_MINUTES = 2_880
BUSIEST_HOUR = 15.0  # UTC, when both of the world's large sessions are open
SEASON = 0.35
CALM_PER_MINUTE = 0.97  # how much of a minute's excitement the next one keeps
EXCITEMENT = 0.4  # standard deviation of the log of a minute's volatility
FOLLOWERS = 0.09  # share of sweeps that follow the fair value rather than a wish to trade
MONEY_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Minute:
    """The trades of one minute, in order: prices in ticks, quantities in lots, times in venue ms."""

    first_trade_id: int
    venue_ms: Ints
    price: Ints
    quantity: Ints
    is_buy: NDArray[np.bool_]
    sweep: Ints  # number of the sweep it belongs to


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is fixed of every minute before its trades are drawn; the oldest minute first."""

    edge_ns: Ints  # of n + 1 boundaries, the last of them the end
    edge_price: Floats  # ticks, at the same boundaries
    sweeps: Ints
    parents: Ints
    steps: Ints  # changes of price inside sweeps
    repeats: Ints  # further trades at a price of a sweep
    last_trade: Ints  # trades up to and with each minute
    last_aggregate: Ints


class History:
    """
    Two days of trades of one synthetic instrument, up to the moment its crowd begins.

    Parameters
    ----------
    spec : CrowdSpec
    seed : int
        Not negative.
    end_ns : int
        Venue time of the crowd's start; every trade is earlier.
    last_trade_id : int
        Id of the newest trade, one less than the crowd's first.

    Notes
    -----
    * Volatility clusters from minute to minute and has a season of the day, both relative to the moment of
      the end, which is as lively as the crowd itself. Sweeps have the crowd's sizes.
    * Aggregate trades merge neighbouring trades of one sweep at one price, as the venue's do.
    * Minutes begin on the UTC minute. An `end_ns` inside a minute makes one more, which is cut there.

    Cost: the skeleton about 10 ms; a minute's trades less than 1 ms and about 0.2 MB, of which the last 32
    asked for are kept; the text of a minute's aggregate trades some milliseconds.
    """

    def __init__(self, spec: CrowdSpec, seed: int, end_ns: int, last_trade_id: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative, found {seed}")
        if end_ns <= (FULL_MINUTES + 1) * MINUTE_NS:
            raise ValueError(f"end_ns must lie more than two days after the epoch, found {end_ns}")
        self.spec = spec
        self.end_ns = end_ns
        self.last_trade_id = last_trade_id
        self._root = (seed, zlib.crc32(f"{spec.symbol} {spec.market} before".encode()))
        self._shapes = Shapes(spec)
        self._bones = self._lay()
        self._minute = lru_cache(32)(self._draw)
        if last_trade_id < self.n_trades:
            raise ValueError(
                f"last_trade_id must leave ids from 1 for {self.n_trades} trades, found {last_trade_id}"
            )
        # Fewer aggregates than trades: their ids run lower.
        self.last_aggregate_id = last_trade_id // 2 + self.n_aggregates // 2

    @property
    def start_ns(self) -> int:
        """Venue time of the first minute."""
        return int(self._bones.edge_ns[0])

    @property
    def n_minutes(self) -> int:
        """Minutes there are, a last one that is cut included."""
        return len(self._bones.sweeps)

    @property
    def n_trades(self) -> int:
        """Trades of all minutes."""
        return int(self._bones.last_trade[-1])

    @property
    def n_aggregates(self) -> int:
        """Aggregate trades of all minutes."""
        return int(self._bones.last_aggregate[-1])

    def klines(self, n_minutes: int) -> bytes:
        """
        Return the last candles of one minute as the answer of the venue's REST klines endpoint.

        Parameters
        ----------
        n_minutes : int
            Most candles wanted, at least 1; the last is the running one if the end lies inside a minute.
        """
        if n_minutes < 1:
            raise ValueError(f"n_minutes must be at least 1, found {n_minutes}")
        first = max(0, self.n_minutes - n_minutes)
        rows = [self._kline(index) for index in range(first, self.n_minutes)]
        return f"[{','.join(rows)}]".encode()

    def agg_trades(self, start_ns: int, end_ns: int) -> bytes:
        """
        Return aggregate trades as the answer of the venue's REST aggTrades endpoint, without its limit.

        Parameters
        ----------
        start_ns, end_ns : int
            Venue times from which on (included) and up to which (excluded); what lies outside the two days is
            empty.
        """
        edges = self._bones.edge_ns
        first = max(0, int(np.searchsorted(edges, start_ns, "right")) - 1)
        rows: list[str] = []
        for index in range(first, self.n_minutes):
            if edges[index] >= end_ns:
                break
            rows += self._aggregates(index, start_ns, end_ns)
        return f"[{','.join(rows)}]".encode()

    def minute(self, index: int) -> Minute:
        """Return the trades of a minute, 0 the oldest."""
        if not 0 <= index < self.n_minutes:
            raise ValueError(f"index must be 0 to {self.n_minutes - 1}, found {index}")
        return self._minute(index)

    def _generator(self, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._root, number])))

    def _lay(self) -> Skeleton:
        spec, end_ns = self.spec, self.end_ns
        draw = self._generator(0)
        last_edge = end_ns // MINUTE_NS * MINUTE_NS
        edges = last_edge + MINUTE_NS * np.arange(-FULL_MINUTES, 1, dtype=np.int64)
        if end_ns > last_edge:
            edges = np.append(edges, end_ns)
        n = len(edges) - 1
        length = np.diff(edges) / MINUTE_NS
        # Backwards from an excitement of 0 at the end: an AR(1) reads the same in both directions.
        excitement = np.empty(n)
        state, fresh = 0.0, EXCITEMENT * math.sqrt(1.0 - CALM_PER_MINUTE**2)
        for index, normal in enumerate(draw.standard_normal(n).tolist()):
            state = CALM_PER_MINUTE * state + fresh * normal
            excitement[n - 1 - index] = state
        hour = (edges / (60 * MINUTE_NS)) % 24.0
        season = np.exp(SEASON * np.cos((hour - BUSIEST_HOUR) * (2.0 * math.pi / 24.0)))
        level = np.exp(excitement) * season[:-1] / season[-1]
        # A minute of the crowd: its walk, its jumps and what its whales leave behind.
        sigma_bps = 1.25 * spec.sigma_bps * math.sqrt(60.0) * level * np.sqrt(length)
        returns = 1e-4 * sigma_bps * draw.standard_normal(n)
        behind = np.concatenate((np.cumsum(returns[::-1])[::-1], [0.0]))
        price = spec.start_price / spec.tick * np.exp(-behind)
        sweeps = 1 + draw.poisson(1.18 * spec.sweep_rate * 60.0 * np.sqrt(level) * length)
        parents = np.minimum(draw.poisson(spec.whales_per_minute * length), sweeps // 32)
        steps, repeats = self._crumbs(draw, sweeps, parents)
        return Skeleton(
            edge_ns=edges,
            edge_price=price,
            sweeps=sweeps,
            parents=parents,
            steps=steps,
            repeats=repeats,
            last_trade=np.cumsum(sweeps + steps + repeats),
            last_aggregate=np.cumsum(sweeps + steps),
        )

    def _crumbs(self, draw: np.random.Generator, sweeps: Ints, parents: Ints) -> tuple[Ints, Ints]:
        # How many trades the sweeps of a minute fall into, from means over samples of both kinds.
        n, n_parents = 16_384, 1_024
        step, repeat = self._crumbs_of(self._sizes(draw, n, 0)[0])
        parent_step, parent_repeat = self._crumbs_of(self._parents(draw, n_parents)[0])
        return (
            np.rint(sweeps * step.mean() + parents * (parent_step.sum() / n_parents)).astype(np.int64),
            np.rint(sweeps * repeat.mean() + parents * (parent_repeat.sum() / n_parents)).astype(np.int64),
        )

    def _crumbs_of(self, quote: Floats) -> tuple[Floats, Floats]:
        # Expected changes of price and further trades at a price, by size, as in the crowd's book.
        spec = self.spec
        deep = 0.8 * spec.orders_per_bps * spec.order_quote * spec.near_share
        step = 1.05e-4 * quote * quote / (quote + deep)
        return step, np.maximum(0.0, 0.012 * np.sqrt(quote) + 1.05e-4 * quote - step)

    def _sizes(self, draw: np.random.Generator, n: int, n_parents: int) -> tuple[Floats, Ints]:
        """Return sizes in quote of `n` sweeps; the first of them belong to parents, whose numbers follow."""
        spec = self.spec
        whales, owner = self._parents(draw, n_parents)
        whales, owner = whales[:n], owner[:n]
        quote = spec.sweep_quote * np.exp(spec.sweep_sigma * draw.standard_normal(n))
        kind = draw.random(n)
        tail = spec.tail_quote * np.exp(draw.standard_exponential(n) / 1.25)
        quote = np.minimum(spec.tail_cap, np.where(kind < 0.1, tail, quote))
        follow = 0.5 * spec.touch_quote * draw.standard_exponential(n) * draw.random(n) ** 2
        quote = np.where(kind > 1.0 - FOLLOWERS, follow, quote)
        quote[: len(whales)] = whales
        return quote, owner

    def _parents(self, draw: np.random.Generator, n: int) -> tuple[Floats, Ints]:
        # One sweep; or a lead and some smaller ones; or many slices: as the crowd works a parent order.
        spec = self.spec
        lead = np.minimum(spec.whale_high, spec.whale_low * np.exp(draw.standard_exponential(n) / 1.6))
        quote: list[float] = []
        owner: list[int] = []
        for number, size in enumerate(lead.tolist()):
            u = draw.random()
            if u < 0.65:
                weights = [1.0]
            elif u < 0.85:
                weights = [1.0, *(0.1 + 0.3 * draw.random(1 + int(3 * draw.random()))).tolist()]
            else:
                slices = 6 + int(10 * draw.random())
                weights = ((0.6 + 0.8 * draw.random(slices)) / slices).tolist()
            quote += [size * weight for weight in weights]
            owner += [number] * len(weights)
        return np.array(quote), np.array(owner, np.int64)

    def _draw(self, index: int) -> Minute:
        bones, spec = self._bones, self.spec
        draw = self._generator(1 + int(bones.edge_ns[index]) // MINUTE_NS)
        n = int(bones.sweeps[index])
        quote, owner = self._sizes(draw, n, int(bones.parents[index]))
        second = self._times(draw, index, n, owner)
        order = np.argsort(second, kind="stable")
        quote, second = quote[order], second[order]
        side = self._sides(draw, n, order, owner)
        step_weight, repeat_weight = self._crumbs_of(quote)
        steps = draw.multinomial(int(bones.steps[index]), step_weight / step_weight.sum())
        repeats = draw.multinomial(int(bones.repeats[index]), repeat_weight / repeat_weight.sum())
        fills = 1 + steps + repeats
        sweep = np.repeat(np.arange(n), fills)
        place = np.arange(len(sweep)) - np.repeat(np.cumsum(fills) - fills, fills)
        is_step = place > repeats[sweep]
        # Ticks between occupied prices: as thin as the crowd's book.
        gap = spec.start_price * 1e-4 / spec.tick / spec.orders_per_bps
        hop = np.where(is_step, 1 + (gap * draw.standard_exponential(len(sweep))).astype(np.int64), 0)
        climb = np.cumsum(hop)
        climb -= climb[np.cumsum(fills) - fills][sweep]
        touch = np.floor(self._path(draw, index, second, n)).astype(np.int64) + (side > 0)
        price = np.maximum(1, touch[sweep] + side[sweep] * climb)
        lots = np.maximum(fills, (quote / (spec.start_price * spec.lot)).astype(np.int64))
        quantity = self._shares(draw, lots, fills, sweep)
        venue_ms = (int(bones.edge_ns[index]) + (second * NS).astype(np.int64)) // MS
        return Minute(
            first_trade_id=self.last_trade_id - self.n_trades + 1 + int(bones.last_trade[index]) - len(sweep),
            venue_ms=venue_ms[sweep],
            price=price,
            quantity=quantity,
            is_buy=side[sweep] > 0,
            sweep=sweep,
        )

    def _times(self, draw: np.random.Generator, index: int, n: int, owner: Ints) -> Floats:
        # Sweeps bring about sweeps, soon or late; the slices of a parent follow each other.
        edges = self._bones.edge_ns
        length = float(edges[index + 1] - edges[index]) / NS
        second = length * draw.random(n)
        delay = np.where(draw.random(n) < 0.6, 0.04, 1.2) * draw.standard_exponential(n)
        cause = draw.integers(0, n, n)
        second = np.where(draw.random(n) < BRANCHING, second[cause] + delay, second)
        if len(owner):
            begin = length * draw.random(int(owner[-1]) + 1)
            wait = np.cumsum(0.03 + 0.35 * draw.standard_exponential(len(owner)))
            first = np.searchsorted(owner, owner)
            second[: len(owner)] = begin[owner] + wait - wait[first]
        return second % length

    def _sides(self, draw: np.random.Generator, n: int, order: Ints, owner: Ints) -> Ints:
        # Runs of one side; all slices of a parent on its own.
        side = np.cumprod(np.where(draw.random(n) < 0.38, -1, 1))
        if len(owner):
            of_parent = np.where(draw.random(int(owner[-1]) + 1) < 0.5, 1, -1)[owner]
            place = np.empty(n, np.int64)
            place[order] = np.arange(n)
            side[place[: len(owner)]] = of_parent
        return side

    def _path(self, draw: np.random.Generator, index: int, second: Floats, n: int) -> Floats:
        """Return the bid in ticks before each sweep: a bridge between the prices of the minute's edges."""
        bones, spec = self._bones, self.spec
        start, end = float(bones.edge_price[index]), float(bones.edge_price[index + 1])
        length = float(bones.edge_ns[index + 1] - bones.edge_ns[index]) / NS
        level = float(bones.sweeps[index]) / (1.18 * spec.sweep_rate * length)
        sigma = 1.25 * spec.sigma_bps * level * level * spec.start_price * 1e-4 / spec.tick
        gap = np.diff(second, prepend=0.0, append=length)
        walk = np.cumsum(sigma * np.sqrt(gap) * draw.standard_normal(n + 1))
        share = np.append(second, length) / length
        path: Floats = start + (end - start) * share + walk - walk[-1] * share
        return path[:-1]

    def _shares(self, draw: np.random.Generator, lots: Ints, fills: Ints, sweep: Ints) -> Ints:
        """Return lots per trade, at least one each, that sum to the lots of their sweep."""
        weight = draw.standard_exponential(len(sweep)) + 0.05
        total = np.cumsum(weight)
        first = np.cumsum(fills) - fills
        before = np.concatenate(([0.0], total))[first]
        whole = np.concatenate(([0.0], total))[first + fills] - before
        # Where each trade ends in the free lots of its sweep; the last ends exactly at the last of them.
        free = lots - fills
        share = np.minimum(1.0, (total - before[sweep]) / whole[sweep])
        reach = (free[sweep] * share).astype(np.int64)
        reach[first + fills - 1] = free
        taken = np.diff(reach, prepend=0)
        taken[first] = reach[first]
        return np.asarray(taken + 1, np.int64)

    def _kline(self, index: int) -> str:
        minute, shapes, spec = self._minute(index), self._shapes, self.spec
        price, quantity, is_buy = minute.price, minute.quantity, minute.is_buy
        notional = price * quantity
        digits = spec.tick_decimals + spec.lot_decimals
        money = 10 ** max(0, MONEY_DIGITS - digits)
        decimals = max(MONEY_DIGITS, digits)
        open_ms = int(self._bones.edge_ns[index]) // MS
        return (
            f'[{open_ms},"{shapes.price(int(price[0]))}","{shapes.price(int(price.max()))}",'
            f'"{shapes.price(int(price.min()))}","{shapes.price(int(price[-1]))}",'
            f'"{shapes.quantity(int(quantity.sum()))}",{open_ms + 59_999},'
            f'"{decimal_text(int(notional.sum()) * money, decimals)}",{len(price)},'
            f'"{shapes.quantity(int(quantity[is_buy].sum()))}",'
            f'"{decimal_text(int(notional[is_buy].sum()) * money, decimals)}","0"]'
        )

    def _aggregates(self, index: int, start_ns: int, end_ns: int) -> list[str]:
        minute, shapes = self._minute(index), self._shapes
        is_new = np.ones(len(minute.price), np.bool_)
        is_new[1:] = (np.diff(minute.price) != 0) | (np.diff(minute.sweep) != 0)
        first = np.flatnonzero(is_new)
        after = np.append(first[1:], len(minute.price))
        ids = self.last_aggregate_id - self.n_aggregates + int(self._bones.last_aggregate[index])
        number = ids - len(first)
        tail = "}" if shapes.is_usdm else ',"M":true}'
        rows = []
        for begin, end, price, quantity, venue_ms, is_buy in zip(
            first.tolist(),
            after.tolist(),
            minute.price[first].tolist(),
            np.add.reduceat(minute.quantity, first).tolist(),
            minute.venue_ms[first].tolist(),
            minute.is_buy[first].tolist(),
            strict=True,
        ):
            number += 1
            if not start_ns <= venue_ms * MS < end_ns:
                continue
            rows.append(
                f'{{"a":{number},"p":"{shapes.price(price)}","q":"{shapes.quantity(quantity)}",'
                f'"f":{minute.first_trade_id + begin},"l":{minute.first_trade_id + end - 1},"T":{venue_ms},'
                f'"m":{"false" if is_buy else "true"}{tail}'
            )
        return rows
