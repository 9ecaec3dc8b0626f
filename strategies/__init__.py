"""Strategies: plug-ins that propose signals; they import engine.strategy and engine.signals only."""
