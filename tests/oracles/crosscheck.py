"""Slow twin of the cross-check: every ticker is kept, and the rule is read as it is written."""


class SlowCrosscheck:
    """Counts comparisons of rebuilt best prices with the last ticker of the ids that an update covers."""

    def __init__(self) -> None:
        self.tickers: list[tuple[int, int, int]] = []
        self.book_id: int | None = None
        self.compared = self.equal = self.late = 0

    def ticker(self, update_id: int, bid: int, ask: int) -> None:
        if self.book_id is not None and update_id <= self.book_id:
            self.late += 1
        else:
            self.tickers.append((update_id, bid, ask))

    def book(self, update_id: int, bid: int, ask: int) -> None:
        if self.book_id is not None:
            covered = [ticker for ticker in self.tickers if self.book_id < ticker[0] <= update_id]
            self.compared += bool(covered)
            self.equal += bool(covered) and covered[-1][1:] == (bid, ask)
        self.tickers = [ticker for ticker in self.tickers if ticker[0] > update_id]
        self.book_id = update_id

    def reset(self) -> None:
        self.book_id = None
