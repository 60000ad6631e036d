"""The version of a blob: how it is remembered, asked for, and told from another one."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from ..driver import BlobInfo
from .fields import http_date
from .origin import redact

__all__ = ["Facts", "Pin", "info_of", "pin_of"]

_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


class Facts(NamedTuple):
    """What an answer tells of a blob; `etag` and `modified` as the server sent them."""

    size: int | None
    etag: str | None
    modified: str | None

    @property
    def version(self) -> str | None:
        """What `pin_of` understands; None where the server tells no version."""
        if self.etag:
            return f"etag:{self.etag}"
        if self.modified and http_date(self.modified):
            return f"modified:{self.modified}"
        return None


class Pin(NamedTuple):
    """The version that an answer must be of.

    Attributes
    ----------
    field : str
        Name of the field that must be equal to `value`; empty where only the size is known.
    condition : str
        The request's ``If-Match`` line, or nothing: RFC 9110 has it for strong entity tags only.
    """

    size: int | None
    field: str
    value: str
    condition: str

    def differs(self, size: int | None, fields: Mapping[str, str]) -> bool:
        """Tell whether an answer is of another version, or does not say which it is of."""
        if self.size is not None and size is not None and size != self.size:
            return True
        return self.field != "" and fields.get(self.field) != self.value


@lru_cache(64)
def pin_of(size: int | None, version: str | None) -> Pin:
    """Return what requests and answers have to say for them to be of that size and version."""
    if version is None:
        return Pin(size, "", "", "")
    kind, _, value = version.partition(":")
    if kind == "modified":
        return Pin(size, "last-modified", value, "")
    if kind != "etag":
        value = version  # of another store: no answer is of it
    condition = f"If-Match: {value}\r\n" if _STRONG.fullmatch(value) else ""
    return Pin(size, "etag", value, condition)


def info_of(path: str, facts: Facts) -> BlobInfo:
    """Return what a reader is told of the blob at `path`."""
    return BlobInfo(
        path=redact(path),
        size=facts.size,
        version=facts.version,
        etag=facts.etag or None,
        modified=http_date(facts.modified) if facts.modified else None,
    )
