"""The synthetic market and its recordings: the venue's rules, the truth log, same seed same bytes."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import zstandard

from engine.sim.crowd import NS, Crowd
from engine.sim.markets import Market, btcusdt
from engine.sim.tape import START_NS, Shapes, SynthSummary, synthesise
from engine.sim.truth import FairValue, ParentOrder, PlantedIceberg, Truth
from native.matching import MatchKind, OrderKind, OrderLife, SelfTrade

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 6.0
MARKETS: tuple[Market, ...] = ("spot", "usdm")


@dataclass(slots=True)
class Reading:
    """A recording, read by the venue's rules with dicts and strings only."""

    recv_ns: list[int] = field(default_factory=list)
    trades: list[dict] = field(default_factory=list)
    tickers: list[dict] = field(default_factory=list)
    diffs: list[dict] = field(default_factory=list)
    snapshots: list[dict] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    compared: int = 0


def apply(book: dict[str, dict[str, str]], message: dict) -> None:
    for side, key in (("bids", "b"), ("asks", "a")):
        for price, quantity in message[key]:
            if float(quantity) == 0:
                book[side].pop(price, None)
            else:
                book[side][price] = quantity


def read(text: str, market: Market) -> Reading:
    """Follow the recording, rebuild the book, and hold it to the ticker at every diff."""
    found = Reading()
    book: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
    waiting: list[dict] = []
    last_id = None
    for line in text.splitlines():
        recv, body = line.split(" ", 1)
        found.recv_ns.append(int(recv))
        message = json.loads(body)
        if "lastUpdateId" in message:
            found.kinds.append("snapshot")
            found.snapshots.append(message)
            last_id = message["lastUpdateId"]
            book = {side: dict(message[side]) for side in ("bids", "asks")}
            kept = [d for d in waiting if (d["u"] > last_id if market == "spot" else d["u"] >= last_id)]
            if kept:
                assert kept[0]["U"] <= last_id + (market == "spot")
            for diff in kept:
                apply(book, diff)
            continue
        data = message["data"]
        kind = message["stream"].split("@")[1]
        found.kinds.append(kind)
        if kind == "trade":
            found.trades.append(data)
        elif kind == "bookTicker":
            found.tickers.append(data)
        else:
            previous = found.diffs[-1] if found.diffs else None
            found.diffs.append(data)
            if previous is not None and market == "spot":
                assert data["U"] == previous["u"] + 1
            if previous is not None and market == "usdm":
                assert data["pu"] == previous["u"] < data["U"] <= data["u"]
            if last_id is None:
                waiting.append(data)
                continue
            apply(book, data)
            compare(book, data, found)
    return found


def compare(book: dict[str, dict[str, str]], diff: dict, found: Reading) -> None:
    bid = max(book["bids"], key=float)
    ask = min(book["asks"], key=float)
    assert float(bid) < float(ask)
    earlier = [ticker for ticker in found.tickers[-200:] if ticker["u"] <= diff["u"]]
    if earlier:
        ticker = earlier[-1]
        best = (bid, book["bids"][bid], ask, book["asks"][ask])
        assert best == (ticker["b"], ticker["B"], ticker["a"], ticker["A"])
        found.compared += 1


@dataclass(frozen=True, slots=True)
class Made:
    market: Market
    reading: Reading
    summary: SynthSummary
    truth: list[dict]


@pytest.fixture(scope="module", params=MARKETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    out, truth = folder / "tape.gz", folder / "truth.jsonl"
    summary = synthesise(SECONDS, 11, request.param, out, truth)
    told = [json.loads(line) for line in truth.read_text().splitlines()]
    return Made(request.param, read(gzip.decompress(out.read_bytes()).decode(), request.param), summary, told)


@pytest.mark.slow
def test_recording_keeps_the_venues_rules(made: Made) -> None:
    reading = made.reading
    assert reading.recv_ns == sorted(reading.recv_ns)
    assert len(reading.snapshots) == 1
    assert reading.kinds[: reading.kinds.index("snapshot")].count("depth") >= 2
    assert all(len(reading.snapshots[0][side]) == 1000 for side in ("bids", "asks"))
    assert reading.compared > 0.9 * len(reading.diffs)
    ids = [ticker["u"] for ticker in reading.tickers]
    assert ids == sorted(ids)


@pytest.mark.slow
def test_trade_ids_are_contiguous_and_prices_on_the_tick(made: Made) -> None:
    trades = made.reading.trades
    assert [t["t"] for t in trades] == list(range(trades[0]["t"], trades[0]["t"] + len(trades)))
    shapes = Shapes(btcusdt(made.market))
    step = 10 ** (shapes.price(1)[::-1].find(".") - btcusdt(made.market).tick_decimals)
    for trade in trades:
        assert int(trade["p"].replace(".", "")) % step == 0
        assert float(trade["q"]) > 0


@pytest.mark.slow
def test_venue_times_precede_receipt_by_milliseconds_and_never_go_back(made: Made) -> None:
    reading = made.reading
    times = [trade["T"] for trade in reading.trades]
    assert times == sorted(times)
    assert times[0] >= START_NS // 1_000_000
    gaps = {b["E"] - a["E"] for a, b in zip(reading.diffs, reading.diffs[1:], strict=False)}
    assert gaps <= ({100} if made.market == "spot" else set(range(50, 75)))


@pytest.mark.slow
def test_summary_counts_what_stands_in_the_recording(made: Made) -> None:
    reading, summary = made.reading, made.summary
    assert summary.lines == len(reading.recv_ns)
    assert (summary.trades, summary.tickers) == (len(reading.trades), len(reading.tickers))
    assert summary.depth_updates == len(reading.diffs)
    assert summary.levels == sum(len(diff["b"]) + len(diff["a"]) for diff in reading.diffs)


@pytest.mark.slow
def test_truth_log_names_the_trades_of_each_parent(made: Made) -> None:
    by_id = {trade["t"]: trade for trade in made.reading.trades}
    parents = [record for record in made.truth if record["type"] == "parent"]
    assert parents
    for parent in parents:
        for sweep in parent["sweeps"]:
            trades = [by_id[t] for t in range(sweep["first_trade_id"], sweep["last_trade_id"] + 1)]
            assert {trade["T"] for trade in trades} == {sweep["venue_ns"] // 1_000_000}
            assert {trade["m"] for trade in trades} == {parent["side"] == "SELL"}
            assert sum(float(trade["q"]) for trade in trades) == pytest.approx(sweep["quantity"], abs=1e-9)
    assert sum(record["type"] == "fair" for record in made.truth) == 1 + int(SECONDS)


@pytest.mark.slow
def test_same_seed_gives_same_bytes_under_another_hash_seed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from engine.sim.tape import synthesise; "
        "synthesise(1.5, 3, 'spot', Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    digests = set()
    for hash_seed in ("0", "4711"):
        out, truth = tmp_path / f"{hash_seed}.gz", tmp_path / f"{hash_seed}.jsonl"
        subprocess.run(
            [sys.executable, "-c", script, str(out), str(truth)],
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        digests.add(hashlib.sha256(out.read_bytes() + truth.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.slow
def test_suffix_chooses_the_packing_and_another_seed_another_market(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "a.gz", "a.zst", "b.txt")]
    for path, seed in zip(paths, (5, 5, 5, 6), strict=True):
        synthesise(0.5, seed, "spot", path, None)
    plain = paths[0].read_bytes()
    assert gzip.decompress(paths[1].read_bytes()) == plain
    assert zstandard.ZstdDecompressor().decompressobj().decompress(paths[2].read_bytes()) == plain
    assert paths[3].read_bytes() != plain


@pytest.mark.slow
@pytest.mark.parametrize(("market", "messages"), [("spot", (90, 220)), ("usdm", (180, 400))])
def test_minute_of_market_is_busy_enough_for_the_capture_preset(
    market: Market, messages: tuple[int, int], tmp_path: Path
) -> None:
    summary = synthesise(60.0, 4, market, tmp_path / "tape.txt", tmp_path / "truth.jsonl")
    assert summary.sweeps >= 15 * 60
    assert summary.parents >= 7
    assert messages[0] < summary.lines / 60 < messages[1]
    told = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    late = [
        record
        for record in told
        if record["type"] == "parent" and record["start_ns"] > START_NS + 30 * NS
        if record["notional"] >= 250_000
    ]
    assert len(late) >= 3
    assert {record["is_supported"] for record in told if record["type"] == "parent"} == {True, False}


@pytest.mark.parametrize(
    ("seconds", "seed", "market", "sentence"),
    [
        (0.0, 1, "spot", "seconds must be"),
        (float("nan"), 1, "spot", "seconds must be"),
        (1.0, -1, "spot", "seed must not"),
        (1.0, 1, "coinm", "market must be"),
    ],
)
def test_senseless_argument_raises_and_writes_nothing(
    seconds: float, seed: int, market: Market, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        synthesise(seconds, seed, market, tmp_path / "tape.gz", None)
    assert not list(tmp_path.iterdir())


def test_shapes_are_those_of_the_venue() -> None:
    spot, usdm = Shapes(btcusdt("spot")), Shapes(btcusdt("usdm"))
    assert spot.depth((208, 224, 0), 1000, [(6183763, 378826)], [(6183804, 0)]) == (
        '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1000,"s":"BTCUSDT","U":208,"u":224,'
        '"b":[["61837.63000000","3.78826000"]],"a":[["61838.04000000","0.00000000"]]}}'
    )
    assert usdm.depth((801, 879, 757), 1000, [], [(618003, 2510)]) == (
        '{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1000,"T":1000,"s":"BTCUSDT","U":801,'
        '"u":879,"pu":757,"b":[],"a":[["61800.30","2.510"]]}}'
    )
    assert spot.trade(7, (6183763, 9), is_buyer_maker=True, trade_ms=1, event_ms=2) == (
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":2,"s":"BTCUSDT","t":7,"p":"61837.63000000",'
        '"q":"0.00009000","T":1,"m":true,"M":true}}'
    )
    assert usdm.trade(7, (618003, 6), is_buyer_maker=False, trade_ms=1, event_ms=1) == (
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":7,"p":"61800.30",'
        '"q":"0.006","X":"MARKET","m":false}}'
    )
    assert spot.ticker(9, (6183763, 1), (6183764, 2), 5) == (
        '{"stream":"btcusdt@bookTicker","data":{"u":9,"s":"BTCUSDT","b":"61837.63000000","B":"0.00001000",'
        '"a":"61837.64000000","A":"0.00002000"}}'
    )
    assert usdm.ticker(9, (618002, 2507), (618003, 2510), 5) == (
        '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":9,"s":"BTCUSDT","b":"61800.20",'
        '"B":"2.507","a":"61800.30","A":"2.510","T":5,"E":5}}'
    )
    assert spot.snapshot(9, 5, [(100, 1)], []) == (
        '{"lastUpdateId":9,"bids":[["1.00000000","0.00001000"]],"asks":[]}'
    )


def crowd_of(seed: int, told: list[Truth] | None = None) -> Crowd:
    spec = replace(btcusdt("spot"), orders_per_bps=8.0)
    return Crowd(spec, seed, START_NS, on_truth=None if told is None else told.append)


def run(crowd: Crowd, seconds: float) -> int:
    """Let the crowd act; return what it filled of the orders of owner 9."""
    filled = 0
    end_ns = crowd.now_ns + int(seconds * NS)
    while crowd.next_ns <= end_ns:
        crowd.act()
        for event in crowd.matching.drain_events():
            if event.kind == MatchKind.MATCH_FILL and event.owner == 9:
                filled += event.quantity
    return filled


def test_order_of_ours_stands_in_the_crowds_book_until_it_is_filled() -> None:
    crowd = crowd_of(2)
    ours = crowd.matching.apply_order(1, crowd.book.best_bid, 300, life=OrderLife.LIFE_GTX, owner=9)
    far = crowd.matching.apply_order(1, crowd.book.best_bid - 50_000, 300, owner=9)
    filled = run(crowd, 8.0)
    left = crowd.book.order(ours)
    assert filled + (0 if left is None else left[2]) == 300
    assert filled > 0
    assert crowd.book.order(far) is not None


def test_crowd_comes_back_after_the_whole_book_was_taken() -> None:
    crowd = crowd_of(3)
    for side in (1, -1):
        crowd.matching.apply_order(
            side, 0, 2**60, kind=OrderKind.ORDER_MARKET, life=OrderLife.LIFE_IOC, owner=9
        )
        crowd.matching.drain_events()
    assert (crowd.book.best_bid, crowd.book.best_ask) == (0, 0)
    run(crowd, 2.0)
    assert 0 < crowd.book.best_bid < crowd.book.best_ask
    assert crowd.book.best_ask - crowd.book.best_bid < 0.01 * crowd.fair


def test_crowd_trades_on_a_given_book_and_answers_to_it() -> None:
    told: list[Truth] = []
    quiet, pushed = crowd_of(4, told), crowd_of(4)
    best = pushed.book.best_ask
    pushed.matching.apply_order(
        1, best + 200, 2**40, owner=9, self_trade=SelfTrade.SELF_TRADE_EXPIRE_TAKER, life=OrderLife.LIFE_IOC
    )
    run(quiet, 3.0)
    run(pushed, 3.0)
    assert quiet.book.depth(1) != pushed.book.depth(1)
    assert sum(isinstance(record, FairValue) for record in told) == 1 + 3


def test_planted_iceberg_shows_its_display_only() -> None:
    told: list[Truth] = []
    crowd = crowd_of(6, told)
    found = None
    while found is None:
        crowd.act()
        crowd.matching.drain_events()
        found = next((record for record in told if isinstance(record, PlantedIceberg)), None)
    order = crowd.book.order(found.order_id)
    assert order is not None
    _, _, leaves, displayed, _ = order
    lot = crowd.spec.lot
    assert displayed * lot == pytest.approx(found.display)
    assert leaves * lot == pytest.approx(found.quantity)
    assert found.quantity >= 5 * found.display


@pytest.mark.slow
def test_parents_notional_is_what_its_sweeps_took() -> None:
    told: list[Truth] = []
    run(crowd_of(8, told), 15.0)
    parents = [record for record in told if isinstance(record, ParentOrder)]
    assert parents
    for parent in parents:
        assert parent.quantity == pytest.approx(sum(sweep.quantity for sweep in parent.sweeps))
        assert parent.notional == pytest.approx(parent.quantity * parent.sweeps[0].first_price, rel=0.01)
        assert parent.start_ns <= parent.sweeps[0].venue_ns <= parent.end_ns
