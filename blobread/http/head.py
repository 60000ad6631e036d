"""The head of an answer: a status line and header fields, parsed strictly and in one pass."""

import re
from functools import lru_cache

__all__ = ["MAX_BYTES", "MAX_LINES", "Head", "Malformed", "parse_head"]

MAX_BYTES = 64 * 1024
MAX_LINES = 128

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Servers say nearly the same in each answer, so lines are remembered: this halves the time of a
# parse. A long head is not, and a hostile server can make us keep no more than 1 MiB.
_REMEMBERED = 256
_LONGEST_REMEMBERED = 4096


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
        if connection == "keep-alive":
            return True
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
    is_long = len(text) > _LONGEST_REMEMBERED
    minor, status = (_status if is_long else _remembered_status)(lines[0])
    found = list(map(_field if is_long else _remembered_field, lines[1:]))
    fields = dict(found)
    if len(fields) < len(found):
        fields = _joined(found)
    return Head(minor, status, fields)


def _status(line: str) -> tuple[int, int]:
    matched = _STATUS_LINE.fullmatch(line)
    if matched is None:
        raise Malformed("the answer does not begin with a status line of HTTP/1.0 or HTTP/1.1")
    return int(matched[1]), int(matched[2])


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or _TOKEN.fullmatch(name) is None:
        raise Malformed("the head of the answer contains a malformed line")
    return name.lower(), value.strip(" \t")


_remembered_status = lru_cache(_REMEMBERED)(_status)
_remembered_field = lru_cache(_REMEMBERED)(_field)


def _joined(found: list[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in found:
        values.setdefault(name, []).append(value)
    return {name: ", ".join(several) for name, several in values.items()}
