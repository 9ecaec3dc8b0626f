"""Answers of the venue's REST endpoints read into whole numbers: for the start and for repairs, never per message.

A body is read to its end before anything of it is used, so a refused one leaves no trace.
"""

import json

from native.fixed cimport DECIMAL_FLOORED, DECIMAL_OK

from native.fixed import parse_decimal


# Beyond it nanoseconds leave 64 bits; ids have one bit to spare.
cdef int64_t LAST_MS = 9000000000000
cdef int64_t LAST_US = 9000000000000000
cdef int64_t FIRST_US = 100000000000000
cdef int64_t LAST_ID = 4611686018427387904


cdef list rows_of(bytes body, str what):
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{what} are expected as the JSON list of the venue, found no JSON: {problem}") from None
    if type(found) is not list:
        raise ValueError(f"{what} are expected as a list, found {type(found).__name__}")
    return found


cdef int64_t whole_of(object value, int64_t high, str what) except -1:
    if type(value) is not int or not 0 <= value <= high:
        raise ValueError(f"{what} is expected as a whole number from 0 to {high}, found {value!r}")
    return value


cdef int64_t units_of(object value, int digits, bint may_be_finer, str what) except -1:
    if type(value) is not str:
        raise ValueError(f"{what} is expected as decimal text, found {value!r}")
    text = value.encode()
    status, units, read = parse_decimal(text, digits)
    if read != len(text) or not (status == DECIMAL_OK or status == DECIMAL_FLOORED and may_be_finer):
        raise ValueError(f"{what} is expected as a decimal of at most {digits} digits and 64 bits, found {value!r}")
    return units


cdef int64_t nanoseconds_of(object value, str what) except -1:
    # Milliseconds, or microseconds where they were asked for: told apart by size, as in streams.
    cdef int64_t found = whole_of(value, LAST_US, what)
    if found >= FIRST_US:
        return found * 1000
    return whole_of(value, LAST_MS, what) * 1000000


cdef int64_t signed_units_of(object value, int digits, str what) except? -1:
    # What is finer is cut off toward zero.
    if type(value) is str and value.startswith("-"):
        return -units_of(value[1:], digits, True, what)
    return units_of(value, digits, True, what)


cdef dict object_of(bytes body, str what):
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{what} is expected as the JSON of the venue, found none: {problem}") from None
    if type(found) is not dict:
        raise ValueError(f"{what} is expected as an object, found {type(found).__name__}")
    return found


cdef list past_trades_of(bytes body, int price_digits, int quantity_digits):
    """Read the rows of an answer, see `read_past_trades`."""
    found = []
    for row in rows_of(body, "trades"):
        if type(row) is not dict:
            raise ValueError(f"a trade is expected as an object, found {row!r}")
        is_aggregate = "a" in row
        names = ("a", "p", "q", "T", "m", "f", "l") if is_aggregate else ("id", "price", "qty", "time", "isBuyerMaker")
        missing = [name for name in names if name not in row]
        if missing:
            raise ValueError(f"a trade is expected with {missing[0]!r}, found {row!r}")
        number = whole_of(row[names[0]], LAST_ID, "the id of a trade")
        price = units_of(row[names[1]], price_digits, False, "the price of a trade")
        quantity = units_of(row[names[2]], quantity_digits, True, "the quantity of a trade")
        venue_ns = nanoseconds_of(row[names[3]], "the time of a trade")
        if type(row[names[4]]) is not bool:
            raise ValueError(f"the maker flag of a trade is expected as true or false, found {row[names[4]]!r}")
        first = last = number
        if is_aggregate:
            first = whole_of(row["f"], LAST_ID, "the first trade id of an aggregate")
            last = whole_of(row["l"], LAST_ID, "the last trade id of an aggregate")
            if last < first:
                raise ValueError(f"ids of an aggregate are expected to ascend, found {first} to {last}")
        found.append((number if is_aggregate else -1, first, last, price, quantity, venue_ns, row[names[4]]))
    return found


def read_past_trades(body: bytes, price_digits: int, quantity_digits: int) -> list:
    """Read the answer of a trades, historicalTrades or aggTrades endpoint, spot or futures.

    Parameters
    ----------
    body : bytes
        The JSON list as the venue sent it; rows of both shapes may stand in it, in any order.
    price_digits, quantity_digits : int
        Units 10^-digits. A finer price is refused, a finer quantity cut off.

    Returns
    -------
    list of tuple
        (number of the aggregate or -1, first and last trade id, price units, quantity units, venue ns, buyer is maker).

    Raises
    ------
    ValueError
        If the body is not such an answer.

    Notes
    -----
    Cost: some microseconds a row; allocates.
    """
    return past_trades_of(body, price_digits, quantity_digits)
