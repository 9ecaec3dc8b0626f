"""How long one market took for its messages, from bytes to mask: a histogram for each kind that comes often."""

from cython cimport final

from native.events cimport MESSAGE_DEPTH, MESSAGE_TICKER, MESSAGE_TRADE


@final
cdef class Latency:
    """Histograms of nanoseconds by kind of message; other kinds are not recorded."""

    def __cinit__(self):
        self.depth = Histogram()
        self.trade = Histogram()
        self.ticker = Histogram()

    cdef void record(self, int kind, int64_t elapsed_ns) noexcept nogil:
        if kind == MESSAGE_TICKER:
            self.ticker.record(elapsed_ns)
        elif kind == MESSAGE_TRADE:
            self.trade.record(elapsed_ns)
        elif kind == MESSAGE_DEPTH:
            self.depth.record(elapsed_ns)

    def of(self, kind: str) -> Histogram:
        """Return the histogram of "depth", "trade" or "ticker" messages."""
        histograms = {"depth": self.depth, "trade": self.trade, "ticker": self.ticker}
        if kind not in histograms:
            raise ValueError(f"kind must be depth, trade or ticker, found {kind!r}")
        return histograms[kind]
