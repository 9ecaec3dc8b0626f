"""Contents page of decimal text <-> int64: eight digits at a time, exact, overflow and excess digits told."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    #if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "eight digits at a time need a little-endian machine"
    #endif
    static const long long remora_power10[19] = {
        1LL, 10LL, 100LL, 1000LL, 10000LL, 100000LL, 1000000LL, 10000000LL, 100000000LL, 1000000000LL,
        10000000000LL, 100000000000LL, 1000000000000LL, 10000000000000LL, 100000000000000LL,
        1000000000000000LL, 10000000000000000LL, 100000000000000000LL, 1000000000000000000LL};
    """
    const int64_t remora_power10[19]
    int __builtin_ctzll(uint64_t value) noexcept nogil


cpdef enum DecimalStatus:
    """How reading a decimal ended."""
    DECIMAL_OK = 0
    DECIMAL_FLOORED = 1       # digits finer than the unit, not all zero, were cut off
    DECIMAL_SYNTAX = 2        # not a plain non-negative decimal
    DECIMAL_OVERFLOW = 3      # does not fit int64 in this unit
    DECIMAL_TRUNCATED = 4     # the text ends before a closing character


cdef inline uint64_t load8(const char* text) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, text, 8)
    return word


cdef inline uint64_t not_digits(uint64_t digits) noexcept nogil:
    # `digits` is text ^ '00000000': a digit is 0..9. The high bit marks a byte that is not; carries can only
    # spoil bytes behind the first mark, and only the first is used.
    return ((digits + 0x7676767676767676ULL) | digits) & 0x8080808080808080ULL


cdef inline uint64_t eight_digits(uint64_t digits) noexcept nogil:
    # The lowest byte is the most significant digit; a zero byte behind the text counts as the digit 0.
    digits = digits * 10 + (digits >> 8)
    return (((digits & 0x000000FF000000FFULL) * 0x000F424000000064ULL)
            + (((digits >> 16) & 0x000000FF000000FFULL) * 0x0000271000000001ULL)) >> 32


cdef int read_decimal_slowly(const char** text, const char* end, int digits, int64_t* out) noexcept nogil
cdef int read_integer_slowly(const char** text, const char* end, int64_t* out) noexcept nogil


cdef inline int read_decimal(const char** text, const char* end, int digits, int64_t* out) noexcept nogil:
    # Reads `12.34` at *text into an int64 multiple of 10^-digits and leaves *text behind the number. The fast
    # way needs 17 readable bytes, at most 7 digits before the point and 8 behind it, and digits <= 8.
    cdef const char* p = text[0]
    cdef uint64_t word, marks, fraction = 0
    cdef int64_t whole
    cdef int n, status
    cdef uint32_t unit
    if end - p >= 24 and digits <= 8:
        word = load8(p) ^ 0x3030303030303030ULL
        marks = not_digits(word)
        if marks & 0x80:
            return DECIMAL_SYNTAX
        if marks:
            n = __builtin_ctzll(marks) >> 3
            whole = <int64_t>eight_digits(word << (64 - 8 * n))
            p += n
            if p[0] != 46:
                text[0] = p
                out[0] = whole * remora_power10[digits]
                return DECIMAL_OK
            p += 1
            word = load8(p) ^ 0x3030303030303030ULL
            marks = not_digits(word)
            if marks & 0x80:
                return DECIMAL_SYNTAX
            if digits < 8 and marks << (56 - 8 * digits) == 0x8000000000000000ULL:
                # As many digits as the unit has, the way futures are written. Known by a branch, so that the
                # next number is begun without waiting for this one's length.
                text[0] = p + digits
                out[0] = whole * remora_power10[digits] + <int64_t>eight_digits(word << (64 - 8 * digits))
                return DECIMAL_OK
            if marks or not 48 <= p[8] <= 57:
                if marks:
                    n = __builtin_ctzll(marks) >> 3
                    word &= (1ULL << (8 * n)) - 1
                    text[0] = p + n
                else:
                    text[0] = p + 8
                fraction = eight_digits(word)
                unit = <uint32_t>remora_power10[8 - digits]
                word = <uint32_t>fraction // unit
                out[0] = whole * remora_power10[digits] + <int64_t>word
                return DECIMAL_OK if word * unit == fraction else DECIMAL_FLOORED
    # A copy: the caller's pointer stays in a register.
    p = text[0]
    status = read_decimal_slowly(&p, end, digits, out)
    text[0] = p
    return status


cdef inline int read_integer(const char** text, const char* end, int64_t* out) noexcept nogil:
    # A non-negative integer up to INT64_MAX; leaves *text behind it. The fast way takes up to 15 digits.
    cdef const char* p = text[0]
    cdef uint64_t word, marks, high
    cdef int n, status
    if end - p >= 16:
        word = load8(p) ^ 0x3030303030303030ULL
        marks = not_digits(word)
        if marks & 0x80:
            return DECIMAL_SYNTAX
        if marks:
            n = __builtin_ctzll(marks) >> 3
            out[0] = <int64_t>eight_digits(word << (64 - 8 * n))
            text[0] = p + n
            return DECIMAL_OK
        high = eight_digits(word)
        word = load8(p + 8) ^ 0x3030303030303030ULL
        marks = not_digits(word)
        if marks:
            # Shifted in two steps: the second word may hold no digit at all.
            n = __builtin_ctzll(marks) >> 3
            out[0] = <int64_t>(high * remora_power10[n] + eight_digits(word << (56 - 8 * n) << 8))
            text[0] = p + 8 + n
            return DECIMAL_OK
    p = text[0]
    status = read_integer_slowly(&p, end, out)
    text[0] = p
    return status


cdef int write_decimal(int64_t value, int digits, char* out) noexcept nogil
