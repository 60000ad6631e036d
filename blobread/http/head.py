"""The head of an answer: a status line and header fields, parsed strictly and in one pass."""

import re

__all__ = ["MAX_BYTES", "MAX_LINES", "Head", "Malformed", "parse_head"]

MAX_BYTES = 64 * 1024
MAX_LINES = 128

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Names as servers spell them: to find one here saves checking and lowering it.
_KNOWN = {
    spelling: spelling.lower()
    for name in (
        *("Accept-Ranges", "Cache-Control", "Connection", "Content-Encoding", "Content-Length"),
        *("Content-Range", "Content-Type", "Date", "ETag", "Etag", "Keep-Alive", "Last-Modified"),
        *("Location", "Retry-After", "Server", "Transfer-Encoding", "Vary"),
    )
    for spelling in (name, name.lower())
}


class Malformed(ValueError):
    """A server sent what is not HTTP, or not the HTTP that a careful client takes."""


class Head:
    """What came before the body.

    Attributes
    ----------
    minor : int
        0 or 1, of HTTP/1.x.
    status : int
    fields : dict
        By lower-case name. A repeated field is joined by ``", "``, as RFC 9110 section 5.3 has it:
        so no strict parser of a value can overlook that there were two.
    """

    __slots__ = ("fields", "minor", "status")

    def __init__(self, minor: int, status: int, fields: dict[str, str]) -> None:
        self.minor = minor
        self.status = status
        self.fields = fields

    @property
    def keeps_alive(self) -> bool:
        """Whether the server is ready for another request on the same connection."""
        connection = self.fields.get("connection")
        if connection is None:
            return self.minor == 1
        options = {option.strip(" \t") for option in connection.lower().split(",")}
        return "close" not in options and (self.minor == 1 or "keep-alive" in options)


def parse_head(raw: bytes | bytearray) -> Head:
    """Parse a head, given without the empty line that ends it.

    Raises
    ------
    Malformed
        For all that RFC 9112 lets a recipient forgive: bare CR or LF, folded lines, blanks
        around a name. What two readers could read differently is not read at all.
    """
    text = raw.decode("latin-1")
    lines = text.split("\r\n")
    if len(lines) > MAX_LINES:
        raise Malformed(f"the head of the answer has more than {MAX_LINES} lines")
    if text.count("\r") + text.count("\n") != 2 * (len(lines) - 1) or "\0" in text:
        raise Malformed("the head of the answer contains a bare CR, a bare LF or a NUL")
    matched = _STATUS_LINE.fullmatch(lines[0])
    if matched is None:
        raise Malformed("the answer does not begin with a status line of HTTP/1.0 or HTTP/1.1")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = _KNOWN.get(name)
        if known is None or not colon:
            if not colon or _TOKEN.fullmatch(name) is None:
                raise Malformed("the head of the answer contains a malformed line")
            known = name.lower()
        value = value.strip(" \t")
        fields[known] = value if known not in fields else f"{fields[known]}, {value}"
    return Head(int(matched[1]), int(matched[2]), fields)
