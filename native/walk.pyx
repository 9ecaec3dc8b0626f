"""The cost of taking liquidity: levels are eaten from the best outwards, inside the known book only."""

from libc.math cimport NAN
from libc.stdint cimport INT64_MAX, int64_t


cdef double walk_bps(
    Book book, int side, double notional_quote, double price_scale, double quantity_scale, double contract_size
) noexcept nogil:
    # `side` is the aggressor's. A contract size above 0: an inverse contract, whose notional does not depend on price.
    cdef int book_side = -1 if side > 0 else 1
    cdef int64_t best = book.asks.best if side > 0 else book.bids.best
    cdef int64_t price = best
    cdef double left = notional_quote, paid = 0.0, taken = 0.0, here, value
    if not notional_quote > 0.0:
        return NAN
    while 0 < price < INT64_MAX:
        if (price < book.bids.horizon) if book_side > 0 else (price > book.asks.horizon):
            return NAN
        here = <double>book.quantity_at(book_side, price) * quantity_scale
        value = here * (contract_size if contract_size > 0.0 else <double>price * price_scale)
        if value >= left:
            here *= left / value
            paid += here * <double>price
            taken += here
            return 1e4 * ((paid / taken) / <double>best - 1.0) * (1.0 if side > 0 else -1.0)
        left -= value
        paid += here * <double>price
        taken += here
        price = book.worse(book_side, price)
    return NAN


def slippage_bps(
    book: Book, side: int, notional_quote: float, price_scale: float, quantity_scale: float,
    contract_size: float = 0.0,
) -> float:
    """Return the slippage beyond the best price of taking a notional, in bps.

    Parameters
    ----------
    book : Book
        The book that is walked.
    side : int
        Side of the aggressor: BUY takes asks.
    notional_quote : float
        Quote, positive.
    price_scale, quantity_scale : float
        Quote per price unit, base (or contracts) per quantity unit.
    contract_size : float
        Quote per contract of an inverse contract; 0: linear.

    Returns
    -------
    float
        Average price against the best price, at least 0; NaN if the book is too thin inside its horizon.

    Notes
    -----
    Cost: linear in the levels taken. Blind to hidden quantity, and to what moves while the order travels.
    """
    return walk_bps(book, side, notional_quote, price_scale, quantity_scale, contract_size)
