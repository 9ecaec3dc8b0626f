"""A pointer-and-end cursor over JSON text, for the wire rooms; it never reads at or past the end."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


cdef bint skip_any_value(Cursor* c) noexcept nogil:
    # Steps over one value of any kind; brackets are counted, not matched: what is skipped is not ours.
    cdef const char* start
    cdef int64_t length
    cdef int depth = 0
    cdef int ch
    while True:
        ch = peek(c)
        if ch < 0:
            return False
        if ch == 34:
            if not take_string(c, &start, &length):
                return False
        elif ch == 123 or ch == 91:
            depth += 1
            c.p += 1
            continue
        elif ch == 125 or ch == 93:
            if depth == 0:
                return False
            depth -= 1
            c.p += 1
        elif ch == 44 or ch == 58:
            if depth == 0:
                return False
            c.p += 1
            continue
        else:
            while c.p < c.end and not (is_space(c.p[0]) or c.p[0] == 44 or c.p[0] == 125
                                       or c.p[0] == 93 or c.p[0] == 58 or c.p[0] == 34):
                c.p += 1
        if depth == 0:
            return True


cdef int utf8_length(const char* p, const char* end) noexcept nogil:
    # Bytes of the character at p beyond ASCII; 0: it is none in UTF-8 (RFC 3629, section 4), -1: the text ends inside.
    cdef int first = <unsigned char>p[0], second, i
    cdef int length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4:
        return 0
    for i in range(1, length):
        if p + i >= end:
            return -1
        if <unsigned char>p[i] & 0xC0 != 0x80:
            return 0
        if i == 1:
            second = <unsigned char>p[1]
            # Longer than needed, a surrogate, beyond the last character.
            if (first == 0xE0 and second < 0xA0 or first == 0xED and second > 0x9F
                    or first == 0xF0 and second < 0x90 or first == 0xF4 and second > 0x8F):
                return 0
    return length


def name_length(text: bytes) -> int:
    """Return the bytes inside the quotes of the name that `text` begins with, or -1 if it is refused."""
    cdef Cursor c
    cdef const char* start
    cdef int64_t length = 0
    c.p = PyBytes_AS_STRING(text)
    c.end = c.p + PyBytes_GET_SIZE(text)
    return length if take_name(&c, &start, &length) else -1


def skip(text: bytes) -> int:
    """Return the length of the first JSON value in `text` with the space before it, or -1 if it does not end.

    Parameters
    ----------
    text : bytes
        JSON text; a number or a word may end with the text.

    Returns
    -------
    int
        Bytes up to the end of the value. Text that is not JSON may pass: brackets are counted, not matched.

    Notes
    -----
    Cost: linear in the length; no recursion, so that no depth of nesting costs stack.
    """
    cdef Cursor c
    c.p = PyBytes_AS_STRING(text)
    c.end = c.p + PyBytes_GET_SIZE(text)
    if not skip_value(&c):
        return -1
    return c.p - PyBytes_AS_STRING(text)
