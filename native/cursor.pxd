"""Contents page of the cursor: a pointer and an end over JSON text, never read past."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t


cdef struct Cursor:
    const char* p
    const char* end


cdef inline bint is_space(char c) noexcept nogil:
    return c == 32 or c == 10 or c == 13 or c == 9


cdef inline void skip_space(Cursor* c) noexcept nogil:
    while c.p < c.end and is_space(c.p[0]):
        c.p += 1


cdef inline int peek(Cursor* c) noexcept nogil:
    # The next byte that is not space, or -1 at the end.
    skip_space(c)
    return <unsigned char>c.p[0] if c.p < c.end else -1


cdef inline bint take(Cursor* c, char expected) noexcept nogil:
    # Steps over `expected` (after space) and says whether it was there.
    if c.p < c.end and c.p[0] == expected:
        c.p += 1
        return True
    skip_space(c)
    if c.p < c.end and c.p[0] == expected:
        c.p += 1
        return True
    return False


cdef inline bint take_string(Cursor* c, const char** start, int64_t* length) noexcept nogil:
    # A string with its raw content (escapes not resolved). False: none here, or it does not end.
    cdef const char* p
    if not take(c, 34):
        return False
    p = c.p
    start[0] = p
    while p < c.end:
        if p[0] == 34:
            length[0] = p - start[0]
            c.p = p + 1
            return True
        if p[0] == 92:
            p += 1
        p += 1
    c.p = c.end
    return False


cdef inline bint take_integer(Cursor* c, int64_t* out) noexcept nogil:
    # A non-negative integer of at most 18 digits.
    cdef int64_t value = 0
    cdef const char* first
    skip_space(c)
    first = c.p
    while c.p < c.end and 48 <= c.p[0] <= 57:
        if c.p - first == 18:
            return False
        value = value * 10 + (c.p[0] - 48)
        c.p += 1
    out[0] = value
    return c.p > first and not (c.p < c.end and (c.p[0] == 46 or c.p[0] == 101 or c.p[0] == 69))


cdef bint skip_value(Cursor* c) noexcept nogil
