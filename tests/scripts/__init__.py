"""Tests of the tools beside the sources."""
