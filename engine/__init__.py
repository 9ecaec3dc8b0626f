"""The Python shell around the compiled core."""
