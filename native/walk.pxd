"""Contents page of the book walk: what taking a notional costs beyond the best price."""

from native.book cimport Book

# hot
cdef double walk_bps(
    Book book, int side, double notional_quote, double price_scale, double quantity_scale, double contract_size
) noexcept nogil
