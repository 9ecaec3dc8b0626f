"""Stub of late bars: nothing of it is for Python."""
