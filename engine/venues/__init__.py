"""Venues: what an executor may ask of one, and the shapes of their messages."""
