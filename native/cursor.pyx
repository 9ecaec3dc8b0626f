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


cdef int note_letters(Cursor* c, Spans* spans) noexcept nogil:
    # Steps over one object and notes where the values of its one-letter keys begin. One that stands twice is
    # refused: which of the two is meant is not ours to say.
    cdef const char* key
    cdef int64_t length
    cdef int letter
    clear(spans)
    if not take(c, 123):
        return broken(c)
    if take(c, 125):
        return PARSE_OK
    while True:
        if not take_name(c, &key, &length) or not take(c, 58) or peek(c) < 0:
            return broken(c)
        letter = letter_of(key, length)
        if letter:
            if has(spans, letter):
                return PARSE_SYNTAX
            note(spans, letter, c.p)
        if not skip_value(c):
            return broken(c)
        if take(c, 44):
            continue
        return PARSE_OK if take(c, 125) else broken(c)


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
