# Nothing of this room is for Python.
