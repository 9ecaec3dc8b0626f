from native.book import Book

def slippage_bps(
    book: Book,
    side: int,
    notional_quote: float,
    price_scale: float,
    quantity_scale: float,
    contract_size: float = 0.0,
) -> float: ...
