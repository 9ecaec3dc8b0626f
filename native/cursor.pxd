"""Contents page of the cursor: a pointer and an end over JSON text, never read past."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp

from native.events cimport PARSE_MISSING, PARSE_OK, PARSE_SYNTAX, PARSE_TRUNCATED


cdef struct Cursor:
    const char* p
    const char* end


cdef struct Spans:
    # Where the values of an object's keys begin, after the object was stepped over: a one-letter key has its
    # letter's place, the room that steps gives others a place from 1 to 31.
    uint64_t seen_low
    uint64_t seen_high
    const char* at[128]


cdef inline bint is_space(char c) noexcept nogil:
    return c == 32 or c == 10 or c == 13 or c == 9


cdef inline bint is_digit(char c) noexcept nogil:
    return 48 <= c <= 57


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


cdef inline bint take_here(Cursor* c, char expected) noexcept nogil:
    # As `take`, but space is not stepped over: inside a string it counts.
    if c.p < c.end and c.p[0] == expected:
        c.p += 1
        return True
    return False


cdef inline bint at_value_end(const char* p, const char* end) noexcept nogil:
    # Whether a number or a word may end before `p`.
    return p >= end or is_space(p[0]) or p[0] == 44 or p[0] == 125 or p[0] == 93


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
        if p[0] == 92 and p + 1 < c.end:
            p += 1
        p += 1
    c.p = c.end
    return False


cdef inline bint take_key(Cursor* c, const char** start, int64_t* length) noexcept nogil:
    # The name of a member: one with an escape, a control character or anything but ASCII is refused, so that no key
    # goes unrecognised because it is written another way, or damaged. As signed bytes the last two are below 32.
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
        if p[0] == 92 or <signed char>p[0] < 32:
            break
        p += 1
    c.p = p
    return False


cdef inline bint take_name(Cursor* c, const char** start, int64_t* length) noexcept nogil:
    # A string that is compared byte by byte: as a key, but it may hold UTF-8 (symbols do).
    cdef const char* p
    cdef int n
    if not take(c, 34):
        return False
    p = c.p
    start[0] = p
    while p < c.end:
        if p[0] == 34:
            length[0] = p - start[0]
            c.p = p + 1
            return True
        if p[0] == 92 or <signed char>p[0] < 32:
            n = utf8_length(p, c.end)
            if n <= 0:
                c.p = c.end if n < 0 else p
                return False
            p += n - 1
        p += 1
    c.p = p
    return False


cdef int utf8_length(const char* p, const char* end) noexcept nogil


cdef inline int broken(Cursor* c) noexcept nogil:
    # Why a value could not be read: the text ended, or it is not the JSON that was expected.
    return PARSE_TRUNCATED if c.p >= c.end else PARSE_SYNTAX


cdef inline void clear(Spans* spans) noexcept nogil:
    spans.seen_low = 0
    spans.seen_high = 0


cdef inline bint has(Spans* spans, int key) noexcept nogil:
    if key < 64:
        return (spans.seen_low >> key) & 1
    return (spans.seen_high >> (key - 64)) & 1


cdef inline void note(Spans* spans, int key, const char* at) noexcept nogil:
    spans.at[key] = at
    if key < 64:
        spans.seen_low |= 1ULL << key
    else:
        spans.seen_high |= 1ULL << (key - 64)


cdef inline int letter_of(const char* key, int64_t length) noexcept nogil:
    # The place of a one-letter key, else 0. `take_key` lets nothing but printable ASCII pass.
    return <unsigned char>key[0] if length == 1 and <unsigned char>key[0] < 128 else 0


cdef inline int name_of(
    Spans* spans, int key, const char* end, const char** start, int64_t* length
) noexcept nogil:
    cdef Cursor c
    if not has(spans, key):
        return PARSE_MISSING
    c.p = spans.at[key]
    c.end = end
    return PARSE_OK if take_name(&c, start, length) else PARSE_SYNTAX


cdef inline int flag_of(Spans* spans, int key, const char* end, bint* out) noexcept nogil:
    cdef const char* p
    if not has(spans, key):
        return PARSE_MISSING
    p = spans.at[key]
    out[0] = p[0] == 116
    if end - p >= 4 and memcmp(p, b"true", 4) == 0:
        return PARSE_OK if at_value_end(p + 4, end) else PARSE_SYNTAX
    if end - p >= 5 and memcmp(p, b"false", 5) == 0:
        return PARSE_OK if at_value_end(p + 5, end) else PARSE_SYNTAX
    return PARSE_SYNTAX


cdef inline bint skip_value(Cursor* c) noexcept nogil:
    # Steps over one value of any kind. Strings without escapes and numbers, which most are, without a call.
    cdef const char* p
    if c.p < c.end and c.p[0] == 34:
        p = c.p + 1
        while p < c.end and p[0] != 34 and p[0] != 92:
            p += 1
        if p < c.end and p[0] == 34:
            c.p = p + 1
            return True
    elif c.p < c.end and is_digit(c.p[0]):
        p = c.p + 1
        while p < c.end and is_digit(p[0]):
            p += 1
        if at_value_end(p, c.end):
            c.p = p
            return True
    return skip_any_value(c)


cdef bint skip_any_value(Cursor* c) noexcept nogil
