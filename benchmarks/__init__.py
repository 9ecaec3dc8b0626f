"""Benchmarks: each states its question, input and machine, and checks the result as well as the time."""
