"""Recorded sessions through the same Market, orchestrator and strategies, in virtual time."""
