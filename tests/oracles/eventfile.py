"""Slow twin of event-file records: `struct` after the layout, fields under the names of the wire room."""

import struct
from dataclasses import dataclass

HEADER = struct.Struct("<qiiq")
DEPTH = struct.Struct("<qqqqiiii")
LEVEL = struct.Struct("<qq")
BODIES = {
    2: (
        struct.Struct("<qqqqqqqqiBBBx"),
        "trade_id price quantity venue_ns event_ns first_id last_id regular_quantity aggressor "
        "is_aggregate teaches floored",
    ),
    3: (struct.Struct("<qqqqqq"), "update_id bid_price bid_quantity ask_price ask_quantity venue_ns"),
    4: (
        struct.Struct("<qqqqqqqqqqqB7x"),
        "open_ns close_ns venue_ns open high low close volume taker_buy_volume n_trades interval_ns "
        "is_closed",
    ),
    7: (
        struct.Struct("<qqqqqqqB7x"),
        "mark average index settle funding_rate next_funding_ns venue_ns has_funding",
    ),
    8: (
        struct.Struct("<qqqqqqqiB3x"),
        "price average_price quantity last_quantity filled_quantity venue_ns event_ns side is_filled",
    ),
    9: (
        struct.Struct("<qqqqqqqqqq"),
        "last open high low volume quote_volume n_trades open_ns close_ns venue_ns",
    ),
}
WITH_LEVELS = (1, 5, 6)
SIZES = {
    "header": HEADER.size,
    "depth": DEPTH.size,
    "level": LEVEL.size,
    "trade": BODIES[2][0].size,
    "ticker": BODIES[3][0].size,
    "kline": BODIES[4][0].size,
    "mark": BODIES[7][0].size,
    "force": BODIES[8][0].size,
    "day": BODIES[9][0].size,
}

Fields = dict[str, int | list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Record:
    recv_ns: int
    kind: int
    status: int
    fields: Fields


def decode(record: bytes) -> Record:
    """Read one record; its bytes must be all used."""
    recv_ns, kind, status, size = HEADER.unpack_from(record)
    assert size == len(record)
    assert size % 8 == 0
    body = record[HEADER.size :]
    if kind in WITH_LEVELS:
        first_id, final_id, previous_id, venue_ns, n_bids, n_asks, floored, padding = DEPTH.unpack_from(body)
        assert padding == 0
        levels = list(LEVEL.iter_unpack(body[DEPTH.size :]))
        assert len(levels) == n_bids + n_asks
        fields: Fields = {
            "first_id": first_id,
            "final_id": final_id,
            "previous_id": previous_id,
            "venue_ns": venue_ns,
            "floored": floored,
            "bids": levels[:n_bids],
            "asks": levels[n_bids:],
        }
    elif kind in BODIES:
        layout, names = BODIES[kind]
        fields = dict(zip(names.split(), layout.unpack(body), strict=True))
    else:
        assert not body
        fields = {}
    return Record(recv_ns, kind, status, fields)
