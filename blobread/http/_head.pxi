"""Recognises the usual head of the answer to a pinned range. It decides nothing: what is not
recognised is for `parse_head` and `accept`, and what is, they would take with the same meaning.
"""

from libc.string cimport memcmp

cdef enum:
    MOST_LINES = 100        # parse_head takes more

# Bits of the fields that may be there once only.
cdef enum:
    RANGE = 1
    LENGTH = 2
    VERSION = 4
    TYPE = 8
    CONNECTION = 16


cdef struct Wanted:
    # What the answer has to say, byte by byte.
    const char *range           # the whole Content-Range
    Py_ssize_t range_size
    const char *length          # the Content-Length, in digits
    Py_ssize_t length_size
    const char *field           # whose value is the version: "etag" or "last-modified"
    Py_ssize_t field_size
    const char *version
    Py_ssize_t version_size


cdef inline unsigned char lower(char c) noexcept nogil:
    return <unsigned char>c | 0x20 if c'A' <= c <= c'Z' else <unsigned char>c


cdef inline bint is_tchar(char c) noexcept nogil:
    """Whether RFC 9110 section 5.6.2 has the byte in a token."""
    if c'a' <= lower(c) <= c'z' or c'0' <= c <= c'9':
        return True
    return (
        c == c'-' or c == c'_' or c == c'.' or c == c'!' or c == c'#' or c == c'$' or c == c'%'
        or c == c'&' or c == c"'" or c == c'*' or c == c'+' or c == c'^' or c == c'`'
        or c == c'|' or c == c'~'
    )


cdef inline bint is_text(char c) noexcept nogil:
    cdef unsigned char byte = <unsigned char>c
    return byte == 9 or (byte >= 32 and byte != 127)


cdef inline bint is_blank(char c) noexcept nogil:
    return c == 32 or c == 9


cdef bint begins(
    const char *at, Py_ssize_t size, const char *word, Py_ssize_t length
) noexcept nogil:
    """Whether the bytes begin with a word in lower case, whatever their own case."""
    cdef Py_ssize_t i
    if size < length:
        return False
    for i in range(length):
        if lower(at[i]) != <unsigned char>word[i]:
            return False
    return True


cdef bint is_word(
    const char *at, Py_ssize_t size, const char *word, Py_ssize_t length
) noexcept nogil:
    return size == length and begins(at, size, word, length)


cdef bint same(
    const char *at, Py_ssize_t size, const char *other, Py_ssize_t length
) noexcept nogil:
    return size == length and memcmp(at, other, length) == 0


cdef int judge(
    const char *name, Py_ssize_t size, const char *value, Py_ssize_t room, const Wanted *wanted
) noexcept nogil:
    """The bit of a field that says what it has to, 0 of one that does not matter, else -1."""
    if is_word(name, size, "content-range", 13):
        return RANGE if same(value, room, wanted.range, wanted.range_size) else -1
    if is_word(name, size, "content-length", 14):
        return LENGTH if same(value, room, wanted.length, wanted.length_size) else -1
    if is_word(name, size, wanted.field, wanted.field_size):
        return VERSION if same(value, room, wanted.version, wanted.version_size) else -1
    if is_word(name, size, "content-type", 12):
        return -1 if begins(value, room, "multipart/", 10) else TYPE
    if is_word(name, size, "connection", 10):
        return CONNECTION if is_word(value, room, "keep-alive", 10) else -1
    if is_word(name, size, "transfer-encoding", 17) or is_word(name, size, "content-encoding", 16):
        return -1
    return 0


cdef Py_ssize_t expected_head(
    const char *at, Py_ssize_t count, const Wanted *wanted
) noexcept nogil:
    """The length of the head that `at` begins with, its empty line included; 0: not the usual."""
    cdef Py_ssize_t i = 12
    cdef Py_ssize_t name, value, stop
    cdef int lines = 0, seen = 0, bit
    if count < 16 or memcmp(at, "HTTP/1.1 206", 12) != 0 or (at[12] != 32 and at[12] != 13):
        return 0
    while i < count and is_text(at[i]):
        i += 1
    while True:
        # `i` is at the end of a line.
        if i + 1 >= count or at[i] != 13 or at[i + 1] != 10:
            return 0
        i += 2
        if i + 1 < count and at[i] == 13 and at[i + 1] == 10:
            return i + 2 if seen & (RANGE | LENGTH | VERSION) == (RANGE | LENGTH | VERSION) else 0
        lines += 1
        if lines > MOST_LINES:
            return 0
        name = i
        while i < count and is_tchar(at[i]):
            i += 1
        stop = i
        if stop == name or i >= count or at[i] != c':':
            return 0
        i += 1
        while i < count and is_blank(at[i]):
            i += 1
        value = i
        while i < count and is_text(at[i]):
            i += 1
        bit = judge(at + name, stop - name, at + value, trimmed(at, value, i) - value, wanted)
        if bit < 0 or seen & bit:
            return 0
        seen |= bit


cdef Py_ssize_t trimmed(const char *at, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    while stop > start and is_blank(at[stop - 1]):
        stop -= 1
    return stop
