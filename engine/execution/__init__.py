"""Execution: every order's state, and the only room that hands orders to a venue."""
