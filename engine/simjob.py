"""Run the simulated venue as a process: check what was asked for, listen, say where, end well."""

import asyncio
import gc
import os
import resource
import signal
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from engine.errors import InputError
from engine.replay.store import Tally, open_recording, read_lines
from engine.sim.faults import Faults
from engine.sim.faultscript import read_script
from engine.sim.house import House
from engine.sim.markets import spec_of
from engine.sim.publicmarket import PublicMarket
from engine.sim.recordedmarket import RecordedMarket
from engine.sim.server import Pace, Server
from engine.sim.venuemarket import MarketName, VenueMarket

SIDES: Final[tuple[MarketName, ...]] = ("spot", "usdm")
CROWD: Final = "crowd"
WANTED_FILES: Final = 20_000
LINES_TO_TELL: Final = 10_000


@dataclass(frozen=True, slots=True)
class SimJob:
    """What `remora sim` was asked for."""

    host: str
    port: int
    market: str
    symbols: str
    seed: int
    speed: float
    faults: Path | None
    api_key: str
    api_secret: str
    ed25519_public: Path | None
    tls_cert: Path | None
    tls_key: Path | None


def run_sim(job: SimJob, say: Callable[[str], None]) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    job : SimJob
    say : callable
        Takes the one line that says the addresses, as JSON, once connections are taken.

    Raises
    ------
    InputError
        An argument or a file cannot be used, or the address cannot be listened on.
    """
    ssl_context = _ssl_context(job)
    start_ns = time.time_ns()
    house = House(
        _markets(job, start_ns),
        api_key=job.api_key,
        api_secret=job.api_secret,
        ed25519_public=b"" if job.ed25519_public is None else _read(job.ed25519_public),
        faults=_faults(job, start_ns),
    )
    listener = _listener(job.host, job.port)
    for market in house.markets:
        if isinstance(market, PublicMarket):
            market.prepare()
    _allow_many_connections()
    gc.collect()
    gc.freeze()
    host, port = listener.getsockname()[:2]
    line = addresses(host, port, is_tls=ssl_context is not None)
    uvloop.run(
        _serve(Server(house, Pace(time.time_ns(), job.speed), ssl_context=ssl_context), listener, line, say)
    )


async def _serve(server: Server, listener: socket.socket, line: str, say: Callable[[str], None]) -> None:
    serving = asyncio.ensure_future(server.run(listener, lambda: say(line)))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        if not serving.cancelled():
            raise


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as problem:
        code = problem.errno or 0
        reason = os.strerror(code) if code > 0 else str(problem.strerror or problem)
        raise InputError(
            f"Expected a free address, found that {host} port {port} cannot be had: {reason}."
        ) from None


def addresses(host: str, port: int, *, is_tls: bool = False) -> str:
    """Return the line that says where the venue is, as JSON."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    http, ws = ("https", "wss") if is_tls else ("http", "ws")
    found = {
        "rest": f"{http}://{place}",
        "spot_streams": f"{ws}://{place}",
        "usdm_public": f"{ws}://{place}/public",
        "usdm_market": f"{ws}://{place}/market",
        "pid": os.getpid(),
    }
    return msgspec.json.encode(found).decode()


def _markets(job: SimJob, start_ns: int) -> list[VenueMarket]:
    if job.market != CROWD:
        return [_recorded(Path(name.strip()), start_ns) for name in job.market.split(",")]
    markets: list[VenueMarket] = []
    for name in job.symbols.split(","):
        for side in SIDES:
            try:
                market = PublicMarket(spec_of(name.strip(), side), job.seed, start_ns)
            except ValueError as problem:
                raise InputError(f"--symbols: {problem}") from None
            markets.append(market)
    return markets


def _recorded(path: Path, start_ns: int) -> RecordedMarket:
    try:
        return RecordedMarket([path], _side_of(path), start_ns)
    except (OSError, ValueError, EOFError) as problem:
        raise InputError(f"--market: expected crowd or a recording, found {path}: {problem}.") from None


def _side_of(path: Path) -> MarketName:
    """Tell the market of a recording: only USD-M's depth updates say which one they follow."""
    for line in islice(read_lines(open_recording([path]), Tally()), LINES_TO_TELL):
        if b'"depthUpdate"' in line.payload:
            return "usdm" if b'"pu"' in line.payload else "spot"
    raise InputError(f"--market: expected depth updates in {path}, found none in {LINES_TO_TELL:,} lines.")


def _faults(job: SimJob, start_ns: int) -> Faults | None:
    return None if job.faults is None else Faults(read_script(job.faults), start_ns=start_ns, seed=job.seed)


def _ssl_context(job: SimJob) -> ssl.SSLContext | None:
    if job.tls_cert is None and job.tls_key is None:
        return None
    if job.tls_cert is None or job.tls_key is None:
        raise InputError("Expected --tls-cert and --tls-key together, found only one of them.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(job.tls_cert, job.tls_key)
    except (OSError, ssl.SSLError) as problem:
        raise InputError(
            f"Expected a PEM certificate in {job.tls_cert} and its key in {job.tls_key}, found: {problem}."
        ) from None
    return context


def _read(path: Path) -> bytes:
    try:
        found = path.read_bytes()
    except OSError as problem:
        raise InputError(f"Expected a readable file, found {path}: {problem.strerror}.") from None
    if b"-----BEGIN PUBLIC KEY-----" not in found:
        raise InputError(f"Expected a public key in PEM in {path}, found something else.")
    return found


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
