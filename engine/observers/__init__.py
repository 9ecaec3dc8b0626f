"""Observers: readers of the rings; nothing in the corridor waits for them."""
