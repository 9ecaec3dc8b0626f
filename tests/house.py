"""The plan of the house as data: which floor a room is on, and what it may use from outside.

A room may import rooms of lower floors and of its own. `tests/test_architecture.py` holds the house to it.
"""

# A room may import rooms of lower floors, and rooms of its own package that stand before it on its floor.
# `events` and `errors` lie below the first floor: every room may speak and raise.
NATIVE_FLOORS: dict[str, int] = {
    "events": 0,
    **dict.fromkeys(("fixed", "clock", "histogram", "cursor", "resting", "sharedfile"), 1),
    **dict.fromkeys(("wire.binance_fields", "wire.binance_json", "sequence", "book", "profile", "bars"), 2),
    **dict.fromkeys(("volatility", "triggers", "matching", "eventfile", "eventlog", "flow", "alignment"), 2),
    **dict.fromkeys(("backlog", "crosscheck", "pulled", "venuetime", "ring", "control", "gate"), 2),
    **dict.fromkeys(("latency", "feedskew", "answers"), 2),
    **dict.fromkeys(("whale", "imbalance", "areas", "walk", "latebars"), 3),
    **dict.fromkeys(("entry", "tradegaps", "context", "refresh"), 4),
    "market": 5,
    **dict.fromkeys(("playback", "warmup", "router"), 6),
    "listener": 7,
}
ENGINE_FLOORS: dict[str, int] = {
    "errors": 0,
    **dict.fromkeys(("clock", "signals", "settings"), 1),
    **dict.fromkeys(("instruments", "config", "strategy", "orders", "commands", "control"), 2),
    **dict.fromkeys(("records", "facts", "inputs", "rundir", "commandsocket"), 3),
    **dict.fromkeys(("tally", "runstate"), 4),
    **dict.fromkeys(("venues.venue", "venues.binance_orders", "venues.transport"), 3),
    **dict.fromkeys(("venues.binance_streams", "venues.budget"), 3),
    **dict.fromkeys(("venues.binance_rest", "ingest.clocksync", "ingest.listing"), 4),
    **dict.fromkeys(("sim.markets", "sim.truth", "sim.crowd", "sim.tape"), 3),
    **dict.fromkeys(("sim.told", "sim.listeners", "sim.messages", "sim.bookstreams"), 3),
    **dict.fromkeys(("sim.aggregates", "sim.tradestreams", "sim.klines", "sim.symbolinfo"), 3),
    **dict.fromkeys(("sim.virtualloop", "sim.tcpproxy", "sim.faultscript"), 3),
    **dict.fromkeys(
        (
            "sim.history",
            "sim.pasttrades",
            "sim.alltrades",
            "sim.klinebook",
            "sim.klinestreams",
            "sim.derivatives",
            "sim.markettruth",
            "sim.publicmarket",
            "sim.recordedmarket",
            "sim.fees",
            "sim.filters",
            "sim.account",
            "sim.requests",
            "sim.reports",
            "sim.exchange",
            "sim.paperbook",
            "sim.paper",
            "sim.embedded",
            "sim.answers",
            "sim.venuemarket",
            "sim.limits",
            "sim.hubs",
            "sim.session",
            "sim.restrules",
            "sim.restapi",
            "sim.house",
            "sim.server",
        ),
        4,
    ),
    **dict.fromkeys(("sim.virtualtransport", "sim.faults"), 5),
    **dict.fromkeys(
        (
            "risk.positions",
            "risk.plan",
            "risk.intents",
            "risk.entries",
            "risk.exits",
            "risk.course",
            "risk.desk",
        ),
        4,
    ),
    **dict.fromkeys(("execution.ids", "execution.blotter", "execution.lastlook", "execution.executor"), 5),
    "orchestrator": 6,
    **dict.fromkeys(("observers.recorder", "observers.tapefile", "observers.tapewriter"), 6),
    **dict.fromkeys(("restart", "trading"), 7),
    **{f"ingest.{room}": 7 for room in ("dial", "picows_transport", "websockets_transport", "aiohttp_http")},
    **{f"ingest.{r}": 7 for r in ("intake", "status", "deadlines", "handover", "book_sync", "trade_sync")},
    **{f"ingest.{room}": 7 for room in ("streams", "connection", "carrier", "history", "asking", "feed")},
    "scan": 4,
    "pair": 5,
    **dict.fromkeys(("alerts", "ladder", "watchkeys"), 5),
    "interrupts": 1,
    "corridor": 8,
    **dict.fromkeys(("replay.store", "replay.outputs", "replay.units", "replay.converted"), 9),
    **dict.fromkeys(("replay.sources", "replay.session", "replay.report", "replay.trades"), 9),
    "replay.jobs": 9,
    **dict.fromkeys(("view", "runreport"), 8),
    **dict.fromkeys(("panels", "watchview"), 9),
    **dict.fromkeys(("app", "runview", "watchside"), 10),
    **dict.fromkeys(("picture", "watchjob", "recordjob"), 11),
    "shell": 12,
    "simjob": 12,
    "live": 10,
    "ending": 12,
    "operate": 13,
    "listen": 14,
    "opening": 15,
    "cli": 16,
}
FLOORS = {"native": NATIVE_FLOORS, "engine": ENGINE_FLOORS}

# Rooms whose functions are all inline in the `.pxd`: no `.pyx`, nothing for Python to see.
PXD_ONLY: frozenset[str] = frozenset()

VOCABULARY = frozenset(room for room, floor in ENGINE_FLOORS.items() if floor <= 2)
STRATEGIES_SEE = frozenset({"engine.strategy", "engine.signals"})
SIM_SEEN_BY = ("sim.", "replay.", "app", "cli", "simjob")
STRATEGIES_SEEN_BY = ("replay.", "corridor", "app", "cli")

# Third parties, by room or by package; a room that is not listed uses none.
THIRD_PARTIES: dict[str, frozenset[str]] = {
    "native": frozenset({"libc", "cpython", "cython", "posix", "numpy"}),
    "native.listener": frozenset({"libc", "cpython", "cython", "picows"}),
    "engine.signals": frozenset({"msgspec"}),
    "engine.instruments": frozenset({"msgspec", "orjson"}),
    "engine.config": frozenset({"msgspec"}),
    "engine.strategy": frozenset({"msgspec"}),
    "engine.records": frozenset({"msgspec", "numpy"}),
    "engine.sim": frozenset({"msgspec", "numpy", "orjson", "zstandard"}),
    **dict.fromkeys(("engine.orders", "engine.commands"), frozenset({"msgspec"})),
    **dict.fromkeys(("engine.facts", "engine.inputs"), frozenset({"msgspec"})),
    "engine.commandsocket": frozenset({"msgspec"}),
    **dict.fromkeys(("engine.risk", "engine.execution", "engine.corridor"), frozenset({"msgspec"})),
    "engine.restart": frozenset({"msgspec"}),
    "engine.venues": frozenset({"msgspec", "orjson"}),
    "engine.ingest.picows_transport": frozenset({"picows"}),
    "engine.ingest.websockets_transport": frozenset({"websockets"}),
    "engine.ingest.aiohttp_http": frozenset({"aiohttp", "yarl"}),
    "engine.orchestrator": frozenset({"msgspec"}),
    "engine.ingest": frozenset({"msgspec"}),
    "engine.replay": frozenset({"msgspec", "numpy", "orjson", "zstandard"}),
    "engine.view": frozenset({"rich"}),
    "engine.runview": frozenset({"msgspec", "rich"}),
    "engine.panels": frozenset({"msgspec", "rich"}),
    "engine.observers": frozenset({"msgspec", "zstandard"}),
    "engine.recordjob": frozenset({"uvloop"}),
    "engine.watchview": frozenset({"rich"}),
    "engine.watchjob": frozenset({"msgspec", "rich", "uvloop"}),
    "engine.watchside": frozenset({"msgspec"}),
    "engine.runreport": frozenset({"msgspec"}),
    "engine.app": frozenset({"msgspec"}),
    "engine.runstate": frozenset({"msgspec"}),
    **dict.fromkeys(("engine.scan", "engine.alerts", "engine.pair"), frozenset({"msgspec"})),
    "engine.shell": frozenset({"msgspec", "uvloop"}),
    **dict.fromkeys(("engine.live", "engine.opening"), frozenset({"msgspec"})),
    "engine.simjob": frozenset({"msgspec", "uvloop"}),
    "engine.sim.server": frozenset({"aiohttp"}),
    **dict.fromkeys(("engine.ending", "engine.operate", "engine.listen"), frozenset({"msgspec", "typer"})),
    "engine.cli": frozenset({"rich", "typer"}),
}
OUTSIDE_WORLD = frozenset(
    {"asyncio", "logging", "multiprocessing", "os", "socket", "ssl", "subprocess", "threading"}
)
# Parts of the standard library that a room must not touch, by room or by package.
STDLIB_NEVER: dict[str, frozenset[str]] = {
    "native": OUTSIDE_WORLD | {"random", "time"},
    **{f"engine.{room}": OUTSIDE_WORLD | {"random", "time"} for room in VOCABULARY},
    "engine.clock": OUTSIDE_WORLD | {"random"},
    "engine.config": OUTSIDE_WORLD - {"os"} | {"random", "time"},
    "engine.control": OUTSIDE_WORLD - {"os"} | {"random"},
    **{
        f"engine.{room}": frozenset({"asyncio", "logging", "random", "socket", "ssl", "threading", "time"})
        for room in (
            "facts",
            "inputs",
            "risk",
            "execution",
            "orchestrator",
            "venues",
        )
    },
    # Requests wait for their budget: the one thing of venues that sleeps.
    "engine.venues.binance_rest": OUTSIDE_WORLD - {"asyncio"} | {"random", "time"},
    "engine.replay": frozenset({"asyncio", "random", "socket", "ssl"}),
    "strategies": OUTSIDE_WORLD | {"random", "time"},
}
