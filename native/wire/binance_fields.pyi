"""Stub of Binance's fields: nothing of it is for Python."""
