"""Stub of the vocabulary of events."""

from enum import IntEnum

import numpy

class Side(IntEnum):
    SELL = -1
    NEITHER = 0
    BUY = 1
