"""The simulated exchange: synthetic order flow on the native matching engine."""
