"""Decimal text <-> int64 multiples of a power of ten, exactly.

Prices and quantities travel as decimal text; inside they are int64 multiples of 10^-digits. Reading never
rounds silently: digits finer than the unit are cut off and said (DECIMAL_FLOORED), a value beyond int64 is
refused (DECIMAL_OVERFLOW).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


cdef int read_decimal_slowly(const char** text, const char* end, int digits, int64_t* out) noexcept nogil:
    # Digit by digit, every byte checked against the end: short texts, long numbers, units finer than 1e-8.
    cdef const char* p = text[0]
    cdef int64_t value = 0
    cdef int left = digits
    cdef int status = DECIMAL_OK
    cdef int digit
    if p >= end:
        return DECIMAL_TRUNCATED
    if p[0] < 48 or p[0] > 57:
        return DECIMAL_SYNTAX
    while p < end and 48 <= p[0] <= 57:
        digit = p[0] - 48
        if value > (INT64_MAX - digit) // 10:
            return DECIMAL_OVERFLOW
        value = value * 10 + digit
        p += 1
    if p < end and p[0] == 46:
        p += 1
        if p >= end:
            return DECIMAL_TRUNCATED
        if p[0] < 48 or p[0] > 57:
            return DECIMAL_SYNTAX
        while p < end and 48 <= p[0] <= 57:
            digit = p[0] - 48
            if left > 0:
                if value > (INT64_MAX - digit) // 10:
                    return DECIMAL_OVERFLOW
                value = value * 10 + digit
                left -= 1
            elif digit:
                status = DECIMAL_FLOORED
            p += 1
    while left > 0:
        if value > INT64_MAX // 10:
            return DECIMAL_OVERFLOW
        value *= 10
        left -= 1
    text[0] = p
    out[0] = value
    return status


cdef int read_integer_slowly(const char** text, const char* end, int64_t* out) noexcept nogil:
    cdef const char* p = text[0]
    cdef int64_t value = 0
    cdef int digit
    if p >= end:
        return DECIMAL_TRUNCATED
    if p[0] < 48 or p[0] > 57:
        return DECIMAL_SYNTAX
    while p < end and 48 <= p[0] <= 57:
        digit = p[0] - 48
        if value > (INT64_MAX - digit) // 10:
            return DECIMAL_OVERFLOW
        value = value * 10 + digit
        p += 1
    text[0] = p
    out[0] = value
    return DECIMAL_OK


cdef int write_decimal(int64_t value, int digits, char* out) noexcept nogil:
    # Writes at most 21 bytes, no terminator, and returns how many.
    cdef char scratch[24]
    cdef int n = 0, length = 0
    cdef uint64_t left = <uint64_t>value
    if value < 0:
        left = 0 - left
    while left or n <= digits:
        if n == digits and digits:
            scratch[length] = 46
            length += 1
        scratch[length] = <char>(48 + left % 10)
        length += 1
        left //= 10
        n += 1
    if value < 0:
        scratch[length] = 45
        length += 1
    for n in range(length):
        out[n] = scratch[length - 1 - n]
    return length


def parse_decimal(text: bytes, digits: int) -> tuple:
    """Read a decimal into an integer multiple of 10^-digits.

    Parameters
    ----------
    text : bytes
        A plain non-negative decimal such as ``b"61837.63"``; reading stops at the first other byte.
    digits : int
        Decimal digits of the unit, 0 to 18.

    Returns
    -------
    tuple of (int, int, int)
        DecimalStatus, value (0 unless the status is OK or FLOORED), bytes read.

    Raises
    ------
    ValueError
        If `digits` is outside 0 to 18.

    Notes
    -----
    Cost: constant for up to 7 + 8 digits, else linear in the digits; no allocation in the native form.
    """
    if not 0 <= digits <= 18:
        raise ValueError(f"digits must be 0 to 18, found {digits}")
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef const char* p = start
    cdef int64_t value = 0
    cdef int status = read_decimal(&p, start + PyBytes_GET_SIZE(text), digits, &value)
    if status > DECIMAL_FLOORED:
        return DecimalStatus(status), 0, 0
    return DecimalStatus(status), value, p - start


def parse_integer(text: bytes) -> tuple:
    """Read a non-negative integer of at most 63 bits.

    Parameters
    ----------
    text : bytes
        Digits; reading stops at the first other byte.

    Returns
    -------
    tuple of (int, int, int)
        DecimalStatus, value (0 unless the status is OK), bytes read.

    Notes
    -----
    Cost: constant for up to 15 digits, else linear in the digits.
    """
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef const char* p = start
    cdef int64_t value = 0
    cdef int status = read_integer(&p, start + PyBytes_GET_SIZE(text), &value)
    if status != DECIMAL_OK:
        return DecimalStatus(status), 0, 0
    return DecimalStatus(status), value, p - start


def format_decimal(value: int, digits: int) -> str:
    """Write an integer multiple of 10^-digits as decimal text with exactly `digits` decimals.

    Raises
    ------
    ValueError
        If `digits` is outside 0 to 18.
    OverflowError
        If `value` does not fit int64.
    """
    cdef char out[24]
    if not 0 <= digits <= 18:
        raise ValueError(f"digits must be 0 to 18, found {digits}")
    cdef int n = write_decimal(value, digits, out)
    return out[:n].decode("ascii")
