"""A recorded market: the recording's own messages at times of today, and answers that fit them."""

import gzip
import itertools
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import zstandard

from engine.errors import InputError
from engine.sim.markets import Market, spec_of
from engine.sim.recordedmarket import RecordedMarket
from engine.sim.tape import NEVER, synthesise
from tests.engine.public_reading import SECOND, Ear, follow, true_book
from tests.engine.recordings import snapshot, trade

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TODAY_NS = 1_795_000_000_000_000_000
MS = 1_000_000
BOTH = pytest.mark.parametrize("market", ["spot", "usdm"])
KINDS: dict[Market, str] = {"spot": "100ms", "usdm": "0ms"}


def recorded(path: Path) -> list[tuple[int, dict]]:
    text = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode()
    return [
        (int(recv), orjson.loads(body)) for recv, body in (line.split(" ", 1) for line in text.splitlines())
    ]


def synthetic(folder: Path, market: Market, seconds: float = 4.0) -> Path:
    path = folder / f"{market}.txt.zst"
    synthesise(seconds, 3, market, path, None)
    return path


def heard(public: RecordedMarket) -> Ear:
    ear = Ear()
    for stream in public.streams:
        assert public.listen(stream, ear)
    return ear


@pytest.mark.slow
@BOTH
def test_every_message_comes_as_recorded_with_its_times_moved(market: Market, tmp_path: Path) -> None:
    path = synthetic(tmp_path, market)
    lines = [(recv, message) for recv, message in recorded(path) if "data" in message]
    public = RecordedMarket([path], market, TODAY_NS)
    ear = heard(public)
    public.advance(TODAY_NS + 60 * SECOND)
    assert public.next_ns == NEVER
    for stream in {message["stream"] for _, message in lines}:
        was = [message["data"] for _, message in lines if message["stream"] == stream]
        now = ear.rows(stream)
        assert [{k: v for k, v in row.items() if k not in "ET"} for row in now] == [
            {k: v for k, v in row.items() if k not in "ET"} for row in was
        ]
        for key in "ET":
            assert (
                len({row[key] - before[key] for row, before in zip(now, was, strict=True) if key in row}) <= 1
            )
        times = [told.venue_ns for told in ear.told[stream]]
        assert times == sorted(times)
        assert times[0] >= TODAY_NS
        for told, row in zip(ear.told[stream], now, strict=True):
            if "E" in row:
                assert 0 <= told.venue_ns - row["E"] * MS < 5 * MS
                assert orjson.loads(told.encode(True))["E"] // (1_000 if market == "spot" else 1) == row["E"]
    other = f"btcusdt@depth{'' if market == 'spot' else '@100ms'}"
    assert ear.rows(other) == ear.rows(f"btcusdt@depth@{KINDS[market]}")
    assert {told.stream for told in ear.told[other]} == {other}


@pytest.mark.slow
@BOTH
def test_snapshot_at_any_moment_fits_the_updates_and_the_truth(market: Market, tmp_path: Path) -> None:
    path = synthetic(tmp_path, market)
    public = RecordedMarket([path], market, TODAY_NS)
    ear = heard(public)
    stream = f"btcusdt@depth@{KINDS[market]}"
    answers = [public.depth(5_000)]
    while public.next_ns != NEVER:
        seen = len(ear.told.get(stream, []))
        public.advance(public.next_ns)
        if len(ear.told.get(stream, [])) % 9 == 4 and len(ear.told[stream]) != seen:
            answers.append(public.depth(5_000))
    assert len(answers) > 3
    diffs = ear.rows(stream)
    for answer in answers:
        book, last = follow(answer, diffs)
        assert last == diffs[-1]["u"]
        assert book == true_book(public)
    best = public.depth(1)
    assert [best["bids"], best["asks"]] == [public.depth(7)["bids"][:1], public.depth(7)["asks"][:1]]  # type: ignore[index]
    assert public.depth(2)["lastUpdateId"] == diffs[-1]["u"]


@pytest.mark.slow
@BOTH
def test_trades_and_prices_are_those_told(market: Market, tmp_path: Path) -> None:
    path = synthetic(tmp_path, market)
    public = RecordedMarket([path], market, TODAY_NS)
    assert public.price() == {}
    ear = heard(public)
    public.advance(TODAY_NS + 3 * SECOND)
    told = ear.rows("btcusdt@trade")
    rows = public.trades(10_000)
    assert len(rows) > 20
    assert [(row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in rows] == [
        (t["t"], t["p"], t["q"], t["T"], t["m"]) for t in told
    ]
    assert public.historical_trades(int(str(rows[5]["id"])), 3) == rows[5:8]
    assert public.historical_trades(None, 3) == public.trades(3) == rows[-3:]
    assert public.price()["price"] == rows[-1]["price"]
    last = ear.rows("btcusdt@bookTicker")[-1]
    answer = public.book_ticker()
    assert [answer[key] for key in ("bidPrice", "bidQty", "askPrice", "askQty")] == [
        last[key] for key in ("b", "B", "a", "A")
    ]
    signed = sum(Decimal(t["q"]) * (-1 if t["m"] else 1) for t in told)
    assert Decimal(public.truth.instrument.quantity_text(public.truth.cvd())) == signed
    assert public.klines("1m", None, None, 5) == []
    assert public.agg_trades(None, None, None, 5) == []
    assert (public.ticker_24h(), public.premium_index(), public.open_interest()) == ({}, {}, {})
    assert public.funding_history() == []


@pytest.mark.slow
def test_faster_is_the_same_in_less_time_and_a_halt_waits(tmp_path: Path) -> None:
    path = synthetic(tmp_path, "spot", 3.0)
    slow = RecordedMarket([path], "spot", TODAY_NS)
    fast = RecordedMarket([path], "spot", TODAY_NS, speed=4.0)
    ears = heard(slow), heard(fast)
    slow.advance(TODAY_NS + 2 * SECOND)
    fast.advance(TODAY_NS + SECOND // 2)
    assert slow.trades(9_999)
    assert slow.depth(50) == fast.depth(50)
    for one, other in zip(ears[0].rows("btcusdt@trade"), ears[1].rows("btcusdt@trade"), strict=True):
        assert abs((one["T"] - TODAY_NS // MS) - 4 * (other["T"] - TODAY_NS // MS)) <= 4
    count = len(ears[0].told["btcusdt@trade"])
    slow.set_status("BREAK")
    slow.advance(TODAY_NS + 60 * SECOND)
    assert len(ears[0].told["btcusdt@trade"]) == count
    assert slow.info()["status"] == "BREAK"
    slow.set_status("TRADING")
    slow.advance(TODAY_NS + 61 * SECOND)
    later = ears[0].rows("btcusdt@trade")[count:]
    assert later
    assert all(row["T"] >= TODAY_NS // MS + 60_000 - 5 for row in later)
    stream = "btcusdt@trade"
    slow.unlisten(stream, ears[0])
    count = len(ears[0].told[stream])
    slow.advance(TODAY_NS + 70 * SECOND)
    assert len(ears[0].told[stream]) == count


def test_what_cannot_be_told_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "two.gz"
    rows = [trade("BTCUSDT", 1, "60000.00", "1.0"), trade("ETHUSDT", 1, "3000.00", "1.0")]
    path.write_bytes(
        gzip.compress(b"".join(b"%d %s\n" % (n + 1, orjson.dumps(row)) for n, row in enumerate(rows)))
    )
    with pytest.raises(InputError, match=r"Expected a recording of one symbol in .*, found btcusdt, ethusdt"):
        RecordedMarket([path], "spot", TODAY_NS)
    path = tmp_path / "none.txt"
    path.write_bytes(b"1 " + orjson.dumps(snapshot(5, [], [])) + b"\n")
    with pytest.raises(InputError, match="found none"):
        RecordedMarket([path], "spot", TODAY_NS)
    path.write_bytes(b"1 " + orjson.dumps(rows[0]) + b"\n")
    with pytest.raises(ValueError, match="Expected a speed above 0, found 0"):
        RecordedMarket([path], "spot", TODAY_NS, speed=0)
    public = RecordedMarket([path], "spot", TODAY_NS, spec=spec_of("BTCUSDT", "spot"))
    assert not public.listen("btcusdt@kline_1m", print)
    assert public.depth(5) == {"lastUpdateId": 0, "bids": [], "asks": []}


@pytest.mark.slow
@pytest.mark.captures
@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded market data lies beside the project")
@pytest.mark.parametrize(
    ("market", "name", "files"),
    [
        ("spot", "binance_spot_20240808", ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")),
        ("usdm", "binance_usdm_20240808", ("usdm_ethusdt_20240808.gz",)),
    ],
)
def test_real_recording_rebuilds_its_own_best_prices(
    market: Market, name: str, files: tuple[str, ...]
) -> None:
    public = RecordedMarket([DATA / name / file for file in files], market, TODAY_NS)
    ear = Ear()
    stream = next(s for s in public.streams if s.endswith(("depth@100ms", "depth@0ms")))
    public.listen(stream, ear)
    equal = compared = 0
    public.advance(TODAY_NS + 330 * SECOND)
    for _ in range(60):
        seen = len(ear.told[stream])
        while len(ear.told[stream]) == seen:
            public.advance(public.next_ns)
        best, ticker = public.depth(1), public.book_ticker()
        bid, ask = best["bids"][0], best["asks"][0]  # type: ignore[index]
        assert Decimal(bid[0]) < Decimal(ask[0])
        compared += 1
        equal += [*bid, *ask] == [ticker[key] for key in ("bidPrice", "bidQty", "askPrice", "askQty")]
        public.advance(public.now_ns + 100 * MS)
    assert equal >= 0.8 * compared
    for before, after in itertools.pairwise(ear.rows(stream)):
        assert after["U"] == before["u"] + 1 if market == "spot" else after["pu"] == before["u"]
