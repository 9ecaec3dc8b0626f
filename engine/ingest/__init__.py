"""Live market data: sockets in, books and tapes kept whole."""
