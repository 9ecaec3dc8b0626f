"""Stub of the vocabulary of events."""

from enum import IntEnum

import numpy

FLOW_EVENT: numpy.dtype[numpy.void]

class Side(IntEnum):
    SELL = -1
    NEITHER = 0
    BUY = 1

class MarketKind(IntEnum):
    SPOT = 0
    USDM = 1
    COINM = 2

class MessageKind(IntEnum):
    MESSAGE_NONE = 0
    MESSAGE_DEPTH = 1
    MESSAGE_TRADE = 2
    MESSAGE_TICKER = 3
    MESSAGE_KLINE = 4
    MESSAGE_SNAPSHOT = 5
    MESSAGE_PARTIAL = 6
    MESSAGE_MARK = 7
    MESSAGE_FORCE = 8
    MESSAGE_DAY = 9

class ParseStatus(IntEnum):
    PARSE_OK = 0
    PARSE_TRUNCATED = 1
    PARSE_SYNTAX = 2
    PARSE_MISSING = 3
    PARSE_OVERFLOW = 4
    PARSE_EXCESS_DIGITS = 5
    PARSE_CAPACITY = 6
    PARSE_FOREIGN = 7

class SequenceState(IntEnum):
    SEQUENCE_BUFFERING = 0
    SEQUENCE_BRIDGING = 1
    SEQUENCE_LIVE = 2
    SEQUENCE_GAP = 3

class TriggerMask(IntEnum):
    MASK_WHALE_OPEN = 1
    MASK_WHALE_CLOSE = 2
    MASK_IMBALANCE = 4
    MASK_ENTRY = 8
    MASK_ENTRY_EXPIRED = 16
    MASK_GAP = 32
    MASK_LIVE = 64
    MASK_STALE = 128
    MASK_LEVEL = 256
    MASK_DUE = 512
    MASK_REFUSED = 1024

class FlowKind(IntEnum):
    FLOW_WHALE_OPEN = 1
    FLOW_WHALE_CLOSE = 2
    FLOW_IMBALANCE_ON = 3
    FLOW_IMBALANCE_OFF = 4
    FLOW_ENTRY_ARMED = 5
    FLOW_ENTRY_REFUSED = 6

class EntryReason(IntEnum):
    REASON_CONFIRMED = 0
    REASON_BOOK_INVALID = 1
    REASON_NOT_READY = 2
    REASON_FEW_UPDATES = 3
    REASON_RHO_POST = 4
    REASON_RHO_POST_MIN = 5
    REASON_RHO_PRE = 6
    REASON_PULLED = 7
    REASON_SUPERSEDED = 8

def sizeof_flow_event() -> int: ...
