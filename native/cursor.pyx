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
