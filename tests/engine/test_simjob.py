"""`remora sim` as a process: where it says it is, how it ends, what it refuses."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.simjob import addresses

WAIT_S = 60
KEYS = ("--api-key", "k", "--api-secret", "s")


@contextmanager
def simulator(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """Run `remora sim` on a free port until the body ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "sim", "--port", "0", *KEYS, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=WAIT_S)
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=WAIT_S)


def ask(url: str) -> object:
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        return json.loads(answer.read())


def test_addresses_are_one_line_of_json() -> None:
    found = json.loads(addresses("127.0.0.1", 8001))
    assert found == {
        "rest": "http://127.0.0.1:8001",
        "spot_streams": "ws://127.0.0.1:8001",
        "usdm_public": "ws://127.0.0.1:8001/public",
        "usdm_market": "ws://127.0.0.1:8001/market",
        "pid": os.getpid(),
    }
    assert json.loads(addresses("::1", 1, is_tls=True))["usdm_market"] == "wss://[::1]:1/market"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_code_0_while_clients_are_there(number: signal.Signals) -> None:
    with simulator("--symbols", "ABCUSDT,XYZUSDT") as (process, where):
        rest = str(where["rest"])
        assert where["pid"] == process.pid
        names = [row["symbol"] for row in ask(f"{rest}/api/v3/ticker/price")]  # type: ignore[attr-defined]
        assert names == ["ABCUSDT", "XYZUSDT"]
        host, port = rest.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as client:
            client.sendall(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert client.recv(4096).startswith(b"HTTP/1.1 101")
            process.send_signal(number)
            assert process.wait(timeout=WAIT_S) == 0
            assert client.recv(4096) == b"\x88\x02\x03\xe9"  # close, 1001
        assert process.communicate(timeout=WAIT_S) == ("", "")


@pytest.mark.slow
def test_faults_and_speed_are_taken(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text(
        '[[fault]]\nkind = "refuse"\nat = 0\nlasts = 1e5\nstatus = 503\npath = "/api/v3/ping"\n'
    )
    with simulator("--symbols", "ABCUSDT", "--speed", "50", "--faults", str(script)) as (_, where):
        first = ask(f"{where['rest']}/api/v3/time")["serverTime"]  # type: ignore[index]
        second = first
        while second < first + 5_000:
            second = ask(f"{where['rest']}/api/v3/time")["serverTime"]  # type: ignore[index]
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{where['rest']}/api/v3/ping")
        assert refused.value.code == 503
        refused.value.close()


@pytest.mark.slow
def test_recordings_of_both_markets_are_served_side_by_side(tmp_path: Path) -> None:
    paths = []
    for side, more in (("spot", ""), ("usdm", '"pu":9,')):
        paths.append(tmp_path / f"{side}.txt")
        update = f'"e":"depthUpdate","E":5,"s":"BTCUSDT","U":10,"u":10,{more}"b":[["7.00","1.000"]],"a":[]'
        paths[-1].write_text(
            '1000000 {"lastUpdateId":9,"E":1,"T":1,"bids":[["5.00","1.000"]],"asks":[["9.00","1.000"]]}\n'
            f'2000000 {{"stream":"btcusdt@depth@100ms","data":{{{update}}}}}\n'
        )
    with simulator("--market", ",".join(str(path) for path in paths)) as (_, where):
        for path in ("/api/v3", "/fapi/v1"):
            book = ask(f"{where['rest']}{path}/depth?symbol=BTCUSDT&limit=5")
            while book["lastUpdateId"] < 10:  # type: ignore[index]
                book = ask(f"{where['rest']}{path}/depth?symbol=BTCUSDT&limit=5")
            assert [float(row[0]) for row in book["bids"]] == [7.0, 5.0]  # type: ignore[index]


def test_refusals_are_one_sentence_and_code_2(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.write_text("no certificate")
    empty = tmp_path / "recording.txt"
    empty.write_text('1 {"stream":"btcusdt@trade","data":{"e":"trade"}}\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, expected in (
            (["--port", port, "--symbols", "ABCUSDT"], f"port {port} cannot be had: Address already in use"),
            (["--symbols", "BTC-USDT"], "Expected a symbol in capital letters and figures, found 'BTC-USDT'"),
            (["--symbols", "ABCUSDT,ABCUSDT"], "ABCUSDT twice on spot"),
            (["--tls-cert", str(certificate)], "--tls-cert and --tls-key together"),
            (["--tls-cert", str(certificate), "--tls-key", str(certificate)], "Expected a PEM certificate"),
            (["--ed25519-public", str(certificate)], "Expected a public key in PEM"),
            (["--market", str(tmp_path / "none.txt")], "none.txt"),
            (["--market", str(empty)], "expected depth updates in"),
            (["--faults", str(tmp_path / "none.toml")], "none.toml cannot be read"),
        ):  # fmt: skip
            found = CliRunner().invoke(app, ["sim", "--port", "0", *KEYS, *options])
            assert found.exit_code == 2, (options, found.output)
            assert expected in found.stderr, (options, found.stderr)
            assert found.stderr.count("\n") == 1
