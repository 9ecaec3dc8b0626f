from enum import IntEnum

class DecimalStatus(IntEnum):
    DECIMAL_OK = 0
    DECIMAL_FLOORED = 1
    DECIMAL_SYNTAX = 2
    DECIMAL_OVERFLOW = 3
    DECIMAL_TRUNCATED = 4

def parse_decimal(text: bytes, digits: int) -> tuple[DecimalStatus, int, int]: ...
def parse_integer(text: bytes) -> tuple[DecimalStatus, int, int]: ...
def format_decimal(value: int, digits: int) -> str: ...
