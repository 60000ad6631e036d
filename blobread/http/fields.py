"""The header fields that decide about a read: each parsed to the letter, or refused."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from .head import Malformed

__all__ = [
    "content_length",
    "content_range",
    "http_date",
    "is_chunked",
    "retry_after",
    "unsatisfied_total",
]

_LARGEST = 2**63 - 1

_CONTENT_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_UNSATISFIED = re.compile(r"[Bb][Yy][Tt][Ee][Ss] \*/([0-9]{1,19})")
_LENGTH = re.compile(r"([0-9]{1,19})(?:[ \t]*,[ \t]*\1)*")
_SECONDS = re.compile(r"[0-9]{1,10}")
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def content_range(fields: Mapping[str, str]) -> tuple[int, int, int | None]:
    """Return where the bytes of a 206 lie: first, last (included), and the total if it is told."""
    value = fields.get("content-range")
    if value is None:
        raise Malformed("a 206 came without Content-Range")
    matched = _CONTENT_RANGE.fullmatch(value)
    if matched is None:
        raise Malformed("the Content-Range is not one range of bytes")
    first, last = int(matched[1]), int(matched[2])
    total = None if matched[3] == "*" else int(matched[3])
    if first > last or last >= _LARGEST or (total is not None and not last < total <= _LARGEST):
        raise Malformed("the Content-Range contradicts itself")
    return first, last, total


def unsatisfied_total(fields: Mapping[str, str]) -> int:
    """Return the size that a 416 tells, in bytes."""
    matched = _UNSATISFIED.fullmatch(fields.get("content-range", ""))
    if matched is None or int(matched[1]) > _LARGEST:
        raise Malformed("a 416 came without the size of the blob")
    return int(matched[1])


def content_length(fields: Mapping[str, str]) -> int | None:
    """Return ``Content-Length`` in bytes, or None where there is none."""
    value = fields.get("content-length")
    if value is None:
        return None
    matched = _LENGTH.fullmatch(value)
    if matched is None or int(matched[1]) > _LARGEST:
        raise Malformed("the Content-Length is not one length in bytes")
    return int(matched[1])


def is_chunked(fields: Mapping[str, str]) -> bool:
    """Tell whether the body is chunked; no other transfer coding is taken."""
    coding = fields.get("transfer-encoding")
    if coding is None:
        return False
    if coding.lower() != "chunked":
        raise Malformed("the Transfer-Encoding is not exactly chunked")
    if "content-length" in fields:
        raise Malformed("the answer has both Transfer-Encoding and Content-Length")
    return True


def http_date(value: str) -> datetime | None:
    """Read a date in the one form that RFC 9110 lets a server send; None for any other."""
    matched = _DATE.fullmatch(value)
    if matched is None or matched[2] not in _MONTHS:
        return None
    day, _, year, hour, minute, second = matched.groups()
    month = _MONTHS.index(matched[2]) + 1
    try:
        return datetime(int(year), month, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None


def retry_after(fields: Mapping[str, str]) -> float | None:
    """Return after how many seconds the server asks to be asked again; None if it is garbled."""
    value = fields.get("retry-after", "")
    if _SECONDS.fullmatch(value):
        return float(value)
    date = http_date(value)
    if date is None:
        return None
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
