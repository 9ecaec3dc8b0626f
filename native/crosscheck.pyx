"""The rebuilt book held against the bookTicker stream, which the venue makes independently.

Rule: when a depth update brings the book from id p to id u, the last ticker with p < its id <= u tells the same best
prices. On spot the ids of both streams are of one count. On USD-M the ticker is not throttled and ids are shared by all
symbols, so a ticker may show a state between two updates: a small share differs.
"""

from cython cimport final


@final
cdef class Crosscheck:
    """Counts how often the rebuilt best prices equal the venue's.

    Notes
    -----
    Cost: constant a ticker, O(tickers since the last update) a depth update; no allocation.
    """

    def __cinit__(self):
        self._book_id = -1

    cdef void on_ticker(self, const BookTicker* ticker) noexcept nogil:
        if ticker.update_id <= self._book_id:
            self.late += 1
            return
        if self._tail - self._head == PENDING:
            self._head += 1
            self.overwritten += 1
        self._pending[self._tail % PENDING] = ticker[0]
        self._tail += 1

    cdef void on_book(self, int64_t update_id, int64_t best_bid, int64_t best_ask) noexcept nogil:
        cdef const BookTicker* last = NULL
        while self._head < self._tail and self._pending[self._head % PENDING].update_id <= update_id:
            last = &self._pending[self._head % PENDING]
            self._head += 1
        if last is not NULL and self._book_id >= 0 and last.update_id > self._book_id:
            self.compared += 1
            if last.bid_price == best_bid and last.ask_price == best_ask:
                self.equal += 1
        self._book_id = update_id

    cdef void reset(self) noexcept nogil:
        # The book is anew: what is pending belongs to the old one or waits for the first update.
        self._book_id = -1

    def apply_ticker(self, update_id: int, bid_price: int, ask_price: int) -> None:
        """Tell of a ticker."""
        cdef BookTicker ticker
        ticker.update_id = update_id
        ticker.bid_price = bid_price
        ticker.ask_price = ask_price
        ticker.bid_quantity = 0
        ticker.ask_quantity = 0
        ticker.venue_ns = 0
        self.on_ticker(&ticker)

    def apply_book(self, update_id: int, best_bid: int, best_ask: int) -> None:
        """Tell of an applied depth update and compare."""
        self.on_book(update_id, best_bid, best_ask)

    def apply_reset(self) -> None:
        """Begin anew after a snapshot: nothing is compared before its second update."""
        self.reset()
